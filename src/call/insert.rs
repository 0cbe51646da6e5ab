//! Results that somebody else has: kept as if they had been computed here, just now.
//!
//! | | [`insert`](Call::insert) | [`Batch`] |
//! |---|---|---|
//! | is kept | in memory; on disk behind, as a computed result is | on disk, at once: what is many is not to push out of memory what is in use |
//! | a kill costs | what was not written yet | what was not said to be kept |
//! | trouble with the disk | is told as of a computed result | is the caller's |
//!
//! Where there is no disk, or a result does not go there, a batch does what `insert` does.
//!
//! # What is there, and what is under way
//!
//! As with `refresh`, the key's generation ends: who waits for a run gets that run's outcome, which is kept nowhere.
//!
//! On disk what was given must be the newer one, whatever becomes of it and of what is there.
//!
//! - A batch is newer than everything when it is published: what others have written since it got its places is overruled.
//!   What had begun before is refused later.
//! - A single result comes later, with many. So its key is claimed until it can be read, and where there is a record of it already,
//!   or may be one soon (it is on its way, or somebody computes it), that is forgotten first. Of most keys nothing is known, which
//!   takes two looks into mapped memory.
//!
//! A refresh of before that starts now forgets what is on disk, unless it sees that its generation has ended. So whoever displaces
//! a run looks whether what he gave is still there, or begins again.
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
use super::storage::Unkept;
use super::{Call, keep, storage};
use crate::error::Error;
use crate::flight::claim::Peek;
use crate::memo::disk::claims::Claim;
use crate::memo::disk::given::{Giving, Outcome};
use crate::memo::disk::payload::Packed;
use crate::memo::disk::put::Put;
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
        let (core, tally) = (&*self.core, engine.tally(self.core.identity));
        let disk = self.tier(engine).map(|tier| (tier, *self.key_ref(slot).key().as_bytes()));
        engine.spiller(core.owner(), || storage::spiller(&self.core));
        let takes = |(tier, key): (&Tier, [u8; 32])| tier.takes(&tally, &key, &core.digest);
        let mut forgotten = Ok(());
        loop {
            let taking = disk.filter(|disk| takes(*disk)).map(|(tier, _)| tier);
            // User code, and slow: before all else, so that little can happen between that and the last step.
            let placed = keep::place(engine, core, &tally, &**value, taking, false);
            let begun = engine.slots.next_generation();
            let mut permit = None;
            if let Some((tier, key)) = disk {
                let mut claim = tier.claim(&key);
                let vacant = matches!(engine.slots.peek(&slot, |_| Some(()), |_| Some(())), Peek::Vacant);
                if !vacant || tier.has(&key) || matches!(claim, Some(Claim::Held(_) | Claim::Full)) {
                    drop(claim);
                    forgotten = tier.forget(&key);
                    claim = tier.claim(&key);
                    if taking.is_none() && takes((tier, key)) {
                        // What is newer than that is written at once, however the disk is meant.
                        continue;
                    }
                }
                let token = match claim {
                    Some(Claim::Ours(token)) => Some(token),
                    Some(Claim::Held(_) | Claim::Full) | None => None,
                };
                permit = Some(tier.permit(key).with(token));
            }
            let expires = keep::expires(engine, core);
            let (weight, kept, fate) = match placed {
                Ok((weight, kept)) => (weight, kept, Fate::Refreshed),
                Err(fate) => (None, None, fate),
            };
            if let (Some(tier), Some(kept), Some(permit)) = (taking, kept, permit) {
                let put = storage::put(&core.digest, kept, expires, 0, &tally, engine.now(), permit);
                if !tier.put(put) {
                    return Err(Error::shutdown());
                }
            }
            let (accounted, displaced) = match weight {
                None => (None, engine.slots.remove(slot)),
                Some(weight) => {
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
                    (Some((generation, weight)), displaced)
                }
            };
            let again = displaced.as_ref().is_some_and(|slot| {
                slot.generation() >= begun || (disk.is_some() && slot.running().is_some())
            });
            engine.displaced(slot.hash(), displaced, fate);
            if let Some((generation, weight)) = accounted {
                engine.account(&slot, generation, weight, &tally);
            }
            if !again {
                break;
            }
        }
        if let Some((tier, _)) = disk {
            tier.hold_back();
        }
        forgotten
    }

    /// The disk, if results of the function go there.
    fn tier<'a>(&self, engine: &'a Engine) -> Option<&'a Tier> {
        engine.disk.as_deref().filter(|_| self.core.format.is_some())
    }
}

/// So many results, or so many bytes of records, are written at once.
const BATCH: usize = 1024;
const BATCH_BYTES: u64 = 1 << 20;

/// So many batches are on their way at once: while one is written, the writer does not wait for the next.
const AHEAD: usize = 2;

