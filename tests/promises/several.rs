//! `map`, `wait` and `as_completed`: many tasks at once.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use memopool::{Error, Func, Pool, Task, Until, as_completed, wait};

use crate::{Counter, Gate, assert_usable, held_pool, hold, in_time, pool};

fn square() -> Func<u64, u64> {
    Func::new("several::square", |n: u64| n * n)
}

/// Fails for 0, panics for 1, and gives the rest back.
fn fallible() -> Func<u64, u64> {
    Func::fallible("several::fallible", |n: u64| match n {
        0 => Err("zero"),
        1 => resume_unwind(Box::new("one")),
        _ => Ok(n),
    })
}

/// Spins until a deadline of `timeout` that is set before has passed.
fn outlast(timeout: Duration) {
    let start = Instant::now();
    while start.elapsed() <= timeout {
        thread::yield_now();
    }
}

/// Equal inputs are computed once each, or only the first of them gets its result.
#[test]
fn duplicates_in_a_map_run_once_and_fill_every_place() {
    in_time(|| {
        for unordered in [false, true] {
            for window in [1, 3, 1000] {
                let pool = pool(3);
                let runs = Counter::default();
                let func = Func::named("several::duplicates").resource(runs.clone()).func(|runs, n: u64| {
                    runs.up();
                    n * 10
                });
                let map = pool.map((0..300).map(|n| func.call(n % 7))).window(window);
                let map = if unordered { map.unordered() } else { map };
                let mut results: Vec<u64> = map.map(|result| *result.unwrap()).collect();
                let mut expected: Vec<u64> = (0..300).map(|n| n % 7 * 10).collect();
                if unordered {
                    results.sort_unstable();
                    expected.sort_unstable();
                }
                assert_eq!(results, expected);
                assert_eq!(runs.get(), 7, "unordered: {unordered}, window: {window}");
            }
        }
    });
}

/// The time that passes before the first result is looked at is not counted, so a deadline comes late.
#[test]
fn deadlines_count_from_the_call() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let tasks = pool.submit_all((0..3).map(|n| square().call(n)));
        let timeout = Duration::from_millis(20);
        for unordered in [false, true] {
            let map = pool.map((0..3).map(|n| square().call(n))).timeout(timeout);
            let mut map = if unordered { map.unordered() } else { map };
            let mut completed = as_completed(tasks.clone()).timeout(timeout);
            outlast(timeout);
            let before = Instant::now();
            assert!(map.next().unwrap().unwrap_err().is_timeout());
            assert!(completed.next().unwrap().unwrap_err().is_timeout());
            assert!(before.elapsed() < Duration::from_secs(10), "it did not begin anew");
            assert!(map.next().is_none() && completed.next().is_none());
        }
        gate.open();
        // What is there is still given out after the deadline: only waiting is over.
        tasks.iter().for_each(|task| _ = task.wait().unwrap());
        let completed = as_completed(tasks).timeout(Duration::ZERO);
        assert_eq!(completed.filter(Result::is_ok).count(), 3);
    });
}

/// A job that should stop at the first failure waits for everything before it, and lets the rest run.
#[test]
fn try_collect_stops_at_the_first_failure() {
    in_time(|| {
        let pool = pool(2);
        let (gate, runs) = (Gate::default(), Counter::default());
        let func = Func::named("several::fail_fast").resource((gate.clone(), runs.clone())).fallible(
            |(gate, runs), n: u64| match n {
                0 => {
                    runs.up();
                    gate.pass();
                    Ok(n)
                }
                // Not before the first one runs.
                3 => {
                    crate::until(|| runs.get() > 0);
                    Err("three")
                }
                1 | 2 => Ok(n),
                _ => {
                    runs.up();
                    gate.pass();
                    Ok(n)
                }
            },
        );
        let failed = pool.map((0..100).map(|n| func.call(n))).try_collect().unwrap_err();
        assert!(failed.to_string().ends_with("three"), "{failed}");
        assert!(pool.stats().queued == 0, "what has not started never does");
        gate.open();
        pool.shutdown();
        assert!(runs.get() <= 3, "{}", runs.get());
    });
}

