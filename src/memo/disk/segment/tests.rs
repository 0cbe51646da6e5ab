use std::fs;
use std::io::{BufRead, Read, Write};

use tempfile::TempDir;

use super::*;
use crate::memo::disk::dir::Trust;
use crate::memo::disk::record::{MAX_SEGMENT, codec, flags, payload_hash, record_len};

/// A cache directory of its own, and records in it.
struct Cache {
    segments: Segments,
    seal_key: SealKey,
    root: TempDir,
}

impl Cache {
    fn new() -> Cache {
        Cache::with(Io::default())
    }

    fn with(io: Io) -> Cache {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(&root.path().join("cache"), Trust::default(), io).unwrap();
        Cache { segments: Segments::new(dir), seal_key: SealKey::new(None), root }
    }

    fn path(&self, id: u32) -> std::path::PathBuf {
        self.root.path().join(format!("cache/v1/seg/{id:08x}"))
    }

    /// The bytes of a record for that position.
    fn record(&self, key: u8, payload: &[u8], position: Position) -> Vec<u8> {
        let mut bytes = header(key, payload).encode(payload, position, &self.seal_key).to_vec();
        bytes.extend_from_slice(payload);
        bytes.resize(record_len(payload.len() as u64) as usize, 0);
        bytes
    }

    fn write(&self, key: u8, payload: &[u8], position: Position) -> Place {
        let record = self.record(key, payload, position);
        self.segments.append(position, &record).unwrap();
        Place { position, len: record.len() as u64 }
    }

    /// The payload of the record at `place`.
    fn read(&self, key: u8, place: Place) -> Result<Vec<u8>, Bad> {
        let mut buf = Vec::new();
        match self.segments.read(place, &[key; 32], &self.seal_key, &mut buf) {
            Ok(header) => Ok(payload(&buf, &header).to_vec()),
            Err(Unread::Bad(bad)) => Err(bad),
            Err(Unread::Io(error)) => panic!("{error}"),
        }
    }

    fn read_large(&self, key: u8, place: Place) -> Result<Vec<u8>, Bad> {
        let read = || -> Result<Vec<u8>, Unread> {
            let (_, mut reader) = self.segments.read_large(place, &[key; 32], &self.seal_key)?;
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes)?;
            reader.finish()?;
            Ok(bytes)
        };
        read().map_err(|unread| match unread {
            Unread::Bad(bad) => bad,
            Unread::Io(error) => panic!("{error}"),
        })
    }

    fn walk(&self, id: u32) -> Vec<(u8, Place)> {
        let mut found = Vec::new();
        self.segments.walk(id, &self.seal_key, |header, place| found.push((header.key[0], place))).unwrap();
        found
    }

    fn write_large(&self, key: u8, payload: &[u8], id: u32) -> Place {
        let mut writer = self.segments.large(u64::MAX).unwrap();
        for piece in payload.chunks(1000) {
            writer.write_all(piece).unwrap();
        }
        let written = writer.finish().unwrap();
        self.segments.commit_large(written, id, header(key, b""), &self.seal_key).unwrap()
    }

    fn tmp_files(&self) -> usize {
        fs::read_dir(self.root.path().join("cache/v1/tmp")).unwrap().count()
    }
}

fn header(key: u8, payload: &[u8]) -> Header {
    Header {
        codec: codec::BINCODE,
        flags: 0,
        stored_len: payload.len() as u64,
        raw_len: payload.len() as u64,
        key: [key; 32],
        function: [0; 8],
        shape: 1,
        stored_at: 2,
        expires: 0,
        compute: 3,
        payload_hash: payload_hash(payload),
    }
}

fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|at| (at * 31 % 251) as u8).collect()
}

#[test]
fn what_was_written_is_read() {
    // A cache that loses what it wrote is a slow way to compute.
    let cache = Cache::new();
    cache.segments.create(1).unwrap();
    let mut offset = 0;
    for (key, len) in [0, 1, 7, 8, 100, 4096, 3 << 20].into_iter().enumerate() {
        let (key, value) = (key as u8, bytes(len));
        let place = cache.write(key, &value, Position::new(1, offset));
        assert_eq!(cache.read(key, place), Ok(value));
        offset += place.len;
    }
    cache.segments.sync(1).unwrap();
    cache.segments.sync_names().unwrap();
    // Another process has no file open yet.
    let other = Segments::new(cache.segments.dir.clone());
    let first = Place { position: Position::new(1, 0), len: record_len(0) };
    assert!(other.read(first, &[0; 32], &cache.seal_key, &mut Vec::new()).is_ok());
}

