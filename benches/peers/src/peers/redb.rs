//! redb 4: one process, its default durability (`Immediate`).

use std::path::Path;

use redb::{Database, ReadableDatabase, TableDefinition};

use super::store::{Batched, Store};
use crate::peer::{Peer, See};

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");

struct Redb(Database);

fn database(dir: &Path) -> Redb {
    let database = Database::create(dir.join("values.redb")).expect("a database of one process");
    let transaction = database.begin_write().expect("the only writer");
    transaction.open_table(TABLE).expect("a table");
    transaction.commit().expect("room");
    Redb(database)
}

pub(crate) fn open(dir: &Path) -> Box<dyn Peer> {
    Box::new(Batched { store: database(dir), batch: 256 })
}

pub(crate) fn one(dir: &Path) -> Box<dyn Peer> {
    Box::new(Batched { store: database(dir), batch: usize::MAX })
}

impl Store for Redb {
    fn read<'k>(&self, keys: &'k [String], see: See<'_>) -> Vec<&'k String> {
        let transaction = self.0.begin_read().expect("a reader");
        let Ok(table) = transaction.open_table(TABLE) else {
            return keys.iter().collect();
        };
        let missing = keys.iter().filter(|key| match table.get(key.as_str()) {
            Ok(Some(value)) => {
                see(key, value.value());
                false
            }
            Ok(None) | Err(_) => true,
        });
        missing.collect()
    }

    fn write(&self, entries: Vec<(&String, Vec<u8>)>) {
        let transaction = self.0.begin_write().expect("the only writer");
        {
            let mut table = transaction.open_table(TABLE).expect("a table");
            for (key, value) in entries {
                table.insert(key.as_str(), value.as_slice()).expect("room");
            }
        }
        transaction.commit().expect("room");
    }
}
