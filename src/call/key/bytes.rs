//! Where encoded bytes go: a small buffer, then a hasher, and meanwhile, for what must be sorted, a scratch.
//!
//! Up to [`INLINE`] bytes stay in a buffer on the stack. The first byte beyond moves all into a BLAKE3 hasher, also on the
//! stack: a long slice is hashed where it lies. Only what must be sorted (maps, [`Unordered`](super::Unordered)) allocates.

use super::encode::tag;
use super::parts::RUN;
use super::small::{PIECE, Small};
use super::{INLINE, Key, SlotKey};

/// Up to this many bytes are hashed in one go, without a [`Stream`].
const MEDIUM: usize = 512;

/// Bytes that are gathered before they go to the hasher: BLAKE3 works on several KiB at once much faster than on one.
const STAGE: usize = 4096;

/// As many as it works on at once, with the widest registers there are: gathered for a [long list](Stream::put_runs) of bytes,
/// which is cut into runs and so can't be hashed where it lies.
const WIDE: usize = 16 << 10;

/// From here on a list of bytes is long.
const LONG: usize = 4096;

/// The bytes of one call.
pub(super) struct Out<'a> {
    /// Closed while bytes go elsewhere, so that the fast path has one thing to check.
    small: Small,
    digest: &'a [u8; 32],
    /// Which argument is being encoded, for errors.
    pub(super) position: usize,
    /// A part of a value was refused.
    pub(super) failed: bool,
    medium: Option<Medium>,
    stream: Option<Stream>,
    /// How many maps or sets are open; then all bytes go to the end of `scratch`.
    sorting: usize,
    scratch: Vec<u8>,
    /// Where each entry of the open maps and sets starts in `scratch`.
    starts: Vec<usize>,
}

impl<'a> Out<'a> {
    #[inline]
    pub(super) fn new(digest: &'a [u8; 32]) -> Self {
        Self {
            small: Small::new(),
            digest,
            position: 0,
            failed: false,
            medium: None,
            stream: None,
            sorting: 0,
            scratch: Vec::new(),
            starts: Vec::new(),
        }
    }

