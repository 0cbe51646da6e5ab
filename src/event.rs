//! What happened ([`Event`]) and how often ([`Stats`]).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::contain::contain;
use crate::error::Error;
use crate::ids::Striped;
use crate::memo::memory::not_negative;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Something that happened in a pool, as [`Builder::on_event`](crate::Builder::on_event) is told.
///
/// Names and figures only, never argument values. A function's name is that of [`Func::name`](crate::Func::name): for a
/// `#[memo]` function its path, unless `name` says otherwise.
///
/// # With `tracing`
///
/// With the feature `tracing` each event but `Evicted` is one of `tracing`'s, too, with the target `memopool`: hits and joins
/// at the level `TRACE`; what had to run (started, computed, failed, retried) at `DEBUG`; `StoreRecovered` at `INFO`; all
/// others, which say what is damaged, not kept, stuck or degraded, at `WARN`.
/// Each run has a span `run` at `DEBUG`, with the fields `function` and `key` (the first digits of its digest). It is a child
/// of the span in which the call was submitted, whichever thread runs it, and follows from those in which it was joined.
/// What an error or a panic of a function says is left out, since it may quote an argument.
///
/// # With `metrics`
///
/// With the feature `metrics` events are counted by the counters and histograms below; `Started`, `OtherBuild`,
/// `StoreRecovered` and `HookPanicked` are not. All have the label `function`, but for the last two counters. Install the
/// recorder before the pool is built: its meters are looked up once.
///
/// | counter | unit | counts |
/// |---|---|---|
/// | `memopool_memory_hits_total` | submissions | answered from memory |
/// | `memopool_disk_hits_total` | runs | spared by the disk |
/// | `memopool_joined_total` | submissions | that joined a run in flight |
/// | `memopool_computed_total` | runs | that ended in a value |
/// | `memopool_failed_total` | runs | that ended in an error |
/// | `memopool_panicked_total` | runs | that ended in a panic |
/// | `memopool_retried_total` | attempts | that failed and were made again |
/// | `memopool_stuck_total` | bodies | that ran beyond their timeout |
/// | `memopool_evicted_total` | values | that had to make room in memory |
/// | `memopool_not_stored_total` | values | that could not be kept |
/// | `memopool_corrupt_total` | entries | on disk that were not believed |
/// | `memopool_store_failed_total` | times | that the disk tier stopped working |
/// | `memopool_thread_failed_total` | threads | that the system did not give |
///
/// | histogram | unit | of |
/// |---|---|---|
/// | `memopool_run_seconds` | seconds | each run that ended in a value, waits for nested tasks included |
/// | `memopool_disk_hit_bytes` | bytes | each result read from disk, as encoded |
///
/// Spawned closures are runs of the function `a spawned closure`.
///
/// # Examples
///
/// ```
/// use memopool::{Event, Func, Pool};
///
/// let pool = Pool::builder()
///     .on_event(|event| {
///         if let Event::NotStored { function, reason } = event {
///             eprintln!("{function}: not kept, {reason}");
///         }
///     })
///     .build()?;
/// # let square = Func::new("square", |n: u64| n * n);
/// # pool.run(square.call(3))?;
/// # Ok::<(), memopool::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A submission was answered from memory.
    Hit {
        /// The function's name.
        function: &'a str,
    },
    /// A run was spared by the disk.
    DiskHit {
        /// The function's name.
        function: &'a str,
        /// The size of the result's encoding.
        bytes: u64,
    },
    /// A submission joined a run in flight.
    Joined {
        /// The function's name.
        function: &'a str,
    },
    /// A body starts.
    Started {
        /// The function's name.
        function: &'a str,
    },
    /// A run ended in a value.
    Computed {
        /// The function's name.
        function: &'a str,
        /// How long the run took, waits for nested tasks included.
        took: Duration,
    },
    /// A run ended in an error or a panic.
    Failed {
        /// The function's name.
        function: &'a str,
        /// What its tasks get.
        error: &'a Error,
    },
    /// An attempt failed and is made again.
    Retried {
        /// The function's name.
        function: &'a str,
        /// Which attempt failed, from 1.
        attempt: u32,
        /// How long the run rests before the next one.
        rest: Duration,
        /// Why.
        error: &'a (dyn std::error::Error + Send + Sync),
    },
    /// A body runs beyond its timeout: its tasks have their error, its thread is replaced until it returns, and
    /// [`cancelled()`](crate::cancelled) is true inside of it. Told after `Failed`.
    Stuck {
        /// The function's name.
        function: &'a str,
        /// Its timeout.
        timeout: Duration,
    },
    /// A value was not kept, though its function's results are.
    NotStored {
        /// The function's name.
        function: &'a str,
        /// Why, and what to do about it.
        reason: &'a str,
    },
    /// A kept value had to make room.
    Evicted {
        /// The function's name.
        function: &'a str,
        /// Its weight in bytes.
        weight: u64,
    },
    /// An entry on disk was not believed; its call is computed again.
    Corrupt {
        /// The function's name.
        function: &'a str,
        /// What was wrong.
        reason: &'a str,
    },
    /// An entry on disk is sound, but this build can't read it: it was stored by a build with another feature, or by a later
    /// version of this crate. Its call is computed again, and stored so that both builds can read it. Told once in the
    /// life of a pool for each thing that is needed, and not counted: the entry is a miss like others.
    OtherBuild {
        /// The function's name.
        function: &'a str,
        /// What this build lacks.
        needs: &'static str,
    },
    /// The disk tier has stopped working; calls are computed, and kept in memory. Told once until it recovers.
    StoreFailed {
        /// What went wrong, with the operation and the file.
        reason: &'a str,
    },
    /// The disk tier works again.
    StoreRecovered,
    /// The system gave no thread; the pool goes on with those it has.
    ThreadFailed {
        /// What the system said.
        error: &'a std::io::Error,
    },
    /// [`on_thread_start`](crate::Builder::on_thread_start) panicked, and the worker goes on without it; or the
    /// [`clock`](crate::Builder::clock) did, in whose place the system's is taken: told the first time.
    HookPanicked {
        /// What the panic said; behind `the clock: `, if it was the clock's.
        message: &'a str,
    },
}

