//! The first looks after an index was opened: they read the file.
//!
//! Each page of a map that is touched for the first time costs a page fault, which takes several times as long as reading a
//! bucket. A process that only comes for one result touches none. (What is read is what the map has: one page cache. Where
//! the system does not promise that, nothing is read.)

use std::fmt;
use std::fs::File;

use super::header::{self, Header};
use super::slot::{self, Bucket, Prefix};
use super::{Found, Index, Position, found};
use crate::memo::disk::io::read_exactly;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// So many looks read the file: later ones come so often that the pages are worth their faults.
const LOOKS: u32 = 4;

/// See the [module](self).
pub(super) struct Cold {
    file: File,
    looks: AtomicU32,
}

impl Cold {
    pub(super) fn of(file: &File) -> Option<Cold> {
        let file = if cfg!(target_os = "linux") { file.try_clone().ok()? } else { return None };
        Some(Cold { file, looks: AtomicU32::new(0) })
    }

    /// Whether this look is one of the first. Once they are over, nobody writes the count any more.
    fn is_early(&self) -> bool {
        self.looks.load(Ordering::Relaxed) < LOOKS && self.looks.fetch_add(1, Ordering::Relaxed) < LOOKS
    }

    fn words<const N: usize>(&self, at: usize) -> Option<[AtomicU64; N]> {
        let mut bytes = [[0; 8]; N];
        read_exactly(&self.file, bytes.as_flattened_mut(), at as u64 * 8)?;
        Some(bytes.map(|word| AtomicU64::new(u64::from_ne_bytes(word))))
    }
}

impl Index {
    /// Whether the first looks are over, so that the map is asked.
    pub(crate) fn is_warm(&self) -> bool {
        self.cold.as_ref().is_none_or(|cold| cold.looks.load(Ordering::Relaxed) >= LOOKS)
    }

    /// Asks the header before anybody has looked.
    pub(super) fn early<T>(&self, ask: impl FnOnce(&Header<'_>) -> T) -> T {
        match self.cold.as_ref().and_then(|cold| cold.words::<{ header::STATE }>(0)) {
            Some(words) => ask(&Header(&words)),
            None => ask(&self.header()),
        }
    }

    /// Whether it can be used by who opens it: it is whole, it is the latest, and, where that is asked, the machine has not been
    /// started since.
    pub(crate) fn is_usable(&self, boot: Option<u64>) -> bool {
        self.early(|header| {
            header.is_sound() && !header.superseded() && boot.is_none_or(|boot| header.boot() == boot)
        })
    }

    /// Where the log ends, for who opens it.
    pub(crate) fn first_tail(&self) -> Position {
        self.early(|header| header.tail())
    }

    /// As [`find`](Index::find), by one of the first looks. `None`: the map is to be asked.
    #[inline]
    pub(crate) fn find_early(&self, key: &[u8; 32]) -> Option<Found> {
        let cold = self.cold.as_ref()?;
        if cold.is_early() { self.find_in_file(cold, key) } else { None }
    }

    #[cold]
    fn find_in_file(&self, cold: &Cold, key: &[u8; 32]) -> Option<Found> {
        let words = cold.words::<{ header::STATE }>(0)?;
        let header = Header(&words);
        if header.superseded() {
            return None;
        }
        let prefix = Prefix::of(key);
        for number in self.candidates(prefix) {
            let words = cold.words(header::WORDS + (number & self.mask) as usize * slot::WORDS)?;
            let bucket = Bucket(&words);
            if let Some(slot) = bucket.position_of(prefix, 0) {
                // One that was copied while it was written makes no sense: in the map it soon will.
                let entry = bucket.read(slot, prefix)?;
                return Some(found(&header, prefix, number, slot, &entry));
            }
        }
        Some(Found::Nothing)
    }
}

impl fmt::Debug for Cold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cold").field("looks", &self.looks).finish_non_exhaustive()
    }
}
