//! Stage 5, *task*: the handle of one submission.
//!
//! 1. [`wait`] — waiting for several.
//! 2. [`map`] — many calls, lazily, in order.
//! 3. [`block`] — what a body enters before its thread sleeps.
//! 4. [`poll`] — a task as a future.
//! 5. [`progress`] — a bar for whoever waits for many (feature `progress`).
//!
//! A task is finished from the start (a hit), or holds one interest in a run in flight. A waiting thread that runs a body
//! of some pool is part of that body's task, and three things follow, all in [`Task::block`]: the wait is entered in the
//! wait graph, which refuses what could never end; a run that is still queued in the thread's own pool is run right here,
//! on top of its stack, while there is room; and otherwise the pool puts another thread in its place.
//!
//! Only a wait for one task without a deadline runs it here. A wait for several must be able to return as soon as *any*
//! of them is done, and one with a deadline when it is over, but a body on top of its stack would pin it. They are
//! replaced by another thread instead, and only where the pool has none left does the waiter help after all.

mod block;
pub(crate) mod map;
mod poll;
pub(crate) mod progress;
pub(crate) mod wait;

use std::fmt;
use std::time::{Duration, Instant};

use crate::call::KeyRef;
use crate::call::execute::CallFlight;
use crate::call::key::Key;
use crate::contain::contain;
use crate::error::Error;
use crate::event::count;
use crate::flight::Outcome;
use crate::flight::cell::{Interest, Withdrawn};
use crate::ids;
use crate::run::asleep::asleep;
use crate::run::context::{self, Frame};
use crate::run::wait_graph::AnyNode;
use crate::run::{graph, limit};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, now};
use block::{Blocking, no_thread_left, snooze};
use poll::Polling;

/// How long a worker waits for a run before it is counted as blocked and replaced: about what the replacement costs.
const GRACE: Duration = Duration::from_micros(100);

/// The result of one submission, now or later: waited for by a thread, or `.await`ed by a future.
///
/// Clones share the submission.
///
/// # Cancellation
///
/// Dropping a task neither stops nor restarts the work: the pool owns it. That holds for a future that is dropped while it is
/// polled, and for a wait whose time is over. [`cancel`](Self::cancel) withdraws this submission's interest; the work stops
/// when nobody is left who has one.
///
/// # Examples
///
/// ```
/// use memopool::{Func, Pool};
///
/// let pool = Pool::new();
/// let square = Func::new("square", |n: u64| n * n);
/// let task = pool.submit(square.call(12));
/// assert_eq!(*task.wait()?, 144);
/// assert_eq!(*task.wait()?, 144); // as often as you like
/// # Ok::<(), memopool::Error>(())
/// ```
#[must_use = "a task is the way to its result; the work goes on without it"]
pub struct Task<R: Send + Sync + 'static> {
    id: TaskId,
    state: State<R>,
}

enum State<R: Send + Sync + 'static> {
    Ready {
        outcome: Outcome<R>,
        source: Option<Source>,
        key: Option<KeyRef>,
    },
    InFlight {
        flight: Arc<CallFlight<R>>,
        interest: Interest,
        source: Option<Source>,
        /// Left behind in the cell by `poll`.
        polling: Option<Polling<R>>,
    },
}

/// Names one submission; clones of its task share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u64);

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// This submission started the run.
    Computed,
    /// It joined a run in flight.
    Joined,
    /// It was kept in memory.
    Memory,
    /// It was read from disk.
    Disk,
}

