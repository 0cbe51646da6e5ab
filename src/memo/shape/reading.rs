//! Decoding: what a type asks serde for goes to the [`Facts`], and is answered from [`In`].
//!
//! Nothing that the bytes say is believed: a length can't be more than the bytes that are left (or, for elements
//! without bytes, than the [`Budget`]), and what is told to a visitor as a hint of size is bounded likewise.

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{Facts, Fault, Kind, ROOT, element, size};
use crate::memo::codec::{Budget, In, Plain};

/// One value under way.
pub(in crate::memo) struct Reading<I> {
    pub(in crate::memo) input: I,
    pub(in crate::memo) facts: Facts,
    budget: Budget,
}

impl<I: In> Reading<I> {
    pub(in crate::memo) fn new(input: I) -> Reading<I> {
        Reading { input, facts: Facts::new(), budget: Budget::default() }
    }

    pub(in crate::memo) fn value<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Fault> {
        T::deserialize(Reader { run: self, at: ROOT, depth: 0 })
    }

    #[inline]
    fn number<P: Plain>(&mut self, at: u32, kind: Kind) -> Result<P, Fault> {
        self.facts.leaf(at, kind);
        self.input.number()
    }

    /// The length of something each element of which should take a byte.
    #[inline]
    fn len(&mut self) -> Result<u64, Fault> {
        let len = self.input.number::<u64>()?;
        if len > self.input.left() {
            self.budget.check(len)?;
        }
        Ok(len)
    }
}

/// Gives what is at one place.
struct Reader<'a, I> {
    run: &'a mut Reading<I>,
    at: u32,
    /// How many containers it is in.
    depth: u32,
}

impl<'a, I: In> Reader<'a, I> {
    /// What is in the one place inside this one.
    #[inline]
    fn inside(self, at: u32) -> Reader<'a, I> {
        Reader { run: self.run, at, depth: self.depth + 1 }
    }

    #[inline]
    fn parts<'de, V: Visitor<'de>>(self, first: u32, len: usize, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Elements { run: self.run, first, depth: self.depth + 1, next: 0, len })
    }

    #[inline]
    fn fields<'de, V: Visitor<'de>>(
        self,
        first: u32,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_seq(Fields { run: self.run, first, depth: self.depth + 1, next: 0, names })
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident = $kind:ident),*) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.$visit(self.run.number(self.at, Kind::$kind)?)
        })*
    };
}

