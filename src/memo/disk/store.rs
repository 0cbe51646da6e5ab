//! One directory: opening it, and reading without a lock. [`log`](super::log) is how it is written.
//!
//! # Reading
//!
//! The index says where the record may lie; the record proves itself. A record that was moved meanwhile is looked for once
//! more. One that proves wrong is buried, so that it is read and counted once. One that only another build can read stays;
//! what this build computes instead becomes the newer record of its key, which both can read.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use super::claims::Claims;
use super::dir::{Dir, Refused, Trust};
use super::index::{Found, Index, Mark, Place, Position, SlotRef, Unusable};
use super::io::{Access, Handle, Io, Op, context};
use super::log::LOCK_PATIENCE;
use super::payload::{Meta, Payload};
use super::rebuild::rebuild;
use super::record::{self, Bad, Header, Needs, SealKey, flags};
use super::segment::large::{LargeReader, LargeWriter};
use super::segment::{self, Segments, Unread};
use crate::config::disk::Disk;
use crate::memo::codec::Undecodable;
use crate::memo::history::Fate;
use crate::sync::{Arc, Mutex, OnceLock, RwLock};

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
    pub(super) index: RwLock<Arc<Index>>,
    pub(super) lock: Mutex<Handle>,
    claims: OnceLock<Claims>,
    /// Segments that were written since the last sync.
    pub(super) dirty: Mutex<BTreeSet<u32>>,
}

/// Where a record seems to be: what the index said a moment ago.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hint {
    place: Place,
    slot: SlotRef,
}

/// What a look found.
pub(crate) enum Look<T> {
    Hit(T, Meta),
    Miss(Option<Fate>),
    Corrupt(String),
    /// It is sound, but not for this build.
    Needs(Needs),
    Failed(io::Error),
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
        let index = match open_index(&dir, Some(boot()))? {
            Some(index) => index,
            None => {
                let _locked = dir.io().lock(&lock, OPEN_PATIENCE)?;
                // Another process may have been faster.
                match open_index(&dir, Some(boot()))? {
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
        match open_index(&self.dir, None) {
            Ok(Some(new)) => {
                *self.index.write() = Arc::clone(&new);
                new
            }
            Ok(None) | Err(_) => index,
        }
    }

    pub(super) fn replace_index(&self, index: Arc<Index>) {
        *self.index.write() = index;
    }

    /// Where the log ends, when the store was opened just now.
    pub(crate) fn first_tail(&self) -> Position {
        self.index.read().first_tail()
    }

    /// Where the log ends.
    pub(crate) fn tail(&self) -> Position {
        let index = self.index.read();
        if !index.superseded() {
            return index.tail();
        }
        drop(index);
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
        matches!(self.find(key), Found::Live { .. })
    }

    /// Whether there is no record of that key. Asks the mapped index alone, so `false` where that is not to be asked yet.
    pub(crate) fn lacks(&self, key: &[u8; 32]) -> bool {
        let index = self.index.read();
        index.is_warm() && !index.superseded() && !matches!(index.find(key), Found::Live { .. })
    }

    /// Where the record of that key seems to be, if it is no longer than that.
    pub(crate) fn hint(&self, key: &[u8; 32], most: u64) -> Option<Hint> {
        match self.find(key) {
            Found::Live { place, slot } if place.len <= most => Some(Hint { place, slot }),
            Found::Live { .. } | Found::Gone(..) | Found::Nothing => None,
        }
    }

    /// Values above this have a file of their own.
    pub(crate) fn largest_inline(&self) -> usize {
        usize::try_from(self.segment_bytes / 4).unwrap_or(usize::MAX)
    }

    pub(crate) fn large_writer(&self) -> io::Result<LargeWriter> {
        self.segments.large(largest(self.max_bytes))
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

    /// The claims of the directory, once this has joined those who claim.
    pub(crate) fn claims(&self) -> Option<&Claims> {
        self.claims.get()
    }

    /// Joins them: one thread at a time.
    pub(crate) fn join_claims(&self) -> io::Result<()> {
        let claims = self.open_claims()?;
        self.claims.get_or_init(|| claims);
        Ok(())
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
                let dir = &writing.store.dir;
                let (handle, unnamed) = dir.begin()?;
                dir.io().preallocate(&handle, Claims::FILE_LEN)?;
                Claims::create(handle.file())?;
                unnamed.rename(&dir.claims())?;
            }
            Ok(())
        })?;
        open()
    }

    /// Closes what is open. It is opened again when it is asked for.
    pub(super) fn close_segments(&self) {
        self.segments.forget_below(u32::MAX);
    }

    /// Whether the directory was deleted under us: it is gone, or another has its name.
    pub(crate) fn is_deleted(&self) -> bool {
        let ours = self.dir.io().is_named(&self.lock.lock());
        // Where that can't be seen, other things will fail soon.
        !ours.unwrap_or(true)
    }

