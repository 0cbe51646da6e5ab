//! Attempts of one run: how many there were, and the rest between two of them.
//!
//! A run whose attempt failed, and whose function has a [`Backoff`], *rests*: its job goes back into its cell, as that of
//! a run that waits for a slot does, and the pool's timer queues it when the rest is over. So it holds no thread and no slot of a
//! limit meanwhile; it can be joined, and cancelling it or ending its pool drops its job at once.
//!
//! # States of one run
//!
//! | state | its cell | `rest` | leaves it |
//! |---|---|---|---|
//! | attempt | `Running` | `None` | it failed: `rest` is set, then the job goes back into the cell |
//! | rests | `Aside`, then `Queued` | until when | the timer rings, or a waiter finds the time come: `rest` is taken, then the run is queued, or run there |
//! | queued | `Queued` | `None` | whoever starts it makes the next attempt |
//!
//! Whoever starts a run that rests still (its job lay in a queue from before) puts it back, and looks afterwards whether the
//! rest has ended meanwhile: if so it queues the run itself, since the timer may have found no job to queue.
//!
//! A waiter whose pool has no thread left does not give up on a run that rests: it sleeps until the rest is over, and
//! makes the attempt itself.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};

use super::engine::nanos;
use super::execute::{CallFlight, Run};
use super::func::Func;
use crate::contain::contain;
use crate::error::Error;
use crate::run::limit::Limit;
use crate::run::timer::Alarm;
use crate::run::worker::FOREVER;
use crate::run::{Lane, Unit};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, Weak, now};

/// The longest rest between two attempts, unless [`Backoff::max`] says otherwise: one minute.
pub const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(60);

/// How long a run rests after an attempt that failed, before the next one: longer each time.
///
/// For [`Func::backoff`]. A run that rests holds no thread and no slot of a [`Limit`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use memopool::Backoff;
///
/// // 100 to 200 ms, then 200 to 400 ms, then 400 to 800 ms, up to 5 to 10 s.
/// let polite = Backoff::exponential(Duration::from_millis(100)).max(Duration::from_secs(5));
/// // Exactly one second, each time.
/// let steady = Backoff::exponential(Duration::from_secs(1)).factor(1.0).jitter(false);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    first: Duration,
    factor: f32,
    max: Duration,
    jitter: bool,
}

impl Backoff {
    /// Starts with `first`, and doubles up to [`DEFAULT_MAX_BACKOFF`], with jitter.
    #[must_use]
    pub const fn exponential(first: Duration) -> Backoff {
        Backoff { first, factor: 2.0, max: DEFAULT_MAX_BACKOFF, jitter: true }
    }

    /// By how much each rest is longer than the one before. Default: 2. Less than 1 (or no number) counts as 1: always as
    /// long as the first.
    #[must_use]
    pub const fn factor(self, factor: f32) -> Backoff {
        // `max` takes the other one of a NaN.
        Backoff { factor: factor.max(1.0), ..self }
    }

    /// The longest rest, before jitter. Default: [`DEFAULT_MAX_BACKOFF`]. A first rest that is longer is as long as this.
    #[must_use]
    pub const fn max(self, max: Duration) -> Backoff {
        Backoff { max, ..self }
    }

    /// Whether each rest is made longer by a random share of itself, up to twice as long. Default: yes, so that those that
    /// failed together do not come back together.
    #[must_use]
    pub const fn jitter(self, jitter: bool) -> Backoff {
        Backoff { jitter, ..self }
    }

    /// The rest after attempt number `attempt`, from 0.
    pub(super) fn after(&self, attempt: u32) -> Duration {
        let max = self.max.min(FOREVER);
        let builder = ExponentialBuilder::new()
            .with_factor(self.factor)
            .with_min_delay(self.first.min(max))
            .with_max_delay(max)
            .without_max_times();
        let mut rests = if self.jitter { builder.with_jitter() } else { builder }.build();
        // So many doublings reach any bound.
        rests.nth(attempt.min(128) as usize).unwrap_or(max)
    }
}

