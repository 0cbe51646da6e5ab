//! The accountant of the memory tier: it knows what every stored value weighs and says which must leave.
//!
//! The values live in the slot table; here are only accounts (hash, generation, weight).
//!
//! ```text
//!            insert                pushed out                moka lets go
//!   (new) ----------->  Window  ---------------->  Main  ----------------->  leaving  ---> evict(account)
//!                         |  oldest, moka's room used up                        ^
//!                         +-----------------------------------------------------+
//! ```
//!
//! | state   | where                        | leaves it by                                           | under           |
//! |---------|------------------------------|--------------------------------------------------------|-----------------|
//! | Window  | FIFO of the newest entries   | an insertion that finds the window over its share      | `window`        |
//! | Main    | moka, `hash -> Held`         | moka's policy, or its owner (`remove`, `clear`)        | moka's own      |
//! | leaving | queue, filled by the listener| an insertion, which calls `evict` for it               | no lock at all  |
//!
//! - **No live slot is unknown.** A slot is filled before its account is inserted, and an account moves on only by
//!   being handed to the next state. A dead account (its slot was removed by the owner) may stay behind: it is
//!   dropped when it is pushed out of the window, and `evict` returns `false` for it.
//! - **Bytes are subtracted once**, by whoever took the slot away: `evict` that returned `true`, or the owner, who
//!   then calls `remove`.
//! - **The listener only sends.** It runs inside moka's maintenance, takes no lock of ours, and can't panic. Hence
//!   `Main::ballast` may be held across moka calls; `window` never is, and neither is held while `alive` or `evict` run.
//! - **The newest entry stays.** A fresh value is never turned away by admission at once: it enters the window, which
//!   keeps at least its newest entry whatever that weighs, and meets moka's admission only when it is pushed out.
//! - **Until half the bound is used there is no moka.** Nothing has to leave, so the window simply grows. Then the
//!   number of entries that a full cache will hold is known, and moka is built for it (see below). The window hands
//!   over its oldest entries, a few per insertion.
//!
//! **Hits** are told in passing: a slot remembers the epoch of its last report, an epoch lasts [`EPOCH_STEP`]
//! insertions, and the first hit in each goes into a bounded queue (full: dropped), which insertions pass on to moka.
//! Steps of 1, 16, 64 and 256 gave the same hit ratios within 0.4 points.
//!
//! **The bound** is kept by our own count. moka may hold the bound less the window's share and a slack, so that an
//! insertion seldom has to run its maintenance. When that is not enough (the newest value is heavier than the
//! window's share), a *ballast* entry of the missing weight is put into moka, which then lets go what it used least
//! recently. The ballast stays for a while and shrinks: the room must not fall to whatever comes next without a
//! contest (20 B to 8 KiB in a cache of 100 mean weights: 22.6 % hits without a lasting ballast, 30.9 % with it).
//!
//! **The frequency sketch.** With a weigher, moka sizes its sketch once, when half full, as entries x used share:
//! a quarter of what a full cache holds, and it forgets four times too fast. So before its first real entry, moka gets
//! *primers*: entries without weight, some of which are then made so heavy that this very product is
//! the number we want; they leave at once. Should a release of moka size the sketch otherwise, nothing breaks but the
//! hit ratio, and the test `sketch_is_large_enough` says so. When the entries outgrow the sketch (later values are much
//! lighter), the main region is built anew from its accounts.
//!
//! **Figures** (two shared cores, an x86-64 guest). Hits in percent, Zipf 0.9 over 100 000 keys, a million requests; in the
//! scan trace, 5 000 sequential keys follow each 10 000 requests; the last one deals the ranks anew each 200 000 requests.
//! Capacity in parts of the keys; "mixed" is 20 B to 8 KiB by key. moka without a weigher has no byte bound (--).
//!
//! | trace, weights     | 0.1 %: moka, weigher, ours | 1 %: moka, weigher, ours | 10 %: moka, weigher, ours |
//! |--------------------|----------------------------|--------------------------|---------------------------|
//! | Zipf, equal        | 24.9, 24.9, 26.0           | 43.2, 39.3, 44.7         | 67.1, 63.6, 67.2          |
//! | Zipf, mixed        |   --, 34.6, 34.2           |   --, 45.5, 52.3         |   --, 67.6, 72.1          |
//! | with scans, equal  | 15.8, 15.8, 16.4           | 27.2, 24.0, 28.8         | 43.4, 39.8, 43.6          |
//! | with scans, mixed  |   --, 22.6, 21.7           |   --, 29.8, 34.6         |   --, 44.5, 45.2          |
//! | new ranks, equal   | 24.9, 24.9, 26.0           | 42.3, 39.1, 43.4         | 59.8, 61.1, 58.4          |
//! | new ranks, mixed   |   --, 34.2, 33.5           |   --, 48.7, 47.1         |   --, 65.3, 64.0          |
//!
//! The sketch remembers half as long again as moka's own without a weigher: better for what is asked again and again, worse
//! when everything changes at once (last two rows).
//!
//! A hit costs 0.7 ns, the first of its epoch 10 ns. An insertion of a new key, 10 000 entries: 0.18 us until half
//! full, 1.9 us from there (four entries move per insertion for a while), 2.0 us when full; `moka.insert` alone 0.3
//! while filling and 0.8 us when full, with weigher and listener 0.6 and 1.4 us. Memory: 24 to 48 bytes per entry until
//! half full, then 290 (moka alone 250).

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use crossbeam_channel::{Receiver, Sender};
use crossbeam_utils::CachePadded;
use moka::notification::RemovalCause;
use moka::sync::Cache;

