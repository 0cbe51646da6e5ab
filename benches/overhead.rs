//! What the crate itself costs, each path beside its floor and its peers in the same run.
//!
//! `cargo bench --bench overhead` first prints a table of ratios: medians of interleaved rounds, so that a machine that
//! slows down slows all sides. Then criterion times the paths one by one. `-- --ratios` prints the table alone.
//!
//! Of a warm hit, all sides are given the same: 10 000 distinct calls' arguments, copied before the clock starts, and dropped
//! while it runs (some 13 ns of each, also where the peer takes a borrowed key). Ours encodes them, hashes and looks up, makes a
//! task, waits for it and gives an `Arc` that is dropped again; the peers hash typed keys and give a copy of the value. Beside it
//! stands what is left without the task (`Pool::run`), and without owned arguments (a function of `#[memo]`, which borrows them).
#![expect(clippy::print_stdout, reason = "a bench reports on its standard output")]
#![expect(clippy::disallowed_methods, reason = "a bench measures outside of the crate's clock")]

#[path = "common/rounds.rs"]
mod rounds;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use crossbeam_channel::{bounded, unbounded};
use memopool::{Func, Pool, memo};
use rounds::{interleave, timed};

/// The key of the comparison: what a typical call passes.
type Args = (String, u64, bool);

const KEYS: usize = 10_000;
const ROUNDS: usize = 41;

fn keys() -> Vec<Args> {
    (0..KEYS).map(|n| (format!("dataset/part-{n:05}"), n as u64 * 7, n % 3 == 0)).collect()
}

fn work(args: &Args) -> u64 {
    args.1 + args.0.len() as u64
}

/// The same as [`work`], with arguments that are borrowed.
#[memo]
fn lent(name: &str, start: u64, _last: bool) -> u64 {
    start + name.len() as u64
}

fn func() -> Func<Args, u64> {
    Func::new("work", |args: Args| work(&args))
}

/// Runs the same work in `threads` threads at once, each with its own arguments; the time of the slowest.
fn timed_in(threads: usize, keys: &[Args], work: impl Fn(Vec<Args>) + Sync) -> Duration {
    let start = std::sync::Barrier::new(threads);
    std::thread::scope(|scope| {
        let run = || {
            let mine = keys.to_vec();
            start.wait();
            timed(|| work(mine))
        };
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mine = run();
        others.into_iter().map(|thread| thread.join().expect("no panic")).fold(mine, Duration::max)
    })
}

struct Peers {
    keys: Vec<Args>,
    pool: Pool,
    /// A pool of its own: more entries would make all of them colder.
    lent: Pool,
    func: Func<Args, u64>,
    moka: moka::sync::Cache<Args, u64>,
    quick: quick_cache::sync::Cache<Args, u64>,
    dash: dashmap::DashMap<u64, Arc<u64>>,
    encoded: Vec<Vec<u8>>,
}

impl Peers {
    fn warm() -> Peers {
        let peers = Peers {
            keys: keys(),
            pool: Pool::new(),
            lent: Pool::new(),
            func: func(),
            moka: moka::sync::Cache::new(4 * KEYS as u64),
            quick: quick_cache::sync::Cache::new(4 * KEYS),
            dash: dashmap::DashMap::new(),
            encoded: keys().iter().map(|key| format!("{}{}{}", key.0, key.1, key.2).into_bytes()).collect(),
        };
        for key in &peers.keys {
            peers.pool.run(peers.func.call(key.clone())).expect("work can't fail");
            peers.lent.run(lent::call(&key.0, key.1, key.2)).expect("work can't fail");
            peers.moka.insert(key.clone(), work(key));
            peers.quick.insert(key.clone(), work(key));
            peers.dash.insert(key.1, Arc::new(work(key)));
        }
        peers.moka.run_pending_tasks();
        peers
    }

    fn hit_pool(&self, keys: Vec<Args>) {
        for key in keys {
            black_box(self.pool.submit(self.func.call(key)).wait().expect("kept"));
        }
    }

