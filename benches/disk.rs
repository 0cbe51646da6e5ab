//! What the disk tier costs, each path beside its floor in the same run.
//!
//! `cargo bench --bench disk` prints a table: medians of interleaved rounds, so that a machine that slows down slows all
//! sides. `-- --quick` takes few rounds of few entries: that it runs, not what it costs. Page cache warm; what two processes
//! cost each other is not measured here.
#![expect(clippy::print_stdout, reason = "a bench reports on its standard output")]
#![expect(clippy::disallowed_methods, reason = "a bench measures outside of the crate's clock")]

#[path = "common/rounds.rs"]
mod rounds;

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use memopool::{Disk, Func, Pool, Spill};
use rounds::{Side, interleave, timed};
use tempfile::TempDir;

/// How much is measured.
#[derive(Clone, Copy)]
struct Scale {
    quick: bool,
}

impl Scale {
    fn of(self, full: usize) -> usize {
        if self.quick { (full / 50).max(3) } else { full }
    }
}

fn line(what: &str, ours: f64, floor: f64, of: &str, bar: f64) {
    let ratio = ours / floor;
    let verdict = if ratio <= bar { "" } else { "  MISSED" };
    println!("{what:<44}{ours:>12.0} ns");
    println!("  {of:<42}{floor:>12.0} ns   ratio {ratio:.2} (bar {bar}){verdict}");
}

/// Not compressible, and not the same twice.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let words = (0..).map(|n: u64| (n ^ seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(|word| word.rotate_left(29).to_le_bytes()).take(length).collect()
}

fn block() -> Func<(u64, usize), Vec<u8>> {
    Func::new("block", |(seed, length): (u64, usize)| bytes(seed, length))
}

fn dir() -> TempDir {
    tempfile::tempdir().expect("room for a temporary directory")
}

fn open(dir: &Path) -> Pool {
    Pool::builder()
        .threads(1)
        .memory(0)
        .disk(Disk::new(dir.join("cache")))
        .build()
        .expect("a usable directory")
}

/// The same values in one file, one after the other: what is read when nothing has to be found or checked.
struct Plain {
    file: File,
    /// Offset, length and hash.
    places: Vec<(u64, usize, blake3::Hash)>,
    /// So many bytes are read before each value.
    before: usize,
    buffer: Vec<u8>,
}

impl Plain {
    fn new(dir: &Path, count: usize, length: usize) -> Plain {
        let path = dir.join("plain");
        let mut file = File::create(&path).expect("room");
        let (mut places, mut offset) = (Vec::new(), 0);
        for seed in 0..count as u64 {
            let encoded = bincode::encode_to_vec(bytes(seed, length), bincode::config::standard());
            let encoded = encoded.expect("bytes can be encoded");
            file.write_all(&encoded).expect("room");
            places.push((offset, encoded.len(), blake3::hash(&encoded)));
            offset += encoded.len() as u64;
        }
        Plain { file: File::open(&path).expect("just written"), places, before: 0, buffer: Vec::new() }
    }

    /// The records themselves, of the cache in that directory: what is read when nothing has to be found.
    fn records(dir: &Path, count: usize) -> Plain {
        const HEADER: usize = 128;
        let file = File::open(dir.join("cache/v1/seg/00000001")).expect("a segment");
        let mut places = Vec::new();
        let mut offset = 0;
        for _ in 0..count {
            let mut header = [0; HEADER];
            file.read_exact_at(&mut header, offset).expect("a record");
            let stored = u64::from_le_bytes(header[40..48].try_into().expect("eight bytes")) & 0xff_ffff_ffff;
            let mut record = vec![0; HEADER + stored as usize];
            file.read_exact_at(&mut record, offset).expect("a record");
            places.push((offset, record.len(), blake3::hash(&record)));
            offset += (record.len() as u64).next_multiple_of(8);
        }
        Plain { file, places, before: HEADER, buffer: Vec::new() }
    }

    /// pread + BLAKE3 + decode.
    fn read(&mut self, n: usize) -> Vec<u8> {
        let (offset, length, hash) = self.places[n];
        self.buffer.resize(length, 0);
        self.file.read_exact_at(&mut self.buffer, offset).expect("it is there");
        assert_eq!(blake3::hash(&self.buffer), hash);
        bincode::decode_from_slice(&self.buffer[self.before..], bincode::config::standard())
            .expect("what was encoded")
            .0
    }
}

