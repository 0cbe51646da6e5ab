//! A body that runs beyond its timeout is *stuck*: it can't be killed, but its thread is counted as blocked, so that the
//! pool keeps its width, until the body has returned.
//!
//! # States of one attempt, its [`Watched`]
//!
//! | from | to | who |
//! |---|---|---|
//! | `Running` | `Stuck` | the timer ([`Watched::stick`]), under the lock of the worker's seat |
//! | `Running`, `Stuck` | `Ended` | the thread that runs the body, when it leaves its frame or begins another attempt ([`Watched::end`]) |
//!
//! The body's end takes no lock unless it was stuck, and then it takes that of the seat: so what the timer has counted there
//! is taken back after it was counted, and a seat is never counted for a body that has left it.

use super::Runner;
use super::context::Worker;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU8, Ordering};

const RUNNING: u8 = 0;
const STUCK: u8 = 1;
const ENDED: u8 = 2;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Watched {
    state: AtomicU8,
    /// The pool whose body it is.
    home: Arc<Runner>,
    /// The worker that runs it, whosever it is; `None`: a thread that nobody would replace.
    worker: Option<Worker>,
}

impl Watched {
    pub(super) fn new(home: Arc<Runner>, worker: Option<Worker>) -> Watched {
        Watched { state: AtomicU8::new(RUNNING), home, worker }
    }

    /// It is over its timeout. `false`: it has just ended.
    pub(crate) fn stick(&self) -> bool {
        // Counted first: whoever ends it takes it back.
        self.home.stuck.fetch_add(1, Ordering::SeqCst);
        let mut stuck = false;
        let mut stick = || {
            let state = self.state.compare_exchange(RUNNING, STUCK, Ordering::SeqCst, Ordering::SeqCst);
            stuck = state.is_ok();
            stuck
        };
        match &self.worker {
            Some(worker) => worker.runner.change(worker.seat, |seat| seat.stuck += usize::from(stick())),
            None => _ = stick(),
        }
        if !stuck {
            self.home.stuck.fetch_sub(1, Ordering::SeqCst);
        }
        stuck
    }

    /// The attempt is over.
    pub(super) fn end(&self) {
        if self.state.swap(ENDED, Ordering::SeqCst) != STUCK {
            return;
        }
        if let Some(worker) = &self.worker {
            worker.runner.change(worker.seat, |seat| seat.stuck -= 1);
        }
        self.home.stuck.fetch_sub(1, Ordering::SeqCst);
    }
}
