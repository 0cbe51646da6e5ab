//! Async functions: their runs are the pool's, shared and kept like any other, and hold no thread while they wait.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_util::future::{Either, join, join_all, select};
use memopool::{
    Backoff, Error, Func, Limit, Pool, Source, Task, Until, block_in_place, cancelled, memo, wait,
};

use crate::{Counter, Gate, assert_usable, build, hold, in_time, pool, until};

/// Closed until it is opened, then open for good; awaited. Clones are the same door.
#[derive(Clone, Default)]
struct Door(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Door {
    fn open(&self) {
        let mut door = self.0.lock().unwrap();
        door.0 = true;
        let wakers = std::mem::take(&mut door.1);
        drop(door);
        wakers.into_iter().for_each(Waker::wake);
    }

    async fn pass(&self) {
        poll_fn(|cx| {
            let mut door = self.0.lock().unwrap();
            if door.0 {
                return Poll::Ready(());
            }
            door.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Lets others go first, once.
async fn yield_now() {
    let mut first = true;
    poll_fn(|cx| {
        if std::mem::take(&mut first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// Counts itself in when it is made, and out when it is dropped; notes whether it was given up then.
struct Inside(Counter, Counter);

impl Inside {
    fn enter(entered: &Counter, left: &Counter) -> Inside {
        entered.up();
        Inside(entered.clone(), left.clone())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        assert!(self.0.get() > self.1.get());
        self.1.up();
    }
}

/// An async function that waits at a door, and how many are there and have left.
fn at_door(name: &str) -> (Func<u64, u64>, Door, Counter, Counter) {
    let (door, entered, left) = (Door::default(), Counter::default(), Counter::default());
    let parts = (door.clone(), entered.clone(), left.clone());
    let func = Func::named(name).resource(parts).func_async(async |parts, n: u64| {
        let (door, entered, left) = &*parts;
        let _inside = Inside::enter(entered, left);
        door.pass().await;
        n
    });
    (func, door, entered, left)
}

fn square() -> Func<u64, u64> {
    Func::new("async::square", |n: u64| n * n)
}

fn current() -> Pool {
    Pool::current().expect("in a body")
}

/// A pool whose one thread is all there may be.
fn single() -> Pool {
    build(Pool::builder().threads(1).max_os_threads(1))
}

/// Else what many ask for at once is fetched many times.
#[test]
fn eight_submitters_share_one_run() {
    in_time(|| {
        let pool = pool(2);
        let (func, door, entered, _) = at_door("async::shared");
        let barrier = Barrier::new(9);
        let values: Vec<_> = thread::scope(|scope| {
            let submitters: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let task = pool.submit(func.call(7));
                        barrier.wait();
                        task.wait()
                    })
                })
                .collect();
            barrier.wait();
            door.open();
            submitters.into_iter().map(|submitter| submitter.join().unwrap()).collect()
        });
        assert!(
            values
                .iter()
                .all(|value| matches!(value, Ok(value) if Arc::ptr_eq(value, values[0].as_ref().unwrap())))
        );
        let stats = pool.stats();
        assert_eq!((entered.get(), stats.computed, stats.joined), (1, 1, 7));
        assert_eq!(pool.submit(func.call(7)).source(), Some(Source::Memory));
    });
}

/// Else a request that is given up by its client is lost for the next one, too.
#[test]
fn a_caller_that_is_dropped_stops_nothing() {
    in_time(|| {
        let pool = pool(1);
        let (func, door, entered, left) = at_door("async::dropped");
        let mut task = pool.submit(func.call(7));
        // Even one that has been polled.
        let waker = Waker::noop();
        assert!(Pin::new(&mut task).poll(&mut Context::from_waker(waker)).is_pending());
        drop(task);
        until(|| entered.get() == 1);
        door.open();
        until(|| pool.get(&func.call(7)).is_some());
        assert_eq!((*pool.run(func.call(7)).unwrap(), entered.get(), left.get()), (7, 1, 1));
    });
}

/// Else a hundred requests on their way take a hundred threads.
#[test]
fn a_hundred_wait_at_once_on_two_threads() {
    in_time(|| {
        let pool = build(Pool::builder().threads(2).max_os_threads(2));
        let (func, door, entered, left) = at_door("async::hundred");
        let tasks = pool.submit_all((0..100).map(|n| func.call(n)));
        until(|| entered.get() == 100);
        assert_eq!((left.get(), pool.stats().running, pool.stats().queued), (0, 100, 0));
        assert!(pool.stats().threads <= 2);
        assert_usable(&pool);
        let all = thread::spawn(move || pollster::block_on(join_all(tasks)));
        door.open();
        let values: Vec<u64> = all.join().unwrap().into_iter().map(|value| *value.unwrap()).collect();
        assert_eq!(values, (0..100).collect::<Vec<_>>());
        until(|| pool.stats().running == 0);
    });
}

/// Else a recursion over async functions runs out of threads or of stack.
#[test]
fn a_chain_of_awaits_needs_one_thread() {
    fn chain() -> Func<u64, u64> {
        Func::new_async("async::chain", async |n: u64| match n {
            0 => 0,
            n => *current().submit(chain().call(n - 1)).await.unwrap() + 1,
        })
    }
    in_time(|| {
        let pool = single();
        assert_eq!(*pool.run(chain().call(1000)).unwrap(), 1000);
        assert_eq!((pool.stats().computed, pool.stats().threads), (1001, 1));
    });
}

/// Else a failure is shown to one of those who wait, kept, or takes the thread with it.
#[test]
fn errors_and_panics_reach_everyone_and_are_not_kept() {
    in_time(|| {
        let pool = pool(2);
        let door = Door::default();
        let func = Func::named("async::fails").resource(door.clone());
        let func = func.fallible_async(async |door, n: u64| {
            door.pass().await;
            match n {
                0 => Err("no such page"),
                1 => std::panic::resume_unwind(Box::new("out of order")),
                n => Ok(n),
            }
        });
        let failed = [pool.submit(func.call(0)), pool.submit(func.call(0))];
        let panicked = [pool.submit(func.call(1)), pool.submit(func.call(1))];
        door.open();
        for task in failed {
            let error = task.wait().unwrap_err();
            assert!(error.is_failed());
            assert_eq!(error.to_string(), "`async::fails` failed: no such page");
        }
        for task in panicked {
            assert_eq!(task.wait().unwrap_err().panic_message(), Some("out of order"));
        }
        let stats = pool.stats();
        assert_eq!((stats.failed, stats.panicked, stats.entries), (1, 1, 0));
        assert_eq!(*pool.run(func.call(2)).unwrap(), 2);
        // Errors are kept where that is asked for.
        let func = Func::named("async::keeps").cache_errors().fallible_async(async |n: u64| match n {
            0 => Err("gone".to_owned()),
            n => Ok(n),
        });
        for _ in 0..3 {
            assert!(pool.run(func.call(0)).unwrap_err().is_failed());
        }
        assert_eq!(pool.stats().failed, 2);
        assert_usable(&pool);
    });
}

/// Else state or resource are not what the body was given, or the state is missing from the key.
#[test]
fn state_and_resource_come_as_shared() {
    in_time(|| {
        let pool = pool(1);
        let with = |by: u64| {
            Func::named("async::state").state(by).resource("a client".to_owned()).func_async(
                async |by, client, n: u64| {
                    yield_now().await;
                    format!("{client}: {}", n * *by)
                },
            )
        };
        assert_eq!(*pool.run(with(2).call(3)).unwrap(), "a client: 6");
        assert_eq!(*pool.run(with(5).call(3)).unwrap(), "a client: 15");
        let stateful =
            Func::named("async::state2").state(4_u64).in_memory().func_async(async |by, n: u64| n * *by);
        assert_eq!(*pool.run(stateful.call(3)).unwrap(), 12);
    });
}

/// Else a body that looks for its pool or for its end finds them on the first poll alone.
#[test]
fn every_poll_knows_its_task() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1).queue(1));
        let seen = Counter::default();
        let func = Func::named("async::context").resource(seen.clone()).func_async(async |seen, n: u64| {
            for m in 0..n {
                // Nested work passes the bound of the queue.
                let tasks = current().submit_all((0..5).map(|k| square().call(m * 100 + k)));
                yield_now().await;
                join_all(tasks).await.into_iter().for_each(|task| drop(task.unwrap()));
                assert!(Pool::current().is_some() && !cancelled());
                seen.up();
            }
            n
        });
        assert_eq!(*pool.run(func.call(20)).unwrap(), 20);
        assert_eq!(seen.get(), 20);
        assert!(Pool::current().is_none());
    });
}

