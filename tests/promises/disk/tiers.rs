//! What is written when, and what is found again.

use std::time::{Duration, Instant};

use memopool::testing::{Faults, Op};
use memopool::{Event, Func, MIN_WEIGHT, Pool, Source, Spill, Sync};

use super::{Place, Told, bare, block, bytes_of, doubled, is_on_disk, operations};
use crate::{Counter, Gate, build, hold, in_time, until};

/// What was computed yesterday is computed again today.
#[test]
fn results_outlive_the_pool() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let func = doubled(&runs);
        let pool = place.pool();
        assert!(pool.map((0..100).map(|n| func.call(n))).all(|result| result.is_ok()));
        drop(pool);
        let pool = place.pool();
        for n in 0..100 {
            let task = pool.submit(func.call(n));
            assert_eq!((*task.wait().unwrap(), task.source()), (n * 2, Some(Source::Disk)));
        }
        let stats = pool.stats();
        assert_eq!((stats.computed, stats.disk_hits, stats.submitted), (0, 100, 100), "{stats}");
        assert_eq!((stats.hit_rate(), runs.get()), (1.0, 100));
    });
}

/// A result is read from disk each time, though the memory has room.
#[test]
fn what_was_read_is_kept_in_memory() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let func = doubled(&runs);
        place.pool().run(func.call(4)).unwrap();
        let faults = Faults::new();
        let pool = build(Pool::builder().threads(1).disk(place.disk().faults(&faults)));
        assert_eq!(*pool.run(func.call(4)).unwrap(), 8);
        pool.flush().unwrap();
        let before = operations(&faults);
        let task = pool.submit(func.call(4));
        assert_eq!((*task.wait().unwrap(), task.source()), (8, Some(Source::Memory)));
        assert_eq!(operations(&faults), before);
        let stats = pool.stats();
        assert_eq!((stats.memory_hits, stats.disk_hits, stats.entries), (1, 1, 1), "{stats}");
        assert_eq!(stats.spilled, 0, "what came from the disk is not written to it again");
    });
}

/// The report of what caching saved forgets all days but the first.
#[test]
fn saved_time_counts_what_was_computed_before_the_restart() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let func = doubled(&runs);
        let pool = place.pool();
        for n in 0..20 {
            pool.run(func.call(n)).unwrap();
        }
        let computed = pool.stats().compute_time;
        drop(pool);
        let pool = build(Pool::builder().threads(1).disk(place.disk()));
        for n in 0..20 {
            pool.run(func.call(n)).unwrap();
        }
        assert_eq!(pool.stats().saved_time, computed);
        for n in 0..20 {
            pool.run(func.call(n)).unwrap();
        }
        assert_eq!(pool.stats().saved_time, computed * 2, "memory hits know it, too");
        assert_eq!(pool.stats().compute_time, Duration::ZERO);
    });
}

/// A look at what is kept changes what is kept, or counts as work.
#[test]
fn get_reads_the_disk_and_moves_nothing() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let func = doubled(&runs);
        place.pool().run(func.call(4)).unwrap();
        let pool = place.pool();
        for _ in 0..3 {
            assert_eq!(pool.get(&func.call(4)).as_deref(), Some(&8));
            assert_eq!(pool.get(&func.call(5)), None);
            assert!(is_on_disk(&pool.explain(&func.call(4))));
        }
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.entries, stats.memory_bytes), (0, 0, 0), "{stats}");
        assert_eq!(runs.get(), 1);
    });
}

/// A pool without memory computes everything each time, disk or not.
#[test]
fn the_disk_alone_is_enough() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let (pool, func) = (place.bare(), doubled(&runs));
        for _ in 0..3 {
            for n in 0..50 {
                assert_eq!(*pool.run(func.call(n)).unwrap(), n * 2);
            }
        }
        let stats = pool.stats();
        assert_eq!((stats.computed, stats.disk_hits, stats.entries), (50, 100, 0), "{stats}");
    });
}

/// A result that left the memory before it was written is computed twice.
#[test]
fn what_waits_to_be_written_is_found() {
    in_time(|| {
        let (place, runs, faults) = (Place::new(), Counter::default(), Faults::new());
        let pool = build(bare().disk(place.disk().faults(&faults)));
        let func = doubled(&runs);
        pool.run(func.call(0)).unwrap();
        pool.flush().unwrap();
        faults.slow(Duration::from_millis(50));
        for n in 1..=3 {
            pool.run(func.call(n)).unwrap();
            let task = pool.submit(func.call(n));
            assert_eq!((*task.wait().unwrap(), task.source()), (n * 2, Some(Source::Disk)));
            assert_eq!(pool.get(&func.call(n)).as_deref(), Some(&(n * 2)));
        }
        faults.heal();
        assert_eq!((runs.get(), pool.stats().computed), (4, 4));
        pool.flush().unwrap();
        assert_eq!(pool.stats().spilled, 4);
    });
}

