//! Which store a pool uses: that of its directory, or a new one where the directory was deleted under it.
//!
//! Every look asks. So the first one is lent, not counted: a count of its users would be written by all threads that read,
//! and each would wait for it to come from another's cache. The later ones, hardly ever there, are counted.

use std::fmt;
use std::ops::Deref;

use super::store::Store;
use crate::sync::{Arc, OnceLock, RwLock};

/// See the [module](self).
pub(super) struct Stores {
    first: Store,
    /// What stands for the first, since its directory was deleted.
    later: OnceLock<RwLock<Arc<Store>>>,
}

/// A store in use.
pub(super) enum Current<'a> {
    First(&'a Store),
    Later(Arc<Store>),
}

impl Stores {
    pub(super) fn new(first: Store) -> Stores {
        Stores { first, later: OnceLock::new() }
    }

    #[inline]
    pub(super) fn current(&self) -> Current<'_> {
        match self.later.get() {
            None => Current::First(&self.first),
            Some(later) => Current::Later(Arc::clone(&later.read())),
        }
    }

    pub(super) fn replace(&self, store: Store) -> Current<'_> {
        let store = Arc::new(store);
        *self.later.get_or_init(|| RwLock::new(Arc::clone(&store))).write() = Arc::clone(&store);
        // The first is there until the pool ends: what it has open would keep its blocks so long.
        self.first.close_segments();
        Current::Later(store)
    }
}

impl Deref for Current<'_> {
    type Target = Store;

    #[inline]
    fn deref(&self) -> &Store {
        match self {
            Current::First(store) => store,
            Current::Later(store) => store,
        }
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("replaced", &self.later.get().is_some()).finish_non_exhaustive()
    }
}
