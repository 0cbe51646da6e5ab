//! Many calls, lazily: results in the order of the calls, or as they come.
//!
//! At most `window` calls are pulled and submitted ahead of what was taken out. Nothing is submitted before the first
//! `next()`. The input iterator is user code: its panic reaches the caller of `next()`, and the calls before it are still
//! in flight for whoever asks on.
//!
//! 1. [`stream`] — the same for async code (feature `stream`).

#[cfg(feature = "stream")]
pub(crate) mod stream;

use std::collections::VecDeque;
use std::fmt;
use std::iter::Fuse;
use std::time::{Duration, Instant};

use super::Task;
use super::progress::Watched;
use super::wait::Waiting;
use crate::call::{Call, Eager};
use crate::error::Error;
use crate::flight::Outcome;
use crate::pool::Pool;
use crate::run::Patience;
use crate::sync::{Arc, now};

/// How many calls [`Pool::map`] submits ahead unless [`Map::window`] says otherwise: enough to keep the threads busy
/// while results are looked at, few enough to hold in memory.
pub const DEFAULT_WINDOW: usize = 1024;

/// The results of many calls; from [`Pool::map`].
///
/// An error is an item like any other: the iteration goes on.
///
/// There is no `chunksize`: queueing calls in bundles was measured and gains nothing, since what a tiny call costs
/// (`docs/performance.md`) is not the queue but handing its result over from thread to thread. Where a call does less than
/// that, give a function many inputs at once, `pool.map(inputs.chunks(64).map(|batch| f.call(batch.to_vec())))`: one key,
/// one result, a fraction of the time for each.
///
/// # Cancellation
///
/// Dropping a map cancels those of its calls that have not started. What runs goes on, and its result is kept.
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
    watched: Watched,
    glances: Glances,
}

/// Whether results are read from the disk by whoever takes them out, or by the workers.
///
/// | a look takes | it is made by |
/// |---|---|
/// | no longer than to hand it to a worker and to take the result from it | whoever takes the results out |
/// | longer | the workers; and while they have enough to look for, whoever would only submit more looks for some itself |
/// | long (a slow disk, a costly `Deserialize`), or finds nothing | the workers, for the next call, then the next two, then four and so on, until a look is worth its while again |
#[derive(Default)]
struct Glances {
    /// How many calls go to the workers at least; `None`: all, since there is no disk.
    left_out: Option<u32>,
    /// How many will the next time.
    next: u32,
    /// How many there were.
    count: u32,
    /// How many of the latest that were timed took longer than it would take to hand them over.
    slow: u32,
    /// How many of the latest calls have their results already.
    in_a_row: usize,
}

/// One look by whoever takes the results out.
struct Glance {
    /// When it began, if it is timed.
    began: Option<Instant>,
}

impl Glances {
    fn of(pool: &Pool) -> Glances {
        Glances { left_out: pool.has_disk().then_some(0), next: 1, ..Glances::default() }
    }

    /// A look, if there is to be one.
    fn begin(&mut self, pool: &Pool) -> Option<Glance> {
        let left_out = self.left_out.as_mut()?;
        if *left_out > 0 || (self.slow >= MANY_SLOW && pool.queued_looks() < ENOUGH) {
            *left_out = left_out.saturating_sub(1);
            self.in_a_row = 0;
            return None;
        }
        self.count = self.count.wrapping_add(1);
        let timed = self.next > 1 || self.slow > 0 || self.count % ONE_TIMED_IN == 1;
        Some(Glance { began: timed.then(now) })
    }

    /// Whether so many calls are far enough ahead for now: the workers have enough or have nothing to do with them, and what is
    /// read here is at hand. Results that lie ready for long have left the processor's cache when they are taken out.
    fn suffice(&self, pool: &Pool, ahead: usize) -> bool {
        let near = ahead >= NEAR && self.left_out == Some(0) && self.next == 1;
        near && (self.in_a_row >= ahead || pool.queued_looks() >= ENOUGH)
    }

    fn end(&mut self, glance: &Glance, found: bool) {
        let took = glance.began.map(|began| began.elapsed());
        if let Some(took) = took {
            self.slow = if took > HAND_OVER { self.slow.saturating_add(1) } else { 0 };
        }
        let long = self.slow >= MANY_SLOW && took.is_some_and(|took| took > LONG_LOOK);
        if found && !long {
            self.next = 1;
            self.in_a_row += 1;
        } else {
            self.left_out = Some(self.next);
            self.next = (self.next * 2).min(MOST_LEFT_OUT);
            self.in_a_row = 0;
        }
    }
}

/// Looks that keep the workers busy until the next ones are submitted.
const ENOUGH: usize = 16;
/// So many results are ahead of the one that is taken out, where all of them are at hand.
const NEAR: usize = 96;
/// Looks that follow a short one are mostly short: two looks at the clock would be a part of their cost.
const ONE_TIMED_IN: u32 = 8;
/// What it takes to hand a look to a worker and to take the result from it: two to four microseconds of two threads.
const HAND_OVER: Duration = Duration::from_micros(4);
/// One slow look says nothing: the system may have had other things to do. The next one is timed.
const MANY_SLOW: u32 = 2;
/// A few times what a short record takes.
const LONG_LOOK: Duration = Duration::from_micros(10);
/// So that a map over cold calls looks in vain for one in so many.
const MOST_LEFT_OUT: u32 = 64;

