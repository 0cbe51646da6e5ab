//! Small values, large ones, and those that can't be written at all.

use std::fs;
use std::path::Path;
use std::time::Duration;

use memopool::testing::{Faults, Op};
use memopool::{Disk, Explain, Func, Pool, Source};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

use super::{
    Place, Told, as_child, bare, block, bytes_in, bytes_of, is_long, is_on_disk, say, scale, skip,
    this_program,
};
use crate::{Counter, build, in_time, within};

/// Values of some size come back damaged, or not at all: empty, odd, around the border to a file of their own, or large.
#[test]
fn values_of_every_size_come_back() {
    in_time(|| {
        let place = Place::new();
        // Segments of 64 KiB: more than 16 KiB is large.
        let disk = || place.disk().max_bytes(4 << 20);
        let border = 16 << 10;
        let mut sizes = vec![0, 1, 2, 7, 8, 9, 100, 127, 128, 129, 250, 251, 1000, 4096];
        sizes.extend(border - 12..border + 12);
        sizes.extend([
            border - 128,
            border + 128,
            border * 4 - 128,
            border * 4,
            border * 4 + 1,
            100_000,
            500_003,
        ]);
        let pool = build(bare().disk(disk()));
        for (seed, size) in (0..).zip(&sizes) {
            pool.run(block().call((seed, *size))).unwrap();
        }
        assert_eq!(pool.stats().computed, sizes.len() as u64);
        pool.flush().unwrap();
        assert_eq!(pool.stats().spilled, sizes.len() as u64);
        let check = |pool: &Pool, when: &str| {
            for (seed, size) in (0..).zip(&sizes) {
                let found = pool.get(&block().call((seed, *size)));
                assert_eq!(found.as_deref(), Some(&bytes_of(seed, *size)), "{size} bytes, {when}");
            }
            assert_eq!(pool.stats().corrupt, 0);
        };
        check(&pool, "at once");
        drop(pool);
        check(&build(bare().disk(disk())), "after a restart");
        place.lose_index();
        check(&build(bare().disk(disk())), "after the index was lost");
        assert_eq!(bytes_in(&place.path().join("v1/tmp")), 0, "nothing is left of what was under way");
    });
}

/// One value that is too large for the disk stops all others of its function from being written.
#[test]
fn a_value_that_is_too_large_stays_in_memory_alone() {
    in_time(|| {
        let (place, told) = (Place::new(), Told::default());
        let disk = || place.disk().max_bytes(1 << 20);
        let pool = build(told.listen(Pool::builder().threads(1)).disk(disk()));
        for seed in 0..3 {
            assert_eq!(pool.run(block().call((seed, 900_000))).unwrap().len(), 900_000);
            pool.run(block().call((seed, 10))).unwrap();
            assert!(matches!(pool.explain(&block().call((seed, 900_000))), Explain::InMemory));
        }
        pool.flush().unwrap();
        assert_eq!(pool.stats().spilled, 3);
        assert_eq!(told.of("NotStored").len(), 1, "told once: {:?}", told.of("NotStored"));
        assert_eq!(told.of("StoreFailed").len(), 0, "{:?}", told.of("StoreFailed"));
        drop(pool);
        let pool = build(bare().disk(disk()));
        assert!((0..3).all(|seed| pool.get(&block().call((seed, 10))).is_some()));
        assert_eq!(pool.get(&block().call((0, 900_000))), None);
        assert_eq!(bytes_in(&place.path().join("v1/tmp")), 0);
    });
}

