//! The one door of the disk tier to the file system.
//!
//! Whatever the tier does with files it does through an [`Io`], so that four things are true in one place:
//!
//! - **Errors say what and where**: "writing …/v1/seg/00000001: No space left on device".
//! - **No file is believed for its name.** Each open refuses symbolic links, does not wait (a fifo would make it), and
//!   takes only what turns out to be a regular file. New files are private whatever the umask.
//! - **Nothing kills or hangs the process.** A write past `RLIMIT_FSIZE` would raise a signal: it is refused before. A lock
//!   that a stopped process holds is waited for with a deadline.
//! - **Tests can make it fail.** A [`Hook`] is asked before each operation; it is `None` in production.
//!
//! Reads and writes are positional: a [`Handle`] has no cursor that threads could fight over. (On Windows the calls move
//! the file's cursor, which nothing here uses.)

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sync::{Arc, Parker, now};
use system::{careful, is_same, not_regular, read_some, reserve, within_limit, write_some};

#[cfg_attr(unix, path = "io/unix.rs")]
#[cfg_attr(windows, path = "io/windows.rs")]
mod system;

/// The system, or a test's idea of it. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Io {
    hook: Option<Arc<dyn Hook>>,
    /// New files and directories may be written by their group.
    shared: bool,
}

/// Asked before each operation, and may spoil it.
pub(crate) trait Hook: Send + Sync {
    /// `bytes`: how many are to be read or written; 0 for other operations.
    fn before(&self, op: Op, path: &Path, bytes: usize) -> Verdict;
}

/// A hook's answer.
#[cfg_attr(not(any(test, feature = "testing")), expect(dead_code, reason = "only tests spoil anything"))]
#[derive(Debug)]
pub(crate) enum Verdict {
    Go,
    Fail(io::Error),
    /// Write so many bytes, then fail. Anything but a write just fails.
    Torn(usize),
    /// Go, but later.
    Delay(Duration),
}

/// What is done to a file or a directory: what [`Faults`](crate::testing::Faults) counts and fails.
#[cfg_attr(not(feature = "testing"), expect(unreachable_pub, reason = "public as `testing::Op`"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// Opening a file that exists.
    Open,
    /// Making a new file or directory.
    Create,
    /// Reading from an open file.
    Read,
    /// Writing to an open file, or reserving room for it.
    Write,
    /// Having the system put on the medium what was written.
    Sync,
    /// Giving a file another name.
    Rename,
    /// Removing a file.
    Remove,
    /// Reading the names in a directory.
    List,
    /// Locking a file.
    Lock,
    /// Asking for size, kind or owner.
    Stat,
}

/// An open, regular file, and where it was found.
#[derive(Debug)]
pub(crate) struct Handle {
    file: File,
    path: PathBuf,
    writable: bool,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A lock that is held until dropped.
#[derive(Debug)]
#[must_use = "dropping it unlocks"]
pub(crate) struct Locked<'a>(&'a Handle);

impl Io {
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn with_hook(hook: Arc<dyn Hook>) -> Io {
        Io { hook: Some(hook), shared: false }
    }

