//! What is kept, for how long, and what it says about itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use memopool::{Event, Explain, Func, MIN_WEIGHT, Pool, Source};
use serde::{Deserialize, Serialize};

use crate::{Counter, Gate, assert_usable, build, hold, in_time, pool, until};

/// A vector of `n` bytes.
fn block() -> Func<(u64, usize), Vec<u8>> {
    Func::new("memory::block", |(seed, length): (u64, usize)| vec![seed as u8; length])
}

/// What a listener was told, as text.
fn listening() -> (Pool, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let pool = build(Pool::builder().threads(2).memory(10_000).on_event({
        let told = Arc::clone(&told);
        move |event| told.lock().unwrap().push(format!("{event:?}"))
    }));
    (pool, told)
}

/// The process takes many times the memory it was given, and is killed.
#[test]
fn the_byte_bound_holds_under_a_hundredfold_load() {
    in_time(|| {
        let bound = 1_000_000;
        let pool = build(Pool::builder().threads(2).memory(bound));
        for seed in 0..1_000 {
            let length = (seed as usize * 7919) % 200_000;
            assert_eq!(pool.run(block().call((seed, length))).unwrap().len(), length);
            let stats = pool.stats();
            assert!(stats.memory_bytes <= bound, "{} after {seed}", stats.memory_bytes);
        }
        let stats = pool.stats();
        assert!(stats.evicted > 900 && stats.memory_bytes > bound / 10, "{stats}");
        assert_eq!(stats.computed, stats.entries + stats.evicted, "every value is kept or was evicted");
    });
}

/// The bound holds for one thread only: several that insert at once leave more behind.
#[test]
fn the_byte_bound_holds_for_several_threads() {
    in_time(|| {
        let bound = 200_000;
        let pool = build(Pool::builder().threads(4).memory(bound));
        thread::scope(|scope| {
            for thread in 0..4_u64 {
                let pool = &pool;
                scope.spawn(move || {
                    for n in 0..500 {
                        pool.run(block().call((thread * 1000 + n, (n as usize * 37) % 9000))).unwrap();
                        // Each thread that inserts may be one value above.
                        assert!(pool.stats().memory_bytes <= bound + 4 * 9_100);
                    }
                });
            }
        });
        until(|| pool.stats().running == 0);
        assert!(pool.stats().memory_bytes <= bound);
    });
}

/// Small results come for free and are kept without end.
#[test]
fn small_results_are_bounded_in_number() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1).memory(100 * MIN_WEIGHT));
        let func = Func::new("memory::unit", |_: u64| ());
        for n in 0..1_000 {
            pool.run(func.call(n)).unwrap();
        }
        assert!(pool.stats().entries <= 100, "{}", pool.stats());
        assert!(pool.stats().entries >= 50, "{}", pool.stats());
    });
}

/// A result whose size only its author knows is weighed by guess.
#[test]
fn weigh_says_how_heavy_a_result_is() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1).memory(1_000));
        let func = Func::new("memory::weighed", |n: u64| n).weigh(|n| *n);
        pool.run(func.call(300)).unwrap();
        assert_eq!(pool.stats().memory_bytes, 300);
        pool.run(func.call(400)).unwrap();
        assert_eq!((pool.stats().memory_bytes, pool.stats().entries), (700, 2));
        pool.run(func.call(999)).unwrap();
        assert_eq!((pool.stats().memory_bytes, pool.stats().entries), (999, 1));
        pool.run(func.call(0)).unwrap();
        assert!(pool.get(&func.call(0)).is_some(), "a weight of nothing is a weight");
        pool.forget(&func.call(999)).unwrap();
        pool.forget(&func.call(0)).unwrap();
        assert_eq!((pool.stats().memory_bytes, pool.stats().entries), (0, 0));
        pool.run(func.call(1_000)).unwrap();
        assert!(pool.get(&func.call(1_000)).is_some(), "as heavy as the whole memory");
        for n in [1_001, u64::MAX] {
            assert_eq!(*pool.run(func.call(n)).unwrap(), n);
            assert!(pool.get(&func.call(n)).is_none());
        }
        assert_usable(&pool);
    });
}

