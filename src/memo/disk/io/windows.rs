//! What differs between systems: here, Windows. Access rights come from the directory above, there is no signal for
//! large files, and no promise that room can be reserved.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::Io;

impl Io {
    pub(super) fn create_private(&self, options: OpenOptions, path: &Path) -> io::Result<File> {
        options.open(path)
    }

    pub(super) fn create_private_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }
}

/// Opens a link itself, which then is no regular file.
pub(super) fn careful(options: &mut OpenOptions) {
    const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    options.custom_flags(FILE_FLAG_OPEN_REPARSE_POINT);
}

/// Nothing tells one file from another here; a name whose file is open can't be given to another either.
pub(super) fn is_same(_one: &Metadata, _other: &Metadata) -> bool {
    true
}

pub(super) fn not_regular(error: io::Error) -> io::Error {
    error
}

pub(super) fn read_some(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    file.seek_read(buf, offset)
}

pub(super) fn write_some(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    file.seek_write(bytes, offset)
}

pub(super) fn within_limit(_end: u64) -> io::Result<()> {
    Ok(())
}

pub(super) fn reserve(_file: &File, _len: u64) -> io::Result<bool> {
    Ok(false)
}