/// Who is told.
pub(crate) type Listener = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// Tells the listener. Its panics stay its own.
pub(crate) fn tell(listener: Option<&Listener>, event: &Event<'_>) {
    if let Some(listener) = listener {
        let _ = contain(|| listener(event));
    }
}

/// What a pool has done so far, or one function in it.
///
/// # Examples
///
/// ```
/// use memopool::{Func, Pool};
///
/// let pool = Pool::new();
/// let square = Func::new("square", |n: u64| n * n);
/// for n in [1, 2, 1, 1] {
///     pool.run(square.call(n))?;
/// }
/// let stats = pool.stats();
/// assert_eq!((stats.submitted, stats.computed, stats.memory_hits), (4, 2, 2));
/// assert_eq!(stats.hit_rate(), 0.5);
/// println!("{stats}");
/// # Ok::<(), memopool::Error>(())
/// ```
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Calls submitted: by `submit`, `run`, `map`, nested ones too; not `get`, not `spawn`.
    pub submitted: u64,
    /// Submissions answered from memory.
    pub memory_hits: u64,
    /// Submissions answered from disk.
    pub disk_hits: u64,
    /// Submissions that joined a run in flight.
    pub joined: u64,
    /// Runs that ended in a value.
    pub computed: u64,
    /// Runs that ended in an error of their function, or over their timeout.
    pub failed: u64,
    /// Runs that ended in a panic.
    pub panicked: u64,
    /// Handles that were cancelled.
    pub cancelled: u64,
    /// Attempts that failed and were made again.
    pub retried: u64,
    /// Values that had to make room in memory.
    pub evicted: u64,
    /// Results written to disk, computed or inserted: with [`Spill::OnInsert`](crate::Spill::OnInsert) when they are kept, with
    /// [`Spill::OnEvict`](crate::Spill::OnEvict) when they leave the memory.
    pub spilled: u64,
    /// Entries on disk that were not believed.
    pub corrupt: u64,
    /// Failures of the store.
    pub store_errors: u64,
    /// Bytes kept in memory now, as weighed (see [`Builder::memory`](crate::Builder::memory)).
    pub memory_bytes: u64,
    /// Bytes on disk now.
    pub disk_bytes: u64,
    /// Values kept in memory now.
    pub entries: u64,
    /// Time spent in runs that ended in a value (waits for nested tasks included). Serialized in seconds.
    #[serde(serialize_with = "as_seconds")]
    pub compute_time: Duration,
    /// What hits and joins would have taken, going by the runs they were spared. Like `compute_time` it counts a nested
    /// run in each run that waited for it: time waited for, not processor time. Hits on results that were
    /// [inserted](crate::Pool::insert) count nothing. Serialized in seconds.
    #[serde(serialize_with = "as_seconds")]
    pub saved_time: Duration,
    /// Worker threads alive now, blocked ones included. Zero in the stats of one function.
    pub threads: u64,
    /// Tasks that wait for a thread now. Zero in the stats of one function.
    pub queued: u64,
    /// Bodies that run now. Zero in the stats of one function.
    pub running: u64,
    /// Those of them that run beyond their [`timeout`](crate::Func::timeout) now. Their threads are replaced as long as
    /// there are fewer than [`max_os_threads`](crate::Builder::max_os_threads). Zero in the stats of one function.
    pub stuck: u64,
}