    /// The same, but what it creates may be written by the group.
    pub(crate) fn shared_with_group(mut self) -> Io {
        self.shared = true;
        self
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Opens a file that exists. What is not a regular file is refused as [`ErrorKind::InvalidInput`].
    pub(crate) fn open(&self, path: &Path, access: Access) -> io::Result<Handle> {
        self.ask(Op::Open, path)?;
        let writable = access == Access::Write;
        let mut options = OpenOptions::new();
        careful(options.read(true).write(writable));
        let opened = options.open(path).map_err(not_regular);
        let file = opened.and_then(|file| match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::new(ErrorKind::InvalidInput, NOT_REGULAR)),
        });
        let file = file.map_err(|error| context(Op::Open, path, error))?;
        Ok(Handle { file, path: path.to_owned(), writable })
    }

    /// Makes a new file, for reading and writing. It is an error if the name is taken.
    pub(crate) fn create(&self, path: &Path) -> io::Result<Handle> {
        self.ask(Op::Create, path)?;
        let mut options = OpenOptions::new();
        careful(options.read(true).write(true).create_new(true));
        let file = self.create_private(options, path).map_err(|error| context(Op::Create, path, error))?;
        Ok(Handle { file, path: path.to_owned(), writable: true })
    }

    /// Opens a file for reading and writing, new if there is none.
    pub(crate) fn open_or_create(&self, path: &Path) -> io::Result<Handle> {
        // Another process may make or remove it between our looks, but not for ever.
        let mut turns = 3;
        loop {
            turns -= 1;
            match self.open(path, Access::Write) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                opened => return opened,
            }
            match self.create(path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && turns > 0 => {}
                created => return created,
            }
        }
    }

    /// Makes a new directory. `false`: the name is taken, by whatever.
    pub(crate) fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.ask(Op::Create, path)?;
        match self.create_private_dir(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(context(Op::Create, path, error)),
        }
    }

    /// Makes a directory and those above it as `mkdir -p` does, with the user's own umask.
    pub(crate) fn create_dirs(&self, path: &Path) -> io::Result<()> {
        self.ask(Op::Create, path)?;
        std::fs::create_dir_all(path).map_err(|error| context(Op::Create, path, error))
    }

    /// Fills `buf` from `offset` on. Returns how much was there: less than asked for only at the end of the file.
    pub(crate) fn read_at(&self, handle: &Handle, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let fail = |error| context(Op::Read, &handle.path, error);
        self.ask_bytes(Op::Read, &handle.path, buf.len())?;
        let mut done = 0;
        while done < buf.len() {
            match read_some(&handle.file, &mut buf[done..], offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(fail(error)),
            }
        }
        Ok(done)
    }

    /// Writes all of `bytes` at `offset`. After an error any part of them may be there.
    pub(crate) fn write_all_at(&self, handle: &Handle, bytes: &[u8], offset: u64) -> io::Result<()> {
        let fail = |error| context(Op::Write, &handle.path, error);
        let torn = match self.verdict(Op::Write, &handle.path, bytes.len()) {
            Verdict::Go => None,
            Verdict::Delay(time) => {
                pause(time);
                None
            }
            Verdict::Fail(error) => return Err(fail(error)),
            Verdict::Torn(n) => Some(n.min(bytes.len())),
        };
        let bytes = &bytes[..torn.unwrap_or(bytes.len())];
        within_limit(offset.saturating_add(bytes.len() as u64)).map_err(fail)?;
        let mut done = 0;
        while done < bytes.len() {
            match write_some(&handle.file, &bytes[done..], offset.saturating_add(done as u64)) {
                Ok(0) => return Err(fail(ErrorKind::WriteZero.into())),
                Ok(n) => done += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(fail(error)),
            }
        }
        match torn {
            None => Ok(()),
            Some(_) => Err(fail(io::Error::other(TORN))),
        }
    }

    /// Makes the file `len` bytes long, of real blocks: what is written there later can't find the disk full.
    pub(crate) fn preallocate(&self, handle: &Handle, len: u64) -> io::Result<()> {
        let fail = |error| context(Op::Write, &handle.path, error);
        self.ask_bytes(Op::Write, &handle.path, usize::try_from(len).unwrap_or(usize::MAX))?;
        within_limit(len).map_err(fail)?;
        if reserve(&handle.file, len).map_err(fail)? {
            return Ok(());
        }
        // The file system can't: zeros do the same, more slowly.
        let zeros = [0; 64 << 10];
        let mut at = handle.file.metadata().map_err(fail)?.len();
        while at < len {
            let n = zeros.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
            self.write_all_at(handle, &zeros[..n], at)?;
            at += n as u64;
        }
        Ok(())
    }

    /// Makes the file that long, with a hole at its end, if it is shorter.
    pub(crate) fn stretch(&self, handle: &Handle, len: u64) -> io::Result<()> {
        if self.len(handle)? >= len {
            return Ok(());
        }
        let fail = |error| context(Op::Write, &handle.path, error);
        self.ask_bytes(Op::Write, &handle.path, 0)?;
        within_limit(len).map_err(fail)?;
        handle.file.set_len(len).map_err(fail)
    }

    /// Has the file's bytes put on the medium.
    pub(crate) fn sync_data(&self, handle: &Handle) -> io::Result<()> {
        self.ask(Op::Sync, &handle.path)?;
        handle.file.sync_data().map_err(|error| context(Op::Sync, &handle.path, error))
    }

    /// Has a directory's names put on the medium. Windows does so by itself.
    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.ask(Op::Sync, path)?;
        if cfg!(windows) {
            return Ok(());
        }
        File::open(path).and_then(|dir| dir.sync_all()).map_err(|error| context(Op::Sync, path, error))
    }

    /// Gives a file another name; what had that name before is gone.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask(Op::Rename, to)?;
        std::fs::rename(from, to).map_err(|error| context(Op::Rename, to, error))
    }

    /// Removes a file. That it is gone already is no error.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.ask(Op::Remove, path)?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(context(Op::Remove, path, error)),
            _ => Ok(()),
        }
    }

    /// The names in a directory.
    pub(crate) fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.ask(Op::List, path)?;
        let names = std::fs::read_dir(path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>());
        names.map_err(|error| context(Op::List, path, error))
    }

    /// What the name stands for; of a symbolic link, the link.
    pub(crate) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.ask(Op::Stat, path)?;
        std::fs::symlink_metadata(path).map_err(|error| context(Op::Stat, path, error))
    }

    /// Whether the file still is what its name stands for.
    pub(crate) fn is_named(&self, handle: &Handle) -> io::Result<bool> {
        match self.metadata(&handle.path) {
            Ok(named) => {
                let own = handle.file.metadata().map_err(|error| context(Op::Stat, &handle.path, error))?;
                Ok(is_same(&own, &named))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The file's size.
    pub(crate) fn len(&self, handle: &Handle) -> io::Result<u64> {
        self.ask(Op::Stat, &handle.path)?;
        let metadata = handle.file.metadata();
        metadata.map(|metadata| metadata.len()).map_err(|error| context(Op::Stat, &handle.path, error))
    }

    /// Locks the file for this handle alone, against other handles, also of other processes. Not against threads that use
    /// the same handle: they need a mutex of their own around this.
    ///
    /// Waits at most `patience` ([`ErrorKind::TimedOut`]): the holder may be a process that somebody has stopped. The
    /// system can only wait for ever or not at all, so this asks again and again, more and more rarely.
    pub(crate) fn lock<'a>(&self, handle: &'a Handle, patience: Duration) -> io::Result<Locked<'a>> {
        let deadline = now() + patience;
        let mut turn = 0;
        while !self.try_lock(handle)? {
            if now() >= deadline {
                let text = format!("another process has held the lock for {patience:?}");
                return Err(context(Op::Lock, &handle.path, io::Error::new(ErrorKind::TimedOut, text)));
            }
            turn += 1;
            match turn {
                0..LOCK_YIELDS => std::thread::yield_now(),
                _ => pause(LOCK_PAUSE * (turn - LOCK_YIELDS + 1).min(LOCK_PAUSES)),
            }
        }
        Ok(Locked(handle))
    }

    /// Locks the file if nobody else has. The lock lasts until the handle is dropped.
    pub(crate) fn try_lock(&self, handle: &Handle) -> io::Result<bool> {
        self.ask(Op::Lock, &handle.path)?;
        match handle.file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(context(Op::Lock, &handle.path, error)),
        }
    }

    fn verdict(&self, op: Op, path: &Path, bytes: usize) -> Verdict {
        self.hook.as_ref().map_or(Verdict::Go, |hook| hook.before(op, path, bytes))
    }

    fn ask(&self, op: Op, path: &Path) -> io::Result<()> {
        self.ask_bytes(op, path, 0)
    }

    fn ask_bytes(&self, op: Op, path: &Path, bytes: usize) -> io::Result<()> {
        match self.verdict(op, path, bytes) {
            Verdict::Go => Ok(()),
            Verdict::Delay(time) => {
                pause(time);
                Ok(())
            }
            Verdict::Fail(error) => Err(context(op, path, error)),
            Verdict::Torn(_) => Err(context(op, path, io::Error::other(TORN))),
        }
    }
}

