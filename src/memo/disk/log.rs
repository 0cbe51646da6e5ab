//! Writing a directory: results, what is forgotten, and what is not known to be safe yet.
//!
//! # Writing a batch
//!
//! | step | under the lock | a kill here leaves |
//! |---|---|---|
//! | reserve: the tail moves past the batch; at the end of a segment a new one begins, and old ones make room | yes | a hole that nothing points to |
//! | seal and write the records | no | the same, half written |
//! | publish: the index is told | yes | records that are found again when the index is rebuilt |
//!
//! The lock is a mutex for the threads of this pool and a file lock for everybody else, taken with a deadline: whoever is
//! stopped while it holds the lock delays the others' writing, never their work.
//!
//! # Forgetting
//!
//! `forget` and `forget_function` write a record of their own, without a payload, so that a rebuilt index forgets, too.
//! `clear` deletes the segments.

use std::borrow::Borrow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::functions::{self, Version};
use super::index::{self, Index, Inserted, Mark, Place, Position, Tag};
use super::map::prefetch;
use super::payload::Packed;
use super::put::{Note, Put};
use super::rebuild::rebuild;
use super::record::{self, Header, codec, flags};
use super::segment::large::Written;
use super::store::{Store, open_index, tag_of};
use crate::sync::{Arc, Mutex};

/// How long a writer waits for the lock.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The lock of the directory is held.
pub(super) struct Writing<'a> {
    pub(super) store: &'a Store,
    /// The segment at the tail was seen.
    seen: bool,
    /// The index should grow, and could not.
    crowded: bool,
    pub(super) index: Arc<Index>,
}

