//! The concurrent map under the slot table: `dashmap`, narrowed to the five operations the protocol needs.
//!
//! Each is one critical section of one shard. What a change displaces is handed out, never dropped inside. No operation
//! may be called from within another's closure: the shard's lock is not re-entrant.

use std::fmt;
use std::hash::{BuildHasher, DefaultHasher};
use std::mem;

use dashmap::{DashMap, SharedValue};

use crate::sync::processors;

/// So that two threads rarely meet in one.
const SHARDS_PER_PROCESSOR: usize = 4;

/// A key that carries its own, well mixed hash.
pub(crate) trait SlotHash: Eq {
    fn slot_hash(&self) -> u64;
}

/// What an update does to its slot.
pub(crate) enum Change<S> {
    Keep,
    Put(S),
    Remove,
}

/// Key → slot.
///
/// A bucket is one pointer, to key and slot side by side: so the table itself is small enough to stay in the caches, and a
/// look-up costs one far line beside it. The map is used through its shards alone; its own key type is empty.
pub(crate) struct Slots<K, S> {
    map: DashMap<(), Box<(K, S)>, Identity>,
}

impl<K: SlotHash, S> Slots<K, S> {
    pub(crate) fn new() -> Self {
        // As many as it would take by itself, which it takes longer to find out.
        let shards = (processors() * SHARDS_PER_PROCESSOR).next_power_of_two();
        Slots { map: DashMap::with_hasher_and_shard_amount(Identity, shards) }
    }

    #[inline]
    pub(crate) fn read<T>(&self, key: &K, look: impl FnOnce(Option<&S>) -> T) -> T {
        let hash = key.slot_hash();
        let shard = self.map.shards()[self.place(hash)].read();
        let found = shard.get(hash, |(_, record)| record.get().0 == *key);
        look(found.map(|(_, record)| &record.get().1))
    }

    pub(crate) fn update<T>(
        &self,
        key: K,
        change: impl FnOnce(Option<&S>) -> (Change<S>, T),
    ) -> (T, Option<S>) {
        let hash = key.slot_hash();
        let mut shard = self.map.shards()[self.place(hash)].write();
        let found = shard.get_mut(hash, |(_, record)| record.get().0 == key);
        let Some((_, record)) = found else {
            let (change, answer) = change(None);
            if let Change::Put(slot) = change {
                let record = SharedValue::new(Box::new((key, slot)));
                shard.insert(hash, ((), record), |(_, record)| record.get().0.slot_hash());
            }
            return (answer, None);
        };
        let slot = &mut record.get_mut().1;
        let (change, answer) = change(Some(slot));
        match change {
            Change::Keep => (answer, None),
            Change::Put(new) => (answer, Some(mem::replace(slot, new))),
            Change::Remove => {
                let removed = shard.remove_entry(hash, |(_, record)| record.get().0 == key);
                (answer, removed.map(|(_, record)| record.into_inner().1))
            }
        }
    }

    /// Removes the slot of that hash that `which` picks: the accountant knows hashes, not keys.
    pub(crate) fn remove_by_hash(&self, hash: u64, which: impl Fn(&S) -> bool) -> Option<(K, S)> {
        let mut shard = self.map.shards()[self.place(hash)].write();
        let removed = shard.remove_entry(hash, |(_, record)| picks(record.get(), hash, &which));
        drop(shard);
        removed.map(|(_, record)| *record.into_inner())
    }

    pub(crate) fn any_by_hash(&self, hash: u64, which: impl Fn(&S) -> bool) -> bool {
        let shard = self.map.shards()[self.place(hash)].read();
        shard.get(hash, |(_, record)| picks(record.get(), hash, &which)).is_some()
    }

    /// Takes out all slots that `which` picks: looks first, and removes one by one after.
    pub(crate) fn drain(&self, which: impl Fn(&S) -> bool) -> Vec<(u64, S)>
    where
        K: Clone,
    {
        let picked = self.map.iter().filter(|record| which(&record.1)).map(|record| record.0.clone());
        let keys: Vec<K> = picked.collect();
        keys.into_iter()
            .filter_map(|key| {
                let hash = key.slot_hash();
                let (_, removed) = self.update(key, |slot| match slot {
                    Some(slot) if which(slot) => (Change::Remove, ()),
                    _ => (Change::Keep, ()),
                });
                removed.map(|slot| (hash, slot))
            })
            .collect()
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        self.map.determine_shard(hash as usize)
    }
}

fn picks<K: SlotHash, S>(record: &(K, S), hash: u64, which: impl Fn(&S) -> bool) -> bool {
    record.0.slot_hash() == hash && which(&record.1)
}

/// Keys bring their own hashes: the map is never asked to make one.
#[derive(Clone, Copy, Default)]
struct Identity;

impl BuildHasher for Identity {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        DefaultHasher::new()
    }
}

impl<K, S> fmt::Debug for Slots<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").finish_non_exhaustive()
    }
}