/// Else an attempt that failed is the last one, or the rest before the next takes a thread or the limit's slot.
#[test]
fn attempts_are_made_again() {
    in_time(|| {
        let pool = pool(1);
        let limit = Limit::new("one", 1);
        for (backoff, name) in [(None, "async::retries"), (Some(Duration::from_millis(2)), "async::rests")] {
            let tries = Counter::default();
            let func = Func::named(name).resource(tries.clone()).fallible_async(async |tries, n: u64| {
                yield_now().await;
                if tries.up() < 3 { Err("not yet") } else { Ok(n) }
            });
            let func = func.retries(2).limit(&limit);
            let func = match backoff {
                None => func,
                Some(first) => func.backoff(Backoff::exponential(first)),
            };
            assert_eq!(*pool.run(func.call(7)).unwrap(), 7);
            assert_eq!(tries.get(), 3);
        }
        let stats = pool.stats();
        assert_eq!((stats.computed, stats.retried, stats.failed), (2, 4, 0));
        assert_eq!((limit.running(), limit.waiting()), (0, 0));
        let rests = Func::fallible_async(
            "async::rests_on",
            async |n: u64| if n == 0 { Err("not yet") } else { Ok(()) },
        );
        let rests = rests.retries(1).backoff(Backoff::exponential(Duration::from_secs(3600)));
        let task = pool.submit(rests.call(0));
        until(|| pool.stats().queued == 1);
        pool.shutdown_now();
        assert!(task.wait().unwrap_err().is_shutdown());
    });
}

