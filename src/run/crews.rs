//! Crews: rayon pools of our own, in which bodies run that are asked for by rayon's threads (feature `rayon`).
//!
//! # Why
//!
//! A body that is parallel (`par_iter`) leaves its pieces to the rayon pool that it finds itself in. A piece that waits for
//! its own pieces runs whatever else is queued there, on top of its stack; if that is a caller of this very body, it waits for
//! the body, the body for the piece, and the piece for what is on top of it: for ever. Rayon does not say whose piece a job
//! is, so none of the three can be told, and nothing that the caller could do would end it
//! (rayon-rs/rayon#592 hangs `OnceLock`, moka and quick_cache in this way). What can be done is done before: a body and those
//! who ask for it must not leave their jobs in one rayon pool.
//!
//! # How
//!
//! As soon as a pool is asked for anything by a thread of rayon's, and from then on, its bodies run inside of a *crew*, a
//! rayon pool that is lent to one body at a time. So all that a crew's threads ever find in there are pieces of this one body
//! (and of those that it runs itself while it waits for them).
//!
//! | a crew is | who changes that |
//! |---|---|
//! | not there | a body that finds none free makes one: the *n*-th for *cores / n* threads, rounded up, so that they hardly outnumber the cores many times, while a body that is alone has all cores |
//! | lent | its body, when it ends, in whatever way |
//! | free | the next body; it ends with its pool |
//!
//! On the pool's own threads the worker lends its body to the crew and sleeps until it has ended; the thread of the crew that
//! the body is on counts as that worker meanwhile (its waits are the worker's waits, and it may help). That costs two
//! wake-ups per body, some microseconds, and pools that rayon's threads do not ask pay nothing. A body that one of a crew
//! runs on top of its own wait stays where it is.
//!
//! With [`executor::Rayon`](crate::executor::Rayon) jobs are the rayon pool's own; there the whole job goes to a crew, as many
//! at a time as that pool has threads, the others in a queue.
//!
//! # What remains
//!
//! - A body that was begun before any of rayon's threads asked its pool for anything is where it is.
//! - A body that sends its pieces to its callers' threads in so many words (`install`), or an async body: its polls are where
//!   its waker puts them.
//! - A body whose pieces ask for what another branch of the same `join` runs on top of itself: refused as a cycle.

use std::collections::VecDeque;

use rayon_core::{ThreadPool, ThreadPoolBuilder};

use super::{Job, Runner, context};
use crate::contain::contain;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Mutex, processors};

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Crews {
    /// A thread of rayon's has asked.
    wanted: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    made: usize,
    free: Vec<Arc<ThreadPool>>,
    /// Jobs of an executor that wait for one of its crews, and how many of those are at work.
    queue: VecDeque<Job>,
    at_work: usize,
}

impl Crews {
    /// This thread asks for something. Whether bodies belong in a crew from now on.
    pub(super) fn asked(&self) -> bool {
        let wanted = self.wanted.load(Ordering::Relaxed);
        if !wanted && rayon_core::current_thread_index().is_some() {
            self.wanted.store(true, Ordering::Relaxed);
            return true;
        }
        wanted
    }

    /// A crew; `equip` says what a new one is like. `None`: no threads are to be had.
    fn lend(&self, equip: impl FnOnce(ThreadPoolBuilder) -> ThreadPoolBuilder) -> Option<Arc<ThreadPool>> {
        let mut inner = self.inner.lock();
        if let Some(crew) = inner.free.pop() {
            return Some(crew);
        }
        inner.made += 1;
        let threads = processors().div_ceil(inner.made);
        // Threads are started, which may run the user's hook.
        drop(inner);
        let crew = equip(ThreadPoolBuilder::new().num_threads(threads)).build();
        if crew.is_err() {
            self.inner.lock().made -= 1;
        }
        crew.ok().map(Arc::new)
    }

    /// Runs a job of an executor in a crew, `most` at a time. Gives it back if none of rayon's threads has ever asked.
    pub(super) fn run(self: &Arc<Self>, job: Job, most: impl FnOnce() -> usize) -> Result<(), Job> {
        if !self.asked() {
            return Err(job);
        }
        let mut inner = self.inner.lock();
        inner.queue.push_back(job);
        if inner.at_work >= most() {
            return Ok(());
        }
        inner.at_work += 1;
        drop(inner);
        let crews = Arc::clone(self);
        match self.lend(|crew| crew) {
            Some(crew) => {
                let own = Arc::clone(&crew);
                crew.spawn(move || crews.work(Some(own)));
            }
            // No threads: then here, which is one.
            None => self.work(None),
        }
        Ok(())
    }

    /// Runs what is queued until nothing is.
    fn work(&self, crew: Option<Arc<ThreadPool>>) {
        loop {
            let mut inner = self.inner.lock();
            let Some(job) = inner.queue.pop_front() else {
                inner.at_work -= 1;
                inner.free.extend(crew);
                return;
            };
            drop(inner);
            let _ = contain(|| job.run());
        }
    }
}

/// A crew that is lent to a body, until this is dropped.
struct Lent<'a> {
    crews: &'a Crews,
    crew: Arc<ThreadPool>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.crews.inner.lock().free.push(Arc::clone(&self.crew));
    }
}

impl Runner {
    /// Calls a body: here, or in a crew.
    pub(crate) fn call<T: Send>(self: &Arc<Self>, body: impl FnOnce() -> T + Send) -> T {
        let crews = &self.crews;
        // It may be in a crew already, or where an executor wants it.
        let stays = self.is_foreign() || rayon_core::current_thread_index().is_some();
        if stays || !crews.wanted.load(Ordering::Relaxed) {
            return body();
        }
        let Some(crew) = crews.lend(|crew| self.equip(crew)) else { return body() };
        let lent = Lent { crews, crew };
        let stand_in = context::stand_in(self.plan.stack_size);
        lent.crew.install(move || {
            let _here = stand_in.begin();
            body()
        })
    }

    /// Its threads are like the pool's own.
    fn equip(self: &Arc<Self>, crew: ThreadPoolBuilder) -> ThreadPoolBuilder {
        let name = self.plan.name.clone();
        // Its own crews don't keep it alive.
        let runner = Arc::downgrade(self);
        crew.thread_name(move |n| format!("{name}-crew-{n}"))
            .stack_size(self.plan.stack_size)
            .start_handler(move |_| _ = runner.upgrade().map(|runner| runner.greet()))
    }
}
