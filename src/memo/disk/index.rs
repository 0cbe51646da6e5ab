//! The index: where on disk the record of a key may lie. Shared by all processes of a directory, and only a hint.
//!
//! The file is mapped memory: a header page ([`header`]) and buckets of sixteen slots ([`slot`]). It may be stale, torn,
//! lost or garbage: that costs a miss. What a slot says is believed only after the record it points to has been read and
//! checked. So no place read from here is used as an index, every number is masked, and every loop is bounded by the size
//! of the file.
//!
//! # States of a key
//!
//! | slot | meaning |
//! |---|---|
//! | none | nothing known |
//! | live (position, length) | its newest record lies there |
//! | tombstone ([`Mark`], position) | there is none any more: why, and since when |
//!
//! A key has two candidate buckets and at most one slot.
//!
//! | from | to | who |
//! |---|---|---|
//! | anything | live | [`Index::insert`], unless something newer is known: see below |
//! | live at P | live at Q | [`Index::relocate`], if it still is at P: the evictor saves a record |
//! | live at P | tombstone at P | [`Index::bury_if`], if it still is at P: evicted, corrupt |
//! | anything | tombstone at Q | [`Index::bury`], [`Index::bury_function`]: forgotten, failed, … |
//! | anything | none | [`Index::clear`]; or another key needs the slot |
//!
//! All of these need the lock of the directory. [`Index::find`] and [`Index::touch`] need none, and may run at any time.
//!
//! # Late writers lose
//!
//! Positions grow with time. A run notes the tail when it begins; its result is refused if the key's slot, live or
//! tombstone, has a position at or after that, or if everything was cleared since. `forget` reserves a position of its own
//! for its tombstone, so it comes between. Where a slot has to give way to another key, its position is kept as a *floor* for
//! all keys of its kind (1 of 256): what began before it is refused, which at worst costs one result. (Of whatever slot: its
//! key may have been forgotten before it was written last, or failed.) And so with a function that is forgotten as a whole
//! (1 of 128), whose keys without a slot nobody knows.
//!
//! # Room
//!
//! A new key takes, in this order: a free slot in the emptier of its buckets; the oldest tombstone; the oldest tombstone of
//! a forgotten key; the oldest live slot. The last is a result lost, so the index should grow before it is three quarters
//! full ([`Index::load`], [`Index::grow_into`]).
//!
//! The first looks of a process read the file instead of the map: [`cold`].
mod cold;
mod header;
mod hint;
mod slot;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::{fmt, io};

use self::cold::Cold;
use self::header::{Floor, Header};
use self::slot::{Bucket, Entry, Prefix, SLOTS};
use super::map::Map;
use super::owners::random_word;

pub(crate) use self::hint::{Found, Inserted, Mark, Place, Position, SlotRef, Tag, Unusable};

pub(crate) use self::hint::cost_class;

/// See the [module](self).
pub(crate) struct Index {
    map: Map,
    /// Number of buckets - 1.
    mask: u64,
    /// `None`: the mapped words are all there is.
    cold: Option<Cold>,
}

/// The index may have 2 to 2²⁴ buckets: 32 to 268 million slots, 5 KiB to 8 GiB.
pub(crate) const MAX_BUCKETS: u64 = 1 << 24;

impl Index {
    /// Makes an empty file an empty index: sizes it (real blocks, so this is where a full disk shows) and fills in its
    /// header. The caller made it under another name and renames it. The number of buckets is rounded to a power of two.
    pub(crate) fn create(file: &File, buckets: u64) -> io::Result<Index> {
        let buckets = buckets.clamp(2, MAX_BUCKETS).next_power_of_two();
        let map = Map::create(file, header::WORDS + buckets as usize * slot::WORDS)?;
        Header(map.words()).write(buckets, random_word());
        Ok(Index { map, mask: buckets - 1, cold: None })
    }

    /// Bytes of an index with so many buckets.
    pub(crate) const fn file_len(buckets: u64) -> u64 {
        (header::WORDS as u64 + buckets * slot::WORDS as u64) * 8
    }

