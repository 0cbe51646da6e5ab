//! The canonical encoding: arguments to bytes, bytes to a [`SlotKey`].
//!
//! This is a stable format: version 1, named in every function's digest, held in place by `tests/golden/keys.txt`. It is written,
//! never read: all it must do is to give equal values equal bytes and different values different ones. Every value
//! starts with a tag, so it describes itself, and even values whose shape depends on their content (`untagged` enums, JSON
//! trees) can't be mistaken for one another. `text` is the length in bytes as a varint (LEB128: 7 bits a byte, low ones
//! first), then UTF-8. Numbers are little-endian.
//!
//! | tag | value | then |
//! |---|---|---|
//! | `00` | end of a list, map or struct | |
//! | `01` `02` | `false`, `true` | |
//! | `03` `04` | `()`, `None` | |
//! | `05` | `Some` | the value |
//! | `10`–`14` | `i8` `i16` `i32` `i64` `i128` | 1, 2, 4, 8, 16 bytes |
//! | `18`–`1c` | `u8` `u16` `u32` `u64` `u128` | 1, 2, 4, 8, 16 bytes |
//! | `20` `21` | `f32` `f64` | 4, 8 bytes: the bits, so `0.0`, `-0.0` and each NaN differ, as a function could tell them apart |
//! | `22` | `char` | 4 bytes |
//! | `28` | string | text |
//! | `29` | byte string (`serialize_bytes`) | length as a varint, the bytes |
//! | `2a` | a run of `u8` elements of one list | their count (1 byte), the bytes; a run of more than 128 is cut after every 128th |
//! | `30` | sequence | elements, `00` |
//! | `31` | tuple, array | elements, `00` |
//! | `32` | map | key, value, key, value … sorted by their bytes, `00` |
//! | `33` | [`Unordered`](super::Unordered) | the value, whose outermost list has its elements sorted by their bytes |
//! | `38` | unit struct | name as text |
//! | `39` | newtype struct | name as text, the value |
//! | `3a` | tuple struct | name as text, elements, `00` |
//! | `3b` | struct | name as text, fields, `00` |
//! | `40` | unit variant | variant (below) |
//! | `41` | newtype variant | variant, the value |
//! | `42` | tuple variant | variant, elements, `00` |
//! | `43` | struct variant | variant, fields, `00` |
//! | `48` | a field | name as text, the value |
//!
//! A variant is the enum's name as text, the index as a varint, `28` and the variant's name as text.
//!
//! - **Terminators, not counts**: a sequence of unknown length gives the same bytes as one of known length, and a hand-written
//!   `Serialize` that announces a wrong length can't make two values collide.
//! - **Names** of types, fields and variants are included: what was renamed or reordered is a miss, never a misread. A field
//!   that is skipped writes nothing: the names of the others tell it from a present one.
//! - **Runs of bytes**: serde shows `&[u8]` as a sequence of single `u8`s. Inside one list they are gathered, so that a
//!   megabyte of them is not two megabytes to hash. Where the list is an argument by itself, its runs are copied whole.
//!   (What is shown as one byte string, as `serde_bytes` does, is as fast anywhere.)
//! - Arguments follow each other without a frame ([`Encoder::arg`]: their number is part of the function) or as the one
//!   value that they are ([`Encoder::args`]). In the place of one that is [ignored](Encoder::ignored) stands `00`, with which no
//!   value begins: so which of them are ignored is part of the key, and nothing else of the function says it. Serializers see
//!   `is_human_readable() == false`.

use std::any::Any;
use std::fmt;

use serde::ser::{self, Serialize};

use super::SlotKey;
use super::bytes::Out;
use super::value::{Place, Ser};

/// The first byte of every value, as in the table above.
pub(super) mod tag {
    pub(crate) const END: u8 = 0x00;
    pub(crate) const FALSE: u8 = 0x01;
    pub(crate) const TRUE: u8 = 0x02;
    pub(crate) const UNIT: u8 = 0x03;
    pub(crate) const NONE: u8 = 0x04;
    pub(crate) const SOME: u8 = 0x05;
    pub(crate) const I8: u8 = 0x10;
    pub(crate) const I16: u8 = 0x11;
    pub(crate) const I32: u8 = 0x12;
    pub(crate) const I64: u8 = 0x13;
    pub(crate) const I128: u8 = 0x14;
    pub(crate) const U8: u8 = 0x18;
    pub(crate) const U16: u8 = 0x19;
    pub(crate) const U32: u8 = 0x1a;
    pub(crate) const U64: u8 = 0x1b;
    pub(crate) const U128: u8 = 0x1c;
    pub(crate) const F32: u8 = 0x20;
    pub(crate) const F64: u8 = 0x21;
    pub(crate) const CHAR: u8 = 0x22;
    pub(crate) const STR: u8 = 0x28;
    pub(crate) const BYTES: u8 = 0x29;
    pub(crate) const RUN: u8 = 0x2a;
    pub(crate) const SEQ: u8 = 0x30;
    pub(crate) const TUPLE: u8 = 0x31;
    pub(crate) const MAP: u8 = 0x32;
    pub(crate) const UNORDERED: u8 = 0x33;
    pub(crate) const UNIT_STRUCT: u8 = 0x38;
    pub(crate) const NEWTYPE_STRUCT: u8 = 0x39;
    pub(crate) const TUPLE_STRUCT: u8 = 0x3a;
    pub(crate) const STRUCT: u8 = 0x3b;
    pub(crate) const UNIT_VARIANT: u8 = 0x40;
    pub(crate) const NEWTYPE_VARIANT: u8 = 0x41;
    pub(crate) const TUPLE_VARIANT: u8 = 0x42;
    pub(crate) const STRUCT_VARIANT: u8 = 0x43;
    pub(crate) const FIELD: u8 = 0x48;
}

