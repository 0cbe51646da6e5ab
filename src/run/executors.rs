//! Executors for the threads of others: a rayon pool (feature `rayon`), a tokio runtime (feature `tokio`).

use super::{Executor, Job};

/// Runs a pool's jobs on the threads of a [rayon pool](rayon_core::ThreadPool) (feature `rayon`).
///
/// For programs that have a rayon pool and want no threads beside it. A body that is parallel itself (`par_iter`, `join`)
/// then waits for its pieces on a thread that runs other jobs meanwhile, on top of it: if one of those waits for that very
/// body, its wait could never end, and is refused ([`is_cycle`](crate::Error::is_cycle)). A job that rayon puts on top of one
/// of its *pieces* can't be told, and hangs: leave the pool its own threads if bodies are parallel and callers of the same
/// keys are jobs of the same rayon pool. Bodies may use rayon from there.
///
/// # Examples
///
/// ```
/// use memopool::executor::Rayon;
/// use memopool::{Func, Pool};
///
/// # let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
/// let pool = Pool::builder().executor(Rayon::new(threads)).build()?;
/// let square = Func::new("square", |n: u64| n * n);
/// assert_eq!(*pool.run(square.call(7))?, 49);
///
/// // Rayon's global threads:
/// let pool = Pool::builder().executor(Rayon::global()).build()?;
/// # Ok::<(), memopool::Error>(())
/// ```
#[cfg(feature = "rayon")]
#[derive(Debug, Clone)]
pub struct Rayon(Option<crate::sync::Arc<rayon_core::ThreadPool>>);

#[cfg(feature = "rayon")]
impl Rayon {
    /// On the threads of that pool: a `ThreadPool`, or an `Arc` of one.
    pub fn new(threads: impl Into<crate::sync::Arc<rayon_core::ThreadPool>>) -> Rayon {
        Rayon(Some(threads.into()))
    }

    /// On rayon's global threads.
    pub fn global() -> Rayon {
        Rayon(None)
    }
}

#[cfg(feature = "rayon")]
impl Executor for Rayon {
    fn execute(&self, job: Job) {
        match &self.0 {
            Some(threads) => threads.spawn(move || job.run()),
            None => rayon_core::spawn(move || job.run()),
        }
    }
}

/// Runs a pool's jobs on the blocking threads of a tokio runtime (feature `tokio`), as `spawn_blocking` does.
///
/// So bodies may block, and find the runtime (`Handle::current()`) where they are. How many run at once is the runtime's
/// `max_blocking_threads`: 512 unless it says otherwise, and bodies that wait for tasks which they can't run themselves
/// hold one each. When the runtime ends, what has not started resolves with [`is_shutdown`](crate::Error::is_shutdown).
///
/// # Examples
///
/// ```
/// use memopool::executor::Tokio;
/// use memopool::{Func, Pool};
///
/// let runtime = tokio::runtime::Runtime::new().unwrap();
/// let pool = Pool::builder().executor(Tokio::new(runtime.handle().clone())).build()?;
/// let square = Func::new("square", |n: u64| n * n);
/// assert_eq!(*runtime.block_on(async { pool.submit(square.call(7)).await })?, 49);
/// # Ok::<(), memopool::Error>(())
/// ```
#[cfg(feature = "tokio")]
#[derive(Debug, Clone)]
pub struct Tokio(tokio::runtime::Handle);

#[cfg(feature = "tokio")]
impl Tokio {
    /// On the blocking threads of that runtime.
    pub fn new(runtime: tokio::runtime::Handle) -> Tokio {
        Tokio(runtime)
    }
}

#[cfg(feature = "tokio")]
impl Executor for Tokio {
    fn execute(&self, job: Job) {
        drop(self.0.spawn_blocking(move || job.run()));
    }
}
