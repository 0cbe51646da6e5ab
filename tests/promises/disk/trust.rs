//! Whom the directory is opened for, and what in it is believed.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use memopool::{Disk, Error, Pool};

use super::{Place, as_child, block, bytes_of, doubled, files_in, is_root, skip, this_program};
use crate::{Counter, build, in_time};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn refused(path: impl AsRef<Path>) -> Error {
    let error = Pool::open(&path).expect_err("it is not to be trusted");
    assert!(error.is_store(), "{error}");
    assert!(error.to_string().contains(path.as_ref().to_str().unwrap()), "{error}");
    error
}

/// Child: makes a cache with small and large results in it.
pub(super) fn write(place: &Path) {
    let pool = build(Pool::builder().threads(1).disk(Disk::new(place).max_bytes(4 << 20)));
    for seed in 0..1500 {
        pool.run(block().call((seed, 10))).unwrap();
    }
    pool.run(block().call((1, 100_000))).unwrap();
}

/// Whoever has an account on the machine reads the results, or puts their own there.
#[test]
fn everything_is_private_whatever_the_umask() {
    in_time(|| {
        for umask in ["000", "022", "077"] {
            let place = Place::new();
            let program = this_program();
            let script = format!("umask {umask}; exec \"$0\" \"$@\"");
            let before = ["-c", script.as_str(), program.to_str().unwrap()];
            let out = as_child("sh", &before, "write", &place.path(), 0).output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            let root = place.path();
            for dir in [
                root.clone(),
                root.join("v1"),
                root.join("v1/seg"),
                root.join("v1/tmp"),
                root.join("v1/owners"),
            ] {
                assert_eq!(mode(&dir), 0o700, "{} with umask {umask}", dir.display());
            }
            let files = files_in(&root);
            assert!(files.len() >= 6, "{files:?}");
            for file in files {
                assert_eq!(mode(&file), 0o600, "{} with umask {umask}", file.display());
            }
        }
    });
}

/// Results are read from a directory in which somebody else could have put them.
#[test]
fn a_directory_that_others_may_write_is_refused() {
    in_time(|| {
        let place = Place::new();
        let dir = place.path();
        fs::create_dir(&dir).unwrap();
        for shared in [0o777, 0o702, 0o720, 0o1777] {
            set_mode(&dir, shared);
            refused(&dir);
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "nothing was written");
        }
        set_mode(&dir, 0o755);
        drop(Pool::open(&dir).unwrap());
        set_mode(&dir.join("v1"), 0o777);
        refused_below(&dir);
        set_mode(&dir.join("v1"), 0o700);
        drop(Pool::open(&dir).unwrap());

        let link = dir.with_extension("link");
        symlink(&dir, &link).unwrap();
        refused(&link);
        let dangling = dir.with_extension("dangling");
        symlink(dir.with_extension("nothing"), &dangling).unwrap();
        refused(&dangling);
        let file = dir.with_extension("file");
        File::create(&file).unwrap();
        refused(&file);
        if is_root() {
            let foreign = dir.with_extension("foreign");
            fs::create_dir(&foreign).unwrap();
            chown(&foreign, Some(4242), Some(4242)).unwrap();
            refused(&foreign);
            assert_eq!(fs::read_dir(&foreign).unwrap().count(), 0);
        } else {
            skip("a directory of another user (this is not root)");
        }
    });
}

fn refused_below(path: &Path) {
    assert!(Pool::open(path).expect_err("not to be trusted").is_store());
}

