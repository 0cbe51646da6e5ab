//! What a pool keeps: asked for, given, explained, forgotten, written.

use super::Pool;
use crate::Func;
use crate::call::insert::Batch;
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

    /// Keeps a value as the result of a call, as if it had been computed just now: in memory at once, and on disk as computed
    /// ones are (see [`Disk::spill`](crate::Disk::spill)). For what is known from elsewhere: another cache, a batch interface, a
    /// fixture. To write many, take [`insert_all`](Self::insert_all).
    ///
    /// It takes the place of what was kept before, here and in the directory; other processes may have the old one in memory
    /// until they next look at the disk. A run in flight, here or in another process, goes on for those who wait for it, but is
    /// not kept (with [`single_flight(false)`](crate::Disk::single_flight), that of another process may be).
    ///
    /// Whether the function would have given that value is not checked. It may be an `R` or an `Arc<R>`; of a function that
    /// returns a `Result` it is what is in the `Ok`: errors can't be inserted. Its [`ttl`](crate::Func::ttl) begins now, and it is
    /// kept though it took no time ([`cost_above`](crate::Func::cost_above)). It belongs to this version of the function: of a
    /// `#[memo]` function, to its text, unless it has a `version`. A pool stays a cache: what is inserted is evicted, expires and
    /// is deleted like any other result, and then the function is called. Don't make it the only copy.
    ///
    /// Nothing is counted as submitted or computed, no event is told, and hits on it add nothing to
    /// [`saved_time`](crate::Stats::saved_time).
    ///
    /// Trouble with the disk is no error here, as with computed values: the listener is told, and [`flush`](Self::flush) says so.
    /// A value that fits neither in memory nor on disk is not kept, which only the listener is told; what was there before is
    /// gone all the same. It waits where results come faster than the disk takes them, for up to a second; and where there is an
    /// older result, for the directory's lock, for up to two (as [`forget`](Self::forget) does).
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) if the arguments can't be encoded, [`is_shutdown`](Error::is_shutdown) after
    /// [`shutdown`](Self::shutdown): then nothing is kept. [`is_store`](Error::is_store) if an older result on disk, or one that
    /// is being computed, could not be overruled: the new one is in memory, but once it has left, the older one may be found again.
    ///
    /// # Examples
    ///
    /// A service that answers many questions in one request:
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// # fn ask(texts: &[&str]) -> Vec<Vec<f32>> {
    /// #     texts.iter().map(|text| vec![text.len() as f32]).collect()
    /// # }
    /// let embed = Func::new("embed", |text: String| ask(&[text.as_str()]).remove(0));
    /// let call = |text: &str| embed.call(text.to_owned());
    /// let pool = Pool::new();
    ///
    /// let mut texts = vec!["to be", "or not", "to be"];
    /// texts.retain(|text| pool.get(&call(text)).is_none());
    /// for (text, vector) in texts.iter().zip(ask(&texts)) {
    ///     pool.insert(&call(text), vector)?;
    /// }
    /// assert_eq!(*pool.run(call("or not"))?, [6.0]);
    /// assert_eq!(pool.stats().computed, 0);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn insert<A, R: Send + Sync + 'static>(
        &self,
        call: &Call<A, R>,
        value: impl Into<Arc<R>>,
    ) -> Result<(), Error> {
        call.insert(&self.engine, &value.into())
    }

    /// Keeps many values as the results of their calls, on disk: to fill a directory with what is known already. As
    /// [`insert`](Self::insert), but for this:
    ///
    /// - They are written at once, in batches of up to 1 024 results or 1 MiB, whatever `spill` says: when this returns, what
    ///   fits into [`max_bytes`](crate::Disk::max_bytes) can be read by every process, and a kill costs none of it. (Of more the last
    ///   ones stay.) A power loss may: see [`flush`](Self::flush), and [`Sync::EachBatch`](crate::Sync::EachBatch), with which they are
    ///   safe from that, too.
    /// - It is no transaction: others see results as they are written, and a kill before the end leaves a part of them.
    /// - They are not put into memory, and older results of the same calls are removed from it: the first hit reads from disk.
    /// - Of several results for one call the last is kept. Calls may be of different functions with the same types.
    ///
    /// The caller's thread makes keys and encodes, the writer's thread hashes and writes; at most three batches are in memory.
    /// What that takes beside redb and LMDB is in `docs/compare.md`, under "Writing".
    ///
    /// Without a disk, and for results that do not go there (`in_memory`, types that can't be read back, a value larger than half
    /// of `max_bytes`), it inserts one after the other into memory, where they end with the process.
    ///
    /// It blocks. A call that borrows from what the closure owns can't be made in it; `function::func()` takes owned arguments:
    /// `rows.map(|row| (population::func().call((row.city,)), row.people))`.
    ///
    /// # Errors
    ///
    /// The first one ends it; inserting everything again is safe. [`is_invalid`](Error::is_invalid) if arguments can't be encoded:
    /// the results before are kept. [`is_shutdown`](Error::is_shutdown) when the pool ends meanwhile, and
    /// [`is_store`](Error::is_store) if the directory can't be written to, or a batch has waited for 60 seconds: then any of the last
    /// 3 072 results may be missing, and a few of them may still appear later.
    ///
    /// # Panics
    ///
    /// If the iterator does; the results before are kept.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("memopool-doc-insert-all-{}", std::process::id()));
    /// use memopool::{Pool, memo};
    ///
    /// #[memo]
    /// fn population(city: &str) -> u64 {
    ///     panic!("would ask a slow service for {city}")
    /// }
    ///
    /// let table = [("Lagos", 15_946_000), ("Dhaka", 22_478_000)];
    /// Pool::open(&dir)?.insert_all(table.map(|(city, people)| (population::call(city), people)))?;
    /// let later = Pool::open(&dir)?; // in another process, on another day
    /// assert_eq!(*later.run(population::call("Dhaka"))?, 22_478_000);
    /// # drop(later);
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn insert_all<A, R: Send + Sync + 'static>(
        &self,
        results: impl IntoIterator<Item = (Call<A, R>, R)>,
    ) -> Result<(), Error> {
        let mut results = results.into_iter();
        let mut batch = Batch::new(&self.engine, results.size_hint().0);
        let added = results.try_for_each(|(call, value)| batch.add(&call, value));
        // What came before the one that failed is kept.
        let written = batch.finish();
        added.and(written)
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
    /// computed is lost by that. A listener that is told of the disk can't wait for it there: an error, too.
    ///
    /// It waits for up to 60 seconds, and then fails: the disk hangs, or another process holds its lock.
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
