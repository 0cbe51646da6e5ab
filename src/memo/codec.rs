//! Values as bytes: the only file that names `bincode`.
//!
//! In memory only the *size* of the encoding is asked for: it is the weight of a result. The pinned release is
//! unmaintained, so everything about it stays behind the functions of this file.

use std::any::Any;
use std::io;

use serde::Serialize;

/// The number of bytes that `value` takes when encoded. Runs the value's `Serialize`, which is user code.
pub(crate) fn encoded_size<T: Serialize + 'static>(value: &T) -> Result<u64, String> {
    if let Some(bytes) = flat_size(value) {
        return Ok(bytes);
    }
    let mut counter = Counter(0);
    bincode::serde::encode_into_std_write(value, &mut counter, bincode::config::standard())
        .map_err(|error| error.to_string())?;
    Ok(counter.0)
}

/// The size of vectors of plain numbers and of strings, which serde would visit element by element: a megabyte of bytes
/// a million times.
fn flat_size(value: &dyn Any) -> Option<u64> {
    macro_rules! flat {
        ($($number:ty),*) => {
            $(if let Some(vector) = value.downcast_ref::<Vec<$number>>() {
                return Some(LENGTH + size_of_val(vector.as_slice()) as u64);
            })*
        };
    }
    const LENGTH: u64 = 9;
    flat!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
    value.downcast_ref::<String>().map(|text| LENGTH + text.len() as u64)
}

struct Counter(u64);

impl io::Write for Counter {
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

#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoded {
    pub(crate) shape: u64,
    pub(crate) bytes: u64,
}
#[derive(Debug)]
pub(crate) enum Undecodable {
    TypeChanged,
    Malformed(String),
}
pub(crate) fn encode<T: Serialize + 'static>(
    value: &T,
    sink: &mut impl io::Write,
) -> Result<Encoded, String> {
    let bytes = bincode::serde::encode_into_std_write(value, sink, bincode::config::standard())
        .map_err(|e| e.to_string())?;
    Ok(Encoded { shape: 7, bytes: bytes as u64 })
}
pub(crate) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8], _shape: u64) -> Result<T, Undecodable> {
    bincode::serde::decode_from_slice(bytes, bincode::config::standard())
        .map(|x| x.0)
        .map_err(|e| Undecodable::Malformed(e.to_string()))
}
pub(crate) fn decode_from<T: serde::de::DeserializeOwned>(
    reader: &mut impl io::BufRead,
    _len: u64,
    _shape: u64,
) -> Result<T, Undecodable> {
    bincode::serde::decode_from_std_read(reader, bincode::config::standard())
        .map_err(|e| Undecodable::Malformed(e.to_string()))
}
pub(crate) fn survives<T: Serialize + serde::de::DeserializeOwned + 'static>(
    bytes: &[u8],
    shape: u64,
) -> Result<(), String> {
    decode::<T>(bytes, shape).map(drop).map_err(|_| "no".into())
}