/// Many that ask for one result at once read it once each.
#[test]
fn one_read_serves_all_who_wait() {
    in_time(|| {
        let (place, runs, faults) = (Place::new(), Counter::default(), Faults::new());
        let func = doubled(&runs);
        place.pool().run(func.call(4)).unwrap();
        let pool = build(Pool::builder().threads(1).disk(place.disk().faults(&faults)));
        // That the function is in use is noted with its first result: not to be counted here.
        pool.run(func.call(5)).unwrap();
        pool.flush().unwrap();
        let gate = hold(&pool);
        let before = faults.count(Op::Read);
        let tasks = pool.submit_all((0..8).map(|_| func.call(4)));
        gate.open();
        assert!(tasks.iter().all(|task| *task.wait().unwrap() == 8));
        assert_eq!(faults.count(Op::Read) - before, 1);
        assert_eq!(tasks[0].source(), Some(Source::Disk));
        let stats = pool.stats();
        assert_eq!((stats.disk_hits, stats.joined, stats.computed), (1, 7, 1), "{stats}");
        assert_eq!((stats.submitted, runs.get()), (9, 2));
    });
}

/// What was finished is lost although the pool was ended properly.
#[test]
fn flush_shutdown_and_drop_write_everything() {
    in_time(|| {
        let func = doubled(&Counter::default());
        let endings: [fn(Pool) -> Option<Pool>; 5] = [
            |pool| {
                pool.flush().unwrap();
                Some(pool)
            },
            |pool| {
                pool.shutdown();
                Some(pool)
            },
            |pool| {
                pool.shutdown_timeout(Duration::from_secs(50)).unwrap();
                Some(pool)
            },
            |pool| {
                pool.shutdown_now();
                Some(pool)
            },
            |pool| {
                drop(pool);
                None
            },
        ];
        for (way, end) in endings.into_iter().enumerate() {
            let (place, faults) = (Place::new(), Faults::new());
            let pool = build(Pool::builder().threads(2).disk(place.disk().faults(&faults)));
            faults.slow(Duration::from_micros(300));
            assert!(pool.map((0..40).map(|n| func.call(n))).all(|result| result.is_ok()));
            let left = end(pool);
            let other = place.bare();
            assert!((0..40).all(|n| other.get(&func.call(n)).is_some()), "ending {way}");
            drop(left);
        }
    });
}

/// A pool whose last handle goes in one of its own tasks loses what that task computed.
#[test]
fn the_last_handle_may_go_inside_a_task() {
    in_time(|| {
        let (place, runs, faults) = (Place::new(), Counter::default(), Faults::new());
        let (func, gate) = (doubled(&runs), Gate::default());
        // An hour: only the end of the pool syncs.
        let disk = place.disk().sync(Sync::Interval(Duration::from_secs(3600))).faults(&faults);
        let pool = build(Pool::builder().threads(1).disk(disk));
        let task = pool.spawn({
            let (pool, gate, call) = (pool.clone(), gate.clone(), func.call(4));
            move || {
                gate.pass();
                *pool.run(call).unwrap()
            }
        });
        drop(pool);
        assert_eq!(faults.count(Op::Sync), 0);
        gate.open();
        assert_eq!(*task.wait().unwrap(), 8);
        until(|| faults.count(Op::Sync) > 0);
        assert_eq!(place.bare().get(&func.call(4)).as_deref(), Some(&8));
    });
}

