//! One bucket of the index: sixteen slots of four words, and how a slot is read while it is being written.
//!
//! | word | content |
//! |---|---|
//! | 0 | key[0..8], 0 = empty (a key that begins with eight zero bytes counts as 1) |
//! | 1 | key[8..16] |
//! | 2 | position |
//! | 3 | the detail: length / 8 (32 bits), function tag (16), cost class (6), mark (4), check (5), REF (1), from the lowest |
//!
//! The words lie in columns: first the sixteen words 0, then the sixteen words 1, and so on, so that a look for a key
//! reads two cache lines of a bucket, not eight.
//!
//! # Reading while someone writes
//!
//! Writers hold the lock of the directory; readers hold none. The check (of words 0, 2 and 3 but for REF) tells a slot
//! that was read half old, half new, or that holds garbage; 31 of 32 such slots are noticed. The rest, and a slot that
//! is simply wrong, come to nothing at the record, which carries its whole key and a seal.
//!
//! | a writer gives a slot to another key | a reader |
//! |---|---|
//! | word 0 := 0; fence; words 1, 2, 3; word 0 := new (Release) | word 0 (Acquire); words 1, 2, 3; fence; word 0 again: changed? look again |
//!
//! For the key that has the slot already, words 3 and 2 change in place: the key must not seem gone for a moment, or it
//! would be computed again. In between the check does not fit, and the reader looks again.
//!
//! A writer that is killed half-way leaves a slot that is empty, or whose check does not fit, which counts as empty.

use super::{Mark, Place, Position};
use crate::memo::disk::map::prefetch;
use crate::sync::atomic::{AtomicU64, Ordering, fence};

/// Slots in a bucket.
pub(super) const SLOTS: usize = 16;
/// Words in a bucket.
pub(super) const WORDS: usize = 4 * SLOTS;

/// What a slot knows of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix(pub(super) u64, pub(super) u64);

impl Prefix {
    pub(super) fn of(key: &[u8; 32]) -> Prefix {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| key[at + i]));
        Prefix(word(0).max(1), word(8))
    }
}

/// A slot that is not empty, unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// `None`: live.
    pub(super) mark: Option<Mark>,
    pub(super) position: Position,
    /// Length of the whole record, 0 in a tombstone.
    pub(super) len: u64,
    pub(super) function: u16,
    pub(super) cost: u8,
    pub(super) referenced: bool,
}

const FUNCTION: u32 = 32;
const COST: u32 = 48;
const MARK: u32 = 54;
const CHECK: u32 = 58;
const REF: u64 = 1 << 63;
const COVERED: u64 = (1 << CHECK) - 1;

impl Entry {
    /// The longest record that a slot can describe.
    pub(super) const MAX_LEN: u64 = (u32::MAX as u64) * 8;

    pub(super) fn place(&self) -> Place {
        Place { position: self.position, len: self.len }
    }

    /// The tombstone of this entry's key: it says since when and why there is nothing.
    pub(super) fn tombstone(function: u16, mark: Mark, position: Position) -> Entry {
        Entry { mark: Some(mark), position, len: 0, function, cost: 0, referenced: false }
    }

    fn detail(&self, prefix: Prefix) -> u64 {
        let mark = self.mark.map_or(0, |mark| mark as u64);
        let covered = (self.len / 8) & u64::from(u32::MAX)
            | u64::from(self.function) << FUNCTION
            | u64::from(self.cost & MAX_COST) << COST
            | mark << MARK;
        covered
            | check(prefix.0, self.position.word(), covered) << CHECK
            | if self.referenced { REF } else { 0 }
    }

    fn unpack(prefix0: u64, position: u64, detail: u64) -> Option<Entry> {
        let mark = (detail >> MARK) as u8 & 0xf;
        let fits = (detail & !REF) >> CHECK == check(prefix0, position, detail & COVERED);
        if prefix0 == 0 || position == Position::NONE.word() || !fits || mark > Mark::LAST {
            return None;
        }
        Some(Entry {
            mark: Mark::from_bits(mark),
            position: Position::from_word(position),
            len: (detail & u64::from(u32::MAX)) * 8,
            function: (detail >> FUNCTION) as u16,
            cost: (detail >> COST) as u8 & MAX_COST,
            referenced: detail & REF != 0,
        })
    }
}

/// The highest cost class.
pub(super) const MAX_COST: u8 = 63;