/// An outdated price is served, or a fresh one computed twice.
#[cfg(feature = "testing")]
#[test]
fn ttl_counts_from_completion_by_the_pools_clock() {
    in_time(|| {
        let clock = memopool::testing::ManualClock::new();
        let pool = build(Pool::builder().threads(1).clock(clock.clone()));
        let gate = Gate::default();
        let func = Func::named("memory::ttl").resource((gate.clone(), Counter::default())).func(
            |(gate, runs), _: u64| {
                gate.pass();
                runs.up()
            },
        );
        let func = func.ttl(Duration::from_secs(60));
        let task = pool.submit(func.call(1));
        clock.advance(Duration::from_secs(1_000));
        gate.open();
        assert_eq!(*task.wait().unwrap(), 1);
        clock.advance(Duration::from_secs(59));
        let hit = pool.submit(func.call(1));
        assert_eq!((*hit.wait().unwrap(), hit.source()), (1, Some(Source::Memory)));
        assert!(matches!(pool.explain(&func.call(1)), Explain::InMemory));
        clock.advance(Duration::from_secs(1));
        assert!(pool.get(&func.call(1)).is_none());
        assert!(matches!(pool.explain(&func.call(1)), Explain::Expired));
        assert_eq!(*pool.run(func.call(1)).unwrap(), 2);
        clock.advance(Duration::from_secs(59));
        assert_eq!(pool.get(&func.call(1)).as_deref(), Some(&2), "counted anew");
        assert_eq!(pool.stats().entries, 1);
    });
}

/// Values that nobody will read again because they are too old fill the memory, and young ones are evicted for them.
#[cfg(feature = "testing")]
#[test]
fn an_expired_value_is_replaced_without_being_counted_twice() {
    in_time(|| {
        let clock = memopool::testing::ManualClock::new();
        let pool = build(Pool::builder().threads(1).clock(clock.clone()));
        let func = Func::new("memory::expires", |n: u64| n).ttl(Duration::from_secs(1));
        for _ in 0..10 {
            for n in 0..10 {
                pool.run(func.call(n)).unwrap();
            }
            clock.advance(Duration::from_secs(2));
        }
        assert_eq!(pool.stats().computed, 100);
        assert_eq!((pool.stats().entries, pool.stats().memory_bytes), (10, 10 * MIN_WEIGHT));
    });
}

/// A value in use disappears under its user when the pool needs room.
#[test]
fn a_value_evicted_while_held_stays_valid() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1).memory(10_000));
        let task = pool.submit(block().call((1, 5_000)));
        let held = task.wait().unwrap();
        for seed in 2..50 {
            pool.run(block().call((seed, 5_000))).unwrap();
        }
        assert!(pool.get(&block().call((1, 5_000))).is_none());
        assert!(matches!(pool.explain(&block().call((1, 5_000))), Explain::Evicted));
        assert!(held.iter().all(|byte| *byte == 1));
        assert!(Arc::ptr_eq(&held, &task.wait().unwrap()), "and its task still has it");
    });
}

/// Cheap results push out expensive ones.
#[test]
fn cost_above_keeps_only_what_was_expensive() {
    in_time(|| {
        let pool = pool(1);
        let cheap = Func::new("memory::cheap", |n: u64| n).cost_above(Duration::from_secs(3_600));
        assert_eq!(*pool.run(cheap.call(1)).unwrap(), 1);
        assert!(matches!(pool.explain(&cheap.call(1)), Explain::TooCheap));
        let costly = Func::new("memory::costly", |n: u64| {
            let start = std::time::Instant::now();
            until(|| start.elapsed() > Duration::from_millis(2));
            n
        });
        let costly = costly.cost_above(Duration::from_millis(1));
        pool.run(costly.call(1)).unwrap();
        assert!(pool.get(&costly.call(1)).is_some());
    });
}

/// One result larger than the memory empties it, is an error, or goes unsaid.
#[test]
fn a_result_larger_than_the_memory_is_returned_with_an_event() {
    in_time(|| {
        let (pool, told) = listening();
        pool.run(block().call((1, 100))).unwrap();
        assert_eq!(pool.run(block().call((2, 20_000))).unwrap().len(), 20_000);
        assert!(pool.get(&block().call((1, 100))).is_some(), "the others stay");
        assert!(matches!(pool.explain(&block().call((2, 20_000))), Explain::TooLarge));
        let told = told.lock().unwrap().join("\n");
        assert_eq!(told.matches("NotStored").count(), 1, "{told}");
        assert!(told.contains("memory::block") && told.contains("`memory`"), "{told}");
    });
}

