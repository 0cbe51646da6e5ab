//! What several processes do with one directory at the same time.
//!
//! 1. [`once`]: a call is computed by one of them, whatever becomes of that one.
//! 2. [`nested`]: bodies that wait for another process.
//! 3. [`many`]: a thousand keys and eight processes, some of which are killed.
//! 4. [`churn`]: more values than the directory may hold.
//! 5. [`pools`]: two pools of one process.
//! 6. [`example`]: the pipeline of the examples, twice.
//!
//! The processes are this binary, started again ([`actor`]): each does what its test tells it, step by step, so that what
//! must come first does. The first line of each test's comment says what goes wrong for a user when it fails.
//!
//! Each test says on stderr how much it did. With `MEMOPOOL_LONG=1` that is all there is to do.

#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests stand outside of the crate's shim for threads, locks and clocks"
)]

mod actor;
mod churn;
mod example;
mod functions;
mod many;
mod nested;
mod once;
mod pools;
mod support;
#[path = "../common/watchdog.rs"]
mod watchdog;

/// What a process does that was started by a test; at once done if nobody did.
#[test]
fn child() {
    match std::env::var(support::ROLE).as_deref() {
        Ok("actor") => actor::child(),
        Ok("many") => many::child(),
        Ok("churn") => churn::child(),
        _ => {}
    }
}
