//! What each thread keeps for itself on the hot path: its stripe, and a block of numbers.

use std::cell::Cell;

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many stripes a striped counter has: enough that few threads share one, small enough to sum up.
pub(crate) const STRIPES: usize = 16;

/// Numbers are taken from the shared counter in blocks, so that a hit touches no line that another thread writes.
const BLOCK: u64 = 4096;

static NEXT_BLOCK: AtomicU64 = AtomicU64::new(1);
static NEXT_STRIPE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(0) };
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
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

/// This thread's stripe.
#[inline]
pub(crate) fn stripe() -> usize {
    STRIPE.with(|stripe| {
        let at = stripe.get();
        if at != usize::MAX {
            return at;
        }
        let at = NEXT_STRIPE.fetch_add(1, Ordering::Relaxed) % STRIPES;
        stripe.set(at);
        at
    })
}
