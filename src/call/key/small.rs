//! The bytes of a short key, gathered in whole words.
//!
//! A hit writes some thirty bytes in a handful of pieces, and reads them again at once, to hash and to compare them. A
//! processor hands what was just stored to a load only where that load reads no more than one store wrote; where it would
//! have to piece several together, it waits until all of them have reached the cache: longer than the hash takes. So each
//! piece is merged into the word in which it lies, and only whole words are written and read.

use super::INLINE;

/// Words that hold [`INLINE`] bytes, and one more, always 0 in the end: a piece may end where its word does, and what is left
/// of it, nothing, is written too. That is cheaper than to ask.
const WORDS: usize = INLINE.div_ceil(8) + 1;

/// The most bytes in one [`push`](Small::push): with those before it in its word they fill a `u128`.
pub(super) const PIECE: usize = 9;

/// Up to [`INLINE`] bytes; zeros beyond those used.
pub(super) struct Small {
    len: usize,
    words: [u64; WORDS],
}

impl Small {
    #[inline]
    pub(super) fn new() -> Self {
        Self { len: 0, words: [0; WORDS] }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes no more bytes, until it is [opened](Self::reopen) again. Returns how many it had.
    #[inline]
    pub(super) fn close(&mut self) -> usize {
        std::mem::replace(&mut self.len, INLINE)
    }

    /// Goes on after that many bytes.
    #[inline]
    pub(super) fn reopen(&mut self, len: usize) {
        self.len = len;
    }

    /// Whether that many bytes more fit.
    #[inline]
    pub(super) fn fits(&self, more: usize) -> bool {
        more <= INLINE - self.len.min(INLINE)
    }

    /// Adds the lowest `len` bytes of `piece`, at most [`PIECE`]; those above are zeros. They must [fit](Self::fits).
    #[inline(always)]
    pub(super) fn push(&mut self, piece: u128, len: usize) {
        debug_assert!(len <= PIECE && self.fits(len) && piece >> (8 * len) == 0);
        let (at, used) = (self.len / 8 % WORDS, self.len % 8);
        let merged = piece << (8 * used);
        self.words[at] |= merged as u64;
        self.words[(at + 1) % WORDS] = (merged >> 64) as u64;
        self.len += len;
    }

    /// Adds bytes, which must [fit](Self::fits).
    #[inline]
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let (whole, rest) = bytes.as_chunks::<8>();
        for word in whole {
            self.push(u64::from_le_bytes(*word).into(), 8);
        }
        let rest = match bytes.last_chunk::<8>() {
            // The last eight bytes without those that are in already. In two steps, since all eight may be.
            Some(last) => u64::from_le_bytes(*last) >> 8 >> (8 * (7 - rest.len())),
            None => short(rest),
        };
        self.push(rest.into(), bytes.len() % 8);
    }

    /// All words but the last, which is 0.
    #[inline]
    pub(super) fn words(&self) -> &[u64; WORDS - 1] {
        let [words @ .., _] = &self.words;
        words
    }

    /// The bytes, zeros beyond those used.
    pub(super) fn bytes(&self) -> [u8; INLINE] {
        let mut bytes = [0; INLINE];
        for (bytes, word) in bytes.chunks_mut(8).zip(&self.words) {
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        }
        bytes
    }
}

/// Fewer than eight bytes as a number.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    // Halves that overlap where the length is no power of two: the same bytes fall on themselves.
    let high = |n| 8 * (bytes.len() - n);
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << high(4)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<2>(), bytes.last_chunk::<2>()) {
        u64::from(u16::from_le_bytes(*first)) | u64::from(u16::from_le_bytes(*last)) << high(2)
    } else {
        bytes.first().map_or(0, |byte| u64::from(*byte))
    }
}