use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};

/// Insertions per epoch: an entry reports at most one hit per epoch. Smaller: more work for hits.
const EPOCH_STEP: u64 = 64;
/// Reported hits that wait for an insertion; more are dropped.
const TOUCHED: usize = 4096;
/// Waiting hits that one insertion passes on to moka.
const TOUCHED_PER_INSERT: usize = 64;
/// The window may use one part of the bound in this many, or hold one entry.
const WINDOW_SHARE: u64 = 100;
/// The most entries in the window, however light.
const WINDOW_ENTRIES: usize = 1024;
/// Entries that one insertion moves from the window to moka; more than one, so that a long window shrinks.
const MOVES_PER_INSERT: usize = 4;
/// The slack is one part of the bound in this many. Smaller: maintenance more often than each 64 insertions.
const SLACK_SHARE: u64 = 64;
/// moka counts weights in `u32`: the bound is divided into at most this many units.
const UNITS: u64 = 1 << 28;
/// The sketch is never sized for more entries than this (8 bytes each).
const SKETCH_MAX: u64 = 1 << 24;
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

/// One stored value, as the accountant knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    /// Well mixed; two keys may share it (one of them may then be evicted early).
    pub(crate) hash: u64,
    /// Which filling of the slot; never [`u64::MAX`].
    pub(crate) generation: u64,
    /// Bytes.
    pub(crate) weight: u64,
}

/// Decides which values must leave the memory tier. See the module's page.
pub(crate) struct Memory {
    bound: u64,
    /// Read by every hit, so it has a cache line to itself.
    epoch: CachePadded<AtomicU32>,
    /// Both counts may be below zero for a moment: `remove` can overtake `insert`.
    bytes: AtomicU64,
    entries: AtomicU64,
    inserted: AtomicU64,
    window: Mutex<Window>,
    touched: (Sender<u64>, Receiver<u64>),
    leaving: (Sender<Leaving>, Receiver<Leaving>),
}

#[derive(Default)]
struct Window {
    queue: VecDeque<Account>,
    bytes: u64,
    /// `None` until half the bound is used.
    main: Option<Arc<Main>>,
    /// Somebody is at work on a (new) main region.
    building: bool,
}

/// What an insertion takes with it from under the window's lock.
struct Step {
    main: Option<Arc<Main>>,
    out: [Option<Account>; MOVES_PER_INSERT],
    build: bool,
    purge: bool,
}

/// An entry that moka has let go.
struct Leaving {
    account: Account,
    /// Another account came under the same hash: perhaps the same one again.
    replaced: bool,
}

