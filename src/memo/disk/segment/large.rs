//! Large values: each has a segment file of its own, and is never in memory as a whole on its way to or from the disk.
//!
//! # Writing
//!
//! | step | file | who may see it |
//! |---|---|---|
//! | [`Segments::large`], then `write` | `tmp/…`, the payload from byte 128 on | nobody |
//! | [`LargeWriter::finish`] | padded; the hash is known | nobody |
//! | [`Segments::commit_large`] | header written for the id that was reserved; renamed to `seg/<id>` | everybody |
//!
//! Dropped before that, the file is removed; what a killed process leaves is removed by [`Segments::sweep`]: a file under
//! way is locked, and the lock dies with its process.
//!
//! # Reading
//!
//! The payload is read twice: first to check its hash, then by the decoder. The second pass hashes again what it gives
//! ([`LargeReader::finish`]), so that a file that changes in between is noticed too.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Segments, Unread, fits};
use crate::memo::disk::dir::Dir;
use crate::memo::disk::io::{Access, Handle, Io};
use crate::memo::disk::record::{
    Bad, HEADER, Header, PayloadHash, Place, Position, SealKey, flags, record_len,
};
use crate::sync::wall;

/// Takes the payload of a large value. See the [module](self).
pub(crate) struct LargeWriter {
    file: Unfinished,
    hash: PayloadHash,
    buf: Vec<u8>,
    /// Bytes of the payload that have left the buffer.
    written: u64,
    limit: u64,
}

/// A payload that is written as a whole, and still nobody's.
pub(crate) struct Written {
    file: Unfinished,
    stored_len: u64,
    payload_hash: [u8; 16],
}

/// Gives the payload of a large value that was found to be what was looked for.
pub(crate) struct LargeReader {
    io: Io,
    handle: Handle,
    next: u64,
    end: u64,
    chunk: Vec<u8>,
    used: usize,
    filled: usize,
    hash: PayloadHash,
    expected: [u8; 16],
}

impl Segments {
    /// Begins a large value of at most `limit` bytes.
    pub(crate) fn large(&self, limit: u64) -> io::Result<LargeWriter> {
        let path = self.dir.tmp();
        let handle = match self.io().create(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.dir.make_again(&self.dir.tmp_dir())?;
                self.io().create(&path)?
            }
            created => created?,
        };
        let file = Unfinished { io: self.io().clone(), handle, path: Some(path) };
        file.io.try_lock(&file.handle)?;
        let buf = Vec::with_capacity(BUFFER);
        Ok(LargeWriter { file, hash: PayloadHash::default(), buf, written: 0, limit })
    }

    /// Makes a large value visible as segment `id`, which must never have been used. `header` says what the writer does
    /// not know; what it knows (length, hash, flag) is filled in.
    pub(crate) fn commit_large(
        &self,
        mut written: Written,
        id: u32,
        mut header: Header,
        seal_key: &SealKey,
    ) -> io::Result<Place> {
        header.stored_len = written.stored_len;
        header.payload_hash = written.payload_hash;
        header.flags |= flags::LARGE;
        if header.flags & (flags::LZ4 | flags::ZSTD) == 0 {
            header.raw_len = header.stored_len;
        }
        let position = Position::new(id, 0);
        let bytes = header.encode(&[], position, seal_key);
        written.file.io.write_all_at(&written.file.handle, &bytes, 0)?;
        written.file.rename(&self.dir.seg(id))?;
        Ok(header.place(position))
    }

    /// Opens the large value at `place`, with every check.
    pub(crate) fn read_large(
        &self,
        place: Place,
        key: &[u8; 32],
        seal_key: &SealKey,
    ) -> Result<(Header, LargeReader), Unread> {
        super::checked_len(place)?;
        let handle = self.open(place.position.segment(), Access::Read)?;
        let io = self.io().clone();
        let offset = place.position.offset();
        if io.len(&handle)? < offset.saturating_add(place.len) {
            return Err(Bad::Short.into());
        }
        let mut bytes = [0; HEADER];
        let n = io.read_at(&handle, &mut bytes, offset)?;
        let header = Header::decode(&bytes[..n], place.position, seal_key)?;
        fits(&header, place, key)?;
        let begin = offset + HEADER as u64;
        let mut reader = LargeReader {
            io,
            handle,
            next: begin,
            end: begin + header.stored_len,
            chunk: vec![0; CHUNK],
            used: 0,
            filled: 0,
            hash: PayloadHash::default(),
            expected: header.payload_hash,
        };
        reader.check()?;
        (reader.next, reader.hash) = (begin, PayloadHash::default());
        Ok((header, reader))
    }

    /// Removes what killed processes have left in `tmp`: what has such a name. Returns how many files.
    pub(crate) fn sweep(&self) -> io::Result<usize> {
        let dir = self.dir.tmp_dir();
        let mut removed = 0;
        for name in self.dir.names(&dir)?.into_iter().filter(|name| Dir::is_tmp(name)) {
            removed += usize::from(self.sweep_file(&dir.join(name)).unwrap_or(false));
        }
        Ok(removed)
    }

    /// Bytes of what is under way.
    pub(crate) fn under_way(&self) -> io::Result<u64> {
        let dir = self.dir.tmp_dir();
        let sizes = self.dir.names(&dir)?.into_iter().map(|name| self.io().metadata(&dir.join(name)));
        Ok(sizes.filter_map(Result::ok).map(|metadata| metadata.len()).sum())
    }

    fn sweep_file(&self, path: &Path) -> io::Result<bool> {
        let metadata = self.io().metadata(path)?;
        // Between its making and its locking a file looks abandoned; and not everything in there is locked.
        let age = wall().duration_since(metadata.modified()?).unwrap_or_default();
        let abandoned = age > GRACE && self.io().try_lock(&self.io().open(path, Access::Read)?)?;
        if abandoned {
            self.io().remove(path)?;
        }
        Ok(abandoned)
    }
}

