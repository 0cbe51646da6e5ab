//! The function that all peers memoize: from a key to bytes, as many and as late as the command line says.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rayon::prelude::*;

/// How often the function ran in this process.
pub(crate) static RUNS: AtomicU64 = AtomicU64::new(0);

static LENGTH: AtomicUsize = AtomicUsize::new(100);
static SLEEP: AtomicU64 = AtomicU64::new(0);
static PANICS: AtomicUsize = AtomicUsize::new(0);
static PIECES: AtomicUsize = AtomicUsize::new(0);

/// What the function does besides: bytes of its result, milliseconds that it waits, and whether it panics in
/// the end.
pub(crate) fn set(length: usize, sleep: u64, panics: bool) {
    LENGTH.store(length, Relaxed);
    SLEEP.store(sleep, Relaxed);
    PANICS.store(panics.into(), Relaxed);
}

/// The function is parallel: rayon gets that many pieces, a millisecond each.
pub(crate) fn set_pieces(pieces: usize) {
    PIECES.store(pieces, Relaxed);
}

/// Not compressible, so that nobody gains by trying.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let words = (0..(2 << 20) / 8).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n << 7));
    words.flat_map(|word| (word ^ word >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes()).collect()
});

/// What the function gives for `key`: a copy of noise, so that making it costs as little as can be, that begins with the
/// key, so that no two are alike.
pub(crate) fn value(key: &str) -> Vec<u8> {
    let length = LENGTH.load(Relaxed);
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let start = (hash >> 40) as usize % (1 << 19);
    let mut value = NOISE[start..start + length].to_vec();
    for (to, from) in value.iter_mut().zip(key.bytes()) {
        *to = from;
    }
    value
}

/// The memoized function.
pub(crate) fn run(key: &str) -> Vec<u8> {
    RUNS.fetch_add(1, Relaxed);
    let sleep = SLEEP.load(Relaxed);
    if sleep > 0 {
        std::thread::sleep(Duration::from_millis(sleep));
    }
    let pieces = (0..PIECES.load(Relaxed)).into_par_iter().with_max_len(1);
    pieces.for_each(|_| std::thread::sleep(Duration::from_millis(1)));
    assert!(PANICS.load(Relaxed) == 0, "as told");
    value(key)
}

/// The same as a function that fails.
pub(crate) fn fails(key: &str) -> Result<Vec<u8>, String> {
    run(key);
    Err("as told".into())
}
