//! No wait can hang: it ends with a value, or with an error that says why there can be none.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use memopool::{Error, Func, Pool, Task, Until, as_completed, block_in_place, wait};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::{Counter, Gate, assert_usable, build, hold, in_time, pool, until};

/// How a body waits for one task.
type Way = fn(Task<u64>) -> Result<Arc<u64>, Error>;

const WAYS: [(&str, Way); 6] = [
    ("wait", |task| task.wait()),
    ("wait_timeout", |task| task.wait_timeout(Duration::from_secs(3600))),
    ("wait(All)", |task| wait(&[task], Until::All, None).done[0].wait()),
    ("wait(First)", |task| wait(&[task], Until::First, None).done[0].wait()),
    ("as_completed", |task| as_completed([task]).next().expect("one task")?.wait()),
    ("await", |task| pollster::block_on(task)),
];

fn current() -> Pool {
    Pool::current().expect("inside a task")
}

/// `n` with `names` in this order.
fn assert_in_order(text: &str, names: &[&str]) {
    let mut rest = text;
    for name in names {
        let at =
            rest.find(&format!("{name}(#")).unwrap_or_else(|| panic!("no {name} in {rest:?} of {text:?}"));
        rest = &rest[at + name.len()..];
    }
    assert_eq!(text.matches('→').count(), names.len() - 1, "{text}");
}

/// A memoized function that calls itself with its own arguments blocks its thread for ever.
#[test]
fn same_key_recursion_is_a_cycle() {
    in_time(|| {
        let pool = pool(2);
        for (way, wait) in WAYS {
            let func = Func::named("waits::ouroboros")
                .resource(wait)
                .fallible(|wait, n: u64| -> Result<u64, Error> { wait(submit_self(n)).map(|n| *n) });
            set_self(&func);
            let error = pool.run(func.call(1)).unwrap_err();
            assert!(error.is_cycle(), "{way}: {error}");
            assert_in_order(&error.to_string(), &["waits::ouroboros", "waits::ouroboros"]);
            assert!(error.to_string().starts_with("in `waits::ouroboros`: "), "{error}");
        }
        assert_usable(&pool);
    });
}

static SELF: Mutex<Option<Func<u64, u64>>> = Mutex::new(None);

fn set_self(func: &Func<u64, u64>) {
    *SELF.lock().unwrap() = Some(func.clone());
}

fn submit_self(n: u64) -> Task<u64> {
    let func = SELF.lock().unwrap().clone().expect("set");
    current().submit(func.call(n))
}

