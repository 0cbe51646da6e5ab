//! One run, from the moment its job is made until its last callback: attempts, time, what is kept.
//!
//! A [`Run`] is the job. It owns the leader's guard and its ticket, so wherever it is dropped, its waiters are told and
//! its pool counts it as gone. What is kept is decided here, in this order: nobody is left who wants it (the body may
//! have cut corners), it was cheap, it can't be weighed, it fits neither in memory nor on disk, its generation has ended.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::KeyRef;
use super::deadline::Deadline;
use super::engine::{Engine, Entry, nanos};
use super::format::KeptError;
use super::func::{Attempts, Core, Handle, Raised, Weigh};
use super::key::SlotKey;
use super::retry::Course;
use super::storage::{self, Kept, Next, Stage, Unkept};
use crate::config::MIN_WEIGHT;
use crate::contain::contain;
use crate::error::Error;
use crate::event::{Event, Tally, count};
use crate::flight::claim::Guard;
use crate::flight::{AnyFlight, Flight, Outcome};
use crate::memo::disk::payload::{Meta, Packed};
use crate::memo::disk::put::Permit;
use crate::memo::disk::tier::Tier;
use crate::memo::history::Fate;
use crate::observe::Span;
use crate::run::context::{self, Frame};
use crate::run::limit::Turn;
use crate::run::wait_graph::{AnyNode, Node};
use crate::run::{Runner, Ticket, Unit};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::{Arc, now};

/// Which call a flight computes.
#[derive(Debug)]
pub(crate) struct Origin {
    /// `None`: a spawned closure.
    pub(crate) key: Option<KeyRef>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) runner: Arc<Runner>,
    /// The outcome was not computed, but read from disk.
    pub(crate) from_disk: AtomicBool,
    pub(crate) course: Course,
    /// Opened where it was submitted, entered where it runs.
    pub(crate) span: Span,
}

/// A flight of this crate's calls.
pub(crate) type CallFlight<R> = Flight<Origin, R, Run<R>>;

/// A leader's guard over it.
pub(super) type Lead<R> = Guard<SlotKey, Entry, AnyFlight, Arc<CallFlight<R>>>;

/// See the [module](self).
pub(crate) struct Run<R: 'static> {
    pub(super) engine: Arc<Engine>,
    pub(super) flight: Arc<CallFlight<R>>,
    pub(super) guard: Lead<R>,
    /// `None`: a spawned closure, whose value is nobody else's.
    pub(super) core: Option<Handle<R>>,
    pub(super) attempts: Attempts<R>,
    pub(super) ticket: Ticket,
    pub(super) stage: Stage,
    /// The disk had a record of it that could not be decoded.
    pub(super) doubtful: bool,
    /// To write to the disk; `None` without one.
    pub(super) permit: Option<Permit>,
    /// For a slot; `None` without a limit.
    pub(super) turn: Option<Turn>,
}

/// What became of the attempts.
enum Verdict<R> {
    Ended(Result<R, Failure>),
    /// To be made again, after that rest.
    Rest(Duration),
}

/// Why a body gave no value.
enum Failure {
    Raised(Raised),
    Panicked(Box<dyn Any + Send>),
}

