//! [`Builder`]: every setting of a pool, its default, and what it costs in both directions.

pub(crate) mod disk;

use std::fmt;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use self::disk::Disk;
use crate::call::engine::Engine;
use crate::call::polled::Spawner;
use crate::call::recorded::Recorded;
use crate::error::Error;
use crate::event::{Event, Listener};
use crate::ids;
use crate::memo::disk::tier::Tier;
use crate::observe;
use crate::pool::Pool;
use crate::run::worker::FOREVER;
use crate::run::{Executor, Plan, Runner};
use crate::sync::{Arc, parallelism, spawn, wall};

/// Threads that may be blocked in waits at once, beyond the width, unless [`Builder::max_os_threads`] says otherwise.
pub const DEFAULT_EXTRA_THREADS: usize = 512;

/// How long an idle worker stays, unless [`Builder::keep_alive`] says otherwise: 10 seconds.
pub const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How many tasks may be queued before `submit` waits, unless [`Builder::queue`] says otherwise.
pub const DEFAULT_QUEUE: usize = 65_536;

/// Bytes of stack of each worker, unless [`Builder::stack_size`] says otherwise: 2 MiB.
pub const DEFAULT_STACK_SIZE: usize = 2 * 1024 * 1024;

/// The smallest [`Builder::stack_size`]: 64 KiB.
pub const MIN_STACK_SIZE: usize = 64 * 1024;

/// Bytes of results kept in memory, unless [`Builder::memory`] says otherwise: 256 MiB.
pub const DEFAULT_MEMORY: u64 = 256 * 1024 * 1024;

/// The least that a result weighs, unless its function [weighs](crate::Func::weigh) for itself: 64 bytes. So that a
/// memory of small results has a bounded number of them.
pub const MIN_WEIGHT: u64 = 64;

/// The clock that `ttl` is measured by. Tests inject a `ManualClock` (feature `testing`).
///
/// # Examples
///
/// ```
/// use std::time::SystemTime;
/// use memopool::{Clock, Pool};
///
/// struct Frozen;
///
/// impl Clock for Frozen {
///     fn now(&self) -> SystemTime {
///         SystemTime::UNIX_EPOCH
///     }
/// }
///
/// let pool = Pool::builder().clock(Frozen).build()?;
/// # Ok::<(), memopool::Error>(())
/// ```
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> SystemTime;
}

/// The system's wall clock: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        wall()
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> SystemTime {
        (**self).now()
    }
}

/// How many workers a pool runs: `n`, or `min..=max`. See [`Builder::threads`].
pub trait Width {
    /// From how many are kept for good, to how many run at once.
    fn range(self) -> RangeInclusive<usize>;
}

impl Width for usize {
    fn range(self) -> RangeInclusive<usize> {
        0..=self
    }
}

impl Width for RangeInclusive<usize> {
    fn range(self) -> RangeInclusive<usize> {
        self
    }
}