impl<A: Send + 'static, R: Send + Sync + 'static> Func<A, R> {
    /// How long a run rests before an attempt is [made again](Self::retries). Default: not at all, the next attempt follows
    /// at once.
    ///
    /// A run that rests holds no thread and no slot of its [`limit`](Self::limit), and counts as queued. Its
    /// [`timeout`](Self::timeout) counts each attempt alone, without the rests. Cancelling it takes effect at once;
    /// `shutdown` waits until it has made its attempts, `shutdown_now` gives it up.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use std::time::Duration;
    /// use memopool::{Backoff, Func, Pool};
    ///
    /// static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
    /// let fetch = Func::fallible("fetch", |page: u32| match ATTEMPTS.fetch_add(1, Ordering::Relaxed) {
    ///     0 => Err("connection reset"),
    ///     _ => Ok(format!("page {page}")),
    /// });
    /// let fetch = fetch.retries(5).backoff(Backoff::exponential(Duration::from_millis(10)));
    /// assert_eq!(*Pool::new().run(fetch.call(7))?, "page 7");
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[must_use]
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.with(|core| core.backoff = Some(backoff))
    }
}

/// What one run knows of its attempts.
#[derive(Debug, Default)]
pub(crate) struct Course {
    made: AtomicU32,
    /// Nanoseconds spent in attempts that are over.
    spent: AtomicU64,
    /// Until when it rests.
    rest: Mutex<Option<Instant>>,
}

impl Course {
    /// How many attempts are over.
    pub(super) fn made(&self) -> u32 {
        self.made.load(Ordering::Acquire)
    }

    /// One more is over. Returns its number, from 0.
    pub(super) fn one_more(&self) -> u32 {
        self.made.fetch_add(1, Ordering::Release)
    }

    /// An attempt took that long, and there will be another.
    pub(super) fn spend(&self, took: Duration) {
        self.spent.fetch_add(nanos(took), Ordering::Relaxed);
    }

    /// How long the attempts took, the last of them that long.
    pub(super) fn total(&self, took: Duration) -> Duration {
        took.saturating_add(Duration::from_nanos(self.spent.load(Ordering::Relaxed)))
    }

    fn begin_rest(&self, until: Instant) {
        *self.rest.lock() = Some(until);
    }

    /// Ends the rest if `due` says so of its end. Returns whether it did.
    fn end_rest(&self, due: impl FnOnce(Instant) -> bool) -> bool {
        self.rest.lock().take_if(|until| due(*until)).is_some()
    }

    fn rests(&self) -> bool {
        self.rests_until().is_some()
    }

    /// Until when it rests. That may have passed, if nobody has looked yet.
    pub(crate) fn rests_until(&self) -> Option<Instant> {
        *self.rest.lock()
    }
}

impl<R: Send + Sync + 'static> Run<R> {
    /// Its attempt failed: back into its cell, until the timer queues it again.
    #[inline(never)]
    pub(super) fn rest(mut self, rest: Duration) {
        // Its slot is for others meanwhile.
        drop(self.turn.take());
        self.turn = self.core.as_ref().and_then(|core| core.limit.as_ref()).map(Limit::turn);
        self.ticket.wait_again();
        if !self.flight.cell.set_aside() {
            // Nobody wants it any more.
            return self.guard.fail(Err(Error::cancelled()));
        }
        let (flight, runner) = (Arc::clone(&self.flight), Arc::clone(&self.engine().runner));
        let until = now() + rest.min(FOREVER);
        // In this order: whoever finds the rest over, and ends it, takes the mark away.
        flight.mark_parked(true);
        flight.origin.course.begin_rest(until);
        if let Err(run) = flight.cell.arm(self) {
            let _ = contain(|| drop(run));
            return;
        }
        runner.hold(&(Arc::clone(&flight) as Arc<dyn Unit>));
        let alarm = Box::new(Rested { flight: Arc::downgrade(&flight), until });
        if let Err(alarm) = runner.timer().at(until, alarm) {
            // Without a thread for the timer there is no rest: better than no attempt.
            alarm.ring();
        }
        if !flight.origin.course.rests() {
            // A waiter may have ended it before the job was in its cell, and then nobody has queued it.
            flight.go_on();
        }
    }

    /// Whether it was started before its time.
    pub(super) fn rests(&self) -> bool {
        let course = &self.flight.origin.course;
        if course.made() == 0 {
            // A rest comes after an attempt: most runs never need to look.
            return false;
        }
        let Some(until) = course.rests_until() else { return false };
        if until <= now() {
            self.flight.end_rest_if_due();
            return false;
        }
        true
    }

    /// Back into its cell.
    #[inline(never)]
    pub(super) fn rest_on(self) {
        let flight = Arc::clone(&self.flight);
        if !flight.cell.set_aside() {
            return self.guard.fail(Err(Error::cancelled()));
        }
        if let Err(run) = flight.cell.arm(self) {
            let _ = contain(|| drop(run));
        } else if !flight.origin.course.rests() {
            flight.go_on();
        }
    }
}

