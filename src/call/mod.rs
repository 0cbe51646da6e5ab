//! Stage 1, *call*: the spine of one submission. The only place where stages meet.
//!
//! 1. [`func`] — a function with an identity, and its [`settings`]; [`named`] its builder; [`generated`] what `#[memo]` uses.
//! 2. [`identity`] — what makes two functions the same.
//! 3. [`key`] — arguments as canonical bytes.
//! 4. [`engine`] — the stages of one pool side by side, and the entries of its slot table.
//! 5. [`hit`] — a submission that finds its value; [`glance`] one whose result the disk has at hand.
//! 6. [`origin`] — which call a run computes; [`execute`] — one run, from its job to its last callback; [`deadline`] what ends it early; [`keep`] what is kept.
//! 7. [`launch`] — from a claimed slot to a queued job.
//! 8. [`storage`] — what a run does with the disk; [`format`] how results become bytes.
//! 9. [`explain`] — what submitting a call would find, and why.
//! 10. [`boxed`] — calls whose arguments' type is hidden.
//! 11. [`spawn`] — closures, which are not remembered.
//! 12. [`limit`] — functions of which only so many may run at a time.
//! 13. [`retry`] — the rest between two attempts of a run.
//! 14. [`recorded`] — pools that answer from their cache alone.
//! 15. [`polled`] — bodies that are futures.
//! 16. [`insert`] — results that somebody else has.
//! 17. `record` — what runs write down for the report (feature `report`).
//!
//! # Hot path and cold path
//!
//! A submission encodes the arguments and looks once at the slot table. A value that is there goes straight into a finished
//! task ([`hit`]). [`fetch_cold`](Call::fetch_cold) is kept apart, and out of line, so that it costs the hit nothing: it joins
//! a run in flight, or takes a ticket, claims the slot, makes the arguments owned and queues the run.
//!
//! A ticket comes before the claim: a submitter that waits for room in the queue has not promised anything to anyone.

mod boxed;
mod deadline;
pub(crate) mod engine;
pub(crate) mod execute;
mod explain;
pub(crate) mod format;
pub(crate) mod func;
pub(crate) mod generated;
mod glance;
mod hit;
pub(crate) mod identity;
pub(crate) mod insert;
mod keep;
pub(crate) mod key;
mod launch;
mod limit;
pub(crate) mod named;
mod origin;
pub(crate) mod polled;
#[cfg(feature = "report")]
mod record;
pub(crate) mod recorded;
pub(crate) mod retry;
mod settings;
mod spawn;
mod storage;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::contain::panic_text;
use crate::error::Error;
use crate::event::{Event, Tally, count};
use crate::flight::cell::{Cell, Interest};
use crate::flight::claim::{Claim, Guard, Peek, Place};
use crate::flight::{AnyFlight, Flight};
use crate::ids;
use crate::memo::disk::tier::Found as OnDisk;
use crate::memo::history::Fate;
use crate::memo::is_fresh;
use crate::run::{Patience, Refused, Ticket};
use crate::sync::atomic::AtomicBool;
use crate::sync::{Arc, OnceLock};
use crate::task::{Source, Task};
pub use boxed::BoxedArgs;
use engine::{Engine, Entry};
use execute::CallFlight;
pub use explain::Explain;
use func::{Encode, Handle, Start};
use glance::Glance;
use hit::{Found, as_outcome};
use identity::Identity;
use key::{EncodeError, Encoder, Key, SlotKey};
use launch::Launch;
use origin::Origin;
pub(crate) use spawn::spawn;
pub(crate) use storage::Eager;
use storage::Stage;

/// A function bound to its arguments: what [`Pool::submit`](crate::Pool::submit) takes.
///
/// Not boxed: a hit allocates nothing but what the arguments themselves did. It may borrow them (`lex::call(&text)`
/// of a `#[memo]` function): they are read where they lie, and made owned only when a run starts.
///
/// # Examples
///
/// ```
/// use memopool::{Func, Pool, memo};
///
/// #[memo]
/// fn word_count(text: &str) -> usize {
///     text.split_whitespace().count()
/// }
///
/// let text = "to be or not to be".repeat(1000);
/// let pool = Pool::new();
/// pool.run(word_count::call(&text))?;
/// assert!(pool.get(&word_count::call(&text)).is_some());
/// # Ok::<(), memopool::Error>(())
/// ```
#[must_use = "a call does nothing until it is submitted to a pool"]
pub struct Call<A, R: 'static> {
    core: Handle<R>,
    args: A,
    encode: Encode<A>,
    start: Start<A, R>,
    refresh: bool,
}

