//! How a pool ends: by a word, or with its last handle.

use std::time::{Duration, Instant};

use super::Pool;
use crate::error::Error;
use crate::sync::atomic::Ordering;
use crate::sync::now;

impl Pool {
    /// Ends the pool: submissions from outside are refused, queued work is finished (and may submit nested work), then
    /// the threads are joined and what is finished is written to the disk, if there is one. Waits for that, except inside one
    /// of the pool's own tasks. As often as you like. Dropping the last handle does the same.
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
    /// submissions are refused, too, and what runs is waited for. What is finished is written as by
    /// [`shutdown`](Self::shutdown).
    ///
    /// # Cancellation
    ///
    /// Async bodies are dropped where they await. Others run to their end.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::Pool;
    /// let pool = Pool::builder().threads(1).build()?;
    /// let (send, receive) = std::sync::mpsc::channel();
    /// let (started, running) = std::sync::mpsc::channel();
    /// let first = pool.spawn(move || {
    ///     started.send(()).unwrap();
    ///     receive.recv().unwrap()
    /// });
    /// let second = pool.spawn(|| 2); // behind the first: the pool has one thread
    /// running.recv().unwrap();
    /// second.on_done(move |_| send.send(1).unwrap()); // given up: the first may end
    /// pool.shutdown_now();
    /// assert_eq!(*first.wait()?, 1);
    /// assert!(second.wait().unwrap_err().is_shutdown());
    /// # Ok::<(), memopool::Error>(())
    /// ```
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

    /// [`shutdown`](Self::shutdown), waiting for at most `timeout`, writing what is finished included.
    ///
    /// # Errors
    ///
    /// [`is_timeout`](Error::is_timeout) if work is left then, or results that are still to be written; it goes on. Inside one
    /// of the pool's own tasks, and of a listener that is told of the disk, that is so at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// # use memopool::Pool;
    /// let pool = Pool::new();
    /// let (send, receive) = std::sync::mpsc::channel();
    /// let task = pool.spawn(move || receive.recv().unwrap());
    /// assert!(pool.shutdown_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    /// send.send(5).unwrap();
    /// pool.shutdown_timeout(Duration::from_secs(60))?;
    /// assert_eq!(*task.wait()?, 5);
    /// # Ok::<(), memopool::Error>(())
    /// ```
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

/// What is left of a pool that ends.
enum Left {
    Work,
    /// All work is done; not all of it is written.
    Writing,
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
