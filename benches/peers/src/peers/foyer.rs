//! foyer: `get_or_fetch` runs one fetch for all who wait, on tokio; in memory alone, and before a disk.

use std::path::Path;
use std::sync::Arc;

use foyer::{
    BlockEngineConfig, Cache, CacheBuilder, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::ROOM;
use crate::body;
use crate::peer::{Peer, See};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads")
}

struct Memory {
    cache: Cache<String, Arc<Vec<u8>>>,
    runtime: Runtime,
}

pub(crate) fn memory(_: &Path) -> Box<dyn Peer> {
    Box::new(Memory { cache: CacheBuilder::new(ROOM).build(), runtime: runtime() })
}

/// What a miss does.
async fn fetch(key: String) -> Result<Vec<u8>, foyer::Error> {
    Ok(body::run(&key))
}

impl Peer for Memory {
    fn get(&self, key: &str, see: See<'_>) {
        // A hit needs no runtime.
        if let Some(entry) = self.cache.get(key) {
            return see(key, entry.value());
        }
        let fetched = self.runtime.block_on(async {
            let owned = key.to_owned();
            self.cache.get_or_fetch(key, || async { fetch(owned).await.map(Arc::new) }).await
        });
        see(key, fetched.expect("can't fail").value());
    }

    fn fail(&self, key: &str) -> Result<(), String> {
        let owned = key.to_owned();
        let fetched = self.runtime.block_on(async {
            let fetch = async move { body::fails(&owned).map(Arc::new).map_err(std::io::Error::other) };
            self.cache.get_or_fetch(key, || fetch).await
        });
        fetched.map(drop).map_err(|error| error.to_string())
    }
}

struct Hybrid {
    cache: HybridCache<String, Vec<u8>>,
    runtime: Runtime,
}

/// With what its README sets in "fully configured", where that is not throttling or compression; written when inserted,
/// since what was only in memory would be gone with the process.
pub(crate) fn hybrid(dir: &Path) -> Box<dyn Peer> {
    let runtime = runtime();
    let cache = runtime.block_on(async {
        let device = FsDeviceBuilder::new(dir.join("foyer")).with_capacity(1 << 30).build()?;
        HybridCacheBuilder::new()
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .memory(64 << 20)
            .with_weighter(|_, value: &Vec<u8>| value.len())
            .storage()
            .with_engine_config(
                BlockEngineConfig::new(device)
                    .with_flushers(2)
                    .with_reclaimers(2)
                    .with_buffer_pool_size(256 << 20),
            )
            .build()
            .await
    });
    Box::new(Hybrid { cache: cache.expect("a usable directory"), runtime })
}

impl Peer for Hybrid {
    fn get(&self, key: &str, see: See<'_>) {
        let owned = key.to_owned();
        let got = self.runtime.block_on(async { self.cache.get_or_fetch(key, || fetch(owned)).await });
        see(key, got.expect("can't fail").value());
    }

    fn fail(&self, key: &str) -> Result<(), String> {
        let owned = key.to_owned();
        let fetched = self.runtime.block_on(async {
            let fetch = async move { body::fails(&owned).map_err(std::io::Error::other) };
            self.cache.get_or_fetch(key, || fetch).await
        });
        fetched.map(drop).map_err(|error| error.to_string())
    }

    /// Many at a time, as asynchronous code would.
    fn all(&self, keys: &[String], see: See<'_>) {
        for keys in keys.chunks(256) {
            let mut tasks = JoinSet::new();
            for key in keys {
                let (cache, key) = (self.cache.clone(), key.clone());
                let got = async move {
                    let owned = key.clone();
                    cache.get_or_fetch(&key, || fetch(owned)).await.map(|entry| (key, entry))
                };
                tasks.spawn_on(got, self.runtime.handle());
            }
            for got in self.runtime.block_on(tasks.join_all()) {
                let (key, entry) = got.expect("can't fail");
                see(&key, entry.value());
            }
        }
    }

    fn flush(&self) {
        self.runtime.block_on(self.cache.close()).expect("room");
    }
}
