//! Many calls as a stream: [`Map`], polled instead of waited on.
//!
//! In order, the first task ahead is polled as the future that it is; in any order, all of them are, as
//! [`AsCompletedStream`](crate::AsCompletedStream) does. Nothing here blocks: where a thread would wait for room in the
//! queue, a waker is left there.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::{Ahead, Glances, Map};
use crate::call::Call;
use crate::error::Error;
use crate::sync::{Arc, now};
use crate::task::wait::Ready;
use crate::task::wait::stream::Polled;

impl<I, A, R> Map<I, R>
where
    I: Iterator<Item = Call<A, R>>,
    R: Send + Sync + 'static,
{
    /// The same as a stream, for any async runtime or none (feature `stream`). It pulls from its input, and submits, in the
    /// thread that polls it; it never waits there.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::TryStreamExt;
    /// use memopool::{Func, Pool};
    ///
    /// let square = Func::new("square", |n: u64| n * n);
    /// let pool = Pool::new();
    /// let squares = pool.map((1..=4).map(|n| square.call(n))).into_stream();
    /// let squares: Vec<_> = pollster::block_on(squares.map_ok(|n| *n).try_collect())?;
    /// assert_eq!(squares, [1, 4, 9, 16]);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn into_stream(mut self) -> MapStream<I, R> {
        // A glance at the disk might wait.
        self.glances = Glances::default();
        MapStream { map: self, polled: Polled::default(), late: Arc::default(), armed: false }
    }
}

/// The results of many calls, for async code; from [`Map::into_stream`].
///
/// Dropping it cancels what has not started.
#[must_use = "a stream does nothing until it is polled"]
pub struct MapStream<I: Iterator, R: Send + Sync + 'static> {
    map: Map<I, R>,
    polled: Polled,
    /// Woken at the deadline.
    late: Arc<Ready>,
    armed: bool,
}

/// The input is never pinned: an iterator does not care.
impl<I: Iterator, R: Send + Sync + 'static> Unpin for MapStream<I, R> {}

impl<I, A, R> Stream for MapStream<I, R>
where
    I: Iterator<Item = Call<A, R>>,
    R: Send + Sync + 'static,
{
    type Item = Result<Arc<R>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { map, polled, late, armed } = &mut *self;
        if map.over {
            return Poll::Ready(None);
        }
        let deadline = map.deadline();
        if let Some(at) = deadline {
            late.leave_waker(cx.waker());
            if !std::mem::replace(armed, true) {
                late.ring_at(at, map.pool.runner());
            }
        }
        loop {
            map.fill(|pool, call, _, _| pool.try_submit(call));
            if map.submitted() == 0 {
                map.watched.over();
                return Poll::Ready(None);
            }
            let next = match &mut map.ahead {
                ahead if ahead.len() == 0 => match map.pool.runner().call_when_there_is_room(cx.waker()) {
                    true => Poll::Pending,
                    false => continue,
                },
                Ahead::Ordered(tasks) => {
                    let front = tasks.front_mut().expect("not empty");
                    let result = Pin::new(front).poll(cx);
                    result.map(|result| (tasks.pop_front().expect("not empty"), result))
                }
                Ahead::Unordered(come) => come.waiting.poll(polled, cx).map(|next| match next {
                    Ok((_, task)) => {
                        let result = task.wait();
                        (task, result)
                    }
                    Err(_) => unreachable!("not empty, and the deadline is kept here"),
                }),
            };
            if next.is_pending() && deadline.is_some_and(|at| at <= now()) {
                if let Ahead::Unordered(come) = &map.ahead {
                    polled.leave(&come.waiting);
                }
                return Poll::Ready(Some(Err(map.late())));
            }
            return next.map(|(task, result)| {
                map.took(&task, &result);
                Some(result)
            });
        }
    }
}

impl<I: Iterator, R: Send + Sync + 'static> Drop for MapStream<I, R> {
    fn drop(&mut self) {
        if let Ahead::Unordered(come) = &self.map.ahead {
            self.polled.leave(&come.waiting);
        }
    }
}

impl<I: Iterator, R: Send + Sync + 'static> fmt::Debug for MapStream<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.map.fmt(f)
    }
}