impl<R: Send + Sync + 'static> Run<R> {
    /// Runs it. Nothing gets out of it: what still panics here is the `Drop` of something of the user's.
    pub(crate) fn run(self) {
        let _ = contain(|| self.perform());
    }

    /// Its guard settles the cell. The callbacks run here and with its ticket, so they are inside of the pool: one that
    /// ends the pool does not wait for that. Its arguments' `Drop` is user code.
    fn abandon(self) {
        let _frame = context::enter(frame(&self.engine, &self.flight));
        let _ = contain(|| drop(self));
    }

    fn perform(mut self) {
        if self.rests() {
            return self.rest_on();
        }
        self.ticket.start();
        let helped = self.stage != Stage::Compute && context::is_inside(self.engine.runner.id);
        let frame = context::enter(frame(&self.engine, &self.flight));
        if self.stage != Stage::Compute {
            #[cfg(feature = "report")]
            let asked = now();
            match self.approach(helped) {
                Next::Compute => {}
                Next::Found(outcome, meta) => {
                    #[cfg(feature = "report")]
                    super::record::read(&self.engine, &self.flight.origin, asked);
                    return self.found(outcome, &meta);
                }
                Next::Requeue => {
                    drop(frame);
                    return self.defer(None);
                }
                Next::Await(holder) => {
                    drop(frame);
                    return self.defer(Some(holder));
                }
            }
        }
        if self.must_not_run() {
            return self.missed();
        }
        if self.turn.as_ref().is_some_and(|turn| !turn.enter()) {
            drop(frame);
            return self.wait_for_slot();
        }
        let inside = self.turn.as_ref().map(Turn::run);
        #[cfg(feature = "report")]
        let why = super::record::why(&self.engine, &self.flight.origin);
        let started = now();
        let verdict = self.attempt();
        let took = self.flight.origin.course.spend(started.elapsed());
        context::resume();
        drop(inside);
        let result = match verdict {
            Verdict::Ended(result) => result,
            Verdict::Rest(rest) => {
                drop(frame);
                return self.rest(rest);
            }
        };
        let Run { engine, flight, guard, core, attempts, ticket, permit, turn, .. } = self;
        #[cfg(feature = "report")]
        super::record::ran(&engine, &flight.origin, core.as_deref(), why, took);
        // The arguments' `Drop` is user code.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(attempts)));
        drop(turn);
        let bench = Bench { engine: &engine, flight: &flight, core: core.as_deref() };
        bench.conclude(guard, result, took, permit);
        drop(frame);
        drop(ticket);
    }

    /// Calls the body until it gives a value, panics, has no attempts left, or has to rest before the next.
    fn attempt(&mut self) -> Verdict<R> {
        let Run { engine, flight, core, attempts, .. } = self;
        let bench = Bench { engine, flight, core: core.as_deref() };
        let (origin, retries) = (&flight.origin, bench.core.map_or(0, |core| core.retries));
        let mut attempt = origin.course.made();
        if attempt == 0 {
            engine.emit(&Event::Started { function: bench.name() });
        }
        loop {
            bench.begin_attempt(attempt);
            let result = catch_unwind(AssertUnwindSafe(|| attempts(attempt == retries)));
            origin.course.one_more();
            match result {
                Ok(Ok(value)) => return Verdict::Ended(Ok(value)),
                Ok(Err(raised)) if attempt == retries || bench.is_unwanted() => {
                    return Verdict::Ended(Err(Failure::Raised(raised)));
                }
                Ok(Err(raised)) => {
                    let rest = bench.retried(attempt, &raised);
                    if !rest.is_zero() {
                        return Verdict::Rest(rest);
                    }
                }
                Err(panic) => return Verdict::Ended(Err(Failure::Panicked(panic))),
            }
            attempt += 1;
        }
    }

    /// The disk had it.
    #[inline(never)]
    pub(super) fn found(self, outcome: Outcome<R>, meta: &Meta) {
        let Run { engine, flight, guard, core, attempts, ticket, .. } = self;
        // The arguments' `Drop` is user code.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(attempts)));
        let tally = &flight.origin.tally;
        flight.origin.from_disk.store(true, Ordering::Release);
        count(&tally.disk_hits);
        if let (Some(disk), Some(core)) = (&engine.disk, &core) {
            storage::announce(&engine, disk, core, tally);
        }
        let shared = u64::from(flight.cell.interests());
        tally.disk_nanos.fetch_add(meta.compute.saturating_mul(shared), Ordering::Relaxed);
        engine.emit(&Event::DiskHit { function: tally.name, bytes: meta.raw_len });
        let bench = Bench { engine: &engine, flight: &flight, core: core.as_deref() };
        let value: Arc<dyn Any + Send + Sync> = match &outcome {
            Ok(value) => Arc::clone(value) as _,
            Err(error) => Arc::new(error.clone()),
        };
        let weight = bench.weight_of(outcome.as_deref().ok(), Some(meta.raw_len)).ok();
        let weight = weight.filter(|weight| engine.memory.fits(*weight));
        let place = Keep { weight, kept: None, expires: meta.expires, cost: meta.compute };
        bench.resolve(guard, place, value, outcome, None);
        drop(ticket);
    }
}

