//! A ticket: one unit's share in its pool. As long as there is one, the pool has not ended.

use super::Runner;
use crate::sync::Arc;
use crate::sync::atomic::Ordering;

/// One unit's share in its pool, from admission to its last callback.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(super) runner: Arc<Runner>,
    pub(super) stage: Stage,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    Admitted,
    Queued,
    Started,
}

impl Ticket {
    /// The unit is set aside before its body has begun.
    pub(crate) fn pause(&mut self) {
        if let Stage::Started = self.stage {
            self.runner.running.fetch_sub(1, Ordering::Relaxed);
            self.stage = Stage::Admitted;
        }
    }

    /// The unit waits again, for a slot: it counts as queued.
    pub(crate) fn wait_again(&mut self) {
        self.pause();
        self.runner.waiting.fetch_add(1, Ordering::SeqCst);
        self.stage = Stage::Queued;
    }

    /// The unit starts: its place in the queue is free.
    pub(crate) fn start(&mut self) {
        if let Stage::Queued = self.stage {
            self.runner.give_place();
        }
        self.runner.running.fetch_add(1, Ordering::Relaxed);
        self.stage = Stage::Started;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        match self.stage {
            Stage::Admitted => {}
            Stage::Queued => self.runner.give_place(),
            Stage::Started => {
                self.runner.running.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if self.runner.tickets.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.runner.end_if_idle();
        }
    }
}
