//! What each thread keeps for itself on the hot path: its stripe of every striped counter, and a block of numbers.

use std::cell::Cell;

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many threads at once have a stripe of their own.
const OWNED: usize = 16;

/// How many stripes a striped counter has: the last one is shared by the threads that came too late for their own.
pub(crate) const STRIPES: usize = OWNED + 1;

/// Numbers are taken from the shared counter in blocks, so that a hit touches no line that another thread writes.
const BLOCK: u64 = 4096;

static NEXT_BLOCK: AtomicU64 = AtomicU64::new(1);

/// A bit for each stripe that a thread owns. Taken with `Acquire` and given back with `Release`: the next owner sees
/// what the last one counted.
static TAKEN: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(0) };
    static STRIPE: Stripe = const { Stripe(Cell::new(usize::MAX)) };
}

/// The stripe that this thread owns until it ends.
struct Stripe(Cell<usize>);

impl Drop for Stripe {
    fn drop(&mut self) {
        if self.0.get() < OWNED {
            TAKEN.fetch_and(!(1 << self.0.get()), Ordering::Release);
        }
    }
}

/// A number that no other call in this process gets. Never 0.
#[inline]
pub(crate) fn unique() -> u64 {
    NEXT.with(|next| {
        let mut id = next.get();
        if id.is_multiple_of(BLOCK) {
            id = NEXT_BLOCK.fetch_add(1, Ordering::Relaxed) * BLOCK;
        }
        next.set(id + 1);
        id
    })
}

/// A pair of counters that many threads add to, and few read.
///
/// An owned stripe is written by one thread only, so plain loads and stores do: an atomic addition costs more than all
/// else that a hit has to count.
#[derive(Default)]
pub(crate) struct Striped {
    stripes: [crossbeam_utils::CachePadded<[AtomicU64; 2]>; STRIPES],
}

impl Striped {
    /// Adds 1 to the first and `amount` to the second.
    #[inline]
    pub(crate) fn add(&self, amount: u64) {
        // While a thread ends, its stripe may be gone already.
        let at = STRIPE
            .try_with(|stripe| if stripe.0.get() == usize::MAX { take(stripe) } else { stripe.0.get() });
        self.add_at(at.unwrap_or(OWNED), amount);
    }

    #[inline]
    fn add_at(&self, at: usize, amount: u64) {
        let [count, sum] = &*self.stripes[at];
        if at < OWNED {
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            sum.store(sum.load(Ordering::Relaxed).saturating_add(amount), Ordering::Relaxed);
        } else {
            count.fetch_add(1, Ordering::Relaxed);
            add_up(sum, amount);
        }
    }

    /// Both sums; the second is at most [`u64::MAX`].
    pub(crate) fn sums(&self) -> (u64, u64) {
        self.stripes.iter().fold((0, 0), |(count, sum), stripe| {
            (count + stripe[0].load(Ordering::Relaxed), sum.saturating_add(stripe[1].load(Ordering::Relaxed)))
        })
    }
}

/// Where a sum stops, and the most that is added to it at once: 292 years and two, in nanoseconds. As many threads as may
/// have seen it below the one can't reach the end together by the other.
const FULL: u64 = 1 << 63;
const MOST: u64 = 1 << 56;

/// Adds to a sum of nanoseconds, which stops instead of beginning again at zero: a few million hits that save an hour each
/// reach the end. Without a loop, since many threads may be at it.
pub(crate) fn add_up(sum: &AtomicU64, amount: u64) {
    if sum.load(Ordering::Relaxed) < FULL {
        sum.fetch_add(amount.min(MOST), Ordering::Relaxed);
    }
}

#[cold]
fn take(stripe: &Stripe) -> usize {
    let taken = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| {
        let free = taken.trailing_ones() as usize;
        (free < OWNED).then(|| taken | 1 << free)
    });
    let at = taken.map_or(OWNED, |before| before.trailing_ones() as usize);
    stripe.0.set(at);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Millions of hits that save an hour each have saved less than a second.
    #[test]
    fn a_sum_does_not_begin_again_at_zero() {
        for at in [0, OWNED] {
            let striped = Striped::default();
            let mut before = 0;
            for amount in [1, u64::MAX, 1 << 60, u64::MAX, 1 << 63, u64::MAX, 1].repeat(100) {
                striped.add_at(at, amount);
                let (_, sum) = striped.sums();
                assert!(sum >= before, "{sum} after {before}");
                before = sum;
            }
            assert_eq!(striped.sums().0, 700);
            for other in 1..STRIPES {
                (0..3).for_each(|_| striped.add_at(other, u64::MAX));
                let (_, sum) = striped.sums();
                assert!(sum >= before, "{sum} after {before}");
                before = sum;
            }
            assert!(before > 1 << 60, "a sum of many years: {before}");
        }
    }
}
