//! Threads, queue, panics, and the end of a pool.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use memopool::{Error, Executor, Func, Job, Pool, Task, cancelled};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Counter, Gate, assert_usable, build, held_pool, hold, in_time, pool, until};

/// How many bodies run at once, and how many did at most.
#[derive(Clone, Default)]
pub(crate) struct Load {
    now: Counter,
    most: Arc<Mutex<u64>>,
}

impl Load {
    pub(crate) fn body(&self) {
        let now = self.now.up();
        let mut most = self.most.lock().unwrap();
        *most = now.max(*most);
        drop(most);
        (0..5).for_each(|_| thread::yield_now());
        self.now.0.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn most(&self) -> u64 {
        *self.most.lock().unwrap()
    }
}

/// A pool that is given one task at a time starts all its threads, and each costs a stack.
#[test]
fn threads_start_on_demand() {
    in_time(|| {
        let pool = pool(8);
        assert_eq!(pool.stats().threads, 0, "none before the first task");
        for n in 0..200_u64 {
            assert_eq!(*pool.spawn(move || n).wait().unwrap(), n);
        }
        // A worker that is about to look for work does not count as idle: now and then a second one is started.
        assert!(pool.stats().threads <= 4, "{} threads", pool.stats().threads);
    });
}

/// An idle thread is left to sleep while a new one is started.
#[test]
fn idle_threads_are_used_before_new_ones_start() {
    in_time(|| {
        let started = Counter::default();
        let pool = build(Pool::builder().threads(64).on_thread_start({
            let started = started.clone();
            move || _ = started.up()
        }));
        for _ in 0..200 {
            pool.spawn(|| ()).wait().unwrap();
            until(|| pool.stats().running == 0);
        }
        assert!(started.get() <= 8, "{} threads for one task at a time", started.get());
    });
}

/// Threads once started stay for ever, with their stacks.
#[test]
fn idle_threads_retire_after_keep_alive() {
    in_time(|| {
        let pool = build(Pool::builder().threads(8).keep_alive(Duration::from_millis(1)));
        let barrier = Arc::new(Barrier::new(8));
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                pool.spawn(move || _ = barrier.wait())
            })
            .collect();
        tasks.iter().for_each(|task| _ = task.wait().unwrap());
        until(|| pool.stats().threads == 0);
        assert_usable(&pool);
    });
}

/// The threads that were asked to stay leave, and each task after a pause pays for a new one.
#[test]
fn the_minimum_of_threads_stays() {
    in_time(|| {
        let names = Arc::new(Mutex::new(BTreeSet::new()));
        let pool = build(Pool::builder().threads(2..=6).keep_alive(Duration::from_millis(1)));
        let barrier = Arc::new(Barrier::new(6));
        let tasks: Vec<_> = (0..6)
            .map(|_| {
                let (barrier, names) = (Arc::clone(&barrier), Arc::clone(&names));
                pool.spawn(move || {
                    barrier.wait();
                    names.lock().unwrap().insert(thread::current().name().unwrap().to_owned());
                })
            })
            .collect();
        tasks.iter().for_each(|task| _ = task.wait().unwrap());
        assert!(names.lock().unwrap().iter().all(|name| name.starts_with("memopool-")));
        until(|| pool.stats().threads == 2);
        (0..10_000).for_each(|_| thread::yield_now());
        assert_eq!(pool.stats().threads, 2);
    });
}

/// More bodies run at once than was asked for: a database gets more connections than it allows.
#[test]
fn never_more_than_the_width_run_at_once() {
    in_time(|| {
        for width in [1, 2, 4] {
            let (load, pool) = (Load::default(), pool(width));
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let tasks: Vec<_> = (0..300)
                            .map(|_| {
                                let load = load.clone();
                                pool.spawn(move || load.body())
                            })
                            .collect();
                        tasks.iter().for_each(|task| _ = task.wait().unwrap());
                    });
                }
            });
            assert!(load.most() <= width as u64, "{} of {width}", load.most());
        }
    });
}

/// `resize` is not obeyed under load, or loses work.
#[test]
fn resize_up_and_down_under_load() {
    in_time(|| {
        let pool = pool(1);
        let submit = |load: &Load| -> Vec<Task<()>> {
            (0..200)
                .map(|_| {
                    let load = load.clone();
                    pool.spawn(move || load.body())
                })
                .collect()
        };
        for width in [4, 2, 6, 1, 3] {
            // What was started before may end as it began.
            let under_load = submit(&Load::default());
            pool.resize(width).unwrap();
            under_load.iter().for_each(|task| _ = task.wait().unwrap());
            let load = Load::default();
            submit(&load).iter().for_each(|task| _ = task.wait().unwrap());
            assert!(load.most() <= width as u64, "{} of {width}", load.most());
        }
        pool.resize(5).unwrap();
        let barrier = Arc::new(Barrier::new(5));
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                pool.spawn(move || _ = barrier.wait())
            })
            .collect();
        tasks.iter().for_each(|task| _ = task.wait().unwrap());
    });
}

/// Work that is queued already does not get the threads of a wider pool.
#[test]
fn resize_up_reaches_what_is_queued() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let barrier = Arc::new(Barrier::new(3));
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                pool.spawn(move || _ = barrier.wait())
            })
            .collect();
        pool.resize(4).unwrap();
        tasks.iter().for_each(|task| _ = task.wait().unwrap());
        gate.open();
    });
}