/// A result that has no serialised form can't be kept, or costs its caller an error.
#[test]
fn in_memory_results_need_not_be_serialisable() {
    in_time(|| {
        struct Opaque(Mutex<u64>);
        let (pool, runs) = (pool(2), Counter::default());
        let func = Func::named("memory::opaque").in_memory().resource(runs.clone()).func(|runs, n: u64| {
            runs.up();
            Opaque(Mutex::new(n))
        });
        let first = pool.run(func.call(1)).unwrap();
        *first.0.lock().unwrap() += 5;
        assert!(Arc::ptr_eq(&first, &pool.run(func.call(1)).unwrap()));
        assert_eq!((runs.get(), *pool.get(&func.call(1)).unwrap().0.lock().unwrap()), (1, 6));
    });
}

/// A page that is known to be missing is asked for again by everyone.
#[test]
fn cached_errors_are_one_run_for_many() {
    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Missing(u64);
    impl fmt::Display for Missing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "no page {}", self.0)
        }
    }
    impl std::error::Error for Missing {}
    in_time(|| {
        let (pool, runs) = (pool(2), Counter::default());
        let func =
            Func::named("memory::page").cache_errors().resource(runs.clone()).fallible(|runs, n: u64| {
                runs.up();
                if n == 404 { Err(Missing(n)) } else { Ok(n) }
            });
        for _ in 0..5 {
            let error = pool.run(func.call(404)).unwrap_err();
            assert_eq!(error.downcast_ref::<Missing>(), Some(&Missing(404)));
        }
        assert_eq!(runs.get(), 1);
        let hit = pool.submit(func.call(404));
        assert_eq!((hit.is_done(), hit.source()), (true, Some(Source::Memory)));
        assert!(pool.get(&func.call(404)).is_none(), "`get` gives values");
        assert_eq!((pool.stats().entries, pool.stats().failed, pool.stats().memory_hits), (1, 1, 5));
        pool.forget(&func.call(404)).unwrap();
        assert!(pool.run(func.call(404)).is_err());
        assert_eq!(runs.get(), 2);
        assert_eq!(*pool.run(func.call(200)).unwrap(), 200);
    });
}

/// The kept error of a function whose results are errors themselves comes back as a result.
#[test]
fn a_kept_error_is_never_a_value() {
    in_time(|| {
        let pool = pool(1);
        let broken = pool.run(Func::fallible("memory::broken_base", |_: u64| Err::<u64, _>("no")).call(1));
        let broken = broken.unwrap_err();
        let func = Func::named("memory::errors").in_memory().cache_errors().resource(broken).fallible(
            |broken: &memopool::Error, n: u64| match n {
                0 => Err("zero".to_owned()),
                _ => Ok(broken.clone()),
            },
        );
        for _ in 0..3 {
            let task = pool.submit(func.call(0));
            assert!(task.wait().unwrap_err().to_string().contains("zero"));
            assert!(pool.run(func.call(0)).is_err() && pool.get(&func.call(0)).is_none());
            assert!(pool.run(func.call(1)).unwrap().to_string().contains("no"));
        }
        assert_eq!((pool.stats().failed, pool.stats().entries), (2, 2));
    });
}

