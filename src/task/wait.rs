//! Waiting for several tasks.
//!
//! One queue per wait: each task that is not done leaves a waker which pushes the task's index and wakes the waiter. A
//! push is a hint: whoever takes it looks at the task itself. Wakers are taken back when the wait ends, so nothing stays
//! registered.
//!
//! 1. [`stream`] — the same for async code (feature `stream`).

#[cfg(feature = "stream")]
pub(crate) mod stream;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use super::block::{Blocking, no_thread_left};
use super::progress::Watched;
use super::{State, Task};
use crate::error::Error;
use crate::flight::cell::Registration;
use crate::run::asleep::asleep;
use crate::run::context;
use crate::sync::{Arc, Mutex, Parker, now};

/// What [`wait`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// All are done.
    All,
    /// One is done.
    First,
    /// One has failed (an error, a panic, a cancellation), or all are done.
    FirstError,
}

/// What [`wait`] found, in the order in which the tasks were given.
#[derive(Debug)]
pub struct Waited<R: Send + Sync + 'static> {
    /// Those that are done.
    pub done: Vec<Task<R>>,
    /// Those that are not.
    pub pending: Vec<Task<R>>,
}

/// Waits for several tasks, for at most `timeout` (`None`: without end). A task given twice counts once.
///
/// Inside a task, one whose wait could never end counts as done, and its handle in `done` says why
/// ([`is_cycle`](Error::is_cycle)).
///
/// # Examples
///
/// ```
/// use memopool::{Func, Pool, Until, wait};
///
/// let square = Func::new("square", |n: u64| n * n);
/// let tasks = Pool::new().submit_all((1..=4).map(|n| square.call(n)));
/// let waited = wait(&tasks, Until::All, None);
/// assert_eq!((waited.done.len(), waited.pending.len()), (4, 0));
/// ```
pub fn wait<R: Send + Sync + 'static>(
    tasks: &[Task<R>],
    until: Until,
    timeout: Option<Duration>,
) -> Waited<R> {
    let deadline = timeout.and_then(|timeout| now().checked_add(timeout));
    let mut seen = BTreeSet::new();
    let mut tasks: Vec<Task<R>> = tasks.iter().filter(|task| seen.insert(task.id())).cloned().collect();
    match until {
        Until::All => {
            for task in &mut tasks {
                if let Err(error) = task.block(deadline) {
                    *task = task.failed_wait(error);
                }
            }
        }
        Until::First | Until::FirstError => {
            let mut waiting = Waiting::new(tasks.clone(), deadline);
            while let Ok((at, task)) = waiting.next() {
                let stop = until == Until::First || matches!(task.try_get(), Some(Err(_)));
                tasks[at] = task;
                if stop {
                    break;
                }
            }
        }
    }
    let (done, pending) = tasks.into_iter().partition(Task::is_done);
    Waited { done, pending }
}

/// Yields tasks as they are done, those that are already done first. A task given twice is yielded once.
///
/// # Examples
///
/// ```
/// use memopool::{Func, Pool, as_completed};
///
/// let square = Func::new("square", |n: u64| n * n);
/// let tasks = Pool::new().submit_all((1..=4).map(|n| square.call(n)));
/// let mut sum = 0;
/// for task in as_completed(tasks) {
///     sum += *task?.wait()?;
/// }
/// assert_eq!(sum, 30);
/// # Ok::<(), memopool::Error>(())
/// ```
pub fn as_completed<R: Send + Sync + 'static>(tasks: impl IntoIterator<Item = Task<R>>) -> AsCompleted<R> {
    let mut seen = BTreeSet::new();
    let tasks: Vec<_> = tasks.into_iter().filter(|task| seen.insert(task.id())).collect();
    let (of, waiting) = (tasks.len(), Some(Waiting::new(tasks, None)));
    AsCompleted { of, waiting, since: now(), timeout: None, watched: Watched::default() }
}

/// See [`as_completed`].
pub struct AsCompleted<R: Send + Sync + 'static> {
    /// `None` after the deadline.
    waiting: Option<Waiting<R>>,
    of: usize,
    since: Instant,
    timeout: Option<Duration>,
    watched: Watched,
}

