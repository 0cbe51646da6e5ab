//! Vectors of plain numbers, which serde would visit element by element: a megabyte of bytes a million times.
//!
//! Only where the whole value is one: what is inside another type is out of sight. Bytes and fingerprint are those of
//! the long way, so it does not matter which way a value takes.

use std::any::{Any, TypeId};
use std::io::Write;

use super::{Buffered, In, Out};
use crate::memo::shape::writing::Writing;
use crate::memo::shape::{Facts, Fault, Kind, ROOT};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Whether `T` is a vector of numbers. Known when `T` is compiled, so that other types do not pay for the question.
#[inline]
pub(super) fn is_flat<T: 'static>() -> bool {
    macro_rules! any_of {
        ($($number:ty),*) => {
            $(TypeId::of::<T>() == TypeId::of::<Vec<$number>>())||*
        };
    }
    any_of!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64)
}

/// The size of a vector of numbers or a string.
pub(super) fn size(value: &dyn Any) -> Option<u64> {
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

/// Encodes a vector of numbers.
pub(super) fn encode<W: Write>(value: &dyn Any, run: &mut Writing<Buffered<'_, W>>) -> Result<(), Fault> {
    macro_rules! fixed {
        ($($number:ty = $kind:ident),*) => {
            $(if let Some(numbers) = value.downcast_ref::<Vec<$number>>() {
                return begin(run, Kind::$kind, numbers.len()).and_then(|()| {
                    let mut bytes = [0; CHUNK * size_of::<$number>()];
                    numbers.chunks(CHUNK).try_for_each(|chunk| {
                        let bytes = &mut bytes[..size_of_val(chunk)];
                        let places = bytes.as_chunks_mut::<{ size_of::<$number>() }>().0;
                        for (place, number) in places.iter_mut().zip(chunk) {
                            *place = number.to_le_bytes();
                        }
                        run.out.slice(bytes)
                    })
                });
            })*
        };
    }
    macro_rules! varying {
        ($($number:ty = $kind:ident),*) => {
            $(if let Some(numbers) = value.downcast_ref::<Vec<$number>>() {
                return begin(run, Kind::$kind, numbers.len()).and_then(|()| {
                    numbers.iter().for_each(|number| run.out.number(*number));
                    run.out.check()
                });
            })*
        };
    }
    if let Some(bytes) = value.downcast_ref::<Vec<u8>>() {
        return begin(run, Kind::U8, bytes.len()).and_then(|()| run.out.slice(bytes));
    }
    fixed!(i8 = I8, f32 = F32, f64 = F64);
    varying!(u16 = U16, i16 = I16, u32 = U32, i32 = I32, u64 = U64, i64 = I64);
    Err(Fault::new("not a vector of numbers"))
}

fn begin<W: Write>(run: &mut Writing<Buffered<'_, W>>, kind: Kind, len: usize) -> Result<(), Fault> {
    note(&mut run.facts, kind, len as u64)?;
    run.out.number(len as u64);
    Ok(())
}

/// Decodes a vector of numbers; gives its fingerprint, too.
pub(super) fn decode<T: 'static>(input: &mut impl In) -> Result<(T, u64), Fault> {
    let mut value: Option<T> = None;
    let shape = fill(&mut value, input)?;
    Ok((value.ok_or_else(no_vector)?, shape))
}

/// Fills an `Option` of a vector of numbers.
fn fill(to: &mut dyn Any, input: &mut impl In) -> Result<u64, Fault> {
    macro_rules! fixed {
        ($($number:ty = $kind:ident),*) => {
            $(if let Some(to) = to.downcast_mut::<Option<Vec<$number>>>() {
                const SIZE: usize = size_of::<$number>();
                let len = length(input, SIZE as u64)?;
                let mut numbers = Vec::with_capacity(len);
                let mut bytes = [0; CHUNK * SIZE];
                while numbers.len() < len {
                    let bytes = &mut bytes[..SIZE * CHUNK.min(len - numbers.len())];
                    input.slice(bytes)?;
                    let chunk = bytes.as_chunks::<SIZE>().0;
                    numbers.extend(chunk.iter().map(|number| <$number>::from_le_bytes(*number)));
                }
                *to = Some(numbers);
                return shape(Kind::$kind, len);
            })*
        };
    }
    macro_rules! varying {
        ($($number:ty = $kind:ident),*) => {
            $(if let Some(to) = to.downcast_mut::<Option<Vec<$number>>>() {
                let len = length(input, 1)?;
                // No more at once than a small multiple of the bytes that are there.
                let room = (2 * input.left()).max(MEBIBYTE) / size_of::<$number>() as u64;
                let mut numbers = Vec::with_capacity(len.min(room as usize));
                for _ in 0..len {
                    numbers.push(input.number::<$number>()?);
                }
                *to = Some(numbers);
                return shape(Kind::$kind, len);
            })*
        };
    }
    if let Some(to) = to.downcast_mut::<Option<Vec<u8>>>() {
        let len = length(input, 1)?;
        *to = Some(input.vector(len)?);
        return shape(Kind::U8, len);
    }
    fixed!(i8 = I8, f32 = F32, f64 = F64);
    varying!(u16 = U16, i16 = I16, u32 = U32, i32 = I32, u64 = U64, i64 = I64);
    Err(no_vector())
}

#[cold]
fn no_vector() -> Fault {
    Fault::new("not a vector of numbers")
}

/// How many numbers follow, each of at least `size` bytes, which are there.
fn length(input: &mut impl In, size: u64) -> Result<usize, Fault> {
    let len = input.number::<u64>()?;
    if len > input.left() / size {
        return Err(Fault::new("a vector longer than its bytes"));
    }
    usize::try_from(len).map_err(Fault::new)
}

/// The fingerprint of a vector of so many numbers. Only whether there are any makes a difference to it, so each is made
/// once.
fn shape(kind: Kind, len: usize) -> Result<u64, Fault> {
    static SHAPES: [[AtomicU64; 2]; Kind::COUNT] = [const { [const { AtomicU64::new(0) }; 2] }; Kind::COUNT];
    let known = &SHAPES[kind as usize][usize::from(len > 0)];
    match known.load(Ordering::Relaxed) {
        // (If it is 0, it is made each time.)
        0 => {
            let mut facts = Facts::new();
            note(&mut facts, kind, len as u64)?;
            let shape = facts.finish()?;
            known.store(shape, Ordering::Relaxed);
            Ok(shape)
        }
        shape => Ok(shape),
    }
}

/// The facts of a sequence of `len` numbers.
fn note(facts: &mut Facts, kind: Kind, len: u64) -> Result<(), Fault> {
    let inside = facts.enter(ROOT, 0, Kind::Seq, 0)?;
    if len > 0 {
        facts.leaf(inside, kind);
    }
    Ok(())
}

/// Numbers converted at a time.
const CHUNK: usize = 128;
const MEBIBYTE: u64 = 1 << 20;
