//! Events of a pool as counters and histograms for the `metrics` facade; their table is at [`Event`].
//!
//! A meter is looked up once for a pool and function and kept, since a recorder's own look-up would cost more than the hit
//! that it counts. So the recorder must be installed before the pool is used.
//!
//! Every run of every thread looks for its meters, so they are found without a lock and without counting a reference: they
//! lie in chains that only grow, as long as the pool lives.

use std::hash::BuildHasher;

use ::metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};
use foldhash::fast::RandomState;

use crate::event::Event;
use crate::sync::OnceLock;

/// The meters of one pool.
pub(super) struct Meters {
    chains: [Link; CHAINS],
    hasher: RandomState,
    store_failed: Counter,
    thread_failed: Counter,
}

/// A pool has some dozens of functions: few share a chain.
const CHAINS: usize = 64;

/// The next function in a chain, once there is one.
type Link = OnceLock<Box<Named>>;

/// A function in its chain.
struct Named {
    name: String,
    meters: ByFunction,
    next: Link,
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
            chains: [const { Link::new() }; CHAINS],
            hasher: RandomState::default(),
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

    /// The meters of a function. They are made before they are put in their place: a recorder is somebody else's code, for
    /// which nobody should have to wait.
    fn of(&self, function: &str) -> &ByFunction {
        let mut link = &self.chains[self.hasher.hash_one(function) as usize % CHAINS];
        let mut new = None;
        loop {
            match link.get() {
                Some(named) if named.name == function => return &named.meters,
                Some(named) => link = &named.next,
                None => {
                    let named = new.take().unwrap_or_else(|| Box::new(Named::new(function)));
                    // Another thread may have been faster: then its function is looked at next.
                    new = link.set(named).err();
                }
            }
        }
    }
}

impl Named {
    fn new(function: &str) -> Named {
        Named { name: function.to_owned(), meters: ByFunction::new(function), next: Link::new() }
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