impl<'de, I: In> Deserializer<'de> for Reader<'_, I> {
    type Error = Fault;

    numbers!(
        deserialize_bool visit_bool = Bool, deserialize_char visit_char = Char,
        deserialize_f32 visit_f32 = F32, deserialize_f64 visit_f64 = F64,
        deserialize_i8 visit_i8 = I8, deserialize_i16 visit_i16 = I16, deserialize_i32 visit_i32 = I32,
        deserialize_i64 visit_i64 = I64, deserialize_i128 visit_i128 = I128,
        deserialize_u8 visit_u8 = U8, deserialize_u16 visit_u16 = U16, deserialize_u32 visit_u32 = U32,
        deserialize_u64 visit_u64 = U64, deserialize_u128 visit_u128 = U128
    );

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.run.facts.leaf(self.at, Kind::Text);
        let len = self.run.input.number::<u64>()?;
        self.run.input.text(len, visitor)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.run.facts.leaf(self.at, Kind::Bytes);
        let len = self.run.input.number::<u64>()?;
        self.run.input.bytes(len, visitor)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.run.input.number::<u8>()? {
            0 => {
                self.run.facts.leaf(self.at, Kind::Option);
                visitor.visit_none()
            }
            1 => {
                let at = self.run.facts.enter(self.at, self.depth, Kind::Option, 0)?;
                visitor.visit_some(self.inside(at))
            }
            other => Err(Fault::new(format!("{other} is neither Some nor None"))),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.run.facts.leaf(self.at, Kind::Unit);
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.run.facts.unit_struct(self.at, name);
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let at = self.run.facts.enter_named(self.at, self.depth, Kind::Newtype, name, 0)?;
        visitor.visit_newtype_struct(self.inside(at))
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let first = self.run.facts.enter(self.at, self.depth, Kind::Seq, 0)?;
        let mut items = Items::new(self.run, first, self.depth + 1)?;
        let value = visitor.visit_seq(&mut items)?;
        items.finish()?;
        Ok(value)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let first = self.run.facts.enter(self.at, self.depth, Kind::Map, 0)?;
        let mut items = Items::new(self.run, first, self.depth + 1)?;
        let value = visitor.visit_map(&mut items)?;
        items.finish()?;
        Ok(value)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        let first = self.run.facts.enter(self.at, self.depth, Kind::Tuple, size(len)?)?;
        self.parts(first, len, visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let first = self.run.facts.enter_named(self.at, self.depth, Kind::TupleStruct, name, size(len)?)?;
        self.parts(first, len, visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let first =
            self.run.facts.enter_named(self.at, self.depth, Kind::Struct, name, size(fields.len())?)?;
        self.fields(first, fields, visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(Variants { at: self, name, variants })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(Fault::new(
            "the type can only be read from a format that describes itself (untagged, flattened, `Value`)",
        ))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a sequence or the entries of a map.
struct Items<'a, I> {
    run: &'a mut Reading<I>,
    first: u32,
    /// How many containers the elements are in.
    depth: u32,
    len: u64,
    left: u64,
    /// How many bytes were left before the first.
    began: u64,
}

impl<'a, I: In> Items<'a, I> {
    #[inline]
    fn new(run: &'a mut Reading<I>, first: u32, depth: u32) -> Result<Items<'a, I>, Fault> {
        let len = run.len()?;
        Ok(Items { first, depth, len, left: len, began: run.input.left(), run })
    }

    #[inline]
    fn finish(self) -> Result<(), Fault> {
        if self.left > 0 {
            return Err(Fault::new("elements are left over"));
        }
        self.run.budget.spend(self.len, self.began - self.run.input.left())
    }

    fn hint(&self) -> Option<usize> {
        usize::try_from(self.left.min(self.run.input.left())).ok()
    }
}

impl<'de, I: In> SeqAccess<'de> for Items<'_, I> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(Reader { run: &mut *self.run, at: self.first, depth: self.depth }).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de, I: In> MapAccess<'de> for Items<'_, I> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(Reader { run: &mut *self.run, at: self.first, depth: self.depth }).map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        seed.deserialize(Reader { run: &mut *self.run, at: self.first + 1, depth: self.depth })
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

/// The elements of a tuple.
struct Elements<'a, I> {
    run: &'a mut Reading<I>,
    first: u32,
    /// How many containers the elements are in.
    depth: u32,
    next: u32,
    len: usize,
}

impl<'de, I: In> SeqAccess<'de> for Elements<'_, I> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        if self.next as usize == self.len {
            return Ok(None);
        }
        let at = element(self.first, self.next);
        self.next += 1;
        seed.deserialize(Reader { run: &mut *self.run, at, depth: self.depth }).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.len - self.next as usize)
    }
}

/// The fields of a struct.
struct Fields<'a, I> {
    run: &'a mut Reading<I>,
    first: u32,
    /// How many containers the elements are in.
    depth: u32,
    next: u32,
    names: &'static [&'static str],
}

impl<'de, I: In> SeqAccess<'de> for Fields<'_, I> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(&name) = self.names.get(self.next as usize) else { return Ok(None) };
        let at = self.run.facts.keyed(self.first + self.next, name);
        self.next += 1;
        seed.deserialize(Reader { run: &mut *self.run, at, depth: self.depth }).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.names.len() - self.next as usize)
    }
}

/// An enum, of which the variant is not known yet.
struct Variants<'a, I> {
    at: Reader<'a, I>,
    name: &'static str,
    variants: &'static [&'static str],
}

impl<'de, 'a, I: In> EnumAccess<'de> for Variants<'a, I> {
    type Error = Fault;
    /// At the place of the variant.
    type Variant = Reader<'a, I>;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Reader<'a, I>), Fault> {
        let Reader { run, at, depth } = self.at;
        let index = run.input.number::<u32>()?;
        let Some(&variant) = self.variants.get(index as usize) else {
            return Err(Fault::new(format!("`{}` has no variant {index}", self.name)));
        };
        let at = run.facts.variant(at, self.name, index, variant);
        let value = seed.deserialize(IntoDeserializer::<Fault>::into_deserializer(index))?;
        Ok((value, Reader { run, at, depth }))
    }
}

impl<'de, I: In> VariantAccess<'de> for Reader<'_, I> {
    type Error = Fault;

    #[inline]
    fn unit_variant(self) -> Result<(), Fault> {
        self.run.facts.leaf(self.at, Kind::UnitVariant);
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let at = self.run.facts.enter(self.at, self.depth, Kind::NewtypeVariant, 0)?;
        seed.deserialize(self.inside(at))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        let first = self.run.facts.enter(self.at, self.depth, Kind::TupleVariant, size(len)?)?;
        self.parts(first, len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let first = self.run.facts.enter(self.at, self.depth, Kind::StructVariant, size(fields.len())?)?;
        self.fields(first, fields, visitor)
    }
}