/// Colleagues can't share a cache although they say so, or it stays open to everybody.
#[test]
fn a_group_may_share_a_directory_if_its_members_say_so() {
    in_time(|| {
        let place = Place::new();
        let dir = place.path();
        fs::create_dir(&dir).unwrap();
        set_mode(&dir, 0o770);
        refused(&dir);
        let runs = Counter::default();
        let func = doubled(&runs);
        for _ in 0..2 {
            let pool = build(Pool::builder().threads(1).disk(place.disk().shared_with_group(true)));
            assert_eq!(*pool.run(func.call(1)).unwrap(), 2);
        }
        assert_eq!(runs.get(), 1);
        for file in files_in(&dir.join("v1")) {
            assert_eq!(mode(&file), 0o660, "{}", file.display());
        }
        set_mode(&dir, 0o772);
        let error = Pool::builder().disk(place.disk().shared_with_group(true)).build().unwrap_err();
        assert!(error.is_store(), "everybody is not the group: {error}");
    });
}

/// A backup carries gigabytes of cache, and git asks whether to add it.
#[test]
fn backups_and_git_are_told_to_pass_by() {
    in_time(|| {
        let place = Place::new();
        drop(place.pool());
        let tag = place.path().join("CACHEDIR.TAG");
        assert!(
            fs::read_to_string(&tag).unwrap().starts_with("Signature: 8a477f597d28d172789f06886806bc55\n")
        );
        let ignore = place.path().join(".gitignore");
        assert_eq!(fs::read_to_string(&ignore).unwrap(), "*\n");
        fs::write(&ignore, "mine\n").unwrap();
        fs::remove_file(&tag).unwrap();
        drop(place.pool());
        assert_eq!(fs::read_to_string(&ignore).unwrap(), "mine\n", "written once");
        assert!(!tag.exists(), "written once");
    });
}

/// Somebody who can write the directory decides what calls return, though entries are sealed.
#[test]
fn sealed_entries_are_believed_only_with_their_key() {
    in_time(|| {
        let runs = Counter::default();
        let func = doubled(&runs);
        for lost in [false, true] {
            let place = Place::new();
            let pool = |key: Option<&str>| {
                let disk = match key {
                    Some(key) => place.disk().mac_key(key),
                    None => place.disk(),
                };
                build(super::bare().disk(disk))
            };
            let before = runs.get();
            for n in 0..3 {
                pool(Some("secret")).run(func.call(n)).unwrap();
            }
            assert_eq!(*pool(Some("secret")).run(func.call(0)).unwrap(), 0);
            assert_eq!(runs.get() - before, 3);
            if lost {
                place.lose_index();
            }
            for (n, key) in [(0, None), (1, Some("Secret")), (2, Some(""))] {
                let pool = pool(key);
                assert_eq!(pool.get(&func.call(n)), None, "{key:?}");
                assert_eq!(*pool.run(func.call(n)).unwrap(), n * 2);
                assert_eq!(pool.stats().computed, 1);
                // Once by who looked, once by who had it computed. (The new index has none of them.)
                assert_eq!(pool.stats().corrupt, if lost { 0 } else { 2 }, "{key:?}");
            }
        }
    });
}

/// A directory inside of the cache is a link to one of the user's, by a backup that was put back or a member of the group:
/// what is swept away as left behind, or evicted, are the user's files.
#[test]
fn a_link_inside_of_the_cache_is_refused() {
    in_time(|| {
        for name in ["tmp", "seg", "owners"] {
            let place = Place::new();
            let disk = || place.disk().max_bytes(1 << 20);
            let fill = |pool: &Pool, from: u64| {
                for seed in from..from + 400 {
                    pool.run(block().call((seed, 4000))).unwrap();
                }
            };
            let pool = build(super::bare().disk(disk()));
            fill(&pool, 0);
            pool.flush().unwrap();
            let (inside, home) = (place.path().join("v1").join(name), place.path().with_extension("home"));
            fs::create_dir(&home).unwrap();
            set_mode(&home, 0o700);
            let hour = std::time::Duration::from_secs(3600);
            for file in ["precious", "00000001", "12-34", "000"] {
                let file = File::create(home.join(file)).unwrap();
                file.set_modified(std::time::SystemTime::now() - hour).unwrap();
            }
            fs::rename(&inside, inside.with_extension("aside")).unwrap();
            symlink(&home, &inside).unwrap();
            let error = refused(place.path()).to_string();
            assert!(error.contains(inside.to_str().unwrap()) && error.contains("symbolic link"), "{error}");
            // A pool that has the cache open does not follow it either.
            if name != "owners" {
                fill(&pool, 1000);
                assert!(pool.flush().is_err() || name == "tmp", "{name}");
                assert_eq!(files_in(&home).len(), 4, "{name}: what was there, and nothing else");
            }
        }
    });
}

