//! `crate::sync` over a model checker's primitives: what the mounted files use of it, and no more.

use std::fmt;
use std::mem;
use std::task::Wake;
use std::time::Instant;

use crate::checker;
use crate::checker::sync::Condvar;
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
            woken = self.wake.wait(woken).unwrap_or_else(|poisoned| poisoned.into_inner());
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
