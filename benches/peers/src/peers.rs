//! One file for each peer, with the semantics it has, used as its documentation recommends.

pub(crate) mod cacache;
pub(crate) mod cached;
pub(crate) mod foyer;
pub(crate) mod lmdb;
pub(crate) mod memoize;
pub(crate) mod memopool;
pub(crate) mod moka;
pub(crate) mod once;
pub(crate) mod plain;
pub(crate) mod quick_cache;
pub(crate) mod redb;
pub(crate) mod store;
pub(crate) mod threads;

/// Entries that a cache in memory may hold: more than any workload has.
pub(crate) const ROOM: usize = 200_000;