    /// Maps an index that is there.
    pub(crate) fn open(file: &File) -> Result<Index, Unusable> {
        let metadata = file.metadata().map_err(Unusable::Io)?;
        let in_buckets = metadata.len().saturating_sub(header::WORDS as u64 * 8);
        let buckets = in_buckets / (slot::WORDS as u64 * 8);
        let words = header::WORDS + buckets.min(MAX_BUCKETS) as usize * slot::WORDS;
        if !metadata.is_file() || !(2..=MAX_BUCKETS).contains(&buckets) || metadata.len() != words as u64 * 8
        {
            return Err(Unusable::Foreign("the index has no possible size"));
        }
        let map = Map::open(file, &metadata, words).map_err(Unusable::Io)?;
        let index = Index { map, mask: buckets.saturating_sub(1), cold: Cold::of(file) };
        if !buckets.is_power_of_two() || !index.early(|header| header.fits(buckets)) {
            return Err(Unusable::Foreign("the header of the index is damaged or of another version"));
        }
        Ok(index)
    }

    /// Looks a key up. No lock.
    #[inline]
    pub(crate) fn find(&self, key: &[u8; 32]) -> Found {
        let prefix = Prefix::of(key);
        let candidates = self.candidates(prefix);
        // Half of all keys lie in their second bucket: both are on their way from memory before the first is looked at.
        candidates.into_iter().for_each(|number| self.bucket(number).fetch());
        for number in candidates {
            let bucket = self.bucket(number);
            let mut from = 0;
            while let Some(slot) = bucket.position_of(prefix, from) {
                if let Some(entry) = bucket.read(slot, prefix) {
                    return found(&self.header(), prefix, number, slot, &entry);
                }
                from = slot + 1;
            }
        }
        Found::Nothing
    }

    /// That key is about to be looked up, or published.
    #[inline]
    pub(crate) fn expect(&self, key: &[u8; 32]) {
        self.candidates(Prefix::of(key)).into_iter().for_each(|number| self.bucket(number).expect());
    }

    /// Notes that the record was used, for the next eviction. No lock; a store only once between two evictions.
    #[inline]
    pub(crate) fn touch(&self, slot: SlotRef) {
        self.bucket(slot.bucket).touch(slot.slot, slot.prefix0);
    }

    /// Whether a result of a run that `began` then would be taken: exactly what [`insert`](Self::insert) would say. No
    /// lock: the answer may be out of date.
    pub(crate) fn admits(&self, key: &[u8; 32], function: u16, began: Position) -> bool {
        let newer = match self.find(key) {
            Found::Live { place, .. } => place.position >= began,
            Found::Gone(_, at) => at >= began,
            Found::Nothing => false,
        };
        !newer && !self.comes_too_late(Prefix::of(key), function, began)
    }

    /// Publishes a record of a run that `began` then. Under the lock, after the record was written.
    pub(crate) fn insert(&self, key: &[u8; 32], place: Place, tag: Tag, began: Position) -> Inserted {
        let prefix = Prefix::of(key);
        let own = self.own(prefix);
        let newer = own.is_some_and(|(_, entry)| entry.position >= began);
        if newer || self.comes_too_late(prefix, tag.function, began) || !describable(place) {
            return Inserted::Refused;
        }
        let at = match own {
            Some((at, _)) => at,
            None => match self.room(prefix, Class::Live) {
                Some(at) => at,
                None => return Inserted::Refused,
            },
        };
        let cost = tag.cost;
        let Place { position, len } = place;
        self.put(
            at,
            prefix,
            &Entry { mark: None, position, len, function: tag.function, cost, referenced: false },
        );
        match own {
            Some((_, entry)) if entry.mark.is_none() => Inserted::Replaced(entry.place()),
            _ => Inserted::New,
        }
    }

    /// Notes why a key has no record any more; gives the place of the record it had. Under the lock, `at` below the tail.
    ///
    /// `Forgotten` always takes effect: its position was reserved just now. Any other mark leaves what is newer, and takes
    /// no live slot from another key.
    pub(crate) fn bury(&self, key: &[u8; 32], mark: Mark, at: Position) -> Option<Place> {
        let prefix = Prefix::of(key);
        let own = self.own(prefix);
        let forgotten = mark == Mark::Forgotten;
        let newer = self.cleared() >= at || own.is_some_and(|(_, entry)| entry.position > at);
        if newer && !forgotten {
            return None;
        }
        let most = if forgotten { Class::Live } else { Class::Gone };
        let slot = own.map(|(slot, _)| slot).or_else(|| self.room(prefix, most))?;
        let function = own.map_or(0, |(_, entry)| entry.function);
        self.put(slot, prefix, &Entry::tombstone(function, mark, at));
        own.filter(|(_, entry)| entry.mark.is_none()).map(|(_, entry)| entry.place())
    }

