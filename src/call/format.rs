//! [`Format`]: how the results of one function become bytes and come back. Plain function pointers, so that a core is
//! the same size whatever it computes.

use std::error::Error as StdError;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::memo::codec::{self, Encoded, Undecodable};
use crate::memo::disk::payload::{Payload, Sink};

type Revived = Result<Box<dyn StdError + Send + Sync>, Undecodable>;

/// Turns a kept error back into what the function raised.
#[derive(Debug, Clone, Copy)]
pub struct Revive(pub(super) fn(&[u8], u64) -> Revived);

/// See the [module](self).
pub(super) struct Format<R> {
    /// Runs the value's `Serialize`.
    pub(super) encode: fn(&R, &mut Sink<'_>) -> Result<Encoded, String>,
    /// Runs the value's `Deserialize`.
    pub(super) decode: fn(Payload<'_>, u64) -> Result<R, Undecodable>,
    /// Whether a value that was encoded like this comes back.
    pub(super) survives: fn(&[u8], u64) -> Result<(), String>,
    /// `None`: errors are not kept.
    pub(super) revive: Option<Revive>,
}

impl<R: Serialize + DeserializeOwned + 'static> Format<R> {
    pub(super) fn new() -> Format<R> {
        Format {
            encode: |value, sink| codec::encode(value, sink),
            decode: |payload, shape| match payload {
                Payload::Bytes(bytes) => codec::decode(bytes, shape),
                Payload::Stream(mut reader, len) => codec::decode_from(&mut reader, len, shape),
            },
            survives: codec::survives::<R>,
            revive: None,
        }
    }
}

impl<R> Clone for Format<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Format<R> {}

/// An error of a function whose errors are kept, as bytes.
#[derive(Debug)]
pub struct KeptError {
    pub(super) bytes: Vec<u8>,
    pub(super) shape: u64,
}

impl KeptError {
    /// `None` if it can't be encoded.
    pub(super) fn of<E: Serialize + 'static>(error: &E) -> Option<KeptError> {
        let mut bytes = Vec::new();
        let encoded = codec::encode(error, &mut bytes).ok()?;
        Some(KeptError { bytes, shape: encoded.shape })
    }
}

impl Revive {
    pub(super) fn new<E>() -> Revive
    where
        E: Into<Box<dyn StdError + Send + Sync>> + DeserializeOwned + 'static,
    {
        Revive(|bytes, shape| codec::decode::<E>(bytes, shape).map(Into::into))
    }
}
