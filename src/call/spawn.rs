//! Closures that run once and are not remembered: a run without a key.

use super::engine::Engine;
use super::launch::Launch;
use super::new_flight;
use super::origin::Origin;
use super::polled::Answer;
use super::storage::Stage;
use crate::error::Error;
use crate::flight::claim::Guard;
use crate::run::{Patience, Ticket};
use crate::sync::Arc;
use crate::task::Task;

/// Runs a closure once; its result is not remembered.
pub(crate) fn spawn<R, F>(engine: &Arc<Engine>, f: F) -> Task<R>
where
    R: Send + Sync + 'static,
    F: FnOnce() -> R + Send + 'static,
{
    let ticket = match Ticket::admit(engine, Patience::Endless) {
        Ok(ticket) => ticket,
        Err(_) => return Task::ready(Err(Error::shutdown()), None, None),
    };
    let flight = new_flight::<R>(Origin::new(None, &engine.spawned, engine), false);
    let guard = Guard::new(None, Arc::clone(&flight));
    let mut f = Some(f);
    let stage = Stage::Compute;
    let launch =
        Launch { flight: &flight, guard, core: None, ticket, stage, doubtful: false, awaited: false };
    launch.go(engine, move |_| {
        Box::new(move |_| Answer::Now(Ok((f.take().expect("a spawned closure runs once"))())))
    });
    Task::in_flight(flight, 0, None)
}
