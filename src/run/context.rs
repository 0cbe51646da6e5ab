//! What a thread knows of the task whose body it runs.
//!
//! Bodies nest: a worker that waits for a queued task runs it on top of its own stack. So the frames of a thread form a
//! stack of their own, and the innermost is the current one.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::task::Waker;
use std::thread::LocalKey;

#[cfg(feature = "rayon")]
use super::limit::Pass;
use super::limit::{self, Lent};
use super::overrun::Watched;
use super::sizing::Wait;
use super::wait_graph::{AnyNode, Node};
use super::{Host, Runner, graph};
use crate::observe::{InSpan, Span};
use crate::sync::{Arc, Weak};

/// A thread that is not ours (an [`Executor`](crate::Executor)'s) is trusted to have this much stack left when it
/// starts a job, for helping alone: half of the smallest stack that is usual for a thread that runs Rust, 1 MiB.
pub(crate) const FOREIGN_STACK: usize = 512 * 1024;

/// One body on this thread's stack.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) body: Arc<dyn Body>,
    /// One poll of an async body: what it awaits does not hold this thread.
    pub(crate) polled: bool,
    /// Entered with the body.
    pub(crate) span: Span,
}

/// A run whose body is on a thread's stack. It leads to its pool: a frame that counted a reference of its own to that would
/// change a line that all threads change, for every body.
pub(crate) trait Body: Node {
    /// Where it runs.
    fn runner(&self) -> &Arc<Runner>;
    /// Its pool, as long as that exists.
    fn host(&self) -> Option<Arc<dyn Host>>;
}

impl Frame {
    /// Its run, as the wait graph sees it.
    pub(crate) fn node(&self) -> AnyNode {
        Arc::clone(&self.body) as AnyNode
    }

    /// The same, for one poll of an async body.
    pub(crate) fn polled(mut self) -> Frame {
        self.polled = true;
        self
    }
}

#[derive(Clone, Copy)]
struct Stack {
    base: usize,
    /// Helping is allowed while less than this is used.
    room: usize,
}

/// A worker, as its own thread knows it.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(super) runner: Arc<Runner>,
    pub(super) seat: usize,
}

struct Nested {
    frame: Frame,
    /// Its present attempt, if that has a deadline.
    watched: Option<Arc<Watched>>,
}

thread_local! {
    static FRAMES: RefCell<Vec<Nested>> = const { RefCell::new(Vec::new()) };
    static STACK: Cell<Option<Stack>> = const { Cell::new(None) };
    /// Whose worker this thread is. Not always that of the innermost frame: a body may run another pool's jobs, if that
    /// pool's executor says so.
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
    /// What the current body waits for, as this worker is counted: however deeply its waits nest, it is one thread.
    static WAIT: Cell<Option<Wait>> = const { Cell::new(None) };
    /// A future of ours is pending in the current body.
    static AWAITING: RefCell<Option<Awaiting>> = const { RefCell::new(None) };
    /// The current body has polled futures of ours: the graph may hold branches of it.
    static POLLED: Cell<bool> = const { Cell::new(false) };
}

/// The body is at a future of ours: its thread counts as blocked, and what it had a slot of is lent.
struct Awaiting {
    _blocked: Blocked,
    _lent: Lent,
}

/// Looks at what this thread knows. `None`: it ends, and knows nothing any more (a pool may be dropped by the destructor of
/// another thread-local).
fn with<T, R>(key: &'static LocalKey<RefCell<T>>, look: impl FnOnce(&mut T) -> R) -> Option<R> {
    key.try_with(|known| look(&mut known.borrow_mut())).ok()
}

/// Marks this thread as a worker with `stack` bytes. Half of them are for helping: every body, nested ones too, finds at
/// least the other half.
pub(super) fn become_worker(runner: &Arc<Runner>, seat: usize, stack: usize) {
    WORKER.set(Some(Worker { runner: Arc::clone(runner), seat }));
    STACK.set(Some(Stack { base: here(), room: stack / 2 }));
}

/// This thread is no worker any more.
pub(super) fn retire() {
    drop(WORKER.take());
}

/// Another thread that is to run the current body in place of this one, which sleeps meanwhile.
#[cfg(feature = "rayon")]
pub(super) struct StandIn {
    frame: Option<Frame>,
    worker: Option<Worker>,
    stack: usize,
    /// The slots that it lends when it waits.
    held: Vec<Arc<Pass>>,
}

