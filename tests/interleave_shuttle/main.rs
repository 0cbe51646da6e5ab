//! The protocols of `memopool` under thousands of random schedules.
//!
//! `src/flight/cell.rs`, `src/flight/claim.rs`, `src/run/idle.rs`, `src/run/wait_graph.rs` and the bucket of
//! `src/memo/disk/claims` are mounted as they are, over the primitives of [`shuttle`], which runs one thread at a time
//! and decides at every lock, wait and atomic access who goes on. Each scenario in `tests/interleave/` runs under 10 000
//! schedules drawn evenly and 10 000 drawn by PCT, which finds what takes up to three unlucky switches.
//! `tests/interleave_loom` runs the small ones exhaustively.
//!
//! A failing scenario prints its schedule. To run that one again:
//!
//! ```text
//! INTERLEAVE_REPLAY=<schedule> cargo test --test interleave_shuttle <scenario>
//! ```

use shuttle as checker;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

#[path = "../interleave/cell.rs"]
mod cell;
#[path = "../interleave/claim.rs"]
mod claim;
#[path = "../../src/contain.rs"]
mod contain;
#[path = "../interleave/crowd.rs"]
mod crowd;
#[path = "../interleave/disk.rs"]
mod disk;
#[path = "../interleave/flight.rs"]
mod flight;
#[path = "../interleave/idle.rs"]
mod idle;
#[path = "../interleave/idle_crowd.rs"]
mod idle_crowd;
#[path = "../interleave/run.rs"]
mod run;
#[path = "../interleave/support.rs"]
mod support;
#[path = "../interleave/sync.rs"]
mod sync;
#[path = "../interleave/wait_graph.rs"]
mod wait_graph;

const SCHEDULES: usize = 10_000;
const PCT_DEPTH: usize = 3;

/// Runs the scenario under many schedules, or under the one that is to be replayed.
fn explore(scenario: fn()) {
    if let Ok(schedule) = std::env::var("INTERLEAVE_REPLAY") {
        return shuttle::replay(scenario, schedule.trim());
    }
    let mut config = Config::new();
    // Room for the message of a failed assertion.
    config.stack_size = 0x4_0000;
    // Orderings weaker than sequential consistency are for loom to examine.
    config.silence_warnings = true;
    Runner::new(RandomScheduler::new(SCHEDULES), config.clone()).run(scenario);
    Runner::new(PctScheduler::new(PCT_DEPTH, SCHEDULES), config).run(scenario);
}
