//! What people do with `concurrent.futures`, from end to end: the same ten as in `examples/patterns.rs`.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use memopool::{Error, Func, Pool, Task, TaskId, Until, as_completed, cancelled, memo, wait};

use crate::{Counter, Gate, build, in_time, pool, until};

#[memo(name = "patterns::parse")]
fn parse(text: &str) -> Result<u64, std::num::ParseIntError> {
    text.trim().parse()
}

fn square() -> Func<u64, u64> {
    Func::new("patterns::square", |n: u64| n * n)
}

/// A function that is left with `?` while its pool works loses what it had submitted.
#[test]
fn leaving_the_scope_waits_also_on_an_error() {
    fn work(done: &Counter) -> Result<u64, Error> {
        let pool = pool(2);
        for _ in 0..100 {
            let done = done.clone();
            drop(pool.spawn(move || done.up()));
        }
        Ok(*pool.run(parse::call("five"))?)
    }
    in_time(|| {
        let done = Counter::default();
        assert!(work(&done).unwrap_err().is_failed());
        assert_eq!(done.get(), 100);
        let panicked = std::panic::catch_unwind({
            let done = done.clone();
            move || {
                let _error = work(&done);
                let pool = pool(1);
                let _task = pool.spawn(move || done.up());
                std::panic::resume_unwind(Box::new("out of here"));
            }
        });
        assert!(panicked.is_err());
        assert_eq!(done.get(), 201, "also when the scope is left by a panic");
    });
}

/// `map` gives results in another order than the inputs, or never begins because its input has no end.
#[test]
fn map_in_order_over_an_endless_input() {
    in_time(|| {
        let pool = pool(4);
        let squares: Result<Vec<u64>, Error> =
            pool.map((0..).map(|n| square().call(n))).window(8).take(500).map(|r| r.map(|n| *n)).collect();
        assert!(squares.unwrap().iter().enumerate().all(|(n, square)| *square == (n * n) as u64));
    });
}

/// A result comes, and nobody can tell which input it belongs to.
#[test]
fn results_as_completed_with_their_inputs() {
    in_time(|| {
        let pool = pool(4);
        let inputs = [5_u64, 6, 7, 5];
        let tasks = pool.submit_all(inputs.map(|n| square().call(n)));
        let input_of: BTreeMap<TaskId, u64> = tasks.iter().map(Task::id).zip(inputs).collect();
        let mut seen = Vec::new();
        for task in as_completed(tasks) {
            let task = task.unwrap();
            let input = input_of[&task.id()];
            assert_eq!(*task.wait().unwrap(), input * input);
            seen.push(input);
        }
        seen.sort_unstable();
        assert_eq!(seen, [5, 5, 6, 7], "equal calls are one run, and still each has its own handle");
    });
}

/// One bad input is reported for another one, or ends them all.
#[test]
fn errors_are_handled_task_by_task() {
    in_time(|| {
        let pool = pool(2);
        let inputs = ["1", "x", "3", "-", "5"];
        let (mut sum, mut bad) = (0, Vec::new());
        for (input, result) in inputs.iter().zip(pool.map(inputs.map(parse::call))) {
            match result {
                Ok(n) => sum += *n,
                Err(error) => {
                    assert!(error.downcast_ref::<std::num::ParseIntError>().is_some());
                    bad.push(*input);
                }
            }
        }
        assert_eq!((sum, bad), (9, vec!["x", "-"]));
    });
}

