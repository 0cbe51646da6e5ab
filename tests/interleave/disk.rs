//! The claims of several processes, and the index's slots: of two who claim one is the first, and who reads while
//! another writes reads whole entries.
//!
//! In the drawings a lane is a process, `·` a point at which they race.

#[path = "../../src/memo/disk/claims/bucket.rs"]
mod bucket;

use std::sync::Arc;

use self::bucket::{Taken, release, take};
use crate::checker::sync::atomic::{AtomicU64, Ordering};
use crate::explore;
use crate::support::{join, spawn};

/// A claim of that owner for the key with that tag.
const fn claim(tag: u64, owner: u64) -> u64 {
    tag << 32 | owner
}

/// A bucket with the turn, as many claims, and beside it who is computing key 1 and what they did.
struct Bucket {
    words: Vec<AtomicU64>,
    computing: AtomicU64,
    result: AtomicU64,
}

impl Bucket {
    fn new(claims: &[u64]) -> Arc<Bucket> {
        let words = [u64::MAX].iter().chain(claims).map(|word| AtomicU64::new(*word)).collect();
        Arc::new(Bucket { words, computing: AtomicU64::new(0), result: AtomicU64::new(0) })
    }

    /// Claims of owner 9 do not stand.
    fn take(&self, ours: u64) -> Taken {
        take(&self.words, ours, |word| word & 0xf != 9)
    }

    /// Computes key 1 if nobody has and nobody does. Returns whether it was computed here.
    fn compute(&self, owner: u64) -> bool {
        let ours = claim(1, owner);
        let Taken::Ours { at } = self.take(ours) else { return false };
        assert_eq!(self.computing.fetch_add(1, Ordering::Relaxed), 0, "two compute at once");
        // Relaxed: what makes it visible is the claim.
        let first = self.result.load(Ordering::Relaxed) == 0;
        self.result.store(1, Ordering::Relaxed);
        self.computing.fetch_sub(1, Ordering::Relaxed);
        assert!(release(&self.words[at], ours));
        first
    }
}

/// Two processes compute the same call at once.
///
/// ```text
/// a                 b
/// -               - -
/// claim 1         · claim 1
/// compute         · (held, or compute after a: the result is there)
/// release
/// ```
#[test]
fn of_two_who_claim_one_computes() {
    explore(|| {
        let bucket = Bucket::new(&[0, 0]);
        let other = {
            let bucket = Arc::clone(&bucket);
            spawn(move || bucket.compute(2))
        };
        let here = bucket.compute(1);
        assert!(here ^ join(other));
    });
}

/// Two processes compute the same call at once, because a third has just freed a word that one of them had passed by.
///
/// ```text
/// a                 b                 c (has claimed 2, in the first word)
/// -                 -                 -
/// claim 1         · claim 1         · release
/// ```
#[test]
fn a_word_that_gets_free_makes_no_second() {
    explore(|| {
        let bucket = Bucket::new(&[claim(2, 3), 0]);
        let other = {
            let bucket = Arc::clone(&bucket);
            spawn(move || bucket.compute(2))
        };
        let third = {
            let bucket = Arc::clone(&bucket);
            spawn(move || release(&bucket.words[1], claim(2, 3)))
        };
        let here = bucket.compute(1);
        assert!(here ^ join(other));
        assert!(join(third));
    });
}

/// A word that a dead process has left is taken by two.
///
/// ```text
/// a                 b
/// -                 -
/// claim 1         · claim 2           (one word is taken, the other a dead one's)
/// ```
#[test]
fn a_dead_ones_word_is_taken_once() {
    explore(|| {
        let bucket = Bucket::new(&[claim(3, 3), claim(1, 9)]);
        let other = {
            let bucket = Arc::clone(&bucket);
            spawn(move || bucket.take(claim(2, 2)))
        };
        let here = bucket.take(claim(1, 1));
        let taken = [here, join(other)];
        let ours = taken.iter().filter(|taken| matches!(taken, Taken::Ours { at: 2 })).count();
        let full = taken.iter().filter(|taken| matches!(taken, Taken::Full)).count();
        assert_eq!((ours, full), (1, 1), "{taken:?}");
    });
}

/// Claims of different keys get in each other's way for good.
///
/// ```text
/// a                 b
/// -                 -
/// claim 1         · claim 2
/// ```
#[test]
fn different_keys_both_get_on() {
    explore(|| {
        let bucket = Bucket::new(&[0, 0]);
        let other = {
            let bucket = Arc::clone(&bucket);
            spawn(move || bucket.take(claim(2, 2)))
        };
        let here = bucket.take(claim(1, 1));
        assert!(matches!((here, join(other)), (Taken::Ours { at: a }, Taken::Ours { at: b }) if a != b));
    });
}
