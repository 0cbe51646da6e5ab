//! Values as bytes: the only file that names `bincode`.
//!
//! In memory only the *size* of the encoding is asked for: it is the weight of a result. On disk go its bytes and the
//! [fingerprint](super::shape) of its type. The pinned release is unmaintained, so everything about it stays behind the
//! functions of this file; its part is how a single number is written. Sequences, structs and lengths are done by
//! [`shape`](super::shape), in the same bytes as bincode's own serializer, because the latter believes every length.
//!
//! # What is refused
//!
//! What could not be read back is an error when it is encoded, so the value stays in memory:
//!
//! - nested deeper than 512 containers, or over more than 768 KiB of stack;
//! - more than [`EMPTY_ELEMENTS`] elements that take no bytes (`Vec<()>`), in all sequences of the value together: bytes
//!   that claim 2⁶⁰ of them would keep a reader busy for ever;
//! - sequences that do not know their length, fields left out (`skip_serializing_if`), lengths that do not hold.
//!
//! Bytes come with a checksum, so they are ours, but perhaps of another type. Whatever they are, decoding ends in an
//! error or a value of the right type, and no buffer is made larger than what they could fill.

mod comparing;
mod flat;

#[cfg(test)]
pub(super) mod tests;

use std::fmt;
use std::io;
use std::io::{BufRead, Write};

use bincode::config::standard;
use bincode::de::DecoderImpl;
use bincode::de::read::Reader;
use bincode::enc::EncoderImpl;
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use serde::Serialize;
use serde::de::{DeserializeOwned, Visitor};

use self::comparing::Comparing;
use super::shape::Fault;
use super::shape::reading::Reading;
use super::shape::writing::Writing;

/// The number of bytes that `value` takes when encoded. Runs the value's `Serialize`, which is user code.
pub(crate) fn encoded_size<T: Serialize + 'static>(value: &T) -> Result<u64, String> {
    if let Some(bytes) = flat::size(value) {
        return Ok(bytes);
    }
    let mut counter = Counter(0);
    bincode::serde::encode_into_std_write(value, &mut counter, standard())
        .map_err(|error| error.to_string())?;
    Ok(counter.0)
}

/// Encodes into `sink` in one pass, in small pieces. Runs the value's `Serialize`, which is user code. After an error the
/// sink has got a part.
pub(crate) fn encode<T: Serialize + 'static>(value: &T, sink: &mut impl Write) -> Result<Encoded, String> {
    let mut run = Writing::new(Buffered::new(sink));
    let written = if flat::is_flat::<T>() { flat::encode(value, &mut run) } else { run.value(value) };
    let shape = written
        .and_then(|()| run.out.finish())
        .and_then(|()| run.facts.finish())
        .map_err(|fault| fault.to_string())?;
    Ok(Encoded { shape, bytes: run.out.written() })
}

/// What [`encode`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// The fingerprint of the value's type.
    pub(crate) shape: u64,
    pub(crate) bytes: u64,
}

/// The value in `bytes`, whose checksum was verified. All of them must be used, and the type must have the fingerprint
/// `shape`. Runs the type's `Deserialize`, which is user code.
pub(crate) fn decode<T: DeserializeOwned + 'static>(bytes: &[u8], shape: u64) -> Result<T, Undecodable> {
    decode_all(Slice(bytes), shape)
}

/// The value in the next `len` bytes of `reader`, like [`decode`]. They are not gathered in a buffer first.
pub(crate) fn decode_from<T: DeserializeOwned + 'static>(
    reader: &mut impl BufRead,
    len: u64,
    shape: u64,
) -> Result<T, Undecodable> {
    decode_all(Stream { reader, left: len }, shape)
}

fn decode_all<T: DeserializeOwned + 'static>(mut source: impl In, shape: u64) -> Result<T, Undecodable> {
    let (read, left) = if flat::is_flat::<T>() {
        (flat::decode(&mut source), source.left())
    } else {
        let mut run = Reading::new(source);
        let read = run.value().and_then(|value| Ok((value, run.facts.finish()?)));
        (read, run.input.left())
    };
    let (value, found) = read.map_err(|fault| Undecodable::Malformed(fault.to_string()))?;
    if found != shape {
        return Err(Undecodable::TypeChanged);
    }
    match left {
        0 => Ok(value),
        left => Err(Undecodable::Malformed(format!("{left} bytes are left over"))),
    }
}

/// Why bytes gave no value. Either way it is a miss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Undecodable {
    /// They were encoded from another type.
    TypeChanged,
    /// They make no value of this type; most likely they were encoded from another.
    Malformed(String),
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undecodable::TypeChanged => f.write_str("the type has changed since the value was stored"),
            Undecodable::Malformed(reason) => write!(f, "the stored bytes can't be decoded: {reason}"),
        }
    }
}

