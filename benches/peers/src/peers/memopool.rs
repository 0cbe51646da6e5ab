//! This crate: `#[memo]` and a pool.

use std::path::Path;

use memopool::{Disk, Pool, Sync, memo};

use crate::body;
use crate::peer::{Peer, See};

#[memo]
fn value(key: &str) -> Vec<u8> {
    body::run(key)
}

#[memo]
fn failing(key: &str) -> Result<Vec<u8>, String> {
    body::fails(key)
}

struct Memopool(Pool);

pub(crate) fn memory(_: &Path) -> Box<dyn Peer> {
    Box::new(Memopool(Pool::new()))
}

pub(crate) fn disk(dir: &Path) -> Box<dyn Peer> {
    Box::new(Memopool(Pool::open(dir.join("memo")).expect("a usable directory")))
}

pub(crate) fn synced(dir: &Path) -> Box<dyn Peer> {
    let disk = Disk::new(dir.join("memo")).sync(Sync::EachBatch);
    Box::new(Memopool(Pool::builder().disk(disk).build().expect("a usable directory")))
}

impl Peer for Memopool {
    fn get(&self, key: &str, see: See<'_>) {
        see(key, &self.0.run(value::call(key)).expect("can't fail"));
    }

    fn fail(&self, key: &str) -> Result<(), String> {
        self.0.run(failing::call(key)).map(drop).map_err(|error| error.to_string())
    }

    fn all(&self, keys: &[String], see: See<'_>) {
        let calls = keys.iter().map(|key| value::func().call((key.clone(),)));
        for (key, result) in keys.iter().zip(self.0.map(calls)) {
            see(key, &result.expect("can't fail"));
        }
    }

    fn store(&self, entries: Vec<(&String, Vec<u8>)>) {
        let results = entries.into_iter().map(|(key, bytes)| (value::call(key), bytes));
        self.0.insert_all(results).expect("room");
    }

    fn flush(&self) {
        self.0.flush().expect("room");
    }
}