/// One failure of the disk, and a function's results are never written again.
#[test]
fn a_large_value_that_meets_a_full_disk_does_not_condemn_its_function() {
    in_time(|| {
        let (place, told, faults) = (Place::new(), Told::default(), Faults::new());
        let disk = place.disk().max_bytes(4 << 20).faults(&faults);
        let pool = build(told.listen(Pool::builder().threads(1)).disk(disk));
        pool.run(block().call((0, 100_000))).unwrap();
        // So that nothing else is written while an operation is to fail.
        pool.flush().unwrap();
        for (seed, op) in [(1, Op::Create), (2, Op::Write), (3, Op::Rename)] {
            faults.fail_nth(op, 1);
            assert_eq!(*pool.run(block().call((seed, 100_000))).unwrap(), bytes_of(seed, 100_000));
            faults.heal();
            assert_eq!(told.of("StoreFailed").len() as u64, seed, "{op:?}: {:?}", told.of(""));
            // It pauses after a failure, for some tenths of a second.
            crate::until(|| {
                pool.run(block().call((seed + 10, 100_000)).refresh()).unwrap();
                told.of("StoreRecovered").len() as u64 == seed
            });
        }
        assert_eq!(told.of("NotStored").len(), 0, "{:?}", told.of("NotStored"));
        drop(pool);
        let pool = place.bare();
        for seed in [0, 11, 12, 13] {
            assert_eq!(pool.get(&block().call((seed, 100_000))).as_deref(), Some(&bytes_of(seed, 100_000)));
        }
        assert_eq!(bytes_in(&place.path().join("v1/tmp")), 0);
    });
}