/// Makes something else of that name, given a copy of the file; says whether it could.
type Make = fn(&Path, &Path) -> bool;

/// A reader hangs on a fifo, or follows a link out of the directory.
#[test]
fn what_is_no_file_is_a_miss() {
    in_time(|| {
        let kinds: [(&str, Make); 5] = [
            ("a link to the same bytes", |path, copy| symlink(copy, path).is_ok()),
            ("a link to nowhere", |path, _| symlink("nowhere", path).is_ok()),
            ("a fifo", |path, _| made("mkfifo", path, &[])),
            ("a device", |path, _| is_root() && made("mknod", path, &["c", "1", "5"])),
            ("a directory", |path, _| fs::create_dir(path).is_ok()),
        ];
        for (kind, make) in kinds {
            let (place, runs) = (Place::new(), Counter::default());
            let func = doubled(&runs);
            let disk = || place.disk().max_bytes(4 << 20);
            let pool = build(super::bare().disk(disk()));
            pool.run(func.call(1)).unwrap();
            pool.run(block().call((1, 100_000))).unwrap();
            drop(pool);
            let copy = place.path().with_extension("copy");
            let mut made = true;
            for path in place.segments() {
                fs::copy(&path, &copy).unwrap();
                fs::remove_file(&path).unwrap();
                made &= make(&path, &copy);
            }
            if !made {
                skip(format_args!("{kind} as an entry (it can't be made here)"));
                continue;
            }
            for lost in [false, true] {
                if lost {
                    place.lose_index();
                }
                let pool = build(super::bare().disk(disk()));
                assert_eq!(pool.get(&func.call(1)), None, "{kind}");
                assert_eq!(pool.get(&block().call((1, 100_000))), None, "{kind}");
            }
            let pool = build(super::bare().disk(disk()));
            assert_eq!(*pool.run(func.call(1)).unwrap(), 2);
            assert_eq!(*pool.run(block().call((1, 100_000))).unwrap(), bytes_of(1, 100_000));
            pool.flush().unwrap();
            assert_eq!(pool.stats().computed, 2, "{kind}");
            assert!(pool.get(&func.call(1)).is_some(), "{kind}: the tier goes on");
        }
    });
}

/// A fifo or a link in the place of the index or the lock hangs the pool, or lets it write elsewhere.
#[test]
fn an_index_or_a_lock_that_is_no_file_does_no_harm() {
    in_time(|| {
        for name in ["index", "lock"] {
            for fifo in [true, false] {
                let (place, runs) = (Place::new(), Counter::default());
                let func = doubled(&runs);
                place.pool().run(func.call(1)).unwrap();
                let path = place.path().join("v1").join(name);
                fs::remove_file(&path).unwrap();
                let outside = place.path().with_extension("outside");
                File::create(&outside).unwrap().write_all(b"precious").unwrap();
                let done = if fifo { made("mkfifo", &path, &[]) } else { symlink(&outside, &path).is_ok() };
                if !done {
                    skip(format_args!("a fifo as {name} (it can't be made here)"));
                    continue;
                }
                match Pool::builder().threads(1).disk(place.disk()).build() {
                    Ok(pool) => assert_eq!(*pool.run(func.call(1)).unwrap(), 2),
                    Err(error) => assert!(error.is_store() && error.to_string().contains(name), "{error}"),
                }
                assert_eq!(fs::read(&outside).unwrap(), b"precious");
            }
        }
    });
}

fn made(program: &str, path: &Path, after: &[&str]) -> bool {
    Command::new(program).arg(path).args(after).status().is_ok_and(|status| status.success())
}
