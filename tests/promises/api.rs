//! Settings, errors, and many tasks at once.

use std::collections::{BTreeSet, HashSet};
use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use memopool::{
    DEFAULT_MEMORY, DEFAULT_WINDOW, Error, Func, MIN_STACK_SIZE, Map, Pool, Source, Task, Until,
    as_completed, memo, wait,
};

use crate::{Counter, Gate, assert_usable, build, held_pool, hold, in_time, pool, until};

fn square() -> Func<u64, u64> {
    Func::new("api::square", |n: u64| n * n)
}

/// A wrong setting is found out at run time, or its message does not say which one it was and what would do.
#[test]
fn wrong_settings_are_named_by_build() {
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
    let empty = 3..=1;
    let wrong = [
        (Pool::builder().threads(0), "threads"),
        (Pool::builder().threads(0..=0), "threads"),
        (Pool::builder().threads(empty.clone()), "threads"),
        (Pool::builder().threads(4).max_os_threads(3), "max_os_threads"),
        (Pool::builder().max_os_threads(0), "max_os_threads"),
        (Pool::builder().queue(0), "queue"),
        (Pool::builder().stack_size(MIN_STACK_SIZE - 1), "stack_size"),
        (Pool::builder().name("a\0b"), "name"),
    ];
    for (builder, culprit) in wrong {
        let error = builder.build().unwrap_err();
        assert!(error.is_invalid(), "{culprit}: {error}");
        assert!(error.to_string().starts_with(culprit), "{culprit}: {error}");
        assert!(error.to_string().len() > culprit.len() + 20, "{error}");
    }
    let pool = pool(2);
    for error in [pool.resize(0).unwrap_err(), pool.resize(empty).unwrap_err()] {
        assert!(error.is_invalid() && error.to_string().starts_with("threads"), "{error}");
    }
    pool.resize(1..=600).unwrap();
}

/// A setting at the edge of what is allowed breaks the pool.
#[test]
fn extreme_settings_work() {
    in_time(|| {
        let extremes = [
            Pool::builder().threads(usize::MAX),
            Pool::builder().threads(1).max_os_threads(1).queue(1),
            Pool::builder().threads(1).max_os_threads(usize::MAX).queue(usize::MAX),
            Pool::builder().threads(2).keep_alive(Duration::ZERO),
            Pool::builder().threads(1..=2).keep_alive(Duration::from_nanos(1)),
            Pool::builder().threads(2).keep_alive(Duration::MAX),
            Pool::builder().threads(1).stack_size(MIN_STACK_SIZE),
            Pool::builder().threads(1).memory(u64::MAX),
            Pool::builder().threads(1).name(""),
        ];
        for builder in extremes {
            let pool = build(builder);
            assert_usable(&pool);
            assert_usable(&pool);
        }
        assert_usable(&Pool::new());
        const { assert!(DEFAULT_MEMORY > 0 && DEFAULT_WINDOW > 0) };
    });
}

/// A timeout without end, as configuration files write it, panics.
#[test]
fn durations_without_end_are_no_deadlines() {
    in_time(|| {
        let pool = pool(2);
        let endless = square().timeout(Duration::MAX).ttl(Duration::MAX).cost_above(Duration::ZERO);
        assert_eq!(*pool.run(endless.call(3)).unwrap(), 9);
        assert_eq!(*pool.run(endless.call(3)).unwrap(), 9);
        assert_eq!(pool.stats().memory_hits, 1);
        let task = pool.submit(endless.call(4));
        assert_eq!(*task.wait_timeout(Duration::MAX).unwrap(), 16);
        let tasks = [pool.submit(endless.call(5))];
        assert_eq!(wait(&tasks, Until::All, Some(Duration::MAX)).done.len(), 1);
        assert!(as_completed(tasks).timeout(Duration::MAX).all(|task| task.is_ok()));
        assert_eq!(pool.map([endless.call(6)]).timeout(Duration::MAX).count(), 1);
        pool.shutdown_timeout(Duration::MAX).unwrap();
    });
}

