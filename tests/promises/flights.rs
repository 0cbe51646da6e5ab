//! One run for a key, whatever it ends in.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use memopool::{Explain, Func, Source, Task, cancelled};

use crate::{Counter, Gate, assert_usable, in_time, pool, until};

const CROWD: usize = 8;

/// A function that counts its runs and stays in its body until the gate opens.
fn gated(name: &str, runs: &Counter, gate: &Gate) -> Func<u64, u64> {
    Func::named(name).resource((runs.clone(), gate.clone())).func(|(runs, gate), n: u64| {
        let run = runs.up();
        gate.pass();
        n * 1000 + run
    })
}

/// A function whose body waits for the gate of its run: the first run for the first gate, and so on.
fn gated_by_run(name: &str, runs: &Counter, gates: &[Gate]) -> Func<u64, u64> {
    Func::named(name).resource((runs.clone(), gates.to_vec())).func(|(runs, gates), _: u64| {
        let run = runs.up();
        if let Some(gate) = gates.get(run as usize - 1) {
            gate.pass();
        }
        run
    })
}

/// Submits from a crowd of threads at once, `each` tasks a thread.
fn crowd<R: Send + Sync + 'static>(each: usize, submit: impl Fn() -> Task<R> + Sync) -> Vec<Task<R>> {
    let barrier = Barrier::new(CROWD);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CROWD)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    (0..each).map(|_| submit()).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// An expensive value is computed once per thread that asks, and each gets a copy of its own.
#[test]
fn eight_threads_on_a_cold_key_run_it_once() {
    in_time(|| {
        let (runs, pool) = (Counter::default(), pool(4));
        let func = Func::named("flights::cold_value").resource(runs.clone()).func(|runs, n: u64| {
            runs.up();
            vec![n; 100]
        });
        for key in 0..100 {
            let results: Vec<_> =
                crowd(1, || pool.submit(func.call(key))).iter().map(|task| task.wait().unwrap()).collect();
            assert!(results.iter().all(|result| Arc::ptr_eq(result, &results[0])), "one value, shared");
            assert_eq!(runs.get(), key + 1);
        }
        let stats = pool.stats();
        assert_eq!(stats.submitted, 800);
        assert_eq!(stats.memory_hits + stats.joined + stats.computed, 800);
        assert_usable(&pool);
    });
}

/// A remote service that is down is asked again once for each waiter, after all of them have queued up for it.
#[test]
fn eight_threads_on_a_cold_key_that_fails_run_it_once() {
    in_time(|| {
        let (runs, gate, pool) = (Counter::default(), Gate::default(), pool(4));
        let func = Func::named("flights::cold_error").resource((runs.clone(), gate.clone())).fallible(
            |(runs, gate), n: u64| -> Result<u64, String> {
                runs.up();
                gate.pass();
                Err(format!("no {n}"))
            },
        );
        let tasks = crowd(8, || pool.submit(func.call(7)));
        gate.open();
        for task in &tasks {
            let error = task.wait().unwrap_err();
            assert!(error.is_failed(), "{error}");
            assert_eq!(error.to_string(), "`flights::cold_error` failed: no 7");
        }
        assert_eq!((tasks.len(), runs.get()), (64, 1));
        let stats = pool.stats();
        assert_eq!((stats.failed, stats.joined, stats.computed), (1, 63, 0));
        assert_usable(&pool);
    });
}

/// A body with a defect is run again by every waiter, or its waiters never learn why there is no value.
#[test]
fn eight_threads_on_a_cold_key_that_panics_run_it_once() {
    in_time(|| {
        let (runs, gate, pool) = (Counter::default(), Gate::default(), pool(4));
        let func = Func::named("flights::cold_panic").resource((runs.clone(), gate.clone())).func(
            |(runs, gate), n: u64| -> u64 {
                runs.up();
                gate.pass();
                panic!("seven is not {n}")
            },
        );
        let tasks = crowd(8, || pool.submit(func.call(8)));
        gate.open();
        for task in &tasks {
            let error = task.wait().unwrap_err();
            assert!(error.is_panic(), "{error}");
            assert_eq!(error.panic_message(), Some("seven is not 8"));
        }
        assert_eq!((tasks.len(), runs.get()), (64, 1));
        assert_eq!((pool.stats().panicked, pool.stats().joined), (1, 63));
        assert_usable(&pool);
    });
}