/// After a power loss more is gone than the settings say.
#[test]
fn what_is_written_is_synced_as_the_settings_say() {
    in_time(|| {
        let func = doubled(&Counter::default());
        let run = |sync: Sync| {
            let (place, faults) = (Place::new(), Faults::new());
            let pool = build(Pool::builder().threads(1).disk(place.disk().sync(sync).faults(&faults)));
            pool.run(func.call(4)).unwrap();
            until(|| pool.stats().spilled == 1);
            (place, faults, pool)
        };
        let syncs = |faults: &Faults| faults.count(Op::Sync);

        let (_place, faults, pool) = run(Sync::None);
        assert_eq!(syncs(&faults), 0);
        pool.flush().unwrap();
        let flushed = syncs(&faults);
        assert!(flushed > 0, "a flush is safe against a power loss");
        drop(pool);
        assert_eq!(syncs(&faults), flushed);

        let (_place, faults, _pool) = run(Sync::EachBatch);
        until(|| syncs(&faults) > 0);

        let (_place, faults, _pool) = run(Sync::Interval(Duration::from_millis(1)));
        until(|| syncs(&faults) > 0);

        let (_place, faults, pool) = run(Sync::Interval(Duration::from_secs(3600)));
        assert_eq!(syncs(&faults), 0);
        drop(pool);
        assert!(syncs(&faults) > 0, "the end of the pool does not wait for the interval");
    });
}

/// The same, of large results, which no batch writes, and of what is forgotten: a power loss brings it back.
#[test]
fn what_no_batch_writes_is_synced_as_the_settings_say() {
    in_time(|| {
        for sync in [Sync::EachBatch, Sync::Interval(Duration::from_millis(1))] {
            let (place, faults, func) = (Place::new(), Faults::new(), doubled(&Counter::default()));
            let disk = place.disk().max_bytes(4 << 20).sync(sync).faults(&faults);
            let pool = build(Pool::builder().threads(1).disk(disk));
            let mut before = 0;
            let mut is_synced = || {
                until(|| faults.count(Op::Sync) > before);
                pool.flush().unwrap();
                before = faults.count(Op::Sync);
            };
            pool.run(block().call((1, 100_000))).unwrap();
            is_synced();
            pool.run(block().call((2, 100_000))).unwrap();
            is_synced();
            pool.forget(&block().call((2, 100_000))).unwrap();
            is_synced();
            pool.forget_func(&func).unwrap();
            is_synced();
            pool.clear().unwrap();
            is_synced();
        }
    });
}

/// The table of claims can't be made at the first attempt, and for its whole life a process computes what others compute
/// at the same time, without a word.
#[test]
fn a_process_that_could_not_claim_tries_again() {
    in_time(|| {
        let (place, faults, told) = (Place::new(), Faults::new(), Told::default());
        let one = told.listen(Pool::builder().threads(2)).disk(place.disk().faults(&faults));
        let (one, func) = (build(one), doubled(&Counter::default()));
        faults.fail_nth(Op::Create, 1);
        pool_runs(&one, &func, 1);
        assert_eq!(told.of("StoreFailed").len(), 1, "{:?}", told.of(""));
        let mut n = 1;
        until(|| {
            n += 1;
            pool_runs(&one, &func, n);
            !told.of("StoreRecovered").is_empty()
        });
        let (runs, begun, end) = (Counter::default(), Gate::default(), Gate::default());
        let slow = Func::named("disk::slow").resource((runs.clone(), begun.clone(), end.clone()));
        let slow = slow.func(|(runs, begun, end): &(Counter, Gate, Gate), n: u64| {
            runs.up();
            begun.open();
            end.pass();
            n
        });
        let first = one.submit(slow.call(7));
        begun.pass();
        let two = place.pool();
        let second = two.submit(slow.call(7));
        until(|| two.stats().queued + two.stats().running == 0);
        assert!(!second.is_done());
        end.open();
        assert_eq!((*first.wait().unwrap(), *second.wait().unwrap(), runs.get()), (7, 7, 1));
        assert_eq!(second.source(), Some(Source::Disk));
    });
}

fn pool_runs(pool: &Pool, func: &Func<u64, u64>, n: u64) {
    assert_eq!(*pool.run(func.call(n)).unwrap(), n * 2);
}

/// The disk fills with what the memory still has, or what left the memory is nowhere.
#[test]
fn spill_on_evict_writes_what_leaves_the_memory_and_nothing_else() {
    in_time(|| {
        let place = Place::new();
        let func = Func::new("disk::spilled", |n: u64| bytes_of(n, 1000));
        let disk = || place.disk().spill(Spill::OnEvict);
        let pool = build(Pool::builder().threads(1).memory(10_000).disk(disk()));
        for n in 0..5 {
            pool.run(func.call(n)).unwrap();
        }
        pool.flush().unwrap();
        assert_eq!((pool.stats().spilled, place.segments().len()), (0, 0), "nothing had to go yet");
        for n in 0..40 {
            assert_eq!(*pool.run(func.call(n)).unwrap(), bytes_of(n, 1000));
        }
        for n in 0..40 {
            assert_eq!(*pool.run(func.call(n)).unwrap(), bytes_of(n, 1000));
        }
        pool.flush().unwrap();
        let stats = pool.stats();
        assert_eq!(stats.computed, 40, "what left the memory was found: {stats}");
        assert!(stats.spilled >= 30 && stats.spilled <= 40, "{stats}");
        drop(pool);
        let pool = build(bare().disk(disk()));
        let found = (0..40).filter(|n| pool.get(&func.call(*n)).is_some()).count() as u64;
        assert_eq!(found, stats.spilled, "only what was pushed out outlives the pool");
    });
}

