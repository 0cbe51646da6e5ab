//! Disks that are full, broken, read-only, or gone under a running pool: every task still returns its value, the listener
//! is told once, and when the trouble is over results are kept again.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use memopool::testing::{Faults, Op};
use memopool::{Disk, Pool};

use crate::kill::{assert_keeps, go_when_traced};
use crate::support::*;

const OPS: [Op; 10] = [
    Op::Open,
    Op::Create,
    Op::Read,
    Op::Write,
    Op::Sync,
    Op::Rename,
    Op::Remove,
    Op::List,
    Op::Lock,
    Op::Stat,
];

/// Segments of 64 KiB, some of which are evicted.
const BOUND: u64 = 512 << 10;

/// Runs calls, each of which must return its value.
fn work(pool: &Pool, calls: std::ops::Range<u64>, what: &str) {
    let blob = blob();
    for n in calls {
        let value = pool.run(blob.call(n));
        assert!(
            *value.unwrap_or_else(|error| panic!("{what}: {n}: {error}")) == mixed(n),
            "{what}: {n} is wrong"
        );
    }
}

/// Reads what is there, without any trouble: right or missing.
fn assert_right(dir: &Path, calls: std::ops::Range<u64>, what: &str) -> u64 {
    let (pool, blob) = (open(Disk::new(dir).max_bytes(BOUND)), blob());
    let mut kept = 0;
    for n in calls {
        let found = pool.get(&blob.call(n));
        kept += u64::from(found.is_some());
        assert!(found.is_none_or(|value| *value == mixed(n)), "{what}: {n} is wrong");
    }
    kept
}

/// Runs calls until the store has recovered, and fails unless the next results are kept.
fn recover(pool: &Pool, events: &Events, dir: &Path, what: &str) {
    // What is on its way may fail yet: to be heard of first.
    let _ = pool.flush();
    let mut n = 1_000_000;
    while !events.has_recovered() {
        work(pool, n..n + 1, what);
        n += 1;
    }
    // What was not written till now; it is told once.
    let _ = pool.flush();
    // Small ones: there may be room for little.
    let blob = blob();
    let later: Vec<u64> = (2_000_000..2_000_064).filter(|n| mixed(*n).len() < 100).collect();
    for n in &later {
        assert!(*pool.run(blob.call(*n)).expect("a value") == mixed(*n), "{what}: {n} is wrong");
    }
    pool.flush().unwrap_or_else(|error| panic!("{what}: after it has recovered: {error}"));
    let reader = open(Disk::new(dir).max_bytes(BOUND));
    for n in later {
        let found = reader.get(&blob.call(n));
        assert!(
            found.is_some_and(|value| *value == mixed(n)),
            "{what}: {n} is not on disk though it has recovered"
        );
    }
}

/// A disk that fails once, at whatever it is just doing, fails a task.
#[test]
fn any_operation_may_fail_once_or_again_and_again() {
    in_time(|| {
        let panics_before = panics();
        let (mut tried, mut struck, mut refused, mut told) = (0, 0, 0, 0);
        for op in OPS {
            let mut n = 1;
            while n <= 60 {
                for (again, at_open) in [(false, true), (true, true), (false, false), (true, false)] {
                    let what = format!("{op:?} {n}, again: {again}, when opening: {at_open}");
                    let (dir, faults, events) = (temp(), Faults::new(), Events::default());
                    let disk = || Disk::new(dir.path()).max_bytes(BOUND).faults(&faults);
                    let build = || builder(disk()).on_event(events.listener()).build();
                    let plan = || match again {
                        false => faults.fail_nth(op, n),
                        true => faults.fail_every(op, n),
                    };
                    if at_open {
                        plan();
                    }
                    let before = faults.count(op);
                    let pool = build().or_else(|error| {
                        assert!(error.is_store(), "{what}: {error}");
                        refused += 1;
                        faults.heal();
                        build()
                    });
                    let pool = pool.unwrap_or_else(|error| panic!("{what}: a second time: {error}"));
                    if !at_open {
                        plan();
                    }
                    work(&pool, 0..70, &what);
                    for result in [pool.forget(&blob().call(3)), pool.flush(), pool.forget_func(&blob())] {
                        assert!(result.is_ok() || result.is_err_and(|error| error.is_store()), "{what}");
                    }
                    work(&pool, 60..130, &what);
                    for n in 0..130 {
                        let found = pool.get(&blob().call(n));
                        assert!(found.is_none_or(|value| *value == mixed(n)), "{what}: {n} is wrong");
                    }
                    struck += u64::from(faults.count(op) - before >= n);
                    faults.heal();
                    if !events.all().is_empty() {
                        recover(&pool, &events, dir.path(), &what);
                        told += 1;
                    }
                    events.assert_alternate();
                    assert_keeps(&pool, 5000, &what);
                    drop(pool);
                    assert_right(dir.path(), 0..130, &what);
                    assert_eq!(panics(), panics_before, "{what}");
                    tried += 1;
                }
                n += if long() || n < 3 { 1 } else { 2 * n };
            }
        }
        report(&format!(
            "{tried} times an operation fails: {struck} were reached, {refused} refused to open, {told} told; every task \
             returned its value"
        ));
    });
}

