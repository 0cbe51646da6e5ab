//! [`Disk`]: where results outlive the process, and how.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;

/// Bytes that a cache directory may take, unless [`Disk::max_bytes`] says otherwise: 10 GiB.
pub const DEFAULT_DISK: u64 = 10 * 1024 * 1024 * 1024;

/// The smallest [`Disk::max_bytes`]: 256 KiB.
pub const MIN_DISK: u64 = 256 * 1024;

/// Bytes of results that may wait to be written before whoever finishes or inserts more is held back, unless [`Disk::backlog`] says
/// otherwise: 64 MiB.
pub const DEFAULT_BACKLOG: u64 = 64 * 1024 * 1024;

/// From here on the table of claims is counted.
const COUNT_CLAIMS: u64 = 16 * 1024 * 1024;

/// Results smaller than this are never compressed: 1 KiB.
pub const COMPRESS_ABOVE: usize = 1024;

/// A cache directory: results in it outlive the process, and are shared by all processes that name it.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("memopool-doc-disk-{}", std::process::id()));
/// use memopool::{Disk, Func, Pool};
///
/// let square = Func::new("square", |n: u64| n * n);
/// let disk = || Disk::new(&dir).max_bytes(1 << 30);
/// Pool::builder().disk(disk()).build()?.run(square.call(3))?;
///
/// let later = Pool::builder().disk(disk()).build()?; // another process, say
/// assert_eq!(*later.run(square.call(3))?, 9);
/// assert_eq!((later.stats().computed, later.stats().disk_hits), (0, 1));
/// # drop(later);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), memopool::Error>(())
/// ```
///
/// The directory is made if it is not there (with its parents), readable by its owner alone. It must lie on a local file
/// system: locks and shared maps of network file systems can't be relied on, so these are refused. A damaged file in it
/// costs what was in it, and never gives a wrong value. You may delete the directory at any time; best while nobody uses it
/// (on Windows, only then). A pool that has it open makes it anew with the next result that it writes.
///
/// # Results that can't be written
///
/// What is written does not describe itself, so a result whose `Deserialize` asks what comes next can't be read back:
/// `serde_json::Value`; enums that are `untagged`, internally or adjacently tagged; structs with `flatten` or `alias`, or that
/// leave fields out (`skip_serializing_if`). The first result of a function is decoded and compared before it is written. If
/// it does not come back, that function's results stay in memory, which [`Event::NotStored`](crate::Event::NotStored) says
/// once. Return another type (the JSON as a `String`, say), or make the function `in_memory`.
#[derive(Clone)]
#[must_use = "settings do nothing until a pool is built with them"]
pub struct Disk {
    pub(crate) path: PathBuf,
    pub(crate) max_bytes: u64,
    pub(crate) backlog: u64,
    pub(crate) spill: Spill,
    pub(crate) sync: Sync,
    pub(crate) compress: Compress,
    pub(crate) single_flight: bool,
    pub(crate) shared_with_group: bool,
    pub(crate) mac_key: Option<Vec<u8>>,
    #[cfg(feature = "testing")]
    pub(crate) faults: Option<crate::testing::Faults>,
}

/// Which results are written to disk; see [`Disk::spill`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Spill {
    /// Every result that is kept, as soon as it is computed or [inserted](crate::Pool::insert): it outlives the process.
    #[default]
    OnInsert,
    /// Results that have to make room in memory: the disk extends the memory, and little is written. (At once is written what
    /// must replace something on disk, and what [`insert_all`](crate::Pool::insert_all) is given.)
    OnEvict,
}

/// When what was written is made safe against a power loss; see [`Disk::sync`]. A process that is killed loses nothing
/// that was written, whatever this says.
///
/// Write it `memopool::Sync`: imported by its name alone it hides `std::marker::Sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Sync {
    /// When [`Pool::flush`](crate::Pool::flush) is called, and otherwise when the system sees fit.
    #[default]
    None,
    /// At most so much later, and at the end of the pool.
    Interval(Duration),
    /// After each batch that is written.
    EachBatch,
}

