//! Pools and callers on threads that somebody else owns: rayon's (feature `rayon`), tokio's (feature `tokio`).

use memopool::{Func, Pool, Task};

use crate::{assert_usable, build, in_time, until};

/// What hangs `OnceLock`, moka's `get_with` and quick_cache's `get_or_insert_with` under rayon (rayon-rs/rayon#592).
#[cfg(feature = "rayon")]
mod on_rayon {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use memopool::executor::Rayon;
    use memopool::{Error, Until, cancelled, wait};
    use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

    use super::*;
    use crate::{Gate, pool};

    fn threads(n: usize) -> Arc<rayon::ThreadPool> {
        Arc::new(rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap())
    }

    /// Some milliseconds of work.
    fn work(n: u32) -> u64 {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        n.into()
    }

    /// A body whose pieces are stolen one by one, on rayon's threads wherever it runs. It begins when all who ask for it wait:
    /// what it waits for must not find a caller on its way.
    fn parallel(threads: &Arc<rayon::ThreadPool>, ready: &Gate) -> Func<u64, u64> {
        let state = (Arc::clone(threads), ready.clone());
        Func::named("executors::parallel").resource(state).func(|(threads, ready), n: u64| {
            ready.pass();
            threads.install(|| (0..n as u32).into_par_iter().with_max_len(1).map(work).sum())
        })
    }

    /// Opens the gate when so many calls have been submitted.
    fn open_after(submitted: u64, pool: &Pool, gate: &Gate) {
        let (pool, gate) = (pool.clone(), gate.clone());
        std::thread::spawn(move || {
            until(|| pool.stats().submitted == submitted);
            gate.open();
        });
    }

    /// All threads of rayon's wait for a result whose body needs them: all wait for ever, as they do with `OnceLock`.
    #[test]
    fn callers_on_the_threads_that_the_body_needs() {
        in_time(|| {
            let (threads, ready) = (threads(4), Gate::default());
            let (pool, func) = (pool(2), parallel(&threads, &ready));
            let (send, receive) = channel();
            open_after(16, &pool, &ready);
            for _ in 0..16 {
                let (pool, func, send) = (pool.clone(), func.clone(), send.clone());
                threads.spawn(move || send.send(pool.run(func.call(16)).map(|sum| *sum)).unwrap());
            }
            let sums: Vec<_> = receive.iter().take(16).collect();
            assert!(sums.iter().all(|sum| *sum.as_ref().unwrap() == 120), "{sums:?}");
            assert_eq!(pool.stats().computed, 1);
        });
    }

    /// The same with rayon's global threads, and with every way to wait.
    #[test]
    fn callers_on_rayons_global_threads() {
        in_time(|| {
            let (pool, ready) = (pool(2), Gate::default());
            let func = Func::named("executors::global").resource(ready.clone()).func(|ready, n: u64| {
                ready.pass();
                (0..n as u32).into_par_iter().with_max_len(1).map(work).sum::<u64>()
            });
            let (send, receive) = channel();
            open_after(30, &pool, &ready);
            for n in 0..30 {
                let (task, send) = (func.call(n % 5 + 8), send.clone());
                let pool = pool.clone();
                rayon::spawn(move || {
                    let task = pool.submit(task);
                    let sum = match n % 3 {
                        0 => task.wait().map(|sum| *sum),
                        1 => task.wait_timeout(Duration::from_secs(3600)).map(|sum| *sum),
                        _ => wait(&[task], Until::First, None).done[0].wait().map(|sum| *sum),
                    };
                    send.send((n % 5 + 8, sum)).unwrap();
                });
            }
            for (n, sum) in receive.iter().take(30) {
                assert_eq!(sum.unwrap(), n * (n - 1) / 2);
            }
            assert_eq!(pool.stats().computed, 5);
        });
    }

