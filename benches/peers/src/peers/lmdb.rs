//! LMDB through heed: several processes, its default durability (synced at each commit).

use std::path::Path;

use heed::types::{Bytes, Str};
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions};

use super::store::{Batched, Store};
use crate::peer::{Peer, See};

struct Lmdb {
    /// Open as long as the process.
    env: &'static Env,
    values: Database<'static, Str, Bytes>,
}

#[expect(
    unsafe_code,
    reason = "heed has no safe way to open: the file is mapped, and must not be changed otherwise"
)]
fn database(dir: &Path) -> Lmdb {
    let dir = dir.join("lmdb");
    std::fs::create_dir_all(&dir).expect("room");
    // SAFETY: nobody but LMDB writes to a directory while it is open.
    let env = unsafe { EnvOpenOptions::new().map_size(4 << 30).open(dir) }.expect("a usable directory");
    let env: &Env = Box::leak(Box::new(env));
    let transaction = env.write_txn().expect("a writer");
    let values = env.create_databases_and_commit(transaction, |opener, transaction| {
        opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
    });
    let values = values.expect("a database").unwrap_commit();
    Lmdb { env, values }
}

pub(crate) fn open(dir: &Path) -> Box<dyn Peer> {
    Box::new(Batched { store: database(dir), batch: 256 })
}

pub(crate) fn one(dir: &Path) -> Box<dyn Peer> {
    Box::new(Batched { store: database(dir), batch: usize::MAX })
}

impl Store for Lmdb {
    fn read<'k>(&self, keys: &'k [String], see: See<'_>) -> Vec<&'k String> {
        let transaction = self.env.read_txn().expect("a reader");
        let missing = keys.iter().filter(|key| match self.values.get(&transaction, key) {
            Ok(Some(value)) => {
                see(key, value);
                false
            }
            Ok(None) | Err(_) => true,
        });
        missing.collect()
    }

    fn write(&self, entries: Vec<(&String, Vec<u8>)>) {
        let mut transaction = self.env.write_txn().expect("a writer");
        for (key, value) in entries {
            self.values.put(&mut transaction, key, &value).expect("room");
        }
        transaction.commit().expect("room");
    }
}
