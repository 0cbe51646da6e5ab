//! [`Pool`]: the cheap-clone façade over the five stages.
//!
//! 1. [`begin`] — where a pool comes from.
//! 2. [`calls`] — what it is given.
//! 3. [`kept`] — what it keeps.
//! 4. [`stop`] — how it ends.

mod begin;
mod calls;
mod kept;
mod stop;

use std::collections::BTreeMap;
use std::fmt;

use crate::call::engine::Engine;
use crate::config::{Width, check_width};
use crate::error::Error;
use crate::event::Stats;
use crate::run::context;
use crate::sync::Arc;
use crate::sync::atomic::Ordering;

/// A thread pool with a memory.
///
/// Cheap to clone; clones are the same pool. When the last one goes, queued work is finished, results are written to the
/// disk if there is one, and the threads are joined; dropped inside one of its own tasks, with an
/// [`Executor`](crate::Executor) of your own, or on the only thread of a runtime that polls its bodies, it only begins to end.
///
/// A pool in a `static` is never dropped, nor is any when the program leaves by `std::process::exit`. Call
/// [`shutdown`](Self::shutdown) or [`flush`](Self::flush) before `main` ends, or the results that still wait to be written
/// are lost (as when the process is killed).
///
/// Only calls that are given to a pool are looked up and kept. A memoized function that is called directly just runs, also
/// by itself in its own body: [`Pool::current`] is how bodies reach the pool.
///
/// # In async code
///
/// A [`Task`](crate::Task) is a future, so `pool.submit(call).await` is the usual way. What may keep the thread of an
/// executor waiting:
///
/// | method | waits for | instead |
/// |---|---|---|
/// | [`submit`](Self::submit), [`submit_all`](Self::submit_all), [`spawn`](Self::spawn) | room, while the queue is full | [`try_submit`](Self::try_submit); `pool.map(…).into_stream()` (feature `stream`), which waits for room without a thread |
/// | [`run`](Self::run), [`map`](Self::map) | the results; both may read the disk | `submit(call).await`; `into_stream()` |
/// | [`get`](Self::get), [`explain`](Self::explain) | the disk: a read of what is not in memory | `submit(call).await` |
/// | [`forget`](Self::forget), [`forget_func`](Self::forget_func), [`clear`](Self::clear), [`flush`](Self::flush) | the disk: its lock, and a write | a thread made for that, such as `spawn_blocking` gives |
/// | [`shutdown`](Self::shutdown), [`shutdown_now`](Self::shutdown_now), the drop of the last handle | the work, and the disk | the same |
///
/// # Examples
///
/// ```
/// use memopool::{Pool, memo};
///
/// #[memo]
/// fn collatz(n: u64) -> u32 {
///     let (mut n, mut steps) = (n, 0);
///     while n != 1 {
///         n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
///         steps += 1;
///     }
///     steps
/// }
///
/// let pool = Pool::new();
/// let steps = pool.submit(collatz::call(27));
/// let again = pool.submit(collatz::call(27)); // joins the run, or finds its result
/// assert_eq!(*steps.wait()?, 111);
/// assert_eq!(*again.wait()?, 111);
/// assert_eq!(pool.stats().computed, 1);
/// # Ok::<(), memopool::Error>(())
/// ```
pub struct Pool {
    pub(crate) engine: Arc<Engine>,
}

impl Pool {
    /// What the pool has done so far: see [`Stats`].
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// The same by function name. For a `#[memo]` function that is its path, such as `my_crate::parse::lines`, unless
    /// `name` says otherwise; for others the name that they were given.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let pool = Pool::new();
    /// pool.run(square.call(3))?;
    /// assert_eq!(pool.stats_by_func()["square"].computed, 1);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn stats_by_func(&self) -> BTreeMap<String, Stats> {
        self.engine.stats_by_func()
    }

    /// Changes how many workers run at once: see [`Builder::threads`](crate::Builder::threads). More start as they are needed;
    /// what runs is never interrupted, so fewer take effect as bodies end. A hard cap below the new width is raised to it.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) for a width of zero or an empty range.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::Pool;
    /// let pool = Pool::builder().threads(2).build()?;
    /// pool.resize(8)?;
    /// pool.resize(1..=4)?;
    /// assert!(pool.resize(0).is_err());
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn resize(&self, width: impl Width) -> Result<(), Error> {
        let width = width.range();
        check_width(&width)?;
        self.engine.runner.resize(width);
        Ok(())
    }
}

/// Inside a task: whether nobody is left who wants its result, or it is over its timeout. A long body should ask now and
/// then, and stop: what it still returns is not kept. Outside of tasks: `false`.
///
/// # Examples
///
/// ```
/// # use memopool::Pool;
/// let pool = Pool::new();
/// let task = pool.spawn(|| {
///     while !memopool::cancelled() {
///         std::thread::yield_now();
///     }
/// });
/// task.cancel();
/// ```
pub fn cancelled() -> bool {
    context::with_current(|frame| frame.is_some_and(|frame| frame.body.is_given_up()))
}

/// Inside a task: runs `f`, which blocks on something that is not a task (a lock, a socket, a subprocess), and lets the
/// pool put another thread in the place of this one meanwhile. Elsewhere it just runs `f`.
///
/// # Examples
///
/// ```
/// # use memopool::{Pool, block_in_place};
/// use std::sync::mpsc;
///
/// let pool = Pool::builder().threads(1).build()?;
/// let (send, receive) = mpsc::channel();
/// let waits = pool.spawn(move || block_in_place(|| receive.recv().unwrap()));
/// pool.spawn(move || send.send(5).unwrap()).wait()?; // the only worker waits, and still this runs
/// assert_eq!(*waits.wait()?, 5);
/// # Ok::<(), memopool::Error>(())
/// ```
pub fn block_in_place<T>(f: impl FnOnce() -> T) -> T {
    let _blocked = context::block_outside();
    f()
}

impl Clone for Pool {
    fn clone(&self) -> Self {
        self.engine.handles.fetch_add(1, Ordering::Relaxed);
        Pool { engine: Arc::clone(&self.engine) }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("engine", &self.engine).finish()
    }
}