/// `try_collect` mixes up the order, loses results, or can't take over an iteration that has begun.
#[test]
fn try_collect_keeps_the_order_of_the_calls() {
    in_time(|| {
        let pool = pool(3);
        for window in [1, 2, 7, 1000] {
            let map = pool.map((0..200).map(|n| square().call(n % 90))).window(window);
            let squares: Vec<u64> = map.try_collect().unwrap().iter().map(|n| **n).collect();
            assert!(squares.iter().enumerate().all(|(n, square)| *square == (n as u64 % 90).pow(2)));
            assert_eq!(squares.len(), 200);
            pool.clear().unwrap();
        }
        let mut map = pool.map((0..20).map(|n| square().call(n))).window(6);
        assert_eq!(map.by_ref().take(5).count(), 5);
        let rest: Vec<u64> = map.try_collect().unwrap().iter().map(|n| **n).collect();
        assert_eq!(rest, (5..20).map(|n| n * n).collect::<Vec<u64>>());
        let unordered = pool.map((0..20).map(|n| square().call(n))).unordered().try_collect().unwrap();
        assert_eq!(unordered.iter().map(|n| **n).collect::<BTreeSet<_>>().len(), 20);
        assert!(pool.map(Vec::<memopool::Call<u64, u64>>::new()).try_collect().unwrap().is_empty());
        let (pool, gate) = held_pool();
        let late = pool.map((0..3).map(|n| square().call(n))).timeout(Duration::from_millis(2)).try_collect();
        assert_eq!(late.unwrap_err().to_string(), "3 of 3 tasks unfinished after 2ms");
        gate.open();
    });
}

/// An input iterator that panics in the middle of `try_collect` leaves its tasks behind.
#[test]
fn a_panic_of_the_input_ends_try_collect() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let calls = (0..10).map(|n| {
            if n == 5 {
                resume_unwind(Box::new("bad input"));
            }
            square().call(n)
        });
        let map = std::panic::AssertUnwindSafe(pool.map(calls));
        let panic = std::panic::catch_unwind(|| { map }.0.try_collect()).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"bad input"));
        assert_eq!(pool.stats().queued, 0, "dropped with the map");
        gate.open();
        assert_usable(&pool);
    });
}

/// One task of each kind, all in the hands of one pool with one thread: done, failed, panicked, cancelled, running, queued.
fn one_of_each() -> (Pool, Gate, Vec<Task<u64>>) {
    let pool = pool(1);
    let mut tasks = pool.submit_all([5, 0, 1].map(|n| fallible().call(n)));
    tasks.iter().for_each(|task| _ = task.wait());
    let (started, gate) = (Gate::default(), Gate::default());
    let running = pool.spawn({
        let (started, gate) = (started.clone(), gate.clone());
        move || {
            started.open();
            gate.pass();
            6
        }
    });
    started.pass();
    let cancelled = pool.submit(fallible().call(7));
    assert!(cancelled.cancel());
    let queued = pool.submit(fallible().call(8));
    tasks.extend([cancelled, running, queued]);
    (pool, gate, tasks)
}

fn ids(tasks: &[Task<u64>]) -> Vec<memopool::TaskId> {
    tasks.iter().map(Task::id).collect()
}

/// `wait` misjudges one kind of task when it is among others.
#[test]
fn wait_takes_any_mix_of_tasks() {
    in_time(|| {
        let (_pool, gate, tasks) = one_of_each();
        let doubled = [&tasks[..], &tasks[..]].concat();
        for until in [Until::First, Until::FirstError] {
            let waited = wait(&doubled, until, None);
            assert_eq!(ids(&waited.done), ids(&tasks[..4]), "{until:?}: done at once, each once");
            assert_eq!(ids(&waited.pending), ids(&tasks[4..]), "{until:?}");
        }
        let waited = wait(&doubled, Until::All, Some(Duration::from_millis(2)));
        assert_eq!((ids(&waited.done), ids(&waited.pending)), (ids(&tasks[..4]), ids(&tasks[4..])));
        gate.open();
        let waited = wait(&doubled, Until::All, None);
        assert_eq!((ids(&waited.done), waited.pending.len()), (ids(&tasks), 0));
        let natures: Vec<_> = waited.done.iter().map(|task| task.wait().map(|n| *n).ok()).collect();
        assert_eq!(natures, [Some(5), None, None, None, Some(6), Some(8)]);
    });
}

/// `as_completed` holds back what is done behind what is not, or yields one kind of task never.
#[test]
fn as_completed_takes_any_mix_of_tasks() {
    in_time(|| {
        let (_pool, gate, mut tasks) = one_of_each();
        tasks.reverse();
        let doubled = [&tasks[..], &tasks[..]].concat();
        let mut completed = as_completed(doubled).timeout(Duration::from_secs(3600));
        let first: Vec<_> = completed.by_ref().take(4).map(|task| task.unwrap()).collect();
        assert_eq!(ids(&first), ids(&tasks[2..]), "those that are done, in the order given");
        gate.open();
        let rest: BTreeSet<_> = completed.map(|task| task.unwrap().id()).collect();
        assert_eq!(rest, ids(&tasks[..2]).into_iter().collect());
    });
}

