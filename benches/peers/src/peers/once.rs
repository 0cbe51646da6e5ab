//! What people write by hand: a map of `OnceLock`s.
#![expect(clippy::disallowed_types, reason = "this is what they write")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use crate::body;
use crate::peer::{Peer, See};

type Slot = Arc<OnceLock<Vec<u8>>>;

struct Once(Mutex<HashMap<String, Slot>>);

pub(crate) fn open(_: &Path) -> Box<dyn Peer> {
    Box::new(Once(Mutex::default()))
}

impl Once {
    fn slot(&self, key: &str) -> Slot {
        let mut slots = self.0.lock().expect("nothing panics under it");
        match slots.get(key) {
            Some(slot) => Arc::clone(slot),
            None => Arc::clone(slots.entry(key.to_owned()).or_default()),
        }
    }
}

impl Peer for Once {
    fn get(&self, key: &str, see: See<'_>) {
        see(key, self.slot(key).get_or_init(|| body::run(key)));
    }

    /// A `OnceLock` has no initialiser that may fail: nothing is kept, and everyone runs it.
    fn fail(&self, key: &str) -> Result<(), String> {
        body::fails(key).map(drop)
    }
}
