//! The index anew: from the segments when it is lost, foreign, or from before a power loss; larger when it is full.
//!
//! Under the lock. Records are read in the order in which they were written, by their headers alone, so what is newer wins
//! and what was forgotten stays so. The new file is made under another name and renamed; an index that is replaced says so
//! in its header, and every process goes on with the new one.

use std::io;

use super::dir::{Dir, Unnamed};
use super::index::{self, Index, Mark, Position, Tag};
use super::log::{FULL, LAST_OFFSET, Writing};
use super::record::{SealKey, flags};
use super::segment::Segments;
use super::store::{boot, map_index, tag_of};
use crate::sync::Arc;

/// Buckets of a new index: 1 024 entries, 32 KiB.
const FIRST_BUCKETS: u64 = 64;

/// How much larger an index gets; twice as large where that would be too much.
const GROWTH: u64 = 4;

/// The index takes at most one of so many bytes of the directory: enough for one entry in a 130 bytes, and no record is
/// smaller.
const INDEX_SHARE: u64 = 4;

/// Makes an index of what the segments hold.
pub(super) fn rebuild(dir: &Dir, segments: &Segments, seal: &SealKey) -> io::Result<Arc<Index>> {
    let present = segments.ids()?;
    let mut new = New::make(dir, FIRST_BUCKETS)?;
    new.index.set_boot(boot());
    let mut failed = Ok(());
    let mut last = 0;
    for (id, _) in &present {
        let walked = segments.walk(*id, seal, |header, place| {
            last = *id;
            if new.index.load() > FULL && failed.is_ok() {
                failed = new.grow(dir);
            }
            let tag = Tag {
                function: tag_of(&header.function),
                cost: index::cost_class(header.compute, place.len),
            };
            match header.flags & (flags::FORGOTTEN | flags::FORGOTTEN_FUNCTION) {
                0 => _ = new.index.insert(&header.key, place, tag, place.position),
                flags::FORGOTTEN => _ = new.index.bury(&header.key, Mark::Forgotten, place.position),
                _ => _ = new.index.bury_function(tag.function, place.position),
            }
        });
        // What was sealed with another key is of this log, too: it takes its room, and its number is used.
        if let Ok(true) = walked {
            last = *id;
        }
        // A segment that can't be read costs what is in it.
    }
    failed?;
    // In a segment of its own: nobody knows how much of the last one is on the disk.
    // What lies behind the last record is no part of the log, and may be anything.
    let ours = present.iter().filter(|(id, _)| *id <= last);
    new.index.set_oldest(present.first().map_or(1, |(id, _)| (*id).min(last)));
    new.index.set_tail(Position::new(last, LAST_OFFSET));
    new.index.set_total(ours.map(|(_, bytes)| bytes).sum());
    // Others may have the one mapped that has the name now: it was damaged, or made under another name of this run.
    if let Some(old) = map_index(dir)? {
        old.set_superseded(true);
    }
    new.put_in_place(dir)
}

impl Writing<'_> {
    /// Replaces the index by a larger one, as far as the bound of the directory allows. `expected`: so many results are about
    /// to come.
    pub(super) fn grow(&mut self, expected: u64) -> io::Result<()> {
        let store = self.store;
        let least = if expected == 0 { GROWTH } else { 2 };
        let times = (self.index.load_with(expected) / FULL).ceil() as u64;
        let times = times.max(least).checked_next_power_of_two().unwrap_or(index::MAX_BUCKETS);
        let mut buckets = self.index.buckets().saturating_mul(times).min(index::MAX_BUCKETS);
        while buckets > self.index.buckets() && Index::file_len(buckets) > store.max_bytes / INDEX_SHARE {
            buckets /= 2;
        }
        if buckets <= self.index.buckets() {
            return Ok(());
        }
        // The new one is written while the old one is there.
        self.make_room(&store.segments.ids()?, Index::file_len(buckets))?;
        let new = New::make(&store.dir, buckets)?;
        self.index.grow_into(&new.index);
        // First the mark: a kill between the two leaves an index that is looked for again, not one that others go on
        // writing while new processes use the new one.
        self.index.set_superseded(true);
        match new.put_in_place(&store.dir) {
            Ok(new) => {
                store.replace_index(Arc::clone(&new));
                self.index = new;
                Ok(())
            }
            Err(error) => {
                self.index.set_superseded(false);
                Err(error)
            }
        }
    }
}

/// An index in the making.
struct New<'a> {
    index: Index,
    unnamed: Unnamed<'a>,
}

impl New<'_> {
    fn make(dir: &Dir, buckets: u64) -> io::Result<New<'_>> {
        let (handle, unnamed) = dir.begin()?;
        dir.io().preallocate(&handle, Index::file_len(buckets))?;
        let index = Index::create(handle.file(), buckets)?;
        Ok(New { index, unnamed })
    }

    fn put_in_place(self, dir: &Dir) -> io::Result<Arc<Index>> {
        self.unnamed.rename(&dir.index())?;
        Ok(Arc::new(self.index))
    }
}

impl<'a> New<'a> {
    fn grow(&mut self, dir: &'a Dir) -> io::Result<()> {
        let larger = New::make(dir, self.index.buckets() * GROWTH)?;
        self.index.grow_into(&larger.index);
        *self = larger;
        Ok(())
    }
}