/// `explain` sends those who look for the reason of a miss the wrong way.
#[test]
fn explain_in_each_of_its_states() {
    in_time(|| {
        let pool = build(Pool::builder().threads(2).memory(10_000));
        let gate = Gate::default();
        let func = Func::named("memory::explained").resource(gate.clone()).fallible(|gate, n: u64| match n {
            0 => Err("zero".to_owned()),
            1 => std::panic::resume_unwind(Box::new("one")),
            2 => {
                gate.pass();
                Ok(vec![0_u8; 10])
            }
            3 => {
                until(memopool::cancelled);
                Ok(Vec::new())
            }
            n => Ok(vec![0; n as usize]),
        });
        let says = |n: u64| pool.explain(&func.call(n));
        let starts = |n: u64, start: &str| {
            let text = says(n).to_string();
            assert!(text.starts_with(start), "{text}");
            assert_eq!(says(n).is_hit(), !text.starts_with("miss"), "{text}");
        };
        assert!(matches!(says(2), Explain::NeverSeen));
        starts(2, "miss: never");
        let task = pool.submit(func.call(2));
        assert!(matches!(says(2), Explain::InFlight));
        starts(2, "join");
        gate.open();
        task.wait().unwrap();
        assert!(matches!(says(2), Explain::InMemory));
        starts(2, "hit");
        pool.forget(&func.call(2)).unwrap();
        assert!(matches!(says(2), Explain::Forgotten));
        _ = pool.run(func.call(0));
        assert!(matches!(says(0), Explain::ErrorNotStored));
        _ = pool.run(func.call(1));
        assert!(matches!(says(1), Explain::Panicked));
        let task = pool.submit(func.call(3));
        until(|| task.is_running());
        task.cancel();
        until(|| pool.stats().running == 0);
        assert!(matches!(says(3), Explain::Cancelled));
        let held = [hold(&pool), hold(&pool)];
        let queued = pool.submit(func.call(50));
        let told = (says(50), queued.cancel(), says(50));
        held.iter().for_each(Gate::open);
        assert!(matches!(told, (Explain::InFlight, true, Explain::Cancelled)), "{told:?}");
        let timed = func.clone().timeout(Duration::from_millis(1));
        _ = pool.run(timed.call(3));
        until(|| matches!(says(3), Explain::TimedOut));
        pool.run(func.call(9_000)).unwrap();
        // How many newcomers it takes depends on which keys the sketch of frequencies mistakes for one another.
        let mut newcomers = 8_000..9_000;
        until(|| {
            pool.run(func.call(newcomers.next().unwrap())).unwrap();
            matches!(says(9_000), Explain::Evicted)
        });
        pool.run(func.call(20_000)).unwrap();
        assert!(matches!(says(20_000), Explain::TooLarge));
        let broken =
            Func::new("memory::broken", |n: u64| n).weigh(|_| std::panic::resume_unwind(Box::new("no")));
        pool.run(broken.call(1)).unwrap();
        assert!(matches!(pool.explain(&broken.call(1)), Explain::NotEncodable));
        pool.run(func.call(50)).unwrap();
        pool.clear().unwrap();
        assert!(matches!(says(50), Explain::Forgotten));
        assert_eq!(pool.run(func.call(50)).unwrap().len(), 50);
        assert!(matches!(says(50), Explain::InMemory), "what it says follows what is");
    });
}

/// `explain` promises to join a run that nobody can join any more, because all who wanted it have left.
#[test]
fn explain_of_a_run_that_was_given_up_is_a_miss() {
    in_time(|| {
        let (pool, gate) = (pool(2), Gate::default());
        let func = Func::named("memory::left").resource(gate.clone()).func(|gate, n: u64| {
            gate.pass();
            n
        });
        let task = pool.submit(func.call(1));
        until(|| task.is_running());
        assert!(task.cancel());
        let explain = pool.explain(&func.call(1));
        gate.open();
        assert!(!explain.is_hit(), "{explain}, but submitting starts another run");
    });
}

/// `explain` or `get` count as use, start work, or are counted as submissions.
#[test]
fn get_and_explain_never_compute() {
    in_time(|| {
        let (pool, runs) = (pool(2), Counter::default());
        let func = Func::named("memory::looked_at").resource(runs.clone()).func(|runs, n: u64| n + runs.up());
        assert!(pool.get(&func.call(1)).is_none());
        assert!(!pool.explain(&func.call(1)).is_hit());
        pool.forget(&func.call(1)).unwrap();
        assert_eq!((runs.get(), pool.stats().submitted, pool.stats().threads), (0, 0, 0));
        pool.run(func.call(1)).unwrap();
        assert!(pool.get(&func.call(1)).is_some());
        assert_eq!((runs.get(), pool.stats().submitted, pool.stats().memory_hits), (1, 1, 0));
    });
}