impl<R: Send + Sync + 'static> Task<R> {
    /// A value that was kept in memory.
    #[inline]
    pub(crate) fn hit(value: Arc<R>, key: KeyRef) -> Self {
        Self::ready(Ok(value), Some(Source::Memory), Some(key))
    }

    #[inline]
    pub(crate) fn ready(outcome: Outcome<R>, source: Option<Source>, key: Option<KeyRef>) -> Self {
        Task { id: TaskId(ids::unique()), state: State::Ready { outcome, source, key } }
    }

    pub(crate) fn in_flight(flight: Arc<CallFlight<R>>, interest: Interest, source: Option<Source>) -> Self {
        let state = State::InFlight { flight, interest, source, polling: None };
        Task { id: TaskId(ids::unique()), state }
    }

    /// Waits for the result.
    ///
    /// Inside a task, a wait that could never end (for itself, or for one that waits for it) fails at once.
    ///
    /// # Errors
    ///
    /// Whatever the run ended in: see [`Error`]'s predicates. Also [`is_cycle`](Error::is_cycle), and
    /// [`is_full`](Error::is_full) where the pool has no thread left for what is waited for.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::Pool;
    /// let task = Pool::new().spawn(|| 6 * 7);
    /// assert_eq!(*task.wait()?, 42);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[inline]
    pub fn wait(&self) -> Result<Arc<R>, Error> {
        match &self.state {
            State::Ready { outcome, .. } => outcome.clone(),
            State::InFlight { .. } => match self.block(None)? {
                Some(outcome) => outcome,
                None => unreachable!("a wait without a deadline ends with an outcome"),
            },
        }
    }

    /// Waits for the result for at most `timeout`. The work goes on when it is over.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), and [`is_timeout`](Error::is_timeout). If the function has a [`timeout`](crate::Func::timeout)
    /// of its own, [`is_done`](Self::is_done) says which of the two it was: the task is done only when the function's is over.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// # use memopool::Pool;
    /// let (send, receive) = std::sync::mpsc::channel();
    /// let pool = Pool::new();
    /// let task = pool.spawn(move || receive.recv().unwrap());
    /// assert!(task.wait_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    /// send.send(1).unwrap();
    /// assert_eq!(*task.wait()?, 1);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Arc<R>, Error> {
        // A deadline past the end of the clock is none.
        match self.block(now().checked_add(timeout))? {
            Some(outcome) => outcome,
            None => Err(Error::timeout(None, timeout)),
        }
    }

    /// The result, if it is there.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::Pool;
    /// let (send, receive) = std::sync::mpsc::channel();
    /// let pool = Pool::new();
    /// let task = pool.spawn(move || receive.recv().unwrap());
    /// assert!(task.try_get().is_none());
    /// send.send(1).unwrap();
    /// task.wait()?;
    /// assert_eq!(*task.try_get().expect("it is done")?, 1);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn try_get(&self) -> Option<Result<Arc<R>, Error>> {
        match &self.state {
            State::Ready { outcome, .. } => Some(outcome.clone()),
            State::InFlight { flight, interest, .. } => flight.cell.outcome(*interest),
        }
    }

    /// Withdraws this submission's interest. Returns `false` if it has its result already; otherwise it is done at once,
    /// with [`is_cancelled`](Error::is_cancelled), and `true` is returned.
    ///
    /// The work stops only when nobody who submitted it is left: a queued run then never starts, a running one sees
    /// [`cancelled()`](crate::cancelled), and what it still returns is not kept.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let pool = Pool::builder().threads(1).build()?;
    /// let (send, receive) = std::sync::mpsc::channel::<()>();
    /// let first = pool.spawn(move || receive.recv().is_ok());
    /// let square = Func::new("square", |n: u64| n * n);
    /// let task = pool.submit(square.call(3));
    /// assert!(task.cancel());
    /// assert!(task.wait().unwrap_err().is_cancelled());
    /// send.send(()).unwrap();
    /// first.wait()?;
    /// assert_eq!(pool.stats().computed, 0);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn cancel(&self) -> bool {
        let State::InFlight { flight, interest, .. } = &self.state else { return false };
        self.withdrew(flight.cell.withdraw(*interest, Err(Error::cancelled())))
    }

    /// Withdraws the interest if the run has not started.
    pub(crate) fn cancel_if_queued(&self) {
        if let State::InFlight { flight, interest, .. } = &self.state {
            self.withdrew(flight.cell.withdraw_unstarted(*interest, Err(Error::cancelled())));
        }
    }

    fn withdrew(&self, withdrawn: Withdrawn) -> bool {
        let State::InFlight { flight, .. } = &self.state else { return false };
        match withdrawn {
            Withdrawn::TooLate => return false,
            Withdrawn::GivenUp => {
                flight.origin.hold.end();
                // A body that is asleep can't see it.
                flight.origin.sleeper.wake();
            }
            // (Where it waits for something it may lie for long yet.)
            Withdrawn::NeverRuns => flight.origin.hold.end(),
            Withdrawn::Shared => {}
        }
        count(&flight.origin.tally.cancelled);
        true
    }

    /// Whether the result is there (an error or a cancellation is one).
    pub fn is_done(&self) -> bool {
        match &self.state {
            State::Ready { .. } => true,
            State::InFlight { flight, interest, .. } => {
                flight.cell.is_done() || flight.cell.outcome(*interest).is_some()
            }
        }
    }

    /// Whether its body runs right now.
    pub fn is_running(&self) -> bool {
        match &self.state {
            State::Ready { .. } => false,
            State::InFlight { flight, .. } => !self.is_done() && flight.cell.is_running(),
        }
    }

    /// Whether this submission was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.try_get(), Some(Err(error)) if error.is_cancelled())
    }

    /// Calls `f` once with the result: in the thread that finishes the run, after all waiters have been woken, or right
    /// here if the result is there. A panic of `f` is caught and reported by the panic hook alone. It may wait for other
    /// tasks, but not for one that ran this task on its own stack: that wait fails with [`is_cycle`](Error::is_cycle).
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::Pool;
    /// let (send, receive) = std::sync::mpsc::channel();
    /// let task = Pool::new().spawn(|| 7);
    /// task.on_done(move |result| send.send(result.clone()).unwrap());
    /// assert_eq!(*receive.recv().unwrap()?, 7);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn on_done(&self, f: impl FnOnce(&Result<Arc<R>, Error>) + Send + 'static) {
        match &self.state {
            State::Ready { outcome, .. } => {
                let _ = contain(|| f(outcome));
            }
            State::InFlight { flight, interest, .. } => flight.cell.on_done(*interest, Box::new(f)),
        }
    }

    /// Where the value came from; `None` as long as that is open, and for a submission that started a run which failed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool, Source};
    /// let pool = Pool::new();
    /// let square = Func::new("square", |n: u64| n * n);
    /// let first = pool.submit(square.call(3));
    /// first.wait()?;
    /// assert_eq!(first.source(), Some(Source::Computed));
    /// assert_eq!(pool.submit(square.call(3)).source(), Some(Source::Memory));
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn source(&self) -> Option<Source> {
        match &self.state {
            State::Ready { source, .. } => *source,
            State::InFlight { source: Some(source), .. } => Some(*source),
            State::InFlight { flight, .. } => match self.try_get()? {
                _ if flight.origin.from_disk.load(Ordering::Acquire) => Some(Source::Disk),
                outcome => outcome.is_ok().then_some(Source::Computed),
            },
        }
    }

    /// The key of the call; `None` for a spawned closure, and for a call that could not be encoded.
    pub fn key(&self) -> Option<Key> {
        match &self.state {
            State::Ready { key, .. } => key.as_ref().map(KeyRef::key),
            State::InFlight { flight, .. } => flight.origin.key.as_ref().map(KeyRef::key),
        }
    }

    /// The name of this submission.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Waits, as the thread and body we are in may. `Ok(None)`: not by the deadline. `Err`: the wait itself failed.
    fn block(&self, deadline: Option<Instant>) -> Result<Option<Outcome<R>>, Error> {
        let State::InFlight { flight, interest, .. } = &self.state else { return Ok(self.try_get()) };
        context::resume();
        if let Some(outcome) = flight.cell.outcome(*interest) {
            return Ok(Some(outcome));
        }
        let Some(frame) = context::current() else {
            snooze(flight);
            return Ok(asleep(deadline, |until| flight.cell.wait(*interest, until)));
        };
        // What it runs itself it does not wait for.
        if deadline.is_none()
            && self.help(&frame)
            && let Some(outcome) = flight.cell.outcome(*interest)
        {
            return Ok(Some(outcome));
        }
        flight.queue_if_kept();
        let waiting = Blocking::enter(&frame, vec![Arc::clone(flight) as AnyNode])?;
        snooze(flight);
        if let Some(outcome) = self.await_briefly(deadline) {
            return Ok(Some(outcome));
        }
        let wait = |until| flight.cell.wait(*interest, until);
        loop {
            let rests = self.rests_until();
            if let Some(outcome) = waiting.sleep(deadline, wait) {
                return Ok(outcome);
            }
            // No thread is left. If it rests, or did just now, it is run here when that is over.
            let rests = rests.or_else(|| self.rests_until());
            if let Some(until) = rests
                && let Some(Some(outcome)) = waiting.sleep(Some(until), wait)
            {
                return Ok(Some(outcome));
            }
            if !self.help(&frame) && rests.is_none() {
                return Err(no_thread_left(flight));
            }
        }
    }

    /// Until when its run rests between two attempts.
    fn rests_until(&self) -> Option<Instant> {
        match &self.state {
            State::Ready { .. } => None,
            State::InFlight { flight, .. } => flight.origin.course.rests_until(),
        }
    }

    /// A run that is about to end is not worth a replacement: what that costs (starting or waking a thread) is waited for
    /// first. A run that is still queued may be waiting for that very replacement.
    fn await_briefly(&self, deadline: Option<Instant>) -> Option<Outcome<R>> {
        let State::InFlight { flight, interest, .. } = &self.state else { return self.try_get() };
        if flight.cell.is_queued() {
            return None;
        }
        let grace = now() + GRACE;
        flight.cell.wait(*interest, Some(deadline.map_or(grace, |deadline| deadline.min(grace))))
    }

    /// Runs it right here if it is queued in the pool whose body we are in, and there is room. `true`: it has run, or has been
    /// set aside.
    fn help(&self, frame: &Frame) -> bool {
        let State::InFlight { flight, .. } = &self.state else { return false };
        if !flight.can_be_helped(frame) {
            return false;
        }
        flight.end_rest_if_due();
        if flight.parked.load(Ordering::Acquire) {
            return false;
        }
        match flight.cell.start() {
            Some(run) => {
                flight.kept.store(false, Ordering::Relaxed);
                // It may need what this body holds. Taken back last: that may be a wait of its own.
                let _lent = limit::lend();
                let pinned = graph().pin(&frame.node(), Arc::clone(flight) as AnyNode);
                run.run();
                drop(pinned);
                true
            }
            None => false,
        }
    }

    /// This task as the wait graph sees it; `None` if it was finished from the start.
    fn node(&self) -> Option<AnyNode> {
        match &self.state {
            State::Ready { .. } => None,
            State::InFlight { flight, .. } => Some(Arc::clone(flight) as AnyNode),
        }
    }

    /// The name of its run in the wait graph.
    #[cfg(feature = "stream")]
    fn flight(&self) -> Option<u64> {
        match &self.state {
            State::Ready { .. } => None,
            State::InFlight { flight, .. } => Some(flight.id),
        }
    }

    /// The same submission, for a waiter whose wait itself failed: done with that error.
    fn failed_wait(&self, error: Error) -> Task<R> {
        let key = match &self.state {
            State::Ready { key, .. } => *key,
            State::InFlight { flight, .. } => flight.origin.key,
        };
        Task { id: self.id, state: State::Ready { outcome: Err(error), source: None, key } }
    }
}

impl<R: Send + Sync + 'static> Clone for Task<R> {
    fn clone(&self) -> Self {
        let state = match &self.state {
            State::Ready { outcome, source, key } => {
                State::Ready { outcome: outcome.clone(), source: *source, key: *key }
            }
            State::InFlight { flight, interest, source, .. } => {
                let (flight, interest, source) = (Arc::clone(flight), *interest, *source);
                State::InFlight { flight, interest, source, polling: None }
            }
        };
        Task { id: self.id, state }
    }
}

impl<R: Send + Sync + 'static> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.try_get() {
            Some(Ok(_)) => "done",
            Some(Err(error)) if error.is_cancelled() => "cancelled",
            Some(Err(_)) => "failed",
            None if self.is_running() => "running",
            None => "queued",
        };
        write!(f, "Task({}, {state})", self.id.0)
    }
}

const _: () = {
    const fn shared<T: Send + Sync + Unpin>() {}
    shared::<Task<String>>();
};