/// Refuses to be written: always, by a panic, or for some values.
#[derive(Debug, PartialEq, Deserialize)]
struct Stubborn(u64);

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0..100 => Err(serde::ser::Error::custom("on principle")),
            100..200 => panic!("serialising went wrong"),
            n => to.serialize_newtype_struct("Stubborn", &n),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Outer {
    a: u64,
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Inner {
    b: u64,
}

/// Runs two calls of a function in a pool with disk, each twice; gives what was told and how much was written.
fn keeps_in_memory<R>(func: Func<u64, R>, from: u64)
where
    R: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + Send + Sync + 'static,
{
    let (place, told) = (Place::new(), Told::default());
    let func = func.weigh(|_| 100);
    let pool = build(told.listen(Pool::builder().threads(1)).disk(place.disk()));
    for n in from..from + 2 {
        let first = pool.run(func.call(n)).unwrap();
        assert_eq!(pool.run(func.call(n)).unwrap(), first);
    }
    pool.flush().unwrap();
    let (name, stats) = (func.name(), pool.stats());
    assert_eq!((stats.computed, stats.memory_hits, stats.spilled), (2, 2, 0), "{name}: {stats}");
    assert_eq!((stats.store_errors, stats.corrupt), (0, 0), "{name}");
    assert_eq!(told.of("NotStored").len(), 1, "{name}: {:?}", told.of(""));
    assert_eq!(told.of("StoreFailed").len(), 0, "{name}");
    drop(pool);
    let pool = place.pool();
    assert_eq!(pool.get(&func.call(from)), None, "{name}");
    pool.run(func.call(from)).unwrap();
    assert_eq!((pool.stats().computed, pool.stats().corrupt), (1, 0), "{name}");
}

/// A type that can't be written fails its tasks, or comes back as something else.
#[test]
fn what_does_not_come_back_stays_in_memory() {
    in_time(|| {
        keeps_in_memory(Func::new("disk::refuses", Stubborn), 1);
        keeps_in_memory(Func::new("disk::panics", Stubborn), 101);
        keeps_in_memory(Func::new("disk::json", |n: u64| serde_json::json!({ "n": n })), 1);
        keeps_in_memory(Func::new("disk::untagged", |n: u64| Untagged::Text(n.to_string())), 1);
        keeps_in_memory(Func::new("disk::flattened", |n: u64| Outer { a: n, inner: Inner { b: n } }), 1);
    });
}

/// Without a weight of its own such a value fails its task, or kills the pool.
#[test]
fn what_can_neither_be_written_nor_weighed_reaches_its_waiters() {
    in_time(|| {
        let (place, told) = (Place::new(), Told::default());
        let pool = build(told.listen(Pool::builder().threads(1)).disk(place.disk()));
        let func = Func::new("disk::stubborn", Stubborn);
        for n in [5, 150, 500] {
            assert_eq!(pool.run(func.call(n)).unwrap().0, n);
        }
        assert_eq!(pool.stats().computed, 3);
        assert!(!told.of("NotStored").is_empty());
        crate::assert_usable(&pool);
    });
}

/// Says one character of all its text, so that it is compressed well.
#[cfg(any(feature = "lz4", feature = "zstd"))]
fn repetitive() -> Func<u64, String> {
    Func::new("disk::repetitive", |n: u64| format!("line {n} of many; ").repeat(1000))
}

/// What was compressed can't be read by those who don't compress, or nothing is made smaller.
#[cfg(any(feature = "lz4", feature = "zstd"))]
#[test]
fn compressed_results_are_smaller_and_read_by_everyone() {
    use memopool::Compress;
    in_time(|| {
        let ways = [
            #[cfg(feature = "lz4")]
            Compress::Lz4,
            #[cfg(feature = "zstd")]
            Compress::Zstd(3),
        ];
        for how in ways {
            let place = Place::new();
            let pool = build(bare().disk(place.disk().compress(how)));
            let noise = || Func::new("disk::noise", |n: u64| blake3_like(n, 20_000));
            for n in 0..10 {
                pool.run(repetitive().call(n)).unwrap();
                pool.run(noise().call(n)).unwrap();
            }
            drop(pool);
            let stored: u64 = place.segments().iter().map(|file| fs::metadata(file).unwrap().len()).sum();
            let raw = 10 * 20_000;
            assert!((raw..raw + 100_000).contains(&stored), "{how:?}: {stored} bytes");
            for disk in [place.disk(), place.disk().compress(how)] {
                let pool = build(bare().disk(disk));
                for n in 0..10 {
                    assert_eq!(
                        *pool.run(repetitive().call(n)).unwrap(),
                        format!("line {n} of many; ").repeat(1000)
                    );
                    assert_eq!(*pool.run(noise().call(n)).unwrap(), blake3_like(n, 20_000));
                }
                assert_eq!((pool.stats().computed, pool.stats().corrupt), (0, 0), "{how:?}");
            }
            place.lose_index();
            assert!(place.bare().get(&repetitive().call(3)).is_some(), "{how:?}, rebuilt");
        }
    });
}

/// A process with a smaller bound calls sound results of others damaged, and takes them from everybody.
#[cfg(any(feature = "lz4", feature = "zstd"))]
#[test]
fn what_is_short_for_one_and_long_for_another_is_read_by_both() {
    use memopool::Compress;
    in_time(|| {
        let ways = [
            Compress::None,
            #[cfg(feature = "lz4")]
            Compress::Lz4,
            #[cfg(feature = "zstd")]
            Compress::Zstd(3),
        ];
        for how in ways {
            let place = Place::new();
            // Half of it gets small: the other half is more than a quarter of the smaller one's segment.
            let half = Func::new("disk::half", |n: u64| [blake3_like(n, 100_000), vec![0; 100_000]].concat());
            place.bare().run(half.call(1)).unwrap();
            build(bare().disk(place.disk().compress(how))).run(half.call(2)).unwrap();
            for pool in [build(bare().disk(place.disk().max_bytes(1 << 20))), place.bare()] {
                for n in [1, 2] {
                    let task = pool.submit(half.call(n));
                    assert_eq!(task.wait().unwrap()[..100_000], blake3_like(n, 100_000), "{how:?}");
                    assert_eq!(task.source(), Some(Source::Disk), "{how:?}");
                }
                assert_eq!(pool.stats().corrupt, 0, "{how:?}");
            }
        }
    });
}

/// A long error is computed again by each process, although errors are to be kept.
#[test]
fn kept_errors_of_every_size_come_back() {
    in_time(|| {
        let place = Place::new();
        let func = Func::named("disk::long_error")
            .cache_errors()
            .fallible(|length: usize| -> Result<u64, String> { Err("e".repeat(length)) });
        // More than 16 KiB is large.
        let disk = || place.disk().max_bytes(1 << 20);
        let pool = build(bare().disk(disk()));
        for length in [0, 10, 20_000, 100_000] {
            assert!(pool.run(func.call(length)).is_err());
        }
        drop(pool);
        let pool = build(bare().disk(disk()));
        for length in [0, 10, 20_000, 100_000] {
            let task = pool.submit(func.call(length));
            let error = task.wait().unwrap_err();
            assert!(error.to_string().contains(&"e".repeat(length)));
            assert_eq!(task.source(), Some(Source::Disk), "{length} bytes");
        }
        assert_eq!((pool.stats().corrupt, pool.stats().computed, pool.stats().failed), (0, 0, 0));
    });
}

/// Bytes that nothing makes smaller.
#[cfg(any(feature = "lz4", feature = "zstd"))]
fn blake3_like(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn text() -> Func<u64, String> {
    Func::new("disk::text", |bytes: u64| {
        let mut text = String::with_capacity(bytes as usize);
        for n in 0..bytes.div_ceil(BLOCK) {
            let left = (bytes - text.len() as u64).min(BLOCK) as usize;
            text.push_str(&block_of_text(n)[..left]);
        }
        text
    })
}

const BLOCK: u64 = 1 << 20;

/// A mebibyte that says which one it is, so that no other can stand for it.
fn block_of_text(n: u64) -> String {
    let mut block = format!("{n:015} ");
    block.push_str(&"sixteen letters.".repeat((BLOCK >> 4) as usize - 1));
    block
}

/// Fails unless that is the text of so many bytes.
fn check_text(text: &str, bytes: u64) {
    assert_eq!(text.len() as u64, bytes);
    for (n, block) in text.as_bytes().chunks(BLOCK as usize).enumerate() {
        assert!(block == &block_of_text(n as u64).as_bytes()[..block.len()], "block {n} is wrong");
    }
}

/// Room for the largest, twice.
const ROOM: u64 = 5 << 30;

/// Child: computes a text of `n` bytes and writes it.
pub(super) fn store_text(place: &Path, n: u64) {
    let pool = build(Pool::builder().threads(1).memory(0).disk(Disk::new(place).max_bytes(ROOM)));
    check_text(&pool.run(text().call(n)).unwrap(), n);
    pool.flush().unwrap();
    assert_eq!(pool.stats().spilled, 1);
    say(format_args!("peak {}", peak()));
}

/// Child: reads it.
pub(super) fn load_text(place: &Path, n: u64) {
    let pool = build(Pool::builder().threads(1).memory(0).disk(Disk::new(place).max_bytes(ROOM)));
    check_text(&pool.get(&text().call(n)).expect("it is on the disk"), n);
    assert_eq!((pool.stats().corrupt, pool.stats().store_errors), (0, 0));
    say(format_args!("peak {}", peak()));
}

/// Child: computes a text of `n` bytes, which is more than the directory may give to one value.
pub(super) fn refuse_text(place: &Path, n: u64) {
    let told = Told::default();
    let builder = told.listen(Pool::builder().threads(1).memory(2 * n));
    let pool = build(builder.disk(Disk::new(place).max_bytes(2 * n)));
    for _ in 0..2 {
        check_text(&pool.run(text().call(n)).unwrap(), n);
    }
    pool.flush().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.computed, stats.memory_hits, stats.spilled, stats.store_errors), (1, 1, 0, 0));
    let told = told.of("NotStored");
    assert!(told.len() == 1 && told[0].contains("Disk::max_bytes"), "{told:?}");
    assert_eq!(fs::read_dir(place.join("v1/tmp")).unwrap().count(), 0, "what it had written");
    say(format_args!("peak {}", peak()));
}

