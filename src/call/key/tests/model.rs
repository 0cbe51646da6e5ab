//! A model of every value that serde knows, and a reader of the encoding. If what is written can be read back, no two
//! different values have the same bytes.

use proptest::prelude::*;
use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::super::Unordered;
use super::bytes;

type Name = &'static str;

/// Few and alike, so that random values come close to one another. Serde wants names that live for ever.
const NAMES: [Name; 5] = ["", "a", "ab", "b", "a name of more than fifty bytes, which does not fit in"];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Bool(bool),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    I128(i128),
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    U128(u128),
    /// Floats by their bits, so that values have an order.
    F32(u32),
    F64(u64),
    Char(char),
    Str(String),
    Bytes(Vec<u8>),
    Unit,
    Absent,
    Present(Box<Value>),
    Seq(Vec<Value>),
    Tuple(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    UnitStruct(Name),
    NewtypeStruct(Name, Box<Value>),
    TupleStruct(Name, Vec<Value>),
    Struct(Name, Vec<(Name, Value)>),
    UnitVariant(Variant),
    NewtypeVariant(Variant, Box<Value>),
    TupleVariant(Variant, Vec<Value>),
    StructVariant(Variant, Vec<(Name, Value)>),
}

/// The enum's name, the index, the variant's name.
type Variant = (Name, u32, Name);

use Value::*;

impl Value {
    /// The same value with its maps and sets in order.
    fn sorted(self) -> Self {
        let all = |list: Vec<Value>| -> Vec<Value> { list.into_iter().map(Value::sorted).collect() };
        let fields = |list: Vec<(Name, Value)>| -> Vec<(Name, Value)> {
            list.into_iter().map(|(name, value)| (name, value.sorted())).collect()
        };
        match self {
            Present(value) => Present(Box::new(value.sorted())),
            Seq(list) => Seq(all(list)),
            Tuple(list) => Tuple(all(list)),
            Map(list) => {
                let pairs = list.into_iter().map(|(key, value)| (key.sorted(), value.sorted()));
                let mut pairs: Vec<_> = pairs.collect();
                pairs.sort();
                Map(pairs)
            }
            Set(list) => {
                let mut list = all(list);
                list.sort();
                Set(list)
            }
            NewtypeStruct(name, value) => NewtypeStruct(name, Box::new(value.sorted())),
            TupleStruct(name, list) => TupleStruct(name, all(list)),
            Struct(name, list) => Struct(name, fields(list)),
            NewtypeVariant(variant, value) => NewtypeVariant(variant, Box::new(value.sorted())),
            TupleVariant(variant, list) => TupleVariant(variant, all(list)),
            StructVariant(variant, list) => StructVariant(variant, fields(list)),
            plain => plain,
        }
    }

    /// The same value with its outer map or set the other way round.
    fn reversed(mut self) -> Self {
        match &mut self {
            Map(list) => list.reverse(),
            Set(list) => list.reverse(),
            _ => {}
        }
        self
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Bool(v) => s.serialize_bool(*v),
            I8(v) => s.serialize_i8(*v),
            I16(v) => s.serialize_i16(*v),
            I32(v) => s.serialize_i32(*v),
            I64(v) => s.serialize_i64(*v),
            I128(v) => s.serialize_i128(*v),
            U8(v) => s.serialize_u8(*v),
            U16(v) => s.serialize_u16(*v),
            U32(v) => s.serialize_u32(*v),
            U64(v) => s.serialize_u64(*v),
            U128(v) => s.serialize_u128(*v),
            F32(v) => s.serialize_f32(f32::from_bits(*v)),
            F64(v) => s.serialize_f64(f64::from_bits(*v)),
            Char(v) => s.serialize_char(*v),
            Str(v) => s.serialize_str(v),
            Bytes(v) => s.serialize_bytes(v),
            Unit => s.serialize_unit(),
            Absent => s.serialize_none(),
            Present(v) => s.serialize_some(v),
            Seq(list) => {
                let mut s = s.serialize_seq(None)?;
                list.iter().try_for_each(|v| s.serialize_element(v))?;
                s.end()
            }
            Tuple(list) => {
                let mut s = s.serialize_tuple(list.len())?;
                list.iter().try_for_each(|v| s.serialize_element(v))?;
                s.end()
            }
            Map(list) => {
                let mut s = s.serialize_map(None)?;
                list.iter().try_for_each(|(k, v)| s.serialize_entry(k, v))?;
                s.end()
            }
            Set(list) => Unordered(list).serialize(s),
            UnitStruct(name) => s.serialize_unit_struct(name),
            NewtypeStruct(name, v) => s.serialize_newtype_struct(name, v),
            TupleStruct(name, list) => {
                let mut s = s.serialize_tuple_struct(name, list.len())?;
                list.iter().try_for_each(|v| s.serialize_field(v))?;
                s.end()
            }
            Struct(name, list) => {
                let mut s = s.serialize_struct(name, list.len())?;
                list.iter().try_for_each(|(k, v)| s.serialize_field(k, v))?;
                s.end()
            }
            UnitVariant((name, at, variant)) => s.serialize_unit_variant(name, *at, variant),
            NewtypeVariant((name, at, variant), v) => s.serialize_newtype_variant(name, *at, variant, v),
            TupleVariant((name, at, variant), list) => {
                let mut s = s.serialize_tuple_variant(name, *at, variant, list.len())?;
                list.iter().try_for_each(|v| s.serialize_field(v))?;
                s.end()
            }
            StructVariant((name, at, variant), list) => {
                let mut s = s.serialize_struct_variant(name, *at, variant, list.len())?;
                list.iter().try_for_each(|(k, v)| s.serialize_field(k, v))?;
                s.end()
            }
        }
    }
}