impl Memory {
    /// An accountant for at most `bound` bytes; with 0 nothing is kept.
    pub(crate) fn new(bound: u64) -> Memory {
        Memory {
            bound,
            epoch: CachePadded::new(AtomicU32::new(1)),
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            inserted: AtomicU64::new(0),
            window: Mutex::default(),
            touched: crossbeam_channel::bounded(TOUCHED),
            leaving: crossbeam_channel::unbounded(),
        }
    }

    /// The most bytes that are kept.
    pub(crate) fn bound(&self) -> u64 {
        self.bound
    }

    /// The bytes of all values stored now.
    pub(crate) fn bytes(&self) -> u64 {
        not_negative(self.bytes.load(Ordering::Acquire))
    }

    /// The number of values stored now.
    pub(crate) fn entries(&self) -> u64 {
        not_negative(self.entries.load(Ordering::Acquire))
    }

    /// Whether a value of this weight can be stored at all.
    pub(crate) fn fits(&self, weight: u64) -> bool {
        self.bound > 0 && weight <= self.bound
    }

    /// Reports a hit, once per entry and epoch. `touched` lives in the slot and starts at 0.
    #[inline]
    pub(crate) fn touch(&self, touched: &AtomicU32, hash: u64) {
        let epoch = self.epoch.load(Ordering::Relaxed);
        if touched.load(Ordering::Relaxed) != epoch {
            touched.store(epoch, Ordering::Relaxed);
            self.report(hash);
        }
    }

    /// Apart from `touch`, so that a hit stays two loads and a compare.
    #[cold]
    fn report(&self, hash: u64) {
        // Full: the report is lost, which costs a little of the hit ratio and nothing else.
        let _ = self.touched.0.try_send(hash);
    }

    /// Counts a value whose slot has just been filled, and evicts until the bound holds.
    ///
    /// `alive(hash, generation)` says whether that slot still holds that generation; `evict` empties it if so, and
    /// says whether it did. Neither is called under a lock; neither may panic.
    pub(crate) fn insert(
        &self,
        account: Account,
        alive: &dyn Fn(u64, u64) -> bool,
        evict: &mut dyn FnMut(Account) -> bool,
    ) {
        self.bytes.fetch_add(account.weight, Ordering::AcqRel);
        self.entries.fetch_add(1, Ordering::AcqRel);
        if !self.fits(account.weight) {
            return self.take_out(account, evict);
        }
        let epoch_ends = self.inserted.fetch_add(1, Ordering::Relaxed) % EPOCH_STEP == EPOCH_STEP - 1;
        if epoch_ends {
            self.epoch.fetch_add(1, Ordering::Relaxed);
        }
        let step = self.push(account, epoch_ends);
        if let Some(main) = &step.main {
            main.keep_ballast(epoch_ends);
            main.count_use(account.hash); // the miss; or new entries lose every tie
            self.touched.1.try_iter().take(TOUCHED_PER_INSERT).for_each(|hash| main.count_use(hash));
            step.out.into_iter().flatten().for_each(|account| self.offer(main, account, alive));
        }
        if step.build {
            self.build();
        }
        if step.purge {
            self.purge(alive);
        }
        self.drain(step.main.as_deref(), evict);
        if self.over() > 0 {
            self.enforce(evict);
        }
    }

    /// Stops counting a value that its owner took out of the slot (forgotten, expired, replaced).
    pub(crate) fn remove(&self, account: Account) {
        self.subtract(account);
        let main = self.window.lock().main.clone();
        if let Some(main) = main {
            main.remove(account);
        }
    }

    /// Lets every entry go, to begin anew. Bytes are counted until the slots are gone: the owner takes them out
    /// *afterwards* and calls `remove` for each; what it leaves, the next insertion evicts.
    pub(crate) fn clear(&self) {
        let (queue, main) = {
            let mut window = self.window.lock();
            window.bytes = 0;
            (std::mem::take(&mut window.queue), window.main.clone())
        };
        queue.into_iter().for_each(|account| self.leave(account));
        if let Some(main) = main {
            main.moka.iter().for_each(|(hash, _)| main.moka.invalidate(&*hash));
        }
    }

