//! The slot protocol: who computes, who joins, whose result is kept.
//!
//! # States of a key
//!
//! | slot | meaning |
//! |---|---|
//! | none | nothing known: the next claim leads |
//! | `Running(generation, flight)` | one run is in flight; claims join it |
//! | `Done(generation, entry)` | a result is kept; claims hit it |
//!
//! Generations are unique numbers. Each transition is one critical section of the key's shard:
//!
//! | from | to | who |
//! |---|---|---|
//! | none, or a `Running` that can't be joined, or a `Done` that is not fresh | `Running` of a new generation | [`Table::claim`]: the leader |
//! | anything | `Running` of a new generation | [`Table::lead_anew`] (`refresh`) |
//! | `Running(g)` | `Done(g)` | the guard of `g`, if the slot still is `g` ([`Guard::publish`]) |
//! | `Running(g)` | none | the guard of `g`, if the slot still is `g` ([`Guard::fail`], or its drop) |
//! | none | `Done` of a new generation | who found the result elsewhere, if nothing was ended meanwhile ([`Table::adopt`]) |
//! | anything | `Done` of a new generation | who was given the result ([`Table::give`]) |
//! | anything | none | `forget`, `clear` ([`Table::remove`], [`Table::remove_many`], [`Table::drain`]) |
//! | `Done(g)` | none | eviction, if the slot still is `g` ([`Table::evict`]) |
//!
//! So whoever ends a generation wins over its late result: the guard finds another generation, or none, and leaves it.
//!
//! # Order
//!
//! The guard changes the slot first and settles the cell after, without the shard's lock: whoever saw the outcome finds
//! the slot as that outcome left it (a value: a hit; a failure: free to run again). Between the two, a claim still
//! joins or hits; both get the same outcome.
//!
//! Nothing of the user's runs under the shard's lock: `read` copies an `Arc`, `join` counts an interest, and what a
//! transition displaces is handed out to be dropped by the caller.

use std::fmt;

use super::slots::{Change, SlotHash, Slots};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};

/// One key's slot.
pub(crate) struct Slot<E, F> {
    generation: u64,
    state: State<E, F>,
}

enum State<E, F> {
    Running(F),
    Done(E),
}

/// The answer to one look-up that is also the claim: there is no second check to race with.
#[derive(Debug)]
pub(crate) enum Claim<V, W> {
    /// A kept result.
    Hit(V),
    /// A run in flight, joined.
    Follower(W),
    /// Ours to compute, as this generation.
    Leader(u64),
}

/// What a look-up found, without a claim.
#[derive(Debug)]
pub(crate) enum Peek<V, W> {
    Hit(V),
    Running(W),
    /// A result that is there but may not be read (expired).
    Stale,
    Vacant,
}

/// Key → slot.
pub(crate) struct Table<K, E, F> {
    slots: Slots<K, Slot<E, F>>,
    generations: AtomicU64,
    /// How often somebody has ended generations that are not his own.
    ends: AtomicU64,
}

/// How often generations had been ended when somebody looked: see [`Table::adopt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Era(u64);

impl<K: SlotHash, E, F> Table<K, E, F> {
    pub(crate) fn new() -> Self {
        Table { slots: Slots::new(), generations: AtomicU64::new(1), ends: AtomicU64::new(0) }
    }

    /// Looks without claiming. `read` gives `None` for an entry that must not be used.
    #[inline]
    pub(crate) fn peek<V, W>(
        &self,
        key: &K,
        read: impl FnOnce(&E) -> Option<V>,
        running: impl FnOnce(&F) -> Option<W>,
    ) -> Peek<V, W> {
        self.slots.read(key, |slot| match slot.map(|slot| &slot.state) {
            Some(State::Done(entry)) => read(entry).map_or(Peek::Stale, Peek::Hit),
            Some(State::Running(flight)) => running(flight).map_or(Peek::Vacant, Peek::Running),
            None => Peek::Vacant,
        })
    }

    /// Hit, join, or lead: one critical section. Also gives back what the claim displaced.
    pub(crate) fn claim<V, W>(
        &self,
        key: K,
        flight: F,
        read: impl FnOnce(&E) -> Option<V>,
        join: impl FnOnce(&F) -> Option<W>,
    ) -> (Claim<V, W>, Displaced<E, F>) {
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        self.slots.update(key, |slot| {
            let found = slot.and_then(|slot| match &slot.state {
                State::Done(entry) => read(entry).map(Claim::Hit),
                State::Running(flight) => join(flight).map(Claim::Follower),
            });
            match found {
                Some(claim) => (Change::Keep, claim),
                None => {
                    let state = State::Running(flight);
                    (Change::Put(Slot { generation, state }), Claim::Leader(generation))
                }
            }
        })
    }