impl Handle {
    pub(crate) fn into_file(self) -> File {
        self.file
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Can't fail for a lock that is held; and if it did, closing the file unlocks too.
        let _ = self.0.file.unlock();
    }
}

/// Fills `buf` from `offset` on, or says that it could not. Not counted, and not failed on purpose: for what is mapped, too.
pub(super) fn read_exactly(file: &File, buf: &mut [u8], offset: u64) -> Option<()> {
    matches!(read_some(file, buf, offset), Ok(read) if read == buf.len()).then_some(())
}

/// Asks for the lock that often before it sleeps between: sections under a lock are short.
const LOCK_YIELDS: u32 = 16;
/// The first sleep; each is longer by as much.
const LOCK_PAUSE: Duration = Duration::from_micros(50);
/// The longest sleep, in first sleeps.
const LOCK_PAUSES: u32 = 40;

const NOT_REGULAR: &str = "not a regular file";
const TORN: &str = "torn on purpose";

/// Sleeps. (A parker that nobody wakes: the policy has no other sleep.)
fn pause(time: Duration) {
    Parker::default().park(Some(now() + time));
}

/// An error with what was done and where. The kind stays.
#[derive(Debug)]
struct Context {
    op: Op,
    path: PathBuf,
    error: io::Error,
}

#[cold]
pub(super) fn context(op: Op, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Context { op, path: path.to_owned(), error })
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.op.doing(), self.path.display(), self.error)
    }
}

impl std::error::Error for Context {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl Op {
    fn doing(self) -> &'static str {
        match self {
            Op::Open => "opening",
            Op::Create => "creating",
            Op::Read => "reading",
            Op::Write => "writing",
            Op::Sync => "syncing",
            Op::Rename => "renaming to",
            Op::Remove => "removing",
            Op::List => "listing",
            Op::Lock => "locking",
            Op::Stat => "looking at",
        }
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Io { hook, shared } = self;
        f.debug_struct("Io").field("hook", &hook.is_some()).field("shared", shared).finish()
    }
}

#[cfg(test)]
pub(crate) mod tests;