    /// Looks a key up, unless there is a hint, and decodes its value where it was read to. Takes no lock; `decode` may run
    /// user code.
    pub(crate) fn look<T>(
        &self,
        key: &[u8; 32],
        hint: Option<Hint>,
        now: impl Fn() -> u64,
        decode: impl FnOnce(&Meta, Payload<'_>) -> Result<T, Undecodable>,
    ) -> Look<T> {
        let Hint { place, slot } = match hint {
            Some(hint) => hint,
            None => match self.find(key) {
                Found::Live { place, slot } => Hint { place, slot },
                Found::Gone(mark, _) => return Look::Miss(Some(mark.into())),
                Found::Nothing => return Look::Miss(None),
            },
        };
        let mut buffer = BUFFER.take();
        let look = match self.read(key, place, &mut buffer) {
            Err(Unread::Bad(bad)) if !bad.is_corruption() => Look::Miss(Some(Fate::Evicted)),
            // What is another's stays where it is.
            Err(Unread::Bad(bad @ Bad::Foreign)) => Look::Corrupt(bad.to_string()),
            Err(Unread::Bad(bad)) => self.distrust(key, place, bad.to_string()),
            Err(Unread::Io(error)) => Look::Failed(error),
            Ok((header, large)) => {
                let meta = Meta::from(&header);
                if let Some(needs) = header.needs() {
                    Look::Needs(needs)
                } else if !meta.is_fresh(now) {
                    Look::Miss(Some(Fate::Expired))
                } else {
                    if !slot.is_marked() {
                        // (An index that was replaced meanwhile: then the mark is lost, and nothing else.)
                        self.index.read().touch(slot);
                    }
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

    /// What the index says of a key. (Without counting a reference to it, which takes as long as the look itself.)
    fn find(&self, key: &[u8; 32]) -> Found {
        let index = self.index.read();
        if let Some(found) = index.find_early(key) {
            return found;
        }
        if !index.superseded() {
            return index.find(key);
        }
        drop(index);
        self.index().find(key)
    }

    /// Reads a record that the index pointed to; twice, if it was moved in between. A large one is only checked, unless it is
    /// of use as a whole only. (Its reader takes two kilobytes, which all others would be moved about with: hence the box.)
    fn read(
        &self,
        key: &[u8; 32],
        place: Place,
        buffer: &mut Vec<u8>,
    ) -> Result<(Header, Option<Box<LargeReader>>), Unread> {
        let mut read = |place: Place| {
            if place.len <= self.largest_inline() as u64 + SLACK {
                return Ok((self.segments.read(place, key, &self.seal, buffer)?, None));
            }
            let (header, mut reader) = self.segments.read_large(place, key, &self.seal)?;
            if header.flags & WHOLE == 0 {
                return Ok((header, Some(Box::new(reader))));
            }
            // Errors, and what a pool with a larger bound compressed, to which it was short.
            buffer.clear();
            buffer.resize(record::HEADER, 0);
            reader.read_to_end(buffer)?;
            reader.finish()?;
            Ok((header, None))
        };
        let read = match read(place) {
            Err(Unread::Bad(bad)) => match self.find(key) {
                Found::Live { place: now, .. } if now != place => read(now),
                _ => Err(Unread::Bad(bad)),
            },
            read => read,
        };
        if self.segments.takes_new() {
            // Who only reads would have all open that others have evicted, and an open file keeps its blocks.
            self.segments.forget_below(self.index.read().oldest());
        }
        read
    }

    /// A record proved wrong: nobody needs to read it again.
    fn distrust<T>(&self, key: &[u8; 32], place: Place, reason: String) -> Look<T> {
        let _ = self.writing(Duration::ZERO, |writing| {
            writing.index.bury_if(key, place, Mark::Corrupt);
            Ok(())
        });
        Look::Corrupt(reason)
    }
}

/// The longest value, in bytes as it is stored: half of the directory, as far as a record can be so long.
fn largest(max_bytes: u64) -> u64 {
    (max_bytes / 2).min(record::MAX_RECORD - 2 * SLACK)
}

/// What a record has beside its payload, at most.
const SLACK: u64 = record::HEADER as u64 + 8;

/// What is not decoded as it is read.
const WHOLE: u16 = flags::ERROR | flags::LZ4 | flags::ZSTD;

/// The buffer that records are read into is kept if it is no larger than this.
const LARGEST_BUFFER: usize = 1 << 20;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Two bytes of a function's digest.
pub(super) fn tag_of(function: &[u8]) -> u16 {
    function.first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

/// The index that is there, if it can be used: it is whole, it is the latest, and `boot` says that no power loss came after
/// it. `None`: none came, since this process has had an index before. (The other may have been made by one that can't read
/// the kernel's name of this run.)
pub(super) fn open_index(dir: &Dir, boot: Option<u64>) -> io::Result<Option<Arc<Index>>> {
    Ok(map_index(dir)?.filter(|index| index.is_usable(boot)).map(Arc::new))
}

/// The index that is there, in whatever state. `None`: there is none, or what has its name is none. What the system does not
/// let us map may well be one that others use.
pub(super) fn map_index(dir: &Dir) -> io::Result<Option<Index>> {
    let path = dir.index();
    let handle = match dir.io().open(&path, Access::Write) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
            return Ok(None);
        }
        opened => opened?,
    };
    match Index::open(handle.file()) {
        Ok(index) => Ok(Some(index)),
        Err(Unusable::Foreign(_)) => Ok(None),
        Err(Unusable::Io(error)) => Err(context(Op::Open, &path, error)),
    }
}

/// Names this run of the machine: an index from before a power loss is not believed.
pub(super) fn boot() -> u64 {
    static BOOT: OnceLock<u64> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let mut id = [0; 64];
        // (One read: such files are given as a whole.)
        let read = File::open("/proc/sys/kernel/random/boot_id").and_then(|mut file| file.read(&mut id));
        let id = &id[..read.unwrap_or_default()];
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(id).as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    })
}

/// Decodes a large value, and checks once more that it is what was checked before.
fn stream<T>(
    mut reader: Box<LargeReader>,
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