/// How an outcome is kept.
struct Keep {
    /// In memory: how heavy it is.
    weight: Option<u64>,
    /// On disk: its bytes.
    kept: Option<Kept>,
    /// Nanoseconds since the Unix epoch; 0: never.
    expires: u64,
    /// What it took, in nanoseconds.
    cost: u64,
}

/// What the steps of a run look at.
struct Bench<'a, R: 'static> {
    engine: &'a Arc<Engine>,
    flight: &'a Arc<CallFlight<R>>,
    core: Option<&'a Core<R>>,
}

impl<R: Send + Sync + 'static> Bench<'_, R> {
    fn name(&self) -> &'static str {
        self.flight.origin.tally.name
    }

    /// The body is about to be called.
    fn begin_attempt(&self, attempt: u32) {
        let Some(core) = self.core else { return };
        core.identity.runs.fetch_add(1, Ordering::Relaxed);
        if let Some(timeout) = core.timeout {
            self.set_alarm(timeout, attempt);
        }
    }

    /// An attempt failed and is to be made again: after which rest?
    #[inline(never)]
    fn retried(&self, attempt: u32, raised: &Raised) -> Duration {
        let backoff = self.core.and_then(|core| core.backoff);
        let rest = backoff.map_or(Duration::ZERO, |backoff| backoff.after(attempt));
        count(&self.flight.origin.tally.retried);
        let (function, error) = (self.name(), &*raised.error);
        self.engine.emit(&Event::Retried { function, attempt: attempt + 1, rest, error });
        rest
    }

    /// At the deadline of this attempt its waiters leave; the body can't be killed, but it can see that.
    ///
    /// Out of line, as [`conclude`](Self::conclude) is: what they need of the stack must not lie below the body.
    #[inline(never)]
    fn set_alarm(&self, timeout: Duration, attempt: u32) {
        let Some(at) = now().checked_add(timeout) else { return };
        let deadline = Deadline::new(self.engine, self.flight, timeout, attempt);
        // Without a thread for the timer the body has no timeout: better than no body.
        let _ = self.engine.runner.timer().at(at, Box::new(deadline));
    }

    /// Its waiters have left, for whatever reason.
    fn is_unwanted(&self) -> bool {
        self.flight.cell.is_given_up() || self.flight.cell.is_done()
    }

    #[inline(never)]
    fn conclude(&self, guard: Lead<R>, result: Result<R, Failure>, took: Duration, permit: Option<Permit>) {
        let tally = &self.flight.origin.tally;
        if self.flight.cell.is_done() {
            // It ran over its timeout: counted then, and nobody waits for what it still says.
            let _ = contain(|| drop(result));
            return guard.fail(Err(Error::cancelled()));
        }
        match result {
            Ok(value) => {
                count(&tally.computed);
                let joined = u64::from(self.flight.cell.interests() - 1);
                tally.compute_nanos.fetch_add(nanos(took), Ordering::Relaxed);
                tally.joined_nanos.fetch_add(nanos(took).saturating_mul(joined), Ordering::Relaxed);
                self.engine.emit(&Event::Computed { function: tally.name, took });
                let value = Arc::new(value);
                let keep = self.keep_value(&value, took, permit.as_ref());
                self.resolve(guard, keep, Arc::clone(&value) as _, Ok(value), permit);
            }
            Err(failure) => {
                let (error, kept, fate) = match failure {
                    Failure::Raised(raised) => {
                        count(&tally.failed);
                        (Error::failed(tally.name, raised.error), raised.kept, Fate::Failed)
                    }
                    Failure::Panicked(payload) => {
                        count(&tally.panicked);
                        let error = Error::panic(tally.name, &*payload);
                        // A payload's `Drop` is user code, too.
                        let _ = contain(|| drop(payload));
                        (error, None, Fate::Panicked)
                    }
                };
                self.engine.emit(&Event::Failed { function: tally.name, error: &error });
                self.engine.note(&self.flight.origin, fate);
                let keep = self.keep_error(kept.filter(|_| !self.is_unwanted()), took, permit.as_ref());
                if keep.kept.is_none()
                    && let (Some(disk), Some(permit)) = (&self.engine.disk, &permit)
                {
                    disk.note(fate, permit);
                }
                self.resolve(guard, keep, Arc::new(error.clone()), Err(error), permit);
            }
        }
    }

    /// Keeps the outcome where it may be kept, and settles the cell either way.
    fn resolve(
        &self,
        guard: Lead<R>,
        keep: Keep,
        value: Arc<dyn Any + Send + Sync>,
        outcome: Outcome<R>,
        permit: Option<Permit>,
    ) {
        let tally = &self.flight.origin.tally;
        let (Some(core), Some(key)) = (self.core, &self.flight.origin.key) else {
            drop(value);
            return guard.fail(outcome);
        };
        let Keep { weight, kept, expires, cost } = keep;
        #[cfg(feature = "report")]
        if let Some(bytes) = weight.or(kept.as_ref().map(|kept| kept.encoded.bytes)) {
            tally.record.sized(bytes);
        }
        let spill = || {
            if let (Some(disk), Some(kept), Some(permit)) = (&self.engine.disk, kept, permit) {
                disk.put(storage::put(core, kept, expires, cost, tally, self.engine.now(), permit));
            }
        };
        let Some(weight) = weight else {
            drop(value);
            guard.pass(spill, outcome);
            return self.hold_back();
        };
        let touched = AtomicU32::new(0);
        let owner = core.owner();
        let entry = Entry { value, weight, expires, cost, touched, owner, tally: Arc::clone(tally) };
        let kept = |generation| {
            spill();
            self.engine.account(&key.slot, generation, weight, tally);
        };
        if guard.publish(entry, kept, outcome).is_some() {
            // Forgotten, refreshed or cleared while it ran: its waiters have it, the cache does not.
            self.engine.note(&self.flight.origin, Fate::Forgotten);
        }
        self.hold_back();
    }

    /// Where results pend for the disk beyond their bound, the worker waits: after its waiters were told.
    fn hold_back(&self) {
        if let Some(disk) = &self.engine.disk {
            disk.hold_back();
        }
    }

    /// How a value is to be kept.
    fn keep_value(&self, value: &R, took: Duration, permit: Option<&Permit>) -> Keep {
        let mut keep = Keep { weight: None, kept: None, expires: self.expires(), cost: nanos(took) };
        let Some(core) = self.core else { return keep };
        let origin = &self.flight.origin;
        if self.is_unwanted() {
            self.engine.note(origin, Fate::GivenUp);
            return keep;
        }
        if took <= core.cost_above && core.cost_above > Duration::ZERO {
            self.engine.note(origin, Fate::Cheap);
            return keep;
        }
        let mut bytes = None;
        if let Some(disk) = self.disk_for(core, permit) {
            storage::announce(self.engine, disk, core, &origin.tally);
            let doubtful = permit.is_some_and(Permit::is_doubtful);
            let checked = !doubtful && origin.tally.checked.load(Ordering::Relaxed);
            match storage::encode(disk, core, value, checked) {
                Ok(kept) => {
                    // What was streamed to a file was not read back.
                    if let Packed::Bytes { .. } = kept.packed {
                        origin.tally.checked.store(true, Ordering::Relaxed);
                    }
                    bytes = Some(kept.encoded.bytes);
                    keep.kept = Some(kept);
                }
                Err(unkept) => {
                    if let Unkept::Unfit(_, written) = &unkept {
                        bytes = Some((*written).max(size_of::<R>() as u64));
                    }
                    unkept.tell(disk, &origin.tally);
                }
            }
        }
        let (fate, reason) = match self.weight_of(Some(value), bytes) {
            Ok(weight) if self.engine.memory.fits(weight) => {
                keep.weight = Some(weight);
                return keep;
            }
            Ok(_) if keep.kept.is_some() => return keep,
            Ok(weight) => (
                Fate::TooLarge,
                format!(
                    "it weighs {weight} bytes, more than the whole memory of {}; give the pool more `memory`",
                    self.engine.memory.bound()
                ),
            ),
            Err(reason) => (Fate::NotWeighed, reason),
        };
        self.engine.note(origin, fate);
        self.engine.emit(&Event::NotStored { function: self.name(), reason: &reason });
        keep
    }

    /// The disk, if what this run ends in is to be written now. (A function whose results never leave memory has no permit.)
    fn disk_for(&self, core: &Core<R>, permit: Option<&Permit>) -> Option<&Tier> {
        let disk = self.engine.disk.as_ref()?;
        disk.takes(&self.flight.origin.tally, permit?, &core.digest).then_some(disk)
    }

    /// How an error is to be kept, if at all.
    fn keep_error(&self, error: Option<KeptError>, took: Duration, permit: Option<&Permit>) -> Keep {
        let mut keep = Keep { weight: None, kept: None, expires: self.expires(), cost: nanos(took) };
        let Some(error) = error else { return keep };
        let weight = (error.bytes.len() as u64).max(MIN_WEIGHT);
        keep.weight = Some(weight).filter(|weight| self.engine.memory.fits(*weight));
        let revives = self.core.and_then(|core| core.format).is_some_and(|format| format.revive.is_some());
        if let Some(disk) = self.core.and_then(|core| self.disk_for(core, permit.filter(|_| revives))) {
            keep.kept = storage::error(disk, error);
        }
        keep
    }

    /// When what is computed now expires.
    fn expires(&self) -> u64 {
        match self.core.and_then(|core| core.ttl) {
            None => 0,
            Some(ttl) => self.engine.now().saturating_add(nanos(ttl)).max(1),
        }
    }

    /// The weight of an outcome in memory, whose encoding has so many `bytes` if it was encoded.
    fn weight_of(&self, value: Option<&R>, bytes: Option<u64>) -> Result<u64, String> {
        let (Some(core), Some(value)) = (self.core, value) else {
            return Ok(bytes.unwrap_or(0).max(MIN_WEIGHT));
        };
        let weighed = catch_unwind(AssertUnwindSafe(|| match (core.weigh, bytes) {
            (Weigh::Given(weigh), _) => Ok(weigh(value)),
            (Weigh::Encoded(_), Some(bytes)) => Ok(bytes.max(MIN_WEIGHT)),
            (Weigh::Encoded(size), None) => size(value).map(|bytes| bytes.max(MIN_WEIGHT)),
            (Weigh::Plain, _) => Ok((size_of::<R>() as u64).max(MIN_WEIGHT)),
        }));
        match weighed {
            Ok(weight) => {
                weight.map_err(|error| format!("it can't be encoded: {error}; make the function `in_memory`"))
            }
            Err(panic) => Err(format!("weighing it panicked: {}", crate::error::panic_text(&*panic))),
        }
    }
}