/// A submitter without end fills the memory, because nothing holds it back.
#[test]
fn a_full_queue_holds_submitters_back() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1).queue(4));
        let gate = hold(&pool);
        let func = Func::new("run::queued", |n: u64| n);
        let tasks = pool.submit_all((0..4).map(|n| func.call(n)));
        assert_eq!(pool.stats().queued, 4);
        let refused = pool.try_submit(func.call(4)).unwrap_err();
        assert_eq!(refused.key(), func.call(4).key(), "the call comes back");
        assert!(pool.try_submit(func.call(0)).is_ok(), "a join needs no place");
        let submitted = AtomicBool::new(false);
        thread::scope(|scope| {
            let blocked = scope.spawn(|| {
                let task = pool.submit(func.call(5));
                submitted.store(true, Ordering::SeqCst);
                task.wait()
            });
            (0..1000).for_each(|_| thread::yield_now());
            assert!(!submitted.load(Ordering::SeqCst));
            assert!(tasks[3].cancel(), "a place in the queue");
            until(|| submitted.load(Ordering::SeqCst));
            gate.open();
            assert_eq!(*blocked.join().unwrap().unwrap(), 5);
        });
        assert_eq!(*pool.submit(refused).wait().unwrap(), 4);
        assert!(pool.try_submit(func.call(0)).is_ok(), "a hit needs no place");
    });
}

/// Many submitters at a full queue: one sleeps on though there is room.
#[test]
fn many_submitters_at_a_short_queue_all_get_through() {
    in_time(|| {
        let pool = build(Pool::builder().threads(2).queue(1));
        let func = Func::new("run::short_queue", |n: u64| n);
        thread::scope(|scope| {
            for thread in 0..6_u64 {
                let (pool, func) = (&pool, &func);
                scope.spawn(move || {
                    let tasks = pool.submit_all((0..500).map(|n| func.call(thread * 1000 + n)));
                    assert!(tasks.iter().all(|task| task.wait().is_ok()));
                });
            }
        });
        assert_eq!(pool.stats().computed, 3000);
    });
}

/// Nested work deadlocks at a full queue: the only one who could make room waits for it.
#[test]
fn submissions_from_tasks_and_callbacks_pass_the_bound() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1).queue(1));
        let func = Func::new("run::passes", |n: u64| n);
        let task = pool.spawn({
            let (pool, func) = (pool.clone(), func.clone());
            move || {
                let tasks = pool.submit_all((0..100).map(|n| func.call(n)));
                assert!(pool.try_submit(func.call(100)).is_ok());
                tasks.iter().map(|task| *task.wait().unwrap()).sum::<u64>()
            }
        });
        assert_eq!(*task.wait().unwrap(), 4950);
        let (send, receive) = channel();
        let first = pool.spawn(|| ());
        first.on_done({
            let pool = pool.clone();
            move |_| {
                let tasks = pool.submit_all((200..300).map(|n| func.call(n)));
                send.send(tasks).unwrap();
            }
        });
        let tasks = receive.recv().unwrap();
        assert!(tasks.iter().all(|task| task.wait().is_ok()));
    });
}

/// Jobs that were cancelled or run by their waiters stay in the queue until a thread comes by: memory fills up.
#[test]
fn cancelled_submissions_do_not_pile_up() {
    in_time(|| {
        struct Marked(Counter);
        impl Drop for Marked {
            fn drop(&mut self) {
                self.0.up();
            }
        }
        let (pool, gate) = held_pool();
        let dropped = Counter::default();
        for _ in 0..1000 {
            let marked = Marked(dropped.clone());
            let task = pool.spawn(move || drop(marked));
            assert!(task.cancel());
        }
        assert_eq!((dropped.get(), pool.stats().queued), (1000, 0), "its arguments are gone at once");
        gate.open();
        assert_usable(&pool);
    });
}

/// Something whose parts panic where the pool handles them.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 == "drop" && !thread::panicking() {
            resume_unwind(Box::new("in Drop"));
        }
    }
}

impl Serialize for Bomb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            "serialize" => resume_unwind(Box::new("in Serialize")),
            "error" => Err(serde::ser::Error::custom("not this one")),
            text => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|_| Bomb("decoded"))
    }
}

/// A body that panics takes its thread with it: the pool gets slower with each, and at last stands still.
#[test]
fn workers_survive_panics_of_bodies() {
    in_time(|| {
        let pool = pool(2);
        for n in 0..100_u64 {
            let task: Task<()> = pool.spawn(move || match n % 3 {
                0 => resume_unwind(Box::new("text")),
                1 => resume_unwind(Box::new(String::from("owned text"))),
                _ => resume_unwind(Box::new(Bomb("drop"))),
            });
            let error = task.wait().unwrap_err();
            let expected = ["text", "owned text", "a panic with a payload that is no string"][n as usize % 3];
            assert_eq!(error.panic_message(), Some(expected));
        }
        assert!(pool.stats().threads <= 2);
        assert_usable(&pool);
    });
}

/// A callback that panics keeps the ones after it from running, or ends the thread.
#[test]
fn workers_survive_panics_of_callbacks() {
    in_time(|| {
        let (pool, calls) = (pool(1), Counter::default());
        let gate = hold(&pool);
        let task = pool.spawn(|| 1);
        for n in 0..10 {
            let calls = calls.clone();
            task.on_done(move |_| {
                calls.up();
                if n % 2 == 0 {
                    resume_unwind(Box::new("in a callback"));
                }
            });
        }
        gate.open();
        assert_eq!(*task.wait().unwrap(), 1);
        until(|| calls.get() == 10);
        task.on_done(|_| resume_unwind(Box::new("in a callback of a finished task")));
        assert_usable(&pool);
    });
}

