//! The load of a pool: how many units it has, in which state, and how many workers its queue asks for.
//!
//! Every unit changes these figures several times, in the thread that submits it and in the one that runs it: each change
//! fetches their cache line from the other. So they lie on a line of their own, away from what is only read, and what
//! could be two figures is one word: a unit changes it when it is admitted, when it starts and when it is over.
//!
//! | a unit is | `units` counts | `aside` counts |
//! |---|---|---|
//! | admitted, but not queued; or set aside | its ticket | it |
//! | queued | its ticket, and it as waiting | |
//! | started | its ticket | |
//!
//! So those that run are the tickets without those that wait or are aside.

use crate::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// One ticket, in [`Load::units`].
const TICKET: u64 = 1 << 32;

/// One that waits.
const WAITING: u64 = 1;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Jobs in the queue minus workers that look for one. Above 0: a thread is missing. Taking a job changes both
    /// sides, so it changes nothing here.
    pub(super) demand: AtomicI64,
    /// Tickets in the upper half, units that have not started in the lower one: what the queue's bound counts. (Four thousand
    /// million of them are more than fit into any memory.)
    units: AtomicU64,
    /// Tickets whose unit neither waits nor runs: few, and not for long.
    aside: AtomicUsize,
}

impl Load {
    /// One unit more, which waits: with its ticket, and at once. `false`: `bound` units wait already.
    pub(super) fn admit(&self, bound: usize) -> bool {
        self.take_place(TICKET, bound)
    }

    /// One ticket more, whose unit is aside.
    pub(super) fn add(&self) {
        self.aside.fetch_add(1, Ordering::Relaxed);
        self.units.fetch_add(TICKET, Ordering::SeqCst);
    }

    /// A unit that is aside waits, unless `bound` units do already.
    pub(super) fn queue(&self, bound: usize) -> bool {
        let queued = self.take_place(0, bound);
        if queued {
            self.aside.fetch_sub(1, Ordering::Relaxed);
        }
        queued
    }

    fn take_place(&self, more: u64, bound: usize) -> bool {
        let take = |units| (waiting(units) < bound).then_some(units + more + WAITING);
        self.units.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }

    /// A unit that runs waits again.
    pub(super) fn wait_again(&self) {
        self.units.fetch_add(WAITING, Ordering::SeqCst);
    }

    /// A unit that waits starts.
    pub(super) fn start(&self) {
        self.units.fetch_sub(WAITING, Ordering::SeqCst);
    }

    /// A unit that runs is set aside.
    pub(super) fn set_aside(&self) {
        self.aside.fetch_add(1, Ordering::Relaxed);
    }

    /// A unit that is aside starts.
    pub(super) fn go_on(&self) {
        self.aside.fetch_sub(1, Ordering::Relaxed);
    }

    /// The ticket of a unit that ran is gone. Returns whether it was the last.
    pub(super) fn remove(&self) -> bool {
        tickets(self.units.fetch_sub(TICKET, Ordering::SeqCst)) == 1
    }

    /// As [`remove`](Self::remove), of one that still waits.
    pub(super) fn remove_waiting(&self) -> bool {
        tickets(self.units.fetch_sub(TICKET + WAITING, Ordering::SeqCst)) == 1
    }

    /// As [`remove`](Self::remove), of one that is aside.
    pub(super) fn remove_aside(&self) -> bool {
        let last = self.remove();
        self.aside.fetch_sub(1, Ordering::Relaxed);
        last
    }

    /// Units that have not started.
    pub(super) fn waiting(&self) -> usize {
        waiting(self.units.load(Ordering::SeqCst))
    }

    /// Units that run; while one is set aside or goes on, perhaps one less.
    pub(super) fn running(&self) -> usize {
        let units = self.units.load(Ordering::SeqCst);
        (tickets(units) - waiting(units)).saturating_sub(self.aside.load(Ordering::Relaxed))
    }

    /// Whether there is no ticket.
    pub(super) fn is_none(&self) -> bool {
        tickets(self.units.load(Ordering::SeqCst)) == 0
    }
}

fn tickets(units: u64) -> usize {
    (units >> 32) as usize
}

fn waiting(units: u64) -> usize {
    (units & (TICKET - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else a bound would let too many through, a pool would end with work left, or wait for work that is gone.
    #[test]
    fn every_unit_is_counted_once_wherever_it_is() {
        let load = Load::default();
        let figures = || (load.waiting(), load.running(), load.is_none());
        assert!(load.admit(2));
        assert!(load.admit(2));
        assert!(!load.admit(2), "two wait already");
        assert_eq!(figures(), (2, 0, false));
        load.add();
        assert!(!load.queue(2), "room for none");
        assert_eq!(figures(), (2, 0, false), "one is aside");
        load.start();
        assert_eq!(figures(), (1, 1, false));
        assert!(load.queue(2));
        assert_eq!(figures(), (2, 1, false));
        load.set_aside();
        assert_eq!(figures(), (2, 0, false));
        load.go_on();
        load.wait_again();
        assert_eq!(figures(), (3, 0, false), "it waits again, whatever the bound");
        load.start();
        assert!(!load.remove());
        assert!(!load.remove_waiting());
        assert_eq!(figures(), (1, 0, false));
        assert!(load.remove_waiting(), "the last");
        load.add();
        assert_eq!(figures(), (0, 0, false));
        assert!(load.remove_aside(), "the last");
        assert_eq!(figures(), (0, 0, true));
    }
}