impl<R: Send + Sync + 'static> AsCompleted<R> {
    /// Ends the iteration `timeout` after the call of [`as_completed`], with one `Err` that
    /// [`is_timeout`](Error::is_timeout) if tasks are unfinished then; they go on. Default: without end.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use memopool::{Pool, as_completed};
    ///
    /// let (send, receive) = std::sync::mpsc::channel();
    /// let pool = Pool::new();
    /// let task = pool.spawn(move || receive.recv().unwrap());
    /// let mut tasks = as_completed([task.clone()]).timeout(Duration::from_millis(1));
    /// assert!(tasks.next().unwrap().unwrap_err().is_timeout());
    /// send.send(1).unwrap();
    /// assert_eq!(*task.wait()?, 1);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        if let Some(waiting) = &mut self.waiting {
            waiting.deadline = self.since.checked_add(timeout);
        }
        self
    }

    /// Shows a bar on the terminal while the tasks are taken out: how many there were, how many came from the cache, how many
    /// failed (feature `progress`). Takes a name, or an `indicatif` bar of your own: see [`Progress`](crate::Progress).
    /// Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool, as_completed};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let tasks = Pool::new().submit_all((0..100).map(|n| square.call(n)));
    /// for task in as_completed(tasks).progress("squaring") {
    ///     task?.wait()?;
    /// }
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[cfg(feature = "progress")]
    #[must_use]
    pub fn progress(mut self, progress: impl Into<crate::Progress>) -> Self {
        self.watched = Watched::by(progress.into(), self.to_come());
        self
    }

    /// How many tasks are to come, at least and at most.
    fn to_come(&self) -> (usize, Option<usize>) {
        let left = self.waiting.as_ref().map_or(0, |waiting| waiting.left);
        (left, Some(left))
    }

    fn item(&mut self, next: Result<(usize, Task<R>), End>) -> Option<Result<Task<R>, Error>> {
        match next {
            Ok((_, task)) => {
                self.watched.saw(&task, || matches!(task.try_get(), Some(Err(_))), || self.to_come());
                Some(Ok(task))
            }
            Err(End::Empty) => {
                self.watched.over();
                None
            }
            Err(End::Late) => {
                self.watched.over();
                let unfinished = self.waiting.take().map_or(0, |waiting| waiting.left);
                Some(Err(Error::deadline(unfinished, self.of, self.timeout.unwrap_or_default())))
            }
        }
    }
}

impl<R: Send + Sync + 'static> Iterator for AsCompleted<R> {
    type Item = Result<Task<R>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.waiting.as_mut()?.next();
        self.item(next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.waiting.as_ref().map_or(0, |waiting| waiting.left);
        (0, Some(left + usize::from(self.timeout.is_some())))
    }
}

/// A wait for any of several tasks.
pub(super) struct Waiting<R: Send + Sync + 'static> {
    tasks: Vec<Option<(Task<R>, Registration)>>,
    /// Indices of `tasks` that are `None`.
    free: Vec<usize>,
    pub(super) left: usize,
    ready: Arc<Ready>,
    pub(super) deadline: Option<Instant>,
}

/// Why there is no next task.
pub(super) enum End {
    /// All were given out.
    Empty,
    /// The deadline has passed.
    Late,
}

/// Indices of tasks that may be done, and who waits for them: a thread, or a future.
#[derive(Default)]
pub(super) struct Ready {
    posted: Mutex<Posted>,
    parker: Arc<Parker>,
}

#[derive(Default)]
struct Posted {
    queue: VecDeque<usize>,
    /// Whoever polled last and found nothing.
    waker: Option<Waker>,
}

impl Ready {
    fn push(&self, index: usize) {
        self.posted.lock().queue.push_back(index);
    }

    fn pop(&self) -> Option<usize> {
        self.posted.lock().queue.pop_front()
    }
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        let waker = self.posted.lock().waker.take();
        self.parker.wake_by_ref();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Signal {
    ready: Arc<Ready>,
    index: usize,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.index);
        Arc::clone(&self.ready).wake();
    }
}