/// The threads of a pool can't be told apart in a debugger, or the hook does not run on each of them.
#[test]
fn threads_are_named_and_greeted() {
    in_time(|| {
        let started = Arc::new(Mutex::new(HashSet::new()));
        let pool = build(Pool::builder().threads(2).name("etl").on_thread_start({
            let started = Arc::clone(&started);
            move || _ = started.lock().unwrap().insert(thread::current().id())
        }));
        let who = pool.spawn(|| (thread::current().id(), thread::current().name().map(str::to_owned)));
        let (id, name) = who.wait().unwrap().as_ref().clone();
        assert!(name.unwrap().starts_with("etl-"));
        assert!(started.lock().unwrap().contains(&id));
    });
}

/// An error that could be one of two kinds is handled as the wrong one.
#[test]
fn each_error_has_one_nature() {
    in_time(|| {
        let (held, gate) = held_pool();
        let nature = |error: &Error| {
            let is = [
                ("failed", error.is_failed()),
                ("panic", error.is_panic()),
                ("cancelled", error.is_cancelled()),
                ("timeout", error.is_timeout()),
                ("cycle", error.is_cycle()),
                ("shutdown", error.is_shutdown()),
                ("full", error.is_full()),
                ("invalid", error.is_invalid()),
                ("store", error.is_store()),
            ];
            let is: Vec<_> = is.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
            assert_eq!(is.len(), 1, "{error}: {is:?}");
            assert!(format!("{error:?}").contains(is[0]), "{error:?}");
            assert!(!error.to_string().is_empty() && !error.to_string().ends_with('.'), "{error}");
            is[0]
        };
        let fails = Func::fallible("api::fails", |_: u64| "x".parse::<u64>());
        let panics = Func::new("api::panics", |_: u64| -> u64 { resume_unwind(Box::new("boom")) });
        let pool = pool(1);
        let failed = pool.run(fails.call(1)).unwrap_err();
        assert_eq!(nature(&failed), "failed");
        assert_eq!(failed.to_string(), "`api::fails` failed: invalid digit found in string");
        assert!(failed.source().unwrap().is::<std::num::ParseIntError>());
        assert!(failed.downcast_ref::<std::fmt::Error>().is_none());
        let panic = pool.run(panics.call(1)).unwrap_err();
        assert_eq!((nature(&panic), panic.to_string().as_str()), ("panic", "`api::panics` panicked: boom"));
        assert!(panic.source().is_none() && failed.panic_message().is_none());
        let queued = held.submit(square().call(1));
        let late = queued.wait_timeout(Duration::from_millis(2)).unwrap_err();
        assert_eq!(
            (nature(&late), late.to_string().as_str()),
            ("timeout", "the task was not done within 2ms")
        );
        queued.cancel();
        let cancelled = queued.wait().unwrap_err();
        assert_eq!(
            (nature(&cancelled), cancelled.to_string().as_str()),
            ("cancelled", "the task was cancelled")
        );
        gate.open();
        pool.shutdown();
        let shut = pool.run(square().call(1)).unwrap_err();
        assert_eq!((nature(&shut), shut.to_string().as_str()), ("shutdown", "the pool is shut down"));
        let invalid = Pool::builder().threads(0).build().unwrap_err();
        assert_eq!(nature(&invalid), "invalid");
        assert_eq!(invalid.to_string(), "threads(0..=0): a pool needs at least one thread");
        let boxed: Box<dyn std::error::Error + Send + Sync> = failed.clone().into();
        assert_eq!(boxed.to_string(), failed.to_string());
    });
}

/// A task can't be sent to, or shared with, another thread.
#[test]
fn tasks_and_pools_are_send_and_sync() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Task<Vec<u8>>>();
    shared::<Pool>();
    shared::<Error>();
    shared::<Func<(String, u64), Vec<u8>>>();
    fn sent<T: Send>() {}
    sent::<memopool::Call<String, u64>>();
    sent::<memopool::AsCompleted<u64>>();
    sent::<Map<std::vec::IntoIter<memopool::Call<u64, u64>>, u64>>();
}

