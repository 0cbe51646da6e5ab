//! [`SlotKey`]: a call's key in the slot table.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use super::small::Small;
use super::{INLINE, Key};

/// Words of a [`SlotKey`] beside its hash.
const WORDS: usize = 7;

/// [`SlotKey::len`] of a key that holds a BLAKE3 [`Key`].
const HASHED: u8 = u8::MAX;

/// A call's key in the slot table: one cache line, compared by content, its hash computed once.
///
/// Small arguments are held and compared exactly, together with the function's id; larger ones are held as their [`Key`],
/// which covers the function too. One function may have keys of both kinds.
#[derive(Clone, Copy)]
pub(crate) struct SlotKey {
    hash: u64,
    /// Little-endian: [`INLINE`] bytes, zeros beyond those used; then how many are used, or [`HASHED`]; then four bytes of
    /// the function's id, 0 in a hashed key. Compared and hashed as a whole.
    content: [u64; WORDS],
}

const _: () = assert!(size_of::<SlotKey>() == 64);
const _: () = assert!(INLINE + 1 + 4 == 8 * WORDS);

impl SlotKey {
    /// No call's key: where one is about to be written.
    pub(crate) const EMPTY: Self = Self { hash: 0, content: [0; WORDS] };

    /// The key of small arguments.
    #[inline]
    pub(super) fn small(func: u32, small: &Small) -> Self {
        Self::new(*small.words(), small.len() as u8, func)
    }

    /// The key of arguments (and their function) that are known by their [`Key`].
    pub(super) fn hashed(key: Key) -> Self {
        let mut content = [0; WORDS];
        for (word, bytes) in content.iter_mut().zip(key.0.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self::new(content, HASHED, 0)
    }

    #[inline]
    fn new(mut content: [u64; WORDS], len: u8, func: u32) -> Self {
        content[WORDS - 1] |= u64::from(len) << 24 | u64::from(func) << 32;
        Self { hash: hash(&content), content }
    }

    /// Well mixed in all its bits, and different in every process.
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The [`Key`] of the same call, given the digest of its function.
    pub(crate) fn key(&self, function_digest: &[u8; 32]) -> Key {
        let mut bytes = [0; 8 * WORDS];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(&self.content) {
            *bytes = word.to_le_bytes();
        }
        let (bytes, len) = (&bytes[..INLINE], bytes[INLINE]);
        match bytes.first_chunk() {
            Some(key) if len == HASHED => Key(*key),
            _ => Key::of(function_digest, &bytes[..usize::from(len)]),
        }
    }

    /// Whether it stands for its call by a [`Key`].
    pub(super) fn is_hashed(&self) -> bool {
        (self.content[WORDS - 1] >> 24) as u8 == HASHED
    }
}

impl PartialEq for SlotKey {
    /// Without a branch, and without the call that comparing arrays is: keys that are compared are equal nearly always.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let differ = |sum: u64, (mine, theirs): (&u64, &u64)| sum | (mine ^ theirs);
        self.content.iter().zip(&other.content).fold(0, differ) == 0
    }
}

impl Eq for SlotKey {}

/// The NH hash of UMAC: over all keys that the seed may give, two contents have the same sum of products with a probability of
/// 2⁻⁶⁴. Its products do not wait for one another, as the steps of a hash of a stream would. Whole words, used or not:
/// a fixed number of them costs less than a branch on the length.
#[inline]
fn hash(content: &[u64; WORDS]) -> u64 {
    let seed = &*SEED;
    let product = |at: usize| {
        let second = content.get(at + 1).copied().unwrap_or(0);
        let (a, b) = (content[at].wrapping_add(seed[at]), second.wrapping_add(seed[at + 1]));
        u128::from(a) * u128::from(b)
    };
    let sum = product(0).wrapping_add(product(2)).wrapping_add(product(4).wrapping_add(product(6)));
    // One step of a folded multiplication: the table takes its shard from the upper bits and its bucket from the lower.
    let mixed = u128::from(sum as u64 ^ seed[8]) * u128::from((sum >> 64) as u64 ^ seed[9]);
    mixed as u64 ^ (mixed >> 64) as u64
}

/// What every [`SlotKey::hash`] of this process is made with. From the operating system's randomness, so that whoever chooses
/// the arguments can't choose the buckets.
static SEED: LazyLock<[u64; 10]> = LazyLock::new(|| {
    let random = RandomState::new();
    std::array::from_fn(|at| random.hash_one(at))
});

impl fmt::Debug for SlotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_hashed() { "hashed" } else { "small" };
        write!(f, "SlotKey({kind}, {:016x})", self.hash)
    }
}
