//! **A thread pool with a memory**: identical calls share one run and one stored result.
//!
//! ```
//! use memopool::{Pool, memo};
//!
//! #[memo]
//! fn word_count(text: &str) -> usize {
//!     text.split_whitespace().count()
//! }
//!
//! let pool = Pool::new();
//! let task = pool.submit(word_count::call("to be or not to be"));
//! assert_eq!(*task.wait()?, 6);
//! # Ok::<(), memopool::Error>(())
//! ```
//!
//! # From the top
//!
//! - A [`Func`] is a function with an identity: a name, its types, and its code. [`memo`] makes one from a plain `fn`, and
//!   digests its code; [`Func::new`] from a closure that captures nothing, for whose code a [`version`](Func::version) stands.
//! - A [`Call`] is a function bound to its arguments. Together they have a [`Key`]. Arguments need `Serialize`, results
//!   `Serialize + DeserializeOwned + Send + Sync` ([`memo`] has the whole list); they come as `Arc`.
//! - A [`Pool`] takes calls. What it has computed, or [was given](Pool::insert), it remembers; what is in flight is joined; the rest runs on its threads. A
//!   direct call of the function is a plain call, which nobody remembers.
//! - A [`Task`] is the handle of one submission, for threads ([`Task::wait`]) and for futures (`.await`) alike.
//!
//! ```text
//!  call ──▶ key ──▶ slot table ──┬─ done ────▶ hit: finished task
//!                                ├─ running ─▶ joined: shares the run
//!                                └─ nothing ─▶ queue ─▶ worker ─▶ kept ─▶ everyone who waits
//! ```
//!
//! # What it promises
//!
//! 1. **One run.** For one key at most one computation is in flight, in all processes that share a directory. Everyone who
//!    submitted it gets the same value, the same error, or the same panic. Errors and panics are not kept: the next submission
//!    runs again. (Exceptions: [`refresh`](Call::refresh), [`forget`](Pool::forget) and [`insert`](Pool::insert) end a key's run, and so
//!    does giving it up; it may still be on its way when the next one starts. Between processes: [`single_flight(false)`](Disk::single_flight);
//!    functions whose results stay in memory; and two processes that seem to wait for each other, of which one computes for
//!    itself after a tenth of a second.)
//! 2. **The pool owns the work.** Dropping a task, or a wait that times out, neither stops nor restarts it.
//! 3. **No wait can hang.** A worker that waits for a queued task runs it itself, while its stack has room; one that waits
//!    for a running task is replaced. A wait that would close a cycle fails, naming the calls in order.
//! 4. **The right value or a miss.** The key covers the function's name, its types, its arguments, and its code: of a
//!    `#[memo]` function the digest of its own text, of others the `version`. A function that captures does not compile.
//!    `forget` during a run wins over its late result. An entry on disk is believed only if its key, its place, its checksum
//!    and the shape of its type fit. (What the key does not see: code that the function calls, for which `deps(…)` and
//!    `version` are; what `Serialize` leaves out, such as `#[serde(skip)]`; what you leave out, by `ignore` or as a
//!    `resource`; what the function reads elsewhere, a file or a clock; and whether it would give what you
//!    [insert](Pool::insert), which is believed.)
//! 5. **Trouble with the cache never fails a task.** A full disk or a damaged file is an [`Event`] and a miss.
//! 6. **What is finished is kept**, with [`Pool::open`]: written behind, within milliseconds as long as the disk keeps up, and
//!    found by other processes, now and later. A process that is killed loses what waits to be written, which
//!    [`Disk::backlog`] bounds and [`Pool::flush`] makes nothing.
//! 7. **Everything is bounded**: memory, disk, queue, threads, look-ahead of [`Pool::map`]. Each default is a named constant.
//!
//! # Recipes, from `concurrent.futures`
//!
//! | there | here |
//! |---|---|
//! | `executor.submit(f, x)` | [`pool.submit(f::call(x))`](Pool::submit), or [`pool.spawn(move \|\| …)`](Pool::spawn), not remembered |
//! | `future.result(timeout)` | [`task.wait()`](Task::wait), [`task.wait_timeout(d)`](Task::wait_timeout) |
//! | `executor.map(f, xs)` | [`pool.map(xs.map(\|x\| f::call(x)))`](Pool::map): lazy, a bounded number ahead |
//! | `as_completed(fs, timeout)` | [`as_completed(tasks).timeout(d)`](as_completed) |
//! | `wait(fs, FIRST_COMPLETED)` | [`wait(&tasks, Until::First, None)`](wait()) |
//! | `future.add_done_callback` | [`task.on_done(…)`](Task::on_done) |
//! | `future.cancel()` | [`task.cancel()`](Task::cancel): also of a running task, if it asks [`cancelled()`] |
//! | `functools.partial` | a [`Call`]; `.state(…)` and `.resource(…)` of [`Func::named`] |
//! | `with ThreadPoolExecutor()` | leaving the scope of a [`Pool`] |
//! | `async def`, `asyncio.gather` | [`#[memo] async fn`](memo), [`Func::new_async`]: one run for all, and no thread while it waits |
//! | `@functools.cache`, joblib | [`#[memo]`](memo) |
//!
//! # More to read
//!
//! In the repository, and in the package as it is published:
//!
//! | page | what it says |
//! |---|---|
//! | `docs/from-concurrent-futures.md` | Python's names beside ours: the whole table, with what differs |
//! | `docs/from-caches.md` | the same for joblib, diskcache, `cached`, moka and rayon |
//! | `docs/testing.md` | how to test what runs on a pool |
//! | `docs/report.md` | what a pool saved, as a page, and as JSON field by field |
//! | `docs/compare.md` | the same workloads through other crates and Python |
//! | `docs/performance.md` | what each path costs, and where its instructions go |
//! | `docs/format.md`, `SECURITY.md` | the cache directory byte by byte; who is trusted with it |
//! | `ARCHITECTURE.md` | how it works inside |
//! | `examples/` | a screenful, ten patterns of `concurrent.futures`, a pipeline over real files, a crawler |
//!
//! # What nesting costs
//!
//! A worker that waits for a queued task runs it on top of its own stack while that is less than half used. With the
//! default of 2 MiB that is some 430 levels (140 in a debug build) for bodies with small frames; then the task is handed to
//! another thread, up to [`Builder::max_os_threads`]. Threads of an [`Executor`] help within 512 KiB. So depth is bounded
//! by threads × stack, and what lies beyond is an error ([`Error::is_full`]), never an overflow.
//!
//! # How many threads, and how many at a time
//!
//! | work that | wants | since |
//! |---|---|---|
//! | computes | `threads(n)`, n as many as the machine runs at once (the default) | more only take turns |
//! | waits for networks, disks, subprocesses | `threads(2..=64)`: two stay, up to 64 as the queue grows | a waiting body costs a stack, not a core |
//! | waits for what is async itself | an async function: [`Func::new_async`], `#[memo] async fn` | a pending body holds no thread at all |
//! | must not be done too often at once | [`Func::limit`] with a [`Limit`] | whoever waits for its turn holds no thread |
//!
//! Bodies that wait for other tasks, or for room in another pool's queue, are replaced and don't count; wrap other waits (a
//! lock, a subprocess) in [`block_in_place`], and they are, too. [`Builder::max_os_threads`] bounds them all. A body lends its
//! slot of a limit while it waits for a task, so that functions of one limit may call each other, however few its slots.
//!
//! A body that runs beyond its [`timeout`](Func::timeout) can't be killed: it sees [`cancelled()`], its tasks have their error,
//! and its thread is replaced until it returns ([`Stats::stuck`]).
//!
//! # With rayon
//!
//! Bodies may use rayon. If threads of rayon's ask for results, too, turn on the feature `rayon`. Without the feature, a thread of
//! rayon's that waits simply sleeps, and two things can hang (rayon-rs/rayon#592): all of rayon's threads wait for bodies that
//! need them; or rayon puts a caller on top of a piece of the very body that it asks for. With it, such a thread runs what else
//! rayon has to do; and once one has asked a pool for something, that pool's bodies run in rayon pools of its own, one for each
//! body that runs at the same time, where no caller is ever queued. Such a body costs some microseconds more; `par_iter` in it
//! has up to as many threads as there are cores, with the pool's stack size and its `on_thread_start`.
//!
//! # What it costs to keep a result
//!
//! In memory: see [`Builder::memory`] for the formula. On disk: its encoding and 128 bytes, rounded up to 8, and 32 to 171
//! bytes of the index, which is mapped (it is made four times larger when it is three quarters full).
//!
//! # What the disk tier needs
//!
//! A local file system with working locks and shared maps; network file systems are refused. The directory must belong to
//! the user and be writable by nobody else ([`Disk::shared_with_group`] widens that). Nothing else: no service, no
//! clean-up, no `close`. After [`Pool::forget`], [`refresh`](Call::refresh) or [`Pool::insert`] other processes may serve the
//! older value from their memory until they next look at the disk. On Windows the directory's permissions are those it inherits.
//!
//! # Features
//!
//! | feature | default | effect | cost |
//! |---|---|---|---|
//! | `stream` | no | `AsCompleted::into_stream`, `Map::into_stream`: the same for async code | futures-core |
//! | `progress` | no | `Map::progress`, `AsCompleted::progress`: a bar on the terminal in one call | indicatif |
//! | `lz4` | no | `Compress::Lz4`: results on disk made smaller, fast | lz4_flex |
//! | `zstd` | no | `Compress::Zstd`: results on disk made smaller still | zstd, a C compiler |
//! | `report` | no | `Pool::report`: what the pool saved, as a page with charts and as JSON | serde_json |
//! | `rayon` | no | `executor::Rayon`: jobs on a rayon pool; threads of rayon's that wait keep rayon going | rayon-core |
//! | `tokio` | no | `Builder::runtime`: a runtime polls async bodies, which may use its timers and sockets; `executor::Tokio`: jobs on its blocking threads | tokio (`rt`) |
//! | `tracing` | no | events, and a span for each run, as its submitter's child: see [`Event`] | tracing; 5 % on a hit while nobody listens |
//! | `metrics` | no | counters and histograms by function: see [`Event`] | metrics; two thirds on a hit |
//! | `testing` | no | `testing`: `ManualClock`, `Inline`, `Stepper`, `Faults`, `runs()`, `Pool::recorded` for tests of your own pipelines | no dependency |
//!
//! # Supported Rust
//!
//! The `rust-version` in `Cargo.toml`. Raising it is a minor release.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub(crate) mod call;
mod config;
mod contain;
mod error;
mod event;
mod flight;
mod ids;
mod memo;
mod observe;
mod pool;
#[cfg(feature = "report")]
pub mod report;
mod run;
mod sync;
mod task;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
#[path = "../tests/common/watchdog.rs"]
mod watchdog;