/// Spawned closures that wait for each other in a ring, each on its own thread, over the given pools: what each got.
fn ring(pools: &[Pool], way: Way) -> Vec<Result<Arc<u64>, Error>> {
    let size = pools.len();
    let (ready, shared) = (Arc::new(Barrier::new(size + 1)), Arc::new(Mutex::new(Vec::<Task<u64>>::new())));
    let (send, receive) = channel();
    let tasks: Vec<_> = (0..size)
        .map(|at| {
            let (ready, shared, send) = (Arc::clone(&ready), Arc::clone(&shared), send.clone());
            pools[at].spawn(move || {
                ready.wait();
                ready.wait();
                let next = shared.lock().unwrap()[(at + 1) % size].clone();
                let result = way(next);
                send.send((at, result.clone())).unwrap();
                result.map_or(0, |n| *n + 1)
            })
        })
        .collect();
    ready.wait();
    shared.lock().unwrap().extend(tasks.iter().cloned());
    ready.wait();
    for task in &tasks {
        task.wait().unwrap();
    }
    shared.lock().unwrap().clear();
    let mut results: Vec<_> = receive.iter().take(size).collect();
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Two tasks that wait for each other hang, or both fail where one failure is enough.
#[test]
fn a_ring_of_waits_is_a_cycle_for_exactly_one_of_them() {
    in_time(|| {
        for size in [2, 3, 5] {
            let pools = vec![pool(size); size];
            for (way, wait) in WAYS {
                let results = ring(&pools, wait);
                let cycles = results.iter().filter(|r| r.as_ref().is_err_and(Error::is_cycle)).count();
                assert_eq!(cycles, 1, "{way}, {size}: {results:?}");
                assert_eq!(results.iter().filter(|r| r.is_ok()).count(), size - 1, "{way}, {size}");
            }
            assert_usable(&pools[0]);
        }
    });
}

/// A ring over two pools hangs both: each sees only its own half.
#[test]
fn a_ring_over_two_pools_is_a_cycle() {
    in_time(|| {
        let pools = [pool(1), pool(1)];
        for (way, wait) in WAYS {
            let results = ring(&pools, wait);
            let cycles = results.iter().filter(|r| r.as_ref().is_err_and(Error::is_cycle)).count();
            assert_eq!(cycles, 1, "{way}: {results:?}");
        }
        pools.iter().for_each(assert_usable);
    });
}

/// A message about a cycle leaves out where it goes, or names the calls in an order that nobody can follow.
#[test]
fn a_b_a_over_two_threads_names_the_calls_in_order() {
    in_time(|| {
        fn step(next: &'static str, met: &Barrier) -> Result<u64, Error> {
            met.wait();
            let task = match next {
                "a" => current().submit(a().call(1)),
                _ => current().submit(b().call(1)),
            };
            let result = task.wait().map(|n| *n);
            if next == "b" { result.or(Ok(0)) } else { result }
        }
        static MET: std::sync::LazyLock<Barrier> = std::sync::LazyLock::new(|| Barrier::new(2));
        fn a() -> Func<u64, u64> {
            Func::fallible("waits::a", |_: u64| step("b", &MET))
        }
        fn b() -> Func<u64, u64> {
            Func::fallible("waits::b", |_: u64| step("a", &MET))
        }
        let pool = pool(2);
        let (a, b) = (pool.submit(a().call(1)), pool.submit(b().call(1)));
        let (a, b) = (a.wait(), b.wait());
        let text = match (&a, &b) {
            // Whoever came second was told; `a` forgives.
            (Ok(_), Err(error)) => error.to_string(),
            (Ok(_), Ok(_)) => return,
            _ => panic!("{a:?}, {b:?}"),
        };
        assert_in_order(&text, &["waits::b", "waits::a", "waits::b"]);
    });
}

/// A wait that fails because of a cycle further down loses that on its way up: callers can't tell.
#[test]
fn errors_through_callers_keep_their_nature() {
    in_time(|| {
        fn loops() -> Func<u64, u64> {
            Func::fallible("waits::loops", |n: u64| current().run(loops().call(n)).map(|n| *n))
        }
        fn fails() -> Func<u64, u64> {
            Func::fallible("waits::fails", |n: u64| -> Result<u64, std::num::ParseIntError> {
                "x".parse().map(|x: u64| x + n)
            })
        }
        fn panics() -> Func<u64, u64> {
            Func::new("waits::panics", |n: u64| -> u64 { panic!("at {n}") })
        }
        let through = Func::fallible("waits::through", |(which, n): (u8, u64)| -> Result<u64, Error> {
            let call = [loops, fails, panics][usize::from(which)]().call(n);
            Ok(*current().run(call)?)
        });
        let pool = pool(2);
        let cycle = pool.run(through.call((0, 1))).unwrap_err();
        assert!(cycle.is_cycle() && !cycle.is_failed(), "{cycle}");
        assert!(cycle.to_string().starts_with("in `waits::through`: in `waits::loops`: waiting"), "{cycle}");
        let failed = pool.run(through.call((1, 1))).unwrap_err();
        assert!(failed.is_failed() && failed.downcast_ref::<std::num::ParseIntError>().is_some(), "{failed}");
        assert!(failed.to_string().starts_with("in `waits::through`: `waits::fails` failed"), "{failed}");
        let panic = pool.run(through.call((2, 1))).unwrap_err();
        assert_eq!(panic.panic_message(), Some("at 1"), "{panic}");
        assert!(std::error::Error::source(&cycle).is_some(), "a chain for those who print chains");
    });
}

/// A wait for the first of several is refused as a cycle, though one of them is about to come.
#[test]
fn an_or_edge_with_a_way_out_is_no_cycle() {
    in_time(|| {
        let pool = pool(3);
        let gate = Gate::default();
        let way_out = pool.spawn({
            let gate = gate.clone();
            move || {
                gate.pass();
                7_u64
            }
        });
        let (send, receive) = channel::<Task<u64>>();
        let blocked = Gate::default();
        let first = pool.spawn({
            let (way_out, blocked) = (way_out.clone(), blocked.clone());
            move || {
                let back = receive.recv().unwrap();
                blocked.open();
                let waited = wait(&[back, way_out], Until::First, None);
                waited.done.len() as u64
            }
        });
        let back = pool.spawn({
            let (first, blocked) = (first.clone(), blocked.clone());
            move || {
                blocked.pass();
                *first.wait().unwrap()
            }
        });
        send.send(back.clone()).unwrap();
        blocked.pass();
        gate.open();
        assert_eq!(*first.wait().unwrap(), 1);
        assert_eq!(*back.wait().unwrap(), 1);
        assert_eq!(*way_out.wait().unwrap(), 7);
    });
}

/// `wait(First)` of tasks that all lead back hangs instead of saying so.
#[test]
fn an_or_edge_without_a_way_out_is_a_cycle() {
    in_time(|| {
        let pool = pool(1);
        let (send, receive) = channel::<Vec<Task<u64>>>();
        let task = pool.spawn(move || {
            let own = receive.recv().unwrap();
            let first = wait(&own, Until::First, None);
            let cycles = as_completed(own).filter(|task| {
                task.as_ref().is_ok_and(|task| task.wait().is_err_and(|error| error.is_cycle()))
            });
            assert!(first.done[0].wait().unwrap_err().is_cycle());
            cycles.count() as u64
        });
        send.send(vec![task.clone()]).unwrap();
        assert_eq!(*task.wait().unwrap(), 1);
    });
}

/// Two futures joined in a body, one of which leads back: the body hangs on it after the other has come.
#[test]
fn a_joined_future_that_leads_back_is_a_cycle() {
    in_time(|| {
        for combinator in [Combinator::PollsAll, Combinator::PollsWoken] {
            let pool = pool(2);
            let (send, receive) = channel::<Task<u64>>();
            let gate = Gate::default();
            let task = pool.spawn({
                let (gate, pool) = (gate.clone(), pool.clone());
                move || {
                    let own = receive.recv().unwrap();
                    let other = pool.spawn(move || {
                        gate.pass();
                        5_u64
                    });
                    let results = pollster::block_on(Join::of(combinator, vec![own, other]));
                    assert!(results[0].as_ref().is_err_and(Error::is_cycle), "{combinator:?}: {results:?}");
                    **results[1].as_ref().unwrap()
                }
            });
            send.send(task.clone()).unwrap();
            until(|| pool.stats().running == 2);
            gate.open();
            assert_eq!(*task.wait().unwrap(), 5, "{combinator:?}");
        }
    });
}

/// A body that has polled one of two futures is taken for asleep: another is told of a cycle, though the second one is
/// ready.
#[test]
fn a_body_between_two_polls_does_not_close_a_cycle() {
    in_time(|| {
        let pool = pool(2);
        let (polled, go_on) = (Gate::default(), Gate::default());
        let (send, receive) = channel::<Task<u64>>();
        let first = pool.spawn({
            let (polled, go_on) = (polled.clone(), go_on.clone());
            move || {
                let mut back = receive.recv().unwrap();
                assert!(poll(&mut back).is_pending());
                polled.open();
                go_on.pass();
                3_u64
            }
        });
        let back = pool.spawn({
            let first = first.clone();
            move || {
                polled.pass();
                let mut future = first.clone();
                let polls = [poll(&mut future), poll(&mut future)];
                go_on.open();
                assert!(polls.iter().all(Poll::is_pending), "{polls:?}");
                *pollster::block_on(future).unwrap()
            }
        });
        send.send(back.clone()).unwrap();
        assert_eq!(*first.wait().unwrap(), 3);
        assert_eq!(*back.wait().unwrap(), 3);
    });
}

/// Whoever waits for two bodies that have just polled each other's futures is told that the pool has no thread left.
#[test]
fn bodies_that_look_at_each_other_are_no_lack_of_threads() {
    in_time(|| {
        let pool = pool(3);
        let ready = Arc::new(Barrier::new(3));
        let gate = Gate::default();
        let looks = |receive: std::sync::mpsc::Receiver<Task<u64>>| {
            let (ready, gate) = (Arc::clone(&ready), gate.clone());
            pool.spawn(move || {
                let mut other = receive.recv().unwrap();
                assert!(poll(&mut other).is_pending());
                ready.wait();
                gate.pass();
                1_u64
            })
        };
        let (ends, receivers): (Vec<_>, Vec<_>) = [channel(), channel()].into_iter().unzip();
        let tasks: Vec<_> = receivers.into_iter().map(looks).collect();
        ends[0].send(tasks[1].clone()).unwrap();
        ends[1].send(tasks[0].clone()).unwrap();
        ready.wait();
        let (started, running) = channel();
        let waits = pool.spawn({
            let task = tasks[0].clone();
            move || {
                started.send(()).unwrap();
                task.wait().map(|n| *n)
            }
        });
        running.recv().unwrap();
        // All three threads are taken: this runs when the last of them has begun to wait, or was refused.
        pool.spawn({
            let gate = gate.clone();
            move || gate.open()
        })
        .wait()
        .unwrap();
        assert_eq!(waits.wait().unwrap().as_ref().as_ref().unwrap(), &1);
        assert!(tasks.iter().all(|task| task.wait().is_ok()));
    });
}

/// One poll by hand.
fn poll(task: &mut Task<u64>) -> Poll<Result<Arc<u64>, Error>> {
    Pin::new(task).poll(&mut Context::from_waker(Waker::noop()))
}

/// How a hand-written `join_all` treats its children.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Combinator {
    /// Polls all that are pending whenever it is woken (`join!`).
    PollsAll,
    /// Polls those that were woken (`FuturesUnordered`, `join_all` of many).
    PollsWoken,
}