/// Whether what was encoded from a value of this type comes back: decoded and encoded again, the bytes must be the same.
/// Entries of a hash map may come in another order, so the same bytes in another order will do.
pub(crate) fn survives<T: Serialize + DeserializeOwned + 'static>(
    bytes: &[u8],
    shape: u64,
) -> Result<(), String> {
    let value: T = decode(bytes, shape).map_err(|error| match error {
        Undecodable::TypeChanged => {
            "its `Deserialize` asks for other types or names than its `Serialize` gives".to_owned()
        }
        Undecodable::Malformed(reason) => reason,
    })?;
    let mut again = Comparing::with(bytes);
    encode(&value, &mut again)?;
    if !again.same() {
        return Err("it is not the same value after it was encoded and decoded".to_owned());
    }
    Ok(())
}

// ---- Numbers: where bincode is used ----

/// A number, bool or char.
pub(super) trait Plain: bincode::Encode + bincode::Decode<()> + Copy {}

macro_rules! plain {
    ($($number:ty),*) => {
        $(impl Plain for $number {})*
    };
}
plain!(bool, char, u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

/// Where encoded numbers and bytes go.
pub(super) trait Out {
    /// A sink that fails shows later, so that the way of each number is short.
    fn number<P: Plain>(&mut self, number: P);
    fn slice(&mut self, bytes: &[u8]) -> Result<(), Fault>;
    /// Whether the sink has failed.
    fn check(&mut self) -> Result<(), Fault>;
    /// How many bytes were written.
    fn written(&self) -> u64;
}

/// Where encoded numbers and bytes come from. Asks for the visitor, so that bytes are copied once.
pub(super) trait In {
    fn number<P: Plain>(&mut self) -> Result<P, Fault>;
    fn slice(&mut self, bytes: &mut [u8]) -> Result<(), Fault>;
    fn vector(&mut self, len: usize) -> Result<Vec<u8>, Fault>;
    fn text<'de, V: Visitor<'de>>(&mut self, len: u64, visitor: V) -> Result<V::Value, Fault>;
    fn bytes<'de, V: Visitor<'de>>(&mut self, len: u64, visitor: V) -> Result<V::Value, Fault>;
    /// How many bytes are left.
    fn left(&self) -> u64;
}

/// Collects what is written in a small buffer, because a number has few bytes and sinks have their price per call.
struct Buffered<'s, W> {
    sink: &'s mut W,
    buffer: [u8; BUFFER],
    used: usize,
    /// Bytes given to the sink.
    given: u64,
    /// Why the sink has failed. It is given nothing after that.
    error: Option<io::Error>,
}

impl<'s, W: Write> Buffered<'s, W> {
    fn new(sink: &'s mut W) -> Buffered<'s, W> {
        Buffered { sink, buffer: [0; BUFFER], used: 0, given: 0, error: None }
    }

    fn finish(&mut self) -> Result<(), Fault> {
        self.full(&[]);
        self.check()
    }

    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        match self.buffer.get_mut(self.used..).and_then(|room| room.get_mut(..bytes.len())) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.used += bytes.len();
            }
            None => self.full(bytes),
        }
    }

    /// There is no room for these bytes.
    #[inline(never)]
    fn full(&mut self, bytes: &[u8]) {
        let buffer = self.buffer;
        self.give(&buffer[..self.used]);
        self.used = 0;
        if let Some(room) = self.buffer.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            self.used = bytes.len();
        } else {
            self.give(bytes);
        }
    }

    fn give(&mut self, bytes: &[u8]) {
        if self.error.is_none() {
            self.error = self.sink.write_all(bytes).err();
        }
        self.given += bytes.len() as u64;
    }
}

impl<W: Write> Writer for Buffered<'_, W> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.put(bytes);
        Ok(())
    }
}

impl<W: Write> Out for Buffered<'_, W> {
    #[inline]
    fn number<P: Plain>(&mut self, number: P) {
        // Never fails: no number does, and `write` does not.
        let _ = number.encode(&mut EncoderImpl::new(self, standard()));
    }

    #[inline(never)]
    fn slice(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.put(bytes);
        self.check()
    }

    #[inline]
    fn check(&mut self) -> Result<(), Fault> {
        self.error.as_ref().map_or(Ok(()), |error| Err(Fault::new(error)))
    }

    #[inline]
    fn written(&self) -> u64 {
        self.given + self.used as u64
    }
}

/// Bytes in memory.
struct Slice<'b>(&'b [u8]);

impl<'b> Slice<'b> {
    #[inline]
    fn take(&mut self, len: u64) -> Result<&'b [u8], Fault> {
        let at = usize::try_from(len).ok().and_then(|len| self.0.split_at_checked(len));
        let (taken, rest) = at.ok_or_else(too_short)?;
        self.0 = rest;
        Ok(taken)
    }
}

