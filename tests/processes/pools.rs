//! Two pools of one process on one directory behave as two processes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use memopool::{Disk, Func, Pool, Source, Task};

use crate::support::{Place, in_time};

/// What a body has to do with its test.
#[derive(Clone)]
struct Stage {
    runs: Arc<AtomicU64>,
    begins: Sender<()>,
    /// Taken by the first body: it waits for this, and ends as it says.
    first: Arc<Mutex<Option<Receiver<bool>>>>,
}

/// A function whose first run says that it has begun, and ends when it is told how.
fn staged() -> (Func<u64, u64>, Stage, Receiver<()>, Sender<bool>) {
    let ((begins, begun), (end, ends)) = (channel(), channel());
    let stage = Stage { runs: Arc::default(), begins, first: Arc::new(Mutex::new(Some(ends))) };
    let func = Func::named("staged").resource(stage.clone()).fallible(|stage: &Stage, n: u64| {
        stage.runs.fetch_add(1, Ordering::SeqCst);
        let first = stage.first.lock().expect("no panic under this lock").take();
        let fine = first.is_none_or(|ends| {
            stage.begins.send(()).expect("the test listens");
            ends.recv().expect("the test says how")
        });
        if fine { Ok(n * 2) } else { Err("told to fail") }
    });
    (func, stage, begun, end)
}

fn pool(place: &Place) -> Pool {
    Pool::builder().threads(2).disk(Disk::new(place.cache())).build().expect("a cache directory")
}

fn source(task: &Task<u64>) -> Option<Source> {
    task.wait().expect("a value");
    task.source()
}

/// Two libraries in one program that use the same directory compute everything twice.
#[test]
fn one_computes_for_both() {
    in_time(|| {
        let place = Place::new();
        let (one, two) = (pool(&place), pool(&place));
        let (func, stage, begun, end) = staged();
        let first = one.submit(func.call(21));
        begun.recv().expect("it begins");
        let second = two.submit(func.call(21));
        end.send(true).expect("it listens");
        assert_eq!((source(&first), source(&second)), (Some(Source::Computed), Some(Source::Disk)));
        assert_eq!(stage.runs.load(Ordering::SeqCst), 1);
    });
}

/// A pool that ends takes its claims with it, and others wait for them for ever.
#[test]
fn a_dropped_pool_lets_others_go_on() {
    in_time(|| {
        for fine in [true, false] {
            let place = Place::new();
            let (one, two) = (pool(&place), pool(&place));
            let (func, stage, begun, end) = staged();
            drop(one.submit(func.call(21)));
            begun.recv().expect("it begins");
            let second = two.submit(func.call(21));
            let dropping = thread::spawn(move || drop(one));
            end.send(fine).expect("it listens");
            let expected = if fine { Source::Disk } else { Source::Computed };
            assert_eq!(source(&second), Some(expected));
            assert_eq!(stage.runs.load(Ordering::SeqCst), if fine { 1 } else { 2 });
            dropping.join().expect("it ends");
        }
    });
}

/// A pool that is dropped with much to write gives its keys away before what it computed can be read.
#[test]
fn a_pool_that_still_writes_keeps_its_claims() {
    in_time(|| {
        let place = Place::new();
        let (one, two) = (pool(&place), pool(&place));
        let runs = Arc::new(AtomicU64::new(0));
        let func =
            Func::named("counted").resource(Arc::clone(&runs)).func(|runs: &Arc<AtomicU64>, n: u64| {
                runs.fetch_add(1, Ordering::SeqCst);
                vec![n; 500]
            });
        let other = func.clone();
        let reads =
            thread::spawn(move || two.map((0..500).map(|n| other.call(n))).all(|value| value.is_ok()));
        for value in one.map((0..500).map(|n| func.call(n))) {
            value.expect("a value");
        }
        drop(one);
        assert!(reads.join().expect("no panic"));
        assert_eq!(runs.load(Ordering::SeqCst), 500);
    });
}

/// What was given up in one pool is not computed in the other either.
#[test]
fn what_one_gives_up_the_other_computes() {
    in_time(|| {
        let place = Place::new();
        let (one, two) = (pool(&place), pool(&place));
        let (func, stage, begun, end) = staged();
        let first = one.submit(func.call(21));
        begun.recv().expect("it begins");
        let second = two.submit(func.call(21));
        assert!(first.cancel());
        end.send(true).expect("it listens");
        assert_eq!(source(&second), Some(Source::Computed));
        assert_eq!(stage.runs.load(Ordering::SeqCst), 2);
    });
}

/// What waits for another process is run by the thread that keeps the time, if the pool has an executor that runs jobs where it
/// is given them: until it ends no timeout is noticed, and what it waits for may never come.
#[test]
fn the_clock_runs_no_body() {
    struct Here;
    impl memopool::Executor for Here {
        fn execute(&self, job: memopool::Job) {
            job.run();
        }
    }
    in_time(|| {
        let place = Place::new();
        let one = pool(&place);
        let disk = Disk::new(place.cache());
        let two = Pool::builder().executor(Here).disk(disk).build().expect("a cache directory");
        let named: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
        let (begins, begun) = channel();
        let (end, ends) = channel::<()>();
        let ends = Arc::new(Mutex::new(Some(ends)));
        let func = Func::named("named").resource((Arc::clone(&named), begins, ends)).fallible(
            |(named, begins, ends), n: u64| {
                named.lock().expect("no panic").push(thread::current().name().map(str::to_owned));
                let first = ends.lock().expect("no panic").take();
                match first {
                    Some(ends) => {
                        begins.send(()).expect("the test listens");
                        ends.recv().expect("the test says when");
                        Err("told to fail")
                    }
                    None => Ok(n),
                }
            },
        );
        let first = one.submit(func.call(1));
        begun.recv().expect("it begins");
        let second = two.submit(func.call(1));
        assert!(!second.is_done(), "it waits for the other pool");
        end.send(()).expect("it listens");
        assert!(first.wait().is_err());
        assert_eq!(*second.wait().expect("a value"), 1);
        let named = named.lock().expect("no panic").clone();
        assert!(named[1].as_ref().is_none_or(|name| !name.ends_with("-timer")), "{named:?}");
    });
}