/// Two submissions have one number, or clones of one have two.
#[test]
fn task_ids_name_submissions() {
    in_time(|| {
        let pool = pool(2);
        let tasks: Vec<_> = (0..4)
            .flat_map(|_| {
                thread::scope(|scope| {
                    scope.spawn(|| pool.submit_all((0..50).map(|n| square().call(n % 5)))).join()
                })
            })
            .flatten()
            .collect();
        let ids: BTreeSet<_> = tasks.iter().map(Task::id).collect();
        assert_eq!(ids.len(), 200);
        assert!(tasks.iter().all(|task| task.clone().id() == task.id()));
    });
}

/// Counts how many calls were pulled out of it.
fn pulled(
    pulled: &Counter,
    calls: impl Iterator<Item = u64>,
) -> impl Iterator<Item = memopool::Call<u64, u64>> {
    calls
        .inspect({
            let pulled = pulled.clone();
            move |_| _ = pulled.up()
        })
        .map(|n| square().call(n))
}

/// `map` mixes up the order, or runs ahead of its reader without end.
#[test]
fn map_is_ordered_and_pulls_exactly_its_window() {
    in_time(|| {
        for unordered in [false, true] {
            let (pool, count) = (pool(2), Counter::default());
            let map = pool.map(pulled(&count, 0..)).window(10);
            let mut map = if unordered { map.unordered() } else { map };
            assert_eq!((count.get(), pool.stats().submitted), (0, 0), "nothing before the first `next`");
            let mut squares = Vec::new();
            for taken in 1..=100 {
                squares.push(*map.next().unwrap().unwrap());
                // Ten ahead of what was taken out before.
                assert_eq!(count.get(), 9 + taken);
                assert_eq!(pool.stats().submitted, count.get());
            }
            if unordered {
                assert_eq!(squares.iter().collect::<BTreeSet<_>>().len(), 100);
            } else {
                assert!(squares.iter().enumerate().all(|(n, square)| *square == (n * n) as u64));
            }
            drop(map);
            assert_usable(&pool);
        }
        let pool = pool(2);
        assert_eq!(pool.map((0..5).map(|n| square().call(n))).window(0).count(), 5, "at least one");
        assert_eq!(pool.map(Vec::<memopool::Call<u64, u64>>::new()).count(), 0);
        assert_eq!(
            pool.map((0..5000).map(|n| square().call(n))).count(),
            5000,
            "more than the default window"
        );
    });
}

/// One bad input ends the whole job.
#[test]
fn map_goes_on_after_errors() {
    in_time(|| {
        let pool = pool(2);
        let func = Func::fallible("api::sometimes", |n: u64| match n % 4 {
            0 => Err("four"),
            1 => resume_unwind(Box::new("five")),
            _ => Ok(n),
        });
        let results: Vec<_> = pool.map((0..40).map(|n| func.call(n))).collect();
        assert_eq!(results.len(), 40);
        for (n, result) in results.iter().enumerate() {
            match n % 4 {
                0 => assert!(result.as_ref().unwrap_err().is_failed()),
                1 => assert!(result.as_ref().unwrap_err().is_panic()),
                _ => assert_eq!(**result.as_ref().unwrap(), n as u64),
            }
        }
        let fallible: Result<Vec<_>, Error> = pool.map((0..40).map(|n| func.call(n))).collect();
        assert!(fallible.is_err());
    });
}

/// A reader that stops early leaves a thousand jobs behind.
#[test]
fn dropping_a_map_cancels_what_is_queued() {
    in_time(|| {
        let pool = pool(1);
        let (runs, second, gate) = (Counter::default(), Gate::default(), Gate::default());
        let all = (runs.clone(), second.clone(), gate.clone());
        let func = Func::named("api::dropped").resource(all).func(|(runs, second, gate), n: u64| {
            if n > 0 {
                second.open();
                gate.pass();
            }
            runs.up()
        });
        let mut map = pool.map((0..100).map(|n| func.call(n)));
        assert!(map.next().unwrap().is_ok());
        let mine = pool.submit(func.call(50));
        second.pass();
        drop(map);
        assert!(pool.stats().queued <= 1, "{}", pool.stats().queued);
        gate.open();
        mine.wait().unwrap();
        pool.shutdown();
        assert_eq!(runs.get(), 3, "the first, the one that ran, and the one that somebody else wants");
    });
}

