//! The directory of a cache: made, trusted or refused.
//!
//! ```text
//! root/CACHEDIR.TAG, root/.gitignore   for backups and git: nothing in here is worth keeping
//! root/v1/                             one per format version: old and new builds live side by side
//! root/v1/lock                         writers meet here, for short sections
//! root/v1/index, root/v1/claims        mapped tables: hints, and who computes what
//! root/v1/owners/<nnn>                 one per process that claims, locked while it lives
//! root/v1/seg/<id, 8 hex digits>       segments
//! root/v1/tmp/<pid>-<n>                under way; renamed into place
//! ```
//!
//! # Who is trusted
//!
//! Whoever may write in the directory can put results there. So `root`, `v1` and the directories in it are refused, with
//! nothing written, if they are symbolic links, belong to somebody else, or can be written by others; group members are let
//! in only where the user says so. What lies *above* the root is the user's own affair, symbolic links included: who may
//! rename one of those directories decides what is read.
//!
//! Files are removed from `seg` and `tmp`. So these are looked at again each time before what is in them is listed
//! ([`Dir::names`]), and before a segment is opened to be written ([`Dir::check`]): a backup that is put back under a
//! process may have made links of them, and what they lead to is not ours.
//!
//! # Opening is cheap
//!
//! A directory that is complete costs six looks: at `root`, its file system, `v1` and the three in it. Only when one is
//! missing are things made, each step of which may find that another process was faster.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::process;

use super::io::{Handle, Io, Op, context};
use crate::sync::atomic::{AtomicU64, Ordering};
use system::{GroupOf, network, trusted};

#[cfg_attr(unix, path = "dir/unix.rs")]
#[cfg_attr(windows, path = "dir/windows.rs")]
mod system;

/// A directory that may be read and written, and the paths in it. Absolute: it stays the same when the process changes
/// its working directory.
#[derive(Debug, Clone)]
pub(crate) struct Dir {
    root: PathBuf,
    v1: PathBuf,
    trust: Trust,
    io: Io,
}

/// A file in `tmp` that is under way: removed when dropped, unless it has got its name. What could not be written must
/// not take the room of what might be.
#[derive(Debug)]
pub(crate) struct Unnamed<'a> {
    dir: &'a Dir,
    /// `None` once renamed.
    path: Option<PathBuf>,
}

impl Unnamed<'_> {
    pub(crate) fn rename(mut self, to: &Path) -> io::Result<()> {
        match self.path.take() {
            Some(path) => self.dir.io.rename(&path, to).inspect_err(|_| self.path = Some(path)),
            None => Ok(()),
        }
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // If that fails too, the next sweep finds it.
            let _ = self.dir.io.remove(path);
        }
    }
}

/// Whom a user trusts beside themselves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trust {
    /// The members of the directory's group.
    pub(crate) shared_with_group: bool,
}

/// Why a directory is not used.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It could be, but is not trusted.
    Distrust {
        path: PathBuf,
        reason: String,
        remedy: String,
    },
    Io(io::Error),
}

impl Dir {
    /// Opens the cache directory `root`; makes it, and those above it, where there is none.
    pub(crate) fn open(root: &Path, trust: Trust, io: Io) -> Result<Dir, Refused> {
        let root = absolute(root)?;
        let io = if trust.shared_with_group { io.shared_with_group() } else { io };
        let dir = Dir { v1: root.join(VERSION), root, trust, io };
        if dir.look()? {
            return Ok(dir);
        }
        dir.make_root()?;
        dir.make_inside()?;
        // What another process has made meanwhile is looked at like anything else.
        match dir.look()? {
            true => Ok(dir),
            false => {
                let path = dir.owners_dir();
                let reason = "it is removed as fast as it is made".to_owned();
                let remedy = "find out what removes it, or choose another directory".to_owned();
                Err(Refused::Distrust { path, reason, remedy })
            }
        }
    }

