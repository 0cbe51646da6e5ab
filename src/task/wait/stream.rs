//! Several tasks as a stream: [`AsCompleted`], polled instead of waited on.
//!
//! The tasks' wakers push their indices as before; what is polled leaves its own waker beside the queue, under the same
//! lock, so no push is missed. A deadline is kept by the timer of a pool whose task is pending: as long as one is, its
//! pool lives, and when that task is done the next poll finds another.
//!
//! Inside a task's body a pending stream is an or-edge in the wait graph, entered as a single future's is: all branches on
//! the first poll, looked at on the next, since a combinator polls all its futures once before it sleeps. Tasks that come
//! later (a map submits as it is read) join them on the next poll that finds nothing. So a stream that could never yield says
//! so, and the body's thread counts as blocked.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures_core::Stream;

use super::{AsCompleted, End, Ready, State, Task, Waiting};
use crate::error::Error;
use crate::run::limit;
use crate::run::timer::Alarm;
use crate::run::{Runner, context, graph};
use crate::sync::{Arc, Weak, now};

impl<R: Send + Sync + 'static> AsCompleted<R> {
    /// The same as a stream, for any async runtime or none (feature `stream`).
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use memopool::{Func, Pool, as_completed};
    ///
    /// # pollster::block_on(async {
    /// let square = Func::new("square", |n: u64| n * n);
    /// let mut squares = as_completed(Pool::new().submit_all((1..=4).map(|n| square.call(n)))).into_stream();
    /// let mut sum = 0;
    /// while let Some(task) = squares.next().await {
    ///     sum += *task?.wait()?; // done: it does not wait
    /// }
    /// assert_eq!(sum, 30);
    /// # Ok::<(), memopool::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn into_stream(self) -> AsCompletedStream<R> {
        AsCompletedStream { tasks: self, polled: Polled::default() }
    }
}

/// Tasks as they are done, for async code; from [`AsCompleted::into_stream`].
#[must_use = "a stream does nothing until it is polled"]
pub struct AsCompletedStream<R: Send + Sync + 'static> {
    tasks: AsCompleted<R>,
    polled: Polled,
}

impl<R: Send + Sync + 'static> Stream for AsCompletedStream<R> {
    type Item = Result<Task<R>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { tasks, polled } = &mut *self;
        let Some(waiting) = &mut tasks.waiting else { return Poll::Ready(None) };
        let next = std::task::ready!(waiting.poll(polled, cx));
        if matches!(next, Err(End::Late)) {
            polled.leave(waiting);
        }
        Poll::Ready(tasks.item(next))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.tasks.size_hint()
    }
}

impl<R: Send + Sync + 'static> Drop for AsCompletedStream<R> {
    fn drop(&mut self) {
        if let Some(waiting) = &self.tasks.waiting {
            self.polled.leave(waiting);
        }
    }
}

/// What polling leaves behind elsewhere.
#[derive(Default)]
pub(in crate::task) struct Polled {
    /// The body whose branches in the wait graph the pending tasks are.
    waiter: Option<u64>,
    /// The pool whose timer rings at the deadline.
    armed: Option<u64>,
}

impl Polled {
    /// A task is given out: takes its branch back, unless another that is pending shares its run.
    fn take<R: Send + Sync + 'static>(&mut self, waiting: &Waiting<R>, task: &Task<R>) {
        if let (Some(waiter), Some(flight)) = (self.waiter, task.flight())
            && waiting.pending().all(|pending| pending.flight() != Some(flight))
        {
            graph().gave_out(waiter, flight);
        }
    }

    /// Takes all branches back.
    pub(in crate::task) fn leave<R: Send + Sync + 'static>(&mut self, waiting: &Waiting<R>) {
        if let Some(waiter) = self.waiter.take() {
            waiting.pending().filter_map(Task::flight).for_each(|flight| graph().forget_one(waiter, flight));
            context::resume_unless_awaiting();
        }
    }
}