/// What ran over its time can't be told to stop, and holds its thread for ever.
#[test]
fn what_ran_over_is_cancelled() {
    in_time(|| {
        let pool = pool(1);
        let (started, stopped) = (Gate::default(), Gate::default());
        let task = pool.spawn({
            let (started, stopped) = (started.clone(), stopped.clone());
            move || {
                started.open();
                until(cancelled);
                stopped.open();
            }
        });
        started.pass();
        assert!(task.wait_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
        assert!(!task.is_done(), "a wait that is over leaves the work alone");
        assert!(task.cancel() && !task.cancel());
        assert!(task.wait().unwrap_err().is_cancelled());
        stopped.pass();
        assert_eq!(*pool.spawn(|| 1).wait().unwrap(), 1, "and the thread is free again");
    });
}

/// `wait` can't tell what it waits for from what it found.
#[test]
fn waiting_for_all_first_and_first_error() {
    in_time(|| {
        let pool = pool(4);
        let gates: Vec<Gate> = (0..3).map(|_| Gate::default()).collect();
        let func = Func::named("patterns::gated").resource(gates.clone()).fallible(|gates, n: usize| {
            gates[n].pass();
            if n == 1 { Err("one") } else { Ok(n) }
        });
        let tasks = pool.submit_all((0..3).map(|n| func.call(n)));
        let count = |until, timeout| {
            let waited = wait(&tasks, until, timeout);
            (waited.done.len(), waited.pending.len())
        };
        assert_eq!(count(Until::All, Some(Duration::from_millis(1))), (0, 3));
        gates[0].open();
        assert_eq!(count(Until::First, None), (1, 2));
        gates[1].open();
        assert_eq!(count(Until::FirstError, None), (2, 1));
        gates[2].open();
        assert_eq!(count(Until::All, None), (3, 0));
    });
}

/// A callback is lost for a task that failed, or for one that was done before it came.
#[test]
fn callbacks_hear_of_every_end() {
    in_time(|| {
        let pool = pool(2);
        let (send, receive) = channel();
        for text in ["7", "seven"] {
            let task = pool.submit(parse::call(text));
            let before = send.clone();
            task.on_done(move |result| before.send(result.is_ok()).unwrap());
            let _ended = task.wait();
            let after = send.clone();
            task.on_done(move |result| after.send(result.is_ok()).unwrap());
        }
        drop(send);
        let mut heard: Vec<bool> = receive.iter().collect();
        heard.sort_unstable();
        assert_eq!(heard, [false, false, true, true]);
    });
}

/// A batch job runs more at once than it was told to, or piles up what it has not looked at.
#[test]
fn batches_run_with_bounded_concurrency() {
    in_time(|| {
        let pool = pool(3);
        let (now, most) = (Counter::default(), Arc::new(Mutex::new(0)));
        let func = Func::named("patterns::batch").resource((now, Arc::clone(&most))).func(
            |(now, most), batch: Vec<u64>| {
                let running = now.up();
                let mut most = most.lock().unwrap();
                *most = running.max(*most);
                drop(most);
                let sum = batch.iter().sum::<u64>();
                now.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                sum
            },
        );
        let numbers: Vec<u64> = (0..1000).collect();
        let sums = pool.map(numbers.chunks(10).map(|batch| func.call(batch.to_vec()))).window(5);
        assert_eq!(sums.map(|sum| *sum.unwrap()).sum::<u64>(), 499_500);
        assert!((1..=3).contains(&*most.lock().unwrap()));
    });
}

/// A pool in a struct can't be shared by its users, or its threads outlive it.
#[test]
fn a_pool_in_a_long_lived_struct() {
    #[derive(Clone)]
    struct Service {
        pool: Pool,
    }
    impl Service {
        fn answer(&self, n: u64) -> Result<u64, Error> {
            Ok(*self.pool.run(square().call(n))?)
        }
    }
    in_time(|| {
        let service = Service { pool: build(Pool::builder().threads(2..=8)) };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let service = service.clone();
                scope.spawn(move || (0..100).for_each(|n| assert_eq!(service.answer(n).unwrap(), n * n)));
            }
        });
        let stats = service.pool.stats();
        assert_eq!((stats.submitted, stats.computed), (800, 100));
    });
}

/// Blocking work called from async code stops the runtime, or needs another handle than threads use.
#[test]
fn blocking_work_from_async_code() {
    async fn many(pool: Pool) -> u64 {
        // Blocks its thread until the future has gone on.
        let gate = Gate::default();
        let blocked = {
            let gate = gate.clone();
            pool.spawn(move || memopool::block_in_place(|| gate.pass()))
        };
        let waiting = pool.submit_all((0..50).map(|n| square().call(n)));
        let sum = join_all(waiting).await.into_iter().map(|n| *n.unwrap()).sum();
        gate.open();
        blocked.await.unwrap();
        sum
    }
    in_time(|| {
        let pool = pool(1);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(many(pool.clone())), 40_425);
        assert_eq!(smol::block_on(many(pool.clone())), 40_425);
        assert_eq!(pool.stats().computed, 50);
    });
}
