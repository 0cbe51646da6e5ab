//! Results that somebody else has: kept as if they had been computed here, just now.
//!
//! | | [`insert`](Call::insert) | [`Batch`] |
//! |---|---|---|
//! | is kept | in memory; on disk behind, as a computed result is | on disk, at once: what is many is not to push out of memory what is in use |
//! | a kill costs | what was not written yet | what was not taken yet |
//! | trouble with the disk | is told as of a computed result | is the caller's |
//!
//! Where there is no disk, or a result does not go there, a batch does what `insert` does.
//!
//! # What is there, and what is under way
//!
//! As with `refresh`, the key's generation ends: who waits for a run gets that run's outcome, which is kept nowhere.
//!
//! On disk what was given must be the newer one, whatever becomes of it and of what is there. A batch is written in one section
//! under the directory's lock, as newer than everything: what others had begun before is refused. A single result comes later, with
//! many. So its key is claimed until it can be read, and where there is a record of it already, or may be one soon (it is on its
//! way, or somebody computes it), that is forgotten first. Of most keys nothing is known, which takes two looks into mapped memory.
//!
//! # Two at once
//!
//! | step | of two that give one key different results |
//! |---|---|
//! | 1 note the number of the next generation | |
//! | 2 on disk: claim the key, forget what is older, put ours on its way | the second is refused there, unless it finds the first and forgets it |
//! | 3 fill the slot | the second stays, and has displaced the first |
//!
//! So memory and disk could end up with one of them each. Who displaces what is newer than its own step 1 begins again.

use std::collections::VecDeque;

use super::engine::{Engine, Entry};
use super::key::SlotKey;
use super::{Call, keep, storage};
use crate::error::Error;
use crate::flight::claim::Peek;
use crate::memo::disk::claims::Claim;
use crate::memo::disk::given::Giving;
use crate::memo::disk::payload::Packed;
use crate::memo::disk::put::{Permit, Put};
use crate::memo::disk::tier::Tier;
use crate::memo::history::Fate;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU32, Ordering};

impl<A, R: Send + Sync + 'static> Call<A, R> {
    /// Keeps a result of the call.
    pub(crate) fn insert(&self, engine: &Engine, value: &Arc<R>) -> Result<(), Error> {
        if !engine.runner.admits() {
            return Err(Error::shutdown());
        }
        let slot = self.probe()?;
        let disk = self.tier(engine).map(|tier| (tier, *self.key_ref(slot).key().as_bytes()));
        engine.spiller(self.core.owner(), || storage::spiller(&self.core));
        let mut forgotten = Ok(());
        loop {
            let begun = engine.slots.next_generation();
            let vacant = matches!(engine.slots.peek(&slot, |_| Some(()), |_| Some(())), Peek::Vacant);
            let displaced = match disk {
                None => self.put(engine, slot, value, None),
                Some((tier, key)) => {
                    let claim = tier.claim(&key);
                    let older =
                        !vacant || tier.has(&key) || matches!(claim, Some(Claim::Held(_) | Claim::Full));
                    if older {
                        forgotten = tier.forget(&key);
                    }
                    let token = match claim {
                        Some(Claim::Ours(token)) => Some(token),
                        Some(Claim::Held(_) | Claim::Full) | None => None,
                    };
                    // Before it is encoded, which may take its time: what begins meanwhile is newer.
                    self.put(engine, slot, value, Some((tier, tier.permit(key).with(token), older)))
                }
            };
            if displaced.is_none_or(|generation| generation < begun) {
                break;
            }
        }
        if let Some((tier, _)) = disk {
            tier.hold_back();
        }
        forgotten
    }

    /// Puts it on its way to the disk, with what was claimed for it, and fills the slot. `older`: something was known of it on
    /// disk. Gives the generation that was displaced.
    fn put(
        &self,
        engine: &Engine,
        slot: SlotKey,
        value: &Arc<R>,
        disk: Option<(&Tier, Permit, bool)>,
    ) -> Option<u64> {
        let (core, tally) = (&*self.core, engine.tally(self.core.identity));
        let expires = keep::expires(engine, core);
        let disk = disk.filter(|(tier, _, older)| tier.takes_given(&tally, *older));
        let tier = disk.as_ref().map(|(tier, ..)| *tier);
        let (weight, kept) = keep::place(engine, core, &tally, slot.hash(), &**value, tier, false);
        if let (Some((tier, permit, _)), Some(kept)) = (disk, kept) {
            tier.put(storage::put(&core.digest, kept, expires, 0, &tally, engine.now(), permit));
        }
        let Some(weight) = weight else { return engine.supersede(slot) };
        let entry = Entry {
            value: Arc::clone(value) as _,
            weight,
            expires,
            cost: 0,
            touched: AtomicU32::new(0),
            owner: core.owner(),
            tally: Arc::clone(&tally),
        };
        let (generation, displaced) = engine.slots.give(slot, entry);
        let older = displaced.as_ref().map(|slot| slot.generation());
        engine.displaced(slot.hash(), displaced, Fate::Refreshed);
        engine.account(&slot, generation, weight, &tally);
        older
    }

    /// The disk, if results of the function go there.
    fn tier<'a>(&self, engine: &'a Engine) -> Option<&'a Tier> {
        engine.disk.as_deref().filter(|_| self.core.format.is_some())
    }
}