/// A full, read-only or broken disk floods the listener, or stays unused for good.
#[test]
fn a_bad_disk_is_told_once_and_used_again_when_it_is_well() {
    in_time(|| {
        let panics_before = panics();
        for (kind, ail) in [
            ("full", Faults::full as fn(&Faults)),
            ("read-only", Faults::read_only),
            ("broken", Faults::broken),
        ] {
            let (dir, faults, events) = (temp(), Faults::new(), Events::default());
            let disk = Disk::new(dir.path()).max_bytes(BOUND).faults(&faults);
            let pool = builder(disk).on_event(events.listener()).build().expect("a disk that is well");
            work(&pool, 0..100, kind);
            pool.flush().expect("a disk that is well");
            for turn in 1..=3 {
                ail(&faults);
                let from = turn * 1000;
                work(&pool, from..from + 200, kind);
                let error = loop {
                    // What fails is told to who asks for it, as soon as it is tried again.
                    match pool.forget(&blob().call(from)) {
                        Err(error) => break error,
                        Ok(()) => assert_eq!(kind, "full", "nothing can be forgotten on that disk"),
                    }
                    work(&pool, from..from + 200, kind);
                    if events.failures() == turn as usize {
                        break pool.forget(&blob().call(from)).err().unwrap_or_else(|| {
                            pool.clear().err().unwrap_or_else(|| panic!("a full disk took a new segment"))
                        });
                    }
                };
                assert!(error.is_store(), "{kind}: {error}");
                work(&pool, 0..200, kind);
                assert_eq!(events.failures(), turn as usize, "{kind}: {:?}", events.all());
                assert!(pool.stats().store_errors > 0);
                faults.heal();
                recover(&pool, &events, dir.path(), kind);
            }
            events.assert_alternate();
            drop(pool);
            assert_right(dir.path(), 0..4000, kind);
        }
        report("full, read-only and broken disks: each told once, three times over");
        assert_eq!(panics(), panics_before);
    });
}

/// A value that has a file of its own and finds the disk full turns the disk off for all results of its function.
#[test]
fn a_large_value_that_finds_no_room_does_not_turn_its_function_off() {
    in_time(|| {
        let (dir, faults, events) = (temp(), Faults::new(), Events::default());
        let disk = Disk::new(dir.path()).max_bytes(BOUND).faults(&faults);
        let pool = builder(disk).on_event(events.listener()).build().expect("a disk that is well");
        faults.full();
        // 13 is one of the large ones.
        work(&pool, 13..14, "full");
        assert_eq!(events.failures(), 1, "{:?}", events.all());
        faults.heal();
        recover(&pool, &events, dir.path(), "a large value");
        events.assert_alternate();
    });
}

