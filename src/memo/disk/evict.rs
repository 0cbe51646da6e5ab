//! Making room: the oldest segments go, a whole one at a time.
//!
//! Under the lock, by the writer that begins a new segment. For each record of the oldest one the index says whether it is
//! still the key's newest and whether it was used since it was written. Those that were, of versions of their functions that are
//! still in use, are written again at the end of the
//! log, most computing time saved per byte first, as long as they take no more than a quarter of a segment; all others are
//! marked as evicted. Then the file is deleted. Whoever has it open goes on reading.
//!
//! So a hit writes nothing but one bit, nothing is moved but what was used, and nothing is ever looked for in a directory
//! but the names of the segments: at most some hundreds. (The policy is CLOCK, over segments instead of pages; see Corbató,
//! "A Paging Experiment with the Multics System", 1968.)
//!
//! A kill on the way leaves a file whose records are marked, or records that lie twice: both go with the next eviction. A
//! full disk leaves out the second chance. A file that can't be deleted counts, and the next one goes in its place; where that
//! does not make room either, nothing is written.

use std::collections::BTreeMap;
use std::io;
use std::time::UNIX_EPOCH;

use super::functions::{self, Version};
use super::index::{Mark, Place, Position};
use super::log::{LAST_OFFSET, Writing};
use super::record::{self, Header, flags};
use super::segment::{self, Unread};
use crate::memo::is_fresh;
use crate::sync::wall;

/// The share of a segment that second chances may take: one of so many.
const SECOND_CHANCES: u64 = 4;

/// So many segments are given up at once though they can't be deleted: where none can, nothing is gained by more.
const MOST_IN_VAIN: u32 = 2;

type Versions = BTreeMap<[u8; 32], Version>;

/// A record that was used.
struct Candidate {
    header: Header,
    place: Place,
    cost: u8,
}

impl Writing<'_> {
    /// Deletes segments until `need` more bytes fit under the bound, beside the large values that are under way. `false`:
    /// they do not, and there is nothing left to delete. An error: nor can all that is left be deleted.
    pub(super) fn make_room(&mut self, present: &[(u32, u64)], need: u64) -> io::Result<bool> {
        let segments = &self.store.segments;
        let tail = self.index.tail();
        let current = tail.segment();
        // (What lies behind the log is not part of it.) Of the last segment as much as is reserved: it may not be written yet.
        let reserved = if tail.offset() < LAST_OFFSET { tail.offset() } else { 0 };
        let ours = present.iter().filter(|(id, _)| *id <= current);
        let bytes = ours.map(|(id, bytes)| if *id == current { reserved.max(*bytes) } else { *bytes });
        let mut total: u64 = bytes.sum();
        // What killed processes have left; that it could not be looked for is no reason to stop.
        let _ = segments.sweep();
        let beside = self.index.len() + self.store.beside + segments.under_way().unwrap_or(0);
        let bound = self.store.max_bytes.saturating_sub(beside);
        let mut budget = self.store.segment_bytes / SECOND_CHANCES;
        let versions = functions::read(&self.store.dir).unwrap_or_default();
        let (mut stays, mut in_vain) = (Ok(()), 0);
        for &(id, bytes) in present {
            if total.saturating_add(need) <= bound || id >= current || in_vain == MOST_IN_VAIN {
                break;
            }
            // What lies below was given up before, and could not be removed.
            let lives = id >= self.index.oldest();
            if lives {
                total += self.give_up(id, &versions, &mut budget);
            }
            match segments.remove(id) {
                Ok(()) => total -= bytes,
                // A directory, say: it was never ours, and takes no room.
                Err(_) if bytes == 0 => {}
                // It goes on taking room, which the next one has to make.
                Err(error) => {
                    in_vain += u32::from(lives);
                    stays = stays.and(Err(error));
                }
            }
            self.index.set_oldest(self.index.oldest().max(id + 1));
        }
        segments.forget_below(self.index.oldest());
        self.index.set_total(total);
        match total.saturating_add(need) <= bound {
            true => Ok(true),
            false => stays.map(|()| false),
        }
    }

    /// Marks the records of a segment as evicted, but for those that get a second chance. Gives the bytes that these take.
    fn give_up(&mut self, id: u32, versions: &Versions, budget: &mut u64) -> u64 {
        let mut kept = 0;
        for candidate in self.bury_segment(id, versions) {
            let len = candidate.place.len;
            if len <= *budget && self.keep(&candidate).unwrap_or(false) {
                *budget -= len;
                kept += len;
            }
        }
        kept
    }

    /// Marks the records of a segment as evicted, but for those that were used: these come back, best first.
    fn bury_segment(&self, id: u32, versions: &Versions) -> Vec<Candidate> {
        let now = wall().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        let mut candidates = Vec::new();
        let walked = self.store.segments.walk(id, &self.store.seal, |header, place| {
            let Some((used, cost)) = self.index.referenced(&header.key, place) else { return };
            let lasts = is_fresh(header.expires, now);
            let lasts = lasts && !functions::is_outdated(versions, header.function);
            if used && lasts && header.flags & flags::LARGE == 0 {
                candidates.push(Candidate { header, place, cost });
            } else {
                self.index.bury_if(&header.key, place, Mark::Evicted);
            }
        });
        // What can't be read can't be kept; the index finds out when it is asked.
        drop(walked);
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.cost));
        candidates
    }

    /// Writes a record again, at the end of the log.
    fn keep(&mut self, candidate: &Candidate) -> io::Result<bool> {
        let Candidate { header, place, .. } = candidate;
        let store = self.store;
        let mut bytes = Vec::new();
        match store.segments.read(*place, &header.key, &store.seal, &mut bytes) {
            Ok(_) => {}
            Err(Unread::Io(error)) => return Err(error),
            Err(Unread::Bad(_)) => {
                self.index.bury_if(&header.key, *place, Mark::Corrupt);
                return Ok(false);
            }
        }
        let tail = self.index.tail();
        if tail.offset() + place.len > store.segment_bytes {
            return Ok(false);
        }
        bytes.truncate(place.len as usize);
        let resealed = header.encode(segment::payload(&bytes, header), tail, &store.seal);
        bytes[..record::HEADER].copy_from_slice(&resealed);
        store.append_dirty(tail, &bytes)?;
        self.index.set_tail(Position::new(tail.segment(), tail.offset() + place.len));
        Ok(self.index.relocate(&header.key, *place, Place { position: tail, len: place.len }))
    }
}
