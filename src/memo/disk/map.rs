//! A file as an array of words that all processes see: the only `unsafe` of the crate.
//!
//! A [`Map`] has a fixed size and gives out its words as atomics. Any process may change any word at any time, and the
//! file may hold anything: whoever reads a word masks and checks it. Words are in the machine's own byte order, since
//! no other machine maps the file at the same time; a file from elsewhere fails the check of its magic word.
//!
//! # Signals
//!
//! Touching a page that the file system can't provide kills the process (SIGBUS). So a new file gets real blocks before
//! it is mapped (a full disk is an error then, not a signal), and an existing one is asked for its size and given the
//! blocks it lacks. What remains: somebody truncates the file while it is mapped, or the disk has a read error. Our own
//! processes never shorten it, they replace it by renaming; strangers are kept out by the directory's permissions.
#![expect(unsafe_code, reason = "memory that other processes change can't be borrowed by safe means")]

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::slice;

use memmap2::{MmapOptions, MmapRaw};

use crate::sync::atomic::AtomicU64;

/// A file of `u64` words, mapped read-write and shared.
#[derive(Debug)]
pub(crate) struct Map {
    raw: MmapRaw,
    words: usize,
}

impl Map {
    /// Gives a new file its size, as zeros that have real blocks, and maps it.
    pub(crate) fn create(file: &File, words: usize) -> io::Result<Map> {
        let len = bytes(words);
        within_file_size_limit(len)?;
        file.set_len(0)?;
        if !preallocate(file, len)? {
            write_zeros(file, len)?;
        }
        Map::of(file, words)
    }

    /// Maps a file that is there, if it has exactly this size.
    pub(crate) fn open(file: &File, words: usize) -> io::Result<Map> {
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() != bytes(words) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a regular file of the expected size",
            ));
        }
        // A copy made by a backup may be sparse. (Where blocks can't be reserved, create() has written zeros, and a
        // file system that does not store those makes no promise that could be kept here.)
        #[cfg(unix)]
        if std::os::unix::fs::MetadataExt::blocks(&metadata).saturating_mul(512) < metadata.len() {
            within_file_size_limit(metadata.len())?;
            preallocate(file, metadata.len())?;
        }
        Map::of(file, words)
    }

    fn of(file: &File, words: usize) -> io::Result<Map> {
        let raw = MmapOptions::new().len(words * size_of::<u64>()).map_raw(file)?;
        Ok(Map { raw, words })
    }

    /// All words.
    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `raw` maps `words * 8` bytes read-write (`of` asked for that many, and fails otherwise), starting at a
        // page, so aligned for u64, and stays mapped as long as it lives, which the borrow of `self` ensures. Every bit
        // pattern is a valid word. Nobody in this process gets at the memory but through this function, so there is
        // never a plain reference to it; what other processes do to it are atomic accesses of the same kind, or, by
        // strangers, changes whose values are not trusted anyway.
        unsafe { slice::from_raw_parts(self.raw.as_mut_ptr().cast::<AtomicU64>(), self.words) }
    }

    /// One word. `at` comes from a constant or is masked by the caller, never straight from the file.
    #[inline]
    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        &self.words()[at]
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> u64 {
        bytes(self.words)
    }

    /// Has what was changed written to the disk, and waits for it.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.raw.flush()
    }
}

fn bytes(words: usize) -> u64 {
    words as u64 * size_of::<u64>() as u64
}

/// Reserves blocks; what is there stays as it is. `false`: this system or file system can't.
#[cfg(target_os = "linux")]
fn preallocate(file: &File, len: u64) -> io::Result<bool> {
    use rustix::{fs, io::Errno};
    loop {
        match fs::fallocate(file, fs::FallocateFlags::empty(), 0, len) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn preallocate(_file: &File, _len: u64) -> io::Result<bool> {
    Ok(false)
}

fn write_zeros(mut file: &File, len: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    io::copy(&mut io::Read::take(io::repeat(0), len), &mut file)?;
    file.flush()
}

/// Growing a file beyond the process's limit raises a signal that kills it, so that is refused here.
fn within_file_size_limit(len: u64) -> io::Result<()> {
    #[cfg(unix)]
    if rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_some_and(|limit| len > limit) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let _ = len;
    Ok(())
}
