//! What CPython tests of its `concurrent.futures`, translated in meaning: one test here for each behaviour there, by its
//! name in `test_concurrent_futures` (without `test_`), in modules by its file. What has no meaning here is listed with the
//! reason; the last module is what hangs or misleads there.
//!
//! | there | not here, because |
//! |---|---|
//! | `submit_keyword` | arguments have places, not names |
//! | `map_buffersize_type_validation` | a window is a `usize` |
//! | `map_buffersize_on_multiple_iterables`, `…_infinite_iterables` | `zip` is the iterator's business: one input |
//! | `map_buffersize_without_iterable` | `map` takes one |
//! | `multiple_set_result`, `multiple_set_exception` | a task's outcome is set by its run alone |
//! | `interpreter_shutdown`, `submit_after_interpreter_shutdown` | there is no interpreter that ends before its threads |
//! | `hang_gh83386`, `hang_gh94440`, `test_deadlock`, `test_process_pool` | no processes, no pickling |

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use memopool::{Error, Func, Pool, Task, Until, as_completed, wait};

use crate::{Counter, Gate, assert_usable, build, held_pool, hold, in_time, pool, until};

const SHORT: Option<Duration> = Some(Duration::from_millis(2));

fn pow() -> Func<(u64, u32), u64> {
    Func::new("cpython::pow", |(n, power): (u64, u32)| n.pow(power))
}

fn divide() -> Func<(u64, u64), u64> {
    Func::fallible("cpython::divide", |(n, by): (u64, u64)| n.checked_div(by).ok_or("division by zero"))
}

/// A task of each state that CPython's tests begin with, and what holds the running one.
struct Futures {
    pending: Task<u64>,
    running: Task<u64>,
    cancelled: Task<u64>,
    failed: Task<u64>,
    successful: Task<u64>,
    pool: Pool,
    gate: Gate,
}

fn futures() -> Futures {
    let pool = pool(1);
    let (failed, successful) = (pool.submit(divide().call((1, 0))), pool.submit(divide().call((42, 1))));
    let _ended = (failed.wait(), successful.wait());
    let (gate, started) = (Gate::default(), Gate::default());
    let running = pool.spawn({
        let (gate, started) = (gate.clone(), started.clone());
        move || {
            started.open();
            gate.pass();
            1
        }
    });
    started.pass();
    let (pending, cancelled) = (pool.spawn(|| 2), pool.spawn(|| 3));
    assert!(cancelled.cancel());
    Futures { pending, running, cancelled, failed, successful, pool, gate }
}

mod executor {
    use super::*;

    /// A submitted call does not give its result.
    #[test]
    fn submit() {
        in_time(|| assert_eq!(*pool(2).submit(pow().call((2, 8))).wait().unwrap(), 256));
    }

    /// `map` gives other results than a loop would.
    #[test]
    fn map() {
        in_time(|| {
            let powers = pool(5).map((0..10).map(|n| pow().call((n, 3)))).try_collect().unwrap();
            assert_eq!(
                powers.iter().map(|n| **n).collect::<Vec<_>>(),
                [0, 1, 8, 27, 64, 125, 216, 343, 512, 729]
            );
        });
    }

    /// A failure in a `map` comes at another place than its input, or hides the results before it.
    #[test]
    fn map_exception() {
        in_time(|| {
            let pool = pool(2);
            let mut results = pool.map([1, 1, 0, 1].map(|by| divide().call((1, by))));
            assert!(results.next().unwrap().is_ok() && results.next().unwrap().is_ok());
            assert!(results.next().unwrap().unwrap_err().is_failed());
            assert!(results.next().unwrap().is_ok(), "there it is over");
        });
    }

