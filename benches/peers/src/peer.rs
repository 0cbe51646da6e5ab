//! What a peer is: a way to get the value of a key, computed if it is not there.

use std::path::Path;

use rayon::prelude::*;

use crate::peers;

/// Looks at a key and its value. Borrowed, so that nobody has to copy who need not.
pub(crate) type See<'a> = &'a (dyn Fn(&str, &[u8]) + Sync);

/// A cache as a program would use it that follows the peer's documentation.
pub(crate) trait Peer: Sync {
    /// Shows the value of `key`; runs [`body::run`](crate::body::run) if it is not there.
    fn get(&self, key: &str, see: See<'_>);

    /// The same with [`body::fails`](crate::body::fails).
    fn fail(&self, key: &str) -> Result<(), String>;

    /// All of `keys`, on all cores. Caches that have no threads of their own get rayon's.
    fn all(&self, keys: &[String], see: See<'_>) {
        keys.par_iter().for_each(|key| self.get(key, see));
    }

    /// Keeps values that are known already, where they outlive the process: in batches, one thread. Only of peers that
    /// [can](CAN_STORE).
    fn store(&self, _: Vec<(&String, Vec<u8>)>) {
        unreachable!("this peer is not asked to");
    }

    /// Returns when everything so far outlives the process, and the power.
    fn flush(&self) {}
}

/// Opens a peer whose files belong into this directory.
pub(crate) type Open = fn(&Path) -> Box<dyn Peer>;

/// Where a peer keeps its values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In memory.
    Memory,
    /// Nowhere: threads and no cache.
    Threads,
    /// On disk.
    Disk,
    /// On disk, and nothing else: what the others can't beat.
    Floor,
}

/// One line of the tables.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// What the command line calls it.
    pub(crate) id: &'static str,
    /// What the tables call it.
    pub(crate) title: &'static str,
    pub(crate) kind: Kind,
    /// How many times fewer entries it is given where all would take minutes.
    pub(crate) slow: usize,
    /// `None`: the script beside this program has it.
    pub(crate) open: Option<Open>,
}

const fn entry(id: &'static str, title: &'static str, kind: Kind, open: Open) -> Entry {
    Entry { id, title, kind, slow: 1, open: Some(open) }
}

const fn python(id: &'static str, title: &'static str, kind: Kind) -> Entry {
    Entry { id, title, kind, slow: 1, open: None }
}

const fn slow(times: usize, entry: Entry) -> Entry {
    Entry { slow: times, ..entry }
}

/// Everyone, in the order of the tables.
pub(crate) const PEERS: &[Entry] = &[
    entry("memopool", "memopool", Kind::Memory, peers::memopool::memory),
    entry("moka", "moka `get_with` + rayon", Kind::Memory, peers::moka::open),
    entry("quick_cache", "quick_cache + rayon", Kind::Memory, peers::quick_cache::open),
    entry("once", "std `OnceLock` in a map + rayon", Kind::Memory, peers::once::open),
    entry("foyer", "foyer, memory", Kind::Memory, peers::foyer::memory),
    entry("cached", "cached `by_key` + rayon", Kind::Memory, peers::cached::by_key),
    entry("cached-sharded", "cached `concurrent_cached` + rayon", Kind::Memory, peers::cached::sharded),
    entry("memoize", "memoize `SharedCache` + rayon", Kind::Memory, peers::memoize::open),
    python("lru_cache", "Python `lru_cache`, one thread", Kind::Memory),
    python("executor-lru", "Python `ThreadPoolExecutor` + `lru_cache`", Kind::Memory),
    entry("rayon", "rayon alone", Kind::Threads, peers::threads::rayon),
    entry("threadpool", "threadpool alone", Kind::Threads, peers::threads::threadpool),
    python("executor", "Python `ThreadPoolExecutor` alone", Kind::Threads),
    entry("memopool-disk", "memopool, on disk", Kind::Disk, peers::memopool::disk),
    entry("memopool-synced", "memopool, on disk, `Sync::EachBatch`", Kind::Disk, peers::memopool::synced),
    entry("redb", "redb, 256 a transaction", Kind::Disk, peers::redb::open),
    entry("lmdb", "LMDB, 256 a transaction", Kind::Disk, peers::lmdb::open),
    entry("redb-one", "redb, one transaction", Kind::Disk, peers::redb::one),
    entry("lmdb-one", "LMDB, one transaction", Kind::Disk, peers::lmdb::one),
    entry("foyer-hybrid", "foyer, hybrid", Kind::Disk, peers::foyer::hybrid),
    slow(20, entry("cacache", "cacache + rayon", Kind::Disk, peers::cacache::open)),
    slow(50, entry("cached-redb", "cached `disk` + rayon", Kind::Disk, peers::cached::redb)),
    slow(10, python("diskcache", "Python diskcache", Kind::Disk)),
    slow(50, python("joblib", "Python joblib.Memory", Kind::Disk)),
    entry("plain", "one file, written and synced", Kind::Floor, peers::plain::open),
];

/// The peers that take values which they need not compute, many at a time.
pub(crate) const CAN_STORE: &[&str] = &["memopool-disk", "redb", "lmdb", "redb-one", "lmdb-one", "plain"];

/// The peer that the command line names.
pub(crate) fn named(id: &str) -> Option<&'static Entry> {
    PEERS.iter().find(|entry| entry.id == id)
}
