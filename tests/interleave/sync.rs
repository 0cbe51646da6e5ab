//! `crate::sync` over a model checker's primitives: what the mounted files use of it, and no more.

use std::fmt;
use std::mem;
use std::task::Wake;
use std::time::{Duration, Instant};

use crate::checker;
pub(crate) use crate::checker::sync::MutexGuard;

pub(crate) use crate::checker::sync::atomic;
/// The real one: [`Wake`] wants it, and how references are counted is not what is examined here.
pub(crate) use std::sync::Arc;

/// A mutex without poisoning.
#[derive(Default)]
pub(crate) struct Mutex<T>(checker::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(checker::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex(..)")
    }
}

/// A condition variable whose waits end when it is notified and not before: no deadline that is still to come ever comes.
#[derive(Debug, Default)]
pub(crate) struct Condvar(checker::sync::Condvar);

impl Condvar {
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn wait_until<'a, T>(&self, guard: MutexGuard<'a, T>, _: Instant) -> MutexGuard<'a, T> {
        self.wait(guard)
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Looks once: whatever time that took, it was enough.
pub(crate) fn spin<T>(look: impl FnOnce() -> Option<T>, enough: impl FnOnce(Duration) -> bool) -> Option<T> {
    let found = look();
    if found.is_none() {
        assert!(enough(Duration::MAX));
    }
    found
}

/// The same steps as the real one; only time is different.
#[derive(Debug, Default)]
pub(crate) struct Parker {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Parker {
    /// Sleeps until woken. A deadline, whichever, has always passed: the checker decides what happens before.
    pub(crate) fn park(&self, deadline: Option<Instant>) -> bool {
        let mut woken = self.woken.lock();
        while !*woken && deadline.is_none() {
            woken = self.wake.wait(woken);
        }
        mem::take(&mut *woken)
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        *self.woken.lock() = true;
        self.wake.notify_one();
    }
}

/// Some deadline.
#[expect(
    clippy::disallowed_methods,
    reason = "no other way to make an instant; which one it is does not matter"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
