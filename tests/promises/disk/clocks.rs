//! Clocks that use the pool that asks them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use memopool::{Clock, Func, MIN_WEIGHT, Pool, Stats};

use super::Place;
use crate::{build, in_time};

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
