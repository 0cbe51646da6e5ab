//! What one item costs in the executors that people come from: many at once, and one after the other.
//!
//! Medians of interleaved rounds, all with as many threads as the machine runs at once. rayon and `threadpool` return no
//! handle, so each item gets a one-shot channel for its result. CPython takes part if there is a `python3`: its rounds are
//! interleaved with ours. `cargo bench --bench executors`; `-- --test` runs it once on little input.
#![expect(clippy::print_stdout, reason = "a bench reports on its standard output")]
#![expect(clippy::disallowed_methods, reason = "a bench measures outside of the crate's clock")]

#[path = "common/rounds.rs"]
mod rounds;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use memopool::{DEFAULT_WINDOW, Func, Pool};
use rounds::{Side, interleave, timed};

/// What each item does: as good as nothing, so that the executor is all there is to see.
fn work(n: u64) -> u64 {
    n + 1
}

/// How much of it.
#[derive(Clone, Copy)]
struct Size {
    items: usize,
    trips: usize,
    rounds: usize,
}

impl Size {
    fn numbers(self) -> std::ops::Range<u64> {
        0..self.items as u64
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// CPython, waiting for its next round.
struct Python {
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    version: String,
}

impl Python {
    /// `None`: there is no Python here that runs the script.
    fn start() -> Option<Python> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/executors.py");
        let mut command = Command::new("python3");
        let mut process = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let (ask, answers) = (process.stdin.take()?, BufReader::new(process.stdout.take()?));
        let mut python = Python { process, ask, answers, version: String::new() };
        python.version = python.line()?;
        Some(python)
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).ok()?;
        Some(line.trim().to_owned()).filter(|line| !line.is_empty())
    }