impl Store {
    /// Does something under the lock of the directory. Without patience it waits for nobody, the threads of this pool
    /// included.
    pub(super) fn writing<T>(
        &self,
        patience: Duration,
        change: impl FnOnce(&mut Writing<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let lock = match patience.is_zero() {
            true => self.lock.try_lock().ok_or(io::ErrorKind::WouldBlock)?,
            false => self.lock.lock(),
        };
        let _locked = self.dir.io().lock(&lock, patience)?;
        let mut index = self.index();
        if !index.is_sound() || index.superseded() {
            // Nobody is about to replace it, since the lock is ours: either that was done, or who was at it was killed.
            index.set_superseded(true);
            index = match open_index(&self.dir, None)? {
                Some(index) => index,
                None => rebuild(&self.dir, &self.segments, &self.seal)?,
            };
            self.replace_index(Arc::clone(&index));
        }
        self.segments.forget_below(index.oldest());
        change(&mut Writing { store: self, seen: false, crowded: false, index })
    }

    /// Writes results; gives the numbers of those that were taken. The others came too late: something newer is known.
    pub(crate) fn append(&self, puts: &[Arc<Put>]) -> io::Result<Vec<usize>> {
        if let [put] = puts
            && let Packed::Large(large) = &put.packed
        {
            return self.append_large(put, large);
        }
        let places = self.writing(LOCK_PATIENCE, |writing| writing.places(puts))?;
        let written = self.write_runs(puts, &places)?;
        self.writing(LOCK_PATIENCE, |writing| writing.publish_all(puts, &written))
    }

    /// Writes records where places were taken for them. Gives those that were written.
    pub(super) fn write_runs<P: Borrow<Put>>(
        &self,
        puts: &[P],
        places: &[(usize, Place)],
    ) -> io::Result<Vec<(usize, Place)>> {
        let mut written = Vec::with_capacity(places.len());
        for run in places.chunk_by(|a, b| a.1.position.segment() == b.1.position.segment()) {
            match self.write_run(puts, run) {
                Ok(()) => written.extend_from_slice(run),
                // Others have filled the directory since this was reserved: it is evicted before it was there.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.has_evicted(run) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn has_evicted(&self, run: &[(usize, Place)]) -> bool {
        let oldest = self.index().oldest();
        run.iter().all(|(_, place)| place.position.segment() < oldest)
    }

    /// Writes records that lie one after the other.
    pub(super) fn write_run<P: Borrow<Put>>(&self, puts: &[P], run: &[(usize, Place)]) -> io::Result<()> {
        let [(_, first), ..] = run else { return Ok(()) };
        let mut gathered = Gathered { store: self, bytes: BUFFER.take(), at: first.position };
        let written = run.iter().try_for_each(|(at, place)| {
            let put = puts[*at].borrow();
            if let Some(Packed::Bytes { bytes, .. }) = puts.get(at + AHEAD).map(|next| &next.borrow().packed)
            {
                bytes.first().into_iter().for_each(prefetch);
            }
            let Packed::Bytes { bytes: payload, hash, .. } = &put.packed else { return Ok(()) };
            let header = put.header(payload.len() as u64, *hash);
            gathered.add(&header.encode(payload, place.position, &self.seal), payload, *place)
        });
        let written = written.and_then(|()| gathered.write());
        gathered.bytes.clear();
        BUFFER.set(gathered.bytes);
        written
    }

    /// Writes bytes where the caller alone may write. They are to be synced: said afterwards, so that a sync that comes
    /// in between does not count for them.
    pub(super) fn append_dirty(&self, position: Position, bytes: &[u8]) -> io::Result<()> {
        let written = self.segments.append(position, bytes);
        self.dirty.lock().insert(position.segment());
        written
    }

    /// Gives a large value, whose bytes are in a file already, its place in the log.
    pub(super) fn append_large(&self, put: &Put, large: &Mutex<Option<Written>>) -> io::Result<Vec<usize>> {
        let Some(large) = large.lock().take() else { return Ok(Vec::new()) };
        self.writing(LOCK_PATIENCE, |writing| {
            if !writing.admits(put) {
                return Ok(Vec::new());
            }
            let id = writing.reserve_segment()?;
            let header = put.header(large.stored_len(), [0; 16]);
            let place = self.segments.commit_large(large, id, header, &self.seal)?;
            self.dirty.lock().insert(id);
            writing.index.add_total(place.len.cast_signed());
            Ok(if writing.publish(put, place)? { vec![0] } else { Vec::new() })
        })
    }

    /// Notes that a version of a function is in use.
    pub(crate) fn note_version(&self, version: &Version) -> io::Result<()> {
        self.writing(LOCK_PATIENCE, |writing| functions::note(&writing.store.dir, version))
    }

    /// The versions of functions that have results here.
    pub(crate) fn versions(&self) -> io::Result<BTreeMap<[u8; 32], Version>> {
        functions::read(&self.dir)
    }

    /// Notes why keys have no result, where nothing newer is known of them.
    pub(super) fn note(&self, notes: &[Note]) -> io::Result<()> {
        self.writing(LOCK_PATIENCE, |writing| {
            for note in notes {
                // As old as the run: what others have written since stays, and what they are at is taken.
                writing.index.bury(&note.key, note.mark, before(note.began));
            }
            Ok(())
        })
    }

    /// [`forget_unless`](Self::forget_unless), in any case.
    #[cfg(test)]
    pub(crate) fn forget(&self, key: &[u8; 32]) -> io::Result<()> {
        self.forget_unless(key, || false)
    }

    /// Forgets a key: results of runs that have begun by now are refused. Not if that is needless by the time when nobody else
    /// can write.
    pub(crate) fn forget_unless(&self, key: &[u8; 32], needless: impl Fn() -> bool) -> io::Result<()> {
        self.writing(LOCK_PATIENCE, |writing| {
            if needless() {
                return Ok(());
            }
            let at = writing.tombstone(*key, [0; 8], flags::FORGOTTEN)?;
            writing.index.bury(key, Mark::Forgotten, at);
            Ok(())
        })
    }

    /// Forgets all results of functions whose digest begins so.
    pub(crate) fn forget_function(&self, owner: [u8; 4]) -> io::Result<()> {
        let [a, b, c, d] = owner;
        self.writing(LOCK_PATIENCE, |writing| {
            let at = writing.tombstone([0; 32], [a, b, c, d, 0, 0, 0, 0], flags::FORGOTTEN_FUNCTION)?;
            writing.index.bury_function(tag_of(&owner), at);
            Ok(())
        })
    }

    /// Forgets everything and deletes it, without second chances: a new segment begins, in which the cleared position and the
    /// next one lie.
    pub(crate) fn clear(&self) -> io::Result<()> {
        self.writing(LOCK_PATIENCE, |writing| {
            let present = self.segments.ids()?;
            let first = writing.begin_segment(&present)?;
            // The tail first: only a position that lies before it is believed to be cleared.
            let len = record::HEADER as u64;
            writing.index.set_tail(Position::new(first.segment(), len));
            writing.index.clear(first);
            writing.index.set_oldest(first.segment());
            let (mut left, mut failed) = (0, Ok(()));
            for (id, bytes) in present.into_iter().filter(|(id, _)| *id < first.segment()) {
                match self.segments.remove(id) {
                    // A directory, say: it was never ours, and takes no room.
                    Err(error) if bytes > 0 => {
                        left += bytes;
                        failed = failed.and(Err(error));
                    }
                    _ => {}
                }
            }
            writing.index.set_total(left + len);
            // So that who loses the index finds how far the segments were counted. Not before there is room for it.
            let _ = writing.forgotten_at(first, [0; 32], [0; 8], flags::FORGOTTEN);
            failed
        })
    }

    /// Makes what is written safe against a power loss. After an error the next one has to try again all that is left.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let mut dirty = std::mem::take(&mut *self.dirty.lock());
        while let Some(segment) = dirty.first().copied() {
            match self.segments.sync(segment) {
                // Evicted since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.dirty.lock().append(&mut dirty);
                    return Err(error);
                }
                Ok(()) => {}
            }
            dirty.remove(&segment);
        }
        self.segments.sync_names()?;
        self.index().flush()
    }
}

/// Records on their way into a segment: short ones together, long ones from where they lie.
struct Gathered<'a> {
    store: &'a Store,
    bytes: Vec<u8>,
    /// Where they begin.
    at: Position,
}

