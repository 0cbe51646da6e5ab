//! Going through a segment without an index: for eviction, and to find again what an index has lost.

use std::io;

use super::{Segments, Unread};
use crate::memo::disk::io::{Access, Handle, Io};
use crate::memo::disk::record::{Bad, HEADER, Header, MAGIC, MAX_SEGMENT, Place, Position, SMALL, SealKey};

impl Segments {
    /// Calls `each` for the records of a segment in order, headers only: but for small records, the payload is the
    /// reader's to check.
    ///
    /// After a record comes the next, or a hole (a writer was killed), or garbage; then the search goes on by words of 8
    /// bytes to the next header that is sealed for its place. Where no record of a segment can begin
    /// ([`MAX_SEGMENT`]) it ends. So it takes one buffer, and time in proportion to the part of the file it reads.
    /// A segment that is gone has no records. Gives whether there are some that another key has sealed, which can't be told from
    /// what only looks so.
    pub(crate) fn walk(
        &self,
        id: u32,
        seal_key: &SealKey,
        mut each: impl FnMut(Header, Place),
    ) -> Result<bool, Unread> {
        let handle = match self.open(id, Access::Read) {
            Err(Unread::Bad(Bad::Gone)) => return Ok(false),
            opened => opened?,
        };
        let size = self.io().len(&handle)?;
        let mut window =
            Window { io: self.io(), handle: &handle, buf: vec![0; WINDOW], from: 0, filled: 0, ended: false };
        let (mut offset, mut foreign) = (0, false);
        while offset < MAX_SEGMENT && offset.saturating_add(HEADER as u64) <= size {
            let bytes = window.at(offset)?;
            if bytes.len() < HEADER {
                break;
            }
            let position = Position::new(id, offset);
            let decoded = Header::decode(bytes, position, seal_key);
            foreign |= matches!(decoded, Err(Bad::Foreign));
            offset += match decoded.map(|header| (header.place(position), header)) {
                // A record that the file does not hold whole was never published.
                Ok((place, header)) if offset.saturating_add(place.len) <= size => {
                    each(header, place);
                    place.len
                }
                _ => next_magic(bytes),
            };
        }
        Ok(foreign)
    }
}

/// How far it is from here to the next place that a record could begin at, as far as `bytes` tell.
fn next_magic(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).skip(1);
    let skipped = words.take_while(|word| word.first_chunk() != Some(&MAGIC)).count();
    (skipped as u64 + 1) * 8
}

/// The part of a file that was read last.
struct Window<'a> {
    io: &'a Io,
    handle: &'a Handle,
    buf: Vec<u8>,
    from: u64,
    filled: usize,
    /// It reaches to the end of the file.
    ended: bool,
}

/// Large enough that small records cost next to no system calls; not so large that skipping from one large record to the
/// next reads much in vain.
const WINDOW: usize = 64 << 10;

impl Window<'_> {
    /// The bytes from `offset` on: at least a small record's, unless the file ends before.
    fn at(&mut self, offset: u64) -> io::Result<&[u8]> {
        let end = self.from + self.filled as u64;
        let enough = offset + (HEADER + SMALL) as u64 <= end || (self.ended && offset < end);
        if offset < self.from || !enough {
            self.filled = self.io.read_at(self.handle, &mut self.buf, offset)?;
            self.from = offset;
            self.ended = self.filled < self.buf.len();
        }
        Ok(&self.buf[(offset - self.from) as usize..self.filled])
    }
}