    /// To be asked before the key is seen vacant.
    pub(crate) fn era(&self) -> Era {
        Era(self.ends.load(Ordering::SeqCst))
    }

    /// Keeps what was found elsewhere, without a run: if the key is vacant still, and no generation was ended since `era`.
    /// Whose generation that was is not asked: what was found might be what was forgotten. Else gives the entry back.
    pub(crate) fn adopt(&self, key: K, era: Era, entry: E) -> Result<u64, E> {
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        let mut entry = Some(entry);
        let (_, displaced) = self.slots.update(key, |slot| match slot {
            None if self.era() == era => {
                let state = State::Done(entry.take().expect("taken once"));
                (Change::Put(Slot { generation, state }), ())
            }
            _ => (Change::Keep, ()),
        });
        drop(displaced);
        entry.map_or(Ok(generation), Err)
    }

    /// Keeps what was found elsewhere, whatever is there: the generation before ends. Gives the new one.
    pub(crate) fn give(&self, key: K, entry: E) -> (u64, Displaced<E, F>) {
        self.end();
        // What was done before is seen by whoever finds that this was given before he began.
        let generation = self.generations.fetch_add(1, Ordering::Release);
        self.slots.update(key, |_| (Change::Put(Slot { generation, state: State::Done(entry) }), generation))
    }

    /// No generation that begins later has a lower number.
    pub(crate) fn next_generation(&self) -> u64 {
        self.generations.load(Ordering::Acquire)
    }

    /// Leads whatever is there: the generation before ends.
    pub(crate) fn lead_anew(&self, key: K, flight: F) -> (u64, Displaced<E, F>) {
        self.end();
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        self.slots
            .update(key, |_| (Change::Put(Slot { generation, state: State::Running(flight) }), generation))
    }

    /// Ends the key's generation.
    pub(crate) fn remove(&self, key: K) -> Displaced<E, F> {
        self.end();
        self.slots
            .update(key, |slot| match slot {
                Some(_) => (Change::Remove, ()),
                None => (Change::Keep, ()),
            })
            .1
    }

    /// Ends the generations of many keys; gives what was taken out, with the number of its key.
    pub(crate) fn remove_many(&self, keys: impl Iterator<Item = K>, mut out: impl FnMut(usize, Slot<E, F>)) {
        self.end();
        for (n, key) in keys.enumerate() {
            let (_, displaced) = self.slots.update(key, |_| (Change::Remove, ()));
            displaced.into_iter().for_each(|slot| out(n, slot));
        }
    }

    /// Ends every generation whose result or run is picked; gives what was taken out, with its hash.
    pub(crate) fn drain(
        &self,
        kept: impl Fn(&E) -> bool,
        running: impl Fn(&F) -> bool,
    ) -> Vec<(u64, Slot<E, F>)>
    where
        K: Clone,
    {
        self.end();
        self.slots.drain(|slot| match &slot.state {
            State::Done(entry) => kept(entry),
            State::Running(flight) => running(flight),
        })
    }

    /// Before a slot is taken out, so that who adopts something meanwhile either sees this or is taken out, too.
    fn end(&self) {
        self.ends.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes a result out, with its key, if it still is the one that the accountant means.
    pub(crate) fn evict(&self, hash: u64, generation: u64) -> Option<(K, Slot<E, F>)> {
        self.slots.remove_by_hash(hash, |slot| {
            slot.generation == generation && matches!(slot.state, State::Done(_))
        })
    }

    /// Whether that generation of that hash holds a result.
    pub(crate) fn holds(&self, hash: u64, generation: u64) -> bool {
        self.slots
            .any_by_hash(hash, |slot| slot.generation == generation && matches!(slot.state, State::Done(_)))
    }

    /// Whether that generation of the key is in flight still.
    fn is_running(&self, key: &K, generation: u64) -> bool {
        let running =
            |slot: &Slot<E, F>| slot.generation == generation && matches!(slot.state, State::Running(_));
        self.slots.read(key, |slot| slot.is_some_and(running))
    }

    fn publish(&self, key: K, generation: u64, entry: E) -> Result<(), E> {
        let mut entry = Some(entry);
        let (kept, displaced) = self.slots.update(key, |slot| match slot {
            Some(Slot { generation: now, state: State::Running(_) }) if *now == generation => {
                let state = State::Done(entry.take().expect("taken once"));
                (Change::Put(Slot { generation, state }), true)
            }
            _ => (Change::Keep, false),
        });
        drop(displaced);
        match (kept, entry) {
            (false, Some(entry)) => Err(entry),
            _ => Ok(()),
        }
    }

    fn release(&self, key: K, generation: u64) -> Displaced<E, F> {
        self.slots
            .update(key, |slot| match slot {
                Some(slot) if slot.generation == generation => (Change::Remove, ()),
                _ => (Change::Keep, ()),
            })
            .1
    }
}

/// A slot that a transition took out: dropped by the caller, outside every lock.
pub(crate) type Displaced<E, F> = Option<Slot<E, F>>;

impl<E, F> Slot<E, F> {
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The run that was in flight.
    pub(crate) fn running(&self) -> Option<&F> {
        match &self.state {
            State::Running(flight) => Some(flight),
            State::Done(_) => None,
        }
    }

