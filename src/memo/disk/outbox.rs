//! What is on its way to the disk: in the order in which it came, and found by its key until it can be read there.
//!
//! One lock for all of it, taken once for each result by who puts it and once for each batch by the writer: who waits, what
//! waits, and where each result is, change together. Nothing is dropped under it but numbers.
//!
//! | what waits is | until |
//! |---|---|
//! | in the last [`Load`], which is open | it is full, or ends with a flush: then the next is opened |
//! | in a load that is closed | the writer takes it |
//! | being written: the writer has the load, and its results are found all the same | [`Outbox::wrote`] |
//!
//! # Who wakes whom
//!
//! | the writer | who sends |
//! |---|---|
//! | rests after a batch, so that others gather: each result that finishes would be a batch of its own, with a wake-up, a dozen system calls, and on a busy machine a worker that gives way | wakes it where it *can't wait*: a flush, the end, much that waits. Said while it is at work, that spares it the next rest |
//! | sleeps, since nothing waits | wakes it |

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use foldhash::fast::RandomState;

use super::functions::Version;
use super::given::Given;
use super::put::{Note, Put};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Arc, Condvar, Mutex, now};

/// A load is full at so many bytes, or so many entries.
const LOAD_BYTES: u64 = 4 << 20;
const LOAD_ENTRIES: usize = 4096;

/// While more notes wait it is not noted why runs fail: a disk that does not keep up is not to fill the memory with that.
const MOST_NOTES: usize = 4 * LOAD_ENTRIES;

/// So many bytes are worth a batch: no more need to gather.
const MUCH: u64 = 1 << 20;

/// Where a flush waits: whether what was written is safe, and how many results the writer had lost when it came to this.
pub(super) type Reply = Sender<(Result<(), String>, u64)>;

/// See the [module](self).
pub(super) struct Outbox {
    /// Bytes of results that wait or are being written; changed under the lock.
    bytes: AtomicU64,
    /// How many results are found here. Most looks find none, and need no lock for that.
    count: AtomicUsize,
    state: Mutex<State>,
    /// Here the writer waits.
    called: Condvar,
    /// Here wait those who are held back.
    drained: Condvar,
    /// How many bytes may wait before who finishes more is held back.
    backlog: u64,
    /// A batch must not fill the directory: it would evict itself.
    load_bytes: u64,
}

#[derive(Default)]
struct State {
    loads: VecDeque<Load>,
    /// Of the load that is being written.
    writing: Known,
    /// Emptied, to be filled again.
    spare: Option<Load>,
    waits: Waits,
    /// How many notes wait.
    notes: usize,
    /// Somebody can't wait.
    urgent: bool,
    /// How many are held back.
    held: usize,
    closed: bool,
}

/// What the writer waits for. Whoever wakes it says that it does not wait any more: to wake is a system call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Waits {
    #[default]
    Not,
    /// For somebody who can't wait.
    Resting,
    /// For anything at all.
    Sleeping,
}

/// What is written at once.
#[derive(Default)]
pub(super) struct Load {
    pub(super) puts: Vec<Arc<Put>>,
    pub(super) notes: Vec<Note>,
    pub(super) versions: Vec<Version>,
    pub(super) given: Vec<Given>,
    /// Something was written by hand that is to be made safe.
    pub(super) written: bool,
    /// Answered when everything before is safe. Nothing comes behind them: it is none of theirs.
    pub(super) flushes: Vec<Reply>,
    bytes: u64,
    known: Known,
}

/// Results by the first bytes of their keys. (Two that begin alike: the later one is found, and the other computed twice.)
type Known = HashMap<u64, Arc<Put>, RandomState>;

impl Outbox {
    pub(super) fn new(backlog: u64, max_bytes: u64) -> Outbox {
        Outbox {
            bytes: AtomicU64::new(0),
            count: AtomicUsize::new(0),
            state: Mutex::default(),
            called: Condvar::default(),
            drained: Condvar::default(),
            backlog,
            load_bytes: LOAD_BYTES.min(max_bytes / 16),
        }
    }

