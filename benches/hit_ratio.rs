//! The hit ratio of a bounded pool, beside moka used directly on the same trace, with and without its weigher.
//!
//! `cargo bench --bench hit_ratio`. A trace of a million requests for 100 000 keys, drawn by Zipf's law with exponent 0.9;
//! the second one interrupts it with scans of keys that nobody asks for again. Ratios, not times: nothing here depends on
//! the machine.
#![expect(clippy::print_stdout, reason = "a bench reports on its standard output")]

use memopool::{Executor, Func, Job, MIN_WEIGHT, Pool};

const KEYS: u64 = 100_000;

/// Runs each job where it is submitted: the trace is one thread's.
struct Here;

impl Executor for Here {
    fn execute(&self, job: Job) {
        job.run();
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Requests drawn by Zipf's law; every 20 000, with `scans`, 10 000 keys of their own in a row.
fn trace(requests: usize, scans: bool) -> Vec<u64> {
    let mut sum = 0.0;
    let steps: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += (rank as f64).powf(-0.9);
            sum
        })
        .collect();
    let (mut random, mut scanned, mut trace) = (Random(42), KEYS, Vec::with_capacity(requests));
    while trace.len() < requests {
        let at = (random.next() >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        let rank = steps.partition_point(|step| *step < at) as u64;
        // Ranks are spread over the keys.
        trace.push(rank.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (1 << 40) + KEYS);
        if scans && trace.len().is_multiple_of(20_000) {
            trace.extend((0..10_000).map(|n| u64::MAX - scanned - n));
            scanned += 10_000;
        }
    }
    trace.truncate(requests);
    trace
}

/// `units`: the bound counts results, not their bytes.
fn ours(trace: &[u64], capacity: u64, units: bool) -> f64 {
    let memory = if units { capacity } else { capacity * MIN_WEIGHT };
    let pool = Pool::builder().executor(Here).memory(memory).build().expect("valid settings");
    let func = Func::new("identity", |key: u64| key);
    let func = if units { func.weigh(|_| 1) } else { func };
    for key in trace {
        pool.run(func.call(*key)).expect("identity can't fail");
    }
    pool.stats().hit_rate()
}

fn moka(trace: &[u64], capacity: u64, weigher: bool) -> f64 {
    let builder = moka::sync::Cache::builder().max_capacity(capacity);
    let cache = if weigher { builder.weigher(|_, _| 1).build() } else { builder.build() };
    let mut hits = 0;
    for key in trace {
        match cache.get(key) {
            Some(_) => hits += 1,
            None => cache.insert(*key, *key),
        }
    }
    f64::from(hits) / trace.len() as f64
}

fn main() {
    let tests = std::env::args().any(|arg| arg == "--test");
    let requests = if tests { 20_000 } else { 1_000_000 };
    println!(
        "hit ratio in %        moka  moka + weigher    ours   ours − better    ours in units   − better"
    );
    for (name, scans) in [("Zipf", false), ("Zipf + scans", true)] {
        let trace = trace(requests, scans);
        for percent in [1, 10] {
            let capacity = KEYS * percent / 100;
            let ratios = [
                moka(&trace, capacity, false),
                moka(&trace, capacity, true),
                ours(&trace, capacity, false),
                ours(&trace, capacity, true),
            ];
            let [plain, weighed, ours, units] = ratios.map(|ratio| 100.0 * ratio);
            let better = plain.max(weighed);
            println!(
                "{name:<13}{percent:>3} %{plain:>9.2}{weighed:>16.2}{ours:>8.2}{:>+16.2}{units:>17.2}{:>+11.2}",
                ours - better,
                units - better
            );
        }
    }
}