/// How results are made smaller before they are written; see [`Disk::compress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compress {
    /// Not at all.
    #[default]
    None,
    /// LZ4: some 500 MB/s, twice smaller on text (feature `lz4`).
    #[cfg(feature = "lz4")]
    Lz4,
    /// Zstandard at this level (1 to 22, 3 is usual): smaller and slower (feature `zstd`).
    #[cfg(feature = "zstd")]
    Zstd(i32),
}

impl Disk {
    /// The cache in the directory `path`, with every setting at its default.
    pub fn new(path: impl AsRef<Path>) -> Disk {
        Disk {
            path: path.as_ref().to_path_buf(),
            max_bytes: DEFAULT_DISK,
            backlog: DEFAULT_BACKLOG,
            spill: Spill::OnInsert,
            sync: Sync::None,
            compress: Compress::None,
            single_flight: true,
            shared_with_group: false,
            mac_key: None,
            #[cfg(feature = "testing")]
            faults: None,
        }
    }

    /// How many bytes the directory may take. Default: [`DEFAULT_DISK`], at least [`MIN_DISK`].
    ///
    /// Held whenever something is written (by at most one segment more: a 64th of this, between 64 KiB and 64 MiB; below
    /// 16 MiB the table of what is being computed, 1 MiB, comes on top). A single result may take half of this. The oldest results go first, and those that were used meanwhile and save most time
    /// per byte get a second chance; what an inserted one saves is not known, so these come last. If
    /// several processes say different things, each holds its own bound when it writes.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How many bytes of finished results may wait to be written. Default: [`DEFAULT_BACKLOG`]. A worker that finishes
    /// while more waits is held back for up to one second. If more than twice this waits, further results stay in memory
    /// only, and [`Event::NotStored`](crate::Event::NotStored) says so. What waits is lost if the process is killed;
    /// [`Pool::flush`](crate::Pool::flush) leaves nothing to wait.
    ///
    /// While the disk keeps up, what waits is what was finished in the last milliseconds. More lets bursts pass without
    /// holding anyone back; less takes less memory, and loses less.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("memopool-doc-backlog-{}", std::process::id()));
    /// use memopool::{Disk, Pool};
    ///
    /// let pool = Pool::builder().disk(Disk::new(&dir).backlog(8 << 20)).build()?;
    /// # drop(pool);
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn backlog(mut self, bytes: u64) -> Self {
        self.backlog = bytes;
        self
    }

    /// Which results are written. Default: [`Spill::OnInsert`]. With [`Spill::OnEvict`] what is in memory when the process
    /// ends is not written, however it ends.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("memopool-doc-spill-{}", std::process::id()));
    /// use memopool::{Disk, Func, Pool, Spill};
    ///
    /// let disk = Disk::new(&dir).spill(Spill::OnEvict);
    /// let pool = Pool::builder().memory(1 << 20).disk(disk).build()?;
    /// let square = Func::new("square", |n: u64| n * n);
    /// pool.run(square.call(3))?;
    /// pool.flush()?;
    /// assert_eq!(pool.stats().spilled, 0); // there is room for it in memory
    /// # drop(pool);
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn spill(mut self, spill: Spill) -> Self {
        self.spill = spill;
        self
    }

    /// When what was written is made safe against a power loss. Default: [`Sync::None`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("memopool-doc-sync-{}", std::process::id()));
    /// use std::time::Duration;
    /// use memopool::{Disk, Pool};
    ///
    /// let disk = Disk::new(&dir).sync(memopool::Sync::Interval(Duration::from_secs(5)));
    /// let pool = Pool::builder().disk(disk).build()?;
    /// # drop(pool);
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn sync(mut self, sync: Sync) -> Self {
        self.sync = sync;
        self
    }