impl<R: Send + Sync + 'static> Waiting<R> {
    pub(super) fn new(tasks: Vec<Task<R>>, deadline: Option<Instant>) -> Self {
        let ready = Arc::new(Ready::default());
        let mut waiting = Waiting { tasks: Vec::new(), free: Vec::new(), left: 0, ready, deadline };
        for task in tasks {
            waiting.push(task);
        }
        waiting
    }

    /// One more. Returns its index; those that are pushed before the first `next` are numbered in their order.
    pub(super) fn push(&mut self, task: Task<R>) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.tasks.push(None);
            self.tasks.len() - 1
        });
        let mut registration = Registration::default();
        let waker = Waker::from(Arc::new(Signal { ready: Arc::clone(&self.ready), index }));
        if task.register(&mut registration, &waker) {
            self.ready.push(index);
        }
        self.tasks[index] = Some((task, registration));
        self.left += 1;
        index
    }

    pub(super) fn next(&mut self) -> Result<(usize, Task<R>), End> {
        context::resume();
        loop {
            if let Some(ready) = self.take_ready() {
                return Ok(ready);
            }
            if self.left == 0 {
                return Err(End::Empty);
            }
            match self.park() {
                Ok(true) => {}
                Ok(false) => return Err(End::Late),
                // Each of them would never end: say so of one after the other.
                Err(error) => return self.give_up_first(error),
            }
        }
    }

    fn take_ready(&mut self) -> Option<(usize, Task<R>)> {
        loop {
            let at = self.ready.pop()?;
            let done = self.tasks[at].as_ref().is_some_and(|(task, _)| task.is_done());
            if done && let Some((task, _)) = self.tasks[at].take() {
                return Some((at, self.taken(at, task)));
            }
        }
    }

    fn taken(&mut self, at: usize, task: Task<R>) -> Task<R> {
        self.free.push(at);
        self.left -= 1;
        task
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = &Task<R>> {
        self.tasks.iter().flatten().map(|(task, _)| task)
    }

    /// Sleeps until a task may be done. `Ok(false)`: not by the deadline.
    fn park(&self) -> Result<bool, Error> {
        let park = |until| self.ready.parker.park(until).then_some(());
        let Some(frame) = context::current() else { return Ok(asleep(self.deadline, park).is_some()) };
        let nodes: Vec<_> = self.pending().filter_map(Task::node).collect();
        let mut waiting = Blocking::enter(&frame, nodes)?;
        // Nobody puts another in the place of an executor's thread.
        if (self.deadline.is_some() || context::worker().is_some())
            && let Some(woken) = waiting.sleep(self.deadline, park)
        {
            return Ok(woken.is_some());
        }
        // No thread is left to put in our place, or nobody does that: run one of them here.
        let rests = self.pending().filter_map(Task::rests_until).min();
        if waiting.aside(|| self.pending().any(|task| task.help(&frame)))? {
            return Ok(true);
        }
        if let Some(until) = rests.or_else(|| self.pending().filter_map(Task::rests_until).min()) {
            let until = self.deadline.map_or(until, |deadline| deadline.min(until));
            let _ = waiting.sleep(Some(until), park);
            return Ok(self.deadline.is_none_or(|deadline| now() < deadline));
        }
        let woken = waiting.sleep(None, park).map(|woken| woken.is_some());
        woken.ok_or_else(|| self.pending().next().map_or_else(Error::shutdown, Task::no_thread_left))
    }

    fn give_up_first(&mut self, error: Error) -> Result<(usize, Task<R>), End> {
        match self.tasks.iter().position(Option::is_some) {
            None => Err(End::Empty),
            Some(at) => {
                let (task, mut registration) = self.tasks[at].take().expect("found just now");
                task.unregister(&mut registration);
                Ok((at, self.taken(at, task).failed_wait(error)))
            }
        }
    }
}

impl<R: Send + Sync + 'static> Drop for Waiting<R> {
    fn drop(&mut self) {
        for (task, registration) in self.tasks.iter_mut().flatten() {
            task.unregister(registration);
        }
    }
}

impl<R: Send + Sync + 'static> Task<R> {
    /// Leaves a waker. `true`: there is no need, it is done.
    fn register(&self, registration: &mut Registration, waker: &Waker) -> bool {
        match &self.state {
            State::Ready { .. } => true,
            State::InFlight { flight, interest, .. } => {
                flight.cell.poll(*interest, registration, waker).is_some()
            }
        }
    }

    #[cold]
    fn no_thread_left(&self) -> Error {
        match &self.state {
            State::Ready { .. } => Error::cancelled(),
            State::InFlight { flight, .. } => no_thread_left(flight),
        }
    }

    fn unregister(&self, registration: &mut Registration) {
        if let State::InFlight { flight, .. } = &self.state {
            flight.cell.unregister(registration);
        }
    }
}

impl<R: Send + Sync + 'static> fmt::Debug for AsCompleted<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.waiting.as_ref().map_or(0, |waiting| waiting.left);
        write!(f, "AsCompleted({left} of {} left)", self.of)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::Pool;

    /// Whoever stops early leaves a waker in each of the tasks, which lives as long as they do.
    #[test]
    fn nothing_stays_registered_after_the_iterator_is_dropped() {
        let pool = Pool::builder().threads(1).build().expect("valid settings");
        let (send, receive) = channel::<()>();
        let held = pool.spawn(move || u32::from(receive.recv().is_ok()));
        let mut tasks: Vec<_> = (0..10).map(|n| pool.spawn(move || n)).collect();
        tasks.push(held);
        let left = |tasks: &[Task<u32>]| -> usize {
            let count = |task: &Task<u32>| match &task.state {
                State::InFlight { flight, .. } => flight.cell.waiters(),
                State::Ready { .. } => 0,
            };
            tasks.iter().map(count).sum()
        };
        let mut completed = as_completed(tasks.clone()).timeout(Duration::from_millis(1));
        assert_eq!(left(&tasks), 11);
        assert!(completed.next().is_some_and(|end| end.is_err()));
        assert_eq!(left(&tasks), 0, "after its deadline");
        drop(as_completed(tasks.clone()));
        assert_eq!(left(&tasks), 0, "dropped before it began");
        for until in [Until::All, Until::First, Until::FirstError] {
            let waited = wait(&tasks, until, Some(Duration::from_millis(1)));
            assert_eq!((waited.pending.len(), left(&tasks)), (11, 0), "{until:?}");
        }
        send.send(()).expect("the task waits for it");
    }
}