    /// A batch of more bytes could evict itself.
    pub(super) fn load_bytes(&self) -> u64 {
        self.load_bytes
    }

    /// Takes a result; gives it back if twice the backlog waits already, or the writer has ended.
    pub(super) fn put(&self, put: Arc<Put>) -> Result<(), Arc<Put>> {
        let weight = put.weight();
        let mut state = self.state.lock();
        let before = self.bytes.load(Ordering::Relaxed);
        if state.closed || before > self.backlog.saturating_mul(2) {
            return Err(put);
        }
        self.bytes.store(before + weight, Ordering::Relaxed);
        state.urgent |= before + weight > MUCH.min(self.backlog / 2);
        let load = state.open(self.load_bytes);
        load.bytes += weight;
        load.puts.push(Arc::clone(&put));
        let replaced = load.known.insert(prefix(&put.permit.key), put);
        self.count.fetch_add(usize::from(replaced.is_none()), Ordering::Release);
        let calls = state.calls_writer();
        drop(state);
        drop(replaced);
        if calls {
            self.called.notify_one();
        }
        Ok(())
    }

    /// Takes a batch; gives it back if the writer has ended.
    pub(super) fn give(&self, given: Given) -> Result<(), Given> {
        let mut given = Some(given);
        self.send(true, |load| load.given.extend(given.take()));
        given.map_or(Ok(()), Err)
    }

    /// Takes a version, a flush (which is `urgent`), or word of what was written by hand. `false`: the writer has ended.
    pub(super) fn send(&self, urgent: bool, add: impl FnOnce(&mut Load)) -> bool {
        self.change(urgent, |state| {
            add(state.open(self.load_bytes));
            true
        })
    }

    /// Takes a note, unless so many wait that nobody will miss one, or the writer has ended.
    pub(super) fn note(&self, note: Note) -> bool {
        self.change(false, |state| {
            let room = state.notes < MOST_NOTES;
            if room {
                state.notes += 1;
                state.open(self.load_bytes).notes.push(note);
            }
            room
        })
    }

    /// Adds something, if `add` does, and wakes the writer where it is to know.
    fn change(&self, urgent: bool, add: impl FnOnce(&mut State) -> bool) -> bool {
        let mut state = self.state.lock();
        if state.closed || !add(&mut state) {
            return false;
        }
        state.urgent |= urgent;
        let calls = state.calls_writer();
        drop(state);
        if calls {
            self.called.notify_one();
        }
        true
    }

    /// No more is taken. What waits is still to be written.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.called.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Rests that long, unless somebody can't wait; then waits until there is something to be written, or until `due`.
    /// `None`: there never will be.
    pub(super) fn next(&self, rest: Option<Duration>, due: Option<Instant>) -> Option<Load> {
        let mut state = self.state.lock();
        if let Some(rest) = rest {
            let until = now() + rest;
            while !state.urgent && !state.closed && now() < until {
                state.waits = Waits::Resting;
                state = self.called.wait_until(state, until);
            }
        }
        state.urgent = false;
        while state.loads.is_empty() && !state.closed && due.is_none_or(|at| now() < at) {
            state.waits = Waits::Sleeping;
            state = match due {
                None => self.called.wait(state),
                Some(at) => self.called.wait_until(state, at),
            };
        }
        state.waits = Waits::Not;
        match state.loads.pop_front() {
            Some(mut load) => {
                state.notes -= load.notes.len();
                state.writing = std::mem::take(&mut load.known);
                Some(load)
            }
            None if state.closed => None,
            None => Some(Load::default()),
        }
    }

    /// What the writer took last can be read now, or never will.
    pub(super) fn wrote(&self, mut load: Load) {
        let mut state = self.state.lock();
        let mut known = std::mem::take(&mut state.writing);
        self.count.fetch_sub(known.len(), Ordering::Release);
        self.bytes.fetch_sub(load.bytes, Ordering::Relaxed);
        let held = state.held > 0;
        drop(state);
        if held {
            self.drained.notify_all();
        }
        known.clear();
        load.clear();
        self.state.lock().spare = Some(Load { known, ..load });
    }