/// An argument or a result whose `Drop` panics takes a thread, or a waiter, with it.
#[test]
fn workers_survive_panics_of_drops() {
    in_time(|| {
        let pool = pool(2);
        let takes = Func::new("run::takes_bomb", |_: Bomb| 1_u64);
        assert!(pool.run(takes.call(Bomb("drop"))).unwrap_err().is_panic());
        let keeps =
            Func::named("run::makes_bomb").in_memory().func(|n: u64| Bomb(["drop", "fine"][n as usize]));
        let task = pool.submit(keeps.call(0));
        assert!(task.wait().is_ok());
        std::mem::forget(task);
        pool.forget(&keeps.call(0)).unwrap();
        // One that nobody wants, dropped by the pool alone.
        drop(pool.submit(keeps.call(0)));
        until(|| pool.stats().running == 0);
        pool.clear().unwrap();
        let spawned = pool.spawn({
            let bomb = Bomb("drop");
            move || _ = &bomb
        });
        _ = spawned.wait();
        let (held, gate) = held_pool();
        let queued = held.spawn({
            let bomb = Bomb("drop");
            move || _ = &bomb
        });
        assert!(queued.cancel());
        gate.open();
        assert_usable(&held);
        assert_usable(&pool);
    });
}

/// A value whose `Drop` uses the pool (it closes a handle, it logs) hangs it when it has to make room.
#[test]
fn a_value_that_has_to_go_may_use_the_pool() {
    in_time(|| {
        struct Last(Pool, Func<u64, u64>, u64);
        impl Drop for Last {
            fn drop(&mut self) {
                let task = self.0.submit(self.1.call(self.2 % 7));
                _ = (task.is_done(), self.0.stats(), self.0.get(&self.1.call(self.2)));
                drop(task);
            }
        }
        let pool = build(Pool::builder().threads(2).memory(1000));
        let small = Func::new("run::small", |n: u64| n);
        let func = Func::named("run::last")
            .in_memory()
            .resource((Mutex::new(Some(pool.clone())), small))
            .func(|(pool, small), n: u64| {
                let pool = pool.lock().unwrap().clone();
                pool.map(|pool| Last(pool, small.clone(), n))
            });
        let func = func.weigh(|_| 100);
        for n in 0..200 {
            pool.run(func.call(n)).unwrap();
        }
        pool.clear().unwrap();
        assert!(pool.stats().memory_bytes <= 1000);
        assert_usable(&pool);
    });
}

/// An argument that can't be encoded panics in the caller instead of being an error, or leaves its key claimed.
#[test]
fn panics_in_serialize_are_errors() {
    in_time(|| {
        let pool = pool(1);
        let func = Func::new("run::bomb_argument", |_: Bomb| 1_u64);
        for kind in ["serialize", "error"] {
            let error = pool.run(func.call(Bomb(kind))).unwrap_err();
            assert!(error.is_invalid() && error.to_string().contains("run::bomb_argument"), "{error}");
            assert!(pool.forget(&func.call(Bomb(kind))).unwrap_err().is_invalid());
            assert!(pool.get(&func.call(Bomb(kind))).is_none());
        }
        let results =
            Func::new("run::bomb_result", |which: usize| Bomb(["serialize", "error", "fine"][which]));
        for which in 0..2 {
            assert!(
                pool.run(results.call(which)).is_ok(),
                "the result is fine, only the cache can't have it"
            );
            assert!(pool.get(&results.call(which)).is_none());
        }
        assert!(pool.run(results.call(2)).is_ok());
        assert!(pool.get(&results.call(2)).is_some());
        assert_usable(&pool);
    });
}

/// A weigher with a defect costs the result itself.
#[test]
fn panics_in_a_weigher_cost_only_the_place_in_memory() {
    in_time(|| {
        let pool = pool(1);
        let func = Func::new("run::weigher", |n: u64| n).weigh(|_| resume_unwind(Box::new("in a weigher")));
        assert_eq!(*pool.run(func.call(3)).unwrap(), 3);
        assert!(pool.get(&func.call(3)).is_none());
        assert_usable(&pool);
    });
}

/// A hook or a listener with a defect stops the pool it only looks at.
#[test]
fn panics_in_hooks_and_listeners_are_their_own() {
    in_time(|| {
        let pool = build(
            Pool::builder()
                .threads(2)
                .on_thread_start(|| resume_unwind(Box::new("in a hook")))
                .on_event(|_| resume_unwind(Box::new("in a listener"))),
        );
        let func = Func::fallible("run::listened", |n: u64| if n == 0 { Err("zero") } else { Ok(n) });
        assert!(pool.run(func.call(0)).unwrap_err().is_failed());
        assert_eq!(*pool.run(func.call(1)).unwrap(), 1);
        assert_eq!(*pool.run(func.call(1)).unwrap(), 1);
        assert_usable(&pool);
    });
}

/// A listener that asks the pool about itself hangs it.
#[test]
fn a_listener_may_use_the_pool() {
    in_time(|| {
        static POOL: Mutex<Option<Pool>> = Mutex::new(None);
        let events = Counter::default();
        let pool = build(Pool::builder().threads(2).memory(500).on_event({
            let events = events.clone();
            move |_| {
                events.up();
                let pool = POOL.lock().unwrap().clone();
                if let Some(pool) = pool {
                    _ = (pool.stats(), pool.stats_by_func());
                }
            }
        }));
        *POOL.lock().unwrap() = Some(pool.clone());
        let func = Func::new("run::talkative", |n: u64| n);
        for n in 0..50 {
            pool.run(func.call(n)).unwrap();
            pool.run(func.call(n)).unwrap();
        }
        *POOL.lock().unwrap() = None;
        assert!(events.get() > 150, "{}", events.get());
    });
}