/// Far enough apart that neither side profits from its neighbour's cache lines.
fn shuffled(count: usize) -> Vec<usize> {
    let step = (count * 5 / 8) | 1;
    let step = (step..).find(|step| gcd(*step, count) == 1).unwrap_or(1);
    (0..count).map(|n| n * step % count).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn hits(scale: Scale) {
    let mut small_hit = 0.0;
    for (length, count) in [(100, 20_000), (4 << 10, 5_000), (64 << 10, 500), (1 << 20, 40)] {
        let count = scale.of(count);
        let dir = dir();
        let (pool, func) = (open(dir.path()), block());
        for seed in 0..count as u64 {
            pool.run(func.call((seed, length))).expect("can't fail");
        }
        pool.flush().expect("room");
        let mut plain = Plain::new(dir.path(), count, length);
        let mut records = Plain::records(dir.path(), count);
        let order = shuffled(count);
        let times = interleave(
            count,
            scale.of(41),
            &mut [
                Box::new(|| {
                    timed(|| {
                        for n in &order {
                            black_box(pool.get(&func.call((*n as u64, length))).expect("kept"));
                        }
                    })
                }),
                Box::new(|| {
                    timed(|| {
                        for n in &order {
                            black_box(plain.read(*n));
                        }
                    })
                }),
                Box::new(|| {
                    timed(|| {
                        for n in &order {
                            black_box(pool.get(&func.call((*n as u64 + 1_000_000, length))));
                        }
                    })
                }),
                Box::new(|| {
                    timed(|| {
                        for n in &order {
                            black_box(records.read(*n));
                        }
                    })
                }),
            ],
        );
        line(
            &format!("hit of {length} bytes (get)"),
            times[0],
            times[1],
            "floor: pread + BLAKE3 + decode",
            1.5,
        );
        println!("  {:<42}{:>12.0} ns", "the same of its whole record", times[3]);
        if length == 100 {
            small_hit = times[0];
            line("miss (get)", times[2], small_hit, "a hit of 100 bytes", 0.5);
        }
    }
    assert!(small_hit > 0.0);
}

/// Cold `map` until everything is safe, against the same bytes written and synced by one loop.
fn writes(scale: Scale) {
    for (length, count) in [(100, 50_000), (64 << 10, 1_000), (1 << 20, 100)] {
        let count = scale.of(count);
        let values: Vec<Vec<u8>> = (0..count as u64).map(|seed| bytes(seed, length)).collect();
        // What is written is made before: both sides copy it.
        let func = Func::named("stored")
            .resource(values.clone())
            .func(|values: &Vec<Vec<u8>>, n: u64| values[n as usize].clone());
        let times = interleave(
            count,
            scale.of(11),
            &mut [
                Box::new(|| {
                    let dir = dir();
                    let pool = Pool::builder().threads(1).memory(0).disk(Disk::new(dir.path().join("cache")));
                    let pool = pool.build().expect("a usable directory");
                    timed(|| {
                        for result in pool.map((0..count as u64).map(|n| func.call(n))) {
                            black_box(result.expect("can't fail"));
                        }
                        pool.flush().expect("room");
                    })
                }),
                Box::new(|| {
                    let dir = dir();
                    let mut file = File::create(dir.path().join("plain")).expect("room");
                    timed(|| {
                        for value in &values {
                            file.write_all(&value.clone()).expect("room");
                        }
                        file.sync_data().expect("a disk");
                    })
                }),
                Box::new(|| {
                    let pool = Pool::builder().threads(1).memory(0).build().expect("valid settings");
                    timed(|| {
                        for result in pool.map((0..count as u64).map(|n| func.call(n))) {
                            black_box(result.expect("can't fail"));
                        }
                    })
                }),
                Box::new(|| {
                    let dir = dir();
                    let pool = open(dir.path());
                    let results =
                        (0..count as u64).zip(&values).map(|(n, value)| (func.call(n), value.clone()));
                    timed(|| pool.insert_all(results).expect("room"))
                }),
            ],
        );
        let bar = if length >= 64 << 10 { 1.0 / 0.7 } else { f64::INFINITY };
        let what = format!("cold map of {length} bytes + flush, each");
        line(&what, times[0], times[1], "floor: sequential write + sync", (bar * 100.0).round() / 100.0);
        println!("  {:<42}{:>12.0} ns", "the same pool without a disk", times[2]);
        println!("  {:<42}{:>12.0} MB/s", "that is", length as f64 * 1e3 / times[0]);
        println!("  {:<42}{:>12.0} ns", "the same values with insert_all", times[3]);
    }
}

/// A new pool and its first result, against two files opened, mapped and read from: each time in a process of its own, which
/// pays for whatever comes first in it.
fn first_hit(scale: Scale) {
    let count = scale.of(100_000);
    let dir = dir();
    let func = block();
    let pool = open(dir.path());
    for result in pool.map((0..count as u64).map(|seed| func.call((seed, 100)))) {
        result.expect("can't fail");
    }
    drop(pool);
    let child = |what: &str| {
        let path = std::env::current_exe().expect("it runs");
        let output = Command::new(path).arg(what).arg(dir.path()).output().expect("a process");
        let nanos = String::from_utf8(output.stdout).ok().and_then(|text| text.trim().parse().ok());
        Duration::from_nanos(nanos.expect("the time it took"))
    };
    let times = interleave(
        1,
        scale.of(401),
        &mut [
            Box::new(|| child(FIRST_HIT)),
            Box::new(|| child(BARE)),
            Box::new(|| child(BARE_HASHED)),
            Box::new(|| child(NO_DISK)),
        ],
    );
    line(
        &format!("open + first hit in a new process, {count} entries"),
        times[0],
        times[1],
        "floor: open, mmap, pread of two files",
        3.0,
    );
    println!("  {:<42}{:>12.0} ns", "the same + a first BLAKE3 of 512 bytes", times[2]);
    println!("  {:<42}{:>12.0} ns", "a pool without a disk", times[3]);
}

const FIRST_HIT: &str = "--first-hit";
const BARE: &str = "--bare";
const BARE_HASHED: &str = "--bare-hashed";
const NO_DISK: &str = "--no-disk";

/// What [`first_hit`] measures, in the process that it started for that.
fn child(what: &str, dir: &Path) {
    let took = match what {
        FIRST_HIT => timed(|| {
            let pool = open(dir);
            black_box(pool.get(&block().call((77, 100))).expect("kept"));
            std::mem::forget(pool);
        }),
        NO_DISK => timed(|| {
            let pool = Pool::builder().threads(1).memory(0).build().expect("valid settings");
            std::mem::forget(pool);
        }),
        _ => timed(|| {
            let mut buffer = [0; 512];
            for (name, mapped) in [("cache/v1/index", true), ("cache/v1/seg/00000001", false)] {
                let file = File::options().read(true).write(mapped).open(dir.join(name)).expect("there");
                if mapped {
                    let map = memmap2::MmapOptions::new().map_raw(&file).expect("memory");
                    black_box(map.len());
                    std::mem::forget(map);
                }
                let length = file.metadata().expect("there").len();
                file.read_exact_at(&mut buffer, length / 2).expect("it is longer");
            }
            if what == BARE_HASHED {
                black_box(blake3::hash(&buffer));
            }
        }),
    };
    println!("{}", took.as_nanos());
}

fn warm_map(scale: Scale) {
    const LENGTH: usize = 1 << 10;
    let count = scale.of(100_000);
    let dir = dir();
    let func = block();
    let pool = open(dir.path());
    for result in pool.map((0..count as u64).map(|seed| func.call((seed, LENGTH)))) {
        result.expect("can't fail");
    }
    drop(pool);
    let mut plain = Plain::new(dir.path(), count, LENGTH);
    let times = interleave(
        count,
        scale.of(11),
        &mut [
            Box::new(|| {
                let disk = Disk::new(dir.path().join("cache"));
                let pool = Pool::builder().threads(1).disk(disk).build().expect("a usable directory");
                let took = timed(|| {
                    for result in pool.map((0..count as u64).map(|seed| func.call((seed, LENGTH)))) {
                        black_box(result.expect("kept"));
                    }
                });
                assert_eq!(pool.stats().disk_hits, count as u64);
                took
            }),
            Box::new(|| {
                timed(|| {
                    for n in 0..count {
                        black_box(plain.read(n));
                    }
                })
            }),
        ],
    );
    line("warm map of 1 KiB, each", times[0], times[1], "floor: pread + BLAKE3 + decode", 2.0);
}

/// What single flight between processes adds to a run, against a lock and its release. Nothing is written on either side.
fn claims(scale: Scale) {
    let count = scale.of(20_000);
    let dir = dir();
    let func = Func::new("next", |n: u64| n + 1);
    let side = |on: bool| {
        let disk = Disk::new(dir.path().join("cache")).spill(Spill::OnEvict).single_flight(on);
        let pool = Pool::builder().threads(1).disk(disk).build().expect("a usable directory");
        let (func, mut next) = (func.clone(), 0);
        let side: Side<'_> = Box::new(move || {
            let first = next;
            next += count as u64;
            timed(|| {
                for result in pool.map((first..next).map(|n| func.call(n))) {
                    black_box(result.expect("can't fail"));
                }
            })
        });
        side
    };
    let lock = File::create(dir.path().join("lock")).expect("room");
    let times = interleave(
        count,
        scale.of(41),
        &mut [
            side(true),
            side(false),
            Box::new(|| {
                timed(|| {
                    for _ in 0..count {
                        lock.lock().expect("nobody else has it");
                        lock.unlock().expect("it is ours");
                    }
                })
            }),
        ],
    );
    let claimed = (times[0] - times[1]).max(0.0);
    line("claim + second look + release, in a cold map", claimed, times[2], "File::lock + unlock", 2.0);
}

type Part = fn(Scale);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, what, dir] = &arguments[..]
        && [FIRST_HIT, BARE, BARE_HASHED, NO_DISK].contains(&what.as_str())
    {
        return child(what, Path::new(dir));
    }
    let quick = std::env::args().any(|arg| arg == "--quick" || arg == "--test");
    let only = std::env::args().nth(1).filter(|arg| !arg.starts_with("--"));
    let scale = Scale { quick };
    let parts: [(&str, Part); 5] =
        [("hits", hits), ("writes", writes), ("first", first_hit), ("map", warm_map), ("claims", claims)];
    for (name, part) in parts {
        if only.as_deref().is_none_or(|only| only == name) {
            part(scale);
        }
    }
}