impl Gathered<'_> {
    /// Adds a record, which begins where the last one ended.
    fn add(&mut self, header: &[u8], payload: &[u8], place: Place) -> io::Result<()> {
        if self.bytes.len() + header.len() + payload.len().min(LONG) > GATHERED {
            self.write()?;
        }
        if self.bytes.is_empty() {
            self.at = place.position;
        }
        self.bytes.extend_from_slice(header);
        let (long, short) = match payload.len() {
            // What is left of it fills up with zeros to eight bytes.
            LONG.. => payload.split_at(payload.len() & !7),
            _ => (&[][..], payload),
        };
        if !long.is_empty() {
            self.write()?;
            let position = place.position;
            let at = |offset: usize| Position::new(position.segment(), position.offset() + offset as u64);
            self.store.append_dirty(at(header.len()), long)?;
            self.at = at(header.len() + long.len());
        }
        self.bytes.extend_from_slice(short);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let written = self.store.append_dirty(self.at, &self.bytes);
        self.bytes.clear();
        written
    }
}

/// So many bytes of records are written at once: few system calls, and a buffer that stays in the cache.
const GATHERED: usize = 256 << 10;

/// A payload of so many bytes is not copied.
const LONG: usize = 32 << 10;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Writing<'_> {
    /// Takes places for results; gives the numbers of those that are taken.
    pub(super) fn places<P: Borrow<Put>>(&mut self, puts: &[P]) -> io::Result<Vec<(usize, Place)>> {
        let mut places = Vec::with_capacity(puts.len());
        for (at, put) in puts.iter().enumerate() {
            if let Some(next) = puts.get(at + 2 * AHEAD) {
                next.borrow().expect();
            }
            let put = put.borrow();
            if let Some(next) = puts.get(at + AHEAD)
                && !put.permit.is_given()
            {
                self.index.expect(&next.borrow().permit.key);
            }
            if let Packed::Bytes { bytes, .. } = &put.packed
                && self.admits(put)
            {
                let len = record::record_len(bytes.len() as u64);
                places.push((at, Place { position: self.reserve(len)?, len }));
            }
        }
        Ok(places)
    }

    /// Tells the index of records that are written; gives the numbers of those that nothing newer is known of.
    pub(super) fn publish_all<P: Borrow<Put>>(
        &mut self,
        puts: &[P],
        written: &[(usize, Place)],
    ) -> io::Result<Vec<usize>> {
        let mut stored = Vec::with_capacity(written.len());
        for (at, place) in written {
            if let Some(next) = puts.get(at + AHEAD) {
                self.index.expect(&next.borrow().permit.key);
            }
            if self.publish(puts[*at].borrow(), *place)? {
                stored.push(*at);
            }
        }
        Ok(stored)
    }

    /// Whether a result will be taken. To be asked before it gets its position: what lies in the log behind the record
    /// that forgets it would be found again when the index is lost.
    fn admits(&self, put: &Put) -> bool {
        put.permit.is_given() || self.index.admits(&put.permit.key, tag_of(&put.function), put.permit.began())
    }

    /// Takes so many bytes at the end of the log.
    pub(super) fn reserve(&mut self, len: u64) -> io::Result<Position> {
        let tail = self.index.tail();
        let fits =
            tail.segment() > 0 && tail.offset() + len <= self.store.segment_bytes && self.is_there(tail);
        let position = if fits { tail } else { self.next_segment()? };
        self.index.set_tail(Position::new(position.segment(), position.offset() + len));
        // Counted here, once: whoever makes room meanwhile counts what is reserved, written or not.
        self.index.add_total(len.cast_signed());
        Ok(position)
    }

    /// Whether the segment at the tail is: somebody may have deleted it, and what is written there would be lost.
    fn is_there(&mut self, tail: Position) -> bool {
        self.seen = self.seen || self.store.segments.is_there(tail.segment());
        self.seen
    }

    /// Begins a new segment and makes room for it. Entries that were worth keeping may lie at its beginning then.
    fn next_segment(&mut self) -> io::Result<Position> {
        // What is reserved counts, though it may not be written yet.
        let tail = self.index.tail();
        if tail.offset() <= self.store.segment_bytes {
            self.store.segments.stretch(tail)?;
        }
        let present = self.store.segments.ids()?;
        self.begin_segment(&present)?;
        let made = self.make_room(&present, self.store.segment_bytes);
        let tail = self.index.tail();
        if made.is_err() {
            // Whoever comes next is to try it again, not to write beyond the bound.
            self.index.set_tail(Position::new(tail.segment(), LAST_OFFSET));
            if tail.offset() == 0 {
                let _ = self.store.segments.remove(tail.segment());
            }
        }
        made.map(|_| tail)
    }

    /// Begins a new segment, whatever room there is.
    fn begin_segment(&mut self, present: &[(u32, u64)]) -> io::Result<Position> {
        let id = self.next_id(present)?;
        self.store.segments.create(id)?;
        self.seen = true;
        let position = Position::new(id, 0);
        self.index.set_tail(position);
        Ok(position)
    }

    /// Takes a segment of its own for a large value. Nothing is written behind it: the next record begins another one.
    fn reserve_segment(&mut self) -> io::Result<u32> {
        let present = self.store.segments.ids()?;
        // Its file is there already.
        self.make_room(&present, 0)?;
        let id = self.next_id(&present)?;
        self.index.set_tail(Position::new(id, LAST_OFFSET));
        Ok(id)
    }

    fn next_id(&self, present: &[(u32, u64)]) -> io::Result<u32> {
        // Behind the tail there may be what a killed process has begun, or what was never ours: no reason to go beyond it.
        let taken = |id: &u32| present.binary_search_by_key(id, |(id, _)| *id).is_ok();
        (self.index.tail().segment()..u32::MAX)
            .map(|id| id + 1)
            .find(|id| !taken(id))
            .ok_or_else(|| io::Error::other("the log has used up its segment numbers; delete the directory"))
    }

    /// A record without a payload, that says what is forgotten.
    fn tombstone(&mut self, key: [u8; 32], function: [u8; 8], flags: u16) -> io::Result<Position> {
        let position = self.reserve(record::HEADER as u64)?;
        self.forgotten_at(position, key, function, flags)?;
        Ok(position)
    }

    fn forgotten_at(&self, at: Position, key: [u8; 32], function: [u8; 8], flags: u16) -> io::Result<()> {
        let header = Header { codec: codec::BINCODE, flags, key, function, ..Header::default() };
        self.store.append_dirty(at, &header.encode(&[], at, &self.store.seal))
    }

    /// Tells the index of a record that is written. `false`: something newer is known meanwhile.
    pub(super) fn publish(&mut self, put: &Put, place: Place) -> io::Result<bool> {
        if self.index.load() > FULL && !self.crowded {
            match self.grow(0) {
                // There is room, if not for much more. (Once in a section under the lock is enough.)
                Err(_) if self.index.load() <= CROWDED => self.crowded = true,
                grown => grown?,
            }
        }
        let cost = index::cost_class(put.compute, place.len);
        let tag = Tag { function: tag_of(&put.function), cost };
        // What was given began when it got its place.
        let began = put.permit.began().min(place.position);
        Ok(self.index.insert(&put.permit.key, place, tag, began) != Inserted::Refused)
    }
}

/// So many results before its own turn comes, what the index has where a key belongs is fetched from memory.
const AHEAD: usize = 4;

/// How full the index gets before it grows.
pub(super) const FULL: f64 = 0.75;

/// How full it gets when it can't grow. Beyond, what is used would be pushed out by what comes.
const CROWDED: f64 = 0.95;

/// An offset behind which nothing fits: the next record begins a segment.
pub(super) const LAST_OFFSET: u64 = u32::MAX as u64 * 8;

/// The last position before this one; the first of all, if there is none.
fn before(position: Position) -> Position {
    match (position.segment(), position.offset()) {
        (0, _) => Position::new(0, 8),
        (segment, 0) => Position::new(segment - 1, LAST_OFFSET),
        (segment, offset) => Position::new(segment, offset - 8),
    }
}
