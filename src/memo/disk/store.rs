//! One directory: reading without a lock, writing in two short sections of one.
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
//! # Reading
//!
//! The index says where the record may lie; the record proves itself. A record that was moved meanwhile is looked for once
//! more. One that proves wrong is buried, so that it is read and counted once.
//!
//! # Forgetting
//!
//! `forget` and `forget_function` write a record of their own, without a payload, so that a rebuilt index forgets, too.
//! `clear` deletes the segments.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::time::Duration;

use super::claims::Claims;
use super::dir::{Dir, Refused, Trust};
use super::functions::{self, Version};
use super::index::{self, Found, Index, Mark, Place, Position, Tag, Unusable};
use super::io::{Access, Handle, Io};
use super::payload::{Meta, Packed, Payload};
use super::rebuild::rebuild;
use super::record::{self, Bad, Header, SealKey, flags};
use super::segment::large::{LargeReader, LargeWriter, Written};
use super::segment::{self, Segments, Unread};
use super::tier::{Note, Put};
use crate::config::disk::Disk;
use crate::memo::codec::Undecodable;
use crate::memo::history::Fate;
use crate::sync::{Arc, Mutex, OnceLock, RwLock};

/// How long a writer waits for the lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// How long a pool that is opened waits for one that makes the index anew, as the first after each start of the machine does:
/// it has to go through all segments.
const OPEN_PATIENCE: Duration = Duration::from_secs(60);

/// See the [module](self).
pub(crate) struct Store {
    pub(super) dir: Dir,
    pub(super) seal: SealKey,
    pub(super) segments: Segments,
    pub(super) max_bytes: u64,
    /// Bytes of the table of claims, where the bound is large enough to count it.
    pub(super) beside: u64,
    pub(super) segment_bytes: u64,
    index: RwLock<Arc<Index>>,
    lock: Mutex<Handle>,
    /// `None`: it can't be had.
    claims: OnceLock<Option<Claims>>,
    /// Segments that were written since the last sync.
    dirty: Mutex<BTreeSet<u32>>,
}

/// What a look found.
pub(crate) enum Look<T> {
    Hit(T, Meta),
    Miss(Option<Fate>),
    Corrupt(String),
    Failed(io::Error),
}

/// The lock of the directory is held.
pub(super) struct Writing<'a> {
    pub(super) store: &'a Store,
    /// The segment at the tail was seen.
    seen: bool,
    pub(super) index: Arc<Index>,
}

impl Store {
    pub(crate) fn open(disk: &Disk) -> Result<Store, Refused> {
        #[cfg(not(feature = "testing"))]
        let io = Io::default();
        #[cfg(feature = "testing")]
        let io =
            disk.faults.as_ref().map_or_else(Io::default, |faults| Io::with_hook(Arc::new(faults.clone())));
        let dir = Dir::open(&disk.path, Trust { shared_with_group: disk.shared_with_group }, io)?;
        let lock = dir.io().open_or_create(&dir.lock())?;
        let seal = SealKey::new(disk.mac_key.as_deref());
        let segments = Segments::new(dir.clone());
        let index = match open_index(&dir) {
            Some(index) => index,
            None => {
                let _locked = dir.io().lock(&lock, OPEN_PATIENCE)?;
                // Another process may have been faster.
                match open_index(&dir) {
                    Some(index) => index,
                    None => rebuild(&dir, &segments, &seal)?,
                }
            }
        };
        Ok(Store {
            dir,
            seal,
            segments,
            max_bytes: disk.max_bytes,
            beside: if disk.counts_claims() { Claims::FILE_LEN } else { 0 },
            segment_bytes: disk.segment_bytes(),
            index: RwLock::new(index),
            lock: Mutex::new(lock),
            claims: OnceLock::new(),
            dirty: Mutex::default(),
        })
    }