    /// A thread of rayon's at the full queue of a pool whose body needs it waits for ever.
    #[test]
    fn a_caller_at_a_full_queue() {
        in_time(|| {
            let (threads, ready) = (threads(1), Gate::default());
            ready.open();
            let pool = build(Pool::builder().threads(1).queue(1));
            let func = parallel(&threads, &ready);
            let tasks: Vec<Task<u64>> =
                threads.install(|| (0..8).map(|n| pool.submit(func.call(n + 2))).collect());
            for (n, task) in tasks.iter().enumerate() {
                assert_eq!(*task.wait().unwrap() as usize, (n + 2) * (n + 1) / 2);
            }
        });
    }

    /// The reproduction: callers that are jobs of a rayon pool, and bodies that are parallel. A piece that waits for its own
    /// pieces has a caller of its own body put on top of it, and all wait for ever.
    fn callers_and_pieces(threads: Option<&rayon::ThreadPool>, pool: &Pool) {
        let func = Func::new("executors::pieces", |n: u32| {
            (0..n).into_par_iter().with_max_len(1).map(work).sum::<u64>()
        });
        for round in 0..4 {
            let func = func.clone().version(round);
            let call = || {
                // More than have room on one another's stacks; two keys, since who waits for one may lie on top of a piece of
                // the other.
                let callers = (0..400).into_par_iter().with_max_len(1);
                callers.map(|n| pool.run(func.call(24 + n % 2)).map(|sum| *sum)).collect::<Vec<_>>()
            };
            let sums = threads.map_or_else(call, |threads| threads.install(call));
            for (n, sum) in (0..).zip(sums) {
                assert_eq!(sum.unwrap(), 276 + n % 2 * 24);
            }
        }
        assert_eq!(pool.stats().computed, 8);
        assert_usable(pool);
    }

    /// What hangs `OnceLock`, moka and quick_cache: callers in a rayon pool of four.
    #[test]
    fn a_piece_that_steals_a_caller_of_its_body() {
        in_time(|| callers_and_pieces(Some(&threads(4)), &pool(2)));
    }

    /// The same on rayon's global threads, which the pieces find by themselves.
    #[test]
    fn a_piece_that_steals_a_caller_of_its_body_on_the_global_threads() {
        in_time(|| callers_and_pieces(None, &pool(2)));
    }

    /// The same with a pool that runs its jobs where its callers are.
    #[test]
    fn a_piece_that_steals_a_caller_of_its_body_on_the_pools_own_rayon_threads() {
        in_time(|| {
            let threads = threads(4);
            let on = build(Pool::builder().executor(Rayon::new(Arc::clone(&threads))));
            callers_and_pieces(Some(&threads), &on);
            callers_and_pieces(None, &build(Pool::builder().executor(Rayon::global())));
        });
    }

    /// A body that one of rayon's threads asked for keeps its slot while it waits for a call that needs it: both wait for ever.
    #[test]
    fn a_body_in_a_crew_lends_its_slot() {
        in_time(|| {
            let pool = pool(2);
            let limit = memopool::Limit::new("one", 1);
            let inner = Func::new("executors::limited_inner", |n: u64| n + 1).limit(&limit);
            let outer = Func::named("executors::limited_outer").resource(inner).func(
                |inner: &Func<u64, u64>, n: u64| *Pool::current().unwrap().run(inner.call(n)).unwrap() + 1,
            );
            let outer = outer.limit(&limit);
            assert_eq!(*threads(1).install(|| pool.run(outer.call(1))).unwrap(), 3);
            assert_eq!(*pool.run(outer.call(2)).unwrap(), 4);
        });
    }

