//! One stored result: a header that says everything needed to believe it, and its payload.
//!
//! A record is believed for what it proves, not for where it was found. A reader that was sent to a place checks, in this
//! order: magic and version; the *seal*, a keyed hash over the header and the record's own place; the lengths, against
//! what the index said and what the file holds; the key; the hash of the payload. Whatever does not fit is a [`Bad`], which
//! is a miss.
//!
//! The seal binds a record to its place: a segment that was swapped or copied to another name, or the image of a record
//! inside another's payload, has a seal for elsewhere. With a key of the user's (`mac_key`) nobody else can make one.
//!
//! The byte table is in `docs/format.md`. Whoever encodes the value hashes the payload, on any thread; the seal is added
//! by the writer, who alone knows the place, and costs two blocks of BLAKE3.

use std::fmt;

pub(crate) use super::index::{Place, Position};

/// The version of the layout: of a record, and of the directory it is in (`v1`).
pub(crate) const FORMAT_VERSION: u8 = 1;
/// The first bytes of each record.
pub(crate) const MAGIC: [u8; 4] = *b"mmo1";
/// The size of a header.
pub(crate) const HEADER: usize = 128;
/// Records begin below this offset of their segment: no segment is made larger. (A large value has a file of its own,
/// which may be larger, and begins at 0.)
pub(crate) const MAX_SEGMENT: u64 = 64 << 20;
/// No record is this long: its length in words of 8 bytes has 32 bits in the index.
pub(crate) const MAX_RECORD: u64 = 1 << 35;

/// How the payload was encoded.
pub(crate) mod codec {
    /// `bincode` 2, its standard configuration.
    pub(crate) const BINCODE: u8 = 1;
}

/// What else is to be known of a record.
pub(crate) mod flags {
    /// The payload is an error that was kept.
    pub(crate) const ERROR: u16 = 1;
    /// The payload is compressed with lz4.
    pub(crate) const LZ4: u16 = 2;
    /// The payload is compressed with zstd.
    pub(crate) const ZSTD: u16 = 4;
    /// Alone in its segment file.
    pub(crate) const LARGE: u16 = 8;
    /// No payload: the key is forgotten.
    pub(crate) const FORGOTTEN: u16 = 16;
    /// No payload: everything of the function is forgotten.
    pub(crate) const FORGOTTEN_FUNCTION: u16 = 32;

    /// Those that this version knows.
    pub(super) const ALL: u16 = ERROR | LZ4 | ZSTD | LARGE | FORGOTTEN | FORGOTTEN_FUNCTION;
}

/// What stands before a payload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) codec: u8,
    pub(crate) flags: u16,
    /// Bytes of the payload as stored.
    pub(crate) stored_len: u64,
    /// Bytes of the payload before it was compressed.
    pub(crate) raw_len: u64,
    pub(crate) key: [u8; 32],
    /// The first bytes of the function's digest.
    pub(crate) function: [u8; 8],
    /// The fingerprint of the value's shape.
    pub(crate) shape: u64,
    /// Nanoseconds since 1970.
    pub(crate) stored_at: u64,
    /// Nanoseconds since 1970; 0: never.
    pub(crate) expires: u64,
    /// Nanoseconds that the value took to compute.
    pub(crate) compute: u64,
    /// Of the payload as stored: see [`payload_hash`].
    pub(crate) payload_hash: [u8; 16],
}