/// A failure that was bad luck is answered from memory for ever.
#[test]
fn an_error_is_not_kept_and_runs_again() {
    in_time(|| {
        let (runs, pool) = (Counter::default(), pool(2));
        let func =
            Func::named("flights::heals").resource(runs.clone()).fallible(|runs, n: u64| match runs.up() {
                1 => Err("bad luck"),
                2 => panic!("worse luck"),
                _ => Ok(n),
            });
        assert!(pool.run(func.call(1)).unwrap_err().is_failed());
        assert!(matches!(pool.explain(&func.call(1)), Explain::ErrorNotStored));
        assert!(pool.run(func.call(1)).unwrap_err().is_panic());
        assert!(matches!(pool.explain(&func.call(1)), Explain::Panicked));
        assert_eq!(*pool.run(func.call(1)).unwrap(), 1);
        assert_eq!(*pool.run(func.call(1)).unwrap(), 1);
        assert_eq!(runs.get(), 3);
    });
}

/// What was forgotten because it is out of date comes back a moment later, when an old run ends.
#[test]
fn forget_during_a_run_wins() {
    in_time(|| {
        let (runs, gates, pool) = (Counter::default(), [Gate::default(), Gate::default()], pool(2));
        let func = gated_by_run("flights::forget", &runs, &gates);
        let old = pool.submit(func.call(1));
        until(|| runs.get() == 1);
        pool.forget(&func.call(1)).unwrap();
        assert!(matches!(pool.explain(&func.call(1)), Explain::Forgotten | Explain::NeverSeen));
        let new = pool.submit(func.call(1));
        until(|| runs.get() == 2);
        gates[0].open();
        assert_eq!(*old.wait().unwrap(), 1, "the old run still serves those who wait for it");
        assert!(pool.get(&func.call(1)).is_none(), "and nobody else");
        gates[1].open();
        assert_eq!(*new.wait().unwrap(), 2);
        assert_eq!(pool.get(&func.call(1)).as_deref(), Some(&2));
        assert_usable(&pool);
    });
}

/// The same, when nobody asks again: a forgotten value is back as soon as its old run ends.
#[test]
fn forget_during_a_run_leaves_nothing_behind() {
    in_time(|| {
        let (runs, gate, pool) = (Counter::default(), Gate::default(), pool(2));
        let func = gated("flights::forget_alone", &runs, &gate);
        let task = pool.submit(func.call(1));
        until(|| task.is_running());
        pool.forget(&func.call(1)).unwrap();
        gate.open();
        assert_eq!(*task.wait().unwrap(), 1001);
        assert!(pool.get(&func.call(1)).is_none());
        assert!(matches!(pool.explain(&func.call(1)), Explain::Forgotten));
        assert_eq!((pool.stats().entries, pool.stats().memory_bytes), (0, 0));
    });
}

/// A refreshed value is replaced by the outdated result of a run that began before.
#[test]
fn refresh_during_a_run_wins() {
    in_time(|| {
        let (runs, gates, pool) = (Counter::default(), [Gate::default()], pool(2));
        let func = gated_by_run("flights::refresh", &runs, &gates);
        let old = pool.submit(func.call(1));
        until(|| runs.get() == 1);
        let new = pool.submit(func.call(1).refresh());
        assert_eq!(*new.wait().unwrap(), 2);
        assert_eq!(pool.get(&func.call(1)).as_deref(), Some(&2));
        gates[0].open();
        assert_eq!(*old.wait().unwrap(), 1);
        assert_eq!(pool.get(&func.call(1)).as_deref(), Some(&2), "the newer one stays");
        assert_eq!(pool.stats().entries, 1);
    });
}

/// `refresh` of a kept value gives the old one, or loses the new one.
#[test]
fn refresh_replaces_a_kept_value() {
    in_time(|| {
        let (runs, pool) = (Counter::default(), pool(2));
        let func = gated_by_run("flights::refresh_kept", &runs, &[]);
        assert_eq!(*pool.run(func.call(1)).unwrap(), 1);
        assert_eq!(*pool.run(func.call(1).refresh()).unwrap(), 2);
        assert_eq!(*pool.run(func.call(1)).unwrap(), 2);
        assert_eq!((pool.stats().entries, pool.stats().memory_hits, runs.get()), (1, 1, 2));
    });
}

/// After `clear`, results of runs that began before it are served as if they were new.
#[test]
fn clear_during_a_run_wins() {
    in_time(|| {
        let (runs, gate, pool) = (Counter::default(), Gate::default(), pool(4));
        let func = gated("flights::clear", &runs, &gate);
        let tasks = pool.submit_all((0..4).map(|n| func.call(n)));
        until(|| runs.get() == 4);
        pool.clear().unwrap();
        gate.open();
        assert!(tasks.iter().all(|task| task.wait().is_ok()));
        assert!((0..4).all(|n| pool.get(&func.call(n)).is_none()));
        assert_eq!((pool.stats().entries, pool.stats().memory_bytes), (0, 0));
        assert_usable(&pool);
    });
}

