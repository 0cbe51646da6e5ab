//! What is measured: functions that work (none of them sleeps), with and without a memory.
//!
//! Each workload is one *pass*: a batch of calls, of which all results are awaited. `plain` runs the same bodies on the
//! same pool, not remembered (`spawn`); it is what a program without a cache would do, not a straw man: it does not repeat
//! what it has at hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use memopool::{Func, Pool, Task, memo};
use serde::{Deserialize, Serialize};

use crate::corpus::{self, Sources};
use crate::fetch;

/// One pass over a pool. Returns a checksum of all results: the same in every state, or something is wrong.
pub(crate) type Pass = Box<dyn Fn(&Pool) -> u64 + Sync>;

/// See the [module](self).
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) what: String,
    /// Calls that a pass submits itself; those that they submit in turn are not counted.
    pub(crate) calls: usize,
    /// Bodies that run in a cold pass.
    pub(crate) runs: u64,
    /// A tenth of what its results weigh in memory.
    pub(crate) small_memory: u64,
    pub(crate) plain: Pass,
    pub(crate) memoized: Pass,
}

/// How large workloads are. Part of a child's arguments, since it must make the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Quick,
    Full,
}

impl Size {
    pub(crate) fn of(self, full: usize, quick: usize) -> usize {
        if self == Size::Full { full } else { quick }
    }
}

pub(crate) const SEED: u64 = 0x5eed_0001;

/// The names, in the report's order.
pub(crate) const NAMES: [&str; 9] = [
    "small call, small result",
    "1 MiB argument",
    "1 MiB result",
    "64 KiB result of many structs",
    "nested, recursive",
    "duplicates (Zipf)",
    "loopback fetch",
    "corpus pipeline, a part",
    "corpus pipeline, whole tree",
];

/// What a workload needs from outside.
pub(crate) struct Outside {
    pub(crate) server: SocketAddr,
    pub(crate) sources: Result<Sources, String>,
}

/// The workload of that name.
///
/// # Errors
///
/// Why it can't be measured here.
pub(crate) fn named(name: &str, size: Size, outside: &Outside) -> Result<Workload, String> {
    let sources = || outside.sources.as_ref().map_err(String::clone);
    match NAMES.iter().position(|known| *known == name) {
        Some(0) => Ok(small(size)),
        Some(1) => Ok(large_argument(size)),
        Some(2) => Ok(large_result(size)),
        Some(3) => Ok(rich(size)),
        Some(4) => Ok(nested(size)),
        Some(5) => Ok(zipf(size)),
        Some(6) => Ok(fetching(size, outside.server)),
        Some(7) => Ok(corpus::workload(NAMES[7], &sources()?.part(size.of(150, 12)))),
        Some(8) => Ok(corpus::workload(NAMES[8], &sources()?.part(size.of(usize::MAX, 24)))),
        _ => Err(format!("there is no workload `{name}`")),
    }
}

