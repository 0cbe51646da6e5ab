//! One directory, several builds: what only another of them can read is a miss, and stays theirs.

use std::fs;

use memopool::{Explain, Func, Pool, Spill};

use super::{Place, Told, bare, block, doubled};
use crate::{Counter, build, in_time};

/// What a later version may write into bytes 45..48 of a record: codec, flags.
type Change = fn(&mut [u8]);

const CHANGES: [(&str, Change); 3] = [
    ("a flag", |what| what[1] |= 64),
    ("a high flag", |what| what[2] |= 128),
    ("a codec", |what| what[0] = 2),
];

/// Makes each record of the directory one of a later version, sealed as `docs/format.md` says: the index does not notice.
fn of_a_later_version(place: &Place, change: Change) -> usize {
    let seal_key = blake3::derive_key("memopool 2026 disk record seal", b"");
    let mut changed = 0;
    for file in place.segments() {
        let id = file.file_name().unwrap().to_str().unwrap();
        let id = u64::from_str_radix(id, 16).unwrap();
        let mut bytes = fs::read(&file).unwrap();
        let mut at = 0;
        while bytes[at..].starts_with(b"mmo1") {
            let position = ((id << 32) | (at as u64 / 8)).to_le_bytes();
            let record = &mut bytes[at..];
            let len = u32::from_le_bytes(record[40..44].try_into().unwrap()) as usize;
            let (flags, end) = (record[46], 128 + len);
            change(&mut record[45..48]);
            let small = len <= 512 && flags & (2 | 4 | 8) == 0;
            let sealed = match small {
                true => record[40..end].to_vec(),
                false => [&record[24..128], &position].concat(),
            };
            record[8..24].copy_from_slice(&blake3::keyed_hash(&seal_key, &sealed).as_bytes()[..16]);
            at += end.next_multiple_of(8);
            changed += 1;
            if at >= bytes.len() {
                break;
            }
        }
        fs::write(&file, bytes).unwrap();
    }
    changed
}

/// Small, not small, and in a file of its own.
const LENGTHS: [usize; 3] = [100, 5000, 20_000];

fn needs(explain: &Explain) -> &str {
    match explain {
        Explain::OtherBuild { needs } => needs,
        other => panic!("{other}"),
    }
}

/// An update of one program, and the others that share its directory take its results for damage: they bury them, count
/// them, tell of each, and compute for ever what the updated one has stored.
#[test]
fn what_a_later_version_wrote_is_a_miss_once() {
    in_time(|| {
        for (what, change) in CHANGES {
            for lost in [false, true] {
                let (place, told) = (Place::new(), Told::default());
                let disk = || place.disk().max_bytes(4 << 20);
                let pool = || build(told.listen(bare()).disk(disk()));
                let first = pool();
                LENGTHS.iter().for_each(|len| drop(first.run(block().call((1, *len))).unwrap()));
                drop(first);
                assert_eq!(of_a_later_version(&place, change), LENGTHS.len());
                if lost {
                    place.lose_index();
                }
                let later = pool();
                for len in LENGTHS {
                    assert_eq!(later.get(&block().call((1, len))), None, "{what}, {len}");
                    assert!(needs(&later.explain(&block().call((1, len)))).contains("later version"));
                }
                // It stays, also for a process that comes later; it is told once in each.
                let another = pool();
                assert_eq!(another.get(&block().call((1, 100))), None);
                assert_eq!(needs(&another.explain(&block().call((1, 100)))), "a later version of memopool");
                assert_eq!(told.of("OtherBuild").len(), 2, "{what}: {:?}", told.of(""));
                // What is computed instead takes its place.
                for len in LENGTHS {
                    assert_eq!(*another.run(block().call((1, len))).unwrap(), super::bytes_of(1, len));
                }
                drop(another);
                let last = pool();
                for len in LENGTHS {
                    assert_eq!(*last.run(block().call((1, len))).unwrap(), super::bytes_of(1, len));
                }
                assert_eq!((last.stats().disk_hits, last.stats().computed), (3, 0), "{what}");
                for pool in [&later, &last] {
                    assert_eq!((pool.stats().corrupt, pool.stats().store_errors), (0, 0), "{what}");
                }
                for trouble in ["Corrupt", "StoreFailed", "NotStored"] {
                    assert_eq!(told.of(trouble), Vec::<String>::new(), "{what}");
                }
            }
        }
    });
}

/// A pool that writes only what leaves the memory never writes what it computed in the place of what it can't read.
#[test]
fn what_is_computed_instead_is_written_with_either_spill() {
    in_time(|| {
        for spill in [Spill::OnInsert, Spill::OnEvict] {
            let (place, runs) = (Place::new(), Counter::default());
            let func = doubled(&runs);
            place.pool().run(func.call(1)).unwrap();
            of_a_later_version(&place, CHANGES[0].1);
            for _ in 0..2 {
                let pool = build(Pool::builder().threads(1).disk(place.disk().spill(spill)));
                assert_eq!(*pool.run(func.call(1)).unwrap(), 2);
            }
            assert_eq!(runs.get(), 2, "{spill:?}: once by each build");
        }
    });
}

/// Results of a later version vanish as soon as an older build makes room: its own are kept, though used no more.
#[test]
fn what_a_later_version_wrote_gets_its_second_chance() {
    in_time(|| {
        let place = Place::new();
        let small = Func::new("builds::small", |n: u64| vec![n; 20]);
        let pool = || build(bare().threads(1).disk(place.disk().max_bytes(1 << 20)));
        let first = pool();
        first.run(small.call(1)).unwrap();
        drop(first);
        // Used, as the other build would use it.
        assert!(pool().get(&small.call(1)).is_some());
        of_a_later_version(&place, CHANGES[0].1);
        let filler = pool();
        let evicted = place.segments()[0].clone();
        for n in 0.. {
            if !evicted.exists() {
                break;
            }
            filler.run(block().call((n, 10_000))).unwrap();
            filler.flush().unwrap();
        }
        assert!(needs(&filler.explain(&small.call(1))).contains("later version"));
        assert_eq!(filler.stats().corrupt, 0);
    });
}