/// `shutdown` from several places at once hangs, or one returns while work is still going on.
#[test]
fn shutdown_from_eight_threads() {
    in_time(|| {
        let (pool, done) = (pool(2), Counter::default());
        for _ in 0..100 {
            let done = done.clone();
            drop(pool.spawn(move || done.up()));
        }
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    pool.shutdown();
                    assert_eq!(done.get(), 100);
                });
            }
        });
        pool.shutdown();
        assert_eq!(pool.stats().threads, 0);
        assert!(pool.spawn(|| ()).wait().unwrap_err().is_shutdown());
        let func = Func::new("run::after", |n: u64| n);
        let late = pool.submit(func.call(1));
        assert!(late.is_done() && late.wait().unwrap_err().is_shutdown());
        assert!(pool.try_submit(func.call(1)).unwrap().wait().unwrap_err().is_shutdown());
    });
}

/// After `shutdown` some submissions still succeed: those whose results happen to be known, or in flight.
#[test]
fn what_is_known_is_refused_after_the_end_too() {
    in_time(|| {
        let (pool, gate) = (pool(1), Gate::default());
        let func = Func::new("run::known", |n: u64| n);
        pool.run(func.call(1)).unwrap();
        // Its own tasks go on as if nothing had happened, hits included.
        let inside = pool.spawn({
            let (gate, func) = (gate.clone(), func.clone());
            move || {
                gate.pass();
                *Pool::current().unwrap().run(func.call(1)).unwrap()
            }
        });
        let in_flight = pool.submit(func.call(2));
        thread::scope(|scope| {
            let ending = scope.spawn(|| pool.shutdown());
            // (What comes before the end is queued.)
            until(|| pool.spawn(|| ()).is_done());
            assert!(pool.submit(func.call(2)).wait().unwrap_err().is_shutdown());
            gate.open();
            ending.join().unwrap();
        });
        assert_eq!((*inside.wait().unwrap(), *in_flight.wait().unwrap()), (1, 2));
        let ended = |result: Result<Arc<u64>, Error>| assert!(result.unwrap_err().is_shutdown());
        ended(pool.submit(func.call(1)).wait());
        ended(pool.try_submit(func.call(1)).unwrap().wait());
        ended(pool.run(func.call(1)));
        ended(pool.submit_all([func.call(1)])[0].wait());
        ended(pool.map([func.call(1)]).next().unwrap());
        assert_eq!(pool.get(&func.call(1)).as_deref(), Some(&1), "what is there can still be read");
        assert_eq!(pool.stats().memory_hits, 1, "the nested one alone was a hit");
    });
}

/// A callback of a cancelled task submits to the full queue, and waits for the place that its own task still holds.
#[test]
fn a_callback_of_a_cancelled_task_finds_its_place_free() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1).queue(1));
        let gate = hold(&pool);
        let queued = pool.spawn(|| 1);
        let (send, receive) = channel();
        let other = pool.clone();
        queued.on_done(move |_| send.send(other.spawn(|| 2)).unwrap());
        assert!(queued.cancel());
        let submitted = receive.recv().unwrap();
        gate.open();
        assert_eq!(*submitted.wait().unwrap(), 2);
    });
}

/// Whoever ends the pool from inside of it waits for himself.
#[test]
fn shutdown_from_a_task_and_from_a_callback() {
    in_time(|| {
        for from_callback in [false, true] {
            let pool = pool(1);
            let func = Func::new("run::nested_end", |n: u64| n);
            let inside = {
                let (pool, func) = (pool.clone(), func.clone());
                move || {
                    pool.shutdown();
                    pool.run(func.call(1)).map(|n| *n)
                }
            };
            let (send, receive) = channel();
            if from_callback {
                let (pool, gate) = (pool.clone(), hold(&pool));
                pool.spawn(|| ()).on_done(move |_| send.send(inside()).unwrap());
                gate.open();
            } else {
                drop(pool.spawn(move || send.send(inside()).unwrap()));
            }
            assert_eq!(receive.recv().unwrap().unwrap(), 1, "nested work goes on while the pool drains");
            pool.shutdown();
            assert!(pool.run(func.call(2)).unwrap_err().is_shutdown());
        }
    });
}

/// The ways to end a pool, used at once or in the wrong place, hang or undo each other.
#[test]
fn every_way_to_end_a_pool_from_everywhere_at_once() {
    type End = fn(&Pool);
    const WAYS: [End; 3] =
        [Pool::shutdown, Pool::shutdown_now, |pool| _ = pool.shutdown_timeout(Duration::from_millis(1))];
    in_time(|| {
        for round in 0..60 {
            let pool = pool(2);
            let inside = |way: End| {
                let pool = pool.clone();
                move || way(&pool)
            };
            let mut tasks: Vec<_> = (0..40).map(|_| pool.spawn(|| ())).collect();
            tasks.extend(WAYS.map(|way| pool.spawn(inside(way))));
            for (at, way) in WAYS.into_iter().enumerate() {
                let end = inside(way);
                tasks[round % 30 + at].on_done(move |_| end());
            }
            thread::scope(|scope| {
                for at in 0..8 {
                    let pool = &pool;
                    scope.spawn(move || WAYS[(at + round) % 3](pool));
                }
            });
            for task in &tasks {
                assert!(task.wait().is_ok_and(|_| true) || task.wait().unwrap_err().is_shutdown());
            }
            pool.shutdown();
            pool.shutdown_timeout(Duration::ZERO).unwrap();
            assert_eq!((pool.stats().threads, pool.stats().queued), (0, 0));
        }
    });
}

