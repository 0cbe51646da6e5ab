//! What is kept of an outcome, where, and until when: decided once the attempts are over.
//!
//! In this order: nobody is left who wants it (the body may have cut corners), it was cheap, it can't be weighed, it fits
//! neither in memory nor on disk, its generation has ended.

use std::any::Any;
use std::time::Duration;

use super::engine::{Engine, Entry, nanos};
use super::execute::{Bench, Lead};
use super::format::KeptError;
use super::func::{Core, Weigh};
use super::storage::{self, Kept, Unkept};
use crate::config::MIN_WEIGHT;
use crate::contain::contain;
use crate::event::{Event, Tally};
use crate::flight::Outcome;
use crate::memo::disk::payload::Packed;
use crate::memo::disk::put::Permit;
use crate::memo::disk::tier::Tier;
use crate::memo::history::Fate;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU32, Ordering};

/// How an outcome is kept.
pub(super) struct Keep {
    /// In memory: how heavy it is.
    pub(super) weight: Option<u64>,
    /// On disk: its bytes.
    pub(super) kept: Option<Kept>,
    /// Nanoseconds since the Unix epoch; 0: never.
    pub(super) expires: u64,
    /// What it took, in nanoseconds.
    pub(super) cost: u64,
}

impl<R: Send + Sync + 'static> Bench<'_, R> {
    /// Keeps the outcome where it may be kept, and settles the cell either way.
    pub(super) fn resolve(
        &self,
        guard: Lead<R>,
        keep: Keep,
        value: Arc<dyn Any + Send + Sync>,
        outcome: Outcome<R>,
        permit: Option<Box<Permit>>,
    ) {
        let tally = &self.flight.origin.tally;
        let (Some(core), Some(key)) = (self.core, &self.flight.origin.key) else {
            drop(value);
            return guard.fail(outcome);
        };
        let Keep { weight, kept, expires, cost } = keep;
        #[cfg(feature = "report")]
        if let Some(bytes) = weight.or(kept.as_ref().map(|kept| kept.encoded.bytes)) {
            tally.record.sized(bytes);
        }
        let spill = || {
            if let (Some(disk), Some(kept), Some(permit)) = (&self.engine.disk, kept, permit) {
                let permit = permit.with(self.flight.origin.hold.take());
                disk.put(storage::put(&core.digest, kept, expires, cost, tally, self.engine.now(), permit));
            }
        };
        let Some(weight) = weight else {
            drop(value);
            guard.pass(spill, outcome);
            return self.hold_back();
        };
        let touched = AtomicU32::new(0);
        let owner = core.owner();
        let entry = Entry { value, weight, expires, cost, touched, owner, tally: Arc::clone(tally) };
        let kept = |generation| {
            spill();
            self.engine.account(&key.slot, generation, weight, tally);
        };
        if guard.publish(entry, kept, outcome).is_some() {
            // Forgotten, refreshed or cleared while it ran: its waiters have it, the cache does not.
            self.engine.note(&self.flight.origin, Fate::Forgotten);
        }
        self.hold_back();
    }

    /// Where results pend for the disk beyond their bound, the worker waits: after its waiters were told.
    fn hold_back(&self) {
        if let Some(disk) = &self.engine.disk {
            disk.hold_back();
        }
    }

    /// How a value is to be kept.
    pub(super) fn keep_value(&self, value: &R, took: Duration, permit: Option<&Permit>) -> Keep {
        let mut keep = Keep { weight: None, kept: None, expires: self.expires(), cost: nanos(took) };
        let Some(core) = self.core else { return keep };
        let origin = &self.flight.origin;
        if self.is_unwanted() {
            self.engine.note(origin, Fate::GivenUp);
            return keep;
        }
        if took <= core.cost_above && core.cost_above > Duration::ZERO {
            self.engine.note(origin, Fate::Cheap);
            return keep;
        }
        let disk = self.disk_for(core, permit);
        let doubtful = permit.is_some_and(Permit::is_doubtful);
        match place(self.engine, core, &origin.tally, value, disk, doubtful) {
            Ok(placed) => (keep.weight, keep.kept) = placed,
            Err(fate) => self.engine.note(origin, fate),
        }
        keep
    }

    /// The disk, if what this run ends in is to be written now. (A function whose results never leave memory has no permit.)
    fn disk_for(&self, core: &Core<R>, permit: Option<&Permit>) -> Option<&Tier> {
        let disk = self.engine.disk.as_ref()?;
        disk.takes(&self.flight.origin.tally, permit?.key(), &core.digest).then_some(disk)
    }

