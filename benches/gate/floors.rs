//! The floors: the least that gives the same results to a caller, with nothing promised beyond.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crossbeam_channel::unbounded;
use dashmap::DashMap;

use crate::paths::{Args, DEPTH, args, bytes};
use crate::{OPERATIONS, counted_part};

/// A concurrent map, keyed by the typed arguments.
pub(crate) fn warm_hit() -> u64 {
    let args = args();
    let map: DashMap<Args, Arc<u64>> = args.iter().map(|args| (args.clone(), Arc::new(args.1))).collect();
    counted_part(&mut || {
        for args in &args {
            black_box(map.get(args).map(|value| Arc::clone(&value)));
        }
    })
}

/// A boxed closure through a channel, its result shared and put into a map.
pub(crate) fn cold_batch() -> u64 {
    let map: DashMap<u64, Arc<u64>> = DashMap::new();
    let (send, jobs) = unbounded::<Box<dyn FnOnce() + Send + '_>>();
    counted_part(&mut || {
        for n in 0..OPERATIONS {
            let map = &map;
            send.send(Box::new(move || drop(map.insert(n, Arc::new(black_box(n) + 1))))).expect("open");
        }
        jobs.try_iter().for_each(|job| job());
        for n in 0..OPERATIONS {
            black_box(map.get(&n).map(|value| Arc::clone(&value)));
        }
    })
}

/// Read at a known place, check against a known hash, decode.
pub(crate) fn disk_hit() -> u64 {
    let mut file = tempfile::tempfile().expect("room for a temporary file");
    let mut places = Vec::new();
    let mut offset = 0;
    for n in 0..OPERATIONS {
        let encoded = bincode::encode_to_vec(bytes(n), bincode::config::standard()).expect("bytes");
        file.write_all(&encoded).expect("room");
        places.push((offset, encoded.len(), blake3::hash(&encoded)));
        offset += encoded.len() as u64;
    }
    counted_part(&mut || places.iter().for_each(|place| drop(black_box(read(&file, place)))))
}

fn read(file: &File, (offset, length, hash): &(u64, usize, blake3::Hash)) -> Arc<Vec<u8>> {
    let mut buffer = vec![0; *length];
    file.read_exact_at(&mut buffer, *offset).expect("it is there");
    assert_eq!(blake3::hash(&buffer), *hash);
    Arc::new(bincode::decode_from_slice(&buffer, bincode::config::standard()).expect("what was encoded").0)
}

type Chain = DashMap<(u64, u64), Arc<u64>>;

/// Plain recursion that looks into a map and keeps each result there.
fn chain(map: &Chain, round: u64, depth: u64) -> Arc<u64> {
    if let Some(value) = map.get(&(round, depth)) {
        return Arc::clone(&value);
    }
    let value = Arc::new(if depth == 0 { round } else { *chain(map, round, depth - 1) + 1 });
    map.insert((round, depth), Arc::clone(&value));
    value
}

pub(crate) fn nested() -> u64 {
    let map = Chain::new();
    counted_part(&mut || {
        for round in 0..OPERATIONS / DEPTH {
            black_box(chain(&map, round, DEPTH - 1));
        }
    })
}