    /// A `map` that runs over its time loses what was done, or does not end.
    #[test]
    fn map_timeout() {
        in_time(|| {
            let (pool, gate) = (pool(1), Gate::default());
            let func = Func::named("cpython::sleep").resource(gate.clone()).func(|gate, n: u64| {
                if n == 6 {
                    gate.pass();
                }
                n
            });
            pool.submit_all([1, 2].map(|n| func.call(n))).iter().for_each(|task| _ = task.wait());
            let mut done = Vec::new();
            for result in pool.map([1, 2, 6].map(|n| func.call(n))).timeout(Duration::from_millis(5)) {
                match result {
                    Ok(n) => done.push(*n),
                    Err(error) => assert!(error.is_timeout(), "{error}"),
                }
            }
            assert_eq!(done, [1, 2]);
            gate.open();
        });
    }

    /// Whoever asks for the pool's end right after a submission loses the submission (their issue 12456).
    #[test]
    fn shutdown_race_issue12456() {
        in_time(|| {
            let pool = pool(2);
            let tasks = pool.submit_all((0..50).map(|n| pow().call((n, 2))));
            pool.shutdown();
            assert!(tasks.iter().all(|task| task.is_done() && task.wait().is_ok()));
        });
    }

    /// A worker keeps the last closure it ran, and all that was captured in it.
    #[test]
    fn no_stale_references() {
        in_time(|| {
            let (pool, object) = (pool(1), Arc::new(5));
            let weak = Arc::downgrade(&object);
            pool.spawn(move || drop(object)).wait().unwrap();
            assert!(weak.upgrade().is_none(), "while the worker is alive and idle");
            assert!(pool.stats().threads > 0);
        });
    }

    /// Nonsense for a width is found out at run time.
    #[test]
    fn max_workers_negative() {
        assert!(Pool::builder().threads(0).build().unwrap_err().is_invalid());
        assert!(pool(1).resize(0).unwrap_err().is_invalid());
    }

    /// A result that was read stays in memory as long as the iterator that gave it.
    #[test]
    fn free_reference() {
        in_time(|| {
            let pool = pool(2);
            let make = Func::named("cpython::make").in_memory().func(|n: u64| Mutex::new(n));
            for result in pool.map((0..10).map(|n| make.call(n).refresh())) {
                let weak = Arc::downgrade(&result.unwrap());
                pool.clear().unwrap();
                until(|| weak.upgrade().is_none());
            }
        });
    }

    /// An error without a text passes for no error.
    #[test]
    fn swallows_falsey_exceptions() {
        in_time(|| {
            let func = Func::fallible("cpython::falsey", |n: u64| if n > 0 { Ok(n) } else { Err("") });
            let pool = pool(1);
            assert!(pool.run(func.call(0)).unwrap_err().is_failed());
            assert!(pool.map([func.call(0)]).next().unwrap().unwrap_err().is_failed());
        });
    }

    /// The window of a `map` changes its results.
    #[test]
    fn map_buffersize() {
        in_time(|| {
            let pool = pool(2);
            for window in [1, 2, 4, 8] {
                let map = pool.map((0..4).map(|n| pow().call((n, 2)))).window(window);
                assert_eq!(map.map(|n| *n.unwrap()).collect::<Vec<_>>(), [0, 1, 4, 9]);
            }
        });
    }

    /// A window of nothing hangs.
    #[test]
    fn map_buffersize_value_validation() {
        in_time(|| assert_eq!(pool(1).map([pow().call((2, 2))]).window(0).count(), 1));
    }

    /// An input without end is read to its end.
    #[test]
    fn map_buffersize_on_infinite_iterable() {
        in_time(|| {
            let pool = pool(2);
            let mut map = pool.map((0..).map(|n| pow().call((n, 2)))).window(2);
            assert_eq!(map.by_ref().take(3).map(|n| *n.unwrap()).collect::<Vec<_>>(), [0, 1, 4]);
        });
    }

    /// Nothing is waited for.
    #[test]
    fn map_buffersize_on_empty_iterable() {
        in_time(|| {
            assert!(pool(1).map(Vec::<memopool::Call<(u64, u32), u64>>::new()).window(2).next().is_none())
        });
    }