    /// The index; the new one, if it was replaced.
    pub(super) fn index(&self) -> Arc<Index> {
        let index = Arc::clone(&self.index.read());
        if !index.superseded() {
            return index;
        }
        // Between the mark and the new name there is nothing to be found: the old one serves a little longer.
        match open_index(&self.dir) {
            Some(new) => {
                *self.index.write() = Arc::clone(&new);
                new
            }
            None => index,
        }
    }

    pub(super) fn replace_index(&self, index: Arc<Index>) {
        *self.index.write() = index;
    }

    /// Where the log ends.
    pub(crate) fn tail(&self) -> Position {
        self.index().tail()
    }

    /// Bytes of all segments and of the index.
    pub(crate) fn bytes(&self) -> u64 {
        let index = self.index();
        index.total().saturating_add(index.len())
    }

    /// Whether a result of a run that began then would be taken.
    pub(crate) fn admits(&self, key: &[u8; 32], function: &[u8], began: Position) -> bool {
        self.index().admits(key, tag_of(function), began)
    }

    /// Whether a record of that key is there.
    pub(crate) fn knows(&self, key: &[u8; 32]) -> bool {
        matches!(self.index().find(key), Found::Live { .. })
    }

    /// Values above this have a file of their own.
    pub(crate) fn largest_inline(&self) -> usize {
        usize::try_from(self.segment_bytes / 4).unwrap_or(usize::MAX)
    }

    pub(crate) fn large_writer(&self) -> io::Result<LargeWriter> {
        self.segments.large(self.max_bytes / 2)
    }

    /// Makes room for so many bytes of a large value that is under way.
    pub(crate) fn make_room(&self, need: u64) -> io::Result<()> {
        self.writing(LOCK_PATIENCE, |writing| {
            let present = self.segments.ids()?;
            match writing.make_room(&present, need)? {
                true => Ok(()),
                false => {
                    let text = format!(
                        "beside what else is under way, {} bytes have no room for it",
                        self.max_bytes
                    );
                    Err(io::Error::new(io::ErrorKind::FileTooLarge, text))
                }
            }
        })
    }

    /// How many bytes of a large value room is made for at once.
    pub(crate) fn step(&self) -> u64 {
        self.segment_bytes / 4
    }

    /// The claims of the directory, once they can be had.
    pub(crate) fn claims(&self) -> Option<&Claims> {
        self.claims.get_or_init(|| self.open_claims().ok()).as_ref()
    }

    fn open_claims(&self) -> io::Result<Claims> {
        let open = || -> io::Result<Claims> {
            let (io, dir) = (self.dir.io().clone(), self.dir.clone());
            let owner = move |number| io.open_or_create(&dir.owner(u32::from(number))).map(Handle::into_file);
            let handle = self.dir.io().open(&self.dir.claims(), Access::Write)?;
            Claims::open(handle.file(), Box::new(owner)).map_err(|unusable| match unusable {
                Unusable::Foreign(reason) => io::Error::new(io::ErrorKind::InvalidData, reason),
                Unusable::Io(error) => error,
            })
        };
        let missing = |error: &io::Error| {
            use io::ErrorKind::{InvalidData, InvalidInput, NotFound};
            matches!(error.kind(), InvalidData | InvalidInput | NotFound)
        };
        match open() {
            Err(error) if missing(&error) => {}
            opened => return opened,
        }
        self.writing(LOCK_PATIENCE, |writing| {
            // Another process may have been faster.
            if open().is_err_and(|error| missing(&error)) {
                let (io, path) = (writing.store.dir.io(), writing.store.dir.tmp());
                let handle = io.create(&path)?;
                io.preallocate(&handle, Claims::FILE_LEN)?;
                Claims::create(handle.file())?;
                io.rename(&path, &writing.store.dir.claims())?;
            }
            Ok(())
        })?;
        open()
    }

    /// Whether the directory was deleted under us: it is gone, or another has its name.
    pub(crate) fn is_deleted(&self) -> bool {
        let ours = self.dir.io().is_named(&self.lock.lock());
        // Where that can't be seen, other things will fail soon.
        !ours.unwrap_or(true)
    }

