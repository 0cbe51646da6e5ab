//! How much the directory takes, what survives there, and what it costs to open it.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memopool::testing::{Faults, Op};
use memopool::{Disk, Func, MIN_DISK, Pool};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Place, as_child, bare, block, bytes_in, bytes_of, doubled, say, scale, skip};
use crate::{Counter, Gate, build, hold, in_time};

/// The directory grows beyond what its user allowed, or readers get wrong bytes while it is kept small.
#[test]
fn the_bound_holds_under_continuous_writes() {
    in_time(|| {
        let place = Place::new();
        let (bound, segment) = (2 << 20, 64 << 10);
        let total = scale("MiB written into a bound of 2 MiB", 24, 200) << 20;
        let disk = || place.disk().max_bytes(bound).backlog(256 << 10);
        let pool = build(bare().threads(1).disk(disk()));
        let sizes = [50, 300, 4_000, 20, 12_000, 100_000, 700, 1, 300_000, 16_000, 60, 500_000];
        let size = |seed: u64| sizes[seed as usize % sizes.len()];
        let (done, written, most, hits) =
            (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    most.fetch_max(bytes_in(&place.path()), Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                let pool = build(bare().disk(disk()));
                while !done.load(Ordering::Acquire) {
                    let newest = written.load(Ordering::Acquire);
                    for seed in newest.saturating_sub(60)..newest {
                        if let Some(found) = pool.get(&block().call((seed, size(seed)))) {
                            assert_eq!(*found, bytes_of(seed, size(seed)));
                            hits.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                assert_eq!(pool.stats().corrupt, 0);
            });
            let (mut bytes, mut seed) = (0, 0);
            while bytes < total {
                pool.run(block().call((seed, size(seed)))).unwrap();
                bytes += size(seed) as u64;
                seed += 1;
                written.store(seed, Ordering::Release);
            }
            pool.flush().unwrap();
            done.store(true, Ordering::Release);
        });
        let stats = pool.stats();
        let most = most.into_inner();
        say(format_args!("at most {most} bytes of {bound}, {} hits meanwhile", hits.into_inner()));
        // (The marks for backups and git are not counted.)
        assert!(most <= bound + segment + 1024, "{most} bytes, bound {bound}");
        assert!(most > bound / 2, "it was filled: {most}");
        assert!(stats.disk_bytes <= bound + segment, "{stats}");
        assert_eq!((stats.spilled, stats.store_errors, stats.corrupt), (stats.computed, 0, 0), "{stats}");
        assert!(pool.get(&block().call((0, size(0)))).is_none(), "the oldest had to go");
    });
}

/// Where a value's decoder waits, once it has begun.
static STOP: Mutex<Option<(Gate, Gate)>> = Mutex::new(None);

/// Large, and decoded slowly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Slow {
    #[serde(deserialize_with = "wait")]
    first: u64,
    rest: Vec<u8>,
}

fn wait<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let first = u64::deserialize(from)?;
    let stop = STOP.lock().unwrap().take();
    if let Some((begun, gate)) = stop {
        begun.open();
        gate.pass();
    }
    Ok(first)
}

/// An entry is evicted under its reader, who gets an error, or another's bytes.
#[test]
fn an_entry_in_use_stays_readable() {
    in_time(|| {
        let place = Place::new();
        let disk = || place.disk().max_bytes(4 << 20);
        let slow = Func::new("disk::slow", |n: u64| Slow { first: n, rest: bytes_of(n, 1_500_000) });
        let pool = build(bare().disk(disk()));
        let made = pool.run(slow.call(1)).unwrap();
        pool.flush().unwrap();
        let (begun, gate) = (Gate::default(), Gate::default());
        *STOP.lock().unwrap() = Some((begun.clone(), gate.clone()));
        thread::scope(|scope| {
            let reader = scope.spawn(|| build(bare().disk(disk())).get(&slow.call(1)));
            begun.pass();
            for seed in 0..60 {
                pool.run(block().call((seed, 150_000))).unwrap();
            }
            pool.flush().unwrap();
            assert!(pool.get(&slow.call(1)).is_none(), "evicted meanwhile");
            gate.open();
            assert_eq!(reader.join().unwrap(), Some(made));
        });
    });
}

