//! One bucket of the claim table: how one of several processes gets a key, without a lock.
//!
//! Word 0 is a *turn*, the others are claims, or free: 0, or anything that does not *stand* (its owner is gone, or it is
//! garbage). Claims of one key carry the same tag, the upper half of the word.
//!
//! Just taking a free word would not do: two processes could look at the same time and take two different words for the
//! same key. So a claim is *placed* first and holds only once the turn has been moved on:
//!
//! | step | else |
//! |---|---|
//! | 1. read the turn | |
//! | 2. look at all claims: one with our tag? | it is held by that one |
//! | 3. place ours in a free word, by compare-exchange | again from 1 |
//! | 4. turn → turn + 1, by compare-exchange: ours | take ours back; again from 1 |
//!
//! Of two who placed the same tag, take the one who moved the turn first, from t to t + 1. The other read the turn either
//! before: then its own move from t (or less) fails, and looking again it sees the first. Or after: then it looked after
//! the first had placed, and saw it. So never both. If the move fails, another's has succeeded, so someone gets on always.
//! A placed claim that is about to be taken back may make somebody wait for a moment; a process that is killed between
//! 3 and 4 leaves a claim like any other, which goes with its owner.
//!
//! A claim is released by compare-exchange to 0. Acquire and Release on the turn and on the words make this true on weakly
//! ordered machines, and let who claims next see what the one before had published. `tests/interleave/` tries every order.

use crate::sync::atomic::{AtomicU64, Ordering};

/// What came of it. `at` is the number of the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Ours { at: usize },
    Held { at: usize, word: u64 },
    Full,
}

/// Takes the bucket's key for the claim `ours`, unless it is held. `stands`: see the [module](self).
#[inline]
pub(crate) fn take(bucket: &[AtomicU64], ours: u64, stands: impl Fn(u64) -> bool) -> Taken {
    for _ in 0..TURNS {
        let turn = bucket[0].load(Ordering::Acquire);
        let mut free = None;
        for (at, word) in bucket.iter().enumerate().skip(1) {
            let word = word.load(Ordering::Acquire);
            if word == 0 || !stands(word) {
                free = free.or(Some((at, word)));
            } else if word >> 32 == ours >> 32 {
                return Taken::Held { at, word };
            }
        }
        let Some((at, seen)) = free else { return Taken::Full };
        if bucket[at].compare_exchange(seen, ours, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            continue;
        }
        let next = turn.wrapping_add(1);
        if bucket[0].compare_exchange(turn, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return Taken::Ours { at };
        }
        release(&bucket[at], ours);
    }
    Taken::Full
}

/// Frees a word, if it still is that claim. Returns whether it was.
#[inline]
pub(crate) fn release(word: &AtomicU64, claim: u64) -> bool {
    word.compare_exchange(claim, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Each turn that fails is another's success in the same bucket; so many in a row mean that the words are not ours alone.
const TURNS: usize = 1000;
