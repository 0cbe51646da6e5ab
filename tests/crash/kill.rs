//! Writers that are killed, and what the next process finds.
//!
//! A child computes one value after the other and says when each is finished. It is killed, and everything it said is
//! looked up: the value must be right or missing, missing only if it was finished less than 50 ms before the end, and a
//! key that was forgotten stays forgotten. One that was inserted is missing only if the child did not say so.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use memopool::{Disk, Pool};

use crate::support::*;

const DIR: &str = "MEMOPOOL_CRASH_DIR";
const BYTES: &str = "MEMOPOOL_CRASH_BYTES";
const FROM: &str = "MEMOPOOL_CRASH_FROM";
const COUNT: &str = "MEMOPOOL_CRASH_COUNT";
const WAY: &str = "MEMOPOOL_CRASH_WAY";

/// How a child comes to its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It computes one after the other.
    Computed,
    /// It has them, and inserts forty at a time.
    Inserted,
}

/// Segments of 64 KiB, which are evicted all the time.
const SMALL: u64 = 2 << 20;
/// Nothing is evicted.
const LARGE: u64 = 1 << 30;

/// What may be lost.
const BATCH: Duration = Duration::from_millis(50);

pub(crate) fn child() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (from, count): (u64, u64) = (number(FROM).unwrap_or(0), number(COUNT).unwrap_or(u64::MAX / 2));
    let dir = std::env::var(DIR).expect("a directory");
    let say = |text: String| {
        let written = std::io::stdout().write_all(text.as_bytes());
        written.and_then(|()| std::io::stdout().flush()).unwrap_or_else(|_| std::process::exit(9));
    };
    say("\nready\n".into());
    std::io::stdin().read_line(&mut String::new()).expect("a line to start with");
    let pool = open(Disk::new(dir).max_bytes(number(BYTES).unwrap_or(SMALL)));
    let blob = blob();
    if std::env::var(WAY).is_ok_and(|way| way == "Inserted") {
        for first in (from..from + count).step_by(40) {
            let batch = first..(first + 40).min(from + count);
            pool.insert_all(batch.clone().map(|n| (blob.call(n), mixed(n)))).expect("to be written");
            batch.for_each(|n| say(format!("done {n} {}\n", nanos())));
        }
        std::process::exit(0);
    }
    for n in from..from + count {
        assert!(*pool.run(blob.call(n)).expect("a value") == mixed(n), "{n} is wrong");
        say(format!("done {n} {}\n", nanos()));
        if n % 16 == 9 && n >= from + 5 {
            pool.forget(&blob.call(n - 5)).expect("to be forgotten");
            say(format!("gone {} {}\n", n - 5, nanos()));
        }
        if n % 8 == 3 {
            let other = from + (n - from) / 2;
            let found = pool.get(&blob.call(other));
            assert!(found.is_none_or(|value| *value == mixed(other)), "{other} is wrong");
        }
    }
    drop(pool);
    std::process::exit(0);
}

/// What a child said before its end.
#[derive(Default)]
struct Said {
    done: Vec<(u64, u64)>,
    gone: HashSet<u64>,
    /// Whatever else it printed, on either stream.
    rest: String,
}

struct Writer {
    child: Child,
    said: thread::JoinHandle<Said>,
    errors: thread::JoinHandle<String>,
}

impl Writer {
    /// Starts a writer, which waits for [`go`](Self::go).
    fn start(dir: &Path, way: Way, max_bytes: u64, from: u64, count: u64) -> Writer {
        let mut command = crate::support::child("kill");
        command.env(DIR, dir).env(WAY, format!("{way:?}")).env(BYTES, max_bytes.to_string());
        command.env(FROM, from.to_string()).env(COUNT, count.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("this program as a child");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut errors = child.stderr.take().expect("a pipe");
        let ready = lines.by_ref().any(|line| line.is_ok_and(|line| line == "ready"));
        assert!(ready, "the child did not start");
        let said = thread::spawn(move || {
            let mut said = Said::default();
            for line in lines.map_while(Result::ok) {
                let words: Vec<&str> = line.split(' ').collect();
                match words[..] {
                    ["done", n, at] => {
                        if let (Ok(n), Ok(at)) = (n.parse(), at.parse()) {
                            said.done.push((n, at));
                        }
                    }
                    ["gone", n, _] => _ = n.parse().map(|n| said.gone.insert(n)),
                    _ => said.rest += &line,
                }
            }
            said
        });
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = std::io::Read::read_to_string(&mut errors, &mut text);
            text
        });
        Writer { child, said, errors }
    }

    fn go(&mut self) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        stdin.write_all(b"\n").expect("a child that waits for this");
    }

    fn end(mut self) -> (ExitStatus, Said) {
        let status = self.child.wait().expect("a child that ends");
        let mut said = self.said.join().expect("what it said");
        said.rest += &self.errors.join().expect("what it said");
        assert!(
            status.signal() == Some(9) || status.success(),
            "the writer ended with {status}: {}",
            said.rest
        );
        (status, said)
    }
}

