//! cached: its two macros in memory, and its store on disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cached::RedbCache;
use cached::macros::{cached, concurrent_cached};

use crate::body;
use crate::peer::{Peer, See};

#[cached(max_size = 200_000, sync_writes = "by_key", key = "String", convert = { key.to_owned() })]
fn by_key_value(key: &str) -> Arc<Vec<u8>> {
    Arc::new(body::run(key))
}

#[cached(max_size = 200_000, sync_writes = "by_key", key = "String", convert = { key.to_owned() })]
fn by_key_failing(key: &str) -> Result<Arc<Vec<u8>>, String> {
    body::fails(key).map(Arc::new)
}

#[concurrent_cached(max_size = 200_000, key = "String", convert = { key.to_owned() })]
fn sharded_value(key: &str) -> Arc<Vec<u8>> {
    Arc::new(body::run(key))
}

#[concurrent_cached(max_size = 200_000, key = "String", convert = { key.to_owned() })]
fn sharded_failing(key: &str) -> Result<Arc<Vec<u8>>, String> {
    body::fails(key).map(Arc::new)
}

/// The macro makes its store when it is first called, and takes no argument.
static DIR: OnceLock<PathBuf> = OnceLock::new();

fn store(name: &str) -> RedbCache<String, Vec<u8>> {
    let dir = DIR.get().expect("opened first");
    RedbCache::builder(name).disk_dir(dir).build().expect("a usable directory")
}

#[concurrent_cached(
    ty = "RedbCache<String, Vec<u8>>",
    create = { store("values") },
    key = "String",
    convert = { key.to_owned() },
    map_error = |error| format!("{error:?}")
)]
fn redb_value(key: &str) -> Result<Vec<u8>, String> {
    Ok(body::run(key))
}

#[concurrent_cached(
    ty = "RedbCache<String, Vec<u8>>",
    create = { store("failing") },
    key = "String",
    convert = { key.to_owned() },
    map_error = |error| format!("{error:?}")
)]
fn redb_failing(key: &str) -> Result<Vec<u8>, String> {
    body::fails(key)
}

struct ByKey;

struct Sharded;

struct Redb;

pub(crate) fn by_key(_: &Path) -> Box<dyn Peer> {
    Box::new(ByKey)
}

pub(crate) fn sharded(_: &Path) -> Box<dyn Peer> {
    Box::new(Sharded)
}

pub(crate) fn redb(dir: &Path) -> Box<dyn Peer> {
    DIR.set(dir.join("cached")).expect("opened once");
    Box::new(Redb)
}

impl Peer for ByKey {
    fn get(&self, key: &str, see: See<'_>) {
        see(key, &by_key_value(key));
    }

    fn fail(&self, key: &str) -> Result<(), String> {
        by_key_failing(key).map(drop)
    }
}

impl Peer for Sharded {
    fn get(&self, key: &str, see: See<'_>) {
        see(key, &sharded_value(key));
    }

    fn fail(&self, key: &str) -> Result<(), String> {
        sharded_failing(key).map(drop)
    }
}

/// Each write is a transaction that is safe when it returns: its default.
impl Peer for Redb {
    fn get(&self, key: &str, see: See<'_>) {
        // A store that fails, fails the call; a program that goes on computes.
        see(key, &redb_value(key).unwrap_or_else(|_| body::run(key)));
    }

    fn fail(&self, key: &str) -> Result<(), String> {
        redb_failing(key).map(drop)
    }
}
