//! What a measured process does: one workload with one peer. Its only output is one line of JSON.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::body;
use crate::peer::{self, Peer};

/// The command line of a measured process. The script for Python takes the same.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) workload: String,
    pub(crate) peer: String,
    pub(crate) dir: PathBuf,
    pub(crate) count: usize,
    pub(crate) length: usize,
    pub(crate) threads: usize,
    /// Milliseconds that the body waits.
    pub(crate) sleep: u64,
    /// `value`, `error` or `panic`.
    pub(crate) outcome: String,
}

impl Task {
    /// As arguments, in a fixed order.
    pub(crate) fn to_args(&self) -> Vec<String> {
        let numbers = [self.count, self.length, self.threads, self.sleep as usize];
        let dir = self.dir.display().to_string();
        let mut args = vec![self.workload.clone(), self.peer.clone(), dir];
        args.extend(numbers.iter().map(ToString::to_string));
        args.push(self.outcome.clone());
        args
    }

    /// From such arguments.
    pub(crate) fn from_args(args: &[String]) -> Option<Task> {
        let [workload, peer, dir, count, length, threads, sleep, outcome] = args else {
            return None;
        };
        Some(Task {
            workload: workload.clone(),
            peer: peer.clone(),
            dir: dir.into(),
            count: count.parse().ok()?,
            length: length.parse().ok()?,
            threads: threads.parse().ok()?,
            sleep: sleep.parse().ok()?,
            outcome: outcome.clone(),
        })
    }
}

/// Keys as a pipeline has them: paths of its inputs.
fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("corpus/part-{:03}/item-{n:06}.txt", n % 997)).collect()
}

/// Looks at a value, so that it has been touched.
fn touch(_: &str, value: &[u8]) {
    std::hint::black_box((value.len(), value.first()));
}

/// Does what the task says and gives the line to print.
pub(crate) fn perform(task: &Task) -> Result<serde_json::Value, String> {
    let open = peer::named(&task.peer).and_then(|entry| entry.open);
    let open = open.ok_or(format!("`{}` is no peer of this program; see `--help`", task.peer))?;
    body::set(task.length, task.sleep, task.outcome == "panic");
    let keys = if task.workload == "zipf" { zipf(task.count) } else { keys(task.count) };
    // The noise that values are copied from is not to be made in the middle of a measurement.
    body::value("");
    let opened = Instant::now();
    let peer = open(&task.dir);
    let (peer, opening) = (peer.as_ref(), opened.elapsed().as_nanos() as f64);
    let each = |ns: f64| ns / keys.len() as f64;
    let cpu = cpu();
    let cpu = || each(self::cpu() - cpu);
    let runs = || body::RUNS.load(Relaxed);
    Ok(match task.workload.as_str() {
        "warm" => json!({ "ns": warm(peer, &keys, task.threads) }),
        "cold" => json!({ "ns": each(timed(|| peer.all(&keys, &touch))), "cpu": cpu(), "runs": runs() }),
        "zipf" => json!({ "ns": timed(|| peer.all(&keys, &touch)), "runs": runs() }),
        "fill" => {
            let ns = timed(|| {
                peer.all(&keys, &touch);
                peer.flush();
            });
            json!({ "ns": each(ns), "cpu": cpu(), "runs": runs() })
        }
        "store" => {
            let entries = keys.iter().map(|key| (key, body::value(key))).collect();
            let mut stored = 0.0;
            let ns = timed(|| {
                stored = timed(|| peer.store(entries));
                peer.flush();
            });
            json!({ "ns": each(stored), "flushed": each(ns), "cpu": cpu() })
        }
        "first" => {
            let ns = opening + timed(|| peer.get(&keys[keys.len() / 2], &touch));
            json!({ "ns": ns, "runs": runs() })
        }
        "read" => {
            let (wrong, check) = (AtomicU64::new(0), task.outcome == "checked");
            let ns = timed(|| {
                peer.all(&keys, &|key, value| {
                    // Comparing costs more than some reads.
                    if check && value != body::value(key) {
                        wrong.fetch_add(1, Relaxed);
                    }
                    touch(key, value);
                });
            });
            json!({ "ns": each(opening + ns), "cpu": cpu(), "runs": runs(), "wrong": wrong.into_inner() })
        }
        "herd" => json!({ "runs": herd(peer, task) }),
        "parallel" => json!({ "runs": parallel(peer, task) }),
        "together" => json!({ "runs": together(peer) }),
        other => return Err(format!("`{other}` is no workload; see `--help`")),
    })
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64
}

/// Nanoseconds that all threads of this process have computed: what a busy machine changes least.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds per hit and thread: the fastest of a few passes over all keys, far apart from one another.
fn warm(peer: &dyn Peer, keys: &[String], threads: usize) -> f64 {
    peer.all(keys, &touch);
    let (count, step) = (keys.len(), (keys.len() * 5 / 8) | 1);
    let pass = || (0..count).for_each(|n| peer.get(&keys[n * step % count], &touch));
    let times = (0..7).map(|_| {
        let start = Barrier::new(threads);
        // Each looks at the clock itself: whoever only watched might not be awake when they begin.
        let timed = || {
            start.wait();
            let begin = Instant::now();
            pass();
            (begin, Instant::now())
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(timed)).collect();
            let (mut begin, mut end) = timed();
            for other in others {
                let (began, ended) = other.join().expect("a pass can't fail");
                (begin, end) = (begin.min(began), end.max(ended));
            }
            (end - begin).as_nanos() as f64
        })
    });
    times.min_by(f64::total_cmp).unwrap_or_default() / count as f64
}

/// `count` calls over a tenth as many keys, some far more often than others (s = 1).
fn zipf(count: usize) -> Vec<String> {
    let keys = keys((count / 10).max(1));
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=keys.len())
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let mut seed = 0x5eed_u64;
    let next = |_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (seed >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        keys[sums.partition_point(|upto| *upto < at).min(keys.len() - 1)].clone()
    };
    (0..count).map(next).collect()
}

/// One cold key, asked for by many threads at once.
fn herd(peer: &dyn Peer, task: &Task) -> u64 {
    // What the body says when it panics is no news here.
    std::panic::set_hook(Box::new(|_| {}));
    let start = Barrier::new(task.threads);
    std::thread::scope(|scope| {
        for _ in 0..task.threads {
            scope.spawn(|| {
                start.wait();
                let asked = catch_unwind(AssertUnwindSafe(|| match task.outcome.as_str() {
                    "error" => drop(peer.fail("cold")),
                    _ => peer.get("cold", &touch),
                }));
                drop(asked);
            });
        }
    });
    body::RUNS.load(Relaxed)
}

/// Cold keys of a function that is parallel itself, each asked for by many jobs of the rayon pool whose threads it uses. They come
/// one after the other: some while it runs.
fn parallel(peer: &dyn Peer, task: &Task) -> u64 {
    body::set_pieces(24);
    for round in 0..task.count {
        let key = &format!("cold-{round}");
        rayon::in_place_scope(|scope| {
            for _ in 0..64 {
                scope.spawn(move |_| peer.get(key, &touch));
                std::thread::sleep(Duration::from_micros(200));
            }
        });
    }
    body::RUNS.load(Relaxed)
}

/// One cold key, asked for when whoever started this process says so.
fn together(peer: &dyn Peer) -> u64 {
    let mut out = std::io::stdout();
    // Whoever started this process would find out by itself.
    let _ = writeln!(out, "ready").and_then(|()| out.flush());
    let _ = std::io::stdin().read_line(&mut String::new());
    peer.get("cold", &touch);
    peer.flush();
    body::RUNS.load(Relaxed)
}