/// What all the checks of one directory found.
#[derive(Default)]
struct Found {
    looked: u64,
    missing: u64,
    corrupt: u64,
    /// The longest time between the finish of a value that is lost and the kill.
    lost: Duration,
}

/// Looks up what was said. `killed`: when, at the earliest.
fn check(dir: &Path, max_bytes: u64, said: &Said, killed: u64, found: &mut Found) {
    let pool = open(Disk::new(dir).max_bytes(max_bytes));
    let blob = blob();
    // As many as can't have been evicted.
    let recent = said.done.len().saturating_sub(100);
    for (at, &(n, finished)) in said.done.iter().enumerate().rev().take(2000) {
        found.looked += 1;
        match pool.get(&blob.call(n)) {
            Some(value) => {
                assert!(*value == mixed(n), "{n} is wrong");
                assert!(!said.gone.contains(&n), "{n} was forgotten and is there again");
            }
            None if said.gone.contains(&n) => {}
            None if at >= recent || max_bytes == LARGE => {
                found.missing += 1;
                found.lost = found.lost.max(Duration::from_nanos(killed.saturating_sub(finished)));
            }
            None => {}
        }
    }
    found.corrupt += pool.stats().corrupt;
}

/// Fails if killed writers leave things behind that nobody clears away.
fn assert_tidy(dir: &Path, max_bytes: u64) {
    let tmp = dir.join("v1/tmp");
    let old = SystemTime::now() - Duration::from_secs(3600);
    for entry in fs::read_dir(&tmp).expect("a directory").flatten() {
        let file = fs::File::options().write(true).open(entry.path()).expect("a file of ours");
        file.set_modified(old).expect("a file of ours");
    }
    // Two new segments at least.
    let pool = open(Disk::new(dir).max_bytes(max_bytes));
    let filler = memopool::Func::new("crash::filler", |n: u64| bytes(n, 10_000));
    let segment = (max_bytes / 64).clamp(64 << 10, 64 << 20);
    for n in 0..3 * segment / 10_000 {
        pool.run(filler.call(nanos() ^ n)).expect("a value");
    }
    pool.flush().expect("a directory that can be written");
    let left: Vec<_> = fs::read_dir(&tmp).expect("a directory").flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "nobody clears away {left:?}");
    let (total, bound) = (total(dir), max_bytes + segment + (256 << 10));
    assert!(total <= bound, "{total} bytes, more than {bound}");
}

fn assert_lost_little(found: &Found, what: &str) {
    let Found { looked, missing, corrupt, lost } = found;
    report(&format!(
        "{what}: {looked} values looked up, 0 wrong, {missing} lost (the earliest finished {lost:?} before its kill), \
         {corrupt} not believed"
    ));
    // A busy machine may stop a writer for longer than the promise; on a quiet one, for the full number, it is kept.
    let most = if long() { BATCH } else { Duration::from_secs(2) };
    assert!(*lost <= most, "{what}: a value was lost that was finished {lost:?} before the kill");
}

/// Results are wrong, or lost, or the directory fills up, after some process was killed.
#[test]
fn a_writer_killed_at_random_loses_next_to_nothing() {
    in_time(|| {
        let kills = rounds(500, 30);
        let panics_before = panics();
        let found = kill_at_random(Way::Computed, kills);
        assert_lost_little(&found, &format!("{} kills at random", kills / 2 * 2));
        assert_eq!(panics(), panics_before);
    });
}

/// What `insert_all` has said to be kept is lost when the process is killed.
#[test]
fn an_import_that_is_killed_loses_nothing_that_was_said_to_be_kept() {
    in_time(|| {
        let kills = rounds(200, 20);
        let found = kill_at_random(Way::Inserted, kills);
        assert_lost_little(&found, &format!("{} kills of an import", kills / 2 * 2));
        assert_eq!(found.missing, 0);
    });
}

/// Kills one writer after the other, and looks up what each said.
fn kill_at_random(way: Way, kills: u64) -> Found {
    let (mut random, mut found) = (Random::new(), Found::default());
    for max_bytes in [SMALL, LARGE] {
        let dir = temp();
        let mut from = 0;
        for _ in 0..kills / 2 {
            let mut writer = Writer::start(dir.path(), way, max_bytes, from, u64::MAX / 4);
            writer.go();
            thread::sleep(Duration::from_micros(random.next() % 60_000));
            let killed = nanos();
            writer.child.kill().expect("a child to kill");
            let (_, said) = writer.end();
            check(dir.path(), max_bytes, &said, killed, &mut found);
            from = said.done.last().map_or(from, |(n, _)| n + 100);
        }
        assert_tidy(dir.path(), max_bytes);
    }
    found
}