impl<R: Send + Sync + 'static> CallFlight<R> {
    /// Ends a rest whose time has come, though the timer may not have said so yet: whoever waits may run it.
    pub(crate) fn end_rest_if_due(&self) {
        if self.origin.course.end_rest(|until| until <= now()) {
            self.mark_parked(false);
        }
    }

    /// Its rest is over: it is to be queued.
    fn go_on(self: &Arc<Self>) {
        if self.cell.is_queued() {
            self.queue_from_timer(Lane::Ordinary);
        }
    }
}

/// The end of a rest.
struct Rested<R: 'static> {
    flight: Weak<CallFlight<R>>,
    until: Instant,
}

impl<R: Send + Sync + 'static> Alarm for Rested<R> {
    fn ring(self: Box<Self>) {
        let Some(flight) = self.flight.upgrade() else { return };
        // It may be the next rest already, if a waiter was faster than this thread.
        if flight.origin.course.end_rest(|until| until == self.until) {
            flight.mark_parked(false);
            flight.go_on();
        }
    }

    fn is_moot(&self) -> bool {
        self.flight.upgrade().is_none_or(|flight| flight.cell.is_done())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(1);

    /// Else the rests would not be those that were asked for.
    #[test]
    fn rests_grow_to_their_bound() {
        let rests =
            |backoff: Backoff| [0, 1, 2, 3, 4, 1000].map(|attempt| backoff.after(attempt).as_millis());
        let plain = Backoff::exponential(FIRST).jitter(false);
        assert_eq!(rests(plain.max(Duration::from_secs(5))), [1000, 2000, 4000, 5000, 5000, 5000]);
        assert_eq!(rests(plain), [1000, 2000, 4000, 8000, 16000, 60000]);
        assert_eq!(rests(plain.factor(1.0)), [1000; 6]);
        assert_eq!(rests(plain.factor(0.1)), [1000; 6]);
        assert_eq!(rests(plain.factor(f32::NAN)), [1000; 6]);
        assert_eq!(rests(plain.max(FIRST / 2)), [500; 6]);
        let endless = plain.max(Duration::MAX).factor(f32::INFINITY);
        assert_eq!(endless.after(0), FIRST);
        assert!(endless.after(7) >= FOREVER);
        assert_eq!(rests(Backoff::exponential(Duration::ZERO).jitter(false)), [0; 6]);
    }

    /// Else those that failed together would come back together, or much later than they should.
    #[test]
    fn jitter_adds_up_to_as_much_again() {
        let backoff = Backoff::exponential(FIRST);
        let rests: Vec<_> = (0..100).map(|_| backoff.after(1)).collect();
        assert!(rests.iter().all(|rest| (2 * FIRST..=4 * FIRST).contains(rest)), "{rests:?}");
        assert!(rests.iter().any(|rest| *rest != rests[0]), "all the same: {rests:?}");
        // No bound is too large for it.
        let _ = Backoff::exponential(Duration::MAX).max(Duration::MAX).after(9);
    }
}
