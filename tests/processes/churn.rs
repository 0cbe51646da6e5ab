//! More values than the directory may hold: six processes get, verify and put while segments come and go and processes
//! are killed.
//!
//! # The ideal
//!
//! Keys are asked for with equal probability, so no policy can do better than to have as many of them as there is room for.
//! [`ideal`] plays the directory's policy (whole segments, oldest first, what was used again within a quarter of a
//! segment) with the same values, as one process that is never killed and wastes nothing.

use std::collections::VecDeque;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use memopool::{Disk, Func, Pool};

use crate::support::{Place, Process, Random, amount, cache_of_child, in_time, number, report, say};

const PROCESSES: usize = 6;

/// What a record has beside its value: 128 bytes, and the length of the vector.
const OVERHEAD: u64 = 128 + 3;

/// 100 bytes to 8 KiB.
fn len(n: u64) -> u64 {
    100 + Random(n).below(8092)
}

fn bytes(n: u64) -> Vec<u8> {
    let mut random = Random(n ^ 1 << 40);
    let block: Vec<u8> = (0..32).flat_map(|_| random.next().to_le_bytes()).collect();
    let mut bytes = block.repeat(len(n).div_ceil(256) as usize);
    bytes.truncate(len(n) as usize);
    bytes
}

fn blob() -> Func<u64, Vec<u8>> {
    Func::new("churn::blob", bytes)
}

/// The role: until its input ends.
pub(crate) fn child() {
    let keys = number("keys").expect("how many keys");
    let disk = Disk::new(cache_of_child()).max_bytes(number("bound").expect("a bound"));
    let pool = Pool::builder().threads(2).memory(0).disk(disk).build().expect("a cache directory");
    let blob = blob();
    let mut random = Random(std::process::id().into());
    let ends = thread::spawn(|| std::io::stdin().read_to_end(&mut Vec::new()));
    say("ready");
    while !ends.is_finished() {
        let (mut hits, mut wrong) = (0, 0);
        for _ in 0..LINE {
            let n = random.below(keys);
            let call = blob.call(n);
            let found = pool.get(&call);
            hits += u64::from(found.is_some());
            let value = found.or_else(|| pool.run(call).ok());
            wrong += u64::from(value.is_none_or(|value| *value != bytes(n)));
        }
        say(&format!("line {hits} {wrong}"));
    }
    let stats = pool.stats();
    say(&format!("stats {} {}", stats.corrupt, stats.store_errors));
}

/// Calls in a line that a child says.
const LINE: u64 = 100;

/// The share of calls that hit, if everything goes as it could.
fn ideal(keys: u64, bound: u64, index: u64, segment: u64) -> f64 {
    let mut random = Random(7);
    // Which segment has the key, and whether it was used there.
    let mut where_is: Vec<Option<(u64, bool)>> = vec![None; keys as usize];
    let mut segments: VecDeque<(u64, Vec<u64>)> = VecDeque::from([(0, Vec::new())]);
    let (mut tail, mut newest) = (0, 0);
    let (mut calls, mut hits) = (0, 0);
    let record = |n: u64| (OVERHEAD + len(n)).next_multiple_of(8);
    let sizes: Vec<u64> = (0..keys).map(record).collect();
    let (warm, all) = (20 * keys, 40 * keys);
    while calls < all {
        let n = random.below(keys);
        calls += 1;
        if let Some((_, used)) = &mut where_is[n as usize] {
            *used = true;
            hits += u64::from(calls > warm);
            continue;
        }
        let size = sizes[n as usize];
        if tail + size > segment {
            (newest, tail) = (newest + 1, 0);
            segments.push_back((newest, Vec::new()));
            let mut budget = segment / 4;
            // All but the new one count as full.
            while (segments.len() as u64) * segment + index > bound {
                let (id, records) = segments.pop_front().expect("more than one");
                for n in records {
                    match where_is[n as usize] {
                        Some((at, true)) if at == id && sizes[n as usize] <= budget => {
                            budget -= sizes[n as usize];
                            tail += sizes[n as usize];
                            where_is[n as usize] = Some((newest, false));
                            segments.back_mut().expect("the new one").1.push(n);
                        }
                        Some((at, _)) if at == id => where_is[n as usize] = None,
                        _ => {}
                    }
                }
            }
        }
        tail += size;
        where_is[n as usize] = Some((newest, false));
        segments.back_mut().expect("the new one").1.push(n);
    }
    hits as f64 / (all - warm) as f64
}

