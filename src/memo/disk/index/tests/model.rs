//! The index beside a plain map, under random changes.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const KEYS: u64 = 60;
const FUNCTIONS: u16 = 4;

#[derive(Debug, Clone)]
enum Op {
    /// A result of a run that began so many reservations ago.
    Insert {
        key: u64,
        ago: usize,
        cost: u8,
    },
    Bury {
        key: u64,
        mark: Mark,
        ago: usize,
    },
    BuryIf {
        key: u64,
        exact: bool,
        mark: Mark,
    },
    Relocate {
        key: u64,
        exact: bool,
    },
    Touch {
        key: u64,
    },
    BuryFunction {
        function: u16,
    },
    Clear,
    Grow,
    Reopen,
}

fn marks() -> impl Strategy<Value = Mark> {
    (1..=Mark::LAST).prop_map(|bits| Mark::from_bits(bits).unwrap())
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = 0..KEYS;
    let op = prop_oneof![
        40 => (key.clone(), 0..20_usize, 0..64_u8).prop_map(|(key, ago, cost)| Op::Insert { key, ago, cost }),
        10 => (key.clone(), marks(), 0..20_usize).prop_map(|(key, mark, ago)| Op::Bury { key, mark, ago }),
        8 => (key.clone(), any::<bool>(), marks()).prop_map(|(key, exact, mark)| Op::BuryIf { key, exact, mark }),
        8 => (key.clone(), any::<bool>()).prop_map(|(key, exact)| Op::Relocate { key, exact }),
        8 => key.prop_map(|key| Op::Touch { key }),
        1 => (0..FUNCTIONS).prop_map(|function| Op::BuryFunction { function }),
        1 => Just(Op::Clear),
        1 => Just(Op::Grow),
        1 => Just(Op::Reopen),
    ];
    vec(op, 1..400)
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Known {
    mark: Option<Mark>,
    place: Place,
    cost: u8,
    referenced: bool,
}

struct Run {
    file: File,
    index: Index,
    /// Positions handed out so far; the last is the tail.
    reserved: Vec<Position>,
    known: HashMap<u64, Known>,
    /// Results of this key that began up to here must not be kept.
    floors: HashMap<u64, Position>,
    cleared: Position,
    /// Nothing is ever displaced: the index has to be right, not only safe.
    exact: bool,
}

impl Run {
    fn new(buckets: u64, exact: bool) -> Run {
        let file = file();
        let index = Index::create(&file, buckets).unwrap();
        index.set_tail(at(1, 0));
        let reserved = vec![at(1, 0)];
        Run {
            file,
            index,
            reserved,
            known: HashMap::new(),
            floors: HashMap::new(),
            cleared: Position::NONE,
            exact,
        }
    }

    fn reserve(&mut self, len: u64) -> Position {
        let at = self.index.tail();
        let next = match at.offset() + len {
            full if full > 4096 => Position::new(at.segment() + 1, 0),
            next => Position::new(at.segment(), next),
        };
        self.index.set_tail(next);
        self.reserved.push(next);
        at
    }

    fn ago(&self, ago: usize) -> Position {
        self.reserved[self.reserved.len().saturating_sub(1 + ago)]
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Insert { key: n, ago, cost } => self.insert(n, self.ago(ago), cost),
            Op::Bury { key: n, mark, ago } => {
                let at = if mark == Mark::Forgotten { self.reserve(8) } else { self.ago(ago + 1) };
                self.bury(n, mark, at);
            }
            Op::BuryIf { key: n, exact, mark } => {
                let Some(known) = self.live(n) else { return };
                assert_eq!(self.index.bury_if(&key(n), other_than(known.place, exact), mark), exact);
                if exact {
                    self.buried(n, mark, known.place.position);
                }
            }
            Op::Relocate { key: n, exact } => {
                let to = Place { position: self.reserve(64), len: 64 };
                let Some(known) = self.live(n) else { return };
                assert_eq!(self.index.relocate(&key(n), other_than(known.place, exact), to), exact);
                if exact {
                    self.known.insert(n, Known { place: to, referenced: false, ..known });
                }
            }
            Op::Touch { key: n } => {
                if let Found::Live { slot, .. } = self.index.find(&key(n)) {
                    self.index.touch(slot);
                    self.known.get_mut(&n).unwrap().referenced = true;
                }
            }
            Op::BuryFunction { function } => {
                let at = self.reserve(8);
                self.index.bury_function(function, at);
                for n in (0..KEYS).filter(|n| *n as u16 % FUNCTIONS == function) {
                    self.floors.insert(n, at);
                    if self.live(n).is_some() {
                        self.buried(n, Mark::Forgotten, at);
                    }
                }
            }
            Op::Clear => {
                let at = self.reserve(8);
                self.index.clear(at);
                self.known.clear();
                self.cleared = at;
                (0..KEYS).for_each(|n| _ = self.floors.insert(n, at));
            }
            Op::Grow => {
                let buckets = if self.exact { (self.index.buckets() * 2).min(128) } else { 2 };
                let file = file();
                let new = Index::create(&file, buckets).unwrap();
                self.index.grow_into(&new);
                (self.file, self.index) = (file, new);
            }
            Op::Reopen => self.index = Index::open(&self.file).unwrap(),
        }
    }

    fn insert(&mut self, n: u64, began: Position, cost: u8) {
        let place = Place { position: self.reserve(64), len: 64 + u64::from(cost) * 8 };
        let tag = Tag { function: n as u16 % FUNCTIONS, cost };
        let known = self.known.get(&n).copied();
        let floor = self.floors.get(&n).copied().unwrap_or(Position::NONE);
        let late = known.is_some_and(|known| known.place.position >= began) || floor >= began;
        // A crowded index may have lost what it knew of the key, but not what must not come back.
        let seen = match self.index.find(&key(n)) {
            Found::Live { place, .. } => place.position,
            Found::Gone(_, at) => at,
            Found::Nothing => Position::NONE,
        };
        let surely_late = if self.exact { late } else { floor >= began || seen >= began };
        let inserted = self.index.insert(&key(n), place, tag, began);
        if inserted == Inserted::Refused {
            assert!(late || !self.exact, "{n} refused, began {began:?}");
            return;
        }
        assert!(!surely_late, "{n} accepted, began {began:?}");
        assert_eq!(inserted, self.live(n).map_or(Inserted::New, |known| Inserted::Replaced(known.place)));
        self.known.insert(n, Known { mark: None, place, cost, referenced: false });
    }

    fn bury(&mut self, n: u64, mark: Mark, at: Position) {
        let before = self.live(n).map(|known| known.place);
        let newer = self.cleared >= at || self.known.get(&n).is_some_and(|known| known.place.position > at);
        let had = self.index.bury(&key(n), mark, at);
        if mark == Mark::Forgotten {
            self.floors.insert(n, at);
        } else if newer {
            assert_eq!(had, None);
            return;
        }
        assert_eq!(had, before);
        self.buried(n, mark, at);
    }

    fn live(&self, n: u64) -> Option<Known> {
        self.known.get(&n).copied().filter(|known| known.mark.is_none())
    }

    fn buried(&mut self, n: u64, mark: Mark, at: Position) {
        let place = Place { position: at, len: 0 };
        self.known.insert(n, Known { mark: Some(mark), place, cost: 0, referenced: false });
    }

    /// Every key is as it should be; in a crowded index it may also be lost.
    fn compare(&mut self) {
        for n in 0..KEYS {
            let known = self.known.get(&n).copied();
            match (self.index.find(&key(n)), known) {
                (Found::Nothing, None) => {}
                (Found::Nothing, Some(_)) if !self.exact => _ = self.known.remove(&n),
                (Found::Live { place, .. }, Some(known)) => {
                    assert_eq!((None, place), (known.mark, known.place));
                    assert_eq!(self.index.referenced(&key(n), place), Some((known.referenced, known.cost)));
                }
                (Found::Gone(mark, at), Some(known)) => {
                    assert_eq!((Some(mark), at), (known.mark, known.place.position));
                }
                (found, known) => panic!("{n}: {found:?}, should be {known:?}"),
            }
        }
        let live = self.known.values().filter(|known| known.mark.is_none()).count();
        assert_eq!(self.index.entries(), live as u64);
        assert!(self.index.is_sound());
    }
}

fn other_than(place: Place, exact: bool) -> Place {
    if exact { place } else { Place { len: place.len + 8, ..place } }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn roomy_index_is_a_map(ops in ops()) {
        // When this fails, results are lost or refused without need, or the wrong one is found.
        let mut run = Run::new(32, true);
        for op in ops {
            run.step(op);
            run.compare();
        }
    }

    #[test]
    fn crowded_index_only_loses(ops in ops()) {
        // When this fails, a full index finds what is not there any more, or lets a late result overwrite a newer state.
        let mut run = Run::new(2, false);
        for op in ops {
            run.step(op);
            run.compare();
        }
    }
}
