//! A thousand keys, eight processes, all at once; and the same while one after the other is killed.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use memopool::{Disk, Func, Pool};

use crate::support::{
    PATIENCE, Place, Process, Random, amount, cache_of_child, in_time, note_run, number, report, say,
};

const PROCESSES: usize = 8;
const ROUNDS: u64 = 3;

/// What is right for a key: of another length for each.
fn value(round: u64, n: u64) -> Vec<u64> {
    let mut random = Random(round << 32 | n);
    (0..n % 50).map(|_| random.next()).collect()
}

fn work() -> Func<(u64, u64), Vec<u64>> {
    Func::new("work", |(round, n): (u64, u64)| {
        note_run(&format!("{round}:{n}"));
        if let Some(millis) = number("millis") {
            std::thread::sleep(Duration::from_millis(millis));
        }
        value(round, n)
    })
}

/// The role: asks for all keys of each round, in an order of its own, when it is told to, or at once.
pub(crate) fn child() {
    let keys = number("keys").expect("how many keys");
    let builder = Pool::builder().threads(2).disk(Disk::new(cache_of_child()));
    let pool = builder.build().expect("a cache directory");
    let work = work();
    let mut random = Random(std::process::id().into());
    say("ready");
    for round in 0..ROUNDS {
        if number("millis").is_none() {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).expect("a line");
        }
        let mut order: Vec<u64> = (0..keys).collect();
        (1..order.len()).rev().for_each(|at| order.swap(at, random.below(at as u64 + 1) as usize));
        let results = pool.map(order.iter().map(|n| work.call((round, *n))));
        let wrong = results.zip(&order).filter(|(result, n)| match result {
            Ok(result) => **result != value(round, **n),
            Err(_) => true,
        });
        say(&format!("round {}", wrong.count()));
    }
    let stats = pool.stats();
    say(&format!("stats {} {} {} {}", stats.computed, stats.disk_hits, stats.corrupt, stats.store_errors));
}

/// Processes that start with the same calls compute some of them more than once, or read what nobody computed.
#[test]
fn each_key_is_computed_once_in_all() {
    in_time(|| {
        let place = Place::new();
        let keys = amount(1000, 1000);
        let begun = Instant::now();
        let mut processes: Vec<_> =
            (0..PROCESSES).map(|_| place.start("many", &format!("keys={keys}"))).collect();
        processes.iter_mut().for_each(|process| drop(process.expect("ready")));
        for _ in 0..ROUNDS {
            processes.iter_mut().for_each(|process| process.tell("go"));
            for process in &mut processes {
                assert_eq!(process.expect("round"), "0", "wrong results");
            }
        }
        let mut hits = 0;
        for mut process in processes {
            let stats = process.expect("stats");
            let stats: Vec<u64> = stats.split(' ').map(|n| n.parse().expect("a number")).collect();
            assert_eq!((stats[2], stats[3]), (0, 0), "corrupt entries, errors of the store");
            hits += stats[1];
            process.end();
        }
        let runs = place.runs();
        let different = runs.iter().collect::<HashSet<_>>().len();
        report(&format!(
            "{PROCESSES} processes x {keys} keys x {ROUNDS} rounds: {} runs of {different} keys, {hits} disk hits, in {:?}",
            runs.len(),
            begun.elapsed()
        ));
        assert_eq!(different as u64, keys * ROUNDS);
        assert_eq!(runs.len(), different, "each key once");
    });
}

/// Where processes are killed at work, others wait for ever for what these were at, or read what is half written.
#[test]
fn killed_processes_leave_nobody_stuck_and_nothing_wrong() {
    in_time(|| {
        let place = Place::new();
        let keys = amount(1000, 300);
        let settings = format!("keys={keys} millis=2");
        let mut random = Random(u64::from(std::process::id()));
        let mut processes: Vec<Process> = (0..PROCESSES).map(|_| place.start("many", &settings)).collect();
        let (begun, mut killed, mut all) = (Instant::now(), 0, 0);
        while all < keys * ROUNDS {
            std::thread::sleep(Duration::from_millis(50));
            let victim = &mut processes[random.below(PROCESSES as u64) as usize];
            if !victim.is_over() {
                victim.kill();
                check(victim);
                killed += 1;
                *victim = place.start("many", &settings);
            }
            all = place.runs().iter().collect::<HashSet<_>>().len() as u64;
            assert!(
                begun.elapsed() < 2 * PATIENCE,
                "stuck: {all} of {} keys after {killed} kills",
                keys * ROUNDS
            );
        }
        for mut process in processes {
            while !process.is_over() {
                assert!(begun.elapsed() < 3 * PATIENCE, "stuck at the end");
                std::thread::yield_now();
            }
            check(&mut process);
        }
        let runs = place.runs().len() as u64;
        report(&format!(
            "{killed} kills: {runs} runs for {all} keys, 0 wrong, 0 stuck, in {:?}",
            begun.elapsed()
        ));
        // What a killed process had under way, or had not written yet.
        assert!(runs <= all + killed * 64, "{runs} runs for {all} keys and {killed} kills");
        // And all of it is there.
        let mut last = place.start("many", &settings);
        (0..ROUNDS).for_each(|_| assert_eq!(last.expect("round"), "0"));
        let stats = last.expect("stats");
        assert_eq!(stats.split(' ').next(), Some("0"), "what was computed is kept");
        report(&format!(
            "a process that comes after them: {stats} (computed, disk hits, corrupt, store errors)"
        ));
    });
}

/// What it said was right.
fn check(process: &mut Process) {
    for said in process.heard() {
        assert!(!said.starts_with("round") || said == "round 0", "wrong results: {said}");
    }
}
