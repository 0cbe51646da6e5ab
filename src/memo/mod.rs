//! Stage 3, *memo*: where results live after their run.
//!
//! 1. [`memory`] — the accountant of the memory tier: what must go when the bound is reached.
//! 2. [`codec`] — values as bytes, and their size.
//! 3. [`history`] — why a key is no longer there, as long as it is remembered.
//!
//! The values themselves lie in the slot table of stage 2, where one look-up finds them. `memo` imports no other stage:
//! it knows hashes, generations and weights. The disk tier will be the next room here.

pub(crate) mod codec;
pub(crate) mod history;
pub(crate) mod memory;
