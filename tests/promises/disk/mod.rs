//! What is kept on disk, as one process sees it.
//!
//! 1. [`tiers`]: what is written when, and what is found again.
//! 2. [`forgetting`]: what must not be found again.
//! 3. [`values`]: small, large and impossible ones.
//! 4. [`bounds`]: how much, and what it costs.
//! 5. [`trust`]: whom the directory is opened for.
//! 6. [`explain`]: why a call would miss, and what was counted.
//! 7. [`flushes`]: what is said of what could not be written.
//! 8. [`golden`]: what the first version of the format wrote; [`builds`]: what a later one may write.
//! 9. [`warm`]: a `map` over what is on disk.
//! 10. [`clocks`]: clocks that panic, or that use the pool that asks them.
//! 11. [`inserted`]: results that a pool is given.
//!
//! With `MEMOPOOL_LONG=1` the larger numbers are taken; each test that has them says which it took.

mod bounds;
mod builds;
mod clocks;
mod explain;
mod flushes;
mod forgetting;
mod golden;
mod inserted;
mod tiers;
mod trust;
mod values;
mod warm;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use memopool::testing::{Faults, Op};
use memopool::{Builder, Disk, Explain, Func, Pool};
use tempfile::TempDir;

use crate::{Counter, build};

/// A directory for a cache, gone at the end of its test.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("room for a temporary directory"))
    }

    /// The cache directory: made by the pool.
    fn path(&self) -> PathBuf {
        self.0.path().join("cache")
    }

    fn disk(&self) -> Disk {
        Disk::new(self.path())
    }

    /// A pool with two threads, memory and disk.
    fn pool(&self) -> Pool {
        build(Pool::builder().threads(2).disk(self.disk()))
    }

    /// A pool that looks everything up on the disk.
    fn bare(&self) -> Pool {
        build(bare().disk(self.disk()))
    }

    fn index(&self) -> PathBuf {
        self.path().join("v1/index")
    }

    /// The segments' files, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let mut files = files_in(&self.path().join("v1/seg"));
        files.sort();
        files
    }

    /// Makes the next pool find everything anew.
    fn lose_index(&self) {
        fs::remove_file(self.index()).expect("an index");
    }
}

/// Settings without memory: every look-up goes to the disk.
fn bare() -> Builder {
    Pool::builder().threads(2).memory(0)
}

/// The files below a directory. What vanishes meanwhile is not one of them.
fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_in(&entry.path())),
            Ok(_) => files.push(entry.path()),
            Err(_) => {}
        }
    }
    files
}

/// Bytes of the files below a directory, but for the table of claims.
fn bytes_in(dir: &Path) -> u64 {
    let files = files_in(dir).into_iter().filter(|file| !file.ends_with("claims"));
    files.filter_map(|file| fs::symlink_metadata(file).ok()).map(|file| file.len()).sum()
}

/// Doubles a number, and counts its runs.
fn doubled(runs: &Counter) -> Func<u64, u64> {
    Func::named("disk::doubled").resource(runs.clone()).func(|runs: &Counter, n: u64| {
        runs.up();
        n * 2
    })
}

/// Bytes that can be told from those of any other seed and length.
fn bytes_of(seed: u64, length: usize) -> Vec<u8> {
    let words = (0..).map(|n: u64| (n ^ seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(|word| word.rotate_left(29).to_le_bytes()).take(length).collect()
}

/// [`bytes_of`], remembered.
fn block() -> Func<(u64, usize), Vec<u8>> {
    Func::new("disk::block", |(seed, length): (u64, usize)| bytes_of(seed, length))
}

/// What a listener was told, as text.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn listen(&self, builder: Builder) -> Builder {
        let told = self.clone();
        builder.on_event(move |event| {
            told.0.lock().expect("no panic under this lock").push(format!("{event:?}"));
        })
    }

    /// Those events that begin so.
    fn of(&self, kind: &str) -> Vec<String> {
        let told = self.0.lock().expect("no panic under this lock");
        told.iter().filter(|event| event.starts_with(kind)).cloned().collect()
    }
}

/// How many operations there were, of any kind.
fn operations(faults: &Faults) -> u64 {
    use Op::*;
    [Open, Create, Read, Write, Sync, Rename, Remove, List, Lock, Stat]
        .map(|op| faults.count(op))
        .iter()
        .sum()
}

fn is_on_disk(explain: &Explain) -> bool {
    matches!(explain, Explain::OnDisk)
}

/// Whether the larger numbers are asked for.
fn is_long() -> bool {
    std::env::var_os("MEMOPOOL_LONG").is_some_and(|long| long == "1")
}

/// The number for this run, said aloud.
fn scale(what: &str, short: u64, long: u64) -> u64 {
    let n = if is_long() { long } else { short };
    say(format_args!("{n} {what}{}", if is_long() { "" } else { " (MEMOPOOL_LONG=1 takes more)" }));
    n
}

#[expect(clippy::print_stderr, reason = "a test says how much it tested, and what it could not")]
fn say(text: impl Display) {
    eprintln!("{text}");
}

fn skip(reason: impl Display) {
    say(format_args!("skipped: {reason}"));
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// In which part of itself this very program is started again as another process.
const ROLE: &str = "MEMOPOOL_TEST_ROLE";

/// This program as another process in a role: see [`child`].
fn as_child(program: &str, before: &[&str], role: &str, place: &Path, n: u64) -> Command {
    let mut command = Command::new(program);
    command.args(before);
    if program == "strace" {
        command.arg(this_program());
    }
    command.args(["--exact", "disk::child", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env("MEMOPOOL_TEST_PLACE", place).env("MEMOPOOL_TEST_N", n.to_string());
    command
}

fn this_program() -> PathBuf {
    std::env::current_exe().expect("a program that runs is a file")
}

/// Not a test of its own: what child processes do. (In the others' runs it returns at once.)
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let place = PathBuf::from(std::env::var_os("MEMOPOOL_TEST_PLACE").expect("given with the role"));
    let n = std::env::var("MEMOPOOL_TEST_N").expect("given with the role").parse().expect("a number");
    match role.as_str() {
        "write" => trust::write(&place),
        "first hit" => bounds::first_hit(&place, n),
        "read as" => explain::read_as(&place, n),
        "store text" => values::store_text(&place, n),
        "load text" => values::load_text(&place, n),
        "refuse text" => values::refuse_text(&place, n),
        other => panic!("no such role: {other}"),
    }
}
