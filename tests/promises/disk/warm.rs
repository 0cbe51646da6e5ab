//! What is on disk: who reads it. A `map` is read by whoever takes the results and by the workers, a `run` by its caller.

use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, thread};

use memopool::{Func, Pool};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Place, doubled};
use crate::{Counter, Gate, build, hold, in_time};

/// Where two threads read what a `map` asks for, results are swapped, missing, counted twice or computed again.
#[test]
fn a_warm_map_is_read_by_who_takes_the_results_and_by_the_workers() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let func = Func::named("disk::traced").resource(runs.clone()).func(|runs: &Counter, n: u64| {
            runs.up();
            Traced::new(n)
        });
        let pool = place.pool();
        for n in 0..CALLS {
            pool.run(func.call(n)).unwrap();
        }
        drop(pool);
        // The first, which is looked for by this thread; and one that a worker may find.
        let segment = &place.segments()[0];
        let mut bytes = fs::read(segment).unwrap();
        for n in [0, 7] {
            let text = Traced::new(n).text;
            let at = bytes.windows(text.len()).position(|bytes| bytes == text.as_bytes());
            bytes[at.expect("its record")] ^= 1;
        }
        fs::write(segment, bytes).unwrap();

        let pool = build(Pool::builder().threads(1).disk(place.disk()));
        let gate = hold(&pool);
        let calls = (0..CALLS).map(|n| {
            if n == 60 {
                // Until here the worker is held. This thread has found the first one to be damaged, and left the second one
                // to the worker.
                gate.open();
            }
            func.call(n)
        });
        let results: Vec<_> = pool.map(calls).map(|result| result.unwrap()).collect();
        let in_order = results.iter().zip(0..).all(|(result, n)| **result == Traced::new(n));
        assert!(in_order && results.len() as u64 == CALLS);
        let by_me = results.iter().filter(|result| result.read_by == Some(thread::current().id())).count();
        let by_worker = results.iter().filter(|result| result.read_by.is_some()).count() - by_me;
        assert!(by_me >= 1 && by_worker >= 1, "{by_me} were read by this thread, {by_worker} by the worker");
        let stats = pool.stats();
        let counted = (stats.submitted, stats.disk_hits, stats.computed, stats.corrupt, stats.memory_hits);
        assert_eq!(counted, (CALLS, CALLS - 2, 2, 2, 0), "{stats}");
        assert_eq!((runs.get(), stats.joined), (CALLS + 2, 0), "{stats}");
        assert!(results[0].read_by.is_none() && results[7].read_by.is_none());
        assert!(pool.map((0..CALLS).map(|n| func.call(n))).all(|result| result.is_ok()));
        assert_eq!((pool.stats().memory_hits, runs.get()), (CALLS, CALLS + 2), "all of it was kept");
    });
}

/// Short results that are at hand wait for a worker, who has other things to do.
#[test]
fn a_warm_map_needs_no_worker() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let func = doubled(&runs);
        let pool = place.pool();
        pool.run(func.call(1)).unwrap();
        drop(pool);
        let pool = build(Pool::builder().threads(1).disk(place.disk()));
        let gate = hold(&pool);
        let mut map = pool.map([func.call(1), func.call(1)]);
        assert_eq!(map.next().map(|result| *result.unwrap()), Some(2));
        let stats = pool.stats();
        let counted = (stats.submitted, stats.disk_hits, stats.memory_hits, stats.computed, stats.entries);
        assert_eq!(counted, (2, 1, 1, 0, 1), "{stats}");
        assert_eq!((runs.get(), stats.threads, stats.joined), (1, 1, 0), "{stats}");
        gate.open();
        drop(map);
        // Nobody new is let in while a pool ends, however near the result.
        pool.forget(&func.call(1)).unwrap();
        pool.run(func.call(1)).unwrap();
        drop(pool);
        let pool = place.pool();
        pool.shutdown();
        assert!(pool.map([func.call(1)]).next().is_some_and(|result| result.unwrap_err().is_shutdown()));
    });
}

/// Who only wants one result from a warm directory waits for threads to be started and woken, though its own has nothing else
/// to do; and so does a body that asks for one.
#[test]
fn run_reads_what_is_on_disk_by_itself() {
    in_time(|| {
        let place = Place::new();
        let func = Func::new("disk::read_here", Traced::new);
        let pool = place.pool();
        for n in 0..3 {
            pool.run(func.call(n)).unwrap();
        }
        drop(pool);

        let pool = build(Pool::builder().threads(1).disk(place.disk()));
        let here = || Some(thread::current().id());
        assert_eq!(pool.run(func.call(0)).unwrap().read_by, here());
        assert_eq!(pool.stats().threads, 0, "nothing was left to a worker");
        let (inner, called) = (pool.clone(), func.clone());
        let body =
            pool.spawn(move || inner.run(called.call(1)).unwrap().read_by == Some(thread::current().id()));
        assert!(*body.wait().unwrap());
        let by_worker = pool.submit(func.call(2)).wait().unwrap().read_by;
        assert!(by_worker.is_some() && by_worker != here(), "`submit` touches no disk");
        assert_eq!(pool.run(func.call(3)).unwrap().read_by, None, "what is nowhere is computed");
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.disk_hits, stats.computed), (4, 3, 1), "{stats}");
    });
}

