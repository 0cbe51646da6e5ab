//! The fingerprint of a value's type, taken from what serde is told.
//!
//! The bytes of a stored value do not say what type they were. If a function's result type changes and its name and
//! version do not, the old bytes could be read as something else. So the types are watched while a value is encoded
//! ([`writing`]) and watched again while it is decoded ([`reading`]); the two fingerprints must be equal.
//!
//! # What is watched
//!
//! A value is a tree of *places*: the root, field 2 of the struct there, the elements of the sequence there, the content
//! of variant 1 … All elements of a sequence are one place, and so are all keys and all values of a map, so the number
//! of places follows from the type, not from the amount of data. A place has a *kind*: `u32`, text, option, sequence,
//! struct `Point` of 2 fields. Usually it has one kind; a place that has several keeps them in a chain, which starts at
//! the place's first kind. A field's name and a variant's name belong to the place of the field or variant.
//!
//! A *fact* is "this kind (with this name) is found at this place". Each fact is hashed when it is met for the first
//! time; from then on it costs an index and a compare. The fingerprint is the sum of all facts, so their order does not
//! matter, with two numbers that depend on the data: how many containers were entered and how deep they were.
//!
//! A type that contains itself would have no end of places. A named type that is met a third time inside itself
//! shares the places of the second time.
//!
//! # Why equal fingerprints mean the same reading
//!
//! Decoding starts at the same place as encoding. As long as each place has one kind, both take the same step, and so
//! reach the same next place; the first step that differs is a fact that the other side does not have. (Elements of a
//! tuple or array from the 32nd on share one place; a tuple of so many elements has a place of several kinds.)
//!
//! # What it does not see
//!
//! - What does not occur in the value: elements of an empty sequence, the content of a `None`, variants not used.
//! - What serde is not told: `#[serde(transparent)]`, `Box`, `Arc`, `Cow`, `Mutex`, `Wrapping`, `NonZero…`; which of
//!   `Vec`, `VecDeque`, `HashSet` a sequence was, or `HashMap` or `BTreeMap` a map, `String` or `PathBuf` a text, and
//!   that an IPv4 address is not an array of four bytes.
//! - A new meaning with the same names and kinds: metres become feet; the two numbers of a tuple are swapped; a custom
//!   `Serialize` that sends other numbers in the same form; a `#[serde(with)]` that does.
//! - At a place of several kinds: where exactly the first of them comes again among values without content.
//!
//! Some types never come out equal, though nothing has changed: if `Deserialize` asks for something else than
//! `Serialize` gave, or has `#[serde(alias)]` (the list of fields then has more names than fields). The check of a
//! function's first value finds these.

mod fault;
mod hash;
mod kind;
pub(super) mod reading;
pub(super) mod writing;

#[cfg(test)]
mod tests;

use std::cell::Cell;

pub(super) use fault::Fault;
use hash::{FORMAT, equal, hash, mix, same};
pub(super) use kind::Kind;
use kind::{FIRST_VARIANTS, element, inside, size};

/// What is known of the types of one value, so far. See the [module](self).
#[derive(Debug)]
pub(super) struct Facts {
    /// The root is the first. The places inside a container lie side by side.
    places: Vec<Place>,
    /// The sum of the hashes of all facts.
    sum: u64,
    /// In which order kinds came that are not the first at their place.
    turns: u64,
    /// How many containers were entered.
    entered: u64,
    /// How many containers were open at most.
    deepest: u32,
    /// Why there will be no fingerprint. It waits until the end, so that the steps on the way are short.
    fault: Option<Fault>,
    /// Where the stack was when the first container was opened.
    stack: usize,
}

/// One kind at one place, and where the chain of the place's other kinds goes on.
#[derive(Debug, Clone, Copy)]
struct Place {
    kind: Kind,
    /// Number of elements or fields, if the type says so.
    size: u32,
    /// The first of the places inside.
    inside: u32,
    /// The next kind at this place, or 0.
    other: u32,
    /// The place that this one is inside of.
    up: u32,
    /// Serde's name of the type.
    name: &'static str,
    /// The name of the field or variant that is at this place.
    key: &'static str,
    /// Hash of the way from the root to this place.
    path: u64,
}

