//! What others see of a pool: its events, handed on to the facades that a program may listen to.
//!
//! 1. [`span`] — the span of a run (feature `tracing`).
//! 2. [`trace`] — events as `tracing` events (feature `tracing`).
//! 3. [`meters`] — events as counters and histograms (feature `metrics`).
//!
//! Every event of a pool passes through one listener, which is put together here when the pool is built: first the facades,
//! then whoever was given to [`Builder::on_event`](crate::Builder::on_event). Without the features that is the user's own,
//! or none, and a pool that nobody listens to makes no events: it costs nothing then. Nothing here sees an argument, and
//! what a user's error or panic says is not handed on either, since it may quote one.

#[cfg(feature = "metrics")]
mod meters;
mod span;
#[cfg(feature = "tracing")]
mod trace;

pub(crate) use span::{InSpan, Span};

use crate::event::Listener;

/// Everyone who listens to a pool, as one.
pub(crate) fn listener(user: Option<Listener>) -> Option<Listener> {
    #[cfg(any(feature = "tracing", feature = "metrics"))]
    let all = {
        #[cfg(feature = "metrics")]
        let meters = meters::Meters::new();
        let all: Listener = crate::sync::Arc::new(move |event| {
            #[cfg(feature = "tracing")]
            trace::tell(event);
            #[cfg(feature = "metrics")]
            meters.tell(event);
            if let Some(user) = &user {
                user(event);
            }
        });
        Some(all)
    };
    #[cfg(not(any(feature = "tracing", feature = "metrics")))]
    let all = user;
    all
}