    /// Window: the new entry goes in, the oldest come out.
    fn push(&self, account: Account, epoch_ends: bool) -> Step {
        let mut window = self.window.lock();
        window.push_newest(account);
        let mut step =
            Step { main: window.main.clone(), out: [None; MOVES_PER_INSERT], build: false, purge: false };
        match &step.main {
            // Values of no weight count, too, or they would never come to an end.
            None => step.build = self.bytes() + self.entries() >= self.bound / 2,
            Some(main) => {
                step.build = epoch_ends && main.expected < SKETCH_MAX && self.entries() / 2 > main.expected;
                step.out.iter_mut().for_each(|out| *out = window.pop_if_over(self.bound));
            }
        }
        step.build &= !window.building;
        window.building |= step.build;
        // Forgotten entries stay in a window that has no reason to push them out.
        step.purge = window.queue.len() as u64 > 2 * self.entries() + WINDOW_ENTRIES as u64;
        step
    }

    /// Window -> Main, for an entry that still lives; asked again afterwards, because `remove` may have come too early.
    fn offer(&self, main: &Arc<Main>, account: Account, alive: &dyn Fn(u64, u64) -> bool) {
        if !alive(account.hash, account.generation) {
            return;
        }
        main.insert(account);
        if !alive(account.hash, account.generation) {
            main.remove(account);
        }
        // A read-modify-write, so that either it sees the flag or `retire` sees the entry.
        if main.retired.fetch_or(false, Ordering::AcqRel) {
            // `build` may have read its accounts before this one came.
            self.window.lock().push_oldest(account);
        }
    }

    /// Builds the main region, or a larger one, whose entries then come from the window again.
    #[cold]
    fn build(&self) {
        let used = (self.bytes() + self.entries()).max(1);
        let expected = u128::from(self.entries()) * u128::from(self.bound) / u128::from(used);
        // Half as many again: measured, see the figures.
        let expected = u64::try_from(expected * 3 / 2).unwrap_or(u64::MAX).min(SKETCH_MAX);
        let main = Arc::new(Main::new(self.bound, expected, self.leaving.0.clone()));
        let old = self.window.lock().main.replace(main);
        let accounts: Vec<Account> = old.iter().flat_map(|old| old.retire()).collect();
        let mut window = self.window.lock();
        accounts.into_iter().for_each(|account| window.push_oldest(account));
        window.building = false;
    }

    /// Drops dead accounts from a window that has more of them than live ones.
    #[cold]
    fn purge(&self, alive: &dyn Fn(u64, u64) -> bool) {
        let mut queue = {
            let mut window = self.window.lock();
            window.bytes = 0;
            std::mem::take(&mut window.queue)
        };
        queue.retain(|account| alive(account.hash, account.generation));
        let mut window = self.window.lock();
        queue.into_iter().rev().for_each(|account| window.push_oldest(account));
    }

    /// leaving -> evicted.
    fn drain(&self, main: Option<&Main>, evict: &mut dyn FnMut(Account) -> bool) {
        for Leaving { account, replaced } in self.leaving.1.try_iter() {
            // The same account twice: the later one stands for the slot.
            if !(replaced && main.is_some_and(|main| main.holds(account))) {
                self.take_out(account, evict);
            }
        }
    }

    /// Evicts until the bound holds, or until only the newest entry is left.
    #[cold]
    fn enforce(&self, evict: &mut dyn FnMut(Account) -> bool) {
        let main = self.window.lock().main.clone();
        // What moka lets go may be dead, or weigh less than its unit: each round asks for twice as much.
        for round in 0..u64::BITS {
            if let Some(main) = &main {
                main.moka.run_pending_tasks();
            }
            self.drain(main.as_deref(), evict);
            // A long window means that moka is being built, or filled: it has little to spare.
            self.shorten(|window| window.pop_if_over(self.bound), evict);
            let over = || self.over().saturating_mul(1 << round).min(self.bound);
            if over() == 0 || !main.as_ref().is_some_and(|main| main.squeeze(over)) {
                break;
            }
        }
        self.drain(main.as_deref(), evict);
        self.shorten(Window::pop, evict);
    }

