//! The threads: when one starts, what it does, when it leaves.
//!
//! A worker announces that it looks for a job *before* it looks (`demand` − 1), and a submission counts its job *after*
//! it has queued it (`demand` + 1). So whoever brings `demand` above 0 knows that a job lies there for which no worker
//! looks, and starts one; a worker that wants to retire takes its announcement back first, and stays if that brings
//! `demand` above 0: a submission counted on it. A thread that is started is announced by the one who starts it.

use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::idle::Look;
use super::sizing::{Seat, Sizing, Source};
use super::{Job, Runner, context, graph};
use crate::contain::contain;
use crate::event::Event;
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, now};

/// As good as without end, and short enough to be added to any clock.
pub(crate) const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

impl Runner {
    /// Starts or recalls a worker if a job lies there for which nobody looks, as far as the width allows. An error means
    /// that a thread was needed, could not be started, and none is alive.
    pub(super) fn start_if_needed(self: &Arc<Self>) -> Result<(), io::Error> {
        // In this order: who makes room says so before it looks at the demand.
        if self.load.demand.load(Ordering::SeqCst) <= 0 || self.enough.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut sizing = self.sizing.lock();
        let added = self.add_worker(&mut sizing);
        self.enough.store(sizing.is_enough(), Ordering::SeqCst);
        let fed = self.is_starving() && added.is_ok() && !self.starves(&sizing);
        drop(sizing);
        if fed {
            self.limits.go_on();
        }
        match self.reported(added) {
            Err(NoWorker { error: Some(error), live: 0 }) => Err(error),
            _ => Ok(()),
        }
    }

    /// Tells the listener of a thread that could not be started.
    fn reported(&self, added: Result<(), NoWorker>) -> Result<(), NoWorker> {
        if let Err(NoWorker { error: Some(error), .. }) = &added {
            self.emit(&Event::ThreadFailed { error });
        }
        added
    }

    fn add_worker(self: &Arc<Self>, sizing: &mut Sizing) -> Result<(), NoWorker> {
        if self.is_over() {
            // The job that asked for it has been run already, and whoever ends the pool counts its threads.
            return Ok(());
        }
        let seat = match sizing.one_more() {
            Source::NotNeeded => return Ok(()),
            Source::AtCap => return Err(NoWorker { error: None, live: sizing.live() }),
            Source::Recall => {
                self.load.demand.fetch_sub(1, Ordering::SeqCst);
                self.recall.notify_one();
                return Ok(());
            }
            Source::Start(seat) => seat,
        };
        self.load.demand.fetch_sub(1, Ordering::SeqCst);
        let name = format!("{}-{}", self.plan.name, seat + 1);
        let runner = Arc::clone(self);
        match (self.plan.spawn)(name, Some(self.plan.stack_size), Box::new(move || runner.work(seat))) {
            Ok(handle) => {
                sizing.started(handle);
                Ok(())
            }
            Err(error) => {
                sizing.ended(seat);
                self.load.demand.fetch_add(1, Ordering::SeqCst);
                Err(NoWorker { error: Some(error), live: sizing.live() })
            }
        }
    }

    /// Changes the reasons for which a worker is blocked. If it is now: puts another in its place if there is work for it;
    /// if there is none to be had, and all wait for tasks, what is queued here starves. If it is back: one may be too many.
    pub(super) fn change(self: &Arc<Self>, seat: usize, change: impl FnOnce(&mut Seat)) {
        let mut sizing = self.sizing.lock();
        sizing.change(seat, change);
        self.enough.store(sizing.is_enough(), Ordering::SeqCst);
        let added = match self.load.demand.load(Ordering::SeqCst) {
            ..=0 => Ok(()),
            _ => self.add_worker(&mut sizing),
        };
        let starved = self.is_starving();
        let starving = match added {
            Ok(()) => self.starves(&sizing),
            Err(_) => self.set_starving(sizing.all_wait()),
        };
        if sizing.has_excess() {
            self.excess.store(true, Ordering::Relaxed);
        }
        drop(sizing);
        if starving {
            self.limits.starve(self);
        } else if starved {
            self.limits.go_on();
        }
        let _ = self.reported(added);
    }

    /// Under the lock of the sizes: whether all wait for tasks, and no other may be started.
    fn starves(&self, sizing: &Sizing) -> bool {
        self.set_starving(sizing.all_wait() && !sizing.can_grow())
    }

