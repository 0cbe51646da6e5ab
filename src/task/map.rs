//! Many calls, lazily: results in the order of the calls, or as they come.
//!
//! At most `window` calls are pulled and submitted ahead of what was taken out. Nothing is submitted before the first
//! `next()`. The input iterator is user code: its panic reaches the caller of `next()`, and the calls before it are still
//! in flight for whoever asks on.

use std::collections::VecDeque;
use std::fmt;
use std::iter::Fuse;
use std::time::{Duration, Instant};

use super::Task;
use crate::call::Call;
use crate::error::Error;
use crate::pool::Pool;
use crate::sync::{Arc, now};
use crate::task::wait::{Until, wait};

/// How many calls [`Pool::map`] submits ahead unless [`Map::window`] says otherwise: enough to keep the threads busy
/// while results are looked at, few enough to hold in memory.
pub const DEFAULT_WINDOW: usize = 1024;

/// The results of many calls; from [`Pool::map`].
///
/// An error is an item like any other: the iteration goes on. Dropping it cancels what has not started.
///
/// # Examples
///
/// ```
/// use memopool::{Func, Pool};
///
/// let square = Func::new("square", |n: u64| n * n);
/// let pool = Pool::new();
/// let squares: Result<Vec<_>, _> = pool.map((1..=4).map(|n| square.call(n))).map(|r| r.map(|n| *n)).collect();
/// assert_eq!(squares?, [1, 4, 9, 16]);
/// # Ok::<(), memopool::Error>(())
/// ```
#[must_use = "a map submits nothing before it is iterated"]
pub struct Map<I, R: Send + Sync + 'static> {
    pool: Pool,
    calls: Fuse<I>,
    ahead: VecDeque<Task<R>>,
    window: usize,
    unordered: bool,
    since: Instant,
    timeout: Option<Duration>,
    over: bool,
}

impl<I: Iterator, R: Send + Sync + 'static> Map<I, R> {
    pub(crate) fn new(pool: Pool, calls: I) -> Self {
        Map {
            pool,
            calls: calls.fuse(),
            ahead: VecDeque::new(),
            window: DEFAULT_WINDOW,
            unordered: false,
            since: now(),
            timeout: None,
            over: false,
        }
    }

    /// How many calls are submitted ahead of what was taken out; at least one. Default: [`DEFAULT_WINDOW`]. More keeps
    /// more threads busy when results take unequally long; less holds less in memory.
    pub fn window(mut self, calls: usize) -> Self {
        self.window = calls.max(1);
        self
    }

    /// Yields results as they come instead of in the order of the calls.
    pub fn unordered(mut self) -> Self {
        self.unordered = true;
        self
    }

    /// Ends the iteration `timeout` after the call of [`Pool::map`], with one error that
    /// [`is_timeout`](Error::is_timeout) if results are missing then. Default: without end.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn late(&mut self) -> Error {
        self.over = true;
        let ahead = std::mem::take(&mut self.ahead);
        let unfinished = ahead.iter().filter(|task| !task.is_done()).count();
        ahead.iter().for_each(Task::cancel_if_queued);
        Error::deadline(unfinished, ahead.len(), self.timeout.unwrap_or_default())
    }

    /// Where in the queue the next result is; `None`: not by the deadline.
    fn next_done(&self, deadline: Option<Instant>) -> Option<usize> {
        let left = deadline.map(|at| at.saturating_duration_since(now()));
        if !self.unordered {
            return Some(0);
        }
        if let Some(at) = self.ahead.iter().position(Task::is_done) {
            return Some(at);
        }
        let waited = wait(self.ahead.as_slices().0, Until::First, left);
        let id = waited.done.first()?.id();
        self.ahead.iter().position(|task| task.id() == id)
    }
}

impl<I, A, R> Iterator for Map<I, R>
where
    I: Iterator<Item = Call<A, R>>,
    R: Send + Sync + 'static,
{
    type Item = Result<Arc<R>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        while self.ahead.len() < self.window {
            match self.calls.next() {
                Some(call) => self.ahead.push_back(self.pool.submit(call)),
                None => break,
            }
        }
        if self.ahead.is_empty() {
            return None;
        }
        self.ahead.make_contiguous();
        let deadline = self.timeout.and_then(|timeout| self.since.checked_add(timeout));
        let Some(at) = self.next_done(deadline) else { return Some(Err(self.late())) };
        let result = match deadline {
            None => self.ahead[at].wait(),
            Some(deadline) => match self.ahead[at].block(Some(deadline)) {
                Ok(Some(outcome)) => outcome,
                Ok(None) => return Some(Err(self.late())),
                Err(error) => Err(error),
            },
        };
        drop(self.ahead.remove(at));
        Some(result)
    }
}

impl<I, R: Send + Sync + 'static> Drop for Map<I, R> {
    fn drop(&mut self) {
        self.ahead.iter().for_each(Task::cancel_if_queued);
    }
}

impl<I, R: Send + Sync + 'static> fmt::Debug for Map<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("ahead", &self.ahead.len()).finish_non_exhaustive()
    }
}
