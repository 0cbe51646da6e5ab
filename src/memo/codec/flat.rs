//! Vectors of plain numbers, which serde would visit element by element: a megabyte of bytes a million times.
//!
//! Only where the whole value is one: what is inside another type is out of sight. Bytes and fingerprint are those of
//! the long way, so it does not matter which way a value takes.

use std::any::{Any, TypeId};
use std::io::Write;

use super::{Buffered, In, Out};
use crate::memo::shape::reading::Reading;
use crate::memo::shape::writing::Writing;
use crate::memo::shape::{Facts, Fault, Kind, ROOT};

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

/// Decodes a vector of numbers.
pub(super) fn decode<T: 'static>(run: &mut Reading<impl In>) -> Result<T, Fault> {
    let mut value: Option<T> = None;
    fill(&mut value, run)?;
    value.ok_or_else(|| Fault::new("not a vector of numbers"))
}

/// Fills an `Option` of a vector of numbers.
fn fill(to: &mut dyn Any, run: &mut Reading<impl In>) -> Result<(), Fault> {
    macro_rules! fixed {
        ($($number:ty = $kind:ident),*) => {
            $(if let Some(to) = to.downcast_mut::<Option<Vec<$number>>>() {
                const SIZE: usize = size_of::<$number>();
                let len = length(run, Kind::$kind, SIZE as u64)?;
                let mut numbers = Vec::with_capacity(len);
                let mut bytes = [0; CHUNK * SIZE];
                while numbers.len() < len {
                    let bytes = &mut bytes[..SIZE * CHUNK.min(len - numbers.len())];
                    run.input.slice(bytes)?;
                    let chunk = bytes.as_chunks::<SIZE>().0;
                    numbers.extend(chunk.iter().map(|number| <$number>::from_le_bytes(*number)));
                }
                *to = Some(numbers);
                return Ok(());
            })*
        };
    }
    macro_rules! varying {
        ($($number:ty = $kind:ident),*) => {
            $(if let Some(to) = to.downcast_mut::<Option<Vec<$number>>>() {
                let len = length(run, Kind::$kind, 1)?;
                // No more at once than a small multiple of the bytes that are there.
                let room = (2 * run.input.left()).max(MEBIBYTE) / size_of::<$number>() as u64;
                let mut numbers = Vec::with_capacity(len.min(room as usize));
                for _ in 0..len {
                    numbers.push(run.input.number::<$number>()?);
                }
                *to = Some(numbers);
                return Ok(());
            })*
        };
    }
    if let Some(to) = to.downcast_mut::<Option<Vec<u8>>>() {
        let mut bytes = vec![0; length(run, Kind::U8, 1)?];
        run.input.slice(&mut bytes)?;
        *to = Some(bytes);
        return Ok(());
    }
    fixed!(i8 = I8, f32 = F32, f64 = F64);
    varying!(u16 = U16, i16 = I16, u32 = U32, i32 = I32, u64 = U64, i64 = I64);
    Ok(())
}

/// How many numbers follow, each of at least `size` bytes, which are there.
fn length(run: &mut Reading<impl In>, kind: Kind, size: u64) -> Result<usize, Fault> {
    let len = run.input.number::<u64>()?;
    if len > run.input.left() / size {
        return Err(Fault::new("a vector longer than its bytes"));
    }
    note(&mut run.facts, kind, len)?;
    usize::try_from(len).map_err(Fault::new)
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
