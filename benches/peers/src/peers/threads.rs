//! Threads without a memory: every call is computed.

use std::path::Path;
use std::sync::mpsc;

use threadpool::ThreadPool;

use crate::body;
use crate::peer::{Peer, See};

struct Rayon;

pub(crate) fn rayon(_: &Path) -> Box<dyn Peer> {
    Box::new(Rayon)
}

impl Peer for Rayon {
    fn get(&self, key: &str, see: See<'_>) {
        see(key, &body::run(key));
    }

    fn fail(&self, key: &str) -> Result<(), String> {
        body::fails(key).map(drop)
    }
}

struct Threads(ThreadPool);

pub(crate) fn threadpool(_: &Path) -> Box<dyn Peer> {
    Box::new(Threads(ThreadPool::default()))
}

impl Peer for Threads {
    fn get(&self, key: &str, see: See<'_>) {
        self.all(&[key.to_owned()], see);
    }

    fn fail(&self, key: &str) -> Result<(), String> {
        let (key, (done, outcome)) = (key.to_owned(), mpsc::channel());
        // A receiver that has left wants nothing more.
        self.0.execute(move || drop(done.send(body::fails(&key))));
        outcome.recv().unwrap_or(Err("panicked".into())).map(drop)
    }

    fn all(&self, keys: &[String], see: See<'_>) {
        let (done, outcomes) = mpsc::channel();
        for key in keys {
            let (key, done) = (key.clone(), done.clone());
            self.0.execute(move || {
                let value = body::run(&key);
                drop(done.send((key, value)));
            });
        }
        drop(done);
        for (key, value) in outcomes {
            see(&key, &value);
        }
    }
}
