//! Writing behind: one thread per pool takes finished results and writes them in batches.
//!
//! It takes what there is and writes it at once, so a lone result is on its way to the disk some microseconds after it is
//! finished; then it [rests](super::pause) for [`REST`] while others gather, or until a flush or [`MUCH`] waits. What waits is
//! bounded in bytes: a worker that finishes while more waits is held back ([`Writer::hold_back`]), and beyond twice as much,
//! results are dropped, since a disk that does not keep up must not stop the pool.
//!
//! The thread starts with the first result and ends with the pool. A panic can't get into it: it runs no user code but the
//! listener, which is caught.

use std::fmt;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, unbounded};

use super::functions::Version;
use super::pause::Pause;
use super::put::{Note, Put};
use super::tier::Shared;
use super::unwritten::By;
use crate::config::disk::Sync;
use crate::event::Event;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Condvar, JoinHandle, Mutex, now, spawn};

/// A batch ends at so many bytes, or so many entries.
const BATCH_BYTES: u64 = 4 << 20;
const BATCH_ENTRIES: usize = 4096;

/// How long results gather after a batch. (Another process may wait for one of them: not too long.)
const REST: Duration = Duration::from_micros(500);

/// So many bytes are worth a batch: no more need to gather.
const MUCH: u64 = 1 << 20;

/// How long a worker is held back at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long `flush` waits for the writer.
const FLUSH_PATIENCE: Duration = Duration::from_secs(60);

enum Message {
    Put(Arc<Put>),
    Note(Note),
    Version(Version),
    /// Answered when everything before it is safe.
    Flush(Reply),
}

/// Where a flush waits: whether what was written is safe, and how many results the writer had lost when it came to this.
type Reply = Sender<(Result<(), String>, u64)>;

/// See the [module](self).
pub(super) struct Writer {
    shared: Arc<Shared>,
    backlog: Arc<Backlog>,
    name: String,
    thread: Mutex<Option<(Sender<Message>, JoinHandle<()>)>>,
    closed: AtomicBool,
}

/// Bytes that wait.
#[derive(Default)]
struct Backlog {
    bytes: AtomicU64,
    gate: Mutex<()>,
    drained: Condvar,
    pause: Pause,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, name: String) -> Writer {
        Writer {
            shared,
            backlog: Arc::default(),
            name,
            thread: Mutex::new(None),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn put(&self, put: Arc<Put>) {
        let weight = put.weight();
        if self.backlog.bytes.load(Ordering::Relaxed) > self.shared.disk.backlog.saturating_mul(2)
            || self.closed.load(Ordering::Acquire)
        {
            return self.shared.dropped(&put);
        }
        let waiting = self.backlog.bytes.fetch_add(weight, Ordering::Relaxed) + weight;
        if let Err(Message::Put(put)) = self.send(Message::Put(put)) {
            self.backlog.take(weight);
            return self.shared.dropped(&put);
        }
        if waiting > MUCH.min(self.shared.disk.backlog / 2) {
            self.backlog.pause.end();
        }
    }

    pub(super) fn note(&self, note: Note) {
        let _ = self.send(Message::Note(note));
    }

    pub(super) fn note_version(&self, version: Version) {
        let _ = self.send(Message::Version(version));
    }

    /// Waits until everything that was put before is on the disk, or says what is not.
    pub(super) fn flush(&self) -> Result<(), String> {
        let unwritten = &self.shared.unwritten;
        let begun = unwritten.begin();
        let (synced, lost) = if self.closed.load(Ordering::Acquire) {
            (self.shared.sync(), unwritten.behind())
        } else {
            self.synced()?
        };
        unwritten.end(&begun, lost).and(synced)
    }

    /// What the writer answers; why it does not.
    fn synced(&self) -> Result<(Result<(), String>, u64), String> {
        let (send, receive) = bounded(1);
        if self.send(Message::Flush(send)).is_err() {
            return Err("no thread could be started to write".into());
        }
        self.backlog.pause.end();
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
        let bound = self.shared.disk.backlog;
        if self.backlog.bytes.load(Ordering::Relaxed) <= bound {
            return;
        }
        let until = now() + PATIENCE;
        let mut gate = self.backlog.gate.lock();
        while self.backlog.bytes.load(Ordering::Relaxed) > bound && now() < until {
            gate = self.backlog.drained.wait_until(gate, until);
        }
    }

    /// Writes what is left and ends the thread.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let thread = self.thread.lock().take();
        if let Some((send, handle)) = thread {
            drop(send);
            self.backlog.pause.end();
            let _ = handle.join();
        }
    }

    fn send(&self, message: Message) -> Result<(), Message> {
        let mut thread = self.thread.lock();
        if self.closed.load(Ordering::Acquire) {
            return Err(message);
        }
        if thread.is_none() {
            let (send, receive) = unbounded();
            let (shared, backlog) = (Arc::clone(&self.shared), Arc::clone(&self.backlog));
            match spawn(self.name.clone(), None, move || Loop { shared, backlog, receive }.run()) {
                Ok(handle) => *thread = Some((send, handle)),
                Err(error) => {
                    drop(thread);
                    self.shared.emit(&Event::ThreadFailed { error: &error });
                    return Err(message);
                }
            }
        }
        match &*thread {
            Some((send, _)) => send.send(message).map_err(|unsent| unsent.0),
            None => Err(message),
        }
    }
}