/// Results that are given, on their way to the disk. See the [module](self).
pub(crate) struct Batch<'a> {
    engine: &'a Engine,
    /// So many come, at least: until the first goes to the disk.
    expected: Option<usize>,
    puts: Vec<Put>,
    slots: Vec<SlotKey>,
    bytes: u64,
    /// Batches that are being written, the first one first.
    ahead: VecDeque<Sent>,
    /// Emptied, to be filled again.
    spare: (Vec<Put>, Vec<SlotKey>),
}

/// A batch that is being written.
struct Sent {
    giving: Giving,
    slots: Vec<SlotKey>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(engine: &'a Engine, expected: usize) -> Batch<'a> {
        Batch {
            engine,
            expected: Some(expected),
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
            Err(Unkept::Trouble(reason)) => return Err(Error::store(reason)),
            Err(unkept) => {
                unkept.tell(tier, &tally);
                // What was taken before comes before.
                return self.finish().and_then(|()| call.insert(engine, &Arc::new(value)));
            }
        };
        let alone = matches!(kept.packed, Packed::Large(_));
        if alone {
            self.finish()?;
        } else {
            tally.checked.store(true, Ordering::Relaxed);
        }
        if let Some(expected) = self.expected.take() {
            tier.expect(expected as u64);
        }
        let permit = tier.permit_given(*call.key_ref(slot).key().as_bytes());
        let expires = keep::expires(engine, core);
        let put = storage::put(&core.digest, kept, expires, 0, &tally, engine.now(), permit);
        self.bytes += put.weight();
        self.puts.push(put);
        self.slots.push(slot);
        match alone {
            // Several that are under way would leave no room for one another.
            true => self.finish(),
            false if self.puts.len() >= BATCH || self.bytes >= BATCH_BYTES.min(tier.largest_batch()) => {
                self.send()
            }
            false => Ok(()),
        }
    }

    /// Waits until all is written that was taken. Whatever goes wrong, nothing is on its way afterwards, as far as that can be
    /// helped.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let mut outcome = self.send();
        while let Some(sent) = self.ahead.pop_front() {
            outcome = match outcome {
                Ok(()) => self.wait(sent),
                Err(error) => {
                    if let Some(outcome) = sent.giving.recall() {
                        let _ = self.settle(outcome, sent.slots);
                    }
                    Err(error)
                }
            };
        }
        outcome
    }

    /// Has what was taken written, and waits where too much is on its way already. What can't be written is dropped.
    fn send(&mut self) -> Result<(), Error> {
        let Some(tier) = self.engine.disk.as_ref().filter(|_| !self.puts.is_empty()) else { return Ok(()) };
        let mut before = Ok(());
        if self.ahead.len() >= AHEAD
            && let Some(sent) = self.ahead.pop_front()
        {
            before = self.wait(sent);
        }
        let (puts, slots) = std::mem::take(&mut self.spare);
        let puts = std::mem::replace(&mut self.puts, puts);
        let slots = std::mem::replace(&mut self.slots, slots);
        self.bytes = 0;
        if before.is_ok() {
            self.ahead.push_back(Sent { giving: tier.give(puts), slots });
        }
        before
    }

    /// Waits until that batch is written.
    fn wait(&mut self, sent: Sent) -> Result<(), Error> {
        self.settle(sent.giving.wait(), sent.slots)
    }

    /// That batch was written, or was not. What is older than what was written leaves the memory.
    fn settle(&mut self, mut outcome: Outcome, mut slots: Vec<SlotKey>) -> Result<(), Error> {
        let (engine, mut ran) = (self.engine, Vec::new());
        while outcome.written.is_ok() || outcome.doubtful {
            engine.slots.remove_many(slots.iter().copied(), |n, slot| {
                if slot.running().is_some() {
                    ran.push(n);
                }
                engine.displaced(slots[n].hash(), Some(slot), Fate::Refreshed);
            });
            let Some(tier) = engine.disk.as_ref().filter(|_| outcome.written.is_ok() && !ran.is_empty())
            else {
                break;
            };
            // A refresh among those runs may have forgotten what was written just before.
            let gone = |n: &usize| !tier.knows(outcome.puts[*n].permit.key());
            let gone: Vec<usize> = ran.drain(..).filter(gone).collect();
            if gone.is_empty() {
                break;
            }
            slots = gone.iter().map(|n| slots[*n]).collect();
            let mut n = 0;
            outcome.puts.retain(|_| {
                n += 1;
                gone.binary_search(&(n - 1)).is_ok()
            });
            outcome = tier.give(outcome.puts).wait();
        }
        outcome.puts.clear();
        slots.clear();
        self.spare = (outcome.puts, slots);
        outcome.written
    }
}

/// Where making the next result panics, those before are kept all the same.
impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}