/// What is used every day is thrown away like what nobody asked for again.
#[test]
fn what_is_used_survives_what_is_not() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let pool = build(bare().threads(1).disk(place.disk().max_bytes(1 << 20).backlog(64 << 10)));
        let func = Func::named("disk::used").resource(runs.clone()).func(|runs: &Counter, n: u64| {
            runs.up();
            bytes_of(n, 200)
        });
        let used = |n: &u64| n.is_multiple_of(10);
        for n in 0..400 {
            pool.run(func.call(n)).unwrap();
        }
        for n in 400..8_000 {
            pool.run(func.call(n)).unwrap();
            if n.is_multiple_of(200) {
                pool.flush().unwrap();
                (0..400).filter(used).for_each(|n| drop(pool.get(&func.call(n))));
            }
        }
        pool.flush().unwrap();
        let kept = |which: &dyn Fn(&u64) -> bool| {
            (0..400).filter(which).filter(|n| pool.get(&func.call(*n)).is_some()).count()
        };
        assert_eq!(kept(&used), 40, "all that were used");
        assert_eq!(kept(&|n| !used(n)), 0, "none that were not: the log was written over twice");
        assert_eq!(runs.get(), 8_000);
    });
}

/// Where not all that is used can stay, an hour's work goes and a millisecond's stays.
#[test]
fn what_took_long_survives_what_did_not() {
    in_time(|| {
        let place = Place::new();
        let pool = build(bare().threads(1).disk(place.disk().max_bytes(1 << 20).backlog(64 << 10)));
        // Every fourth takes ten milliseconds, the others some microseconds; on a busy machine some of them one or two.
        let dear = |n: &u64| n.is_multiple_of(4);
        let func = Func::new("disk::dear", |n: u64| {
            let start = Instant::now();
            while n.is_multiple_of(4) && start.elapsed() < Duration::from_millis(10) {
                std::hint::spin_loop();
            }
            bytes_of(n, 300)
        });
        for n in 0..600 {
            pool.run(func.call(n)).unwrap();
        }
        pool.flush().unwrap();
        // All are used: more than second chances are given for.
        (0..600).for_each(|n| assert!(pool.get(&func.call(n)).is_some()));
        let mut seed = 0;
        while pool.get(&func.call(599)).is_some() && seed < 10_000 {
            pool.run(block().call((seed, 1000))).unwrap();
            pool.flush().unwrap();
            // (599 is looked at, and so used.)
            seed += 1;
            if seed == 1100 {
                break;
            }
        }
        let kept = |which: &dyn Fn(&u64) -> bool| {
            (0..599).filter(which).filter(|n| pool.get(&func.call(*n)).is_some()).count()
        };
        let (dears, cheaps) = (kept(&dear), kept(&|n| !dear(n)));
        say(format_args!("{dears} of 150 dear ones and {cheaps} of 450 cheap ones are left"));
        assert!(dears >= 40 && dears > cheaps, "{dears} dear, {cheaps} cheap");
    });
}

/// With many entries some are lost: when the index grows, or when it has to be found anew.
#[test]
fn a_growing_index_loses_nothing() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let entries = scale("small entries", 20_000, 100_000);
        let func = doubled(&runs);
        let pool = build(bare().disk(place.disk()));
        let first = std::fs::metadata(place.index()).unwrap().len();
        assert!(pool.map((0..entries).map(|n| func.call(n))).all(|result| result.is_ok()));
        let all = |pool: &Pool| {
            (0..entries).filter(|n| pool.get(&func.call(*n)).as_deref() == Some(&(n * 2))).count()
        };
        assert_eq!(all(&pool) as u64, entries, "at once");
        drop(pool);
        let grown = std::fs::metadata(place.index()).unwrap().len();
        assert!(grown >= entries * 32 && grown > first * 4, "{first} bytes became {grown}");
        assert_eq!(all(&place.bare()) as u64, entries, "after a restart");
        place.lose_index();
        assert_eq!(all(&place.bare()) as u64, entries, "after the index was lost");
        let rebuilt = std::fs::metadata(place.index()).unwrap().len();
        assert!(rebuilt <= grown * 4 && rebuilt >= entries * 32, "{rebuilt} bytes");
        assert_eq!(runs.get(), entries);
    });
}