/// The place of the whole value.
pub(super) const ROOT: u32 = 0;

impl Facts {
    pub(super) fn new() -> Facts {
        let mut places = SPARE.try_with(Cell::take).unwrap_or_default();
        places.clear();
        places.reserve(FIRST_PLACES);
        places.push(Place::unseen(mix(FORMAT, 0), 0));
        Facts { places, sum: 0, turns: 0, entered: 0, deepest: 0, fault: None, stack: 0 }
    }

    /// The fingerprint of what was seen.
    pub(super) fn finish(&mut self) -> Result<u64, Fault> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(mix(mix(self.sum, self.entered), mix(self.turns, u64::from(self.deepest)))),
        }
    }

    /// A value without content is at `at`.
    #[inline]
    pub(super) fn leaf(&mut self, at: u32, kind: Kind) {
        if self.places.get(at as usize).is_none_or(|place| place.kind != kind) {
            self.new_leaf(at, kind);
        }
    }

    /// The short way to [`settle`](Facts::settle): most places are leaves, and are new in a small value.
    #[inline(never)]
    fn new_leaf(&mut self, at: u32, kind: Kind) {
        match self.places.get_mut(at as usize) {
            // What has a place inside needs the long way: a `Some` may follow a `None`.
            Some(place) if place.kind == Kind::Unseen && kind != Kind::Option => {
                place.kind = kind;
                self.sum = self.sum.wrapping_add(place.fact());
            }
            _ => drop(self.settle(at, kind, "", 0)),
        }
    }

    /// A container without a name of its own is at `at`, inside `depth` others. Gives the first place inside.
    #[inline]
    pub(super) fn enter(&mut self, at: u32, depth: u32, kind: Kind, size: u32) -> Result<u32, Fault> {
        self.deeper(depth)?;
        match self.places.get(at as usize) {
            Some(place) if place.kind == kind && place.size == size => Ok(place.inside),
            _ => Ok(self.settle(at, kind, "", size)),
        }
    }

    /// A container of a named type is at `at`, inside `depth` others. Gives the first place inside.
    #[inline]
    pub(super) fn enter_named(
        &mut self,
        at: u32,
        depth: u32,
        kind: Kind,
        name: &'static str,
        size: u32,
    ) -> Result<u32, Fault> {
        self.deeper(depth)?;
        Ok(self.named(at, kind, name, size))
    }

    #[inline]
    pub(super) fn unit_struct(&mut self, at: u32, name: &'static str) {
        self.named(at, Kind::UnitStruct, name, 0);
    }

    /// The place `at` is for a field or variant of this name. Gives the place to use for it.
    #[inline]
    pub(super) fn keyed(&mut self, at: u32, key: &'static str) -> u32 {
        match self.places.get(at as usize) {
            Some(place) if same(place.key, key) => at,
            _ => self.rekey(at, key),
        }
    }

    /// An enum is at `at`, and this variant of it. Gives the variant's place.
    #[inline]
    pub(super) fn variant(&mut self, at: u32, name: &'static str, index: u32, variant: &'static str) -> u32 {
        let first = self.named(at, Kind::Enum, name, 0);
        let place = if index < FIRST_VARIANTS { first + index } else { self.further(first, index) };
        self.keyed(place, variant)
    }

    #[inline]
    fn named(&mut self, at: u32, kind: Kind, name: &'static str, size: u32) -> u32 {
        match self.places.get(at as usize) {
            Some(place) if place.kind == kind && place.size == size && same(place.name, name) => place.inside,
            _ => self.settle(at, kind, name, size),
        }
    }

    #[inline]
    fn deeper(&mut self, depth: u32) -> Result<(), Fault> {
        self.entered += 1;
        if depth < self.deepest { Ok(()) } else { self.deepest_yet(depth + 1) }
    }

    /// Both sides count the same depth, so what can be encoded can be decoded. The stack is looked at as well, because
    /// nobody knows how large the frames of the user's types are. (There the sides differ: a deep value of a type with
    /// large frames may be encoded and then not be decoded.)
    #[inline(never)]
    fn deepest_yet(&mut self, depth: u32) -> Result<(), Fault> {
        let here = 0_u8;
        let here = std::ptr::from_ref(&here).addr();
        if self.deepest == 0 {
            self.stack = here;
        }
        self.deepest = depth;
        if depth > MAX_DEPTH || self.stack.abs_diff(here) > MAX_STACK {
            return Err(Fault::new(format!("nested too deeply ({depth} levels)")));
        }
        Ok(())
    }

    /// The kind at `at` is not the one that is first in the chain: finds it or adds it. Gives the first place inside.
    #[inline(never)]
    fn settle(&mut self, at: u32, kind: Kind, name: &'static str, size: u32) -> u32 {
        let settled = match self.places.get(at as usize) {
            Some(place) if place.kind == Kind::Unseen => self.add(at, kind, name, size),
            Some(place) => self.other_kind(at, place.key, kind, name, size),
            None => Err(lost()),
        };
        settled.unwrap_or_else(|fault| self.fail(fault))
    }

    fn other_kind(
        &mut self,
        at: u32,
        key: &'static str,
        kind: Kind,
        name: &'static str,
        size: u32,
    ) -> Result<u32, Fault> {
        let found = self.chain(at, |place| {
            equal(place.key, key)
                && (place.kind == Kind::Unseen
                    || place.kind == kind && place.size == size && equal(place.name, name))
        })?;
        if found != at {
            self.turn(mix(kind as u64 | u64::from(size) << 8, hash(name)));
        }
        let place = &mut self.places[found as usize];
        if place.kind == Kind::Unseen {
            place.key = key;
            return self.add(found, kind, name, size);
        }
        place.name = name;
        Ok(place.inside)
    }

    /// The name at `at` is not the one that is first in the chain: finds it or adds it.
    #[inline(never)]
    fn rekey(&mut self, at: u32, key: &'static str) -> u32 {
        match self.places.get_mut(at as usize) {
            Some(place) if place.kind == Kind::Unseen && place.key.is_empty() => {
                place.key = key;
                at
            }
            Some(_) => self.other_key(at, key),
            None => self.fail(lost()),
        }
    }

    #[inline(never)]
    fn other_key(&mut self, at: u32, key: &'static str) -> u32 {
        let fits =
            |place: &Place| equal(place.key, key) || place.kind == Kind::Unseen && place.key.is_empty();
        match self.chain(at, fits) {
            Ok(found) => {
                self.places[found as usize].key = key;
                if found != at {
                    self.turn(hash(key));
                }
                found
            }
            Err(fault) => self.fail(fault),
        }
    }

    /// Remembers why there will be no fingerprint, for [`finish`](Facts::finish).
    #[inline(never)]
    fn fail(&mut self, fault: Fault) -> u32 {
        self.fault.get_or_insert(fault);
        ROOT
    }

    /// Something is not the first at its place.
    fn turn(&mut self, what: u64) {
        self.turns = mix(self.turns.wrapping_add(self.entered), what);
    }

    /// The first in the chain of `at` that `fits`, or a new end of it, which is unseen.
    fn chain(&mut self, at: u32, fits: impl Fn(&Place) -> bool) -> Result<u32, Fault> {
        let mut here = at;
        for _ in 0..MAX_KINDS {
            let place = self.places[here as usize];
            if fits(&place) {
                return Ok(here);
            }
            if place.other == 0 {
                let end = self.reserve(1, |_| Place::unseen(place.path, place.up))?;
                self.places[here as usize].other = end;
                return Ok(end);
            }
            here = place.other;
        }
        Err(Fault::new("too many kinds of values in one place"))
    }

    /// The fact that this kind is at `at`, which is unseen: counts it and makes room for what is inside.
    /// Gives the first place inside.
    fn add(&mut self, at: u32, kind: Kind, name: &'static str, size: u32) -> Result<u32, Fault> {
        let place = &mut self.places[at as usize];
        (place.kind, place.name, place.size) = (kind, name, size);
        let (fact, up) = (place.fact(), place.up);
        self.sum = self.sum.wrapping_add(fact);
        let inside = match self.same_outside(up, kind, name, size) {
            Some(outer) => self.places[outer as usize].inside,
            None => match inside(kind, size) {
                0 => 0,
                count => self.reserve(count, |index| Place::unseen(mix(fact, u64::from(index)), at))?,
            },
        };
        self.places[at as usize].inside = inside;
        Ok(inside)
    }

    /// If a named type is inside itself for the second time: the one it is in.
    fn same_outside(&self, mut at: u32, kind: Kind, name: &'static str, size: u32) -> Option<u32> {
        if !matches!(kind, Kind::Struct | Kind::TupleStruct | Kind::Newtype | Kind::Enum) {
            return None;
        }
        let mut nearest = None;
        loop {
            let place = &self.places[at as usize];
            if place.kind == kind && place.size == size && equal(place.name, name) {
                if nearest.is_some() {
                    return nearest;
                }
                nearest = Some(at);
            }
            if at == ROOT {
                return None;
            }
            at = place.up;
        }
    }

    /// The place of a variant that is not among an enum's first: they lie in ever larger blocks, and at the end of each
    /// block is where the next one is.
    #[inline(never)]
    fn further(&mut self, block: u32, index: u32) -> u32 {
        self.further_block(block, index).unwrap_or_else(|fault| self.fail(fault))
    }

    fn further_block(&mut self, mut block: u32, index: u32) -> Result<u32, Fault> {
        if index > u32::from(u16::MAX) {
            return Err(Fault::new("an enum of more than 65,536 variants"));
        }
        let (mut first, mut count) = (0, FIRST_VARIANTS);
        while index - first >= count {
            let place = block + count;
            let link = *self.places.get(place as usize).ok_or_else(lost)?;
            first += count;
            count *= 4;
            if link.inside == 0 {
                block = self
                    .reserve(count + 1, |index| Place::unseen(mix(link.path, u64::from(index)), link.up))?;
                let link = &mut self.places[place as usize];
                (link.kind, link.inside) = (Kind::Further, block);
            } else {
                block = link.inside;
            }
        }
        Ok(block + index - first)
    }

    /// Room for `count` places side by side. Gives the first.
    fn reserve(&mut self, count: u32, place: impl Fn(u32) -> Place) -> Result<u32, Fault> {
        let first = self.places.len();
        if first + count as usize > MAX_PLACES {
            return Err(Fault::new("a type of too many parts"));
        }
        self.places.extend((0..count).map(place));
        Ok(first as u32)
    }
}

