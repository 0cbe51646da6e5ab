//! How costs grow: with the number of entries, with threads, with the size of arguments and of results.

use std::hint::black_box;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use memopool::{Disk, Func, Pool, memo};

use crate::results::{Curve, Scaling};
use crate::rounds::timed;
use crate::tiers::{entry, median};
use crate::workloads::{Size, noise};

/// Asks for ten million entries on disk as well: some 3 GB and several minutes.
const LONG: &str = "MEMOPOOL_LONG";

/// All curves of the report.
pub(crate) fn all(size: Size, work: &Path) -> Vec<Scaling> {
    let mut all = entries(size, work);
    all.push(threads(size, work));
    all.push(arguments(size));
    all.push(results(size, work));
    all
}

/// Prints how costs grow with `part` (the number of `entries` or `threads`, the size of `arguments` or `results`), and nothing
/// else.
pub(crate) fn print(part: &str, size: Size, work: &Path) {
    let scalings = match part {
        "entries" => entries(size, work),
        "threads" => vec![threads(size, work)],
        "arguments" => vec![arguments(size)],
        "results" => vec![results(size, work)],
        _ => return,
    };
    for Curve { name, points } in scalings.iter().flat_map(|scaling| &scaling.curves) {
        println!("{name}");
        points.iter().for_each(|(x, nanos)| println!("  {x:>12}{nanos:>16.1} ns"));
    }
}

#[derive(Default)]
struct Curves(Vec<Curve>);

impl Curves {
    fn add(&mut self, name: &str, x: f64, y: f64) {
        match self.0.iter_mut().find(|curve| curve.name == name) {
            Some(curve) => curve.points.push((x, y)),
            None => self.0.push(Curve { name: name.to_owned(), points: vec![(x, y)] }),
        }
    }
}

fn fill(pool: &Pool, count: u64) {
    let func = entry();
    for result in pool.map((0..count).map(|n| func.call(n))) {
        result.expect("can't fail");
    }
}

