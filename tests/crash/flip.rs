//! Files that were damaged, cut, swapped, or never ours.
//!
//! A directory is made, changed in one place, opened and read; then it is put back. Each value must be right or missing.
//! Damage to a record costs that record and is counted as `corrupt`; damage to the index costs nothing but its rebuilding,
//! or a miss; and no length that was damaged makes anybody allocate for it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memopool::{Disk, Func, Pool};

use crate::kill::assert_keeps;
use crate::largest;
use crate::support::*;

/// The smallest bound: segments of 64 KiB, and values above 16 KiB in files of their own.
const BOUND: u64 = 256 << 10;

/// Next to an entry, what a look may allocate: the buffer that records below this are read into without asking first, and
/// the pieces that a large one is read in.
const SPARE: usize = 64 << 10;
const PIECE: usize = 1 << 20;

/// Values of a small directory: one of each kind.
const VALUES: [(u64, usize); 7] = [(0, 0), (1, 1), (2, 50), (3, 100), (4, 300), (5, 700), (6, 16_500)];
const FORGOTTEN: u64 = 3;

fn sized() -> Func<u64, Vec<u8>> {
    Func::new("crash::sized", |n: u64| bytes(n, VALUES[n as usize % VALUES.len()].1))
}

fn kept_error() -> Func<u64, u64> {
    Func::named("crash::error").cache_errors().fallible(|n: u64| if n == 0 { Ok(0) } else { Err(Refused) })
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

fn disk(dir: &Path) -> Disk {
    Disk::new(dir).max_bytes(BOUND)
}

/// A directory and what is in it.
struct Small {
    dir: tempfile::TempDir,
    files: Files,
    sized: Func<u64, Vec<u8>>,
    /// Both that say what was forgotten, the index and its segment, are damaged at once.
    may_remember: bool,
    tried: u64,
    corrupt: u64,
    missing: u64,
}

/// What was read from a changed directory.
struct Read {
    missing: u64,
    corrupt: u64,
}

impl Small {
    fn new() -> Small {
        let dir = temp();
        let (sized, kept_error) = (sized(), kept_error());
        let pool = open(disk(dir.path()));
        for (n, _) in VALUES {
            pool.run(sized.call(n)).expect("a value");
        }
        assert!(pool.run(kept_error.call(1)).is_err());
        // Of everything else there is one record; of this one the second counts.
        pool.run(sized.call(1).refresh()).expect("a value");
        pool.forget(&sized.call(FORGOTTEN)).expect("to be forgotten");
        drop(pool);
        let files = snapshot(dir.path());
        assert!(files.len() >= 6, "{:?}", files.keys());
        let mut small = Small { dir, files, sized, may_remember: false, tried: 0, corrupt: 0, missing: 0 };
        let read = small.read("unharmed");
        assert_eq!((read.missing, read.corrupt), (0, 0), "what is unharmed is read");
        small
    }

    fn path(&self, name: &Path) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Opens the directory and reads everything, by this thread.
    fn read(&mut self, what: &str) -> Read {
        let pool = open(disk(self.dir.path()));
        let mut missing = 0;
        for (n, len) in VALUES {
            let call = self.sized.call(n);
            let (found, allocated) = largest(|| pool.get(&call));
            let most = if len > 16_384 { PIECE } else { SPARE.max(2 * len) };
            assert!(allocated <= most + 1024, "{what}: {allocated} bytes at once for {len}");
            match found {
                Some(_) if n == FORGOTTEN && !self.may_remember => {
                    panic!("{what}: {n} was forgotten and is there again")
                }
                Some(value) => assert!(*value == bytes(n, len), "{what}: {n} is wrong"),
                None => missing += u64::from(n != FORGOTTEN),
            }
        }
        let corrupt = pool.stats().corrupt;
        assert_eq!(panics(), 0, "{what}");
        self.tried += 1;
        self.corrupt += corrupt;
        self.missing += missing;
        Read { missing, corrupt }
    }

    /// Writes something, too, and reads it in a later pool.
    fn write(&self, what: &str) {
        let pool = open(disk(self.dir.path()));
        assert_keeps(&pool, self.tried, what);
        let error = pool.run(kept_error().call(1)).expect_err(what);
        assert!(error.is_failed(), "{what}: {error}");
        let _ = format!("{:?} {}", pool.stats(), pool.explain(&self.sized.call(1)));
        drop(pool);
        let value = open(disk(self.dir.path())).get(&blob().call(self.tried));
        assert!(value.is_some_and(|value| *value == mixed(self.tried)), "{what}: what was written is lost");
        assert_eq!(panics(), 0, "{what}");
    }

    /// After [`read`](Self::read) alone: that claims nothing, and the table is large.
    fn restore_read(&self, changed: &Path) {
        let unchanged = |name: &Path| name != changed && name.ends_with("claims");
        restore_but(self.dir.path(), &self.files, unchanged);
    }

    fn restore(&self) {
        restore(self.dir.path(), &self.files);
    }

    fn report(&self, what: &str) {
        let Small { tried, corrupt, missing, .. } = self;
        report(&format!(
            "{what}: {tried} tried, 0 wrong, 0 panics, {missing} values missing, {corrupt} not believed"
        ));
    }
}

fn is_segment(name: &Path) -> bool {
    name.starts_with("v1/seg")
}

/// Where the owners and the buckets begin in the table of claims, in words; the bits of a bucket.
const CLAIM_OWNERS: usize = 512;
const CLAIM_BUCKETS: usize = CLAIM_OWNERS + 2 * 1024;
const BUCKET_BITS: usize = 8 * 64;

/// The bits of the table of claims that mean something: its header, the words of its owners (those of this process, which
/// takes the number that its id says or one soon after, and some others), and every word that is not zero.
fn used_claims(bytes: &[u8]) -> Vec<usize> {
    let own = CLAIM_OWNERS + 2 * (std::process::id() as usize % 1024);
    let is_used = |at: &usize| {
        let word = &bytes[at * 8..at * 8 + 8];
        *at < 16
            || (own..own + 64).contains(at)
            || (CLAIM_OWNERS..CLAIM_OWNERS + 64).contains(at)
            || word != [0; 8]
    };
    (0..bytes.len() / 8).filter(is_used).flat_map(|word| word * 64..word * 64 + 64).collect()
}

/// The first bit of the bucket in which the call [`Small::write`] will be claimed.
fn bucket_of(call: u64) -> usize {
    let key = blob().call(call).key().to_string();
    let byte = |at: usize| usize::from_str_radix(&key[2 * at..2 * at + 2], 16).expect("hexadecimal");
    (CLAIM_BUCKETS + (byte(16) + 256 * byte(17)) % 16_384 * 8) * 64
}

/// A bit that flips on a disk is returned as a result, or takes the process down.
#[test]
fn every_bit_of_every_file_may_flip() {
    in_time(|| {
        assert_eq!(panics(), 0);
        let mut small = Small::new();
        let files = small.files.clone();
        let mut random = Random::new();
        let mut bits = 0;
        for (name, bytes) in &files {
            let mut damaged = bytes.clone();
            // The large value's file and the index are mostly alike. So is the table of claims, of which little is used.
            let claims = name.ends_with("claims");
            let step = match bytes.len() {
                _ if claims => 9000,
                3000.. if !long() => 500,
                _ if !long() => 5,
                _ => 1,
            };
            let mut used = if claims && long() { used_claims(bytes) } else { Vec::new() }.into_iter();
            // Of the next call that is computed: its bucket, one bit of it after the other.
            let mut of_bucket = (claims && long()).then_some(0..BUCKET_BITS).into_iter().flatten();
            let mut walk = if step == 1 { 0 } else { random.below(step) };
            while walk < bytes.len() * 8 {
                let next =
                    of_bucket.next().map(|bit| bucket_of(small.tried + 1) + bit).or_else(|| used.next());
                let at = next.unwrap_or(walk);
                damaged[at / 8] ^= 1 << (at % 8);
                put(&small.path(name), &damaged);
                let what = format!("bit {at} of {}", name.display());
                let read = small.read(&what);
                if is_segment(name) {
                    assert!(read.missing <= 1, "{what}: {} values for one bit", read.missing);
                    assert_eq!(read.corrupt, read.missing, "{what}: not counted");
                }
                let wrote = claims || bits % 64 == 0;
                if wrote {
                    small.write(&what);
                }
                damaged[at / 8] ^= 1 << (at % 8);
                if wrote {
                    small.restore()
                } else {
                    small.restore_read(name)
                };
                bits += 1;
                if next.is_none() {
                    walk += if step == 1 { 1 } else { 1 + random.below(2 * step) };
                }
            }
        }
        small.report(&format!("{bits} bits of {} files", files.len()));
        assert!(small.corrupt > 500);
    });
}

/// A file that was cut short (a full disk, a copy that was broken off) takes the process down.
#[test]
fn every_file_may_have_any_length() {
    in_time(|| {
        assert_eq!(panics(), 0);
        let mut small = Small::new();
        let files = small.files.clone();
        let mut random = Random::new();
        for (name, bytes) in &files {
            let mut len = 0;
            // Longer by garbage, too.
            let longer = [bytes.clone(), random.bytes(if long() { 700 } else { 100 })].concat();
            while len <= longer.len() {
                if len != bytes.len() {
                    put(&small.path(name), &longer[..len]);
                    let what = format!("{} with {len} of {} bytes", name.display(), bytes.len());
                    let read = small.read(&what);
                    if len > bytes.len() && is_segment(name) {
                        assert_eq!(read.missing, 0, "{what}");
                    }
                    let wrote = name.ends_with("claims") || len % 64 == 0;
                    if wrote {
                        small.write(&what);
                    }
                    if wrote {
                        small.restore()
                    } else {
                        small.restore_read(name)
                    };
                }
                len += match bytes.len() {
                    100_000.. => 1 + random.below(20_000),
                    3000.. if !long() => 1 + random.below(400),
                    _ => 1,
                };
            }
        }
        small.report("lengths");
    });
}

/// A directory that somebody has copied, sorted or restored in the wrong order gives one function another's result.
#[test]
fn any_two_files_may_be_swapped() {
    in_time(|| {
        assert_eq!(panics(), 0);
        let mut small = Small::new();
        let files = small.files.clone();
        for (one, first) in &files {
            for (other, second) in &files {
                small.may_remember = [one, other].iter().any(|name| name.ends_with("index"));
                let what = format!("{} in the place of {}", one.display(), other.display());
                put(&small.path(other), first);
                put(&small.path(one), second);
                small.read(&what);
                small.write(&what);
                small.restore();
                // And both the same.
                put(&small.path(other), first);
                small.read(&what);
                small.write(&what);
                small.restore();
            }
        }
        small.report("swaps");
    });
}

/// What was never ours is taken for a result, or keeps the pool from working.
#[test]
fn garbage_may_stand_for_any_file() {
    in_time(|| {
        assert_eq!(panics(), 0);
        let mut small = Small::new();
        let files = small.files.clone();
        let mut random = Random::new();
        let strange = ["00000000", "00000007", "fffffffe", "ffffffff", "0000000g", "x"];
        let strange: Vec<PathBuf> = strange.iter().map(|name| Path::new("v1/seg").join(name)).collect();
        let more =
            ["v1/claims", "v1/functions", "v1/owners/000", "v1/owners/1023", "v1/owners/x", "v1/tmp/1-1"];
        let more = strange.into_iter().chain(more.map(PathBuf::from));
        let names: Vec<PathBuf> = files.keys().cloned().chain(more).collect();
        let seed = random.0;
        for round in 0..rounds(300, 4) {
            for name in &names {
                let old = files.get(name).map_or(0, Vec::len);
                let len = if random.below(2) == 0 { old } else { random.below(2 * old + 9000) };
                let mut garbage = match random.below(4) {
                    0 => vec![0xff; len],
                    1 => vec![0; len],
                    _ => random.bytes(len),
                };
                // Half of it is what it was: the part that says what it is.
                let kept = random.below(old.min(len) + 1) * random.below(2);
                garbage[..kept].copy_from_slice(files.get(name).map_or(&[][..], |bytes| &bytes[..kept]));
                put(&small.path(name), &garbage);
                let what = format!("garbage for {} (seed {seed}, round {round})", name.display());
                small.read(&what);
                small.write(&what);
                small.restore();
            }
        }
        small.report("garbage");
    });
}

/// A damaged word of the index that all processes share stops those that are at work, or leads them to a wrong value.
#[test]
fn the_index_may_be_damaged_under_a_running_pool() {
    in_time(|| {
        assert_eq!(panics(), 0);
        let small = Small::new();
        let mut random = Random::new();
        let seed = random.0;
        let index = small.path(Path::new("v1/index"));
        for round in 0..rounds(3000, 100) {
            let pool = open(disk(small.dir.path()));
            pool.get(&small.sized.call(1));
            let file = fs::File::options().write(true).open(&index).expect("the index");
            let len = small.files[Path::new("v1/index")].len();
            for _ in 0..=random.below(20) {
                // Mostly the first words, which say more than others.
                let within = if random.below(2) == 0 { 30 } else { len / 8 };
                let word = match random.below(4) {
                    0 => 0,
                    1 => u64::MAX,
                    2 => 1,
                    _ => random.next(),
                };
                let at = random.below(within) as u64 * 8;
                std::os::unix::fs::FileExt::write_all_at(&file, &word.to_le_bytes(), at).expect("a write");
            }
            let what = format!("a damaged index (seed {seed}, round {round})");
            for (n, len) in VALUES {
                let found = pool.get(&small.sized.call(n));
                assert!(found.is_none_or(|value| n != FORGOTTEN && *value == bytes(n, len)), "{what}: {n}");
            }
            let blob = blob();
            for n in 0..20 {
                assert!(*pool.run(blob.call(n)).expect(&what) == mixed(n), "{what}: {n} is wrong");
            }
            let _ = format!("{} {}", pool.stats(), pool.explain(&blob.call(1)));
            pool.flush().expect(&what);
            let kept = (0..20).filter(|n| pool.get(&blob.call(*n)).is_some()).count();
            assert!(kept >= 15, "{what}: only {kept} of 20 are kept");
            drop(pool);
            assert_eq!(panics(), 0, "{what}");
            small.restore();
        }
        report(&format!("{} indexes damaged under a running pool", rounds(3000, 100)));
    });
}

/// The records of a segment: where each begins and ends, and its key.
fn records(segment: &[u8]) -> Vec<(usize, usize, [u8; 32])> {
    let (mut at, mut records) = (0, Vec::new());
    while at + 128 <= segment.len() && segment[at..].starts_with(b"mmo1") {
        let len = u32::from_le_bytes(segment[at + 40..at + 44].try_into().expect("4 bytes")) as usize;
        records.push((at, at + 128 + len, segment[at + 56..at + 88].try_into().expect("32 bytes")));
        at += (128 + len).next_multiple_of(8);
    }
    records
}

fn page() -> Func<u64, Vec<u8>> {
    Func::new("crash::page", |n: u64| bytes(n, 1 << (8 + n % 10)))
}

/// The same in a directory of the usual size: segments of many entries, an index of many pages.
#[test]
fn bits_may_flip_in_a_large_directory() {
    in_time(|| {
        assert_eq!(panics(), 0);
        let (dir, page, mut random) = (temp(), page(), Random::new());
        let seed = random.0;
        let disk = || Disk::new(dir.path()).max_bytes(256 << 20);
        let count = rounds(100 << 20, 4 << 20) / 13_000;
        let pool: Pool = open(disk());
        pool.map((0..count).map(|n| page.call(n))).for_each(|value| drop(value.expect("a value")));
        drop(pool);
        let keys: HashMap<String, u64> = (0..count).map(|n| (page.call(n).key().to_string(), n)).collect();
        let files = snapshot(dir.path());
        let size: usize = files.values().map(Vec::len).sum();
        let records: HashMap<_, _> = files
            .iter()
            .filter(|(name, _)| is_segment(name))
            .map(|(name, bytes)| (name.clone(), records(bytes)))
            .collect();
        assert_eq!(records.values().map(Vec::len).sum::<usize>() as u64, count);
        let (mut hit, mut corrupt, mut missing) = (0, 0, 0);
        for round in 0..rounds(10_000, 200) {
            let mut at = random.below(size);
            let (name, old) = files
                .iter()
                .find(|(_, bytes)| {
                    let here = at < bytes.len();
                    at -= if here { 0 } else { bytes.len() };
                    here
                })
                .expect("a byte of some file");
            let what = format!("byte {at} of {} (seed {seed}, round {round})", name.display());
            let path = dir.path().join(name);
            let file = fs::File::options().write(true).open(&path).expect("a file of ours");
            let write = |byte: u8| std::os::unix::fs::FileExt::write_all_at(&file, &[byte], at as u64);
            write(old[at] ^ 1 << random.below(8)).expect("a write");
            let pool = open(disk());
            let within = |(begin, end, _): &&(usize, usize, [u8; 32])| (*begin..*end).contains(&at);
            if let Some((.., key)) = records.get(name).and_then(|records| records.iter().find(within)) {
                let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
                let n = keys[&hex];
                assert!(pool.get(&page.call(n)).is_none(), "{what}: {n} is believed");
                assert_eq!(pool.stats().corrupt, 1, "{what}: not counted");
                hit += 1;
            }
            for _ in 0..10 {
                let n = random.next() % count;
                let len = 8 + (1 << (8 + n % 10));
                let call = page.call(n);
                let (found, allocated) = largest(|| pool.get(&call));
                assert!(
                    allocated <= SPARE.max(2 * len) + 1024,
                    "{what}: {allocated} bytes at once for {len}"
                );
                match found {
                    Some(value) => assert!(Arc::unwrap_or_clone(value) == bytes(n, len - 8), "{what}: {n}"),
                    None => missing += 1,
                }
            }
            corrupt += pool.stats().corrupt;
            drop(pool);
            assert_eq!(panics(), 0, "{what}");
            write(old[at]).expect("a write");
            // What was found damaged is noted in the index.
            let index = Path::new("v1/index");
            put(&dir.path().join(index), &files[index]);
        }
        report(&format!(
            "{} random flips in {} MB: {hit} in records, each noticed; {missing} others missing, {corrupt} not believed",
            rounds(10_000, 200),
            size >> 20
        ));
    });
}
