//! Events of a pool as counters and histograms for the `metrics` facade; their table is at [`Event`].
//!
//! A meter is looked up once for a pool and function and kept, since a recorder's own look-up would cost more than the hit
//! that it counts. So the recorder must be installed before the pool is used.

use std::collections::HashMap;

use ::metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};
use foldhash::fast::RandomState;

use crate::event::Event;
use crate::sync::{Arc, RwLock};

/// The meters of one pool.
pub(super) struct Meters {
    by_function: RwLock<HashMap<String, Arc<ByFunction>, RandomState>>,
    store_failed: Counter,
    thread_failed: Counter,
}

/// The meters of one function.
struct ByFunction {
    memory_hits: Counter,
    disk_hits: Counter,
    joined: Counter,
    computed: Counter,
    failed: Counter,
    panicked: Counter,
    retried: Counter,
    stuck: Counter,
    evicted: Counter,
    not_stored: Counter,
    corrupt: Counter,
    run_seconds: Histogram,
    disk_hit_bytes: Histogram,
}

const COUNTERS: [(&str, &str); 13] = [
    ("memopool_memory_hits_total", "submissions answered from memory"),
    ("memopool_disk_hits_total", "runs spared by the disk"),
    ("memopool_joined_total", "submissions that joined a run in flight"),
    ("memopool_computed_total", "runs that ended in a value"),
    ("memopool_failed_total", "runs that ended in an error"),
    ("memopool_panicked_total", "runs that ended in a panic"),
    ("memopool_retried_total", "attempts that failed and were made again"),
    ("memopool_stuck_total", "bodies that ran beyond their timeout"),
    ("memopool_evicted_total", "values that had to make room in memory"),
    ("memopool_not_stored_total", "values that could not be kept"),
    ("memopool_corrupt_total", "entries on disk that were not believed"),
    ("memopool_store_failed_total", "times that the disk tier stopped working"),
    ("memopool_thread_failed_total", "threads that the system did not give"),
];

impl Meters {
    pub(super) fn new() -> Meters {
        for (name, text) in COUNTERS {
            describe_counter!(name, Unit::Count, text);
        }
        describe_histogram!(
            "memopool_run_seconds",
            Unit::Seconds,
            "how long runs took that ended in a value"
        );
        describe_histogram!(
            "memopool_disk_hit_bytes",
            Unit::Bytes,
            "the encodings of results read from disk"
        );
        Meters {
            by_function: RwLock::default(),
            store_failed: counter!("memopool_store_failed_total"),
            thread_failed: counter!("memopool_thread_failed_total"),
        }
    }

    pub(super) fn tell(&self, event: &Event<'_>) {
        match *event {
            Event::Hit { function } => self.of(function).memory_hits.increment(1),
            Event::DiskHit { function, bytes } => {
                let meters = self.of(function);
                meters.disk_hits.increment(1);
                meters.disk_hit_bytes.record(bytes as f64);
            }
            Event::Joined { function } => self.of(function).joined.increment(1),
            Event::Computed { function, took } => {
                let meters = self.of(function);
                meters.computed.increment(1);
                meters.run_seconds.record(took);
            }
            Event::Failed { function, error } if error.is_panic() => {
                self.of(function).panicked.increment(1);
            }
            Event::Failed { function, .. } => self.of(function).failed.increment(1),
            Event::Retried { function, .. } => self.of(function).retried.increment(1),
            Event::Stuck { function, .. } => self.of(function).stuck.increment(1),
            Event::NotStored { function, .. } => self.of(function).not_stored.increment(1),
            Event::Evicted { function, .. } => self.of(function).evicted.increment(1),
            Event::Corrupt { function, .. } => self.of(function).corrupt.increment(1),
            Event::StoreFailed { .. } => self.store_failed.increment(1),
            Event::ThreadFailed { .. } => self.thread_failed.increment(1),
            // What is neither an end nor trouble is not counted.
            _ => {}
        }
    }

    /// The meters of a function. They are made without the lock: a recorder is somebody else's code.
    fn of(&self, function: &str) -> Arc<ByFunction> {
        if let Some(meters) = self.by_function.read().get(function) {
            return Arc::clone(meters);
        }
        let new = Arc::new(ByFunction::new(function));
        let mut all = self.by_function.write();
        // Another thread may have been faster.
        let kept = all.get(function).map(Arc::clone);
        kept.unwrap_or_else(|| {
            all.insert(function.to_owned(), Arc::clone(&new));
            new
        })
    }
}

impl ByFunction {
    fn new(function: &str) -> ByFunction {
        let counter = |name: &'static str| counter!(name, "function" => function.to_owned());
        let histogram = |name: &'static str| histogram!(name, "function" => function.to_owned());
        ByFunction {
            memory_hits: counter("memopool_memory_hits_total"),
            disk_hits: counter("memopool_disk_hits_total"),
            joined: counter("memopool_joined_total"),
            computed: counter("memopool_computed_total"),
            failed: counter("memopool_failed_total"),
            panicked: counter("memopool_panicked_total"),
            retried: counter("memopool_retried_total"),
            stuck: counter("memopool_stuck_total"),
            evicted: counter("memopool_evicted_total"),
            not_stored: counter("memopool_not_stored_total"),
            corrupt: counter("memopool_corrupt_total"),
            run_seconds: histogram("memopool_run_seconds"),
            disk_hit_bytes: histogram("memopool_disk_hit_bytes"),
        }
    }
}
