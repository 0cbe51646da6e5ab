//! Retries: a run that rests between two attempts holds nothing that others need, and is never left lying.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use memopool::{Backoff, Error, Event, Func, Limit, Pool, Task, Until, as_completed, wait};

use crate::{Counter, assert_usable, build, in_time, pool, until};

const AN_HOUR: Duration = Duration::from_secs(3600);

/// A rest of exactly that length, each time.
fn exactly(rest: Duration) -> Backoff {
    Backoff::exponential(rest).factor(1.0).jitter(false).max(AN_HOUR)
}

/// Fails until its attempt number `succeeds`, then gives its argument.
fn flaky(name: &str, attempts: &Counter, succeeds: u64) -> Func<u64, u64> {
    let func = Func::named(name).resource((attempts.clone(), succeeds));
    let func = func.fallible(|(attempts, succeeds), n: u64| match attempts.up() {
        made if made < *succeeds => Err("not yet"),
        _ => Ok(n),
    });
    func.retries(100)
}

/// A task whose run rests for an hour after its first attempt.
fn resting(pool: &Pool, name: &str) -> (Func<u64, u64>, Task<u64>, Counter) {
    let attempts = Counter::default();
    let func = flaky(name, &attempts, 2).backoff(exactly(AN_HOUR));
    let task = pool.submit(func.call(7));
    until(|| attempts.get() == 1 && pool.stats().queued == 1);
    (func, task, attempts)
}

/// A pool whose one thread is all there may be.
fn single() -> Pool {
    build(Pool::builder().threads(1).max_os_threads(1))
}

/// Else one service that is down for a minute stops everything else the pool has to do.
#[test]
fn a_run_that_rests_holds_no_thread() {
    in_time(|| {
        let pool = single();
        let (_, task, attempts) = resting(&pool, "retries::thread");
        assert_usable(&pool);
        assert_eq!((attempts.get(), task.is_done(), task.is_running()), (1, false, false));
        assert!(task.cancel());
    });
}

/// Else a run is tried again before its time, because its job still lay in the queue when a waiter ran it.
#[test]
fn a_job_left_in_the_queue_does_not_end_the_rest() {
    in_time(|| {
        let pool = pool(1);
        let attempts = Counter::default();
        let func = flaky("retries::ghost", &attempts, 2).backoff(exactly(AN_HOUR));
        let call = func.clone();
        // The body runs the first attempt on its own stack; its thread is then replaced, and the next finds the job.
        let outer = pool.spawn(move || Pool::current().expect("in a body").run(call.call(7)));
        until(|| attempts.get() == 1);
        assert_usable(&pool);
        assert_usable(&pool);
        assert_eq!((attempts.get(), pool.stats().queued), (1, 1));
        assert!(pool.submit(func.call(7)).source() == Some(memopool::Source::Joined));
        pool.shutdown_now();
        let inner = outer.wait().expect("the closure itself ends");
        assert!(inner.as_ref().as_ref().unwrap_err().is_shutdown());
    });
}

/// Else a caller who has lost interest, and what he passed in, wait for a service that is down.
#[test]
fn cancelling_a_rest_takes_effect_at_once() {
    in_time(|| {
        let pool = pool(1);
        let given = Arc::new(7_u64);
        let weak = Arc::downgrade(&given);
        let func = Func::fallible("retries::cancel", |n: Arc<u64>| match *n {
            7 => Err("not yet"),
            _ => Ok(()),
        });
        let func = func.retries(1).backoff(exactly(AN_HOUR));
        let task = pool.submit(func.call(given));
        until(|| pool.stats().retried == 1 && pool.stats().queued == 1);
        assert!(task.cancel());
        assert!(task.wait().unwrap_err().is_cancelled());
        // The worker may just be laying it aside: then it is the one to let it go. The rest itself would take an hour.
        until(|| Weak::upgrade(&weak).is_none() && pool.stats().queued == 0);
        // The end of the pool does not wait for the hour.
        pool.shutdown();
    });
}

/// Else a body waits for ever for a run whose rest was over before it had been laid aside.
#[test]
fn the_shortest_of_rests_ends() {
    in_time(|| {
        let pool = pool(3);
        for n in 0..2000 {
            let attempts = Counter::default();
            let func = flaky("retries::shortest", &attempts, 2).backoff(exactly(Duration::from_nanos(1)));
            let task = pool.submit(func.call(n));
            let waiting = pool.spawn(move || *task.wait().unwrap());
            waiting.wait().unwrap();
        }
    });
}

