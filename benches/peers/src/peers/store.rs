//! A function memoized in a database: what is there is read, the rest is computed and written in batches.

use rayon::prelude::*;

use crate::body;
use crate::peer::{Peer, See};

/// A database with transactions.
pub(crate) trait Store: Sync {
    /// Shows what is there; gives back what is not, or can't be read.
    fn read<'k>(&self, keys: &'k [String], see: See<'_>) -> Vec<&'k String>;

    /// All of them in one transaction, safe when this returns.
    fn write(&self, entries: Vec<(&String, Vec<u8>)>);
}

/// A peer from a database.
pub(crate) struct Batched<S> {
    pub(crate) store: S,
    /// Entries in a transaction.
    pub(crate) batch: usize,
}

/// Keys that one thread reads in one transaction.
const READ: usize = 64;

impl<S: Store> Peer for Batched<S> {
    fn get(&self, key: &str, see: See<'_>) {
        let key = key.to_owned();
        for key in self.store.read(std::slice::from_ref(&key), see) {
            let value = body::run(key);
            see(key, &value);
            self.store.write(vec![(key, value)]);
        }
    }

    fn fail(&self, key: &str) -> Result<(), String> {
        let key = key.to_owned();
        match self.store.read(std::slice::from_ref(&key), &|_, _| {}).is_empty() {
            true => Ok(()),
            false => body::fails(&key).map(|value| self.store.write(vec![(&key, value)])),
        }
    }

    fn all(&self, keys: &[String], see: See<'_>) {
        for keys in keys.chunks(self.batch) {
            let missing: Vec<&String> =
                keys.par_chunks(READ).flat_map_iter(|keys| self.store.read(keys, see)).collect();
            let made = missing.into_par_iter().with_min_len(READ).map(|key| (key, body::run(key)));
            let made: Vec<(&String, Vec<u8>)> = made.collect();
            if !made.is_empty() {
                made.iter().for_each(|(key, value)| see(key, value));
                self.store.write(made);
            }
        }
    }

    fn store(&self, mut entries: Vec<(&String, Vec<u8>)>) {
        while !entries.is_empty() {
            let rest = entries.split_off(self.batch.min(entries.len()));
            self.store.write(std::mem::replace(&mut entries, rest));
        }
    }
}