type Outcome = Result<Arc<u64>, Error>;

struct Join {
    combinator: Combinator,
    tasks: Vec<(Task<u64>, Arc<Child>, Option<Outcome>)>,
}

#[derive(Default)]
struct Child {
    woken: AtomicBool,
    parent: Mutex<Option<Waker>>,
}

impl Wake for Child {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        let parent = self.parent.lock().unwrap().clone();
        parent.expect("polled before it is woken").wake();
    }
}

impl Join {
    fn of(combinator: Combinator, tasks: Vec<Task<u64>>) -> Join {
        let child = || Arc::new(Child { woken: true.into(), parent: Mutex::new(None) });
        Join { combinator, tasks: tasks.into_iter().map(|task| (task, child(), None)).collect() }
    }
}

impl Future for Join {
    type Output = Vec<Result<Arc<u64>, Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let combinator = self.combinator;
        for (task, child, result) in &mut self.tasks {
            *child.parent.lock().unwrap() = Some(cx.waker().clone());
            let woken = child.woken.swap(false, Ordering::SeqCst);
            if result.is_none() && (woken || combinator == Combinator::PollsAll) {
                let waker = Waker::from(Arc::clone(child));
                if let Poll::Ready(outcome) = Pin::new(task).poll(&mut Context::from_waker(&waker)) {
                    *result = Some(outcome);
                }
            }
        }
        if self.tasks.iter().any(|(_, _, result)| result.is_none()) {
            return Poll::Pending;
        }
        Poll::Ready(self.tasks.iter_mut().filter_map(|(_, _, result)| result.take()).collect())
    }
}