    fn hit_run(&self, keys: Vec<Args>) {
        for key in keys {
            black_box(self.pool.run(self.func.call(key)).expect("kept"));
        }
    }

    fn hit_lent(&self, keys: &[Args]) {
        for key in keys {
            black_box(self.lent.submit(lent::call(&key.0, key.1, key.2)).wait().expect("kept"));
        }
    }

    fn hit_moka(&self, keys: Vec<Args>) {
        for key in keys {
            black_box(self.moka.get_with(key, || unreachable!("kept")));
        }
    }

    fn hit_quick(&self, keys: Vec<Args>) {
        for key in keys {
            black_box(self.quick.get(&key).expect("kept"));
        }
    }
}

fn warm_hits(threads: usize) {
    let peers = Peers::warm();
    let times = interleave(
        KEYS,
        ROUNDS,
        &mut [
            Box::new(|| timed_in(threads, &peers.keys, |keys| peers.hit_pool(keys))),
            Box::new(|| timed_in(threads, &peers.keys, |keys| peers.hit_moka(keys))),
            Box::new(|| timed_in(threads, &peers.keys, |keys| peers.hit_quick(keys))),
            Box::new(|| timed_in(threads, &peers.keys, |keys| peers.hit_run(keys))),
            Box::new(|| timed_in(threads, &peers.keys, |keys| peers.hit_lent(&keys))),
            Box::new(|| {
                timed(|| {
                    for bytes in &peers.encoded {
                        black_box(blake3::hash(bytes));
                    }
                })
            }),
            Box::new(|| {
                timed(|| {
                    for key in &peers.keys {
                        black_box(peers.dash.get(&key.1).map(|value| Arc::clone(&value)));
                    }
                })
            }),
        ],
    );
    let (us, moka, quick) = (times[0], times[1], times[2]);
    println!("warm hit, {threads} thread(s): submit + wait          {us:7.0} ns per hit and thread");
    println!("  moka get_with, typed key                 {moka:7.0} ns   ratio {:.2} (bar 0.35)", us / moka);
    println!("  quick_cache get, typed key               {quick:7.0} ns   ratio {:.2} (bar 1.6)", us / quick);
    println!("  ours: Pool::run                          {:7.0} ns   ratio {:.2}", times[3], us / times[3]);
    println!("  ours: arguments borrowed                 {:7.0} ns   ratio {:.2}", times[4], us / times[4]);
    if threads == 1 {
        println!("  floor: BLAKE3 of the same bytes          {:7.0} ns", times[5]);
        println!("  floor: dashmap get + clone               {:7.0} ns", times[6]);
    }
}

/// A bare pool: a channel of boxed closures and as many threads as the machine has.
struct Bare {
    send: Option<crossbeam_channel::Sender<Box<dyn FnOnce() + Send>>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Bare {
    fn new() -> Bare {
        let (send, receive) = unbounded::<Box<dyn FnOnce() + Send>>();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..threads)
            .map(|_| {
                let receive = receive.clone();
                std::thread::spawn(move || receive.iter().for_each(|job| job()))
            })
            .collect();
        Bare { send: Some(send), threads }
    }

    fn execute(&self, job: impl FnOnce() + Send + 'static) {
        self.send.as_ref().expect("open").send(Box::new(job)).expect("threads live");
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.send = None;
        self.threads.drain(..).for_each(|thread| thread.join().expect("jobs don't panic"));
    }
}

