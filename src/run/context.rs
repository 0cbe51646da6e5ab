//! What a thread knows of the task whose body it runs.
//!
//! Bodies nest: a worker that waits for a queued task runs it on top of its own stack. So the frames of a thread form a
//! stack of their own, and the innermost is the current one.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::task::Waker;

use super::limit::{self, Lent};
use super::wait_graph::AnyNode;
use super::{Runner, graph};
use crate::observe::{InSpan, Span};
use crate::sync::Arc;

/// A thread that is not ours (an [`Executor`](crate::Executor)'s) is trusted to have this much stack left when it
/// starts a job, for helping alone: half of the smallest stack that is usual for a thread that runs Rust, 1 MiB.
pub(crate) const FOREIGN_STACK: usize = 512 * 1024;

/// One body on this thread's stack.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) node: AnyNode,
    pub(crate) runner: Arc<Runner>,
    /// The pool, for `Pool::current()`: a type that this stage does not know.
    pub(crate) pool: Arc<dyn Any + Send + Sync>,
    /// Entered with the body.
    pub(crate) span: Span,
}

#[derive(Clone, Copy)]
struct Stack {
    base: usize,
    /// Helping is allowed while less than this is used.
    room: usize,
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
    static STACK: Cell<Option<Stack>> = const { Cell::new(None) };
    /// The runner whose worker this thread is. Not always that of the innermost frame: a body may run another pool's
    /// jobs, if that pool's executor says so.
    static WORKER_OF: RefCell<Option<Arc<Runner>>> = const { RefCell::new(None) };
    /// A future of ours is pending in the current body, and its thread is counted as blocked.
    static AWAITING: Cell<bool> = const { Cell::new(false) };
    /// What that body lent meanwhile.
    static LENT: RefCell<Option<Lent>> = const { RefCell::new(None) };
    /// The current body has polled futures of ours: the graph may hold branches of it.
    static POLLED: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as a worker with `stack` bytes. Half of them are for helping: every body, nested ones too, finds at
/// least the other half.
pub(super) fn become_worker(runner: &Arc<Runner>, stack: usize) {
    WORKER_OF.set(Some(Arc::clone(runner)));
    STACK.set(Some(Stack { base: here(), room: stack / 2 }));
}

/// This thread is no worker any more.
pub(super) fn retire() {
    drop(WORKER_OF.take());
}

/// Whether this thread is a worker of that runner.
pub(crate) fn is_worker_of(runner: u64) -> bool {
    WORKER_OF.with_borrow(|worker| worker.as_ref().is_some_and(|worker| worker.id == runner))
}

/// The runner whose worker this thread is.
pub(crate) fn worker() -> Option<Arc<Runner>> {
    WORKER_OF.with_borrow(Clone::clone)
}

/// Whether one more body fits on this thread's stack.
pub(crate) fn has_room() -> bool {
    STACK.get().is_some_and(|stack| here().abs_diff(stack.base) < stack.room)
}

/// The innermost frame, if a body runs here.
pub(crate) fn current() -> Option<Frame> {
    FRAMES.with_borrow(|frames| frames.last().cloned())
}

/// Whether a task of that runner is on this thread's stack (its body, or a callback it runs).
pub(crate) fn is_inside(runner: u64) -> bool {
    FRAMES.with_borrow(|frames| frames.iter().any(|frame| frame.runner.id == runner))
}

/// Looks at the innermost frame without cloning it.
pub(crate) fn with_current<T>(look: impl FnOnce(Option<&Frame>) -> T) -> T {
    FRAMES.with_borrow(|frames| look(frames.last()))
}

/// Enters a body; the frame is left when the value is dropped.
pub(crate) fn enter(frame: Frame) -> Entered {
    let span = frame.span.clone().enter();
    let stack = STACK.get();
    if stack.is_none() {
        STACK.set(Some(Stack { base: here(), room: FOREIGN_STACK }));
    }
    FRAMES.with_borrow_mut(|frames| frames.push(frame));
    Entered {
        stack_was_set: stack.is_some(),
        awaiting: AWAITING.replace(false),
        polled: POLLED.replace(false),
        _span: span,
    }
}

/// See [`enter`].
pub(crate) struct Entered {
    stack_was_set: bool,
    awaiting: bool,
    polled: bool,
    _span: InSpan,
}

impl Drop for Entered {
    fn drop(&mut self) {
        resume();
        AWAITING.set(self.awaiting);
        let frame = FRAMES.with_borrow_mut(Vec::pop);
        if !self.stack_was_set {
            STACK.set(None);
        }
        if POLLED.replace(self.polled)
            && let Some(frame) = &frame
        {
            graph().leave(frame.node.id());
        }
    }
}

/// The body of `frame` polls `target`; see [`Graph::await_one`](super::wait_graph::Graph::await_one).
pub(crate) fn polls(
    frame: &Frame,
    target: &AnyNode,
    waker: &Waker,
    check: bool,
) -> Option<super::wait_graph::Cycle> {
    POLLED.set(true);
    graph().await_one(&frame.node, target, waker, check)
}

/// A future of ours is pending in the body that runs here: count its thread as blocked until it shows up again.
/// Gives `false` when no thread is left that would ever run any of the `targets`.
pub(crate) fn suspend(targets: &[AnyNode]) -> bool {
    if !AWAITING.get()
        && let Some(worker) = worker()
    {
        worker.begin_block(false);
        AWAITING.set(true);
    }
    let lent = LENT.take().or_else(|| Some(limit::lend()));
    LENT.set(lent);
    if graph().is_hopeless(targets) {
        resume();
        return false;
    }
    true
}

/// The body shows up again: its thread counts as runnable.
pub(crate) fn resume() {
    if AWAITING.replace(false)
        && let Some(worker) = worker()
    {
        worker.end_block(false);
    }
    drop(LENT.take());
}

/// A future of ours is ready. The body shows up again, unless it awaits others still: a combinator that joins them goes
/// back to sleep at once, and polls only those that woke it.
pub(crate) fn resume_unless_awaiting() {
    if AWAITING.get() && with_current(|frame| frame.is_none_or(|frame| !graph().is_waiting(frame.node.id())))
    {
        resume();
    }
}

/// Counts this worker as blocked until the value is dropped. `None`: it is no worker, so nobody would replace it.
pub(crate) fn block_here() -> Option<Blocked> {
    Blocked::enter(false)
}

/// As [`block_here`], for something that is no task: as far as anyone can tell it will end by itself.
pub(crate) fn block_outside() -> Option<Blocked> {
    resume();
    with_current(|frame| frame.map(|_| ())).and_then(|()| Blocked::enter(true))
}

/// As [`block_here`], for a body that waits for its slot: those who have it run.
pub(super) fn block_for_slot() -> Option<Blocked> {
    Blocked::enter(true)
}

/// A worker that is counted as blocked.
pub(crate) struct Blocked {
    worker: Arc<Runner>,
    outside: bool,
}

impl Blocked {
    fn enter(outside: bool) -> Option<Blocked> {
        let worker = worker()?;
        worker.begin_block(outside);
        Some(Blocked { worker, outside })
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.worker.end_block(self.outside);
    }
}

/// About where this thread's stack ends now.
#[inline(never)]
fn here() -> usize {
    let local = 0_u8;
    std::ptr::from_ref(black_box(&local)).addr()
}
