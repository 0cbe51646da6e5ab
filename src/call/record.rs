//! What runs write down for the report (feature `report`).

use std::time::{Duration, Instant};

use super::engine::Engine;
use super::execute::Origin;
use super::func::Core;
use crate::memo::disk::tier::Tier;
use crate::report::record::{Record, Why};
use crate::report::{Distribution, Function, Results, SlowRun};
use crate::sync::Arc;

/// A body is about to run: why it must.
pub(super) fn missed<R>(engine: &Engine, origin: &Origin, core: Option<&Core<R>>) -> Why {
    let why = Why::of(origin.key.and_then(|key| engine.history.recall(key.slot.hash())));
    if let (Some(core), Some(_)) = (core, &engine.disk) {
        origin.tally.record.is_version(|| (core.signature.family(), core.identity.digest));
    }
    origin.tally.record.missed(why);
    why
}

/// It has ended. A spawned closure is nobody's miss.
pub(super) fn ran(engine: &Engine, origin: &Origin, why: Why, at: Instant, took: Duration) {
    let Some(key) = origin.key else { return };
    origin.tally.record.ran(took);
    engine.recorder.slow(took, || SlowRun {
        function: origin.tally.name.to_owned(),
        key: key.key().short().to_string(),
        took,
        why: why.text().to_owned(),
    });
    engine.recorder.sample(at, || engine.stats());
}

/// The disk had the result; that took so long.
pub(super) fn read(engine: &Engine, origin: &Origin, at: Instant, took: Duration) {
    origin.tally.record.read(took);
    engine.recorder.sample(at, || engine.stats());
}

impl Engine {
    /// What each function did, functions of one name added up.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let stats = self.stats_by_func();
        let functions = stats.into_iter().map(|(name, stats)| Function {
            name,
            stats,
            misses: Vec::new(),
            runs: Distribution::default(),
            disk_reads: Distribution::default(),
            results: Results::default(),
            other_versions: Vec::new(),
        });
        let mut functions: Vec<Function> = functions.collect();
        for tally in self.tallies() {
            if let Some(function) = functions.iter_mut().find(|function| function.name == tally.name) {
                tally.record.add_to(function);
                function.other_versions.extend(other_versions(self.disk.as_ref(), &tally.record));
            }
        }
        functions
    }
}

fn other_versions(disk: Option<&Arc<Tier>>, record: &Record) -> Vec<String> {
    let (Some(disk), Some((family, digest))) = (disk, record.version()) else { return Vec::new() };
    disk.other_versions(family, &digest).into_iter().map(|version| version.label).collect()
}
