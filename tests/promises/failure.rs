//! Worker failure: threads that are stuck, die or can't be started, and hooks that panic.

use std::cell::RefCell;
use std::panic::{panic_any, resume_unwind};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use memopool::{
    Builder, Error, Event, Executor, Func, Job, Pool, Task, Until, block_in_place, cancelled, wait,
};

use crate::run::Load;
use crate::{Counter, Gate, assert_usable, build, hold, in_time, pool, until};

/// Milliseconds: so long may bodies run that are to be stuck.
const SHORT: Duration = Duration::from_millis(5);

/// A body that runs until the gate opens, and says then whether it was told to stop.
fn stuck(gate: &Gate) -> Func<u64, u64> {
    let seen = |gate: &Gate, n: u64| {
        gate.pass();
        assert!(cancelled(), "it is over its timeout");
        n
    };
    Func::named("failure::stuck").resource(gate.clone()).func(seen).timeout(SHORT)
}

/// How many bodies run at once when many could.
fn most_at_once(pool: &Pool) -> u64 {
    let load = Load::default();
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let load = load.clone();
            pool.spawn(move || load.body())
        })
        .collect();
    tasks.iter().for_each(|task| _ = task.wait().unwrap());
    load.most()
}

/// A body that hangs takes a thread out of the pool for good: with as many of them as threads, nothing runs any more.
#[test]
fn a_stuck_body_is_replaced_until_it_returns() {
    in_time(|| {
        let events = Arc::new(Mutex::new(Vec::new()));
        let pool = build(Pool::builder().threads(1..=1).keep_alive(Duration::from_millis(1)).on_event({
            let events = Arc::clone(&events);
            move |event| {
                if let Event::Failed { function, .. } | Event::Stuck { function, .. } = event {
                    events.lock().unwrap().push((function.to_string(), matches!(event, Event::Stuck { .. })));
                }
            }
        }));
        let gate = Gate::default();
        let task = pool.submit(stuck(&gate).call(1));
        let queued = pool.spawn(|| 5);
        assert!(task.wait().unwrap_err().is_timeout());
        assert_eq!(*queued.wait().unwrap(), 5, "another thread is in its place");
        until(|| (pool.stats().running, pool.stats().stuck) == (1, 1));
        assert!(pool.stats().to_string().contains("\nstuck "), "{}", pool.stats());
        assert_eq!(most_at_once(&pool), 1, "one, not more");
        // Asked by a body: a thread that has nothing to do may have left.
        let threads = pool.spawn(|| Pool::current().expect("inside").stats().threads);
        assert_eq!(*threads.wait().unwrap(), 2);
        let told = || events.lock().unwrap().clone();
        until(|| told().len() == 2);
        let name = || "failure::stuck".to_string();
        assert_eq!(told(), [(name(), false), (name(), true)]);
        gate.open();
        until(|| pool.stats().stuck == 0);
        assert!(!pool.stats().to_string().contains("stuck"));
        assert_eq!(most_at_once(&pool), 1, "the one that came back is one too many");
        until(|| pool.stats().threads == 1);
        assert_usable(&pool);
    });
}

/// Bodies that hang one after the other, and come back, leave the pool with too few threads, or too many.
#[test]
fn many_stuck_bodies_come_and_go() {
    in_time(|| {
        let pool = pool(2);
        for _ in 0..5 {
            let gate = Gate::default();
            let tasks = pool.submit_all((0..6).map(|n| stuck(&gate).call(n)));
            for task in &tasks {
                assert!(task.wait().unwrap_err().is_timeout());
            }
            until(|| pool.stats().stuck == 6);
            assert!(most_at_once(&pool) <= 2);
            gate.open();
            until(|| pool.stats().stuck == 0);
        }
        assert!(most_at_once(&pool) <= 2);
        // Both are there.
        let (send, receive) = channel();
        let first = pool.spawn(move || receive.recv().unwrap());
        let second = pool.spawn(move || send.send(7).unwrap());
        second.wait().unwrap();
        assert_eq!(*first.wait().unwrap(), 7);
    });
}

