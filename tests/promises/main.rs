//! What the crate promises, one named behaviour a test.
//!
//! 1. [`flights`]: one run for a key, whatever it ends in.
//! 2. [`waits`]: no wait can hang.
//! 3. [`run`]: threads, queue, panics, the end of a pool.
//!    [`failure`]: threads that are stuck, die or can't be started.
//!    [`executors`]: pools and callers on rayon's threads and tokio's.
//! 4. [`memory`]: what is kept, for how long, and what it says about itself.
//! 5. [`keys`]: which calls are the same.
//! 6. [`api`]: settings, errors, many tasks at once.
//! 7. [`futures`]: the same tasks, awaited.
//! 8. [`patterns`]: what people do with `concurrent.futures`, from end to end.
//! 9. [`several`]: `map`, `wait` and `as_completed`; [`streams`]: the same for async code.
//! 10. [`limits`]: how many bodies may use one resource at a time.
//! 11. [`retries`]: what a run that rests between two attempts holds: nothing.
//! 12. [`async_functions`]: runs that are futures, and hold no thread while they wait.
//! 13. [`cpython`]: what CPython tests of its own executors, one to one.
//! 14. [`traces`], [`meters`]: what `tracing` and `metrics` are told.
//! 15. [`recorded`]: pools that answer from their cache alone; [`explore`]: a test in many orders.
//! 16. [`report`](mod@report): what a pool says that it saved, and that its page can be read.
//! 16. [`stress`]: everything at once, by seed; what outlives its task.
//!
//! The first line of each test's comment says what goes wrong for a user when it fails. Every test that could hang runs
//! under [`in_time`]. No test is decided by how long something takes: what must come first is a [`Gate`], a barrier, a
//! channel or a state to be seen.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests stand outside of the crate's shim for threads, locks and clocks"
)]

mod api;
mod async_functions;
mod cpython;
#[cfg(feature = "testing")]
mod disk;
#[cfg(any(feature = "rayon", feature = "tokio"))]
mod executors;
#[cfg(feature = "testing")]
mod explore;
mod failure;
mod flights;
mod futures;
mod keys;
mod limits;
mod memory;
#[cfg(feature = "metrics")]
mod meters;
#[cfg(feature = "report")]
#[path = "../common/page.rs"]
mod page;
mod patterns;
#[cfg(feature = "testing")]
mod recorded;
#[cfg(feature = "report")]
mod report;
mod retries;
mod run;
mod several;
#[cfg(feature = "stream")]
mod streams;
mod stress;
#[cfg(all(feature = "tracing", feature = "testing"))]
mod traces;
mod waits;
#[path = "../common/watchdog.rs"]
mod watchdog;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use memopool::{Builder, Pool};
use watchdog::within;

/// Longer than any test takes on a busy machine.
fn patience() -> Duration {
    Duration::from_secs(if std::env::var_os("MEMOPOOL_LONG").is_some() { 900 } else { 240 })
}

/// Runs a test's body and fails, by the test's name, if it does not end.
fn in_time(body: impl FnOnce() + Send + 'static) {
    within(patience(), body);
}

/// Spins until a state is seen. Bounded by [`in_time`].
fn until(mut seen: impl FnMut() -> bool) {
    while !seen() {
        thread::yield_now();
    }
}

/// Closed until it is opened, then open for good. Clones are the same gate.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().expect("no panic under this lock") = true;
        self.0.1.notify_all();
    }

    #[cfg(feature = "testing")]
    fn is_open(&self) -> bool {
        *self.0.0.lock().expect("no panic under this lock")
    }

    /// Waits until it is open.
    fn pass(&self) {
        let open = self.0.0.lock().expect("no panic under this lock");
        drop(self.0.1.wait_while(open, |open| !*open).expect("no panic under this lock"));
    }
}

/// Counts. Clones are the same counter.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicU64>);

impl Counter {
    fn up(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A pool with `threads` threads.
fn pool(threads: usize) -> Pool {
    build(Pool::builder().threads(threads))
}

fn build(builder: Builder) -> Pool {
    builder.build().expect("valid settings")
}

/// A pool with one thread, and that thread held in a closure until the gate opens: what is submitted stays queued.
fn held_pool() -> (Pool, Gate) {
    let pool = pool(1);
    let gate = hold(&pool);
    (pool, gate)
}

/// Holds one thread of the pool until the gate opens.
fn hold(pool: &Pool) -> Gate {
    let (started, gate) = (Gate::default(), Gate::default());
    let task = pool.spawn({
        let (started, gate) = (started.clone(), gate.clone());
        move || {
            started.open();
            gate.pass();
        }
    });
    started.pass();
    drop(task);
    gate
}

/// Fails unless the pool still takes work and does it.
fn assert_usable(pool: &Pool) {
    let task = pool.spawn(|| 6 * 7);
    assert_eq!(*task.wait().expect("a pool that runs closures"), 42);
    let func = memopool::Func::new("promises::assert_usable", |n: u64| n + 1);
    let call = || func.call(1);
    pool.forget(&call()).expect("a number can be encoded");
    assert_eq!(*pool.run(call()).expect("a pool that runs calls"), 2);
    assert!(pool.get(&call()).is_some(), "a pool that keeps results");
}
