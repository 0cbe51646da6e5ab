//! A file as an array of words that all processes see: the only `unsafe` of the crate.
//!
//! A [`Map`] has a fixed size and gives out its words as atomics, in the machine's own byte order. Any process may change
//! any word at any time, and the file may hold anything: whoever reads a word masks and checks it.
//!
//! # Signals
//!
//! Touching a page that the file system can't provide kills the process (SIGBUS). So a new file gets real blocks before
//! it is mapped (a full disk is an error then), and an existing one is asked for its size and given the blocks it lacks.
//! What remains: somebody truncates the file while it is mapped, or the disk has a read error. Our own processes never
//! shorten it, they replace it by renaming; strangers are kept out by the directory's permissions.
#![expect(unsafe_code, reason = "memory that other processes change can't be borrowed by safe means")]

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
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
    pub(crate) fn create(mut file: &File, words: usize) -> io::Result<Map> {
        let len = bytes(words);
        within_file_size_limit(len)?;
        file.set_len(0)?;
        if !preallocate(file, len)? {
            file.seek(SeekFrom::Start(0))?;
            io::copy(&mut io::repeat(0).take(len), &mut file)?;
        }
        Map::of(file, words)
    }

    /// Maps a file that is there, if it has exactly this size. `metadata`: the file's, of just now.
    pub(crate) fn open(file: &File, metadata: &Metadata, words: usize) -> io::Result<Map> {
        if !metadata.is_file() || metadata.len() != bytes(words) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a regular file of the expected size",
            ));
        }
        // A backup may have made it sparse. (Where blocks can't be reserved there is nothing more to be done.)
        #[cfg(unix)]
        if std::os::unix::fs::MetadataExt::blocks(metadata).saturating_mul(512) < metadata.len() {
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
        // SAFETY: `raw` maps `words * 8` bytes read-write (`of` asked for that many, and failed otherwise), from the start
        // of a page, so aligned for u64, for as long as it lives, which the borrow of `self` ensures. Any bits are a valid
        // word. This function alone gives access in this process, so there is never a plain reference to the memory;
        // other processes use atomics, too, and what a stranger writes there is a changed word, which is not trusted.
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

/// Has the processor fetch what lies there, and does not wait for it: many of these take as long as one. A hint, on x86-64.
#[inline(always)]
pub(crate) fn prefetch<T>(what: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: every x86-64 has this instruction; it reads nothing into the program, and may be given any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(what).cast());
    }
    let _ = what;
}

fn bytes(words: usize) -> u64 {
    words as u64 * size_of::<u64>() as u64
}

/// Reserves blocks; what is there stays as it is. `false`: this system or file system can't.
fn preallocate(file: &File, len: u64) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        use rustix::{fs, io::Errno};
        match rustix::io::retry_on_intr(|| fs::fallocate(file, fs::FallocateFlags::empty(), 0, len)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            reserved => return Ok(reserved.map(|()| true)?),
        }
    }
    let _ = (file, len);
    Ok(false)
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