/// Starts strace on a writer that waits; some of its system calls will kill it, or fail. `None`: strace may not.
fn strace(child: u32, calls: &str, action: &str, when: &str) -> Option<Child> {
    let mut strace = Command::new("strace")
        .args(["-f", "-q", "-p", &child.to_string(), "-o", "/dev/null"])
        .args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{action}:when={when}")])
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let status = format!("/proc/{child}/status");
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        if text.lines().any(|line| line == format!("TracerPid:\t{}", strace.id())) {
            // All threads: the harness has one of its own.
            let tasks = fs::read_dir(format!("/proc/{child}/task")).ok()?.flatten();
            let traced = |path: std::path::PathBuf| {
                fs::read_to_string(path.join("status")).is_ok_and(|text| !text.contains("TracerPid:\t0\n"))
            };
            if tasks.map(|task| task.path()).all(traced) {
                return Some(strace);
            }
        }
        if strace.try_wait().ok()?.is_some() {
            return None;
        }
        thread::yield_now();
    }
}

/// A kill between two steps of a write, a growth or an eviction leaves what the next process takes for something else.
#[test]
fn a_writer_killed_at_each_system_call_harms_nobody() {
    in_time(|| {
        let calls = [
            "?write,pwrite64",
            "?rename,?renameat,?renameat2",
            "?unlink,unlinkat",
            "openat",
            "fallocate",
            "ftruncate",
            "?mkdir,mkdirat",
            "flock",
            "pread64",
            "fstat,?statx",
        ];
        if !can("strace", &["-V"]) {
            return skip("kills at each system call (strace is not here)");
        }
        let panics_before = panics();
        let mut all = 0;
        for calls in calls {
            let (mut dir, mut from, mut kills) = (temp(), 0, 0);
            let mut found = Found::default();
            let (mut n, mut unhurt) = (1, 0);
            while n <= rounds(120, 24) && unhurt < 3 {
                if n % 4 == 1 {
                    dir = temp();
                }
                let way = if n % 4 == 3 { Way::Inserted } else { Way::Computed };
                let mut writer = Writer::start(dir.path(), way, SMALL, from, 1100);
                let Some(mut strace) = strace(writer.child.id(), calls, "signal=KILL", &n.to_string()) else {
                    let _ = writer.child.kill();
                    return skip("kills at each system call (strace may not trace here)");
                };
                writer.go();
                let (status, said) = writer.end();
                let _ = strace.wait();
                let was_killed = status.signal().is_some();
                (kills, unhurt) = (kills + u64::from(was_killed), unhurt + u64::from(!was_killed));
                let killed = said.done.last().map_or(0, |(_, at)| *at);
                check(dir.path(), SMALL, &said, killed, &mut found);
                from = said.done.last().map_or(from, |(n, _)| n + 100);
                n += if long() || n < 4 { 1 } else { 1 + n / 2 };
            }
            assert_tidy(dir.path(), SMALL);
            assert_lost_little(&found, &format!("{kills} kills at `{calls}`"));
            all += kills;
        }
        report(&format!("{all} kills at system calls"));
        assert!(all > 0, "nothing was killed");
        assert_eq!(panics(), panics_before);
    });
}

/// Starts a child that says `ready` and waits for a line; from then on some of its system calls fail. `None`: strace may
/// not trace.
pub(crate) fn go_when_traced(command: &mut Command, calls: &str, action: &str, when: &str) -> Option<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("this program as a child");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while line.trim() != "ready" {
        line.clear();
        assert!(stdout.read_line(&mut line).expect("a pipe") > 0, "the child did not start");
    }
    let Some(mut strace) = strace(child.id(), calls, action, when) else {
        let _ = child.kill();
        let _ = child.wait();
        return None;
    };
    child.stdin.take().expect("a pipe").write_all(b"\n").expect("a child that waits for this");
    // Little, so it fits the pipe; and it must not be gone while the child prints.
    let output = child.wait_with_output().expect("a child that ends");
    drop(stdout);
    let _ = strace.wait();
    Some(output)
}

/// Fails unless the pool still writes what is found again.
pub(crate) fn assert_keeps(pool: &Pool, n: u64, what: &str) {
    let blob = blob();
    assert!(*pool.run(blob.call(n)).expect("a value") == mixed(n), "{what}: {n} is wrong");
    pool.flush().expect(what);
    assert!(pool.get(&blob.call(n)).is_some_and(|value| *value == mixed(n)), "{what}: {n} is not kept");
}
