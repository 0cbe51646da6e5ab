//! The same tasks, awaited.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use memopool::{Error, Func, Pool, Task};

use crate::{Counter, Gate, assert_usable, held_pool, in_time, pool, until};

fn square() -> Func<u64, u64> {
    Func::new("futures::square", |n: u64| n * n)
}

/// Awaits a hit, a computation, a joined one, a failure, and one that is cancelled meanwhile.
async fn all_kinds(pool: Pool) {
    assert_eq!(*pool.submit(square().call(3)).await.unwrap(), 9);
    assert_eq!(*pool.submit(square().call(3)).await.unwrap(), 9);
    let gate = Gate::default();
    let slow = Func::named("futures::slow").resource(gate.clone()).func(|gate, n: u64| {
        gate.pass();
        n
    });
    let (led, joined) = (pool.submit(slow.call(1)), pool.submit(slow.call(1)));
    gate.open();
    assert_eq!((*led.await.unwrap(), *joined.await.unwrap()), (1, 1));
    let bad = Func::fallible("futures::bad", |_: u64| -> Result<u64, &str> { Err("bad") });
    assert!(pool.submit(bad.call(1)).await.unwrap_err().is_failed());
    let panic: Task<()> = pool.spawn(|| std::panic::resume_unwind(Box::new("out")));
    assert_eq!(panic.await.unwrap_err().panic_message(), Some("out"));
    pool.forget(&slow.call(1)).unwrap();
    let tasks: Vec<Task<u64>> = pool.submit_all((100..200).map(|n| square().call(n)));
    let mut sum = 0;
    for task in tasks {
        sum += *task.await.unwrap();
    }
    assert_eq!(sum, (100..200).map(|n| n * n).sum::<u64>());
}

/// A task awaited in a server on tokio never comes, or blocks its threads.
#[test]
fn await_under_tokio() {
    in_time(|| {
        let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let single = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for runtime in [multi, single] {
            let pool = pool(2);
            runtime.block_on(all_kinds(pool.clone()));
            runtime.block_on(async {
                let tasks: Vec<_> = (0..20).map(|_| tokio::spawn(all_kinds_lite(pool.clone()))).collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
            assert_usable(&pool);
        }
    });
}

async fn all_kinds_lite(pool: Pool) {
    for n in 0..50 {
        assert_eq!(*pool.submit(square().call(n)).await.unwrap(), n * n);
    }
}

/// The same with smol and with pollster.
#[test]
fn await_under_smol_and_pollster() {
    in_time(|| {
        smol::block_on(all_kinds(pool(2)));
        pollster::block_on(all_kinds(pool(2)));
    });
}

/// An executor of one's own is never woken: the task needs a runtime that it knows.
#[test]
fn await_under_a_hand_written_executor() {
    struct Unpark(Thread, AtomicBool);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.1.store(true, Ordering::SeqCst);
            self.0.unpark();
        }
    }
    fn block_on<F: Future>(future: F) -> F::Output {
        let mut future = pin!(future);
        let unpark = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&unpark));
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            while !unpark.1.swap(false, Ordering::SeqCst) {
                thread::park();
            }
        }
    }
    in_time(|| block_on(all_kinds(pool(2))));
}

/// Polls all its futures whenever it is woken.
struct JoinAll<F: Future>(Vec<Result<F::Output, F>>);

impl<F: Future + Unpin> Future for JoinAll<F>
where
    F::Output: Unpin,
{
    type Output = Vec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        for slot in &mut self.0 {
            if let Err(future) = slot
                && let Poll::Ready(output) = Pin::new(future).poll(cx)
            {
                *slot = Ok(output);
            }
        }
        if self.0.iter().any(Result::is_err) {
            return Poll::Pending;
        }
        Poll::Ready(self.0.drain(..).filter_map(Result::ok).collect())
    }
}

fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> JoinAll<F> {
    JoinAll(futures.into_iter().map(Err).collect())
}

/// Of many tasks that are awaited together some never come.
#[test]
fn a_join_of_many() {
    in_time(|| {
        let pool = pool(2);
        let tasks = pool.submit_all((0..500).map(|n| square().call(n % 300)));
        let squares = pollster::block_on(join_all(tasks));
        assert!(
            squares
                .iter()
                .enumerate()
                .all(|(n, square)| **square.as_ref().unwrap() == (n as u64 % 300).pow(2))
        );
    });
}