impl Drop for Facts {
    fn drop(&mut self) {
        if self.places.capacity() <= SPARE_PLACES {
            let places = std::mem::take(&mut self.places);
            // A thread that ends has nowhere to keep them.
            let _ = SPARE.try_with(|spare| spare.set(places));
        }
    }
}

thread_local! {
    /// The room of the last value's places, for the next: for a small value, it would be half of the cost.
    static SPARE: Cell<Vec<Place>> = const { Cell::new(Vec::new()) };
}

impl Place {
    /// That this kind, with this name, is at this place.
    fn fact(&self) -> u64 {
        let what = (self.kind as u64 | u64::from(self.size) << 8) ^ hash(self.name);
        mix(self.path.wrapping_add(hash(self.key)), what)
    }

    fn unseen(path: u64, up: u32) -> Place {
        Place { kind: Kind::Unseen, size: 0, inside: 0, other: 0, up, name: "", key: "", path }
    }
}

/// A place that there is not: only after a fault.
fn lost() -> Fault {
    Fault::new("a place without a type")
}

/// Levels of containers (a boxed list takes two for each element: the option and the struct). A level of ordinary types
/// takes up to 1.4 KB of stack without optimization, 0.3 KB with: this many are safe on a thread of 2 MiB.
pub(super) const MAX_DEPTH: u32 = 512;
/// Bytes of stack from the first container to the innermost: for types whose own frames are large.
const MAX_STACK: usize = 768 << 10;
/// Kinds at one place; only a hand-written `Serialize` has more than a few.
const MAX_KINDS: usize = 64;
/// Places of one value: eight megabytes.
const MAX_PLACES: usize = 1 << 17;
const FIRST_PLACES: usize = 16;
/// Places that a thread keeps room for: 16 KiB.
const SPARE_PLACES: usize = 256;
