//! One stored result: a header that says everything needed to believe it, and its payload.
//!
//! A record is believed for what it proves, not for where it was found. A reader that was sent to a place checks, in this
//! order: magic and version; the *seal*, a keyed hash over the header and the record's own place; the lengths, against
//! what the index said and what the file holds; the key; the hash of the payload. Whatever does not fit is a [`Bad`], which
//! is a miss. What fits, but says of its payload what this build does not know, is another build's ([`Needs`]): a miss as
//! well, and nobody's fault.
//!
//! The seal binds a record to its place: a segment that was swapped or copied to another name, or the image of a record
//! inside another's payload, has a seal for elsewhere. With a key of the user's (`mac_key`) nobody else can make one.
//!
//! # Small records
//!
//! The payload of a *small* record ([`is_small`]) has no hash of its own: the seal covers it, in one call instead of two,
//! and the fields are packed so that little of a last block is wasted. That hash is most of what a small hit costs.
//! Of all others the payload is hashed by whoever encodes the value, on any thread; the seal is added by the writer, who
//! alone knows the place, and costs two blocks of BLAKE3.
//!
//! The byte table is in `docs/format.md`.

use std::fmt;

pub(crate) use super::index::{Place, Position};
use crate::memo::compress;

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
/// The longest payload of a small record. Longer ones are worth a hash that a worker makes, beside the writer.
pub(crate) const SMALL: usize = 512;

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

/// Whether the seal covers the payload, too. (What was compressed is not small: its raw length has the place of the
/// position.)
pub(crate) fn is_small(flags: u16, stored_len: u64) -> bool {
    stored_len <= SMALL as u64 && flags & (flags::LZ4 | flags::ZSTD | flags::LARGE) == 0
}

impl Header {
    /// The header's bytes, sealed for a place; and so is the `payload`, if the record is small.
    pub(crate) fn encode(&self, payload: &[u8], position: Position, seal_key: &SealKey) -> [u8; HEADER] {
        let small = is_small(self.flags, self.stored_len);
        let mut bytes = [0; HEADER];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&MAGIC);
        put(&[FORMAT_VERSION]);
        put(&seal_key.id);
        put(&[0; SEAL]);
        put(&if small { [0; 16] } else { self.payload_hash });
        let what =
            self.stored_len & STORED_LEN | u64::from(self.codec) << CODEC | u64::from(self.flags) << FLAGS;
        put(&what.to_le_bytes());
        put(&if small { position.word() } else { self.raw_len }.to_le_bytes());
        put(&self.key);
        put(&self.function);
        for word in [self.shape, self.stored_at, self.expires, self.compute] {
            put(&word.to_le_bytes());
        }
        let seal = if small {
            let mut sealed = [0; HEADER - FIELDS + SMALL];
            let len = HEADER - FIELDS + payload.len().min(SMALL);
            sealed[..HEADER - FIELDS].copy_from_slice(&bytes[FIELDS..]);
            sealed[HEADER - FIELDS..len].copy_from_slice(&payload[..len - (HEADER - FIELDS)]);
            seal_key.of_small(&sealed[..len])
        } else {
            seal_key.of_header(&bytes, position)
        };
        bytes[SEAL_AT..HASH].copy_from_slice(&seal);
        bytes
    }

    /// The header that `record` begins with, if it was sealed for that place; of a small record the payload is needed,
    /// too.
    pub(crate) fn decode(record: &[u8], position: Position, seal_key: &SealKey) -> Result<Header, Bad> {
        let bytes: &[u8; HEADER] = record.first_chunk().ok_or(Bad::Short)?;
        if bytes[..4] != MAGIC {
            return Err(Bad::Magic);
        }
        if bytes[4] != FORMAT_VERSION {
            return Err(Bad::Version(bytes[4]));
        }
        if bytes[5..SEAL_AT] != seal_key.id {
            return Err(Bad::Foreign);
        }
        let word = |at: usize| u64::from_le_bytes(field(bytes, at));
        let (what, mut raw_len) = (word(FIELDS), word(FIELDS + 8));
        let (stored_len, flags) = (what & STORED_LEN, (what >> FLAGS) as u16);
        // Of what is not believed yet, this decides which bytes are hashed, and nothing else.
        let small = is_small(flags, stored_len);
        let seal = if small {
            // So that each bit of a record means something.
            if raw_len != position.word() || bytes[HASH..FIELDS] != [0; 16] {
                return Err(Bad::Seal);
            }
            raw_len = stored_len;
            seal_key.of_small(record.get(FIELDS..HEADER + stored_len as usize).ok_or(Bad::Short)?)
        } else {
            seal_key.of_header(bytes, position)
        };
        if bytes[SEAL_AT..HASH] != seal {
            return Err(Bad::Seal);
        }
        let header = Header {
            codec: (what >> CODEC) as u8,
            flags,
            stored_len,
            raw_len,
            key: field(bytes, 56),
            function: field(bytes, 88),
            shape: word(96),
            stored_at: word(104),
            expires: word(112),
            compute: word(120),
            payload_hash: field(bytes, HASH),
        };
        header.check()?;
        Ok(header)
    }

    /// What it takes to read the payload, if this build does not have it.
    pub(crate) fn needs(&self) -> Option<Needs> {
        if self.is_known() { compress::needs(self.flags) } else { Some(Needs::LaterVersion) }
    }

    /// Whether this version knows all that the header says of its payload.
    fn is_known(&self) -> bool {
        self.flags & !flags::ALL == 0 && self.codec == codec::BINCODE
    }

    /// Whether that is the payload of this header, which is believed.
    pub(crate) fn is_of(&self, payload: &[u8]) -> bool {
        is_small(self.flags, self.stored_len) || payload_hash(payload) == self.payload_hash
    }

    /// What no writer of this version would have sealed.
    fn check(&self) -> Result<(), Bad> {
        let plain = self.is_known() && self.flags & (flags::LZ4 | flags::ZSTD) == 0;
        if record_len(self.stored_len) >= MAX_RECORD || (plain && self.raw_len != self.stored_len) {
            return Err(Bad::Lengths);
        }
        Ok(())
    }

    /// Where the record is whose header this is.
    pub(crate) fn place(&self, position: Position) -> Place {
        Place { position, len: record_len(self.stored_len) }
    }
}

