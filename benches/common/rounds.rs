//! Medians over interleaved rounds: what a noisy machine does to one side, it does to the others.

use std::time::{Duration, Instant};

/// One side of a comparison: does its work once, and says how long the measured part took.
pub(crate) type Side<'a> = Box<dyn FnMut() -> Duration + 'a>;

/// Medians in nanoseconds per operation. Each round begins with another side: where the system takes the core away in turns
/// of about a round, it would always be the same side that waits.
pub(crate) fn interleave(per_round: usize, rounds: usize, sides: &mut [Side<'_>]) -> Vec<f64> {
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); sides.len()];
    for round in 0..rounds {
        for turn in 0..sides.len() {
            let at = (round + turn) % sides.len();
            times[at].push(sides[at]().as_nanos() as f64 / per_round as f64);
        }
    }
    for times in &mut times {
        times.sort_by(f64::total_cmp);
    }
    times.iter().map(|times| times[times.len() / 2]).collect()
}

/// How long `work` takes.
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