    #[inline(always)]
    pub(super) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        if !self.small.fits(N) {
            self.put_far_array(bytes);
        } else if N <= PIECE {
            self.small.push(piece(bytes), N);
        } else {
            self.small.extend(&bytes);
        }
    }

    /// As [`put_far`](Self::put_far), for long lists of numbers: copies of a known length need no call.
    #[inline(never)]
    fn put_far_array<const N: usize>(&mut self, bytes: [u8; N]) {
        match &mut self.stream {
            Some(stream) if self.sorting == 0 => match stream.room().first_chunk_mut() {
                Some(room) => {
                    *room = bytes;
                    stream.used += N;
                }
                None => stream.put_through(&bytes),
            },
            _ => self.put_far(&bytes),
        }
    }

    /// A tag and a number. `ALL` is `N + 1`.
    #[inline(always)]
    pub(super) fn number<const N: usize, const ALL: usize>(&mut self, tag: u8, number: [u8; N]) {
        const { assert!(ALL == N + 1) };
        if N < PIECE && self.small.fits(ALL) {
            self.small.push(u128::from(tag) | piece(number) << 8, ALL);
        } else {
            let mut bytes = [tag; ALL];
            bytes[1..].copy_from_slice(&number);
            self.put(bytes);
        }
    }

    /// As [`text`](Self::text), for texts of any length: as one call, so that what encodes several values stays short enough
    /// to be one function.
    #[inline(never)]
    pub(super) fn string(&mut self, tag: u8, bytes: &[u8]) {
        self.text(tag, bytes);
    }

    /// A tag, a length and that many bytes. A name in the program is merged into words when it is compiled.
    #[inline]
    pub(super) fn text(&mut self, tag: u8, bytes: &[u8]) {
        if bytes.len() < INLINE && self.small.fits(2 + bytes.len()) {
            // Below 0x80 the varint is the number.
            self.small.push(u128::from(tag) | (bytes.len() as u128) << 8, 2);
            self.small.extend(bytes);
        } else {
            self.text_far(tag, bytes);
        }
    }

    #[inline(never)]
    fn text_far(&mut self, tag: u8, bytes: &[u8]) {
        self.put([tag]);
        self.varint(bytes.len() as u64);
        self.put_far(bytes);
    }

    /// A sequence of `u8`, as its elements one by one would give it.
    pub(super) fn byte_list(&mut self, bytes: &[u8]) {
        self.put([tag::SEQ]);
        let (whole, bytes) = match bytes.len() {
            LONG.. => bytes.as_chunks(),
            _ => (&[][..], bytes),
        };
        if !whole.is_empty() {
            self.stream().put_runs(whole);
        }
        for run in bytes.chunks(RUN) {
            self.put([tag::RUN, run.len() as u8]);
            self.put_slice(run);
        }
        self.put([tag::END]);
    }

    #[inline]
    pub(super) fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.put([number as u8 | 0x80]);
            number >>= 7;
        }
        self.put([number as u8]);
    }

    #[inline]
    pub(super) fn variant(&mut self, tag: u8, name: &str, index: u32, variant: &str) {
        self.text(tag, name.as_bytes());
        self.varint(u64::from(index));
        self.text(tag::STR, variant.as_bytes());
    }

    #[inline]
    pub(super) fn put_slice(&mut self, bytes: &[u8]) {
        if self.small.fits(bytes.len()) {
            self.small.extend(bytes);
        } else {
            self.put_far(bytes);
        }
    }

    /// What does not fit into the small buffer.
    #[inline(never)]
    fn put_far(&mut self, bytes: &[u8]) {
        if self.sorting > 0 {
            self.scratch.extend_from_slice(bytes);
        } else if let Some(stream) = &mut self.stream {
            stream.put(bytes);
        } else {
            self.put_medium(bytes);
        }
    }

    fn put_medium(&mut self, bytes: &[u8]) {
        let medium = self.medium.get_or_insert_with(|| Medium::after(&mut self.small));
        let end = medium.len + bytes.len();
        if let Some(room) = medium.bytes.get_mut(medium.len..end) {
            room.copy_from_slice(bytes);
            medium.len = end;
        } else {
            self.stream().put(bytes);
        }
    }

    /// Where all bytes go from now on. (Not what is to be sorted.)
    fn stream(&mut self) -> &mut Stream {
        self.stream.get_or_insert_with(|| {
            let medium = self.medium.get_or_insert_with(|| Medium::after(&mut self.small));
            let mut stream = Stream::new(self.digest);
            stream.put(&medium.bytes[..medium.len]);
            stream
        })
    }

    /// From here to [`sorted`](Self::sorted) all goes to the scratch.
    pub(super) fn sort(&mut self) -> Sorting {
        self.sorting += 1;
        Sorting { len: self.small.close(), base: self.scratch.len(), first: self.starts.len() }
    }

    /// The next entry starts here.
    pub(super) fn entry(&mut self) {
        self.starts.push(self.scratch.len());
    }

    /// Puts out what was written since [`sort`](Self::sort), in order. (No encoded value is the beginning of another one, so
    /// whole entries sort by their key first.)
    pub(super) fn sorted(&mut self, Sorting { len, base, first }: Sorting) {
        self.sorting -= 1;
        self.small.reopen(len);
        let entries = self.scratch.split_off(base);
        let starts = self.starts.split_off(first);
        let ends = starts.iter().skip(1).map(|next| next - base);
        let mut sorted: Vec<&[u8]> = starts
            .iter()
            .zip(ends.chain([entries.len()]))
            .map(|(start, end)| &entries[start - base..end])
            .collect();
        sorted.sort_unstable();
        for entry in sorted {
            self.put_slice(entry);
        }
    }

    /// What was written since [`sort`](Self::sort), as it is.
    #[cfg(test)]
    pub(super) fn into_scratch(mut self, sorting: Sorting) -> Vec<u8> {
        self.scratch.split_off(sorting.base)
    }

    /// No part of a value was refused, and every map is complete.
    #[inline]
    pub(super) fn whole(&self) -> bool {
        !self.failed && self.sorting == 0
    }

    /// Writes the key of all that was put; without `inline` never a small one.
    #[inline(always)]
    pub(super) fn finish(&mut self, func: u32, inline: bool, slot: &mut SlotKey) {
        debug_assert!(self.whole(), "finished after an error");
        if inline && self.medium.is_none() {
            *slot = SlotKey::small(func, &self.small);
        } else {
            self.finish_hashed(slot);
        }
    }

    #[inline(never)]
    fn finish_hashed(&mut self, slot: &mut SlotKey) {
        *slot = SlotKey::hashed(self.key());
    }

    fn key(&mut self) -> Key {
        if let Some(stream) = &mut self.stream {
            stream.key()
        } else if let Some(medium) = &self.medium {
            Key::of(self.digest, &medium.bytes[..medium.len])
        } else {
            Key::of(self.digest, &self.small.bytes()[..self.small.len()])
        }
    }
}