/// What is submitted and was not taken out.
enum Ahead<R: Send + Sync + 'static> {
    Ordered(VecDeque<Task<R>>),
    Unordered(AsTheyCome<R>),
}

/// Tasks that are waited for at once, each with its place among the calls.
struct AsTheyCome<R: Send + Sync + 'static> {
    waiting: Waiting<R>,
    /// The place of each task, by its index in `waiting` (where indices are used again).
    places: Vec<usize>,
    pushed: usize,
}

impl<R: Send + Sync + 'static> AsTheyCome<R> {
    fn new(tasks: impl IntoIterator<Item = Task<R>>) -> Self {
        let waiting = Waiting::new(Vec::new(), None);
        let mut come = AsTheyCome { waiting, places: Vec::new(), pushed: 0 };
        tasks.into_iter().for_each(|task| come.push(task));
        come
    }

    fn push(&mut self, task: Task<R>) {
        let index = self.waiting.push(task);
        self.places.resize(self.places.len().max(index + 1), 0);
        self.places[index] = self.pushed;
        self.pushed += 1;
    }
}

impl<R: Send + Sync + 'static> Ahead<R> {
    fn len(&self) -> usize {
        match self {
            Ahead::Ordered(tasks) => tasks.len(),
            Ahead::Unordered(come) => come.waiting.left,
        }
    }

    fn push(&mut self, task: Task<R>) {
        match self {
            Ahead::Ordered(tasks) => tasks.push_back(task),
            Ahead::Unordered(come) => come.push(task),
        }
    }

    /// The next task, its result, and its place if they come in any order; `None`: not by the deadline.
    fn next(&mut self, deadline: Option<Instant>) -> Option<(usize, Task<R>, Outcome<R>)> {
        match self {
            Ahead::Ordered(tasks) => {
                let result = match tasks.front()?.block(deadline) {
                    Ok(outcome) => outcome?,
                    Err(error) => Err(error),
                };
                Some((0, tasks.pop_front()?, result))
            }
            Ahead::Unordered(come) => {
                come.waiting.deadline = deadline;
                let (index, task) = come.waiting.next().ok()?;
                let result = task.wait();
                Some((come.places[index], task, result))
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
            Ahead::Unordered(come) => abandon(&mut come.waiting.pending()),
        }
    }
}

impl<I: Iterator, R: Send + Sync + 'static> Map<I, R> {
    pub(crate) fn new(pool: Pool, calls: I) -> Self {
        let glances = Glances::of(&pool);
        Map {
            pool,
            calls: calls.fuse(),
            held: None,
            ahead: Ahead::Ordered(VecDeque::new()),
            window: DEFAULT_WINDOW,
            since: now(),
            timeout: None,
            over: false,
            watched: Watched::default(),
            glances,
        }
    }

    /// How many calls are submitted ahead of what was taken out; at least one. Default: [`DEFAULT_WINDOW`]. More keeps
    /// more threads busy when results take unequally long; less holds less in memory.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let pool = Pool::new();
    /// let mut squares = pool.map((0..).map(|n| square.call(n))).window(8); // the input may be endless
    /// assert_eq!(squares.next().transpose()?.as_deref(), Some(&0));
    /// assert!(pool.stats().submitted <= 8);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn window(mut self, calls: usize) -> Self {
        self.window = calls.max(1);
        self
    }

    /// Yields results as they come instead of in the order of the calls.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let mut sum = 0;
    /// for n in Pool::new().map((1..=4).map(|n| square.call(n))).unordered() {
    ///     sum += *n?;
    /// }
    /// assert_eq!(sum, 30);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn unordered(mut self) -> Self {
        if let Ahead::Ordered(tasks) = &mut self.ahead {
            self.ahead = Ahead::Unordered(AsTheyCome::new(std::mem::take(tasks)));
        }
        self
    }

    /// Ends the iteration `timeout` after the call of [`Pool::map`], with one error that
    /// [`is_timeout`](Error::is_timeout) if results are missing then; what has not started is cancelled. Default: without
    /// end.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use std::time::Duration;
    /// # use memopool::{Func, Pool};
    ///
    /// static OPEN: AtomicBool = AtomicBool::new(false);
    /// let gated = Func::new("gated", |n: u64| {
    ///     while !OPEN.load(Ordering::Relaxed) {
    ///         std::thread::yield_now();
    ///     }
    ///     n
    /// });
    /// let pool = Pool::new();
    /// let mut results = pool.map((0..100).map(|n| gated.call(n))).timeout(Duration::from_millis(1));
    /// assert!(results.next().unwrap().unwrap_err().is_timeout());
    /// assert!(results.next().is_none());
    /// OPEN.store(true, Ordering::Relaxed);
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Shows a bar on the terminal while the results are taken out: how many there were, how many came from the cache,
    /// how many failed (feature `progress`). Takes a name, or an `indicatif` bar of your own: see
    /// [`Progress`](crate::Progress). Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let lex = Func::new("lex", |text: String| text.split_whitespace().count());
    /// let files = ["a b c", "d e", "a b c"];
    /// let pool = Pool::new();
    /// let counts = pool.map(files.iter().map(|file| lex.call(file.to_string()))).progress("lexing").try_collect()?;
    /// assert_eq!(counts.len(), 3); // and on a terminal: lexing [####…####] 3/3 1 joined in 0s
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[cfg(feature = "progress")]
    pub fn progress(mut self, progress: impl Into<crate::Progress>) -> Self {
        self.watched = Watched::by(progress.into(), self.to_come());
        self
    }

    /// How many results are to come, at least and at most.
    fn to_come(&self) -> (usize, Option<usize>) {
        let ahead = self.ahead.len() + usize::from(self.held.is_some());
        let (least, most) = self.calls.size_hint();
        (least.saturating_add(ahead), most.and_then(|most| most.checked_add(ahead)))
    }
}