/// Tasks of several pools can't be waited for together, or one pool's end loses those of the others.
#[test]
fn tasks_of_several_pools() {
    in_time(|| {
        let pools: Vec<Pool> = (1..=4).map(pool).collect();
        let gates: Vec<Gate> = pools.iter().map(hold).collect();
        let tasks: Vec<Task<u64>> =
            (0..40).map(|n| pools[n % 4].submit(square().call(n as u64 / 4))).collect();
        // The wider ones have threads left: theirs are done, in any order.
        let early: Vec<_> = as_completed(tasks.clone()).take(30).map(|task| task.unwrap().id()).collect();
        assert!(early.iter().all(|id| !ids(&tasks).iter().step_by(4).any(|held| held == id)));
        let waited = wait(&tasks, Until::All, Some(Duration::from_millis(1)));
        assert_eq!((waited.done.len(), waited.pending.len()), (30, 10));
        let error = as_completed(tasks.clone()).timeout(Duration::from_millis(1)).find_map(Result::err);
        assert_eq!(error.unwrap().to_string(), "10 of 40 tasks unfinished after 1ms");
        gates.iter().for_each(Gate::open);
        assert_eq!(wait(&tasks, Until::All, None).done.len(), 40);
        assert_eq!(as_completed(tasks).count(), 40);
    });
}

/// A reader of `as_completed` sleeps on when its tasks are cancelled, or given up by the end of their pool.
#[test]
fn cancelled_and_shut_down_tasks_are_yielded_at_once() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let tasks = pool.submit_all((0..10).map(|n| square().call(n)));
        let waiting = Barrier::new(3);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let completed = as_completed(tasks.clone());
                waiting.wait();
                completed.map(|task| task.unwrap().wait().unwrap_err()).collect::<Vec<_>>()
            });
            let waiter = scope.spawn(|| {
                waiting.wait();
                wait(&tasks, Until::All, None).done.len()
            });
            waiting.wait();
            tasks[..5].iter().for_each(|task| assert!(task.cancel()));
            let ending = scope.spawn(|| pool.shutdown_now());
            let errors = reader.join().unwrap();
            assert_eq!(errors.iter().filter(|error| error.is_cancelled()).count(), 5);
            assert_eq!(errors.iter().filter(|error| error.is_shutdown()).count(), 5);
            assert_eq!(waiter.join().unwrap(), 10);
            gate.open();
            ending.join().unwrap();
        });
        assert_eq!(as_completed(tasks).count(), 10, "and again afterwards");
    });
}

/// A wake-up is lost now and then, and a reader sleeps for ever.
#[test]
fn a_thousand_rounds_of_a_hundred_tasks_released_at_once() {
    in_time(|| {
        let pool = pool(4);
        for round in 0..1000_u64 {
            let gate = hold_all(&pool);
            let tasks: Vec<_> = (0..100_u64).map(|n| pool.spawn(move || n)).collect();
            thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    as_completed(tasks.clone()).map(|task| *task.unwrap().wait().unwrap()).sum::<u64>()
                });
                let waiter = (round % 4 == 0).then(|| scope.spawn(|| wait(&tasks, Until::All, None)));
                gate.open();
                assert_eq!(reader.join().unwrap(), 4950, "round {round}");
                if let Some(waiter) = waiter {
                    assert_eq!(waiter.join().unwrap().done.len(), 100, "round {round}");
                }
            });
        }
    });
}

/// Holds all four threads.
fn hold_all(pool: &Pool) -> Gate {
    let (gate, started) = (Gate::default(), Arc::new(Barrier::new(5)));
    for _ in 0..4 {
        let (gate, started) = (gate.clone(), Arc::clone(&started));
        let _task = pool.spawn(move || {
            started.wait();
            gate.pass();
        });
    }
    started.wait();
    gate
}

/// A reader that comes and goes while its tasks end disturbs those who stay.
#[test]
fn readers_come_and_go_while_tasks_end() {
    in_time(|| {
        let pool = pool(2);
        for _ in 0..200 {
            let tasks: Vec<Task<u64>> = (0..20).map(|n| pool.spawn(move || n)).collect();
            thread::scope(|scope| {
                for taken in [0, 1, 5, 20] {
                    let tasks = tasks.clone();
                    scope.spawn(move || assert_eq!(as_completed(tasks).take(taken).count(), taken));
                }
                scope.spawn(|| wait(&tasks, Until::First, None).done.len());
            });
            let results: Result<Vec<_>, Error> = tasks.iter().map(Task::wait).collect();
            assert_eq!(results.unwrap().len(), 20);
        }
    });
}