/// What could not be synced counts as synced for the next `flush`.
#[test]
fn a_flush_after_a_failed_one_syncs_what_is_left() {
    in_time(|| {
        let (dir, faults) = (temp(), Faults::new());
        let pool = open(Disk::new(dir.path()).max_bytes(BOUND).faults(&faults));
        // Several segments.
        work(&pool, 0..200, "well");
        faults.fail_nth(Op::Sync, 1);
        assert!(pool.flush().expect_err("a disk that does not sync").is_store());
        let before = faults.count(Op::Sync);
        pool.flush().expect("a disk that syncs again");
        let synced = faults.count(Op::Sync) - before;
        let segments = fs::read_dir(dir.path().join("v1/seg")).expect("segments").count() as u64;
        assert!(segments >= 3 && synced > segments, "{synced} syncs for {segments} segments and their names");
    });
}

/// What could not be made takes the room of what might be: a full disk never gets better.
#[test]
fn what_could_not_be_made_is_removed() {
    in_time(|| {
        let (dir, faults) = (temp(), Faults::new());
        let disk = || Disk::new(dir.path()).max_bytes(BOUND);
        let pool = open(disk().faults(&faults));
        work(&pool, 0..20, "well");
        drop(pool);
        for op in [Op::Write, Op::Rename] {
            fs::remove_file(dir.path().join("v1/index")).expect("an index");
            for _ in 0..5 {
                faults.fail_nth(op, 1);
                let refused = Pool::builder().disk(disk().faults(&faults)).build();
                assert!(refused.expect_err("an index that can't be made").is_store());
            }
            let left = fs::read_dir(dir.path().join("v1/tmp")).expect("a directory").count();
            assert_eq!(left, 0, "left behind when each {op:?} fails");
            assert_eq!(assert_right(dir.path(), 0..20, "healed"), 20);
        }
    });
}

/// `rm -rf` on the cache of a running program fails its tasks, or leaves it writing into files that nobody finds.
#[test]
fn the_directory_may_be_deleted_under_a_running_pool() {
    in_time(|| {
        let panics_before = panics();
        for made_again in [false, true] {
            let (dir, events) = (temp(), Events::default());
            let root = dir.path().join("cache");
            let disk = || Disk::new(&root).max_bytes(BOUND);
            let pool = builder(disk()).on_event(events.listener()).build().expect("a new directory");
            for turn in 0..5 {
                let from = turn * 1000;
                work(&pool, from..from + 100, "before");
                if turn % 2 == 0 {
                    pool.flush().expect("a directory");
                }
                // As `rm -rf` would be called again: the writer may make a file in a directory that is about to go.
                while root.exists() {
                    let _ = fs::remove_dir_all(&root);
                }
                if made_again {
                    // By another process, say.
                    work(&open(disk()), 9_000_000..9_000_050, "another");
                }
                work(&pool, from..from + 200, "deleted");
                if events.failures() > 0 && !events.has_recovered() {
                    // It was deleted amid a batch.
                    recover(&pool, &events, &root, "deleted");
                }
                // What was on its way when it was deleted may have been lost.
                let _ = pool.flush();
                work(&pool, from + 200..from + 230, "deleted");
                pool.flush().expect("a directory that is made again");
                let kept = assert_right(&root, from + 200..from + 230, "deleted");
                assert_eq!(kept, 30, "made again: {made_again}: what is written after the deletion is lost");
            }
            events.assert_alternate();
        }
        assert_eq!(panics(), panics_before);
    });
}

/// Files that somebody deletes one by one: nothing that is written later is found again.
#[test]
fn files_may_be_deleted_under_a_running_pool() {
    in_time(|| {
        let (panics_before, mut random) = (panics(), Random::new());
        let seed = random.0;
        for round in 0..rounds(1000, 60) {
            let what = format!("seed {seed}, round {round}");
            let (dir, events) = (temp(), Events::default());
            let disk = || Disk::new(dir.path()).max_bytes(BOUND);
            let pool = builder(disk()).on_event(events.listener()).build().expect("a new directory");
            work(&pool, 0..random.next() % 200, &what);
            let running = random.below(2) == 0;
            let pool = if running {
                Some(pool)
            } else {
                drop(pool);
                None
            };
            for name in names(dir.path()) {
                // (While it runs, an index or a lock of their own makes two groups of processes; see `docs/format.md`.)
                let spared = running && !name.starts_with("v1/seg");
                if random.below(2) == 0 && !spared {
                    fs::remove_file(dir.path().join(name)).expect("a file");
                }
            }
            let pool = pool.unwrap_or_else(|| open(disk()));
            work(&pool, 0..250, &what);
            pool.flush().expect(&what);
            work(&pool, 500..550, &what);
            drop(pool);
            assert_eq!(assert_right(dir.path(), 500..550, &what), 50, "{what}: written later, and lost");
            events.assert_alternate();
        }
        assert_eq!(panics(), panics_before);
    });
}

