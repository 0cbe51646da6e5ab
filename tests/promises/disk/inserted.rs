//! Results that a pool is given: what they replace, who finds them, what goes wrong.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use memopool::testing::{Faults, ManualClock};
use memopool::{Disk, Explain, Func, Pool, Spill};

use super::{Place, bare, block, doubled, files_in, is_on_disk};
use crate::{Counter, Gate, build, hold, in_time};

/// A run of it says that it has begun, and waits.
fn gated(started: &Gate, gate: &Gate) -> Func<u64, u64> {
    Func::named("disk::given_while_it_runs").resource((started.clone(), gate.clone())).func(
        |(started, gate): &(Gate, Gate), n: u64| {
            started.open();
            gate.pass();
            n
        },
    )
}

/// How a test gives one result.
type Way = (&'static str, fn(&Pool, &Func<u64, u64>, u64, u64));

const WAYS: [Way; 2] = [
    ("insert", |pool, func, n, value| pool.insert(&func.call(n), value).unwrap()),
    ("insert_all", |pool, func, n, value| pool.insert_all([(func.call(n), value)]).unwrap()),
];

/// What was inserted is computed again, by this process or the next.
#[test]
fn what_is_inserted_is_found_here_and_in_the_next_process() {
    in_time(|| {
        for (way, insert) in WAYS {
            for spill in [Spill::OnInsert, Spill::OnEvict] {
                for memory in [0, 1 << 20] {
                    let (place, runs) = (Place::new(), Counter::default());
                    let func = doubled(&runs);
                    let disk = place.disk().spill(spill);
                    let pool = build(Pool::builder().threads(1).memory(memory).disk(disk));
                    (0..50).for_each(|n| insert(&pool, &func, n, n + 1000));
                    let case = format!("{way}, {spill:?}, memory {memory}");
                    let kept = memory > 0 || spill == Spill::OnInsert || way == "insert_all";
                    for n in 0..if kept { 50 } else { 0 } {
                        assert_eq!(*pool.run(func.call(n)).unwrap(), n + 1000, "{case}");
                    }
                    drop(pool);
                    if spill == Spill::OnInsert || way == "insert_all" {
                        for lost in [false, true] {
                            if lost {
                                place.lose_index();
                            }
                            let pool = place.bare();
                            (0..50).for_each(|n| {
                                assert_eq!(*pool.run(func.call(n)).unwrap(), n + 1000, "{case}")
                            });
                        }
                    }
                    assert_eq!(runs.get(), 0, "{case}");
                }
            }
        }
    });
}

/// An import pushes what is in use out of memory, or is not there for others when it returns.
#[test]
fn an_import_goes_to_the_disk_at_once_and_past_the_memory() {
    in_time(|| {
        let place = Place::new();
        let (pool, other) = (place.pool(), place.bare());
        let func = doubled(&Counter::default());
        // Some batches, and a part of one.
        pool.insert_all((0..5000).map(|n| (func.call(n), n * 2))).unwrap();
        assert_eq!((pool.stats().entries, pool.stats().spilled), (0, 5000));
        assert!((0..5000).all(|n| other.get(&func.call(n)).as_deref() == Some(&(n * 2))));
        assert!(is_on_disk(&pool.explain(&func.call(4999))));
        assert_eq!((pool.stats().submitted, pool.stats().computed), (0, 0));
    });
}

/// An old result comes back after a newer one was inserted: at once, after a restart, or after the index was lost.
#[test]
fn what_is_inserted_replaces_what_was_kept() {
    in_time(|| {
        for (way, insert) in WAYS {
            for (other_way, again) in WAYS {
                for flushed in [false, true] {
                    for memory in [0, 1 << 20] {
                        let place = Place::new();
                        let func = doubled(&Counter::default());
                        let pool = build(Pool::builder().threads(1).memory(memory).disk(place.disk()));
                        let case = format!("{way}, {other_way}, flushed: {flushed}, memory {memory}");
                        let is = |value| {
                            if flushed {
                                pool.flush().unwrap();
                            }
                            assert_eq!(pool.get(&func.call(1)).as_deref(), Some(&value), "{case}");
                        };
                        pool.run(func.call(1)).unwrap();
                        is(2);
                        insert(&pool, &func, 1, 3);
                        is(3);
                        again(&pool, &func, 1, 4);
                        is(4);
                        drop(pool);
                        assert_eq!(place.bare().get(&func.call(1)).as_deref(), Some(&4), "{case}, later");
                        place.lose_index();
                        assert_eq!(
                            place.bare().get(&func.call(1)).as_deref(),
                            Some(&4),
                            "{case}, index lost"
                        );
                    }
                }
            }
        }
    });
}

/// Of two results for one call in an import the first is kept.
#[test]
fn the_last_of_an_import_stays() {
    in_time(|| {
        let place = Place::new();
        let func = doubled(&Counter::default());
        place.pool().insert_all([1, 2, 3].map(|value| (func.call(7), value))).unwrap();
        assert_eq!(place.bare().get(&func.call(7)).as_deref(), Some(&3));
        place.lose_index();
        assert_eq!(place.bare().get(&func.call(7)).as_deref(), Some(&3));
    });
}

/// What a run computed that began before comes in the place of what was inserted: in this process, or from another.
#[test]
fn a_run_that_began_before_does_not_win() {
    in_time(|| {
        for (way, insert) in WAYS {
            for memory in [0, 1 << 20] {
                for flights in [true, false] {
                    for elsewhere in [false, true] {
                        let (place, started, gate) = (Place::new(), Gate::default(), Gate::default());
                        let func = gated(&started, &gate);
                        let disk = || place.disk().single_flight(flights);
                        let pool = || build(Pool::builder().threads(1).memory(memory).disk(disk()));
                        let (runs, given) = (pool(), pool());
                        let given = if elsewhere { &given } else { &runs };
                        let task = runs.submit(func.call(1));
                        started.pass();
                        insert(given, &func, 1, 100);
                        if !flights {
                            // Nothing tells that somebody computes it: whoever is written first stays.
                            given.flush().unwrap();
                        }
                        gate.open();
                        assert_eq!(*task.wait().unwrap(), 1, "those who wait have it");
                        runs.flush().unwrap();
                        given.flush().unwrap();
                        let case =
                            format!("{way}, memory {memory}, flights: {flights}, elsewhere: {elsewhere}");
                        assert_eq!(given.get(&func.call(1)).as_deref(), Some(&100), "{case}");
                        assert_eq!(place.bare().get(&func.call(1)).as_deref(), Some(&100), "{case}, on disk");
                        place.lose_index();
                        assert_eq!(
                            place.bare().get(&func.call(1)).as_deref(),
                            Some(&100),
                            "{case}, index lost"
                        );
                    }
                }
            }
        }
    });
}

/// Two threads insert different results for one call, and the next process finds the other one than this.
#[test]
fn memory_and_disk_agree_on_the_last_one() {
    in_time(|| {
        let place = Place::new();
        let func = doubled(&Counter::default());
        let pool = build(Pool::builder().threads(1).disk(place.disk()));
        let start = Barrier::new(4);
        thread::scope(|scope| {
            for value in 0..4 {
                let (pool, func, start) = (&pool, &func, &start);
                scope.spawn(move || {
                    for n in 0..300 {
                        start.wait();
                        pool.insert(&func.call(n), value).unwrap();
                    }
                });
            }
        });
        let here: Vec<_> = (0..300).map(|n| *pool.get(&func.call(n)).unwrap()).collect();
        drop(pool);
        let pool = place.bare();
        let there: Vec<_> = (0..300).map(|n| *pool.get(&func.call(n)).unwrap()).collect();
        assert_eq!(here, there);
        assert!(here.iter().collect::<BTreeSet<_>>().len() > 1, "they did not come at the same time");
    });
}

/// A process computes what another has just inserted, since that is not written yet: also where the other was at a run of it.
#[test]
fn others_wait_for_what_is_on_its_way() {
    in_time(|| {
        for running in [false, true] {
            let (place, faults, runs) = (Place::new(), Faults::new(), Counter::default());
            let (started, gate) = (Gate::default(), Gate::default());
            let func = Func::named("disk::given_and_slow")
                .resource((started.clone(), gate.clone(), runs.clone()))
                .func(|(started, gate, runs): &(Gate, Gate, Counter), n: u64| {
                    runs.up();
                    started.open();
                    gate.pass();
                    n
                });
            let pool = build(Pool::builder().threads(1).disk(place.disk().faults(&faults)));
            let other = place.bare();
            // So that both have joined.
            pool.run(doubled(&runs).call(0)).unwrap();
            other.run(doubled(&runs).call(1)).unwrap();
            pool.flush().unwrap();
            let task = running.then(|| pool.submit(func.call(1)));
            if running {
                started.pass();
            }
            faults.slow(Duration::from_millis(20));
            pool.insert(&func.call(1), 100_u64).unwrap();
            assert_eq!(*other.run(func.call(1)).unwrap(), 100);
            gate.open();
            if let Some(task) = task {
                assert_eq!(*task.wait().unwrap(), 1);
            }
            assert_eq!(runs.get(), if running { 3 } else { 2 });
        }
    });
}

/// A refresh that was still queued when a value was inserted deletes it, and keeps nothing itself.
#[test]
fn a_refresh_of_before_does_not_forget_what_is_inserted() {
    in_time(|| {
        for (way, insert) in WAYS {
            for memory in [0, 1 << 20] {
                let (place, runs) = (Place::new(), Counter::default());
                let func = doubled(&runs);
                let pool = build(Pool::builder().threads(1).memory(memory).disk(place.disk()));
                pool.run(func.call(1)).unwrap();
                let gate = hold(&pool);
                let refreshed = pool.submit(func.call(1).refresh());
                insert(&pool, &func, 1, 100);
                gate.open();
                assert_eq!(*refreshed.wait().unwrap(), 2, "who waits for it has it");
                pool.flush().unwrap();
                assert_eq!(pool.get(&func.call(1)).as_deref(), Some(&100), "{way}, memory {memory}");
                assert_eq!(
                    place.bare().get(&func.call(1)).as_deref(),
                    Some(&100),
                    "{way}, memory {memory}, on disk"
                );
            }
        }
    });
}

/// With `Spill::OnEvict`, what is inserted for a call that was forgotten, or that failed, is lost when it leaves the memory.
#[test]
fn what_is_inserted_over_something_known_is_written_at_once() {
    in_time(|| {
        let place = Place::new();
        let failing = Func::fallible("disk::given_after_failure", |n: u64| Err::<u64, _>(format!("{n}")));
        let func = doubled(&Counter::default());
        let pool = build(Pool::builder().threads(1).disk(place.disk().spill(Spill::OnEvict)));
        pool.run(func.call(1)).unwrap();
        pool.forget(&func.call(1)).unwrap();
        pool.insert(&func.call(1), 100_u64).unwrap();
        pool.run(failing.call(1)).unwrap_err();
        pool.flush().unwrap();
        pool.insert(&failing.call(1), 101_u64).unwrap();
        pool.flush().unwrap();
        let other = place.bare();
        assert_eq!(other.get(&func.call(1)).as_deref(), Some(&100));
        assert_eq!(other.get(&failing.call(1)).as_deref(), Some(&101));
    });
}

/// Where the disk can't be written to an import says that all is well, or loses what was kept before.
#[test]
fn an_import_that_can_not_be_written_says_so() {
    in_time(|| {
        let (place, faults) = (Place::new(), Faults::new());
        let func = doubled(&Counter::default());
        let pool = build(Pool::builder().threads(1).disk(place.disk().faults(&faults)));
        pool.insert_all((0..3000).map(|n| (func.call(n), n))).unwrap();
        faults.full();
        let error = pool.insert_all((0..9000).map(|n| (func.call(n), n + 1))).unwrap_err();
        assert!(error.is_store(), "{error}");
        assert_eq!(pool.get(&func.call(1)).as_deref(), Some(&1));
        faults.heal();
        pool.insert_all((0..3000).map(|n| (func.call(n), n + 2))).unwrap();
        assert_eq!(place.bare().get(&func.call(2999)).as_deref(), Some(&3001));
    });
}

/// An import of large values to a full disk says that all is well.
#[test]
fn a_large_value_that_can_not_be_written_is_an_error_of_its_import() {
    in_time(|| {
        let (place, faults) = (Place::new(), Faults::new());
        let pool = build(bare().disk(place.disk().max_bytes(16 << 20).faults(&faults)));
        pool.insert_all([(block().call((1, 0)), vec![1; 10])]).unwrap();
        faults.full();
        let large = (block().call((2, 0)), vec![2; 1 << 20]);
        let error = pool.insert_all([large]).unwrap_err();
        assert!(error.is_store(), "{error}");
        faults.heal();
        pool.insert_all([(block().call((2, 0)), vec![4; 1 << 20])]).unwrap();
        assert_eq!(pool.get(&block().call((2, 0))).as_deref(), Some(&vec![4; 1 << 20]));
    });
}

/// What can't be written at all is lost when it is inserted, instead of being kept in memory.
#[test]
fn what_does_not_go_to_the_disk_stays_in_memory() {
    in_time(|| {
        let place = Place::new();
        let pool = place.pool();
        let fleeting = Func::named("disk::given_in_memory").in_memory().func(|n: u64| n);
        pool.insert_all([(fleeting.call(1), 100)]).unwrap();
        assert_eq!(pool.get(&fleeting.call(1)).as_deref(), Some(&100));
        let untagged: Func<u64, serde_json::Value> =
            Func::new("disk::given_untagged", |_: u64| serde_json::Value::Null);
        let value = serde_json::json!({ "a": [1, 2] });
        pool.insert_all([(untagged.call(1), value.clone())]).unwrap();
        assert_eq!(pool.get(&untagged.call(1)).as_deref(), Some(&value));
        assert!(matches!(pool.explain(&untagged.call(1)), Explain::InMemory));
    });
}

/// A large value in an import is lost, or comes before what was given before it.
#[test]
fn large_values_come_in_their_turn() {
    in_time(|| {
        let place = Place::new();
        // Of this directory a quarter of a mebibyte has a file of its own.
        let disk = || place.disk().max_bytes(16 << 20);
        let (small, large) = (vec![1; 10], vec![2; 1 << 20]);
        let values = [&small, &large, &small, &large].into_iter().zip([1, 2, 3, 3]);
        let pool = build(bare().disk(disk()));
        pool.insert_all(values.map(|(value, n)| (block().call((n, 0)), value.clone()))).unwrap();
        let pool = build(bare().disk(disk()));
        let get = |n| pool.get(&block().call((n, 0))).unwrap();
        assert_eq!((get(1), get(2), get(3)), (small.into(), large.clone().into(), large.into()));
    });
}

/// An import that is larger than the directory may become fills the disk, or fails.
#[test]
fn an_import_beyond_the_bound_keeps_the_last() {
    in_time(|| {
        let place = Place::new();
        let disk = || Disk::new(place.path()).max_bytes(4 << 20);
        let pool = build(bare().disk(disk()));
        pool.insert_all((0..2000).map(|n| (block().call((n, 0)), vec![n as u8; 8 << 10]))).unwrap();
        let bytes: u64 = files_in(&place.path())
            .iter()
            .filter_map(|file| file.metadata().ok())
            .map(|file| file.len())
            .sum();
        assert!(bytes < 8 << 20, "{bytes}");
        assert_eq!(pool.get(&block().call((1999, 0))).as_deref(), Some(&vec![1999_u64 as u8; 8 << 10]));
        assert_eq!(pool.get(&block().call((0, 0))), None);
    });
}

/// What was inserted lives for ever, though results of its function expire.
#[test]
fn what_is_inserted_expires() {
    in_time(|| {
        for (way, insert) in WAYS {
            for memory in [0, 1 << 20] {
                let (place, clock) = (Place::new(), ManualClock::new());
                let func = Func::new("disk::given_for_a_minute", |n: u64| n).ttl(Duration::from_secs(60));
                let pool = Pool::builder().threads(1).memory(memory).clock(clock.clone()).disk(place.disk());
                let pool = build(pool);
                insert(&pool, &func, 1, 100);
                clock.advance(Duration::from_secs(59));
                assert_eq!(*pool.run(func.call(1)).unwrap(), 100, "{way}");
                clock.advance(Duration::from_secs(2));
                assert_eq!(*pool.run(func.call(1)).unwrap(), 1, "{way}");
            }
        }
    });
}