/// Lines that children have said.
#[derive(Default)]
struct Heard {
    lines: u64,
    hits: u64,
    wrong: u64,
}

impl Heard {
    fn listen(&mut self, process: &mut Process) {
        for said in process.heard() {
            let Some(numbers) = said.strip_prefix("line ") else { continue };
            let (hits, wrong) = numbers.split_once(' ').expect("two numbers");
            self.lines += 1;
            self.hits += hits.parse::<u64>().expect("a number");
            self.wrong += wrong.parse::<u64>().expect("a number");
        }
    }
}

/// Under eviction and kills a value is wrong, the directory grows beyond its bound, or it keeps less than it could.
#[test]
fn six_processes_under_eviction_and_kills() {
    in_time(|| {
        let place = Place::new();
        let bound = amount(200 << 20, 20 << 20);
        let (keys, kills) = (bound * 3 / 2 / 4096, amount(200, 20));
        let segment = (bound / 64).clamp(64 << 10, 64 << 20);
        let settings = format!("keys={keys} bound={bound}");
        let start = || place.start("churn", &settings);
        let mut processes: Vec<Process> = (0..PROCESSES).map(|_| start()).collect();
        let (mut warm, mut heard, mut most) = (Heard::default(), Heard::default(), 0);
        let mut random = Random(u64::from(std::process::id()));
        let begun = Instant::now();
        // Until it is full and has been turned over.
        while warm.lines * LINE < 4 * keys {
            thread::sleep(Duration::from_millis(5));
            processes.iter_mut().for_each(|process| warm.listen(process));
            most = most.max(place.bytes());
        }
        let warmed = begun.elapsed();
        for _ in 0..kills {
            let until = Instant::now() + Duration::from_millis(50 + random.below(100));
            while Instant::now() < until {
                thread::sleep(Duration::from_millis(5));
                processes.iter_mut().for_each(|process| heard.listen(process));
                most = most.max(place.bytes());
            }
            let victim = &mut processes[random.below(PROCESSES as u64) as usize];
            victim.kill();
            heard.listen(victim);
            *victim = start();
        }
        for process in processes {
            let stats = process.end();
            let stats = stats.iter().find(|said| said.starts_with("stats")).expect("its last words");
            assert!(stats.ends_with(" 0"), "no errors of the store: {stats}");
        }
        let rate = heard.hits as f64 / (heard.lines * LINE) as f64;
        let index = std::fs::metadata(place.cache().join("v1/index")).expect("an index").len();
        let ideal = ideal(keys, bound, index, segment);
        let left = place.unfinished().len();
        report(&format!(
            "{} calls of {keys} keys under {} MiB, {kills} kills: {} wrong; hit rate {:.2} %, ideal {:.2} %; at most \
             {:.2} MiB (a segment is {:.2} MiB, the index {:.2}); {left} unfinished files; {warmed:?} + {:?}",
            (warm.lines + heard.lines) * LINE,
            bound >> 20,
            warm.wrong + heard.wrong,
            100.0 * rate,
            100.0 * ideal,
            most as f64 / 1048576.0,
            segment as f64 / 1048576.0,
            index as f64 / 1048576.0,
            begun.elapsed() - warmed
        ));
        assert_eq!(warm.wrong + heard.wrong, 0);
        assert!(most <= bound + segment, "{most} bytes in a directory of {bound}");
        assert!(rate > ideal - 0.02, "hit rate {rate}, ideal {ideal}");
        nothing_unfinished_stays(&place, &settings);
    });
}

/// What killed processes have left is removed, once it is old enough to be nobody's.
fn nothing_unfinished_stays(place: &Place, settings: &str) {
    for path in place.unfinished() {
        let file = std::fs::File::options().write(true).open(&path).expect("ours");
        file.set_modified(SystemTime::now() - Duration::from_secs(600)).expect("ours");
    }
    let newest = || {
        std::fs::read_dir(place.cache().join("v1/seg")).expect("there").flatten().map(|f| f.file_name()).max()
    };
    let before = newest();
    let mut process = place.start("churn", settings);
    while newest() == before {
        process.expect("line");
    }
    process.end();
    assert_eq!(place.unfinished(), Vec::<std::path::PathBuf>::new());
}
