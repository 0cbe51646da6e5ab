//! What runs write down for the report (feature `report`).

use std::time::{Duration, Instant};

use super::engine::Engine;
use super::execute::Run;
use crate::event::Tally;
use crate::memo::disk::tier::Tier;
use crate::report::record::{Record, Why};
use crate::report::{Distribution, Function, Results, SlowRun};
use crate::sync::{Arc, now};

impl<R: Send + Sync + 'static> Run<R> {
    /// Why it must run: asked before its first attempt, since what it ends in is noted as well.
    pub(super) fn ask_why(&mut self) {
        let (engine, key) = (self.ticket.host(), &self.flight.origin.key);
        self.why.get_or_insert_with(|| {
            Why::of(key.as_ref().and_then(|key| engine.history.recall(key.slot.hash())))
        });
    }

    /// It has ended, all its attempts, which took that long. A spawned closure is nobody's miss.
    pub(super) fn record(&self, took: Duration) {
        let Run { flight, core, why, .. } = self;
        let engine = self.engine();
        let (Some(key), Some(why)) = (flight.origin.key, *why) else { return };
        let tally = &flight.origin.tally;
        if let (Some(core), Some(_)) = (core, &engine.disk) {
            tally.record.is_version(|| (core.signature.family(), core.identity.digest));
        }
        tally.record.ran(why, took);
        engine.recorder.slow(took, || SlowRun {
            function: tally.name.to_owned(),
            key: key.key().short().to_string(),
            took,
            why: why.text().to_owned(),
        });
        engine.recorder.sample(now(), || engine.stats());
    }
}

/// The disk had the result; it was asked then.
pub(super) fn read(engine: &Engine, tally: &Tally, asked: Instant) {
    let at = now();
    tally.record.read(at.saturating_duration_since(asked));
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
