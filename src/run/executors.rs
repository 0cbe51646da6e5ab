//! Executors for the threads of others: a rayon pool (feature `rayon`), a tokio runtime (feature `tokio`).

use super::{Executor, Job};
#[cfg(feature = "rayon")]
use crate::sync::Arc;

/// Runs a pool's jobs on the threads of a [rayon pool](rayon_core::ThreadPool) (feature `rayon`).
///
/// For programs that have a rayon pool and want no threads beside it, and ask from other threads than rayon's. As soon as a
/// thread of rayon's asks for something that is to be run, the jobs go to rayon pools of memopool's own instead, as many at a
/// time as this one has threads: a caller and the pieces of a parallel body (`par_iter`, `join`) that are jobs of one rayon pool
/// may be put on top of one another so that neither can go on (rayon-rs/rayon#592), and nobody can tell them apart.
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
pub struct Rayon {
    /// `None`: the global ones.
    threads: Option<Arc<rayon_core::ThreadPool>>,
    crews: Arc<super::crews::Crews>,
}

#[cfg(feature = "rayon")]
impl Rayon {
    /// On the threads of that pool: a `ThreadPool`, or an `Arc` of one.
    pub fn new(threads: impl Into<Arc<rayon_core::ThreadPool>>) -> Rayon {
        Rayon { threads: Some(threads.into()), crews: Arc::default() }
    }

    /// On rayon's global threads.
    pub fn global() -> Rayon {
        Rayon { threads: None, crews: Arc::default() }
    }
}

#[cfg(feature = "rayon")]
impl Executor for Rayon {
    fn execute(&self, job: Job) {
        let width = || {
            let threads = self.threads.as_ref();
            threads.map_or_else(rayon_core::current_num_threads, |threads| threads.current_num_threads())
        };
        let Err(job) = self.crews.run(job, width) else { return };
        match &self.threads {
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
