//! What a pool did, as a page to show to others (feature `report`).
//!
//! [`Pool::report`] makes a [`Report`]: which functions saved how much time, how often each tier had the result, which
//! runs took longest and why they were needed, how large results are. It is data (`Serialize`), and it is a page:
//! [`html`](Report::html) is one file with charts that needs nothing else, [`markdown`](Report::markdown) the same as
//! text, [`json`](Report::json) the same for programs (its fields are described in `docs/report.md`).
//!
//! What it takes: a hit in memory pays nothing for it, since only runs and reads from disk write anything down (a few
//! counters each). About 2 KiB per function.
//!
//! ```
//! use memopool::{Pool, memo};
//!
//! #[memo]
//! fn primes(below: u64) -> u64 {
//!     (2..below).filter(|n| (2..*n).all(|d| n % d != 0)).count() as u64
//! }
//!
//! let pool = Pool::new();
//! for below in [1000, 2000, 1000, 2000, 1000] {
//!     pool.run(primes::call(below))?;
//! }
//! let report = pool.report();
//! assert!(report.functions[0].name.ends_with("primes")); // with its module before it
//! assert_eq!(report.functions[0].misses[0].to_string(), "2 × new");
//! assert!(report.markdown().contains("60 %"));
//! let dir = std::env::temp_dir().join(format!("memopool-doc-report-{}", std::process::id()));
//! report.write(&dir)?; // report.json, report.md, report.html
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! 1. `record` — what runs write down.
//! 2. `view` — the report as a page.
//! 3. `page` — a page as HTML or Markdown; knows nothing of pools.
//! 4. `machine` — where and when.

mod machine;
pub(crate) mod page;
pub(crate) mod record;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::Pool;
use crate::event::Stats;
use crate::sync::{now, parallelism};

/// What a pool did, from [`Pool::report`]. See the [module](self).
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The version of this structure as JSON: 1. Fields may be added without changing it.
    pub schema: u32,
    /// The page's heading: see [`titled`](Self::titled).
    pub title: String,
    /// The version of this crate.
    pub memopool: &'static str,
    /// When the report was made, in UTC, as RFC 3339 has it.
    pub date: String,
    /// Where.
    pub machine: Machine,
    /// For how long the pool has been there.
    #[serde(serialize_with = "seconds")]
    pub uptime: Duration,
    /// What the pool did in all.
    pub totals: Stats,
    /// Its functions, those that saved most time first.
    pub functions: Vec<Function>,
    /// The runs that took longest, the longest first; at most 20.
    pub slowest: Vec<SlowRun>,
    /// What had been done at certain times, in their order. At most 241 points, as closely as that allows; taken when a
    /// run ends or the disk is read, so a stretch of hits in memory alone has none.
    pub timeline: Vec<Sample>,
}

/// Where a report was made.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// The operating system.
    pub system: String,
    /// How many threads it runs at once.
    pub threads: usize,
}

/// What one function did. Functions of one name are one.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its share of the statistics.
    pub stats: Stats,
    /// Why its runs were needed, the most frequent reason first.
    pub misses: Vec<Miss>,
    /// How long its runs took, waits for nested tasks included; failed runs, too.
    pub runs: Distribution,
    /// How long it took to read and decode its results from disk.
    pub disk_reads: Distribution,
    /// How large its results are.
    pub results: Results,
    /// Other versions of its code whose results are on disk: why calls may be new that were computed before.
    pub other_versions: Vec<String>,
}

/// Why runs were needed.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Miss {
    /// What was known of the key: `new` if nothing was (never computed here, or too long ago to tell), else why its last
    /// result is not there, as in [`Explain`](crate::Explain).
    pub why: String,
    /// How often.
    pub count: u64,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.count, self.why)
    }
}

/// One of the slowest runs.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SlowRun {
    /// Its function's name.
    pub function: String,
    /// The first 8 hex digits of its key. Never its arguments.
    pub key: String,
    /// How long it took, waits for nested tasks included.
    #[serde(serialize_with = "seconds")]
    pub took: Duration,
    /// Why it was needed: see [`Miss::why`].
    pub why: String,
}

