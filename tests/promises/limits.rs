//! Limits: never more bodies at a resource than it has slots, and nobody waits for a slot for ever.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use memopool::{Error, Func, Limit, Pool, Task, Until, as_completed, block_in_place, cancelled, wait};

use crate::{Counter, Gate, assert_usable, build, hold, in_time, pool, until};

/// Who is at the resource, and how many were at most.
#[derive(Clone, Default)]
struct Resource(Arc<(AtomicU64, AtomicU64)>);

impl Resource {
    fn arrive(&self) {
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(now, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn visit(&self) {
        self.arrive();
        (0..3).for_each(|_| thread::yield_now());
        self.leave();
    }

    fn most(&self) -> u64 {
        self.0.1.load(Ordering::SeqCst)
    }
}

/// Visits the resource.
fn visitor(name: &str, resource: &Resource, limit: &Limit) -> Func<u64, u64> {
    let func = Func::named(name).resource(resource.clone()).func(|resource, n: u64| {
        resource.visit();
        n
    });
    func.limit(limit)
}

/// A task that has the slots until the gate opens.
fn occupy(pool: &Pool, limit: &Limit, slots: u64) -> Gate {
    let (gate, started) = (Gate::default(), Counter::default());
    let func = Func::named("limits::occupy").resource((gate.clone(), started.clone())).func(
        |(gate, started), n: u64| {
            started.up();
            gate.pass();
            n
        },
    );
    let func = func.limit(limit);
    (0..slots).for_each(|n| drop(pool.submit(func.call(n))));
    until(|| started.get() == slots);
    gate
}

/// A server that allows four requests at a time gets more.
#[test]
fn never_more_bodies_than_slots() {
    in_time(|| {
        for (threads, slots) in [(1, 1), (4, 1), (4, 3), (8, 20)] {
            let (pools, resource) = ([pool(threads), pool(threads)], Resource::default());
            let limit = Limit::new("resource", slots);
            // Two functions in two pools share the one limit.
            let funcs = ["limits::a", "limits::b"].map(|name| visitor(name, &resource, &limit));
            let tasks: Vec<_> =
                (0..400).map(|n| pools[n as usize % 2].submit(funcs[n as usize / 2 % 2].call(n))).collect();
            assert!(tasks.iter().enumerate().all(|(n, task)| *task.wait().unwrap() == n as u64));
            assert!(resource.most() <= slots as u64, "{} of {slots}", resource.most());
            until(|| limit.running() == 0);
            assert_eq!(limit.waiting(), 0);
            assert_eq!(format!("{limit:?}"), format!("Limit(resource: 0 of {slots}, 0 wait)"));
        }
        assert_eq!((Limit::new("none", 0).slots(), Limit::new("none", 0).name()), (1, "none"));
    });
}

/// Requests that wait for their turn hold all threads, and nothing else is done meanwhile.
#[test]
fn a_run_that_waits_for_a_slot_occupies_no_worker() {
    in_time(|| {
        let (pool, limit, resource) = (pool(2), Limit::new("one", 1), Resource::default());
        let gate = occupy(&pool, &limit, 1);
        let func = visitor("limits::parked", &resource, &limit);
        let tasks = pool.submit_all((0..50).map(|n| func.call(n)));
        until(|| limit.waiting() == 50);
        assert_eq!(pool.stats().queued, 50);
        // The second of the two threads is free.
        assert_eq!(*pool.spawn(|| 5).wait().unwrap(), 5);
        assert!(pool.stats().threads <= 2, "and none was added");
        assert!(tasks.iter().all(|task| !task.is_running() && !task.is_done()));
        gate.open();
        assert_eq!(wait(&tasks, Until::All, None).done.len(), 50);
        assert_eq!(resource.most(), 1);
    });
}

/// Those who wait for a slot are forgotten by the queue's bound: a fast submitter piles up without end.
#[test]
fn parked_runs_count_against_the_queues_bound() {
    in_time(|| {
        let pool = build(Pool::builder().threads(2).queue(10));
        let limit = Limit::new("one", 1);
        let gate = occupy(&pool, &limit, 1);
        let func = visitor("limits::bound", &Resource::default(), &limit);
        let tasks: Vec<_> = (0..10).map(|n| pool.submit(func.call(n))).collect();
        until(|| limit.waiting() == 10);
        assert!(pool.try_submit(func.call(10)).is_err(), "full");
        assert!(tasks[3].cancel() && tasks[4].cancel());
        let eleventh = pool.submit(func.call(11));
        gate.open();
        eleventh.wait().unwrap();
        assert_eq!(wait(&tasks, Until::All, None).done.len(), 10);
    });
}

/// Submissions that need no run of their own wait for a slot all the same.
#[test]
fn joined_submissions_take_one_slot_and_hits_none() {
    in_time(|| {
        let (pool, limit) = (pool(4), Limit::new("two", 2));
        let runs = Counter::default();
        let func = Func::named("limits::shared").resource(runs.clone()).func(|runs, n: u64| {
            runs.up();
            n
        });
        let func = func.limit(&limit);
        assert_eq!(*pool.run(func.call(1)).unwrap(), 1);
        let gate = occupy(&pool, &limit, 2);
        assert_eq!(*pool.run(func.call(1)).unwrap(), 1, "a hit");
        let joined: Vec<_> = (0..20).map(|_| pool.submit(func.call(2))).collect();
        until(|| limit.waiting() == 1);
        assert_eq!(limit.running(), 2);
        gate.open();
        assert!(joined.iter().all(|task| task.wait().is_ok()));
        assert_eq!(runs.get(), 2);
    });
}

fn current() -> Pool {
    Pool::current().expect("inside a task")
}

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

/// A body that has a slot waits for another that needs one of the same limit, and there is only one: both wait for ever.
#[test]
fn limited_functions_may_wait_for_each_other() {
    in_time(|| {
        type Setting = (usize, Resource, Limit);
        fn tree() -> Func<(u32, u64), u64> {
            Func::named("limits::tree").resource(SETTING.with_borrow(Clone::clone).expect("set")).func(
                |(way, resource, limit): &Setting, (n, salt): (u32, u64)| {
                    resource.arrive();
                    SETTING.set(Some((*way, resource.clone(), limit.clone())));
                    let children: Vec<_> = (0..n)
                        .map(|child| current().submit(tree().limit(limit).call((child, salt))))
                        .collect();
                    resource.leave();
                    let sum = children.into_iter().map(|task| *WAYS[*way].1(task).unwrap()).sum::<u64>();
                    resource.visit();
                    sum + 1
                },
            )
        }
        thread_local!(static SETTING: std::cell::RefCell<Option<Setting>> = const { std::cell::RefCell::new(None) });
        for (way, (name, _)) in WAYS.iter().enumerate() {
            for (threads, slots) in [(1, 1), (3, 1), (4, 2)] {
                let (pool, limit, resource) = (pool(threads), Limit::new("tree", slots), Resource::default());
                SETTING.set(Some((way, resource.clone(), limit.clone())));
                let func = tree().limit(&limit);
                let tasks = pool.submit_all((0..3).map(|salt| func.call((8, salt))));
                for task in &tasks {
                    assert_eq!(*task.wait().unwrap(), 256, "{name}, {threads} threads, {slots} slots");
                }
                assert!(resource.most() <= slots as u64, "{name}: {} of {slots}", resource.most());
                until(|| limit.running() == 0);
                assert_usable(&pool);
            }
        }
    });
}

/// A body comes back from its wait to a resource that others have taken meanwhile.
#[test]
fn a_body_that_waited_takes_its_slot_back_before_it_goes_on() {
    in_time(|| {
        let (pool, limit) = (pool(3), Limit::new("one", 1));
        let [wanted, other, back, begun, borrowed] = [(); 5].map(|()| Gate::default());
        let lends = Func::named("limits::lends")
            .resource((wanted.clone(), back.clone(), begun.clone()))
            .func(|(wanted, back, begun), n: u64| {
                let wanted = wanted.clone();
                let waits = current().spawn(move || wanted.pass());
                begun.open();
                waits.wait().unwrap();
                back.open();
                n
            });
        let task = pool.submit(lends.limit(&limit).call(1));
        begun.pass();
        // It lends its slot, and another has it.
        let borrows = Func::named("limits::borrows").resource((other.clone(), borrowed.clone())).func(
            |(other, borrowed), n: u64| {
                borrowed.open();
                other.pass();
                n
            },
        );
        let held = pool.submit(borrows.limit(&limit).call(2));
        borrowed.pass();
        assert_eq!(limit.running(), 1);
        wanted.open();
        // Its wait is over, and it has no slot: other work goes on all the same.
        assert_eq!(*pool.spawn(|| 3).wait().unwrap(), 3);
        assert!(!task.is_done());
        other.open();
        back.pass();
        assert_eq!((*task.wait().unwrap(), *held.wait().unwrap()), (1, 2));
    });
}

/// A slot that was given to a run which no thread can take is gone, and its last owner waits for it.
#[test]
fn a_slot_granted_in_a_starving_pool_comes_back() {
    in_time(|| {
        let capped = build(Pool::builder().threads(1).max_os_threads(1));
        let (other, limit) = (pool(1), Limit::new("one", 1));
        let (started, gate) = (Gate::default(), Gate::default());
        let func = Func::named("limits::starving").resource((started.clone(), gate.clone(), other)).func(
            |(started, gate, other), n: u64| {
                if n == 0 {
                    // Somebody else's only thread is held, so this waits, and lends, until the gate opens.
                    started.open();
                    gate.pass();
                    let gate = gate.clone();
                    other.spawn(move || gate.pass()).wait().unwrap();
                }
                n
            },
        );
        let func = func.limit(&limit);
        for _ in 0..50 {
            capped.clear().unwrap();
            let tasks = capped.submit_all((0..4).map(|n| func.call(n)));
            started.pass();
            gate.open();
            assert!(tasks.iter().all(|task| task.wait().is_ok()));
        }
        assert_eq!((limit.running(), limit.waiting()), (0, 0));
    });
}

/// The slot goes to a run in a pool whose only thread waits for another that needs it: both wait for ever.
#[test]
fn a_starving_pool_is_passed_over() {
    in_time(|| {
        for early in [false, true] {
            let capped = build(Pool::builder().threads(1).max_os_threads(1));
            let (busy, other, limit) = (pool(1), pool(1), Limit::new("one", 1));
            let func = Func::new("limits::passed_over", |n: u64| n).limit(&limit);
            let gate = occupy(&busy, &limit, 1);
            let first = capped.submit(func.call(1));
            until(|| limit.waiting() == 1);
            let second = other.submit(func.call(2));
            until(|| limit.waiting() == 2);
            let (started, go) = (Gate::default(), Gate::default());
            let waits = capped.spawn({
                let (started, go) = (started.clone(), go.clone());
                move || {
                    started.open();
                    go.pass();
                    *second.wait().unwrap()
                }
            });
            started.pass();
            if early {
                // The first is granted the slot, and then its pool's only thread begins to wait.
                gate.open();
                until(|| limit.waiting() == 1);
                go.open();
            } else {
                go.open();
                (0..1000).for_each(|_| thread::yield_now());
                gate.open();
            }
            assert_eq!(*waits.wait().unwrap(), 2);
            assert_eq!(*first.wait().unwrap(), 1);
            until(|| limit.running() == 0);
        }
    });
}

/// A body that fails, panics, runs over its time or is cancelled keeps its slot for ever.
#[test]
fn every_end_of_a_body_gives_its_slot_back() {
    in_time(|| {
        let (pool, limit) = (pool(2), Limit::new("one", 1));
        let func = Func::fallible("limits::ends", |n: u64| match n % 5 {
            0 => Err("zero"),
            1 => resume_unwind(Box::new("one")),
            2 => {
                until(cancelled);
                Ok(n)
            }
            _ => Ok(n),
        });
        let func = func.retries(2).timeout(Duration::from_millis(1)).limit(&limit);
        let tasks = pool.submit_all((0..50).map(|n| func.call(n)));
        let waited = wait(&tasks, Until::All, None);
        assert_eq!(waited.done.len(), 50);
        let started = Gate::default();
        let patient = Func::named("limits::patient").resource(started.clone()).func(|started, n: u64| {
            if n == 0 {
                started.open();
                until(cancelled);
            }
            n
        });
        let patient = patient.limit(&limit);
        let running = pool.submit(patient.call(0));
        started.pass();
        let parked = pool.submit_all((1..100).map(|n| patient.call(n)));
        assert!(parked[..90].iter().all(Task::cancel), "parked or queued: it never runs");
        assert!(running.cancel());
        assert!(parked[90..].iter().all(|task| task.wait().is_ok()));
        until(|| limit.running() == 0);
        assert_eq!(limit.waiting(), 0);
    });
}

/// The end of a pool forgets those who wait for a slot.
#[test]
fn the_end_of_a_pool_reaches_those_who_wait_for_a_slot() {
    in_time(|| {
        for now in [false, true] {
            let (busy, ending, limit) = (pool(1), pool(2), Limit::new("one", 1));
            let gate = occupy(&busy, &limit, 1);
            let func = visitor("limits::ending", &Resource::default(), &limit);
            let tasks = ending.submit_all((0..10).map(|n| func.call(n)));
            until(|| limit.waiting() == 10);
            if now {
                ending.shutdown_now();
                assert!(tasks.iter().all(|task| task.wait().unwrap_err().is_shutdown()));
                gate.open();
            } else {
                assert!(ending.shutdown_timeout(Duration::from_millis(1)).is_err());
                gate.open();
                ending.shutdown();
                assert!(tasks.iter().all(|task| task.wait().is_ok()), "what was queued is finished");
            }
            until(|| limit.running() == 0);
            assert_eq!(limit.waiting(), 0);
            assert_usable(&busy);
        }
    });
}

/// A body that has a slot waits at the full queue, or for the end, of another pool whose work needs that slot.
#[test]
fn waits_at_another_pool_lend_the_slot_too() {
    in_time(|| {
        let (outer, limit) = (pool(2), Limit::new("one", 1));
        let resource = Resource::default();
        let func = Func::named("limits::other_pool").resource((limit.clone(), resource.clone())).func(
            |(limit, resource), n: u64| {
                let inner = build(Pool::builder().threads(1).queue(2));
                let visit = visitor("limits::inner", resource, limit);
                // More than its queue takes, and none of them can run before this lends its slot.
                let tasks: Vec<_> = (0..20).map(|n| inner.submit(visit.call(n))).collect();
                inner.shutdown();
                assert!(tasks.iter().all(|task| task.is_done() && task.wait().is_ok()));
                resource.visit();
                n
            },
        );
        let tasks = outer.submit_all((0..4).map(|n| func.clone().limit(&limit).call(n)));
        assert!(tasks.iter().all(|task| task.wait().is_ok()));
        assert_eq!(resource.most(), 1);
    });
}

/// Callbacks and `block_in_place` are no waits for tasks: what they do to the slot surprises.
#[test]
fn callbacks_have_no_slot_and_block_in_place_keeps_it() {
    in_time(|| {
        let (pool, limit) = (pool(1), Limit::new("one", 1));
        let func = Func::new("limits::plain", |n: u64| n).limit(&limit);
        let gate = hold(&pool);
        let (send, receive) = std::sync::mpsc::channel();
        let (other, again) = (pool.clone(), func.clone());
        pool.submit(func.call(1)).on_done(move |_| send.send(other.run(again.call(2)).map(|n| *n)).unwrap());
        gate.open();
        assert_eq!(receive.recv().unwrap().unwrap(), 2);
        let gate = Gate::default();
        let started = Gate::default();
        let blocks = Func::named("limits::blocks").resource((gate.clone(), started.clone())).func(
            |(gate, started), n: u64| {
                started.open();
                block_in_place(|| gate.pass());
                n
            },
        );
        let blocked = pool.submit(blocks.limit(&limit).call(1));
        started.pass();
        let parked = pool.submit(func.call(3));
        until(|| limit.waiting() == 1);
        gate.open();
        assert_eq!((*blocked.wait().unwrap(), *parked.wait().unwrap()), (1, 3));
    });
}

/// On somebody else's threads a run that waited for its slot is started in the middle of another, or never.
#[cfg(feature = "testing")]
#[test]
fn limits_on_executors() {
    use memopool::testing::{Inline, Stepper};

    fn nested(limit: &Limit) -> Func<u64, u64> {
        let func = Func::named("limits::nested").resource(limit.clone()).func(|limit, n: u64| {
            if n == 0 { 0 } else { *current().run(nested(limit).call(n - 1)).unwrap() + 1 }
        });
        func.limit(limit)
    }
    in_time(|| {
        let limit = Limit::new("one", 1);
        let inline = build(Pool::builder().executor(Inline));
        assert_eq!(*inline.run(nested(&limit).call(20)).unwrap(), 20);
        let stepper = Stepper::new(7);
        let stepped = build(Pool::builder().executor(stepper.clone()));
        let tasks = stepped.submit_all((0..10).map(|n| nested(&limit).call(n)));
        stepper.run_until_idle();
        assert!(tasks.iter().enumerate().all(|(n, task)| *task.wait().unwrap() == n as u64));
        // Its turn comes while another thread has the slot.
        let busy = pool(1);
        let gate = occupy(&busy, &limit, 1);
        let func = visitor("limits::inline", &Resource::default(), &limit);
        let parked = inline.submit_all((0..3).map(|n| func.call(n)));
        assert_eq!(limit.waiting(), 3);
        gate.open();
        assert!(parked.iter().all(|task| task.wait().is_ok()));
    });
}

/// Something in the to and fro of slots gets lost, and one run of a hundred thousand hangs.
#[test]
fn many_limits_under_a_random_load() {
    fn mix(n: u64) -> u64 {
        let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 7
    }
    type Setting = Arc<(Vec<Limit>, Vec<Resource>)>;
    fn node(setting: &Setting, at: usize) -> Func<u64, u64> {
        let func = Func::named(format!("limits::load_{at}")).resource((Arc::clone(setting), at)).func(
            |(setting, at), n: u64| {
                let resource = &setting.1[*at];
                resource.visit();
                if n % 5 < 3 && n > 100 {
                    let child = node(setting, (n % 3) as usize);
                    let task = current().submit(child.call(mix(n) % (n / 4)));
                    if n.is_multiple_of(11) {
                        task.cancel();
                    }
                    let _ended = if n.is_multiple_of(2) { task.wait() } else { pollster::block_on(task) };
                    resource.visit();
                }
                n
            },
        );
        func.limit(&setting.0[at])
    }
    in_time(|| {
        let limits = vec![Limit::new("one", 1), Limit::new("two", 2), Limit::new("three", 3)];
        let setting: Setting = Arc::new((limits, vec![Resource::default(); 3]));
        let resources: Vec<Resource> = (0..3).map(|_| Resource::default()).collect();
        let setting = Arc::new((setting.0.clone(), resources));
        let pools = [pool(1), pool(3)];
        let start = Barrier::new(4);
        thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (setting, pools, start) = (&setting, &pools, &start);
                scope.spawn(move || {
                    start.wait();
                    for round in 0..300_u64 {
                        let seed = mix(thread * 1000 + round);
                        let func = node(setting, (seed % 3) as usize);
                        let pool = &pools[(seed / 3 % 2) as usize];
                        let tasks = pool.submit_all((0..5).map(|n| func.call(mix(seed + n) % 100_000)));
                        if seed.is_multiple_of(4) {
                            tasks[2].cancel();
                        }
                        for task in &tasks {
                            match task.wait() {
                                Ok(_) => {}
                                Err(error) => assert!(error.is_cancelled() || error.is_cycle(), "{error}"),
                            }
                        }
                    }
                });
            }
        });
        for (at, limit) in setting.0.iter().enumerate() {
            assert!(setting.1[at].most() <= limit.slots() as u64, "{limit:?}");
            until(|| limit.running() == 0 && limit.waiting() == 0);
        }
        pools.iter().for_each(assert_usable);
    });
}