    /// Evicts the window's oldest entries until the bound holds.
    fn shorten(&self, pop: impl Fn(&mut Window) -> Option<Account>, evict: &mut dyn FnMut(Account) -> bool) {
        while self.over() > 0 {
            let oldest = pop(&mut self.window.lock());
            let Some(account) = oldest else { return };
            self.take_out(account, evict);
        }
    }

    fn over(&self) -> u64 {
        self.bytes().saturating_sub(self.bound)
    }

    fn take_out(&self, account: Account, evict: &mut dyn FnMut(Account) -> bool) {
        if evict(account) {
            self.subtract(account);
        }
    }

    fn leave(&self, account: Account) {
        let _ = self.leaving.0.send(Leaving { account, replaced: false });
    }

    fn subtract(&self, account: Account) {
        self.bytes.fetch_sub(account.weight, Ordering::AcqRel);
        self.entries.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("bound", &self.bound)
            .field("bytes", &self.bytes())
            .field("entries", &self.entries())
            .finish_non_exhaustive()
    }
}

fn not_negative(count: u64) -> u64 {
    u64::try_from(count.cast_signed()).unwrap_or(0)
}

impl Window {
    fn push_newest(&mut self, account: Account) {
        self.bytes += account.weight;
        self.queue.push_back(account);
    }

    fn push_oldest(&mut self, account: Account) {
        self.bytes += account.weight;
        self.queue.push_front(account);
    }

    /// The oldest entry, but never the only one.
    fn pop(&mut self) -> Option<Account> {
        if self.queue.len() < 2 {
            return None;
        }
        let account = self.queue.pop_front()?;
        self.bytes -= account.weight;
        Some(account)
    }

    fn pop_if_over(&mut self, bound: u64) -> Option<Account> {
        let over = self.bytes > bound / WINDOW_SHARE || self.queue.len() > WINDOW_ENTRIES;
        if over { self.pop() } else { None }
    }
}

/// The main region: moka, and what it takes to steer it.
struct Main {
    moka: Cache<u64, Held, BuildHasherDefault<Identity>>,
    /// Bytes per unit of moka's weights.
    unit: u64,
    /// In units.
    capacity: u64,
    /// Entries that the sketch was sized for.
    expected: u64,
    /// Set before the accounts are read for a new main region.
    retired: AtomicBool,
    /// Units of the ballast. Held across moka calls, one squeeze at a time: two would free twice what is too much.
    ballast: Mutex<u32>,
    /// Whether there is a ballast, to be read without its lock.
    loaded: AtomicBool,
}

