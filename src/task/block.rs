//! A body that waits: what is entered before its thread sleeps and taken back after, in one order everywhere.
//!
//! | step | what for | when it fails |
//! |---|---|---|
//! | enter the wait graph | a wait that could never end is refused | the names along the cycle |
//! | lend the slots of its limits | those that it waits for may need them | |
//! | count the thread as blocked | the pool puts another in its place | |
//! | ask whether there is hope | the pool may have no thread left | nobody sleeps; the waiter helps, or says so |
//!
//! The last two come in this order: of several that tie up the last threads at once, whoever asks last sees all of them.

use std::time::{Duration, Instant};

use crate::call::execute::CallFlight;
use crate::error::Error;
use crate::run::asleep::asleep;
use crate::run::context::{self, Frame};
use crate::run::graph;
use crate::run::limit::{self, Lent};
use crate::run::wait_graph::{AnyNode, Blocked};
use crate::sync::spin;

/// How long any thread waits for a run before it sleeps.
const SNOOZE: Duration = Duration::from_micros(10);

/// The wait of a body for any of several tasks; it ends with this value.
#[must_use]
pub(super) struct Blocking<'f> {
    frame: &'f Frame,
    targets: Vec<AnyNode>,
    entered: Option<Blocked<'static>>,
    // Taken back last: that may be a wait of its own.
    _lent: Lent,
}

impl<'f> Blocking<'f> {
    /// Enters the wait, or says which cycle it would close.
    pub(super) fn enter(frame: &'f Frame, targets: Vec<AnyNode>) -> Result<Self, Error> {
        let entered = graph().block(&frame.node(), targets.clone()).map_err(Error::cycle)?;
        Ok(Blocking { frame, targets, entered: Some(entered), _lent: limit::lend() })
    }

    /// Sleeps with this thread counted as blocked, see [`asleep`]; the inner `None`: not by the deadline. The outer one: a wait
    /// without a deadline would never return, so it was not begun.
    pub(super) fn sleep<T>(
        &self,
        deadline: Option<Instant>,
        sleep: impl FnMut(Option<Instant>) -> Option<T>,
    ) -> Option<Option<T>> {
        let blocked = context::block_here();
        if deadline.is_none() && graph().is_hopeless(&self.targets) {
            return None;
        }
        let slept = asleep(deadline, sleep);
        drop(blocked);
        Some(slept)
    }

    /// Out of the wait graph while `run` runs one of the targets here.
    pub(super) fn aside<T>(&mut self, run: impl FnOnce() -> T) -> Result<T, Error> {
        self.entered = None;
        let ran = run();
        let entered = graph().block(&self.frame.node(), self.targets.clone());
        self.entered = Some(entered.map_err(Error::cycle)?);
        Ok(ran)
    }
}

/// A short wait stays awake: going to sleep and being woken costs more than most small bodies take.
pub(super) fn snooze<R>(flight: &CallFlight<R>) {
    spin(|| flight.cell.is_done().then_some(()), |passed| passed > SNOOZE);
}

/// Why a wait was not begun that nothing would ever end.
#[cold]
pub(super) fn no_thread_left<R>(flight: &CallFlight<R>) -> Error {
    let runner = flight.origin.runner();
    let (threads, most) = (runner.threads(), runner.max_os_threads());
    Error::full(if threads < most {
        format!(
            "waiting needs one more thread, but all {threads} of the pool wait, and the system starts no more: see its limits \
             of threads and memory, or lower `stack_size`"
        )
    } else {
        format!(
            "waiting needs one more thread, but all {most} of the pool wait: raise its `max_os_threads`, or its \
             `stack_size` for deeper nesting"
        )
    })
}