    /// More is pulled from the input than the window holds.
    #[test]
    fn map_buffersize_when_buffer_is_full() {
        in_time(|| {
            let (pool, pulled) = (pool(1), Counter::default());
            let count = pulled.clone();
            let mut map =
                pool.map((0..10).inspect(move |_| _ = count.up()).map(|n| pow().call((n, 2)))).window(4);
            assert_eq!(pulled.get(), 0);
            let _first = map.next();
            pool.spawn(|| ()).wait().unwrap();
            assert_eq!(pulled.get(), 4, "and no more, though all of them are done");
        });
    }
}

mod thread_pool {
    use super::*;

    /// There `map` submits everything before it is iterated; here nothing, and what was not asked for is not paid for.
    #[test]
    fn map_submits_without_iteration() {
        in_time(|| {
            let pool = pool(1);
            drop(pool.map((0..10).map(|n| pow().call((n, 2)))));
            assert_eq!(pool.stats().submitted, 0);
        });
    }

    /// A pool without settings has no threads, or far too many.
    #[test]
    fn default_workers() {
        in_time(|| {
            let (pool, gate) = (Pool::new(), Gate::default());
            let tasks: Vec<_> = (0..200)
                .map(|_| {
                    let gate = gate.clone();
                    pool.spawn(move || gate.pass())
                })
                .collect();
            let width = thread::available_parallelism().unwrap().get() as u64;
            until(|| pool.stats().running == width);
            assert_eq!(pool.stats().threads, width);
            gate.open();
            assert_eq!(wait(&tasks, Until::All, None).done.len(), 200);
        });
    }

    /// A busy pool stays at fewer threads than it may have.
    #[test]
    fn saturation() {
        in_time(|| {
            let (pool, gate) = (pool(4), Gate::default());
            for _ in 0..60 {
                let gate = gate.clone();
                drop(pool.spawn(move || gate.pass()));
            }
            until(|| pool.stats().running == 4);
            assert_eq!((pool.stats().threads, pool.stats().queued), (4, 56));
            gate.open();
        });
    }

    /// Each task starts a thread, though others are idle.
    #[test]
    fn idle_thread_reuse() {
        in_time(|| {
            let pool = pool(100);
            for n in 0..20 {
                pool.run(pow().call((n, 2))).unwrap();
                until(|| pool.stats().running == 0);
            }
            assert!(pool.stats().threads <= 2, "{}", pool.stats().threads);
        });
    }

    /// A body that drops the iterator it is part of cancels itself, or hangs (their issue with `map` and `cancel`).
    #[test]
    fn executor_map_current_future_cancel() {
        in_time(|| {
            let (pool, gate, started) = (pool(1), Gate::default(), Gate::default());
            let func = Func::named("cpython::stops").resource((gate.clone(), started.clone())).func(
                |(gate, started), n: u64| {
                    started.open();
                    gate.pass();
                    n
                },
            );
            let mut map = pool.map((0..5).map(|n| func.call(n))).timeout(Duration::from_millis(2));
            assert!(map.next().unwrap().unwrap_err().is_timeout());
            drop(map);
            gate.open();
            pool.shutdown();
            assert!(pool.stats().computed <= 1, "only what was running");
        });
    }
}

mod future {
    use super::*;

    /// What a callback heard.
    fn heard(task: &Task<u64>) -> std::sync::mpsc::Receiver<Result<u64, Error>> {
        let (send, receive) = channel();
        task.on_done(move |result| send.send(result.clone().map(|n| *n)).unwrap());
        receive
    }

    /// A callback does not hear the result.
    #[test]
    fn done_callback_with_result() {
        in_time(|| {
            let all = futures();
            let heard = heard(&all.pending);
            all.gate.open();
            assert_eq!(heard.recv().unwrap().unwrap(), 2);
        });
    }

    /// A callback does not hear of an error.
    #[test]
    fn done_callback_with_exception() {
        in_time(|| {
            let (pool, gate) = held_pool();
            let heard = heard(&pool.submit(divide().call((1, 0))));
            gate.open();
            assert!(heard.recv().unwrap().unwrap_err().is_failed());
        });
    }