/// A submission that races the end of the pool is neither run nor refused, and its waiter hangs.
#[test]
fn shutdown_racing_submissions_loses_none() {
    in_time(|| {
        for round in 0..100_u64 {
            let pool = build(Pool::builder().threads(2).queue(4));
            let func = Func::new("run::race", |n: u64| n);
            let barrier = Barrier::new(4);
            thread::scope(|scope| {
                for thread in 0..3_u64 {
                    let (pool, func, barrier) = (&pool, &func, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        for n in 0..50 {
                            match pool.run(func.call(thread * 1000 + n)) {
                                Ok(value) => assert_eq!(*value, thread * 1000 + n),
                                Err(error) => assert!(error.is_shutdown(), "{error}"),
                            }
                        }
                    });
                }
                barrier.wait();
                (0..round % 20).for_each(|_| thread::yield_now());
                if round % 2 == 0 { pool.shutdown() } else { pool.shutdown_now() }
            });
            assert_eq!((pool.stats().queued, pool.stats().running, pool.stats().threads), (0, 0, 0));
        }
    });
}

/// Those who wait for queued work hang when the pool is ended at once.
#[test]
fn shutdown_now_resolves_what_is_queued() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let func = Func::new("run::given_up", |n: u64| n);
        let tasks = pool.submit_all((0..20).map(|n| func.call(n % 10)));
        let (send, receive) = channel();
        tasks[0].on_done(move |result| send.send(result.is_err()).unwrap());
        thread::scope(|scope| {
            let waiters: Vec<_> = tasks.iter().map(|task| scope.spawn(|| task.wait())).collect();
            scope.spawn(|| pool.shutdown_now());
            for waiter in waiters {
                let error = waiter.join().unwrap().unwrap_err();
                assert!(error.is_shutdown(), "{error}");
            }
            assert!(receive.recv().unwrap());
            gate.open();
        });
        assert_eq!(pool.stats().computed, 0);
    });
}

/// Nested work that is refused by the end of the pool hangs the body that waits for it.
#[test]
fn shutdown_now_refuses_nested_work() {
    in_time(|| {
        let pool = pool(1);
        let (started, gate) = (Gate::default(), Gate::default());
        let task = pool.spawn({
            let (pool, started, gate) = (pool.clone(), started.clone(), gate.clone());
            move || {
                let queued = pool.spawn(|| 1);
                started.open();
                gate.pass();
                let late = pool.spawn(|| 2);
                (queued.wait().map(|n| *n), late.wait().map(|n| *n))
            }
        });
        started.pass();
        thread::scope(|scope| {
            let ending = scope.spawn(|| pool.shutdown_now());
            until(|| pool.spawn(|| ()).try_get().is_some_and(|r| r.is_err_and(|error| error.is_shutdown())));
            until(|| pool.stats().queued == 0);
            gate.open();
            let both = task.wait().unwrap();
            assert!(both.0.as_ref().unwrap_err().is_shutdown());
            assert!(both.1.as_ref().unwrap_err().is_shutdown());
            ending.join().unwrap();
        });
    });
}

/// A pool with an executor that never runs its jobs can't be ended, not even at once.
#[cfg(feature = "testing")]
#[test]
fn shutdown_now_resolves_what_an_executor_holds() {
    in_time(|| {
        let stepper = memopool::testing::Stepper::new(1);
        let pool = build(Pool::builder().executor(stepper.clone()));
        let task = pool.spawn(|| 1);
        pool.shutdown_now();
        assert!(task.wait().unwrap_err().is_shutdown());
        stepper.run_until_idle();
    });
}

/// `shutdown_timeout` waits for ever, or says that all is well while work goes on.
#[test]
fn shutdown_timeout_returns_in_time() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let queued = pool.spawn(|| 1);
        let error = pool.shutdown_timeout(Duration::from_millis(1)).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert!(error.to_string().starts_with("2 of 2 tasks unfinished"), "{error}");
        gate.open();
        assert_eq!(*queued.wait().unwrap(), 1, "the work goes on");
        pool.shutdown_timeout(Duration::from_secs(3600)).unwrap();
        assert_eq!(pool.stats().threads, 0);
    });
}

/// A blocked submitter is forgotten when the pool ends.
#[test]
fn shutdown_wakes_blocked_submitters() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1).queue(1));
        let gate = hold(&pool);
        let queued = pool.spawn(|| 1);
        thread::scope(|scope| {
            let submitters: Vec<_> = (0..4).map(|_| scope.spawn(|| pool.spawn(|| 2).wait())).collect();
            let ending = scope.spawn(|| pool.shutdown());
            for submitter in submitters {
                // One may have been quick enough to come before the end, but the queue was full.
                assert!(submitter.join().unwrap().unwrap_err().is_shutdown());
            }
            gate.open();
            ending.join().unwrap();
        });
        assert_eq!(*queued.wait().unwrap(), 1);
    });
}