impl Backlog {
    fn take(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        // Taking the gate orders this after a waiter's last look.
        drop(self.gate.lock());
        self.drained.notify_all();
    }
}

/// The writer's thread.
struct Loop {
    shared: Arc<Shared>,
    backlog: Arc<Backlog>,
    receive: Receiver<Message>,
}

impl Loop {
    fn run(self) {
        let sync = self.shared.disk.sync;
        let interval = match sync {
            Sync::Interval(interval) => Some(interval),
            Sync::None | Sync::EachBatch => None,
        };
        let mut due = None;
        loop {
            let first = match due {
                None => self.receive.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => self.receive.recv_deadline(at),
            };
            let (wrote, flushes, over) = match first {
                Ok(message) => self.batch(message),
                Err(RecvTimeoutError::Timeout) => (false, Vec::new(), false),
                Err(RecvTimeoutError::Disconnected) => (false, Vec::new(), true),
            };
            if wrote && let Some(interval) = interval {
                due = due.or_else(|| now().checked_add(interval));
            }
            let flushed = !flushes.is_empty();
            let is_due = due.is_some_and(|at| now() >= at);
            let at_end = over && sync != Sync::None;
            if is_due || at_end || flushed || (wrote && sync == Sync::EachBatch) {
                let synced = self.shared.sync();
                due = None;
                if let Err(reason) = &synced {
                    // Others may wait for the same. If it is tried again for them it may work, though pages are lost.
                    self.shared.unwritten.add(By::Writer, reason);
                }
                let lost = self.shared.unwritten.behind();
                flushes.into_iter().for_each(|reply| drop(reply.send((synced.clone(), lost))));
            }
            if over {
                return;
            }
            if wrote && !flushed && self.backlog.bytes.load(Ordering::Relaxed) < MUCH {
                self.backlog.pause.rest(REST);
            }
        }
    }

    /// Takes what there is and writes it. Says whether something was written, who wants it to be safe, and whether the
    /// pool has ended.
    fn batch(&self, first: Message) -> (bool, Vec<Reply>, bool) {
        let (mut puts, mut notes, mut versions, mut flushes) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        // A batch must not fill the directory: it would evict itself.
        let most = BATCH_BYTES.min(self.shared.disk.max_bytes / 16);
        let mut next = Ok(first);
        let over = loop {
            match next {
                Ok(Message::Put(put)) => {
                    bytes += put.weight();
                    puts.push(put);
                }
                Ok(Message::Note(note)) => notes.push(note),
                Ok(Message::Version(version)) => versions.push(version),
                Ok(Message::Flush(reply)) => flushes.push(reply),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
            if bytes >= most || puts.len() + notes.len() >= BATCH_ENTRIES || !flushes.is_empty() {
                break false;
            }
            next = self.receive.try_recv();
        };
        if !puts.is_empty() {
            self.shared.write(&puts, By::Writer);
            self.backlog.take(bytes);
        }
        self.shared.note_versions(&versions);
        if !notes.is_empty() {
            self.shared.note(&notes);
        }
        (!puts.is_empty(), flushes, over)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests;
