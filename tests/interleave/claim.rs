//! The slot protocol: one run per key, and an ended run's late result is never read.
//!
//! In the drawings a lane is a thread, `·` a point at which the threads race. The key is always the same.

use std::sync::Arc;

use crate::checker::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::explore;
use crate::flight::cell::{Cell, Interest, Withdrawn};
use crate::flight::claim::{Claim, Guard, Peek, Place, Resolve, Table};
use crate::flight::slots::SlotHash;
use crate::support::{Log, join, spawn};

/// The value of a run, which tells it from others; or why there is none.
pub(crate) type Outcome = Result<u32, &'static str>;
type Work = Box<dyn FnOnce() + Send>;
type Lead = Guard<Key, u32, Arc<Flight>, Arc<Flight>>;

const HASH: u64 = 1;
const LEFT_BEHIND: Outcome = Err("left behind");
const CANCELLED: Outcome = Err("cancelled");

/// The one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key;

impl SlotHash for Key {
    fn slot_hash(&self) -> u64 {
        HASH
    }
}

/// A run in flight.
pub(crate) struct Flight {
    pub(crate) cell: Cell<Work, Outcome>,
}

impl Resolve for Arc<Flight> {
    type Key = Key;
    type Outcome = Outcome;

    fn key(&self) -> Option<&Key> {
        Some(&Key)
    }

    fn finish(&self, outcome: Outcome) -> bool {
        self.cell.finish(outcome)
    }

    fn left_behind(&self) -> Outcome {
        LEFT_BEHIND
    }
}

/// What a submission found.
pub(crate) enum Found {
    Hit(u32),
    Joined(Arc<Flight>, Interest),
    Leads(Arc<Flight>, Lead),
}

/// The table, as a pool uses it.
#[derive(Clone)]
pub(crate) struct Calls(pub(crate) Arc<Table<Key, u32, Arc<Flight>>>);

impl Calls {
    pub(crate) fn new() -> Self {
        Calls(Arc::new(Table::new()))
    }

    pub(crate) fn submit(&self) -> Found {
        let flight = Arc::new(Flight { cell: Cell::new() });
        let join = |found: &Arc<Flight>| found.cell.join().map(|interest| (Arc::clone(found), interest));
        match self.0.claim(Key, Arc::clone(&flight), |value| Some(*value), join).0 {
            Claim::Hit(value) => Found::Hit(value),
            Claim::Follower((flight, interest)) => Found::Joined(flight, interest),
            Claim::Leader(generation) => {
                let guard = self.guard(generation, &flight);
                Found::Leads(flight, guard)
            }
        }
    }

    /// A submission that nobody was before.
    pub(crate) fn lead(&self) -> (Arc<Flight>, Lead) {
        match self.submit() {
            Found::Leads(flight, guard) => (flight, guard),
            Found::Hit(value) => panic!("there should be nothing, but there is {value}"),
            Found::Joined(..) => panic!("there should be nothing, but there is a run"),
        }
    }

    /// Leads whatever is there; also what that was.
    fn refresh(&self) -> (Lead, Option<u32>) {
        let flight = Arc::new(Flight { cell: Cell::new() });
        let (generation, displaced) = self.0.lead_anew(Key, Arc::clone(&flight));
        (self.guard(generation, &flight), displaced.and_then(|slot| slot.into_entry()))
    }

    fn guard(&self, generation: u64, flight: &Arc<Flight>) -> Lead {
        Guard::new(Some(Place { table: Arc::clone(&self.0), generation }), Arc::clone(flight))
    }

    /// Submits and waits; `value` is the value if this one leads.
    pub(crate) fn call(&self, value: u32, log: &Log) -> Outcome {
        match self.submit() {
            Found::Hit(value) => Ok(value),
            Found::Joined(flight, interest) => wait(&flight, interest),
            Found::Leads(_, guard) => {
                log.add("ran");
                publish(guard, value);
                Ok(value)
            }
        }
    }
}

/// Ends a run with its value. Gives it back if it is not kept.
pub(crate) fn publish(guard: Lead, value: u32) -> Option<u32> {
    guard.publish(value, |_| (), Ok(value))
}

pub(crate) fn wait(flight: &Flight, interest: Interest) -> Outcome {
    flight.cell.wait(interest, None).expect("without a deadline")
}

