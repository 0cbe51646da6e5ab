//! Single flight between processes: who computes a key now.
//!
//! The file `claims` is mapped memory: a header page, the owner table ([`super::owners`]) and the claim table. It has a file
//! of its own, so that it stays while the index is replaced by a larger one; it is made once and never replaced, unless it
//! is damaged. A claim is one word:
//!
//! | bits | content |
//! |---|---|
//! | 63..32 | tag: key[24..28] |
//! | 31..20 | number of the owner, plus 1 |
//! | 19..0 | check: hash of tag, bucket, owner and the owner's nonce |
//!
//! The bucket comes from key[16..18]; how a word in it is taken is in [`bucket`]. A word whose check does not fit the nonce
//! that its owner has *now* does not stand: the owner is gone, or the word is garbage, and either way it is free.
//! Two keys may share tag and bucket (one pair in 2⁴⁶): then one waits for the other, which costs time and nothing else.
//!
//! | a claim | becomes | by |
//! |---|---|---|
//! | free | ours | [`Claims::claim`] |
//! | ours | free | [`ClaimToken`], dropped |
//! | held | free | whoever forgets the key: [`Claims::break_off`] |
//! | held | free, with all its owner's | the owner takes its leave; a new owner takes its number; [`Claims::break_dead`], after [`Claims::life`] said `Dead` |
//!
//! Nothing here blocks or spins for another: who finds a key held looks again from time to time, at the index (is the
//! result there?) and at the claim ([`Claims::still_held`]).
//!
//! A lock of the kernel per claim would do the same, but slower with each lock that is held in the same file, and a claim
//! is kept until its result is on disk, so many are.
mod bucket;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::{fmt, io};

use self::bucket::Taken;
use super::index::Unusable;
use super::map::{Map, prefetch};
use super::owners::{self, Life, NestedWait, OWNERS, Opener, Owners};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Words before the owner table.
pub(super) const HEADER: usize = 512;
const TABLE: usize = HEADER + owners::WORDS;
/// 1 MiB. With 10 000 claims outstanding, one key in a quarter of a million finds its bucket full.
const BUCKETS: usize = 1 << 14;
/// A cache line: the turn and seven claims.
const BUCKET: usize = 8;
const WORDS: usize = TABLE + BUCKETS * BUCKET;

const MAGIC: u64 = u64::from_le_bytes(*b"mmoclm\x01\x01");
const SHAPE: u64 = (OWNERS as u64) << 32 | BUCKETS as u64;

/// The claims of a directory, as one pool makes them. Clones are the same owner.
#[derive(Debug, Clone)]
pub(crate) struct Claims {
    owners: Arc<Owners>,
}

/// The answer to a claim.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Ours to compute, until the token is dropped.
    Ours(ClaimToken),
    /// Another owner is at it.
    Held(Holder),
    /// No claim can be had: the bucket is full, or we hold the key ourselves (who waits for that might wait for itself).
    /// Go on without.
    Full,
}

/// Whose claim it is, as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    owner: u16,
    nonce: u64,
    at: usize,
    word: u64,
}

impl Claims {
    /// Bytes of the file.
    pub(crate) const FILE_LEN: u64 = WORDS as u64 * 8;

    /// Makes an empty file a claim table without claims. The caller made it under another name and renames it.
    pub(crate) fn create(file: &File) -> io::Result<()> {
        let map = Map::create(file, WORDS)?;
        map.word(1).store(SHAPE, Ordering::Relaxed);
        map.word(0).store(MAGIC, Ordering::Release);
        Ok(())
    }

    /// Maps a claim table that is there, and becomes one of its owners.
    pub(crate) fn open(file: &File, open: Opener) -> Result<Claims, Unusable> {
        let metadata = file.metadata().map_err(Unusable::Io)?;
        if !metadata.is_file() || metadata.len() != WORDS as u64 * 8 {
            return Err(Unusable::Foreign("the claim table has no possible size"));
        }
        let map = Map::open(file, &metadata, WORDS).map_err(Unusable::Io)?;
        if map.word(0).load(Ordering::Acquire) != MAGIC || map.word(1).load(Ordering::Relaxed) != SHAPE {
            return Err(Unusable::Foreign("the header of the claim table is damaged or of another version"));
        }
        let owners = Owners::join(map, open, free_all).map_err(Unusable::Io)?;
        Ok(Claims { owners: Arc::new(owners) })
    }

    /// Claims a key.
    pub(crate) fn claim(&self, key: &[u8; 32]) -> Claim {
        match self.attempt(key) {
            // Dead owners may be in the way.
            Claim::Full if self.bury_dead(number(key)) => self.attempt(key),
            claim => claim,
        }
    }

    fn attempt(&self, key: &[u8; 32]) -> Claim {
        let number = number(key);
        let first = TABLE + number * BUCKET;
        let ours = self.word(key, number);
        for _ in 0..LOOKS {
            match bucket::take(self.bucket(number), ours, |word| self.stands(number, word).is_some()) {
                Taken::Ours { at } => {
                    return Claim::Ours(ClaimToken {
                        owners: self.owners.clone(),
                        at: first + at,
                        word: ours,
                    });
                }
                Taken::Full => return Claim::Full,
                Taken::Held { at, word } => match self.stands(number, word) {
                    // Its owner has gone between two looks.
                    None => {}
                    Some((owner, _)) if owner == self.owners.own() => return Claim::Full,
                    Some((owner, nonce)) => {
                        return Claim::Held(Holder { owner, nonce, at: first + at, word });
                    }
                },
            }
        }
        Claim::Full
    }