impl Engine {
    /// Something newer than the slot is on its way. Gives the generation that has ended.
    fn supersede(&self, slot: SlotKey) -> Option<u64> {
        let displaced = self.slots.remove(slot);
        let generation = displaced.as_ref().map(|slot| slot.generation());
        self.displaced(slot.hash(), displaced, Fate::Refreshed);
        generation
    }
}

/// So many results, or so many bytes of records, are written at once. The directory's lock is held meanwhile.
const BATCH: usize = 1024;
const BATCH_BYTES: u64 = 1 << 20;

/// So many batches are on their way at once: while one is written, the writer does not wait for the next.
const AHEAD: usize = 2;

/// Results that are given, on their way to the disk. See the [module](self).
pub(crate) struct Batch<'a> {
    engine: &'a Engine,
    puts: Vec<Put>,
    slots: Vec<SlotKey>,
    bytes: u64,
    /// Batches that are being written, the first one first.
    ahead: VecDeque<(Giving, Vec<SlotKey>)>,
    /// Emptied, to be filled again.
    spare: (Vec<Put>, Vec<SlotKey>),
}

impl<'a> Batch<'a> {
    /// `expected`: so many results come, at least.
    pub(crate) fn new(engine: &'a Engine, expected: usize) -> Batch<'a> {
        if let Some(tier) = &engine.disk {
            tier.expect(expected as u64);
        }
        Batch {
            engine,
            puts: Vec::new(),
            slots: Vec::new(),
            bytes: 0,
            ahead: VecDeque::new(),
            spare: Default::default(),
        }
    }

    /// Takes a result, and has those written that were taken if they are enough.
    pub(crate) fn add<A, R: Send + Sync + 'static>(
        &mut self,
        call: &Call<A, R>,
        value: R,
    ) -> Result<(), Error> {
        let engine = self.engine;
        if !engine.runner.admits() {
            return Err(Error::shutdown());
        }
        let core = &*call.core;
        let (Some(tier), Some(format)) = (call.tier(engine), &core.format) else {
            return call.insert(engine, &Arc::new(value));
        };
        let slot = call.probe()?;
        let tally = engine.tally(core.identity);
        storage::announce(engine, tier, core, &tally);
        let kept = match storage::encode(tier, format, &value, tally.checked.load(Ordering::Relaxed)) {
            Ok(kept) => kept,
            Err(unkept) => {
                unkept.tell(tier, &tally);
                // What was taken before comes before.
                return self.finish().and_then(|()| call.insert(engine, &Arc::new(value)));
            }
        };
        let alone = matches!(kept.packed, Packed::Large(_));
        if alone {
            self.send()?;
        } else {
            tally.checked.store(true, Ordering::Relaxed);
        }
        let permit = tier.permit_given(*call.key_ref(slot).key().as_bytes());
        let expires = keep::expires(engine, core);
        let put = storage::put(&core.digest, kept, expires, 0, &tally, engine.now(), permit);
        self.bytes += put.weight();
        self.puts.push(put);
        self.slots.push(slot);
        let enough = alone || self.puts.len() >= BATCH || self.bytes >= BATCH_BYTES.min(tier.largest_batch());
        if enough { self.send() } else { Ok(()) }
    }

    /// Waits until all is written that was taken. Whatever goes wrong, nothing is on its way afterwards.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let mut outcome = self.send();
        while let Some(ahead) = self.ahead.pop_front() {
            outcome = outcome.and(self.wait(ahead));
        }
        outcome
    }

    /// Has what was taken written, and waits where too much is on its way already. What can't be written is dropped.
    fn send(&mut self) -> Result<(), Error> {
        let Some(tier) = self.engine.disk.as_ref().filter(|_| !self.puts.is_empty()) else { return Ok(()) };
        let mut before = Ok(());
        if self.ahead.len() >= AHEAD
            && let Some(ahead) = self.ahead.pop_front()
        {
            before = self.wait(ahead);
        }
        let (puts, slots) = std::mem::take(&mut self.spare);
        let puts = std::mem::replace(&mut self.puts, puts);
        let slots = std::mem::replace(&mut self.slots, slots);
        self.bytes = 0;
        if before.is_ok() {
            self.ahead.push_back((tier.give(puts), slots));
        }
        before
    }

    /// Waits until that batch is written.
    fn wait(&mut self, (giving, mut slots): (Giving, Vec<SlotKey>)) -> Result<(), Error> {
        let (written, mut puts) = giving.wait();
        written?;
        puts.clear();
        for slot in slots.drain(..) {
            let _ = self.engine.supersede(slot);
        }
        self.spare = (puts, slots);
        Ok(())
    }
}

/// Where making the next result panics, those before are kept all the same.
impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}