/// The last handle goes in a task: its thread joins itself, and hangs or panics.
#[test]
fn the_last_handle_dropped_inside_its_own_task() {
    in_time(|| {
        for _ in 0..20 {
            let pool = pool(2);
            let gate = Gate::default();
            let (send, receive) = channel();
            let task = pool.spawn({
                let (pool, gate) = (pool.clone(), gate.clone());
                move || {
                    gate.pass();
                    let nested = pool.spawn(|| 3);
                    drop(pool);
                    send.send(nested).unwrap();
                    7
                }
            });
            let queued = pool.spawn(|| 1);
            drop(pool);
            gate.open();
            assert_eq!(*task.wait().unwrap(), 7);
            assert_eq!(*queued.wait().unwrap(), 1);
            assert_eq!(*receive.recv().unwrap().wait().unwrap(), 3);
        }
    });
}

/// The threads of a pool whose last handle went in a task stay for ever.
#[test]
fn threads_end_after_the_last_handle_went_inside() {
    in_time(|| {
        thread_local!(static MARK: std::cell::RefCell<Option<std::sync::mpsc::Sender<()>>> = const { std::cell::RefCell::new(None) });
        let (send, receive) = channel();
        let pool = build(Pool::builder().threads(2).on_thread_start({
            let send = Mutex::new(Some(send));
            move || MARK.set(send.lock().unwrap().clone())
        }));
        let gate = Gate::default();
        let task = pool.spawn({
            let (pool, gate) = (pool.clone(), gate.clone());
            move || {
                gate.pass();
                drop(pool);
            }
        });
        drop(pool);
        gate.open();
        task.wait().unwrap();
        drop(task);
        // Disconnected once the pool and all its threads are gone.
        assert!(receive.recv().is_err());
    });
}

/// Leaving the scope of a pool throws away what was submitted.
#[test]
fn dropping_the_pool_finishes_queued_work() {
    in_time(|| {
        let done = Counter::default();
        let (pool, gate) = held_pool();
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let done = done.clone();
                pool.spawn(move || done.up())
            })
            .collect();
        gate.open();
        drop(pool);
        assert_eq!(done.get(), 50);
        assert!(tasks.iter().all(Task::is_done));
    });
}

/// A pool on somebody else's threads leaves its waiters hanging when those drop its jobs.
#[test]
fn an_executor_that_drops_jobs_is_a_shutdown() {
    in_time(|| {
        struct Drops;
        impl Executor for Drops {
            fn execute(&self, job: Job) {
                drop(job);
            }
        }
        struct Panics;
        impl Executor for Panics {
            fn execute(&self, _: Job) {
                resume_unwind(Box::new("in an executor"));
            }
        }
        let pools = [build(Pool::builder().executor(Drops)), build(Pool::builder().executor(Panics))];
        for pool in pools {
            let func = Func::new("run::dropped_job", |n: u64| n);
            for _ in 0..2 {
                let error = pool.run(func.call(1)).unwrap_err();
                assert!(error.is_shutdown(), "{error}");
            }
            assert!(pool.spawn(|| ()).wait().unwrap_err().is_shutdown());
            assert_eq!((pool.stats().queued, pool.stats().running), (0, 0));
        }
    });
}

/// A pool on rayon's threads computes twice, or hangs in nested waits.
#[test]
fn an_executor_on_rayons_threads() {
    in_time(|| {
        struct Rayon(rayon::ThreadPool);
        impl Executor for Rayon {
            fn execute(&self, job: Job) {
                self.0.spawn(move || job.run());
            }
        }
        fn fib() -> Func<u32, u64> {
            Func::fallible("run::rayon_fib", |n: u32| -> Result<u64, Error> {
                if n < 2 {
                    return Ok(n.into());
                }
                let pool = Pool::current().expect("inside a task");
                let before = pool.submit(fib().call(n - 2));
                Ok(*pool.run(fib().call(n - 1))? + *before.wait()?)
            })
        }
        let rayon = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let pool = build(Pool::builder().executor(Rayon(rayon)));
        assert_eq!(*pool.run(fib().call(40)).unwrap(), 102_334_155);
        assert_eq!((pool.stats().computed, pool.stats().threads), (41, 0));
        assert_usable(&pool);
    });
}

/// With an executor, `block_in_place` breaks the pool's count of its own threads.
#[test]
fn block_in_place_on_an_executors_thread_does_nothing() {
    in_time(|| {
        struct NewThread;
        impl Executor for NewThread {
            fn execute(&self, job: Job) {
                thread::spawn(move || job.run());
            }
        }
        let pool = build(Pool::builder().executor(NewThread));
        for _ in 0..3 {
            assert_eq!(*pool.spawn(|| memopool::block_in_place(|| 5)).wait().unwrap(), 5);
        }
        assert_eq!(pool.stats().threads, 0);
    });
}

/// A test with `Inline` sees tasks that are not done, or loses their panics.
#[cfg(feature = "testing")]
#[test]
fn inline_runs_in_the_submitting_thread() {
    in_time(|| {
        let pool = build(Pool::builder().executor(memopool::testing::Inline));
        let here = thread::current().id();
        let task = pool.spawn(|| thread::current().id());
        assert!(task.is_done());
        assert_eq!(*task.wait().unwrap(), here);
        let panic: Task<()> = pool.spawn(|| resume_unwind(Box::new("inline")));
        assert_eq!(panic.wait().unwrap_err().panic_message(), Some("inline"));
        assert_usable(&pool);
        let func = Func::new("run::inline", |n: u64| Pool::current().is_some() as u64 + n);
        assert_eq!(*pool.run(func.call(1)).unwrap(), 2);
        assert!(Pool::current().is_none());
    });
}

