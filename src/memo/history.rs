//! Why a key is not there: the last thing that happened to it, for `explain`.
//!
//! A fixed table of 8 192 words (64 KiB a pool, once there is something to note), written with one relaxed store per event and overwritten by whatever
//! comes to the same place later. A word is 56 bits of the key's hash and 8 bits of the reason, so a look-up is wrong
//! about once in 2⁵⁶ and otherwise right or silent.

use std::fmt;

use crate::memo::disk::record::Needs;
use crate::sync::OnceLock;
use crate::sync::atomic::{AtomicU64, Ordering};

const PLACES: usize = 8192;

/// What last happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fate {
    Evicted = 1,
    Expired,
    Forgotten,
    Failed,
    Panicked,
    TimedOut,
    GivenUp,
    Cheap,
    TooLarge,
    NotWeighed,
    Corrupt,
    TypeChanged,
    Refreshed,
    NeedsLz4,
    NeedsZstd,
    NeedsLaterVersion,
}

impl From<Needs> for Fate {
    fn from(needs: Needs) -> Fate {
        match needs {
            Needs::Lz4 => Fate::NeedsLz4,
            Needs::Zstd => Fate::NeedsZstd,
            Needs::LaterVersion => Fate::NeedsLaterVersion,
        }
    }
}

/// See the [module](self).
pub(crate) struct History {
    /// Made when there is something to note: a pool that only reads never touches so much memory.
    places: OnceLock<Box<[AtomicU64]>>,
}

impl History {
    pub(crate) fn new() -> History {
        History { places: OnceLock::new() }
    }

    pub(crate) fn note(&self, hash: u64, fate: Fate) {
        let places = self.places.get_or_init(|| (0..PLACES).map(|_| AtomicU64::new(0)).collect());
        places[place(hash)].store(hash & !0xff | fate as u64, Ordering::Relaxed);
    }

    pub(crate) fn recall(&self, hash: u64) -> Option<Fate> {
        let word = self.places.get()?[place(hash)].load(Ordering::Relaxed);
        if word & !0xff != hash & !0xff {
            return None;
        }
        use Fate::*;
        [
            Evicted,
            Expired,
            Forgotten,
            Failed,
            Panicked,
            TimedOut,
            GivenUp,
            Cheap,
            TooLarge,
            NotWeighed,
            Corrupt,
            TypeChanged,
            Refreshed,
            NeedsLz4,
            NeedsZstd,
            NeedsLaterVersion,
        ]
        .into_iter()
        .find(|fate| *fate as u64 == word & 0xff)
    }
}

fn place(hash: u64) -> usize {
    (hash >> 16) as usize % PLACES
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}
