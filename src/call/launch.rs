//! From a claimed slot to a queued job.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::engine::Engine;
use super::execute::{CallFlight, Lead, Run};
use super::func::{Attempts, Core, Handle};
use super::storage::Stage;
use crate::contain::contain;
use crate::error::Error;
use crate::event::count;
use crate::run::limit::Limit;
use crate::run::{Lane, Ticket, context};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, spawn};

/// What a run is made of, but for its arguments.
pub(super) struct Launch<'a, R: Send + Sync + 'static> {
    pub(super) flight: &'a Arc<CallFlight<R>>,
    pub(super) guard: Lead<R>,
    pub(super) core: Option<Handle<R>>,
    pub(super) ticket: Ticket<Engine>,
    pub(super) stage: Stage,
    /// The disk had a record of it that could not be decoded.
    pub(super) doubtful: bool,
    /// Who submits it goes on to wait for it: what is on disk is read here and now.
    pub(super) awaited: bool,
}

impl<R: Send + Sync + 'static> Launch<'_, R> {
    /// Makes the job and queues it. Whatever fails on the way settles the cell.
    pub(super) fn go(self, engine: &Engine, attempts: impl FnOnce(Option<&Core<R>>) -> Attempts<R>) {
        let Launch { flight, guard, core, ticket, stage, doubtful, awaited } = self;
        // Making arguments owned is user code (`Clone`).
        let attempts = match catch_unwind(AssertUnwindSafe(|| attempts(core.as_deref()))) {
            Ok(attempts) => attempts,
            Err(panic) => {
                count(&flight.origin.tally.panicked);
                return guard.fail(Err(Error::panic(flight.origin.tally.name, &*panic)));
            }
        };
        let turn = core.as_ref().and_then(|core| core.limit.as_ref()).map(Limit::turn);
        let run = Run {
            flight: Arc::clone(flight),
            guard,
            core,
            attempts,
            ticket,
            stage,
            doubtful,
            permit: None,
            turn,
            #[cfg(feature = "report")]
            why: None,
        };
        let mut run = match awaited {
            true => match catch_unwind(AssertUnwindSafe(|| run.look_here())) {
                Ok(Some(run)) => run,
                // It has its result; or something of the user's panicked while it was dropped.
                Ok(None) | Err(_) => return,
            },
            false => run,
        };
        run.foresee();
        let stage = run.stage;
        if let Err(run) = flight.cell.arm(run) {
            let _ = contain(|| drop(run));
            return;
        }
        if awaited && !engine.runner.is_foreign() && is_helped(flight) {
            flight.kept.store(true, Ordering::Relaxed);
            return;
        }
        flight.queue(stage.lane());
    }
}

/// Whether a body submits it that goes on to wait for it, and will run it right here: then no queue needs to know of it, and no
/// other thread is woken.
fn is_helped<R: Send + Sync + 'static>(flight: &CallFlight<R>) -> bool {
    context::current().is_some_and(|frame| flight.can_be_helped(&frame))
}

impl<R: Send + Sync + 'static> CallFlight<R> {
    /// Gives its armed job to the pool's threads.
    pub(super) fn queue(self: &Arc<Self>, lane: Lane) {
        if let Err(error) = self.origin.runner().push(Arc::clone(self) as _, lane) {
            self.cell.finish(Err(Error::full(format!("no thread can be started: {error}"))));
        }
    }

    /// The same, from the thread that keeps the time: an executor may run it right where it is given to it.
    pub(super) fn queue_from_timer(self: &Arc<Self>, lane: Lane) {
        let flight = Arc::clone(self);
        let queue = move || flight.queue(lane);
        if !self.origin.runner().is_foreign() || spawn("memopool-queue".into(), None, queue.clone()).is_err()
        {
            queue();
        }
    }

    /// The same, if it is in no queue because a body was to run it, which can't: there was just room for that where it was
    /// submitted, and is none where it is waited for.
    pub(crate) fn queue_if_kept(self: &Arc<Self>) {
        if self.kept.load(Ordering::Relaxed) && self.kept.swap(false, Ordering::Relaxed) {
            self.queue(Lane::Ordinary);
        }
    }
}