/// Two equal calls at the same time run the function twice, or one of them never returns.
///
/// ```text
/// caller 1        caller 2        caller 3
/// --------        --------        --------
/// claim         · claim         · claim
/// (one leads)   · (one joins)   · (one joins or hits)
/// publish         wait            wait
/// value           the same        the same
/// ```
#[test]
fn equal_calls_share_one_run() {
    explore(|| {
        let (calls, log) = (Calls::new(), Log::default());
        let others = [1, 2].map(|value| {
            let (calls, log) = (calls.clone(), log.clone());
            spawn(move || calls.call(value, &log))
        });
        let mine = calls.call(3, &log);
        for other in others {
            assert_eq!(join(other), mine);
        }
        assert!(mine.is_ok());
        assert_eq!(log.count("ran"), 1);
        assert_eq!(calls.call(4, &log), mine, "it is kept");
    });
}

/// A function runs again for someone who has its result in hand.
///
/// ```text
/// leader             follower
/// ------             --------
/// publish          · wait
///   fill the slot    value
///   settle         · claim: always a hit
/// ```
#[test]
fn who_has_the_value_finds_it_kept() {
    explore(|| {
        let calls = Calls::new();
        let (flight, guard) = calls.lead();
        let leader = spawn(move || publish(guard, 1));
        assert_eq!(wait(&flight, 0), Ok(1));
        assert!(matches!(calls.submit(), Found::Hit(1)));
        assert_eq!(join(leader), None);
    });
}

/// A call never returns because the run that it joined was dropped; or the key is blocked from then on.
///
/// A panic drops the guard just so; the checkers can't switch threads while one unwinds.
///
/// ```text
/// leader             follower
/// ------             --------
/// drop the guard   · claim
///   free the slot  · joined: wait, "left behind"
///   settle         · or leads: publish
///                    next claim: leads, or hits what was published
/// ```
#[test]
fn a_dropped_leader_strands_nobody() {
    explore(|| {
        let (calls, log) = (Calls::new(), Log::default());
        let (_, guard) = calls.lead();
        let leader = spawn(move || drop(guard));
        let answer = calls.call(2, &log);
        join(leader);
        if log.count("ran") == 1 {
            assert_eq!(answer, Ok(2));
            assert_eq!(calls.call(3, &log), Ok(2), "the old guard has left the new run's slot alone");
        } else {
            assert_eq!(answer, LEFT_BEHIND);
            assert_eq!(calls.call(3, &log), Ok(3), "the slot is free");
        }
    });
}

/// A forgotten result comes back: a run that was under way when `forget` returned is read by a later call.
///
/// ```text
/// leader 1        forgetter                 follower of 1
/// --------        ---------                 -------------
/// publish 1     · forget                    wait
///   kept before,  claim: always leads       1
///   or refused    publish 2: always kept
/// ```
#[test]
fn a_forgotten_run_is_never_read_again() {
    explore(|| forget_while_publishing(|calls| drop(calls.0.remove(Key))));
}

/// A cleared result comes back: the same with `clear`.
///
/// ```text
/// leader 1        clearer                   follower of 1
/// --------        -------                   -------------
/// publish 1     · clear                     wait
///   kept before,  claim: always leads       1
///   or refused    publish 2: always kept
/// ```
#[test]
fn a_cleared_run_is_never_read_again() {
    explore(|| forget_while_publishing(|calls| drop(calls.0.drain(|_| true, |_| true))));
}

fn forget_while_publishing(forget: fn(&Calls)) {
    let calls = Calls::new();
    let (flight, guard) = calls.lead();
    let leader = spawn(move || publish(guard, 1));
    let follower = spawn(move || wait(&flight, 0));
    forget(&calls);
    let (_, guard) = calls.lead();
    assert_eq!(publish(guard, 2), None, "the new one is kept");
    let refused = join(leader);
    assert!(refused.is_none() || refused == Some(1));
    assert_eq!(join(follower), Ok(1), "who had asked before gets the old one");
    assert!(matches!(calls.submit(), Found::Hit(2)));
}

/// A forgotten result comes back: somebody has just read it from the disk, and puts it into the table.
///
/// ```text
/// finder                    forgetter
/// ------                    ---------
/// note the era            · forget it on disk
/// vacant? look on disk    · end it in the table
/// found? adopt it             take out what is there
///   kept before, or refused claim: always leads
/// ```
#[test]
fn what_was_found_elsewhere_and_forgotten_is_never_read_again() {
    explore(|| {
        let (calls, disk) = (Calls::new(), Arc::new(AtomicBool::new(true)));
        let finder = {
            let (Calls(table), disk) = (calls.clone(), Arc::clone(&disk));
            spawn(move || {
                let era = table.era();
                let vacant = matches!(table.peek(&Key, |_| Some(()), |_| Some(())), Peek::Vacant);
                if vacant && disk.load(Ordering::Acquire) {
                    let _ = table.adopt(Key, era, 1);
                }
            })
        };
        disk.store(false, Ordering::Release);
        drop(calls.0.remove(Key));
        assert!(!matches!(calls.submit(), Found::Hit(_)), "forgotten");
        join(finder);
    });
}