fn fib() -> Func<u32, u64> {
    Func::new("waits::fib", |n: u32| {
        if n < 2 {
            return n.into();
        }
        let pool = current();
        let before = pool.submit(fib().call(n - 2));
        pool.run(fib().call(n - 1)).unwrap().wrapping_add(*before.wait().unwrap())
    })
}

/// Nested calls deadlock a pool with fewer threads than levels.
#[test]
fn fib_90_on_one_thread() {
    in_time(|| {
        let pool = pool(1);
        assert_eq!(*pool.run(fib().call(90)).unwrap(), 2_880_067_194_370_816_120);
        assert_eq!(pool.stats().computed, 91, "each number once");
    });
}

/// Deeper nesting overflows the stack, takes a thread per level, or hangs.
#[test]
fn fib_2000_with_default_settings() {
    in_time(|| {
        for threads in [1, 2] {
            let pool = pool(threads);
            pool.run(fib().call(2000)).unwrap();
            assert_eq!(pool.stats().computed, 2001);
            assert_usable(&pool);
        }
    });
}

fn link() -> Func<u32, u32> {
    Func::fallible("waits::link", |n: u32| -> Result<u32, Error> {
        if n == 0 { Ok(0) } else { Ok(*current().run(link().call(n - 1))? + 1) }
    })
}

/// A long pipeline whose links are submitted in order hangs or overflows, because each waits for the one before.
#[test]
fn a_chain_of_100_000_links_bottom_up() {
    in_time(|| {
        for threads in [1, 2, 8] {
            let pool = build(Pool::builder().threads(threads).queue(1000));
            let tasks = pool.submit_all((0..100_000).map(|n| link().call(n)));
            for (n, task) in tasks.iter().enumerate() {
                assert_eq!(*task.wait().unwrap() as usize, n, "with {threads} threads");
            }
            assert_usable(&pool);
        }
    });
}

