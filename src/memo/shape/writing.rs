//! Encoding: what serde says of a value goes to the [`Facts`], its numbers and bytes go to [`Out`].
//!
//! The bytes are exactly those of bincode's own serializer. Refused is what would be read back differently or not at
//! all: lengths that were not announced or not kept, fields left out, more empty elements than [`Budget`] allows.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::{Facts, Fault, Kind, ROOT, element, size};
use crate::memo::codec::{Budget, Out, Plain};

/// One value under way.
pub(in crate::memo) struct Writing<O> {
    pub(in crate::memo) out: O,
    pub(in crate::memo) facts: Facts,
    budget: Budget,
}

impl<O: Out> Writing<O> {
    pub(in crate::memo) fn new(out: O) -> Writing<O> {
        Writing { out, facts: Facts::new(), budget: Budget::default() }
    }

    pub(in crate::memo) fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(Writer { run: self, at: ROOT, depth: 0 })
    }

    #[inline(always)]
    fn number<P: Plain>(&mut self, at: u32, kind: Kind, number: P) -> Result<(), Fault> {
        self.facts.leaf(at, kind);
        self.out.number(number);
        Ok(())
    }

    #[inline(always)]
    fn text(&mut self, at: u32, kind: Kind, bytes: &[u8]) -> Result<(), Fault> {
        self.facts.leaf(at, kind);
        self.out.number(bytes.len() as u64);
        self.out.slice(bytes)
    }

    /// What is inside a container of one place.
    #[inline(always)]
    fn content<T: Serialize + ?Sized>(&mut self, at: u32, depth: u32, value: &T) -> Result<(), Fault> {
        value.serialize(Writer { run: self, at, depth: depth + 1 })
    }

    #[inline(always)]
    fn variant(&mut self, at: u32, name: &'static str, index: u32, key: &'static str) -> u32 {
        let place = self.facts.variant(at, name, index, key);
        self.out.number(index);
        place
    }
}

/// Takes what is at one place.
struct Writer<'a, O> {
    run: &'a mut Writing<O>,
    at: u32,
    /// How many containers it is in.
    depth: u32,
}

impl<'a, O: Out> Writer<'a, O> {
    #[inline(always)]
    fn items(self, kind: Kind, len: Option<usize>) -> Result<Items<'a, O>, Fault> {
        let len = len.ok_or_else(|| Fault::new("a sequence or map that does not know its length"))? as u64;
        let first = self.run.facts.enter(self.at, self.depth, kind, 0)?;
        self.run.out.number(len);
        self.run.out.check()?;
        Ok(Items {
            first,
            depth: self.depth + 1,
            len,
            left: len,
            began: self.run.out.written(),
            run: self.run,
        })
    }

    #[inline(always)]
    fn parts(self, first: u32, size: u32) -> Parts<'a, O> {
        Parts { run: self.run, first, depth: self.depth + 1, next: 0, size }
    }
}

macro_rules! numbers {
    ($($method:ident $number:ty = $kind:ident),*) => {
        $(#[inline(always)]
        fn $method(self, number: $number) -> Result<(), Fault> {
            self.run.number(self.at, Kind::$kind, number)
        })*
    };
}

impl<'a, O: Out> Serializer for Writer<'a, O> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Items<'a, O>;
    type SerializeMap = Items<'a, O>;
    type SerializeTuple = Parts<'a, O>;
    type SerializeTupleStruct = Parts<'a, O>;
    type SerializeTupleVariant = Parts<'a, O>;
    type SerializeStruct = Parts<'a, O>;
    type SerializeStructVariant = Parts<'a, O>;

    numbers!(
        serialize_bool bool = Bool, serialize_char char = Char, serialize_f32 f32 = F32, serialize_f64 f64 = F64,
        serialize_i8 i8 = I8, serialize_i16 i16 = I16, serialize_i32 i32 = I32, serialize_i64 i64 = I64,
        serialize_i128 i128 = I128, serialize_u8 u8 = U8, serialize_u16 u16 = U16, serialize_u32 u32 = U32,
        serialize_u64 u64 = U64, serialize_u128 u128 = U128
    );

    #[inline(always)]
    fn serialize_str(self, text: &str) -> Result<(), Fault> {
        self.run.text(self.at, Kind::Text, text.as_bytes())
    }

    #[inline(always)]
    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Fault> {
        self.run.text(self.at, Kind::Bytes, bytes)
    }

    #[inline(always)]
    fn serialize_none(self) -> Result<(), Fault> {
        self.run.number(self.at, Kind::Option, 0_u8)
    }

    #[inline(always)]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        let inside = self.run.facts.enter(self.at, self.depth, Kind::Option, 0)?;
        self.run.out.number(1_u8);
        self.run.content(inside, self.depth, value)
    }

    #[inline(always)]
    fn serialize_unit(self) -> Result<(), Fault> {
        self.run.facts.leaf(self.at, Kind::Unit);
        Ok(())
    }

    #[inline(always)]
    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Fault> {
        self.run.facts.unit_struct(self.at, name);
        Ok(())
    }

    #[inline(always)]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), Fault> {
        let place = self.run.variant(self.at, name, index, variant);
        self.run.facts.leaf(place, Kind::UnitVariant);
        Ok(())
    }

    #[inline(always)]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        let inside = self.run.facts.enter_named(self.at, self.depth, Kind::Newtype, name, 0)?;
        self.run.content(inside, self.depth, value)
    }

    #[inline(always)]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        let place = self.run.variant(self.at, name, index, variant);
        let inside = self.run.facts.enter(place, self.depth, Kind::NewtypeVariant, 0)?;
        self.run.content(inside, self.depth, value)
    }

    #[inline(always)]
    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'a, O>, Fault> {
        self.items(Kind::Seq, len)
    }

    #[inline(always)]
    fn serialize_map(self, len: Option<usize>) -> Result<Items<'a, O>, Fault> {
        self.items(Kind::Map, len)
    }

    #[inline(always)]
    fn serialize_tuple(self, len: usize) -> Result<Parts<'a, O>, Fault> {
        let size = size(len)?;
        let first = self.run.facts.enter(self.at, self.depth, Kind::Tuple, size)?;
        Ok(self.parts(first, size))
    }

    #[inline(always)]
    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Parts<'a, O>, Fault> {
        let size = size(len)?;
        let first = self.run.facts.enter_named(self.at, self.depth, Kind::TupleStruct, name, size)?;
        Ok(self.parts(first, size))
    }

    #[inline(always)]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'a, O>, Fault> {
        let size = size(len)?;
        let place = self.run.variant(self.at, name, index, variant);
        let first = self.run.facts.enter(place, self.depth, Kind::TupleVariant, size)?;
        Ok(self.parts(first, size))
    }

    #[inline(always)]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Parts<'a, O>, Fault> {
        let size = size(len)?;
        let first = self.run.facts.enter_named(self.at, self.depth, Kind::Struct, name, size)?;
        Ok(self.parts(first, size))
    }

    #[inline(always)]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'a, O>, Fault> {
        let size = size(len)?;
        let place = self.run.variant(self.at, name, index, variant);
        let first = self.run.facts.enter(place, self.depth, Kind::StructVariant, size)?;
        Ok(self.parts(first, size))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a sequence or the entries of a map.
