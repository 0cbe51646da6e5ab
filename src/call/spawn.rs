//! Closures that run once and are not remembered: a run without a key.

use super::engine::Engine;
use super::execute::Origin;
use super::polled::Answer;
use super::storage::Stage;
use super::{Launch, new_flight};
use crate::error::Error;
use crate::flight::claim::Guard;
use crate::run::Patience;
use crate::sync::Arc;
use crate::task::Task;

/// Runs a closure once, unremembered.
pub(crate) fn spawn<R, F>(engine: &Arc<Engine>, f: F) -> Task<R>
where
    R: Send + Sync + 'static,
    F: FnOnce() -> R + Send + 'static,
{
    let ticket = match engine.runner.admit(Patience::Endless) {
        Ok(ticket) => ticket,
        Err(_) => return Task::ready(Err(Error::shutdown()), None, None),
    };
    let flight = new_flight::<R>(Origin::new(None, &engine.spawned, engine), false);
    let guard = Guard::new(None, Arc::clone(&flight));
    let mut f = Some(f);
    let launch = Launch { flight: Arc::clone(&flight), guard, core: None, ticket, stage: Stage::Compute };
    launch.go(engine, move |_| {
        Box::new(move |_| Answer::Now(Ok((f.take().expect("a spawned closure runs once"))())))
    });
    Task::in_flight(flight, 0, None)
}
