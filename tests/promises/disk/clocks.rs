//! Clocks that panic, or that use the pool that asks them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use memopool::{Clock, Explain, Func, MIN_WEIGHT, Pool, Spill, Stats};

use super::{Place, Told, doubled};
use crate::{Counter, build, in_time};

/// What somebody does while the pool asks what time it is.
type Meddle = fn(&Pool, &Func<u64, u64>);

/// A clock that does something with the pool once it has been asked so many times, and remembers what the pool said then.
#[derive(Clone, Default)]
struct Meddler(Arc<Mutex<Meddling>>);

#[derive(Default)]
struct Meddling {
    with: Option<(Pool, Func<u64, u64>, Meddle)>,
    left: usize,
    seen: Option<Stats>,
}

impl Clock for Meddler {
    fn now(&self) -> SystemTime {
        let mut meddling = self.0.lock().unwrap();
        match meddling.left.checked_sub(1) {
            Some(left) => meddling.left = left,
            None => {
                if let Some((pool, func, meddle)) = meddling.with.take() {
                    drop(meddling);
                    meddle(&pool, &func);
                    let stats = pool.stats();
                    self.0.lock().unwrap().seen = Some(stats);
                }
            }
        }
        SystemTime::now()
    }
}

/// While a result is forgotten just as it comes, the pool says that it holds 18,446,744,073,709,551,615 entries, or panics.
#[test]
fn what_is_taken_out_before_it_was_counted_is_not_counted_below_zero() {
    in_time(|| {
        let ways: [Meddle; 3] = [
            |pool, func| pool.forget(&func.call(1)).unwrap(),
            |pool, func| pool.forget_func(func).unwrap(),
            |pool, _| pool.clear().unwrap(),
        ];
        let mut seen = 0;
        // One of the times is that of a result that is in its place, and not counted yet.
        for (meddle, left) in ways.into_iter().flat_map(|meddle| (0..4).map(move |left| (meddle, left))) {
            let (place, clock) = (Place::new(), Meddler::default());
            let pool = build(Pool::builder().threads(1).disk(place.disk()).clock(clock.clone()));
            pool.run(Func::new("disk::clocks::other", |n: u64| n).call(1)).unwrap();
            let func = Func::new("disk::clocks::first", |n: u64| 2 * n).ttl(Duration::from_secs(3600));
            let with = Some((pool.clone(), func.clone(), meddle));
            *clock.0.lock().unwrap() = Meddling { with, left, seen: None };
            assert_eq!(*pool.run(func.call(1)).unwrap(), 2);
            // The worker is done with it.
            pool.spawn(|| ()).wait().unwrap();
            let then = std::mem::take(&mut *clock.0.lock().unwrap()).seen;
            seen += u64::from(then.is_some());
            for stats in then.iter().chain([&pool.stats()]) {
                assert!(stats.entries <= 2 && stats.memory_bytes <= 2 * MIN_WEIGHT, "{stats}");
            }
        }
        assert!(seen >= 9, "the clock was asked three times at least for each result: {seen}");
    });
}

/// A clock that panics once it is told to.
#[derive(Clone, Default)]
struct Broken(Arc<AtomicBool>);

impl Clock for Broken {
    fn now(&self) -> SystemTime {
        assert!(!self.0.load(Ordering::Relaxed), "out of time");
        SystemTime::now()
    }
}

/// A clock that fails takes the caller of `submit` with it, and a value that was computed becomes "the pool is shut down".
#[test]
fn a_clock_that_panics_is_told_once_and_replaced() {
    in_time(|| {
        for spill in [Spill::OnInsert, Spill::OnEvict] {
            let (place, told, clock) = (Place::new(), Told::default(), Broken::default());
            let bound = 4 * MIN_WEIGHT;
            let builder = Pool::builder().threads(1).memory(bound).disk(place.disk().spill(spill));
            let pool = build(told.listen(builder.clock(clock.clone())));
            clock.0.store(true, Ordering::Relaxed);
            let func = doubled(&Counter::default()).ttl(Duration::from_secs(3600));
            for n in 0..40 {
                assert_eq!(*pool.submit(func.call(n)).wait().unwrap(), 2 * n, "{spill:?}");
                assert!(pool.get(&func.call(n)).is_some_and(|value| *value == 2 * n));
                assert!(matches!(pool.explain(&func.call(n)), Explain::InMemory));
            }
            pool.flush().unwrap();
            let stats = pool.stats();
            assert!(stats.spilled >= 30 && stats.memory_bytes <= bound, "{stats}");
            assert!(pool.explain(&func.call(0)).is_hit(), "it is on disk");
            pool.clear().unwrap();
            let stats = pool.stats();
            assert_eq!((stats.entries, stats.memory_bytes, stats.computed), (0, 0, 40), "{stats}");
            let panics = told.of("HookPanicked");
            assert!(panics.len() == 1 && panics[0].contains("out of time"), "{panics:?}");
        }
    });
}
