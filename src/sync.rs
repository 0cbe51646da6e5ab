//! The only import site of locks, condition variables, threads and clocks.
//!
//! Everything in `src/` takes them from here, so that one module says how they behave (no poisoning: a panic in user
//! code never runs under one of our locks, so there is nothing a poisoned lock could warn of) and so that
//! `tests/interleave` can mount `flight/cell.rs`, `run/idle.rs`, `run/wait_graph.rs` and others over a model checker's
//! primitives instead.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this is the module that the policy sends everyone to"
)]

use std::fmt;
use std::io;
use std::sync::TryLockError;
use std::task::Wake;
use std::time::{Duration, Instant, SystemTime};

pub(crate) use std::sync::atomic;
pub(crate) use std::sync::{Arc, MutexGuard, OnceLock, RwLockReadGuard, RwLockWriteGuard, Weak};
pub(crate) use std::thread::JoinHandle;

/// A mutex without poisoning.
#[derive(Default)]
pub(crate) struct Mutex<T: ?Sized>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Mutex(std::sync::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// `None`: somebody holds it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex(..)")
    }
}

/// A reader-writer lock without poisoning.
#[derive(Default)]
pub(crate) struct RwLock<T: ?Sized>(std::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        RwLock(std::sync::RwLock::new(value))
    }
}

impl<T: ?Sized> RwLock<T> {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock(..)")
    }
}

/// A condition variable for [`Mutex`].
#[derive(Debug, Default)]
pub(crate) struct Condvar(std::sync::Condvar);

impl Condvar {
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until woken or until `deadline`; the caller checks its condition (and the clock) again.
    pub(crate) fn wait_until<'a, T>(&self, guard: MutexGuard<'a, T>, deadline: Instant) -> MutexGuard<'a, T> {
        let left = deadline.saturating_duration_since(now());
        self.0.wait_timeout(guard, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Lets one thread sleep until a [`std::task::Waker`] made from it fires. A wake-up that comes first is kept, so that
/// "register, check, park" loses none; one that is left over from an earlier wait only costs a turn of the caller's loop.
#[derive(Debug, Default)]
pub(crate) struct Parker {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Parker {
    /// Sleeps until woken, or until `deadline`. Returns whether it was woken.
    pub(crate) fn park(&self, deadline: Option<Instant>) -> bool {
        let mut woken = self.woken.lock();
        while !*woken {
            woken = match deadline {
                None => self.wake.wait(woken),
                Some(at) if now() < at => self.wake.wait_until(woken, at),
                Some(_) => return false,
            };
        }
        *woken = false;
        true
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.woken.lock() = true;
        self.wake.notify_one();
    }
}

/// The monotonic clock: timeouts and durations.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Looks again and again until `look` gives something, or until `enough` (told how long it has been) says so. Gives way to
/// other threads every microsecond or so: often, since they may share a core with whoever is waited for; and in even steps,
/// since a back-off that doubles finds things late by half of what they took.
#[inline]
pub(crate) fn spin<T>(
    mut look: impl FnMut() -> Option<T>,
    mut enough: impl FnMut(Duration) -> bool,
) -> Option<T> {
    let start = now();
    loop {
        for _ in 0..LOOKS_PER_YIELD {
            if let Some(found) = look() {
                return Some(found);
            }
            std::hint::spin_loop();
        }
        std::thread::yield_now();
        if enough(start.elapsed()) {
            return None;
        }
    }
}

/// How often [`spin`] looks between two yields.
const LOOKS_PER_YIELD: usize = 24;

/// The wall clock behind [`crate::SystemClock`].
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Starts a thread, or says why it cannot be started.
pub(crate) fn spawn(
    name: String,
    stack: Option<usize>,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let builder = std::thread::Builder::new().name(name);
    match stack {
        Some(bytes) => builder.stack_size(bytes),
        None => builder,
    }
    .spawn(body)
}

/// Which thread this is.
pub(crate) fn this_thread() -> std::thread::ThreadId {
    std::thread::current().id()
}

/// The number of threads the machine runs at once, at least one. On Linux it takes several files to tell.
pub(crate) fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The number of processors, at least one: as [`parallelism`], but perhaps more than the process may keep busy.
pub(crate) fn processors() -> usize {
    #[cfg(target_os = "linux")]
    if let Ok(set) = rustix::thread::sched_getaffinity(None) {
        return (set.count() as usize).max(1);
    }
    parallelism()
}
