//! The hot path: a submission that finds its value.
//!
//! No allocation, no clock (unless the value has a TTL), no lock but the shard's, no word to the accountant but a flag in the
//! slot. What is left are the arguments' bytes, one look at the slot table, and two atomic additions: the shard's readers, and
//! the value's owners.
//!
//! Little is moved. What [`fetch_hot`](Call::fetch_hot) gives fits two registers, and the key is written where the task will
//! have it. A task that is made inside and handed out from call to call costs more than the look-up.

use std::any::Any;

use super::Call;
use super::engine::Engine;
use super::key::SlotKey;
use super::storage::Eager;
use crate::error::Error;
use crate::event::Event;
use crate::flight::Outcome;
use crate::flight::claim::Peek;
use crate::run::Patience;
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use crate::task::Task;

/// What the hot path found.
pub(super) enum Found<R> {
    Value(Arc<R>),
    /// The kept error of a function that keeps them.
    Error(Error),
    /// The arguments can't be encoded.
    Refused(Error),
    /// Nothing for certain: not in flight, and not kept.
    Vacant,
    /// To be joined, led, or read with the clock in hand.
    Other,
    /// The pool ends: whoever is still admitted looks once more.
    Ended,
}

impl<A, R: Send + Sync + 'static> Call<A, R> {
    /// The spine: a hit, or the cold path.
    #[inline]
    pub(crate) fn submit(self, engine: &Arc<Engine>) -> Task<R> {
        let mut slot = SlotKey::EMPTY;
        match self.fetch_hot(engine, &mut slot) {
            Found::Value(value) => Task::hit(value, self.key_ref(slot)),
            found => self.fetch_endlessly(engine, slot, found, Eager::Nothing),
        }
    }

    /// As [`submit`](Self::submit). Gives the call back if there is no room in the queue for as long as `patience` lasts.
    #[inline]
    pub(crate) fn try_submit(
        self,
        engine: &Arc<Engine>,
        patience: Patience,
        eager: Eager,
    ) -> Result<Task<R>, Self> {
        let mut slot = SlotKey::EMPTY;
        match self.fetch_hot(engine, &mut slot) {
            Found::Value(value) => Ok(Task::hit(value, self.key_ref(slot))),
            found => self.fetch_cold(engine, slot, found, patience, eager),
        }
    }

    /// [`submit`](Self::submit) and wait. A value that is there needs no task, and its owner is counted once. One that lies on
    /// the disk is read here: no other thread has to be woken for it, or started.
    #[inline]
    pub(crate) fn run(self, engine: &Arc<Engine>) -> Outcome<R> {
        let mut slot = SlotKey::EMPTY;
        match self.fetch_hot(engine, &mut slot) {
            Found::Value(value) => Ok(value),
            found => self.fetch_endlessly(engine, slot, found, Eager::Anything).wait(),
        }
    }

    /// A value that is there, and the key of the place in the slot table where it is or would be.
    ///
    /// Never inlined: the encoder's buffers would stay in the frame of a body that goes on to wait, and nesting would
    /// reach half as deep.
    #[inline(never)]
    fn fetch_hot(&self, engine: &Engine, slot: &mut SlotKey) -> Found<R> {
        let mut encoder = self.encoder();
        if let Err(error) = self.encode(&mut encoder) {
            return Found::Refused(error);
        }
        encoder.finish_in(slot);
        if (self.refresh || engine.ended.load(Ordering::Relaxed))
            && let Some(found) = self.unlooked(engine)
        {
            return found;
        }
        let found = engine.slots.peek(
            slot,
            |entry| {
                if entry.expires != 0 {
                    return None;
                }
                entry.tally.hit(entry.cost);
                engine.memory.touch(&entry.touched, slot.hash());
                Some(Arc::clone(&entry.value))
            },
            |_| Some(()),
        );
        let value = match found {
            Peek::Hit(value) => value,
            Peek::Vacant => return Found::Vacant,
            Peek::Stale | Peek::Running(()) => return Found::Other,
        };
        if engine.on_event.is_some() {
            engine.emit(&Event::Hit { function: self.core.identity.name });
        }
        match as_outcome(value) {
            Ok(value) => Found::Value(value),
            Err(error) => Found::Error(error),
        }
    }

    /// What is found without a look. Out of line: a second early return would cost the hit some thirty instructions.
    #[cold]
    #[inline(never)]
    fn unlooked(&self, engine: &Engine) -> Option<Found<R>> {
        match engine.ended.load(Ordering::Relaxed) {
            true => Some(Found::Ended),
            false => self.refreshes(engine).then_some(Found::Vacant),
        }
    }
}

/// A kept error, as an entry has it: of a type of its own, since errors may also be what a function computes.
pub(super) struct KeptFailure(pub(super) Error);

/// A kept value, or the kept error of a function that keeps them.
#[inline]
pub(super) fn as_outcome<R: Send + Sync + 'static>(value: Arc<dyn Any + Send + Sync>) -> Outcome<R> {
    value.downcast().map_err(|other| match other.downcast_ref::<KeptFailure>() {
        Some(KeptFailure(error)) => error.clone(),
        None => Error::invalid("the kept value is of another type: two functions share one identity"),
    })
}
