//! Workers that look for a job: none is left lying while one of them sleeps.
//!
//! In the drawings a lane is a thread, `·` a point at which the threads race.

use std::sync::Arc;
use std::time::Duration;

use crate::checker::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::explore;
use crate::run::idle::{Idle, Look};
use crate::support::{join, spawn};
use crate::sync::now;

/// A queue of jobs that are all alike, and the workers that look for them.
#[derive(Default)]
pub(crate) struct Jobs {
    pub(crate) left: AtomicUsize,
    pub(crate) idle: Idle,
    pub(crate) stop: AtomicBool,
}

impl Jobs {
    pub(crate) fn push(&self) {
        self.left.fetch_add(1, Ordering::SeqCst);
        self.idle.wake_one();
    }

    pub(crate) fn pop(&self) -> Option<()> {
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).ok().map(drop)
    }

    /// Whether it found a job; `false`: it was asked to look up.
    pub(crate) fn look(&self, stops: bool) -> bool {
        let look = self.idle.look(
            || self.pop(),
            || self.left.load(Ordering::SeqCst) > 0,
            || stops && self.stop.load(Ordering::SeqCst),
            || now() + Duration::from_secs(1000),
        );
        matches!(look, Look::Found(()))
    }

    /// Asks those who would stop to look up.
    pub(crate) fn stop_all(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.idle.wake_all();
    }

    /// Looks until it has found one.
    pub(crate) fn take(&self) {
        while !self.look(false) {}
    }
}

/// A submitted task waits until the next one is submitted.
///
/// ```text
/// submitter              worker
/// ---------              ------
/// queue a job          · search: nothing
/// anyone searching?    · count as sleeping, no longer as searching
/// if not, wake one       look once more; sleep
///                        takes the job
/// ```
#[test]
fn a_job_is_taken_although_its_worker_falls_asleep() {
    explore(|| {
        let jobs = Arc::new(Jobs::default());
        let worker = Arc::clone(&jobs);
        let worker = spawn(move || {
            worker.take();
            worker.take();
        });
        jobs.push();
        jobs.push();
        join(worker);
    });
}

/// A pool that ends waits for a worker that sleeps on.
///
/// ```text
/// who ends it        worker
/// -----------        ------
/// say: look up     · search, sleep
/// wake all           looks up
/// ```
#[test]
fn a_worker_that_falls_asleep_looks_up() {
    explore(|| {
        let jobs = Arc::new(Jobs::default());
        let worker = Arc::clone(&jobs);
        let worker = spawn(move || worker.look(true));
        jobs.stop_all();
        assert!(!join(worker));
    });
}
