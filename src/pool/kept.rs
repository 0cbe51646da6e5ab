//! What a pool keeps: asked for, explained, forgotten, written.

use super::Pool;
use crate::Func;
use crate::call::{Call, Explain};
use crate::error::Error;
use crate::sync::Arc;

impl Pool {
    /// What is kept for a call, without computing it. Not counted as a submission. A kept error is `None`. What is not in
    /// memory is looked for on the disk, in the thread that calls this.
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

    /// What submitting the call would find, and why. Nothing is computed; the disk may be read, as by [`get`](Self::get).
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let pool = Pool::new();
    /// println!("{}", pool.explain(&square.call(3))); // miss: never computed here, or too long ago to tell
    /// pool.run(square.call(3))?;
    /// assert!(pool.explain(&square.call(3)).is_hit());
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn explain<A, R: Send + Sync + 'static>(&self, call: &Call<A, R>) -> Explain {
        call.explain(&self.engine)
    }

    /// Forgets what is kept for a call. A run in flight goes on for those who wait for it; its result is not kept, and
    /// the next submission starts another.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) if the call can't be encoded; [`is_store`](Error::is_store) if the disk could not
    /// be told (its lock is waited for up to two seconds): then it may still be found there, by this pool and by others.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let pool = Pool::new();
    /// pool.run(square.call(3))?;
    /// pool.forget(&square.call(3))?;
    /// assert!(pool.get(&square.call(3)).is_none());
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn forget<A, R: Send + Sync + 'static>(&self, call: &Call<A, R>) -> Result<(), Error> {
        call.forget(&self.engine)
    }

    /// Forgets everything of one function, runs in flight included (as [`forget`](Self::forget) does).
    ///
    /// # Errors
    ///
    /// As [`forget`](Self::forget).
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let double = Func::new("double", |n: u64| n * 2);
    /// let pool = Pool::new();
    /// pool.run(square.call(3))?;
    /// pool.run(double.call(3))?;
    /// pool.forget_func(&square)?;
    /// assert!(pool.get(&square.call(3)).is_none());
    /// assert!(pool.get(&double.call(3)).is_some());
    /// # Ok::<(), memopool::Error>(())
    /// ```
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
    /// As [`forget`](Self::forget).
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let pool = Pool::new();
    /// pool.run(square.call(3))?;
    /// pool.clear()?;
    /// assert_eq!(pool.stats().entries, 0);
    /// # Ok::<(), memopool::Error>(())
    /// ```
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
    /// computed is lost by that.
    ///
    /// It waits for up to 60 seconds, and then fails: the disk hangs, or another process holds its lock. In a listener that is
    /// told of the disk it can't wait, and fails at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("memopool-doc-flush-{}", std::process::id()));
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let pool = Pool::open(&dir)?;
    /// pool.run(square.call(3))?;
    /// pool.flush()?; // from here on neither a kill nor a power loss costs the result
    /// assert_eq!(pool.stats().spilled, 1);
    /// # drop(pool);
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn flush(&self) -> Result<(), Error> {
        self.engine.disk.as_ref().map_or(Ok(()), |disk| disk.flush())
    }
}