/// Where a call's result lies: enough to tell its [`Key`], which is computed when asked for.
#[derive(Clone, Copy)]
pub(crate) struct KeyRef {
    pub(crate) slot: SlotKey,
    identity: &'static Identity,
}

impl KeyRef {
    pub(crate) fn key(&self) -> Key {
        self.slot.key(&self.identity.digest)
    }
}

impl<A, R: Send + Sync + 'static> Call<A, R> {
    #[inline]
    fn new(core: Handle<R>, args: A, encode: Encode<A>, start: Start<A, R>) -> Self {
        Call { core, args, encode, start, refresh: false }
    }

    /// The key: a digest of the function's identity and the arguments. [`Key`] says for how long it stays the same.
    ///
    /// # Panics
    ///
    /// When the arguments can't be encoded. (`submit` gives a failed task instead.)
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::Func;
    /// let square = Func::new("square", |n: u64| n * n);
    /// assert_eq!(square.call(3).key(), square.call(3).key());
    /// assert_ne!(square.call(3).key(), square.call(4).key());
    /// println!("{}", square.call(3).key()); // 64 hexadecimal digits
    /// ```
    pub fn key(&self) -> Key {
        match self.probe() {
            Ok(slot) => self.key_ref(slot).key(),
            Err(error) => panic!("{error}"),
        }
    }

    /// The same call, to be computed anew whatever is kept; the result replaces it. A run in flight goes on for those
    /// who wait for it, but is not kept.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let now = Func::named("now").in_memory().func(|(): ()| std::time::Instant::now());
    /// let pool = Pool::new();
    /// let first = pool.run(now.call(()))?;
    /// let newer = pool.run(now.call(()).refresh())?;
    /// assert!(newer > first);
    /// assert_eq!(pool.run(now.call(()))?, newer);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn refresh(mut self) -> Self {
        self.refresh = true;
        self
    }

    /// Whether it is computed whatever is kept. A pool that never computes reads instead.
    #[inline]
    fn refreshes(&self, engine: &Engine) -> bool {
        self.refresh && !engine.recorded.is_on()
    }

    /// [`fetch_cold`](Self::fetch_cold), however long the queue is full.
    #[cold]
    #[inline(never)]
    fn fetch_endlessly(self, engine: &Arc<Engine>, slot: SlotKey, found: Found<R>, eager: Eager) -> Task<R> {
        match self.fetch_cold(engine, slot, found, Patience::Endless, eager) {
            Ok(task) => task,
            Err(_) => unreachable!("only a submission that does not wait is turned away"),
        }
    }

    /// Everything that is not a plain hit: a result with a TTL, a run to join, a run to lead.
    #[cold]
    #[inline(never)]
    fn fetch_cold(
        mut self,
        engine: &Arc<Engine>,
        slot: SlotKey,
        found: Found<R>,
        patience: Patience,
        eager: Eager,
    ) -> Result<Task<R>, Self> {
        let vacant = match found {
            Found::Value(value) => return Ok(Task::hit(value, self.key_ref(slot))),
            Found::Error(error) => {
                return Ok(Task::ready(Err(error), Some(Source::Memory), Some(self.key_ref(slot))));
            }
            Found::Refused(error) => return Ok(self.refuse(engine, error)),
            Found::Vacant => true,
            Found::Other => false,
            Found::Ended if engine.runner.admits() => self.refreshes(engine),
            Found::Ended => return Ok(self.refuse(engine, Error::shutdown())),
        };
        self.refresh = self.refreshes(engine);
        let tally = engine.tally(self.core.identity);
        // What comes after a look that found nothing is as good as a run that was joined: it needs no clock.
        let now = if vacant { 0 } else { engine.reads_at() };
        if !vacant {
            let found = engine.slots.peek(&slot, |entry| read(entry, now), join::<R>);
            if let Some(task) = self.settle(engine, &tally, slot, found) {
                return Ok(task);
            }
        }
        let digest = OnceLock::new();
        let looked = match eager {
            Eager::AtHand => self.glance(engine, &tally, &slot, &digest),
            Eager::Nothing | Eager::Anything => Glance::NotAtHand,
        };
        if let Glance::Taken(task) = looked {
            return Ok(task);
        }
        let ticket = match Ticket::admit(engine, patience) {
            Ok(ticket) => ticket,
            Err(Refused::QueueFull) => return Err(self),
            Err(Refused::Shutdown) => return Ok(self.refuse(engine, Error::shutdown())),
        };
        let key = self.key_ref(slot);
        let origin = Origin { digest, ..Origin::new(Some(key), &tally, engine) };
        let flight = new_flight::<R>(origin, self.core.timeout.is_some());
        let erased = AnyFlight { flight: Arc::clone(&flight) as _, owner: self.core.owner() };
        let (claim, displaced) = if self.refresh {
            let (generation, displaced) = engine.slots.lead_anew(slot, erased);
            (Claim::Leader(generation), displaced)
        } else {
            engine.slots.claim(slot, erased, |entry| read(entry, now), join::<R>)
        };
        let fate = match displaced.as_ref().and_then(|slot| slot.running()) {
            _ if self.refresh => Fate::Refreshed,
            // It could not be joined.
            Some(_) => Fate::GivenUp,
            None => Fate::Expired,
        };
        engine.note_displaced(slot.hash(), &displaced, fate);
        let found = match claim {
            Claim::Leader(generation) => {
                count(&tally.led);
                let place = Place { table: Arc::clone(&engine.slots), generation };
                let guard = Guard::new(Some(place), Arc::clone(&flight));
                let Call { core, args, start, refresh, .. } = self;
                engine.spiller(core.owner(), || storage::spiller(&core));
                let (stage, doubtful) = match looked {
                    Glance::InVain { doubtful } => (Stage::Claim, doubtful),
                    _ => (engine.first_stage(core.format.is_some(), refresh), false),
                };
                let awaited = eager == Eager::Anything;
                let launch =
                    Launch { flight: &flight, guard, core: Some(core), ticket, stage, doubtful, awaited };
                launch.go(engine, |core| match core {
                    Some(core) => start(args, core),
                    None => unreachable!("a call has a core"),
                });
                // Its `Drop` may submit this very call: by now there is somebody who runs it.
                engine.drop_displaced(slot.hash(), displaced);
                return Ok(Task::in_flight(flight, 0, None));
            }
            Claim::Hit(hit) => Peek::Hit(hit),
            Claim::Follower(follower) => Peek::Running(follower),
        };
        // Somebody was faster between the look and the claim.
        drop(ticket);
        engine.drop_displaced(slot.hash(), displaced);
        match self.settle(engine, &tally, slot, found) {
            Some(task) => Ok(task),
            None => unreachable!("a claim that does not lead has found something"),
        }
    }

    /// A task from a hit or a join, counted.
    fn settle(&self, engine: &Engine, tally: &Tally, slot: SlotKey, found: Seen<R>) -> Option<Task<R>> {
        match found {
            Peek::Hit(Read { value, cost }) => {
                tally.hit(cost);
                engine.emit(&Event::Hit { function: tally.name });
                Some(Task::ready(as_outcome(value), Some(Source::Memory), Some(self.key_ref(slot))))
            }
            Peek::Running((flight, interest)) => {
                count(&tally.joined);
                flight.origin.span.joined();
                engine.emit(&Event::Joined { function: tally.name });
                Some(Task::in_flight(flight, interest, Some(Source::Joined)))
            }
            Peek::Stale | Peek::Vacant => None,
        }
    }

    /// A task that failed before it began.
    #[cold]
    fn refuse(&self, engine: &Engine, error: Error) -> Task<R> {
        count(&engine.tally(self.core.identity).led);
        Task::ready(Err(error), None, None)
    }

    /// What is kept, without computing and without counting as a submission.
    pub(crate) fn get(&self, engine: &Engine) -> Option<Arc<R>> {
        let slot = self.probe().ok()?;
        let peek = |now| {
            let read = |entry: &Entry| {
                engine.memory.touch(&entry.touched, slot.hash());
                read(entry, now)
            };
            engine.slots.peek(&slot, read, |_| None::<()>)
        };
        // Most never expire, and need no clock.
        let found = match peek(u64::MAX) {
            Peek::Stale => peek(engine.reads_at()),
            found => found,
        };
        match (found, &engine.disk) {
            (Peek::Hit(Read { value, .. }), _) => value.downcast().ok(),
            (_, None) => None,
            (_, Some(tier)) => {
                let key = self.key_ref(slot).key();
                match storage::read(
                    tier,
                    &self.core,
                    key.as_bytes(),
                    None,
                    || Some(engine.tally(self.core.identity)),
                    || engine.reads_at(),
                ) {
                    OnDisk::Value(outcome, _) => outcome.ok(),
                    OnDisk::Nothing(_) => None,
                }
            }
        }
    }

    /// Ends the key's generation.
    pub(crate) fn forget(&self, engine: &Engine) -> Result<(), Error> {
        let slot = self.probe()?;
        // First on disk: who reads it there afterwards finds nothing, and who has read it before is in the slot, or is told.
        let forgotten = match &engine.disk {
            Some(tier) if self.core.format.is_some() => tier.forget(self.key_ref(slot).key().as_bytes()),
            _ => Ok(()),
        };
        engine.displaced(slot.hash(), engine.slots.remove(slot), Fate::Forgotten);
        forgotten
    }

    pub(crate) fn explain(&self, engine: &Engine) -> Explain {
        let slot = match self.probe() {
            Ok(slot) => slot,
            Err(error) => return Explain::Invalid(error),
        };
        let now = engine.reads_at();
        match engine.slots.peek(&slot, |entry| read(entry, now), is_open::<R>) {
            Peek::Hit(_) => Explain::InMemory,
            Peek::Running(()) => Explain::InFlight,
            Peek::Stale => Explain::Expired,
            Peek::Vacant => {
                let fate = engine.history.recall(slot.hash());
                match engine.disk.as_ref().filter(|_| self.core.format.is_some()) {
                    None => Explain::of(fate),
                    Some(tier) => {
                        let key = self.key_ref(slot).key();
                        let tally = || engine.tally(self.core.identity);
                        storage::explain(tier, &self.core, key.as_bytes(), tally, now, fate, |digest| {
                            self.key_under(digest)
                        })
                    }
                }
            }
        }
    }

    /// The key that the same arguments have with the identity of that digest.
    fn key_under(&self, digest: &[u8; 32]) -> Option<Key> {
        let digest = func::with_state(digest, self.core.state);
        let mut encoder = Encoder::new(&digest, 0, false);
        self.encode(&mut encoder).ok()?;
        Some(encoder.finish().key(&digest))
    }

    /// The key of the arguments.
    fn probe(&self) -> Result<SlotKey, Error> {
        let mut encoder = self.encoder();
        self.encode(&mut encoder)?;
        Ok(encoder.finish())
    }

    #[inline]
    fn encoder(&self) -> Encoder<'_> {
        let core = &*self.core;
        Encoder::new(&core.digest, core.identity.id, core.state.is_none())
    }

    /// Encodes the arguments where they lie. Their `Serialize` is user code: it may fail, or panic.
    #[inline]
    fn encode(&self, encoder: &mut Encoder<'_>) -> Result<(), Error> {
        if let Some(error) = &self.core.invalid {
            return Err(error.clone());
        }
        // Not `contain`: what it gives is made of more words, and costs a hit some thirty instructions.
        match catch_unwind(AssertUnwindSafe(|| (self.encode)(&self.args, encoder))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.not_encoded(&error)),
            Err(panic) => Err(self.not_encoded(&encoder.panicked(panic_text(&*panic)))),
        }
    }

    #[cold]
    fn not_encoded(&self, error: &EncodeError) -> Error {
        Error::invalid(format!("`{}`: {error}", self.core.identity.name))
    }

    #[inline]
    fn key_ref(&self, slot: SlotKey) -> KeyRef {
        KeyRef { slot, identity: self.core.identity }
    }
}