/// A body that returns in the moment of its timeout is counted as stuck for ever, or its thread as missing.
#[test]
fn a_body_that_returns_at_its_timeout_is_not_stuck() {
    in_time(|| {
        let pool = pool(1);
        let func = Func::new("failure::close", |n: u64| {
            (0..n % 200).for_each(|_| thread::yield_now());
            n
        });
        let func = func.timeout(Duration::from_micros(40));
        for n in 0..2000 {
            match pool.run(func.call(n)) {
                Ok(value) => assert_eq!(*value, n),
                Err(error) => assert!(error.is_timeout(), "{error}"),
            }
        }
        until(|| pool.stats().running == 0);
        assert_eq!(pool.stats().stuck, 0);
        assert_eq!(most_at_once(&pool), 1);
        assert_usable(&pool);
    });
}

/// A body that waits when its timeout comes is one thread, and counts as two.
#[test]
fn a_stuck_body_that_waits_is_one_thread() {
    in_time(|| {
        let (pool, gate) = (pool(1), Gate::default());
        let waits = Func::named("failure::waits").resource(gate.clone()).func(|gate, n: u64| {
            let pool = Pool::current().expect("inside a task");
            let gate = gate.clone();
            let nested = pool.spawn(move || gate.pass());
            // Not `wait`, which runs it right here.
            wait(&[nested], Until::First, None);
            n
        });
        let task = pool.submit(waits.timeout(SHORT).call(1));
        assert!(task.wait().unwrap_err().is_timeout());
        assert_eq!(pool.stats().stuck, 1);
        let more: Vec<_> = (0..3).map(|n| pool.spawn(move || n)).collect();
        assert_eq!(pool.stats().threads, 2, "the one that waits, and the one it waits for");
        gate.open();
        more.iter().for_each(|task| _ = task.wait().unwrap());
        until(|| pool.stats().stuck == 0);
        assert_eq!(most_at_once(&pool), 1);
    });
}

/// At the cap of threads, with all of them stuck, what is queued fails or hangs, instead of waiting until one is back.
#[test]
fn a_stuck_body_at_the_cap_of_threads() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1).max_os_threads(1));
        let gate = Gate::default();
        let task = pool.submit(stuck(&gate).call(1));
        let queued = pool.spawn(|| 5);
        assert!(task.wait().unwrap_err().is_timeout());
        let stats = pool.stats();
        assert_eq!((stats.threads, stats.stuck, stats.queued), (1, 1, 1));
        assert!(pool.shutdown_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
        gate.open();
        assert_eq!(*queued.wait().unwrap(), 5);
        pool.shutdown();
    });
}

/// A body that is stuck on somebody else's thread is nobody's: the statistics say that all is well.
#[test]
fn a_stuck_body_of_an_executor_is_counted() {
    in_time(|| {
        struct NewThread;
        impl Executor for NewThread {
            fn execute(&self, job: Job) {
                thread::spawn(move || job.run());
            }
        }
        let (pool, gate) = (build(Pool::builder().executor(NewThread)), Gate::default());
        let task = pool.submit(stuck(&gate).call(1));
        assert!(task.wait().unwrap_err().is_timeout());
        let stats = pool.stats();
        assert_eq!((stats.stuck, stats.threads), (1, 0));
        gate.open();
        until(|| pool.stats().stuck == 0);
    });
}

