//! Several that flush or end it at once.

use std::thread;

use super::*;
use crate::memo::disk::put::Put;
use crate::memo::disk::store::Store;
use crate::memo::disk::tier::Tier;
use crate::memo::history::Fate;
use crate::sync::Condvar;
use crate::testing::{Faults, Op};
use crate::watchdog::within;
use crate::{Disk, Spill};

/// Where the writer stays when it first tells of a failure, until it is let go.
#[derive(Default)]
struct Gate {
    /// The writer is there; it may go on.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn arrive(&self) {
        let mut state = self.state.lock();
        state.0 = true;
        self.changed.notify_all();
        while !state.1 {
            state = self.changed.wait(state);
        }
    }

    fn await_writer(&self) {
        let mut state = self.state.lock();
        while !state.0 {
            state = self.changed.wait(state);
        }
    }

    fn open(&self) {
        self.state.lock().1 = true;
        self.changed.notify_all();
    }
}

fn put(tier: &Tier, n: u8) -> Put {
    Put::of(n, tier.permit([n; 32]), crate::Pool::new().engine.any_tally())
}

#[test]
fn both_of_two_flushes_at_once_tell_what_failed() {
    // Two threads flush what they have computed, the disk is full, and one of them is told that all is safe.
    within(Duration::from_secs(60), || {
        for (op, sync) in [(Op::Write, Sync::None), (Op::Sync, Sync::None), (Op::Sync, Sync::EachBatch)] {
            let dir = tempfile::tempdir().expect("room");
            let (faults, gate) = (Faults::new(), Arc::new(Gate::default()));
            let at_gate = Arc::clone(&gate);
            let listener = move |event: &Event<'_>| {
                if let Event::StoreFailed { .. } = event {
                    at_gate.arrive();
                }
            };
            let disk = Disk::new(dir.path().join("cache")).faults(&faults).sync(sync);
            let tier = Tier::open(disk, Some(Arc::new(listener)), "test").expect("a directory");
            tier.put(put(&tier, 1));
            tier.flush().expect("all is well");
            faults.fail_nth(op, 1);
            tier.put(put(&tier, 2));
            let flush = || {
                let tier = Arc::clone(&tier);
                thread::Builder::new().spawn(move || tier.flush()).expect("a thread")
            };
            // The first: of a sync nobody may tell but a flush.
            let first = flush();
            gate.await_writer();
            let second = flush();
            // With the one at the beginning.
            while tier.writer().shared.unwritten.flushes() < 3 {
                thread::yield_now();
            }
            gate.open();
            for flush in [first, second] {
                let told = flush.join().expect("no panic").expect_err("it is not on the disk");
                assert!(told.is_store(), "{op:?}, {sync:?}: {told}");
            }
            // It was told.
            tier.flush().expect("all is well again");
        }
    });
}

/// A tier whose writer is held at the gate: it tells that the disk works again.
fn held(disk: Disk) -> (Arc<Tier>, Arc<Gate>) {
    let (faults, gate) = (Faults::new(), Arc::new(Gate::default()));
    let at_gate = Arc::clone(&gate);
    let listener = move |event: &Event<'_>| {
        if let Event::StoreRecovered = event {
            at_gate.arrive();
        }
    };
    let tier = Tier::open(disk.faults(&faults), Some(Arc::new(listener)), "test").expect("a directory");
    faults.fail_nth(Op::Write, 1);
    tier.put(put(&tier, 1));
    assert!(tier.flush().is_err());
    while !gate.state.lock().0 {
        tier.put(put(&tier, 2));
        thread::yield_now();
    }
    (tier, gate)
}

/// How many of the ten results of the test below another pool finds.
fn found(dir: &std::path::Path) -> usize {
    let other = Tier::open(Disk::new(dir), None, "other").expect("a directory");
    (100..110).filter(|n| other.knows(&[*n; 32])).count()
}

