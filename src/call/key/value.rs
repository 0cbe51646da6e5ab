//! Any value to canonical bytes: the serializer. What each method writes stands in the table of [`encode`](super::encode).

use std::fmt;

use serde::ser::{self, Serialize, Serializer};

use super::UNORDERED_NAME;
use super::bytes::Out;
use super::encode::{Refused, tag};
use super::parts::{Entries, Fields, Items, Run};

/// Where in an argument a value stands.
pub(super) enum Place<'s> {
    /// Nowhere of note.
    Alone,
    /// It is all arguments of a call at once.
    Arguments,
    /// Directly inside [`Unordered`](super::Unordered).
    Unordered,
    /// It is an element of a list, whose current run of bytes this is.
    Element(&'s mut Run),
}

/// Writes one value.
pub(super) struct Ser<'s, 'a> {
    pub(super) out: &'s mut Out<'a>,
    pub(super) place: Place<'s>,
}

impl<'s, 'a> Ser<'s, 'a> {
    /// Every value that is not a `u8` ends the run of bytes before it.
    #[inline(always)]
    fn begin(self) -> &'s mut Out<'a> {
        if let Place::Element(run) = self.place {
            run.end(self.out);
        }
        self.out
    }

    /// The value inside an `Option` or a newtype.
    #[inline]
    fn inner<T: Serialize + ?Sized>(
        self,
        value: &T,
        write: impl FnOnce(&mut Out<'a>),
    ) -> Result<(), Refused> {
        let place = match self.place {
            Place::Unordered => Place::Unordered,
            _ => Place::Alone,
        };
        let out = self.begin();
        write(out);
        value.serialize(Ser { out, place })
    }

    #[inline(always)]
    fn items(self, write: impl FnOnce(&mut Out<'a>)) -> Items<'s, 'a> {
        let sort = matches!(self.place, Place::Unordered);
        let out = self.begin();
        write(out);
        Items::new(out, sort)
    }

    #[inline]
    fn fields(self, write: impl FnOnce(&mut Out<'a>)) -> Fields<'s, 'a> {
        let out = self.begin();
        write(out);
        Fields::new(out)
    }
}

/// Methods that write a tag and a number, whose type has that many bytes.
macro_rules! numbers {
    ($($method:ident $type:ty, $tag:ident;)*) => {$(
        #[inline(always)]
        fn $method(self, number: $type) -> Result<(), Refused> {
            const BYTES: usize = size_of::<$type>();
            self.begin().number::<BYTES, { BYTES + 1 }>(tag::$tag, number.to_le_bytes());
            Ok(())
        }
    )*};
}

impl<'s, 'a> Serializer for Ser<'s, 'a> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Items<'s, 'a>;
    type SerializeTuple = Items<'s, 'a>;
    type SerializeTupleStruct = Items<'s, 'a>;
    type SerializeTupleVariant = Items<'s, 'a>;
    type SerializeMap = Entries<'s, 'a>;
    type SerializeStruct = Fields<'s, 'a>;
    type SerializeStructVariant = Fields<'s, 'a>;

    numbers! {
        serialize_i8 i8, I8;
        serialize_i16 i16, I16;
        serialize_i32 i32, I32;
        serialize_i64 i64, I64;
        serialize_i128 i128, I128;
        serialize_u16 u16, U16;
        serialize_u32 u32, U32;
        serialize_u64 u64, U64;
        serialize_u128 u128, U128;
        serialize_f32 f32, F32;
        serialize_f64 f64, F64;
    }

    #[inline(always)]
    fn serialize_u8(self, byte: u8) -> Result<(), Refused> {
        match self.place {
            Place::Element(run) => run.push(byte, self.out),
            _ => self.out.put([tag::U8, byte]),
        }
        Ok(())
    }

    #[inline(always)]
    fn serialize_bool(self, value: bool) -> Result<(), Refused> {
        self.begin().put([if value { tag::TRUE } else { tag::FALSE }]);
        Ok(())
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), Refused> {
        self.begin().number::<4, 5>(tag::CHAR, u32::from(value).to_le_bytes());
        Ok(())
    }

    #[inline(always)]
    fn serialize_str(self, value: &str) -> Result<(), Refused> {
        self.begin().string(tag::STR, value.as_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refused> {
        self.begin().text(tag::BYTES, value);
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Refused> {
        let mut text = Text::new();
        fmt::write(&mut text, format_args!("{value}")).map_err(ser::Error::custom)?;
        self.begin().text(tag::STR, text.bytes());
        Ok(())
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Refused> {
        self.begin().put([tag::UNIT]);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Refused> {
        self.begin().put([tag::NONE]);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.inner(value, |out| out.put([tag::SOME]))
    }

    #[inline]
    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Refused> {
        self.begin().text(tag::UNIT_STRUCT, name.as_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        if name == UNORDERED_NAME {
            let out = self.begin();
            out.put([tag::UNORDERED]);
            let place = Place::Unordered;
            return value.serialize(Ser { out, place });
        }
        self.inner(value, |out| out.text(tag::NEWTYPE_STRUCT, name.as_bytes()))
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), Refused> {
        self.begin().variant(tag::UNIT_VARIANT, name, index, variant);
        Ok(())
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.inner(value, |out| out.variant(tag::NEWTYPE_VARIANT, name, index, variant))
    }

    #[inline]
    fn serialize_seq(self, _len: Option<usize>) -> Result<Items<'s, 'a>, Refused> {
        Ok(self.items(|out| out.put([tag::SEQ])))
    }

    /// As serde does it, but in one function: long lists of bytes need it inlined.
    #[inline]
    fn collect_seq<I>(self, elements: I) -> Result<(), Refused>
    where
        I: IntoIterator<Item: Serialize>,
    {
        let mut items = self.items(|out| out.put([tag::SEQ]));
        for element in elements {
            items.item(&element)?;
        }
        items.end()
    }

    #[inline(always)]
    fn serialize_tuple(self, _len: usize) -> Result<Items<'s, 'a>, Refused> {
        let follow = matches!(self.place, Place::Arguments);
        let mut items = self.items(|out| out.put([tag::TUPLE]));
        if follow {
            items.follow();
        }
        Ok(items)
    }

    #[inline]
    fn serialize_tuple_struct(self, name: &'static str, _len: usize) -> Result<Items<'s, 'a>, Refused> {
        Ok(self.items(|out| out.text(tag::TUPLE_STRUCT, name.as_bytes())))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Items<'s, 'a>, Refused> {
        Ok(self.items(|out| out.variant(tag::TUPLE_VARIANT, name, index, variant)))
    }

    #[inline]
    fn serialize_map(self, _len: Option<usize>) -> Result<Entries<'s, 'a>, Refused> {
        let out = self.begin();
        out.put([tag::MAP]);
        Ok(Entries::new(out))
    }

    #[inline(always)]
    fn serialize_struct(self, name: &'static str, _len: usize) -> Result<Fields<'s, 'a>, Refused> {
        Ok(self.fields(|out| out.text(tag::STRUCT, name.as_bytes())))
    }

    #[inline(always)]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Fields<'s, 'a>, Refused> {
        Ok(self.fields(|out| out.variant(tag::STRUCT_VARIANT, name, index, variant)))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// What a `Display` writes: nothing is allocated while it is short.
struct Text {
    short: [u8; 64],
    len: usize,
    long: Vec<u8>,
}

impl Text {
    fn new() -> Self {
        Self { short: [0; 64], len: 0, long: Vec::new() }
    }

    fn bytes(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..self.len] } else { &self.long }
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        if let Some(room) = self.short.get_mut(self.len..end) {
            room.copy_from_slice(text.as_bytes());
            self.len = end;
            return Ok(());
        }
        if self.long.is_empty() {
            self.long.extend_from_slice(&self.short[..self.len]);
        }
        self.long.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