/// A panic of the input hangs the reader, or loses what was in flight.
#[test]
fn a_panic_of_the_input_reaches_the_reader() {
    in_time(|| {
        let pool = pool(2);
        let calls = (0..10).map(|n| {
            if n == 5 {
                resume_unwind(Box::new("bad input"));
            }
            square().call(n)
        });
        let mut map = pool.map(calls);
        let panic = catch_unwind(AssertUnwindSafe(|| map.next())).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"bad input"));
        let rest: Vec<u64> = map.map(|result| *result.unwrap()).collect();
        assert_eq!(rest, [0, 1, 4, 9, 16, 36, 49, 64, 81], "for whoever asks on");
        assert_usable(&pool);
    });
}

/// `map` with a deadline goes on after it, or does not say how much is missing.
#[test]
fn map_ends_at_its_deadline() {
    in_time(|| {
        for unordered in [false, true] {
            let pool = pool(1);
            let gate = hold(&pool);
            let map = pool.map((0..5).map(|n| square().call(n))).timeout(Duration::from_millis(5));
            let mut map = if unordered { map.unordered() } else { map };
            let error = map.next().unwrap().unwrap_err();
            assert!(error.is_timeout(), "{error}");
            assert_eq!(error.to_string(), "5 of 5 tasks unfinished after 5ms");
            assert!(map.next().is_none());
            assert_eq!(pool.stats().queued, 0, "what has not started is cancelled");
            gate.open();
            assert_usable(&pool);
        }
    });
}

/// `map` with a deadline waits for room in the queue, whatever the deadline says.
#[test]
fn a_maps_deadline_holds_at_a_full_queue() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1).queue(2));
        let gate = hold(&pool);
        // Opened when the test is over for good or bad, so that the pool can end.
        let (send, receive) = std::sync::mpsc::channel();
        let other = pool.clone();
        let reader = thread::spawn(move || {
            let mut map = other.map((0..5).map(|n| square().call(n))).timeout(Duration::from_millis(5));
            send.send(map.next().unwrap().map(|n| *n)).unwrap();
        });
        let result = receive.recv_timeout(Duration::from_secs(10));
        gate.open();
        reader.join().unwrap();
        assert!(result.expect("it is back long before").unwrap_err().is_timeout());
    });
}

/// Results that are there wait for slower ones before them, though order is of no interest.
#[test]
fn an_unordered_map_yields_what_is_done() {
    in_time(|| {
        let pool = pool(2);
        let gate = Gate::default();
        let func = Func::named("api::unordered").resource(gate.clone()).func(|gate, n: u64| {
            if n == 0 {
                gate.pass();
            }
            n
        });
        let mut map = pool.map((0..10).map(|n| func.call(n))).unordered();
        let first: BTreeSet<u64> = map.by_ref().take(9).map(|result| *result.unwrap()).collect();
        assert_eq!(first, (1..10).collect());
        gate.open();
        assert_eq!(map.map(|result| *result.unwrap()).collect::<Vec<_>>(), [0]);
    });
}

/// `map` inside a task waits for a thread that it holds itself.
#[test]
fn maps_nest() {
    in_time(|| {
        let rows = Func::new("api::rows", |n: u64| {
            let pool = Pool::current().expect("inside a task");
            pool.map((0..n).map(|n| square().call(n))).window(3).map(|n| *n.unwrap()).sum::<u64>()
        });
        for threads in [1, 3] {
            let pool = pool(threads);
            let sums: Vec<u64> = pool.map((0..20).map(|n| rows.call(n))).map(|n| *n.unwrap()).collect();
            assert_eq!(sums[19], 2109);
        }
    });
}

/// `as_completed` yields a task twice, leaves one out, or makes those that are done wait for the others.
#[test]
fn as_completed_yields_each_task_once_and_the_done_ones_first() {
    in_time(|| {
        let pool = pool(1);
        let done = pool.submit(square().call(2));
        done.wait().unwrap();
        let gate = hold(&pool);
        let queued = pool.submit(square().call(3));
        let tasks = [queued.clone(), done.clone(), queued.clone(), done.clone()];
        let mut completed = as_completed(tasks);
        assert_eq!(completed.next().unwrap().unwrap().id(), done.id());
        gate.open();
        assert_eq!(completed.next().unwrap().unwrap().id(), queued.id());
        assert!(completed.next().is_none() && completed.next().is_none());
        assert_eq!(as_completed(Vec::<Task<u64>>::new()).count(), 0);
    });
}

