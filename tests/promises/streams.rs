//! `map` and `as_completed` as streams.

use std::collections::BTreeSet;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use futures_util::{Stream, StreamExt, TryStreamExt};
use memopool::{Error, Func, Pool, Task, as_completed, wait};
use pollster::block_on;

use crate::{Counter, Gate, assert_usable, build, held_pool, hold, in_time, pool, until};

fn square() -> Func<u64, u64> {
    Func::new("streams::square", |n: u64| n * n)
}

/// Counts wake-ups, and knows how many of its wakers are alive.
#[derive(Default)]
struct Alarm(Counter);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.up();
    }
}

fn poll<S: Stream + Unpin>(stream: &mut S, alarm: &Arc<Alarm>) -> Poll<Option<S::Item>> {
    let waker = Waker::from(Arc::clone(alarm));
    Pin::new(stream).poll_next(&mut Context::from_waker(&waker))
}

async fn all_kinds(pool: Pool) {
    let tasks = pool.submit_all((0..50).map(|n| square().call(n % 30)));
    let squares: Vec<u64> =
        as_completed(tasks).into_stream().map(|task| *task.unwrap().wait().unwrap()).collect().await;
    assert_eq!((squares.len(), squares.iter().collect::<BTreeSet<_>>().len()), (50, 30));
    let map = pool.map((0..).map(|n| square().call(n))).window(7).into_stream().take(200);
    let squares: Vec<u64> = map.map_ok(|n| *n).try_collect().await.unwrap();
    assert!(squares.iter().enumerate().all(|(n, square)| *square == (n * n) as u64), "in order");
    let map = pool.map((0..300).map(|n| square().call(n))).unordered().window(7).into_stream();
    let squares: BTreeSet<u64> = map.map_ok(|n| *n).try_collect().await.unwrap();
    assert_eq!(squares.len(), 300);
    assert!(as_completed(Vec::<Task<u64>>::new()).into_stream().next().await.is_none());
}

/// A stream never wakes its task under some runtime.
#[test]
fn streams_under_tokio_smol_and_pollster() {
    in_time(|| {
        block_on(all_kinds(pool(2)));
        smol::block_on(all_kinds(pool(2)));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let pool = pool(2);
            let all = (0..4).map(|_| tokio::spawn(all_kinds(pool.clone())));
            join_all(all).await.into_iter().for_each(|ended| ended.unwrap());
        });
    });
}

/// A stream has no clock of its own: its deadline passes and nobody is woken.
#[test]
fn a_streams_deadline_wakes_it() {
    in_time(|| {
        let timeout = Duration::from_millis(5);
        for unordered in [false, true] {
            let (pool, gate) = held_pool();
            let map = pool.map((0..5).map(|n| square().call(n))).timeout(timeout);
            let map = if unordered { map.unordered() } else { map };
            let mut map = map.into_stream();
            let error = block_on(map.next()).unwrap().unwrap_err();
            assert_eq!(error.to_string(), "5 of 5 tasks unfinished after 5ms");
            assert!(block_on(map.next()).is_none());
            assert_eq!(pool.stats().queued, 0, "what has not started is cancelled");
            gate.open();
        }
        let pools = [pool(1), pool(1)];
        let gates = [hold(&pools[0]), hold(&pools[1])];
        let tasks: Vec<_> = pools.iter().map(|pool| pool.submit(square().call(3))).collect();
        let mut completed = as_completed(tasks.clone()).timeout(Duration::from_millis(300)).into_stream();
        // The pool whose timer it had ends, and its timer with it.
        let alarm = Arc::default();
        assert!(poll(&mut completed, &alarm).is_pending());
        gates[0].open();
        pools[0].shutdown();
        let first = block_on(completed.next()).unwrap().unwrap();
        assert_eq!(first.id(), tasks[0].id());
        let error = block_on(completed.next()).unwrap().unwrap_err();
        assert_eq!(error.to_string(), "1 of 2 tasks unfinished after 300ms");
        assert!(block_on(completed.next()).is_none());
        gates[1].open();
        assert!(tasks[1].wait().is_ok(), "the work goes on");
    });
}

