//! For tests of your own pipelines (feature `testing`).
//!
//! 1. [`ManualClock`] — time that moves when told, for `ttl`.
//! 2. [`Inline`] — runs each job in the thread that submits it.
//! 3. [`Stepper`] — runs queued jobs one at a time, in a seeded order that can be replayed.
//! 4. [`Faults`] — a disk that fails, tears, fills up or slows down when told.
//! 5. [`runs`] — how often a function really ran.
//! 6. [`Pool::recorded`](crate::Pool::recorded) — a pool that answers from what was recorded, and fails on a miss.
//!
//! How to test a pipeline with them is in `docs/testing.md`.

mod faults;
mod recording;
mod stepper;

use std::time::{Duration, SystemTime};

pub use faults::Faults;
pub(crate) use recording::Recording;
pub use stepper::{REPLAY, Stepper};

pub use crate::memo::disk::io::Op;

use crate::sync::atomic::Ordering;
use crate::sync::{Arc, Mutex};
use crate::{Clock, Executor, Func, Job};

/// A clock that stands still until it is moved. Clones share the time. It is what `ttl` is measured by; timeouts, of waits
/// and of bodies, go by the real time.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use memopool::testing::ManualClock;
/// use memopool::{Func, Pool};
///
/// let clock = ManualClock::new();
/// let pool = Pool::builder().clock(clock.clone()).build()?;
/// let price = Func::new("price", |item: u32| item * 100).ttl(Duration::from_secs(60));
/// pool.run(price.call(1))?;
/// clock.advance(Duration::from_secs(59));
/// assert!(pool.get(&price.call(1)).is_some());
/// clock.advance(Duration::from_secs(1));
/// assert!(pool.get(&price.call(1)).is_none());
/// # Ok::<(), memopool::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<SystemTime>>);

impl ManualClock {
    /// A clock that shows the first of January 2000.
    #[expect(clippy::new_without_default, reason = "a clock says when it starts")]
    pub fn new() -> ManualClock {
        ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_800))
    }

    /// A clock that shows `time`.
    pub fn at(time: SystemTime) -> ManualClock {
        ManualClock(Arc::new(Mutex::new(time)))
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.0.lock()
    }
}

/// An executor that runs each job at once, in the thread that submits it: no concurrency, plain stack traces, and what is
/// submitted is done when `submit` returns.
///
/// # Examples
///
/// ```
/// use memopool::testing::Inline;
/// use memopool::{Func, Pool};
///
/// let pool = Pool::builder().executor(Inline).build()?;
/// let square = Func::new("square", |n: u64| n * n);
/// let task = pool.submit(square.call(3));
/// assert!(task.is_done());
/// # Ok::<(), memopool::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Inline;

impl Executor for Inline {
    fn execute(&self, job: Job) {
        job.run();
    }
}

/// How often the body of a function was called so far, attempts counted one by one, in all pools of this process: also by
/// another test that runs at the same time, if it uses a function with the same identity.
///
/// # Examples
///
/// ```
/// use memopool::testing::runs;
/// use memopool::{Func, Pool};
///
/// let square = Func::new("square", |n: u64| n * n);
/// let pool = Pool::new();
/// pool.run(square.call(3))?;
/// pool.run(square.call(3))?;
/// assert_eq!(runs(&square), 1);
/// # Ok::<(), memopool::Error>(())
/// ```
pub fn runs<A, R>(func: &Func<A, R>) -> u64
where
    A: Send + 'static,
    R: Send + Sync + 'static,
{
    func.identity().runs.load(Ordering::Relaxed)
}