/// What a thread knows while it runs a body, or its callbacks.
pub(super) fn frame<R: Send + Sync + 'static>(engine: &Arc<Engine>, flight: &Arc<CallFlight<R>>) -> Frame {
    let pool: Arc<dyn Any + Send + Sync> = Arc::clone(engine) as _;
    let (node, span) = (Arc::clone(flight) as AnyNode, flight.origin.span.clone());
    Frame { node, runner: Arc::clone(&engine.runner), pool, span }
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
        let (tally, runner) = (Arc::clone(tally), Arc::clone(&engine.runner));
        let span = Span::of_run(tally.name, key.as_ref());
        Origin { key, tally, runner, from_disk: AtomicBool::new(false), course: Course::default(), span }
    }

    /// `name(#short-key)`, or the name alone.
    pub(crate) fn label(&self) -> String {
        match &self.key {
            Some(key) => format!("{}(#{})", self.tally.name, key.key().short()),
            None => self.tally.name.to_owned(),
        }
    }
}

impl<R: Send + Sync + 'static> Unit for CallFlight<R> {
    fn is_pending(&self) -> bool {
        self.cell.is_queued()
    }

    fn perform(&self) {
        if let Some(run) = self.cell.start() {
            run.run();
        }
    }

    fn mark_parked(&self, parked: bool) {
        self.parked.store(parked, Ordering::Release);
    }

    fn abandon(&self) {
        if let Some(run) = self.cell.start() {
            run.abandon();
        }
    }
}

impl<R: Send + Sync + 'static> Node for CallFlight<R> {
    fn id(&self) -> u64 {
        self.id
    }

    fn label(&self) -> String {
        self.origin.label()
    }

    fn home(&self) -> u64 {
        self.origin.runner.id
    }

    fn is_done(&self) -> bool {
        self.cell.is_done()
    }

    fn is_starving(&self) -> bool {
        self.origin.runner.is_starving() && self.cell.is_queued()
    }

    fn is_given_up(&self) -> bool {
        self.cell.is_given_up()
    }
}
