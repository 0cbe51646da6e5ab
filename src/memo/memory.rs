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
//!   the ballast's lock may be held across moka calls; `window` never is, and neither is held while `alive` or `evict` run.
//! - **The newest entry stays.** A fresh value is never turned away by admission at once: it enters the window, which
//!   keeps at least its newest entry whatever that weighs, and meets moka's admission only when it is pushed out.
//! - **Until half the bound is used there is no moka.** Nothing has to leave, so the window simply grows. Then the
//!   number of entries that a full cache will hold is known, and moka is built for it. The window hands
//!   over its oldest entries, a few per insertion.
//!
//! **Hits** are told in passing: a slot remembers the epoch of its last report, an epoch lasts [`EPOCH_STEP`]
//! insertions, and the first hit in each goes into a bounded queue (full: dropped), which insertions pass on to moka.
//! Steps of 1, 16, 64 and 256 gave the same hit ratios within 0.4 points.
//!
//! **The bound** is kept by our own count. moka may hold the bound less the window's share and a slack, so that an
//! insertion seldom has to run its maintenance. When that is not enough, moka is made to let go of more.
//!
//! What it takes to steer moka is in [`region`]: its room, the ballast, the size of its frequency sketch.
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

mod region;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;

use crossbeam_channel::{Receiver, Sender};
use crossbeam_utils::CachePadded;

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, OnceLock};
use region::{Main, SKETCH_MAX};

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
    /// Made with the first report: it takes 64 KiB.
    touched: OnceLock<(Sender<u64>, Receiver<u64>)>,
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
            touched: OnceLock::new(),
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
        let (reports, _) = self.touched.get_or_init(|| crossbeam_channel::bounded(TOUCHED));
        let _ = reports.try_send(hash);
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
            if let Some((_, reports)) = self.touched.get() {
                reports.try_iter().take(TOUCHED_PER_INSERT).for_each(|hash| main.count_use(hash));
            }
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
            None => step.build = self.used() >= self.bound / 2,
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
        let expected = u128::from(self.entries()) * u128::from(self.bound) / u128::from(self.used().max(1));
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

    /// How much of the bound is used: an entry counts as one at least, or values of no weight would never come to an end.
    /// Their sum would count each value twice where the bound is a number of values.
    fn used(&self) -> u64 {
        self.bytes().max(self.entries())
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

/// A count that may be below zero for a moment, as it is shown.
pub(crate) fn not_negative(count: u64) -> u64 {
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
