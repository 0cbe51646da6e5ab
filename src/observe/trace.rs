//! Events of a pool as `tracing` events, with the target `memopool`: what was found is for those who trace, what had to run
//! for those who debug, and what is not as it should be is a warning.

use tracing::{debug, info, trace, warn};

use crate::event::Event;

const TARGET: &str = "memopool";

pub(super) fn tell(event: &Event<'_>) {
    match *event {
        Event::Hit { function } => trace!(target: TARGET, function, "hit in memory"),
        Event::DiskHit { function, bytes } => trace!(target: TARGET, function, bytes, "hit on disk"),
        Event::Joined { function } => trace!(target: TARGET, function, "joined a run in flight"),
        Event::Started { function } => debug!(target: TARGET, function, "miss: its body starts"),
        Event::Computed { function, took } => debug!(target: TARGET, function, ?took, "computed"),
        // Not what the error says: it may quote an argument.
        Event::Failed { function, error } => debug!(target: TARGET, function, kind = error.kind(), "failed"),
        Event::Retried { function, attempt, rest, .. } => {
            debug!(target: TARGET, function, attempt, ?rest, "attempt failed and is made again");
        }
        Event::Stuck { function, timeout } => {
            warn!(target: TARGET, function, ?timeout, "runs beyond its timeout");
        }
        Event::HookPanicked { message } => warn!(target: TARGET, message, "a hook panicked"),
        Event::NotStored { function, reason } => warn!(target: TARGET, function, reason, "not kept"),
        Event::Corrupt { function, reason } => {
            warn!(target: TARGET, function, reason, "an entry on disk is damaged");
        }
        Event::OtherBuild { function, needs } => {
            warn!(target: TARGET, function, needs, "entries on disk are for another build");
        }
        Event::StoreFailed { reason } => warn!(target: TARGET, reason, "the disk tier has stopped working"),
        Event::StoreRecovered => info!(target: TARGET, "the disk tier works again"),
        Event::ThreadFailed { error } => {
            warn!(target: TARGET, error = %error, "the system gave no thread");
        }
        // What is routine (evictions) is in the statistics.
        _ => {}
    }
}
