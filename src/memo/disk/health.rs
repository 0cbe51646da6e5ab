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
    /// It failed. `true`: for the first time since it last worked.
    pub(super) fn failed(&self) -> bool {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut pause = self.pause.lock();
        let length = pause.map_or(FIRST_PAUSE, |(_, length)| (length * 2).min(LONGEST_PAUSE));
        *pause = Some((now() + length, length));
        drop(pause);
        !self.broken.swap(true, Ordering::AcqRel)
    }

    /// It worked. `true`: it had not before.
    pub(super) fn works(&self) -> bool {
        let recovered = self.broken.load(Ordering::Relaxed) && self.broken.swap(false, Ordering::AcqRel);
        if recovered {
            *self.pause.lock() = None;
        }
        recovered
    }

    pub(super) fn is_willing(&self) -> bool {
        !self.broken.load(Ordering::Relaxed) || self.pause.lock().is_none_or(|(at, _)| now() >= at)
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}
