//! Async bodies: a run whose body is a future, and the threads that poll it.
//!
//! Everything before the body is as for any run: it is queued, looks at the disk, takes a slot of its limit. Then its
//! [`Body`] is handed to whoever polls: by default an `async-task` task whose wake-ups are jobs in the pool's own queue,
//! else the runtime that [`Builder::runtime`](crate::Builder::runtime) names. The pool owns it either way: nobody's handle is
//! needed to keep it going.
//!
//! # States of a body
//!
//! | state | the run and its future are | leaves it |
//! |---|---|---|
//! | asleep | in the body, under its lock | it is polled: *awake*; it is given up: *over* |
//! | awake | with the thread that polls it, which holds no lock of ours | pending: *asleep*; ready: *over* |
//! | over | gone | |
//!
//! In its cell the run is `Running` all the time. A body that is asleep holds no thread: a pool with one thread can have any
//! number of them.
//!
//! # One poll
//!
//! 1. The run and its future are taken out, so that no two threads poll them.
//! 2. Nobody wants it any more (cancelled, over its timeout, the pool refuses): it is dropped, here.
//! 3. It lent its slot of a limit, and there is none for it now: back to sleep; the limit wakes it.
//! 4. The frame is entered, so that `cancelled()`, `Pool::current()` and the wait graph know whose poll this is; then the
//!    future is polled. Its panic is its outcome.
//! 5. Ready: the attempt is judged as any other, and may be followed by another at once, or after a rest.
//! 6. Pending: the wait graph looks whether this poll has closed a cycle, and if so wakes the futures that close it, whose
//!    next poll is told. A body that waits for tasks lends its slot.
//!
//! # Who ends it early
//!
//! | who | how |
//! |---|---|
//! | the last interest withdrawn, a timeout | the handles are settled at once; the body is woken, and dropped by the thread that would have polled it |
//! | `shutdown_now`, an executor or runtime that drops it | the future is dropped there, if it is asleep; else after the poll that goes on |
//!
//! A wake-up that finds nobody in the body ends the task. The body keeps its own waker: whoever ends it must be able to reach
//! it, and one that nobody can wake must not vanish before its timeout.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use async_task::Runnable;

use super::engine::Engine;
use super::execute::{CallFlight, Run, Verdict, frame};
use super::func::Raised;
use crate::contain::contain;
use crate::error::Error;
use crate::run::context::Frame;
use crate::run::{Lane, Unit, context, graph};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Mutex, Weak, spawn};

/// The future that a body is.
pub(super) type BodyFuture<R> = Pin<Box<dyn Future<Output = Result<R, Raised>> + Send>>;

/// What a body gives when it is called.
pub(super) enum Answer<R> {
    Now(Result<R, Raised>),
    /// An async body has only begun.
    Later(BodyFuture<R>),
}

impl<R> Answer<R> {
    /// An async body. It is called when it is first polled: all of its code runs where it is polled.
    pub(super) fn later(future: impl Future<Output = Result<R, Raised>> + Send + 'static) -> Answer<R> {
        Answer::Later(Box::pin(future))
    }
}

/// Polls futures until they are ready, in place of the pool's own threads.
pub(crate) type Spawner = Arc<dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

/// See the [module](self).
struct Body<R: Send + Sync + 'static> {
    engine: Arc<Engine>,
    flight: Arc<CallFlight<R>>,
    state: Mutex<State<R>>,
    /// The next poll, while it lies in the queue.
    due: Mutex<Option<Runnable>>,
}

struct State<R: Send + Sync + 'static> {
    /// `None`: awake, or over.
    asleep: Option<Box<Live<R>>>,
    waker: Option<Arc<Waker>>,
}

/// A run whose future goes on.
struct Live<R: Send + Sync + 'static> {
    run: Run<R>,
    future: BodyFuture<R>,
    started: Instant,
}

/// What a flight knows of the body of its run.
#[derive(Default)]
pub(crate) struct Sleeper {
    body: Mutex<Option<Weak<dyn Wakeful>>>,
    /// It is asleep, and needs a thread of its pool for its next poll.
    asleep: AtomicBool,
}

/// A body of any type.
trait Wakeful: Send + Sync {
    fn wake(&self);
}

impl Sleeper {
    /// Has the body polled, if the run has one: nobody is left who wants it.
    pub(crate) fn wake(&self) {
        let body = self.body.lock().clone();
        if let Some(body) = body.and_then(|body| body.upgrade()) {
            body.wake();
        }
    }