impl Stats {
    /// The share of submissions that needed no run of their own: (hits + joined) / submitted; 0 before the first.
    pub fn hit_rate(&self) -> f64 {
        if self.submitted == 0 {
            return 0.0;
        }
        (self.memory_hits + self.disk_hits + self.joined) as f64 / self.submitted as f64
    }

    /// What has happened since `earlier`: counts and times are subtracted, what is measured *now* stays as it is.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let pool = Pool::new();
    /// let square = Func::new("square", |n: u64| n * n);
    /// pool.run(square.call(3))?;
    /// let cold = pool.stats();
    /// pool.run(square.call(3))?;
    /// let warm = pool.stats().since(&cold);
    /// assert_eq!((warm.submitted, warm.hit_rate()), (1, 1.0));
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Stats) -> Stats {
        Stats {
            submitted: self.submitted.saturating_sub(earlier.submitted),
            memory_hits: self.memory_hits.saturating_sub(earlier.memory_hits),
            disk_hits: self.disk_hits.saturating_sub(earlier.disk_hits),
            joined: self.joined.saturating_sub(earlier.joined),
            computed: self.computed.saturating_sub(earlier.computed),
            failed: self.failed.saturating_sub(earlier.failed),
            panicked: self.panicked.saturating_sub(earlier.panicked),
            cancelled: self.cancelled.saturating_sub(earlier.cancelled),
            retried: self.retried.saturating_sub(earlier.retried),
            evicted: self.evicted.saturating_sub(earlier.evicted),
            spilled: self.spilled.saturating_sub(earlier.spilled),
            corrupt: self.corrupt.saturating_sub(earlier.corrupt),
            store_errors: self.store_errors.saturating_sub(earlier.store_errors),
            compute_time: self.compute_time.saturating_sub(earlier.compute_time),
            saved_time: self.saved_time.saturating_sub(earlier.saved_time),
            ..self.clone()
        }
    }

    fn add(&mut self, other: &Stats) {
        self.submitted += other.submitted;
        self.memory_hits += other.memory_hits;
        self.disk_hits += other.disk_hits;
        self.joined += other.joined;
        self.computed += other.computed;
        self.failed += other.failed;
        self.panicked += other.panicked;
        self.cancelled += other.cancelled;
        self.retried += other.retried;
        self.spilled += other.spilled;
        self.corrupt += other.corrupt;
        self.evicted += other.evicted;
        self.memory_bytes += other.memory_bytes;
        self.entries += other.entries;
        self.compute_time += other.compute_time;
        self.saved_time += other.saved_time;
    }

    /// The sum of what its functions did.
    pub(crate) fn sum<'a>(parts: impl IntoIterator<Item = &'a Stats>) -> Stats {
        let mut sum = Stats::default();
        for part in parts {
            sum.add(part);
        }
        sum
    }

    /// Parts by name; those with one name are added up.
    pub(crate) fn by_name(parts: impl IntoIterator<Item = (String, Stats)>) -> BTreeMap<String, Stats> {
        let mut named: BTreeMap<String, Stats> = BTreeMap::new();
        for (name, part) in parts {
            named.entry(name).or_default().add(&part);
        }
        named
    }
}