/// Bytes that are gathered before they are hashed and written.
const BUFFER: usize = 256 << 10;
/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;
/// A file in `tmp` that changed so lately is left alone.
const GRACE: Duration = Duration::from_secs(60);

impl LargeWriter {
    /// The payload is complete.
    pub(crate) fn finish(mut self) -> io::Result<Written> {
        self.hash.update(&self.buf);
        let stored_len = self.written + self.buf.len() as u64;
        let padding = record_len(stored_len) - HEADER as u64 - stored_len;
        self.buf.resize(self.buf.len() + padding as usize, 0);
        self.write_out()?;
        Ok(Written { file: self.file, stored_len, payload_hash: self.hash.finish() })
    }

    /// What has been written so far.
    pub(crate) fn len(&self) -> u64 {
        self.written + self.buf.len() as u64
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.file.io.write_all_at(&self.file.handle, &self.buf, HEADER as u64 + self.written)?;
        self.written += self.buf.len() as u64;
        self.buf.clear();
        Ok(())
    }
}

impl Write for LargeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len().saturating_add(bytes.len() as u64) > self.limit {
            let text = format!("the value takes more than the {} bytes that it may", self.limit);
            return Err(io::Error::new(ErrorKind::FileTooLarge, text));
        }
        let n = bytes.len().min(BUFFER - self.buf.len());
        self.buf.extend_from_slice(&bytes[..n]);
        if self.buf.len() == BUFFER {
            self.hash.update(&self.buf);
            self.write_out()?;
        }
        Ok(n)
    }

    /// Nothing: there is no use in half a payload.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    /// Bytes of the payload.
    pub(crate) fn stored_len(&self) -> u64 {
        self.stored_len
    }
}

/// A file in `tmp`, removed unless it is renamed.
struct Unfinished {
    io: Io,
    handle: Handle,
    /// `None` once renamed.
    path: Option<PathBuf>,
}

impl Unfinished {
    fn rename(&mut self, to: &Path) -> io::Result<()> {
        if let Some(path) = &self.path {
            // Windows keeps readers away from a locked file. (A sweep leaves it alone: it was written just now.)
            let _ = self.handle.file().unlock();
            self.io.rename(path, to)?;
            self.path = None;
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // If that fails too, the next sweep finds it.
            let _ = self.io.remove(path);
        }
    }
}

impl LargeReader {
    /// To be called when the decoder is done: what it was given was what had been checked.
    pub(crate) fn finish(mut self) -> Result<(), Unread> {
        self.check()
    }

    /// Reads to the end, and compares the hash of everything read.
    fn check(&mut self) -> Result<(), Unread> {
        loop {
            match self.fill_buf().map(<[u8]>::len) {
                Ok(0) => break,
                Ok(n) => self.consume(n),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(Bad::Short.into()),
                Err(error) => return Err(error.into()),
            }
        }
        if self.hash.finish() == self.expected { Ok(()) } else { Err(Bad::Payload.into()) }
    }
}

impl BufRead for LargeReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.filled && self.next < self.end {
            let want = (self.end - self.next).min(CHUNK as u64) as usize;
            let n = self.io.read_at(&self.handle, &mut self.chunk[..want], self.next)?;
            if n < want {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.hash.update(&self.chunk[..n]);
            self.next += n as u64;
            (self.used, self.filled) = (0, n);
        }
        Ok(&self.chunk[self.used..self.filled])
    }

    fn consume(&mut self, n: usize) {
        self.used = (self.used + n).min(self.filled);
    }
}

impl Read for LargeReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n = available.len().min(out.len());
        out[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl fmt::Debug for LargeWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LargeWriter").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("stored_len", &self.stored_len).finish_non_exhaustive()
    }
}

impl fmt::Debug for LargeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LargeReader").field("left", &(self.end - self.next)).finish_non_exhaustive()
    }
}