/// Else a request without an answer keeps its waiters, its connection and the end of the program.
#[test]
fn a_body_over_its_timeout_is_dropped() {
    in_time(|| {
        let pool = pool(1);
        let (entered, left) = (Counter::default(), Counter::default());
        let func = Func::named("async::stuck").resource((entered.clone(), left.clone())).in_memory();
        let func = func.func_async(async |parts, n: u64| {
            let _inside = Inside::enter(&parts.0, &parts.1);
            pending::<()>().await;
            n
        });
        let func = func.timeout(Duration::from_millis(5));
        // On a busy machine the first may be over before it is polled.
        until(|| {
            assert!(pool.run(func.call(7)).unwrap_err().is_timeout());
            entered.get() > 0
        });
        until(|| left.get() == entered.get());
        pool.shutdown();
        assert!(pool.stats().failed >= 1 && pool.stats().running == 0);
    });
}

/// Else work that nobody wants any more goes on, or work that somebody still wants does not.
#[test]
fn a_body_that_nobody_wants_is_dropped() {
    /// Notes what its drop sees.
    struct Sees(Counter, Door);
    impl Drop for Sees {
        fn drop(&mut self) {
            if cancelled() && Pool::current().is_some() {
                self.0.up();
            }
        }
    }
    in_time(|| {
        let pool = pool(1);
        let (seen, door) = (Counter::default(), Door::default());
        let func = Func::named("async::unwanted").resource((seen.clone(), door.clone()));
        let func = func.func_async(async |parts, n: u64| {
            let sees = Sees(parts.0.clone(), parts.1.clone());
            sees.1.pass().await;
            n
        });
        let (first, second) = (pool.submit(func.call(7)), pool.submit(func.call(7)));
        until(|| first.is_running());
        assert!(first.cancel());
        assert!(first.is_cancelled() && !second.is_done());
        assert_usable(&pool);
        assert_eq!(seen.get(), 0);
        assert!(second.cancel());
        assert!(second.wait().unwrap_err().is_cancelled());
        until(|| seen.get() == 1);
        // Another may be started, and cancelled before it is polled for the first time.
        let gate = hold(&pool);
        let third = pool.submit(func.call(7));
        assert!(third.cancel());
        gate.open();
        door.open();
        assert_eq!(*pool.run(func.call(7)).unwrap(), 7);
        assert_eq!((pool.stats().computed, pool.stats().cancelled), (1 + 1, 3));
    });
}

