//! Writing behind: one thread per pool takes finished results and writes them in batches.
//!
//! It takes what there is and writes it at once, so a lone result is on its way to the disk some microseconds after it is
//! finished; then it [rests](super::pause) for [`REST`] while others gather, or until a flush or [`MUCH`] waits. What waits is bounded in bytes:
//! a worker that finishes while more waits is held back ([`Writer::hold_back`]), and beyond twice as much, results are
//! dropped, since a disk that does not keep up must not stop the pool.
//!
//! # Who writes
//!
//! On a busy machine the system may not let the writer run for a while, though it was woken. What has finished by then would
//! be lost with the process, so a worker that finishes something and finds that nobody has written for [`OVERDUE`] writes
//! what waits itself, after its own waiters were told ([`Writer::lend_a_hand`]). Only one thread writes at a time, which
//! has the *turn*. It takes messages in their order but for flushes and syncs, which it leaves to the writer, behind all
//! else: so what the writer answers is true of everything before it, whoever wrote that. Where the disk is what is slow, the
//! turn is taken, and nobody waits for it but the writer.
//!
//! The thread starts with the first result and ends with the pool. A panic can't get into it: it runs no user code but the
//! listener, which is caught.

use std::fmt;
use std::time::{Duration, Instant};

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

/// What nobody has begun to write for so long is written by whoever can.
const OVERDUE: Duration = Duration::from_millis(10);

/// How long `flush` waits for the writer.
const FLUSH_PATIENCE: Duration = Duration::from_secs(60);

enum Message {
    Put(Arc<Put>),
    Note(Note),
    Version(Version),
    /// Answered when everything before it is safe.
    Flush(Reply),
    /// Another than the writer has written something.
    Written,
}

/// Where a flush waits: whether what was written is safe, and how many results the writer had lost when it came to this.
type Reply = Sender<(Result<(), String>, u64)>;

/// See the [module](self).
pub(super) struct Writer {
    shared: Arc<Shared>,
    backlog: Arc<Backlog>,
    name: String,
    thread: Mutex<Option<Thread>>,
    closed: AtomicBool,
}

struct Thread {
    send: Sender<Message>,
    work: Work,
    handle: JoinHandle<()>,
}

/// What waits, and who writes it.
struct Backlog {
    bytes: AtomicU64,
    gate: Mutex<()>,
    drained: Condvar,
    pause: Pause,
    turn: Mutex<()>,
    /// Since when something waits and nobody writes, in nanoseconds since `born`; 0: not at all. Nearly so, and never
    /// waited for: it only says when to lend a hand.
    since: AtomicU64,
    born: Instant,
}

/// What a batch came to.
struct Batch {
    wrote: bool,
    flushes: Vec<Reply>,
    /// Somebody else wrote before.
    written: bool,
    /// The pool has ended.
    over: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, name: String) -> Writer {
        Writer {
            shared,
            backlog: Arc::new(Backlog {
                bytes: AtomicU64::new(0),
                gate: Mutex::default(),
                drained: Condvar::default(),
                pause: Pause::default(),
                turn: Mutex::default(),
                since: AtomicU64::new(0),
                born: now(),
            }),
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
        self.backlog.begins_to_wait();
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

    /// Waits while more waits to be written than the backlog may have; not for ever. If nobody writes, it does so itself.
    pub(super) fn hold_back(&self) {
        if self.backlog.is_overdue() {
            self.lend_a_hand();
        }
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

    /// Writes a batch in the place of the writer, unless somebody writes.
    #[cold]
    fn lend_a_hand(&self) {
        let (send, work) = match &*self.thread.lock() {
            Some(Thread { send, work, .. }) => (send.clone(), work.clone()),
            None => return,
        };
        // (The writer ends when nobody can send any more: not before this is over.)
        let Some(turn) = self.backlog.turn.try_lock() else { return };
        let Ok(first) = work.receive.try_recv() else { return };
        let batch = work.batch(first);
        drop(turn);
        for reply in batch.flushes {
            let _ = send.send(Message::Flush(reply));
        }
        if batch.written || (batch.wrote && self.shared.disk.sync != Sync::None) {
            let _ = send.send(Message::Written);
        }
    }

    /// Writes what is left and ends the thread.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let thread = self.thread.lock().take();
        if let Some(Thread { send, work, handle }) = thread {
            drop((send, work));
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
            let work = Work { shared, backlog, receive };
            let writer = work.clone();
            match spawn(self.name.clone(), None, move || writer.run()) {
                Ok(handle) => *thread = Some(Thread { send, work, handle }),
                Err(error) => {
                    drop(thread);
                    self.shared.emit(&Event::ThreadFailed { error: &error });
                    return Err(message);
                }
            }
        }
        match &*thread {
            Some(Thread { send, .. }) => send.send(message).map_err(|unsent| unsent.0),
            None => Err(message),
        }
    }
}

impl Backlog {
    /// Something was put.
    fn begins_to_wait(&self) {
        if self.since.load(Ordering::Relaxed) == 0 {
            self.since.store(self.now(), Ordering::Relaxed);
        }
    }

    fn is_overdue(&self) -> bool {
        match self.since.load(Ordering::Relaxed) {
            0 => false,
            since => self.now().saturating_sub(since) > OVERDUE.as_nanos() as u64,
        }
    }

    fn now(&self) -> u64 {
        (self.born.elapsed().as_nanos() as u64).max(1)
    }

    fn take(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        // Taking the gate orders this after a waiter's last look.
        drop(self.gate.lock());
        self.drained.notify_all();
    }
}

/// What there is to write: taken by the writer's thread, or by who lends it a hand.
#[derive(Clone)]
struct Work {
    shared: Arc<Shared>,
    backlog: Arc<Backlog>,
    receive: Receiver<Message>,
}

impl Work {
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
            let nothing = |over| Batch { wrote: false, flushes: Vec::new(), written: false, over };
            let Batch { wrote, flushes, written, over } = match first {
                Ok(message) => {
                    let turn = self.backlog.turn.lock();
                    let batch = self.batch(message);
                    drop(turn);
                    batch
                }
                Err(RecvTimeoutError::Timeout) => nothing(false),
                Err(RecvTimeoutError::Disconnected) => nothing(true),
            };
            let wrote = wrote || written;
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

    /// Takes what there is and writes it. It is the caller's turn.
    fn batch(&self, first: Message) -> Batch {
        let (mut puts, mut notes, mut versions, mut flushes) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut bytes, mut written) = (0, false);
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
                Ok(Message::Written) => written = true,
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
        let since = if self.receive.is_empty() { 0 } else { self.backlog.now() };
        self.backlog.since.store(since, Ordering::Relaxed);
        Batch { wrote: !puts.is_empty(), flushes, written, over }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests;