/// Where the seal lies, and how long it is; then comes the payload's hash, then the fields.
const SEAL_AT: usize = 8;
const SEAL: usize = 16;
const HASH: usize = SEAL_AT + SEAL;
const FIELDS: usize = HASH + 16;

/// The first field, from the lowest bit: stored length (40 bits), codec (8), flags (16).
const STORED_LEN: u64 = (1 << CODEC) - 1;
const CODEC: u32 = 40;
const FLAGS: u32 = 48;

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
pub(crate) struct SealKey {
    key: [u8; 32],
    /// Tells a record that another key has sealed from one that is damaged.
    id: [u8; 3],
}

impl SealKey {
    /// Without a key of the user's the seal is a checksum that anyone can make.
    pub(crate) fn new(mac_key: Option<&[u8]>) -> SealKey {
        let key = blake3::derive_key("memopool 2026 disk record seal", mac_key.unwrap_or_default());
        // Of no bytes: no record is.
        let [a, b, c, ..] = *blake3::keyed_hash(&key, &[]).as_bytes();
        SealKey { key, id: [a, b, c] }
    }

    /// Of a small record: its fields, which say where it lies, and its payload.
    fn of_small(&self, sealed: &[u8]) -> [u8; SEAL] {
        truncated(&blake3::keyed_hash(&self.key, sealed))
    }

    /// Of the payload's hash, the fields, and the position.
    fn of_header(&self, header: &[u8; HEADER], position: Position) -> [u8; SEAL] {
        let mut sealed = [0; HEADER - HASH + 8];
        sealed[..HEADER - HASH].copy_from_slice(&header[HASH..]);
        sealed[HEADER - HASH..].copy_from_slice(&position.word().to_le_bytes());
        truncated(&blake3::keyed_hash(&self.key, &sealed))
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
    /// Sealed with another key.
    Foreign,
    Seal,
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
            Bad::Foreign => f.write_str("the record was sealed with another `mac_key`"),
            Bad::Seal => f.write_str("the seal does not fit: the record is damaged, or was moved"),
            Bad::Lengths => f.write_str("the record's lengths contradict each other"),
            Bad::Key => f.write_str("the record is another call's"),
            Bad::Payload => f.write_str("the payload is damaged: its hash does not fit"),
            Bad::NotAFile => f.write_str("what has the segment's name is not a regular file"),
        }
    }
}

impl std::error::Error for Bad {}

/// What a build would need to read the payload of a record that is as whole as any other: others read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Lz4,
    Zstd,
    /// The record has flags or a codec that this version does not know.
    LaterVersion,
}

impl Needs {
    /// For users.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Needs::Lz4 => "memopool with the feature `lz4`",
            Needs::Zstd => "memopool with the feature `zstd`",
            Needs::LaterVersion => "a later version of memopool",
        }
    }
}

#[cfg(test)]
mod tests;
