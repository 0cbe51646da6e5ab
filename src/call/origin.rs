//! What a flight knows of itself from the beginning to the end of its run: which call it computes, in which pool, how far it has
//! come.

use super::KeyRef;
use super::engine::{Engine, Home};
use super::key::{Key, SlotKey};
use super::polled::Sleeper;
use super::retry::Course;
use crate::event::Tally;
use crate::flight::Keyed;
use crate::memo::disk::put::Hold;
use crate::memo::history::Fate;
use crate::observe::Span;
use crate::run::Runner;
use crate::sync::atomic::AtomicBool;
use crate::sync::{Arc, OnceLock};

/// Which call a flight computes.
#[derive(Debug)]
pub(crate) struct Origin {
    /// `None`: a spawned closure.
    pub(crate) key: Option<KeyRef>,
    /// The key as the disk knows it: a hash, made once.
    pub(super) digest: OnceLock<Key>,
    pub(crate) tally: Arc<Tally>,
    pub(super) home: Arc<Home>,
    /// The outcome was not computed, but read from disk.
    pub(crate) from_disk: AtomicBool,
    pub(crate) course: Course,
    pub(crate) sleeper: Sleeper,
    /// Its claim among the processes of the directory.
    pub(crate) hold: Hold,
    /// Opened where it was submitted, entered where it runs.
    pub(crate) span: Span,
}

impl Keyed for Origin {
    type Key = SlotKey;

    fn key(&self) -> Option<&SlotKey> {
        self.key.as_ref().map(|key| &key.slot)
    }

    fn ended(&self) {
        self.hold.end();
    }

    fn over(&self) {
        drop(self.hold.take());
    }
}

impl Engine {
    pub(super) fn note(&self, origin: &Origin, fate: Fate) {
        if let Some(key) = &origin.key {
            self.history.note(key.slot.hash(), fate);
        }
    }
}

impl Origin {
    pub(super) fn new(key: Option<KeyRef>, tally: &Arc<Tally>, engine: &Engine) -> Origin {
        let span = Span::of_run(tally.name, key.as_ref());
        Origin {
            key,
            digest: OnceLock::new(),
            tally: Arc::clone(tally),
            home: Arc::clone(&engine.home),
            from_disk: AtomicBool::new(false),
            course: Course::default(),
            sleeper: Sleeper::default(),
            hold: Hold::default(),
            span,
        }
    }

    /// The key as the disk knows it.
    pub(super) fn digest(&self) -> Option<&[u8; 32]> {
        let key = self.key.as_ref()?;
        Some(self.digest.get_or_init(|| key.key()).as_bytes())
    }

    /// What runs its pool's jobs.
    pub(crate) fn runner(&self) -> &Arc<Runner> {
        &self.home.runner
    }

    /// `name(#short-key)`, or the name alone.
    pub(crate) fn label(&self) -> String {
        match &self.key {
            Some(key) => format!("{}(#{})", self.tally.name, key.key().short()),
            None => self.tally.name.to_owned(),
        }
    }

    /// Its call was withdrawn before it ran.
    pub(crate) fn never_ran(&self) {
        if let Some(engine) = self.home.engine.upgrade() {
            engine.note(self, Fate::GivenUp);
        }
    }
}