    /// A body in a rayon pool of its own is not the pool's any more: it does not know its pool, its cancellation or its
    /// threads' setup; its waits are not replaced, and it runs out of stack before others do.
    #[test]
    fn a_body_that_rayons_threads_asked_for_knows_its_pool() {
        in_time(|| {
            let greeted = Arc::new(AtomicUsize::new(0));
            let hook = Arc::clone(&greeted);
            let pool = Pool::builder().threads(1).max_os_threads(3).stack_size(64 << 20).name("own");
            let pool = build(pool.on_thread_start(move || _ = hook.fetch_add(1, Ordering::Relaxed)));
            let gate = Gate::default();
            let held = Func::named("executors::held_apart").resource(gate.clone()).func(|gate, n: u64| {
                gate.pass();
                n
            });
            let inner = held.clone();
            let outer = Func::named("executors::apart").resource(inner).fallible(|held, n: u64| {
                let pool = Pool::current().expect("inside a task");
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                assert!(name.starts_with("own-crew-"), "{name}");
                // More than a small stack has room for.
                let large = std::hint::black_box([1_u8; 5 << 20]);
                // A wait: the only worker is replaced, or nobody could open the gate.
                let (helper, task) = (pool.spawn(|| ()), pool.submit(held.call(n)));
                helper.wait()?;
                Ok::<_, Error>(*task.wait()? + u64::from(large[17]))
            });
            threads(1).install(|| {
                let task = pool.submit(outer.call(7));
                until(|| pool.stats().running > 0);
                gate.open();
                assert_eq!(*task.wait().unwrap(), 8);
                let over: Task<bool> = pool.spawn(|| {
                    until(cancelled);
                    true
                });
                until(|| over.is_running());
                assert!(over.cancel());
            });
            until(|| pool.stats().running == 0);
            assert!(greeted.load(Ordering::Relaxed) >= 2);
            assert_usable(&pool);
        });
    }

    /// A body that rayon's threads asked for can't run what it waits for itself: nested calls take a thread each, and soon there
    /// are no more.
    #[test]
    fn nested_calls_that_rayons_threads_asked_for() {
        fn sum() -> Func<u32, u64> {
            Func::fallible("executors::sum", |n: u32| -> Result<u64, Error> {
                let pool = Pool::current().expect("inside a task");
                Ok(u64::from(n) + if n == 0 { 0 } else { *pool.run(sum().call(n - 1))? })
            })
        }
        in_time(|| {
            let pool = build(Pool::builder().threads(1).max_os_threads(2));
            assert_eq!(*threads(2).install(|| pool.run(sum().call(100))).unwrap(), 5050);
            assert_usable(&pool);
        });
    }