impl<R: Send + Sync + 'static> Waiting<R> {
    /// As `next`, for a future.
    pub(in crate::task) fn poll(
        &mut self,
        polled: &mut Polled,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(usize, Task<R>), End>> {
        context::resume();
        loop {
            if let Some((index, task)) = self.take_ready() {
                polled.take(self, &task);
                return Poll::Ready(Ok((index, task)));
            }
            if self.left == 0 {
                return Poll::Ready(Err(End::Empty));
            }
            if self.deadline.is_some_and(|at| at <= now()) {
                return Poll::Ready(Err(End::Late));
            }
            if !self.ready.leave_waker(cx.waker()) {
                continue;
            }
            self.arm(polled);
            match self.suspend(polled, cx) {
                Ok(true) => return Poll::Pending,
                // One of them was run right here.
                Ok(false) => {}
                Err(error) => {
                    polled.leave(self);
                    return Poll::Ready(self.give_up_first(error));
                }
            }
        }
    }

    /// Has the timer of some pool ring at the deadline. One that can't be started is not heard: the deadline is then
    /// noticed when the next task is done.
    fn arm(&self, polled: &mut Polled) {
        let (Some(at), Some(pending)) = (self.deadline, self.pending().next()) else { return };
        let State::InFlight { flight, .. } = &pending.state else { return };
        let runner = flight.origin.runner();
        if polled.armed.replace(runner.id) != Some(runner.id) {
            self.ready.ring_at(at, runner);
        }
    }

    /// Enters the wait in the graph if a body polls it. `Ok(false)`: look again, `Err`: it could never end.
    fn suspend(&self, polled: &mut Polled, cx: &Context<'_>) -> Result<bool, Error> {
        let frame = context::current();
        let waiter = frame.as_ref().map(|frame| frame.body.id());
        let first = polled.waiter != waiter;
        if first {
            polled.leave(self);
            polled.waiter = waiter;
        }
        let Some(frame) = frame else { return Ok(true) };
        let nodes: Vec<_> = self.pending().filter_map(Task::node).collect();
        let waker = Waker::from(Arc::clone(&self.ready));
        graph().add_branches(&frame.node(), &nodes, &waker);
        if frame.polled {
            let told = |node| graph().await_polled(&frame.node(), node, &waker);
            return match nodes.first().and_then(told) {
                None => Ok(true),
                Some(path) => {
                    polled.waiter = None;
                    Err(Error::cycle(path))
                }
            };
        }
        if let Some(path) = nodes.first().and_then(|node| context::polls(&frame, node, &waker, !first)) {
            // Who is told of a cycle has left the graph.
            polled.waiter = None;
            return Err(Error::cycle(path));
        }
        if first {
            cx.waker().wake_by_ref();
            return Ok(true);
        }
        if context::suspend(&nodes) || self.deadline.is_some() {
            return Ok(true);
        }
        // No thread is left: help after all, or say so.
        let rests = self.pending().filter_map(Task::rests_until).min();
        let _lent = limit::lend();
        if self.pending().any(|task| task.help(&frame)) {
            return Ok(false);
        }
        if let Some(until) = rests.or_else(|| self.pending().filter_map(Task::rests_until).min()) {
            let _blocked = context::block_here();
            self.ready.parker.park(Some(until));
            return Ok(false);
        }
        match self.pending().find(|task| !task.is_done()) {
            Some(task) => Err(task.no_thread_left()),
            None => Ok(false),
        }
    }
}

impl Ready {
    /// Wakes whoever polled last at `at`.
    pub(in crate::task) fn ring_at(self: &Arc<Self>, at: Instant, runner: &Runner) {
        // Without a thread for the timer there is no deadline: better than no results.
        let _ = runner.timer().at(at, Box::new(Due(Arc::downgrade(self))));
    }

    /// Leaves a waker. `false`: something was posted, look at that first.
    pub(in crate::task) fn leave_waker(&self, waker: &Waker) -> bool {
        // Cloning and dropping a waker is an executor's code: never under the lock.
        let mut waker = Some(waker.clone());
        let mut posted = self.posted.lock();
        let empty = posted.queue.is_empty();
        if empty {
            std::mem::swap(&mut posted.waker, &mut waker);
        }
        drop(posted);
        empty
    }
}

/// The deadline of a stream.
struct Due(Weak<Ready>);

impl Alarm for Due {
    fn ring(self: Box<Self>) {
        if let Some(ready) = self.0.upgrade() {
            std::task::Wake::wake(ready);
        }
    }

    fn is_moot(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl<R: Send + Sync + 'static> fmt::Debug for AsCompletedStream<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tasks.fmt(f)
    }
}