/// A deadline of `as_completed` does not say how much was missing, or throws away the work.
#[test]
fn as_completed_says_how_many_are_unfinished() {
    in_time(|| {
        let pool = pool(1);
        let done = pool.submit(square().call(2));
        done.wait().unwrap();
        let gate = hold(&pool);
        let mut tasks = pool.submit_all((10..13).map(|n| square().call(n)));
        tasks.push(done);
        let mut completed = as_completed(tasks.clone()).timeout(Duration::from_millis(5));
        assert!(completed.next().unwrap().is_ok());
        let error = completed.next().unwrap().unwrap_err();
        assert!(error.is_timeout());
        assert_eq!(error.to_string(), "3 of 4 tasks unfinished after 5ms");
        assert!(completed.next().is_none());
        gate.open();
        assert!(tasks.iter().all(|task| task.wait().is_ok()), "the work goes on");
    });
}

/// `as_completed` waits for tasks that fail, panic or are cancelled.
#[test]
fn as_completed_yields_failures_too() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let func = Func::fallible("api::bad", |n: u64| match n {
            0 => Err("zero"),
            1 => resume_unwind(Box::new("one")),
            _ => Ok(n),
        });
        let tasks = pool.submit_all((0..4).map(|n| func.call(n)));
        let mut completed = as_completed(tasks.clone());
        assert!(tasks[3].cancel());
        assert!(completed.next().unwrap().unwrap().is_cancelled());
        gate.open();
        let natures: Vec<_> = completed.map(|task| task.unwrap().wait().is_ok()).collect();
        assert_eq!((natures.len(), natures.iter().filter(|ok| **ok).count()), (3, 1));
    });
}

/// `wait` returns too early, too late, or sorts its tasks wrongly.
#[test]
fn wait_until_all_first_and_first_error() {
    in_time(|| {
        let pool = pool(4);
        let gates: Vec<Gate> = (0..3).map(|_| Gate::default()).collect();
        let func = Func::named("api::waited").resource(gates.clone()).fallible(|gates, n: usize| {
            gates[n].pass();
            if n == 1 { Err("one") } else { Ok(n) }
        });
        let tasks = pool.submit_all((0..3).map(|n| func.call(n)));
        let ids = |tasks: &[Task<usize>]| tasks.iter().map(Task::id).collect::<Vec<_>>();
        let short = Some(Duration::from_millis(2));
        for until in [Until::All, Until::First, Until::FirstError] {
            let waited = wait(&tasks, until, short);
            assert_eq!((waited.done.len(), waited.pending.len()), (0, 3), "{until:?}");
        }
        gates[2].open();
        let waited = wait(&tasks, Until::First, None);
        assert_eq!((ids(&waited.done), ids(&waited.pending)), (vec![tasks[2].id()], ids(&tasks[..2])));
        let waited = wait(&tasks, Until::FirstError, short);
        assert_eq!(waited.done.len(), 1, "a value is no error");
        gates[1].open();
        let waited = wait(&tasks, Until::FirstError, None);
        assert_eq!(ids(&waited.done), ids(&tasks[1..]), "in the order in which they were given");
        gates[0].open();
        let doubled = [tasks.clone(), tasks.clone()].concat();
        let waited = wait(&doubled, Until::All, None);
        assert_eq!((ids(&waited.done), waited.pending.len()), (ids(&tasks), 0), "each once");
        for until in [Until::All, Until::First, Until::FirstError] {
            let waited = wait(&Vec::<Task<u64>>::new(), until, None);
            assert!(waited.done.is_empty() && waited.pending.is_empty());
        }
    });
}

/// `wait` sleeps on when a task is cancelled under it.
#[test]
fn a_cancelled_task_counts_as_done_and_as_an_error() {
    in_time(|| {
        for kind in [Until::All, Until::First, Until::FirstError] {
            let (pool, gate) = held_pool();
            let tasks = [pool.submit(square().call(1))];
            thread::scope(|scope| {
                let waiter = scope.spawn(|| wait(&tasks, kind, None));
                (0..100).for_each(|_| thread::yield_now());
                assert!(tasks[0].cancel());
                assert_eq!(waiter.join().unwrap().done.len(), 1, "{kind:?}");
            });
            gate.open();
        }
    });
}