/// A thread inside of two waits at once counts as two that are missing: more bodies run than were asked for.
#[test]
fn a_thread_that_blocks_twice_is_one_thread() {
    in_time(|| {
        let pool = pool(1);
        let inside = |pool: &Pool| {
            let gate = Gate::default();
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    let gate = gate.clone();
                    pool.spawn(move || gate.pass())
                })
                .collect();
            let threads = pool.stats().threads;
            gate.open();
            (threads, tasks)
        };
        let task = pool.spawn({
            let pool = pool.clone();
            move || block_in_place(|| block_in_place(|| inside(&pool)))
        });
        let (threads, tasks) = &*task.wait().unwrap();
        assert_eq!(*threads, 2, "the one that blocks, and the one in its place");
        tasks.iter().for_each(|task| _ = task.wait().unwrap());
        assert_eq!(most_at_once(&pool), 1);
    });
}

/// The same with a task that is waited for inside of `block_in_place`.
#[test]
fn a_wait_inside_block_in_place_is_one_thread() {
    in_time(|| {
        let pool = pool(1);
        let task = pool.spawn({
            let pool = pool.clone();
            move || {
                block_in_place(|| {
                    let other = pool.clone();
                    let awaited = pool.spawn(move || {
                        // Long enough for that one to wait, on any machine that is not too busy.
                        (0..50_000).for_each(|_| thread::yield_now());
                        let more: Vec<_> = (0..3).map(|n| other.spawn(move || n)).collect();
                        (other.stats().threads, more)
                    });
                    until(|| awaited.is_running());
                    let waited = wait(&[awaited], Until::First, None);
                    let (threads, more) = &*waited.done[0].wait().unwrap();
                    more.iter().for_each(|task| _ = task.wait().unwrap());
                    *threads
                })
            }
        });
        assert_eq!(*task.wait().unwrap(), 2, "the one that waits, and the one it waits for");
        assert_eq!(most_at_once(&pool), 1);
    });
}

/// A task that is run on top of a body in `block_in_place` does not count: another runs beside it.
#[test]
fn a_body_on_top_of_a_blocked_one_runs() {
    in_time(|| {
        let pool = pool(1);
        let task = pool.spawn({
            let pool = pool.clone();
            move || {
                block_in_place(|| {
                    // The thread in the place of this one has that to do, so that this one runs `helped` itself.
                    let gate = hold(&pool);
                    let other = pool.clone();
                    let helped = pool.spawn(move || {
                        let more = other.spawn(|| ());
                        gate.open();
                        until(|| other.stats().running == 2);
                        // Time for the other thread to take what it must leave alone.
                        (0..50_000).for_each(|_| thread::yield_now());
                        (more.is_done(), more)
                    });
                    let (beside, more) = &*helped.wait().unwrap();
                    more.wait().unwrap();
                    *beside
                })
            }
        });
        assert!(!*task.wait().unwrap(), "two bodies ran at once");
        assert_eq!(most_at_once(&pool), 1);
    });
}

/// A panic's payload that panics when it is dropped, so many times.
struct Nested(u32);

impl Drop for Nested {
    fn drop(&mut self) {
        if self.0 > 0 {
            resume_unwind(Box::new(Nested(self.0 - 1)));
        }
    }
}

/// A payload that panics when it is dropped ends the thread that has just caught it: the pool gets slower with each, and at
/// last stands still.
#[test]
fn payloads_that_panic_kill_no_worker() {
    in_time(|| {
        let hooks = Counter::default();
        let pool = build(
            Pool::builder()
                .threads(2..=2)
                .on_thread_start({
                    let hooks = hooks.clone();
                    move || {
                        hooks.up();
                        panic_any(Nested(3));
                    }
                })
                .on_event(|_| panic_any(Nested(3))),
        );
        struct InDrop;
        impl Drop for InDrop {
            fn drop(&mut self) {
                if !thread::panicking() {
                    resume_unwind(Box::new(Nested(3)));
                }
            }
        }
        let calls = Counter::default();
        for _ in 0..20 {
            let body: Task<()> = pool.spawn(|| resume_unwind(Box::new(Nested(3))));
            let argument = pool.spawn({
                let argument = InDrop;
                move || drop(argument)
            });
            let result = pool.spawn(|| InDrop);
            for _ in 0..3 {
                let calls = calls.clone();
                body.on_done(move |_| {
                    calls.up();
                    resume_unwind(Box::new(Nested(3)));
                });
            }
            assert!(body.wait().unwrap_err().is_panic());
            assert!(argument.wait().unwrap_err().is_panic());
            std::mem::forget(result.wait().unwrap());
            std::mem::forget(result);
        }
        until(|| calls.get() == 60);
        assert!(hooks.get() <= 2, "{} threads were started for two", hooks.get());
        assert_usable(&pool);
        pool.shutdown();
        assert_eq!(pool.stats().threads, 0);
    });
}

