//! Results between the end of their run and their record: found here, by their key, until the disk has them.

use std::collections::HashMap;
use std::fmt;

use foldhash::fast::RandomState;

use super::put::Put;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Arc, Mutex};

/// See the [module](self).
#[derive(Default)]
pub(super) struct Pending {
    /// How many there are. Most looks find none, and need no lock for that.
    count: AtomicUsize,
    puts: Mutex<Puts>,
}

type Puts = HashMap<[u8; 32], Arc<Put>, RandomState>;

impl Pending {
    pub(super) fn get(&self, key: &[u8; 32]) -> Option<Arc<Put>> {
        // Whoever does not see one that has left sees its record: it left after that.
        match self.count.load(Ordering::Acquire) {
            0 => None,
            _ => self.puts.lock().get(key).cloned(),
        }
    }

    pub(super) fn insert(&self, put: Arc<Put>) {
        self.change(|puts| puts.insert(put.permit.key, put));
    }

    /// It can be read from the disk now, or never will.
    pub(super) fn settle(&self, put: &Arc<Put>) {
        self.change(|puts| {
            let is_it = puts.get(&put.permit.key).is_some_and(|other| Arc::ptr_eq(other, put));
            is_it.then(|| puts.remove(&put.permit.key))
        });
    }

    pub(super) fn forget(&self, key: &[u8; 32]) {
        self.change(|puts| puts.remove(key));
    }

    /// Forgets those of a function whose digest begins so.
    pub(super) fn forget_function(&self, owner: [u8; 4]) {
        self.change(|puts| puts.extract_if(|_, put| put.function.starts_with(&owner)).collect::<Vec<_>>());
    }

    pub(super) fn clear(&self) {
        self.change(std::mem::take);
    }

    /// What `change` takes out is dropped after the lock is.
    fn change<T>(&self, change: impl FnOnce(&mut Puts) -> T) {
        let mut puts = self.puts.lock();
        let out = change(&mut puts);
        self.count.store(puts.len(), Ordering::Release);
        drop(puts);
        drop(out);
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("count", &self.count).finish_non_exhaustive()
    }
}