pub(in crate::memo) struct Items<'a, O> {
    run: &'a mut Writing<O>,
    first: u32,
    /// How many containers the elements are in.
    depth: u32,
    /// As announced.
    len: u64,
    left: u64,
    /// How much had been written before the first.
    began: u64,
}

impl<O: Out> Items<'_, O> {
    #[inline(always)]
    fn count(&mut self) -> Result<(), Fault> {
        if self.left == 0 {
            return Err(Fault::new("more elements than announced"));
        }
        self.left -= 1;
        Ok(())
    }

    #[inline(always)]
    fn finish(self) -> Result<(), Fault> {
        if self.left > 0 {
            return Err(Fault::new("fewer elements than announced"));
        }
        self.run.budget.spend(self.len, self.run.out.written() - self.began)
    }
}

impl<O: Out> SerializeSeq for Items<'_, O> {
    type Ok = ();
    type Error = Fault;

    #[inline(always)]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.count()?;
        value.serialize(Writer { run: self.run, at: self.first, depth: self.depth })
    }

    #[inline(always)]
    fn end(self) -> Result<(), Fault> {
        self.finish()
    }
}

impl<O: Out> SerializeMap for Items<'_, O> {
    type Ok = ();
    type Error = Fault;

    #[inline(always)]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        self.count()?;
        key.serialize(Writer { run: self.run, at: self.first, depth: self.depth })
    }

    #[inline(always)]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(Writer { run: self.run, at: self.first + 1, depth: self.depth })
    }

    #[inline(always)]
    fn end(self) -> Result<(), Fault> {
        self.finish()
    }
}

/// The elements of a tuple or the fields of a struct.
pub(in crate::memo) struct Parts<'a, O> {
    run: &'a mut Writing<O>,
    first: u32,
    /// How many containers the elements are in.
    depth: u32,
    next: u32,
    /// As announced.
    size: u32,
}

impl<O: Out> Parts<'_, O> {
    /// Whether there are as many as announced is seen at the end.
    #[inline(always)]
    fn index(&mut self) -> u32 {
        let index = self.next;
        self.next = index.saturating_add(1);
        index
    }

    #[inline(always)]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        let at = element(self.first, self.index());
        value.serialize(Writer { run: self.run, at, depth: self.depth })
    }

    #[inline(always)]
    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Fault> {
        let at = self.first.wrapping_add(self.index());
        let at = self.run.facts.keyed(at, key);
        value.serialize(Writer { run: self.run, at, depth: self.depth })
    }

    #[inline(always)]
    fn finish(self) -> Result<(), Fault> {
        if self.next == self.size { Ok(()) } else { Err(Fault::new("not as many fields as announced")) }
    }
}

/// `#[serde(skip_serializing_if)]`: who reads would take the next field for this one.
#[cold]
fn left_out(key: &'static str) -> Result<(), Fault> {
    Err(Fault::new(format!("field `{key}` is left out of this value")))
}

macro_rules! elements {
    ($($access:ident :: $method:ident),*) => {
        $(impl<O: Out> $access for Parts<'_, O> {
            type Ok = ();
            type Error = Fault;

            #[inline(always)]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                self.element(value)
            }

            #[inline(always)]
            fn end(self) -> Result<(), Fault> {
                self.finish()
            }
        })*
    };
}

macro_rules! fields {
    ($($access:ident),*) => {
        $(impl<O: Out> $access for Parts<'_, O> {
            type Ok = ();
            type Error = Fault;

            #[inline(always)]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Fault> {
                self.field(key, value)
            }

            fn skip_field(&mut self, key: &'static str) -> Result<(), Fault> {
                left_out(key)
            }

            #[inline(always)]
            fn end(self) -> Result<(), Fault> {
                self.finish()
            }
        })*
    };
}

elements!(SerializeTuple::serialize_element, SerializeTupleStruct::serialize_field);
elements!(SerializeTupleVariant::serialize_field);
fields!(SerializeStruct, SerializeStructVariant);
