//! A value's bytes on their way to the disk and back.
//!
//! A [`Sink`] takes an encoding as it is made: into memory, and from a quarter of a segment on into a file of its own, so
//! that a value of 2 GiB is never in memory twice. What comes out ([`Packed`]) is compressed if that pays, and hashed: by
//! the worker that computed the value, not by the writer.

use std::fmt;
use std::io::{self, BufRead, Write};

use super::record::{self, Header, flags};
use super::segment::large::{LargeWriter, Written};
use super::store::Store;
use crate::config::disk::Compress;
use crate::memo::codec::Undecodable;
use crate::memo::{compress, is_fresh};
use crate::sync::Mutex;

/// The bytes of a stored value, verified.
pub(crate) enum Payload<'a> {
    Bytes(&'a [u8]),
    /// Of a large value, as it was encoded: a reader over exactly so many bytes.
    Stream(&'a mut dyn BufRead, u64),
}

/// What an entry says about its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meta {
    pub(crate) shape: u64,
    pub(crate) flags: u16,
    pub(crate) raw_len: u64,
    /// Nanoseconds since the Unix epoch; 0: never.
    pub(crate) expires: u64,
    /// What it took to compute, in nanoseconds.
    pub(crate) compute: u64,
}

impl Meta {
    pub(crate) fn is_error(&self) -> bool {
        self.flags & flags::ERROR != 0
    }

    /// Whether it may be used now. Most never expire, and need no clock.
    pub(crate) fn is_fresh(&self, now: impl FnOnce() -> u64) -> bool {
        self.expires == 0 || is_fresh(self.expires, now())
    }
}

impl From<&Header> for Meta {
    fn from(header: &Header) -> Meta {
        let Header { shape, flags, raw_len, expires, compute, .. } = *header;
        Meta { shape, flags, raw_len, expires, compute }
    }
}

/// See the [module](self).
pub(crate) struct Sink<'a> {
    store: &'a Store,
    compress: Compress,
    bytes: Vec<u8>,
    /// In a box: it is large, and rare.
    large: Option<Box<LargeWriter>>,
    written: u64,
    /// Bytes of the file that room was made for.
    room: u64,
    /// Why writing failed: what encodes through this only says that it did.
    trouble: Option<io::Error>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(store: &'a Store, compress: Compress) -> Sink<'a> {
        Sink { store, compress, bytes: Vec::new(), large: None, written: 0, room: 0, trouble: None }
    }

    /// What was written so far; `None`: it is in a file.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        self.large.is_none().then_some(&self.bytes)
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Everything is written.
    pub(crate) fn finish(mut self) -> io::Result<Packed> {
        if let Some(error) = self.trouble {
            return Err(error);
        }
        if let Some(large) = self.large {
            return Ok(Packed::Large(Box::new(Mutex::new(Some(large.finish()?)))));
        }
        let mut flags = 0;
        if let Some((packed, flag)) = compress::pack(&self.bytes, self.compress) {
            self.bytes = packed;
            flags = flag;
        }
        let hash = match record::is_small(flags, self.bytes.len() as u64) {
            true => [0; 16],
            false => record::payload_hash(&self.bytes),
        };
        Ok(Packed::Bytes { bytes: self.bytes, flags, hash })
    }
}

impl Sink<'_> {
    #[cold]
    fn write_large(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.trouble.is_some() {
            return Err(io::ErrorKind::Other.into());
        }
        self.try_write_large(bytes).map_err(|error| {
            let kind = error.kind();
            self.trouble = Some(error);
            kind.into()
        })
    }
}

impl Sink<'_> {
    fn try_write_large(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.written > self.room {
            let need = (self.written - self.room).next_multiple_of(self.store.step());
            self.store.make_room(need)?;
            self.room += need;
        }
        if let Some(large) = &mut self.large {
            return large.write_all(bytes);
        }
        let mut large = Box::new(self.store.large_writer()?);
        large.write_all(&self.bytes)?;
        self.bytes = Vec::new();
        large.write_all(bytes)?;
        self.large = Some(large);
        Ok(())
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        if self.large.is_none() && self.bytes.len() + bytes.len() <= self.store.largest_inline() {
            self.bytes.extend_from_slice(bytes);
            return Ok(());
        }
        self.write_large(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A payload as it is stored.
pub(crate) enum Packed {
    Bytes {
        bytes: Vec<u8>,
        flags: u16,
        hash: [u8; 16],
    },
    /// `None` once it is in its place.
    Large(Box<Mutex<Option<Written>>>),
}

/// Takes stored bytes through what made them smaller, then to the decoder.
pub(super) fn unpacked<T>(
    meta: &Meta,
    bytes: &[u8],
    decode: impl FnOnce(&Meta, Payload<'_>) -> Result<T, Undecodable>,
) -> Result<T, Undecodable> {
    match compress::unpack(bytes, meta.raw_len, meta.flags) {
        Ok(Some(raw)) => decode(meta, Payload::Bytes(&raw)),
        Ok(None) => decode(meta, Payload::Bytes(bytes)),
        Err(reason) => Err(Undecodable::Malformed(reason)),
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Packed::Bytes { .. } => "Packed(bytes)",
            Packed::Large(_) => "Packed(large)",
        })
    }
}