impl Reader for Slice<'_> {
    #[inline]
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), DecodeError> {
        let Some((taken, rest)) = self.0.split_at_checked(bytes.len()) else { return Err(END) };
        bytes.copy_from_slice(taken);
        self.0 = rest;
        Ok(())
    }

    #[inline]
    fn peek_read(&mut self, len: usize) -> Option<&[u8]> {
        self.0.get(..len)
    }

    #[inline]
    fn consume(&mut self, len: usize) {
        self.0 = self.0.get(len..).unwrap_or_default();
    }
}

impl In for Slice<'_> {
    #[inline]
    fn number<P: Plain>(&mut self) -> Result<P, Fault> {
        decode_number(self)
    }

    fn slice(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        bytes.copy_from_slice(self.take(bytes.len() as u64)?);
        Ok(())
    }

    fn vector(&mut self, len: usize) -> Result<Vec<u8>, Fault> {
        self.take(len as u64).map(<[u8]>::to_vec)
    }

    #[inline]
    fn text<'de, V: Visitor<'de>>(&mut self, len: u64, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(std::str::from_utf8(self.take(len)?).map_err(Fault::new)?)
    }

    #[inline]
    fn bytes<'de, V: Visitor<'de>>(&mut self, len: u64, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_bytes(self.take(len)?)
    }

    #[inline]
    fn left(&self) -> u64 {
        self.0.len() as u64
    }
}

/// The next `left` bytes of a reader.
struct Stream<'r, R> {
    reader: &'r mut R,
    left: u64,
}

impl<R: BufRead> Stream<'_, R> {
    /// A buffer is made only after `len` was found to be no more than is left.
    fn take(&mut self, len: u64) -> Result<Vec<u8>, Fault> {
        let size = usize::try_from(len).ok().filter(|_| len <= self.left).ok_or_else(too_short)?;
        let mut bytes = vec![0; size];
        self.slice(&mut bytes)?;
        Ok(bytes)
    }
}

impl<R: BufRead> Reader for Stream<'_, R> {
    #[inline]
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), DecodeError> {
        if bytes.len() as u64 > self.left {
            return Err(END);
        }
        self.left -= bytes.len() as u64;
        self.reader.read_exact(bytes).map_err(|inner| DecodeError::Io { inner, additional: 0 })
    }

    #[inline]
    fn peek_read(&mut self, len: usize) -> Option<&[u8]> {
        if len as u64 > self.left {
            return None;
        }
        // An error here shows again when the bytes are read.
        self.reader.fill_buf().ok()?.get(..len)
    }

    #[inline]
    fn consume(&mut self, len: usize) {
        self.left -= len as u64;
        self.reader.consume(len);
    }
}

impl<R: BufRead> In for Stream<'_, R> {
    #[inline]
    fn number<P: Plain>(&mut self) -> Result<P, Fault> {
        decode_number(self)
    }

    fn slice(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        self.read(bytes).map_err(fault)
    }

    fn vector(&mut self, len: usize) -> Result<Vec<u8>, Fault> {
        self.take(len as u64)
    }

    fn text<'de, V: Visitor<'de>>(&mut self, len: u64, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_string(String::from_utf8(self.take(len)?).map_err(Fault::new)?)
    }

    fn bytes<'de, V: Visitor<'de>>(&mut self, len: u64, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_byte_buf(self.take(len)?)
    }

    #[inline]
    fn left(&self) -> u64 {
        self.left
    }
}

#[inline]
fn decode_number<P: Plain>(source: &mut impl Reader) -> Result<P, Fault> {
    P::decode(&mut DecoderImpl::new(source, standard(), ())).map_err(fault)
}

#[cold]
fn fault(error: DecodeError) -> Fault {
    match error {
        DecodeError::UnexpectedEnd { .. } => too_short(),
        DecodeError::Io { inner, .. } => Fault::new(inner),
        other => Fault::new(other),
    }
}

#[cold]
fn too_short() -> Fault {
    Fault::new("the bytes end too early")
}

/// How many elements without bytes a value may still have: a length of such a sequence can't be checked against the
/// bytes that are left.
#[derive(Debug)]
pub(super) struct Budget(u64);

impl Default for Budget {
    fn default() -> Budget {
        Budget(EMPTY_ELEMENTS)
    }
}

impl Budget {
    /// Whether a sequence of `len` elements may have elements without bytes.
    pub(super) fn check(&self, len: u64) -> Result<(), Fault> {
        if len > self.0 { Err(Fault::new("a sequence longer than its bytes")) } else { Ok(()) }
    }

    /// A sequence of `len` elements took this many bytes.
    #[inline]
    pub(super) fn spend(&mut self, len: u64, bytes: u64) -> Result<(), Fault> {
        if len > bytes {
            self.check(len)?;
            self.0 -= len;
        }
        Ok(())
    }
}

struct Counter(u64);

impl Write for Counter {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0 += bytes.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const END: DecodeError = DecodeError::UnexpectedEnd { additional: 0 };
const BUFFER: usize = 512;
/// Elements without bytes in one value.
pub(crate) const EMPTY_ELEMENTS: u64 = 1 << 20;