/// A directory that has become read-only fails tasks, or is not used again.
#[test]
fn the_directory_may_become_read_only_under_a_running_pool() {
    in_time(|| {
        let root = tempfile::tempdir().expect("a directory");
        let chattr = |flag: &str, path: &Path| can("chattr", &[flag, &path.display().to_string()]);
        let probe = root.path().join("probe");
        fs::create_dir(&probe).expect("a directory");
        if !(chattr("+i", &probe) && fs::write(probe.join("x"), "x").is_err() && chattr("-i", &probe)) {
            return skip("a directory that becomes read-only (needs root and chattr)");
        }
        let events = Events::default();
        let dir = root.path().join("cache");
        let disk = Disk::new(&dir).max_bytes(BOUND);
        let pool = builder(disk).on_event(events.listener()).build().expect("a new directory");
        work(&pool, 0..100, "before");
        assert!(chattr("+i", &dir.join("v1/seg")));
        work(&pool, 0..1000, "read-only");
        let failures = events.failures();
        assert!(chattr("-i", &dir.join("v1/seg")));
        assert_eq!(failures, 1, "{:?}", events.all());
        recover(&pool, &events, &dir, "read-only");
        events.assert_alternate();
    });
}

const MODE: &str = "MEMOPOOL_CRASH_MODE";
const DIR: &str = "MEMOPOOL_CRASH_DIR";

/// In a process with a small disk of its own.
pub(crate) fn child() {
    let mode = std::env::var(MODE).expect("a mode");
    let mount = std::env::var(DIR).expect("a directory");
    let (mount, dir) = (Path::new(&mount), Path::new(&mount).join("cache"));
    let filler = |n: u64| mount.join(format!("filler-{n}"));
    (0..3).for_each(|n| fs::write(filler(n), []).expect("an empty file"));
    let events = Events::default();
    let pool = builder(Disk::new(&dir).max_bytes(8 << 20)).on_event(events.listener()).build();
    let pool = pool.expect("room for a directory");
    work(&pool, 0..2500, &mode);
    assert!(events.failures() > 0, "{mode}: nothing failed");
    events.assert_alternate();
    match mode.as_str() {
        "size" => assert!(can("mount", &["-o", "remount,size=64m", &mount.display().to_string()])),
        "inodes" => (0..3).for_each(|n| fs::remove_file(filler(n)).expect("a file")),
        _ => assert!(can("prlimit", &["--pid", &std::process::id().to_string(), "--fsize=unlimited"])),
    }
    recover(&pool, &events, &dir, &mode);
    events.assert_alternate();
    drop(pool);
    assert_right(&dir, 0..2500, &mode);
    assert_eq!(panics(), 0, "{mode}");
    report(&format!(
        "{mode}: failed and recovered {} times, every task returned its value",
        events.failures()
    ));
}

/// Runs [`child`] behind a shell command that makes its world small.
fn in_small_world(mode: &str, sh: &[&str], shell: &str, dir: &Path) {
    let mut command = Command::new(sh[0]);
    command.args(&sh[1..]);
    let program = std::env::current_exe().expect("this program");
    command.args(["-c", &format!("{shell} && exec \"$0\" \"$@\""), &program.display().to_string()]);
    command.args(CHILD_ARGS).env(ROLE, "full").env(MODE, mode).env(DIR, dir);
    let output = command.stdin(Stdio::null()).output().expect("a shell");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{mode}: {}: {text}", output.status);
    text.lines().filter_map(|line| line.split_once("): ")).for_each(|(_, said)| report(said));
}

