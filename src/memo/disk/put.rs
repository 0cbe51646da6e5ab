//! [`Put`]: a result on its way to the disk; [`Permit`]: the right to write it; [`Hold`]: a run's claim until then.

use super::claims::ClaimToken;
use super::index::{Mark, Position};
use super::map::prefetch;
use super::payload::{Meta, Packed};
use super::record::{self, Header, codec, flags};
use crate::event::Tally;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Mutex};

/// The right to write the result of one key: when its run began, and, once it is computed, the claim.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(super) key: [u8; 32],
    pub(super) began: Position,
    pub(super) claim: Mutex<Option<ClaimToken>>,
    /// A record of this key was there, and could not be decoded.
    pub(super) doubtful: bool,
}

/// The claim of a run, until it goes with its result. Whoever ends the run's generation reaches it here: the body may go on
/// for as long as it likes, its result will not be written, and nobody is to wait for it.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    claim: Mutex<Option<ClaimToken>>,
    /// There was one: most runs never have any, and need not look.
    kept: AtomicBool,
    /// The generation has ended. Changed and asked for under the lock.
    ended: AtomicBool,
}

/// A result on its way to the disk.
#[derive(Debug)]
pub(crate) struct Put {
    pub(crate) function: [u8; 8],
    pub(crate) shape: u64,
    pub(crate) is_error: bool,
    pub(crate) raw_len: u64,
    pub(crate) packed: Packed,
    pub(crate) stored_at: u64,
    pub(crate) expires: u64,
    pub(crate) compute: u64,
    pub(crate) permit: Permit,
    pub(crate) tally: Arc<Tally>,
}

/// Why a run gave no result.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) key: [u8; 32],
    pub(super) mark: Mark,
    pub(super) began: Position,
}

impl Hold {
    /// Keeps a claim, or lets go of it, if the generation has ended in the meantime.
    pub(crate) fn keep(&self, claim: ClaimToken) {
        let mut held = self.claim.lock();
        if !self.ended.load(Ordering::Relaxed) {
            self.kept.store(true, Ordering::Relaxed);
            *held = Some(claim);
        }
    }

    /// The claim, to go with the result, or to be dropped when the run is over. Only the run itself may ask.
    pub(crate) fn take(&self) -> Option<ClaimToken> {
        if self.kept.load(Ordering::Relaxed) { self.claim.lock().take() } else { None }
    }

    /// Whether the generation has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// The generation has ended: others may have the key, now and for good. Any number of times.
    pub(crate) fn end(&self) {
        let mut held = self.claim.lock();
        self.ended.store(true, Ordering::Relaxed);
        let claim = held.take();
        drop(held);
        drop(claim);
    }
}

impl Permit {
    pub(super) fn new(key: [u8; 32], began: Position) -> Permit {
        Permit { key, began, claim: Mutex::new(None), doubtful: false }
    }

    /// The same, of a key whose record could not be decoded.
    pub(crate) fn doubting(self, doubtful: bool) -> Permit {
        Permit { doubtful, ..self }
    }

    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// The same, with the claim of its run.
    pub(crate) fn with(self, claim: Option<ClaimToken>) -> Permit {
        Permit { claim: Mutex::new(claim), ..self }
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// Whether it is for what is newer than whatever is there.
    pub(super) fn is_given(&self) -> bool {
        self.began == Position::LAST
    }

    pub(super) fn began(&self) -> Position {
        self.began
    }

    /// Others may have the key: the result can be read now, or never will.
    pub(super) fn release(&self) {
        drop(self.take_claim());
    }

    /// The claim, to be dropped then.
    pub(super) fn take_claim(&self) -> Option<ClaimToken> {
        self.claim.lock().take()
    }
}

impl Put {
    /// Three bytes `n`, for tests.
    #[cfg(test)]
    pub(super) fn of(n: u8, permit: Permit, tally: Arc<Tally>) -> Put {
        Put {
            function: [n; 8],
            shape: 1,
            is_error: false,
            raw_len: 3,
            packed: Packed::Bytes { bytes: vec![n; 3], flags: 0, hash: [0; 16] },
            stored_at: 1,
            expires: 0,
            compute: 1,
            permit,
            tally,
        }
    }

    /// It is about to be written. Another thread has made it: it lies in another processor's cache.
    pub(super) fn expect(&self) {
        prefetch(&self.permit.key);
        prefetch(&self.packed);
        prefetch(&self.stored_at);
    }

    /// Its flags in the record.
    pub(super) fn flags(&self) -> u16 {
        let error = if self.is_error { flags::ERROR } else { 0 };
        match &self.packed {
            Packed::Bytes { flags, .. } => error | flags,
            Packed::Large(_) => error | flags::LARGE,
        }
    }

    pub(crate) fn weight(&self) -> u64 {
        match &self.packed {
            Packed::Bytes { bytes, .. } => (record::HEADER + bytes.len()) as u64,
            Packed::Large(_) => record::HEADER as u64,
        }
    }

    /// The header of its record, but for the seal.
    pub(super) fn header(&self, stored_len: u64, payload_hash: [u8; 16]) -> Header {
        Header {
            codec: codec::BINCODE,
            flags: self.flags(),
            stored_len,
            raw_len: self.raw_len,
            key: self.permit.key,
            function: self.function,
            shape: self.shape,
            stored_at: self.stored_at,
            expires: self.expires,
            compute: self.compute,
            payload_hash,
        }
    }

    pub(super) fn meta(&self) -> Meta {
        let Put { shape, raw_len, expires, compute, .. } = *self;
        Meta { shape, flags: self.flags(), raw_len, expires, compute }
    }
}

/// These are on the disk.
pub(super) fn count_spilled<'a>(puts: impl Iterator<Item = &'a Put>) {
    // Those that come together are mostly of one function, whose other figures the workers change.
    let mut tallies = puts.map(|put| &put.tally).peekable();
    while let Some(tally) = tallies.next() {
        let mut together = 1;
        while tallies.next_if(|next| Arc::ptr_eq(next, tally)).is_some() {
            together += 1;
        }
        tally.spilled.fetch_add(together, Ordering::Relaxed);
    }
}