/// What somebody else has just computed gives way to an older result from the disk.
///
/// ```text
/// leader             finder
/// ------             ------
/// lead             · vacant? adopt 1
/// publish 2        · always refused
///                    claim: always 2
/// ```
#[test]
fn what_was_found_elsewhere_replaces_nothing() {
    explore(|| {
        let calls = Calls::new();
        let era = calls.0.era();
        let (_, guard) = calls.lead();
        let leader = spawn(move || publish(guard, 2));
        assert_eq!(calls.0.adopt(Key, era, 1), Err(1));
        assert_eq!(join(leader), None);
        assert!(matches!(calls.submit(), Found::Hit(2)));
    });
}

/// A value that was inserted gives way to what a run of before computes.
///
/// ```text
/// leader 1              giver                 follower of 1
/// --------              -----                 -------------
/// publish 1           · give 2                wait
///   kept:           <=>   displaces 1         1
///   refused:        <=>   displaces the run
/// ```
#[test]
fn what_is_given_stays() {
    explore(|| {
        let calls = Calls::new();
        let (flight, guard) = calls.lead();
        let leader = spawn(move || publish(guard, 1));
        let follower = spawn(move || wait(&flight, 0));
        let (_, displaced) = calls.0.give(Key, 2);
        assert!(displaced.is_some());
        let refused = join(leader);
        assert!(refused.is_none() || refused == Some(1));
        assert_eq!(join(follower), Ok(1), "who had asked before gets what was computed");
        assert!(matches!(calls.submit(), Found::Hit(2)));
    });
}

/// After an import the old result is found: somebody had just read it from the disk, and puts it into the table.
///
/// ```text
/// finder                    importer
/// ------                    --------
/// note the era            · write 2 to the disk
/// vacant? read the disk   · end it in the table
/// adopt what was there
/// ```
#[test]
fn what_was_found_before_an_import_is_never_read_after_it() {
    explore(|| {
        let (calls, disk) = (Calls::new(), Arc::new(AtomicU32::new(1)));
        let finder = {
            let (Calls(table), disk) = (calls.clone(), Arc::clone(&disk));
            spawn(move || {
                let era = table.era();
                if let Peek::Vacant = table.peek(&Key, |_| Some(()), |_| Some(())) {
                    let _ = table.adopt(Key, era, disk.load(Ordering::Acquire));
                }
            })
        };
        disk.store(2, Ordering::Release);
        calls.0.remove_many([Key].into_iter(), |_, slot| drop(slot));
        assert!(!matches!(calls.submit(), Found::Hit(1)));
        join(finder);
    });
}

/// Two threads insert different values, and the next process finds the other one than this.
///
/// ```text
/// each giver, of n
/// ----------------
/// note the next generation
/// is there anything on disk? · put n in its place
/// nothing?                   · put n, refused if another was faster
/// give n                     · displaces what is newer than the note? once more
/// ```
#[test]
fn two_givers_leave_the_same_in_the_table_and_on_disk() {
    explore(|| {
        let (calls, disk) = (Calls::new(), Arc::new(AtomicU32::new(0)));
        let give = |n: u32| {
            let (Calls(table), disk) = (calls.clone(), Arc::clone(&disk));
            move || loop {
                let begun = table.next_generation();
                match disk.load(Ordering::Acquire) {
                    0 => _ = disk.compare_exchange(0, n, Ordering::AcqRel, Ordering::Acquire),
                    _ => disk.store(n, Ordering::Release),
                }
                let (_, displaced) = table.give(Key, n);
                if displaced.is_none_or(|slot| slot.generation() < begun) {
                    break;
                }
            }
        };
        let (one, two) = (give(1), give(2));
        let other = spawn(one);
        two();
        join(other);
        let Found::Hit(here) = calls.submit() else { panic!("one of them is there") };
        assert_eq!(here, disk.load(Ordering::Acquire));
    });
}

