//! Writing behind: one thread per pool takes finished results and writes them in batches.
//!
//! It takes what there is in the [outbox](super::outbox) and writes it at once, so a lone result is on its way to the disk some
//! microseconds after it is finished; then it rests for [`REST`] while others gather, or until a flush or much waits. What waits
//! is bounded in bytes: a worker that finishes while more waits is held back ([`Writer::hold_back`]), and beyond twice as much,
//! results are dropped, since a disk that does not keep up must not stop the pool.
//!
//! The thread starts with the first result and ends with the pool. A panic can't get into it: it runs no user code but the
//! listener, which is caught. A listener that flushes or ends the pool from there does not wait: it would wait for itself.
//!
//! # The end
//!
//! Whoever ends the pool closes the outbox and waits until the writer has written what is there; so does who ends it at the
//! same time, and who flushes then. The thread holds one end of a channel that nothing is ever sent through: all who wait see
//! that it has dropped it.

use std::convert::Infallible;
use std::fmt;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::functions::Version;
use super::given::{Given, Written};
use super::outbox::Load;
use super::put::{Note, Put};
use super::tier::Shared;
use super::unwritten::By;
use crate::config::disk::Sync;
use crate::event::Event;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, JoinHandle, Mutex, now, spawn, this_thread};

/// How long results gather after a batch. (Another process may wait for one of them: not too long.)
const REST: Duration = Duration::from_micros(500);

/// How long a worker is held back at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long `flush` waits for the writer, and whoever gives it a batch.
pub(super) const FLUSH_PATIENCE: Duration = Duration::from_secs(60);

/// See the [module](self).
pub(super) struct Writer {
    shared: Arc<Shared>,
    name: String,
    /// So that a result needs not ask for the thread.
    started: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

/// The thread, until somebody has seen its end.
struct Thread {
    handle: JoinHandle<()>,
    /// Disconnected when everything is written.
    ended: Receiver<Infallible>,
}

/// What has become of the thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has ended, or was never there.
    Seen,
    /// It still writes.
    Ahead,
    /// This is it.
    Here,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, name: String) -> Writer {
        Writer { shared, name, started: AtomicBool::new(false), thread: Mutex::new(None) }
    }

    /// Takes a result. `false`: the writer has ended.
    pub(super) fn put(&self, put: Arc<Put>) -> bool {
        let taken = if self.start() { self.shared.outbox.put(put) } else { Err(put) };
        match taken {
            Ok(()) => true,
            Err(put) if self.shared.outbox.is_closed() => {
                put.permit.release();
                false
            }
            Err(put) => {
                self.shared.dropped(&put);
                true
            }
        }
    }

    pub(super) fn note(&self, note: Note) {
        let _ = self.start() && self.shared.outbox.note(note);
    }

    /// Has a batch written by the thread; here, if this is it, or if it can't be started.
    pub(super) fn give(&self, given: Given) {
        if !self.is_here() && self.start() {
            if let Err(given) = self.shared.outbox.give(given) {
                given.refuse();
            }
        } else if self.shared.outbox.is_closed() {
            given.refuse();
        } else {
            given.write(&self.shared).into_iter().for_each(Written::tell);
            self.wrote();
        }
    }

    /// Something was written by hand. To be made safe as the settings say, if they say anything.
    pub(super) fn wrote(&self) {
        if self.shared.disk.sync != Sync::None {
            let _ = self.start() && self.shared.outbox.send(false, |load| load.written = true);
        }
    }

    pub(super) fn note_version(&self, version: Version) {
        let _ = self.start() && self.shared.outbox.send(false, |load| load.versions.push(version));
    }

    /// Waits until everything that was put before is on the disk, or says what is not.
    pub(super) fn flush(&self) -> Result<(), String> {
        if self.is_here() {
            return Err("a listener can't flush in the thread that writes; do it in another".into());
        }
        let unwritten = &self.shared.unwritten;
        let begun = unwritten.begin();
        let (reply, receive) = bounded(1);
        let (synced, lost) = if self.start() && self.shared.outbox.send(true, |load| load.flushes.push(reply))
        {
            receive.recv_timeout(FLUSH_PATIENCE).map_err(|error| match error {
                RecvTimeoutError::Timeout => too_long(),
                RecvTimeoutError::Disconnected => "the writer has ended".into(),
            })?
        } else if self.shared.outbox.is_closed() {
            // Whoever ends it may not have seen the end yet.
            if self.await_end(now().checked_add(FLUSH_PATIENCE)) != End::Seen {
                return Err(too_long());
            }
            (synced(&self.shared), unwritten.behind())
        } else {
            return Err("no thread could be started to write".into());
        };
        unwritten.end(&begun, lost).and(synced)
    }

    /// Waits while more waits to be written than the backlog may have; not for ever.
    pub(super) fn hold_back(&self) {
        // (A listener in the thread that writes would wait for itself.)
        if self.shared.outbox.is_over() && !self.is_here() {
            self.shared.outbox.hold_back(PATIENCE);
        }
    }

    /// Ends the thread when it has written what is left, and waits for that. `false`: it has not, by `deadline`, or this is the
    /// thread.
    pub(super) fn close(&self, deadline: Option<Instant>) -> bool {
        self.shared.outbox.close();
        self.await_end(deadline) == End::Seen
    }

    /// Waits for the end of the thread, whose outbox is closed.
    fn await_end(&self, deadline: Option<Instant>) -> End {
        let ended = match &*self.thread.lock() {
            None => return End::Seen,
            Some(thread) if thread.is_this() => return End::Here,
            Some(thread) => thread.ended.clone(),
        };
        let ended = match deadline {
            None => ended.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => ended.recv_deadline(at),
        };
        if let Err(RecvTimeoutError::Timeout) = ended {
            return End::Ahead;
        }
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = thread.handle.join();
        }
        End::Seen
    }

    /// Whether this is the thread that writes.
    fn is_here(&self) -> bool {
        self.thread.lock().as_ref().is_some_and(Thread::is_this)
    }

    /// Sees to the thread. `false`: it can't be started.
    fn start(&self) -> bool {
        if self.started.load(Ordering::Acquire) {
            return true;
        }
        let mut thread = self.thread.lock();
        if self.started.load(Ordering::Acquire) {
            return true;
        }
        if self.shared.outbox.is_closed() {
            return false;
        }
        let shared = Arc::clone(&self.shared);
        let (alive, ended) = bounded(0);
        let body = move || {
            let _alive = alive;
            run(&shared);
        };
        match spawn(self.name.clone(), None, body) {
            Ok(handle) => {
                *thread = Some(Thread { handle, ended });
                self.started.store(true, Ordering::Release);
                true
            }
            Err(error) => {
                drop(thread);
                self.shared.emit(&Event::ThreadFailed { error: &error });
                false
            }
        }
    }
}