/// Five bits of everything in a slot but word 1 and REF.
fn check(prefix0: u64, position: u64, covered: u64) -> u64 {
    let mixed =
        (prefix0 ^ position.rotate_left(17) ^ covered.rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed >> 59
}

/// Sixteen slots in the mapped file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket<'a>(pub(super) &'a [AtomicU64; WORDS]);

impl Bucket<'_> {
    #[inline]
    fn word(&self, slot: usize, n: usize) -> &AtomicU64 {
        &self.0[n * SLOTS + slot % SLOTS]
    }

    /// The first slot from `from` on that is this key's.
    #[inline]
    pub(super) fn position_of(&self, prefix: Prefix, from: usize) -> Option<usize> {
        let mut alike = self.that_have(prefix.0) & (!0 << from);
        while alike != 0 {
            let slot = alike.trailing_zeros() as usize;
            if self.word(slot, 1).load(Ordering::Relaxed) == prefix.1 {
                return Some(slot);
            }
            alike &= alike - 1;
        }
        None
    }

    /// The slots that have this word 0, one bit each: told without a branch, since each would be guessed wrong now and then.
    #[inline]
    fn that_have(&self, prefix0: u64) -> u32 {
        (0..SLOTS).fold(0, |slots, slot| {
            slots | u32::from(self.word(slot, 0).load(Ordering::Relaxed) == prefix0) << slot
        })
    }

    /// Has all columns fetched from memory, side by side: a look for a key would wait for one after the other.
    #[inline]
    pub(super) fn fetch(&self) {
        self.expect();
        [1, 2, 3].into_iter().for_each(|n| prefetch(self.word(0, n)));
    }

    /// Has the column fetched that says which keys are here.
    #[inline]
    pub(super) fn expect(&self) {
        prefetch(self.word(0, 0));
        prefetch(self.word(SLOTS / 2, 0));
    }

    /// How many slots are empty, and the first of them.
    pub(super) fn empty(&self) -> (usize, Option<usize>) {
        let empty = self.that_have(0);
        (empty.count_ones() as usize, (empty != 0).then(|| empty.trailing_zeros() as usize))
    }

    /// Reads a slot of this key without a lock. `None`: it has gone to another key, or makes no sense.
    pub(super) fn read(&self, slot: usize, prefix: Prefix) -> Option<Entry> {
        for _ in 0..READS {
            if self.word(slot, 0).load(Ordering::Acquire) != prefix.0 {
                return None;
            }
            let rest = [1, 2, 3].map(|n| self.word(slot, n).load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if self.word(slot, 0).load(Ordering::Relaxed) != prefix.0 || rest[0] != prefix.1 {
                return None;
            }
            match Entry::unpack(prefix.0, rest[1], rest[2]) {
                None => std::hint::spin_loop(),
                found => return found,
            }
        }
        None
    }

    /// What a slot holds. Under the lock.
    pub(super) fn load(&self, slot: usize) -> Option<(Prefix, Entry)> {
        let word = |n| self.word(slot, n).load(Ordering::Relaxed);
        let prefix0 = word(0);
        if prefix0 == 0 {
            return None;
        }
        Entry::unpack(prefix0, word(2), word(3)).map(|entry| (Prefix(prefix0, word(1)), entry))
    }

    /// Gives a slot to a key. Under the lock.
    pub(super) fn store(&self, slot: usize, prefix: Prefix, entry: &Entry) {
        let same = self.word(slot, 0).load(Ordering::Relaxed) == prefix.0
            && self.word(slot, 1).load(Ordering::Relaxed) == prefix.1;
        if !same {
            self.clear(slot);
            fence(Ordering::Release);
            self.word(slot, 1).store(prefix.1, Ordering::Relaxed);
        }
        self.word(slot, 3).store(entry.detail(prefix), Ordering::Release);
        self.word(slot, 2).store(entry.position.word(), Ordering::Release);
        if !same {
            self.word(slot, 0).store(prefix.0, Ordering::Release);
        }
    }

    /// Empties a slot. Under the lock.
    pub(super) fn clear(&self, slot: usize) {
        self.word(slot, 0).store(0, Ordering::Relaxed);
    }

    /// Sets REF, if the slot still is this key's. Written only where it is clear, so that hits leave no dirty pages. On a
    /// slot that changes hands at this very moment it marks the wrong entry, which then is kept a little longer.
    #[inline]
    pub(super) fn touch(&self, slot: usize, prefix0: u64) {
        let detail = self.word(slot, 3);
        if detail.load(Ordering::Relaxed) & REF == 0 && self.word(slot, 0).load(Ordering::Relaxed) == prefix0
        {
            detail.fetch_or(REF, Ordering::Relaxed);
        }
    }
}

/// How often a slot of the key that makes no sense is read again: a writer between two stores is done long before.
const READS: usize = 32;
