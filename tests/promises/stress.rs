//! Everything at once, by seed: no hang, every handle resolved, and nothing left behind.
//!
//! Three seconds in the ordinary suite. `STRESS_SECONDS=30` takes longer, `STRESS_SEED=…` (a failure says it) replays what
//! each thread does, in the order in which it does it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use memopool::{Call, Error, Func, Limit, Pool, Task, Until, as_completed, cancelled, wait};
use serde::{Serialize, Serializer};

use crate::{build, in_time, until};

/// Counts who is alive.
#[derive(Clone, Default)]
struct Census(Arc<AtomicI64>);

impl Census {
    fn get(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A number that is counted as long as it lives: an argument, a result, a captured value, or a thread.
struct Live {
    n: u64,
    census: Census,
}

impl Live {
    fn new(n: u64, census: &Census) -> Live {
        census.0.fetch_add(1, Ordering::SeqCst);
        Live { n, census: census.clone() }
    }
}

impl Clone for Live {
    fn clone(&self) -> Live {
        Live::new(self.n, &self.census)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.census.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Serialize for Live {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.n)
    }
}

/// A seeded sequence (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }
}

type Func64 = Func<Live, Live>;

/// What its argument says: a value, an error, a panic, nested work, something slow.
fn work(limit: &Limit) -> Func64 {
    Func::named("stress::work").resource(limit.clone()).in_memory().fallible(
        |limit, arg: Live| -> Result<Live, Error> {
            let n = arg.n;
            match n % 8 {
                0 => (0..200).take_while(|_| !cancelled()).for_each(|_| thread::yield_now()),
                1 if n % 16 == 1 => resume_unwind(Box::new("stress")),
                2 if n > 8 => {
                    let pool = Pool::current().expect("inside a task");
                    let less = |by| work(limit).call(Live::new(n / by, &arg.census));
                    let tasks = [pool.submit(less(2)), pool.submit(less(3))];
                    let [a, b] = match n % 3 {
                        0 => tasks.map(|task| task.wait()),
                        1 => tasks.map(|task| task.wait_timeout(Duration::from_millis(1))),
                        _ => tasks.map(pollster::block_on),
                    };
                    return Ok(Live::new(a?.n + b?.n, &arg.census));
                }
                3 => {
                    let pool = Pool::current().expect("inside a task");
                    let calls =
                        (0..4).map(|m| work(limit).limit(limit).call(Live::new(n / 2 + m, &arg.census)));
                    let sum = pool.map(calls).window(2).unordered().flatten().map(|live| live.n).sum();
                    return Ok(Live::new(sum, &arg.census));
                }
                _ => {}
            }
            Ok(arg)
        },
    )
}

struct Round {
    pool: Pool,
    limit: Limit,
    census: Census,
}

impl Round {
    fn call(&self, dice: &mut Dice) -> Call<Live, Live> {
        let (arg, func) = (Live::new(dice.below(64), &self.census), work(&self.limit));
        match dice.below(8) {
            0 => func.timeout(Duration::from_micros(300)).call(arg),
            1 => func.retries(1).call(arg),
            2 | 3 => func.limit(&self.limit).call(arg),
            4 => func.call(arg).refresh(),
            _ => func.call(arg),
        }
    }