/// Else `async` functions are the way around a limit; or two of one limit that await each other wait for ever.
#[test]
fn limits_bound_those_that_run_and_lend_what_waits() {
    in_time(|| {
        let pool = pool(2);
        let limit = Limit::new("two", 2);
        let (func, door, entered, _) = at_door("async::limited");
        let func = func.limit(&limit);
        let tasks = pool.submit_all((0..9).map(|n| func.call(n)));
        until(|| entered.get() == 2 && limit.waiting() == 7);
        assert_eq!((limit.running(), pool.stats().queued), (2, 7));
        assert!(tasks[8].cancel());
        door.open();
        assert!(tasks[..8].iter().all(|task| task.wait().is_ok()));
        assert_eq!((entered.get(), limit.running(), limit.waiting()), (8, 0, 0));

        // One slot for a whole chain, and for plain functions in it.
        fn chain(limit: &Limit) -> Func<u64, u64> {
            let func =
                Func::named("async::lends").resource(limit.clone()).func_async(async |limit, n: u64| {
                    if n == 0 {
                        return 0;
                    }
                    let plain = Func::new("async::lends::plain", |n: u64| n).limit(&limit);
                    let plain = current().submit(plain.call(n));
                    let before = current().submit(chain(&limit).call(n - 1));
                    let (plain, before) = join(plain, before).await;
                    assert!(limit.running() <= limit.slots());
                    *before.unwrap() + u64::from(*plain.unwrap() == n)
                });
            func.limit(limit)
        }
        let one = Limit::new("one", 1);
        assert_eq!(*pool.run(chain(&one).call(50)).unwrap(), 50);
        assert_eq!((one.running(), one.waiting()), (0, 0));
    });
}

/// Else a body that waits for its slot to come back holds it for ever when it is cancelled.
#[test]
fn a_body_cancelled_while_it_waits_for_its_slot_gives_it_up() {
    in_time(|| {
        let pool = pool(2);
        let limit = Limit::new("one", 1);
        let (inner, inner_door, ..) = at_door("async::slot_inner");
        let outer = Func::named("async::slot_outer")
            .resource(inner)
            .func_async(async |inner, n: u64| *current().submit(inner.call(n)).await.unwrap());
        let outer = outer.limit(&limit);
        let (other, other_door, entered, _) = at_door("async::slot_other");
        let other = other.limit(&limit);
        let waits = pool.submit(outer.call(1));
        // It lent its slot, and another has it.
        let has = pool.submit(other.call(2));
        until(|| entered.get() == 1);
        inner_door.open();
        until(|| limit.waiting() == 1);
        assert!(waits.cancel());
        until(|| limit.waiting() == 0);
        other_door.open();
        assert_eq!(*has.wait().unwrap(), 2);
        assert_eq!(*pool.run(outer.call(3)).unwrap(), 3);
        assert_eq!((limit.running(), limit.waiting()), (0, 0));
    });
}

/// Else the end of a pool loses work, hangs, or leaves someone without an answer.
#[test]
fn shutdown_drains_and_shutdown_now_drops() {
    in_time(|| {
        let drained = pool(1);
        let (func, door, entered, left) = at_door("async::drains");
        let tasks = drained.submit_all((0..10).map(|n| func.call(n)));
        until(|| entered.get() == 10);
        assert!(drained.shutdown_timeout(Duration::ZERO).unwrap_err().is_timeout());
        let opener = thread::spawn(move || door.open());
        drained.shutdown();
        opener.join().unwrap();
        assert!(tasks.iter().all(|task| matches!(task.try_get(), Some(Ok(_)))));
        assert_eq!(left.get(), 10);

        let dropped = pool(1);
        let (func, _, entered, left) = at_door("async::drops");
        let outer = Func::named("async::drops_outer")
            .resource(func)
            .fallible_async(async |inner, n: u64| current().submit(inner.call(n)).await.map(|value| *value));
        let tasks = dropped.submit_all((0..10).map(|n| outer.call(n)));
        until(|| entered.get() == 10);
        dropped.shutdown_now();
        assert!(tasks.iter().all(|task| task.wait().unwrap_err().is_shutdown()));
        assert_eq!(left.get(), 10);
        assert_eq!(dropped.stats().running, 0);
    });
}

/// Else dropping the last handle of a pool inside an async body waits for that very body.
#[test]
fn the_last_handle_may_go_in_a_body() {
    in_time(|| {
        let pool = pool(1);
        let slot = Arc::new(Mutex::new(Some(pool.clone())));
        let door = Door::default();
        let func = Func::named("async::last").resource((Arc::clone(&slot), door.clone()));
        let func = func.in_memory().func_async(async |parts, n: u64| {
            parts.1.pass().await;
            drop(parts.0.lock().unwrap().take());
            yield_now().await;
            n
        });
        let task = pool.submit(func.call(7));
        drop(pool);
        door.open();
        assert_eq!(*task.wait().unwrap(), 7);
    });
}