/// A test with a `Stepper` can't replay what it saw.
#[cfg(feature = "testing")]
#[test]
fn stepper_orders_are_replayed_by_their_seed() {
    in_time(|| {
        let order = |seed| {
            let stepper = memopool::testing::Stepper::new(seed);
            let pool = build(Pool::builder().executor(stepper.clone()));
            let order = Arc::new(Mutex::new(Vec::new()));
            let tasks: Vec<_> = (0..8)
                .map(|n| {
                    let order = Arc::clone(&order);
                    pool.spawn(move || order.lock().unwrap().push(n))
                })
                .collect();
            assert_eq!(stepper.queued(), 8);
            assert!(stepper.step());
            assert_eq!(tasks.iter().filter(|task| task.is_done()).count(), 1);
            assert_eq!(stepper.run_until_idle(), 7);
            assert_eq!(stepper.seed(), seed);
            order.lock().unwrap().clone()
        };
        assert_eq!(order(3), order(3));
        assert!((0..10).any(|seed| order(seed) != order(3)), "seeds differ");
    });
}

/// Under a `Stepper` a test can't say: cancelled before it started.
#[cfg(feature = "testing")]
#[test]
fn a_cancelled_job_in_a_stepper_never_runs() {
    in_time(|| {
        let stepper = memopool::testing::Stepper::new(1);
        let pool = build(Pool::builder().executor(stepper.clone()));
        let func = Func::new("run::stepped", |n: u64| n);
        let task = pool.submit(func.call(1));
        assert!(task.cancel());
        stepper.run_until_idle();
        assert_eq!(memopool::testing::runs(&func), 0);
        assert!(pool.get(&func.call(1)).is_none());
    });
}

/// A body that runs over its timeout holds everyone who waits for it.
#[test]
fn a_timeout_ends_the_waits_at_once() {
    in_time(|| {
        let (seen, pool) = (Gate::default(), pool(2));
        let func = Func::named("run::timeout").resource(seen.clone()).func(|seen, n: u64| {
            if n == 0 {
                until(cancelled);
                seen.open();
            }
            n
        });
        let func = func.timeout(Duration::from_millis(20));
        let tasks = pool.submit_all((0..4).map(|_| func.call(0)));
        for task in &tasks {
            let error = task.wait().unwrap_err();
            assert!(error.is_timeout(), "{error}");
            assert_eq!(error.to_string(), "`run::timeout` ran over its timeout of 20ms");
        }
        seen.pass();
        assert!(pool.get(&func.call(0)).is_none());
        // Counted when all have been told.
        until(|| pool.stats().failed > 0);
        assert_usable(&pool);
    });
}

/// A body that stops because it is over its timeout has its half-done value taken for the real one.
#[test]
fn a_body_that_stops_at_its_timeout_never_passes_for_a_value() {
    in_time(|| {
        let pool = pool(2);
        let func = Func::new("run::stops", |_: u64| {
            until(cancelled);
            "half done".to_owned()
        });
        let func = func.timeout(Duration::from_micros(50));
        for n in 0..3_000 {
            let result = pool.run(func.call(n));
            assert!(result.as_ref().is_err_and(Error::is_timeout), "round {n}: {result:?}");
        }
    });
}

/// A callback of a task that ran over its timeout stops the clock for all others.
#[test]
fn a_callback_of_a_timed_out_task_may_wait_for_another() {
    in_time(|| {
        let pool = pool(2);
        let stuck = Func::new("run::stuck", |n: u64| {
            until(cancelled);
            n
        });
        let first = pool.submit(stuck.clone().timeout(Duration::from_millis(10)).call(1));
        let second = pool.submit(stuck.timeout(Duration::from_millis(100)).call(2));
        let (send, receive) = channel();
        first.on_done({
            let second = second.clone();
            move |_| {
                let result = second.wait();
                _ = send.send(result);
            }
        });
        let stuck_for_good = receive.recv_timeout(Duration::from_secs(20)).is_err();
        second.cancel();
        assert!(!stuck_for_good, "the second task's timeout never came");
    });
}

/// The last handle goes in a callback of a timed out task: a thread of the pool joins itself.
#[test]
fn the_last_handle_dropped_in_a_callback_of_a_timed_out_task() {
    in_time(|| {
        let pool = pool(1);
        let stuck = Func::new("run::stuck_with_pool", |n: u64| {
            until(cancelled);
            n
        });
        let task = pool.submit(stuck.timeout(Duration::from_millis(10)).call(1));
        let (send, receive) = channel();
        task.on_done(move |_| {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(pool)));
            send.send(ended.is_ok()).unwrap();
        });
        assert!(receive.recv().unwrap(), "no panic");
    });
}

/// A flaky service fails the run though the next attempt would have come through.
#[test]
fn retries_are_one_run() {
    in_time(|| {
        let (attempts, pool) = (Counter::default(), pool(2));
        let func = Func::named("run::retries").resource(attempts.clone()).fallible(|attempts, n: u64| {
            let attempt = attempts.up();
            if attempt < n { Err(format!("attempt {attempt}")) } else { Ok(attempt) }
        });
        let func = func.retries(2);
        assert_eq!(*pool.run(func.call(3)).unwrap(), 3);
        let stats = pool.stats();
        assert_eq!((stats.computed, stats.retried, stats.failed), (1, 2, 0));
        let error = pool.run(func.call(100)).unwrap_err();
        assert_eq!(error.to_string(), "`run::retries` failed: attempt 6");
        assert_eq!((pool.stats().failed, attempts.get()), (1, 6));
    });
}

