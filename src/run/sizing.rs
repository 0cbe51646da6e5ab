//! How many threads there are, in which state, and whether one more may be started.
//!
//! A worker is *runnable* (it runs a body, or looks for one), *blocked* (its body waits) or *spare* (more were runnable
//! than the width, after blocked ones came back: it waits to be recalled, or retires). The pool's width bounds the
//! runnable ones; `max_os_threads` bounds them all. The counts change under one lock (the runner's), which no job takes
//! unless its thread's state changes.
//!
//! Each worker has a *seat*, which says why it is blocked: its body waits (for tasks, or for something outside), or is stuck
//! beyond its timeout, or both. However many reasons there are, it is one thread that is missing, and one that comes back
//! when the last reason has gone.
//!
//! # The reserve
//!
//! Threads that replace blocked ones so that the pool keeps its *width* may use half of the threads between the
//! width and `max_os_threads`. The rest is kept for replacements without which *nothing* would run. Otherwise a long
//! chain of tasks, each waiting for the one before, could tie up all threads at its shallow end and leave none for a body
//! whose stack has no room left to help.

use std::ops::RangeInclusive;

use crate::sync::{JoinHandle, this_thread};

/// See the [module](self).
pub(super) struct Sizing {
    min: usize,
    max: usize,
    cap: usize,
    live: usize,
    blocked: usize,
    /// Those of the blocked ones that wait for something that is no task.
    outside: usize,
    spare: usize,
    /// Spare workers that are wanted back and have not woken yet: counted as runnable.
    recalled: usize,
    seats: Vec<Seat>,
    handles: Vec<JoinHandle<()>>,
    /// Somebody has been told that none is left: there will be no other.
    over: bool,
}

/// One worker, from before its thread is started until it leaves.
#[derive(Debug, Clone, Default)]
pub(super) struct Seat {
    taken: bool,
    /// What its body waits for.
    pub(super) wait: Option<Wait>,
    /// How many bodies on its stack run beyond their timeout.
    pub(super) stuck: usize,
}

/// What the body of a blocked worker waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Tasks: it ends only if those do.
    Tasks,
    /// Something else: as far as anyone can tell it will end by itself.
    Outside,
}

impl Seat {
    /// As what the worker counts; `None`: as runnable.
    fn counts(&self) -> Option<Wait> {
        self.wait.or((self.stuck > 0).then_some(Wait::Outside))
    }
}

/// Where one more runnable worker comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// There are as many as the width allows.
    NotNeeded,
    /// A spare one: wake it.
    Recall,
    /// A new thread, already counted as live, for this seat.
    Start(usize),
    /// Neither: the hard cap is reached.
    AtCap,
}

impl Sizing {
    pub(super) fn new(width: RangeInclusive<usize>, cap: usize) -> Sizing {
        Sizing {
            min: *width.start(),
            max: *width.end(),
            cap,
            live: 0,
            blocked: 0,
            outside: 0,
            spare: 0,
            recalled: 0,
            seats: Vec::new(),
            handles: Vec::new(),
            over: false,
        }
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn runnable(&self) -> usize {
        self.live - self.blocked - (self.spare - self.recalled)
    }

    pub(super) fn width(&self) -> usize {
        self.max
    }

    /// As many are runnable as the width allows.
    pub(super) fn is_enough(&self) -> bool {
        self.runnable() >= self.max
    }

    /// Finds one more runnable worker, and counts it.
    pub(super) fn one_more(&mut self) -> Source {
        if self.over || self.is_enough() {
            return Source::NotNeeded;
        }
        if self.spare > self.recalled {
            self.recalled += 1;
            return Source::Recall;
        }
        let reserve = if self.runnable() == 0 { 0 } else { (self.cap - self.max.min(self.cap)) / 2 };
        if self.live + reserve >= self.cap {
            return Source::AtCap;
        }
        self.live += 1;
        let seat = self.seats.iter().position(|seat| !seat.taken).unwrap_or_else(|| {
            self.seats.push(Seat::default());
            self.seats.len() - 1
        });
        self.seats[seat].taken = true;
        Source::Start(seat)
    }

    pub(super) fn started(&mut self, handle: JoinHandle<()>) {
        self.handles.retain(|handle| !handle.is_finished());
        self.handles.push(handle);
    }

    /// A thread that was counted could not be started, or ends.
    pub(super) fn ended(&mut self, seat: usize) {
        self.seats[seat] = Seat::default();
        self.live -= 1;
    }

    /// Changes the reasons for which a worker is blocked, and counts it as what it is then.
    pub(super) fn change(&mut self, seat: usize, change: impl FnOnce(&mut Seat)) {
        let seat = &mut self.seats[seat];
        let before = seat.counts();
        change(seat);
        let after = seat.counts();
        let one =
            |wait: Option<Wait>| (usize::from(wait.is_some()), usize::from(wait == Some(Wait::Outside)));
        self.blocked = self.blocked + one(after).0 - one(before).0;
        self.outside = self.outside + one(after).1 - one(before).1;
    }

    /// All wait for tasks: nothing that is queued here is run before one of them goes on.
    pub(super) fn all_wait(&self) -> bool {
        self.runnable() == 0 && self.outside == 0
    }

    /// Another thread could be started, or recalled.
    pub(super) fn can_grow(&self) -> bool {
        self.live < self.cap || self.spare > self.recalled
    }

    /// More are runnable than the width.
    pub(super) fn has_excess(&self) -> bool {
        self.runnable() > self.max
    }

    /// More live than are kept for good.
    pub(super) fn may_retire(&self) -> bool {
        self.live > self.min
    }

    pub(super) fn become_spare(&mut self) {
        self.spare += 1;
    }

    /// A spare worker was recalled: it is runnable.
    pub(super) fn take_recall(&mut self) -> bool {
        if self.recalled == 0 {
            return false;
        }
        self.recalled -= 1;
        self.spare -= 1;
        true
    }

    /// A spare worker that nobody recalled leaves.
    pub(super) fn spare_leaves(&mut self) {
        self.spare -= 1;
    }

    pub(super) fn resize(&mut self, width: RangeInclusive<usize>) {
        self.min = *width.start();
        self.max = *width.end();
        self.cap = self.cap.max(self.max);
    }

    /// The threads to join once all have ended; no other is started from then on, though a submitter that pushed the last job
    /// may still be about to ask for one. Not the caller's own: the last handle may go with a worker's thread-locals.
    pub(super) fn threads_left(&mut self) -> Option<Vec<JoinHandle<()>>> {
        (self.live == 0).then(|| {
            self.over = true;
            let mut handles = std::mem::take(&mut self.handles);
            handles.retain(|handle| handle.thread().id() != this_thread());
            handles
        })
    }
}