impl Thread {
    fn is_this(&self) -> bool {
        self.handle.thread().id() == this_thread()
    }
}

pub(super) fn too_long() -> String {
    format!(
        "what is finished could not be written within {} s: the disk hangs, or another process holds its lock",
        FLUSH_PATIENCE.as_secs()
    )
}

/// What the writer's thread does.
fn run(shared: &Shared) {
    let sync = shared.disk.sync;
    let interval = match sync {
        Sync::Interval(interval) => Some(interval),
        Sync::None | Sync::EachBatch => None,
    };
    let (mut due, mut rest) = (None, None);
    while let Some(mut load) = shared.outbox.next(rest, due) {
        let (gathers, wrote) = (!load.puts.is_empty(), load.has_written());
        let flushes = std::mem::take(&mut load.flushes);
        let given = std::mem::take(&mut load.given);
        write(shared, &load);
        shared.outbox.wrote(load);
        let given: Vec<Written> = given.into_iter().filter_map(|given| given.write(shared)).collect();
        if wrote && let Some(interval) = interval {
            due = due.or_else(|| now().checked_add(interval));
        }
        let is_due = due.is_some_and(|at| now() >= at);
        if is_due || !flushes.is_empty() || (wrote && sync == Sync::EachBatch) {
            let synced = synced(shared);
            due = None;
            let lost = shared.unwritten.behind();
            flushes.iter().for_each(|reply| drop(reply.send((synced.clone(), lost))));
        }
        // Where each batch is made safe, this one is now.
        given.into_iter().for_each(Written::tell);
        rest = (gathers && flushes.is_empty() && !shared.outbox.is_much()).then_some(REST);
    }
    if sync != Sync::None {
        let _ = synced(shared);
    }
}

fn write(shared: &Shared, load: &Load) {
    if !load.puts.is_empty() {
        shared.write(&load.puts, By::Writer);
    }
    shared.note_versions(&load.versions);
    if !load.notes.is_empty() {
        shared.note(&load.notes);
    }
}

fn synced(shared: &Shared) -> Result<(), String> {
    let synced = shared.sync();
    if let Err(reason) = &synced {
        // Others may wait for the same. If it is tried again for them it may work, though pages are lost.
        shared.unwritten.add(By::Writer, reason);
    }
    synced
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests;
