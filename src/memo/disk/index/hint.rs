//! What the index is asked and what it answers, in numbers: positions, places, marks, costs.

use std::{fmt, io};

use super::slot::MAX_COST;

/// A place in the log: segment and offset in one word, growing with time. Offsets are multiples of 8, below 32 GiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position(u64);

impl Position {
    /// Before everything: segments are counted from 1.
    pub(crate) const NONE: Position = Position(0);
    /// Behind everything.
    pub(crate) const LAST: Position = Position(u64::MAX);

    pub(crate) const fn new(segment: u32, offset: u64) -> Position {
        debug_assert!(offset.is_multiple_of(8) && offset / 8 <= u32::MAX as u64);
        Position((segment as u64) << 32 | (offset / 8) & u32::MAX as u64)
    }

    pub(crate) const fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) const fn offset(self) -> u64 {
        (self.0 & u32::MAX as u64) * 8
    }

    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_word(word: u64) -> Position {
        Position(word)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}+{}", self.segment(), self.offset())
    }
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: Position,
    /// Length of the whole record, padding included: a multiple of 8.
    pub(crate) len: u64,
}

/// Why a key has no record any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mark {
    Evicted = 1,
    Forgotten,
    Corrupt,
    /// The function returned an error, which is not kept.
    Failed,
    Expired,
    Panicked,
}

impl Mark {
    pub(super) const LAST: u8 = Mark::Panicked as u8;

    pub(super) fn from_bits(bits: u8) -> Option<Mark> {
        use Mark::*;
        [Evicted, Forgotten, Corrupt, Failed, Expired, Panicked].into_iter().find(|mark| *mark as u8 == bits)
    }
}

/// The answer to a look-up. A hint: see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Live { place: Place, slot: SlotRef },
    Gone(Mark, Position),
    Nothing,
}

/// The slot that a look-up found, to mark it as used. Does no harm in an index that has been replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotRef {
    pub(super) bucket: u64,
    pub(super) slot: usize,
    pub(super) prefix0: u64,
    pub(super) marked: bool,
}

impl SlotRef {
    /// Whether it was marked already when it was found.
    pub(crate) fn is_marked(&self) -> bool {
        self.marked
    }
}

/// What the index keeps of a record besides its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    /// Two bytes of the function's digest: to forget all results of a function.
    pub(crate) function: u16,
    /// See [`cost_class`].
    pub(crate) cost: u8,
}

/// What became of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    New,
    /// The record there was before.
    Replaced(Place),
    /// Something newer is known: the result came too late.
    Refused,
}

/// Why a mapped file can't be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// It is not one of ours, or damaged: to be replaced by a new one.
    Foreign(&'static str),
    /// The system is in the way: what is in the file is not known, so it must stay.
    Io(io::Error),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Foreign(reason) => f.write_str(reason),
            Unusable::Io(error) => error.fmt(f),
        }
    }
}

/// How much a stored byte saves, in steps of two: 16 for one nanosecond of computing per byte, 17 for two, 15 for a half.
/// 0 to 63; what lies beyond counts as the nearest.
pub(crate) fn cost_class(compute_ns: u64, bytes: u64) -> u8 {
    let per_byte = (u128::from(compute_ns) << 16) / u128::from(bytes.max(1));
    per_byte.checked_ilog2().map_or(0, |log| (log as u8).min(MAX_COST))
}
