//! What a run of the bench found: `target/report/report.json`, described in `docs/report.md`.

use serde::Serialize;

/// All of it. Times are nanoseconds where the name says `ns`.
#[derive(Serialize, Default)]
pub(crate) struct Results {
    pub(crate) schema: u32,
    pub(crate) kind: &'static str,
    pub(crate) quick: bool,
    pub(crate) seed: u64,
    pub(crate) place: Place,
    pub(crate) workloads: Vec<Measured>,
    pub(crate) hit_rate: Vec<Curve>,
    pub(crate) latency: Vec<Latency>,
    pub(crate) break_even: Vec<Pays>,
    pub(crate) scaling: Vec<Scaling>,
}

/// Where and when.
#[derive(Serialize, Default)]
pub(crate) struct Place {
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) threads: usize,
    pub(crate) system: String,
    pub(crate) toolchain: String,
    pub(crate) commit: String,
    pub(crate) memopool: String,
    /// Load averages before and after: above the number of threads, others were at work too.
    pub(crate) load: [String; 2],
}

/// One workload at one width.
#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) workload: String,
    pub(crate) what: String,
    pub(crate) threads: usize,
    pub(crate) calls: usize,
    pub(crate) distinct_runs: u64,
    pub(crate) states: Vec<Timed>,
}

/// One state of it.
#[derive(Serialize)]
pub(crate) struct Timed {
    pub(crate) state: &'static str,
    pub(crate) rounds: usize,
    /// Of a whole pass. `None`: it could not be measured; `why` says why.
    pub(crate) median_ns: Option<f64>,
    pub(crate) quartiles_ns: Option<[f64; 2]>,
    /// Bodies that ran in the last round.
    pub(crate) runs: Option<u64>,
    pub(crate) why: Option<String>,
}

impl Measured {
    pub(crate) fn median(&self, state: &str) -> Option<f64> {
        self.states.iter().find(|timed| timed.state == state)?.median_ns
    }

    /// How many times faster `fast` was than `slow`.
    pub(crate) fn ratio(&self, slow: &str, fast: &str) -> Option<f64> {
        Some(self.median(slow)? / self.median(fast)?)
    }
}

/// A named curve.
#[derive(Serialize, Clone)]
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// How long single calls took.
#[derive(Serialize)]
pub(crate) struct Latency {
    pub(crate) tier: String,
    pub(crate) calls: usize,
    pub(crate) p50_ns: f64,
    pub(crate) p90_ns: f64,
    pub(crate) p99_ns: f64,
    pub(crate) p999_ns: f64,
    /// Nanoseconds and the share in percent that took no longer.
    pub(crate) points: Vec<(f64, f64)>,
}

/// From which duration on a function gains by being remembered.
#[derive(Serialize)]
pub(crate) struct Pays {
    pub(crate) tier: String,
    pub(crate) result_bytes: usize,
    /// What a run costs beside its body, and what a hit costs.
    pub(crate) run_ns: f64,
    pub(crate) hit_ns: f64,
    /// Hits per stored result, and the body's duration in nanoseconds from which on it pays.
    pub(crate) points: Vec<(f64, f64)>,
}

/// How a cost grows.
#[derive(Serialize)]
pub(crate) struct Scaling {
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) curves: Vec<Curve>,
}