    /// Looks a key up and decodes its value where it was read to. Takes no lock; `decode` may run user code.
    pub(crate) fn look<T>(
        &self,
        key: &[u8; 32],
        now: u64,
        decode: impl FnOnce(&Meta, Payload<'_>) -> Result<T, Undecodable>,
    ) -> Look<T> {
        let index = self.index();
        let (place, slot) = match index.find(key) {
            Found::Live { place, slot } => (place, slot),
            Found::Gone(mark, _) => return Look::Miss(Some(mark.into())),
            Found::Nothing => return Look::Miss(None),
        };
        let mut buffer = BUFFER.take();
        let look = match self.read(key, place, &mut buffer) {
            Err(Unread::Bad(bad)) if !bad.is_corruption() => Look::Miss(Some(Fate::Evicted)),
            // Perhaps another's seal: what is his stays where it is.
            Err(Unread::Bad(bad @ Bad::Seal)) => Look::Corrupt(bad.to_string()),
            Err(Unread::Bad(bad)) => self.distrust(key, place, bad.to_string()),
            Err(Unread::Io(error)) => Look::Failed(error),
            Ok((header, large)) => {
                let meta = Meta::from(&header);
                if !meta.is_fresh(now) {
                    Look::Miss(Some(Fate::Expired))
                } else {
                    index.touch(slot);
                    let decoded = match large {
                        None => decode(&meta, Payload::Bytes(segment::payload(&buffer, &header))),
                        Some(reader) => stream(reader, |payload| decode(&meta, payload), header.stored_len),
                    };
                    match decoded {
                        Ok(value) => Look::Hit(value, meta),
                        Err(Undecodable::TypeChanged) => Look::Miss(Some(Fate::TypeChanged)),
                        Err(Undecodable::Malformed(reason)) => self.distrust(key, place, reason),
                    }
                }
            }
        };
        if buffer.capacity() <= LARGEST_BUFFER {
            BUFFER.set(buffer);
        }
        look
    }

    /// Reads a record that the index pointed to; twice, if it was moved in between. A large one is only checked.
    fn read(
        &self,
        key: &[u8; 32],
        place: Place,
        buffer: &mut Vec<u8>,
    ) -> Result<(Header, Option<LargeReader>), Unread> {
        let mut read = |place: Place| match place.len > self.largest_inline() as u64 + SLACK {
            true => self
                .segments
                .read_large(place, key, &self.seal)
                .map(|(header, reader)| (header, Some(reader))),
            false => self.segments.read(place, key, &self.seal, buffer).map(|header| (header, None)),
        };
        match read(place) {
            Err(Unread::Bad(bad)) => match self.index().find(key) {
                Found::Live { place: now, .. } if now != place => read(now),
                _ => Err(Unread::Bad(bad)),
            },
            read => read,
        }
    }

    /// A record proved wrong: nobody needs to read it again.
    fn distrust<T>(&self, key: &[u8; 32], place: Place, reason: String) -> Look<T> {
        let _ = self.writing(Duration::ZERO, |writing| {
            writing.index.bury_if(key, place, Mark::Corrupt);
            Ok(())
        });
        Look::Corrupt(reason)
    }

    /// Does something under the lock of the directory.
    fn writing<T>(
        &self,
        patience: Duration,
        change: impl FnOnce(&mut Writing<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let lock = self.lock.lock();
        let _locked = self.dir.io().lock(&lock, patience)?;
        let mut index = self.index();
        if !index.is_sound() {
            index.set_superseded(true);
            index = rebuild(&self.dir, &self.segments, &self.seal)?;
            self.replace_index(Arc::clone(&index));
        } else if index.superseded() {
            // Nobody is about to replace it, since the lock is ours: who was, was killed before the new one had its name.
            index = match open_index(&self.dir) {
                Some(index) => index,
                None => rebuild(&self.dir, &self.segments, &self.seal)?,
            };
            index.set_superseded(false);
            self.replace_index(Arc::clone(&index));
        }
        change(&mut Writing { store: self, seen: false, index })
    }

    /// Writes results; gives the numbers of those that were taken. The others came too late: something newer is known.
    pub(crate) fn append(&self, puts: &[Arc<Put>]) -> io::Result<Vec<usize>> {
        if let [put] = puts
            && let Packed::Large(large) = &put.packed
        {
            return self.append_large(put, large);
        }
        let places = self.writing(LOCK_PATIENCE, |writing| {
            let mut places = Vec::with_capacity(puts.len());
            for (at, put) in puts.iter().enumerate() {
                if let Packed::Bytes { bytes, .. } = &put.packed
                    && writing.admits(put)
                {
                    let len = record::record_len(bytes.len() as u64);
                    places.push((at, Place { position: writing.reserve(len)?, len }));
                }
            }
            Ok(places)
        })?;
        let mut written = Vec::with_capacity(places.len());
        for run in places.chunk_by(|a, b| a.1.position.segment() == b.1.position.segment()) {
            match self.write_run(puts, run) {
                Ok(()) => written.extend_from_slice(run),
                // Others have filled the directory since this was reserved: it is evicted before it was there.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.has_evicted(run) => {}
                Err(error) => return Err(error),
            }
        }
        self.writing(LOCK_PATIENCE, |writing| {
            for (at, place) in &written {
                writing.publish(&puts[*at], *place)?;
            }
            Ok(())
        })?;
        Ok(written.into_iter().map(|(at, _)| at).collect())
    }

    fn has_evicted(&self, run: &[(usize, Place)]) -> bool {
        let oldest = self.index().oldest();
        run.iter().all(|(_, place)| place.position.segment() < oldest)
    }

    /// Writes records that lie one after the other.
    fn write_run(&self, puts: &[Arc<Put>], run: &[(usize, Place)]) -> io::Result<()> {
        let [(_, first), ..] = run else { return Ok(()) };
        let mut bytes = Vec::with_capacity(run.iter().map(|(_, place)| place.len as usize).sum());
        for (at, place) in run {
            let put = &puts[*at];
            let Packed::Bytes { bytes: payload, hash, .. } = &put.packed else { continue };
            bytes.extend_from_slice(
                &put.header(payload.len() as u64, *hash).encode(place.position, &self.seal),
            );
            bytes.extend_from_slice(payload);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        self.append_dirty(first.position, &bytes)
    }

    /// Writes bytes where the caller alone may write. They are to be synced: said afterwards, so that a sync that comes
    /// in between does not count for them.
    pub(super) fn append_dirty(&self, position: Position, bytes: &[u8]) -> io::Result<()> {
        let written = self.segments.append(position, bytes);
        self.dirty.lock().insert(position.segment());
        written
    }

    /// Gives a large value, whose bytes are in a file already, its place in the log.
    fn append_large(&self, put: &Put, large: &Mutex<Option<Written>>) -> io::Result<Vec<usize>> {
        let Some(large) = large.lock().take() else { return Ok(Vec::new()) };
        self.writing(LOCK_PATIENCE, |writing| {
            if !writing.admits(put) {
                return Ok(Vec::new());
            }
            let id = writing.reserve_segment()?;
            let header = put.header(large.stored_len(), [0; 16]);
            let place = self.segments.commit_large(large, id, header, &self.seal)?;
            self.dirty.lock().insert(id);
            writing.publish(put, place)?;
            Ok(vec![0])
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

    /// Forgets a key: results of runs that have begun by now are refused.
    pub(crate) fn forget(&self, key: &[u8; 32]) -> io::Result<()> {
        self.writing(LOCK_PATIENCE, |writing| {
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

    /// Forgets everything and deletes it.
    pub(crate) fn clear(&self) -> io::Result<()> {
        self.writing(LOCK_PATIENCE, |writing| {
            let next = writing.next_segment()?;
            writing.index.clear(next);
            // What is written later lies behind the position that was cleared.
            writing.index.set_tail(Position::new(next.segment(), 8));
            for (id, bytes) in self.segments.ids()? {
                if id < next.segment() {
                    match self.segments.remove(id) {
                        Err(_) if bytes == 0 => {}
                        removed => removed?,
                    }
                }
            }
            writing.index.set_oldest(next.segment());
            writing.index.set_total(0);
            Ok(())
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

impl Writing<'_> {
    /// Whether a result will be taken. To be asked before it gets its position: what lies in the log behind the record
    /// that forgets it would be found again when the index is lost.
    fn admits(&self, put: &Put) -> bool {
        self.index.admits(&put.key, tag_of(&put.function), put.permit.began())
    }

    /// Takes so many bytes at the end of the log.
    pub(super) fn reserve(&mut self, len: u64) -> io::Result<Position> {
        let tail = self.index.tail();
        let fits =
            tail.segment() > 0 && tail.offset() + len <= self.store.segment_bytes && self.is_there(tail);
        let position = if fits { tail } else { self.next_segment()? };
        self.index.set_tail(Position::new(position.segment(), position.offset() + len));
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
        let id = self.next_id(&present)?;
        self.store.segments.create(id)?;
        self.seen = true;
        self.index.set_tail(Position::new(id, 0));
        self.make_room(&present, self.store.segment_bytes)?;
        Ok(self.index.tail())
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
        let len = record::HEADER as u64;
        let position = self.reserve(len)?;
        let header =
            Header { flags, key, function, payload_hash: record::payload_hash(&[]), ..Header::default() };
        self.store.append_dirty(position, &header.encode(position, &self.store.seal))?;
        Ok(position)
    }

    /// Tells the index of a record that is written.
    fn publish(&mut self, put: &Put, place: Place) -> io::Result<()> {
        if self.index.load() > FULL {
            self.grow()?;
        }
        let cost = index::cost_class(put.compute, place.len);
        let tag = Tag { function: tag_of(&put.function), cost };
        self.index.insert(&put.key, place, tag, put.permit.began());
        self.index.add_total(place.len.cast_signed());
        Ok(())
    }
}

/// How full the index gets before it grows.
pub(super) const FULL: f64 = 0.75;

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

/// What a record has beside its payload, at most.
const SLACK: u64 = record::HEADER as u64 + 8;

/// The buffer that records are read into is kept if it is no larger than this.
const LARGEST_BUFFER: usize = 1 << 20;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Two bytes of a function's digest.
pub(super) fn tag_of(function: &[u8]) -> u16 {
    function.first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

/// The index that is there, if it can be used: it is whole, it is the latest, and no power loss came after it.
fn open_index(dir: &Dir) -> Option<Arc<Index>> {
    let handle = dir.io().open(&dir.index(), Access::Write).ok()?;
    let index = Index::open(handle.file()).ok()?;
    (index.is_sound() && !index.superseded() && index.boot() == boot()).then(|| Arc::new(index))
}

/// Names this run of the machine: an index from before a power loss is not believed.
pub(super) fn boot() -> u64 {
    static BOOT: OnceLock<u64> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(&id).as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    })
}

/// Decodes a large value, and checks once more that it is what was checked before.
fn stream<T>(
    mut reader: LargeReader,
    decode: impl FnOnce(Payload<'_>) -> Result<T, Undecodable>,
    len: u64,
) -> Result<T, Undecodable> {
    let value = decode(Payload::Stream(&mut reader, len))?;
    match reader.finish() {
        Ok(()) => Ok(value),
        Err(unread) => Err(Undecodable::Malformed(unread.to_string())),
    }
}

impl From<Mark> for Fate {
    fn from(mark: Mark) -> Fate {
        match mark {
            Mark::Evicted => Fate::Evicted,
            Mark::Forgotten => Fate::Forgotten,
            Mark::Corrupt => Fate::Corrupt,
            Mark::Failed => Fate::Failed,
            Mark::Expired => Fate::Expired,
            Mark::Panicked => Fate::Panicked,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
