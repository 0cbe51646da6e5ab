//! What `flush` says of what did not get to the disk.

use memopool::testing::{Faults, Op};
use memopool::{Disk, MIN_WEIGHT, Pool, Spill, Sync};

use super::{Place, block, doubled};
use crate::{Counter, build, in_time, until};

fn pool(disk: Disk, faults: &Faults) -> Pool {
    build(Pool::builder().threads(1).memory(2 * MIN_WEIGHT).disk(disk.faults(faults)))
}

/// A program flushes, is told that all is well, ends, and has lost what it computed on a full disk.
#[test]
fn a_flush_tells_what_could_not_be_written() {
    in_time(|| {
        for spill in [Spill::OnInsert, Spill::OnEvict] {
            let (place, faults, func) = (Place::new(), Faults::new(), doubled(&Counter::default()));
            let pool = pool(place.disk().spill(spill), &faults);
            let mut from = 0;
            let mut run = || {
                // More than the memory has room for.
                for n in from..from + 20 {
                    pool.run(func.call(n)).unwrap();
                }
                from += 20;
                from - 1
            };
            run();
            pool.flush().unwrap();
            faults.fail_every(Op::Write, 1);
            // The second finds that nothing is tried for a while, or tries.
            for turn in 1..=2 {
                run();
                let error = pool.flush().expect_err("what was computed is not on the disk");
                assert!(error.is_store(), "{spill:?}, {turn}: {error}");
                let text = error.to_string();
                assert!(text.contains("writing") && text.contains("v1/seg/"), "{spill:?}, {turn}: {text}");
            }
            pool.flush().expect("told once: nothing was computed since");
            faults.heal();
            let before = pool.stats().spilled;
            let mut last = 0;
            until(|| {
                last = run();
                pool.flush().is_ok()
            });
            assert!(pool.stats().spilled > before, "{spill:?}");
            if spill == Spill::OnInsert {
                assert_eq!(place.bare().get(&func.call(last)).as_deref(), Some(&(last * 2)));
            }
        }
    });
}

/// The same with a value that has a file of its own, which no batch writes.
#[test]
fn a_flush_tells_what_had_no_room_for_a_file_of_its_own() {
    in_time(|| {
        for (op, word) in [(Op::Create, "creating"), (Op::Write, "writing"), (Op::Rename, "renaming")] {
            let (place, faults) = (Place::new(), Faults::new());
            let pool = pool(place.disk().max_bytes(4 << 20), &faults);
            pool.run(block().call((0, 100_000))).unwrap();
            pool.flush().unwrap();
            faults.fail_nth(op, 1);
            pool.run(block().call((1, 100_000))).unwrap();
            let error = pool.flush().expect_err("it is not on the disk");
            assert!(error.is_store() && error.to_string().contains(word), "{op:?}: {error}");
            pool.flush().unwrap();
        }
    });
}

/// What the pool itself could not make safe as it went counts as safe once a later attempt goes well, though the system
/// may have dropped it by then.
#[test]
fn a_flush_tells_what_could_not_be_synced_before() {
    in_time(|| {
        let (place, faults, func) = (Place::new(), Faults::new(), doubled(&Counter::default()));
        let pool = pool(place.disk().sync(Sync::EachBatch), &faults);
        pool.run(func.call(1)).unwrap();
        pool.flush().unwrap();
        let before = faults.count(Op::Sync);
        faults.fail_nth(Op::Sync, 1);
        pool.run(func.call(2)).unwrap();
        until(|| faults.count(Op::Sync) > before);
        let error = pool.flush().expect_err("a sync has failed");
        assert!(error.is_store() && error.to_string().contains("syncing"), "{error}");
        pool.flush().unwrap();
    });
}
