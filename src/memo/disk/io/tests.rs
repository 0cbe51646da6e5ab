use std::fs;
use std::process::{Command, Output};
use std::sync::mpsc;

use tempfile::TempDir;

use super::*;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Runs one test of this binary again, in a process of its own behind some lines of shell: for what a whole process has
/// only one of. The test finds [`child_dir`] there.
#[cfg(unix)]
pub(crate) fn again(test: &str, shell: &str, dir: &Path) -> Output {
    Command::new("sh")
        .arg("-c")
        .arg(format!("{shell}\nexec \"$0\" --exact \"$1\" --test-threads 1 --nocapture"))
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(CHILD, dir)
        .output()
        .unwrap()
}

/// The directory that the parent gave, in a process that [`again`] started.
pub(crate) fn child_dir() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

const CHILD: &str = "MEMOPOOL_TEST_CHILD";

/// What goes wrong with a test that hangs is that nobody sees which.
fn soon<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    let thread = crate::sync::spawn("test".into(), None, move || {
        let _ = tell.send(body());
    });
    thread.unwrap();
    told.recv_timeout(Duration::from_secs(60)).expect("hangs, or has panicked")
}

/// Remembers what it was asked, and answers as told.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) ops: Mutex<Vec<(Op, PathBuf)>>,
    pub(crate) broken: AtomicBool,
}

impl Hook for Seen {
    fn before(&self, op: Op, path: &Path, _bytes: usize) -> Verdict {
        self.ops.lock().push((op, path.to_owned()));
        match self.broken.load(Ordering::Relaxed) {
            true => Verdict::Fail(io::Error::other("broken")),
            false => Verdict::Go,
        }
    }
}

fn dir() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    (dir, path)
}

#[test]
fn what_is_written_is_read() {
    // Everything else stands on this.
    let ((_dir, path), io) = (dir(), Io::default());
    let file = io.create(&path).unwrap();
    io.write_all_at(&file, b"world", 6).unwrap();
    io.write_all_at(&file, b"hello ", 0).unwrap();
    let mut buf = [0; 20];
    assert_eq!(io.read_at(&file, &mut buf, 0).unwrap(), 11);
    assert_eq!(&buf[..11], b"hello world");
    assert_eq!(io.read_at(&file, &mut buf, 100).unwrap(), 0);
    assert_eq!(io.len(&file).unwrap(), 11);
    assert_eq!(file.path, path);
    io.sync_data(&file).unwrap();
    io.sync_dir(path.parent().unwrap()).unwrap();
    let to = path.with_file_name("other");
    io.rename(&path, &to).unwrap();
    assert_eq!(io.names(to.parent().unwrap()).unwrap(), ["other"]);
    io.remove(&to).unwrap();
    io.remove(&to).unwrap();
}