/// A result that was forgotten and computed anew never reaches the disk again.
#[test]
fn spill_on_evict_takes_what_was_computed_after_a_forget() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let pool =
            build(Pool::builder().threads(1).memory(4 * MIN_WEIGHT).disk(place.disk().spill(Spill::OnEvict)));
        let func = doubled(&runs);
        let push_out = |from: u64| (from..from + 20).for_each(|n| drop(pool.run(func.call(n)).unwrap()));
        pool.run(func.call(1)).unwrap();
        push_out(100);
        pool.flush().unwrap();
        pool.forget(&func.call(1)).unwrap();
        assert!(!pool.explain(&func.call(1)).is_hit());
        pool.run(func.call(1)).unwrap();
        push_out(200);
        pool.flush().unwrap();
        let before = runs.get();
        assert_eq!(*pool.run(func.call(1)).unwrap(), 2);
        assert_eq!(runs.get(), before);
    });
}

fn halved(n: u64) -> u64 {
    n / 2
}

/// A function whose results never leave memory is told of as one whose results can't be stored, and stops those of the same
/// function that can.
#[test]
fn spill_on_evict_lets_go_of_what_is_in_memory_alone() {
    in_time(|| {
        let (place, told) = (Place::new(), Told::default());
        let disk = place.disk().spill(Spill::OnEvict);
        let pool = build(told.listen(Pool::builder().threads(1).memory(4 * MIN_WEIGHT).disk(disk)));
        let in_memory = Func::named("disk::tiers::halved").in_memory().func(halved);
        let stored = Func::new("disk::tiers::halved", halved);
        for n in 0..20 {
            pool.run(in_memory.call(n)).unwrap();
        }
        pool.flush().unwrap();
        assert!(told.of("NotStored").is_empty(), "{:?}", told.of("NotStored"));
        assert_eq!(pool.stats().spilled, 0);
        for n in 100..120 {
            pool.run(stored.call(n)).unwrap();
        }
        pool.flush().unwrap();
        assert!(told.of("NotStored").is_empty(), "{:?}", told.of("NotStored"));
        assert!(pool.stats().spilled >= 10, "{}", pool.stats());
    });
}

/// Counts when it is dropped.
struct Held(Counter);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.up();
    }
}

/// What a function was given is kept until the pool ends, and with it every state that it ever had.
#[test]
fn spill_on_evict_does_not_hold_functions() {
    in_time(|| {
        let (place, drops) = (Place::new(), Counter::default());
        let disk = place.disk().spill(Spill::OnEvict);
        let pool = build(Pool::builder().threads(1).memory(4 * MIN_WEIGHT).disk(disk));
        for state in 0..20_u64 {
            let held = Held(drops.clone());
            let func =
                Func::named("disk::holding").state(state).resource(held).func(|state, _, n: u64| n + state);
            assert_eq!(*pool.run(func.call(1)).unwrap(), 1 + state);
        }
        // The worker is done with them.
        pool.spawn(|| ()).wait().unwrap();
        assert_eq!(drops.get(), 20);
        pool.flush().unwrap();
        assert!(pool.stats().spilled >= 10, "a function that is gone is still spilled: {}", pool.stats());
    });
}

/// A warm `map` waits for every cold body that was submitted before it.
#[test]
fn disk_look_ups_go_before_computations() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let func = doubled(&runs);
        let pool = place.pool();
        assert!(pool.map((0..50).map(|n| func.call(n))).all(|result| result.is_ok()));
        drop(pool);
        let pool = build(Pool::builder().threads(1).disk(place.disk()));
        let (held, warm_done) = (hold(&pool), Gate::default());
        let cold = Func::named("disk::cold").resource(warm_done.clone()).func(|gate: &Gate, n: u64| {
            gate.pass();
            n
        });
        let behind = pool.submit_all((0..5).map(|n| cold.call(n)));
        let warm = pool.submit_all((0..50).map(|n| func.call(n)));
        held.open();
        // One thread: if a cold body went first, this would wait for ever.
        assert!(warm.iter().zip(0..).all(|(task, n)| *task.wait().unwrap() == n * 2));
        warm_done.open();
        assert!(behind.iter().all(|task| task.wait().is_ok()));
        assert_eq!((runs.get(), pool.stats().disk_hits), (50, 50));
    });
}

