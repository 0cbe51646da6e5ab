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
        let alive = |hash, generation| self.slots.lock().get(&hash).is_some_and(|slot| slot.0 == generation);
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
fn a_bound_in_entries_hits_as_often_as_one_in_bytes() {
    // When this fails, a pool whose bound counts results (`weigh(|_| 1)`) hits less than moka's own would.
    let (memory, table) = (Memory::new(1_000), Table::default());
    let ratio = hit_ratio(&memory, &table, 100_000, 1);
    assert!(ratio > 71.3, "{ratio}"); // 71.9; counted twice 70.9
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
