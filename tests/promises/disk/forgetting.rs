//! What must not be found again: forgotten, replaced, expired, another's, or never to be written.

use std::sync::Mutex;
use std::time::Duration;
use std::{fmt, thread};

use memopool::testing::{Faults, ManualClock, Op};
use memopool::{Explain, Func, Pool};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Place, bare, block, doubled, is_on_disk};
use crate::{Counter, Gate, build, in_time};

/// What forgets, and which of the calls 1, 2 and the other function's 1 it leaves.
type Way = (&'static str, fn(&Pool, &Func<u64, u64>), [bool; 3]);

const WAYS: [Way; 3] = [
    ("forget", |pool, func| pool.forget(&func.call(1)).unwrap(), [false, true, true]),
    ("forget_func", |pool, func| pool.forget_func(func).unwrap(), [false, false, true]),
    ("clear", |pool, _| pool.clear().unwrap(), [false, false, false]),
];

fn tripled() -> Func<u64, u64> {
    Func::new("disk::tripled", |n: u64| n * 3)
}

/// A forgotten result comes back: from the disk at once, after a restart, or after the index was lost.
#[test]
fn forgetting_reaches_the_disk() {
    in_time(|| {
        for (name, forget, left) in WAYS {
            for (written, lost) in [(true, false), (true, true), (false, false), (false, true)] {
                let (place, faults) = (Place::new(), Faults::new());
                let (func, other) = (doubled(&Counter::default()), tripled());
                let pool = build(Pool::builder().threads(1).disk(place.disk().faults(&faults)));
                pool.run(func.call(9)).unwrap();
                pool.flush().unwrap();
                if !written {
                    // Then they are on their way when they are forgotten.
                    faults.slow(Duration::from_millis(5));
                }
                pool.run(func.call(1)).unwrap();
                pool.run(func.call(2)).unwrap();
                pool.run(other.call(1)).unwrap();
                if written {
                    pool.flush().unwrap();
                }
                forget(&pool, &func);
                let found = |pool: &Pool| {
                    [pool.get(&func.call(1)), pool.get(&func.call(2)), pool.get(&other.call(1))]
                        .map(|value| value.is_some())
                };
                let case = format!("{name}, written: {written}, index lost: {lost}");
                assert_eq!(found(&pool), left, "{case}, at once");
                faults.heal();
                pool.flush().unwrap();
                assert_eq!(found(&place.bare()), left, "{case}, by another pool");
                drop(pool);
                if lost {
                    place.lose_index();
                }
                let pool = place.bare();
                assert_eq!(found(&pool), left, "{case}, after a restart");
                assert_eq!([*pool.run(func.call(1)).unwrap(), *pool.run(other.call(1)).unwrap()], [2, 3]);
                drop(pool);
                if lost {
                    place.lose_index();
                }
                assert!(place.bare().get(&func.call(1)).is_some(), "{case}: forgotten for good");
            }
        }
    });
}

/// The old price is served again after a restart, though it was refreshed.
#[test]
fn refresh_replaces_what_is_on_disk() {
    in_time(|| {
        for lost in [false, true] {
            let (place, runs) = (Place::new(), Counter::default());
            let func =
                Func::named("disk::nth_run").resource(runs.clone()).func(|runs: &Counter, _: u64| runs.up());
            let pool = place.bare();
            assert_eq!(*pool.run(func.call(1)).unwrap(), 1);
            assert_eq!(*pool.run(func.call(1).refresh()).unwrap(), 2);
            assert_eq!(*pool.run(func.call(1)).unwrap(), 2);
            drop(pool);
            let pool = place.pool();
            assert_eq!(*pool.run(func.call(1).refresh()).unwrap(), 3);
            assert_eq!(*pool.run(func.call(1)).unwrap(), 3);
            drop(pool);
            if lost {
                place.lose_index();
            }
            assert_eq!(*place.pool().run(func.call(1)).unwrap(), 3);
            assert_eq!(runs.get(), 3);
        }
    });
}

/// What was forgotten while it was computed is kept all the same.
#[test]
fn forgetting_during_a_run_wins() {
    in_time(|| {
        for memory in [0, 1 << 20] {
            for (name, forget, _) in WAYS {
                let (place, started, gate) = (Place::new(), Gate::default(), Gate::default());
                let func = Func::named("disk::gated").resource((started.clone(), gate.clone())).func(
                    |(started, gate): &(Gate, Gate), n: u64| {
                        started.open();
                        gate.pass();
                        n
                    },
                );
                let pool = build(Pool::builder().threads(1).memory(memory).disk(place.disk()));
                let task = pool.submit(func.call(1));
                started.pass();
                forget(&pool, &func);
                gate.open();
                assert_eq!(*task.wait().unwrap(), 1, "those who wait have it");
                pool.flush().unwrap();
                assert_eq!(pool.get(&func.call(1)), None, "{name}, memory {memory}");
                drop(pool);
                place.lose_index();
                assert_eq!(place.bare().get(&func.call(1)), None, "{name}, memory {memory}, later");
            }
        }
    });
}

/// In a directory that is full, `clear` loses what is written after it, or leaves some of what was there before.
#[test]
fn clearing_a_full_directory_clears_all_and_keeps_what_comes() {
    in_time(|| {
        for round in [0, 3, 11, 19] {
            let place = Place::new();
            let disk = || place.disk().max_bytes(1 << 20).backlog(64 << 10);
            let pool = build(bare().threads(1).disk(disk()));
            let old: Vec<u64> = (0..300 + round).collect();
            let new: Vec<u64> = (1000..1020).collect();
            let found = |pool: &Pool, seeds: &[u64]| {
                seeds.iter().filter(|seed| pool.get(&block().call((**seed, 4000))).is_some()).count()
            };
            let write = |seeds: &[u64]| {
                seeds.iter().for_each(|seed| drop(pool.run(block().call((*seed, 4000))).unwrap()));
                pool.flush().unwrap();
            };
            write(&old);
            assert!(found(&pool, &old) > 100, "used, so worth a second chance");
            pool.clear().unwrap();
            write(&new);
            assert_eq!((found(&pool, &old), found(&pool, &new)), (0, 20), "round {round}");
            drop(pool);
            for lost in [false, true] {
                if lost {
                    place.lose_index();
                }
                let pool = build(bare().threads(1).disk(disk()));
                assert_eq!((found(&pool, &old), found(&pool, &new)), (0, 20), "round {round}, lost: {lost}");
            }
        }
    });
}

/// A run that began in another process before all was cleared is kept, if the directory was full when it was cleared.
#[test]
fn clearing_a_full_directory_reaches_the_runs_of_others() {
    in_time(|| {
        for round in [0, 3, 11, 19] {
            let place = Place::new();
            let disk = || place.disk().max_bytes(1 << 20).backlog(64 << 10);
            let (started, gate) = (Gate::default(), Gate::default());
            let func = Func::named("disk::gated_beside").resource((started.clone(), gate.clone())).func(
                |(started, gate): &(Gate, Gate), n: u64| {
                    started.open();
                    gate.pass();
                    n
                },
            );
            let (pool, other) = (build(bare().threads(1).disk(disk())), build(bare().disk(disk())));
            for seed in 0..300 + round {
                pool.run(block().call((seed, 4000))).unwrap();
            }
            pool.flush().unwrap();
            (0..300 + round).for_each(|seed| drop(pool.get(&block().call((seed, 4000)))));
            let task = other.submit(func.call(1));
            started.pass();
            pool.clear().unwrap();
            gate.open();
            task.wait().unwrap();
            other.flush().unwrap();
            assert_eq!(build(bare().disk(disk())).get(&func.call(1)), None, "round {round}");
        }
    });
}

/// What is written after `clear` takes the names of what was deleted, if the index is lost: a process that still has the
/// deleted files open finds the old results in the new places.
#[test]
fn clearing_does_not_begin_to_count_anew() {
    in_time(|| {
        let (place, func) = (Place::new(), doubled(&Counter::default()));
        let newest = || place.segments().pop().expect("a segment");
        let write = |pool: &Pool| {
            pool.run(func.call(1)).unwrap();
            pool.flush().unwrap();
        };
        let mut last = None;
        for _ in 0..3 {
            let pool = place.bare();
            write(&pool);
            assert!(Some(newest()) > last);
            last = Some(newest());
            pool.clear().unwrap();
            drop(pool);
            place.lose_index();
        }
    });
}

type Read = fn(Pool, Func<u64, Held>) -> u64;
type Forget = fn(&Pool, &Func<u64, Held>);

/// What was forgotten while somebody read it from the disk is served from memory afterwards.
#[test]
fn forgetting_during_a_look_wins() {
    // By who takes the results of a map, and by a worker.
    let looks: [(&str, Read); 2] = [
        ("map", |pool, func| pool.map([func.call(1)]).next().unwrap().unwrap().0),
        ("submit", |pool, func| pool.submit(func.call(1)).wait().unwrap().0),
    ];
    let ways: [(&str, Forget); 4] = [
        ("forget", |pool, func| pool.forget(&func.call(1)).unwrap()),
        ("forget_func", |pool, func| pool.forget_func(func).unwrap()),
        ("clear", |pool, _| pool.clear().unwrap()),
        ("refresh", |pool, func| assert_eq!(pool.run(func.call(1).refresh()).unwrap().0, 2)),
    ];
    in_time(move || {
        for (look, read) in looks {
            for (way, forget) in ways {
                let (place, runs) = (Place::new(), Counter::default());
                let func = Func::named("disk::held")
                    .resource(runs.clone())
                    .func(|runs: &Counter, _: u64| Held(runs.up()));
                let pool = place.pool();
                pool.run(func.call(1)).unwrap();
                drop(pool);
                let (pool, reads, gate) = (place.pool(), Gate::default(), Gate::default());
                *HOLD.lock().unwrap() = Some((reads.clone(), gate.clone()));
                let reader = thread::spawn({
                    let (pool, func) = (pool.clone(), func.clone());
                    move || read(pool, func)
                });
                reads.pass();
                forget(&pool, &func);
                gate.open();
                assert!(
                    reader.join().unwrap() <= 2,
                    "{look}, {way}: who had asked before has one of the two"
                );
                assert_eq!(pool.run(func.call(1)).unwrap().0, 2, "{look}, {way}: the old one is gone");
            }
        }
    });
}

/// The next [`Held`] that is read opens the first gate and waits at the second.
static HOLD: Mutex<Option<(Gate, Gate)>> = Mutex::new(None);

/// Which run it was.
#[derive(Debug, Serialize)]
struct Held(u64);

impl<'de> Deserialize<'de> for Held {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Held, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Held")]
        struct Plain(u64);
        let Plain(run) = Plain::deserialize(deserializer)?;
        let held = HOLD.lock().unwrap().take();
        if let Some((reads, gate)) = held {
            reads.open();
            gate.pass();
        }
        Ok(Held(run))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Refusal {
    TooLarge { n: u64 },
    Odd(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::TooLarge { n } => write!(f, "{n} is too large"),
            Refusal::Odd(why) => write!(f, "odd: {why}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// An error that was kept loses its type or its text on the disk, or is not kept at all.
#[test]
fn kept_errors_come_back_as_what_they_were() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let func = Func::named("disk::halved").resource(runs.clone()).cache_errors().fallible(
            |runs: &Counter, n: u64| {
                runs.up();
                match n {
                    1000.. => Err(Refusal::TooLarge { n }),
                    n if n % 2 == 1 => Err(Refusal::Odd(format!("{n}"))),
                    n => Ok(n / 2),
                }
            },
        );
        let look = |pool: &Pool| {
            [8, 7, 2000].map(|n| match pool.run(func.call(n)) {
                Ok(half) => format!("{half}"),
                Err(error) => {
                    assert!(error.is_failed());
                    format!(
                        "{error} / {:?}",
                        error.downcast_ref::<Refusal>().expect("the function's own error")
                    )
                }
            })
        };
        let pool = place.pool();
        let first = look(&pool);
        drop(pool);
        for lost in [false, true] {
            if lost {
                place.lose_index();
            }
            let pool = place.pool();
            assert_eq!(look(&pool), first);
            assert_eq!(look(&pool), first, "from memory");
            assert_eq!((pool.stats().disk_hits, pool.stats().failed), (3, 0));
            assert_eq!(pool.get(&func.call(7)), None, "`get` gives values");
        }
        assert_eq!(runs.get(), 3);
    });
}

/// A result outlives its `ttl` by a restart, or does not live as long as it should.
#[test]
fn ttl_goes_on_over_a_restart() {
    in_time(|| {
        for (memory, lost) in [(0, false), (1 << 20, false), (0, true)] {
            let (place, clock, runs) = (Place::new(), ManualClock::new(), Counter::default());
            let func = doubled(&runs).ttl(Duration::from_secs(60));
            let pool =
                || build(Pool::builder().threads(1).memory(memory).clock(clock.clone()).disk(place.disk()));
            pool().run(func.call(1)).unwrap();
            clock.advance(Duration::from_secs(59));
            if lost {
                place.lose_index();
            }
            let later = pool();
            assert_eq!(*later.run(func.call(1)).unwrap(), 2);
            assert_eq!((runs.get(), later.stats().disk_hits), (1, 1));
            clock.advance(Duration::from_secs(1));
            assert_eq!(later.get(&func.call(1)), None, "promoted with its end");
            drop(later);
            let later = pool();
            assert!(matches!(later.explain(&func.call(1)), Explain::Expired));
            assert_eq!(later.get(&func.call(1)), None);
            later.run(func.call(1)).unwrap();
            assert_eq!((runs.get(), later.stats().computed), (2, 1));
            drop(later);
            clock.advance(Duration::from_secs(59));
            assert!(pool().get(&func.call(1)).is_some(), "what replaced it has its own end");
        }
    });
}

/// What its author said must not leave the memory lies on the disk.
#[test]
fn in_memory_functions_are_never_written() {
    in_time(|| {
        let (place, faults) = (Place::new(), Faults::new());
        let pool = build(Pool::builder().threads(1).memory(1000).disk(place.disk().faults(&faults)));
        let before = faults.count(Op::Write);
        let secret = Func::named("disk::secret").in_memory().func(|n: u64| n * 2);
        for n in 0..100 {
            pool.run(secret.call(n)).unwrap();
        }
        pool.run(secret.call(3).refresh()).unwrap();
        pool.flush().unwrap();
        assert_eq!((faults.count(Op::Write) - before, pool.stats().spilled), (0, 0));
        assert_eq!(place.segments().len(), 0);
        drop(pool);
        assert!(matches!(place.pool().explain(&secret.call(3)), Explain::NeverSeen));
    });
}

/// The disk fills with results that are faster computed than read.
#[test]
fn cheap_results_are_not_written() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let cheap = doubled(&runs).cost_above(Duration::from_secs(3600));
        let pool = place.pool();
        pool.run(cheap.call(1)).unwrap();
        pool.flush().unwrap();
        assert!(matches!(pool.explain(&cheap.call(1)), Explain::TooCheap));
        assert_eq!(pool.stats().spilled, 0);
        drop(pool);
        let dear = doubled(&runs).cost_above(Duration::from_nanos(1));
        place.pool().run(dear.call(1)).unwrap();
        assert!(is_on_disk(&place.pool().explain(&dear.call(1))));
    });
}