/// What a body runs goes to another thread and back, though the body's own has nothing else to do: each level of a recursion
/// costs a wake-up.
#[test]
fn what_a_body_runs_is_run_by_its_own_thread() {
    in_time(|| {
        let pool = build(Pool::builder().threads(4));
        // As many threads as there may be, all of them looking for something to do.
        let gates: Vec<_> = (0..4).map(|_| hold(&pool)).collect();
        gates.iter().for_each(Gate::open);
        let whose = Func::named("waits::whose").in_memory().func(|_: u64| thread::current().id());
        let inner = pool.clone();
        let elsewhere = pool.spawn(move || {
            let own = thread::current().id();
            (0..500).filter(|n| *inner.run(whose.call(*n)).unwrap() != own).count()
        });
        assert_eq!(*elsewhere.wait().unwrap(), 0);
        let stats = pool.stats();
        assert_eq!((stats.computed, stats.queued), (500, 0), "{stats}");
    });
}

/// Deep recursion on small stacks overflows them, which ends the whole process.
#[test]
fn deep_recursion_on_small_stacks_goes_on_elsewhere() {
    in_time(|| {
        let pool = build(Pool::builder().threads(2).stack_size(256 * 1024).max_os_threads(256));
        assert_eq!(*pool.run(link().call(1000)).unwrap(), 1000);
        assert!(pool.stats().threads > 2, "it did not fit on two stacks");
        assert_usable(&pool);
    });
}

/// A call that a body still had room for when it submitted it, and no more when it waits for it, lies nowhere and hangs.
#[test]
fn where_the_room_of_a_stack_ends_nothing_is_left_lying() {
    in_time(|| {
        // Half of the stack is room: its end comes to lie everywhere within a level of nesting.
        for more in (0..16 * 1024).step_by(96) {
            let pool = build(Pool::builder().threads(1).stack_size(128 * 1024 + more).max_os_threads(64));
            assert_eq!(*pool.run(link().call(40)).unwrap(), 40, "{more} bytes more");
        }
    });
}

/// Deeper nesting than threads and stacks allow ends the process or hangs, instead of being an error.
#[test]
fn recursion_beyond_all_stacks_is_full() {
    in_time(|| {
        for max in [1, 2, 8] {
            let pool = build(Pool::builder().threads(1).stack_size(256 * 1024).max_os_threads(max));
            let error = pool.run(link().call(50_000)).unwrap_err();
            assert!(error.is_full(), "{max}: {error:?}");
            assert!(error.to_string().len() > 20);
            assert_usable(&pool);
            assert_eq!(*pool.run(link().call(10)).unwrap(), 10);
        }
    });
}

/// With one thread in all, waits of every kind hang, though the awaited task needs just this thread.
#[test]
fn one_thread_in_all_is_enough_for_every_kind_of_wait() {
    in_time(|| {
        let ways = WAYS.into_iter().filter(|(way, _)| *way != "wait_timeout");
        for (way, wait) in ways {
            let pool = build(Pool::builder().threads(1).max_os_threads(1));
            let task = pool.spawn({
                let pool = pool.clone();
                move || wait(pool.spawn(|| 3_u64)).map(|n| *n)
            });
            match &*task.wait().unwrap() {
                Ok(n) => assert_eq!(*n, 3),
                Err(error) => panic!("{way}: {error}"),
            }
            assert_eq!(pool.stats().threads, 1, "{way}");
        }
    });
}

/// A wait with a deadline inside a task ignores it, because it runs the awaited body itself.
#[test]
fn wait_timeout_in_a_task_returns_in_time() {
    in_time(|| {
        let pool = pool(1);
        let gate = Gate::default();
        let task = pool.spawn({
            let (pool, gate) = (pool.clone(), gate.clone());
            move || {
                let queued = pool.spawn({
                    let gate = gate.clone();
                    move || gate.pass()
                });
                let error = queued.wait_timeout(Duration::from_millis(1)).unwrap_err();
                assert!(error.is_timeout(), "{error}");
                let waited = wait(std::slice::from_ref(&queued), Until::All, Some(Duration::from_millis(1)));
                assert_eq!((waited.done.len(), waited.pending.len()), (0, 1));
                let mut completed = as_completed([queued.clone()]).timeout(Duration::from_millis(1));
                assert!(completed.next().unwrap().unwrap_err().is_timeout());
                // Only now may the body that it waited for end.
                gate.open();
                queued.wait().is_ok()
            }
        });
        assert!(*task.wait().unwrap());
    });
}