/// A report of what the cache saved does not add up.
#[test]
fn stats_add_up() {
    in_time(|| {
        let pool = build(Pool::builder().threads(3).memory(5_000));
        let func = Func::fallible("memory::counted", |n: u64| match n % 10 {
            0 => Err("ten"),
            1 => std::panic::resume_unwind(Box::new("eleven")),
            _ => Ok(n),
        });
        thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (pool, func) = (&pool, &func);
                scope.spawn(move || {
                    for n in 0..1_000 {
                        let task = pool.submit(func.call((n * (thread + 1)) % 100));
                        match n % 5 {
                            0 => _ = task.cancel(),
                            _ => _ = task.wait(),
                        }
                    }
                });
            }
        });
        pool.shutdown();
        let stats = pool.stats();
        let runs = stats.computed + stats.failed + stats.panicked;
        let led = stats.submitted - stats.memory_hits - stats.joined;
        assert_eq!(stats.submitted, 4_000);
        // What was led and never ran was cancelled by all who wanted it.
        assert!(runs <= led && led - runs <= stats.cancelled, "{stats}");
        assert!(stats.entries <= stats.computed);
        assert!((stats.hit_rate() - (4_000 - led) as f64 / 4_000.0).abs() < 1e-9);
        assert_eq!((stats.queued, stats.running, stats.threads), (0, 0, 0));
        assert_eq!(
            (stats.disk_hits, stats.spilled, stats.corrupt, stats.store_errors, stats.disk_bytes),
            (0, 0, 0, 0, 0)
        );
        let text = stats.to_string();
        assert!(text.lines().all(|line| line.chars().count() == 28), "aligned:\n{text}");
    });
}

/// The statistics of one function hold what another one did.
#[test]
fn stats_by_func_are_apart_and_sum_up() {
    in_time(|| {
        let pool = pool(2);
        let (one, two) = (Func::new("memory::one", |n: u64| n), Func::new("memory::two", |n: u64| n + 1));
        for n in 0..10 {
            pool.run(one.call(n % 5)).unwrap();
            pool.run(two.call(n)).unwrap();
        }
        pool.spawn(|| ()).wait().unwrap();
        let by_func: BTreeMap<String, memopool::Stats> = pool.stats_by_func();
        assert_eq!(by_func.keys().map(String::as_str).collect::<Vec<_>>(), ["memory::one", "memory::two"]);
        let (one, two) = (&by_func["memory::one"], &by_func["memory::two"]);
        assert_eq!((one.submitted, one.computed, one.memory_hits, one.entries), (10, 5, 5, 5));
        assert_eq!((two.submitted, two.computed, two.memory_hits, two.entries), (10, 10, 0, 10));
        let sum = pool.stats();
        assert_eq!((sum.submitted, sum.computed, sum.entries), (20, 15, 15));
        assert_eq!(sum.memory_bytes, one.memory_bytes + two.memory_bytes);
        assert!(sum.compute_time >= one.compute_time);
    });
}

/// A function's results can't be thrown away without those of all others.
#[test]
fn forget_func_forgets_one_function_only() {
    in_time(|| {
        let pool = pool(2);
        let (one, two) = (Func::new("memory::goes", |n: u64| n), Func::new("memory::stays", |n: u64| n));
        let stated = |state: u64| Func::named("memory::stated").state(state).func(|state, n: u64| n + state);
        for n in 0..10 {
            pool.run(one.call(n)).unwrap();
            pool.run(two.call(n)).unwrap();
            pool.run(stated(1).call(n)).unwrap();
            pool.run(stated(2).call(n)).unwrap();
        }
        pool.forget_func(&one).unwrap();
        pool.forget_func(&stated(1)).unwrap();
        assert!((0..10).all(|n| pool.get(&one.call(n)).is_none() && pool.get(&stated(1).call(n)).is_none()));
        assert!((0..10).all(|n| pool.get(&two.call(n)).is_some() && pool.get(&stated(2).call(n)).is_some()));
        assert_eq!(pool.stats().entries, 20);
        assert!(matches!(pool.explain(&one.call(1)), Explain::Forgotten));
    });
}