    /// The kept result, if it had one.
    pub(crate) fn into_entry(self) -> Option<E> {
        match self.state {
            State::Done(entry) => Some(entry),
            State::Running(_) => None,
        }
    }
}

/// What a guard settles: the cell of its run.
pub(crate) trait Resolve {
    /// What names a run in the table.
    type Key;
    /// The outcome of a run.
    type Outcome;
    /// The key; `None`: a run that has none (`spawn`).
    fn key(&self) -> Option<&Self::Key>;
    /// Settles the cell. Returns whether it was open.
    fn finish(&self, outcome: Self::Outcome) -> bool;
    /// The outcome of a run whose guard was dropped unfinished.
    fn left_behind(&self) -> Self::Outcome;
}

/// A leader's duty: whatever happens to it, its slot is given up and its cell is settled, exactly once.
pub(crate) struct Guard<K: SlotHash + Clone, E, F, R: Resolve<Key = K>> {
    /// `None` once done.
    duty: Option<Duty<K, E, F, R>>,
}

struct Duty<K: SlotHash, E, F, R> {
    /// `None`: a run that has no key.
    place: Option<Place<K, E, F>>,
    flight: R,
}

/// Where a run's result belongs: the table, its generation. (Its key is that of its flight.)
pub(crate) struct Place<K: SlotHash, E, F> {
    pub(crate) table: Arc<Table<K, E, F>>,
    pub(crate) generation: u64,
}

impl<K: SlotHash + Clone, E, F, R: Resolve<Key = K>> Guard<K, E, F, R> {
    pub(crate) fn new(place: Option<Place<K, E, F>>, flight: R) -> Self {
        Guard { duty: Some(Duty { place, flight }) }
    }

    /// Keeps `entry`, tells `kept` so, then settles the cell. Gives the entry back if its generation has ended.
    pub(crate) fn publish(mut self, entry: E, kept: impl FnOnce(u64), outcome: R::Outcome) -> Option<E> {
        // The duty stays with the guard until the last step: should `kept` panic, its drop still settles the cell.
        let refused = match self.duty.as_ref().and_then(Duty::place) {
            None => Some(entry),
            Some((place, key)) => match place.table.publish(key.clone(), place.generation, entry) {
                Ok(()) => {
                    kept(place.generation);
                    None
                }
                Err(entry) => Some(entry),
            },
        };
        if let Some(duty) = self.duty.take() {
            duty.flight.finish(outcome);
        }
        refused
    }

    /// Keeps nothing in the table: tells `elsewhere` if its generation has not ended, frees the slot, settles the cell.
    pub(crate) fn pass(mut self, elsewhere: impl FnOnce(), outcome: R::Outcome) {
        let place = self.duty.as_ref().and_then(Duty::place);
        if place.is_some_and(|(place, key)| place.table.is_running(key, place.generation)) {
            elsewhere();
        }
        if let Some(duty) = self.duty.take() {
            duty.fail(outcome);
        }
    }

    /// Keeps nothing: the slot is free again, then the cell is settled.
    pub(crate) fn fail(mut self, outcome: R::Outcome) {
        if let Some(duty) = self.duty.take() {
            duty.fail(outcome);
        }
    }
}

impl<K: SlotHash + Clone, E, F, R: Resolve<Key = K>> Duty<K, E, F, R> {
    fn place(&self) -> Option<(&Place<K, E, F>, &K)> {
        self.place.as_ref().zip(self.flight.key())
    }

    fn fail(self, outcome: R::Outcome) {
        if let Some((place, key)) = self.place() {
            drop(place.table.release(key.clone(), place.generation));
        }
        self.flight.finish(outcome);
    }
}

impl<K: SlotHash + Clone, E, F, R: Resolve<Key = K>> Drop for Guard<K, E, F, R> {
    fn drop(&mut self) {
        if let Some(duty) = self.duty.take() {
            let outcome = duty.flight.left_behind();
            duty.fail(outcome);
        }
    }
}

impl<K: SlotHash + Clone, E, F, R: Resolve<Key = K>> fmt::Debug for Guard<K, E, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("settled", &self.duty.is_none()).finish()
    }
}

impl<K: SlotHash, E, F> fmt::Debug for Table<K, E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

impl<E, F> fmt::Debug for Slot<E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("generation", &self.generation).finish_non_exhaustive()
    }
}