/// `wait_timeout` at the cap of threads hangs, though time alone would end it.
#[test]
fn wait_timeout_returns_in_time_without_any_thread_left() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1).max_os_threads(1));
        let task = pool.spawn({
            let pool = pool.clone();
            move || pool.spawn(|| 1).wait_timeout(Duration::from_millis(5)).unwrap_err().is_timeout()
        });
        assert!(*task.wait().unwrap());
        assert_usable(&pool);
    });
}

/// `as_completed` in a task on one thread hangs, since all it waits for is queued behind itself.
#[test]
fn as_completed_in_a_task_of_queued_tasks_on_one_thread() {
    in_time(|| {
        let pool = pool(1);
        let task = pool.spawn({
            let pool = pool.clone();
            move || {
                let tasks: Vec<_> = (0..50_u64).map(|n| pool.spawn(move || n)).collect();
                as_completed(tasks).map(|task| *task.unwrap().wait().unwrap()).sum::<u64>()
            }
        });
        assert_eq!(*task.wait().unwrap(), 1225);
    });
}

/// Data parallelism inside a task steals the thread of those who wait, and both hang.
#[test]
fn rayon_in_a_task_while_others_wait() {
    in_time(|| {
        let pool = pool(2);
        let func = Func::new("waits::rayon", |n: u64| (0..n).into_par_iter().map(|n| n % 7).sum::<u64>());
        let tasks: Vec<_> = (0..8).map(|_| pool.submit(func.call(100_000))).collect();
        let inside: Vec<_> = (0..8)
            .map(|_| {
                let task = tasks[0].clone();
                pool.spawn(move || *task.wait().unwrap())
            })
            .collect();
        let sum = *tasks[0].wait().unwrap();
        assert!(tasks.iter().chain(&inside).all(|task| *task.wait().unwrap() == sum));
    });
}

/// Threads of rayon that wait for tasks of a pool whose only thread waits for rayon: both wait for ever.
#[test]
fn rayon_threads_may_wait_for_tasks_when_the_body_blocks_in_place() {
    in_time(|| {
        let pool = pool(1);
        let task = pool.spawn({
            let pool = pool.clone();
            move || {
                let double = Func::new("waits::double", |n: u64| n * 2);
                block_in_place(|| {
                    (0..100).into_par_iter().map(|n| *pool.run(double.call(n)).unwrap()).sum::<u64>()
                })
            }
        });
        assert_eq!(*task.wait().unwrap(), 9900);
    });
}

/// A task that blocks on a socket or a lock takes a thread of the pool with it.
#[test]
fn block_in_place_lets_another_run() {
    in_time(|| {
        let pool = pool(1);
        let (send, receive) = channel();
        let blocked = pool.spawn(move || block_in_place(|| receive.recv().unwrap()));
        let other = pool.spawn(move || send.send(5_u64).unwrap());
        other.wait().unwrap();
        assert_eq!(*blocked.wait().unwrap(), 5);
        assert_eq!(block_in_place(|| 3), 3, "outside of tasks, too");
        assert_usable(&pool);
    });
}

/// A panic in `block_in_place` leaves its thread counted as blocked: the pool grows by one each time.
#[test]
fn a_panic_in_block_in_place_gives_the_place_back() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1).max_os_threads(2));
        for _ in 0..20 {
            let task = pool.spawn(|| block_in_place(|| std::panic::resume_unwind(Box::new("out"))));
            let task: Task<()> = task;
            assert!(task.wait().unwrap_err().is_panic());
        }
        let (running, high) = (Counter::default(), Arc::new(Mutex::new(0)));
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (running, high) = (running.clone(), Arc::clone(&high));
                pool.spawn(move || {
                    let now = running.up();
                    let mut high = high.lock().unwrap();
                    *high = now.max(*high);
                    running.0.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        assert!(tasks.iter().all(|task| task.wait().is_ok()));
        assert_eq!(*high.lock().unwrap(), 1);
    });
}

/// A callback that waits for a task which has just been served by this one is told of a cycle that is none.
#[test]
fn a_callback_may_wait_for_who_waited_for_its_task() {
    in_time(|| {
        let pool = pool(2);
        for round in 0..300 {
            let gate = Gate::default();
            let (start, started) = channel();
            let first = pool.spawn({
                let gate = gate.clone();
                move || {
                    start.send(()).unwrap();
                    gate.pass();
                }
            });
            // Running, so that `second` does not run it on its own stack: the callback would then wait for what is below.
            started.recv().unwrap();
            let second = pool.spawn({
                let first = first.clone();
                move || first.wait().is_ok()
            });
            let (send, receive) = channel();
            first.on_done(move |_| send.send(second.wait()).unwrap());
            gate.open();
            match receive.recv().unwrap() {
                Ok(fine) => assert!(*fine),
                Err(error) => panic!("round {round}: {error}"),
            }
        }
    });
}

