//! What can be set on a [`Func`] once it is made. (Its limit and its back-off have files of their own.)

use std::fmt;
use std::time::Duration;

use super::func::{Body, Func, Weigh, with_state};
use crate::sync::Arc;

impl<A: Send + 'static, R: Send + Sync + 'static> Func<A, R> {
    /// Says which version of the code this is. Another version is another function: its results are its own.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::Func;
    /// let one = Func::new("rate", |n: u64| n * 2).version(1);
    /// let two = Func::new("rate", |n: u64| n * 3).version("2 (new tariff)");
    /// assert_ne!(one.call(1).key(), two.call(1).key());
    /// ```
    #[must_use]
    pub fn version(self, version: impl fmt::Display) -> Self {
        self.with(|core| {
            core.signature.code = format!("v{version}").into_bytes();
            let (identity, clash) = core.signature.register();
            core.identity = identity;
            core.invalid = clash.or(core.broken_state.clone());
            core.digest = with_state(&identity.digest, core.state);
        })
    }

    /// Results are used for at most `ttl` from their completion, or from when they were inserted, by the pool's clock. Default: without end.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// # use memopool::{Func, Pool};
    ///
    /// let rate = Func::new("rate", |currency: String| currency.len()).ttl(Duration::from_secs(3600));
    /// let pool = Pool::new();
    /// pool.run(rate.call("EUR".into()))?; // computed at most once an hour
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        self.with(|core| core.ttl = Some(ttl))
    }

    /// How long one attempt of the body may take. Default: without end.
    ///
    /// Counted from the start of the attempt, waits for nested tasks included. When it runs over, everyone who waits
    /// gets [`is_timeout`](crate::Error::is_timeout) at once. An attempt that ran over is not retried.
    ///
    /// # Cancellation
    ///
    /// The body itself can't be killed, but sees [`cancelled()`](crate::cancelled), and what it still returns is not kept. Its
    /// thread is replaced until it returns. An async body is dropped where it awaits.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// # use memopool::{Func, Pool};
    ///
    /// let stuck = Func::named("stuck").in_memory().func(|(): ()| {
    ///     while !memopool::cancelled() {
    ///         std::thread::yield_now();
    ///     }
    /// });
    /// let stuck = stuck.timeout(Duration::from_millis(5));
    /// assert!(Pool::new().run(stuck.call(())).unwrap_err().is_timeout());
    /// ```
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|core| core.timeout = Some(timeout))
    }

    /// How often a body that returned an error is called again, in the same run: at once, or after a
    /// [`backoff`](Self::backoff). Default: 0. A panic is not retried: it is a defect, not bad luck.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// # use memopool::{Func, Pool};
    ///
    /// static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
    /// let flaky = Func::fallible("flaky", |name: String| match ATTEMPTS.fetch_add(1, Ordering::Relaxed) {
    ///     0 | 1 => Err("connection reset"),
    ///     _ => Ok(format!("hello {name}")),
    /// });
    /// let pool = Pool::new();
    /// assert_eq!(*pool.run(flaky.retries(2).call("you".into()))?, "hello you");
    /// assert_eq!((pool.stats().computed, pool.stats().retried), (1, 2));
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[must_use]
    pub fn retries(self, retries: u32) -> Self
    where
        A: Clone,
    {
        self.with(|core| {
            core.retries = retries;
            let body = Self::body(core);
            core.body =
                Arc::new(Body { run: Arc::clone(&body.run), encode: body.encode, copy: Some(A::clone) });
        })
    }

    /// Keep only results that took longer than `cost` to compute. Default: keep all.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// # use memopool::{Func, Pool};
    ///
    /// let square = Func::new("square", |n: u64| n * n).cost_above(Duration::from_secs(60));
    /// let pool = Pool::new();
    /// pool.run(square.call(9))?;
    /// assert!(pool.get(&square.call(9)).is_none());
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[must_use]
    pub fn cost_above(self, cost: Duration) -> Self {
        self.with(|core| core.cost_above = cost)
    }

    /// How heavy a result is, in bytes or in whatever [`Builder::memory`](crate::Builder::memory) is meant in. Default:
    /// the size of its encoding, at least 64; for [`in_memory`](crate::Named::in_memory) results the size of the type,
    /// which knows nothing of what it points to.
    ///
    /// A weigher that panics costs that result its place in memory, and nothing else.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let letters = Func::named("letters").in_memory().func(|n: usize| vec!['a'; n]);
    /// let letters = letters.weigh(|letters| size_of_val(letters.as_slice()) as u64);
    /// let pool = Pool::new();
    /// pool.run(letters.call(1000))?;
    /// assert_eq!(pool.stats().memory_bytes, 4000); // the vector itself is not among them: 24 bytes
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[must_use]
    pub fn weigh(self, weigh: fn(&R) -> u64) -> Self {
        self.with(|core| core.weigh = Weigh::Given(weigh))
    }
}
