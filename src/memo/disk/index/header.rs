//! The first page of the index file.
//!
//! | words | content | changes |
//! |---|---|---|
//! | 0 | magic and layout | never |
//! | 1 | number of buckets, a power of two | never |
//! | 2 | id of this file: random | never |
//! | 3 | check of words 0 to 2: BLAKE3, first 8 bytes | never |
//! | 8 | `superseded`: 1 = this file is replaced, map the new one | under the lock; taken back if the new one could not be put in place |
//! | 9, 10 | `oldest`: the lowest segment that lives; `cleared`: what was written up to this position is gone | under the lock |
//! | 16 | `tail`: the next free position | under the lock |
//! | 17, 18 | `total`: bytes in segments; `entries`: live slots; both approximate | under the lock |
//! | 19 | `boot`: hash of the kernel's boot id when the file was last opened first | under the lock |
//! | 24, 25, 26 | the twins of `oldest`, `cleared`, `tail`: the word, mixed with the id | under the lock |
//! | 128.. | floors by function (128): results of these functions that began up to this position come too late | under the lock |
//! | 256.. | floors by key (256): the same for keys whose slot had to give way | under the lock |
//!
//! Everything else is 0 and reserved. The three words with twins steer writers: who opens the file under the lock asks
//! [`Header::is_sound`], and rebuilds the index from the segments where a word and its twin differ. (So does a kill between
//! the two stores: rare, and it costs one scan.) A wrong `total` or `entries` costs an eviction or a growth too early or too
//! late, until they are counted again.

use super::slot::SLOTS;
use super::{Index, Position};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Words before the first bucket.
pub(super) const WORDS: usize = 512;
/// Those of them that never change.
pub(super) const FIXED: usize = 4;
/// Those of them that a look, and who opens the file, want to know.
pub(super) const STATE: usize = 32;

const MAGIC: u64 = u64::from_le_bytes(*b"mmoidx\x01\x01");

const BUCKETS: usize = 1;
const ID: usize = 2;
const CHECK: usize = 3;
const SUPERSEDED: usize = 8;
const OLDEST: usize = 9;
const CLEARED: usize = 10;
const TAIL: usize = 16;
const TOTAL: usize = 17;
const ENTRIES: usize = 18;
const BOOT: usize = 19;
/// A guarded word and its twin.
const TWINS: [(usize, usize); 3] = [(OLDEST, 24), (CLEARED, 25), (TAIL, 26)];
const FUNCTION_FLOORS: usize = 128;
const KEY_FLOORS: usize = 256;

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'a>(pub(super) &'a [AtomicU64]);

/// Which late results a floor turns away.
#[derive(Debug, Clone, Copy)]
pub(super) enum Floor {
    Function(u16),
    /// By key[8..16].
    Key(u64),
}

impl Floor {
    fn word(self) -> usize {
        match self {
            Floor::Function(tag) => FUNCTION_FLOORS + usize::from(tag) % 128,
            Floor::Key(prefix1) => KEY_FLOORS + (prefix1 >> 56) as usize,
        }
    }
}