/// What a look at the slot table found.
type Seen<R> = Peek<Read, (Arc<CallFlight<R>>, Interest)>;

/// What a hit takes from an entry.
struct Read {
    value: Arc<dyn Any + Send + Sync>,
    cost: u64,
}

/// An entry that may be used at `now`.
fn read(entry: &Entry, now: u64) -> Option<Read> {
    is_fresh(entry.expires, now).then(|| Read { value: Arc::clone(&entry.value), cost: entry.cost })
}

/// A run that can be joined.
fn join<R: Send + Sync + 'static>(flight: &AnyFlight) -> Option<(Arc<CallFlight<R>>, Interest)> {
    let flight: Arc<dyn Any + Send + Sync> = Arc::clone(&flight.flight) as _;
    let flight = flight.downcast::<CallFlight<R>>().ok()?;
    let interest = flight.cell.join()?;
    Some((flight, interest))
}

/// Whether a run could be joined.
fn is_open<R: Send + Sync + 'static>(flight: &AnyFlight) -> Option<()> {
    let flight: &dyn Any = &*flight.flight;
    let flight = flight.downcast_ref::<CallFlight<R>>()?;
    flight.cell.is_open().then_some(())
}

fn new_flight<R>(origin: Origin, timed: bool) -> Arc<CallFlight<R>> {
    let (parked, kept) = (AtomicBool::new(false), AtomicBool::new(false));
    Arc::new(Flight { id: ids::unique(), timed, parked, kept, origin, cell: Cell::new() })
}

impl<A, R> fmt::Debug for Call<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the arguments: they may be secret, or large.
        write!(f, "Call({})", self.core.identity.name)
    }
}

impl fmt::Debug for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key())
    }
}
