//! Stage 3, *memo*: what is kept.
//!
//! 1. [`memory`] — the accountant of the memory tier: what must go when the memory is full.
//! 2. [`codec`] — values as bytes: the only file that names `bincode`.
//! 3. [`shape`] — the fingerprint of a value's type, taken from what serde is told.
//! 4. [`compress`] — smaller bytes, when it pays.
//! 5. [`disk`] — the tier that outlives the process.
//! 6. [`history`] — why a key is not there.
//!
//! Values in memory lie in the slot table of stage 2, where one look-up finds them. `memo` imports no other stage: it knows
//! keys as bytes, hashes, generations and weights.

pub(crate) mod codec;
pub(crate) mod compress;
pub(crate) mod disk;
pub(crate) mod history;
pub(crate) mod memory;
pub(crate) mod shape;

/// Whether a result that expires then may be used now; both in nanoseconds since the Unix epoch, 0: never.
pub(crate) fn is_fresh(expires: u64, now: u64) -> bool {
    expires == 0 || now < expires
}
