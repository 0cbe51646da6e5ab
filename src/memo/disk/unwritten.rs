//! What did not get to the disk: told to the next flush, since nobody else waits for it.
//!
//! A result that is not written fails no task, and the listener hears only of the first. Who flushes wants to know that all
//! is safe, so one result that could not be written, or was not tried while the disk rests from a failure, is enough to
//! fail the next flush, and only that one: what it says of is gone, and later results may do better.

use crate::sync::Mutex;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Unwritten(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Why the first since the last flush was not written.
    since_flush: Option<String>,
    /// What failed last, flushes or not: why nothing is tried for a while.
    trouble: String,
}

impl Unwritten {
    /// The disk failed.
    pub(super) fn trouble(&self, reason: &str) {
        let trouble = reason.to_owned();
        let before = std::mem::replace(&mut self.0.lock().trouble, trouble);
        drop(before);
    }

    /// A result is not on the disk, or not safe there.
    pub(super) fn add(&self, reason: &str) {
        let mut state = self.0.lock();
        if state.since_flush.is_none() {
            state.since_flush = Some(reason.to_owned());
        }
    }

    /// A result was not tried to be written, for what failed before.
    pub(super) fn add_untried(&self) {
        let mut state = self.0.lock();
        if state.since_flush.is_none() {
            state.since_flush = Some(state.trouble.clone());
        }
    }

    /// Why something since the last flush is not on the disk. Asked by a flush: the next begins anew.
    pub(super) fn take(&self) -> Result<(), String> {
        let reason = self.0.lock().since_flush.take();
        reason.map_or(Ok(()), |reason| Err(format!("not all that has finished is on the disk: {reason}")))
    }
}