/// Calls of different functions can't be submitted together.
#[test]
fn boxed_calls_mix() {
    #[memo(name = "api::word_count")]
    fn word_count(text: &str) -> u64 {
        text.split_whitespace().count() as u64
    }
    in_time(|| {
        let pool = pool(2);
        let text = String::from("to be or not to be");
        let calls =
            [word_count::call(&text).boxed(), square().call(3).boxed(), square().call(3).boxed().boxed()];
        assert_eq!(calls[1].key(), square().call(3).key());
        let tasks = pool.submit_all(calls);
        assert_eq!(tasks.iter().map(|task| *task.wait().unwrap()).collect::<Vec<_>>(), [6, 9, 9]);
        assert_eq!(pool.stats().computed, 2);
        assert!(
            pool.get(&word_count::call("to be or not to be")).is_some(),
            "boxed or not is no part of the key"
        );
        let refreshed = pool.submit(square().call(3).refresh().boxed());
        refreshed.wait().unwrap();
        assert_eq!(refreshed.source(), Some(Source::Computed));
    });
}

/// A closure is remembered, counted, or can't capture.
#[test]
fn spawn_runs_once_and_is_not_remembered() {
    in_time(|| {
        let pool = pool(2);
        let count = Counter::default();
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let count = count.clone();
                pool.spawn(move || count.up())
            })
            .collect();
        assert!(tasks.iter().all(|task| task.wait().is_ok() && task.key().is_none()));
        assert_eq!(count.get(), 10);
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.computed, stats.entries), (0, 0, 0));
        assert!(pool.stats_by_func().is_empty());
    });
}

/// A state of a task contradicts another.
#[test]
fn a_tasks_state_is_consistent_from_queued_to_done() {
    in_time(|| {
        let (pool, held) = held_pool();
        let gate = Gate::default();
        let task = pool.spawn({
            let gate = gate.clone();
            move || gate.pass()
        });
        assert!(!task.is_done() && !task.is_running() && !task.is_cancelled() && task.try_get().is_none());
        assert!(format!("{task:?}").contains("queued"), "{task:?}");
        held.open();
        until(|| task.is_running());
        assert!(!task.is_done() && task.try_get().is_none());
        gate.open();
        task.wait().unwrap();
        assert!(task.is_done() && !task.is_running() && !task.is_cancelled());
        assert!(task.try_get().unwrap().is_ok());
        assert!(format!("{task:?}").contains("done"), "{task:?}");
    });
}

/// A callback is called with another result than the one that waiters get, before them, or not at all.
#[test]
fn callbacks_are_called_once_after_waiters_are_served() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let task = pool.spawn(|| 5_u64);
        let (send, receive) = std::sync::mpsc::channel();
        for n in 0..3 {
            let (send, task) = (send.clone(), task.clone());
            task.clone().on_done(move |result| {
                assert!(task.is_done());
                send.send((n, **result.as_ref().unwrap())).unwrap();
            });
        }
        drop(send);
        gate.open();
        assert_eq!(receive.iter().collect::<Vec<_>>(), [(0, 5), (1, 5), (2, 5)], "in their order");
        let here = thread::current().id();
        let (send, receive) = std::sync::mpsc::channel();
        task.on_done(move |_| send.send(thread::current().id()).unwrap());
        assert_eq!(receive.try_recv(), Ok(here), "at once, if the result is there");
    });
}

/// What a pool, a call or a function prints gives away arguments, or is of no use.
#[test]
fn debug_texts_name_functions_and_hide_arguments() {
    let func = Func::new("api::secret", |text: String| text.len());
    let call = func.call("hunter2".into());
    assert!(format!("{call:?}").contains("api::secret") && !format!("{call:?}").contains("hunter2"));
    let boxed = call.boxed();
    assert!(!format!("{boxed:?}").contains("hunter2"));
    assert!(format!("{func:?}").contains("api::secret"));
    assert!(format!("{:?}", pool(1)).contains("Pool"));
}