    /// Whether its next poll needs a thread of its pool.
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    fn set_asleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::SeqCst);
    }

    fn set(&self, body: Weak<dyn Wakeful>) {
        *self.body.lock() = Some(body);
    }

    fn clear(&self) {
        self.set_asleep(false);
        *self.body.lock() = None;
    }
}

/// The body of a run has turned out to be a future, made at `started`.
#[inline(never)]
pub(super) fn begin<R: Send + Sync + 'static>(run: Run<R>, future: BodyFuture<R>, started: Instant) {
    let (engine, flight) = (Arc::clone(run.engine()), Arc::clone(&run.flight));
    let live = Box::new(Live { run, future, started });
    let state = Mutex::new(State { asleep: Some(live), waker: None });
    let body = Arc::new(Body { engine, flight, state, due: Mutex::new(None) });
    let runner = &body.engine.runner;
    let wakeful: Weak<Body<R>> = Arc::downgrade(&body);
    body.flight.origin.sleeper.set(wakeful.clone());
    runner.hold(&(Arc::clone(&body) as Arc<dyn Unit>));
    let polled = Polled(Arc::clone(&body));
    match &body.engine.spawner {
        // A runtime that has ended drops it, which settles it.
        Some(spawner) => spawner(Box::pin(polled)),
        None => {
            body.flight.origin.sleeper.set_asleep(true);
            let schedule = move |poll| match wakeful.upgrade() {
                Some(body) => body.schedule(poll),
                // The future is gone already.
                None => drop(poll),
            };
            let (first, task) = async_task::spawn(polled, schedule);
            task.detach();
            first.run();
        }
    }
}

impl<R: Send + Sync + 'static> Body<R> {
    /// Queues the next poll.
    fn schedule(self: Arc<Self>, poll: Runnable) {
        let runner = Arc::clone(&self.engine.runner);
        runner.expect_poll();
        *self.due.lock() = Some(poll);
        let push = move || {
            if let Err(error) = self.engine.runner.push(Arc::clone(&self) as _, Lane::Ordinary) {
                let reason = format!("no thread can be started: {error}");
                self.end(|| Error::full(reason));
            }
        };
        match runner.is_foreign() {
            true => nested(push),
            false => push(),
        }
    }

    /// The run and its future, for a poll, after which `waker` wakes it. `None`: it is over.
    fn awaken(&self, waker: &Waker) -> Option<Box<Live<R>>> {
        let mut state = self.state.lock();
        let live = state.asleep.take()?;
        let known = state.waker.as_ref().is_some_and(|known| known.will_wake(waker));
        drop(state);
        if !known {
            // Cloning and dropping a waker is an executor's code: never under the lock.
            let waker = Arc::new(waker.clone());
            let before = self.state.lock().waker.replace(waker);
            drop(before);
        }
        self.flight.origin.sleeper.set_asleep(false);
        Some(live)
    }

    /// One poll. Gives back what goes on later.
    fn poll(self: &Arc<Self>, mut live: Box<Live<R>>, cx: &mut Context<'_>) -> Option<Box<Live<R>>> {
        if self.is_unwanted() {
            drop(self.give_up(*live, Error::cancelled));
            return None;
        }
        let unit = || (Arc::clone(self) as Arc<dyn Unit>, Arc::clone(&self.engine.runner));
        if live.run.turn.as_ref().is_some_and(|turn| !turn.resume(unit)) {
            return Some(live);
        }
        let frame = context::enter(self.frame().polled());
        let inside = live.run.turn.as_ref().map(|turn| turn.run());
        graph().begin_poll(self.flight.id);
        let verdict = loop {
            let polled = catch_unwind(AssertUnwindSafe(|| live.future.as_mut().poll(cx)));
            let result = match polled {
                Ok(Poll::Pending) => {
                    let waits = graph().end_poll(self.flight.id);
                    drop((inside, frame));
                    if let Some(turn) = live.run.turn.as_ref().filter(|_| waits) {
                        turn.lend();
                    }
                    return Some(live);
                }
                Ok(Poll::Ready(result)) => Ok(result),
                Err(panic) => Err(panic),
            };
            discard(std::mem::replace(&mut live.future, Box::pin(std::future::pending())));
            graph().leave(self.flight.id);
            // `None`: the next attempt is made at once.
            match live.run.judge(result).unwrap_or_else(|| live.run.attempt()) {
                Verdict::Polled(future) => live.future = future,
                verdict => break verdict,
            }
        };
        drop((inside, frame));
        let Live { run, started, .. } = *live;
        drop(self.over());
        match verdict {
            // What comes now is no poll: callbacks may block.
            Verdict::Ended(result) => run.end(result, started.elapsed(), context::enter(self.frame())),
            Verdict::Rest(rest) => {
                run.flight.origin.course.spend(started.elapsed());
                run.rest(rest);
            }
            Verdict::Polled(_) => unreachable!("it was polled on"),
        }
        None
    }

    fn frame(&self) -> Frame {
        frame(&self.flight)
    }

    fn is_unwanted(&self) -> bool {
        self.engine.runner.is_refusing() || !self.flight.cell.is_open()
    }

    /// Back to sleep, unless the pool has given up meanwhile what it holds.
    fn sleep(&self, live: Box<Live<R>>) {
        self.state.lock().asleep = Some(live);
        self.flight.origin.sleeper.set_asleep(self.engine.spawner.is_none());
        if self.engine.runner.is_refusing() {
            self.abandon();
        }
    }

    /// Ends it, if it is asleep.
    fn end(&self, error: impl FnOnce() -> Error) {
        let live = self.state.lock().asleep.take();
        let waker = live.and_then(|live| self.give_up(*live, error));
        if let Some(waker) = waker {
            // An executor's code.
            let _ = contain(|| waker.wake_by_ref());
        }
    }

    /// Drops the future, then the run: as part of its task, for what they drop is the user's.
    fn give_up(&self, live: Live<R>, error: impl FnOnce() -> Error) -> Option<Arc<Waker>> {
        let frame = context::enter(self.frame());
        let Live { run, future, .. } = live;
        discard(future);
        graph().leave(self.flight.id);
        let waker = self.over();
        let error = if self.engine.runner.is_refusing() { Error::shutdown() } else { error() };
        run.fail(error);
        drop(frame);
        waker
    }

    /// It is over. Gives the waker: if nobody polls it now, its executor's task is to be told.
    fn over(&self) -> Option<Arc<Waker>> {
        self.flight.origin.sleeper.clear();
        self.state.lock().waker.take()
    }
}