    /// Whether everything is there; refuses what must not be used.
    fn look(&self) -> Result<bool, Refused> {
        let Some(metadata) = self.metadata(&self.root)? else {
            return Ok(false);
        };
        judge(&self.root, &metadata, self.trust)?;
        refuse_network(&self.root)?;
        for dir in [self.v1.clone(), self.seg_dir(), self.tmp_dir(), self.owners_dir()] {
            let Some(metadata) = self.metadata(&dir)? else {
                return Ok(false);
            };
            judge(&dir, &metadata, self.trust)?;
        }
        Ok(true)
    }

    /// Refuses one of the directories if it is no longer what it was when it was opened.
    pub(crate) fn check(&self, dir: &Path) -> io::Result<()> {
        Ok(judge(dir, &self.io.metadata(dir)?, self.trust)?)
    }

    /// The names in one of the directories, if it is not to be refused.
    pub(crate) fn names(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.check(dir)?;
        self.io.names(dir)
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        match self.io.metadata(path) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make_root(&self) -> Result<(), Refused> {
        if let Some(metadata) = self.metadata(&self.root)? {
            return judge(&self.root, &metadata, self.trust);
        }
        // On a network file system nothing is to be made either.
        if let Some(above) = self.root.ancestors().skip(1).find(|above| above.exists()) {
            refuse_network(above)?;
        }
        if let Some(parent) = self.root.parent() {
            self.io.create_dirs(parent)?;
        }
        if !self.io.create_dir(&self.root)? {
            // By another process, or by who would have us write elsewhere.
            self.check(&self.root)?;
        }
        Ok(())
    }

    /// Makes whatever is missing inside of `root`. Another process may be doing the same.
    fn make_inside(&self) -> Result<(), Refused> {
        // The root itself is only marked if it holds nothing of anybody else's: someone may well name the directory of
        // their project, which git should not ignore.
        let names = self.io.names(&self.root)?;
        let ours = names.iter().all(|name| [VERSION, TAG, GITIGNORE].iter().any(|&own| name == own));
        let group = GroupOf::directory(&self.io.metadata(&self.root)?);
        for dir in [self.v1.clone(), self.seg_dir(), self.tmp_dir()] {
            self.make_dir(&dir, &group)?;
        }
        self.mark(if ours { &self.root } else { &self.v1 });
        self.make_dir(&self.owners_dir(), &group)?;
        Ok(())
    }

    fn make_dir(&self, path: &Path, group: &GroupOf) -> io::Result<()> {
        if !self.io.create_dir(path)? {
            return self.check(path);
        }
        if self.io.is_shared() {
            group.give(path).map_err(|error| context(Op::Create, path, error))?;
        }
        Ok(())
    }

    /// Tells backups and git to pass by. A convenience: its failure is none.
    fn mark(&self, dir: &Path) {
        for (name, text) in [(TAG, TAG_TEXT), (GITIGNORE, "*\n")] {
            if let Ok(file) = self.io.create(&dir.join(name)) {
                let _ = self.io.write_all_at(&file, text.as_bytes(), 0);
            }
        }
    }

    /// Makes `seg` or `tmp` again, which someone has removed under us.
    pub(crate) fn make_again(&self, dir: &Path) -> io::Result<()> {
        self.make_dir(dir, &GroupOf::directory(&self.io.metadata(&self.v1)?))
    }

    /// Through which everything in here is read and written.
    pub(crate) fn io(&self) -> &Io {
        &self.io
    }

    #[cfg(test)]
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.v1.join("lock")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.v1.join("index")
    }

    pub(crate) fn functions(&self) -> PathBuf {
        self.v1.join("functions")
    }

    pub(crate) fn claims(&self) -> PathBuf {
        self.v1.join("claims")
    }

    pub(crate) fn owners_dir(&self) -> PathBuf {
        self.v1.join("owners")
    }