/// What moka holds under a hash.
#[derive(Debug, Clone, Copy)]
struct Held {
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
    fn new(bound: u64, expected: u64, leaving: Sender<Leaving>) -> Main {
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

    fn insert(&self, account: Account) {
        let units = u32::try_from(account.weight.div_ceil(self.unit).max(1)).unwrap_or(u32::MAX);
        let Account { hash, generation, weight } = account;
        self.moka.insert(hash, Held { generation, weight, units });
    }

    fn remove(&self, account: Account) {
        if self.holds(account) {
            self.moka.invalidate(&account.hash);
        }
    }

    fn holds(&self, account: Account) -> bool {
        self.moka.get(&account.hash).is_some_and(|held| held.generation == account.generation)
    }

    fn count_use(&self, hash: u64) {
        let _ = self.moka.get(&hash);
    }

    /// No more entries are coming, and those that came are needed elsewhere.
    fn retire(&self) -> Vec<Account> {
        self.retired.swap(true, Ordering::AcqRel);
        self.moka.iter().filter_map(|(hash, held)| held.account(*hash)).collect()
    }

    /// Makes moka let go of `over` bytes, least recently used first. `false`: it has nothing left.
    fn squeeze(&self, over: impl Fn() -> u64) -> bool {
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
    fn keep_ballast(&self, epoch_ends: bool) {
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
struct Identity(u64);

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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// A slot table: hash -> (generation, weight).
    #[derive(Default)]
    struct Table {
        slots: Mutex<HashMap<u64, (u64, u64)>>,
        generations: AtomicU64,
    }

    impl Table {
        /// A computation has ended: the slot is filled, what it held before is replaced, the bound is enforced.
        fn store(&self, memory: &Memory, hash: u64, weight: u64) -> Account {
            let generation = self.generations.fetch_add(1, Ordering::Relaxed);
            let account = Account { hash, generation, weight };
            let old = self.slots.lock().insert(hash, (generation, weight));
            let alive =
                |hash, generation| self.slots.lock().get(&hash).is_some_and(|slot| slot.0 == generation);
            let replaced = |(generation, weight)| memory.remove(Account { hash, generation, weight });
            if generation.is_multiple_of(2) {
                old.into_iter().for_each(replaced);
                memory.insert(account, &alive, &mut |account| self.take(account));
            } else {
                memory.insert(account, &alive, &mut |account| self.take(account));
                old.into_iter().for_each(replaced);
            }
            account
        }

        fn take(&self, account: Account) -> bool {
            let mut slots = self.slots.lock();
            let held = slots.get(&account.hash) == Some(&(account.generation, account.weight));
            held && slots.remove(&account.hash).is_some()
        }

        fn forget(&self, memory: &Memory, hash: u64) {
            let old = self.slots.lock().remove(&hash);
            if let Some((generation, weight)) = old {
                memory.remove(Account { hash, generation, weight });
            }
        }

        fn holds(&self, account: Account) -> bool {
            self.slots.lock().get(&account.hash) == Some(&(account.generation, account.weight))
        }

        fn bytes(&self) -> u64 {
            self.slots.lock().values().map(|slot| slot.1).sum()
        }

        fn len(&self) -> u64 {
            self.slots.lock().len() as u64
        }

        fn mix(&self, memory: &Memory, seed: u64, steps: u64, heaviest: u64) {
            for i in 0..steps {
                let (hash, dice) = (random(random(seed + i) % 500), random(seed + i + 1));
                match dice % 10 {
                    0 | 1 => self.forget(memory, hash),
                    2 | 3 => memory.touch(&AtomicU32::new(0), hash),
                    _ => {
                        self.store(memory, hash, dice / 16 % heaviest);
                    }
                }
            }
        }

        /// Whatever the accountant knows leaves; whatever stays, it has lost.
        fn assert_none_lost(&self, memory: &Memory) {
            assert_eq!((memory.bytes(), memory.entries()), (self.bytes(), self.len()));
            memory.clear();
            let last = self.store(memory, random(u64::MAX), 1);
            assert!(self.holds(last) && self.len() == 1, "{} slots lost", self.len() - 1);
            assert_eq!((memory.bytes(), memory.entries()), (1, 1));
        }
    }

    /// splitmix64
    fn random(seed: u64) -> u64 {
        let z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Hits in percent of `requests` for keys of which a few are popular.
    fn hit_ratio(memory: &Memory, table: &Table, requests: u64, weight: u64) -> f64 {
        let keys: Vec<AtomicU32> = (0..10_000).map(|_| AtomicU32::new(0)).collect();
        let mut hits = 0;
        for i in 0..requests {
            // Density 1/x over 1..=10 000: Zipf with exponent 1.
            let uniform = random(i + requests) as f64 / u64::MAX as f64;
            let key = (10_000f64.powf(uniform) as usize).min(9_999);
            let hash = random(key as u64);
            if table.slots.lock().contains_key(&hash) {
                hits += 1;
                memory.touch(&keys[key], hash);
            } else {
                table.store(memory, hash, weight);
            }
        }
        f64::from(hits) * 100.0 / requests as f64
    }

    #[test]
    fn bound_holds_and_the_newest_stays() {
        // When this fails, a process outgrows the memory it was given, or a value just computed is computed again.
        for (bound, heaviest) in [(1, 2), (100, 101), (10_000, 101), (10_000, 6_000), (1 << 20, 20_000)] {
            let (memory, table) = (Memory::new(bound), Table::default());
            for i in 0..5_000 {
                // Many light ones, few heavy ones.
                let weight = (random(i) % heaviest) >> (random(i + 1) % 12);
                let account = table.store(&memory, random(i % 3_000), weight);
                assert!(memory.bytes() <= bound, "{} > {bound} after {i}", memory.bytes());
                assert_eq!(memory.bytes(), table.bytes());
                assert!(table.holds(account), "{account:?} was turned away");
            }
            table.assert_none_lost(&memory);
        }
    }

    #[test]
    fn no_slot_is_lost() {
        // When this fails, memory leaks: a value that the accountant does not know is never evicted.
        for (bound, heaviest) in [(1_000, 30), (1_000, 900), (20_000, 200), (u64::MAX >> 1, 5)] {
            let (memory, table) = (Memory::new(bound), Table::default());
            table.mix(&memory, bound, 20_000, heaviest);
            table.assert_none_lost(&memory);
        }
    }

    #[test]
    fn no_slot_is_lost_between_threads() {
        // When this fails, memory leaks in programs with several threads.
        for (bound, heaviest) in [(1_000, 30), (1_000, 900), (20_000, 200)] {
            let (memory, table) = (Memory::new(bound), Table::default());
            // Heavy at first, so that the main region is built anew under way.
            (0..5).for_each(|i| _ = table.store(&memory, i, bound / 6));
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (memory, table) = (&memory, &table);
                    scope.spawn(move || table.mix(memory, thread * 1_000_000, 5_000, heaviest));
                }
            });
            table.store(&memory, 1, 1);
            assert!(memory.bytes() <= bound);
            table.assert_none_lost(&memory);
        }
    }

    #[test]
    fn forgotten_entries_do_not_pile_up() {
        // When this fails, storing and forgetting in a loop uses more and more memory.
        let (memory, table) = (Memory::new(1 << 30), Table::default());
        for i in 0..20_000 {
            table.store(&memory, random(i), 8);
            table.forget(&memory, random(i));
        }
        assert!(memory.window.lock().queue.len() <= 2 * WINDOW_ENTRIES);
        table.assert_none_lost(&memory);
    }

    #[test]
    fn sketch_is_large_enough() {
        // When this fails, fewer calls are hits: moka has forgotten too soon which entries were used.
        let (memory, table) = (Memory::new(100_000), Table::default());
        let ratio = hit_ratio(&memory, &table, 100_000, 100);
        assert!(ratio > 70.5, "{ratio}"); // 71.9; without primers 68.1
    }

    #[test]
    fn lighter_values_get_a_larger_sketch() {
        // When this fails, a pool that first stored heavy values hits less for good.
        let (memory, table) = (Memory::new(100_000), Table::default());
        (0..100).for_each(|i| _ = table.store(&memory, random(1 << 40 | i), 5_000));
        let ratio = hit_ratio(&memory, &table, 100_000, 100);
        assert!(ratio > 69.0, "{ratio}"); // 70.0; with the first sketch 68.2
        table.assert_none_lost(&memory);
    }

    #[test]
    fn clear_lets_everything_go() {
        // When this fails, `Pool::clear` leaves values behind, or the bytes it freed stay counted.
        let (memory, table) = (Memory::new(10_000), Table::default());
        (0..1_000).for_each(|i| _ = table.store(&memory, random(i), 50));
        memory.clear();
        let hashes: Vec<u64> = table.slots.lock().keys().copied().collect();
        hashes.into_iter().for_each(|hash| table.forget(&memory, hash));
        assert_eq!((memory.bytes(), memory.entries()), (0, 0));
        (0..1_000).for_each(|i| _ = table.store(&memory, random(i), 50));
        assert!(memory.bytes() > 8_000, "{memory:?}");
        table.assert_none_lost(&memory);
    }

    #[test]
    fn nothing_is_kept_that_does_not_fit() {
        // When this fails, `memory(0)` keeps values, or one giant result empties the cache.
        let (memory, table) = (Memory::new(0), Table::default());
        assert!(!memory.fits(0));
        table.store(&memory, 1, 0);
        assert_eq!((table.len(), memory.entries()), (0, 0));
        let (memory, table) = (Memory::new(100), Table::default());
        table.store(&memory, 1, 60);
        table.store(&memory, 2, 101);
        assert!(!memory.fits(101) && memory.fits(100));
        assert_eq!((memory.bytes(), memory.bound(), table.bytes()), (60, 100, 60));
    }
}
