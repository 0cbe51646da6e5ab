//! [`Pool`]: the cheap-clone façade over the five stages.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Func;
use crate::call::engine::Engine;
use crate::call::{Call, Eager, Explain, spawn};
use crate::config::disk::Disk;
use crate::config::{Builder, Width, check_width};
use crate::error::Error;
use crate::event::Stats;
#[cfg(feature = "stream")]
use crate::run::Runner;
use crate::run::{Patience, context};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, now};
use crate::task::Task;
use crate::task::map::Map;

/// A thread pool with a memory.
///
/// Cheap to clone; clones are the same pool. When the last one goes, queued work is finished and the threads are joined;
/// dropped inside one of its own tasks, or with an [`Executor`](crate::Executor) of your own, it only begins to end.
///
/// # Examples
///
/// ```
/// use memopool::{Pool, memo};
///
/// #[memo]
/// fn collatz(n: u64) -> u32 {
///     if n == 1 { 0 } else { 1 + collatz(if n % 2 == 0 { n / 2 } else { 3 * n + 1 }) }
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
    /// A pool with every setting at its default: as many threads as the machine runs at once, 256 MiB of memory.
    #[expect(clippy::new_without_default, reason = "a pool that appears by `Default` would surprise")]
    pub fn new() -> Pool {
        Pool::builder().build().expect("the defaults are valid")
    }

    /// A pool whose results are kept in memory and in the directory `dir`, where they outlive the process and are shared
    /// with every other process that opens it; all else at its default. See [`Disk`](crate::Disk).
    ///
    /// # Errors
    ///
    /// [`is_store`](Error::is_store) if the directory can't be made, used or trusted, with the reason and the remedy.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("memopool-doc-open-{}", std::process::id()));
    /// use memopool::{Pool, Source, memo};
    ///
    /// #[memo]
    /// fn area(width: u64, height: u64) -> u64 {
    ///     width * height
    /// }
    ///
    /// Pool::open(&dir)?.run(area::call(6, 7))?;
    /// let later = Pool::open(&dir)?; // in another process, on another day
    /// let task = later.submit(area::call(6, 7));
    /// assert_eq!((*task.wait()?, task.source()), (42, Some(Source::Disk)));
    /// # drop(later);
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn open(dir: impl AsRef<Path>) -> Result<Pool, Error> {
        Pool::builder().disk(Disk::new(dir)).build()
    }

    /// All settings: see [`Builder`].
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Inside a task: the pool that runs it. This is how memoized functions call each other. (Name those that a function
    /// submits in its `deps`, or their edits will not reach what is kept for it.)
    ///
    /// # Examples
    ///
    /// ```
    /// use memopool::{Pool, memo};
    ///
    /// #[memo]
    /// fn fib(n: u32) -> u64 {
    ///     if n < 2 {
    ///         return n.into();
    ///     }
    ///     let pool = Pool::current().expect("called in a task");
    ///     let before = pool.submit(fib::call(n - 2));
    ///     *pool.run(fib::call(n - 1)).unwrap() + *before.wait().unwrap()
    /// }
    ///
    /// assert_eq!(*Pool::new().run(fib::call(90))?, 2_880_067_194_370_816_120);
    /// assert!(Pool::current().is_none());
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn current() -> Option<Pool> {
        let frame = context::current()?;
        let engine: Arc<dyn Any + Send + Sync> = frame.body.host()?;
        let engine = engine.downcast::<Engine>().ok()?;
        engine.handles.fetch_add(1, Ordering::Relaxed);
        Some(Pool { engine })
    }

    #[cfg(feature = "report")]
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn from_new(engine: Arc<Engine>) -> Pool {
        Pool { engine }
    }

    /// Submits a call: a hit is done at once, a run in flight is joined, anything else is queued. Waits while the queue
    /// is full, except inside one of the pool's own tasks.
    ///
    /// After [`shutdown`](Self::shutdown) the task is done with [`is_shutdown`](Error::is_shutdown).
    #[inline]
    pub fn submit<A, R: Send + Sync + 'static>(&self, call: Call<A, R>) -> Task<R> {
        call.submit(&self.engine)
    }

    /// Submits a call unless that would mean waiting.
    ///
    /// # Errors
    ///
    /// The call itself, when the queue is full and the call is neither a hit nor in flight.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let pool = Pool::builder().threads(1).queue(1).build()?;
    /// let (send, receive) = std::sync::mpsc::channel::<()>();
    /// let (started, running) = std::sync::mpsc::channel();
    /// let first = pool.spawn(move || {
    ///     started.send(()).unwrap();
    ///     receive.recv().unwrap()
    /// });
    /// running.recv().unwrap();
    /// let square = Func::new("square", |n: u64| n * n);
    /// let queued = pool.try_submit(square.call(1)).expect("the queue has room for one");
    /// let call = pool.try_submit(square.call(2)).expect_err("and not for two");
    /// send.send(()).unwrap();
    /// assert_eq!(*pool.submit(call).wait()?, 4);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn try_submit<A, R: Send + Sync + 'static>(&self, call: Call<A, R>) -> Result<Task<R>, Call<A, R>> {
        call.try_submit(&self.engine, Patience::None, Eager::Nothing)
    }

    /// Submits a call and waits for it. What lies on disk is read, and decoded, by the thread that calls this: no other has to
    /// be woken for it. (With [`submit`](Self::submit) and [`Task::wait`] a worker does it.)
    ///
    /// # Errors
    ///
    /// As [`Task::wait`].
    #[inline]
    pub fn run<A, R: Send + Sync + 'static>(&self, call: Call<A, R>) -> Result<Arc<R>, Error> {
        call.run(&self.engine)
    }

    /// As [`submit`](Self::submit), but waits for room in the queue no longer than `patience` lasts.
    pub(crate) fn submit_ahead<A, R: Send + Sync + 'static>(
        &self,
        call: Call<A, R>,
        patience: Patience,
        eager: Eager,
    ) -> Result<Task<R>, Call<A, R>> {
        call.try_submit(&self.engine, patience, eager)
    }

    /// How many calls wait to be looked for on the disk.
    pub(crate) fn queued_looks(&self) -> usize {
        self.engine.runner.queued_looks()
    }

    pub(crate) fn has_disk(&self) -> bool {
        self.engine.disk.is_some()
    }

    /// The queue, for a future that waits for room in it.
    #[cfg(feature = "stream")]
    pub(crate) fn runner(&self) -> &Runner {
        &self.engine.runner
    }

    /// Runs a closure once, unremembered. It may capture, and need not have a name. Not part of the [`Stats`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::Pool;
    /// let words = vec!["a", "b"];
    /// let task = Pool::new().spawn(move || words.concat());
    /// assert_eq!(*task.wait()?, "ab");
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn spawn<R: Send + Sync + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> Task<R> {
        spawn(&self.engine, f)
    }

    /// Submits many calls at once.
    pub fn submit_all<A, R: Send + Sync + 'static>(
        &self,
        calls: impl IntoIterator<Item = Call<A, R>>,
    ) -> Vec<Task<R>> {
        calls.into_iter().map(|call| self.submit(call)).collect()
    }

    /// The results of many calls, in their order, a bounded number ahead: see [`Map`].
    ///
    /// The calls are made lazily, so what they are made from can't be borrowed from the closure that makes them. Give a
    /// `#[memo]` function that borrows its arguments owned ones through `f::func()`:
    ///
    /// ```
    /// # use memopool::{Pool, memo};
    /// #[memo]
    /// fn lines(text: &str) -> usize {
    ///     text.lines().count()
    /// }
    ///
    /// let texts = (1..4).map(|n| "line\n".repeat(n)); // read from files, say
    /// let pool = Pool::new();
    /// let counts = pool.map(texts.map(|text| lines::func().call((text,))));
    /// assert_eq!(counts.map(|count| *count.unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    /// ```
    pub fn map<A, R, C>(&self, calls: C) -> Map<C::IntoIter, R>
    where
        C: IntoIterator<Item = Call<A, R>>,
        R: Send + Sync + 'static,
    {
        Map::new(self.clone(), calls.into_iter())
    }

    /// What is kept for a call, without computing it. Not counted as a submission. A kept error is `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let pool = Pool::new();
    /// assert_eq!(pool.get(&square.call(3)), None);
    /// pool.run(square.call(3))?;
    /// assert_eq!(pool.get(&square.call(3)).as_deref(), Some(&9));
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn get<A, R: Send + Sync + 'static>(&self, call: &Call<A, R>) -> Option<Arc<R>> {
        call.get(&self.engine)
    }

    /// What submitting the call would find, and why.
    pub fn explain<A, R: Send + Sync + 'static>(&self, call: &Call<A, R>) -> Explain {
        call.explain(&self.engine)
    }

    /// Forgets what is kept for a call. A run in flight goes on for those who wait for it; its result is not kept, and
    /// the next submission starts another.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) if the call can't be encoded; [`is_store`](Error::is_store) if the disk could not
    /// be told: then other processes may still find it there.
    pub fn forget<A, R: Send + Sync + 'static>(&self, call: &Call<A, R>) -> Result<(), Error> {
        call.forget(&self.engine)
    }

    /// Forgets everything of one function, runs in flight included (as [`forget`](Self::forget) does).
    ///
    /// # Errors
    ///
    /// [`is_store`](Error::is_store) if the disk could not be told: then other processes may still find it there.
    pub fn forget_func<A, R>(&self, func: &Func<A, R>) -> Result<(), Error>
    where
        A: Send + 'static,
        R: Send + Sync + 'static,
    {
        self.engine.forget_all(Some(func.owner()))
    }

    /// Forgets everything, runs in flight included (as [`forget`](Self::forget) does).
    ///
    /// # Errors
    ///
    /// [`is_store`](Error::is_store) if the disk could not be told: then other processes may still find it there.
    pub fn clear(&self) -> Result<(), Error> {
        self.engine.forget_all(None)
    }

    /// Writes what is finished and waits until it is safe, against a power loss too. A pool without a disk has nothing to
    /// do; one with a disk does this for itself as it goes, but for the power loss (see [`Disk::sync`](crate::Disk::sync)).
    ///
    /// # Errors
    ///
    /// [`is_store`](Error::is_store) if the disk does not take it, with the operation and the file; also if something that
    /// finished since the last flush could not be written, or was not tried because the disk had just failed. It is told
    /// once: the next flush is for what comes later, and does not write again what is missing. Nothing that could be
    /// computed is lost by that. A listener that is told of the disk can't wait for it there: an error, too.
    pub fn flush(&self) -> Result<(), Error> {
        self.engine.disk.as_ref().map_or(Ok(()), |disk| disk.flush())
    }

    /// What the pool has done so far.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// The same by function name.
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

    /// Changes how many workers run at once: see [`Builder::threads`]. More start as they are needed; what runs is
    /// never interrupted, so fewer take effect as bodies end. A hard cap below the new width is raised to it.
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

    /// Ends the pool: submissions from outside are refused, queued work is finished (and may submit nested work), then
    /// the threads are joined. Waits for that, except inside one of the pool's own tasks. As often as you like.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let pool = Pool::new();
    /// let task = pool.submit(square.call(3));
    /// pool.shutdown();
    /// assert_eq!(*task.wait()?, 9);
    /// assert!(pool.run(square.call(4)).unwrap_err().is_shutdown());
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn shutdown(&self) {
        self.engine.close(false);
        self.end(None);
    }

    /// Ends the pool at once: what has not started is given up ([`is_shutdown`](Error::is_shutdown)), nested
    /// submissions are refused, too, and what runs is waited for.
    pub fn shutdown_now(&self) {
        self.engine.close(true);
        self.end(None);
    }

    /// Waits for the threads, then for what is still to be written. What is left of it at the deadline.
    fn end(&self, deadline: Option<Instant>) -> Option<Left> {
        if !self.engine.runner.join(deadline) {
            return Some(Left::Work);
        }
        let written = self.engine.disk.as_ref().is_none_or(|disk| disk.close(deadline));
        (!written).then_some(Left::Writing)
    }

    /// [`shutdown`](Self::shutdown), waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`is_timeout`](Error::is_timeout) if work is left then, or results that are still to be written; it goes on. Inside one
    /// of the pool's own tasks, and of a listener that is told of the disk, that is so at once.
    pub fn shutdown_timeout(&self, timeout: Duration) -> Result<(), Error> {
        self.engine.close(false);
        let runner = &self.engine.runner;
        match self.end(now().checked_add(timeout)) {
            None => Ok(()),
            Some(Left::Writing) => Err(Error::unwritten(timeout)),
            Some(Left::Work) => {
                let left = runner.queued() + runner.running();
                Err(Error::deadline(left, left, timeout))
            }
        }
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

/// What is left of a pool that ends.
enum Left {
    Work,
    /// All work is done; not all of it is written.
    Writing,
}

impl Clone for Pool {
    fn clone(&self) -> Self {
        self.engine.handles.fetch_add(1, Ordering::Relaxed);
        Pool { engine: Arc::clone(&self.engine) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.engine.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.engine.close(false);
            // What somebody else's executor holds it may run whenever it likes, or never; and what this very thread is to
            // poll it can't while it waits.
            if !self.engine.runner.is_foreign() && !self.engine.needs_this_thread() {
                self.end(None);
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("engine", &self.engine).finish()
    }
}
