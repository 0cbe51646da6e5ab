//! The segments of a directory: where records are appended, read, found again and thrown away.
//!
//! A segment is a file of records. It is appended to, renamed into place when it holds one large value, and removed as a
//! whole; never changed in what was written, never cut short, and its id is never used again. So an open file is right
//! for as long as anyone holds it, and readers take no lock: one positional read of the whole record, then every check.
//!
//! Nothing read from a file decides how much memory is taken: a record's length comes from the index, and is checked
//! against the file's size before more than [`UNCHECKED`] bytes are allocated for it.
//!
//! Two writers never write one place: who reserves it (under the directory's lock) says so, and what a killed writer
//! leaves is a hole, or half a record, that nobody points to. [`Segments::walk`] finds what lies between.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind};

use foldhash::fast::RandomState;

use super::dir::Dir;
use super::io::{Access, Handle, Io};
use super::record::{Bad, HEADER, Header, MAX_RECORD, Place, Position, SealKey};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, RwLock};

pub(crate) mod large;
mod walk;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Segments {
    dir: Dir,
    /// Open files by segment. The lock is held to look and to put, not while a file is opened or closed.
    open: RwLock<HashMap<u32, Arc<Handle>, RandomState>>,
    /// Some were opened to be read since that was asked last.
    opened: AtomicBool,
}

/// Why there is no record: a miss in either case.
#[derive(Debug)]
pub(crate) enum Unread {
    /// What is there is not to be believed.
    Bad(Bad),
    /// The system gave nothing to believe.
    Io(io::Error),
}

impl Segments {
    pub(crate) fn new(dir: Dir) -> Segments {
        Segments { dir, open: RwLock::default(), opened: AtomicBool::new(false) }
    }

    /// Reads the record at `place` into `buf`, and believes it only if everything fits. Then the payload is
    /// [`payload`]`(&buf, &header)`. `buf` is meant to be used again: its length is the largest it has held so far.
    pub(crate) fn read(
        &self,
        place: Place,
        key: &[u8; 32],
        seal_key: &SealKey,
        buf: &mut Vec<u8>,
    ) -> Result<Header, Unread> {
        let (offset, len) = (place.position.offset(), checked_len(place)?);
        let handle = self.handle(place.position.segment())?;
        if len > UNCHECKED && self.io().len(&handle)? < offset.saturating_add(len as u64) {
            return Err(Bad::Short.into());
        }
        if buf.len() < len {
            // Not `resize` to each record's size: that would write zeros over all of it first, each time.
            buf.resize(len, 0);
        }
        let record = &mut buf[..len];
        if self.io().read_at(&handle, record, offset)? < len {
            return Err(Bad::Short.into());
        }
        let header = Header::decode(record, place.position, seal_key)?;
        fits(&header, place, key)?;
        if !header.is_of(payload(record, &header)) {
            return Err(Bad::Payload.into());
        }
        Ok(header)
    }