    /// A callback does not hear of a cancellation.
    #[test]
    fn done_callback_with_cancel() {
        in_time(|| {
            let all = futures();
            let heard = heard(&all.pending);
            assert!(all.pending.cancel());
            assert!(heard.try_recv().unwrap().unwrap_err().is_cancelled(), "at once");
            all.gate.open();
        });
    }

    /// One callback that panics keeps the others from being called.
    #[test]
    fn done_callback_raises() {
        in_time(|| {
            let all = futures();
            let before = heard(&all.pending);
            all.pending.on_done(|_| resume_unwind(Box::new("in a callback")));
            let after = heard(&all.pending);
            all.gate.open();
            assert!(before.recv().unwrap().is_ok() && after.recv().unwrap().is_ok());
            assert_usable(&all.pool);
        });
    }

    /// A callback that comes late is never called.
    #[test]
    fn done_callback_already_successful() {
        in_time(|| {
            let all = futures();
            assert_eq!(heard(&all.successful).try_recv().unwrap().unwrap(), 42);
            all.gate.open();
        });
    }

    /// A callback that comes late is never called.
    #[test]
    fn done_callback_already_failed() {
        in_time(|| {
            let all = futures();
            assert!(heard(&all.failed).try_recv().unwrap().unwrap_err().is_failed());
            all.gate.open();
        });
    }

    /// A callback that comes late is never called.
    #[test]
    fn done_callback_already_cancelled() {
        in_time(|| {
            let all = futures();
            assert!(heard(&all.cancelled).try_recv().unwrap().unwrap_err().is_cancelled());
            all.gate.open();
        });
    }

    /// A callback that panics takes the one down who added it.
    #[test]
    fn done_callback_raises_already_succeeded() {
        in_time(|| {
            let all = futures();
            all.successful.on_done(|_| resume_unwind(Box::new("in a callback")));
            all.gate.open();
        });
    }

    /// A task does not say in which state it is.
    #[test]
    fn repr() {
        in_time(|| {
            let all = futures();
            for (task, state) in [
                (&all.pending, "queued"),
                (&all.running, "running"),
                (&all.cancelled, "cancelled"),
                (&all.failed, "failed"),
                (&all.successful, "done"),
            ] {
                assert!(format!("{task:?}").contains(state), "{task:?}");
            }
            all.gate.open();
        });
    }

    /// `cancel` says yes where it did nothing, or no where it did.
    #[test]
    fn cancel() {
        in_time(|| {
            let all = futures();
            assert!(all.pending.cancel());
            assert!(all.running.cancel(), "there it refuses; here the handle is done, and the body is told");
            assert!(!all.cancelled.cancel(), "there it says yes again");
            assert!(!all.failed.cancel() && !all.successful.cancel());
            all.gate.open();
        });
    }

    /// A state is claimed of a task that is in another.
    #[test]
    fn cancelled_done_and_running() {
        in_time(|| {
            let all = futures();
            let states = |task: &Task<u64>| (task.is_cancelled(), task.is_done(), task.is_running());
            assert_eq!(states(&all.pending), (false, false, false));
            assert_eq!(states(&all.running), (false, false, true));
            assert_eq!(states(&all.cancelled), (true, true, false));
            assert_eq!(states(&all.failed), (false, true, false));
            assert_eq!(states(&all.successful), (false, true, false));
            all.gate.open();
        });
    }

    /// A wait with a timeout waits, though the answer is there or can't come in time.
    #[test]
    fn result_with_timeout() {
        in_time(|| {
            let all = futures();
            let zero = Duration::ZERO;
            assert!(all.pending.wait_timeout(zero).unwrap_err().is_timeout());
            assert!(all.running.wait_timeout(zero).unwrap_err().is_timeout());
            assert!(all.cancelled.wait_timeout(zero).unwrap_err().is_cancelled());
            assert!(all.failed.wait_timeout(zero).unwrap_err().is_failed());
            assert_eq!(*all.successful.wait_timeout(zero).unwrap(), 42);
            all.gate.open();
        });
    }