/// Who asks for what another thread's `run` is just reading reads and decodes it once more, or waits for ever.
#[test]
fn what_run_reads_is_joined() {
    in_time(|| {
        let (place, decoding, gate) = (Place::new(), Gate::default(), Gate::default());
        let func = Func::new("disk::held_here", |(): ()| Held);
        place.pool().run(func.call(())).unwrap();
        *HELD.lock().unwrap() = Some((decoding.clone(), gate.clone()));

        let pool = place.pool();
        let (mine, called) = (pool.clone(), func.clone());
        let reader = thread::spawn(move || mine.run(called.call(())).unwrap());
        decoding.pass();
        let joined = pool.submit(func.call(()));
        assert!(!joined.is_done());
        assert!(joined.wait_timeout(Duration::ZERO).unwrap_err().is_timeout());
        gate.open();
        assert!(Arc::ptr_eq(&joined.wait().unwrap(), &reader.join().unwrap()));
        assert_eq!((pool.stats().disk_hits, pool.stats().joined, pool.stats().computed), (1, 1, 0));
    });
}

/// Once a pool has looked in vain, what others write while its runs wait in the queue is computed again.
#[test]
fn what_others_write_while_a_run_waits_is_read() {
    in_time(|| {
        for single_flight in [true, false] {
            let (place, runs) = (Place::new(), Counter::default());
            let func =
                Func::named("disk::meanwhile").resource(runs.clone()).func(|runs: &Counter, n: u64| {
                    runs.up();
                    n
                });
            let pool = || build(Pool::builder().threads(1).disk(place.disk().single_flight(single_flight)));
            let (late, other) = (pool(), pool());
            for n in 0..8 {
                late.run(func.call(n)).unwrap();
            }
            let gate = hold(&late);
            let task = late.submit(func.call(100));
            other.run(func.call(100)).unwrap();
            other.flush().unwrap();
            gate.open();
            assert_eq!(*task.wait().unwrap(), 100);
            assert_eq!((runs.get(), late.stats().disk_hits), (9, 1), "single flight: {single_flight}");
        }
    });
}

/// Once a pool has looked in vain, what is on disk waits behind everything that is to be computed.
#[test]
fn what_is_on_disk_comes_first_also_after_looks_in_vain() {
    in_time(|| {
        let place = Place::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        let cold = Func::named("disk::computed_after_vain").resource(Arc::clone(&order)).func(
            |order: &Arc<Mutex<Vec<&str>>>, n: u64| {
                order.lock().unwrap().push("computed");
                n
            },
        );
        let warm = Func::new("disk::read_after_vain", |n: u64| n);
        place.pool().run(warm.call(0)).unwrap();

        let pool = build(Pool::builder().threads(1).disk(place.disk()));
        for n in 0..8 {
            pool.run(cold.call(n)).unwrap();
        }
        order.lock().unwrap().clear();
        let gate = hold(&pool);
        let computed: Vec<_> = (100..104).map(|n| pool.submit(cold.call(n))).collect();
        let read = pool.submit(warm.call(0));
        let seen = Arc::clone(&order);
        read.on_done(move |_| seen.lock().unwrap().push("read"));
        gate.open();
        assert!(computed.iter().all(|task| task.wait().is_ok()));
        assert_eq!(order.lock().unwrap().first(), Some(&"read"), "{order:?}");
        assert_eq!((pool.stats().disk_hits, pool.stats().computed), (1, 12));
    });
}

/// The first of these gates opens when a [`Held`] is decoded; the second one holds that up.
static HELD: Mutex<Option<(Gate, Gate)>> = Mutex::new(None);

#[derive(Debug, Serialize)]
struct Held;

impl<'de> Deserialize<'de> for Held {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Held, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Held")]
        struct Plain;
        Plain::deserialize(deserializer)?;
        if let Some((decoding, gate)) = HELD.lock().unwrap().clone() {
            decoding.open();
            gate.pass();
        }
        Ok(Held)
    }
}

const CALLS: u64 = 400;

/// A value that knows which thread read it.
#[derive(Debug, Serialize)]
struct Traced {
    n: u64,
    text: String,
    #[serde(skip)]
    read_by: Option<thread::ThreadId>,
}

impl Traced {
    fn new(n: u64) -> Traced {
        Traced { n, text: format!("the value of call {n:04}"), read_by: None }
    }
}

impl PartialEq for Traced {
    fn eq(&self, other: &Traced) -> bool {
        (self.n, &self.text) == (other.n, &other.text)
    }
}

impl<'de> Deserialize<'de> for Traced {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Traced, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Traced")]
        struct Plain {
            n: u64,
            text: String,
        }
        let Plain { n, text } = Plain::deserialize(deserializer)?;
        Ok(Traced { n, text, read_by: Some(thread::current().id()) })
    }
}