/// A result of another function, of other settings or of older code is taken for this one's.
#[test]
fn only_the_same_function_finds_it() {
    in_time(|| {
        let place = Place::new();
        let func = |name: &str, state: u64, version: &str| {
            Func::named(name).state(state).func(|state: &u64, n: u64| state * n).version(version)
        };
        let first = func("disk::scaled", 2, "1");
        assert_eq!(*place.pool().run(first.call(10)).unwrap(), 20);
        let pool = build(bare().disk(place.disk()));
        assert_eq!(pool.get(&func("disk::scaled", 2, "1").call(10)).as_deref(), Some(&20));
        for other in
            [func("disk::scaled", 3, "1"), func("disk::scaled", 2, "2"), func("disk::scaled_", 2, "1")]
        {
            assert_eq!(pool.get(&other.call(10)), None);
        }
        assert_eq!(*pool.run(func("disk::scaled", 3, "1").call(10)).unwrap(), 30);
        assert_eq!(*pool.run(first.call(10)).unwrap(), 20);
        assert_eq!((pool.stats().computed, pool.stats().disk_hits), (1, 1));
    });
}

/// An edited function goes on giving what it gave before the edit.
#[test]
fn changed_code_is_a_miss() {
    in_time(|| {
        let place = Place::new();
        {
            #[memopool::memo(name = "disk::edited")]
            fn edited(n: u64) -> u64 {
                n + 1
            }
            assert_eq!(*place.pool().run(edited::call(1)).unwrap(), 2);
        }
        {
            #[memopool::memo(name = "disk::edited")]
            fn edited(n: u64) -> u64 {
                n + 2
            }
            let pool = place.pool();
            assert_eq!(*pool.run(edited::call(1)).unwrap(), 3);
            assert_eq!((pool.stats().computed, pool.stats().disk_hits), (1, 0));
        }
    });
}