/// The most KiB that were resident so far, but for files that are mapped (this program is one); 0 where the system does not
/// say so.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    kib("VmHWM:").zip(kib("RssFile:")).map_or(0, |(all, files)| all - files)
}

/// The most KiB that were resident in a child with that role; `None`: the system does not say it.
fn peak_of(role: &str, place: &Path, bytes: u64) -> Option<u64> {
    let program = this_program();
    let mut child = as_child(program.to_str().unwrap(), &[], role, place, bytes);
    let out = child.output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{role}: {text}");
    let peak = text.lines().find_map(|line| line.strip_prefix("peak ")).unwrap().parse::<u64>().unwrap();
    if peak == 0 {
        skip("the peak of large values (the system does not say it)");
        return None;
    }
    say(format_args!("{role}: {} KiB resident beside {bytes} bytes", peak.saturating_sub(bytes >> 10)));
    Some(peak)
}

/// A large result needs twice its size in memory, and the process is killed.
#[test]
fn large_values_are_streamed() {
    in_time(|| {
        let place = Place::new();
        let megabytes = scale("MiB in one value", 40, 300);
        for role in ["store text", "load text"] {
            let Some(peak) = peak_of(role, &place.path(), megabytes << 20) else { return };
            assert!(peak < (megabytes << 10) + SPARE, "{role}: {peak} KiB");
        }
    });
}