/// See [`StandIn`]; that thread has `stack` bytes.
#[cfg(feature = "rayon")]
pub(super) fn stand_in(stack: usize) -> StandIn {
    StandIn { frame: current(), worker: worker(), stack, held: limit::held() }
}

#[cfg(feature = "rayon")]
impl StandIn {
    /// From here to the end of what is returned this thread knows what that one knew.
    pub(super) fn begin(self) -> StandingIn {
        let before = (WORKER.take(), STACK.get(), limit::hold(self.held));
        if let Some(worker) = self.worker {
            become_worker(&worker.runner, worker.seat, self.stack);
        }
        StandingIn { entered: self.frame.map(enter), before }
    }
}

/// See [`StandIn::begin`].
#[cfg(feature = "rayon")]
pub(super) struct StandingIn {
    entered: Option<Entered>,
    before: (Option<Worker>, Option<Stack>, Vec<Arc<Pass>>),
}

#[cfg(feature = "rayon")]
impl Drop for StandingIn {
    fn drop(&mut self) {
        // Its end is still the worker's.
        self.entered = None;
        let (worker, stack, held) = std::mem::take(&mut self.before);
        WORKER.set(worker);
        STACK.set(stack);
        drop(limit::hold(held));
    }
}

/// Whether this thread is a worker of that runner.
pub(crate) fn is_worker_of(runner: u64) -> bool {
    worker().is_some_and(|worker| worker.runner.id == runner)
}

/// Which worker this thread is.
pub(crate) fn worker() -> Option<Worker> {
    with(&WORKER, |worker| worker.clone()).flatten()
}

/// Whether one more body fits on this thread's stack.
pub(crate) fn has_room() -> bool {
    STACK.get().is_some_and(|stack| here().abs_diff(stack.base) < stack.room)
}

/// Until the value is dropped, [`has_room`] goes by what is used of this thread's stack from here on, unless it goes by
/// something already.
#[cfg(feature = "rayon")]
pub(super) fn measure_stack() -> Measured {
    let first = STACK.get().is_none();
    if first {
        STACK.set(Some(Stack { base: here(), room: FOREIGN_STACK }));
    }
    Measured { first }
}

/// See [`measure_stack`].
#[cfg(feature = "rayon")]
pub(super) struct Measured {
    first: bool,
}

#[cfg(feature = "rayon")]
impl Drop for Measured {
    fn drop(&mut self) {
        if self.first {
            STACK.set(None);
        }
    }
}

/// The innermost frame, if a body runs here.
pub(crate) fn current() -> Option<Frame> {
    with_current(|frame| frame.cloned())
}

/// Whether a task of that runner is on this thread's stack (its body, or a callback it runs).
pub(crate) fn is_inside(runner: u64) -> bool {
    with(&FRAMES, |frames| frames.iter().any(|nested| nested.frame.body.runner().id == runner))
        .unwrap_or(false)
}

/// Looks at the innermost frame without cloning it.
pub(crate) fn with_current<T>(look: impl FnOnce(Option<&Frame>) -> T) -> T {
    let mut look = Some(look);
    let mut look = |frame: Option<&Frame>| look.take().map(|look| look(frame));
    let seen = FRAMES.try_with(|frames| look(frames.borrow().last().map(|nested| &nested.frame)));
    seen.ok().flatten().or_else(|| look(None)).expect("it looks once, here or there")
}

/// Enters a body; the frame is left when the value is dropped. A body that runs on top of one that waits runs: its thread
/// is not blocked meanwhile.
pub(crate) fn enter(frame: Frame) -> Entered {
    let span = frame.span.clone().enter();
    let stack = STACK.get();
    if stack.is_none() {
        STACK.set(Some(Stack { base: here(), room: FOREIGN_STACK }));
    }
    with(&FRAMES, |frames| frames.push(Nested { frame, watched: None }));
    Entered {
        stack_was_set: stack.is_some(),
        awaiting: with(&AWAITING, Option::take).flatten(),
        polled: POLLED.replace(false),
        wait: count_as(None),
        _span: span,
    }
}

/// See [`enter`].
pub(crate) struct Entered {
    stack_was_set: bool,
    awaiting: Option<Awaiting>,
    polled: bool,
    wait: Option<Wait>,
    _span: InSpan,
}

