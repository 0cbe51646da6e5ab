//! Writing behind: one thread per pool takes finished results and writes them in batches.
//!
//! It takes what there is in the [outbox](super::outbox) and writes it at once, so a lone result is on its way to the disk some
//! microseconds after it is finished; then it rests for [`REST`] while others gather, or until a flush or much waits. What waits
//! is bounded in bytes: a worker that finishes while more waits is held back ([`Writer::hold_back`]), and beyond twice as much,
//! results are dropped, since a disk that does not keep up must not stop the pool.
//!
//! The thread starts with the first result and ends with the pool. A panic can't get into it: it runs no user code but the
//! listener, which is caught.

use std::fmt;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::functions::Version;
use super::outbox::Load;
use super::put::{Note, Put};
use super::tier::Shared;
use super::unwritten::By;
use crate::config::disk::Sync;
use crate::event::Event;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, JoinHandle, Mutex, now, spawn};

/// How long results gather after a batch. (Another process may wait for one of them: not too long.)
const REST: Duration = Duration::from_micros(500);

/// How long a worker is held back at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long `flush` waits for the writer.
const FLUSH_PATIENCE: Duration = Duration::from_secs(60);

/// See the [module](self).
pub(super) struct Writer {
    shared: Arc<Shared>,
    name: String,
    /// So that a result needs not ask for the thread.
    started: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, name: String) -> Writer {
        Writer { shared, name, started: AtomicBool::new(false), thread: Mutex::new(None) }
    }

    pub(super) fn put(&self, put: Arc<Put>) {
        let taken = if self.start() { self.shared.outbox.put(put) } else { Err(put) };
        if let Err(put) = taken {
            self.shared.dropped(&put);
        }
    }

    pub(super) fn note(&self, note: Note) {
        let _ = self.start() && self.shared.outbox.send(false, |load| load.notes.push(note));
    }

    pub(super) fn note_version(&self, version: Version) {
        let _ = self.start() && self.shared.outbox.send(false, |load| load.versions.push(version));
    }

    /// Waits until everything that was put before is on the disk, or says what is not.
    pub(super) fn flush(&self) -> Result<(), String> {
        let unwritten = &self.shared.unwritten;
        let begun = unwritten.begin();
        let (synced, lost) = if self.shared.outbox.is_closed() {
            (self.shared.sync(), unwritten.behind())
        } else {
            self.synced()?
        };
        unwritten.end(&begun, lost).and(synced)
    }

    /// What the writer answers; why it does not.
    fn synced(&self) -> Result<(Result<(), String>, u64), String> {
        let (reply, receive) = bounded(1);
        if !self.start() || !self.shared.outbox.send(true, |load| load.flushes.push(reply)) {
            return Err("no thread could be started to write".into());
        }
        receive.recv_timeout(FLUSH_PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!(
                "what is finished could not be written within {} s: the disk hangs, or another process holds its lock",
                FLUSH_PATIENCE.as_secs()
            ),
            RecvTimeoutError::Disconnected => "the writer has ended".into(),
        })
    }

    /// Waits while more waits to be written than the backlog may have; not for ever.
    pub(super) fn hold_back(&self) {
        self.shared.outbox.hold_back(PATIENCE);
    }

    /// Writes what is left and ends the thread.
    pub(super) fn close(&self) {
        self.shared.outbox.close();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
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
        match spawn(self.name.clone(), None, move || run(&shared)) {
            Ok(handle) => {
                *thread = Some(handle);
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

/// What the writer's thread does.
fn run(shared: &Shared) {
    let sync = shared.disk.sync;
    let interval = match sync {
        Sync::Interval(interval) => Some(interval),
        Sync::None | Sync::EachBatch => None,
    };
    let (mut due, mut rest) = (None, None);
    while let Some(mut load) = shared.outbox.next(rest, due) {
        let wrote = !load.puts.is_empty();
        let flushes = std::mem::take(&mut load.flushes);
        write(shared, &load);
        shared.outbox.wrote(load);
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
        rest = (wrote && flushes.is_empty() && !shared.outbox.is_much()).then_some(REST);
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