/// How large results are: their weight in memory (see [`Builder::memory`](crate::Builder::memory)), or their size on disk
/// where they are not kept in memory.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[non_exhaustive]
pub struct Results {
    /// How many were computed or read from disk, and kept.
    pub count: u64,
    /// Their bytes in all.
    pub bytes: u64,
    /// The bytes of the largest.
    pub largest: u64,
}

impl Results {
    /// The bytes of one on average; 0 if there was none.
    pub fn mean(&self) -> u64 {
        self.bytes.checked_div(self.count).unwrap_or(0)
    }
}

/// How often something took how long.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Distribution {
    /// In order of time; those without any are left out. Each is at most half as wide as it is far from zero.
    pub buckets: Vec<Bucket>,
}

/// What took about the same time.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Bucket {
    /// They took less than this, and no less than the bucket before.
    #[serde(serialize_with = "seconds")]
    pub below: Duration,
    /// How many.
    pub count: u64,
}

impl Distribution {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// What a share of them did not exceed: `quantile(0.5)` is the median, up to the width of a bucket. `None` if there
    /// was none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let wanted = (share.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.buckets.iter().find_map(|bucket| {
            seen += bucket.count;
            (seen >= wanted).then_some(bucket.below)
        })
    }
}

/// What had been done at a certain time.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Sample {
    /// Since the pool was made.
    #[serde(serialize_with = "seconds")]
    pub at: Duration,
    /// As in [`Stats::submitted`].
    pub submitted: u64,
    /// As in [`Stats::memory_hits`].
    pub memory_hits: u64,
    /// As in [`Stats::disk_hits`].
    pub disk_hits: u64,
    /// As in [`Stats::joined`].
    pub joined: u64,
    /// As in [`Stats::computed`].
    pub computed: u64,
    /// As in [`Stats::memory_bytes`].
    pub memory_bytes: u64,
}

impl Sample {
    fn of(at: Duration, stats: &Stats) -> Sample {
        let Stats { submitted, memory_hits, disk_hits, joined, computed, memory_bytes, .. } = *stats;
        Sample { at, submitted, memory_hits, disk_hits, joined, computed, memory_bytes }
    }
}

impl Report {
    /// With another heading.
    #[must_use]
    pub fn titled(mut self, title: impl Into<String>) -> Report {
        self.title = title.into();
        self
    }

    /// For programs: this structure as JSON, durations in seconds. Its fields are described in `docs/report.md`.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("names and figures can be written as JSON")
    }

    /// For a terminal or a pull request.
    pub fn markdown(&self) -> String {
        self.page().markdown()
    }

    /// For people: one file that needs nothing else, with charts, light or dark as the reader's system is.
    pub fn html(&self) -> String {
        self.page().html()
    }

    /// Writes `report.json`, `report.md` and `report.html` into a directory, which is made if need be.
    ///
    /// # Errors
    ///
    /// What the system says, with the file's path before it.
    pub fn write(&self, dir: impl AsRef<Path>) -> io::Result<()> {
        let dir = dir.as_ref();
        let named = |path: &Path, error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        fs::create_dir_all(dir).map_err(|error| named(dir, error))?;
        let files =
            [("report.json", self.json()), ("report.md", self.markdown()), ("report.html", self.html())];
        for (name, text) in files {
            let path = dir.join(name);
            fs::write(&path, text).map_err(|error| named(&path, error))?;
        }
        Ok(())
    }
}

impl Pool {
    /// What the pool has done so far, as a page and as data: see [`report`](crate::report). Takes the more time the more
    /// functions there are, some microseconds each; the pool goes on meanwhile.
    pub fn report(&self) -> Report {
        let engine = self.engine();
        let (at, totals) = (now(), engine.stats());
        let uptime = at.saturating_duration_since(engine.recorder.since);
        let mut timeline = engine.recorder.timeline();
        timeline.push(Sample::of(uptime, &totals));
        let mut functions = engine.functions();
        functions.sort_by_key(|function| std::cmp::Reverse(function.stats.saved_time));
        Report {
            schema: 1,
            title: "What the pool remembered".to_owned(),
            memopool: env!("CARGO_PKG_VERSION"),
            date: machine::date(engine.clock()),
            machine: Machine {
                processor: machine::processor(),
                system: machine::system(),
                threads: parallelism(),
            },
            uptime,
            totals,
            functions,
            slowest: engine.recorder.slowest(),
            timeline,
        }
    }
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
