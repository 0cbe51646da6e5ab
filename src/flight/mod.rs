//! Stage 2, *flight*: identical work in flight is one run.
//!
//! 1. [`cell`] — the shared one-shot outcome of a run, and its waiters.
//! 2. [`claim`] — the slot protocol: hit, join or lead; the guard that always resolves.
//! 3. [`slots`] — the concurrent map under it.
//!
//! This file ties the three to the crate's outcome type. `flight` imports no other stage.

pub(crate) mod cell;
pub(crate) mod claim;
pub(crate) mod slots;

use std::any::Any;
use std::fmt;

use crate::error::Error;
use crate::sync::Arc;
use crate::sync::atomic::AtomicBool;

/// What a run ends in.
pub(crate) type Outcome<R> = Result<Arc<R>, Error>;

/// A run in flight as the slot table holds it: results of all types side by side.
#[derive(Clone)]
pub(crate) struct AnyFlight {
    pub(crate) flight: Arc<dyn AnyRun>,
    /// Which function's run it is.
    pub(crate) owner: u32,
}

/// A run of any type of result.
pub(crate) trait AnyRun: Any + Send + Sync {
    /// Its generation has ended: nobody is to wait for what it still does.
    fn ended(&self);
}

/// One run: its cell, and which call (`O`, its origin) it computes.
///
/// The job (`J`) lies in the cell as it is. In a box of its own it would be allocated by the thread that submits and freed
/// by the one that runs, call by call: both would then spend most of their time on the allocator's lock.
pub(crate) struct Flight<O, R, J> {
    /// Unique in the process; names the run in the wait graph.
    pub(crate) id: u64,
    /// Its body has a timeout, so a waiter must be able to leave before it ends: nobody runs it inline.
    pub(crate) timed: bool,
    /// It waits for a slot of a limit: starting it would only set it aside again.
    pub(crate) parked: AtomicBool,
    /// It lies in no queue: the body that submitted it goes on to run it.
    pub(crate) kept: AtomicBool,
    pub(crate) origin: O,
    pub(crate) cell: cell::Cell<J, Outcome<R>>,
}

/// What is the origin of a flight: it may have a key.
pub(crate) trait Keyed {
    type Key;
    fn key(&self) -> Option<&Self::Key>;
    /// Its generation has ended: nobody is to wait for what it still does.
    fn ended(&self);
    /// The run is over.
    fn over(&self);
}

impl<O, R, J> AnyRun for Flight<O, R, J>
where
    O: Keyed + Send + Sync + 'static,
    R: Send + Sync + 'static,
    J: Send + 'static,
{
    fn ended(&self) {
        self.origin.ended();
    }
}

impl<O: Keyed, R, J> claim::Resolve for Arc<Flight<O, R, J>> {
    type Key = O::Key;
    type Outcome = Outcome<R>;

    fn key(&self) -> Option<&O::Key> {
        self.origin.key()
    }

    fn finish(&self, outcome: Outcome<R>) -> bool {
        self.origin.over();
        self.cell.finish(outcome)
    }

    /// The job was dropped unrun: the queue it lay in is gone.
    fn left_behind(&self) -> Outcome<R> {
        Err(Error::shutdown())
    }
}

impl<O, R, J> fmt::Debug for Flight<O, R, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("id", &self.id).field("cell", &self.cell).finish()
    }
}
