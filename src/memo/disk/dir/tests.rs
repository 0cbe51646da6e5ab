use std::fs;

use tempfile::TempDir;

use super::*;
use crate::memo::disk::io::Op;
use crate::memo::disk::io::tests::Seen;
use crate::sync::Arc;

const OWN: Trust = Trust { shared_with_group: false };

fn open(root: &Path) -> Result<Dir, Refused> {
    Dir::open(root, OWN, Io::default())
}

fn temp() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("cache");
    (temp, root)
}

/// All names below a directory, in order.
fn tree(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            names.push(path.strip_prefix(root).unwrap().display().to_string().replace('\\', "/"));
            if entry.file_type().unwrap().is_dir() {
                dirs.push(path);
            }
        }
    }
    names.sort();
    names
}

#[test]
fn a_directory_is_made_with_all_above_it() {
    // `Pool::open(".cache/project/memo")` must just work.
    let (temp, _) = temp();
    let dir = open(&temp.path().join("a/b/cache")).unwrap();
    assert_eq!(tree(dir.root()), [".gitignore", "CACHEDIR.TAG", "v1", "v1/owners", "v1/seg", "v1/tmp"]);
    assert_eq!(fs::read_to_string(dir.root().join(".gitignore")).unwrap(), "*\n");
    let tag = fs::read_to_string(dir.root().join("CACHEDIR.TAG")).unwrap();
    assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"), "{tag}");
    assert!(dir.seg(0x1f).ends_with("cache/v1/seg/0000001f"));
    assert!(dir.owner(7).ends_with("cache/v1/owners/007"));
    for (path, name) in [(dir.lock(), "lock"), (dir.index(), "index"), (dir.claims(), "claims")] {
        assert!(path.ends_with(format!("cache/v1/{name}")));
    }
    assert_ne!(dir.tmp(), dir.tmp());
}

#[test]
fn opening_again_makes_and_lists_nothing() {
    // Short-lived processes open the cache at each start.
    let (_temp, root) = temp();
    open(&root).unwrap();
    let seen = Arc::new(Seen::default());
    Dir::open(&root, OWN, Io::with_hook(seen.clone())).unwrap();
    let ops: Vec<Op> = seen.ops.lock().iter().map(|(op, _)| *op).collect();
    assert_eq!(ops, [Op::Stat; 5]);
}

#[test]
fn a_half_made_directory_is_completed() {
    // A process may be killed while it makes one.
    let (_temp, root) = temp();
    for step in ["", "v1", "v1/seg"] {
        fs::create_dir(root.join(step)).unwrap();
        let dir = open(&root).unwrap();
        assert_eq!(tree(&root), [".gitignore", "CACHEDIR.TAG", "v1", "v1/owners", "v1/seg", "v1/tmp"]);
        fs::remove_dir_all(dir.root().join("v1")).unwrap();
        if step == "v1" {
            fs::create_dir(root.join("v1")).unwrap();
        }
    }
}

#[test]
fn what_the_user_wrote_is_not_overwritten() {
    // Someone may want their cache in git after all.
    let (_temp, root) = temp();
    open(&root).unwrap();
    fs::write(root.join(".gitignore"), "mine").unwrap();
    fs::remove_file(root.join("CACHEDIR.TAG")).unwrap();
    open(&root).unwrap();
    fs::remove_dir(root.join("v1/owners")).unwrap();
    open(&root).unwrap();
    assert_eq!(fs::read_to_string(root.join(".gitignore")).unwrap(), "mine");
}

#[test]
fn a_directory_with_other_things_in_it_is_not_marked() {
    // `Pool::open(".")` must not make git and backups ignore the project.
    let (_temp, root) = temp();
    fs::create_dir(&root).unwrap();
    fs::write(root.join("main.rs"), "").unwrap();
    open(&root).unwrap();
    assert_eq!(
        tree(&root),
        ["main.rs", "v1", "v1/.gitignore", "v1/CACHEDIR.TAG", "v1/owners", "v1/seg", "v1/tmp"]
    );
}

#[test]
fn many_that_open_at_once_all_succeed() {
    // A test runner starts ten processes on an empty cache.
    for _ in 0..50 {
        let (_temp, root) = temp();
        let root = root.join("deeper");
        let start = Arc::new(std::sync::Barrier::new(8));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (root, start) = (root.clone(), start.clone());
                let body = move || {
                    start.wait();
                    open(&root).unwrap();
                };
                crate::sync::spawn("test".into(), None, body).unwrap()
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(root.join("v1/owners").is_dir());
    }
}

#[test]
fn a_relative_path_is_made_absolute() {
    // A process that changes its working directory would lose its cache, or make a second one.
    let dir = Dir {
        root: absolute(Path::new("some/./cache/")).unwrap(),
        v1: PathBuf::new(),
        trust: OWN,
        io: Io::default(),
    };
    assert_eq!(dir.root(), std::env::current_dir().unwrap().join("some/cache"));
    assert!(open(Path::new("")).is_err());
}

