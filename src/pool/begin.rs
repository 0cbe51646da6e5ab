//! Where a pool comes from: made, opened, built, or the one that runs the task we are in.

use std::any::Any;
use std::path::Path;

use super::Pool;
use crate::call::engine::Engine;
use crate::config::Builder;
use crate::config::disk::Disk;
use crate::error::Error;
use crate::run::context;
use crate::sync::Arc;
use crate::sync::atomic::Ordering;

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
    /// It waits for up to 60 seconds, and then fails, where another process makes the directory's index anew: the first to
    /// open it after a start of the machine does, which takes a while in a large directory.
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
}
