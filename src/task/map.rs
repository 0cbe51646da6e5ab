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
use super::wait::Waiting;
use crate::call::Call;
use crate::error::Error;
use crate::pool::Pool;
use crate::sync::{Arc, now};

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
pub struct Map<I: Iterator, R: Send + Sync + 'static> {
    pool: Pool,
    calls: Fuse<I>,
    /// Pulled, and turned away by a full queue.
    held: Option<I::Item>,
    ahead: Ahead<R>,
    window: usize,
    since: Instant,
    timeout: Option<Duration>,
    over: bool,
}

/// What is submitted and was not taken out.
enum Ahead<R: Send + Sync + 'static> {
    Ordered(VecDeque<Task<R>>),
    Unordered(Waiting<R>),
}

impl<R: Send + Sync + 'static> Ahead<R> {
    fn len(&self) -> usize {
        match self {
            Ahead::Ordered(tasks) => tasks.len(),
            Ahead::Unordered(waiting) => waiting.left,
        }
    }

    fn push(&mut self, task: Task<R>) {
        match self {
            Ahead::Ordered(tasks) => tasks.push_back(task),
            Ahead::Unordered(waiting) => waiting.push(task),
        }
    }

    /// The next result; `None`: not by the deadline.
    fn next(&mut self, deadline: Option<Instant>) -> Option<Result<Arc<R>, Error>> {
        match self {
            Ahead::Ordered(tasks) => {
                let result = match tasks.front()?.block(deadline) {
                    Ok(outcome) => outcome?,
                    Err(error) => Err(error),
                };
                tasks.pop_front();
                Some(result)
            }
            Ahead::Unordered(waiting) => {
                waiting.deadline = deadline;
                waiting.next().ok().map(|(_, task)| task.wait())
            }
        }
    }

    /// Cancels what has not started. Returns how many are unfinished.
    fn abandon(&self) -> usize {
        let abandon = |tasks: &mut dyn Iterator<Item = &Task<R>>| {
            tasks.filter(|task| !task.is_done()).map(Task::cancel_if_queued).count()
        };
        match self {
            Ahead::Ordered(tasks) => abandon(&mut tasks.iter()),
            Ahead::Unordered(waiting) => abandon(&mut waiting.pending()),
        }
    }
}

impl<I: Iterator, R: Send + Sync + 'static> Map<I, R> {
    pub(crate) fn new(pool: Pool, calls: I) -> Self {
        Map {
            pool,
            calls: calls.fuse(),
            held: None,
            ahead: Ahead::Ordered(VecDeque::new()),
            window: DEFAULT_WINDOW,
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
        self.ahead = Ahead::Unordered(Waiting::new(Vec::new(), None));
        self
    }

    /// Ends the iteration `timeout` after the call of [`Pool::map`], with one error that
    /// [`is_timeout`](Error::is_timeout) if results are missing then. Default: without end.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
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
        let deadline = self.timeout.and_then(|timeout| self.since.checked_add(timeout));
        while self.ahead.len() < self.window {
            let Some(call) = self.held.take().or_else(|| self.calls.next()) else { break };
            // Waits for room in the queue only if there is nothing else to wait for.
            let submitted = match self.ahead.len() {
                0 => self.pool.submit_until(call, deadline),
                _ => self.pool.try_submit(call),
            };
            match submitted {
                Ok(task) => self.ahead.push(task),
                Err(call) => {
                    self.held = Some(call);
                    break;
                }
            }
        }
        let of = self.ahead.len() + usize::from(self.held.is_some());
        if of == 0 {
            return None;
        }
        let next = self.ahead.next(deadline);
        if next.is_none() {
            self.over = true;
            let unfinished = self.ahead.abandon() + usize::from(self.held.is_some());
            return Some(Err(Error::deadline(unfinished, of, self.timeout.unwrap_or_default())));
        }
        next
    }
}

impl<I: Iterator, R: Send + Sync + 'static> Drop for Map<I, R> {
    fn drop(&mut self) {
        self.ahead.abandon();
    }
}

impl<I: Iterator, R: Send + Sync + 'static> fmt::Debug for Map<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("ahead", &self.ahead.len()).finish_non_exhaustive()
    }
}