impl<I, A, R> Map<I, R>
where
    I: Iterator<Item = Call<A, R>>,
    R: Send + Sync + 'static,
{
    /// All results, or the first error, whichever of the calls it comes from: what has not started then is cancelled.
    /// (`collect::<Result<Vec<_>, _>>()` hears of an error only when its turn comes.)
    ///
    /// The results are in the order of the calls; after [`unordered`](Self::unordered) as they came.
    ///
    /// # Errors
    ///
    /// That of the call which failed first, or [`is_timeout`](Error::is_timeout) at the deadline.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Error, Func, Pool};
    /// let parse = Func::fallible("parse", |text: String| text.parse::<u32>());
    /// let pool = Pool::new();
    /// let sum = |words: &str| -> Result<u32, Error> {
    ///     let numbers = pool.map(words.split(' ').map(|word| parse.call(word.into()))).try_collect()?;
    ///     Ok(numbers.iter().map(|n| **n).sum())
    /// };
    /// assert_eq!(sum("3 4 5")?, 12);
    /// assert!(sum("3 four 5").unwrap_err().is_failed());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn try_collect(mut self) -> Result<Vec<Arc<R>>, Error> {
        let ordered = matches!(self.ahead, Ahead::Ordered(_));
        self = self.unordered();
        let mut results = Vec::new();
        while let Some((place, result)) = self.advance() {
            let place = if ordered { place } else { results.len() };
            results.resize(results.len().max(place + 1), None);
            results[place] = Some(result?);
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// The next item, with its place.
    fn advance(&mut self) -> Option<(usize, Result<Arc<R>, Error>)> {
        if self.over {
            return None;
        }
        let deadline = self.deadline();
        let patience = deadline.map_or(Patience::Endless, Patience::Until);
        self.fill(|pool, call, ahead, eager| {
            pool.submit_ahead(call, if ahead == 0 { patience } else { Patience::None }, eager)
        });
        if self.submitted() == 0 {
            self.watched.over();
            return None;
        }
        let Some((place, task, result)) = self.ahead.next(deadline) else {
            return Some((0, Err(self.late())));
        };
        self.took(&task, &result);
        Some((place, result))
    }

    /// A task was taken out.
    fn took(&self, task: &Task<R>, result: &Outcome<R>) {
        self.watched.saw(task, || result.is_err(), || self.to_come());
    }

    fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| self.since.checked_add(timeout))
    }

    /// What was pulled and not taken out.
    fn submitted(&self) -> usize {
        self.ahead.len() + usize::from(self.held.is_some())
    }

    /// The deadline has passed: this is the end.
    fn late(&mut self) -> Error {
        self.over = true;
        self.watched.over();
        let of = self.submitted();
        let unfinished = self.ahead.abandon() + usize::from(self.held.is_some());
        self.ahead = Ahead::Ordered(VecDeque::new());
        Error::deadline(unfinished, of, self.timeout.unwrap_or_default())
    }

    /// Submits calls until the window is full, the queue is, or there are no more. `submit` is told how many are ahead (with
    /// none there is nothing else to wait for but room in the queue), and what to read from the disk.
    fn fill(&mut self, submit: impl Fn(&Pool, I::Item, usize, Eager) -> Result<Task<R>, I::Item>) {
        while self.ahead.len() < self.window && !self.glances.suffice(&self.pool, self.ahead.len()) {
            let Some(call) = self.held.take().or_else(|| self.calls.next()) else { return };
            let glance = self.glances.begin(&self.pool);
            let eager = if glance.is_some() { Eager::AtHand } else { Eager::Nothing };
            match submit(&self.pool, call, self.ahead.len(), eager) {
                Ok(task) => {
                    if let Some(glance) = glance {
                        self.glances.end(&glance, task.is_done());
                    }
                    self.ahead.push(task);
                }
                Err(call) => {
                    self.held = Some(call);
                    return;
                }
            }
        }
    }
}

impl<I, A, R> Iterator for Map<I, R>
where
    I: Iterator<Item = Call<A, R>>,
    R: Send + Sync + 'static,
{
    type Item = Result<Arc<R>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().map(|(_, result)| result)
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