#[test]
fn who_flushes_or_ends_it_while_another_ends_it_waits_as_well() {
    // A thread ends the pool; another flushes, is told that all is safe, and ends the process before it is.
    within(Duration::from_secs(60), || {
        let dir = tempfile::tempdir().expect("room");
        let path = dir.path().join("cache");
        let (tier, gate) = held(Disk::new(&path));
        // This waits.
        (100..110).for_each(|n| assert!(tier.put(put(&tier, n))));
        let (send, receive) = std::sync::mpsc::channel();
        let start = |what: fn(&Tier)| {
            let (tier, path, send) = (Arc::clone(&tier), path.clone(), send.clone());
            thread::Builder::new().spawn(move || {
                what(&tier);
                send.send(found(&path)).expect("the test listens");
            })
        };
        let end: fn(&Tier) = |tier| assert!(tier.close(None));
        let mut threads = vec![start(end)];
        while !tier.writer().shared.outbox.is_closed() {
            thread::yield_now();
        }
        threads.push(start(end));
        threads.push(start(|tier| tier.flush().expect("all is well")));
        // Time for those that do not wait to say so.
        let early = receive.recv_timeout(Duration::from_millis(200));
        gate.open();
        assert!(early.is_err(), "{} of 10 are written, and it says so", early.unwrap_or_default());
        for thread in threads {
            thread.expect("a thread").join().expect("no panic");
            assert_eq!(receive.recv(), Ok(10));
        }
    });
}

#[test]
fn why_runs_failed_does_not_pile_up_while_nobody_can_write() {
    // A disk that hangs, or another process that holds its lock, and a pool of failing calls takes all memory.
    within(Duration::from_secs(60), || {
        let dir = tempfile::tempdir().expect("room");
        let disk = || Disk::new(dir.path().join("cache"));
        let tier = Tier::open(disk(), None, "test").expect("a directory");
        let other = Store::open(&disk()).expect("a directory");
        let failing = other.writing(Duration::from_secs(10), |_| {
            let permit = tier.permit([1; 32]);
            (0..100_000).for_each(|_| tier.note(Fate::Failed, &permit));
            let waiting = tier.writer().shared.outbox.loads();
            assert!(waiting <= 8, "{waiting} batches");
            Ok(())
        });
        failing.expect("the lock");
        tier.put(put(&tier, 2));
        tier.flush().expect("all is well");
        assert!(tier.knows(&[2; 32]));
    });
}

#[test]
fn what_is_on_its_way_is_not_written_again() {
    // A small memory pushes a result out, has it back before it is written, and pushes it out again: it is written twice.
    within(Duration::from_secs(60), || {
        let dir = tempfile::tempdir().expect("room");
        let (tier, gate) = held(Disk::new(dir.path().join("cache")).spill(Spill::OnEvict));
        let evicted = Put::of(3, tier.permit_evicted([3; 32]), crate::Pool::new().engine.any_tally());
        let function = evicted.function;
        assert!(tier.takes_evicted_of(&[3; 32], &function));
        tier.put(evicted);
        let again = tier.takes_evicted_of(&[3; 32], &function);
        gate.open();
        assert!(!again);
        tier.flush().expect("all is well");
        assert!(!tier.takes_evicted_of(&[3; 32], &function));
    });
}

#[test]
fn a_batch_that_is_taken_back_is_not_written() {
    // The disk hangs, an import gives up, what it gave is forgotten; then the disk goes on, and all of it is there again.
    within(Duration::from_secs(60), || {
        let dir = tempfile::tempdir().expect("room");
        let path = dir.path().join("cache");
        let (tier, gate) = held(Disk::new(&path));
        let batch = |from: u8| {
            (from..from + 5)
                .map(|n| Put::of(n, tier.permit_given([n; 32]), crate::Pool::new().engine.any_tally()))
        };
        let (back, kept) = (tier.give(batch(100).collect()), tier.give(batch(105).collect()));
        assert!(back.recall().is_none(), "the writer does not have it");
        gate.open();
        let outcome = kept.wait();
        assert!(outcome.written.is_ok() && !outcome.doubtful);
        assert_eq!(outcome.puts.len(), 5, "to be used again");
        assert_eq!(found(&path), 5);
        assert!(tier.close(None));
        let late = tier.give(batch(100).collect()).wait();
        assert!(late.written.is_err_and(|error| error.is_shutdown()));
        assert_eq!(found(&path), 5);
    });
}
