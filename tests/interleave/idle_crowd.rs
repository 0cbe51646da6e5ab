//! Several workers that look for jobs: too many steps for an exhaustive search.

use std::sync::Arc;
use std::time::Duration;

use crate::checker::sync::atomic::{AtomicUsize, Ordering};
use crate::explore;
use crate::idle::Jobs;
use crate::run::idle::Look;
use crate::support::{join, spawn};
use crate::sync::now;

impl Jobs {
    /// Says that one is too many, and wakes nobody for it.
    fn one_too_many(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Takes jobs until so many have been taken in all, unless it is the one that is too many. Returns whether it was.
    fn serve(&self, taken: &AtomicUsize, all: usize) -> bool {
        loop {
            if self.stop.swap(false, Ordering::SeqCst) {
                return true;
            }
            let look = self.idle.look(
                || self.pop(),
                || self.left.load(Ordering::SeqCst) > 0,
                || self.stop.load(Ordering::SeqCst) || taken.load(Ordering::SeqCst) == all,
                || now() + Duration::from_secs(1000),
            );
            if matches!(look, Look::Found(())) && taken.fetch_add(1, Ordering::SeqCst) + 1 == all {
                self.idle.wake_all();
            }
            if taken.load(Ordering::SeqCst) == all {
                return false;
            }
        }
    }
}

/// Of two tasks one waits until the other has run, although a thread is free.
///
/// ```text
/// submitter        worker 1              worker 2
/// ---------        --------              --------
/// queue a job    · search              · asleep
/// queue another  · takes one; more?
///                  wakes worker 2      · takes the other
/// ```
#[test]
fn who_takes_a_job_wakes_the_next_worker() {
    explore(|| {
        let jobs = Arc::new(Jobs::default());
        let workers = [0, 1].map(|_| {
            let jobs = Arc::clone(&jobs);
            spawn(move || jobs.take())
        });
        jobs.push();
        jobs.push();
        workers.into_iter().for_each(join);
    });
}

/// A pool shrinks, and the wake-up for a task goes to the worker that leaves.
///
/// ```text
/// submitter        leaving worker        another
/// ---------        --------------        -------
/// queue a job    · search, sleep       · search, sleep
/// say: look up   · leaves, or            takes the job, or
/// wake all         takes the job         sleeps on, until there is another
/// ```
#[test]
fn who_leaves_takes_no_job_along() {
    explore(|| {
        let jobs = Arc::new(Jobs::default());
        let (leaving, other) = (Arc::clone(&jobs), Arc::clone(&jobs));
        let leaving = spawn(move || leaving.look(true));
        let other = spawn(move || other.take());
        jobs.push();
        jobs.stop_all();
        if join(leaving) {
            jobs.push();
        }
        join(other);
    });
}

/// A body that waited comes back, so that one worker is too many: of two tasks that are submitted then one is left lying.
///
/// ```text
/// submitter        one of two workers              the other
/// ---------        ------------------              ---------
/// one too many   · search, sleep                 · search, sleep
/// queue a job    · woken for it; leaves            woken in its place
/// queue another                                    takes both
/// ```
#[test]
fn who_is_woken_and_leaves_wakes_another() {
    explore(|| {
        let (jobs, taken) = (Arc::new(Jobs::default()), Arc::new(AtomicUsize::new(0)));
        let workers = [0, 1].map(|_| {
            let (jobs, taken) = (Arc::clone(&jobs), Arc::clone(&taken));
            spawn(move || jobs.serve(&taken, 2))
        });
        jobs.one_too_many();
        jobs.push();
        jobs.push();
        let left = workers.into_iter().map(join).filter(|left| *left).count();
        assert!(left <= 1);
        assert_eq!(taken.load(Ordering::SeqCst), 2);
    });
}