    /// Waits while more waits than the backlog may have; not for ever.
    pub(super) fn hold_back(&self, patience: Duration) {
        let until = now() + patience;
        let mut state = self.state.lock();
        state.held += 1;
        while self.is_over() && now() < until {
            state = self.drained.wait_until(state, until);
        }
        state.held -= 1;
    }

    /// Whether more waits than the backlog may have.
    pub(super) fn is_over(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.backlog
    }

    /// Whether more waits than is worth a rest.
    pub(super) fn is_much(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= MUCH
    }

    /// How many loads wait.
    #[cfg(all(test, feature = "testing"))]
    pub(super) fn loads(&self) -> usize {
        self.state.lock().loads.len()
    }

    pub(super) fn get(&self, key: &[u8; 32]) -> Option<Arc<Put>> {
        // Whoever does not see one that has left sees its record: it left after that.
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let state = self.state.lock();
        let found = state.known().find_map(|known| known.get(&prefix(key)))?;
        (found.permit.key == *key).then(|| Arc::clone(found))
    }

    /// It is to be written all the same: then it will be refused.
    pub(super) fn forget(&self, key: &[u8; 32]) {
        self.forget_where(|known| known.remove(&prefix(key)).into_iter().collect());
    }

    /// As [`forget`](Self::forget), all of a function whose digest begins so.
    pub(super) fn forget_function(&self, owner: [u8; 4]) {
        self.forget_where(|known| {
            known.extract_if(|_, put| put.function.starts_with(&owner)).map(|(_, put)| put).collect()
        });
    }

    pub(super) fn clear(&self) {
        self.forget_where(|known| known.drain().map(|(_, put)| put).collect());
    }

    /// What is taken out is dropped after the lock is. Nobody is to wait until it is refused.
    fn forget_where(&self, mut take: impl FnMut(&mut Known) -> Vec<Arc<Put>>) {
        let mut state = self.state.lock();
        let State { loads, writing, .. } = &mut *state;
        let all = loads.iter_mut().map(|load| &mut load.known).chain([writing]);
        let gone: Vec<Arc<Put>> = all.flat_map(&mut take).collect();
        self.count.fetch_sub(gone.len(), Ordering::Release);
        drop(state);
        gone.iter().for_each(|put| put.permit.release());
    }
}

impl State {
    /// The load that what comes now belongs to.
    fn open(&mut self, most: u64) -> &mut Load {
        if self.loads.back().is_none_or(|load| load.is_complete(most)) {
            let load = self.spare.take().unwrap_or_default();
            self.loads.push_back(load);
        }
        self.loads.back_mut().expect("there is one now")
    }

    /// Where results are found, the latest first.
    fn known(&self) -> impl Iterator<Item = &Known> {
        self.loads.iter().rev().map(|load| &load.known).chain([&self.writing])
    }

    /// Whether the writer must be woken: it sleeps, or rests though somebody can't wait.
    fn calls_writer(&mut self) -> bool {
        let calls = match self.waits {
            Waits::Not => false,
            Waits::Resting => self.urgent,
            Waits::Sleeping => true,
        };
        if calls {
            self.waits = Waits::Not;
        }
        calls
    }
}

impl Load {
    fn is_complete(&self, most: u64) -> bool {
        self.bytes >= most || self.puts.len() + self.notes.len() >= LOAD_ENTRIES || !self.flushes.is_empty()
    }

    /// Whether there is something to be made safe, once it is written.
    pub(super) fn has_written(&self) -> bool {
        self.written || !self.puts.is_empty() || !self.given.is_empty()
    }

    fn clear(&mut self) {
        self.written = false;
        self.puts.clear();
        self.notes.clear();
        self.versions.clear();
        self.flushes.clear();
        self.bytes = 0;
    }
}

fn prefix(key: &[u8; 32]) -> u64 {
    key.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("bytes", &self.bytes)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
