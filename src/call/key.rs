//! What names a call: [`Key`] outside, [`SlotKey`] in the slot table, and [`Unordered`] for sets among arguments, [`Hashed`]
//! for large ones.
//!
//! - `encode`: the format, and the [`Encoder`] of one call
//! - `value`: any value to bytes, a serializer
//! - `parts`: the same for lists, structs and maps
//! - `bytes`: where the bytes go: a small buffer, then a hasher
//! - `small`: that buffer
//! - `hashed`: an argument that brings its digest along
//! - `slot`: the key that the slot table holds
//!
//! A [`Key`] is `blake3::keyed_hash(function digest, bytes)`: the same in every build and on every machine. A [`SlotKey`]
//! lives in one process only; it keeps short bytes as they are, so that a hit on small arguments never pays for BLAKE3.

mod bytes;
mod encode;
mod hashed;
mod parts;
mod slot;
mod small;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use encode::{EncodeError, Encoder};
pub use hashed::Hashed;
pub(crate) use slot::SlotKey;

/// The identity of one call: its function (name, code or version, types) and the values of its arguments.
///
/// Equal keys mean the same computation. A key is the same in every run, build and machine, as long as the function keeps
/// its path (or its `name`) and the types keep theirs, and the compiler its way of spelling them; otherwise the call is a
/// miss. So a key can be stored, logged and compared. It is shown as 64 hex digits.
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
///
/// # Examples
///
/// ```
/// use std::collections::HashSet;
/// use memopool::key::Unordered;
/// use memopool::{Func, Pool};
///
/// let longest = Func::new("longest", |words: Unordered<HashSet<String>>| {
///     words.iter().map(String::len).max() // as a `HashSet`: the wrapper derefs
/// });
/// let set = |words: &[&str]| Unordered(words.iter().map(|word| word.to_string()).collect());
/// let pool = Pool::new();
/// assert_eq!(*pool.run(longest.call(set(&["to", "be", "or", "not"])))?, Some(3));
/// pool.run(longest.call(set(&["not", "or", "be", "to"])))?;
/// assert_eq!(pool.stats().computed, 1);
/// # Ok::<(), memopool::Error>(())
/// ```
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
