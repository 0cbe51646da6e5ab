//! Values made of others, part by part: lists (with their runs of bytes), structs, and maps.
//!
//! What is `inline(always)` here, in [`value`](super::value) and in `small` has to dissolve in the function that encodes a
//! call's arguments: then a list is a few registers. Left to itself, the compiler gives up half-way, and a list becomes 150
//! bytes that are moved from call to call, which takes as long as all else that a hit does.

use serde::ser::{self, Serialize};

use super::bytes::{Out, Sorting};
use super::encode::{Refused, tag};
use super::value::{Place, Ser};

/// The most bytes in one run.
pub(super) const RUN: usize = 128;

/// The `u8` elements at the end of a list that are not written yet, behind room for their tag and count.
pub(super) struct Run {
    bytes: [u8; 2 + RUN],
    len: usize,
}

impl Run {
    const EMPTY: Self = Self { bytes: [tag::RUN; 2 + RUN], len: 0 };

    // Both methods write from copies: while nobody has its address, the length of a run stays in a register.

    #[inline]
    pub(super) fn push(&mut self, byte: u8, out: &mut Out<'_>) {
        // The remainder tells the compiler that there is room.
        self.bytes[2 + self.len % RUN] = byte;
        self.len += 1;
        if self.len == RUN {
            let mut bytes = self.bytes;
            bytes[1] = RUN as u8;
            out.put(bytes);
            self.len = 0;
        }
    }

    #[inline(always)]
    pub(super) fn end(&mut self, out: &mut Out<'_>) {
        if self.len > 0 {
            let mut bytes = self.bytes;
            bytes[1] = self.len as u8;
            out.put_slice(&bytes[..2 + self.len % RUN]);
            self.len = 0;
        }
    }
}

/// Writes a value that is part of another one. A failure is remembered: some hand-written `Serialize` might go on after it, and
/// there is no key for half a value.
#[inline(always)]
fn part<T: Serialize + ?Sized>(out: &mut Out<'_>, place: Place<'_>, value: &T) -> Result<(), Refused> {
    let done = value.serialize(Ser { out, place });
    if done.is_err() {
        out.failed = true;
    }
    done
}

/// What a list does besides writing its elements.
enum Mode {
    Plain,
    /// It is the tuple of all arguments: counts them as positions.
    Follow,
    Sort(Sorting),
}

/// The elements of a list.
pub(super) struct Items<'s, 'a> {
    out: &'s mut Out<'a>,
    mode: Mode,
    run: Run,
}

impl<'s, 'a> Items<'s, 'a> {
    #[inline(always)]
    pub(super) fn new(out: &'s mut Out<'a>, sort: bool) -> Self {
        let mode = match sort {
            true => Mode::Sort(out.sort()),
            false => Mode::Plain,
        };
        Self { out, mode, run: Run::EMPTY }
    }

    /// Its elements are the arguments of a call.
    #[inline]
    pub(super) fn follow(&mut self) {
        self.out.position = 0;
        self.mode = Mode::Follow;
    }

    #[inline(always)]
    pub(super) fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        let place = match self.mode {
            Mode::Plain => Place::Element(&mut self.run),
            Mode::Follow => {
                self.out.position += 1;
                Place::Element(&mut self.run)
            }
            Mode::Sort(_) => {
                self.out.entry();
                Place::Alone
            }
        };
        part(self.out, place, value)
    }

    #[inline(always)]
    pub(super) fn end(mut self) -> Result<(), Refused> {
        self.run.end(self.out);
        if let Mode::Sort(sorting) = self.mode {
            self.out.sorted(sorting);
        }
        self.out.put([tag::END]);
        Ok(())
    }
}

/// The four traits of lists differ in a method's name only.
macro_rules! lists {
    ($($list:ident $method:ident;)*) => {$(
        impl ser::$list for Items<'_, '_> {
            type Ok = ();
            type Error = Refused;

            #[inline(always)]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.item(value)
            }

            #[inline(always)]
            fn end(self) -> Result<(), Refused> {
                Items::end(self)
            }
        }
    )*};
}

lists! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

/// The fields of a struct.
pub(super) struct Fields<'s, 'a>(&'s mut Out<'a>);

impl<'s, 'a> Fields<'s, 'a> {
    #[inline]
    pub(super) fn new(out: &'s mut Out<'a>) -> Self {
        Self(out)
    }
}

macro_rules! structs {
    ($($kind:ident)*) => {$(
        impl ser::$kind for Fields<'_, '_> {
            type Ok = ();
            type Error = Refused;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Refused> {
                self.0.text(tag::FIELD, name.as_bytes());
                part(self.0, Place::Alone, value)
            }

            #[inline]
            fn end(self) -> Result<(), Refused> {
                self.0.put([tag::END]);
                Ok(())
            }
        }
    )*};
}

structs! { SerializeStruct SerializeStructVariant }

/// The entries of a map.
pub(super) struct Entries<'s, 'a> {
    out: &'s mut Out<'a>,
    sorting: Sorting,
}

impl<'s, 'a> Entries<'s, 'a> {
    pub(super) fn new(out: &'s mut Out<'a>) -> Self {
        let sorting = out.sort();
        Self { out, sorting }
    }
}

impl ser::SerializeMap for Entries<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.out.entry();
        self.serialize_value(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        part(self.out, Place::Alone, value)
    }

    fn end(self) -> Result<(), Refused> {
        self.out.sorted(self.sorting);
        self.out.put([tag::END]);
        Ok(())
    }
}