    /// Bodies on rayon's threads that wait for tasks of another pool, whose bodies need rayon's threads.
    #[test]
    fn bodies_on_rayons_threads_that_wait_for_bodies_that_need_them() {
        in_time(|| {
            let (threads, ready) = (threads(2), Gate::default());
            let (outer, inner) = (build(Pool::builder().executor(Rayon::new(Arc::clone(&threads)))), pool(2));
            let func = parallel(&threads, &ready);
            open_after(6, &inner, &ready);
            let tasks: Vec<_> = (0..6)
                .map(|n| {
                    let (inner, func) = (inner.clone(), func.clone());
                    outer.spawn(move || -> Result<u64, Error> { Ok(*inner.run(func.call(n + 4))?) })
                })
                .collect();
            for (n, task) in (0..).zip(&tasks) {
                match &*task.wait().unwrap() {
                    Ok(sum) => assert_eq!(*sum, (n + 4) * (n + 3) / 2),
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }

    /// Callers nest on one another's stacks until those overflow, which ends the process.
    #[test]
    fn many_callers_on_one_thread_do_not_overflow_its_stack() {
        in_time(|| {
            let (threads, pool, gate) = (threads(1), pool(1), Gate::default());
            let held = Func::named("executors::held").resource(gate.clone()).func(|gate, n: u64| {
                gate.pass();
                n
            });
            let (send, receive) = channel();
            for n in 0..400 {
                let (pool, held, send) = (pool.clone(), held.clone(), send.clone());
                threads.spawn(move || send.send(pool.run(held.call(n)).map(|n| *n)).unwrap());
            }
            // As many as have room, or as many as come while nobody looks: it is the same for the result.
            let mut before = 0;
            until(|| {
                std::thread::park_timeout(Duration::from_millis(20));
                let now = pool.stats().submitted;
                std::mem::replace(&mut before, now) == now && now > 0
            });
            gate.open();
            let mut all: Vec<u64> = receive.iter().take(400).map(|n| n.unwrap()).collect();
            all.sort_unstable();
            assert_eq!(all, (0..400).collect::<Vec<_>>());
        });
    }

    /// The adapter for rayon runs twice, or hangs in nested waits.
    #[test]
    fn nested_calls_on_rayons_threads() {
        fn fib() -> Func<u32, u64> {
            Func::fallible("executors::fib", |n: u32| -> Result<u64, Error> {
                if n < 2 {
                    return Ok(n.into());
                }
                let pool = Pool::current().expect("inside a task");
                let before = pool.submit(fib().call(n - 2));
                Ok(*pool.run(fib().call(n - 1))? + *before.wait()?)
            })
        }
        in_time(|| {
            for executor in [Rayon::new(threads(2)), Rayon::global()] {
                let pool = build(Pool::builder().executor(executor));
                assert_eq!(*pool.run(fib().call(40)).unwrap(), 102_334_155);
                assert_eq!((pool.stats().computed, pool.stats().threads), (41, 0));
                assert_usable(&pool);
            }
        });
    }
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use memopool::executor::Tokio;

    use super::*;

    /// Bodies on tokio's threads are not run, are run twice, or don't find the runtime.
    #[test]
    fn bodies_on_a_runtimes_blocking_threads() {
        in_time(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let pool = build(Pool::builder().executor(Tokio::new(runtime.handle().clone())));
            let func = Func::new("executors::tokio", |n: u64| {
                // Blocking is fine there, and the runtime is at hand.
                tokio::runtime::Handle::current().block_on(async { n * 2 })
            });
            let sum = runtime.block_on(async {
                let tasks = pool.submit_all((0..100).map(|n| func.call(n % 10)));
                let mut sum = 0;
                for task in tasks {
                    sum += *task.await.unwrap();
                }
                sum
            });
            assert_eq!(sum, 900);
            assert_eq!((pool.stats().computed, pool.stats().threads), (10, 0));
            assert_usable(&pool);
        });
    }

    /// Leaving the scope of a pool in async code hangs: its end waits for a body that only this thread could poll.
    #[test]
    fn the_last_handle_goes_on_the_only_thread_of_the_runtime() {
        in_time(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let nap = Func::new_async("executors::nap", async |ms: u64| {
                tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
                ms
            });
            runtime.block_on(async {
                let pool = build(Pool::builder().runtime(tokio::runtime::Handle::current()));
                let task = pool.submit(nap.call(5));
                drop(pool);
                assert_eq!(*task.await.unwrap(), 5);
            });
        });
    }

    /// A runtime that ends leaves those who wait for what it has not started.
    #[test]
    fn a_runtime_that_ends_resolves_what_it_has_not_started() {
        in_time(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
            let pool = build(Pool::builder().executor(Tokio::new(runtime.handle().clone())));
            let gate = crate::hold(&pool);
            let queued: Task<u64> = pool.spawn(|| 1);
            runtime.shutdown_background();
            gate.open();
            let late: Task<u64> = pool.spawn(|| 2);
            assert!(late.wait().unwrap_err().is_shutdown());
            // The one thread may have taken it before it saw the end.
            assert!(queued.wait().map_or_else(|error| error.is_shutdown(), |n| *n == 1));
            until(|| pool.stats().running == 0);
        });
    }
}

/// A value that nobody wants any more panics when it is dropped, and the panic leaves [`Job::run`](memopool::Job::run): on
/// rayon's threads that ends the program.
#[test]
fn nothing_gets_out_of_a_job() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Mutex};

    use memopool::{Executor, Job};

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a value that panics when it is dropped");
        }
    }
    struct Later(Arc<Mutex<Vec<Job>>>);
    impl Executor for Later {
        fn execute(&self, job: Job) {
            self.0.lock().unwrap().push(job);
        }
    }
    in_time(|| {
        let jobs = Arc::new(Mutex::new(Vec::new()));
        let pool = build(Pool::builder().executor(Later(Arc::clone(&jobs))));
        drop(pool.spawn(|| Bomb));
        let job = jobs.lock().unwrap().pop().unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| job.run())).is_ok());
    });
}