impl Header {
    /// The header's bytes, sealed for a place.
    pub(crate) fn encode(&self, position: Position, seal_key: &SealKey) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut rest = &mut bytes[..];
        let mut put = |field: &[u8]| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
        };
        put(&MAGIC);
        put(&[FORMAT_VERSION, self.codec]);
        put(&self.flags.to_le_bytes());
        put(&self.stored_len.to_le_bytes());
        put(&self.raw_len.to_le_bytes());
        put(&self.key);
        put(&self.function);
        for word in [self.shape, self.stored_at, self.expires, self.compute] {
            put(&word.to_le_bytes());
        }
        put(&self.payload_hash);
        let seal = seal_key.seal(&bytes[..SEALED], position);
        bytes[SEALED..].copy_from_slice(&seal);
        bytes
    }

    /// The header that `bytes` begin with, if it was sealed for that place.
    pub(crate) fn decode(bytes: &[u8], position: Position, seal_key: &SealKey) -> Result<Header, Bad> {
        let bytes: &[u8; HEADER] = bytes.first_chunk().ok_or(Bad::Short)?;
        if bytes[..4] != MAGIC {
            return Err(Bad::Magic);
        }
        if bytes[4] != FORMAT_VERSION {
            return Err(Bad::Version(bytes[4]));
        }
        if bytes[SEALED..] != seal_key.seal(&bytes[..SEALED], position) {
            return Err(Bad::Seal);
        }
        let word = |at: usize| u64::from_le_bytes(field(bytes, at));
        let header = Header {
            codec: bytes[5],
            flags: u16::from_le_bytes(field(bytes, 6)),
            stored_len: word(8),
            raw_len: word(16),
            key: field(bytes, 24),
            function: field(bytes, 56),
            shape: word(64),
            stored_at: word(72),
            expires: word(80),
            compute: word(88),
            payload_hash: field(bytes, 96),
        };
        header.check()?;
        Ok(header)
    }

    /// What no writer of this version would have sealed.
    fn check(&self) -> Result<(), Bad> {
        let packed = self.flags & (flags::LZ4 | flags::ZSTD);
        if self.flags & !flags::ALL != 0 || packed == flags::LZ4 | flags::ZSTD {
            return Err(Bad::Flags(self.flags));
        }
        if record_len(self.stored_len) >= MAX_RECORD || (packed == 0 && self.raw_len != self.stored_len) {
            return Err(Bad::Lengths);
        }
        Ok(())
    }

    /// Where the record is whose header this is.
    pub(crate) fn place(&self, position: Position) -> Place {
        Place { position, len: record_len(self.stored_len) }
    }
}

/// What the seal covers of a header; the rest is the seal.
const SEALED: usize = 112;

/// `N` bytes of a header. Both are constants wherever this is called.
fn field<const N: usize>(bytes: &[u8; HEADER], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

/// The bytes that a record takes: header, payload, and zeros up to a multiple of 8.
pub(crate) fn record_len(stored_len: u64) -> u64 {
    stored_len.saturating_add(HEADER as u64 + 7) & !7
}

/// The hash of a payload as stored.
pub(crate) fn payload_hash(payload: &[u8]) -> [u8; 16] {
    truncated(&blake3::hash(payload))
}

/// [`payload_hash`], piece by piece.
#[derive(Clone, Default)]
pub(crate) struct PayloadHash(blake3::Hasher);

impl PayloadHash {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(&self) -> [u8; 16] {
        truncated(&self.0.finalize())
    }
}

fn truncated(hash: &blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    half
}

/// What seals are made with.
#[derive(Clone)]
pub(crate) struct SealKey([u8; 32]);

impl SealKey {
    /// Without a key of the user's the seal is a checksum that anyone can make.
    pub(crate) fn new(mac_key: Option<&[u8]>) -> SealKey {
        SealKey(blake3::derive_key("memopool 2026 disk record seal", mac_key.unwrap_or_default()))
    }

    fn seal(&self, header: &[u8], position: Position) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(header);
        hasher.update(&position.segment().to_le_bytes());
        hasher.update(&position.offset().to_le_bytes());
        truncated(&hasher.finalize())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

impl fmt::Debug for PayloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PayloadHash(..)")
    }
}

/// Why what was found at a place is not the record that was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// The segment is not there (any more).
    Gone,
    /// The file ends before the record does.
    Short,
    Magic,
    Version(u8),
    Seal,
    Flags(u16),
    Lengths,
    Key,
    Payload,
    /// Something else has the segment's name.
    NotAFile,
}

impl Bad {
    /// Whether something is broken, rather than merely no longer there: an evicted segment, or a hint that was for
    /// another call.
    pub(crate) fn is_corruption(self) -> bool {
        !matches!(self, Bad::Gone | Bad::Key)
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::Gone => f.write_str("its segment is no longer there"),
            Bad::Short => f.write_str("the segment ends before the record does"),
            Bad::Magic => f.write_str("there is no record at that place"),
            Bad::Version(found) => write!(f, "the record has format version {found}, not {FORMAT_VERSION}"),
            Bad::Seal => {
                f.write_str("the seal does not fit: a damaged header, another place, or another `mac_key`")
            }
            Bad::Flags(found) => {
                write!(f, "the record has flags ({found:#06x}) that this version does not know")
            }
            Bad::Lengths => f.write_str("the record's lengths contradict each other"),
            Bad::Key => f.write_str("the record is another call's"),
            Bad::Payload => f.write_str("the payload is damaged: its hash does not fit"),
            Bad::NotAFile => f.write_str("what has the segment's name is not a regular file"),
        }
    }
}

impl std::error::Error for Bad {}

#[cfg(test)]
mod tests;