/// A request that gives up its handle stops, or restarts, the work that others wait for.
#[test]
fn the_leaders_handle_is_dropped_while_others_wait() {
    in_time(|| {
        let (runs, gate, pool) = (Counter::default(), Gate::default(), pool(2));
        let func = gated("flights::dropped", &runs, &gate);
        let leader = pool.submit(func.call(1));
        let others = pool.submit_all((0..4).map(|_| func.call(1)));
        drop(leader);
        gate.open();
        assert!(others.iter().all(|task| *task.wait().unwrap() == 1001));
        assert_eq!(runs.get(), 1);
        assert_usable(&pool);
    });
}

/// A wait that times out kills the work, or the next one starts it again.
#[test]
fn the_leaders_wait_times_out_while_others_wait() {
    in_time(|| {
        let (runs, gate, pool) = (Counter::default(), Gate::default(), pool(2));
        let func = gated("flights::timed_out", &runs, &gate);
        let leader = pool.submit(func.call(1));
        let other = pool.submit(func.call(1));
        let error = leader.wait_timeout(Duration::from_millis(1)).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert!(!leader.is_done());
        gate.open();
        assert_eq!(*other.wait().unwrap(), 1001);
        assert_eq!(*leader.wait().unwrap(), 1001, "and it may wait again");
        assert_eq!(runs.get(), 1);
    });
}

/// One impatient user cancels the work of all others.
#[test]
fn the_leader_is_cancelled_while_others_wait() {
    in_time(|| {
        let (runs, gate, pool) = (Counter::default(), Gate::default(), pool(2));
        let func = gated("flights::leader_cancelled", &runs, &gate);
        let leader = pool.submit(func.call(1));
        let other = pool.submit(func.call(1));
        assert!(leader.cancel());
        assert!(leader.is_done() && leader.is_cancelled() && !other.is_done());
        assert!(leader.wait().unwrap_err().is_cancelled());
        gate.open();
        assert_eq!(*other.wait().unwrap(), 1001);
        assert_eq!((runs.get(), pool.stats().cancelled), (1, 1));
        assert_eq!(other.source(), Some(Source::Joined));
        assert!(leader.is_cancelled(), "its answer does not change");
        assert!(pool.get(&func.call(1)).is_some(), "somebody wanted it: it is kept");
    });
}

/// Work that nobody wants any more takes a thread all the same.
#[test]
fn last_interested_handle_cancelled_before_start_never_runs() {
    in_time(|| {
        let (runs, gate) = (Counter::default(), Gate::default());
        let (pool, held) = crate::held_pool();
        let func = gated("flights::cancelled_queued", &runs, &gate);
        gate.open();
        let (first, second) = (pool.submit(func.call(1)), pool.submit(func.call(1)));
        assert!(first.cancel());
        assert!(!second.is_done());
        assert!(second.cancel());
        assert_eq!(pool.stats().queued, 0, "its place in the queue is free at once");
        held.open();
        assert_usable(&pool);
        assert_eq!(runs.get(), 0);
        assert_eq!(*pool.run(func.call(1)).unwrap(), 1001, "and the next submission runs");
    });
}

/// A long body that nobody waits for can't find out, or what it made in a hurry is served to others.
#[test]
fn cancelled_running_body_sees_it_and_its_value_is_not_stored() {
    in_time(|| {
        let (runs, pool) = (Counter::default(), pool(2));
        let func = Func::named("flights::cuts_corners").resource(runs.clone()).func(|runs, _: u64| {
            if runs.up() > 1 {
                return 2_u64;
            }
            until(cancelled);
            1
        });
        let task = pool.submit(func.call(1));
        until(|| task.is_running());
        assert!(task.cancel());
        let again = pool.submit(func.call(1));
        assert_eq!(*again.wait().unwrap(), 2);
        pool.shutdown();
        assert_eq!(pool.get(&func.call(1)).as_deref(), Some(&2));
        assert_eq!(runs.get(), 2);
        assert!(task.is_cancelled());
    });
}

/// The half-done value of a cancelled body is stored when nobody has asked again meanwhile.
#[test]
fn a_given_up_value_is_not_stored() {
    in_time(|| {
        let pool = pool(2);
        let func = Func::new("flights::given_up", |_: u64| {
            until(cancelled);
            0_u64
        });
        let task = pool.submit(func.call(1));
        until(|| task.is_running() && pool.stats().running == 1);
        assert!(task.cancel());
        until(|| pool.stats().running == 0);
        assert!(pool.get(&func.call(1)).is_none());
        assert!(matches!(pool.explain(&func.call(1)), Explain::Cancelled));
        assert_usable(&pool);
    });
}