    /// Buries a key if its record still is that one; the tombstone keeps the record's position. Under the lock.
    pub(crate) fn bury_if(&self, key: &[u8; 32], place: Place, mark: Mark) -> bool {
        let prefix = Prefix::of(key);
        let Some((at, entry)) = self.live(prefix, place) else { return false };
        self.put(at, prefix, &Entry::tombstone(entry.function, mark, place.position));
        true
    }

    /// Says that a record lies somewhere else now, unused so far, if the key's record still is that one. Under the lock.
    ///
    /// The key then looks as if it had just been written, so that a run under way for it would be refused: `refresh` has to
    /// bury the key before it begins.
    pub(crate) fn relocate(&self, key: &[u8; 32], from: Place, to: Place) -> bool {
        let prefix = Prefix::of(key);
        match self.live(prefix, from) {
            Some((at, entry)) if describable(to) => {
                self.put(
                    at,
                    prefix,
                    &Entry { position: to.position, len: to.len, referenced: false, ..entry },
                );
                true
            }
            _ => false,
        }
    }

    /// Whether the key's record still is exactly that one; then whether it was used, and its cost class. Under the lock.
    pub(crate) fn referenced(&self, key: &[u8; 32], place: Place) -> Option<(bool, u8)> {
        self.live(Prefix::of(key), place).map(|(_, entry)| (entry.referenced, entry.cost))
    }

    /// Forgets every result of the functions with this tag, those under way included; gives their number and bytes. Walks
    /// the whole index. Under the lock, `at` below the tail.
    pub(crate) fn bury_function(&self, function: u16, at: Position) -> (u64, u64) {
        self.header().raise(Floor::Function(function), at);
        let mut gone = (0, 0);
        for slot in self.slots() {
            if let Some((prefix, entry)) = self.get(slot)
                && entry.mark.is_none()
                && entry.function == function
            {
                self.put(slot, prefix, &Entry::tombstone(function, Mark::Forgotten, at));
                gone = (gone.0 + 1, gone.1 + entry.len);
            }
        }
        gone
    }

    /// Forgets everything, the results under way included. Takes effect as a whole, even if killed half-way. Under the
    /// lock, `at` below the tail.
    pub(crate) fn clear(&self, at: Position) {
        self.header().set_cleared(at);
        self.slots().for_each(|(number, slot)| self.bucket(number).clear(slot));
        self.header().set_entries(0);
    }

    /// Puts everything into a new index, which then stands for this one: header, live slots, and tombstones where they
    /// take nothing from the living. Under the lock; afterwards the new file is renamed over the old one, and this index
    /// is told by [`Index::set_superseded`].
    pub(crate) fn grow_into(&self, new: &Index) {
        new.header().copy_from(&self.header());
        new.header().set_entries(0);
        for (live, most) in [(true, Class::Live), (false, Class::Free)] {
            for slot in self.slots() {
                if let Some((prefix, entry)) = self.get(slot)
                    && entry.mark.is_none() == live
                {
                    let at = new.room_like(slot.0, self.mask, prefix).or_else(|| new.room(prefix, most));
                    match at {
                        Some(at) => new.put(at, prefix, &entry),
                        None => new.keep_floor(prefix, &entry),
                    }
                }
            }
        }
    }

    fn comes_too_late(&self, prefix: Prefix, function: u16, began: Position) -> bool {
        let header = self.header();
        [header.cleared(), header.floor(Floor::Function(function)), header.floor(Floor::Key(prefix.1))]
            .into_iter()
            .any(|floor| floor >= began && floor != Position::NONE)
    }

    /// The key's slot. Under the lock. A second one, which only damage can have made, is emptied.
    fn own(&self, prefix: Prefix) -> Option<(At, Entry)> {
        let mut own = None;
        for number in self.candidates(prefix) {
            let bucket = self.bucket(number);
            let mut from = 0;
            while let Some(slot) = bucket.position_of(prefix, from) {
                match self.get((number, slot)) {
                    Some((_, entry)) if own.is_none() => own = Some(((number, slot), entry)),
                    _ => bucket.clear(slot),
                }
                from = slot + 1;
            }
        }
        own
    }

    /// The key's slot, if it is live and points exactly there.
    fn live(&self, prefix: Prefix, place: Place) -> Option<(At, Entry)> {
        self.own(prefix).filter(|(_, entry)| entry.mark.is_none() && entry.place() == place)
    }

