//! Workers that look for a job: first awake, then asleep.
//!
//! Waking a thread costs more than most of what a pool does, so it is done only where it helps. A worker that finds the
//! queue empty goes on looking for some microseconds (*searching*) before it sleeps, the last of them for longer; a
//! submission wakes a sleeper only if nobody is searching, and a searcher that finds a job while more lie there wakes the
//! next. (The states are those of Go's and tokio's schedulers.)
//!
//! A worker that finds a job right away has not counted as searching: nobody has counted on it, so it owes nobody a wake-up,
//! and a busy pool pays for none of this.
//!
//! # Why no job is left lying
//!
//! | a job is queued | a worker falls asleep |
//! |---|---|
//! | queue it; fence; is anyone searching? if not, wake a sleeper | count as sleeping, then no longer as searching; fence; look at the queue once more; sleep |
//!
//! If the submission still saw the worker searching, the worker's last look comes after the job was queued. Otherwise the
//! submission sees it sleeping. A wake-up is a token under the lock, so one that comes before the sleep is not lost.

use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicUsize, Ordering, fence};
use crate::sync::{Condvar, Mutex, now, spin};

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Idle {
    searching: AtomicUsize,
    sleeping: AtomicUsize,
    /// Wake-ups given and not yet taken, at most as many as sleep.
    tokens: Mutex<usize>,
    wake: Condvar,
}

impl Idle {
    /// Looks until `take` gives something, until woken, or until the `deadline`, which is asked for only before sleeping.
    /// `more` tells whether there is something left to take, `stop` whether the worker should look up instead of sleeping.
    pub(crate) fn look<T>(
        &self,
        mut take: impl FnMut() -> Option<T>,
        more: impl Fn() -> bool,
        stop: impl Fn() -> bool,
        deadline: impl Fn() -> Instant,
    ) -> Look<T> {
        if let Some(found) = take() {
            return Look::Found(found);
        }
        let look = match self.search(&mut take) {
            Some(found) => Look::Found(found),
            None => self.sleep(&mut take, stop, deadline()),
        };
        if matches!(look, Look::Found(_)) && more() {
            self.wake_one();
        }
        look
    }

    /// Looks for some microseconds.
    fn search<T>(&self, take: &mut impl FnMut() -> Option<T>) -> Option<T> {
        self.searching.fetch_add(1, Ordering::SeqCst);
        let found = spin(take, |passed| {
            passed > WATCH || (passed > SEARCH && self.searching.load(Ordering::Relaxed) > 1)
        });
        if found.is_some() {
            self.searching.fetch_sub(1, Ordering::SeqCst);
        }
        found
    }

    /// Sleeps until woken. The caller still counts as searching.
    fn sleep<T>(
        &self,
        take: &mut impl FnMut() -> Option<T>,
        stop: impl Fn() -> bool,
        deadline: Instant,
    ) -> Look<T> {
        let mut tokens = self.tokens.lock();
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        self.searching.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let found = take();
        // Under the lock, and again after each wake-up: who wants everyone to look up says so first and takes the lock
        // after. Who stops for that reason takes neither a token nor a job: that may be more than the pool may run at once.
        // But what has woken it was perhaps meant for a job: then another is woken, as far as any sleep.
        let mut stopped = stop();
        while found.is_none() && !stopped && *tokens == 0 && now() < deadline {
            tokens = self.wake.wait_until(tokens, deadline);
            stopped = stop();
        }
        let woken = found.is_none() && !stopped && *tokens > 0;
        let left = self.sleeping.fetch_sub(1, Ordering::SeqCst) - 1;
        *tokens = (*tokens - usize::from(woken)).min(left);
        let passes_on = stopped && *tokens > 0;
        drop(tokens);
        if passes_on {
            self.wake.notify_one();
        }
        match found {
            Some(found) => Look::Found(found),
            None if stopped => Look::Woken,
            None => match take() {
                Some(found) => Look::Found(found),
                None if woken => Look::Woken,
                None => Look::Late,
            },
        }
    }

    /// Something was queued.
    pub(crate) fn wake_one(&self) {
        fence(Ordering::SeqCst);
        if self.searching.load(Ordering::SeqCst) > 0 || self.sleeping.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut tokens = self.tokens.lock();
        if *tokens < self.sleeping.load(Ordering::SeqCst) {
            *tokens += 1;
            drop(tokens);
            self.wake.notify_one();
        }
    }

    /// Everyone should look up: the pool ends, or its width has changed.
    pub(crate) fn wake_all(&self) {
        let mut tokens = self.tokens.lock();
        *tokens = self.sleeping.load(Ordering::SeqCst);
        drop(tokens);
        self.wake.notify_all();
    }
}

/// What came of looking.
pub(crate) enum Look<T> {
    Found(T),
    /// Somebody wants this worker to look up; or another was faster.
    Woken,
    Late,
}

/// How long a worker searches before it sleeps: a submission costs less.
const SEARCH: Duration = Duration::from_micros(5);

/// How long the last searching worker goes on: about what it takes to wake a thread. A caller that was asleep when its
/// result came then still finds somebody awake for its next call, and two threads that hand small work to and fro do not
/// put each other to sleep again and again. One worker per pool at most, giving way to whatever else wants to run.
const WATCH: Duration = Duration::from_micros(50);
