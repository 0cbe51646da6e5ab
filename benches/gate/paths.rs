//! The four paths. Each says, at its end, that it was the path it is named after.

use std::hint::black_box;

use crossbeam_channel::{Sender, unbounded};
use memopool::{Disk, Executor, Func, Job, Pool, memo};

use crate::{OPERATIONS, counted_part};

/// What a call is given, and for how many bytes a result on disk has room.
pub(crate) type Args = (String, u64, bool);
pub(crate) const RESULT: usize = 256;
/// How deep calls are nested before they return.
pub(crate) const DEPTH: u64 = 100;

pub(crate) fn args() -> Vec<Args> {
    (0..OPERATIONS).map(|n| (format!("dataset/part-{n:05}"), n * 7, n % 3 == 0)).collect()
}

pub(crate) fn bytes(seed: u64) -> Vec<u8> {
    (0..RESULT as u64).map(|n| (n ^ seed).wrapping_mul(0x9e37_79b9) as u8).collect()
}

/// Runs each job at once, in the thread that submits it.
struct Here;

impl Executor for Here {
    fn execute(&self, job: Job) {
        job.run();
    }
}

/// Keeps jobs until somebody takes them out of the channel.
struct Later(Sender<Job>);

impl Executor for Later {
    fn execute(&self, job: Job) {
        self.0.send(job).expect("the receiver is there");
    }
}

#[memo(name = "gate::lent")]
fn lent(name: &str, start: u64, last: bool) -> u64 {
    start + name.len() as u64 + u64::from(last)
}

/// Submit and wait, arguments borrowed, each value in memory.
pub(crate) fn warm_hit() -> u64 {
    let (pool, args) = (Pool::builder().executor(Here).build().expect("valid settings"), args());
    let mut hits = || {
        for (name, start, last) in &args {
            black_box(pool.submit(lent::call(name, *start, *last)).wait().expect("can't fail"));
        }
    };
    // The first hits set up what a thread keeps for itself.
    (0..2).for_each(|_| hits());
    let allocations = counted_part(&mut hits);
    assert_eq!((pool.stats().computed, pool.stats().memory_hits), (OPERATIONS, 2 * OPERATIONS));
    allocations
}

/// A batch that nobody has asked for before: submitted, then run, then waited for.
pub(crate) fn cold_batch() -> u64 {
    let (send, jobs) = unbounded();
    let pool = Pool::builder().executor(Later(send)).queue(2 * OPERATIONS as usize).build();
    let pool = pool.expect("valid settings");
    let next = Func::new("gate::next", |n: u64| n + 1);
    let allocations = counted_part(&mut || {
        let tasks = pool.submit_all((0..OPERATIONS).map(|n| next.call(n)));
        jobs.try_iter().for_each(Job::run);
        for task in &tasks {
            black_box(task.wait().expect("can't fail"));
        }
    });
    assert_eq!(pool.stats().computed, OPERATIONS);
    allocations
}

/// Results of 256 bytes, found on disk by a pool that was opened just now; the page cache is warm.
pub(crate) fn disk_hit() -> u64 {
    let dir = tempfile::tempdir().expect("room for a temporary directory");
    let open = || {
        let pool = Pool::builder().executor(Here).disk(Disk::new(dir.path().join("cache"))).build();
        pool.expect("a usable directory")
    };
    let block = Func::new("gate::block", bytes);
    let pool = open();
    for n in 0..OPERATIONS {
        pool.run(block.call(n)).expect("can't fail");
    }
    pool.flush().expect("room");
    drop(pool);
    let pool = open();
    let allocations = counted_part(&mut || {
        for n in 0..OPERATIONS {
            black_box(pool.run(block.call(n)).expect("can't fail"));
        }
    });
    assert_eq!(pool.stats().disk_hits, OPERATIONS);
    allocations
}

#[memo(name = "gate::chain")]
fn chain(round: u64, depth: u64) -> u64 {
    if depth == 0 {
        return round;
    }
    let pool = Pool::current().expect("runs in a pool");
    *pool.run(chain::call(round, depth - 1)).expect("no cycle") + 1
}

/// Bodies that ask for one another, a hundred deep: the worker that waits runs what it waits for. All on the one thread
/// of the pool, where the count is taken, too.
pub(crate) fn nested() -> u64 {
    let pool = Pool::builder().threads(1).build().expect("valid settings");
    let counted = pool.spawn(|| {
        let pool = Pool::current().expect("runs in a pool");
        let round = |round| *pool.run(chain::call(round, DEPTH - 1)).expect("no cycle");
        black_box(round(u64::MAX / 2));
        counted_part(&mut || {
            for n in 0..OPERATIONS / DEPTH {
                black_box(round(n));
            }
        })
    });
    let allocations = *counted.wait().expect("can't fail");
    // `spawn` is not counted among the submissions, but among the runs.
    assert!(pool.stats().computed >= OPERATIONS + DEPTH && pool.stats().memory_hits == 0);
    allocations
}