/// Up to [`PIECE`] bytes as a number.
#[inline]
fn piece<const N: usize>(bytes: [u8; N]) -> u128 {
    let mut all = [0; 16];
    let len = N.min(all.len());
    all[..len].copy_from_slice(&bytes[..len]);
    u128::from_le_bytes(all)
}

/// A map or set in the making: the length of the small buffer to go back to, and where its entries and their starts begin.
pub(super) struct Sorting {
    len: usize,
    base: usize,
    first: usize,
}

/// The bytes of arguments that are neither small nor large.
struct Medium {
    len: usize,
    bytes: [u8; MEDIUM],
}

impl Medium {
    /// Goes on behind a small buffer, which takes no more.
    fn after(small: &mut Small) -> Self {
        let mut bytes = [0; MEDIUM];
        bytes[..INLINE].copy_from_slice(&small.bytes());
        Self { len: small.close(), bytes }
    }
}

/// The hasher for large arguments.
struct Stream {
    hasher: blake3::Hasher,
    used: usize,
    stage: [u8; STAGE],
}

impl Stream {
    fn new(digest: &[u8; 32]) -> Self {
        Self { hasher: blake3::Hasher::new_keyed(digest), used: 0, stage: [0; STAGE] }
    }

    #[inline]
    fn room(&mut self) -> &mut [u8] {
        self.stage.get_mut(self.used..).unwrap_or_default()
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.room().get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            self.used += bytes.len();
        } else {
            self.put_through(bytes);
        }
    }

    #[inline(never)]
    fn put_through(&mut self, bytes: &[u8]) {
        // Filled to the brim first: full stages keep the hasher at whole chunks.
        let (head, rest) = bytes.split_at(STAGE - self.used);
        self.stage[self.used..].copy_from_slice(head);
        self.hasher.update(&self.stage);
        self.used = 0;
        if rest.len() < STAGE {
            self.put(rest);
        } else {
            self.hasher.update(rest);
        }
    }

    /// Runs of bytes with their frames. The stage for them is here, and not with the other, because a frame of so many bytes
    /// has its price at each call.
    #[inline(never)]
    fn put_runs(&mut self, runs: &[[u8; RUN]]) {
        const FRAMED: usize = 2 + RUN;
        let mut stage = [0; WIDE + FRAMED];
        let mut used = self.used;
        stage[..used].copy_from_slice(&self.stage[..used]);
        self.used = 0;
        // The hasher takes as many at once as what it has had can be divided by.
        let mut end = WIDE - self.hasher.count() as usize % WIDE;
        for run in runs {
            if used >= end {
                self.hasher.update(&stage[..end]);
                stage.copy_within(end..used, 0);
                used -= end;
                end = WIDE;
            }
            if let Some(room) = stage[used..].first_chunk_mut::<FRAMED>() {
                room[..2].copy_from_slice(&[tag::RUN, RUN as u8]);
                room[2..].copy_from_slice(run);
            }
            used += FRAMED;
        }
        // Whole chunks from here, too: together.
        let whole = used - used % blake3::CHUNK_LEN;
        self.hasher.update(&stage[..whole]);
        self.put(&stage[whole..used]);
    }

    fn key(&mut self) -> Key {
        self.hasher.update(&self.stage[..self.used]);
        Key::from_bytes(*self.hasher.finalize().as_bytes())
    }
}