#[test]
fn a_file_in_its_place_is_refused() {
    // The file may be somebody's only copy.
    let (_temp, root) = temp();
    fs::write(&root, "precious").unwrap();
    let refused = open(&root).unwrap_err().to_string();
    let expected = format!(
        "the cache directory `{}` is refused: it is not a directory; remove it, or choose another directory",
        root.display()
    );
    assert_eq!(refused, expected);
    assert_eq!(fs::read_to_string(&root).unwrap(), "precious");
    assert!(open(&root.join("below")).is_err());
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;
    use crate::memo::disk::io::tests::{again, child_dir};
    use crate::memo::disk::io::{Hook, Verdict};

    const SHARED: Trust = Trust { shared_with_group: true };

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_link_is_refused() {
        // Whoever can put a link there decides where results come from.
        let (temp, root) = temp();
        let target = temp.path().join("target");
        fs::create_dir(&target).unwrap();
        symlink(&target, &root).unwrap();
        for path in [root.clone(), root.join(""), root.join(".")] {
            let refused = open(&path).unwrap_err().to_string();
            assert!(refused.ends_with("it is a symbolic link; name the directory it points to"), "{refused}");
        }
        assert!(tree(&target).is_empty());
        // Nor inside; nor one that leads nowhere.
        let real = temp.path().join("real");
        fs::create_dir(&real).unwrap();
        symlink(&target, real.join("v1")).unwrap();
        assert!(open(&real).unwrap_err().to_string().contains("/v1` is refused: it is a symbolic link"));
        assert!(tree(&target).is_empty());
        symlink("nowhere", temp.path().join("dangling")).unwrap();
        assert!(open(&temp.path().join("dangling")).is_err());
        assert!(!temp.path().join("nowhere").exists());
        // Above the root a link is the user's own affair.
        open(&root.join("cache")).unwrap();
        assert!(target.join("cache/v1/seg").is_dir());
    }

    #[test]
    fn a_link_inside_is_refused() {
        // What is swept out of `tmp`, and evicted from `seg`, would be the files that the link leads to.
        for name in ["seg", "tmp", "owners"] {
            let (temp, root) = temp();
            let dir = open(&root).unwrap();
            let (target, inside) = (temp.path().join("target"), root.join("v1").join(name));
            fs::create_dir(&target).unwrap();
            chmod(&target, 0o700);
            fs::remove_dir(&inside).unwrap();
            symlink(&target, &inside).unwrap();
            let refused = open(&root).unwrap_err().to_string();
            assert!(refused.contains(&format!("/v1/{name}` is refused: it is a symbolic link")), "{refused}");
            assert_eq!(dir.names(&inside).unwrap_err().to_string(), refused);
            assert!(dir.make_again(&inside).is_err());
            assert!(tree(&target).is_empty());
            fs::remove_file(&inside).unwrap();
            fs::create_dir(&inside).unwrap();
            chmod(&inside, 0o702);
            assert!(open(&root).unwrap_err().to_string().contains("anyone may write there (mode 0702)"));
        }
    }

    /// Puts a link where a directory is about to be made.
    struct Faster {
        name: &'static str,
        target: PathBuf,
    }

    impl Hook for Faster {
        fn before(&self, op: Op, path: &Path, _: usize) -> Verdict {
            if op == Op::Create && path.ends_with(self.name) {
                symlink(&self.target, path).unwrap();
            }
            Verdict::Go
        }
    }

    #[test]
    fn a_link_that_is_put_there_meanwhile_is_refused() {
        // Who can make names beside the cache has it made, in part, where they like.
        for name in ["cache", "v1", "seg"] {
            let (temp, root) = temp();
            let target = temp.path().join("target");
            fs::create_dir(&target).unwrap();
            let faster = Faster { name, target: target.clone() };
            let refused = Dir::open(&root, OWN, Io::with_hook(Arc::new(faster))).unwrap_err().to_string();
            assert!(refused.contains(&format!("/{name}` is refused: it is a symbolic link")), "{refused}");
            assert!(tree(&target).is_empty(), "{name}: {:?}", tree(&target));
        }
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused_and_left_as_it_is() {
        // In a shared /tmp anyone could put results there that we would believe.
        let (_temp, root) = temp();
        fs::create_dir(&root).unwrap();
        for (bad, who) in [(0o777, "anyone"), (0o1777, "anyone"), (0o702, "anyone"), (0o770, "its group")] {
            chmod(&root, bad);
            let refused = open(&root).unwrap_err().to_string();
            assert!(refused.contains(&format!("{who} may write there (mode {bad:04o}")), "{refused}");
            assert!(refused.contains(&format!("w '{}'`", root.display())), "{refused}");
            assert!(tree(&root).is_empty());
            assert_eq!(mode(&root), bad);
        }
        for good in [0o700, 0o755, 0o750] {
            chmod(&root, good);
            open(&root).unwrap();
            assert_eq!(mode(&root), good);
            assert_eq!(mode(&root.join("v1")), 0o700);
        }
        chmod(&root.join("v1"), 0o777);
        assert!(open(&root).unwrap_err().to_string().contains("/v1` is refused: anyone may write there"));
    }

    #[test]
    fn a_directory_of_someone_else_is_refused() {
        // Its owner could change every result. (Only root can give a directory away; others look at root's.)
        let (_temp, mut root) = temp();
        let am_root = rustix::process::geteuid().is_root();
        if am_root {
            fs::create_dir(&root).unwrap();
            chown(&root, Some(12_345), None).unwrap();
        } else {
            root = "/usr".into();
        }
        let refused = open(&root).unwrap_err().to_string();
        let owner = if am_root { 12_345 } else { 0 };
        assert!(refused.contains(&format!("is refused: it belongs to user {owner}, and ")), "{refused}");
        if am_root {
            assert!(tree(&root).is_empty());
            // Who may write through their group is one of those whom the user trusts.
            assert!(Dir::open(&root, SHARED, Io::default()).is_err());
            chmod(&root, 0o2770);
            Dir::open(&root, SHARED, Io::default()).unwrap();
            chown(&root, None, Some(54_321)).unwrap();
            chmod(&root, 0o2770);
            let refused = Dir::open(&root, SHARED, Io::default()).unwrap_err().to_string();
            assert!(refused.contains("it belongs to user 12345"), "{refused}");
        }
    }

    #[test]
    fn a_shared_directory_is_shared_all_through() {
        // The second member of the group must be able to write what the first has made.
        let (_temp, root) = temp();
        let dir = Dir::open(&root, SHARED, Io::default()).unwrap();
        for path in ["", "v1", "v1/seg", "v1/tmp", "v1/owners"] {
            assert_eq!(mode(&root.join(path)), 0o2770, "{path}");
        }
        let file = dir.io().create(&dir.seg(1)).unwrap();
        assert_eq!(file.file().metadata().unwrap().mode() & 0o7777, 0o660);
        assert!(open(&root).unwrap_err().to_string().contains("say that it is shared with the group"));
        chmod(&root, 0o2777);
        let refused = Dir::open(&root, SHARED, Io::default()).unwrap_err().to_string();
        assert!(refused.contains("anyone may write there (mode 2777)"), "{refused}");
    }

    #[test]
    fn the_umask_does_not_matter() {
        // A umask of 000 would open the cache to everybody, one of 077 close it to the group.
        if let Some(root) = child_dir() {
            open(&root.join("own")).unwrap();
            Dir::open(&root.join("shared"), SHARED, Io::default()).unwrap();
            return;
        }
        for umask in ["000", "077"] {
            let (temp, _) = temp();
            let output = again(
                "memo::disk::dir::tests::unix::the_umask_does_not_matter",
                &format!("umask {umask}"),
                temp.path(),
            );
            assert!(output.status.success(), "{output:?}");
            for path in ["", "v1", "v1/seg", "v1/tmp", "v1/owners"] {
                assert_eq!(mode(&temp.path().join("own").join(path)), 0o700, "own/{path}");
                assert_eq!(mode(&temp.path().join("shared").join(path)), 0o2770, "shared/{path}");
            }
            assert_eq!(mode(&temp.path().join("own/CACHEDIR.TAG")), 0o600);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        // Locks that do not hold and maps that do not agree: wrong eviction, and two runs of everything.
        for (magic, name) in [(0x6969, "NFS"), (0x0102_1997, "9p"), (0x6573_5546, "FUSE or virtiofs")] {
            assert_eq!(system::network_name(magic), Some(name));
        }
        // ext4, xfs, btrfs, zfs, tmpfs, overlayfs, f2fs, bcachefs.
        let local = [
            0xef53,
            0x5846_5342,
            0x9123_683e,
            0x2fc1_2fc1,
            0x0102_1994,
            0x794c_7630,
            0xf2f5_2010,
            0xca45_1a4e,
        ];
        for magic in local {
            assert_eq!(system::network_name(magic), None);
        }
    }
}

#[test]
fn trouble_on_the_way_is_named() {
    // "Permission denied" alone does not say where.
    let (_temp, root) = temp();
    let seen = Arc::new(Seen::default());
    seen.broken.store(true, Ordering::Relaxed);
    let refused = Dir::open(&root, OWN, Io::with_hook(seen)).unwrap_err();
    let expected = format!("the cache directory can't be used: looking at {}: broken", root.display());
    assert_eq!(refused.to_string(), expected);
    assert!(std::error::Error::source(&refused).is_some());
}