#[test]
fn a_name_that_is_taken_is_not_overwritten() {
    // Two writers that make the same segment would write over each other.
    let ((_dir, path), io) = (dir(), Io::default());
    fs::write(&path, "here first").unwrap();
    assert_eq!(io.create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(!io.create_dir(&path).unwrap());
    let file = io.open_or_create(&path).unwrap();
    assert_eq!(io.len(&file).unwrap(), 10);
    io.remove(&path).unwrap();
    assert_eq!(io.len(&io.open_or_create(&path).unwrap()).unwrap(), 0);
}

#[test]
fn errors_say_what_and_where() {
    // "No such file or directory" alone sends its reader searching.
    let ((_dir, path), io) = (dir(), Io::default());
    let error = io.open(&path, Access::Read).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let text = error.to_string();
    assert!(text.starts_with(&format!("opening {}: ", path.display())), "{text}");
    let seen = Arc::new(Seen::default());
    let io = Io::with_hook(seen.clone());
    let file = io.create(&path).unwrap();
    seen.broken.store(true, Ordering::Relaxed);
    let errors = [
        io.open(&path, Access::Read).unwrap_err(),
        io.create(&path).unwrap_err(),
        io.read_at(&file, &mut [0], 0).unwrap_err(),
        io.write_all_at(&file, b"x", 0).unwrap_err(),
        io.sync_data(&file).unwrap_err(),
        io.rename(&path, &path).unwrap_err(),
        io.remove(&path).unwrap_err(),
        io.names(&path).unwrap_err(),
        io.try_lock(&file).unwrap_err(),
        io.metadata(&path).unwrap_err(),
    ];
    let texts = errors.map(|error| error.to_string().replace(&path.display().to_string(), "X"));
    let verbs = "opening creating reading writing syncing renaming removing listing locking looking";
    for (text, verb) in texts.iter().zip(verbs.split(' ')) {
        assert!(text.starts_with(verb) && text.ends_with(" X: broken"), "{text}");
    }
    assert_eq!(seen.ops.lock().iter().filter(|(op, _)| *op == Op::Write).count(), 1);
}

#[test]
fn a_hook_can_tear_and_delay() {
    // What tests do to the disk must be what they say they do.
    struct Spoil(fn() -> Verdict);
    impl Hook for Spoil {
        fn before(&self, op: Op, _path: &Path, _bytes: usize) -> Verdict {
            if op == Op::Create { Verdict::Go } else { (self.0)() }
        }
    }
    let (_dir, path) = dir();
    let torn = Io::with_hook(Arc::new(Spoil(|| Verdict::Torn(3))));
    let file = torn.create(&path).unwrap();
    assert!(torn.write_all_at(&file, b"abcdef", 0).is_err());
    assert!(torn.read_at(&file, &mut [0; 3], 0).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"abc");
    let slow = Io::with_hook(Arc::new(Spoil(|| Verdict::Delay(Duration::from_micros(1)))));
    slow.write_all_at(&file, b"abcdef", 0).unwrap();
    assert_eq!(slow.len(&file).unwrap(), 6);
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_opened() {
    // A link leads elsewhere, a fifo makes its reader wait for ever.
    let (dir, path) = dir();
    let make: [fn(&Path); 4] = [
        |path| std::os::unix::fs::symlink("elsewhere", path).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
    ];
    fs::write(dir.path().join("elsewhere"), "a regular file").unwrap();
    soon(move || {
        let io = Io::default();
        for (n, make) in make.iter().enumerate() {
            let path = path.with_file_name(n.to_string());
            make(&path);
            for access in [Access::Read, Access::Write] {
                let error = io.open(&path, access).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "case {n}: {error}");
            }
            assert!(io.open_or_create(&path).is_err());
        }
        let error = io.open(&path.with_file_name("0"), Access::Read).unwrap_err();
        assert!(error.to_string().ends_with(": a symbolic link"), "{error}");
    });
    assert_eq!(fs::read_to_string(dir.path().join("elsewhere")).unwrap(), "a regular file");
}

#[cfg(unix)]
#[test]
fn files_are_private_whatever_the_umask() {
    // Results may be secret, and a umask of 000 is common in containers; one of 777 would lock out the owner.
    use std::os::unix::fs::PermissionsExt;
    if let Some(dir) = child_dir() {
        for (name, io) in [("own", Io::default()), ("shared", Io::default().shared_with_group())] {
            io.create(&dir.join(name)).unwrap();
            assert!(io.create_dir(&dir.join(name).with_extension("d")).unwrap());
        }
        return;
    }
    for umask in ["000", "022", "077", "777"] {
        let dir = tempfile::tempdir().unwrap();
        let test = "memo::disk::io::tests::files_are_private_whatever_the_umask";
        let output = again(test, &format!("umask {umask}"), dir.path());
        assert!(output.status.success(), "{output:?}");
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o7777;
        let modes = ["own", "own.d", "shared", "shared.d"].map(mode);
        assert_eq!(modes, [0o600, 0o700, 0o660, 0o2770], "umask {umask}");
    }
}

#[cfg(unix)]
#[test]
fn a_limit_on_file_sizes_is_an_error_and_not_the_end() {
    // `ulimit -f` would end the whole process with a signal, in the middle of somebody's pipeline.
    if let Some(dir) = child_dir() {
        let io = Io::default();
        let file = io.create(&dir.join("file")).unwrap();
        io.write_all_at(&file, &[1; 4096], 0).unwrap();
        let kinds = [
            io.write_all_at(&file, &[1; 1 << 20], 0),
            io.write_all_at(&file, b"x", 1 << 20),
            io.preallocate(&file, 1 << 20),
        ]
        .map(|result| result.unwrap_err().kind());
        assert_eq!(kinds, [ErrorKind::FileTooLarge; 3]);
        assert_eq!(io.len(&file).unwrap(), 4096);
        fs::rename(dir.join("file"), dir.join("survived")).unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let test = "memo::disk::io::tests::a_limit_on_file_sizes_is_an_error_and_not_the_end";
    let output = again(test, "ulimit -f 16", dir.path());
    assert!(output.status.success(), "{output:?}");
    assert!(dir.path().join("survived").exists());
}

#[test]
fn reserved_room_is_there_and_empty() {
    // A mapped file with holes ends in a signal when the disk is full.
    let ((_dir, path), io) = (dir(), Io::default());
    let file = io.create(&path).unwrap();
    io.preallocate(&file, 200_000).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [0; 200_000]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 200_000);
    }
}

#[test]
fn a_lock_that_is_held_for_ever_is_an_error() {
    // Someone has stopped the process that holds it (Ctrl-Z): the others must not stop with it.
    let ((_dir, path), io) = (dir(), Io::default());
    let holder = io.open_or_create(&path).unwrap();
    let held = io.lock(&holder, Duration::from_secs(60)).unwrap();
    let error = soon(move || {
        let io = Io::default();
        let other = io.open(&path, Access::Write).unwrap();
        assert!(!io.try_lock(&other).unwrap());
        io.lock(&other, Duration::from_millis(20)).unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let text = error.to_string();
    assert!(
        text.starts_with("locking ") && text.ends_with("file: another process has held the lock for 20ms"),
        "{text}"
    );
    drop(held);
}

#[test]
fn a_lock_shuts_others_out_until_it_is_dropped() {
    // Two writers in one section would reserve one place twice.
    let (_dir, path) = dir();
    let sum = soon(move || {
        let io = Io::default();
        io.write_all_at(&io.create(&path).unwrap(), &0_u64.to_le_bytes(), 0).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (io, file) = (io.clone(), io.open(&path, Access::Write).unwrap());
                let body = move || {
                    for _ in 0..100 {
                        let locked = io.lock(&file, Duration::from_secs(60)).unwrap();
                        let mut word = [0; 8];
                        io.read_at(&file, &mut word, 0).unwrap();
                        let next = u64::from_le_bytes(word) + 1;
                        io.write_all_at(&file, &next.to_le_bytes(), 0).unwrap();
                        drop(locked);
                    }
                };
                crate::sync::spawn("test".into(), None, body).unwrap()
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        fs::read(&path).unwrap()
    });
    assert_eq!(sum, 400_u64.to_le_bytes());
}
