//! Who is alive (to come).

use std::hash::{BuildHasher, Hasher, RandomState};

/// A random word, not 0.
pub(crate) fn random_word() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish().max(1)
}

pub(crate) struct NestedWait;