/// `refresh` has no effect: the run that it replaced writes its old result over the new one.
///
/// ```text
/// leader 1              refresher
/// --------              ---------
/// publish 1           · lead anew
///   kept:           <=>   displaces 1
///   refused:        <=>   displaces the run
///                       publish 2: always kept
/// ```
#[test]
fn a_refreshed_run_writes_nothing() {
    explore(|| {
        let calls = Calls::new();
        let (_, guard) = calls.lead();
        let leader = spawn(move || publish(guard, 1));
        let (guard, displaced) = calls.refresh();
        assert_eq!(publish(guard, 2), None);
        let refused = join(leader);
        assert!(refused.is_some() != displaced.is_some(), "refused {refused:?}, displaced {displaced:?}");
        assert!(matches!(calls.submit(), Found::Hit(2)));
    });
}

/// A run that fails after a `refresh` frees the slot of the run that replaced it, which then runs once more.
///
/// ```text
/// leader 1              refresher         caller
/// --------              ---------         ------
/// fail                · lead anew       · claim
///   free the slot     · publish 2         joins 1: "left behind"
///   if it is its own                      joins 2 or hits: 2; leads: 3
/// ```
#[test]
fn a_failing_run_frees_only_its_own_slot() {
    explore(|| {
        let (calls, log) = (Calls::new(), Log::default());
        let (_, guard) = calls.lead();
        let leader = spawn(move || guard.fail(LEFT_BEHIND));
        let caller = {
            let (calls, log) = (calls.clone(), log.clone());
            spawn(move || calls.call(3, &log))
        };
        let (guard, _) = calls.refresh();
        assert_eq!(publish(guard, 2), None);
        join(leader);
        let answer = join(caller);
        assert!([Ok(2), Ok(3), LEFT_BEHIND].contains(&answer), "{answer:?}");
        assert_eq!(answer == Ok(3), log.count("ran") == 1);
        assert!(matches!(calls.submit(), Found::Hit(2)));
    });
}

/// Memory pressure throws out a result that has just been computed, in place of the older one it was meant for.
///
/// ```text
/// accountant            refresher
/// ----------            ---------
/// evict generation 1  · lead anew
///   takes 1, or       · publish 2: always kept
///   nothing
/// ```
#[test]
fn an_eviction_takes_only_the_generation_it_means() {
    explore(|| {
        let calls = Calls::new();
        let (_, guard) = calls.lead();
        let mut old = 0;
        guard.publish(1, |generation| old = generation, Ok(1));
        let accountant = calls.clone();
        let accountant = spawn(move || accountant.0.evict(HASH, old).and_then(|(_, slot)| slot.into_entry()));
        let (guard, displaced) = calls.refresh();
        assert_eq!(publish(guard, 2), None);
        let evicted = join(accountant);
        assert_eq!([evicted, displaced].into_iter().flatten().collect::<Vec<_>>(), [1], "1 left once");
        assert!(matches!(calls.submit(), Found::Hit(2)));
        assert!(!calls.0.holds(HASH, old));
    });
}

/// A call that comes while the last other caller cancels is cancelled with it, or never returns.
///
/// ```text
/// worker          canceller                  caller
/// ------          ---------                  ------
/// start         · withdraw the last        · claim
/// publish 1       shared                <=>  joined: 1
///                 given up, never runs  <=>  leads: 2
///                 too late                   hits or joined: 1
/// ```
#[test]
fn a_call_never_shares_anothers_cancellation() {
    explore(|| {
        let (calls, log) = (Calls::new(), Log::default());
        let (flight, guard) = calls.lead();
        let run = Arc::clone(&flight);
        let job = move || match run.cell.is_given_up() {
            true => guard.fail(CANCELLED),
            false => drop(publish(guard, 1)),
        };
        flight.cell.arm(Box::new(job)).unwrap_or_else(|_| panic!("nobody has cancelled yet"));
        let (worker, canceller) = (Arc::clone(&flight), flight);
        let worker = spawn(move || {
            if let Some(job) = worker.cell.start() {
                job();
            }
        });
        let canceller = spawn(move || canceller.cell.withdraw(0, CANCELLED));
        let answer = calls.call(2, &log);
        let (withdrawn, led) = (join(canceller), log.count("ran") == 1);
        join(worker);
        assert_eq!(answer, if led { Ok(2) } else { Ok(1) });
        match withdrawn {
            Withdrawn::Shared => assert!(!led),
            Withdrawn::NeverRuns => assert!(led),
            // A body that has looked before it was given up still publishes.
            Withdrawn::GivenUp | Withdrawn::TooLate => {}
        }
        assert_eq!(calls.call(3, &log), answer, "what the call got is what is kept");
    });
}
