//! Two that flush at once.

use std::thread;

use super::*;
use crate::Disk;
use crate::memo::disk::put::Put;
use crate::memo::disk::tier::Tier;
use crate::sync::Condvar;
use crate::testing::{Faults, Op};
use crate::watchdog::within;

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