impl Header<'_> {
    /// Fills in the words that never change.
    pub(super) fn write(&self, buckets: u64, id: u64) {
        self.set(0, MAGIC);
        self.set(BUCKETS, buckets);
        self.set(ID, id);
        self.set(CHECK, self.check());
        TWINS.into_iter().for_each(|(word, _)| self.set_guarded(word, 0));
    }

    /// Whether these words are what [`Header::write`] wrote for a file of so many buckets.
    pub(super) fn fits(&self, buckets: u64) -> bool {
        self.get(0) == MAGIC && self.get(BUCKETS) == buckets && self.get(CHECK) == self.check()
    }

    /// Whether the words that steer writers are undamaged. Under the lock.
    pub(super) fn is_sound(&self) -> bool {
        TWINS.into_iter().all(|(word, twin)| self.get(twin) == self.twin_of(self.get(word)))
    }

    fn check(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        [0, BUCKETS, ID].into_iter().for_each(|word| _ = hasher.update(&self.get(word).to_le_bytes()));
        let hash = hasher.finalize();
        u64::from_le_bytes(std::array::from_fn(|i| hash.as_bytes()[i]))
    }

    fn twin_of(&self, value: u64) -> u64 {
        !(value ^ self.get(ID)).rotate_left(32)
    }

    fn set_guarded(&self, word: usize, value: u64) {
        if let Some((_, twin)) = TWINS.into_iter().find(|(guarded, _)| *guarded == word) {
            self.set(twin, self.twin_of(value));
        }
        self.set(word, value);
    }

    pub(super) fn tail(&self) -> Position {
        Position::from_word(self.get(TAIL))
    }

    pub(super) fn set_tail(&self, tail: Position) {
        self.set_guarded(TAIL, tail.word());
    }

    pub(super) fn oldest(&self) -> u32 {
        // One beyond the tail is garbage; believed, it would hide everything.
        let oldest = self.get(OLDEST) as u32;
        if oldest <= self.tail().segment() { oldest } else { 0 }
    }

    pub(super) fn set_oldest(&self, segment: u32) {
        self.set_guarded(OLDEST, u64::from(segment));
    }

    pub(super) fn cleared(&self) -> Position {
        self.believed(CLEARED)
    }

    pub(super) fn set_cleared(&self, at: Position) {
        self.set_guarded(CLEARED, at.word());
    }

    pub(super) fn floor(&self, floor: Floor) -> Position {
        self.believed(floor.word())
    }

    /// Only upwards, but over garbage.
    pub(super) fn raise(&self, floor: Floor, at: Position) {
        self.set(floor.word(), self.floor(floor).max(at).word());
    }

    /// A position that lies before the tail: any other is garbage, and would turn everything away for good.
    fn believed(&self, word: usize) -> Position {
        let at = Position::from_word(self.get(word));
        if at < self.tail() { at } else { Position::NONE }
    }

    pub(super) fn total(&self) -> u64 {
        self.get(TOTAL)
    }

    pub(super) fn set_total(&self, bytes: u64) {
        self.set(TOTAL, bytes);
    }

    pub(super) fn entries(&self) -> u64 {
        self.get(ENTRIES)
    }

    pub(super) fn set_entries(&self, entries: u64) {
        self.set(ENTRIES, entries);
    }

    pub(super) fn superseded(&self) -> bool {
        self.get(SUPERSEDED) != 0
    }

    pub(super) fn set_superseded(&self, superseded: bool) {
        self.set(SUPERSEDED, u64::from(superseded));
    }

    pub(super) fn boot(&self) -> u64 {
        self.get(BOOT)
    }

    pub(super) fn set_boot(&self, boot: u64) {
        self.set(BOOT, boot);
    }

    #[cfg(test)]
    pub(super) fn id(&self) -> u64 {
        self.get(ID)
    }

    /// Takes over what another file says of the log.
    pub(super) fn copy_from(&self, old: &Header<'_>) {
        TWINS.into_iter().for_each(|(word, _)| self.set_guarded(word, old.get(word)));
        [TOTAL, BOOT]
            .into_iter()
            .chain(FUNCTION_FLOORS..WORDS)
            .for_each(|word| self.set(word, old.get(word)));
    }

    fn get(&self, word: usize) -> u64 {
        self.0[word].load(Ordering::Acquire)
    }

    fn set(&self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Release);
    }
}

/// What the header says. Setters need the lock.
impl Index {
    /// Whether the words that steer writers are undamaged: to be asked under the lock by who opens the index. If not, it
    /// has to be rebuilt.
    pub(crate) fn is_sound(&self) -> bool {
        self.header().is_sound()
    }

    /// A number of this file alone: tells one index from the next.
    #[cfg(test)]
    pub(crate) fn id(&self) -> u64 {
        self.header().id()
    }

    /// The next free position.
    pub(crate) fn tail(&self) -> Position {
        self.header().tail()
    }

    pub(crate) fn set_tail(&self, tail: Position) {
        self.header().set_tail(tail);
    }

    /// The lowest segment that lives. What lies below counts as evicted, whatever its slot says.
    pub(crate) fn oldest(&self) -> u32 {
        self.header().oldest()
    }

    pub(crate) fn set_oldest(&self, segment: u32) {
        self.header().set_oldest(segment);
    }

    /// What was written up to here is gone. Set by [`Index::clear`].
    pub(crate) fn cleared(&self) -> Position {
        self.header().cleared()
    }

    /// Bytes in segments, about.
    pub(crate) fn total(&self) -> u64 {
        self.header().total()
    }

    pub(crate) fn set_total(&self, bytes: u64) {
        self.header().set_total(bytes);
    }

    pub(crate) fn add_total(&self, bytes: i64) {
        self.header().set_total(self.total().saturating_add_signed(bytes));
    }

    /// Live slots, about.
    pub(crate) fn entries(&self) -> u64 {
        self.header().entries()
    }

    /// How full it is, 0 to 1, about.
    pub(crate) fn load(&self) -> f64 {
        self.load_with(0)
    }

    /// How full it would be with so many entries more.
    pub(crate) fn load_with(&self, more: u64) -> f64 {
        self.entries().saturating_add(more) as f64 / (self.buckets() * SLOTS as u64) as f64
    }

    pub(crate) fn buckets(&self) -> u64 {
        self.mask + 1
    }

    /// Whether another file has taken this one's place.
    pub(crate) fn superseded(&self) -> bool {
        self.header().superseded()
    }

    pub(crate) fn set_superseded(&self, superseded: bool) {
        self.header().set_superseded(superseded);
    }

    /// Hash of the kernel's boot id when the index was last opened first.
    #[cfg(test)]
    pub(crate) fn boot(&self) -> u64 {
        self.header().boot()
    }

    pub(crate) fn set_boot(&self, boot: u64) {
        self.header().set_boot(boot);
    }

    /// Has the index written to the disk, and waits for it.
    pub(crate) fn flush(&self) -> std::io::Result<()> {
        self.map.flush()
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> u64 {
        self.map.len()
    }
}