#[test]
fn a_buffer_that_held_a_longer_record_serves_a_shorter() {
    // Leftovers of another value would be taken for this one's.
    let cache = Cache::new();
    cache.segments.create(1).unwrap();
    let long = cache.write(1, &bytes(5000), Position::new(1, 0));
    let short = cache.write(2, b"short", Position::new(1, long.len));
    let mut buf = Vec::new();
    cache.segments.read(long, &[1; 32], &cache.seal_key, &mut buf).unwrap();
    let header = cache.segments.read(short, &[2; 32], &cache.seal_key, &mut buf).unwrap();
    assert_eq!(payload(&buf, &header), b"short");
}

#[test]
fn every_flipped_bit_of_a_record_is_refused() {
    // One bit that rots unnoticed becomes a wrong result.
    let cache = Cache::new();
    cache.segments.create(1).unwrap();
    let payload = b"forty-two, or so";
    let place = cache.write(7, payload, Position::new(1, 0));
    let good = fs::read(cache.path(1)).unwrap();
    assert_eq!(good.len() % 8, 0);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(cache.path(1), &bad).unwrap();
        assert!(cache.read(7, place).is_err(), "bit {bit}");
    }
    fs::write(cache.path(1), &good).unwrap();
    assert_eq!(cache.read(7, place), Ok(payload.to_vec()));
}

#[test]
fn every_truncation_is_refused() {
    // A file that a power cut left short must be a miss, not a panic and not half a value.
    let cache = Cache::new();
    cache.segments.create(1).unwrap();
    let place = cache.write(7, &bytes(100), Position::new(1, 0));
    let good = fs::read(cache.path(1)).unwrap();
    for len in 0..good.len() {
        fs::write(cache.path(1), &good[..len]).unwrap();
        assert_eq!(cache.read(7, place), Err(Bad::Short), "{len} bytes");
        assert_eq!(cache.read_large(7, place), Err(Bad::Short), "{len} bytes");
    }
}

#[test]
fn swapped_segments_are_refused() {
    // Whoever tidies up by renaming files must not make one call's value another's.
    let cache = Cache::new();
    for id in [1, 2] {
        cache.segments.create(id).unwrap();
    }
    let one = cache.write(7, b"one", Position::new(1, 0));
    let two = cache.write(7, b"two", Position::new(2, 0));
    fs::rename(cache.path(1), cache.path(3)).unwrap();
    fs::rename(cache.path(2), cache.path(1)).unwrap();
    fs::rename(cache.path(3), cache.path(2)).unwrap();
    let fresh = Cache { segments: Segments::new(cache.segments.dir.clone()), ..cache };
    assert_eq!(fresh.read(7, one), Err(Bad::Seal));
    assert_eq!(fresh.read(7, two), Err(Bad::Seal));
    assert_eq!(fresh.walk(1), []);
}

#[test]
fn a_hint_that_points_elsewhere_gives_nothing() {
    // The index may be stale or torn: what it says must never be enough.
    let cache = Cache::new();
    cache.segments.create(1).unwrap();
    let first = cache.write(1, &bytes(64), Position::new(1, 0));
    let second = cache.write(2, &bytes(64), Position::new(1, first.len));
    let at = |offset, len| Place { position: Position::new(1, offset), len };
    assert_eq!(cache.read(1, second), Err(Bad::Key));
    assert!(!Bad::Key.is_corruption());
    assert_eq!(cache.read(1, at(8, first.len)), Err(Bad::Magic));
    assert_eq!(cache.read(1, at(0, first.len + 8)), Err(Bad::Lengths));
    assert_eq!(cache.read(1, at(0, first.len - 8)), Err(Bad::Short));
    for len in [0, 8, 120, 129, u64::MAX, MAX_RECORD] {
        assert_eq!(cache.read(1, at(0, len)), Err(Bad::Lengths), "{len} bytes");
    }
    assert_eq!(cache.read(1, at(1 << 30, first.len)), Err(Bad::Short));
    assert_eq!(cache.read(1, Place { position: Position::new(9, 0), len: first.len }), Err(Bad::Gone));
    assert!(!Bad::Gone.is_corruption());
}