    /// One round there.
    fn round(&mut self, kind: &str, items: usize) -> Duration {
        writeln!(self.ask, "{kind} {} {items}", threads()).expect("Python listens");
        let answer = self.line().expect("Python answers");
        Duration::from_nanos(answer.parse().expect("a number of nanoseconds"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An executor that takes closures and gives nothing back.
trait Spawns {
    fn spawn(&self, f: impl FnOnce() + Send + 'static);
}

impl Spawns for rayon::ThreadPool {
    fn spawn(&self, f: impl FnOnce() + Send + 'static) {
        rayon::ThreadPool::spawn(self, f);
    }
}

impl Spawns for threadpool::ThreadPool {
    fn spawn(&self, f: impl FnOnce() + Send + 'static) {
        self.execute(f);
    }
}

fn rayon() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads()).build().expect("threads")
}

/// Queues one item; its result comes through a channel of its own.
fn send(executor: &impl Spawns, n: u64) -> oneshot::Receiver<u64> {
    let (send, receive) = oneshot::channel();
    executor.spawn(move || _ = send.send(work(n)));
    receive
}

/// Many at once: at most `window` are queued ahead, and results are taken in order.
fn batch<T>(size: Size, window: usize, send: impl Fn(u64) -> T, take: impl Fn(T) -> u64) -> Duration {
    timed(|| {
        let mut ahead = VecDeque::with_capacity(window.min(size.items));
        for n in size.numbers() {
            ahead.push_back(send(n));
            if ahead.len() == window
                && let Some(first) = ahead.pop_front()
            {
                black_box(take(first));
            }
        }
        ahead.into_iter().for_each(|item| _ = black_box(take(item)));
    })
}

fn taken(receive: oneshot::Receiver<u64>) -> u64 {
    receive.recv().expect("comes")
}

/// One after the other. The first, which starts threads, is not counted.
fn trips(executor: &impl Spawns, size: Size) -> Duration {
    send(executor, 0).recv().expect("comes");
    timed(|| {
        for n in 0..size.trips as u64 {
            black_box(send(executor, n).recv().expect("comes"));
        }
    })
}

/// `window`: how many are ahead of the one whose result is taken.
fn many_at_once(size: Size, window: usize, python: Option<&RefCell<Python>>) {
    let (pool, rayon, threadpool) = (Pool::new(), rayon(), threadpool::ThreadPool::new(threads()));
    let func = Func::new("work", work);
    let spawn = |n| pool.spawn(move || work(n));
    let mut sides: Vec<Side<'_>> = vec![
        Box::new(|| batch(size, window, spawn, |task| *task.wait().expect("work can't fail"))),
        Box::new(|| {
            pool.clear().expect("memory only");
            timed(|| {
                for result in pool.map(size.numbers().map(|n| func.call(n))).window(window) {
                    black_box(result.expect("work can't fail"));
                }
            })
        }),
        Box::new(|| batch(size, window, |n| send(&rayon, n), taken)),
        Box::new(|| batch(size, window, |n| send(&threadpool, n), taken)),
    ];
    if let Some(python) = python {
        sides.push(Box::new(|| python.borrow_mut().round("batch", size.items)));
    }
    let times = interleave(size.items, size.rounds, &mut sides);
    println!("{} items, {} ahead: ns per item", size.items, window.min(size.items));
    table(
        &[
            "memopool: spawn",
            "memopool: map, memoized, cold",
            "rayon: spawn + oneshot",
            "threadpool + oneshot",
        ],
        &times,
    );
    if let Some(python) = times.get(4) {
        let [spawn, map] = [0, 1].map(|side| python / times[side]);
        println!(
            "  CPython's map takes {spawn:.1} times as long as spawn, {map:.1} times as long as map (bar: 5)"
        );
    }
}

/// Each round has threads of its own: on which cores the system puts two threads that hand work to and fro decides more
/// than anything in them.
fn one_after_the_other(size: Size, python: Option<&RefCell<Python>>) {
    let func = Func::new("work", work);
    let mut sides: Vec<Side<'_>> = vec![
        Box::new(|| {
            let pool = Pool::new();
            pool.spawn(|| work(0)).wait().expect("work can't fail");
            timed(|| {
                for n in 0..size.trips as u64 {
                    black_box(pool.spawn(move || work(n)).wait().expect("work can't fail"));
                }
            })
        }),
        Box::new(|| {
            let pool = Pool::new();
            pool.run(func.call(u64::MAX - 1)).expect("work can't fail");
            timed(|| {
                for n in 0..size.trips as u64 {
                    black_box(pool.submit(func.call(n)).wait().expect("work can't fail"));
                }
            })
        }),
        Box::new(|| trips(&rayon(), size)),
        Box::new(|| trips(&threadpool::ThreadPool::new(threads()), size)),
    ];
    if let Some(python) = python {
        sides.push(Box::new(|| python.borrow_mut().round("trips", size.trips)));
    }
    let times = interleave(size.trips, size.rounds, &mut sides);
    println!("round trips, one after the other, ns each");
    table(
        &[
            "memopool: spawn + wait",
            "memopool: submit + wait, memoized, cold",
            "rayon: spawn + oneshot",
            "threadpool + oneshot",
        ],
        &times,
    );
}

/// Times, and how many times those of rayon and CPython they are.
fn table(names: &[&str], times: &[f64]) {
    let python = times.get(names.len());
    println!("  {:<42}{:>10}{:>10}{:>10}", "", "ns", "/ rayon", "/ CPython");
    for (name, time) in names.iter().chain(python.map(|_| &"CPython: ThreadPoolExecutor")).zip(times) {
        let beside = python.map_or("-".into(), |python| format!("{:.3}", time / python));
        println!("  {name:<42}{time:>10.0}{:>10.2}{beside:>10}", time / times[2]);
    }
    println!("  spawn takes {:.2} times as long as rayon's (bar: 1.5)", times[0] / times[2]);
}

fn main() {
    let size = match std::env::args().any(|arg| arg == "--test") {
        true => Size { items: 100, trips: 10, rounds: 1 },
        // Rounds that end before a busy system takes the processor away, and many of them: their median is of those.
        false => Size { items: 2_000, trips: 400, rounds: 101 },
    };
    let python = Python::start().map(RefCell::new);
    match &python {
        Some(python) => println!("{} threads; CPython {}", threads(), python.borrow().version),
        None => println!("{} threads; no python3 here, so CPython takes no part", threads()),
    }
    // As many ahead as a map has, and all of them, as one who keeps the handles does. CPython's map has all of them.
    many_at_once(size, DEFAULT_WINDOW, python.as_ref());
    many_at_once(size, usize::MAX, python.as_ref());
    one_after_the_other(size, python.as_ref());
}
