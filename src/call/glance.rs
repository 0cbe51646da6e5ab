//! A result that the disk has at hand, taken by whoever asks for many: no run, no queue, no other thread.
//!
//! It is read as [`Pool::get`](crate::Pool::get) reads it, counted as a submission that the disk answered, and kept in memory
//! if nobody was faster. Without a run there is nothing in the slot table meanwhile, so nobody joins it: two maps that come to
//! one key at the same time both read it, find the same, and neither waits for the other.
//!
//! # What is forgotten meanwhile
//!
//! | `forget`, `clear`, `refresh` | a glance |
//! |---|---|
//! | end it on disk; then count an end in the slot table; then take out the slot, under its lock | note the count; see that the slot is vacant; read; under the slot's lock: still vacant, and the count the same? then keep it |
//!
//! So what was read before its end on disk is either not kept, or taken out again. (A refresh ends it on disk later, but its
//! run is in the slot from the beginning.)

use std::any::Any;

use super::Call;
use super::engine::{Engine, Entry};
use super::func::Core;
use super::key::{Key, SlotKey};
use super::{keep, storage};
use crate::event::{Event, Tally, count};
use crate::flight::Outcome;
use crate::flight::claim::{Era, Peek};
use crate::ids::add_up;
use crate::memo::disk::payload::Meta;
use crate::memo::disk::tier::Found;
use crate::sync::atomic::AtomicU32;
use crate::sync::{Arc, OnceLock};
use crate::task::{Source, Task};

/// What came of a glance.
pub(super) enum Glance<R: Send + Sync + 'static> {
    Taken(Task<R>),
    /// There seems to be no short record.
    NotAtHand,
    /// There was one, but of no use; `doubtful`: it could not be decoded.
    InVain {
        doubtful: bool,
    },
}

impl<A, R: Send + Sync + 'static> Call<A, R> {
    /// What the disk has at hand: a short record. Not with an executor of the user's, which decides where results are made;
    /// and not while the pool ends, which tickets decide. `digest`: the key as the disk knows it, once somebody had to make it.
    pub(super) fn glance(
        &self,
        engine: &Engine,
        tally: &Arc<Tally>,
        slot: &SlotKey,
        digest: &OnceLock<Key>,
    ) -> Glance<R> {
        let tier = match &engine.disk {
            Some(tier) if self.core.format.is_some() && !self.refresh => tier,
            _ => return Glance::NotAtHand,
        };
        if engine.runner.is_foreign() || !engine.runner.is_open() {
            return Glance::NotAtHand;
        }
        let era = engine.slots.era();
        let Peek::Vacant = engine.slots.peek(slot, |_| Some(()), |_| Some(())) else {
            return Glance::NotAtHand;
        };
        #[cfg(feature = "report")]
        let asked = crate::sync::now();
        let key_ref = self.key_ref(*slot);
        let key = digest.get_or_init(|| key_ref.key()).as_bytes();
        let Some(hint) = tier.at_hand(key) else { return Glance::NotAtHand };
        let now = || engine.reads_at();
        match storage::read(tier, &self.core, key, Some(hint), || Some(Arc::clone(tally)), now) {
            Found::Value(outcome, meta) => {
                count(&tally.led);
                #[cfg(feature = "report")]
                super::record::read(engine, tally, asked);
                self.adopt(engine, tally, slot, era, &outcome, &meta);
                storage::announce(engine, tier, &self.core, tally);
                Glance::Taken(Task::ready(outcome, Some(Source::Disk), Some(key_ref)))
            }
            Found::Nothing(fate) => {
                #[cfg(feature = "report")]
                fate.into_iter().for_each(|fate| engine.history.note(slot.hash(), fate));
                Glance::InVain { doubtful: storage::is_doubtful(fate) }
            }
        }
    }

    /// Keeps in memory what the disk had.
    fn adopt(
        &self,
        engine: &Engine,
        tally: &Arc<Tally>,
        slot: &SlotKey,
        era: Era,
        outcome: &Outcome<R>,
        meta: &Meta,
    ) {
        let Some(weight) = engine.found(&self.core, tally, outcome, meta, 1) else { return };
        #[cfg(feature = "report")]
        tally.record.sized(weight);
        let entry = Entry {
            value: as_any(outcome),
            weight,
            expires: meta.expires,
            cost: meta.compute,
            touched: AtomicU32::new(0),
            owner: self.core.owner(),
            tally: Arc::clone(tally),
        };
        if let Ok(generation) = engine.slots.adopt(*slot, era, entry) {
            engine.account(slot, generation, weight, tally);
        }
    }
}

impl Engine {
    /// The disk had an outcome that so many submissions get: counts it, and tells of it. Its weight, if the memory takes it.
    pub(super) fn found<R>(
        &self,
        core: &Core<R>,
        tally: &Tally,
        outcome: &Outcome<R>,
        meta: &Meta,
        submissions: u64,
    ) -> Option<u64> {
        count(&tally.disk_hits);
        add_up(&tally.disk_nanos, meta.compute.saturating_mul(submissions));
        self.emit(&Event::DiskHit { function: tally.name, bytes: meta.raw_len });
        let weight = keep::weight_of(Some(core), outcome.as_deref().ok(), Some(meta.raw_len)).ok();
        weight.filter(|weight| self.memory.fits(*weight))
    }
}

/// An outcome as the slot table keeps it.
pub(super) fn as_any<R: Send + Sync + 'static>(outcome: &Outcome<R>) -> Arc<dyn Any + Send + Sync> {
    match outcome {
        Ok(value) => Arc::clone(value) as _,
        Err(error) => Arc::new(error.clone()),
    }
}