/// A body that awaits another by name, through a table of functions.
fn ring(pool: &Pool, name: &'static str, is_async: &'static [bool]) -> Task<u64> {
    type Ring = (&'static str, &'static [bool]);
    fn next((ring, at): &(Arc<Ring>, usize)) -> Task<u64> {
        let next = (at + 1) % ring.1.len();
        current().submit(func(ring, next).call(0))
    }
    fn func(ring: &Arc<Ring>, at: usize) -> Func<u64, u64> {
        let named = Func::named(format!("{}::{at}", ring.0)).resource((Arc::clone(ring), at));
        match ring.1[at] {
            true => named.fallible_async(async |parts, _: u64| next(&parts).await.map(|value| *value)),
            false => named.fallible(|parts, _: u64| next(parts).wait().map(|value| *value)),
        }
    }
    let ring = Arc::new((name, is_async));
    pool.submit(func(&ring, 0).call(0))
}

/// Else functions that await each other in a circle do so for ever.
#[test]
fn cycles_are_found_and_named() {
    in_time(|| {
        let rings: [(&str, &[bool]); 6] = [
            ("async::self", &[true]),
            ("async::two", &[true, true]),
            ("async::three", &[true, true, true]),
            ("async::mixed", &[true, false]),
            ("async::other", &[false, true]),
            ("async::long", &[false, true, true, false, true]),
        ];
        for threads in [1, 4] {
            for (name, is_async) in rings {
                let pool = pool(threads);
                let error = ring(&pool, name, is_async).wait().unwrap_err();
                assert!(error.is_cycle(), "{name}: {error}");
                let path = error.to_string();
                for at in 0..is_async.len() {
                    assert!(path.contains(&format!("{name}::{at}(#")), "{path}");
                }
                assert_usable(&pool);
            }
        }
    });
}

/// Else two that find each other at the same moment both wait, or a wait that would end is refused.
#[test]
fn whoever_closes_a_cycle_is_told_and_no_one_else() {
    in_time(|| {
        let pool = pool(4);
        for round in 0..200 {
            let both = Arc::new(Mutex::new(Vec::<Task<u64>>::new()));
            let func = |name: &str| {
                let door = Door::default();
                let named = Func::named(name).resource((Arc::clone(&both), door.clone())).in_memory();
                let func = named.fallible_async(async |parts, n: u64| -> Result<u64, Error> {
                    parts.1.pass().await;
                    let other = parts.0.lock().unwrap()[1 - (n % 2) as usize].clone();
                    // Another future that is ready in the end: told of the cycle, it still gets there.
                    match other.await {
                        Ok(value) => Ok(*value + 1),
                        Err(error) if error.is_cycle() => Ok(100),
                        Err(error) => Err(error),
                    }
                });
                (func, door)
            };
            let (one, two) = (func("async::one"), func("async::two"));
            let tasks = [pool.submit(one.0.call(2 * round)), pool.submit(two.0.call(2 * round + 1))];
            both.lock().unwrap().extend(tasks.clone());
            thread::scope(|scope| {
                scope.spawn(|| one.1.open());
                scope.spawn(|| two.1.open());
            });
            let mut values = tasks.map(|task| *task.wait().unwrap());
            values.sort_unstable();
            assert_eq!(values, [100, 101]);
        }
    });
}

/// Else a body that would go on with another of its futures is told of a cycle.
#[test]
fn a_way_out_is_no_cycle() {
    in_time(|| {
        let pool = pool(2);
        let back = Arc::new(Mutex::new(None::<Task<u64>>));
        let (exit, door, ..) = at_door("async::exit");
        let start = Door::default();
        let func = Func::named("async::way").resource((Arc::clone(&back), exit, start.clone())).in_memory();
        let func = func.func_async(async |parts, n: u64| {
            parts.2.pass().await;
            let back = parts.0.lock().unwrap().clone().expect("set before the start");
            let exit = current().submit(parts.1.call(n));
            match select(back, exit).await {
                Either::Left((back, _)) => *back.unwrap() + 1000,
                Either::Right((exit, _)) => *exit.unwrap(),
            }
        });
        let first = pool.submit(func.call(7));
        let waits = pool.spawn({
            let first = first.clone();
            move || first.wait().map(|value| *value)
        });
        let second = pool.submit(
            Func::named("async::asks")
                .in_memory()
                .resource(first.clone())
                .func_async(async |first, n: u64| {
                    let first = Task::clone(&first);
                    *first.await.unwrap() + n
                })
                .call(1),
        );
        *back.lock().unwrap() = Some(second.clone());
        start.open();
        until(|| pool.stats().running >= 3);
        door.open();
        assert_eq!((*first.wait().unwrap(), *second.wait().unwrap()), (7, 8));
        assert_eq!(*waits.wait().unwrap().as_ref().as_ref().unwrap(), 7);
    });
}