/// A body on a thread of one pool that runs inline for another keeps the first pool's only thread for ever.
#[cfg(feature = "testing")]
#[test]
fn a_body_inside_another_pools_body_is_replaced_in_that_pool() {
    in_time(|| {
        let outer = pool(1);
        let inner = build(Pool::builder().executor(memopool::testing::Inline));
        let task = outer.spawn({
            let (outer, inner) = (outer.clone(), inner.clone());
            move || {
                let queued = outer.spawn(|| 9_u64);
                *inner.spawn(move || *queued.wait().unwrap()).wait().unwrap()
            }
        });
        assert_eq!(*task.wait().unwrap(), 9);
    });
}

/// The same with `block_in_place`: the thread that must be replaced is the outer pool's.
#[cfg(feature = "testing")]
#[test]
fn block_in_place_inside_another_pools_body_is_replaced_in_that_pool() {
    in_time(|| {
        let outer = pool(1);
        let inner = build(Pool::builder().executor(memopool::testing::Inline));
        let task = outer.spawn({
            let (outer, inner) = (outer.clone(), inner.clone());
            move || {
                let (send, receive) = channel();
                let queued = outer.spawn(move || send.send(4_u64).unwrap());
                drop(queued);
                *inner.spawn(move || block_in_place(|| receive.recv().unwrap())).wait().unwrap()
            }
        });
        assert_eq!(*task.wait().unwrap(), 4);
    });
}

/// A body of a pool at its cap waits for one of another pool, which does `meanwhile` to the first and then waits for what is queued
/// there.
fn wait_across_pools(meanwhile: fn(&Pool)) {
    for round in 0..200 {
        let capped = build(Pool::builder().threads(1).max_os_threads(1));
        let other = pool(1);
        let task = capped.spawn({
            let (capped, other) = (capped.clone(), other.clone());
            move || {
                let queued = capped.spawn(|| 1_u64);
                let back = other.spawn(move || {
                    (0..round * 10).for_each(|_| thread::yield_now());
                    meanwhile(&capped);
                    queued.wait().map(|n| *n)
                });
                match back.wait() {
                    Ok(result) => result.as_ref().clone(),
                    Err(error) => Err(error),
                }
            }
        });
        match &*task.wait().unwrap() {
            Ok(n) => assert_eq!(*n, 1),
            Err(error) => assert!(error.is_full(), "{error}"),
        }
    }
}

/// A pool at its cap waits for another pool that waits for it: neither sees that no thread is left.
#[test]
fn no_thread_left_is_noticed_across_pools() {
    in_time(|| wait_across_pools(|_| {}));
}

/// The same, when somebody has set the pool's width meanwhile: that it has no thread is forgotten.
#[test]
fn no_thread_left_is_noticed_after_a_resize() {
    in_time(|| wait_across_pools(|capped| capped.resize(1).unwrap()));
}

/// A body drops a future that it does not want any more, and goes on: its thread still counts as blocked, so that the pool
/// runs more bodies than it should.
#[test]
fn a_body_that_drops_its_future_counts_as_running() {
    in_time(|| {
        let pool = pool(1);
        let (gate, held) = (Gate::default(), Gate::default());
        let (send, receive) = channel();
        let other = crate::pool(1);
        let never = other.spawn({
            let held = held.clone();
            move || held.pass()
        });
        let body = pool.spawn({
            let gate = gate.clone();
            move || {
                let mut never = Box::pin(never);
                let mut context = Context::from_waker(Waker::noop());
                for _ in 0..3 {
                    assert!(never.as_mut().poll(&mut context).is_pending());
                }
                drop(never);
                send.send(()).unwrap();
                gate.pass();
            }
        });
        receive.recv().unwrap();
        let next = pool.spawn(|| ());
        // One that is blocked would have been replaced by now: whoever submits sees to that.
        assert_eq!(pool.stats().threads, 1);
        gate.open();
        held.open();
        body.wait().unwrap();
        next.wait().unwrap();
    });
}