/// `cancel` never returns: what is dropped with the queued closure is the last handle of its own pool.
#[test]
fn cancelling_what_holds_the_last_handle_ends_the_pool() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let inside = pool.clone();
        let task = pool.spawn(move || drop(inside));
        drop(pool);
        // The pool's end waits for the body that runs: it goes on when the other is cancelled for certain.
        let same = task.clone();
        let opening = thread::spawn(move || {
            until(|| same.is_cancelled());
            gate.open();
        });
        assert!(task.cancel());
        assert!(task.wait().unwrap_err().is_cancelled());
        opening.join().unwrap();
    });
}

/// A timeout whose callback, or whose listener, goes wrong is the last one that this pool ever notices; or the end of the pool
/// hangs, because the thread that keeps the time waits for it.
#[test]
fn what_is_told_of_a_timeout_can_not_stop_the_clock() {
    in_time(|| {
        let this: Arc<Mutex<Option<Pool>>> = Arc::default();
        let (ends, again) = (Arc::clone(&this), AtomicBool::new(false));
        let pool = build(Pool::builder().threads(2).on_event(move |event| {
            if let memopool::Event::Failed { .. } = event
                && again.swap(true, Ordering::SeqCst)
            {
                // A listener may end the pool. What rests then is still to make its attempts.
                ends.lock().unwrap().take().expect("once").shutdown();
                panic!("a listener that panics");
            }
        }));
        *this.lock().unwrap() = Some(pool.clone());
        let slow = |name: &str| {
            let func = Func::new(name, |n: u64| {
                until(cancelled);
                n
            });
            func.timeout(Duration::from_millis(1))
        };
        let (send, receive) = channel();
        // No name for a thread.
        let first = pool.submit(slow("run::nul\0").call(1));
        first.on_done(move |_| send.send(()).unwrap());
        receive.recv().unwrap();
        assert!(first.wait().unwrap_err().is_timeout());
        let attempts = Counter::default();
        let rests =
            Func::named("run::rests").resource(attempts.clone()).fallible(|attempts: &Counter, n: u64| {
                match attempts.up() {
                    1 => Err("not yet"),
                    _ => Ok(n),
                }
            });
        let rests =
            rests.retries(1).backoff(memopool::Backoff::exponential(Duration::from_millis(30)).jitter(false));
        let resting = pool.submit(rests.call(5));
        until(|| pool.stats().retried == 1);
        assert!(pool.submit(slow("run::second").call(2)).wait().unwrap_err().is_timeout());
        assert_eq!(*resting.wait().unwrap(), 5);
        pool.shutdown();
    });
}

/// `shutdown_now` hangs, and whoever waits with it: a job that was admitted before reaches an executor afterwards, which does
/// not run it.
#[cfg(feature = "testing")]
#[test]
fn shutdown_now_reaches_what_is_on_its_way_to_an_executor() {
    #[derive(Serialize)]
    struct Slow {
        #[serde(skip)]
        gates: (Gate, Gate),
    }
    impl Clone for Slow {
        fn clone(&self) -> Self {
            self.gates.0.open();
            self.gates.1.pass();
            Slow { gates: self.gates.clone() }
        }
    }
    #[memopool::memo(in_memory)]
    fn takes(_slow: &Slow) -> u64 {
        1
    }
    in_time(|| {
        let stepper = memopool::testing::Stepper::new(1);
        let pool = build(Pool::builder().executor(stepper.clone()));
        let slow = Slow { gates: Default::default() };
        thread::scope(|scope| {
            let submitting = scope.spawn(|| pool.submit(takes::call(&slow)).wait());
            // It is admitted, and its arguments are being made owned.
            slow.gates.0.pass();
            let ending = scope.spawn(|| pool.shutdown_now());
            until(|| pool.spawn(|| ()).is_done());
            slow.gates.1.open();
            assert!(submitting.join().unwrap().unwrap_err().is_shutdown());
            ending.join().unwrap();
        });
        stepper.run_until_idle();
    });
}

/// A value that has expired submits, when it goes, the very call that replaces it: that joins a run which nobody has queued
/// yet, and never will.
#[cfg(feature = "testing")]
#[test]
fn what_has_expired_may_ask_for_its_successor() {
    static POOL: Mutex<Option<Pool>> = Mutex::new(None);
    struct Asks(u64);
    impl Drop for Asks {
        fn drop(&mut self) {
            let pool = POOL.lock().unwrap().take();
            if let Some(pool) = pool {
                assert_eq!(pool.run(asks().call(self.0)).unwrap().0, self.0);
            }
        }
    }
    fn asks() -> Func<u64, Asks> {
        Func::named("run::asks").in_memory().func(|n: u64| Asks(n)).ttl(Duration::from_secs(1))
    }
    in_time(|| {
        let clock = memopool::testing::ManualClock::new();
        let pool = build(Pool::builder().threads(1).clock(clock.clone()));
        drop(pool.run(asks().call(7)).unwrap());
        clock.advance(Duration::from_secs(2));
        *POOL.lock().unwrap() = Some(pool.clone());
        assert_eq!(pool.run(asks().call(7)).unwrap().0, 7);
        assert!(POOL.lock().unwrap().is_none(), "it was asked for");
        assert_eq!(pool.stats().computed, 2);
    });
}