/// The settings of a pool; from [`Pool::builder`]. Nothing is checked before [`build`](Self::build).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use memopool::Pool;
///
/// let pool = Pool::builder()
///     .threads(4)
///     .memory(64 << 20)
///     .keep_alive(Duration::from_secs(60))
///     .name("etl")
///     .build()?;
/// # Ok::<(), memopool::Error>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    /// `None`: as many as the machine runs at once, which takes a while to find out.
    width: Option<RangeInclusive<usize>>,
    max_os_threads: Option<usize>,
    keep_alive: Duration,
    queue: usize,
    stack_size: usize,
    name: String,
    memory: u64,
    disk: Option<Disk>,
    on_thread_start: Option<Box<dyn Fn() + Send + Sync>>,
    on_event: Option<Listener>,
    executor: Option<Box<dyn Executor>>,
    spawner: Option<Spawner>,
    clock: Arc<dyn Clock>,
    #[cfg(feature = "testing")]
    recorded: bool,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            width: None,
            max_os_threads: None,
            keep_alive: DEFAULT_KEEP_ALIVE,
            queue: DEFAULT_QUEUE,
            stack_size: DEFAULT_STACK_SIZE,
            name: "memopool".into(),
            memory: DEFAULT_MEMORY,
            disk: None,
            on_thread_start: None,
            on_event: None,
            executor: None,
            spawner: None,
            clock: Arc::new(SystemClock),
            #[cfg(feature = "testing")]
            recorded: false,
        }
    }

    /// How many workers run at once: `n` (up to n, started on demand, all retired when idle) or `min..=max` (`min` of
    /// them stay). Default: as many as the machine runs at once.
    ///
    /// Work that computes wants no more than the machine has; work that waits for networks or disks wants as many as
    /// there are useful requests at a time, say `2..=64`. Workers that wait for tasks are replaced and not counted here;
    /// [`max_os_threads`](Self::max_os_threads) bounds those.
    pub fn threads(mut self, width: impl Width) -> Self {
        self.width = Some(width.range());
        self
    }

    /// How many threads there may be in all, those that wait for nested tasks included. Default: the width +
    /// [`DEFAULT_EXTRA_THREADS`]. Fewer fail deep or wide nesting with [`is_full`](Error::is_full); more cost a stack
    /// each, of which only the touched pages take memory.
    pub fn max_os_threads(mut self, threads: usize) -> Self {
        self.max_os_threads = Some(threads);
        self
    }

    /// How long an idle worker stays before it retires. Default: [`DEFAULT_KEEP_ALIVE`]. Longer spares starting threads
    /// (some 20 µs each) after a pause; shorter gives their stacks back sooner.
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.keep_alive = time;
        self
    }

    /// How many tasks may be queued before `submit` waits and `try_submit` gives the call back. Default:
    /// [`DEFAULT_QUEUE`]. The pool's own tasks pass this bound, since nested work would deadlock. More lets a fast
    /// submitter run ahead, at some 780 bytes and its arguments a task (`cargo bench --bench memory`); less holds it back sooner.
    pub fn queue(mut self, tasks: usize) -> Self {
        self.queue = tasks;
        self
    }

    /// Bytes of stack of each worker. Default: [`DEFAULT_STACK_SIZE`], at least [`MIN_STACK_SIZE`].
    ///
    /// A worker that waits for a queued task runs it on top of its own stack, as long as that is less than half used:
    /// so every body, however deeply nested, has at least half of this. Beyond, the task is handed to another thread.
    /// More lets waits nest deeper on one thread; less costs less address space.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// The prefix of the workers' thread names: `name-1`, `name-2`, … Default: `memopool`.
    pub fn name(mut self, prefix: impl Into<String>) -> Self {
        self.name = prefix.into();
        self
    }

    /// How much is kept in memory: the sum of the weights of results, by default the bytes of their encoding and at
    /// least 64 each (see [`Func::weigh`](crate::Func::weigh)). Default: [`DEFAULT_MEMORY`]; 0 keeps nothing.
    ///
    /// The bound holds when an insertion returns; while threads insert at once, each may be one value above it. An entry
    /// costs some 220 bytes beside its value while less than half of the memory is used, and 620 when it is full (resident
    /// bytes, as measured by `cargo bench --bench memory`): `weights + 620 × entries` is what the process uses at most.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Keeps results in a directory, too, so that they outlive the process: a path, or a [`Disk`] with settings. Default:
    /// none, results live in memory.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("memopool-doc-builder-{}", std::process::id()));
    /// use memopool::{Disk, Pool};
    ///
    /// let pool = Pool::builder().disk(&dir).build()?;
    /// let small = Pool::builder().disk(Disk::new(&dir).max_bytes(1 << 20)).build()?;
    /// # drop((pool, small));
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn disk(mut self, disk: impl Into<Disk>) -> Self {
        self.disk = Some(disk.into());
        self
    }

    /// Called by each worker when it starts: to set a priority, a locale, a name in a profiler. A panic in
    /// it is caught and told ([`Event::HookPanicked`](crate::Event::HookPanicked)); the worker goes on without it.
    pub fn on_thread_start(mut self, f: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_thread_start = Some(Box::new(f));
        self
    }

    /// Called with everything that happens, in the thread where it happens: keep it short. Default: nobody is told, at
    /// no cost. A panic in it is caught.
    pub fn on_event(mut self, f: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(f));
        self
    }

    /// Runs the pool's jobs elsewhere: see [`Executor`]. The pool then starts no workers of its own, and `threads`,
    /// `max_os_threads`, `keep_alive`, `stack_size` and `on_thread_start` mean nothing.
    pub fn executor(mut self, executor: impl Executor + 'static) -> Self {
        self.executor = Some(Box::new(executor));
        self
    }

    /// Polls the bodies of async functions on a tokio runtime, so that they may use its timers and sockets. (Feature `tokio`.)
    /// Default: the pool's own threads, where a body may use anything that needs no runtime.
    ///
    /// Everything else stays with the pool: what is queued, looks at the disk, or is a plain function runs on its threads. The
    /// runtime must be there as long as the pool has work; what it drops when it ends fails with
    /// [`is_shutdown`](Error::is_shutdown).
    ///
    /// To end the pool is to wait, so don't call [`Pool::shutdown`] in async code on the runtime's only thread: what it waits for
    /// could not be polled. There the last handle is dropped without waiting, if work is left: that goes on, and is lost if the
    /// runtime ends before.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use memopool::{Func, Pool};
    ///
    /// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    /// let pool = Pool::builder().runtime(runtime.handle().clone()).build()?;
    /// let nap = Func::new_async("nap", async |ms: u64| {
    ///     tokio::time::sleep(Duration::from_millis(ms)).await;
    ///     ms
    /// });
    /// assert_eq!(*pool.run(nap.call(5))?, 5);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[cfg(feature = "tokio")]
    pub fn runtime(mut self, handle: tokio::runtime::Handle) -> Self {
        self.spawner = Some(Arc::new(move |future| drop(handle.spawn(future))));
        self
    }

    /// Where `ttl` takes the time from. Default: [`SystemClock`]. A panic in it is caught and told once
    /// ([`Event::HookPanicked`](crate::Event::HookPanicked)); the system's time is taken instead.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Answers from the cache alone: see [`Pool::recorded`] (feature `testing`). Default: what is missing is computed.
    ///
    /// The directory of [`disk`](Self::disk) is read once, by `build`, and never written to. Without one nothing is known at
    /// first; see [`Pool::set_recorded`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("memopool-doc-replay-{}", std::process::id()));
    /// # memopool::Pool::open(&dir)?;
    /// use memopool::{Disk, Func, Pool};
    ///
    /// let pool = Pool::builder().threads(2).disk(Disk::new(&dir)).recorded().build()?;
    /// let square = Func::new("square", |n: u64| n * n);
    /// assert!(pool.run(square.call(3)).unwrap_err().is_miss());
    /// # drop(pool);
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[cfg(feature = "testing")]
    pub fn recorded(mut self) -> Self {
        self.recorded = true;
        self
    }

    /// Checks the settings and makes the pool. No thread starts before the first task.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid), naming the setting and what would do; [`is_store`](Error::is_store) if the
    /// directory of [`disk`](Self::disk) can't be used or can't be trusted. With a disk it may wait, as [`Pool::open`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::Pool;
    /// let error = Pool::builder().threads(0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "threads(0..=0): a pool needs at least one thread");
    /// ```
    pub fn build(mut self) -> Result<Pool, Error> {
        let width = self.width.clone().unwrap_or_else(|| 0..=parallelism());
        let max_os_threads = self.check(&width)?;
        let recorded = self.play_back()?;
        let on_event = observe::listener(self.on_event);
        let disk = self.disk.map(|disk| Tier::open(disk, on_event.clone(), &self.name)).transpose()?;
        let runner = Runner::new(
            ids::unique(),
            Plan {
                width,
                max_os_threads,
                keep_alive: self.keep_alive.min(FOREVER),
                queue: self.queue,
                stack_size: self.stack_size,
                name: self.name,
                on_thread_start: self.on_thread_start,
                executor: self.executor,
                on_event: on_event.clone(),
                spawn,
            },
        );
        Ok(Pool::from_new(Engine::new(
            runner,
            self.memory,
            disk,
            self.clock,
            on_event,
            self.spawner,
            recorded,
        )))
    }

    /// The disk of a recorded pool is a copy from here on.
    fn play_back(&mut self) -> Result<Recorded, Error> {
        #[cfg(feature = "testing")]
        if self.recorded {
            let copy = self.disk.as_mut().map(crate::testing::Recording::of).transpose()?;
            return Ok(Recorded::from(copy));
        }
        Ok(Recorded::default())
    }

    /// The number of threads in all, if everything is as it should be.
    fn check(&self, width: &RangeInclusive<usize>) -> Result<usize, Error> {
        check_width(width)?;
        let width = *width.end();
        let max_os_threads = self.max_os_threads.unwrap_or(width.saturating_add(DEFAULT_EXTRA_THREADS));
        if max_os_threads < width {
            return Err(Error::invalid(format!(
                "max_os_threads({max_os_threads}) is less than the {width} of `threads`: it counts those, too"
            )));
        }
        if self.queue == 0 {
            return Err(Error::invalid("queue(0): no task could ever be queued; 1 is the least"));
        }
        if self.stack_size < MIN_STACK_SIZE {
            return Err(Error::invalid(format!(
                "stack_size({}): a worker needs at least {MIN_STACK_SIZE} bytes",
                self.stack_size
            )));
        }
        if let Some(disk) = &self.disk {
            disk.check()?;
        }
        if self.name.contains('\0') {
            return Err(Error::invalid("name: a thread's name can't contain a NUL"));
        }
        Ok(max_os_threads)
    }
}

/// What `threads` and `resize` accept.
pub(crate) fn check_width(width: &RangeInclusive<usize>) -> Result<(), Error> {
    if width.is_empty() {
        return Err(Error::invalid(format!(
            "threads({width:?}): the range is empty; put the smaller number first"
        )));
    }
    if *width.end() == 0 {
        return Err(Error::invalid(format!("threads({width:?}): a pool needs at least one thread")));
    }
    Ok(())
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("threads", &self.width)
            .field("memory", &self.memory)
            .field("disk", &self.disk)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