    /// A waiter is not woken by the result.
    #[test]
    fn result_with_success() {
        in_time(|| {
            let all = futures();
            thread::scope(|scope| {
                let waiter = scope.spawn(|| *all.pending.wait().unwrap());
                all.gate.open();
                assert_eq!(waiter.join().unwrap(), 2);
            });
        });
    }

    /// A waiter is not woken by a cancellation.
    #[test]
    fn result_with_cancel() {
        in_time(|| {
            let all = futures();
            thread::scope(|scope| {
                let waiter = scope.spawn(|| all.pending.wait().unwrap_err());
                assert!(all.pending.cancel());
                assert!(waiter.join().unwrap().is_cancelled());
            });
            all.gate.open();
        });
    }

    /// The error of a task can't be asked for without waiting.
    #[test]
    fn exception_with_timeout() {
        in_time(|| {
            let all = futures();
            let error = |task: &Task<u64>| task.wait_timeout(Duration::ZERO).err();
            assert!(
                error(&all.pending).unwrap().is_timeout() && error(&all.cancelled).unwrap().is_cancelled()
            );
            assert!(error(&all.failed).unwrap().is_failed() && error(&all.successful).is_none());
            all.gate.open();
        });
    }

    /// A waiter is not woken by an error.
    #[test]
    fn exception_with_success() {
        in_time(|| {
            let (pool, gate) = held_pool();
            let task = pool.submit(divide().call((1, 0)));
            thread::scope(|scope| {
                let waiter = scope.spawn(|| task.wait().unwrap_err());
                gate.open();
                assert!(waiter.join().unwrap().is_failed());
            });
        });
    }
}

mod waiting {
    use super::*;

    fn counts(tasks: &[&Task<u64>], until: Until, timeout: Option<Duration>) -> (usize, usize) {
        let tasks: Vec<_> = tasks.iter().map(|task| (*task).clone()).collect();
        let waited = wait(&tasks, until, timeout);
        (waited.done.len(), waited.pending.len())
    }

    /// The same task given twice fails the wait (their issue 20369).
    #[test]
    fn issue20369() {
        in_time(|| {
            let pool = pool(1);
            let task = pool.submit(pow().call((1, 1)));
            let waited = wait(&[task.clone(), task], Until::All, Some(Duration::from_secs(3600)));
            assert_eq!((waited.done.len(), waited.pending.len()), (1, 0));
        });
    }

    /// The first that is done does not end the wait.
    #[test]
    fn first_completed() {
        in_time(|| {
            let (pool, other) = (pool(1), pool(1));
            let gate = hold(&pool);
            let (held, free) = (pool.spawn(|| 1), other.spawn(|| 2));
            assert_eq!(counts(&[&held, &free], Until::First, None), (1, 1));
            gate.open();
        });
    }

    /// What was done before the wait does not end it.
    #[test]
    fn first_completed_some_already_completed() {
        in_time(|| {
            let all = futures();
            assert_eq!(counts(&[&all.cancelled, &all.successful, &all.pending], Until::First, None), (2, 1));
            all.gate.open();
        });
    }

    /// A result ends a wait for the first error, or an error does not.
    #[test]
    fn first_exception() {
        in_time(|| {
            let (pool, gate) = (pool(2), Gate::default());
            let held = pool.spawn({
                let gate = gate.clone();
                move || {
                    gate.pass();
                    1
                }
            });
            let (fine, fails) = (pool.submit(pow().call((2, 21))), pool.submit(divide().call((1, 0))));
            let (done, pending) = counts(&[&fine, &fails, &held], Until::FirstError, None);
            assert!(done >= 1 && pending >= 1 && fails.is_done());
            gate.open();
        });
    }

    /// Tasks that were done before hide an error that comes.
    #[test]
    fn first_exception_some_already_complete() {
        in_time(|| {
            let all = futures();
            let fails = pool(1).submit(divide().call((3, 0)));
            let waited = counts(&[&all.successful, &fails, &all.pending], Until::FirstError, None);
            assert_eq!(waited, (2, 1));
            all.gate.open();
        });
    }

