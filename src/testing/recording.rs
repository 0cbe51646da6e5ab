//! A private copy of a cache directory, so that a recording is never written to.
//!
//! A cache directory is a living thing: whoever opens it writes an index, locks files and says who is alive. A recording is
//! checked in, may be read-only, and should look the same after a test as before it. So a pool that plays one back reads a
//! copy of its segments in the temporary directory, and the copy goes with the pool.
//!
//! A pool in a `static` is never dropped, and a process may be killed: then the copy stays. Each copy has a file `alive`
//! that its owner holds locked, and whoever makes the next one removes those that nobody holds. The file gets its name when
//! it is locked, so a copy in the making is never taken for one that was left behind.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process;

use crate::Pool;
use crate::config::disk::Disk;
use crate::error::Error;
use crate::memo::disk::copy;
use crate::sync::atomic::{AtomicU64, Ordering};

impl Pool {
    /// A pool that answers from what was recorded in the directory `dir`, and fails on a miss (feature `testing`): for tests
    /// that must not fetch, pay or wait, over a cache directory in your repository. All else at its default; with other
    /// settings [`Builder::recorded`](crate::Builder::recorded).
    ///
    /// To record is to run the same once in a pool that may compute: `Pool::open(dir)`. Here no body runs, nested calls'
    /// neither. A call that is not there ends in an error that [`is_miss`](Error::is_miss) and names the function, the key,
    /// what is known of it, and the remedy; it is counted as failed. Nothing expires, and a
    /// [`refresh`](crate::Call::refresh) is answered as if it were none. Errors and results `in_memory` are not recorded,
    /// but for errors of functions that [keep](crate::Named::cache_errors) them. Closures that are
    /// [spawned](Pool::spawn) run as ever.
    ///
    /// The directory is read once, here, and may be read-only: the pool works on a copy in the temporary directory, which
    /// goes with it. What it is trusted for is what the tests beside it are, so its owner and permissions are not looked at.
    ///
    /// # Errors
    ///
    /// [`is_store`](Error::is_store) if the directory can't be read or copied.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("memopool-doc-recorded-{}", std::process::id()));
    /// use memopool::{Pool, memo};
    ///
    /// #[memo]
    /// fn fetch(page: u32) -> String {
    ///     format!("page {page}") // from far away
    /// }
    ///
    /// Pool::open(&dir)?.run(fetch::call(1))?; // once, by hand
    ///
    /// let pool = Pool::recorded(&dir)?;
    /// assert_eq!(*pool.run(fetch::call(1))?, "page 1");
    /// let error = pool.run(fetch::call(2)).unwrap_err();
    /// assert!(error.is_miss());
    /// assert!(error.to_string().contains("fetch(#"), "{error}");
    /// # drop(pool);
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn recorded(dir: impl AsRef<Path>) -> Result<Pool, Error> {
        Pool::builder().disk(Disk::new(dir)).recorded().build()
    }

    /// Answers from the cache alone from now on, or computes again (feature `testing`): see [`recorded`](Self::recorded).
    /// So a test can let a pool compute what it needs, and then see that nothing else is asked for. Runs whose bodies have
    /// started go on.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let pool = Pool::new();
    /// pool.run(square.call(3))?;
    /// pool.set_recorded(true);
    /// assert_eq!(*pool.run(square.call(3))?, 9);
    /// assert!(pool.run(square.call(4)).unwrap_err().is_miss());
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn set_recorded(&self, recorded: bool) {
        self.engine.recorded.set(recorded);
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Recording {
    home: PathBuf,
    /// Held, not used.
    _alive: File,
}

const PREFIX: &str = "memopool-recorded-";
const ALIVE: &str = "alive";

impl Recording {
    /// Copies what that disk has, and lets it be read from the copy.
    pub(crate) fn of(disk: &mut Disk) -> Result<Recording, Error> {
        let copied = Recording::make().and_then(|recording| {
            let cache = recording.home.join("cache");
            make_dir(&cache)?;
            copy::copy(&disk.path, &cache)?;
            Ok((recording, cache))
        });
        let (recording, cache) = copied.map_err(|error| {
            Error::store(format!(
                "the recording `{}` can't be read: {error}; record it first: run what is tested once in a pool that may \
                 compute, `Pool::open` of that directory",
                disk.path.display()
            ))
        })?;
        disk.path = cache;
        // Nothing is computed: there is nobody to share a run with.
        disk.single_flight = false;
        Ok(recording)
    }

    fn make() -> io::Result<Recording> {
        let dir = std::env::temp_dir();
        sweep(&dir);
        static NAMES: AtomicU64 = AtomicU64::new(0);
        loop {
            let n = NAMES.fetch_add(1, Ordering::Relaxed);
            let home = dir.join(format!("{PREFIX}{}-{n}", process::id()));
            match make_dir(&home) {
                // Of another process that had our number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            let unnamed = home.join("tmp");
            let alive = File::create_new(&unnamed)?;
            alive.lock()?;
            fs::rename(&unnamed, home.join(ALIVE))?;
            return Ok(Recording { home, _alive: alive });
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // If that fails the next one sweeps it away.
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// Makes a directory for this user alone: whoever could write in it would decide what calls return.
fn make_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Removes copies whose owners are gone. What can't be removed stays.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|metadata| is_ours(&metadata))
            && let Ok(alive) = File::open(entry.path().join(ALIVE))
            && alive.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A directory of this user's. In others, `alive` could be anything.
fn is_ours(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    let own = std::os::unix::fs::MetadataExt::uid(metadata) == rustix::process::geteuid().as_raw();
    #[cfg(not(unix))]
    let own = true;
    own && metadata.is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each test run leaves a directory behind, until the disk is full; or one that is in use is taken away.
    #[test]
    fn a_copy_goes_with_its_pool_and_what_was_left_is_swept() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("recording");
        drop(Pool::open(&dir).unwrap());
        let left = std::env::temp_dir().join(format!("{PREFIX}{}-left", process::id()));
        make_dir(&left).unwrap();
        File::create(left.join(ALIVE)).unwrap();
        let copy = || Recording::of(&mut Disk::new(&dir)).unwrap();
        let first = copy();
        assert!(!left.exists(), "its owner is gone");
        let second = copy();
        assert!(first.home.join(ALIVE).exists() && second.home.join("cache/v1/seg").exists());
        assert_ne!(first.home, second.home);
        let home = first.home.clone();
        drop(first);
        assert!(!home.exists());
    }
}