/// A hook that fails on each thread goes unnoticed.
#[test]
fn a_start_hook_that_panics_is_told() {
    in_time(|| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let pool =
            build(Pool::builder().threads(1).on_thread_start(|| panic!("no such priority")).on_event({
                let told = Arc::clone(&told);
                move |event| {
                    if let Event::HookPanicked { message } = event {
                        told.lock().unwrap().push(message.to_string());
                    }
                }
            }));
        assert_eq!(*pool.spawn(|| 3).wait().unwrap(), 3);
        assert_eq!(*told.lock().unwrap(), ["no such priority"]);
        assert_usable(&pool);
    });
}

/// A pool that gets no thread at all leaves its tasks in the queue, and their waiters hang.
#[test]
fn a_pool_without_any_thread_says_so() {
    in_time(|| {
        let told = Counter::default();
        // More than any address space has.
        let builder: Builder = Pool::builder().threads(2).stack_size(1 << 60).on_event({
            let told = told.clone();
            move |event| {
                if let Event::ThreadFailed { .. } = event {
                    told.up();
                }
            }
        });
        let pool = build(builder);
        let func = Func::new("failure::no_thread", |n: u64| n);
        for _ in 0..3 {
            let error: Error = pool.run(func.call(1)).unwrap_err();
            assert!(error.is_full() && error.to_string().contains("thread"), "{error}");
            assert!(pool.spawn(|| ()).wait().unwrap_err().is_full());
        }
        assert_eq!(told.get(), 6);
        let stats = pool.stats();
        assert_eq!((stats.threads, stats.queued, stats.running), (0, 0, 0));
        pool.shutdown();
    });
}

/// A pool kept in a thread-local ends the process when its thread does.
#[test]
fn a_pool_in_a_thread_local_is_dropped_with_its_thread() {
    thread_local!(static POOL: RefCell<Option<Pool>> = const { RefCell::new(None) });
    in_time(|| {
        let done = Counter::default();
        for _ in 0..3 {
            let done = done.clone();
            let thread = thread::spawn(move || {
                // Before the thread first uses anything else of the pool's, so that it is dropped last.
                POOL.set(Some(pool(2)));
                POOL.with_borrow(|pool| {
                    let pool = pool.as_ref().unwrap();
                    assert_usable(pool);
                    (0..10).for_each(|_| {
                        let done = done.clone();
                        drop(pool.spawn(move || done.up()));
                    });
                });
            });
            thread.join().unwrap();
        }
        assert_eq!(done.get(), 30, "dropping it has waited for them");
    });
}

/// A worker whose thread-local holds the last handle of its own pool joins itself, which ends the process.
#[test]
fn a_pool_in_a_thread_local_of_its_own_worker() {
    thread_local!(static POOL: RefCell<Option<Pool>> = const { RefCell::new(None) });
    in_time(|| {
        let (send, receive) = channel::<()>();
        let builder = Pool::builder().threads(1).keep_alive(Duration::from_millis(1));
        let pool = build(builder.on_thread_start(move || _ = &send));
        let task = pool.spawn({
            let pool = pool.clone();
            move || POOL.set(Some(pool))
        });
        task.wait().unwrap();
        drop((pool, task));
        assert!(receive.recv().is_err(), "the pool has gone, and its hook with it");
    });
}