#[test]
fn a_false_length_allocates_nothing() {
    // A damaged word in the index must not take 30 GiB.
    let cache = Cache::new();
    cache.segments.create(1).unwrap();
    cache.write(1, b"small", Position::new(1, 0));
    let place = Place { position: Position::new(1, 0), len: MAX_RECORD - 8 };
    let mut buf = Vec::new();
    assert!(cache.segments.read(place, &[1; 32], &cache.seal_key, &mut buf).is_err());
    assert!(buf.capacity() <= UNCHECKED, "{}", buf.capacity());
    assert!(cache.segments.read_large(place, &[1; 32], &cache.seal_key).is_err());
}

#[test]
fn the_image_of_a_record_inside_a_payload_is_not_believed() {
    // Cached bytes that came from elsewhere may look like a record; a damaged index may point at them.
    let cache = Cache::new();
    for id in [1, 2] {
        cache.segments.create(id).unwrap();
    }
    let real = cache.record(9, b"the real one", Position::new(2, 0));
    let outer = cache.write(7, &real, Position::new(1, 0));
    let image = Place { position: Position::new(1, HEADER as u64), len: real.len() as u64 };
    assert_eq!(cache.read(9, image), Err(Bad::Seal));
    assert_eq!(cache.walk(1), [(7, outer)]);
    // Nor when the record around it is damaged, so that the walk looks inside.
    let mut file = fs::read(cache.path(1)).unwrap();
    file[0] ^= 1;
    fs::write(cache.path(1), file).unwrap();
    assert_eq!(cache.walk(1), []);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_no_segment() {
    // A link could lead out of the directory, a fifo would make the reader wait for ever.
    use std::os::unix::fs::symlink;
    let cache = Cache::new();
    cache.segments.create(1).unwrap();
    let place = cache.write(7, b"value", Position::new(1, 0));
    let put: [&dyn Fn(&std::path::Path); 4] = [
        &|path| symlink("00000001", path).unwrap(),
        &|path| fs::create_dir(path).unwrap(),
        &|path| {
            let status = std::process::Command::new("mkfifo").arg(path).status().unwrap();
            assert!(status.success());
        },
        &|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
    ];
    for (n, put) in put.iter().enumerate() {
        let id = 10 + n as u32;
        put(&cache.path(id));
        let there = Place { position: Position::new(id, 0), ..place };
        assert_eq!(cache.read(7, there), Err(Bad::NotAFile), "case {n}");
        assert_eq!(cache.read_large(7, there), Err(Bad::NotAFile), "case {n}");
        assert!(cache.segments.append(there.position, b"x").is_err());
        assert!(cache.segments.create(id).is_err());
        assert!(cache.segments.walk(id, &cache.seal_key, |_, _| {}).is_err());
    }
    // Their numbers are taken, and they have no size.
    let listed = [(1, place.len), (10, 0), (11, 0), (12, 0), (13, 0)];
    assert_eq!(cache.segments.ids().unwrap(), listed);
    assert_eq!(cache.read(7, place), Ok(b"value".to_vec()));
}

#[test]
fn a_walk_finds_what_lies_between_holes_and_garbage() {
    // After a lost index, or a killed writer, everything that was written whole is still worth having.
    let cache = Cache::new();
    cache.segments.create(1).unwrap();
    let mut offset = 0;
    let mut expected = Vec::new();
    for key in 0..200_u8 {
        let len = [10, 100, 3000, 90_000][usize::from(key) % 4];
        let place = cache.write(key, &bytes(len), Position::new(1, offset));
        expected.push((key, place));
        offset += place.len;
        match key % 5 {
            // A hole, longer than what is read at once.
            0 => offset += 80_000,
            // Garbage, some of it with the first word of a header.
            1 => {
                let garbage = b"garbage.mmo1\x01...mmo1....".repeat(20);
                cache.segments.append(Position::new(1, offset), &garbage).unwrap();
                offset += garbage.len() as u64;
            }
            _ => {}
        }
    }
    assert_eq!(cache.walk(1), expected);
    // The last record's tail is torn off: a writer was killed in the middle.
    let file = fs::OpenOptions::new().write(true).open(cache.path(1)).unwrap();
    let (_, last) = expected.pop().unwrap();
    for missing in [1, 8, last.len - 128, last.len - 1] {
        file.set_len(last.position.offset() + last.len - missing).unwrap();
        assert_eq!(cache.walk(1), expected);
    }
    // One damaged header costs one record.
    cache.segments.append(expected[50].1.position, &[0; 8]).unwrap();
    expected.remove(50);
    assert_eq!(cache.walk(1), expected);
    assert_eq!(cache.walk(99), []);
}

#[test]
fn a_walk_of_garbage_ends() {
    // A file of 20 GiB that came from elsewhere must not stop everybody.
    let cache = Cache::new();
    let file = fs::File::create(cache.path(1)).unwrap();
    file.set_len(20 << 30).unwrap();
    assert_eq!(cache.walk(1), []);
    let late = Position::new(1, MAX_SEGMENT);
    cache.write(1, b"where no segment reaches", late);
    assert_eq!(cache.walk(1), []);
}

#[test]
fn removed_segments_are_forgotten() {
    // An evicted file that stays open keeps its blocks: the disk would not get emptier.
    let cache = Cache::new();
    let mut places = Vec::new();
    for id in 1..=3 {
        cache.segments.create(id).unwrap();
        places.push(cache.write(7, b"value", Position::new(id, 0)));
    }
    let other = Segments::new(cache.segments.dir.clone());
    let mut buf = Vec::new();
    other.read(places[0], &[7; 32], &cache.seal_key, &mut buf).unwrap();
    cache.segments.remove(1).unwrap();
    cache.segments.remove(1).unwrap();
    assert_eq!(cache.read(7, places[0]), Err(Bad::Gone));
    // Who still has it open may still read it, until told.
    other.read(places[0], &[7; 32], &cache.seal_key, &mut buf).unwrap();
    other.forget_below(2);
    assert!(matches!(
        other.read(places[0], &[7; 32], &cache.seal_key, &mut buf),
        Err(Unread::Bad(Bad::Gone))
    ));
    assert_eq!(cache.segments.ids().unwrap(), [(2, places[1].len), (3, places[2].len)]);
}

#[test]
fn files_that_are_no_segments_are_left_alone() {
    // Eviction removes what `ids` lists.
    let cache = Cache::new();
    cache.segments.create(0x1f).unwrap();
    for name in ["0000000", "000000001", "0000000G", "+0000001", "0000001F", "notes.txt"] {
        fs::write(cache.path(1).with_file_name(name), "x").unwrap();
    }
    assert_eq!(cache.segments.ids().unwrap(), [(0x1f, 0)]);
}

#[test]
fn no_more_files_stay_open_than_allowed() {
    // A process that has no file handle left fails where nobody expects it.
    let cache = Cache::new();
    for id in 1..=300 {
        cache.segments.create(id).unwrap();
        cache.write(7, b"value", Position::new(id, 0));
    }
    assert_eq!(cache.segments.open.read().len(), MAX_OPEN);
    for id in 1..=300 {
        let place = Place { position: Position::new(id, 0), len: record_len(5) };
        assert_eq!(cache.read(7, place), Ok(b"value".to_vec()));
    }
    assert_eq!(cache.segments.open.read().len(), MAX_OPEN);
}

#[test]
fn directories_that_vanish_are_made_again() {
    // Someone cleans up with `rm -r` while a process runs: it goes on.
    let cache = Cache::new();
    fs::remove_dir(cache.root.path().join("cache/v1/seg")).unwrap();
    fs::remove_dir(cache.root.path().join("cache/v1/tmp")).unwrap();
    cache.segments.create(1).unwrap();
    let place = cache.write_large(7, &bytes(1000), 2);
    assert_eq!(cache.read(7, place), Ok(bytes(1000)));
}

#[test]
fn a_large_value_comes_back_by_either_way() {
    // Large values are what caching pays most for.
    let cache = Cache::new();
    for (id, len) in [(1, 0), (2, 1), (3, BUFFER_LEN), (4, BUFFER_LEN + 3), (5, (3 << 20) + 5)] {
        let value = bytes(len);
        let place = cache.write_large(7, &value, id);
        assert_eq!(place, Place { position: Position::new(id, 0), len: record_len(len as u64) });
        assert_eq!(cache.read(7, place), Ok(value.clone()));
        assert_eq!(cache.read_large(7, place), Ok(value));
        assert_eq!(cache.walk(id), [(7, place)]);
        let mut buf = Vec::new();
        let header = cache.segments.read(place, &[7; 32], &cache.seal_key, &mut buf).unwrap();
        assert_eq!(header.flags, flags::LARGE);
    }
    assert_eq!(cache.tmp_files(), 0);
}

const BUFFER_LEN: usize = 256 << 10;

#[test]
fn a_damaged_large_value_is_refused() {
    // The longer a value lies on a disk, and the larger it is, the likelier a bit of it rots.
    let cache = Cache::new();
    let place = cache.write_large(7, &bytes(3 << 20), 1);
    let good = fs::read(cache.path(1)).unwrap();
    for at in [0, 100, 127, 128, 1 << 20, (2 << 20) + 128, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(cache.path(1), bad).unwrap();
        assert!(cache.read_large(7, place).is_err(), "byte {at}");
    }
}

#[test]
fn a_large_value_that_changes_under_its_reader_is_refused() {
    // The decoder reads after the check: what it reads must be what was checked.
    let cache = Cache::new();
    let place = cache.write_large(7, &bytes(3 << 20), 1);
    let (_, mut reader) = cache.segments.read_large(place, &[7; 32], &cache.seal_key).unwrap();
    cache.segments.append(Position::new(1, 2 << 20), b"changed!").unwrap();
    assert!(reader.fill_buf().unwrap().starts_with(&bytes(10)));
    assert!(matches!(reader.finish(), Err(Unread::Bad(Bad::Payload))));
    let (_, mut reader) = cache
        .segments
        .read_large(cache.write_large(8, &bytes(3 << 20), 2), &[8; 32], &cache.seal_key)
        .unwrap();
    fs::OpenOptions::new().write(true).open(cache.path(2)).unwrap().set_len(1 << 20).unwrap();
    assert!(reader.read_to_end(&mut Vec::new()).is_err());
    assert!(matches!(reader.finish(), Err(Unread::Bad(Bad::Short))));
}

#[test]
fn an_unfinished_large_value_leaves_nothing() {
    // Cancelled runs would fill the disk with what nobody can read.
    let cache = Cache::new();
    let mut writer = cache.segments.large(u64::MAX).unwrap();
    writer.write_all(&bytes(1 << 20)).unwrap();
    assert_eq!(cache.tmp_files(), 1);
    drop(writer);
    assert_eq!(cache.tmp_files(), 0);
    drop(cache.segments.large(u64::MAX).unwrap().finish().unwrap());
    assert_eq!(cache.tmp_files(), 0);
}

#[test]
fn a_large_value_stays_below_its_limit() {
    // One value must not fill the disk before anyone sees how large it is.
    let cache = Cache::new();
    let mut writer = cache.segments.large(1000).unwrap();
    writer.write_all(&bytes(1000)).unwrap();
    let error = writer.write_all(b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    assert_eq!(error.to_string(), "the value takes more than the 1000 bytes that it may");
}

#[test]
fn a_sweep_removes_what_the_dead_left_and_nothing_else() {
    // Each killed process would leave a file for ever; one swept too early is a value lost.
    let cache = Cache::new();
    let tmp = cache.root.path().join("cache/v1/tmp");
    let long_ago = crate::sync::wall() - std::time::Duration::from_secs(3600);
    let age = |path: &std::path::Path| {
        fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    };
    let mut writer = cache.segments.large(u64::MAX).unwrap();
    writer.write_all(b"under way").unwrap();
    age(&fs::read_dir(&tmp).unwrap().next().unwrap().unwrap().path());
    for name in ["1-1", "1-2"] {
        fs::write(tmp.join(name), "left behind").unwrap();
    }
    // What has no such name was put there by somebody else.
    fs::write(tmp.join("notes-1"), "mine").unwrap();
    ["1-1", "notes-1"].iter().for_each(|name| age(&tmp.join(name)));
    fs::create_dir(tmp.join("dir")).unwrap();
    assert_eq!(cache.segments.sweep().unwrap(), 1);
    assert!(!tmp.join("1-1").exists());
    assert_eq!(cache.tmp_files(), 4);
    let written = writer.finish().unwrap();
    assert_eq!(written.stored_len(), 9);
    let place = cache.segments.commit_large(written, 1, header(7, b""), &cache.seal_key).unwrap();
    assert_eq!(cache.read(7, place), Ok(b"under way".to_vec()));
}