/// Nanoseconds per call, over keys in no order: the median of rounds.
fn per_call(rounds: usize, calls: u64, mut call: impl FnMut(u64)) -> f64 {
    let round = |round: usize| {
        timed(|| (0..calls).for_each(|n| call((n + round as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17)))
    };
    median((0..rounds).map(round).collect()) / calls as f64
}

/// With the number of entries: what a look-up costs that finds something, one that doesn't, and opening.
fn entries(size: Size, work: &Path) -> Vec<Scaling> {
    let (mut looks, mut opens) = (Curves::default(), Curves::default());
    let mut counts: Vec<u64> = match size {
        Size::Full => vec![1_000, 10_000, 100_000, 1_000_000],
        Size::Quick => vec![100, 1_000],
    };
    let in_memory = counts.len();
    if size == Size::Full && std::env::var_os(LONG).is_some() {
        counts.push(10_000_000);
    }
    // Rounds so short that few of them are interrupted, however busy the machine is.
    let (func, calls, rounds) = (entry(), size.of(200, 100) as u64, size.of(501, 1));
    for (nth, count) in counts.into_iter().enumerate() {
        let at = count as f64;
        if nth < in_memory {
            let pool = Pool::builder().threads(1).memory(4 << 30).build().expect("valid settings");
            fill(&pool, count);
            let hit = |n: u64| drop(black_box(pool.run(func.call(n % count)).expect("kept")));
            looks.add("hit in memory", at, per_call(rounds, calls, hit));
            let miss = |n: u64| drop(black_box(pool.get(&func.call(count + n % count))));
            looks.add("miss in memory", at, per_call(rounds, calls, miss));
        }
        let dir = work.join("entries");
        let open = |memory| {
            let disk = Disk::new(&dir).max_bytes(5 << 30);
            Pool::builder().threads(1).memory(memory).disk(disk).build().expect("a usable directory")
        };
        fill(&open(0), count);
        let pool = open(0);
        let hit = |n: u64| drop(black_box(pool.get(&func.call(n % count)).expect("kept")));
        looks.add("hit on disk", at, per_call(rounds, calls, hit));
        let miss = |n: u64| drop(black_box(pool.get(&func.call(count + n % count))));
        looks.add("miss on disk", at, per_call(rounds, calls, miss));
        drop(pool);
        let mut pools = Vec::new();
        let opened = (0..size.of(15, 1)).map(|_| timed(|| pools.push(open(0)))).collect();
        opens.add("open a directory", at, median(opened));
        drop(pools);
        std::fs::remove_dir_all(&dir).expect("it was just made");
    }
    let looks = Scaling {
        title: "A look-up, by number of entries".to_owned(),
        note: "One thread, keys in no order, results of 32 bytes. Hits on disk by `get`, without a memory."
            .to_owned(),
        x: "entries kept (number)".to_owned(),
        y: "time per look-up".to_owned(),
        curves: looks.0,
    };
    let opens = Scaling {
        title: "Opening, by number of entries".to_owned(),
        note: "A pool on a directory, in a running process, to the point where it takes calls.".to_owned(),
        x: "entries on disk (number)".to_owned(),
        y: "time to open".to_owned(),
        curves: opens.0,
    };
    vec![looks, opens]
}

/// With threads that submit at once: how many calls all of them make in a second.
fn threads(size: Size, work: &Path) -> Scaling {
    const KEYS: u64 = 10_000;
    let (func, dir, mut curves) = (entry(), work.join("threads"), Curves::default());
    let memory = Pool::builder().threads(1).build().expect("valid settings");
    fill(&memory, KEYS);
    let disk = |memory| {
        Pool::builder().threads(1).memory(memory).disk(Disk::new(&dir)).build().expect("a usable directory")
    };
    fill(&disk(0), KEYS);
    let disk = disk(0);
    for threads in [1, 2, 4, 8, 16] {
        let rate = |calls: u64, call: &(dyn Fn(u64) + Sync)| {
            let round = |_| {
                let start = Barrier::new(threads);
                // Each looks at the clock itself: who starts them may be the last to get on.
                let work = |thread: u64| {
                    start.wait();
                    let begun = Instant::now();
                    (0..calls / threads as u64).for_each(|n| call((n + thread * 1237) * 7919 % KEYS));
                    (begun, Instant::now())
                };
                let work = &work;
                let times: Vec<_> = std::thread::scope(|scope| {
                    let workers: Vec<_> =
                        (0..threads as u64).map(|thread| scope.spawn(move || work(thread))).collect();
                    workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
                });
                let first = times.iter().map(|time| time.0).min().expect("there is one");
                let last = times.iter().map(|time| time.1).max().expect("there is one");
                last - first
            };
            calls as f64 / (median((0..size.of(9, 1)).map(round).collect::<Vec<Duration>>()) / 1e9)
        };
        let at = threads as f64;
        let hits = rate(size.of(400_000, 3200) as u64, &|n| drop(memory.run(func.call(n)).expect("kept")));
        curves.add("hits in memory", at, hits);
        let hits = rate(size.of(80_000, 1600) as u64, &|n| drop(disk.get(&func.call(n)).expect("kept")));
        curves.add("hits on disk", at, hits);
    }
    drop(disk);
    std::fs::remove_dir_all(&dir).expect("it was just made");
    Scaling {
        title: "Hits per second, by threads".to_owned(),
        note: "All threads together, over the same 10 000 keys. More threads than the machine runs at once can't add any."
            .to_owned(),
        x: "threads that submit (number)".to_owned(),
        y: "calls in a second (number)".to_owned(),
        curves: curves.0,
    }
}

#[memo]
fn length(bytes: &[u8]) -> usize {
    bytes.len()
}

/// With the size of the argument: a hit in memory, beside one hash of the same bytes.
fn arguments(size: Size) -> Scaling {
    let mut curves = Curves::default();
    let pool = Pool::builder().threads(1).build().expect("valid settings");
    for power in 1..=size.of(7, 4) as u32 {
        let length_of = 10usize.pow(power);
        let (bytes, x) = (noise(7, length_of), length_of as f64);
        pool.run(length::call(&bytes)).expect("can't fail");
        let calls = (20_000_000 / (length_of as u64 + 2000)).clamp(3, size.of(2000, 3) as u64);
        let rounds = size.of(9, 1);
        let hit = per_call(rounds, calls, |_| drop(black_box(pool.run(length::call(&bytes)).expect("kept"))));
        curves.add("hit in memory", x, hit);
        let hash = per_call(rounds, calls, |_| {
            black_box(blake3::hash(black_box(&bytes)));
        });
        curves.add("BLAKE3 of the bytes alone", x, hash);
    }
    Scaling {
        title: "A hit, by size of its argument".to_owned(),
        note: "A borrowed slice of bytes; nothing of it is copied. The key covers all of it, so it can't be less than a hash."
            .to_owned(),
        x: "size of the argument".to_owned(),
        y: "time per hit".to_owned(),
        curves: curves.0,
    }
}

/// With the size of the result: storing it, and finding it.
fn results(size: Size, work: &Path) -> Scaling {
    let mut curves = Curves::default();
    for power in 1..=size.of(8, 4) as u32 {
        let length = 10usize.pow(power);
        let (made, x) = (noise(7, length), length as f64);
        let count = (4_000_000 / length as u64).clamp(3, size.of(500, 3) as u64);
        let func = Func::named("sized").resource(made.clone()).func(|made: &Vec<u8>, n: u64| {
            black_box(n);
            made.clone()
        });
        let dir = work.join("results");
        let disk = || {
            Pool::builder().threads(1).memory(0).disk(Disk::new(&dir)).build().expect("a usable directory")
        };
        let pool = disk();
        let run = |pool: &Pool, n: u64| drop(black_box(pool.run(func.call(n)).expect("can't fail")));
        let stored = timed(|| {
            (0..count).for_each(|n| run(&pool, n));
            pool.flush().expect("room");
        });
        curves.add("computed (a copy) and written", x, stored.as_nanos() as f64 / count as f64);
        drop(pool);
        let pool = disk();
        let rounds = size.of(7, 1);
        let hit = |n: u64| drop(black_box(pool.get(&func.call(n % count)).expect("kept")));
        curves.add("hit on disk", x, per_call(rounds, count, hit));
        let memory = Pool::builder().threads(1).memory(1 << 30).build().expect("valid settings");
        run(&memory, 0);
        curves.add("hit in memory", x, per_call(rounds, size.of(2000, 3) as u64, |_| run(&memory, 0)));
        let copy = |_| drop(black_box(made.clone()));
        curves.add("a copy in memory", x, per_call(rounds, count, copy));
        drop(pool);
        std::fs::remove_dir_all(&dir).expect("it was just made");
    }
    Scaling {
        title: "By size of the result".to_owned(),
        note: "Written: until `flush` says that it is safe, in batches of up to 500 results. Hits on disk by `get`, read, checked and decoded."
            .to_owned(),
        x: "size of the result".to_owned(),
        y: "time per call".to_owned(),
        curves: curves.0,
    }
}