    /// An error that was there before does not end the wait.
    #[test]
    fn first_exception_one_already_failed() {
        in_time(|| {
            let all = futures();
            assert_eq!(counts(&[&all.failed, &all.pending], Until::FirstError, None), (1, 1));
            all.gate.open();
        });
    }

    /// A wait for all ends early.
    #[test]
    fn all_completed() {
        in_time(|| {
            let all = futures();
            all.gate.open();
            let tasks = [&all.pending, &all.running, &all.cancelled, &all.failed, &all.successful];
            assert_eq!(counts(&tasks, Until::All, None), (5, 0));
        });
    }

    /// A wait with a timeout does not end, or not with what was done.
    #[test]
    fn timeout() {
        in_time(|| {
            let all = futures();
            let tasks = [&all.pending, &all.running, &all.cancelled, &all.failed, &all.successful];
            assert_eq!(counts(&tasks, Until::All, SHORT), (3, 2));
            all.gate.open();
        });
    }

    /// A wake-up between the look and the sleep is lost.
    #[test]
    fn pending_calls_race() {
        in_time(|| {
            let pool = pool(2);
            for n in 0..2000 {
                let tasks =
                    [pool.submit(pow().call((n, 1)).refresh()), pool.submit(pow().call((n, 2)).refresh())];
                assert_eq!(wait(&tasks, Until::All, None).done.len(), 2);
            }
        });
    }
}

mod completed {
    use super::*;

    /// A task is left out.
    #[test]
    fn no_timeout() {
        in_time(|| {
            let all = futures();
            let tasks = [&all.cancelled, &all.failed, &all.successful, &all.pending, &all.running];
            let tasks: Vec<_> = tasks.map(Clone::clone).into();
            let completed = as_completed(tasks.clone());
            all.gate.open();
            let yielded: BTreeSet<_> = completed.map(|task| task.unwrap().id()).collect();
            assert_eq!(yielded, tasks.iter().map(Task::id).collect());
        });
    }

    /// A deadline of zero yields nothing, or waits.
    #[test]
    fn future_times_out() {
        in_time(|| {
            let all = futures();
            for timeout in [Duration::ZERO, Duration::from_millis(2)] {
                let tasks = [&all.cancelled, &all.failed, &all.successful, &all.pending].map(Clone::clone);
                let yielded: Vec<_> = as_completed(tasks).timeout(timeout).collect();
                assert_eq!(yielded.iter().filter(|task| task.is_ok()).count(), 3);
                assert!(yielded[3].as_ref().unwrap_err().is_timeout());
            }
            all.gate.open();
        });
    }

    /// A task that is given twice is yielded twice.
    #[test]
    fn duplicate_futures() {
        in_time(|| {
            let task = pool(1).submit(pow().call((2, 2)));
            assert_eq!(as_completed([task.clone(), task]).count(), 1);
        });
    }

    /// The iterator keeps what it has yielded.
    #[test]
    fn free_reference_yielded_future() {
        in_time(|| {
            let all = futures();
            let object = Arc::new(7_u64);
            let weak = Arc::downgrade(&object);
            let other = pool(1);
            let made = other.spawn(move || object);
            made.wait().unwrap();
            let held = all.pending.clone();
            let later = other.spawn(move || held.wait().map(|_| Arc::new(0)).unwrap());
            // So the only worker has let go of the first.
            until(|| later.is_running());
            let mut completed = as_completed([made, later]);
            drop(completed.next().unwrap().unwrap());
            assert!(weak.upgrade().is_none(), "yielded, dropped, gone");
            all.gate.open();
            assert_eq!(completed.count(), 1);
        });
    }

    /// The message of a timeout counts wrongly.
    #[test]
    fn correct_timeout_exception_msg() {
        in_time(|| {
            let all = futures();
            let tasks = [&all.cancelled, &all.pending, &all.running, &all.successful].map(Clone::clone);
            let error = as_completed(tasks).timeout(Duration::ZERO).find_map(Result::err).unwrap();
            assert_eq!(error.to_string(), "2 of 4 tasks unfinished after 0ns");
            all.gate.open();
        });
    }
}

