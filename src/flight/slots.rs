//! The concurrent map under the slot table: `dashmap`, narrowed to the five operations the protocol needs.
//!
//! Each is one critical section of one shard. What a change displaces is handed out, never dropped inside. No operation
//! may be called from within another's closure: the shard's lock is not re-entrant.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use dashmap::{DashMap, Entry};

/// A key that carries its own, well mixed hash.
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
    map: DashMap<K, S, Identity>,
}

impl<K: SlotHash, S> Slots<K, S> {
    pub(crate) fn new() -> Self {
        Slots { map: DashMap::with_hasher(Identity) }
    }

    #[inline]
    pub(crate) fn read<T>(&self, key: &K, look: impl FnOnce(Option<&S>) -> T) -> T {
        match self.map.get(key) {
            Some(slot) => look(Some(slot.value())),
            None => look(None),
        }
    }

    pub(crate) fn update<T>(
        &self,
        key: K,
        change: impl FnOnce(Option<&S>) -> (Change<S>, T),
    ) -> (T, Option<S>) {
        match self.map.entry(key) {
            Entry::Occupied(mut entry) => {
                let (change, answer) = change(Some(entry.get()));
                match change {
                    Change::Keep => (answer, None),
                    Change::Put(slot) => (answer, Some(entry.insert(slot))),
                    Change::Remove => (answer, Some(entry.remove())),
                }
            }
            Entry::Vacant(entry) => {
                let (change, answer) = change(None);
                if let Change::Put(slot) = change {
                    drop(entry.insert(slot));
                }
                (answer, None)
            }
        }
    }

    /// Removes the slot of that hash that `which` picks: the accountant knows hashes, not keys.
    pub(crate) fn remove_by_hash(&self, hash: u64, which: impl Fn(&S) -> bool) -> Option<S> {
        let mut shard = self.map.shards()[self.map.determine_shard(hash as usize)].write();
        let removed = shard.remove_entry(hash, |(key, slot)| key.slot_hash() == hash && which(slot.get()));
        drop(shard);
        removed.map(|(_, slot)| slot.into_inner())
    }

    pub(crate) fn any_by_hash(&self, hash: u64, which: impl Fn(&S) -> bool) -> bool {
        let shard = self.map.shards()[self.map.determine_shard(hash as usize)].read();
        shard.get(hash, |(key, slot)| key.slot_hash() == hash && which(slot.get())).is_some()
    }

    /// Takes out all slots that `which` picks, one shard after the other.
    pub(crate) fn drain(&self, which: impl Fn(&S) -> bool) -> Vec<(u64, S)>
    where
        K: Clone,
    {
        let keys: Vec<K> =
            self.map.iter().filter(|slot| which(slot.value())).map(|slot| slot.key().clone()).collect();
        keys.into_iter()
            .filter_map(|key| self.map.remove_if(&key, |_, slot| which(slot)))
            .map(|(key, slot)| (key.slot_hash(), slot))
            .collect()
    }
}

/// Passes a key's own hash through.
#[derive(Clone, Copy, Default)]
struct Identity;

impl BuildHasher for Identity {
    type Hasher = Passed;

    #[inline]
    fn build_hasher(&self) -> Passed {
        Passed(0)
    }
}

struct Passed(u64);

impl Hasher for Passed {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a slot key hashes as one u64");
    }
}

impl<K, S> fmt::Debug for Slots<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").finish_non_exhaustive()
    }
}