/// Else `shutdown_now` hangs, or leaves a waiter without an answer.
#[test]
fn shutdown_now_gives_up_what_rests() {
    in_time(|| {
        let pool = pool(2);
        let (_, task, attempts) = resting(&pool, "retries::now");
        pool.shutdown_now();
        assert!(task.wait().unwrap_err().is_shutdown());
        assert_eq!(attempts.get(), 1);
    });
}

/// Else work that was promised is lost when the program ends normally.
#[test]
fn shutdown_waits_for_the_attempts() {
    in_time(|| {
        let pool = pool(1);
        let attempts = Counter::default();
        let func = flaky("retries::drain", &attempts, 4).backoff(exactly(Duration::from_millis(2)));
        let task = pool.submit(func.call(7));
        pool.shutdown();
        assert_eq!(task.try_get().expect("all is done").ok().as_deref(), Some(&7));
        assert_eq!(attempts.get(), 4);
    });
}

/// Else figures and listener do not show what retrying costs.
#[test]
fn attempts_are_counted_and_told() {
    in_time(|| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let pool = build(Pool::builder().threads(1).on_event({
            let told = Arc::clone(&told);
            move |event| match event {
                Event::Started { .. } => told.lock().unwrap().push((0, Duration::ZERO, String::new())),
                Event::Retried { attempt, rest, error, .. } => {
                    told.lock().unwrap().push((*attempt, *rest, error.to_string()));
                }
                _ => {}
            }
        }));
        let attempts = Counter::default();
        let ms = Duration::from_millis;
        let backoff = Backoff::exponential(ms(1)).factor(4.0).max(ms(2)).jitter(false);
        let func = flaky("retries::counts", &attempts, 4).backoff(backoff);
        let (first, second) = (pool.submit(func.call(7)), pool.submit(func.call(7)));
        assert_eq!((*first.wait().unwrap(), *second.wait().unwrap()), (7, 7));
        let stats = pool.stats();
        assert_eq!((stats.computed, stats.retried, stats.failed, stats.joined), (1, 3, 0, 1));
        let failed = "not yet".to_owned();
        let expected = [
            (0, ms(0), String::new()),
            (1, ms(1), failed.clone()),
            (2, ms(2), failed.clone()),
            (3, ms(2), failed),
        ];
        assert_eq!(*told.lock().unwrap(), expected);
        // And when the last attempt fails, it ends.
        let func = flaky("retries::ends", &Counter::default(), 100).retries(2).backoff(exactly(ms(1)));
        assert_eq!(pool.run(func.call(1)).unwrap_err().to_string(), "`retries::ends` failed: not yet");
    });
}