/// `forget_func` leaves a run in flight, whose result is back a moment later.
#[test]
fn forget_func_ends_runs_in_flight() {
    in_time(|| {
        let (pool, gate) = (pool(2), Gate::default());
        let func = Func::named("memory::in_flight").resource(gate.clone()).func(|gate, n: u64| {
            gate.pass();
            n
        });
        let task = pool.submit(func.call(1));
        until(|| task.is_running());
        pool.forget_func(&func).unwrap();
        gate.open();
        assert_eq!(*task.wait().unwrap(), 1);
        assert!(pool.get(&func.call(1)).is_none());
    });
}

/// A value that was inserted is computed, or an old one or a late run comes in its place.
#[test]
fn what_is_inserted_stays() {
    in_time(|| {
        let (pool, gate) = (pool(2), Gate::default());
        let func = Func::named("memory::given").resource(gate.clone()).func(|gate, n: u64| {
            gate.pass();
            n
        });
        let task = pool.submit(func.call(1));
        until(|| task.is_running());
        pool.insert(&func.call(1), 10_u64).unwrap();
        assert_eq!(pool.submit(func.call(1)).source(), Some(Source::Memory));
        gate.open();
        assert_eq!(*task.wait().unwrap(), 1, "who waits for a run gets what it computes");
        assert_eq!(*pool.run(func.call(1)).unwrap(), 10);
        pool.insert(&func.call(1), Arc::new(11)).unwrap();
        pool.insert_all([(func.call(2), 12), (func.call(3), 13)]).unwrap();
        assert_eq!([1, 2, 3].map(|n| *pool.run(func.call(n)).unwrap()), [11, 12, 13]);
        let stats = pool.stats();
        assert_eq!((stats.computed, stats.entries, stats.submitted), (1, 3, 6), "{stats}");
    });
}

/// What is inserted passes the bound of the memory, or is kept though it can't be.
#[test]
fn what_is_inserted_is_bounded() {
    in_time(|| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let pool = Pool::builder().threads(1).memory(64 << 10).on_event({
            let told = Arc::clone(&told);
            move |event| {
                if let Event::NotStored { .. } = event {
                    told.lock().expect("no panic under this lock").push(format!("{event:?}"));
                }
            }
        });
        let pool = build(pool);
        for seed in 0..1000 {
            pool.insert(&block().call((seed, 0)), vec![0; 1024]).unwrap();
            assert!(pool.stats().memory_bytes <= 64 << 10);
        }
        assert!(pool.stats().entries > 30, "{}", pool.stats());
        pool.insert(&block().call((1, 0)), vec![0; 100_000]).unwrap();
        assert!(pool.get(&block().call((1, 0))).is_none(), "what it should replace is gone");
        assert_eq!(told.lock().expect("no panic under this lock").len(), 1);
    });
}

/// A pool that has ended takes a value, or arguments that can't be encoded are ignored.
#[test]
fn what_can_not_be_inserted_is_an_error() {
    in_time(|| {
        let pool = pool(1);
        let keyed = Func::new("memory::given_by_map", |map: BTreeMap<Vec<u8>, Unencodable>| map.len());
        let call = |fails| keyed.call(BTreeMap::from([(vec![1], Unencodable(fails))]));
        assert!(pool.insert(&call(true), 1_usize).unwrap_err().is_invalid());
        let results = [(call(false), 1), (call(true), 2), (call(false), 3)];
        assert!(pool.insert_all(results).unwrap_err().is_invalid());
        assert_eq!(pool.get(&call(false)).as_deref(), Some(&1), "what came before is kept");
        pool.shutdown();
        assert!(pool.insert(&call(false), 4_usize).unwrap_err().is_shutdown());
        assert!(pool.insert_all([(call(false), 5)]).unwrap_err().is_shutdown());
        assert_eq!(pool.get(&call(false)).as_deref(), Some(&1));
    });
}

/// An argument that can't be encoded, if told so.
struct Unencodable(bool);

impl Serialize for Unencodable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            true => Err(serde::ser::Error::custom("as told")),
            false => serializer.serialize_bool(false),
        }
    }
}

