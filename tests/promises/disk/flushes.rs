//! What `flush` says of what did not get to the disk.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use memopool::testing::{Faults, Op};
use memopool::{Disk, Event, Func, MIN_WEIGHT, Pool, Spill, Sync};

use super::{Place, block, doubled};
use crate::{Counter, Gate, build, in_time, until};

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

/// The same with a long error that is to be kept.
#[test]
fn a_flush_tells_what_error_had_no_room_for_a_file_of_its_own() {
    in_time(|| {
        let (place, faults) = (Place::new(), Faults::new());
        let pool = pool(place.disk().max_bytes(4 << 20), &faults);
        let func = Func::named("disk::failing").cache_errors();
        let func = func.fallible(|n: u64| -> Result<u64, String> { Err("e".repeat(100_000 + n as usize)) });
        assert!(pool.run(func.call(0)).is_err());
        pool.flush().unwrap();
        for (n, op) in [(1, Op::Create), (2, Op::Write)] {
            faults.fail_nth(op, 1);
            assert!(pool.run(func.call(n)).is_err());
            let error = pool.flush().expect_err("it is not on the disk");
            assert!(error.is_store(), "{op:?}: {error}");
            // It pauses after a failure.
            until(|| pool.run(func.call(n).refresh()).is_err() && pool.flush().is_ok());
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

/// A program that gives its end a second waits for a disk that hangs, or is told that all is well while results are still to
/// be written.
#[test]
fn the_end_of_a_pool_waits_for_the_disk_no_longer_than_it_may() {
    in_time(|| {
        let (place, faults, func) = (Place::new(), Faults::new(), doubled(&Counter::default()));
        let (held, gate) = (Gate::default(), Gate::default());
        let listener = {
            let (held, gate) = (held.clone(), gate.clone());
            move |event: &Event<'_>| {
                // In the thread that writes.
                if let Event::StoreRecovered = event {
                    held.open();
                    gate.pass();
                }
            }
        };
        let pool = Pool::builder().threads(1).disk(place.disk().faults(&faults)).on_event(listener);
        let pool = build(pool);
        pool.run(func.call(0)).unwrap();
        pool.flush().unwrap();
        faults.fail_nth(Op::Write, 1);
        let mut n = 0;
        until(|| {
            n += 1;
            pool.run(func.call(n)).unwrap();
            held.is_open()
        });
        for n in 1_000_000_000..1_000_000_010 {
            pool.run(func.call(n)).unwrap();
        }
        let error = pool.shutdown_timeout(Duration::from_millis(1)).expect_err("it is not written");
        assert!(error.is_timeout() && error.to_string().contains("written"), "{error}");
        assert!(pool.shutdown_timeout(Duration::ZERO).is_err_and(|error| error.is_timeout()));
        gate.open();
        pool.shutdown();
        let other = place.bare();
        assert!((1_000_000_000..1_000_000_010).all(|n| other.get(&func.call(n)).is_some()));
        assert!(pool.flush().is_err_and(|error| error.is_store()), "the first was lost");
        pool.flush().expect("it was told");
    });
}

/// A listener that ends its pool when the disk fails waits for the thread that it is in: for ever, or it panics.
#[test]
fn a_listener_may_flush_and_end_its_pool() {
    in_time(|| {
        let (place, faults, func) = (Place::new(), Faults::new(), doubled(&Counter::default()));
        let (slot, over) = (Arc::new(Mutex::new(None::<Pool>)), Gate::default());
        let listener = {
            let (slot, over) = (Arc::clone(&slot), over.clone());
            move |event: &Event<'_>| {
                if let Event::StoreFailed { .. } = event {
                    let pool = slot.lock().expect("no panic under this lock").take().expect("once");
                    assert!(pool.flush().is_err_and(|error| error.is_store()), "it can't wait for itself");
                    assert!(pool.shutdown_timeout(Duration::from_secs(3600)).is_err_and(|e| e.is_timeout()));
                    pool.shutdown();
                    drop(pool);
                    over.open();
                }
            }
        };
        let pool = build(Pool::builder().threads(1).disk(place.disk().faults(&faults)).on_event(listener));
        *slot.lock().expect("no panic under this lock") = Some(pool.clone());
        pool.run(func.call(0)).unwrap();
        pool.flush().unwrap();
        faults.fail_nth(Op::Write, 1);
        pool.run(func.call(1)).unwrap();
        over.pass();
        pool.shutdown();
        assert!(pool.flush().is_err_and(|error| error.is_store()), "the first was lost");
        pool.flush().expect("it was told");
    });
}