/// Else a plain body that waits for an async one, or the other way round, deadlocks on few threads.
#[test]
fn plain_and_async_bodies_wait_for_each_other() {
    in_time(|| {
        fn down() -> Func<u64, u64> {
            Func::new_async("async::down", async |n: u64| match n {
                0 => 0,
                n => *current().submit(plain().call(n - 1)).await.unwrap() + 1,
            })
        }
        fn plain() -> Func<u64, u64> {
            Func::new("async::plain", |n: u64| match n {
                0 => 0,
                n => *current().run(down().call(n - 1)).unwrap() + 1,
            })
        }
        for threads in [1, 3] {
            assert_eq!(*pool(threads).run(down().call(100)).unwrap(), 100);
            assert_eq!(*pool(threads).run(plain().call(100)).unwrap(), 100);
        }
        // Blocking in an async body holds a thread, which is replaced.
        let blocks = Func::new_async("async::blocks", async |n: u64| {
            let inner = block_in_place(|| pollster::block_on(async { n + 1 }));
            *current().run(square().call(inner)).unwrap()
        });
        assert_eq!(*pool(1).run(blocks.call(2)).unwrap(), 9);
    });
}

/// Else a wait for an async body hangs where no thread is left to poll it.
#[test]
fn the_last_thread_does_not_wait_for_what_needs_it() {
    in_time(|| {
        let pool = single();
        let (func, door, entered, _) = at_door("async::needs");
        let waits = pool.spawn({
            let func = func.clone();
            move || current().run(func.call(7)).map(|value| *value)
        });
        let error = waits.wait().unwrap();
        assert!(error.as_ref().as_ref().unwrap_err().is_full(), "{error:?}");
        assert_eq!(entered.get(), 1);
        door.open();
        assert_eq!(*pool.run(func.call(7)).unwrap(), 7);
        // What is ready at once needs no other thread; and a pool with one to spare has it.
        let ready = Func::new_async("async::ready", async |n: u64| n);
        let waits = pool.spawn(move || *current().run(ready.call(7)).unwrap());
        assert_eq!(*waits.wait().unwrap(), 7);
        let pool = build(Pool::builder().threads(1).max_os_threads(2));
        let yields = Func::new_async("async::yields", async |n: u64| {
            yield_now().await;
            n
        });
        let waits = pool.spawn(move || *current().run(yields.call(7)).unwrap());
        assert_eq!(*waits.wait().unwrap(), 7);
    });
}

/// Else results of async functions are computed again in every process.
#[test]
fn results_are_found_on_disk() {
    in_time(|| {
        let dir = tempfile::tempdir().unwrap();
        let runs = Counter::default();
        let func = Func::named("async::disk").resource(runs.clone()).func_async(async |runs, n: u64| {
            runs.up();
            yield_now().await;
            vec![n; 100]
        });
        for round in 0..3 {
            let pool = Pool::open(dir.path()).unwrap();
            let tasks = pool.submit_all((0..20).map(|n| func.call(n)));
            assert!(tasks.iter().zip(0..).all(|(task, n)| *task.wait().unwrap() == vec![n; 100]));
            let source = if round == 0 { Source::Computed } else { Source::Disk };
            assert!(tasks.iter().all(|task| task.source() == Some(source)));
        }
        assert_eq!(runs.get(), 20);
    });
}

#[memo]
async fn fetch(host: &str, page: u32) -> Result<String, String> {
    yield_now().await;
    match page {
        0 => Err(format!("{host} has no page 0")),
        page => Ok(format!("{host}/{page}")),
    }
}

#[memo(in_memory, retries = 2, timeout = "1h", ignore(tries))]
async fn flaky(tries: Counter) -> Result<Arc<u64>, Error> {
    yield_now().await;
    if tries.up() < 3 { Err(current().run(fetch::call("h", 0)).unwrap_err()) } else { Ok(Arc::new(3)) }
}