/// Else the same call runs twice while it rests, or the second caller is forgotten.
#[test]
fn a_run_that_rests_can_be_joined_and_left() {
    in_time(|| {
        let pool = pool(1);
        let (func, task, attempts) = resting(&pool, "retries::join");
        let joined = pool.submit(func.call(7));
        assert_eq!(joined.source(), Some(memopool::Source::Joined));
        assert!(joined.wait_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
        assert!(task.cancel() && !joined.is_done());
        // A new generation starts at once, and the old run goes on resting.
        pool.forget(&func.call(7)).unwrap();
        assert_eq!(*pool.run(func.call(7)).unwrap(), 7);
        assert_eq!((attempts.get(), joined.is_done()), (2, false));
        assert!(joined.cancel());
    });
}

/// Else one run that rests keeps everyone else from its resource.
#[test]
fn a_run_that_rests_has_no_slot_of_its_limit() {
    in_time(|| {
        let pool = pool(1);
        let limit = Limit::new("one", 1);
        let attempts = Counter::default();
        let func = flaky("retries::slot", &attempts, 2).limit(&limit);
        let rests = func.clone().backoff(exactly(AN_HOUR));
        let task = pool.submit(rests.call(7));
        until(|| attempts.get() == 1 && limit.running() == 0);
        assert_eq!(*pool.run(func.call(8)).unwrap(), 8);
        assert!(!task.is_done());
        pool.shutdown_now();
        assert_eq!((limit.running(), limit.waiting()), (0, 0));
        // And it gets one again for its next attempt.
        let attempts = Counter::default();
        let func =
            flaky("retries::slot2", &attempts, 3).limit(&limit).backoff(exactly(Duration::from_millis(1)));
        let pool = crate::pool(1);
        let tasks = pool.submit_all((0..9).map(|n| func.call(n)));
        assert!(tasks.iter().all(|task| task.wait().is_ok()));
        assert_eq!((limit.running(), limit.waiting()), (0, 0));
    });
}

/// Else a pool without a thread to spare refuses a wait that would end, or hangs in it.
#[test]
fn the_last_thread_waits_for_a_rest_and_makes_the_attempt() {
    type Wait = fn(&Pool, Task<u64>) -> Result<Arc<u64>, Error>;
    let ways: [(&str, Wait); 5] = [
        ("retries::last::wait", |_, task| task.wait()),
        ("retries::last::all", |_, task| {
            let waited = wait(&[task], Until::All, None);
            waited.done[0].wait()
        }),
        ("retries::last::completed", |_, task| as_completed([task]).next().expect("one")?.wait()),
        ("retries::last::await", |_, task| pollster::block_on(task)),
        ("retries::last::map", |_, task| {
            pollster::block_on(futures_util::future::join(task.clone(), task)).1
        }),
    ];
    in_time(move || {
        for (name, way) in ways {
            let pool = single();
            let attempts = Counter::default();
            let func = flaky(name, &attempts, 4).backoff(exactly(Duration::from_millis(3)));
            let waits = pool.spawn(move || {
                let pool = Pool::current().expect("in a body");
                let task = pool.submit(func.call(7));
                way(&pool, task)
            });
            let value = waits.wait().expect("the closure ends");
            assert_eq!(
                value.as_ref().as_ref().map(|value| **value).map_err(Error::to_string),
                Ok(7),
                "{name}"
            );
            assert_eq!(attempts.get(), 4);
        }
    });
}

/// Else a run that waits patiently between its attempts is taken for one that is stuck.
#[test]
fn the_timeout_does_not_count_rests() {
    in_time(|| {
        let pool = pool(1);
        let attempts = Counter::default();
        let func = flaky("retries::timeout", &attempts, 2);
        let func = func.backoff(exactly(Duration::from_millis(3300))).timeout(Duration::from_secs(3));
        assert_eq!(*pool.run(func.call(7)).unwrap(), 7);
    });
}

/// Else retries hang under an executor, or run in the thread that keeps the time.
#[cfg(feature = "testing")]
#[test]
fn executors_make_the_next_attempt() {
    use memopool::testing::Inline;
    in_time(|| {
        let pool = build(Pool::builder().executor(Inline));
        let attempts = Counter::default();
        let func = flaky("retries::inline", &attempts, 3).backoff(exactly(Duration::from_millis(2)));
        assert_eq!(*pool.run(func.call(7)).unwrap(), 7);
        let (_, task, _) = resting(&pool, "retries::inline_now");
        pool.shutdown_now();
        assert!(task.wait().unwrap_err().is_shutdown());
    });
}

/// Else runs get lost where a rest ends, a waiter comes, a limit grants and a handle is cancelled at the same time.
#[test]
fn many_that_rest_all_end() {
    in_time(|| {
        let pool = pool(4);
        let limit = Limit::new("three", 3);
        let func = Func::named("retries::many").resource(Counter::default()).fallible(|tries, n: u64| {
            match tries.up() % 3 {
                0 => Ok(n),
                _ => Err("not yet"),
            }
        });
        let func = func.retries(1000).backoff(Backoff::exponential(Duration::from_micros(50)).factor(1.0));
        let limited = func.clone().limit(&limit);
        let tasks: Vec<_> = (0..400)
            .map(|n| {
                let call = if n % 2 == 0 { func.call(n) } else { limited.call(n) };
                let task = pool.submit(call);
                if n % 7 == 0 {
                    task.cancel();
                }
                let inner = task.clone();
                if n % 5 == 0 {
                    drop(pool.spawn(move || inner.wait().is_ok()))
                }
                task
            })
            .collect();
        for task in &tasks {
            assert!(task.wait().map_or_else(|error| error.is_cancelled(), |_| true));
        }
        pool.shutdown();
        assert_eq!((limit.running(), limit.waiting(), pool.stats().queued), (0, 0, 0));
    });
}
