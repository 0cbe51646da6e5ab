//! A ticket: one unit's share in its pool. As long as there is one, the pool has not ended.

use std::any::Any;
use std::fmt;

use super::{Patience, Refused, Runner, context};
use crate::sync::Arc;

/// A pool, as this stage knows it: whatever it is, it has a runner.
///
/// What belongs to a unit refers to the pool through this alone. To count references to the runner as well would be to change
/// a line that all threads change, once more for each of them.
pub(crate) trait Host: Any + Send + Sync {
    /// Where its units run.
    fn runner(&self) -> &Arc<Runner>;
}

/// One unit's share in its pool, from admission to its last callback.
pub(crate) struct Ticket<H: Host> {
    host: Arc<H>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Admitted,
    Queued,
    Started,
}

impl<H: Host> Ticket<H> {
    /// A share without a unit.
    pub(crate) fn new(host: &Arc<H>) -> Self {
        host.runner().load.add();
        Ticket { host: Arc::clone(host), stage: Stage::Admitted }
    }

    /// The right to queue one unit: waits for room in the queue, unless this is one of the pool's own tasks (whose nested
    /// work passes the bound, or it would deadlock).
    pub(crate) fn admit(host: &Arc<H>, patience: Patience) -> Result<Self, Refused> {
        let runner = host.runner();
        #[cfg(feature = "rayon")]
        runner.crews.asked();
        let inside = context::is_inside(runner.id);
        let bound = if inside { usize::MAX } else { runner.plan.queue };
        let mut ticket = match runner.load.admit(bound) {
            true => Ticket { host: Arc::clone(host), stage: Stage::Queued },
            false => Ticket::new(host),
        };
        if !runner.admits() {
            return Err(Refused::Shutdown);
        }
        while let Stage::Admitted = ticket.stage {
            if runner.load.queue(bound) {
                ticket.stage = Stage::Queued;
            } else if !runner.await_place(patience) {
                return Err(Refused::QueueFull);
            } else if !runner.is_open() {
                return Err(Refused::Shutdown);
            }
        }
        Ok(ticket)
    }

    /// The pool.
    pub(crate) fn host(&self) -> &Arc<H> {
        &self.host
    }

    /// The unit is set aside before its body has begun.
    pub(crate) fn pause(&mut self) {
        if let Stage::Started = self.stage {
            self.host.runner().load.set_aside();
            self.stage = Stage::Admitted;
        }
    }

    /// The unit waits again, for a slot: it counts as queued.
    pub(crate) fn wait_again(&mut self) {
        let load = &self.host.runner().load;
        match self.stage {
            Stage::Admitted => _ = load.queue(usize::MAX),
            Stage::Queued => {}
            Stage::Started => load.wait_again(),
        }
        self.stage = Stage::Queued;
    }

    /// The unit starts: its place in the queue is free.
    pub(crate) fn start(&mut self) {
        let runner = self.host.runner();
        match self.stage {
            Stage::Admitted => runner.load.go_on(),
            Stage::Queued => {
                runner.load.start();
                runner.tell_of_place();
            }
            Stage::Started => {}
        }
        self.stage = Stage::Started;
    }
}

impl<H: Host> Drop for Ticket<H> {
    fn drop(&mut self) {
        let runner = self.host.runner();
        let last = match self.stage {
            Stage::Admitted => runner.load.remove_aside(),
            Stage::Queued => {
                let last = runner.load.remove_waiting();
                runner.tell_of_place();
                last
            }
            Stage::Started => runner.load.remove(),
        };
        if last {
            runner.end_if_idle();
        }
    }
}

impl<H: Host> fmt::Debug for Ticket<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("stage", &self.stage).finish_non_exhaustive()
    }
}