pub use memopool_macros::memo;

pub use call::func::Func;
pub use call::key::{Key, ParseKeyError};
pub use call::named::Named;
pub use call::retry::{Backoff, DEFAULT_MAX_BACKOFF};
pub use call::{BoxedArgs, Call, Explain};
pub use config::disk::{
    COMPRESS_ABOVE, Compress, DEFAULT_BACKLOG, DEFAULT_DISK, Disk, MIN_DISK, Spill, Sync,
};
pub use config::{
    Builder, Clock, DEFAULT_EXTRA_THREADS, DEFAULT_KEEP_ALIVE, DEFAULT_MEMORY, DEFAULT_QUEUE,
    DEFAULT_STACK_SIZE, MIN_STACK_SIZE, MIN_WEIGHT, SystemClock, Width,
};
pub use error::Error;
pub use event::{Event, Stats};
pub use pool::{Pool, block_in_place, cancelled};
pub use run::limit::Limit;
pub use run::{Executor, Job};
#[cfg(feature = "stream")]
pub use task::map::stream::MapStream;
pub use task::map::{DEFAULT_WINDOW, Map};
#[cfg(feature = "progress")]
pub use task::progress::Progress;
#[cfg(feature = "stream")]
pub use task::wait::stream::AsCompletedStream;
pub use task::wait::{AsCompleted, Until, Waited, as_completed, wait};
pub use task::{Source, Task, TaskId};

/// Threads that somebody else owns, as [`Executor`]s.
#[cfg(any(feature = "rayon", feature = "tokio"))]
pub mod executor {
    #[cfg(feature = "rayon")]
    pub use crate::run::executors::Rayon;
    #[cfg(feature = "tokio")]
    pub use crate::run::executors::Tokio;
}

/// Wrappers that change how an argument is keyed.
pub mod key {
    pub use crate::call::key::{Hashed, Unordered};
}

/// What `#[memo]` expands to. No stable API: use the macro.
#[doc(hidden)]
pub mod __private {
    pub use crate::call::generated::{Fallible, Memo, Memoized, lend};
    pub use crate::call::identity::{Code, Deps};
    pub use crate::call::key::{EncodeError, Encoder};
}

/// The README's code, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The code of the page for those who come from Python.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-concurrent-futures.md")]
struct FromConcurrentFutures;

/// The code of the page for those who come from caches.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-caches.md")]
struct FromCaches;

/// The code of the page about reports.
#[cfg(doctest)]
#[doc = include_str!("../docs/report.md")]
struct ReportPage;

/// The code of the page on testing.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../docs/testing.md")]
struct Testing;
