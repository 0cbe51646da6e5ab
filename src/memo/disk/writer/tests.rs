//! Two that flush at once, and a writer that does not get to it.

use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::Disk;
use crate::memo::disk::payload::Packed;
use crate::memo::disk::put::Put;
use crate::memo::disk::tier::Tier;
use crate::testing::{Faults, Op};

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
    Put {
        function: [1; 8],
        shape: 1,
        is_error: false,
        raw_len: 3,
        packed: Packed::Bytes { bytes: vec![n; 3], flags: 0, hash: [0; 16] },
        stored_at: 1,
        expires: 0,
        compute: 1,
        permit: tier.permit([n; 32], None),
        tally: crate::Pool::new().engine.any_tally(),
    }
}

/// Fails if it does not end.
fn in_time(body: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let body = thread::Builder::new().spawn(move || {
        body();
        done.send(())
    });
    let ended = is_done.recv_timeout(Duration::from_secs(60));
    match ended {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        _ => body.expect("a thread").join().map(drop).unwrap_or_else(|panic| resume_unwind(panic)),
    }
}

#[test]
fn both_of_two_flushes_at_once_tell_what_failed() {
    // Two threads flush what they have computed, the disk is full, and one of them is told that all is safe.
    in_time(|| {
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

#[test]
fn what_the_writer_does_not_get_to_is_written_by_who_finishes_next() {
    // On a busy machine the writer may not run for long, and all that has finished meanwhile is lost with the process.
    in_time(|| {
        let dir = tempfile::tempdir().expect("room");
        let tier = Tier::open(Disk::new(dir.path().join("cache")), None, "test").expect("a directory");
        let Writer { shared, backlog, thread: place, .. } = tier.writer();
        // A writer that the system does not run until it is told to.
        let (send, receive) = unbounded();
        let work = Work { shared: Arc::clone(shared), backlog: Arc::clone(backlog), receive };
        let (let_go, is_let_go) = mpsc::channel::<()>();
        let writer = work.clone();
        let run = move || {
            let _ = is_let_go.recv();
            writer.run();
        };
        let waits = work.receive.clone();
        let handle = spawn("writer".into(), None, run).expect("a thread");
        *place.lock() = Some(Thread { send, work, handle });
        let is_there = || tier.knows(&[1; 32]);

        tier.put(put(&tier, 1));
        let since = backlog.since.swap(u64::MAX, Ordering::Relaxed);
        tier.hold_back();
        assert!(!is_there(), "it has not waited for long");
        backlog.since.store(since, Ordering::Relaxed);
        while !backlog.is_overdue() {
            thread::yield_now();
        }
        let turn = backlog.turn.lock();
        tier.hold_back();
        assert!(!is_there(), "somebody is at it");
        drop(turn);
        let flush = {
            let tier = Arc::clone(&tier);
            thread::Builder::new().spawn(move || tier.flush()).expect("a thread")
        };
        while waits.len() < 2 {
            thread::yield_now();
        }
        tier.hold_back();
        assert!(is_there(), "nobody has written it");
        assert!(!flush.is_finished(), "that is left to the writer");
        assert_eq!((waits.len(), backlog.since.load(Ordering::Relaxed)), (1, 0));
        let_go.send(()).expect("it waits for that");
        flush.join().expect("no panic").expect("all is well");
    });
}
