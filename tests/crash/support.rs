//! Values that are known without being stored, directories that are copied and put back, processes that are started.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use memopool::{Builder, Disk, Event, Func, Pool};
use tempfile::TempDir;

use crate::watchdog::within;

/// The environment variable that says what a child process is to do.
pub(crate) const ROLE: &str = "MEMOPOOL_CRASH_ROLE";

/// Whether everything is to be tried, not a part of it.
pub(crate) fn long() -> bool {
    std::env::var_os("MEMOPOOL_LONG").is_some_and(|value| value == "1")
}

/// How many: all, or a part.
pub(crate) fn rounds(all: u64, part: u64) -> u64 {
    if long() { all } else { part }
}

/// Says something on stderr, past the harness, which would keep it to itself.
pub(crate) fn report(text: &str) {
    let kind = if long() { "long" } else { "short" };
    let _ = std::io::stderr().write_all(format!("crash ({kind}): {text}\n").as_bytes());
}

pub(crate) fn skip(reason: &str) {
    let _ = std::io::stderr().write_all(format!("skipped: {reason}\n").as_bytes());
}

/// Runs a test's body and fails, by the test's name, if it does not end.
pub(crate) fn in_time(body: impl FnOnce() + Send + 'static) {
    let patience = Duration::from_secs(if long() { 1800 } else { 120 });
    within(patience, body);
}

/// Panics so far, in any thread: one that is caught somewhere is none the less one.
pub(crate) fn panics() -> u64 {
    static PANICS: AtomicU64 = AtomicU64::new(0);
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // But not a check of ours that fails: that fails its own test.
            if info.location().is_none_or(|at| !at.file().starts_with("tests/")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(info);
        }));
    });
    PANICS.load(Ordering::SeqCst)
}

/// SplitMix64: the same numbers from the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A new seed, which the caller prints if something goes wrong.
    pub(crate) fn new() -> Random {
        let given = std::env::var("MEMOPOOL_SEED").ok().and_then(|seed| seed.parse().ok());
        Random(given.unwrap_or_else(nanos))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Nanoseconds since the epoch: the same clock in all processes.
pub(crate) fn nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos() as u64
}

/// `len` bytes that only `n` has.
pub(crate) fn bytes(n: u64, len: usize) -> Vec<u8> {
    let mut value = n.to_le_bytes().to_vec();
    value.extend(Random(n).bytes(len));
    value
}

/// Mostly small values; some of some KiB, and a few that have a file of their own.
pub(crate) fn mixed(n: u64) -> Vec<u8> {
    let len = match n % 64 {
        13 => 20_000,
        7 | 27 | 47 => 5_000,
        m if m % 4 == 1 => 500,
        m => m as usize,
    };
    bytes(n, len)
}

/// The function whose results are stored.
pub(crate) fn blob() -> Func<u64, Vec<u8>> {
    Func::new("crash::blob", mixed)
}

/// A pool whose every look-up goes to the disk.
pub(crate) fn builder(disk: Disk) -> Builder {
    Pool::builder().threads(2).memory(0).disk(disk)
}

pub(crate) fn open(disk: Disk) -> Pool {
    builder(disk).build().expect("a cache directory that can be opened, whatever is in it")
}

/// What became of the store, in order.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    pub(crate) fn listener(&self) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
        let events = self.clone();
        move |event| {
            let text = match event {
                Event::StoreFailed { reason } => format!("failed: {reason}"),
                Event::StoreRecovered => "recovered".to_owned(),
                _ => return,
            };
            events.0.lock().expect("no panic under this lock").push(text);
        }
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().expect("no panic under this lock").clone()
    }

    pub(crate) fn failures(&self) -> usize {
        self.all().iter().filter(|event| event.starts_with("failed")).count()
    }

    pub(crate) fn has_recovered(&self) -> bool {
        self.all().last().is_some_and(|event| event == "recovered")
    }

    /// Fails unless each failure was told once until the store recovered.
    pub(crate) fn assert_alternate(&self) {
        let events = self.all();
        for (n, event) in events.iter().enumerate() {
            assert_eq!(event.starts_with("failed"), n % 2 == 0, "told more than once: {events:?}");
        }
    }
}

/// A directory in memory where there is one: thousands of openings should not wear out a disk.
pub(crate) fn temp() -> TempDir {
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
    dir.or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

/// The files below a directory, by their paths in it, and what is in them.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

pub(crate) fn names(dir: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(next) = dirs.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => dirs.push(path),
                Ok(_) => names.push(path.strip_prefix(dir).expect("below").to_path_buf()),
                Err(_) => {}
            }
        }
    }
    names.sort();
    names
}

pub(crate) fn snapshot(dir: &Path) -> Files {
    let read = |name: PathBuf| {
        let bytes = fs::read(dir.join(&name)).ok()?;
        Some((name, bytes))
    };
    names(dir).into_iter().filter_map(read).collect()
}

/// Makes the directory what it was: other files go, changed ones are written again.
pub(crate) fn restore(dir: &Path, files: &Files) {
    restore_but(dir, files, |_| false);
}

/// The same, but for files that are as they were.
pub(crate) fn restore_but(dir: &Path, files: &Files, unchanged: impl Fn(&Path) -> bool) {
    for name in names(dir) {
        if !files.contains_key(&name) {
            fs::remove_file(dir.join(&name)).expect("a file that can be removed");
        }
    }
    for (name, bytes) in files {
        let path = dir.join(name);
        if unchanged(name) && path.exists() {
            continue;
        }
        if fs::read(&path).ok().as_ref() != Some(bytes) {
            put(&path, bytes);
        }
    }
}

/// Writes a file as the store would have made it, under a directory as private as its.
pub(crate) fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a file that can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a file of ours");
}

/// Writes files into a directory that is made anew.
pub(crate) fn write_out(dir: &Path, files: &Files) {
    for name in ["v1/seg", "v1/tmp", "v1/owners"] {
        fs::create_dir_all(dir.join(name)).expect("a directory");
    }
    for private in [dir.to_path_buf(), dir.join("v1")] {
        fs::set_permissions(private, fs::Permissions::from_mode(0o700)).expect("a directory of ours");
    }
    files.iter().for_each(|(name, bytes)| put(&dir.join(name), bytes));
}

/// What is bounded: everything but the table of claims, which has a size of its own.
pub(crate) fn total(dir: &Path) -> u64 {
    names(dir)
        .iter()
        .filter(|name| !name.ends_with("claims"))
        .filter_map(|name| fs::metadata(dir.join(name)).ok())
        .map(|data| data.len())
        .sum()
}

/// This program again, as `role`.
pub(crate) fn child(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(CHILD_ARGS).env(ROLE, role);
    command
}

pub(crate) const CHILD_ARGS: [&str; 4] = ["child", "--exact", "--nocapture", "--test-threads=1"];

/// Whether a program is there and does that.
pub(crate) fn can(program: &str, args: &[&str]) -> bool {
    let output = Command::new(program).args(args).output();
    output.is_ok_and(|output| output.status.success())
}
