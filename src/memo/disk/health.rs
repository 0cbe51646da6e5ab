//! Whether it is worth trying: after a failure it is not, for a while that grows with each further one.

use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, now};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Health {
    errors: AtomicU64,
    broken: AtomicBool,
    /// When to try again, and how long to wait the next time.
    pause: Mutex<Option<(Instant, Duration)>>,
}

impl Health {
    /// It failed.
    pub(super) fn failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut pause = self.pause.lock();
        // Many failures at once are one.
        if pause.is_none_or(|(at, _)| now() >= at) {
            let length = pause.map_or(FIRST_PAUSE, |(_, length)| (length * 2).min(LONGEST_PAUSE));
            *pause = Some((now() + length, length));
        }
        drop(pause);
        self.broken.store(true, Ordering::Release);
    }

    /// It worked. `true`: it had not before. While it is not worth trying nothing is made of it: what works now and then is
    /// not well.
    pub(super) fn works(&self) -> bool {
        let recovered = self.broken.load(Ordering::Relaxed)
            && self.is_willing()
            && self.broken.swap(false, Ordering::AcqRel);
        if recovered {
            *self.pause.lock() = None;
        }
        recovered
    }

    pub(super) fn is_well(&self) -> bool {
        !self.broken.load(Ordering::Acquire)
    }

    pub(super) fn is_willing(&self) -> bool {
        !self.broken.load(Ordering::Relaxed) || self.pause.lock().is_none_or(|(at, _)| now() >= at)
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}
