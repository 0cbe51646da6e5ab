//! The stages of one pool side by side: what every submission to it passes through.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::identity::Identity;
use super::key::SlotKey;
use super::polled::Spawner;
use super::recorded::Recorded;
use super::storage::Stage;
use crate::config::Clock;
use crate::contain::contain;
use crate::error::Error;
use crate::event::{Event, Listener, Stats, Tally, count, tell};
use crate::flight::AnyFlight;
use crate::flight::claim::{Displaced, Slot, Table};
use crate::flight::slots::SlotHash;
use crate::memo::disk::tier::Tier;
use crate::memo::history::{Fate, History};
use crate::memo::memory::{Account, Memory};
use crate::run::{Host, Runner};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use crate::sync::{Arc, RwLock, Weak, wall};

/// The pool's slot table.
pub(super) type Slots = Table<SlotKey, Entry, AnyFlight>;

/// A kept result.
pub(crate) struct Entry {
    /// An `R`, or the [`KeptFailure`](super::hit::KeptFailure) of a function whose errors are kept.
    pub(super) value: Arc<dyn Any + Send + Sync>,
    pub(super) weight: u64,
    /// Nanoseconds since the Unix epoch; 0: never.
    pub(super) expires: u64,
    /// What it took to compute, in nanoseconds.
    pub(super) cost: u64,
    /// When the accountant last heard of a hit; see [`Memory::touch`].
    pub(super) touched: AtomicU32,
    /// Which function's result it is.
    pub(super) owner: u32,
    pub(super) tally: Arc<Tally>,
}

// A key and its slot, side by side in one record: a pair of cache lines, which processors fetch together.
const _: () = assert!(size_of::<(SlotKey, Slot<Entry, AnyFlight>)>() == 128);

/// Writes a result that leaves the memory: made where its type is known. Holds nothing of the user's, since it stays as long as
/// the pool does.
pub(super) type Spiller = Arc<dyn Fn(&Tier, &SlotKey, &Entry, u64) + Send + Sync>;

/// See the [module](self).
pub(crate) struct Engine {
    pub(super) home: Arc<Home>,
    pub(crate) runner: Arc<Runner>,
    pub(super) slots: Arc<Slots>,
    pub(super) memory: Memory,
    pub(super) history: History,
    /// `None`: nothing outlives the process.
    pub(crate) disk: Option<Arc<Tier>>,
    clock: Arc<dyn Clock>,
    /// It panicked once, which was told.
    clock_failed: AtomicBool,
    pub(super) on_event: Option<Listener>,
    /// The pool ends, or has ended: what a hit is to see of it.
    pub(super) ended: AtomicBool,
    tallies: RwLock<BTreeMap<u32, Arc<Tally>>>,
    spillers: RwLock<BTreeMap<u32, Spiller>>,
    /// What `spawn` runs: not part of the statistics of calls, nor counted.
    pub(super) spawned: Arc<Tally>,
    /// Who polls async bodies; `None`: the pool's own threads.
    pub(super) spawner: Option<Spawner>,
    /// What the report is made from, beyond the tallies.
    #[cfg(feature = "report")]
    pub(crate) recorder: crate::report::record::Recorder,
    /// How many `Pool`s refer to this.
    pub(crate) handles: AtomicUsize,
    /// After the disk, which may read what this owns.
    pub(crate) recorded: Recorded,
}

impl Engine {
    pub(crate) fn new(
        runner: Arc<Runner>,
        memory: u64,
        disk: Option<Arc<Tier>>,
        clock: Arc<dyn Clock>,
        on_event: Option<Listener>,
        spawner: Option<Spawner>,
        recorded: Recorded,
    ) -> Arc<Engine> {
        Arc::new_cyclic(|this: &Weak<Engine>| Engine {
            home: Arc::new(Home { engine: this.clone(), runner: Arc::clone(&runner) }),
            runner,
            slots: Arc::new(Table::new()),
            memory: Memory::new(memory),
            history: History::new(),
            disk,
            clock,
            clock_failed: AtomicBool::new(false),
            on_event,
            ended: AtomicBool::new(false),
            tallies: RwLock::default(),
            spillers: RwLock::default(),
            spawner,
            #[cfg(feature = "report")]
            recorder: crate::report::record::Recorder::new(),
            handles: AtomicUsize::new(1),
            recorded,
            spawned: Arc::new(Tally::new("a spawned closure")),
        })
    }

