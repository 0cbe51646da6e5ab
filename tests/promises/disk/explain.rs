//! Why a call would miss, after a restart too, and what was counted.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use memopool::testing::{Faults, ManualClock, Op};
use memopool::{Disk, Event, Explain, Func, Pool};
use serde::{Deserialize, Serialize};

use super::{Place, Told, as_child, bare, block, bytes_in, doubled, is_on_disk, this_program};
use crate::{Counter, build, in_time, until};

/// Turns one byte of a file.
fn flip(file: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Nobody can find out why a pipeline computes again what it has computed before.
#[test]
fn explain_knows_what_became_of_a_key_before_the_restart() {
    in_time(|| {
        let (place, clock) = (Place::new(), ManualClock::new());
        let pool = || build(bare().threads(1).clock(clock.clone()).disk(place.disk().max_bytes(1 << 20)));
        let kept = doubled(&Counter::default());
        let brief = Func::new("disk::brief", |n: u64| n).ttl(Duration::from_secs(1));
        let fails = Func::fallible("disk::fails", |n: u64| if n > 0 { Err("no".to_string()) } else { Ok(n) });
        let panics = Func::new("disk::panics_always", |n: u64| if n > 0 { panic!("never {n}") } else { n });
        let old = |version: &str| Func::new("disk::versioned", |n: u64| n).version(version);

        let first = pool();
        first.run(block().call((0, 1000))).unwrap();
        for seed in 1..1200 {
            first.run(block().call((seed, 1000))).unwrap();
        }
        first.run(kept.call(1)).unwrap();
        first.run(kept.call(2)).unwrap();
        first.forget(&kept.call(2)).unwrap();
        first.run(brief.call(1)).unwrap();
        first.run(fails.call(1)).unwrap_err();
        first.run(panics.call(1)).unwrap_err();
        first.run(old("one").call(1)).unwrap();
        drop(first);

        clock.advance(Duration::from_secs(2));
        let later = pool();
        assert!(is_on_disk(&later.explain(&kept.call(1))));
        assert!(matches!(later.explain(&kept.call(3)), Explain::NeverSeen));
        assert!(matches!(later.explain(&kept.call(2)), Explain::Forgotten));
        assert!(matches!(later.explain(&brief.call(1)), Explain::Expired));
        assert!(matches!(later.explain(&fails.call(1)), Explain::ErrorNotStored));
        assert!(matches!(later.explain(&panics.call(1)), Explain::Panicked));
        let explained = later.explain(&block().call((0, 1000)));
        assert!(matches!(explained, Explain::Evicted), "{explained}");
        let explained = later.explain(&old("two").call(1));
        assert!(
            matches!(&explained, Explain::OtherVersion { stored, .. } if stored.contains("one")),
            "{explained}"
        );
        assert_eq!(later.stats().submitted, 0);
    });
}

type Look<'a> = &'a dyn Fn(&Pool, &Func<u64, u64>);

/// Damage is found by a look that does not count it, and nobody ever hears of it.
#[test]
fn damage_is_explained_and_counted_once() {
    in_time(|| {
        let run = |pool: &Pool, func: &Func<u64, u64>| drop(pool.run(func.call(1)).unwrap());
        let get = |pool: &Pool, func: &Func<u64, u64>| assert_eq!(pool.get(&func.call(1)), None);
        let explain = |pool: &Pool, func: &Func<u64, u64>| {
            assert!(matches!(pool.explain(&func.call(1)), Explain::Corrupt));
        };
        let ways: [(&str, Look<'_>); 3] = [("run", &run), ("get", &get), ("explain", &explain)];
        for (way, look) in ways {
            let (place, told, runs) = (Place::new(), Told::default(), Counter::default());
            let func = doubled(&runs);
            place.pool().run(func.call(1)).unwrap();
            flip(&place.segments()[0], 128);
            let pool = build(told.listen(bare()).disk(place.disk()));
            look(&pool, &func);
            assert_eq!(pool.stats().corrupt, 1, "{way}");
            assert_eq!(told.of("Corrupt").len(), 1, "{way}");
            if way != "run" {
                drop(pool);
                let pool = place.bare();
                assert!(matches!(pool.explain(&func.call(1)), Explain::Corrupt), "{way}, after a restart");
            }
            let pool = place.bare();
            assert_eq!(*pool.run(func.call(1)).unwrap(), 2);
            assert_eq!(*pool.run(func.call(1)).unwrap(), 2);
            assert_eq!((runs.get(), pool.stats().corrupt), (2, 0), "{way}: read and counted once");
        }
    });
}

/// Child: one build of a program, then the next, in which a type of the same name has another field. (In one program two
/// such functions are refused.)
pub(super) fn read_as(place: &Path, build: u64) {
    let pool = Pool::builder().threads(1).memory(0).disk(Disk::new(place)).build().unwrap();
    if build == 1 {
        #[derive(Serialize, Deserialize)]
        struct Reading {
            at: u64,
        }
        let func = Func::new("disk::reading", |at: u64| Reading { at }).version("1");
        assert_eq!(pool.run(func.call(7)).unwrap().at, 7);
        assert_eq!(pool.run(func.call(7)).unwrap().at, 7);
        assert_eq!(pool.stats().computed, 1);
    } else {
        #[derive(Serialize, Deserialize)]
        struct Reading {
            since: u64,
        }
        let func = Func::new("disk::reading", |since: u64| Reading { since: since + 1 }).version("1");
        let explained = pool.explain(&func.call(7));
        assert!(matches!(explained, Explain::TypeChanged), "{explained}");
        assert_eq!(pool.run(func.call(7)).unwrap().since, 8);
        assert_eq!((pool.stats().computed, pool.stats().corrupt), (1, 0));
        pool.flush().unwrap();
        assert_eq!(pool.get(&func.call(7)).map(|reading| reading.since), Some(8), "replaced by the new");
    }
}

/// A result is read as another type: a field was renamed between two builds, say.
#[test]
fn a_changed_type_is_a_miss_that_says_so() {
    in_time(|| {
        let place = Place::new();
        for build in [1, 2] {
            let program = this_program();
            let out =
                as_child(program.to_str().unwrap(), &[], "read as", &place.path(), build).output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        }
    });
}

/// The size that is reported is not the size that is taken.
#[test]
fn disk_bytes_are_those_of_the_files() {
    in_time(|| {
        let place = Place::new();
        let disk = || place.disk().max_bytes(4 << 20);
        let pool = build(bare().threads(1).disk(disk()));
        let taken =
            || bytes_in(&place.path().join("v1/seg")) + std::fs::metadata(place.index()).unwrap().len();
        let check = |pool: &Pool, when: &str| {
            pool.flush().unwrap();
            let (said, taken) = (pool.stats().disk_bytes, taken());
            assert!(said.abs_diff(taken) <= 1024, "{when}: {said} said, {taken} taken");
        };
        check(&pool, "empty");
        for seed in 0..50 {
            pool.run(block().call((seed, 1000))).unwrap();
        }
        check(&pool, "small ones");
        for seed in 0..5 {
            pool.run(block().call((seed, 100_000))).unwrap();
        }
        check(&pool, "large ones");
        for seed in 100..9_000 {
            pool.run(block().call((seed, 500))).unwrap();
        }
        check(&pool, "evicted");
        check(&build(bare().disk(disk())), "another pool");
        drop(pool);
        place.lose_index();
        let pool = build(bare().disk(disk()));
        check(&pool, "rebuilt");
        pool.clear().unwrap();
        check(&pool, "cleared");
        let left: u64 = place.segments().iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
        assert_eq!(left, 128, "that it was cleared");
    });
}

/// Failures are told a hundred times, or never, or not when they are over.
#[test]
fn store_errors_are_counted_and_told_once() {
    in_time(|| {
        let (place, told, faults, runs) = (Place::new(), Told::default(), Faults::new(), Counter::default());
        let pool = build(told.listen(bare().threads(1)).disk(place.disk().faults(&faults)));
        let func = doubled(&runs);
        pool.run(func.call(0)).unwrap();
        pool.flush().unwrap();
        assert_eq!((pool.stats().spilled, pool.stats().store_errors), (1, 0));
        faults.fail_every(Op::Write, 1);
        for n in 1..50 {
            assert_eq!(*pool.run(func.call(n)).unwrap(), n * 2, "trouble with the disk is not the task's");
        }
        let _ = pool.flush();
        assert!(pool.stats().store_errors > 0);
        assert_eq!(told.of("StoreFailed").len(), 1, "{:?}", told.of("Store"));
        assert_eq!(pool.stats().spilled, 1);
        faults.heal();
        let mut n = 100;
        until(|| {
            n += 1;
            pool.run(func.call(n)).unwrap();
            pool.stats().spilled > 1
        });
        until(|| told.of("StoreRecovered").len() == 1);
        assert!(pool.get(&func.call(0)).is_some());
        assert_eq!(told.of("StoreFailed").len(), 1);
    });
}

/// A pool that has seen its disk fail once reports a failure for every further look.
#[test]
fn an_unreadable_entry_is_computed_again() {
    in_time(|| {
        let (place, faults, runs) = (Place::new(), Faults::new(), Counter::default());
        let func = doubled(&runs);
        place.pool().run(func.call(1)).unwrap();
        let failed = Counter::default();
        let pool = build(bare().disk(place.disk().faults(&faults)).on_event({
            let failed = failed.clone();
            move |event| {
                if let Event::StoreFailed { reason } = event {
                    assert!(reason.contains("reading"), "{reason}");
                    failed.up();
                }
            }
        }));
        faults.fail_nth(Op::Read, 1);
        faults.fail_nth(Op::Read, 2);
        assert_eq!(*pool.run(func.call(1)).unwrap(), 2);
        assert_eq!((runs.get(), failed.get()), (2, 1));
        let stats = pool.stats();
        assert_eq!(stats.corrupt, 0, "the system failed, not the entry");
        assert!(stats.store_errors > 0);
    });
}
