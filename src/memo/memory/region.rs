//! The main region of the memory tier: moka, and what it takes to steer it.
//!
//! **The ballast.** When our own count is over the bound although moka keeps its share of it (the newest value is heavier
//! than the window's share), a *ballast* entry of the missing weight is put into moka, which then lets go what it used
//! least recently. The ballast stays for a while and shrinks: the room must not fall to whatever comes next without a
//! contest (20 B to 8 KiB in a cache of 100 mean weights: 22.6 % hits without a lasting ballast, 30.9 % with it).
//!
//! **The frequency sketch.** With a weigher, moka sizes its sketch once, when half full, as entries x used share:
//! a quarter of what a full cache holds, and it forgets four times too fast. So before its first real entry, moka gets
//! *primers*: entries without weight, some of which are then made so heavy that this very product is
//! the number we want; they leave at once. Should a release of moka size the sketch otherwise, nothing breaks but the
//! hit ratio, and the test `sketch_is_large_enough` says so. When the entries outgrow the sketch (later values are much
//! lighter), the main region is built anew from its accounts.

use std::hash::{BuildHasherDefault, Hasher};

use crossbeam_channel::Sender;
use moka::notification::RemovalCause;
use moka::sync::Cache;

use super::{Account, Leaving, WINDOW_SHARE};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Mutex};

/// The slack is one part of the bound in this many. Smaller: maintenance more often than each 64 insertions.
const SLACK_SHARE: u64 = 64;
/// moka counts weights in `u32`: the bound is divided into at most this many units.
const UNITS: u64 = 1 << 28;
/// The sketch is never sized for more entries than this (8 bytes each).
pub(super) const SKETCH_MAX: u64 = 1 << 24;
/// Primers that become heavy. moka must see them in one batch, which has 64.
const HEAVY_PRIMERS: u32 = 32;
/// The ballast keeps at most one part of moka's capacity in this many after a squeeze ...
const BALLAST_SHARE: u64 = 4;
/// ... and loses one part in this many per epoch.
const BALLAST_DECAY: u32 = 32;
/// moka's key of the ballast. A real entry of this hash would only be evicted early.
const BALLAST: u64 = u64::MAX;
/// The generation of the ballast and the primers, which the listener passes over.
const PHANTOM: u64 = u64::MAX;

/// The main region: moka, and what it takes to steer it.
pub(super) struct Main {
    pub(super) moka: Cache<u64, Held, BuildHasherDefault<Identity>>,
    /// Bytes per unit of moka's weights.
    unit: u64,
    /// In units.
    capacity: u64,
    /// Entries that the sketch was sized for.
    pub(super) expected: u64,
    /// Set before the accounts are read for a new main region.
    pub(super) retired: AtomicBool,
    /// Units of the ballast. Held across moka calls, one squeeze at a time: two would free twice what is too much.
    ballast: Mutex<u32>,
    /// Whether there is a ballast, to be read without its lock.
    loaded: AtomicBool,
}

/// What moka holds under a hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    generation: u64,
    weight: u64,
    units: u32,
}

impl Held {
    fn phantom(units: u32) -> Held {
        Held { generation: PHANTOM, weight: 0, units }
    }

    fn account(self, hash: u64) -> Option<Account> {
        let Held { generation, weight, .. } = self;
        (generation != PHANTOM).then_some(Account { hash, generation, weight })
    }
}

