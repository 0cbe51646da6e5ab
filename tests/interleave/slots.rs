//! What `src/flight/slots.rs` promises, with one locked list in place of the concurrent map.

use std::hash::Hash;
use std::mem;

use crate::sync::Mutex;

/// A key that carries its own hash.
pub(crate) trait SlotHash: Eq + Hash {
    fn slot_hash(&self) -> u64;
}

/// What an update does to its slot.
pub(crate) enum Change<S> {
    Keep,
    Put(S),
    Remove,
}

/// Key → slot.
pub(crate) struct Slots<K, S> {
    all: Mutex<Vec<(K, S)>>,
}

impl<K: SlotHash, S> Slots<K, S> {
    pub(crate) fn new() -> Self {
        Slots { all: Mutex::new(Vec::new()) }
    }

    pub(crate) fn read<T>(&self, key: &K, look: impl FnOnce(Option<&S>) -> T) -> T {
        look(self.all.lock().iter().find(|(k, _)| k == key).map(|(_, slot)| slot))
    }

    pub(crate) fn update<T>(
        &self,
        key: K,
        change: impl FnOnce(Option<&S>) -> (Change<S>, T),
    ) -> (T, Option<S>) {
        let mut all = self.all.lock();
        let at = all.iter().position(|(k, _)| *k == key);
        let (change, answer) = change(at.map(|at| &all[at].1));
        let displaced = match (change, at) {
            (Change::Keep, _) | (Change::Remove, None) => None,
            (Change::Put(slot), Some(at)) => Some(mem::replace(&mut all[at].1, slot)),
            (Change::Put(slot), None) => {
                all.push((key, slot));
                None
            }
            (Change::Remove, Some(at)) => Some(all.remove(at).1),
        };
        (answer, displaced)
    }

    pub(crate) fn remove_by_hash(&self, hash: u64, which: impl Fn(&S) -> bool) -> Option<(K, S)> {
        let mut all = self.all.lock();
        let at = all.iter().position(|(key, slot)| key.slot_hash() == hash && which(slot))?;
        Some(all.remove(at))
    }

    pub(crate) fn any_by_hash(&self, hash: u64, which: impl Fn(&S) -> bool) -> bool {
        self.all.lock().iter().any(|(key, slot)| key.slot_hash() == hash && which(slot))
    }

    /// Looks first and takes out one by one after, like the real one.
    pub(crate) fn drain(&self, which: impl Fn(&S) -> bool) -> Vec<(u64, S)>
    where
        K: Clone,
    {
        let keys: Vec<K> =
            self.all.lock().iter().filter(|(_, slot)| which(slot)).map(|(key, _)| key.clone()).collect();
        let take = |key: K| {
            let mut all = self.all.lock();
            let at = all.iter().position(|(k, slot)| *k == key && which(slot))?;
            let (key, slot) = all.remove(at);
            Some((key.slot_hash(), slot))
        };
        keys.into_iter().filter_map(take).collect()
    }
}
