//! Kinds of values, and how many places are inside of each.

use super::Fault;

/// What serde calls its data model. The numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::memo) enum Kind {
    /// Nothing was seen here yet.
    Unseen = 0,
    Bool = 1,
    I8 = 2,
    I16 = 3,
    I32 = 4,
    I64 = 5,
    I128 = 6,
    U8 = 7,
    U16 = 8,
    U32 = 9,
    U64 = 10,
    U128 = 11,
    F32 = 12,
    F64 = 13,
    Char = 14,
    Text = 15,
    Bytes = 16,
    Unit = 17,
    UnitStruct = 18,
    Option = 19,
    Seq = 20,
    Map = 21,
    Tuple = 22,
    Newtype = 23,
    TupleStruct = 24,
    Struct = 25,
    Enum = 26,
    UnitVariant = 27,
    NewtypeVariant = 28,
    TupleVariant = 29,
    StructVariant = 30,
    /// Not a fact: where the places of an enum's further variants are.
    Further = 31,
}

impl Kind {
    /// How many kinds there are.
    pub(in crate::memo) const COUNT: usize = Kind::Further as usize + 1;
}

/// How many places are inside a container.
pub(super) fn inside(kind: Kind, size: u32) -> u32 {
    match kind {
        Kind::Option | Kind::Seq | Kind::Newtype | Kind::NewtypeVariant => 1,
        Kind::Map => 2,
        Kind::Tuple | Kind::TupleStruct | Kind::TupleVariant => size.min(MAX_ELEMENTS),
        Kind::Struct | Kind::StructVariant => size,
        Kind::Enum => FIRST_VARIANTS + 1,
        _ => 0,
    }
}

/// The place of element `index` of a tuple whose places begin at `first`.
#[inline]
pub(super) fn element(first: u32, index: u32) -> u32 {
    first + index.min(MAX_ELEMENTS - 1)
}

/// How long something of the type is, as part of its kind.
#[inline]
pub(super) fn size(len: usize) -> Result<u32, Fault> {
    u32::try_from(len).map_err(|_| Fault::new("a tuple of more than 4,294,967,295 elements"))
}

/// Elements of a tuple that have a place of their own.
const MAX_ELEMENTS: u32 = 32;
/// Variants of an enum that are found without a search.
pub(super) const FIRST_VARIANTS: u32 = 4;