/// What may be resident beside a large value, in KiB, stacks included.
const SPARE: u64 = 16 << 10;

/// A result whose length does not fit some counter on the way (31 bits, 32 bits) comes back changed, cut, or not at all, or
/// takes more memory than the machine has.
#[test]
fn values_of_two_gibibytes_are_streamed() {
    if !is_long() {
        return skip(
            "values of two GiB (MEMOPOOL_LONG=1 takes them: some 15 GiB of disk, one after the other, and 3 of memory)",
        );
    }
    within(Duration::from_secs(900), || {
        for bytes in [(1 << 31) - 1, (1 << 31) + 1] {
            let place = Place::new();
            for role in ["store text", "load text"] {
                let Some(peak) = peak_of(role, &place.path(), bytes) else { return };
                assert!(peak < (bytes >> 10) + SPARE, "{role}: {peak} KiB for {bytes} bytes");
            }
        }
        // Beyond what the directory gives to one value.
        let place = Place::new();
        peak_of("refuse text", &place.path(), (1 << 31) + 1);
    });
}

/// A function whose first results can't be written, but others could, fills the listener's log.
#[test]
fn a_type_is_tried_once() {
    in_time(|| {
        let (place, told, tried) = (Place::new(), Told::default(), Counter::default());
        let func = Func::named("disk::tried")
            .resource(tried.clone())
            .func(|tried: &Counter, n: u64| {
                tried.up();
                Stubborn(n)
            })
            .weigh(|_| 100);
        let pool = build(told.listen(Pool::builder().threads(1)).disk(place.disk()));
        for n in [1, 2, 150, 3, 4] {
            pool.run(func.call(n)).unwrap();
        }
        assert_eq!((told.of("NotStored").len(), tried.get()), (1, 5));
        assert!(!is_on_disk(&pool.explain(&func.call(1))));
    });
}

/// Comes back only if it is even.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
struct Even(u64);

impl From<Even> for u64 {
    fn from(even: Even) -> u64 {
        even.0
    }
}

impl TryFrom<u64> for Even {
    type Error = String;

    fn try_from(n: u64) -> Result<Even, String> {
        if n.is_multiple_of(2) { Ok(Even(n)) } else { Err(format!("{n} is odd")) }
    }
}

/// A value that never comes back, of a type whose others do, is written anew by every process, and told as damage each time.
#[test]
fn what_did_not_come_back_is_not_written_again() {
    in_time(|| {
        let (place, func) = (Place::new(), Func::new("disk::even", Even));
        let process = |told: &Told| {
            let pool = build(told.listen(Pool::builder().threads(1)).disk(place.disk()));
            for n in [2, 3, 4] {
                assert_eq!(pool.run(func.call(n)).unwrap().0, n);
            }
            pool.flush().unwrap();
            pool.stats()
        };
        // The first value of a function is tried, and it comes back: so all are written.
        assert_eq!(process(&Told::default()).spilled, 3);
        for later in [1, 0, 0] {
            let told = Told::default();
            let stats = process(&told);
            assert_eq!((stats.disk_hits, stats.computed, stats.spilled), (2, 1, 0), "{stats}");
            assert_eq!(stats.corrupt, later, "what lies there is told once, then gone");
            assert_eq!(told.of("NotStored").len(), 1, "{:?}", told.of(""));
        }
    });
}