    /// What one thread does.
    fn play(&self, mut dice: Dice, all: &Mutex<Vec<Task<Live>>>) {
        let mut mine: Vec<Task<Live>> = Vec::new();
        for _ in 0..60 {
            let at = dice.roll() as usize % mine.len().max(1);
            match dice.below(24) {
                0..=5 => mine.push(self.pool.submit(self.call(&mut dice))),
                6 => mine.extend(self.pool.try_submit(self.call(&mut dice)).ok()),
                7 | 8 => {
                    let (live, pool) = (Live::new(1, &self.census), self.pool.clone());
                    let call = self.call(&mut dice);
                    mine.push(self.pool.spawn(move || pool.run(call).map_or(live, |n| Live::clone(&n))));
                }
                9 | 10 if !mine.is_empty() => _ = mine[at].cancel(),
                11 if !mine.is_empty() => _ = mine[at].wait_timeout(Duration::from_micros(dice.below(200))),
                12 if !mine.is_empty() => drop(mine.swap_remove(at)),
                13 if !mine.is_empty() => {
                    let (live, call) = (Live::new(2, &self.census), self.call(&mut dice));
                    let pool = self.pool.clone();
                    mine[at].on_done(move |_| match live.n {
                        2 if call.key().to_string().starts_with('0') => resume_unwind(Box::new("callback")),
                        _ => drop(pool.submit(call)),
                    });
                }
                14 => _ = self.pool.resize(1 + dice.below(6) as usize),
                15 => _ = self.pool.forget(&self.call(&mut dice)),
                16 => _ = self.pool.forget_func(&work(&self.limit)),
                17 => {
                    let calls: Vec<_> = (0..6).map(|_| self.call(&mut dice)).collect();
                    let map = self.pool.map(calls).window(3).timeout(Duration::from_millis(dice.below(3)));
                    let _results = map.take(dice.below(8) as usize).count();
                }
                18 => {
                    let timeout = Duration::from_micros(dice.below(500));
                    let completed = as_completed(mine.clone()).timeout(timeout);
                    let _some = completed.take(dice.below(6) as usize).count();
                }
                19 => {
                    let kind = [Until::All, Until::First, Until::FirstError][dice.below(3) as usize];
                    let _waited = wait(&mine, kind, Some(Duration::from_micros(dice.below(500))));
                }
                20 => _ = self.pool.get(&self.call(&mut dice)),
                21 if dice.below(6) == 0 => _ = self.pool.shutdown_timeout(Duration::from_micros(200)),
                22 if dice.below(40) == 0 => self.pool.shutdown_now(),
                #[cfg(feature = "stream")]
                23 => {
                    use futures_util::StreamExt;
                    let completed =
                        as_completed(mine.clone()).timeout(Duration::from_micros(dice.below(500)));
                    let _some = pollster::block_on(completed.into_stream().take(3).count());
                }
                _ => _ = self.pool.stats(),
            }
        }
        all.lock().unwrap().append(&mut mine);
    }
}

/// One pool from beginning to end, with eight threads at it.
fn round(seed: u64) {
    let mut dice = Dice(seed);
    let (census, threads) = (Census::default(), Census::default());
    let limit = Limit::new("stress", 1 + dice.below(3) as usize);
    thread_local!(static MARK: std::cell::RefCell<Option<Live>> = const { std::cell::RefCell::new(None) });
    let mark = threads.clone();
    let builder = Pool::builder()
        .threads(1 + dice.below(4) as usize)
        .queue(4 + dice.below(60) as usize)
        .memory(dice.below(3) * 400)
        .on_thread_start(move || MARK.set(Some(Live::new(0, &mark))));
    let round = Round { pool: build(builder), limit, census: census.clone() };
    let all = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            let (dice, round, all) = (Dice(dice.roll()), &round, &all);
            scope.spawn(move || round.play(dice, all));
        }
    });
    match dice.below(3) {
        0 => round.pool.shutdown(),
        1 => round.pool.shutdown_now(),
        _ => {}
    }
    let Round { pool, limit, .. } = round;
    // Callbacks and closures hold the pool, too: the last of them ends it.
    drop(pool);
    for task in all.into_inner().unwrap() {
        let _outcome = task.wait();
        assert!(task.is_done());
    }
    until(|| threads.get() == 0);
    until(|| census.get() == 0);
    assert_eq!((limit.running(), limit.waiting()), (0, 0));
}

/// Under load a handle is never resolved, a thread never ends, or an argument is never let go.
#[test]
fn a_seeded_mixed_load_leaves_nothing_behind() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("STRESS_SECONDS").unwrap_or(3);
    let seed = number("STRESS_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| time.as_micros() as u64)
    });
    let (started, end) = (Instant::now(), Duration::from_secs(seconds));
    let mut seeds = Dice(seed);
    // Each round is watched by itself; its own seed replays it as the first.
    let mut next = seed;
    let mut rounds = 0;
    while rounds == 0 || started.elapsed() < end {
        let ended = catch_unwind(AssertUnwindSafe(|| in_time(move || round(next))));
        if let Err(panic) = ended {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("STRESS_SEED={next} STRESS_SECONDS=0 replays this, in round {rounds}: {text}");
        }
        next = seeds.roll();
        rounds += 1;
    }
}

