//! Pools that answer from what was recorded, and fail on a miss (feature `testing`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memopool::testing::{ManualClock, Stepper, runs};
use memopool::{Disk, Func, Pool, Source};
use tempfile::TempDir;

use crate::{Gate, build, in_time, pool};

/// A place for a recording, gone at the end of its test.
fn place() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().expect("room for a temporary directory");
    let dir = place.path().join("recording");
    (place, dir)
}

fn square(name: &'static str) -> Func<u64, u64> {
    Func::new(name, |n: u64| n * n)
}

/// Every file below a directory, with its content.
fn content(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(content(&path));
        }
        all.insert(path.clone(), fs::read(path).ok());
    }
    all
}

/// A test goes to the network, though all it needs was recorded; or it goes there for what was not, and nobody notices.
#[test]
fn what_is_recorded_is_answered_and_nothing_else_runs() {
    in_time(|| {
        let (_place, dir) = place();
        let square = square("recorded::square");
        let record = Pool::open(&dir).unwrap();
        assert_eq!(*record.run(square.call(3)).unwrap(), 9);
        drop(record);
        let pool = Pool::recorded(&dir).unwrap();
        let task = pool.submit(square.call(3));
        assert_eq!((*task.wait().unwrap(), task.source()), (9, Some(Source::Disk)));
        let missing = square.call(4);
        let key = missing.key().short().to_string();
        let error = pool.run(missing).unwrap_err();
        assert!(error.is_miss() && !error.is_failed() && !error.is_store(), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!(
                "recorded::square(#{key}) is not recorded: never computed here, or too long ago to tell; run it once in a \
                 pool that may compute, `Pool::open` of the same directory"
            )
        );
        assert_eq!((runs(&square), pool.stats().computed, pool.stats().failed), (1, 0, 1));
        drop(pool);
        assert!(!Pool::open(&dir).unwrap().explain(&square.call(4)).is_hit(), "the recording is as it was");
    });
}

/// A miss inside is taken for a hit outside, or computes after all, since it was another function that was asked for.
#[test]
fn nested_calls_are_answered_from_the_recording_as_well() {
    in_time(|| {
        let (_place, dir) = place();
        let inner = square("recorded::inner");
        let outer = Func::named("recorded::outer").resource(inner.clone()).fallible(
            |inner: &Func<u64, u64>, n: u64| {
                Pool::current().expect("inside a task").run(inner.call(n)).map(|square| *square + 1)
            },
        );
        let record = Pool::open(&dir).unwrap();
        record.run(inner.call(2)).unwrap();
        record.run(outer.call(3)).unwrap();
        record.forget(&inner.call(3)).unwrap();
        drop(record);
        let pool = Pool::recorded(&dir).unwrap();
        assert_eq!(*pool.run(outer.call(3)).unwrap(), 10, "what its body would ask for is not looked for");
        assert!(
            pool.run(outer.call(2)).unwrap_err().is_miss(),
            "though its body would find what it asks for"
        );
        let nested = |n| {
            let inner = inner.clone();
            pool.spawn(move || {
                Pool::current().expect("inside a task").run(inner.call(n)).map(|square| *square)
            })
        };
        assert_eq!(*nested(2).wait().unwrap().as_ref().as_ref().unwrap(), 4, "spawned closures run");
        let error = nested(3).wait().unwrap().as_ref().clone().unwrap_err();
        assert!(error.is_miss() && error.to_string().contains("it was forgotten"), "{error}");
        assert_eq!((runs(&inner), runs(&outer)), (2, 1));
    });
}

