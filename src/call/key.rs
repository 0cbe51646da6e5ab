//! What names a call: [`Key`] outside, [`SlotKey`] in the slot table, and [`Unordered`] for sets among arguments.
//!
//! - `encode`: the format, and the [`Encoder`] of one call
//! - `value`: any value to bytes, a serializer
//! - `parts`: the same for lists, structs and maps
//! - `bytes`: where the bytes go: a small buffer, then a hasher
//!
//! A [`Key`] is `blake3::keyed_hash(function digest, bytes)`: the same in every build and on every machine. A [`SlotKey`]
//! lives in one process only; it keeps short bytes as they are, so that a hit on small arguments never pays for BLAKE3.

mod bytes;
mod encode;
mod parts;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::sync::LazyLock;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use encode::{EncodeError, Encoder};

/// The identity of one call: its function (name, code or version, types) and the values of its arguments.
///
/// Equal keys mean the same computation. A key is the same in every run, build and machine, so it can be stored,
/// logged and compared. It is shown as 64 hex digits.
///
/// ```
/// use memopool::Key;
///
/// let key = Key::from_bytes([7; 32]);
/// assert_eq!(key.to_string().parse(), Ok(key));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The key with these bytes, as [`as_bytes`](Self::as_bytes) gave them.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of this key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the 64 hex digits that `Display` writes (upper case is accepted too).
    ///
    /// # Errors
    ///
    /// Anything but exactly 64 hex digits.
    pub fn from_hex(text: &str) -> Result<Self, ParseKeyError> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
            return Err(ParseKeyError);
        };
        if pairs.len() != 32 {
            return Err(ParseKeyError);
        }
        let digit = |c: u8| char::from(c).to_digit(16).ok_or(ParseKeyError);
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
        }
        Ok(Self(bytes))
    }

    /// The key of a call whose encoded arguments are `bytes`.
    fn of(function_digest: &[u8; 32], bytes: &[u8]) -> Self {
        Self(*blake3::keyed_hash(function_digest, bytes).as_bytes())
    }

    /// The first 8 hex digits, for messages: enough to tell keys apart, not to look one up.
    pub fn short(&self) -> impl fmt::Display + use<> {
        let [a, b, c, d, ..] = self.0;
        fmt::from_fn(move |f| write!(f, "{:08x}", u32::from_be_bytes([a, b, c, d])))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl FromStr for Key {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        Self::from_hex(text)
    }
}

/// As hex digits in formats for people (JSON), as 32 bytes in others.
impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            Self::from_hex(&text).map_err(serde::de::Error::custom)
        } else {
            Deserialize::deserialize(deserializer).map(Self)
        }
    }
}

/// The text is not a [`Key`]: it takes exactly 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseKeyError;

impl fmt::Display for ParseKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key is written as 64 hex digits")
    }
}

impl std::error::Error for ParseKeyError {}

/// An argument whose elements have no order: `Unordered(HashSet)`.
///
/// Serde shows a `HashSet` as a plain sequence in whatever order it iterates, so two equal sets would be two different
/// calls. Wrapped in `Unordered`, the elements of the sequence (or array) are sorted before they enter the key.
/// Maps need no wrapper. Only the outermost sequence is sorted, through `Option` and newtypes; other serializers do not
/// see the wrapper at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "memopool::Unordered")]
pub struct Unordered<T>(pub T);

/// The name by which the encoder recognises [`Unordered`]; the same as in its `serde(rename)`.
const UNORDERED_NAME: &str = "memopool::Unordered";

impl<T> From<T> for Unordered<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Unordered<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Unordered<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// The most encoded bytes that a [`SlotKey`] holds as they are: what is left of one cache line.
const INLINE: usize = 51;

/// [`SlotKey::len`] of a key that holds a BLAKE3 [`Key`].
const HASHED: u8 = u8::MAX;

/// A call's key in the slot table: one cache line, compared by content, its hash computed once.
///
/// Small arguments are held and compared exactly, together with the function's id; larger ones are held as their [`Key`],
/// which covers the function too. One function may have keys of both kinds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotKey {
    hash: u64,
    /// [`INLINE`] bytes, zeros beyond those used; then how many are used, or [`HASHED`]; then the function's id, 0 in a
    /// hashed key. Compared and hashed as a whole.
    content: [u8; CONTENT],
}

/// The bytes, their number, the function's id.
const CONTENT: usize = INLINE + 1 + 4;

const _: () = assert!(size_of::<SlotKey>() == 64);

impl SlotKey {
    /// The key of small arguments: the first `len` of `bytes`, which are zeros beyond.
    #[inline]
    fn small(func: u32, bytes: &[u8; INLINE], len: u8) -> Self {
        debug_assert!(bytes[usize::from(len)..].iter().all(|byte| *byte == 0));
        let mut content = [0; CONTENT];
        content[..INLINE].copy_from_slice(bytes);
        content[INLINE] = len;
        content[INLINE + 1..].copy_from_slice(&func.to_le_bytes());
        Self::new(content)
    }

    /// The key of arguments (and their function) that are known by their [`Key`].
    fn hashed(key: Key) -> Self {
        let mut content = [0; CONTENT];
        content[..32].copy_from_slice(&key.0);
        content[INLINE] = HASHED;
        Self::new(content)
    }

    #[inline]
    fn new(content: [u8; CONTENT]) -> Self {
        // Whole words, used or not: a fixed number of them costs less than a branch on the length, and the general
        // routine for strings of bytes three times as much.
        let (start, shared) = &*SEED;
        let mut hasher = FoldHasher::with_seed(*start, shared);
        let (pairs, rest) = content.as_chunks::<16>();
        for pair in pairs {
            hasher.write_u128(u128::from_le_bytes(*pair));
        }
        let (rest, _) = rest.as_chunks::<8>();
        for word in rest {
            hasher.write_u64(u64::from_le_bytes(*word));
        }
        Self { hash: hasher.finish(), content }
    }

    /// Well mixed in all its bits, and different in every process.
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The [`Key`] of the same call, given the digest of its function.
    pub(crate) fn key(&self, function_digest: &[u8; 32]) -> Key {
        let (bytes, len) = (&self.content[..INLINE], self.content[INLINE]);
        match bytes.first_chunk() {
            Some(key) if len == HASHED => Key(*key),
            _ => Key::of(function_digest, &bytes[..usize::from(len)]),
        }
    }
}

impl fmt::Debug for SlotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.content[INLINE] == HASHED { "hashed" } else { "small" };
        write!(f, "SlotKey({kind}, {:016x})", self.hash)
    }
}

/// The seed of every [`SlotKey::hash`] of this process. From the operating system's randomness (foldhash's own seed is made
/// of addresses and the clock), so that whoever chooses the arguments can't choose the buckets.
static SEED: LazyLock<(u64, SharedSeed)> = LazyLock::new(|| {
    let random = RandomState::new();
    (random.hash_one(0), SharedSeed::from_u64(random.hash_one(1)))
});
