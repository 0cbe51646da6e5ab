//! What is left of a cache directory when a process, a disk or a machine fails.
//!
//! 1. [`kill`]: writers that are killed, at random and at each system call.
//! 2. [`flip`]: files that were damaged, cut, swapped, or never ours.
//! 3. [`power`]: a power loss, as a model: what was not synced is there in part.
//! 4. [`full`]: disks that are full, broken, read-only or gone under a running pool.
//!
//! In all of them a value is right or missing, never wrong, and nothing panics. The first line of each test's comment says
//! what goes wrong for a user when it fails.
//!
//! Each test says on stderr how much it did. With `MEMOPOOL_LONG=1` that is all there is to do, which takes some minutes
//! (`--release` helps); without, a part of it, chosen anew at each run from a seed that is printed when a value is wrong.
//! What needs strace, root or mounts is skipped where they are not there, which is said too (`skipped: …`).

#![cfg(all(feature = "testing", target_os = "linux"))]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests stand outside of the crate's shim for threads, locks and clocks"
)]

#[path = "../common/allocator.rs"]
mod allocator;
mod flip;
mod full;
mod kill;
mod power;
mod support;
#[path = "../common/watchdog.rs"]
mod watchdog;

/// What a process does that was started by a test; at once done if nobody did.
#[test]
fn child() {
    match std::env::var(support::ROLE).as_deref() {
        Ok("kill") => kill::child(),
        Ok("full") => full::child(),
        Ok("work") => full::working_child(),
        _ => {}
    }
}

/// The largest single allocation that this thread makes in `f`.
fn largest<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let _ = allocator::allocated();
    let value = f();
    let (.., largest) = allocator::allocated();
    (value, largest)
}