/// Reads the encoding, by the table in its documentation alone.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_first_chunk().expect("bytes left");
        self.0 = rest;
        *head
    }

    fn varint(&mut self) -> u64 {
        let [byte] = self.take();
        let low = u64::from(byte & 0x7f);
        if byte < 0x80 { low } else { low | self.varint() << 7 }
    }

    fn some_bytes(&mut self) -> Vec<u8> {
        let len = self.varint();
        (0..len).flat_map(|_| self.take::<1>()).collect()
    }

    fn name(&mut self) -> Name {
        let text = self.some_bytes();
        let known = NAMES.iter().find(|name| name.as_bytes() == text);
        known.expect("a name that was written")
    }

    fn variant(&mut self) -> Variant {
        let name = self.name();
        let at = self.varint() as u32;
        assert_eq!(self.take(), [0x28]);
        (name, at, self.name())
    }

    fn end(&mut self) -> bool {
        let end = self.0.first() == Some(&0);
        if end {
            self.take::<1>();
        }
        end
    }

    fn list(&mut self) -> Vec<Value> {
        let mut list = Vec::new();
        while !self.end() {
            if self.0.first() == Some(&0x2a) {
                let [_, count] = self.take();
                list.extend((0..count).map(|_| U8(u8::from_le_bytes(self.take()))));
            } else {
                list.push(self.value());
            }
        }
        list
    }

    fn fields(&mut self) -> Vec<(Name, Value)> {
        let mut list = Vec::new();
        while !self.end() {
            assert_eq!(self.take(), [0x48]);
            list.push((self.name(), self.value()));
        }
        list
    }

    fn boxed(&mut self) -> Box<Value> {
        Box::new(self.value())
    }

    fn value(&mut self) -> Value {
        let [tag] = self.take();
        match tag {
            0x01 => Bool(false),
            0x02 => Bool(true),
            0x03 => Unit,
            0x04 => Absent,
            0x05 => Present(self.boxed()),
            0x10 => I8(i8::from_le_bytes(self.take())),
            0x11 => I16(i16::from_le_bytes(self.take())),
            0x12 => I32(i32::from_le_bytes(self.take())),
            0x13 => I64(i64::from_le_bytes(self.take())),
            0x14 => I128(i128::from_le_bytes(self.take())),
            0x18 => U8(u8::from_le_bytes(self.take())),
            0x19 => U16(u16::from_le_bytes(self.take())),
            0x1a => U32(u32::from_le_bytes(self.take())),
            0x1b => U64(u64::from_le_bytes(self.take())),
            0x1c => U128(u128::from_le_bytes(self.take())),
            0x20 => F32(u32::from_le_bytes(self.take())),
            0x21 => F64(u64::from_le_bytes(self.take())),
            0x22 => Char(char::from_u32(u32::from_le_bytes(self.take())).expect("a char")),
            0x28 => Str(String::from_utf8(self.some_bytes()).expect("UTF-8")),
            0x29 => Bytes(self.some_bytes()),
            0x30 => Seq(self.list()),
            0x31 => Tuple(self.list()),
            0x32 => {
                let mut list = Vec::new();
                while !self.end() {
                    list.push((self.value(), self.value()));
                }
                Map(list)
            }
            0x33 => match self.value() {
                Seq(list) => Set(list),
                other => panic!("{other:?} in a set"),
            },
            0x38 => UnitStruct(self.name()),
            0x39 => NewtypeStruct(self.name(), self.boxed()),
            0x3a => TupleStruct(self.name(), self.list()),
            0x3b => Struct(self.name(), self.fields()),
            0x40 => UnitVariant(self.variant()),
            0x41 => NewtypeVariant(self.variant(), self.boxed()),
            0x42 => TupleVariant(self.variant(), self.list()),
            0x43 => StructVariant(self.variant(), self.fields()),
            other => panic!("unknown tag {other:#x}"),
        }
    }
}