    /// Under the lock of the sizes. Returns what it is given.
    fn set_starving(&self, starving: bool) -> bool {
        if self.starving.swap(starving, Ordering::SeqCst) != starving {
            graph().starves(starving);
        }
        starving
    }

    /// Workers alive, blocked and spare ones included.
    pub(crate) fn threads(&self) -> usize {
        self.sizing.lock().live()
    }

    pub(crate) fn max_os_threads(&self) -> usize {
        self.plan.max_os_threads
    }

    /// Changes the width. Growing takes effect at once, shrinking as bodies end.
    pub(crate) fn resize(self: &Arc<Self>, width: RangeInclusive<usize>) {
        let mut sizing = self.sizing.lock();
        sizing.resize(width);
        let missing = sizing.width().saturating_sub(sizing.runnable());
        self.enough.store(sizing.is_enough(), Ordering::SeqCst);
        self.excess.store(sizing.has_excess(), Ordering::Relaxed);
        let fed = self.is_starving() && !self.starves(&sizing);
        drop(sizing);
        if fed {
            self.limits.go_on();
        }
        self.idle.wake_all();
        for _ in 0..missing {
            let _ = self.start_if_needed();
        }
    }

    fn work(self: Arc<Self>, seat: usize) {
        context::become_worker(&self, seat, self.plan.stack_size);
        self.greet();
        while let Some(job) = self.next(seat) {
            // Nothing of a job panics but what drops with it: an argument or a result whose `Drop` does.
            let _ = contain(|| job.run());
            self.load.demand.fetch_sub(1, Ordering::SeqCst);
        }
        self.sweep_up();
        context::retire();
        self.signal_end();
    }

    /// A thread has started: calls the user's hook.
    pub(super) fn greet(&self) {
        if let Some(hook) = &self.plan.on_thread_start
            && let Err(message) = contain(hook)
        {
            // The thread is as good as any without it.
            self.emit(&Event::HookPanicked { message: &message });
        }
    }

    /// The next job for this worker, which has announced that it looks; `None`: leave (it is no longer counted).
    fn next(&self, seat: usize) -> Option<Job> {
        let mut patience = self.plan.keep_alive;
        loop {
            if self.excess.load(Ordering::Relaxed) && !self.stand_by(seat) {
                return None;
            }
            let look = match self.is_over() {
                true => Look::Late,
                false => self.idle.look(
                    || self.take(),
                    || self.has_queued(),
                    || self.is_over() || self.excess.load(Ordering::Relaxed),
                    || now() + patience,
                ),
            };
            match look {
                Look::Found(job) => return Some(job),
                Look::Woken => patience = self.plan.keep_alive,
                Look::Late => {
                    let mut sizing = self.sizing.lock();
                    self.enough.store(false, Ordering::SeqCst);
                    let promised = self.load.demand.fetch_add(1, Ordering::SeqCst) >= 0;
                    if self.is_over() || (!promised && sizing.may_retire()) {
                        sizing.ended(seat);
                        return None;
                    }
                    self.load.demand.fetch_sub(1, Ordering::SeqCst);
                    // One of those that stay: only a job or a change of width changes that. (Or a submission counts on it:
                    // if another worker is faster, this one has waited long enough before.)
                    patience = if promised { self.plan.keep_alive } else { FOREVER };
                }
            }
        }
    }

    /// If more are runnable than the width, waits to be recalled. `false`: leave.
    fn stand_by(&self, seat: usize) -> bool {
        let mut sizing = self.sizing.lock();
        if !sizing.has_excess() {
            self.excess.store(false, Ordering::Relaxed);
            return true;
        }
        // Not looking while spare. A job that counted on this worker needs another: after a shrink there are enough.
        self.load.demand.fetch_add(1, Ordering::SeqCst);
        sizing.become_spare();
        let until = now() + self.plan.keep_alive;
        loop {
            if sizing.take_recall() {
                return true;
            }
            if self.is_over() || now() >= until {
                sizing.spare_leaves();
                sizing.ended(seat);
                return false;
            }
            sizing = self.recall.wait_until(sizing, until);
        }
    }
}

/// No worker could be added.
struct NoWorker {
    /// What the system said; `None`: the hard cap is reached.
    error: Option<io::Error>,
    live: usize,
}

#[cfg(test)]
mod tests;
