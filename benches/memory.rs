//! What keeping results costs: resident memory of this process, beside what the pool counts.
//!
//! `cargo bench --bench memory`, on Linux. Says how far a bounded pool that is fed a hundred times its bound goes, what an
//! entry costs beside its value, and what a queued call costs.
#![expect(clippy::print_stdout, reason = "a bench reports on its standard output")]

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

fn main() {
    let scale = if std::env::args().any(|arg| arg == "--test") { 100 } else { 1 };
    bounded(1600 / scale);
    entries("far from full", 1 << 40, 1_000_000 / scale);
    entries("at the bound", 64 * 100_000 / scale, 400_000 / scale);
    queued(100_000 / scale);
}