/// Until what was submitted is computed, or set aside.
fn await_rest(pool: &Pool) {
    while pool.stats().queued + pool.stats().running > 0 {
        thread::yield_now();
    }
}

/// How a caller leaves a run whose body goes on.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    Timeout,
    Cancel,
}

/// One whose first body goes on, though nobody waits for it any more.
fn leave(pool: &Pool, func: &Func<u64, u64>, begun: &Receiver<()>, leaving: Leaving) {
    let task = match leaving {
        Leaving::Timeout => pool.submit(func.clone().timeout(Duration::from_millis(1)).call(21)),
        Leaving::Cancel => pool.submit(func.call(21)),
    };
    begun.recv().expect("it begins");
    match leaving {
        Leaving::Timeout => assert!(task.wait().expect_err("its body hangs").is_timeout()),
        Leaving::Cancel => assert!(task.cancel()),
    }
}

/// A body that hangs in one process hangs all processes that ask for the same, though its timeout is long over.
#[test]
fn what_goes_on_unwanted_keeps_nobody_waiting() {
    in_time(|| {
        for leaving in [Leaving::Timeout, Leaving::Cancel] {
            let place = Place::new();
            let (one, two) = (pool(&place), pool(&place));
            let (func, stage, begun, end) = staged();
            leave(&one, &func, &begun, leaving);
            assert_eq!(source(&two.submit(func.call(21))), Some(Source::Computed), "{leaving:?}");
            end.send(true).expect("it listens");
            drop(one);
            two.flush().expect("the disk works");
            assert_eq!(stage.runs.load(Ordering::SeqCst), 2, "{leaving:?}");
            assert_eq!(pool(&place).get(&func.call(21)).as_deref(), Some(&42), "{leaving:?}");
        }
    });
}

/// Who asks again after a timeout computes beside other processes; or the first body, when it ends at last, gives the key of
/// the second away.
#[test]
fn who_asks_again_has_the_key_until_it_is_computed() {
    in_time(|| {
        for leaving in [Leaving::Timeout, Leaving::Cancel] {
            let place = Place::new();
            let (one, two) = (pool(&place), pool(&place));
            let (func, stage, begun, end) = staged();
            leave(&one, &func, &begun, leaving);
            let (again, ends) = channel();
            *stage.first.lock().expect("no panic under this lock") = Some(ends);
            let second = one.submit(func.call(21));
            begun.recv().expect("it begins");
            end.send(true).expect("it listens");
            while one.stats().running > 1 {
                thread::yield_now();
            }
            let other = two.submit(func.call(21));
            await_rest(&two);
            assert!(!other.is_done(), "{leaving:?}");
            again.send(true).expect("it listens");
            let sources = (source(&second), source(&other));
            assert_eq!(sources, (Some(Source::Computed), Some(Source::Disk)), "{leaving:?}");
            assert_eq!(stage.runs.load(Ordering::SeqCst), 2, "{leaving:?}");
        }
    });
}

/// A result that was forgotten while it was computed is computed anew by each process that asks.
#[test]
fn what_is_forgotten_under_way_is_computed_once_more() {
    in_time(|| {
        let place = Place::new();
        let (one, two) = (pool(&place), pool(&place));
        let (func, stage, begun, end) = staged();
        let first = one.submit(func.call(21));
        begun.recv().expect("it begins");
        one.forget(&func.call(21)).expect("the disk works");
        let (again, ends) = channel();
        *stage.first.lock().expect("no panic under this lock") = Some(ends);
        let second = one.submit(func.call(21));
        begun.recv().expect("it begins");
        end.send(true).expect("it listens");
        assert_eq!(source(&first), Some(Source::Computed));
        let other = two.submit(func.call(21));
        await_rest(&two);
        assert!(!other.is_done());
        again.send(true).expect("it listens");
        assert_eq!((source(&second), source(&other)), (Some(Source::Computed), Some(Source::Disk)));
        assert_eq!(stage.runs.load(Ordering::SeqCst), 2);
    });
}

/// A result that is computed anew is computed by each process that asks meanwhile.
#[test]
fn what_is_refreshed_is_computed_once() {
    in_time(|| {
        let place = Place::new();
        let (one, two) = (pool(&place), pool(&place));
        let (func, stage, begun, end) = staged();
        let first = one.submit(func.call(21).refresh());
        begun.recv().expect("it begins");
        let other = two.submit(func.call(21));
        await_rest(&two);
        assert!(!other.is_done());
        end.send(true).expect("it listens");
        assert_eq!((source(&first), source(&other)), (Some(Source::Computed), Some(Source::Disk)));
        assert_eq!(stage.runs.load(Ordering::SeqCst), 1);
    });
}