/// Turns the arguments of one call into its key. Made for code that `#[memo]` generates.
///
/// After an error, or a panic inside `Serialize`, it is of no use for a key.
pub struct Encoder<'a> {
    out: Out<'a>,
    name: Option<&'static str>,
    func: u32,
    inline: bool,
}

impl<'a> Encoder<'a> {
    /// For a call of the function with this digest and this id in this process. Without `inline` the result is always
    /// made from a [`Key`], even if the arguments are small.
    #[inline]
    pub(crate) fn new(function_digest: &'a [u8; 32], func: u32, inline: bool) -> Self {
        Self { out: Out::new(function_digest), name: None, func, inline }
    }

    /// Adds the next argument; `position` counts from 1.
    ///
    /// # Errors
    ///
    /// What the argument's `Serialize` reports.
    #[inline]
    pub fn arg<T: Serialize + ?Sized>(
        &mut self,
        position: usize,
        name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.out.position = position;
        self.name = Some(name);
        self.encode(value, Place::Alone)
    }

    /// As [`arg`](Self::arg) of a list of bytes, to the same key: it is copied by the run, not byte by byte.
    ///
    /// # Errors
    ///
    /// None; it has them to be called as `arg` is.
    #[inline]
    pub fn bytes<T: AsRef<[u8]> + ?Sized>(
        &mut self,
        position: usize,
        name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.out.position = position;
        self.name = Some(name);
        self.out.byte_list(value.as_ref());
        Ok(())
    }

    /// Takes the place of the next argument, which is no part of the key.
    #[inline]
    pub fn ignored(&mut self) {
        self.out.put([tag::END]);
    }

    /// As [`args`](Self::args), for a type that can be asked whether it is a list of bytes.
    #[inline]
    pub(crate) fn any_args<T: Serialize + 'static>(&mut self, value: &T) -> Result<(), EncodeError> {
        match (value as &dyn Any).downcast_ref::<Vec<u8>>() {
            Some(bytes) => {
                self.out.byte_list(bytes);
                Ok(())
            }
            None => self.args(value),
        }
    }

    /// Adds all arguments, given as one value. If it is a tuple, its elements are the arguments that errors count.
    #[inline]
    pub(crate) fn args<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.out.position = 1;
        self.name = None;
        self.encode(value, Place::Arguments)
    }

    /// What is hashed for this one value.
    #[cfg(test)]
    pub(super) fn bytes_of<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
        let mut out = Out::new(&[0; 32]);
        let sorting = out.sort();
        let place = Place::Alone;
        let done = value.serialize(Ser { out: &mut out, place });
        done.expect("test values can be encoded");
        out.into_scratch(sorting)
    }

    #[inline]
    fn encode<T: Serialize + ?Sized>(&mut self, value: &T, place: Place<'_>) -> Result<(), EncodeError> {
        let out = &mut self.out;
        match value.serialize(Ser { out, place }) {
            Ok(()) if self.out.whole() => Ok(()),
            Ok(()) => Err(self.error("its Serialize went on after an error".to_owned())),
            Err(Refused(reason)) => Err(self.error(*reason)),
        }
    }

    /// What to report when `Serialize` panicked with `message`: names the argument it was in.
    #[cold]
    pub(crate) fn panicked(&self, message: impl fmt::Display) -> EncodeError {
        self.error(format!("its Serialize panicked: {message}"))
    }

    #[cold]
    fn error(&self, text: String) -> EncodeError {
        EncodeError(Box::new(Reason { position: self.out.position, name: self.name, text }))
    }

    /// The key of all that was added.
    #[inline]
    pub(crate) fn finish(&mut self) -> SlotKey {
        let mut slot = SlotKey::EMPTY;
        self.finish_in(&mut slot);
        slot
    }

    /// As [`finish`](Self::finish), to where the key is wanted.
    #[inline(always)]
    pub(crate) fn finish_in(&mut self, slot: &mut SlotKey) {
        self.out.finish(self.func, self.inline, slot);
    }
}

impl fmt::Debug for Encoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("position", &self.out.position)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// An argument that can't be encoded: which one, and why (in the words of its `Serialize`).
///
/// Boxed: one word, so that `Ok(())` comes back in a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError(Box<Reason>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Reason {
    position: usize,
    name: Option<&'static str>,
    text: String,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reason { position, name, text } = &*self.0;
        write!(f, "argument {position}")?;
        if let Some(name) = name {
            write!(f, " (`{name}`)")?;
        }
        write!(f, " can't be encoded: {text}")
    }
}

impl std::error::Error for EncodeError {}

/// The error while it travels up. Boxed: one word, so that `Ok(())` comes back in a register.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "a `Box<str>` is two words")]
pub(super) struct Refused(Box<String>);

impl ser::Error for Refused {
    #[cold]
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self(Box::new(reason.to_string()))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}
