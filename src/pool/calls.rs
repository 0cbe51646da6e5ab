//! What a pool is given: calls, one or many, and closures.

use super::Pool;
use crate::call::{Call, Eager, spawn};
use crate::error::Error;
use crate::run::Patience;
#[cfg(feature = "stream")]
use crate::run::Runner;
use crate::sync::Arc;
use crate::task::Task;
use crate::task::map::Map;

impl Pool {
    /// Submits a call: a hit is done at once, a run in flight is joined, anything else is queued. Waits while the queue
    /// is full, except inside one of the pool's own tasks.
    ///
    /// # Errors
    ///
    /// None here: what goes wrong is in the task. It is done at once with [`is_invalid`](Error::is_invalid) if the arguments
    /// can't be encoded or another function has the same identity, and with [`is_shutdown`](Error::is_shutdown) after
    /// [`shutdown`](Self::shutdown).
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let pool = Pool::new();
    /// let (one, other) = (pool.submit(square.call(3)), pool.submit(square.call(4))); // both run now
    /// assert_eq!(*one.wait()? + *other.wait()?, 25);
    /// pool.shutdown();
    /// assert!(pool.submit(square.call(5)).wait().unwrap_err().is_shutdown());
    /// # Ok::<(), memopool::Error>(())
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let pool = Pool::new();
    /// assert_eq!(*pool.run(square.call(3))?, 9); // computed
    /// assert_eq!(*pool.run(square.call(3))?, 9); // found
    /// assert_eq!(pool.stats().computed, 1);
    /// # Ok::<(), memopool::Error>(())
    /// ```
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

    /// Runs a closure once; its result is not remembered. It may capture, and need not have a name. Waits while the queue is
    /// full, as [`submit`](Self::submit) does. Not part of the [`Stats`](crate::Stats).
    ///
    /// # Cancellation
    ///
    /// Dropping the task lets the closure run. After [`Task::cancel`] it is not started any more; if it runs already, it sees
    /// [`cancelled()`](crate::cancelled).
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

    /// Submits many calls, one after the other, before any result is waited for: as [`submit`](Self::submit) each. With more
    /// calls than the queue has room for it waits for room; [`map`](Self::map) makes the calls as they are needed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let tasks = Pool::new().submit_all((1..=4).map(|n| square.call(n)));
    /// let squares: Result<Vec<u64>, _> = tasks.iter().map(|task| task.wait().map(|n| *n)).collect();
    /// assert_eq!(squares?, [1, 4, 9, 16]);
    /// # Ok::<(), memopool::Error>(())
    /// ```
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
}
