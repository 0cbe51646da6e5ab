//! The protocols of `memopool` under every schedule with at most five preemptions.
//!
//! `src/flight/cell.rs`, `src/flight/claim.rs`, `src/run/idle.rs`, `src/run/wait_graph.rs` and the bucket of
//! `src/memo/disk/claims` are mounted as they are, over the primitives of [`loom`], which runs a scenario again and again until each order of
//! locks, waits and atomic accesses (weakly ordered ones, too) has been seen. The scenarios are those of
//! `tests/interleave/` with two or three threads; `tests/interleave_shuttle` runs the larger ones as well.
//!
//! Schedules are tried in a fixed order, so a failing scenario fails the same way again. With the place of each thread:
//!
//! ```text
//! LOOM_LOCATION=1 cargo test --test interleave_loom <scenario>
//! ```

use loom as checker;

#[path = "../interleave/cell.rs"]
mod cell;
#[path = "../interleave/claim.rs"]
mod claim;
#[path = "../../src/contain.rs"]
mod contain;
#[path = "../interleave/disk.rs"]
mod disk;
#[path = "../interleave/flight.rs"]
mod flight;
#[path = "../interleave/idle.rs"]
mod idle;
#[path = "../interleave/run.rs"]
mod run;
#[path = "../interleave/support.rs"]
mod support;
#[path = "../interleave/sync.rs"]
mod sync;
#[path = "../interleave/wait_graph.rs"]
mod wait_graph;

const PREEMPTIONS: usize = 5;

/// Runs the scenario under every schedule.
fn explore(scenario: fn()) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.check(scenario);
}