/// Code that counts successful cancellations counts some twice, or takes a finished task for cancelled.
#[test]
fn cancel_is_true_once_and_false_when_done() {
    in_time(|| {
        let (runs, gate, pool) = (Counter::default(), Gate::default(), pool(2));
        let func = gated("flights::cancel_once", &runs, &gate);
        let task = pool.submit(func.call(1));
        assert!(task.cancel());
        assert!(!task.cancel());
        gate.open();
        let done = pool.submit(func.call(2));
        done.wait().unwrap();
        assert!(!done.cancel() && !done.is_cancelled());
        let hit = pool.submit(func.call(2));
        assert!(!hit.cancel());
        assert_eq!(pool.stats().cancelled, 1);
    });
}

/// Cancelling one clone of a handle leaves the others hanging, or a clone counts as one more who wants the result.
#[test]
fn clones_share_an_interest() {
    in_time(|| {
        let runs = Counter::default();
        let (pool, held) = crate::held_pool();
        let func = gated_by_run("flights::clones", &runs, &[]);
        let task = pool.submit(func.call(1));
        let clone = task.clone();
        assert_eq!(task.id(), clone.id());
        assert!(clone.cancel());
        assert!(task.is_cancelled() && !task.cancel());
        held.open();
        assert_usable(&pool);
        assert_eq!(runs.get(), 0);
    });
}

/// Somebody who waits in `wait()` sleeps on when another thread cancels the same handle.
#[test]
fn cancel_wakes_those_who_wait_on_the_same_handle() {
    in_time(|| {
        let (runs, gate, pool) = (Counter::default(), Gate::default(), pool(2));
        let func = gated("flights::cancel_wakes", &runs, &gate);
        let task = pool.submit(func.call(1));
        thread::scope(|scope| {
            let waiter = scope.spawn(|| task.wait());
            until(|| task.is_running());
            assert!(task.cancel());
            assert!(waiter.join().unwrap().unwrap_err().is_cancelled());
        });
        gate.open();
    });
}

/// A callback is never called, or called twice, when its task is cancelled.
#[test]
fn a_callback_of_a_cancelled_task_is_called_once() {
    in_time(|| {
        let (calls, pool) = (Counter::default(), pool(2));
        let (runs, gate) = (Counter::default(), Gate::default());
        let func = gated("flights::cancel_callback", &runs, &gate);
        let task = pool.submit(func.call(1));
        task.on_done({
            let calls = calls.clone();
            move |result| {
                assert!(result.as_ref().unwrap_err().is_cancelled());
                calls.up();
            }
        });
        task.cancel();
        assert_eq!(calls.get(), 1);
        gate.open();
        pool.shutdown();
        assert_eq!(calls.get(), 1);
    });
}

/// One wait in thousands never ends: a wake-up is lost between a look at the state and going to sleep.
#[test]
fn ten_thousand_rounds_without_a_hung_waiter() {
    in_time(|| {
        let pool = pool(2);
        let func = Func::fallible("flights::rounds", |n: u64| match n % 7 {
            0 => Err("a seventh fails"),
            // Without a word from the panic hook.
            1 if n.is_multiple_of(2) => resume_unwind(Box::new("a fourteenth panics")),
            _ => Ok(n),
        });
        let barrier = Barrier::new(3);
        thread::scope(|scope| {
            for thread in 0..3_u64 {
                let (pool, func, barrier) = (&pool, &func, &barrier);
                scope.spawn(move || {
                    for round in 0..10_000_u64 {
                        if round % 16 == 0 {
                            barrier.wait();
                        }
                        let task = pool.submit(func.call(round));
                        match (round + thread) % 4 {
                            0 => _ = task.cancel(),
                            1 => drop(task),
                            2 => _ = pool.forget(&func.call(round)),
                            _ => match task.wait() {
                                Ok(n) => assert_eq!(*n, round),
                                Err(error) => assert!(error.is_failed() || error.is_panic(), "{error}"),
                            },
                        }
                    }
                });
            }
        });
        let stats = pool.stats();
        assert_eq!(stats.submitted, 30_000);
        assert_usable(&pool);
    });
}

/// Ends with every waiter served, though each of them came while the run was just ending.
#[test]
fn waiters_who_come_as_the_run_ends_are_served() {
    in_time(|| {
        let pool = pool(2);
        let func = Func::new("flights::ending", |n: u64| n);
        let barrier = Barrier::new(4);
        let wrong = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2_500 {
                        barrier.wait();
                        let value = pool.run(func.call(round));
                        if !matches!(value, Ok(value) if *value == round) {
                            wrong.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert!(!wrong.load(Ordering::Relaxed));
        assert_eq!(pool.stats().computed, 2_500);
    });
}