impl Drop for Entered {
    fn drop(&mut self) {
        resume();
        let nested = with(&FRAMES, Vec::pop).flatten();
        if !self.stack_was_set {
            STACK.set(None);
        }
        if let Some(Nested { frame, watched }) = nested {
            if let Some(watched) = watched {
                watched.end();
            }
            if POLLED.replace(self.polled) {
                graph().leave(frame.body.id());
            }
        }
        count_as(self.wait);
        with(&AWAITING, |awaiting| *awaiting = self.awaiting.take());
    }
}

/// The current body begins an attempt that has a deadline; who keeps the time is given what to tell of it. Dead when the
/// attempt is over.
pub(crate) fn watch() -> Weak<Watched> {
    let Some(frame) = current() else { return Weak::new() };
    let watched = Arc::new(Watched::new(Arc::clone(frame.body.runner()), worker()));
    let watch = Arc::downgrade(&watched);
    let before = with(&FRAMES, |frames| frames.last_mut().and_then(|nested| nested.watched.replace(watched)));
    if let Some(before) = before.flatten() {
        before.end();
    }
    watch
}

/// The body of `frame` polls `target`; see [`Graph::await_one`](super::wait_graph::Graph::await_one).
pub(crate) fn polls(
    frame: &Frame,
    target: &AnyNode,
    waker: &Waker,
    check: bool,
) -> Option<super::wait_graph::Cycle> {
    POLLED.set(true);
    graph().await_one(&frame.node(), target, waker, check)
}

/// A future of ours is pending in the body that runs here: count its thread as blocked until it shows up again.
/// Gives `false` when no thread is left that would ever run any of the `targets`.
pub(crate) fn suspend(targets: &[AnyNode]) -> bool {
    if with(&AWAITING, |awaiting| awaiting.is_none()).unwrap_or(false) {
        let _lent = limit::lend();
        let awaiting = Awaiting { _blocked: Blocked::enter(Wait::Tasks), _lent };
        AWAITING.set(Some(awaiting));
    }
    if graph().is_hopeless(targets) {
        resume();
        return false;
    }
    true
}

/// The body shows up again: its thread counts as runnable.
pub(crate) fn resume() {
    let awaiting = with(&AWAITING, Option::take);
    drop(awaiting);
}

/// A future of ours is ready. The body shows up again, unless it awaits others still: a combinator that joins them goes
/// back to sleep at once, and polls only those that woke it.
pub(crate) fn resume_unless_awaiting() {
    if with(&AWAITING, |awaiting| awaiting.is_some()).unwrap_or(false)
        && with_current(|frame| frame.is_none_or(|frame| !graph().is_waiting(frame.body.id())))
    {
        resume();
    }
}

/// Counts this worker as blocked until the value is dropped. Nothing happens where nobody would replace it: it is no worker.
pub(crate) fn block_here() -> Blocked {
    Blocked::enter(Wait::Tasks)
}

/// As [`block_here`], for a body that waits for something that is no task: as far as anyone can tell it will end by itself.
pub(crate) fn block_outside() -> Option<Blocked> {
    resume();
    with_current(|frame| frame.is_some()).then(|| Blocked::enter(Wait::Outside))
}

/// As [`block_here`], for a body that waits for its slot: those who have it run.
pub(super) fn block_for_slot() -> Blocked {
    Blocked::enter(Wait::Outside)
}

/// A worker that is counted as blocked. Waits nest (a body may wait for a task inside of
/// [`block_in_place`](crate::block_in_place)): the innermost says for what.
#[must_use]
pub(crate) struct Blocked {
    before: Option<Wait>,
}

impl Blocked {
    fn enter(wait: Wait) -> Blocked {
        Blocked { before: count_as(Some(wait)) }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // What was awaited meanwhile came later, and goes first.
        resume();
        count_as(self.before);
    }
}

/// Counts this worker as waiting for that, or as runnable. Returns as what it was counted.
fn count_as(wait: Option<Wait>) -> Option<Wait> {
    let before = WAIT.replace(wait);
    if before != wait
        && let Some(Worker { runner, seat }) = worker()
    {
        runner.change(seat, |seat| seat.wait = wait);
    }
    before
}

/// About where this thread's stack ends now.
#[inline(never)]
fn here() -> usize {
    let local = 0_u8;
    std::ptr::from_ref(black_box(&local)).addr()
}