    /// The slot that a new key takes, if one of at most that class is there.
    fn room(&self, prefix: Prefix, most: Class) -> Option<At> {
        let candidates = self.candidates(prefix);
        let [first, second] = candidates.map(|number| self.bucket(number).empty());
        let (number, (_, slot)) =
            if second.0 > first.0 { (candidates[1], second) } else { (candidates[0], first) };
        slot.map(|slot| (number, slot)).or_else(|| self.room_of_others(candidates, most))
    }

    /// An empty slot for a key from a smaller index, in the bucket that its bucket became a part of: so that what lies side by side
    /// there comes to lie side by side here, and the new index is written from its beginning to its end.
    fn room_like(&self, number: u64, mask: u64, prefix: Prefix) -> Option<At> {
        let number = self.candidates(prefix).into_iter().find(|candidate| candidate & mask == number)?;
        self.bucket(number).empty().1.map(|slot| (number, slot))
    }

    /// The same where no slot is empty: some may be as good as empty, or have to give way.
    #[cold]
    fn room_of_others(&self, candidates: [u64; 2], most: Class) -> Option<At> {
        candidates
            .into_iter()
            .flat_map(|number| (0..SLOTS).map(move |slot| (number, slot)))
            .map(|at| (self.class(at), at))
            .min_by_key(|(class, _)| *class)
            .filter(|((class, _), _)| *class <= most)
            .map(|(_, at)| at)
    }

    fn class(&self, at: At) -> (Class, Position) {
        match self.get(at) {
            None => (Class::Free, Position::NONE),
            Some((_, entry)) => match entry.mark {
                None if entry.position.segment() < self.oldest() => (Class::Gone, entry.position),
                None => (Class::Live, entry.position),
                Some(Mark::Forgotten) => (Class::Forgotten, entry.position),
                Some(_) => (Class::Gone, entry.position),
            },
        }
    }

    /// What a slot holds. Under the lock. What was cleared is nothing, even before it is emptied.
    fn get(&self, (number, slot): At) -> Option<(Prefix, Entry)> {
        self.bucket(number).load(slot).filter(|(_, entry)| entry.position > self.cleared())
    }

    /// Fills a slot, counts, and keeps in mind what must not be lost with what was there.
    fn put(&self, at: At, prefix: Prefix, entry: &Entry) {
        let before = self.get(at);
        if let Some((other, old)) = before
            && other != prefix
        {
            self.keep_floor(other, &old);
        }
        self.bucket(at.0).store(at.1, prefix, entry);
        let was_live = before.is_some_and(|(_, old)| old.mark.is_none());
        // (Saturating: the word may hold anything.)
        let entries = self.entries().saturating_add(u64::from(entry.mark.is_none()));
        self.header().set_entries(entries.saturating_sub(u64::from(was_live)));
    }

    fn keep_floor(&self, prefix: Prefix, displaced: &Entry) {
        self.header().raise(Floor::Key(prefix.1), displaced.position);
    }

    #[inline]
    fn candidates(&self, prefix: Prefix) -> [u64; 2] {
        let (first, second) = (prefix.0 & self.mask, prefix.1 & self.mask);
        [first, if second == first { first ^ 1 } else { second }]
    }

    #[inline]
    fn bucket(&self, number: u64) -> Bucket<'_> {
        let at = header::WORDS + (number & self.mask) as usize * slot::WORDS;
        Bucket(self.map.words()[at..].first_chunk().expect("the mask keeps buckets within the map"))
    }

    fn slots(&self) -> impl Iterator<Item = At> {
        (0..=self.mask).flat_map(|number| (0..SLOTS).map(move |slot| (number, slot)))
    }

    fn header(&self) -> Header<'_> {
        Header(self.map.words())
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("buckets", &self.buckets()).field("entries", &self.entries()).finish()
    }
}

/// Number of a bucket, and of a slot in it.
type At = (u64, usize);

/// What a new key may take, the cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Free,
    Gone,
    Forgotten,
    Live,
}

/// What a look says of the entry that it found.
#[inline]
fn found(header: &Header<'_>, prefix: Prefix, bucket: u64, slot: usize, entry: &Entry) -> Found {
    match entry.mark {
        _ if entry.position <= header.cleared() => Found::Nothing,
        Some(mark) => Found::Gone(mark, entry.position),
        None if entry.position.segment() < header.oldest() => Found::Gone(Mark::Evicted, entry.position),
        None => {
            let slot = SlotRef { bucket, slot, prefix0: prefix.0, marked: entry.referenced };
            Found::Live { place: entry.place(), slot }
        }
    }
}

fn describable(place: Place) -> bool {
    place.position > Position::NONE && place.len <= Entry::MAX_LEN
}
