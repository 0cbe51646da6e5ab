//! What single calls cost in each tier, how that decides what is worth remembering, and how the hit rate goes over time.

use std::path::Path;
use std::time::{Duration, Instant};

use memopool::{Disk, Func, Pool};

use crate::results::{Curve, Latency, Pays};
use crate::rounds::{interleave, timed};
use crate::workloads::{SEED, Size, churn, noise, zipf_keys};

/// A body that does nothing, with a result of 32 bytes.
pub(crate) fn entry() -> Func<u64, [u64; 4]> {
    Func::new("entry", |n: u64| [n; 4])
}

/// How long each single call takes, on a pool with one worker.
pub(crate) fn latencies(size: Size, work: &Path) -> Vec<Latency> {
    let calls = size.of(20_000, 200) as u64;
    let (func, dir) = (entry(), work.join("latency"));
    let memory = Pool::builder().threads(1).build().expect("valid settings");
    let disk =
        || Pool::builder().threads(1).memory(0).disk(Disk::new(&dir)).build().expect("a usable directory");
    let run = |pool: &Pool, n: u64| drop(pool.run(func.call(n)).expect("can't fail"));
    let each = |tier: &str, call: &mut dyn FnMut(u64)| {
        // In no order that a prefetcher could learn.
        let mut times: Vec<f64> = (0..calls)
            .map(|n| {
                let n = n * 7919 % calls;
                let start = Instant::now();
                call(n);
                start.elapsed().as_nanos() as f64
            })
            .collect();
        latency(tier, &mut times)
    };
    let spawn = each("no cache: spawn and wait", &mut |n| drop(memory.spawn(move || [n; 4]).wait()));
    let computed = each("computed, kept in memory", &mut |n| run(&memory, n));
    let hit = each("hit in memory", &mut |n| run(&memory, n));
    let pool = disk();
    let stored = each("computed, kept on disk", &mut |n| run(&pool, n));
    drop(pool);
    let pool = disk();
    let read = each("hit on disk", &mut |n| run(&pool, n));
    let got = each("hit on disk, get", &mut |n| drop(pool.get(&func.call(n)).expect("kept")));
    let clock = each("the clock itself", &mut |_| ());
    vec![clock, hit, got, read, spawn, computed, stored]
}

fn latency(tier: &str, times: &mut [f64]) -> Latency {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)].max(1.0);
    let shares = (1..=19).map(|n| n as f64 * 5.0).chain([97.0, 98.0, 99.0, 99.5, 99.9]);
    Latency {
        tier: tier.to_owned(),
        calls: times.len(),
        p50_ns: at(0.5),
        p90_ns: at(0.9),
        p99_ns: at(0.99),
        p999_ns: at(0.999),
        points: shares.map(|share| (at(share / 100.0), share)).collect(),
    }
}

/// The hit rate of a stream of calls as popular as words are.
pub(crate) fn hit_rates(size: Size, work: &Path) -> Vec<Curve> {
    let (keys, calls) = (size.of(4000, 100), size.of(40_000, 600));
    let keys = zipf_keys(SEED, keys, calls);
    let distinct = keys.iter().collect::<std::collections::BTreeSet<_>>().len() as u64;
    let func = Func::new("popular in time", |n: u64| churn(n, 5_000)).weigh(|_| 64);
    let dir = work.join("rates");
    let curve = |name: &str, memory: u64, disk: bool| {
        let builder = Pool::builder().threads(1).memory(memory);
        let builder = if disk { builder.disk(Disk::new(&dir)) } else { builder };
        let pool = builder.build().expect("a usable directory");
        let (start, mut before) = (Instant::now(), pool.stats());
        let mut points = Vec::new();
        for part in keys.chunks((calls / 50).max(1)) {
            part.iter().for_each(|n| drop(pool.run(func.call(*n)).expect("can't fail")));
            let stats = pool.stats();
            points.push((start.elapsed().as_nanos() as f64, stats.since(&before).hit_rate() * 100.0));
            before = stats;
        }
        Curve { name: name.to_owned(), points }
    };
    vec![
        curve("memory for all", 1 << 30, false),
        curve("memory for a tenth", distinct * 64 / 10, false),
        curve("memory for a tenth, and a disk", distinct * 64 / 10, true),
        curve("the same, in a second pool", distinct * 64 / 10, true),
    ]
}

/// From which duration on a function gains by being remembered, against calling it where one stands: no pool, no thread.
///
/// With a run that costs `run` beside its body and hits that cost `hit`, the body's duration T is won back after n hits if
/// (n + 1) × T > run + T + n × hit.
pub(crate) fn break_even(size: Size, work: &Path) -> Vec<Pays> {
    let mut pays = Vec::new();
    for (length, count) in [(100, size.of(5000, 50)), (64 << 10, size.of(400, 8))] {
        let made: Vec<Vec<u8>> = (0..count as u64).map(|n| noise(n, length)).collect();
        // What it costs to make the result is the body's, whatever it is: here a copy, which is subtracted.
        let func = Func::named("made")
            .resource(made.clone())
            .func(|made: &Vec<Vec<u8>>, n: u64| made[n as usize].clone());
        let calls = |pool: &Pool| {
            for n in 0..count as u64 {
                std::hint::black_box(pool.run(func.call(n)).expect("can't fail"));
            }
        };
        let (dir, warm) = (work.join("break-even"), work.join("break-even-warm"));
        let memory = || Pool::builder().threads(1).memory(1 << 30);
        let disk = |dir: &Path| {
            Pool::builder().threads(1).memory(0).disk(Disk::new(dir)).build().expect("a usable directory")
        };
        let in_memory = memory().build().expect("valid settings");
        calls(&in_memory);
        calls(&disk(&warm));
        let on_disk = disk(&warm);
        let cold = |pool: Pool| {
            let took = timed(|| {
                calls(&pool);
                pool.flush().expect("room");
            });
            drop(pool);
            took
        };
        let times = interleave(
            count,
            size.of(9, 1),
            &mut [
                Box::new(|| timed(|| made.iter().for_each(|made| drop(std::hint::black_box(made.clone()))))),
                Box::new(|| cold(memory().build().expect("valid settings"))),
                Box::new(|| timed(|| calls(&in_memory))),
                Box::new(|| {
                    let took = cold(disk(&dir));
                    std::fs::remove_dir_all(&dir).expect("it was just made");
                    took
                }),
                Box::new(|| timed(|| calls(&on_disk))),
                Box::new(|| {
                    // A pool per pass: what a new process has to do, beside starting.
                    timed(|| calls(&disk(&warm)))
                }),
            ],
        );
        let [copy, store, hit, store_disk, hit_disk, hit_fresh] = times[..] else {
            unreachable!("six sides")
        };
        let opened = format!("disk, opened anew for every {count} calls");
        let tiers = [
            ("memory".to_owned(), store, hit),
            ("disk".to_owned(), store_disk, hit_disk),
            (opened, store_disk, hit_fresh),
        ];
        for (tier, store, hit) in tiers {
            let run = (store - copy).max(1.0);
            let point = |hits: &f64| (*hits, run / hits + hit);
            let points = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0].iter().map(point).collect();
            pays.push(Pays { tier, result_bytes: length, run_ns: run, hit_ns: hit, points });
        }
        drop(on_disk);
        std::fs::remove_dir_all(&warm).expect("it was just made");
    }
    pays
}

/// The median of single measurements, in nanoseconds.
pub(crate) fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_nanos() as f64
}
