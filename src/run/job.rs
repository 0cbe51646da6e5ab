//! A unit of work, the job that holds it in a queue, and who may run jobs.

use std::fmt;

use crate::contain::contain;
use crate::sync::Arc;

/// A unit of work in a queue.
pub(crate) trait Unit: Send + Sync {
    /// Whether nobody has started or settled it yet.
    fn is_pending(&self) -> bool;
    /// Runs it here, unless somebody else has started it. Does not panic.
    fn perform(&self);
    /// It waits for a slot of a limit, or no longer does: whoever starts it meanwhile would only set it aside again.
    fn mark_parked(&self, parked: bool);
    /// It has begun already, and was given the slot that it waits for: it sees to its next poll itself. `false`: it is to be
    /// queued.
    fn go_on(&self) -> bool {
        false
    }
    /// Whether it takes a thread of its pool to go on.
    fn needs_thread(&self) -> bool {
        true
    }
    /// It will not be run from here: everyone who waits for it is told, unless somebody else has started it.
    fn abandon(&self);
}

/// One queued piece of a pool's work, to be run once by whoever got it; see [`Executor`](crate::Executor).
///
/// Dropping it unrun resolves everyone who waits for it with an error that [`is_shutdown`](crate::Error::is_shutdown).
pub struct Job(Option<Arc<dyn Unit>>);

impl Job {
    pub(crate) fn new(unit: Arc<dyn Unit>) -> Job {
        Job(Some(unit))
    }

    /// Runs it in this thread. Panics of the function stay inside: they are its outcome.
    pub fn run(mut self) {
        if let Some(unit) = self.0.take() {
            unit.perform();
            // Nobody may be left who wants its value, whose `Drop` is the user's.
            let _ = contain(|| drop(unit));
        }
    }
}

impl Job {
    /// Drops it without telling anyone: it was settled, or whoever has it sees to it.
    pub(super) fn forget(mut self) {
        self.0 = None;
    }

    pub(super) fn is_pending(&self) -> bool {
        self.0.as_ref().is_some_and(|unit| unit.is_pending())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(unit) = self.0.take() {
            unit.abandon();
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job(..)")
    }
}

/// Runs a pool's jobs on threads that somebody else owns.
///
/// The pool keeps its memory, its flights and its cycle detection; the executor decides where and when. It may run jobs
/// in any order. A job that it drops resolves its waiters with [`is_shutdown`](crate::Error::is_shutdown). Threads of an
/// executor that wait inside a job run the awaited job themselves while at most 512 KiB of stack are used for it; the
/// pool can't replace blocked ones, so give the executor threads enough for the waits that your tasks nest otherwise.
/// `executor::Rayon` and `executor::Tokio` (features of these names) are executors.
///
/// # Examples
///
/// ```
/// use memopool::{Executor, Func, Job, Pool};
///
/// struct NewThread;
///
/// impl Executor for NewThread {
///     fn execute(&self, job: Job) {
///         std::thread::spawn(move || job.run());
///     }
/// }
///
/// let pool = Pool::builder().executor(NewThread).build()?;
/// let square = Func::new("square", |n: u64| n * n);
/// assert_eq!(*pool.run(square.call(7))?, 49);
/// # Ok::<(), memopool::Error>(())
/// ```
pub trait Executor: Send + Sync {
    /// Takes a job, to be run with [`Job::run`]. Called by the thread that submits.
    fn execute(&self, job: Job);
}