/// `map` over distinct trivial calls, against the least that could give the same: a burst through a bare pool whose
/// jobs insert into moka.
fn cold_batch() {
    let func = func();
    let bare = Bare::new();
    let pool = Pool::new();
    let keys = keys();
    let times = interleave(
        KEYS,
        21,
        &mut [
            Box::new(|| {
                pool.clear().expect("memory only");
                let mine = keys.clone();
                timed(|| {
                    for result in pool.map(mine.into_iter().map(|key| func.call(key))) {
                        black_box(result.expect("work can't fail"));
                    }
                })
            }),
            Box::new(|| {
                let cache: moka::sync::Cache<Args, u64> = moka::sync::Cache::new(4 * KEYS as u64);
                let mine = keys.clone();
                timed(|| {
                    let (done, finished) = bounded(KEYS);
                    for key in mine {
                        let (cache, done) = (cache.clone(), done.clone());
                        bare.execute(move || {
                            let value = work(&key);
                            cache.insert(key, value);
                            done.send(value).expect("counted");
                        });
                    }
                    for _ in 0..KEYS {
                        black_box(finished.recv().expect("all come"));
                    }
                })
            }),
        ],
    );
    println!("cold batch of {KEYS}: map                     {:7.0} ns per task", times[0]);
    println!(
        "  floor: bare pool burst + moka insert     {:7.0} ns   ratio {:.2} (bar 2.5)",
        times[1],
        times[0] / times[1]
    );
}

/// Each round has threads of its own: on which cores the system puts two threads that hand work to and fro decides more
/// than anything in them, and it seldom moves them.
fn round_trip() {
    const TRIPS: usize = 400;
    const ROUNDS: usize = 101;
    let func = func();
    let keys = &keys()[..=TRIPS];
    let times = interleave(
        TRIPS,
        ROUNDS,
        &mut [
            Box::new(|| {
                let (pool, mut mine) = (Pool::new(), keys.to_vec());
                pool.run(func.call(mine.remove(0))).expect("work can't fail");
                timed(|| {
                    for key in mine {
                        black_box(pool.submit(func.call(key)).wait().expect("work can't fail"));
                    }
                })
            }),
            Box::new(|| {
                let (bare, mut mine) = (Bare::new(), keys.to_vec());
                let trip = |key: Args| {
                    let (send, receive) = bounded(1);
                    bare.execute(move || send.send(work(&key)).expect("waited for"));
                    receive.recv().expect("comes")
                };
                trip(mine.remove(0));
                timed(|| {
                    for key in mine {
                        black_box(trip(key));
                    }
                })
            }),
        ],
    );
    println!("cold round trip: submit + wait             {:7.0} ns", times[0]);
    println!(
        "  floor: bare pool and a channel           {:7.0} ns   ratio {:.2} (bar 1.5)",
        times[1],
        times[0] / times[1]
    );
}

fn criterion_groups() {
    let mut criterion = Criterion::default().configure_from_args();
    let peers = Peers::warm();
    let mut group = criterion.benchmark_group("warm hit of 10 000 keys");
    let fresh = || peers.keys.clone();
    group.bench_function("memopool submit + wait", |b| {
        b.iter_batched(fresh, |keys| peers.hit_pool(keys), BatchSize::LargeInput);
    });
    group.bench_function("moka get_with", |b| {
        b.iter_batched(fresh, |keys| peers.hit_moka(keys), BatchSize::LargeInput);
    });
    group.bench_function("quick_cache get", |b| {
        b.iter_batched(fresh, |keys| peers.hit_quick(keys), BatchSize::LargeInput);
    });
    group.finish();
    let mut group = criterion.benchmark_group("cold");
    let (pool, func) = (Pool::new(), func());
    let cleared = || {
        pool.clear().expect("memory only");
        peers.keys.clone()
    };
    group.bench_function("map of 10 000", |b| {
        b.iter_batched(
            cleared,
            |keys| pool.map(keys.into_iter().map(|key| func.call(key))).filter(Result::is_ok).count(),
            BatchSize::LargeInput,
        );
    });
    group.bench_function("round trip", |b| {
        b.iter_batched(cleared, |keys| pool.run(func.call(keys[0].clone())), BatchSize::PerIteration);
    });
    group.finish();
    criterion.final_summary();
}

fn main() {
    let only_ratios = std::env::args().any(|arg| arg == "--ratios");
    let in_tests = std::env::args().any(|arg| arg == "--test");
    if !in_tests {
        warm_hits(1);
        warm_hits(2);
        cold_batch();
        round_trip();
    }
    if !only_ratios {
        criterion_groups();
    }
}