    /// How an error is to be kept, if at all.
    pub(super) fn keep_error(
        &self,
        error: Option<KeptError>,
        took: Duration,
        permit: Option<&Permit>,
    ) -> Keep {
        let mut keep = Keep { weight: None, kept: None, expires: self.expires(), cost: nanos(took) };
        let Some(error) = error else { return keep };
        let weight = (error.bytes.len() as u64).max(MIN_WEIGHT);
        keep.weight = Some(weight).filter(|weight| self.engine.memory.fits(*weight));
        let revives = self.core.and_then(|core| core.format).is_some_and(|format| format.revive.is_some());
        if let Some(disk) = self.core.and_then(|core| self.disk_for(core, permit.filter(|_| revives))) {
            match storage::error(disk, error) {
                Ok(kept) => keep.kept = Some(kept),
                Err(unkept) => unkept.tell(disk, &self.flight.origin.tally),
            }
        }
        keep
    }

    /// When what is computed now expires.
    fn expires(&self) -> u64 {
        self.core.map_or(0, |core| expires(self.engine, core))
    }
}

/// When a result of that function expires that is there now; 0: never.
pub(super) fn expires<R>(engine: &Engine, core: &Core<R>) -> u64 {
    core.ttl.map_or(0, |ttl| engine.now().saturating_add(nanos(ttl)).max(1))
}

/// How a value is to be kept: its weight, if it fits into memory; its bytes, if it goes to the `disk` now. Why not, if neither:
/// the listener is told then. `doubtful`: a record of it could not be decoded.
#[inline]
pub(super) fn place<R: Send + Sync + 'static>(
    engine: &Engine,
    core: &Core<R>,
    tally: &Tally,
    value: &R,
    disk: Option<&Tier>,
    doubtful: bool,
) -> Result<(Option<u64>, Option<Kept>), Fate> {
    let (mut bytes, mut kept) = (None, None);
    if let (Some(disk), Some(format)) = (disk, &core.format) {
        storage::announce(engine, disk, core, tally);
        let checked = !doubtful && tally.checked.load(Ordering::Relaxed);
        match storage::encode(disk, format, value, checked) {
            Ok(encoded) => {
                // What was streamed to a file was not read back.
                if let Packed::Bytes { .. } = encoded.packed {
                    tally.checked.store(true, Ordering::Relaxed);
                }
                bytes = Some(encoded.encoded.bytes);
                kept = Some(encoded);
            }
            Err(unkept) => {
                if let Unkept::Unfit(_, written) = &unkept {
                    bytes = Some((*written).max(size_of::<R>() as u64));
                }
                unkept.tell(disk, tally);
            }
        }
    }
    let (fate, reason) = match weight_of(Some(core), Some(value), bytes) {
        Ok(weight) if engine.memory.fits(weight) => return Ok((Some(weight), kept)),
        Ok(_) if kept.is_some() => return Ok((None, kept)),
        Ok(weight) => (
            Fate::TooLarge,
            format!(
                "it weighs {weight} bytes, more than the whole memory of {}; give the pool more `memory`",
                engine.memory.bound()
            ),
        ),
        Err(reason) => (Fate::NotWeighed, reason),
    };
    engine.emit(&Event::NotStored { function: tally.name, reason: &reason });
    if kept.is_some() { Ok((None, kept)) } else { Err(fate) }
}

/// The weight of an outcome in memory, whose encoding has so many `bytes` if it was encoded.
pub(super) fn weight_of<R>(
    core: Option<&Core<R>>,
    value: Option<&R>,
    bytes: Option<u64>,
) -> Result<u64, String> {
    let (Some(core), Some(value)) = (core, value) else {
        return Ok(bytes.unwrap_or(0).max(MIN_WEIGHT));
    };
    let weighed = contain(|| match (core.weigh, bytes) {
        (Weigh::Given(weigh), _) => Ok(weigh(value)),
        (Weigh::Encoded(_), Some(bytes)) => Ok(bytes.max(MIN_WEIGHT)),
        (Weigh::Encoded(size), None) => size(value).map(|bytes| bytes.max(MIN_WEIGHT)),
        (Weigh::Plain, _) => Ok((size_of::<R>() as u64).max(MIN_WEIGHT)),
    });
    match weighed {
        Ok(weight) => {
            weight.map_err(|error| format!("it can't be encoded: {error}; make the function `in_memory`"))
        }
        Err(panic) => Err(format!("weighing it panicked: {panic}")),
    }
}
