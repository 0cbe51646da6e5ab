//! The writer's rest between two batches: until its time is over, or somebody can't wait.
//!
//! Results that finish every few microseconds would each be a batch of their own: a wake-up for the writer, a dozen system
//! calls, and on a busy machine a worker that gives way. So after a batch the writer lets some gather. While it rests, putting a
//! result wakes nobody.
//!
//! Whoever sends what can't wait says so *after* sending it. Said while the writer is at work, it spares it the next rest.

use std::time::Duration;

use crate::sync::{Condvar, Mutex, now};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// Somebody can't wait.
    urgent: Mutex<bool>,
    ended: Condvar,
}

impl Pause {
    /// Rests that long at most.
    pub(super) fn rest(&self, time: Duration) {
        let until = now() + time;
        let mut urgent = self.urgent.lock();
        while !*urgent && now() < until {
            urgent = self.ended.wait_until(urgent, until);
        }
        *urgent = false;
    }

    /// Ends the rest; the next one, if there is none now.
    pub(super) fn end(&self) {
        *self.urgent.lock() = true;
        self.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Arc, spawn};

    const FOREVER: Duration = Duration::from_secs(3600);

    /// A flush waits for the end of a rest that nobody needs, or, where it comes just before the rest, for all of it.
    #[test]
    fn a_rest_ends_when_somebody_cannot_wait() {
        let pause = Arc::new(Pause::default());
        pause.end();
        pause.rest(FOREVER);
        let resting = Arc::clone(&pause);
        let rest = spawn("rest".into(), None, move || resting.rest(FOREVER)).expect("a thread");
        pause.end();
        rest.join().expect("no panic");
        pause.rest(Duration::ZERO);
    }
}
