//! A ticket: one unit's share in its pool. As long as there is one, the pool has not ended.

use std::any::Any;
use std::fmt;

use super::{Patience, Refused, Runner};
use crate::sync::Arc;
use crate::sync::atomic::Ordering;

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
        host.runner().load.tickets.fetch_add(1, Ordering::SeqCst);
        Ticket { host: Arc::clone(host), stage: Stage::Admitted }
    }

    /// The right to queue one unit.
    pub(crate) fn admit(host: &Arc<H>, patience: Patience) -> Result<Self, Refused> {
        let mut ticket = Ticket::new(host);
        host.runner().admit(patience)?;
        ticket.stage = Stage::Queued;
        Ok(ticket)
    }

    /// The pool.
    pub(crate) fn host(&self) -> &Arc<H> {
        &self.host
    }

    /// The unit is set aside before its body has begun.
    pub(crate) fn pause(&mut self) {
        if let Stage::Started = self.stage {
            self.host.runner().load.running.fetch_sub(1, Ordering::Relaxed);
            self.stage = Stage::Admitted;
        }
    }

    /// The unit waits again, for a slot: it counts as queued.
    pub(crate) fn wait_again(&mut self) {
        self.pause();
        self.host.runner().load.waiting.fetch_add(1, Ordering::SeqCst);
        self.stage = Stage::Queued;
    }

    /// The unit starts: its place in the queue is free.
    pub(crate) fn start(&mut self) {
        let runner = self.host.runner();
        if let Stage::Queued = self.stage {
            runner.give_place();
        }
        runner.load.running.fetch_add(1, Ordering::Relaxed);
        self.stage = Stage::Started;
    }
}

impl<H: Host> Drop for Ticket<H> {
    fn drop(&mut self) {
        let runner = self.host.runner();
        match self.stage {
            Stage::Admitted => {}
            Stage::Queued => runner.give_place(),
            Stage::Started => {
                runner.load.running.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if runner.load.tickets.fetch_sub(1, Ordering::SeqCst) == 1 {
            runner.end_if_idle();
        }
    }
}

impl<H: Host> fmt::Debug for Ticket<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("stage", &self.stage).finish_non_exhaustive()
    }
}
