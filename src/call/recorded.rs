//! A pool that answers from its cache alone (feature `testing`): what is not there is an error, and no body runs.
//!
//! A call goes the way of any other: hit, join, or a run that looks at the disk. Where that run would call its body it ends
//! instead, in an error that says what is missing. Two things differ before: nothing expires, since a recording is as good
//! next year, and a refresh is answered as if it were none. Spawned closures are not remembered, so they run.

use super::engine::Engine;
use super::execute::Run;
use super::explain::Explain;
use super::storage;
use crate::error::Error;
use crate::event::{Event, count};
use crate::memo::disk::tier::Found;
#[cfg(feature = "testing")]
use crate::sync::atomic::{AtomicBool, Ordering};

/// Whether a pool is so; never, without the feature.
#[derive(Default)]
pub(crate) struct Recorded {
    #[cfg(feature = "testing")]
    on: AtomicBool,
    /// What the disk tier reads, if it is a copy: removed with the pool.
    #[cfg(feature = "testing")]
    _copy: Option<crate::testing::Recording>,
}

#[cfg(feature = "testing")]
impl Recorded {
    pub(crate) fn from(copy: Option<crate::testing::Recording>) -> Recorded {
        Recorded { on: AtomicBool::new(true), _copy: copy }
    }

    pub(crate) fn set(&self, on: bool) {
        self.on.store(on, Ordering::Release);
    }
}

impl Recorded {
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        #[cfg(feature = "testing")]
        let on = self.on.load(Ordering::Acquire);
        #[cfg(not(feature = "testing"))]
        let on = false;
        on
    }
}

impl Engine {
    /// When a kept result must be fresh to be used: at the beginning of all time, where it is recorded.
    pub(super) fn reads_at(&self) -> u64 {
        if self.recorded.is_on() { 0 } else { self.now() }
    }
}

impl<R: Send + Sync + 'static> Run<R> {
    /// Its result is not recorded, and its body must not run.
    pub(super) fn must_not_run(&self) -> bool {
        self.core.is_some() && self.engine().recorded.is_on() && self.flight.origin.course.made() == 0
    }

    #[cold]
    #[inline(never)]
    pub(super) fn missed(self) {
        let (origin, reason) = (&self.flight.origin, self.why_missed());
        let error = Error::missing(origin.label(), reason);
        count(&origin.tally.failed);
        self.engine().emit(&Event::Failed { function: origin.tally.name, error: &error });
        self.fail(error);
    }

    /// In words, and what to do about it.
    fn why_missed(&self) -> String {
        let engine = self.engine();
        let (Some(core), Some(key)) = (&self.core, &self.flight.origin.key) else { return String::new() };
        let mut fate = engine.history.recall(key.slot.hash());
        let mut others = Vec::new();
        let disk = engine.disk.as_ref().filter(|_| core.format.is_some());
        if let Some(tier) = disk {
            // It was looked for, and counted, before.
            if let Found::Nothing(on_disk) =
                storage::read(tier, core, key.key().as_bytes(), None, || None, || engine.reads_at())
            {
                fate = on_disk.or(fate);
            }
            others = tier.other_versions(core.signature.family(), &core.identity.digest);
        }
        let why = match (others.first(), fate) {
            (Some(other), None) => {
                Explain::OtherVersion { stored: other.label.clone(), asked: core.signature.label() }
            }
            _ => Explain::of(fate),
        };
        let why = why.to_string();
        let why = why.strip_prefix("miss: ").unwrap_or(&why);
        let remedy = match (disk, core.format) {
            (Some(_), _) => "run it once in a pool that may compute, `Pool::open` of the same directory",
            (None, None) if engine.disk.is_some() => "it is `in_memory`, which is never recorded on disk",
            _ => "run or insert it before `set_recorded(true)`",
        };
        format!("{why}; {remedy}")
    }
}