    /// How results of [`COMPRESS_ABOVE`] bytes and more are made smaller, where that saves an eighth or more. Default:
    /// [`Compress::None`]. What is there is read whatever this says, by builds with the feature. Others compute it again and
    /// store it uncompressed, which both read ([`Event::OtherBuild`](crate::Event::OtherBuild)).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "lz4")] {
    /// # let dir = std::env::temp_dir().join(format!("memopool-doc-compress-{}", std::process::id()));
    /// use memopool::{Compress, Disk, Func, Pool};
    ///
    /// let pool = Pool::builder().disk(Disk::new(&dir).compress(Compress::Lz4)).build()?;
    /// let zeros = Func::new("zeros", |n: usize| "0".repeat(n));
    /// assert_eq!(pool.run(zeros.call(100_000))?.len(), 100_000);
    /// # drop(pool);
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # }
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn compress(mut self, how: Compress) -> Self {
        self.compress = how;
        self
    }

    /// Whether a call that another process computes is waited for. Default: yes. Without it, two processes may compute
    /// the same call at once.
    ///
    /// Where two processes seem to wait for each other's results, one of them computes for itself after a tenth of a second,
    /// so that a cycle over processes is found rather than waited for.
    pub fn single_flight(mut self, on: bool) -> Self {
        self.single_flight = on;
        self
    }

    /// Lets the directory be writable by its group, and makes new files so. Default: no; a directory that others may
    /// write to is then refused, since whoever can write it decides what your calls return.
    pub fn shared_with_group(mut self, shared: bool) -> Self {
        self.shared_with_group = shared;
        self
    }

    /// Seals every entry with this secret (keyed BLAKE3): entries that were not written with it are misses. Use it where
    /// others could write the directory. Default: none; the seal then only tells damage. Take at least 32 random bytes, kept
    /// where your other secrets are. Another key makes all that is there a miss.
    ///
    /// # Examples
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("memopool-doc-mac-{}", std::process::id()));
    /// use memopool::{Disk, Func, Pool};
    ///
    /// let square = Func::new("square", |n: u64| n * n);
    /// let open = |secret: &[u8; 32]| Pool::builder().disk(Disk::new(&dir).mac_key(secret)).build();
    /// open(&[1; 32])?.run(square.call(3))?; // in earnest: from the environment, or a vault
    /// assert!(open(&[2; 32])?.get(&square.call(3)).is_none());
    /// assert!(open(&[1; 32])?.get(&square.call(3)).is_some());
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn mac_key(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.mac_key = Some(secret.as_ref().to_vec());
        self
    }

    /// Makes file operations fail, tear or take long on command, for tests (feature `testing`).
    #[cfg(feature = "testing")]
    pub fn faults(mut self, faults: &crate::testing::Faults) -> Self {
        self.faults = Some(faults.clone());
        self
    }

    /// What a build refuses.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.path.as_os_str().is_empty() {
            return Err(Error::invalid("disk(\"\"): the path is empty; name a directory"));
        }
        if self.max_bytes < MIN_DISK {
            return Err(Error::invalid(format!(
                "max_bytes({}): a cache directory needs at least {MIN_DISK} bytes",
                self.max_bytes
            )));
        }
        #[cfg(feature = "zstd")]
        if let Compress::Zstd(level) = self.compress
            && !(1..=22).contains(&level)
        {
            return Err(Error::invalid(format!("compress(Zstd({level})): levels go from 1 to 22")));
        }
        Ok(())
    }

    /// Whether the table of claims counts as part of what the directory may take.
    pub(crate) fn counts_claims(&self) -> bool {
        self.single_flight && self.max_bytes >= COUNT_CLAIMS
    }

    /// Bytes of one segment.
    pub(crate) fn segment_bytes(&self) -> u64 {
        (self.max_bytes / 64).clamp(64 << 10, 64 << 20) & !7
    }
}

impl<P: AsRef<Path>> From<P> for Disk {
    fn from(path: P) -> Disk {
        Disk::new(path)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the secret.
        f.debug_struct("Disk")
            .field("path", &self.path)
            .field("max_bytes", &self.max_bytes)
            .field("spill", &self.spill)
            .field("sync", &self.sync)
            .field("compress", &self.compress)
            .field("sealed", &self.mac_key.is_some())
            .finish_non_exhaustive()
    }
}