/// Awaiting inside a body holds the thread that the awaited task needs.
#[test]
fn awaiting_inside_a_body_on_one_thread() {
    in_time(|| {
        fn fib() -> Func<u32, u64> {
            Func::fallible("futures::fib", |n: u32| -> Result<u64, Error> {
                if n < 2 {
                    return Ok(n.into());
                }
                let pool = Pool::current().expect("inside a task");
                let both = [n - 1, n - 2].map(|n| pool.submit(fib().call(n)));
                pollster::block_on(join_all(both)).into_iter().map(|part| part.map(|n| *n)).sum()
            })
        }
        let pool = pool(1);
        assert_eq!(*pool.run(fib().call(30)).unwrap(), 832_040);
        assert_eq!(pool.stats().computed, 31);
        assert_usable(&pool);
    });
}

/// Counts wake-ups, and knows how many of its wakers are alive.
#[derive(Default)]
struct Alarm(Counter);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.up();
    }
}

/// A request that is dropped while it waits leaves its waker behind for good, or stops the work.
#[test]
fn dropping_a_pending_future_leaves_nothing_registered() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let task = pool.submit(square().call(12));
        let alarm = Arc::new(Alarm::default());
        for _ in 0..100 {
            let waker = Waker::from(Arc::clone(&alarm));
            let mut pending = task.clone();
            assert!(Pin::new(&mut pending).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(Arc::strong_count(&alarm), 1, "no waker is left");
        gate.open();
        assert_eq!(*task.wait().unwrap(), 144, "the work goes on");
        assert_eq!(alarm.0.get(), 0);
    });
}

/// A future that moved to another executor task wakes the one it came from.
#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let mut task = pool.submit(square().call(12));
        let (old, new) = (Arc::new(Alarm::default()), Arc::new(Alarm::default()));
        for alarm in [&old, &new, &new] {
            let waker = Waker::from(Arc::clone(alarm));
            assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(Arc::strong_count(&old), 1, "the old one is let go");
        gate.open();
        until(|| new.0.get() == 1);
        assert_eq!(old.0.get(), 0);
        let waker = Waker::from(Arc::clone(&new));
        assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_ready());
        assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_ready(), "and again");
        assert_eq!(Arc::strong_count(&new), 2);
    });
}

/// Two futures that await one task: one of them is never woken.
#[test]
fn a_task_awaited_by_two_futures() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let task = pool.submit(square().call(7));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let both = [runtime.spawn(task.clone()), runtime.spawn(task.clone())];
        let waiting = thread::spawn({
            let task = task.clone();
            move || task.wait()
        });
        gate.open();
        for one in both {
            assert_eq!(*runtime.block_on(one).unwrap().unwrap(), 49);
        }
        assert_eq!(*waiting.join().unwrap().unwrap(), 49);
    });
}

/// A timeout of the runtime around an awaited task kills the work, or hangs.
#[test]
fn a_runtimes_timeout_leaves_the_work_alone() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let task = pool.submit(square().call(8));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let late =
            runtime.block_on(async { tokio::time::timeout(Duration::from_millis(2), task.clone()).await });
        assert!(late.is_err());
        gate.open();
        assert_eq!(*task.wait().unwrap(), 64);
    });
}

/// Cancelling or ending the pool does not wake those who await.
#[test]
fn cancel_and_shutdown_wake_futures() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let (first, second) = (pool.submit(square().call(1)), pool.submit(square().call(2)));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let awaited = [runtime.spawn(first.clone()), runtime.spawn(second)];
        assert!(first.cancel());
        let ending = thread::spawn(move || pool.shutdown_now());
        let [first, second] = awaited.map(|task| runtime.block_on(task).unwrap().unwrap_err());
        assert!(first.is_cancelled() && second.is_shutdown(), "{first}, {second}");
        gate.open();
        ending.join().unwrap();
    });
}

/// A waker whose `Drop` looks at the task (an executor drops what awaited it) deadlocks with the pool.
#[test]
fn a_wakers_drop_may_use_the_task() {
    struct Curious(Task<u64>, Mutex<Counter>);
    impl Wake for Curious {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Curious {
        fn drop(&mut self) {
            _ = (self.0.is_done(), self.0.try_get());
            self.1.lock().unwrap().up();
        }
    }
    in_time(|| {
        let (pool, gate) = held_pool();
        let mut task = pool.submit(square().call(12));
        let dropped = Counter::default();
        for _ in 0..3 {
            let waker = Waker::from(Arc::new(Curious(task.clone(), Mutex::new(dropped.clone()))));
            assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(dropped.get(), 2);
        drop(task);
        assert_eq!(dropped.get(), 3);
        gate.open();
    });
}