    /// Ends the pool, as [`Runner::close`] does. Returns at once.
    pub(crate) fn close(&self, refuse_all: bool) {
        self.ended.store(true, Ordering::Relaxed);
        self.runner.close(refuse_all);
    }

    /// Whether the pool may end only after this thread has polled what is left: it is the only one of an async runtime.
    pub(crate) fn needs_this_thread(&self) -> bool {
        #[cfg(feature = "tokio")]
        if self.spawner.is_some()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            return runtime.metrics().num_workers() == 1 && !self.runner.is_over();
        }
        false
    }

    /// The function's tally in this pool.
    pub(super) fn tally(&self, identity: &'static Identity) -> Arc<Tally> {
        if let Some(tally) = self.tallies.read().get(&identity.id) {
            return Arc::clone(tally);
        }
        let mut tallies = self.tallies.write();
        let tally = tallies.entry(identity.id).or_insert_with(|| Arc::new(Tally::new(identity.name)));
        Arc::clone(tally)
    }

    /// For tests of what only needs one.
    #[cfg(all(test, feature = "testing"))]
    pub(crate) fn any_tally(&self) -> Arc<Tally> {
        Arc::clone(&self.spawned)
    }

    /// Whether there is a listener.
    pub(super) fn is_heard(&self) -> bool {
        self.on_event.is_some()
    }

    /// Tells the listener.
    pub(super) fn emit(&self, event: &Event<'_>) {
        tell(self.on_event.as_ref(), event);
    }

    /// The clock's time in nanoseconds since the Unix epoch.
    pub(super) fn now(&self) -> u64 {
        nanos(self.clock().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// The clock's time; the system's, where the clock panics: which is told the first time.
    pub(crate) fn clock(&self) -> SystemTime {
        contain(|| self.clock.now()).unwrap_or_else(|message| {
            if !self.clock_failed.swap(true, Ordering::Relaxed) {
                self.emit(&Event::HookPanicked { message: &format!("the clock: {message}") });
            }
            wall()
        })
    }

    /// Counts a new entry and makes room for it. The slot is filled already.
    pub(super) fn account(&self, key: &SlotKey, generation: u64, weight: u64, tally: &Tally) {
        tally.entries.fetch_add(1, Ordering::Relaxed);
        tally.bytes.fetch_add(weight, Ordering::Relaxed);
        self.memory.insert(
            Account { hash: key.hash(), generation, weight },
            &|hash, generation| self.slots.holds(hash, generation),
            &mut |account| match self.slots.evict(account.hash, account.generation) {
                Some((key, slot)) => {
                    self.history.note(account.hash, Fate::Evicted);
                    if let Some(entry) = slot.into_entry() {
                        self.spill(&key, &entry);
                        count(&entry.tally.evicted);
                        self.emit(&Event::Evicted { function: entry.tally.name, weight: entry.weight });
                        Self::discard(entry);
                    }
                    true
                }
                None => false,
            },
        );
    }

    /// What leaves the memory goes to the disk, if that is how the disk is meant.
    fn spill(&self, key: &SlotKey, entry: &Entry) {
        let Some(disk) = self.disk.as_ref().filter(|disk| disk.takes_evicted()) else { return };
        let spiller = self.spillers.read().get(&entry.owner).cloned();
        if let Some(spiller) = spiller {
            spiller(disk, key, entry, self.now());
        }
    }

    /// How results of that owner are written when they leave the memory. `make` gives `None` if they are not.
    pub(super) fn spiller(&self, owner: u32, make: impl FnOnce() -> Option<Spiller>) {
        if self.disk.as_ref().is_some_and(|disk| disk.takes_evicted())
            && !self.spillers.read().contains_key(&owner)
            && let Some(spiller) = make()
        {
            self.spillers.write().entry(owner).or_insert(spiller);
        }
    }

    /// Where a run begins. (Not with the disk: this is asked by whoever submits.)
    pub(super) fn first_stage(&self, stored: bool, refresh: bool) -> Stage {
        match &self.disk {
            Some(_) if stored && refresh => Stage::Forget,
            Some(_) if stored => Stage::Look,
            _ => Stage::Compute,
        }
    }

    /// A slot was taken out by its owner.
    pub(super) fn displaced(&self, hash: u64, slot: Displaced<Entry, AnyFlight>, fate: Fate) {
        self.note_displaced(hash, &slot, fate);
        self.drop_displaced(hash, slot);
    }

    /// What is to be known of it at once: why, and that its run has no claim any more.
    pub(super) fn note_displaced(&self, hash: u64, slot: &Displaced<Entry, AnyFlight>, fate: Fate) {
        let Some(slot) = slot else { return };
        if let Some(run) = slot.running() {
            run.flight.ended();
        }
        self.history.note(hash, fate);
    }

    /// Its entry is no longer counted, and dropped here: that is user code.
    pub(super) fn drop_displaced(&self, hash: u64, slot: Displaced<Entry, AnyFlight>) {
        let Some(slot) = slot else { return };
        let generation = slot.generation();
        if let Some(entry) = slot.into_entry() {
            self.memory.remove(Account { hash, generation, weight: entry.weight });
            Self::discard(entry);
        }
    }

    /// Drops an entry; its value's `Drop` is user code.
    fn discard(entry: Entry) {
        entry.tally.entries.fetch_sub(1, Ordering::Relaxed);
        entry.tally.bytes.fetch_sub(entry.weight, Ordering::Relaxed);
        let _ = contain(|| drop(entry));
    }

    /// Forgets everything, or everything of one owner.
    pub(crate) fn forget_all(&self, owner: Option<u32>) -> Result<(), Error> {
        // First on disk: who reads there afterwards finds nothing, and who has read before is in a slot, or is told.
        let forgotten = match (&self.disk, owner) {
            (None, _) => Ok(None),
            (Some(disk), None) => disk.clear().map(Some),
            (Some(disk), Some(owner)) => disk.forget_function(owner.to_le_bytes()).map(|()| None),
        };
        if owner.is_none() {
            // So that the accountant does not look for what is about to be taken out.
            self.memory.clear();
        }
        let mine = |of: u32| owner.is_none_or(|owner| owner == of);
        for (hash, slot) in self.slots.drain(|entry| mine(entry.owner), |run| mine(run.owner)) {
            self.displaced(hash, Some(slot), Fate::Forgotten);
        }
        if let (Some(disk), Some(cleared)) = (&self.disk, forgotten?) {
            disk.opens_anew(cleared);
        }
        Ok(())
    }

    pub(crate) fn stats(&self) -> Stats {
        let parts: Vec<Stats> = self.tallies.read().values().map(|tally| tally.stats()).collect();
        let mut stats = Stats::sum(&parts);
        stats.threads = self.runner.threads() as u64;
        stats.queued = self.runner.queued() as u64;
        stats.running = self.runner.running() as u64;
        stats.stuck = self.runner.stuck() as u64;
        if let Some(disk) = &self.disk {
            disk.add_to(&mut stats);
        }
        stats
    }

    #[cfg(feature = "report")]
    pub(super) fn tallies(&self) -> Vec<Arc<Tally>> {
        self.tallies.read().values().cloned().collect()
    }

    pub(crate) fn stats_by_func(&self) -> BTreeMap<String, Stats> {
        let tallies = self.tallies.read();
        Stats::by_name(tallies.values().map(|tally| (tally.name.to_owned(), tally.stats())))
    }
}

/// The way from a run to its pool. A handle, which outlives the pool, holds it; a run does not count the pool itself twice.
#[derive(Debug)]
pub(crate) struct Home {
    pub(super) engine: Weak<Engine>,
    pub(super) runner: Arc<Runner>,
}

impl Host for Engine {
    fn runner(&self) -> &Arc<Runner> {
        &self.runner
    }
}

/// Whole nanoseconds, as many as fit (584 years).
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl SlotHash for SlotKey {
    #[inline]
    fn slot_hash(&self) -> u64 {
        self.hash()
    }
}