/// A pool that should keep nothing keeps something, or stops joining runs in flight.
#[test]
fn no_memory_keeps_nothing_and_still_joins() {
    in_time(|| {
        let pool = build(Pool::builder().threads(2).memory(0));
        let gate = Gate::default();
        let func = Func::named("memory::nothing").resource((gate.clone(), Counter::default())).func(
            |(gate, runs), _: u64| {
                gate.pass();
                runs.up()
            },
        );
        let tasks = pool.submit_all((0..5).map(|_| func.call(1)));
        gate.open();
        assert!(tasks.iter().all(|task| *task.wait().unwrap() == 1));
        assert_eq!(*pool.run(func.call(1)).unwrap(), 2);
        assert!(pool.get(&func.call(1)).is_none());
        let weightless = Func::new("memory::weightless", |n: u64| n).weigh(|_| 0);
        pool.run(weightless.call(1)).unwrap();
        assert_eq!((pool.stats().entries, pool.stats().memory_bytes), (0, 0));
    });
}

/// A listener misses what happened, or hears it in an order that makes no sense.
#[test]
fn events_tell_the_story_of_a_call() {
    in_time(|| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let pool = build(Pool::builder().threads(1).memory(10_000).on_event({
            let told = Arc::clone(&told);
            move |event| {
                told.lock().unwrap().push(match event {
                    Event::Hit { .. } => "hit",
                    Event::Joined { .. } => "joined",
                    Event::Started { .. } => "started",
                    Event::Computed { .. } => "computed",
                    Event::Failed { .. } => "failed",
                    Event::Retried { attempt: 1, .. } => "retried",
                    Event::Evicted { weight: 1..10_000, .. } => "evicted",
                    _ => "something else",
                });
            }
        }));
        let gate = Gate::default();
        let func = Func::named("memory::story").resource(gate.clone()).fallible(|gate, n: u64| {
            gate.pass();
            if n == 0 { Err("zero") } else { Ok(vec![0_u8; n as usize]) }
        });
        let func = func.retries(1);
        let (first, second) = (pool.submit(func.call(6_000)), pool.submit(func.call(6_000)));
        until(|| told.lock().unwrap().len() == 2);
        gate.open();
        first.wait().unwrap();
        second.wait().unwrap();
        pool.run(func.call(6_000)).unwrap();
        _ = pool.run(func.call(0));
        pool.run(func.call(6_001)).unwrap();
        let mut told = told.lock().unwrap().clone();
        told[..2].sort_unstable();
        let expected = [
            "joined", "started", "computed", "hit", "started", "retried", "failed", "started", "computed",
            "evicted",
        ];
        assert_eq!(told, expected);
    });
}

/// A hit does not say that it is one.
#[test]
fn source_says_where_a_value_came_from() {
    in_time(|| {
        let (pool, gate) = (pool(1), Gate::default());
        let func = Func::named("memory::source").resource(gate.clone()).func(|gate, n: u64| {
            gate.pass();
            n
        });
        let (led, joined) = (pool.submit(func.call(1)), pool.submit(func.call(1)));
        assert_eq!((led.source(), joined.source()), (None, Some(Source::Joined)));
        gate.open();
        led.wait().unwrap();
        joined.wait().unwrap();
        assert_eq!((led.source(), joined.source()), (Some(Source::Computed), Some(Source::Joined)));
        assert_eq!(pool.submit(func.call(1)).source(), Some(Source::Memory));
        let failed = pool.spawn(|| std::panic::resume_unwind(Box::new("no value")));
        let failed: memopool::Task<()> = failed;
        assert!(failed.wait().is_err());
        assert_eq!(failed.source(), None);
    });
}

/// A value keeps its first run's time out of the account of what was saved.
#[test]
fn saved_time_is_what_hits_would_have_taken() {
    in_time(|| {
        let pool = pool(1);
        let func = Func::new("memory::saved", |n: u64| {
            let start = std::time::Instant::now();
            until(|| start.elapsed() > Duration::from_millis(2));
            n
        });
        pool.run(func.call(1)).unwrap();
        let once = pool.stats().compute_time;
        assert!(once >= Duration::from_millis(2));
        assert_eq!(pool.stats().saved_time, Duration::ZERO);
        for _ in 0..3 {
            pool.run(func.call(1)).unwrap();
        }
        assert_eq!((pool.stats().saved_time, pool.stats().compute_time), (once * 3, once));
    });
}