impl Main {
    pub(super) fn new(bound: u64, expected: u64, leaving: Sender<Leaving>) -> Main {
        let unit = bound.div_ceil(UNITS).max(1);
        let capacity = ((bound - bound / WINDOW_SHARE - bound / SLACK_SHARE) / unit).max(1);
        let moka = Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, held: &Held| held.units)
            .eviction_listener(move |hash: Arc<u64>, held: Held, cause| {
                if let Some(account) = held.account(*hash) {
                    let _ = leaving.send(Leaving { account, replaced: cause == RemovalCause::Replaced });
                }
            })
            .build_with_hasher(BuildHasherDefault::default());
        let main = Main {
            moka,
            unit,
            capacity,
            expected,
            retired: AtomicBool::new(false),
            ballast: Mutex::new(0),
            loaded: AtomicBool::new(false),
        };
        main.prime();
        main
    }

    /// Has moka size its sketch for `expected` entries: it takes entries x weight / capacity, once the weight is half
    /// the capacity. A million entries take 2 000 primers, some 4 ms.
    fn prime(&self) {
        let heavy = u64::from(HEAVY_PRIMERS);
        let primers = self.expected.div_ceil(heavy * (u64::from(u32::MAX) / self.capacity)).max(heavy);
        let units = u128::from(self.expected) * u128::from(self.capacity) / u128::from(primers * heavy);
        let units = u64::try_from(units).unwrap_or(u64::MAX).max(self.capacity / heavy + 1);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        (0..primers).for_each(|key| self.moka.insert(key, Held::phantom(0)));
        self.moka.run_pending_tasks();
        (0..heavy).for_each(|key| self.moka.insert(key, Held::phantom(units)));
        self.moka.run_pending_tasks();
        (0..primers).for_each(|key| self.moka.invalidate(&key));
        self.moka.run_pending_tasks();
    }

    pub(super) fn insert(&self, account: Account) {
        let units = u32::try_from(account.weight.div_ceil(self.unit).max(1)).unwrap_or(u32::MAX);
        let Account { hash, generation, weight } = account;
        self.moka.insert(hash, Held { generation, weight, units });
    }

    pub(super) fn remove(&self, account: Account) {
        if self.holds(account) {
            self.moka.invalidate(&account.hash);
        }
    }

    pub(super) fn holds(&self, account: Account) -> bool {
        self.moka.get(&account.hash).is_some_and(|held| held.generation == account.generation)
    }

    pub(super) fn count_use(&self, hash: u64) {
        let _ = self.moka.get(&hash);
    }

    /// No more entries are coming, and those that came are needed elsewhere.
    pub(super) fn retire(&self) -> Vec<Account> {
        self.retired.swap(true, Ordering::AcqRel);
        self.moka.iter().filter_map(|(hash, held)| held.account(*hash)).collect()
    }

    /// Makes moka let go of `over` bytes, least recently used first. `false`: it has nothing left.
    pub(super) fn squeeze(&self, over: impl Fn() -> u64) -> bool {
        let mut ballast = self.ballast.lock();
        let over = over().div_ceil(self.unit);
        if over == 0 {
            return true;
        }
        if self.moka.entry_count() <= u64::from(self.moka.contains_key(&BALLAST)) {
            return false;
        }
        if !self.moka.contains_key(&BALLAST) {
            // Without weight it is let in at once; a change of weight is not asked about.
            self.moka.insert(BALLAST, Held::phantom(0));
            self.moka.run_pending_tasks();
            *ballast = 0;
        }
        let room = self.capacity.saturating_sub(self.moka.weighted_size());
        *ballast = u32::try_from(u64::from(*ballast) + room + over).unwrap_or(u32::MAX);
        self.moka.insert(BALLAST, Held::phantom(*ballast));
        self.moka.run_pending_tasks();
        let most = u32::try_from(self.capacity / BALLAST_SHARE).unwrap_or(u32::MAX);
        if *ballast > most {
            *ballast = most;
            self.moka.insert(BALLAST, Held::phantom(most));
        }
        self.loaded.store(*ballast > 0, Ordering::Relaxed);
        true
    }

    /// Keeps the ballast among the recently used, and takes a little off it at the end of an epoch.
    pub(super) fn keep_ballast(&self, epoch_ends: bool) {
        if !self.loaded.load(Ordering::Relaxed) {
            return;
        }
        self.count_use(BALLAST);
        if epoch_ends {
            let mut ballast = self.ballast.lock();
            *ballast -= ballast.div_ceil(BALLAST_DECAY);
            self.moka.insert(BALLAST, Held::phantom(*ballast));
            self.loaded.store(*ballast > 0, Ordering::Relaxed);
        }
    }
}

/// The accounts' hashes are hashes already.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