impl fmt::Display for Stats {
    /// An aligned table, one figure a line; what never happened is left out where its absence says as much.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: String| writeln!(f, "{name:<14}{value:>14}");
        line("submitted", self.submitted.to_string())?;
        line("memory hits", self.memory_hits.to_string())?;
        for (name, count) in [("disk hits", self.disk_hits), ("joined", self.joined)] {
            if count > 0 {
                line(name, count.to_string())?;
            }
        }
        line("computed", self.computed.to_string())?;
        for (name, count) in [
            ("failed", self.failed),
            ("panicked", self.panicked),
            ("cancelled", self.cancelled),
            ("retried", self.retried),
            ("evicted", self.evicted),
            ("spilled", self.spilled),
            ("corrupt", self.corrupt),
            ("store errors", self.store_errors),
        ] {
            if count > 0 {
                line(name, count.to_string())?;
            }
        }
        line("hit rate", format!("{:.1} %", self.hit_rate() * 100.0))?;
        line("entries", self.entries.to_string())?;
        line("memory", bytes(self.memory_bytes))?;
        if self.disk_bytes > 0 {
            line("disk", bytes(self.disk_bytes))?;
        }
        line("compute time", seconds(self.compute_time))?;
        line("saved time", seconds(self.saved_time))?;
        if self.stuck > 0 {
            line("stuck", self.stuck.to_string())?;
        }
        write!(f, "{:<14}{:>14}", "threads", self.threads)
    }
}

fn as_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

fn bytes(n: u64) -> String {
    match n {
        0..10_240 => format!("{n} B"),
        10_240..10_485_760 => format!("{:.1} KiB", n as f64 / 1024.0),
        _ => format!("{:.1} MiB", n as f64 / 1_048_576.0),
    }
}

fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.01 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.1} µs", s * 1e6),
    }
}

/// What one function did in one pool. Counts of the hot path are striped over threads, so that two threads with hits do
/// not write one cache line.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) name: &'static str,
    /// How many, and the nanoseconds that they saved.
    hits: Striped,
    pub(crate) led: AtomicU64,
    pub(crate) joined: AtomicU64,
    pub(crate) computed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) panicked: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) disk_hits: AtomicU64,
    pub(crate) disk_nanos: AtomicU64,
    pub(crate) spilled: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) evicted: AtomicU64,
    /// Both may be below zero for a moment: what is taken out of its slot at once may not be counted yet.
    pub(crate) entries: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) compute_nanos: AtomicU64,
    pub(crate) joined_nanos: AtomicU64,
    /// A result of this function came back from its encoding once.
    pub(crate) checked: AtomicBool,
    /// The disk was told that this version of the function is in use.
    pub(crate) announced: AtomicBool,
    /// One did not: none is written to disk.
    pub(crate) unstorable: AtomicBool,
    /// One was too large for the disk; told once.
    pub(crate) oversized: AtomicBool,
    #[cfg(feature = "report")]
    pub(crate) record: crate::report::record::Record,
}

impl Tally {
    pub(crate) fn new(name: &'static str) -> Tally {
        Tally { name, ..Tally::default() }
    }

    /// A hit that spared `nanos` of computing.
    #[inline]
    pub(crate) fn hit(&self, nanos: u64) {
        self.hits.add(nanos);
    }

    pub(crate) fn stats(&self) -> Stats {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (memory_hits, saved) = self.hits.sums();
        let joined = get(&self.joined);
        Stats {
            submitted: memory_hits + joined + get(&self.led),
            memory_hits,
            joined,
            computed: get(&self.computed),
            failed: get(&self.failed),
            panicked: get(&self.panicked),
            cancelled: get(&self.cancelled),
            retried: get(&self.retried),
            disk_hits: get(&self.disk_hits),
            spilled: get(&self.spilled),
            corrupt: get(&self.corrupt),
            evicted: get(&self.evicted),
            memory_bytes: not_negative(get(&self.bytes)),
            entries: not_negative(get(&self.entries)),
            compute_time: Duration::from_nanos(get(&self.compute_nanos)),
            saved_time: [saved, get(&self.joined_nanos), get(&self.disk_nanos)]
                .map(Duration::from_nanos)
                .iter()
                .sum(),
            ..Stats::default()
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Adds one, relaxed: counts order nothing.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
