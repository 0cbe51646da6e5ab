//! quick_cache: `get_or_insert_with` lets others wait for whoever came first.

use std::path::Path;
use std::sync::Arc;

use quick_cache::sync::Cache;

use super::ROOM;
use crate::body;
use crate::peer::{Peer, See};

struct QuickCache(Cache<String, Arc<Vec<u8>>>);

pub(crate) fn open(_: &Path) -> Box<dyn Peer> {
    Box::new(QuickCache(Cache::new(ROOM)))
}

impl Peer for QuickCache {
    fn get(&self, key: &str, see: See<'_>) {
        let got = self.0.get_or_insert_with::<_, ()>(key, || Ok(Arc::new(body::run(key))));
        see(key, &got.expect("can't fail"));
    }

    fn fail(&self, key: &str) -> Result<(), String> {
        self.0.get_or_insert_with(key, || body::fails(key).map(Arc::new)).map(drop)
    }
}