/// A test run leaves changes in the repository, or does not work where the checkout is read-only.
#[test]
fn a_recording_is_only_read() {
    in_time(|| {
        let (_place, dir) = place();
        let func = Func::new("recorded::block", |n: u64| vec![7_u8; n as usize]);
        let disk = |dir: &Path| Disk::new(dir).max_bytes(4 << 20);
        let record = build(Pool::builder().disk(disk(&dir)));
        // Small ones together, a large one in a file of its own.
        for n in [10, 1_000, 300_000] {
            record.run(func.call(n)).unwrap();
        }
        drop(record);
        // As a version control system checks it out: what is a file, and ours to read.
        for gone in ["index", "lock", "claims", "owners", "tmp"] {
            let path = dir.join("v1").join(gone);
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
        let before = content(&dir);
        let protect = |mode_of_dir: u32, mode_of_file: u32| {
            #[cfg(unix)]
            for path in before.keys().chain([&dir]) {
                use std::os::unix::fs::PermissionsExt;
                let mode = if path.is_dir() { mode_of_dir } else { mode_of_file };
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
        };
        for (mode_of_dir, mode_of_file) in [(0o555, 0o444), (0o775, 0o664)] {
            protect(mode_of_dir, mode_of_file);
            let pool = build(Pool::builder().memory(0).disk(disk(&dir)).recorded());
            for n in [10, 1_000, 300_000] {
                assert_eq!(pool.run(func.call(n)).unwrap().len(), n as usize);
            }
            assert!(pool.run(func.call(11)).unwrap_err().is_miss());
            pool.forget(&func.call(10)).unwrap();
            assert!(pool.run(func.call(10)).unwrap_err().is_miss(), "forgotten here");
            pool.flush().unwrap();
            pool.clear().unwrap();
            drop(pool);
            assert!(content(&dir) == before, "nothing was written, made or removed");
        }
        assert_eq!(runs(&func), 3);
    });
}

/// What was recorded last year is gone, or a pipeline that refreshes can't be tested at all.
#[test]
fn a_recording_does_not_age() {
    in_time(|| {
        let (_place, dir) = place();
        let clock = ManualClock::new();
        let price = square("recorded::price").ttl(Duration::from_secs(60));
        let denied = Func::named("recorded::denied")
            .cache_errors()
            .fallible(|n: u64| Err::<u64, _>(Denied(n)))
            .ttl(Duration::from_secs(60));
        let settings = || Pool::builder().disk(&dir).clock(clock.clone());
        let record = build(settings());
        record.run(price.call(3)).unwrap();
        record.run(denied.call(3)).unwrap_err();
        drop(record);
        clock.advance(Duration::from_secs(365 * 86_400));
        assert!(build(settings()).get(&price.call(3)).is_none(), "the clock is that of the pool");
        let pool = build(settings().recorded());
        for _ in 0..2 {
            assert_eq!(*pool.run(price.call(3)).unwrap(), 9);
            assert_eq!(*pool.run(price.call(3).refresh()).unwrap(), 9);
            assert!(pool.run(denied.call(3)).unwrap_err().is_failed(), "errors that are kept are recorded");
        }
        assert!(pool.get(&price.call(3)).is_some() && pool.explain(&price.call(3)).is_hit());
        assert_eq!((runs(&price), runs(&denied)), (1, 1));
    });
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Denied(u64);

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is denied", self.0)
    }
}

impl std::error::Error for Denied {}

/// The text sends people in the wrong direction: the recording is there, but of other code.
#[test]
fn a_miss_says_why_and_what_to_do() {
    in_time(|| {
        let (_place, dir) = place();
        let func = |version: u32| square("recorded::versions").version(version);
        Pool::open(&dir).unwrap().run(func(1).call(3)).unwrap();
        let pool = Pool::recorded(&dir).unwrap();
        let text = pool.run(func(2).call(3)).unwrap_err().to_string();
        assert!(text.contains("another version of the function: version 1, not version 2"), "{text}");
        let unrecordable = Func::named("recorded::in_memory").in_memory().func(|n: u64| n);
        let text = pool.run(unrecordable.call(3)).unwrap_err().to_string();
        assert!(text.contains("it is `in_memory`, which is never recorded on disk"), "{text}");
        // A body's error says what was missing inside.
        let caller =
            Func::named("recorded::caller").resource(func(2)).fallible(|func: &Func<u64, u64>, n: u64| {
                let pool = Pool::current().expect("inside a task");
                pool.set_recorded(true);
                pool.run(func.call(n)).map(|square| *square)
            });
        let error = Pool::new().run(caller.call(3)).unwrap_err();
        assert!(error.is_miss() && error.to_string().starts_with("in `recorded::caller`: "), "{error}");
        assert!(error.to_string().ends_with("run or insert it before `set_recorded(true)`"), "{error}");
    });
}

/// A wrong path is an empty recording, and every test fails with a miss that has nothing to do with it.
#[test]
fn a_recording_that_is_not_there_is_an_error_at_once() {
    in_time(|| {
        let (_place, dir) = place();
        let refused = || Pool::recorded(&dir).unwrap_err();
        for make in [None, Some(())] {
            make.iter().for_each(|()| fs::create_dir(&dir).unwrap());
            let error = refused();
            assert!(error.is_store(), "{error:?}");
            let text = error.to_string();
            assert!(text.starts_with(&format!("the recording `{}` can't be read", dir.display())), "{text}");
            assert!(text.contains("record it first"), "{text}");
        }
    });
}

/// A test of what is asked for needs a directory, though it could do with a pool that has just computed it.
#[test]
fn memory_is_a_recording_as_well() {
    in_time(|| {
        let (pool, square) = (pool(2), square("recorded::memory"));
        pool.run(square.call(3)).unwrap();
        pool.set_recorded(true);
        assert_eq!(*pool.run(square.call(3).refresh()).unwrap(), 9);
        assert!(pool.run(square.call(4)).unwrap_err().is_miss());
        let results = pool.map([2, 3].map(|n| square.call(n)));
        assert_eq!(results.map(|result| result.is_ok()).collect::<Vec<_>>(), [false, true]);
        pool.set_recorded(false);
        assert_eq!(*pool.run(square.call(4)).unwrap(), 16, "a miss is not kept");
        assert_eq!(*pool.run(square.call(3).refresh()).unwrap(), 9);
        assert_eq!(runs(&square), 3);
        let never = build(Pool::builder().recorded());
        assert!(never.run(square.call(3)).unwrap_err().is_miss(), "without a directory nothing is known");
    });
}

/// Everyone who waits for a miss waits for ever, or it takes the slot of a limit with it.
#[test]
fn all_who_wait_for_a_miss_are_told() {
    in_time(|| {
        let limit = memopool::Limit::new("recorded", 1);
        let func = square("recorded::shared").limit(&limit);
        let (stepper, gate) = (Stepper::new(1), Gate::default());
        let pool = build(Pool::builder().executor(stepper.clone()).recorded());
        let tasks = [pool.submit(func.call(3)), pool.submit(func.call(3)), pool.submit(func.call(4))];
        tasks[0].on_done({
            let gate = gate.clone();
            move |result| {
                assert!(result.as_ref().is_err_and(|error| error.is_miss()));
                gate.open();
            }
        });
        stepper.run_until_idle();
        gate.pass();
        assert!(tasks.iter().all(|task| task.wait().is_err_and(|error| error.is_miss())));
        pool.set_recorded(false);
        let task = pool.submit(func.call(3));
        stepper.run_until_idle();
        assert_eq!(*task.wait().unwrap(), 9);
    });
}