mod shutdown {
    use super::*;

    /// A pool that has ended takes work that nobody will do.
    #[test]
    fn run_after_shutdown() {
        in_time(|| {
            let pool = pool(1);
            pool.shutdown();
            assert!(pool.submit(pow().call((2, 5))).wait().unwrap_err().is_shutdown());
            assert!(pool.map([pow().call((2, 5))]).next().unwrap().unwrap_err().is_shutdown());
        });
    }

    /// A pool that is ended while much is queued hangs (their issue 12364).
    #[test]
    fn hang_issue12364() {
        in_time(|| {
            let (pool, gate) = held_pool();
            let tasks: Vec<_> = (0..50).map(|n| pool.spawn(move || n)).collect();
            thread::scope(|scope| {
                scope.spawn(|| pool.shutdown());
                gate.open();
                assert!(tasks.iter().all(|task| task.wait().is_ok()));
            });
        });
    }

    /// What has not started runs all the same, or hangs those who wait for it.
    #[test]
    fn cancel_futures() {
        in_time(|| {
            let (pool, gate) = held_pool();
            let runs = Counter::default();
            let tasks: Vec<_> = (0..50)
                .map(|_| {
                    let runs = runs.clone();
                    pool.spawn(move || runs.up())
                })
                .collect();
            thread::scope(|scope| {
                scope.spawn(|| pool.shutdown_now());
                assert!(tasks.iter().all(|task| task.wait().unwrap_err().is_shutdown()));
                gate.open();
            });
            assert_eq!(runs.get(), 0);
        });
    }

    /// Threads outlive the pool.
    #[test]
    fn threads_terminate() {
        in_time(|| {
            let pool = pool(3);
            pool.submit_all((0..3).map(|n| pow().call((n, 2)))).iter().for_each(|task| _ = task.wait());
            pool.shutdown();
            assert_eq!(pool.stats().threads, 0);
        });
    }

    /// Leaving the scope leaves work behind.
    #[test]
    fn context_manager_shutdown() {
        in_time(|| {
            let tasks = {
                let pool = pool(5);
                pool.submit_all((0..100).map(|n| pow().call((n, 2))))
            };
            assert!(tasks.iter().all(Task::is_done));
        });
    }

    /// Dropping the last handle leaves threads behind, or loses what was asked for.
    #[test]
    fn del_shutdown() {
        in_time(|| {
            let (pool, done) = (pool(5), Counter::default());
            let clone = pool.clone();
            let count = done.clone();
            let _task = clone.spawn(move || count.up());
            drop(pool);
            assert!(!clone.spawn(|| 1).is_done() || done.get() <= 1, "another handle keeps it open");
            drop(clone);
            assert_eq!(done.get(), 1);
        });
    }

    /// An end that does not wait loses what was queued.
    #[test]
    fn shutdown_no_wait() {
        in_time(|| {
            let (pool, gate) = held_pool();
            let results = pool.submit_all((0..5).map(|n| pow().call((n, 2))));
            assert!(pool.shutdown_timeout(Duration::ZERO).is_err());
            gate.open();
            assert!(results.iter().all(|task| task.wait().is_ok()));
        });
    }

    /// Threads have no names, or not those that were asked for.
    #[test]
    fn thread_names() {
        in_time(|| {
            for (pool, prefix) in [
                (build(Pool::builder().threads(1).name("SpecialPool")), "SpecialPool-"),
                (pool(1), "memopool-"),
            ] {
                let name = pool.spawn(|| thread::current().name().unwrap_or_default().to_owned());
                assert!(name.wait().unwrap().starts_with(prefix));
            }
        });
    }

    /// An end that neither waits nor finishes leaves waiters behind.
    #[test]
    fn cancel_futures_wait_false() {
        in_time(|| {
            let (pool, gate) = held_pool();
            let queued = pool.spawn(|| 1);
            let inside = hold_and_end(&pool);
            assert!(queued.wait().unwrap_err().is_shutdown());
            gate.open();
            drop(inside);
        });

        /// Ends the pool from another thread, without waiting for that.
        fn hold_and_end(pool: &Pool) -> thread::JoinHandle<()> {
            let pool = pool.clone();
            thread::spawn(move || pool.shutdown_now())
        }
    }
}

