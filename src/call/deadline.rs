//! What happens to a run whose body is over its timeout: its waiters leave, and the body can see that it should stop.

use std::time::Duration;

use super::engine::Engine;
use super::execute::{CallFlight, frame};
use crate::error::Error;
use crate::event::{Event, count};
use crate::memo::history::Fate;
use crate::run::overrun::Watched;
use crate::run::timer::Alarm;
use crate::run::{Ticket, context};
use crate::sync::{Arc, Mutex, Weak, spawn};

/// The deadline of one attempt.
pub(super) struct Deadline<R: 'static> {
    flight: Weak<CallFlight<R>>,
    engine: Weak<Engine>,
    timeout: Duration,
    attempt: u32,
    /// This attempt, as long as it runs.
    watched: Weak<Watched>,
}

impl<R: Send + Sync + 'static> Deadline<R> {
    /// Called by the thread that runs the attempt, in its frame.
    pub(super) fn new(
        engine: &Arc<Engine>,
        flight: &Arc<CallFlight<R>>,
        timeout: Duration,
        attempt: u32,
    ) -> Self {
        let (engine, flight) = (Arc::downgrade(engine), Arc::downgrade(flight));
        Deadline { flight, engine, timeout, attempt, watched: context::watch() }
    }
}

impl<R: Send + Sync + 'static> Alarm for Deadline<R> {
    fn ring(self: Box<Self>) {
        let (Some(flight), Some(engine)) = (self.flight.upgrade(), self.engine.upgrade()) else { return };
        if self.is_moot() {
            return;
        }
        // Before anyone is woken who might ask why, or submit something to a thread that is lost.
        let stuck = self.watched.upgrade().is_some_and(|watched| watched.stick());
        engine.note(&flight.origin, Fate::TimedOut);
        let tally = &flight.origin.tally;
        let error = Error::timeout(Some(tally.name), self.timeout);
        // Callbacks may take long, or wait for others: not in the thread that keeps the time.
        let (frame, ticket) = (frame(&flight), Ticket::new(&engine));
        let elsewhere = |callbacks: Box<dyn FnOnce() + Send>| {
            let due = Arc::new(Mutex::new(Some((callbacks, frame, ticket))));
            let call = |due: &Mutex<Option<_>>| {
                let due: Option<(Box<dyn FnOnce() + Send>, _, _)> = due.lock().take();
                let Some((callbacks, frame, ticket)) = due else { return };
                let _frame = context::enter(frame);
                callbacks();
                drop(ticket);
            };
            let there = Arc::clone(&due);
            if let Err(error) = spawn("memopool-callbacks".into(), None, move || call(&there)) {
                engine.emit(&Event::ThreadFailed { error: &error });
                // Late deadlines are better than callbacks that never come.
                call(&due);
            }
        };
        if flight.cell.finish_early(Err(error.clone()), elsewhere) {
            // Other processes need not wait until the body is over.
            flight.origin.hold.end();
            // A body that is asleep can't see it.
            flight.origin.sleeper.wake();
            count(&tally.failed);
            engine.emit(&Event::Failed { function: tally.name, error: &error });
            if stuck {
                engine.emit(&Event::Stuck { function: tally.name, timeout: self.timeout });
            }
        }
    }

    fn is_moot(&self) -> bool {
        self.flight.upgrade().is_none_or(|flight| flight.origin.course.made() != self.attempt)
    }
}