/// An index from before a growth is used on by the other pool of the directory, which misses what is new.
#[test]
fn all_pools_follow_a_growing_index() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let func = doubled(&runs);
        let (writer, reader) = (place.bare(), place.bare());
        for n in 0..4000 {
            writer.run(func.call(n)).unwrap();
            if n.is_multiple_of(100) {
                writer.flush().unwrap();
                assert!(reader.get(&func.call(n)).is_some(), "{n}");
            }
        }
        writer.flush().unwrap();
        reader.run(func.call(5000)).unwrap();
        reader.flush().unwrap();
        assert!(writer.get(&func.call(5000)).is_some());
        assert!((0..4000).all(|n| reader.get(&func.call(n)).is_some()));
    });
}

/// Child: opens the directory and takes one result from it.
pub(super) fn first_hit(place: &Path, n: u64) {
    let pool = build(Pool::builder().threads(1).disk(Disk::new(place)));
    assert_eq!(*pool.run(doubled(&Counter::default()).call(n)).unwrap(), n * 2);
    assert_eq!(pool.stats().disk_hits, 1);
}

/// Opening a large cache takes longer than a small one: a directory is walked, or the index read.
#[test]
fn opening_costs_the_same_whatever_is_there() {
    in_time(|| {
        if Command::new("strace").arg("-V").output().is_err() {
            return skip("system calls of opening (strace is not here)");
        }
        let calls = |entries: u64| {
            let place = Place::new();
            let (pool, func) = (place.bare(), doubled(&Counter::default()));
            assert!(pool.map((0..entries).map(|n| func.call(n))).all(|result| result.is_ok()));
            drop(pool);
            let report = place.path().with_extension("strace");
            let of_files =
                "trace=%file,read,pread64,write,pwrite64,getdents64,fstat,mmap,flock,ftruncate,fallocate";
            let before = ["-f", "-c", "-o", report.to_str().unwrap(), "-e", of_files];
            let out = as_child("strace", &before, "first hit", &place.path(), entries / 2).output().unwrap();
            if !out.status.success() {
                let text = String::from_utf8_lossy(&out.stderr).into_owned();
                assert!(!text.contains("panicked"), "{text}");
                return None;
            }
            let report = std::fs::read_to_string(report).unwrap();
            let total = report.lines().find(|line| line.ends_with("total")).unwrap();
            // % time, seconds, usecs/call (missing in older versions), calls, errors (may be missing), total.
            let numbers: Vec<&str> = total.split_whitespace().collect();
            Some(numbers[3].parse::<u64>().unwrap())
        };
        let many = scale("entries in the larger of two directories", 10_000, 100_000);
        match (calls(10), calls(many)) {
            (Some(few_entries), Some(many_entries)) => {
                say(format_args!("{few_entries} calls for 10 entries, {many_entries} for {many}"));
                assert!(many_entries <= few_entries + 8, "{few_entries} became {many_entries}");
            }
            _ => skip("system calls of opening (strace may not trace here)"),
        }
    });
}

/// What was looked for on the disk in vain waits for its body uncounted: a submitter without end fills the memory, and each
/// submission costs as much as so many are queued.
#[test]
fn the_queue_is_bounded_behind_the_first_look_too() {
    in_time(|| {
        let place = Place::new();
        let pool = build(Pool::builder().threads(1).queue(5).disk(place.disk()));
        let (started, gate) = (Gate::default(), Gate::default());
        let both = (started.clone(), gate.clone());
        let func =
            Func::named("disk::queued").resource(both).func(|(started, gate): &(Gate, Gate), n: u64| {
                started.open();
                gate.pass();
                n
            });
        let looks_wait = hold(&pool);
        let tasks = pool.submit_all((0..5).map(|n| func.call(n)));
        looks_wait.open();
        // Look-ups come first: when one body runs, all five were looked for.
        started.pass();
        let (queued, last, beyond) =
            (pool.stats().queued, pool.try_submit(func.call(5)), pool.try_submit(func.call(6)));
        gate.open();
        assert_eq!(queued, 4);
        assert!(beyond.is_err(), "the queue was full");
        let last = last.expect("room for one");
        tasks.iter().chain([&last]).for_each(|task| _ = task.wait().unwrap());
    });
}