/// Honest work that can't be left out: some nanoseconds a round.
pub(crate) fn churn(seed: u64, rounds: u64) -> u64 {
    (0..rounds).fold(seed | 1, |hash, n| (hash ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
}

/// Waits for all; the sum of what `sum` makes of each.
fn all<R: Send + Sync + 'static>(tasks: Vec<Task<R>>, sum: impl Fn(&R) -> u64) -> u64 {
    let results = tasks.iter().map(|task| sum(&*task.wait().expect("nothing here fails")));
    results.fold(0, u64::wrapping_add)
}

#[memo]
fn score(n: u64, dataset: &str) -> u64 {
    churn(n + dataset.len() as u64, 30_000)
}

fn small(size: Size) -> Workload {
    let calls = size.of(2000, 20);
    let set = "dataset/part-0001";
    Workload {
        name: NAMES[0],
        what: "An integer and a short text in, an integer out; some 30 µs of arithmetic.".to_owned(),
        calls,
        runs: calls as u64,
        small_memory: calls as u64 * 64 / 10,
        plain: Box::new(move |pool| {
            let tasks = (0..calls as u64).map(|n| pool.spawn(move || score(n, set)));
            all(tasks.collect(), |n| *n)
        }),
        memoized: Box::new(move |pool| {
            all(pool.submit_all((0..calls as u64).map(|n| score::call(n, set))), |n| *n)
        }),
    }
}

/// Byte by byte, as a parser goes.
#[memo]
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(SEED, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Not compressible, and not the same twice.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let words = (0..).map(|n: u64| (n ^ seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(|word| word.rotate_left(29).to_le_bytes()).take(length).collect()
}

fn large_argument(size: Size) -> Workload {
    let calls = size.of(40, 2);
    let inputs: Vec<Arc<Vec<u8>>> = (0..calls as u64).map(|n| Arc::new(noise(SEED + n, 1 << 20))).collect();
    let same = inputs.clone();
    Workload {
        name: NAMES[1],
        what: "A borrowed slice of 1 MiB in, an integer out; the body reads it byte by byte, about 1 ms."
            .to_owned(),
        calls,
        runs: calls as u64,
        small_memory: calls as u64 * 64 / 10,
        plain: Box::new(move |pool| {
            let spawn = |bytes: &Arc<Vec<u8>>| {
                let bytes = Arc::clone(bytes);
                pool.spawn(move || digest(&bytes))
            };
            all(inputs.iter().map(spawn).collect(), |n| *n)
        }),
        memoized: Box::new(move |pool| {
            all(pool.submit_all(same.iter().map(|bytes| digest::call(bytes))), |n| *n)
        }),
    }
}

/// 1 MiB, and as long to make as a decompressor takes.
#[memo]
fn block(seed: u64) -> Vec<u8> {
    let mut bytes = noise(seed, 1 << 20);
    let mut last = 0u8;
    for byte in &mut bytes {
        last = last.wrapping_mul(31) ^ *byte;
        *byte = last;
    }
    bytes
}

fn ends(bytes: &[u8]) -> u64 {
    bytes.iter().step_by(4099).fold(0, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte))
}

fn large_result(size: Size) -> Workload {
    let calls = size.of(40, 2);
    Workload {
        name: NAMES[2],
        what: "An integer in, 1 MiB out; about 2 ms to make.".to_owned(),
        calls,
        runs: calls as u64,
        small_memory: (calls as u64) << 20 >> 3,
        plain: Box::new(move |pool| {
            all((0..calls as u64).map(|n| pool.spawn(move || block(n))).collect(), |bytes| ends(bytes))
        }),
        memoized: Box::new(move |pool| {
            all(pool.submit_all((0..calls as u64).map(block::call)), |bytes| ends(bytes))
        }),
    }
}

/// What a parsed record may look like.
#[derive(Serialize, Deserialize)]
struct Row {
    id: u64,
    name: String,
    tags: Vec<String>,
    at: (f64, f64),
    kind: Kind,
    counts: BTreeMap<String, u32>,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    Plain,
    Link { to: u64, weight: f32 },
    Note(String),
}

#[memo]
fn rows(seed: u64) -> Vec<Row> {
    let row = |n: u64| {
        let id = churn(seed + n, 1500);
        let word = |salt: u64| format!("word-{:05}", id.rotate_left(salt as u32 * 7) % 99_991);
        Row {
            id,
            name: word(1),
            tags: (2..4).map(word).collect(),
            at: (id as f64 / 7.0, id as f64 / 13.0),
            kind: match id % 3 {
                0 => Kind::Plain,
                1 => Kind::Link { to: id >> 8, weight: id as f32 / 3.0 },
                _ => Kind::Note(word(5)),
            },
            counts: (6..8).map(|salt| (word(salt), id as u32 >> salt)).collect(),
        }
    };
    (0..620).map(row).collect()
}

fn total(rows: &[Row]) -> u64 {
    let kind = |row: &Row| match &row.kind {
        Kind::Plain => 1,
        Kind::Link { to, weight } => to ^ u64::from(weight.to_bits()),
        Kind::Note(text) => text.len() as u64,
    };
    let one = |row: &Row| {
        let counts = row.counts.iter().map(|(word, n)| word.len() as u64 + u64::from(*n)).sum::<u64>();
        row.id
            ^ row.at.0.to_bits()
            ^ row.at.1.to_bits()
            ^ kind(row)
            ^ counts
            ^ row.name.len() as u64
            ^ row.tags.len() as u64
    };
    rows.iter().map(one).fold(0, u64::wrapping_add)
}

fn rich(size: Size) -> Workload {
    let calls = size.of(60, 2);
    Workload {
        name: NAMES[3],
        what:
            "An integer in, 620 structs with texts, lists and maps out (64 KiB as bytes); about 2 ms to make."
                .to_owned(),
        calls,
        runs: calls as u64,
        small_memory: (calls as u64 * 64) << 10 >> 3,
        plain: Box::new(move |pool| {
            all((0..calls as u64).map(|n| pool.spawn(move || rows(n))).collect(), |rows| total(rows))
        }),
        memoized: Box::new(move |pool| {
            all(pool.submit_all((0..calls as u64).map(rows::call)), |rows| total(rows))
        }),
    }
}

fn here() -> Pool {
    Pool::current().expect("this runs in a pool")
}

/// A node of a tree asks for its children, as the files of a project ask for what they include.
#[memo]
fn tree(depth: u32, at: u64) -> u64 {
    let own = churn(at, 30_000);
    if depth == 0 {
        return own;
    }
    let pool = here();
    let left = pool.submit(tree::call(depth - 1, 2 * at));
    let right = pool.run(tree::call(depth - 1, 2 * at + 1)).expect("can't fail");
    own ^ *left.wait().expect("can't fail") ^ *right
}

fn plain_tree(depth: u32, at: u64) -> u64 {
    let own = churn(at, 30_000);
    if depth == 0 {
        return own;
    }
    let pool = here();
    let left = pool.spawn(move || plain_tree(depth - 1, 2 * at));
    let right = pool.spawn(move || plain_tree(depth - 1, 2 * at + 1));
    own ^ *left.wait().expect("can't fail") ^ *right.wait().expect("can't fail")
}

fn nested(size: Size) -> Workload {
    let depth = size.of(9, 3) as u32;
    let runs = (2 << depth) - 1;
    Workload {
        name: NAMES[4],
        what: format!(
            "One call that asks for two more, and so on {depth} times: {runs} calls of some 30 µs."
        ),
        calls: 1,
        runs,
        small_memory: runs * 64 / 10,
        plain: Box::new(move |pool| *pool.spawn(move || plain_tree(depth, 1)).wait().expect("can't fail")),
        memoized: Box::new(move |pool| *pool.run(tree::call(depth, 1)).expect("can't fail")),
    }
}

#[memo]
fn popular(n: u64) -> u64 {
    churn(n, 30_000)
}

/// Keys as popular as words are: the n-th is asked for in proportion to 1/n.
pub(crate) fn zipf_keys(seed: u64, keys: usize, calls: usize) -> Vec<u64> {
    let mut shares: Vec<f64> = (1..=keys).map(|n| 1.0 / n as f64).collect();
    let mut sum = 0.0;
    for share in &mut shares {
        sum += *share;
        *share = sum;
    }
    let mut state = seed;
    let mut next = || {
        state = churn(state, 2);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..calls).map(|_| shares.partition_point(|share| *share < next() * sum) as u64).collect()
}

fn zipf(size: Size) -> Workload {
    let (keys, calls) = (size.of(1000, 20), size.of(4000, 60));
    let keys = zipf_keys(SEED, keys, calls);
    let runs = keys.iter().collect::<std::collections::BTreeSet<_>>().len() as u64;
    let same = keys.clone();
    Workload {
        name: NAMES[5],
        what: format!("{calls} calls of which {runs} differ, as popular as words are; some 30 µs each."),
        calls,
        runs,
        small_memory: runs * 64 / 10,
        plain: Box::new(move |pool| {
            all(keys.iter().copied().map(|n| pool.spawn(move || popular(n))).collect(), |n| *n)
        }),
        memoized: Box::new(move |pool| all(pool.submit_all(same.iter().map(|n| popular::call(*n))), |n| *n)),
    }
}

fn fetching(size: Size, server: SocketAddr) -> Workload {
    let calls = size.of(64, 4);
    let func = Func::named("fetch").resource(server).func(|server: &SocketAddr, path: String| {
        fetch::get(*server, &path).expect("the server is in this machine")
    });
    let path = |n: usize| format!("/page/{n}");
    Workload {
        name: NAMES[6],
        what: format!(
            "A page of 16 KiB from a server on loopback that takes {} ms to answer: the pool waits, it does not work.",
            fetch::LATENCY.as_millis()
        ),
        calls,
        runs: calls as u64,
        small_memory: (calls as u64 * 16) << 10 >> 3,
        plain: Box::new(move |pool| {
            let get = |n| move || fetch::get(server, &path(n)).expect("the server is in this machine");
            all((0..calls).map(|n| pool.spawn(get(n))).collect(), |bytes| ends(bytes))
        }),
        memoized: Box::new(move |pool| {
            all(pool.submit_all((0..calls).map(|n| func.call(path(n)))), |bytes| ends(bytes))
        }),
    }
}
