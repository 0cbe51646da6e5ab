//! What the `metrics` facade is told (feature `metrics`), as a small recorder counts it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use memopool::{Func, Pool};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use crate::{build, held_pool, in_time, pool};

/// What each meter has, by name and function. Recorders are for a whole process: tests tell theirs apart by function.
#[derive(Clone, Default)]
struct Meters(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    counts: HashMap<(String, String), u64>,
    recorded: HashMap<(String, String), Vec<f64>>,
    units: HashMap<String, Option<Unit>>,
}

struct Meter {
    of: (String, String),
    meters: Meters,
}

impl Meters {
    /// The one of this process.
    fn get() -> &'static Meters {
        static METERS: OnceLock<Meters> = OnceLock::new();
        METERS.get_or_init(|| {
            let meters = Meters::default();
            metrics::set_global_recorder(meters.clone()).expect("nobody else sets one");
            meters
        })
    }

    fn meter(&self, key: &Key) -> Arc<Meter> {
        let function = key.labels().find(|label| label.key() == "function");
        let function = function.map_or_else(String::new, |label| label.value().to_owned());
        Arc::new(Meter { of: (key.name().to_owned(), function), meters: self.clone() })
    }

    fn count(&self, name: &str, function: &str) -> u64 {
        let name = format!("memopool_{name}_total");
        self.0.lock().unwrap().counts.get(&(name, function.to_owned())).copied().unwrap_or(0)
    }

    fn recorded(&self, name: &str, function: &str) -> Vec<f64> {
        let of = (format!("memopool_{name}"), function.to_owned());
        self.0.lock().unwrap().recorded.get(&of).cloned().unwrap_or_default()
    }
}

impl CounterFn for Meter {
    fn increment(&self, by: u64) {
        *self.meters.0.lock().unwrap().counts.entry(self.of.clone()).or_default() += by;
    }

    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Meter {
    fn record(&self, value: f64) {
        self.meters.0.lock().unwrap().recorded.entry(self.of.clone()).or_default().push(value);
    }
}

impl Recorder for Meters {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.0.lock().unwrap().units.insert(name.as_str().to_owned(), unit);
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.0.lock().unwrap().units.insert(name.as_str().to_owned(), unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.meter(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.meter(key))
    }
}

/// A dashboard shows other figures than the pool's own statistics.
#[test]
fn meters_say_what_the_statistics_say() {
    in_time(|| {
        let meters = Meters::get();
        let place = tempfile::tempdir().unwrap();
        let odd = Func::fallible("meters::odd", |n: u64| match n {
            0 => panic!("zero"),
            n if n % 2 == 0 => Err(format!("{n} is even")),
            n => Ok(n),
        })
        .retries(2);
        let pool = build(Pool::builder().disk(place.path().join("cache")));
        for n in [1, 3, 5, 1, 1, 2, 4, 0] {
            let _ = pool.run(odd.call(n));
        }
        pool.shutdown();
        let later = build(Pool::builder().disk(place.path().join("cache")));
        later.run(odd.call(3)).unwrap();
        later.shutdown();
        let stats = &pool.stats_by_func()["meters::odd"];
        let counts = |names: [&str; 7]| names.map(|name| meters.count(name, "meters::odd"));
        let told = ["computed", "memory_hits", "failed", "panicked", "retried", "disk_hits", "joined"];
        assert_eq!(counts(told), [3, 2, 2, 1, 4, 1, 0]);
        let own = [stats.computed, stats.memory_hits, stats.failed, stats.panicked, stats.retried];
        assert_eq!(counts(told)[..5], own);
        let (seconds, bytes) =
            (meters.recorded("run_seconds", "meters::odd"), meters.recorded("disk_hit_bytes", "meters::odd"));
        assert_eq!((seconds.len(), bytes.len()), (3, 1));
        let apart = seconds.iter().sum::<f64>() - stats.compute_time.as_secs_f64();
        assert!(apart.abs() < 1e-9, "in seconds: {apart}");
    });
}

/// Two functions are one line of a chart, or a joined submission is none.
#[test]
fn meters_are_kept_by_function() {
    in_time(|| {
        let meters = Meters::get();
        let (pool, gate) = held_pool();
        let (a, b) = (Func::new("meters::a", |n: u64| n), Func::new("meters::b", |n: u64| n));
        let tasks = [pool.submit(a.call(1)), pool.submit(a.call(1)), pool.submit(b.call(1))];
        gate.open();
        tasks.iter().for_each(|task| assert!(task.wait().is_ok()));
        pool.shutdown();
        let of = |name| (meters.count(name, "meters::a"), meters.count(name, "meters::b"));
        assert_eq!((of("computed"), of("joined")), ((1, 1), (1, 0)));
    });
}

/// A chart of seconds is labelled as one of bytes, or without a unit.
#[test]
fn meters_have_units() {
    let meters = Meters::get();
    drop(pool(1));
    let units = &meters.0.lock().unwrap().units;
    let unit = |name: &str| units[&format!("memopool_{name}")];
    assert_eq!(unit("run_seconds"), Some(Unit::Seconds));
    assert_eq!(unit("disk_hit_bytes"), Some(Unit::Bytes));
    assert_eq!(unit("computed_total"), Some(Unit::Count));
    assert_eq!(units.len(), 15, "{units:?}");
}