mod init {
    use super::*;

    /// Threads start without what they were to be prepared with.
    #[test]
    fn initializer() {
        in_time(|| {
            thread_local!(static READY: std::cell::Cell<u64> = const { std::cell::Cell::new(0) });
            let pool = build(Pool::builder().threads(3).on_thread_start(|| READY.set(5)));
            let seen: Vec<_> = (0..20).map(|_| pool.spawn(|| READY.get())).collect();
            assert!(seen.iter().all(|task| *task.wait().unwrap() == 5));
        });
    }

    /// There a failing initializer breaks the pool and all its tasks; here it costs nothing but itself.
    #[test]
    fn failing_initializer() {
        in_time(|| {
            let pool = build(Pool::builder().threads(2).on_thread_start(|| resume_unwind(Box::new("no"))));
            assert_usable(&pool);
        });
    }
}

/// What hangs or misleads there.
mod misleads {
    use super::*;

    /// There a cancelled task counts as pending in `wait` until a worker gets to it: behind a long one, the wait hangs.
    #[test]
    fn a_cancelled_task_in_wait() {
        in_time(|| {
            let all = futures();
            for until in [Until::All, Until::First, Until::FirstError] {
                assert_eq!(wait(std::slice::from_ref(&all.cancelled), until, None).done.len(), 1);
            }
            assert!(all.running.cancel());
            assert_eq!(
                wait(std::slice::from_ref(&all.running), Until::All, None).done.len(),
                1,
                "and a running one, too"
            );
            all.gate.open();
        });
    }

    /// There a task that the end of the pool cancels is never yielded by an `as_completed` that waits for it.
    #[test]
    fn cancelled_by_shutdown_in_as_completed() {
        in_time(|| {
            let (pool, gate) = held_pool();
            let completed = as_completed((0..3).map(|n| pool.spawn(move || n)).collect::<Vec<Task<u64>>>());
            thread::scope(|scope| {
                let reader = scope
                    .spawn(|| completed.map(|task| task.unwrap().wait().unwrap_err()).collect::<Vec<_>>());
                scope.spawn(|| pool.shutdown_now());
                assert!(reader.join().unwrap().iter().all(Error::is_shutdown));
                gate.open();
            });
        });
    }

    /// There a callback that ends its thread (`SystemExit` and the like) takes the only worker with it.
    #[test]
    fn a_callback_that_panics_on_a_one_thread_pool() {
        in_time(|| {
            let (pool, gate) = held_pool();
            for _ in 0..5 {
                pool.spawn(|| ()).on_done(|_| resume_unwind(Box::new("out")));
            }
            gate.open();
            assert_usable(&pool);
            assert_eq!(pool.stats().threads, 1);
        });
    }

    /// There a task that submits another and waits for it deadlocks on one worker.
    #[test]
    fn nested_submit_on_one_worker() {
        in_time(|| {
            let pool = pool(1);
            let outer = pool.spawn(|| {
                let pool = Pool::current().expect("inside a task");
                *pool.submit(pow().call((5, 2))).wait().unwrap()
            });
            assert_eq!(*outer.wait().unwrap(), 25);
        });
    }

    /// There the deadline of `as_completed` starts with the first `next`, however late that is.
    #[test]
    fn a_deadline_that_starts_late() {
        in_time(|| {
            let all = futures();
            let timeout = Duration::from_millis(10);
            let mut completed = as_completed([all.pending.clone()]).timeout(timeout);
            let started = std::time::Instant::now();
            until(|| started.elapsed() > timeout);
            let late = std::time::Instant::now();
            assert!(completed.next().unwrap().unwrap_err().is_timeout());
            assert!(late.elapsed() < Duration::from_secs(10));
            all.gate.open();
        });
    }
}