    /// Makes a new, empty segment. Its id must never have been used.
    pub(crate) fn create(&self, id: u32) -> io::Result<()> {
        let path = self.dir.seg(id);
        let handle = match self.io().create(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.dir.make_again(&self.dir.seg_dir())?;
                self.io().create(&path)?
            }
            created => created?,
        };
        self.keep(id, Arc::new(handle));
        Ok(())
    }

    /// Writes records (encoded for this place) where the caller alone may write.
    pub(crate) fn append(&self, position: Position, records: &[u8]) -> io::Result<()> {
        let handle = self.writable(position.segment())?;
        self.io().write_all_at(&handle, records, position.offset())
    }

    /// Whether a segment can be appended to and found again by its name. `true` also where that is not known.
    pub(crate) fn is_there(&self, id: u32) -> bool {
        let is_named = match self.writable(id) {
            Ok(handle) => self.io().is_named(&handle),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => Ok(false),
            Err(error) => Err(error),
        };
        if let Ok(false) = is_named {
            let handle = self.open.write().remove(&id);
            drop(handle);
        }
        is_named.unwrap_or(true)
    }

    /// Makes a segment as long as what is reserved in it: its last records may not be written yet.
    pub(crate) fn stretch(&self, end: Position) -> io::Result<()> {
        if end.segment() == 0 {
            return Ok(());
        }
        match self.writable(end.segment()) {
            Ok(handle) => self.io().stretch(&handle, end.offset()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Has a segment's bytes put on the medium.
    pub(crate) fn sync(&self, id: u32) -> io::Result<()> {
        self.io().sync_data(&*self.writable(id)?)
    }

    /// Has the names of the segments put on the medium: after [`create`](Self::create) and a large value's commit.
    pub(crate) fn sync_names(&self) -> io::Result<()> {
        self.io().sync_dir(&self.dir.seg_dir())
    }

    /// Removes a segment. Readers that have it open still read it.
    pub(crate) fn remove(&self, id: u32) -> io::Result<()> {
        let handle = self.open.write().remove(&id);
        drop(handle);
        self.io().remove(&self.dir.seg(id))
    }

    /// Closes the segments below `oldest`, which another process has removed: an open file keeps its blocks.
    pub(crate) fn forget_below(&self, oldest: u32) {
        if !self.open.read().keys().any(|id| *id < oldest) {
            return;
        }
        let gone: Vec<_> = self.open.write().extract_if(|id, _| *id < oldest).collect();
        drop(gone);
    }

    /// Whether segments were opened to be read since this was asked last: so others may have been removed.
    pub(crate) fn takes_new(&self) -> bool {
        // Written only where it changes: all threads ask.
        self.opened.load(Ordering::Relaxed) && self.opened.swap(false, Ordering::Relaxed)
    }

    /// The segments that are there, oldest first, and their sizes. What has the name of one but is no file takes that name,
    /// and has no size.
    pub(crate) fn ids(&self) -> io::Result<Vec<(u32, u64)>> {
        let dir = self.dir.seg_dir();
        let mut ids = Vec::new();
        for name in self.dir.names(&dir)? {
            let Some(id) = name.to_str().and_then(id_of) else {
                continue;
            };
            match self.io().metadata(&dir.join(&name)) {
                Ok(metadata) => ids.push((id, if metadata.is_file() { metadata.len() } else { 0 })),
                // Removed since.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// The segment's file, for reading.
    fn handle(&self, id: u32) -> Result<Arc<Handle>, Unread> {
        if let Some(handle) = self.open.read().get(&id) {
            return Ok(handle.clone());
        }
        let handle = Arc::new(self.open(id, Access::Read)?);
        self.keep(id, handle.clone());
        self.opened.store(true, Ordering::Relaxed);
        Ok(handle)
    }

    fn writable(&self, id: u32) -> io::Result<Arc<Handle>> {
        if let Some(handle) = self.open.read().get(&id).filter(|handle| handle.is_writable()) {
            return Ok(handle.clone());
        }
        self.dir.check(&self.dir.seg_dir())?;
        let handle = Arc::new(self.io().open(&self.dir.seg(id), Access::Write)?);
        self.keep(id, handle.clone());
        Ok(handle)
    }

    /// Opens a segment, past the cache.
    fn open(&self, id: u32, access: Access) -> Result<Handle, Unread> {
        self.io().open(&self.dir.seg(id), access).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Bad::Gone.into(),
            ErrorKind::InvalidInput => Bad::NotAFile.into(),
            _ => Unread::Io(error),
        })
    }

    /// Caches an open file. When there are too many, some other goes: any, since it is opened again when needed.
    fn keep(&self, id: u32, handle: Arc<Handle>) {
        let mut open = self.open.write();
        let crowded = open.len() >= MAX_OPEN && !open.contains_key(&id);
        let out = if crowded { open.keys().next().copied() } else { None };
        let out = out.and_then(|id| open.remove(&id));
        let replaced = open.insert(id, handle);
        drop(open);
        drop((out, replaced));
    }

    fn io(&self) -> &Io {
        self.dir.io()
    }
}

/// The payload of a record that was read.
pub(crate) fn payload<'a>(record: &'a [u8], header: &Header) -> &'a [u8] {
    &record[HEADER..HEADER + header.stored_len as usize]
}

/// So many bytes are read at an index's word, without asking the file for its size first.
const UNCHECKED: usize = 1 << 20;

/// So many segments stay open: twice as many as there are of full size, the rest being of large values. A process may
/// often open no more than 256 (macOS) or 1024 (Linux).
const MAX_OPEN: usize = 128;

/// The length of a record, if a record can have that length.
fn checked_len(place: Place) -> Result<usize, Bad> {
    if place.len < HEADER as u64 || place.len >= MAX_RECORD || !place.len.is_multiple_of(8) {
        return Err(Bad::Lengths);
    }
    usize::try_from(place.len).map_err(|_| Bad::Lengths)
}

/// Whether a header that was believed is of the record that was looked for.
fn fits(header: &Header, place: Place, key: &[u8; 32]) -> Result<(), Bad> {
    if header.key != *key {
        return Err(Bad::Key);
    }
    if header.place(place.position) != place {
        return Err(Bad::Lengths);
    }
    Ok(())
}

/// The segment that a file's name stands for.
fn id_of(name: &str) -> Option<u32> {
    let digits = name.len() == 8 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if digits { u32::from_str_radix(name, 16).ok() } else { None }
}

impl From<Bad> for Unread {
    fn from(bad: Bad) -> Unread {
        Unread::Bad(bad)
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Unread {
        Unread::Io(error)
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Bad(bad) => bad.fmt(f),
            Unread::Io(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