    /// Whether there is somebody to wait for: the claim is there, and its owner lives. Frees the claims of one who is dead.
    pub(crate) fn is_held(&self, holder: &Holder) -> bool {
        match self.life(holder) {
            _ if !self.still_held(holder) => false,
            Life::Alive => true,
            Life::Dead => {
                self.break_dead(holder);
                false
            }
            Life::Unknown => false,
        }
    }

    /// Whether that claim still is there. Its owner may be dead all the same: see [`Claims::life`].
    pub(crate) fn still_held(&self, holder: &Holder) -> bool {
        self.owners.map().word(holder.at).load(Ordering::Acquire) == holder.word
            && self.owners.nonce(holder.owner) == Some(holder.nonce)
    }

    /// Whether the owner of that claim waits for another's claim from inside a task, so that it may be waiting for us.
    pub(crate) fn holder_is_waiting(&self, holder: &Holder) -> bool {
        self.owners.waits_inside(holder.owner) && self.owners.nonce(holder.owner) == Some(holder.nonce)
    }

    /// Whether the owner of that claim lives. May be asked often: the system is asked at most every 10 ms.
    pub(crate) fn life(&self, holder: &Holder) -> Life {
        match self.owners.nonce(holder.owner) {
            Some(nonce) if nonce == holder.nonce => self.owners.life(holder.owner),
            _ => Life::Dead,
        }
    }

    /// Frees that claim and all others of its owner, who was found dead. Hits no other owner, even if it has the number now.
    pub(crate) fn break_dead(&self, holder: &Holder) {
        bucket::release(self.owners.map().word(holder.at), holder.word);
        self.owners.bury(holder.owner, holder.nonce);
    }

    /// Ends the claims of others to a key, which was forgotten: whoever asks from now on is to have it anew. (Who was about
    /// to get the claim at this moment may have it all the same, and compute beside another.)
    pub(crate) fn break_off(&self, key: &[u8; 32]) {
        let number = number(key);
        let tag = self.word(key, number) >> 32;
        for word in &self.bucket(number)[1..] {
            let claim = word.load(Ordering::Acquire);
            let owner = self.stands(number, claim).filter(|_| claim >> 32 == tag);
            // Our own runs of it are told in this process. Who has the same tag by chance computes twice.
            if owner.is_some_and(|(owner, _)| owner != self.owners.own()) {
                bucket::release(word, claim);
            }
        }
    }

    /// Counts a wait for another's claim from inside a task, as long as the guard lives.
    pub(crate) fn wait_inside(&self) -> NestedWait {
        self.owners.wait_inside()
    }

    /// Buries the dead who have claims in this bucket. Returns whether there were any.
    fn bury_dead(&self, number: usize) -> bool {
        let mut any = false;
        for word in &self.bucket(number)[1..] {
            if let Some((owner, nonce)) = self.stands(number, word.load(Ordering::Acquire))
                && self.owners.life(owner) == Life::Dead
            {
                self.owners.bury(owner, nonce);
                any = true;
            }
        }
        any
    }

    fn bucket(&self, number: usize) -> &[AtomicU64] {
        let first = TABLE + number % BUCKETS * BUCKET;
        &self.owners.map().words()[first..first + BUCKET]
    }

    fn word(&self, key: &[u8; 32], number: usize) -> u64 {
        let tag = u32::from_le_bytes(std::array::from_fn(|i| key[24 + i]));
        let upper = u64::from(tag) << 32 | u64::from(self.owners.own() + 1) << 20;
        upper | check(upper, number, self.owners.own_nonce())
    }

    /// The owner of a claim and its nonce, if it is a claim.
    fn stands(&self, number: usize, word: u64) -> Option<(u16, u64)> {
        let owner = owner_of(word)?;
        let nonce = self.owners.nonce(owner)?;
        (word & CHECK == check(word & !CHECK, number, nonce)).then_some((owner, nonce))
    }
}

/// How many owners may go, one after the other, while a claim is looked at.
const LOOKS: usize = 100;

const CHECK: u64 = (1 << 20) - 1;

fn check(upper: u64, number: usize, nonce: u64) -> u64 {
    let mut mixed = (upper ^ nonce).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 29 ^ number as u64).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ mixed >> 32) & CHECK
}

fn owner_of(word: u64) -> Option<u16> {
    let owner = (word >> 20 & 0xfff).checked_sub(1)?;
    (owner < OWNERS as u64).then_some(owner as u16)
}

fn number(key: &[u8; 32]) -> usize {
    usize::from(u16::from_le_bytes([key[16], key[17]])) % BUCKETS
}

/// Frees what an owner left behind that died with this number: a check of 20 bits would let some of its claims pass for
/// its heir's.
fn free_all(map: &Map, owner: u16) {
    for bucket in map.words()[TABLE..].chunks_exact(BUCKET) {
        for word in &bucket[1..] {
            let claim = word.load(Ordering::Relaxed);
            if claim != 0 && owner_of(claim) == Some(owner) {
                bucket::release(word, claim);
            }
        }
    }
}

/// A claim of ours: dropped, it is free.
pub(crate) struct ClaimToken {
    owners: Arc<Owners>,
    at: usize,
    word: u64,
}

impl ClaimToken {
    /// It is about to be dropped.
    pub(crate) fn expect(&self) {
        prefetch(self.owners.map().word(self.at));
    }
}

impl Drop for ClaimToken {
    fn drop(&mut self) {
        bucket::release(self.owners.map().word(self.at), self.word);
    }
}

impl fmt::Debug for ClaimToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimToken").finish_non_exhaustive()
    }
}
