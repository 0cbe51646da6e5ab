//! What differs between systems: here, Unix.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::{Io, NOT_REGULAR};

impl Io {
    fn file_mode(&self) -> u32 {
        if self.shared { 0o660 } else { 0o600 }
    }

    /// With the group's bit, so that what is made inside belongs to the same group.
    fn dir_mode(&self) -> u32 {
        if self.shared { 0o2770 } else { 0o700 }
    }

    pub(super) fn create_private(&self, mut options: OpenOptions, path: &Path) -> io::Result<File> {
        let file = options.mode(self.file_mode()).open(path)?;
        // The umask can only have taken bits away.
        if file.metadata()?.permissions().mode() & 0o777 != self.file_mode() {
            file.set_permissions(Permissions::from_mode(self.file_mode()))?;
        }
        Ok(file)
    }

    pub(super) fn create_private_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(self.dir_mode() & 0o777).create(path)?;
        let mode = std::fs::symlink_metadata(path)?.permissions().mode();
        // What the directory inherited (its parent's group bit) stays.
        if mode & self.dir_mode() != self.dir_mode() {
            std::fs::set_permissions(path, Permissions::from_mode(mode & 0o7000 | self.dir_mode()))?;
        }
        Ok(())
    }
}

pub(super) fn careful(options: &mut OpenOptions) {
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
}

/// Says in words what the system says of a link (`ELOOP`, on the BSDs `EMLINK`), a directory or a socket.
pub(super) fn not_regular(error: io::Error) -> io::Error {
    let text = match Errno::from_io_error(&error) {
        Some(Errno::LOOP | Errno::MLINK) => "a symbolic link",
        Some(Errno::ISDIR | Errno::NXIO) => NOT_REGULAR,
        _ => return error,
    };
    io::Error::new(ErrorKind::InvalidInput, text)
}

pub(super) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

pub(super) fn read_some(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    // Not `read_at`: the C library's `pread` is a point where a thread can be cancelled, and pays for that.
    Ok(rustix::io::pread(file, buf, offset)?)
}

pub(super) fn write_some(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    file.write_at(bytes, offset)
}

/// Past this limit the system sends a signal (`SIGXFSZ`) that ends the process.
pub(super) fn within_limit(end: u64) -> io::Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if end > limit => Err(Errno::FBIG.into()),
        _ => Ok(()),
    }
}

/// `false`: the file system can't reserve room.
pub(super) fn reserve(file: &File, len: u64) -> io::Result<bool> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", target_os = "freebsd"))]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len) {
        Ok(()) => return Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    let _ = (file, len);
    Ok(false)
}
