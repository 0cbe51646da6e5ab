//! What did not get to the disk: told to whoever flushes, since nobody else waits for it.
//!
//! A result that is not written fails no task, and the listener hears only of the first. Who flushes wants to know that all
//! is safe, so one result that could not be written, or was not tried while the disk rests from a failure, is enough to
//! fail a flush: each that began after the result was finished and before some flush had told of it. Later ones do not
//! fail for it: what it says of is gone, and later results may do better.
//!
//! Losses are counted where they happen, in two [`Ledger`]s, so that a flush knows which are before it:
//!
//! | ledger | by whom | before a flush is what was there when |
//! |---|---|---|
//! | at hand | the thread that has the result, before anybody sees that it is finished | the flush began |
//! | behind | the writer, which takes results and flushes in their order | the writer came to the flush |

use crate::sync::Mutex;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Unwritten(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    at_hand: Ledger,
    behind: Ledger,
    /// What failed last, flushes or not: why nothing is tried for a while.
    trouble: String,
    /// How many flushes have begun.
    #[cfg(all(test, feature = "testing"))]
    flushes: u64,
}

/// Who finds that a result is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The thread that has it.
    Hand,
    /// The writer.
    Writer,
}

/// Losses of one kind.
#[derive(Debug, Default)]
struct Ledger {
    /// How many there were.
    losses: u64,
    /// How many of them were told, by flushes that have ended.
    told: u64,
    /// Why the first was lost that had not been told then.
    reason: String,
}

/// How things stood when a flush began.
#[derive(Debug)]
pub(super) struct Begun {
    told: [u64; 2],
    at_hand: u64,
}

impl Ledger {
    fn add(&mut self, reason: &str) {
        if self.told == self.losses {
            reason.clone_into(&mut self.reason);
        }
        self.losses += 1;
    }

    /// The reason, if there are news for who knew of `known`. All up to `last` is told now.
    fn tell(&mut self, known: u64, last: u64) -> Option<String> {
        self.told = self.told.max(last);
        (last > known).then(|| self.reason.clone())
    }
}

impl Unwritten {
    /// The disk failed.
    pub(super) fn trouble(&self, reason: &str) {
        let trouble = reason.to_owned();
        let before = std::mem::replace(&mut self.0.lock().trouble, trouble);
        drop(before);
    }

    /// A result is not on the disk, or not safe there.
    pub(super) fn add(&self, by: By, reason: &str) {
        let mut state = self.0.lock();
        match by {
            By::Hand => state.at_hand.add(reason),
            By::Writer => state.behind.add(reason),
        }
    }

    /// A result was not tried to be written, for what failed before.
    pub(super) fn add_untried(&self) {
        let mut state = self.0.lock();
        let State { at_hand, trouble, .. } = &mut *state;
        at_hand.add(trouble);
    }

    /// A flush begins.
    pub(super) fn begin(&self) -> Begun {
        let state = &mut *self.0.lock();
        #[cfg(all(test, feature = "testing"))]
        {
            state.flushes += 1;
        }
        let State { at_hand, behind, .. } = state;
        Begun { told: [at_hand.told, behind.told], at_hand: at_hand.losses }
    }

    /// How many flushes have begun.
    #[cfg(all(test, feature = "testing"))]
    pub(super) fn flushes(&self) -> u64 {
        self.0.lock().flushes
    }

    /// How much the writer has lost.
    pub(super) fn behind(&self) -> u64 {
        self.0.lock().behind.losses
    }

    /// A flush ends to which the writer came when it had lost so much: why something before it is not on the disk.
    pub(super) fn end(&self, begun: &Begun, behind: u64) -> Result<(), String> {
        let mut state = self.0.lock();
        let at_hand = state.at_hand.tell(begun.told[0], begun.at_hand);
        let behind = state.behind.tell(begun.told[1], behind);
        match at_hand.or(behind) {
            None => Ok(()),
            Some(reason) => Err(format!("not all that has finished is on the disk: {reason}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flush_under_way_tells_of_a_loss_and_later_ones_do_not() {
        // Two threads flush, one is told that a result is lost, and the other believes that its own is safe.
        let unwritten = Unwritten::default();
        let (one, other) = (unwritten.begin(), unwritten.begin());
        unwritten.add(By::Writer, "full");
        assert!(unwritten.end(&one, 1).is_err_and(|error| error.contains("full")));
        let later = unwritten.begin();
        assert!(unwritten.end(&other, 1).is_err_and(|error| error.contains("full")));
        assert_eq!(unwritten.end(&later, 1), Ok(()));
        unwritten.add(By::Writer, "broken");
        assert_eq!(
            unwritten.end(&unwritten.begin(), 2),
            Err("not all that has finished is on the disk: broken".into())
        );
        assert_eq!(unwritten.end(&unwritten.begin(), 2), Ok(()));
    }

    #[test]
    fn a_flush_leaves_to_others_what_was_lost_behind_it() {
        // One thread's flush swallows the loss of what another thread finishes meanwhile, whose own flush says all is well.
        for by in [By::Hand, By::Writer] {
            let unwritten = Unwritten::default();
            let begun = unwritten.begin();
            let came_to = unwritten.behind();
            unwritten.add(by, "full");
            assert_eq!(unwritten.end(&begun, came_to), Ok(()), "{by:?}");
            let begun = unwritten.begin();
            assert!(unwritten.end(&begun, unwritten.behind()).is_err(), "{by:?}");
        }
    }
}