/// A disk of 1 MiB that is full fails tasks, or is never used again.
#[test]
fn a_small_disk_may_be_full() {
    in_time(|| {
        if !can("unshare", &["-m", "true"]) {
            return skip("small disks (needs root and unshare)");
        }
        for (mode, options) in [("size", "size=1m"), ("inodes", "size=64m,nr_inodes=20")] {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().display();
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", &format!("mount -t tmpfs -o {options} tmpfs '{path}'")]);
            if !command.status().is_ok_and(|status| status.success()) {
                return skip("small disks (tmpfs can't be mounted here)");
            }
            let shell = format!("mount -t tmpfs -o {options} tmpfs '{path}'");
            in_small_world(mode, &["unshare", "-m", "sh"], &shell, dir.path());
        }
    });
}

/// Where files may not grow beyond some size (`ulimit -f`) the process is killed by a signal.
#[test]
fn files_may_be_limited_in_size() {
    in_time(|| {
        if !can("prlimit", &["--version"]) {
            return skip("files of limited size (prlimit is not here)");
        }
        let dir = temp();
        // In blocks of 512 or 1024 bytes.
        in_small_world("limit", &["sh"], "ulimit -S -f 90", dir.path());
    });
}

/// Works in a directory in which some system call fails. All it may do is refuse to open it.
pub(crate) fn working_child() {
    let dir = std::env::var(DIR).expect("a directory");
    go_when_told();
    let events = Events::default();
    let built = builder(Disk::new(dir).max_bytes(BOUND)).on_event(events.listener()).build();
    match built {
        Err(error) => assert!(error.is_store(), "{error}"),
        Ok(pool) => {
            work(&pool, 0..300, "a failing system call");
            for result in [pool.forget(&blob().call(3)), pool.flush()] {
                assert!(result.is_ok() || result.is_err_and(|error| error.is_store()));
            }
            work(&pool, 100..150, "a failing system call");
        }
    }
    events.assert_alternate();
    assert_eq!(panics(), 0);
}

fn go_when_told() {
    use std::io::Write;
    std::io::stdout().write_all(b"\nready\n").expect("a pipe");
    std::io::stdin().read_line(&mut String::new()).expect("a line to start with");
}

/// The system says no, at whatever the store is just doing: a task fails for it.
#[test]
fn any_system_call_may_fail() {
    in_time(|| {
        let calls = [
            ("pwrite64", &["ENOSPC", "EIO"][..]),
            ("pread64", &["EIO"]),
            ("openat", &["EROFS", "ENOSPC", "EMFILE"]),
            ("?rename,?renameat,?renameat2", &["EROFS", "ENOSPC"]),
            ("?unlink,unlinkat", &["EROFS", "EIO"]),
            ("?mkdir,mkdirat", &["ENOSPC"]),
            ("fallocate", &["ENOSPC", "EIO", "EOPNOTSUPP"]),
            ("ftruncate", &["EIO"]),
            ("flock", &["EIO", "ENOLCK"]),
            ("fdatasync,fsync,msync", &["EIO"]),
            ("getdents64", &["EIO"]),
        ];
        if !can("strace", &["-V"]) {
            return skip("failing system calls (strace is not here)");
        }
        let mut tried = 0;
        for (calls, errors) in calls {
            for error in errors {
                for when in 1..=rounds(60, 3) {
                    // Each, or all from there on.
                    for when in [format!("{when}"), format!("{when}+")] {
                        let dir = temp();
                        let mut command = child_of("work", dir.path());
                        let what = format!("{error} for {calls}, {when}");
                        let Some(output) =
                            go_when_traced(&mut command, calls, &format!("error={error}"), &when)
                        else {
                            return skip("failing system calls (strace may not trace here)");
                        };
                        let text = String::from_utf8_lossy(&output.stderr);
                        assert!(output.status.success(), "{what}: {}: {text}", output.status);
                        assert_right(dir.path(), 0..300, &what);
                        tried += 1;
                    }
                }
            }
        }
        report(&format!("{tried} times a system call fails: every task returned its value"));
    });
}

fn child_of(role: &str, dir: &Path) -> Command {
    let mut command = crate::support::child(role);
    command.env(DIR, dir);
    command
}