/// A slow disk stops the thread that submits: an event loop, say.
#[test]
fn submitting_never_touches_the_disk() {
    in_time(|| {
        let (place, runs, faults) = (Place::new(), Counter::default(), Faults::new());
        let func = doubled(&runs);
        let pool = place.pool();
        for n in 0..4 {
            pool.run(func.call(n)).unwrap();
        }
        drop(pool);
        let pool = build(Pool::builder().threads(1).disk(place.disk().faults(&faults)));
        pool.run(func.call(3)).unwrap();
        pool.flush().unwrap();
        let gate = hold(&pool);
        // The worker is held and the writer has nothing to do: whatever is done to files now, this thread does.
        let before = operations(&faults);
        faults.slow(Duration::from_millis(20));
        let tasks = [
            pool.submit(func.call(0)),
            pool.submit(func.call(0)),
            pool.submit(func.call(99)),
            pool.try_submit(func.call(1)).unwrap(),
            pool.submit(func.call(3)),
            pool.submit(func.call(2).refresh()),
            pool.submit(func.call(3).refresh()),
        ];
        assert_eq!(operations(&faults), before);
        faults.heal();
        gate.open();
        let values = tasks.each_ref().map(|task| *task.wait().unwrap());
        assert_eq!(values, [0, 0, 198, 2, 6, 4, 6]);
    });
}

/// A run whose results nobody could write fails, or blocks the pool.
#[test]
fn a_slow_disk_holds_nothing_up_but_itself() {
    in_time(|| {
        let (place, runs, faults, told) = (Place::new(), Counter::default(), Faults::new(), Told::default());
        faults.slow(Duration::from_millis(2));
        let disk = place.disk().faults(&faults).backlog(1 << 20);
        let pool = build(told.listen(Pool::builder().threads(2)).disk(disk));
        let func = doubled(&runs);
        assert!(
            pool.map((0..200).map(|n| func.call(n))).zip(0..).all(|(result, n)| *result.unwrap() == n * 2)
        );
        pool.flush().unwrap();
        assert_eq!((pool.stats().computed, pool.stats().spilled), (200, 200));
        assert_eq!(told.of("NotStored"), [] as [String; 0]);
    });
}

/// Results are computed faster than the disk takes them: they pile up in memory, or are dropped, because nothing holds the
/// workers back. Also where the disk alone keeps them.
#[test]
fn workers_are_held_back_while_the_backlog_is_full() {
    in_time(|| {
        for memory in [1 << 20, 0] {
            let (place, faults) = (Place::new(), Faults::new());
            let disk = place.disk().faults(&faults).backlog(1);
            let pool = build(Pool::builder().threads(1).memory(memory).disk(disk));
            let big = Func::new("disk::big", |n: u64| n.to_string().repeat(10_000));
            pool.run(big.call(1)).unwrap();
            pool.flush().unwrap();
            faults.slow(Duration::from_millis(20));
            for n in 2..5 {
                let begun = Instant::now();
                pool.run(big.call(n)).unwrap();
                // The only thread is free for the next when that is written, or when it has waited for a second.
                let next = pool.spawn({
                    let pool = pool.clone();
                    move || pool.stats().spilled
                });
                let spilled = *next.wait().unwrap();
                let late = begun.elapsed() >= Duration::from_secs(1);
                assert!(spilled >= n || late, "{spilled} of {n} are written, memory({memory})");
            }
            faults.heal();
        }
    });
}

/// A listener cannot tell a result that was read from one that was computed.
#[test]
fn a_hit_on_the_disk_is_an_event() {
    in_time(|| {
        let (place, runs) = (Place::new(), Counter::default());
        let func = doubled(&runs);
        place.pool().run(func.call(4)).unwrap();
        let hits = Counter::default();
        let pool = build(bare().disk(place.disk()).on_event({
            let hits = hits.clone();
            move |event| match event {
                Event::DiskHit { function: "disk::doubled", bytes: 1.. } => drop(hits.up()),
                other => panic!("{other:?}"),
            }
        }));
        pool.run(func.call(4)).unwrap();
        assert_eq!(hits.get(), 1);
    });
}