/// A stream blocks its runtime while the queue is full, or is not woken when there is room.
#[test]
fn a_stream_waits_for_room_without_blocking() {
    in_time(|| {
        let pool = build(Pool::builder().threads(1).queue(2));
        let gate = hold(&pool);
        let others = pool.submit_all((100..102).map(|n| square().call(n)));
        let mut map = pool.map((0..20).map(|n| square().call(n))).into_stream();
        let alarm = Arc::default();
        assert!(poll(&mut map, &alarm).is_pending(), "and here it would have blocked");
        let mut gone = pool.map((50..60).map(|n| square().call(n))).into_stream();
        assert!(poll(&mut gone, &alarm).is_pending());
        drop(gone);
        gate.open();
        until(|| alarm.0.get() > 0);
        let squares: Vec<u64> = block_on(map.map_ok(|n| *n).try_collect()).unwrap();
        assert_eq!(squares, (0..20).map(|n| n * n).collect::<Vec<u64>>());
        assert_eq!(wait(&others, memopool::Until::All, None).done.len(), 2);
        // And while it waits, the pool may end.
        let pool = build(Pool::builder().threads(1).queue(1));
        let gate = hold(&pool);
        let _queued = pool.submit(square().call(0));
        let mut map = pool.map((1..3).map(|n| square().call(n))).into_stream();
        assert!(poll(&mut map, &alarm).is_pending());
        thread::scope(|scope| {
            scope.spawn(|| pool.shutdown());
            assert!(block_on(map.next()).unwrap().unwrap_err().is_shutdown());
            gate.open();
        });
    });
}

/// A stream that is dropped while it waits leaves wakers behind for good, or stops the work of others.
#[test]
fn dropping_a_stream_leaves_nothing_registered() {
    in_time(|| {
        let (pool, gate) = held_pool();
        let tasks = pool.submit_all((0..10).map(|n| square().call(n)));
        let (alarm, other) = (Arc::<Alarm>::default(), Arc::<Alarm>::default());
        for _ in 0..100 {
            let mut completed = as_completed(tasks.clone()).into_stream();
            let mut map = pool.map((0..20).map(|n| square().call(n))).into_stream();
            assert!(poll(&mut completed, &alarm).is_pending() && poll(&mut map, &other).is_pending());
        }
        assert_eq!((Arc::strong_count(&alarm), Arc::strong_count(&other)), (1, 1), "no waker is left");
        assert_eq!(pool.stats().queued, 10, "what only the maps wanted is gone");
        gate.open();
        assert!(tasks.iter().all(|task| task.wait().is_ok()));
        assert_eq!(alarm.0.get(), 0);
    });
}

/// A body that reads a stream holds the thread that the stream's tasks need.
#[test]
fn streams_inside_bodies_on_one_thread() {
    in_time(|| {
        fn tree() -> Func<u32, u64> {
            Func::fallible("streams::tree", |n: u32| -> Result<u64, Error> {
                if n == 0 {
                    return Ok(1);
                }
                let pool = Pool::current().expect("inside a task");
                let children = pool.submit_all((0..n).map(|n| tree().call(n)));
                block_on(
                    as_completed(children)
                        .into_stream()
                        .try_fold(1, async |sum, task| Ok(sum + *task.wait()?)),
                )
            })
        }
        for threads in [1, 3] {
            let pool = pool(threads);
            assert_eq!(*pool.run(tree().call(12)).unwrap(), 4096);
            let nested = pool.spawn({
                let pool = pool.clone();
                move || {
                    let map = pool.map((0..20).map(|n| square().call(n))).window(3).unordered();
                    block_on(map.into_stream().try_fold(0, async |sum, n| Ok(sum + *n)))
                }
            });
            assert_eq!(*nested.wait().unwrap().as_ref().as_ref().unwrap(), 2470);
            assert_usable(&pool);
        }
    });
}

/// A stream whose tasks all wait for the body that reads it sleeps for ever.
#[test]
fn a_stream_that_leads_back_is_a_cycle() {
    in_time(|| {
        let pool = pool(3);
        let (send, receive) = std::sync::mpsc::channel::<Task<u64>>();
        let reader = pool.spawn({
            let pool = pool.clone();
            move || {
                let own = receive.recv().unwrap();
                let back: Vec<Task<u64>> = (0..2)
                    .map(|_| {
                        let own = own.clone();
                        pool.spawn(move || own.wait().map_or(0, |n| *n))
                    })
                    .collect();
                let yielded: Vec<_> = block_on(as_completed(back).into_stream().collect());
                let cycles = yielded
                    .iter()
                    .filter(|task| task.as_ref().unwrap().wait().is_err_and(|error| error.is_cycle()));
                cycles.count() as u64
            }
        });
        send.send(reader.clone()).unwrap();
        // Whoever closes the cycle is told: the reader, or those that wait for it. Nobody sleeps.
        assert!(*reader.wait().unwrap() <= 2);
        assert_usable(&pool);
    });
}

