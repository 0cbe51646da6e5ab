//! A task as a future: what it leaves behind in the cell between two polls, and how a body that polls is blocked.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::block::no_thread_left;
use super::{State, Task};
use crate::call::execute::CallFlight;
use crate::error::Error;
use crate::flight::cell::Registration;
use crate::run::context;
use crate::run::graph;
use crate::run::limit;
use crate::run::wait_graph::AnyNode;
use crate::sync::Arc;

/// A waker left in a cell, and a branch in the wait graph: both taken back when the future is ready or dropped.
pub(super) struct Polling<R: Send + Sync + 'static> {
    flight: Arc<CallFlight<R>>,
    registration: Registration,
    /// The body that polled it.
    waiter: Option<u64>,
}

impl<R: Send + Sync + 'static> Drop for Polling<R> {
    fn drop(&mut self) {
        self.flight.cell.unregister(&mut self.registration);
        if let Some(waiter) = self.waiter {
            graph().forget_one(waiter, self.flight.id);
            // It may have been what the body here was at.
            context::resume_unless_awaiting();
        }
    }
}

impl<R: Send + Sync + 'static> Future for Task<R> {
    type Output = Result<Arc<R>, Error>;

    /// Needs no runtime. Inside an async body it holds no thread while it is pending. Inside a plain one, which blocks on it,
    /// a pending future counts its thread as blocked, so that the pool puts another in its place; and one whose result could never come fails on its second poll (a combinator polls all its
    /// branches once before it sleeps).
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (flight, interest, left) = match &mut self.state {
            State::Ready { outcome, .. } => return Poll::Ready(outcome.clone()),
            State::InFlight { flight, interest, polling, .. } => (flight, *interest, polling),
        };
        let polling = left.get_or_insert_with(|| Polling {
            flight: Arc::clone(flight),
            registration: Registration::default(),
            waiter: None,
        });
        if let Some(outcome) = flight.cell.poll(interest, &mut polling.registration, cx.waker()) {
            *left = None;
            context::resume_unless_awaiting();
            return Poll::Ready(outcome);
        }
        let Some(frame) = context::current() else { return Poll::Pending };
        let target: AnyNode = Arc::clone(flight) as AnyNode;
        if frame.polled {
            // The end of this poll is looked at by whoever makes it.
            polling.waiter = Some(frame.body.id());
            let Some(path) = graph().await_polled(&frame.node(), &target, cx.waker()) else {
                return Poll::Pending;
            };
            *left = None;
            return Poll::Ready(Err(Error::cycle(path)));
        }
        let again = polling.waiter.replace(frame.body.id()).is_some();
        if let Some(path) = context::polls(&frame, &target, cx.waker(), again) {
            *left = None;
            return Poll::Ready(Err(Error::cycle(path)));
        }
        if !again {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let flight = Arc::clone(flight);
        while !context::suspend(std::slice::from_ref(&target)) {
            // No thread is left: help after all, or say so.
            let rests = self.rests_until();
            let lent = limit::lend();
            let helped = self.help(&frame);
            drop(lent);
            if let Some(outcome) = flight.cell.outcome(interest) {
                self.stop_polling();
                return Poll::Ready(outcome);
            }
            if let Some(until) = rests.or_else(|| self.rests_until()) {
                let _blocked = context::block_here();
                flight.cell.wait(interest, Some(until));
            } else if !helped {
                return Poll::Ready(Err(no_thread_left(&flight)));
            }
        }
        Poll::Pending
    }
}

impl<R: Send + Sync + 'static> Task<R> {
    /// Takes back what `poll` left in the cell.
    fn stop_polling(&mut self) {
        if let State::InFlight { polling, .. } = &mut self.state {
            *polling = None;
        }
    }
}