/// The future that is polled, whoever does it.
struct Polled<R: Send + Sync + 'static>(Arc<Body<R>>);

impl<R: Send + Sync + 'static> Future for Polled<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let body = &self.0;
        let Some(live) = body.awaken(cx.waker()) else { return Poll::Ready(()) };
        // Nothing of a poll panics but what drops with it. Then the guard has settled the cell.
        match contain(|| body.poll(live, cx)) {
            Ok(Some(live)) => {
                body.sleep(live);
                Poll::Pending
            }
            Ok(None) | Err(_) => Poll::Ready(()),
        }
    }
}

impl<R: Send + Sync + 'static> Drop for Polled<R> {
    /// Whoever polled it has dropped it.
    fn drop(&mut self) {
        self.0.end(Error::shutdown);
    }
}

impl<R: Send + Sync + 'static> Wakeful for Body<R> {
    fn wake(&self) {
        let waker = self.state.lock().waker.clone();
        if let Some(waker) = waker {
            // An executor's code.
            let _ = contain(|| waker.wake_by_ref());
        }
    }
}

impl<R: Send + Sync + 'static> Unit for Body<R> {
    fn is_pending(&self) -> bool {
        self.due.lock().is_some() || !self.flight.cell.is_done()
    }

    fn perform(&self) {
        let due = self.due.lock().take();
        if let Some(poll) = due {
            self.engine.runner.took_poll();
            poll.run();
        }
    }

    fn mark_parked(&self, _: bool) {}

    fn go_on(&self) -> bool {
        self.wake();
        true
    }

    fn needs_thread(&self) -> bool {
        self.engine.spawner.is_none()
    }

    fn abandon(&self) {
        self.end(Error::shutdown);
        let due = self.due.lock().take();
        if let Some(poll) = due {
            self.engine.runner.took_poll();
            drop(poll);
        }
    }
}

impl fmt::Debug for Sleeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleeper").field("asleep", &self.asleep).finish_non_exhaustive()
    }
}

/// Drops what is the user's.
fn discard<T>(value: T) {
    let _ = contain(|| drop(value));
}

/// How many polls may begin on top of one another, where an executor runs jobs right where it is given them.
const NESTED_POLLS: u32 = 16;

/// Gives a poll to an executor. One that runs it at once may be given the next by that very poll, and so on without end:
/// then another thread goes on.
fn nested(push: impl FnOnce() + Send + Clone + 'static) {
    thread_local! {
        static DEPTH: Cell<u32> = const { Cell::new(0) };
    }
    let depth = DEPTH.get();
    if depth >= NESTED_POLLS && spawn("memopool-wake".into(), None, push.clone()).is_ok() {
        return;
    }
    DEPTH.set(depth + 1);
    let _ = contain(push);
    DEPTH.set(depth);
}