/// Else an async function can't be memoized, or is no plain function any more.
#[test]
fn memo_takes_async_functions() {
    in_time(|| {
        let pool = pool(2);
        let host = String::from("example.org");
        assert_eq!(*pool.run(fetch::call(&host, 1)).unwrap(), "example.org/1");
        assert_eq!(pool.submit(fetch::call(&host, 1)).source(), Some(Source::Memory));
        assert!(pool.run(fetch::call(&host, 0)).unwrap_err().is_failed());
        assert_eq!(pollster::block_on(fetch(&host, 2)).as_deref(), Ok("example.org/2"));
        assert_eq!(pollster::block_on(pool.submit(fetch::call(&host, 3))).unwrap().as_str(), "example.org/3");
        assert_eq!(smol::block_on(pool.submit(fetch::call(&host, 4))).unwrap().as_str(), "example.org/4");
        assert_eq!(**pool.run(flaky::call(Counter::default())).unwrap(), 3);
        assert_eq!(pool.stats().retried, 2);
    });
}

/// A waker that asks the pool and the task before it passes the call on.
struct Asks(Waker, Pool, Task<u64>);

impl Wake for Asks {
    fn wake(self: Arc<Self>) {
        let Asks(waker, pool, task) = &*self;
        let _ = (pool.stats(), task.is_done(), task.try_get(), task.clone().cancel());
        let _ = pool.submit(square().call(1)).is_done();
        waker.wake_by_ref();
    }
}

/// Else an executor whose waker looks at the pool deadlocks it.
#[test]
fn no_waker_is_called_under_a_lock() {
    in_time(|| {
        let pool = pool(2);
        let limit = Limit::new("one", 1);
        let (func, door, ..) = at_door("async::asked");
        let func = func.limit(&limit);
        let outer = Func::named("async::asks_all").resource(func).func_async(async |inner, n: u64| {
            let mut task = current().submit(inner.call(n));
            let asked = task.clone();
            poll_fn(move |cx| {
                let asks = Waker::from(Arc::new(Asks(cx.waker().clone(), current(), asked.clone())));
                Pin::new(&mut task).poll(&mut Context::from_waker(&asks)).map(|_| ())
            })
            .await;
            n
        });
        let outer = outer.limit(&limit);
        let tasks = pool.submit_all((0..20).map(|n| outer.call(n)));
        door.open();
        assert!(tasks.iter().all(|task| task.wait().is_ok()));
        assert_eq!((limit.running(), limit.waiting()), (0, 0));
    });
}

/// Else a body that yields keeps everything else from its thread, or overflows an executor's stack.
#[test]
fn a_body_that_yields_lets_others_go_first() {
    in_time(|| {
        let pool = single();
        let flag = Gate::default();
        let seen = Counter::default();
        let func = Func::named("async::polite").resource(seen.clone()).func_async(async |seen, n: u64| {
            while seen.get() == 0 {
                yield_now().await;
            }
            n
        });
        let task = pool.submit(func.call(7));
        pool.spawn(move || {
            flag.open();
            seen.up();
        })
        .wait()
        .unwrap();
        assert_eq!(*task.wait().unwrap(), 7);
    });
}

/// Else async functions can't be tested with the executors that the kit has for that.
#[cfg(feature = "testing")]
#[test]
fn the_testing_kit_polls_them() {
    use memopool::testing::{Inline, Stepper};
    in_time(|| {
        let long = Func::new_async("async::inline", async |n: u64| {
            for _ in 0..n {
                yield_now().await;
            }
            n
        });
        let pool = build(Pool::builder().executor(Inline));
        assert_eq!(*pool.run(long.call(20_000)).unwrap(), 20_000);
        let stepper = Stepper::new(1);
        let pool = build(Pool::builder().executor(stepper.clone()));
        let tasks = pool.submit_all((0..10).map(|n| long.call(n)));
        stepper.run_until_idle();
        assert!(tasks.iter().all(Task::is_done));
        let (func, ..) = at_door("async::stepper");
        let task = pool.submit(func.call(1));
        stepper.run_until_idle();
        assert!(task.is_running());
        pool.shutdown_now();
        assert!(task.wait().unwrap_err().is_shutdown());
    });
}

