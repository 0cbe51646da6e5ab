//! What a pool writes down for its report, beyond its statistics.
//!
//! Only runs write here: a call that is answered from memory touches none of it. Of a run, one counter for why it was
//! needed, one for how long it took, and two for the size of its result; a lock is taken only by a run that is among the
//! slowest so far, and by one in each interval of the timeline.

use std::fmt;
use std::time::{Duration, Instant};

use super::{Bucket, Distribution, Miss, Results, Sample, SlowRun};
use crate::event::Stats;
use crate::memo::history::Fate;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, OnceLock, now};

/// How many of the slowest runs are remembered.
const SLOWEST: usize = 20;

/// How many points the timeline has at most. When it is full, every other one goes, and the interval doubles.
const POINTS: usize = 240;

/// The interval of the timeline to begin with.
const INTERVAL: Duration = Duration::from_millis(5);

/// Two buckets per power of two: from 1 ns to ten hours.
const BUCKETS: usize = 90;

/// Why a run was needed, by the last that was known of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Why(u8);

/// By [`Why`]: 0 for a key that nothing was known of, else the fate.
const WHY: [&str; 17] = [
    "new",
    "evicted",
    "expired",
    "forgotten",
    "last run failed",
    "last run panicked",
    "last run timed out",
    "last run given up",
    "not worth keeping (cost_above)",
    "too large for the memory",
    "not encodable",
    "damaged on disk",
    "result type changed",
    "refreshed",
    "packed with lz4 on disk",
    "packed with zstd on disk",
    "stored by a later version",
];

impl Why {
    pub(crate) fn of(fate: Option<Fate>) -> Why {
        let why = fate.map_or(0, |fate| fate as u8);
        Why(if usize::from(why) < WHY.len() { why } else { 0 })
    }

    pub(crate) fn text(self) -> &'static str {
        WHY[usize::from(self.0)]
    }
}

/// Of one function.
#[derive(Default)]
pub(crate) struct Record {
    why: [AtomicU64; WHY.len()],
    runs: Histogram,
    disk_reads: Histogram,
    results: AtomicU64,
    result_bytes: AtomicU64,
    largest: AtomicU64,
    /// What all versions of the function share, and the digest of this one: to ask the disk for the others.
    version: OnceLock<(u64, [u8; 32])>,
}

impl Record {
    /// A run was needed, and has ended.
    pub(crate) fn ran(&self, why: Why, took: Duration) {
        self.why[usize::from(why.0)].fetch_add(1, Ordering::Relaxed);
        self.runs.add(took);
    }

    /// The disk had it.
    pub(crate) fn read(&self, took: Duration) {
        self.disk_reads.add(took);
    }

    /// A result's weight in memory, or its size on disk.
    pub(crate) fn sized(&self, bytes: u64) {
        self.results.fetch_add(1, Ordering::Relaxed);
        self.result_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.largest.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Which version of its function this is; asked for only the first time.
    pub(crate) fn is_version(&self, version: impl FnOnce() -> (u64, [u8; 32])) {
        self.version.get_or_init(version);
    }

    pub(crate) fn version(&self) -> Option<(u64, [u8; 32])> {
        self.version.get().copied()
    }

    /// Adds what was written down here to `to`.
    pub(crate) fn add_to(&self, to: &mut super::Function) {
        for (count, why) in self.why.iter().zip(WHY) {
            let count = count.load(Ordering::Relaxed);
            match to.misses.iter_mut().find(|miss| miss.why == why) {
                _ if count == 0 => {}
                Some(miss) => miss.count += count,
                None => to.misses.push(Miss { why: why.to_owned(), count }),
            }
        }
        to.misses.sort_by_key(|miss| std::cmp::Reverse(miss.count));
        self.runs.add_to(&mut to.runs);
        self.disk_reads.add_to(&mut to.disk_reads);
        let Results { count, bytes, largest } = &mut to.results;
        *count += self.results.load(Ordering::Relaxed);
        *bytes += self.result_bytes.load(Ordering::Relaxed);
        *largest = (*largest).max(self.largest.load(Ordering::Relaxed));
    }
}

/// How often something took how long.
struct Histogram([AtomicU64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Histogram([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl Histogram {
    fn add(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let power = nanos.ilog2() as usize;
        // The upper half of a power of two starts at one and a half of it.
        let half = if power > 0 { (nanos >> (power - 1) & 1) as usize } else { 0 };
        self.0[(2 * power + half).min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    fn add_to(&self, to: &mut Distribution) {
        for (n, count) in self.0.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count == 0 {
                continue;
            }
            let power = 1u64 << (n / 2);
            let below = Duration::from_nanos(if n % 2 == 0 { power + power.div_ceil(2) } else { 2 * power });
            match to.buckets.binary_search_by_key(&below, |bucket| bucket.below) {
                Ok(at) => to.buckets[at].count += count,
                Err(at) => to.buckets.insert(at, Bucket { below, count }),
            }
        }
    }
}

/// Of one pool.
pub(crate) struct Recorder {
    pub(crate) since: Instant,
    /// What a run must exceed to be among the slowest, in nanoseconds.
    bar: AtomicU64,
    slowest: Mutex<Vec<SlowRun>>,
    /// When the next point of the timeline is due, in nanoseconds from `since`.
    due: AtomicU64,
    timeline: Mutex<Timeline>,
}

struct Timeline {
    points: Vec<Sample>,
    interval: Duration,
}

impl Recorder {
    pub(crate) fn new() -> Recorder {
        Recorder {
            since: now(),
            bar: AtomicU64::new(0),
            slowest: Mutex::default(),
            due: AtomicU64::new(0),
            timeline: Mutex::new(Timeline { points: Vec::new(), interval: INTERVAL }),
        }
    }

    /// Remembers a run if it is among the slowest; only then is `run` made.
    pub(crate) fn slow(&self, took: Duration, run: impl FnOnce() -> SlowRun) {
        if nanos(took) <= self.bar.load(Ordering::Relaxed) {
            return;
        }
        let run = run();
        let mut slowest = self.slowest.lock();
        let at = slowest.partition_point(|other| other.took >= run.took);
        slowest.insert(at, run);
        let beaten = if slowest.len() > SLOWEST { slowest.pop() } else { None };
        if slowest.len() == SLOWEST {
            let last = slowest.last().map_or(0, |run| nanos(run.took));
            self.bar.store(last, Ordering::Relaxed);
        }
        drop(slowest);
        drop(beaten);
    }

    /// Adds a point to the timeline if one is due; only then are the statistics added up.
    pub(crate) fn sample(&self, at: Instant, stats: impl FnOnce() -> Stats) {
        let at = at.saturating_duration_since(self.since);
        let due = self.due.load(Ordering::Relaxed);
        // Whoever moves it takes the point.
        if nanos(at) < due
            || self.due.compare_exchange(due, u64::MAX, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let sample = Sample::of(at, &stats());
        let mut timeline = self.timeline.lock();
        timeline.points.push(sample);
        if timeline.points.len() >= POINTS {
            let mut nth = 0;
            timeline.points.retain(|_| {
                nth += 1;
                nth % 2 == 0
            });
            timeline.interval *= 2;
        }
        let next = nanos(at + timeline.interval);
        drop(timeline);
        self.due.store(next, Ordering::Relaxed);
    }

    pub(crate) fn slowest(&self) -> Vec<SlowRun> {
        self.slowest.lock().clone()
    }

    pub(crate) fn timeline(&self) -> Vec<Sample> {
        self.timeline.lock().points.clone()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").finish_non_exhaustive()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}