    pub(crate) fn owner(&self, n: u32) -> PathBuf {
        self.v1.join(format!("owners/{n:03}"))
    }

    pub(crate) fn seg_dir(&self) -> PathBuf {
        self.v1.join("seg")
    }

    pub(crate) fn seg(&self, id: u32) -> PathBuf {
        self.v1.join(format!("seg/{id:08x}"))
    }

    pub(crate) fn tmp_dir(&self) -> PathBuf {
        self.v1.join("tmp")
    }

    /// Makes a file in `tmp`, to be renamed.
    pub(crate) fn begin(&self) -> io::Result<(Handle, Unnamed<'_>)> {
        let path = self.tmp();
        let handle = match self.io.create(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make_again(&self.tmp_dir())?;
                self.io.create(&path)?
            }
            created => created?,
        };
        Ok((handle, Unnamed { dir: self, path: Some(path) }))
    }

    /// A name in `tmp` that this process gives once.
    pub(crate) fn tmp(&self) -> PathBuf {
        static NAMES: AtomicU64 = AtomicU64::new(0);
        let n = NAMES.fetch_add(1, Ordering::Relaxed);
        self.v1.join(format!("tmp/{}-{n}", process::id()))
    }

    /// Whether that is a name as [`tmp`](Self::tmp) gives.
    pub(crate) fn is_tmp(name: &OsStr) -> bool {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let parts = name.to_str().and_then(|name| name.split_once('-'));
        parts.is_some_and(|(pid, n)| is_number(pid) && is_number(n))
    }
}

pub(super) const VERSION: &str = "v1";
const TAG: &str = "CACHEDIR.TAG";
const GITIGNORE: &str = ".gitignore";
/// As <https://bford.info/cachedir/> has it.
const TAG_TEXT: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This directory is a cache made by memopool: it may be deleted at any time.\n\
    # Backups may leave it out; see https://bford.info/cachedir/\n";

/// The path from the root of the file system on, without a trailing slash (which would make the system follow a link).
fn absolute(root: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(root).map_err(|error| {
        io::Error::new(error.kind(), format!("the cache directory `{}`: {error}", root.display()))
    })?;
    Ok(path.components().filter(|part| *part != Component::CurDir).collect())
}

/// Refuses what is no directory of the user's own.
fn judge(path: &Path, metadata: &Metadata, trust: Trust) -> Result<(), Refused> {
    let (reason, remedy) = if metadata.is_symlink() {
        ("it is a symbolic link".to_owned(), "name the directory it points to".to_owned())
    } else if !metadata.is_dir() {
        ("it is not a directory".to_owned(), "remove it, or choose another directory".to_owned())
    } else {
        match trusted(path, metadata, trust) {
            Ok(()) => return Ok(()),
            Err(distrust) => distrust,
        }
    };
    Err(Refused::Distrust { path: path.to_owned(), reason, remedy })
}

fn refuse_network(path: &Path) -> Result<(), Refused> {
    let Some(kind) = network(path).map_err(|error| context(Op::Stat, path, error))? else {
        return Ok(());
    };
    let reason = format!(
        "it is on a network or shared file system ({kind}), whose locks and memory maps can't be relied on"
    );
    let remedy = "choose a directory on a local disk".to_owned();
    Err(Refused::Distrust { path: path.to_owned(), reason, remedy })
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Refused {
        match error.downcast::<Refused>() {
            Ok(refused) => refused,
            Err(error) => Refused::Io(error),
        }
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> io::Error {
        match refused {
            Refused::Io(error) => error,
            distrust @ Refused::Distrust { .. } => io::Error::new(ErrorKind::PermissionDenied, distrust),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Distrust { path, reason, remedy } => {
                write!(f, "the cache directory `{}` is refused: {reason}; {remedy}", path.display())
            }
            Refused::Io(error) => write!(f, "the cache directory can't be used: {error}"),
        }
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Refused::Distrust { .. } => None,
            Refused::Io(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests;