/// A stream in a `select` makes its body deaf for the other branch.
#[test]
fn a_stream_and_another_future_in_one_body() {
    in_time(|| {
        let pool = pool(2);
        let gate = Gate::default();
        let held = pool.spawn({
            let gate = gate.clone();
            move || {
                gate.pass();
                1_u64
            }
        });
        let body = pool.spawn({
            let pool = pool.clone();
            move || {
                block_on(async {
                    let mut completed = as_completed([held]).into_stream();
                    let other = pool.spawn(|| 2_u64);
                    let first = match select(pin!(completed.next()), other).await {
                        Either::Left(_) => panic!("it is held"),
                        Either::Right((result, _)) => *result.unwrap(),
                    };
                    gate.open();
                    first + *completed.next().await.unwrap().unwrap().wait().unwrap()
                })
            }
        });
        assert_eq!(*body.wait().unwrap(), 3);
    });
}

/// Wakes a thread that polls by hand.
struct ByHand(Thread, AtomicBool);

impl Wake for ByHand {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::SeqCst);
        self.0.unpark();
    }
}

/// Polls until there is something, and says how often there was nothing.
fn poll_by_hand<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>, mut pending: impl FnMut(u64)) -> T {
    let woken = Arc::new(ByHand(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    for times in 1.. {
        if let Poll::Ready(value) = poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        pending(times);
        while !woken.1.swap(false, Ordering::SeqCst) {
            thread::park();
        }
    }
    unreachable!("it is ready some time")
}

/// What the calls of a stream have to do with the body that reads it.
#[derive(Clone, Default)]
struct Reading {
    reader: Arc<OnceLock<Task<u64>>>,
    /// The first call may wait for the reader, and does.
    goes_back: Gate,
    is_back: Gate,
    second: Gate,
    third: Gate,
}

impl Reading {
    fn calls(&self) -> Func<u64, u64> {
        Func::named("streams::reading").resource(self.clone()).func(|reading, n: u64| {
            match n {
                0 => {
                    reading.goes_back.pass();
                    let mut reader = reading.reader.get().expect("set before").clone();
                    // Told of a cycle on its second poll, or never.
                    let waits = |times| {
                        if times == 2 {
                            reading.is_back.open()
                        }
                    };
                    let result = poll_by_hand(|cx| Pin::new(&mut reader).poll(cx), waits);
                    reading.is_back.open();
                    return result.map_or(u64::MAX, |n| *n);
                }
                1 => reading.second.pass(),
                _ => reading.third.pass(),
            }
            n
        })
    }
}

/// A map is read as a stream by a body that one of its calls waits for. As long as there are others it goes on; but those
/// that it submits later do not count, and somebody is told of a cycle that is none.
#[test]
fn what_a_stream_submits_later_counts_as_well() {
    in_time(|| {
        for early in [true, false] {
            let (pool, reading) = (pool(5), Reading::default());
            let (send, receive) = std::sync::mpsc::channel::<Task<u64>>();
            let body = {
                let (pool, reading) = (pool.clone(), reading.clone());
                move || {
                    assert!(reading.reader.set(receive.recv().unwrap()).is_ok());
                    let calls = reading.calls();
                    let map = pool.map((0..3).map(|n| calls.call(n))).window(2).unordered();
                    let mut stream = map.into_stream();
                    if early {
                        reading.goes_back.open();
                    }
                    let mut next = |pending: &dyn Fn(u64)| {
                        poll_by_hand(|cx| Pin::new(&mut stream).poll_next(cx), pending).unwrap()
                    };
                    // On its second poll it is looked at.
                    let second = next(&|times| {
                        if times == 2 {
                            if early {
                                reading.is_back.pass();
                            }
                            reading.second.open();
                        }
                    });
                    assert_eq!(*second.unwrap(), 1);
                    if !early {
                        reading.goes_back.open();
                        reading.is_back.pass();
                    }
                    // Only now is the third submitted.
                    let third = next(&|_| reading.third.open());
                    reading.third.open();
                    *third.unwrap_or_else(|error| panic!("early: {early}: {error}"))
                }
            };
            let reader = pool.spawn(body);
            send.send(reader.clone()).unwrap();
            assert_eq!(*reader.wait().unwrap(), 2, "early: {early}");
            assert_eq!(
                *pool.run(reading.calls().call(0)).unwrap(),
                2,
                "early: {early}: it was told of a cycle"
            );
            assert_usable(&pool);
        }
    });
}
