//! What keeping results costs: resident memory of this process, beside what the pool counts.
//!
//! `cargo bench --bench memory`, on Linux. Says how far a bounded pool that is fed a hundred times its bound goes, what an
//! entry costs beside its value, and what a queued call costs. Each is measured in a process of its own: what one has freed
//! would be used again by the next, and not be counted.
#![expect(clippy::print_stdout, reason = "a bench reports on its standard output")]

use std::process::Command;
use std::sync::mpsc::channel;

use memopool::{Func, Pool};

/// Bytes that are resident now; 0 where the system does not say so.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    pages * 4096
}

/// A bound of 16 MiB, fed values of 1 MiB.
fn bounded(values: u64) {
    const MIB: u64 = 1 << 20;
    let func = Func::new("megabyte", |n: u64| vec![n as u8; MIB as usize]);
    let pool = Pool::builder().memory(16 * MIB).build().expect("valid settings");
    let before = resident();
    let (mut counted, mut grown) = (0, 0);
    for n in 0..values {
        pool.run(func.call(n)).expect("can't fail");
        counted = counted.max(pool.stats().memory_bytes);
        grown = grown.max(resident().saturating_sub(before));
    }
    println!(
        "a bound of 16 MiB, fed {values} MiB: at most {:.1} MiB counted, {:.1} MiB more resident",
        counted as f64 / MIB as f64,
        grown as f64 / MIB as f64
    );
    assert!(counted <= 16 * MIB, "the bound was passed");
}

/// What an entry costs beside its value (here: nothing worth counting).
fn entries(name: &str, bound: u64, calls: u64) {
    let func = Func::new("next", |n: u64| n + 1);
    let pool = Pool::builder().memory(bound).build().expect("valid settings");
    pool.run(func.call(u64::MAX - 1)).expect("can't fail");
    let before = resident();
    for result in pool.map((0..calls).map(|n| func.call(n))) {
        result.expect("can't fail");
    }
    let entries = pool.stats().entries;
    println!(
        "{entries} entries, {name}: {} bytes resident each",
        resident().saturating_sub(before) / entries
    );
}

/// What a call costs while it is queued.
fn queued(calls: u64) {
    let func = Func::new("next", |n: u64| n + 1);
    let queue = usize::try_from(calls).expect("fits") + 1;
    let pool = Pool::builder().threads(1).queue(queue).build().expect("valid settings");
    let (open, gate) = channel::<()>();
    let (start, started) = channel();
    let first = pool.spawn(move || {
        start.send(()).expect("waited for");
        gate.recv().is_ok()
    });
    started.recv().expect("starts");
    let before = resident();
    let tasks = pool.submit_all((0..calls).map(|n| func.call(n)));
    let each = resident().saturating_sub(before) / calls;
    println!(
        "{calls} queued calls: {each} bytes resident each, {} of them the task's handle",
        size_of_val(&tasks[0])
    );
    open.send(()).expect("waited for");
    first.wait().expect("can't fail");
}

const PARTS: [&str; 4] = ["bounded", "far", "full", "queued"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let scale = if arguments.iter().any(|argument| argument == "--test") { 100 } else { 1 };
    match PARTS.into_iter().find(|part| arguments.iter().any(|argument| argument == part)) {
        Some("bounded") => bounded(1600 / scale),
        Some("far") => entries("far from full", 1 << 40, 1_000_000 / scale),
        Some("full") => entries("at the bound", 64 * 100_000 / scale, 400_000 / scale),
        Some(_) => queued(100_000 / scale),
        None => PARTS.into_iter().for_each(|part| {
            let program = std::env::current_exe().expect("known");
            let mut child = Command::new(program);
            // Large blocks go back to the system as soon as they are freed: what the allocator keeps is not the pool's.
            child.args(&arguments).arg(part).env("MALLOC_MMAP_THRESHOLD_", "131072");
            assert!(child.status().expect("starts").success(), "{part} failed");
        }),
    }
}
