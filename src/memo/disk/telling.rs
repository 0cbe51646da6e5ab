//! What the listener was told of the disk, so that it is told of nothing twice, and of everything in order.

use std::collections::VecDeque;

use super::record::Needs;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU8, Ordering};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Telling {
    health: Mutex<Health>,
    /// What this build lacks that was told of: a bit each.
    needs: AtomicU8,
}

/// What the listener knows, and is to be told: in this order, by one thread at a time, without the lock.
#[derive(Debug, Default)]
struct Health {
    failed: bool,
    /// `Some`: why it failed; `None`: it works again.
    queue: VecDeque<Option<String>>,
    busy: bool,
}

impl Telling {
    /// Says that the disk failed, or works again, if that is news. `emit` is called without a lock: it is the user's.
    pub(super) fn say(
        &self,
        failed: bool,
        what: impl FnOnce() -> Option<String>,
        emit: impl Fn(&Option<String>),
    ) {
        let mut health = self.health.lock();
        if health.failed == failed {
            return;
        }
        health.failed = failed;
        health.queue.push_back(what());
        // What one thread says another might overtake.
        if std::mem::replace(&mut health.busy, true) {
            return;
        }
        while let Some(next) = health.queue.pop_front() {
            drop(health);
            emit(&next);
            health = self.health.lock();
        }
        health.busy = false;
    }

    /// Whether it was never said that this is needed. It is now.
    pub(super) fn is_news(&self, needs: Needs) -> bool {
        let bit = 1 << needs as u8;
        self.needs.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }
}