fn name() -> impl Strategy<Value = Name> {
    prop::sample::select(&NAMES[..])
}

fn variant() -> impl Strategy<Value = Variant> {
    (name(), prop::sample::select(&[0, 1, 200, u32::MAX][..]), name())
}

/// Mostly small numbers and short texts, so that different types hold the same bytes.
fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Bool),
        (0..3i8).prop_map(I8),
        (-1..3i16).prop_map(I16),
        (0..3i32).prop_map(I32),
        any::<i64>().prop_map(I64),
        any::<i128>().prop_map(I128),
        any::<u8>().prop_map(U8),
        (0..2u8).prop_map(U8),
        (0..300u16).prop_map(U16),
        (0..3u32).prop_map(U32),
        (0..3u64).prop_map(U64),
        any::<u128>().prop_map(U128),
        any::<u32>().prop_map(F32),
        any::<u64>().prop_map(F64),
        any::<char>().prop_map(Char),
        "[ab\u{0}0]{0,3}".prop_map(Str),
        "[ab]{40,200}".prop_map(Str),
        prop::collection::vec(0..3u8, 0..4).prop_map(Bytes),
        Just(Unit),
        Just(Absent),
        name().prop_map(UnitStruct),
        variant().prop_map(UnitVariant),
        prop::collection::vec((0..4u8).prop_map(U8), 0..300).prop_map(Seq),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 40, 5, |inner| {
        let list = || prop::collection::vec(inner.clone(), 0..5);
        let fields = || prop::collection::vec((name(), inner.clone()), 0..4);
        let one = || inner.clone().prop_map(Box::new);
        prop_oneof![
            one().prop_map(Present),
            list().prop_map(Seq),
            list().prop_map(Tuple),
            list().prop_map(Set),
            prop::collection::vec((inner.clone(), inner.clone()), 0..5).prop_map(Map),
            (name(), one()).prop_map(|(name, value)| NewtypeStruct(name, value)),
            (name(), list()).prop_map(|(name, list)| TupleStruct(name, list)),
            (name(), fields()).prop_map(|(name, list)| Struct(name, list)),
            (variant(), one()).prop_map(|(variant, value)| NewtypeVariant(variant, value)),
            (variant(), list()).prop_map(|(variant, list)| TupleVariant(variant, list)),
            (variant(), fields()).prop_map(|(variant, list)| StructVariant(variant, list)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_value_can_be_read_back_from_its_bytes(value in value()) {
        // Two different arguments with the same bytes: one is answered with the other's result.
        let encoded = bytes(&value);
        let mut reader = Reader(&encoded);
        let read = reader.value();
        prop_assert!(reader.0.is_empty());
        prop_assert_eq!(read.sorted(), value.clone().sorted());
        prop_assert_eq!(bytes(&value.clone().sorted()), encoded.clone());
        prop_assert_eq!(bytes(&value.reversed()), encoded);
    }

    #[test]
    fn equal_bytes_mean_equal_values(a in leaf(), b in leaf(), c in value(), d in value()) {
        // As above, for pairs; and no encoding begins another one, or arguments next to each other could be cut differently.
        for (a, b) in [(a, b), (c, d)] {
            let (x, y) = (bytes(&a), bytes(&b));
            let equal = a.sorted() == b.sorted();
            prop_assert_eq!(x == y, equal);
            prop_assert_eq!(x.starts_with(&y), equal);
        }
    }
}