/// A body at the full queue of another pool keeps its thread from the task that would make room there.
#[test]
fn a_body_that_waits_for_room_elsewhere_is_replaced() {
    in_time(|| {
        let (outer, inner) = (pool(1), build(Pool::builder().threads(1).queue(1)));
        let (send, receive) = channel();
        let task = outer.spawn({
            let (outer, inner) = (outer.clone(), inner.clone());
            move || {
                let makes_room = outer.spawn(|| 1_u64);
                let (started, running) = channel();
                let waits = inner.spawn(move || {
                    started.send(()).unwrap();
                    *makes_room.wait().unwrap()
                });
                running.recv().unwrap();
                let tasks: Vec<_> = (0..5).map(|n| inner.spawn(move || n)).collect();
                send.send((waits, tasks)).unwrap();
            }
        });
        let (waits, tasks) = receive.recv().unwrap();
        assert_eq!(*waits.wait().unwrap(), 1);
        assert_eq!(tasks.iter().map(|task| *task.wait().unwrap()).sum::<u64>(), 10);
        task.wait().unwrap();
    });
}

/// Whoever holds a lock of the application while a pool helps in its thread deadlocks with itself: unrelated work must
/// not run on top of a waiting body.
#[test]
fn a_waiting_body_never_runs_unrelated_work_on_its_stack() {
    in_time(|| {
        let pool = pool(1);
        let lock = Arc::new(Mutex::new(0_u64));
        let task = pool.spawn({
            let (pool, lock) = (pool.clone(), Arc::clone(&lock));
            move || {
                let unrelated = pool.spawn({
                    let lock = Arc::clone(&lock);
                    move || *lock.lock().unwrap() += 1
                });
                let wanted = pool.spawn(|| 2_u64);
                let mut held = lock.lock().unwrap();
                *held += *wanted.wait().unwrap();
                drop(held);
                unrelated.wait().unwrap();
            }
        });
        task.wait().unwrap();
        assert_eq!(*lock.lock().unwrap(), 3);
    });
}

/// Waiters outside of the pool that give up leave something behind that the end of the run stumbles over.
#[test]
fn many_waiters_with_deadlines_come_and_go() {
    in_time(|| {
        let pool = pool(1);
        let gate = Gate::default();
        let task = pool.spawn({
            let gate = gate.clone();
            move || {
                gate.pass();
                1_u64
            }
        });
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let error = task.wait_timeout(Duration::from_micros(10)).unwrap_err();
                        assert!(error.is_timeout());
                    }
                });
            }
        });
        gate.open();
        assert_eq!(*task.wait().unwrap(), 1);
    });
}

/// A diamond of dependencies, each shared by two: some node is computed twice, or the graph takes it for a cycle.
#[test]
fn shared_dependencies_are_no_cycle() {
    in_time(|| {
        fn cell() -> Func<(u32, u32), u64> {
            Func::new("waits::pascal", |(row, column): (u32, u32)| {
                if column == 0 || column == row {
                    return 1;
                }
                let pool = current();
                let above = [(row - 1, column - 1), (row - 1, column)].map(|at| pool.submit(cell().call(at)));
                wait(&above, Until::All, None).done.iter().map(|task| *task.wait().unwrap()).sum()
            })
        }
        for threads in [1, 4] {
            let pool = pool(threads);
            assert_eq!(*pool.run(cell().call((30, 15))).unwrap(), 155_117_520);
            let stats = pool.stats();
            assert!(stats.computed <= 31 * 32 / 2, "{stats}");
            assert_eq!(stats.failed + stats.panicked, 0);
        }
    });
}

/// Many bodies that wait for each other in random directions: whatever closes a cycle is told, nobody hangs.
#[test]
fn a_random_graph_of_waits_always_ends() {
    in_time(|| {
        fn node() -> Func<(u64, u64), u64> {
            Func::fallible("waits::random", |(seed, at): (u64, u64)| -> Result<u64, Error> {
                let mut todo: VecDeque<u64> = (0..3).map(|i| mix(seed ^ (at * 3 + i)) % 40).collect();
                let mut sum = 0_u64;
                while let Some(next) = todo.pop_front() {
                    sum = sum.wrapping_add(match current().run(node().call((seed, next))) {
                        Ok(n) => *n,
                        Err(error) if error.is_cycle() => 1,
                        Err(error) => return Err(error),
                    });
                }
                Ok(sum)
            })
        }
        let pool = pool(4);
        for seed in 0..40 {
            let tasks = pool.submit_all((0..40).map(|at| node().call((seed, at))));
            for task in tasks {
                let result = task.wait();
                assert!(result.is_ok(), "seed {seed}: {result:?}");
            }
        }
        assert_usable(&pool);
    });
}

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 7
}