/// An argument lives on after its task, in a queue, a cell, a worker or a kept entry.
#[test]
fn no_argument_outlives_its_task() {
    in_time(|| {
        let census = Census::default();
        let arg = |n| Live::new(n, &census);
        let pool = crate::pool(2);
        let func = Func::fallible("stress::outlives", |arg: Live| match arg.n {
            0 => Err("zero"),
            1 => resume_unwind(Box::new("one")),
            2 => {
                until(cancelled);
                Ok(arg.n)
            }
            _ => Ok(arg.n),
        });
        for func in [func.clone(), func.clone().retries(2), func.clone().limit(&Limit::new("one", 1))] {
            pool.clear().unwrap();
            for n in [0, 1, 3] {
                let task = pool.submit(func.call(arg(n)));
                let joined = pool.submit(func.call(arg(n)));
                let _outcomes = (task.wait(), joined.wait());
                until(|| pool.stats().running == 0);
                assert_eq!(census.get(), 0, "{n}: while its handles are alive");
            }
        }
        let _outcome = pool.run(func.clone().timeout(Duration::from_millis(1)).call(arg(2)));
        until(|| census.get() == 0);
        let (held, gate) = crate::held_pool();
        let tasks: Vec<_> = (3..10).map(|n| held.submit(func.call(arg(n)))).collect();
        let captured = held.spawn({
            let arg = arg(1);
            move || drop(arg)
        });
        assert_eq!(census.get(), 8);
        assert!(tasks[0].cancel() && captured.cancel());
        assert_eq!(census.get(), 6, "cancelled before it started");
        thread::scope(|scope| {
            scope.spawn(|| held.shutdown_now());
            tasks.iter().for_each(|task| _ = task.wait());
            until(|| census.get() == 0);
            gate.open();
        });
        let gone = pool.submit(func.call(arg(4)));
        pool.shutdown();
        assert!(gone.is_done() && census.get() == 0);
        let refused = pool.submit(func.call(arg(5)));
        assert!(refused.wait().unwrap_err().is_shutdown() && census.get() == 0);
    });
}

/// An iterator keeps the tasks that it has yielded, and their results with them.
#[test]
fn a_yielded_task_is_not_retained_by_its_iterator() {
    in_time(|| {
        let (pool, census) = (crate::pool(2), Census::default());
        let gate = crate::Gate::default();
        let last = pool.spawn({
            let (gate, live) = (gate.clone(), Live::new(0, &census));
            move || {
                gate.pass();
                live
            }
        });
        let made: Vec<_> = (1..20)
            .map(|n| {
                let live = Live::new(n, &census);
                pool.spawn(move || live)
            })
            .collect();
        let mut tasks = made;
        tasks.push(last);
        let mut completed = as_completed(tasks);
        for left in (1..20).rev() {
            drop(completed.next().unwrap().unwrap());
            // (A worker lets go of its run a moment after it is counted as gone.)
            until(|| pool.stats().queued == 0 && pool.stats().running == 1 && census.get() == left);
        }
        let func = Func::named("stress::yielded").resource(census.clone()).in_memory();
        let func = func.func(|census, n: u64| Live::new(n, census)).cost_above(Duration::from_secs(3600));
        for unordered in [false, true] {
            let map = pool.map((0..50).map(|n| func.call(n))).window(1);
            let map = if unordered { map.unordered() } else { map };
            for result in map {
                drop(result.unwrap());
                // And the one that is held.
                until(|| pool.stats().running == 1 && census.get() == 1);
            }
        }
        gate.open();
        drop(completed);
        drop(pool);
        assert_eq!(census.get(), 0);
    });
}