/// Else runs get lost where wake-ups, limits, timeouts, cancels and retries meet.
#[test]
fn many_that_do_everything_all_end() {
    in_time(|| {
        let pool = pool(4);
        let (two, tries) = (Limit::new("two", 2), Counter::default());
        let func = Func::named("async::many").resource((two.clone(), tries)).fallible_async(
            async |parts, n: u64| {
                for step in 0..n % 5 {
                    yield_now().await;
                    let inner = Func::new_async("async::many_inner", async |n: u64| {
                        yield_now().await;
                        n
                    });
                    let inner = if step % 2 == 0 { inner.limit(&parts.0) } else { inner };
                    let tasks = current().submit_all((0..3).map(|m| inner.call(n * 10 + m)));
                    join_all(tasks).await;
                }
                if n.is_multiple_of(3) && parts.1.up().is_multiple_of(2) { Err("not yet") } else { Ok(n) }
            },
        );
        let func = func.retries(9).backoff(Backoff::exponential(Duration::from_micros(100)).factor(1.0));
        let limited = func.clone().limit(&two);
        let timed = func.clone().timeout(Duration::from_micros(300));
        let tasks: Vec<_> = (0..400)
            .map(|n| {
                let task = pool.submit(match n % 3 {
                    0 => func.call(n),
                    1 => limited.call(n),
                    _ => timed.call(n),
                });
                if n % 7 == 0 {
                    task.cancel();
                }
                task
            })
            .collect();
        let done = wait(&tasks, Until::All, None).done;
        assert!(done.iter().all(|task| match task.wait() {
            Ok(_) => true,
            Err(error) => error.is_cancelled() || error.is_timeout() || error.is_failed(),
        }));
        pool.shutdown();
        let stats = pool.stats();
        assert_eq!((two.running(), two.waiting(), stats.queued, stats.running), (0, 0, 0, 0));
    });
}

/// Under a tokio runtime.
#[cfg(feature = "tokio")]
mod on_tokio {
    use super::*;
    use tokio::runtime::{Builder, Runtime};

    fn runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
    }

    fn naps(name: &str) -> Func<u64, u64> {
        Func::named(name).func_async(async |ms: u64| {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            assert!(Pool::current().is_some() && !cancelled());
            ms
        })
    }

    /// Else a body can't use the timers and sockets of its runtime, which panic outside of it.
    #[test]
    fn bodies_use_its_timers() {
        in_time(|| {
            let runtime = runtime();
            let pool = build(Pool::builder().threads(1).max_os_threads(1).runtime(runtime.handle().clone()));
            let naps = naps("async::naps");
            let tasks = pool.submit_all((0..50).chain(0..50).map(|ms| naps.call(ms)));
            assert!(tasks.iter().zip((0..50).chain(0..50)).all(|(task, ms)| *task.wait().unwrap() == ms));
            assert_eq!(runtime.block_on(join_all(tasks)).len(), 100);
            let stats = pool.stats();
            assert_eq!((stats.computed, stats.joined + stats.memory_hits), (50, 50));
            // A plain body waits for one: it needs no thread of the pool.
            let waits = pool.spawn(move || *current().run(naps.call(60)).unwrap());
            assert_eq!(*waits.wait().unwrap(), 60);
        });
    }

    /// Else what a runtime polls can't be ended, or hangs the end of either.
    #[test]
    fn bodies_end_with_either() {
        in_time(|| {
            let runtime = runtime();
            let build_pool = || build(Pool::builder().threads(1).runtime(runtime.handle().clone()));
            let naps = naps("async::ends");
            let hour = 3_600_000;
            let pool = build_pool();
            let limit = Limit::new("one", 1);
            let cancelled = pool.submit(naps.clone().limit(&limit).call(hour));
            until(|| cancelled.is_running());
            assert!(cancelled.cancel());
            until(|| pool.stats().running == 0 && limit.running() == 0);
            let timed = naps.clone().timeout(Duration::from_millis(2));
            assert!(pool.run(timed.call(hour)).unwrap_err().is_timeout());
            let task = pool.submit(naps.call(hour));
            until(|| task.is_running());
            pool.shutdown_now();
            assert!(task.wait().unwrap_err().is_shutdown());
            // The runtime goes first.
            let pool = build_pool();
            let task = pool.submit(naps.call(hour));
            until(|| task.is_running());
            runtime.shutdown_background();
            assert!(task.wait().unwrap_err().is_shutdown());
            assert!(pool.run(naps.call(1)).unwrap_err().is_shutdown());
            assert_usable(&pool);
        });
    }

    /// Else a cycle over the threads of a runtime is not found.
    #[test]
    fn cycles_are_found() {
        in_time(|| {
            let runtime = runtime();
            let pool = build(Pool::builder().threads(2).runtime(runtime.handle().clone()));
            assert!(ring(&pool, "async::tokio_ring", &[true, false, true]).wait().unwrap_err().is_cycle());
        });
    }
}
