//! The records of one directory in another, for a pool that must not write to the first (feature `testing`).
//!
//! Segments and notes of versions are copied; the index is made anew from them, and everything else is of those who use
//! the directory. What is copied is read as any other directory is: it is believed only if it proves itself.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::dir::VERSION;

/// Copies the records in the cache directory `from` to `to`, which is empty.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (from.join(VERSION), to.join(VERSION));
    fs::create_dir(&to)?;
    fs::create_dir(to.join("seg"))?;
    for entry in fs::read_dir(from.join("seg"))? {
        let entry = entry?;
        copy_file(&entry.path(), &to.join("seg").join(entry.file_name()))?;
    }
    match copy_file(&from.join("functions"), &to.join("functions")) {
        // It only helps to explain.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        copied => copied,
    }
}

/// The content alone: a file that was read-only there is ours here.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    io::copy(&mut File::open(from)?, &mut File::create_new(to)?).map(drop)
}