/// Who changes their `mac_key` gets a directory of twice the size: what has the old key is neither counted nor evicted.
#[test]
fn what_another_key_sealed_counts() {
    in_time(|| {
        let place = Place::new();
        let (bound, segment) = (MIN_DISK, 64 << 10);
        let fill = |disk: Disk, seeds: u64| {
            let pool = build(bare().threads(1).disk(disk.max_bytes(bound).backlog(64 << 10)));
            for seed in 0..seeds {
                pool.run(block().call((seed, 4000))).unwrap();
            }
            pool.flush().unwrap();
        };
        let newest =
            |place: &Place| place.segments().last().map(|file| file.file_name().map(ToOwned::to_owned));
        fill(place.disk(), 500);
        let before = newest(&place);
        place.lose_index();
        fill(place.disk().mac_key("secret"), 60);
        let bytes = bytes_in(&place.path());
        assert!(bytes <= bound + segment + 1024, "{bytes} bytes, bound {bound}");
        assert!(newest(&place) > before, "a segment's number is used once");
    });
}

/// A file that can't be removed makes the directory grow without end, or keeps all that is newer from being evicted.
#[test]
fn what_can_not_be_removed_counts() {
    in_time(|| {
        let (bound, segment) = (1 << 20, 64 << 10);
        // All of them; or each third.
        for every in [1, 3] {
            let (place, faults) = (Place::new(), Faults::new());
            let disk = place.disk().max_bytes(bound).backlog(64 << 10).faults(&faults);
            let pool = build(bare().threads(1).disk(disk));
            faults.fail_every(Op::Remove, every);
            for seed in 0..1000 {
                pool.run(block().call((seed, 4000))).unwrap();
                if seed.is_multiple_of(20) {
                    let _ = pool.flush();
                }
            }
            let flushed = pool.flush();
            assert_eq!(flushed.is_ok(), every > 1, "{flushed:?}");
            let bytes = bytes_in(&place.path());
            assert!(bytes <= bound + segment + 1024, "{bytes} bytes, bound {bound}, each {every}.");
            assert!(every == 1 || pool.get(&block().call((999, 4000))).is_some());
            faults.heal();
            drop(pool);
            let pool = build(bare().threads(1).disk(place.disk().max_bytes(bound)));
            for seed in 2000..2400 {
                pool.run(block().call((seed, 4000))).unwrap();
            }
            pool.flush().unwrap();
            assert!(pool.get(&block().call((2399, 4000))).is_some());
            let bytes = bytes_in(&place.path());
            assert!(bytes <= bound + segment + 1024, "{bytes} bytes, bound {bound}, healed");
        }
    });
}

/// A process that reads now and then keeps the disk full of what was evicted long ago.
#[cfg(target_os = "linux")]
#[test]
fn readers_let_go_of_what_is_evicted() {
    in_time(|| {
        let place = Place::new();
        let disk = || place.disk().max_bytes(1 << 20).backlog(64 << 10);
        let (writer, reader) = (build(bare().threads(1).disk(disk())), build(bare().disk(disk())));
        let write = |from: u64| {
            for seed in from..from + 400 {
                writer.run(block().call((seed, 4000))).unwrap();
            }
            writer.flush().unwrap();
        };
        write(0);
        assert!((0..400).filter(|seed| reader.get(&block().call((*seed, 4000))).is_some()).count() > 100);
        write(1000);
        write(2000);
        assert!(reader.get(&block().call((2399, 4000))).is_some());
        let seg = place.path().join("v1/seg");
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let links = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let deleted = |link: &std::path::PathBuf| {
            link.starts_with(&seg) && link.to_string_lossy().contains("(deleted)")
        };
        assert_eq!(links.filter(deleted).collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new());
    });
}
