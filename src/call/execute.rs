//! One run, from the moment its job is made until its last callback: attempts, time, outcome.
//!
//! A [`Run`] is the job. It owns the leader's guard and its ticket, so wherever it is dropped, its waiters are told and
//! its pool counts it as gone. What is kept is decided in [`keep`](super::keep).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::deadline::Deadline;
use super::engine::{Engine, Entry, nanos};
use super::func::{Attempts, Core, Handle, Raised};
use super::glance::as_any;
use super::keep::Keep;
use super::key::SlotKey;
use super::origin::Origin;
use super::polled::{self, Answer, BodyFuture};
use super::storage::{self, Next, Stage};
use crate::contain::contain;
use crate::error::Error;
use crate::event::{Event, count};
use crate::flight::claim::Guard;
use crate::flight::{AnyFlight, Flight, Outcome};
use crate::ids::add_up;
use crate::memo::disk::payload::Meta;
use crate::memo::disk::put::Permit;
use crate::memo::history::Fate;
use crate::run::context::{self, Body, Entered, Frame};
use crate::run::limit::Turn;
use crate::run::wait_graph::Node;
use crate::run::{Host, Runner, Ticket, Unit};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, now};

/// A flight of this crate's calls.
pub(crate) type CallFlight<R> = Flight<Origin, R, Run<R>>;

/// A leader's guard over it.
pub(super) type Lead<R> = Guard<SlotKey, Entry, AnyFlight, Arc<CallFlight<R>>>;

/// See the [module](self).
pub(crate) struct Run<R: 'static> {
    pub(super) flight: Arc<CallFlight<R>>,
    pub(super) guard: Lead<R>,
    /// Dropped before what is the user's, where the whole run is: the last handle of its pool may be among that, and waits
    /// until the last ticket has gone.
    pub(super) ticket: Ticket<Engine>,
    /// `None`: a spawned closure, whose value is nobody else's.
    pub(super) core: Option<Handle<R>>,
    pub(super) attempts: Attempts<R>,
    pub(super) stage: Stage,
    /// The disk had a record of it that could not be decoded.
    pub(super) doubtful: bool,
    /// To write to the disk; `None` without one. A run is moved about, so what is rare or large in it is elsewhere.
    pub(super) permit: Option<Box<Permit>>,
    /// For a slot; `None` without a limit.
    pub(super) turn: Option<Turn>,
    /// Why it must run.
    #[cfg(feature = "report")]
    pub(super) why: Option<crate::report::record::Why>,
}

/// What became of the attempts.
pub(super) enum Verdict<R> {
    Ended(Result<R, Failure>),
    /// To be made again, after that rest.
    Rest(Duration),
    /// The body is a future.
    Polled(BodyFuture<R>),
}

/// Why a body gave no value.
pub(super) enum Failure {
    Raised(Raised),
    Panicked(Panic),
}

/// What a body panicked with.
pub(super) type Panic = Box<dyn Any + Send>;

impl<R: Send + Sync + 'static> Run<R> {
    pub(super) fn engine(&self) -> &Arc<Engine> {
        self.ticket.host()
    }

    /// Runs it. Nothing gets out of it: what still panics here is the `Drop` of something of the user's.
    pub(crate) fn run(self) {
        let _ = contain(|| self.perform());
    }

    /// Its guard settles the cell. The callbacks run here and with its ticket, so they are inside of the pool: one that
    /// ends the pool does not wait for that. Its arguments' `Drop` is user code.
    pub(super) fn abandon(self) {
        let _frame = context::enter(frame(&self.flight));
        let _ = contain(|| drop(self));
    }

    fn perform(mut self) {
        if self.rests() {
            return self.rest_on();
        }
        self.ticket.start();
        let helped = self.stage != Stage::Compute && context::is_inside(self.engine().runner.id);
        let frame = context::enter(frame(&self.flight));
        if self.stage != Stage::Compute {
            match self.approach(helped) {
                Next::Compute => {}
                Next::Found(outcome, meta) => return self.found(outcome, &meta),
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
        self.ask_why();
        let started = self.is_timed().then(now);
        let verdict = self.attempt();
        let took = started.map_or(Duration::ZERO, |started| started.elapsed());
        context::resume();
        drop(inside);
        match verdict {
            Verdict::Ended(result) => self.end(result, took, frame),
            Verdict::Rest(rest) => {
                drop(frame);
                self.flight.origin.course.spend(took);
                self.rest(rest);
            }
            Verdict::Polled(future) => {
                drop(frame);
                polled::begin(self, future, started.unwrap_or_else(now));
            }
        }
    }

    /// Whether anybody is told how long it takes: of a closure only who listens to the pool is.
    fn is_timed(&self) -> bool {
        self.core.is_some() || self.engine().is_heard()
    }

    /// Its attempts are over, the last of which `took` that long.
    pub(super) fn end(self, result: Result<R, Failure>, took: Duration, frame: Entered) {
        let took = self.flight.origin.course.total(took);
        #[cfg(feature = "report")]
        self.record(took);
        let Run { flight, guard, core, attempts, ticket, permit, turn, .. } = self;
        // The arguments' `Drop` is user code.
        let _ = contain(|| drop(attempts));
        drop(turn);
        let bench = Bench { engine: ticket.host(), flight: &flight, core: core.as_deref() };
        bench.conclude(guard, result, took, permit);
        drop(frame);
        drop(ticket);
    }

    /// Calls the body until it gives a value, panics, has no attempts left, or has to rest before the next.
    pub(super) fn attempt(&mut self) -> Verdict<R> {
        let Run { ticket, flight, core, attempts, .. } = self;
        let bench = Bench { engine: ticket.host(), flight, core: core.as_deref() };
        if flight.origin.course.made() == 0 {
            bench.engine.emit(&Event::Started { function: bench.name() });
        }
        loop {
            let last = bench.begin_attempt();
            let result = match catch_unwind(AssertUnwindSafe(|| bench.engine.runner.call(|| attempts(last))))
            {
                Ok(Answer::Now(result)) => Ok(result),
                Ok(Answer::Later(future)) => return Verdict::Polled(future),
                Err(panic) => Err(panic),
            };
            if let Some(verdict) = bench.judge(result) {
                return verdict;
            }
        }
    }

    /// What to do after an attempt of an async body that gave this. `None`: the next, at once.
    pub(super) fn judge(&self, result: Result<Result<R, Raised>, Panic>) -> Option<Verdict<R>> {
        let bench = Bench { engine: self.engine(), flight: &self.flight, core: self.core.as_deref() };
        bench.judge(result)
    }

    /// It ends without having ended: its waiters get that error, if they have none.
    pub(super) fn fail(self, error: Error) {
        let Run { guard, attempts, ticket, permit, turn, .. } = self;
        // The arguments' `Drop` is user code.
        let _ = contain(|| drop(attempts));
        drop((turn, permit));
        guard.fail(Err(error));
        drop(ticket);
    }

    /// The disk had it.
    #[inline(never)]
    pub(super) fn found(self, outcome: Outcome<R>, meta: &Meta) {
        let Run { flight, guard, core, attempts, ticket, .. } = self;
        let engine = ticket.host();
        // The arguments' `Drop` is user code.
        let _ = contain(|| drop(attempts));
        flight.origin.from_disk.store(true, Ordering::Release);
        let shared = u64::from(flight.cell.interests());
        let found = |core: &Handle<R>| engine.found(core, &flight.origin.tally, &outcome, meta, shared);
        let weight = core.as_ref().and_then(found);
        let bench = Bench { engine, flight: &flight, core: core.as_deref() };
        let place = Keep { weight, kept: None, expires: meta.expires, cost: meta.compute };
        bench.resolve(guard, place, as_any(&outcome), outcome, None);
        // After those who wait have it: this may start the writer's thread.
        if let (Some(disk), Some(core)) = (&engine.disk, &core) {
            storage::announce(engine, disk, core, &flight.origin.tally);
        }
        drop(ticket);
    }
}

/// What the steps of a run look at.
pub(super) struct Bench<'a, R: 'static> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) flight: &'a Arc<CallFlight<R>>,
    pub(super) core: Option<&'a Core<R>>,
}

impl<R: Send + Sync + 'static> Bench<'_, R> {
    pub(super) fn name(&self) -> &'static str {
        self.flight.origin.tally.name
    }

    /// The body is about to be called. Returns whether it is for the last time.
    fn begin_attempt(&self) -> bool {
        let Some(core) = self.core else { return true };
        let attempt = self.flight.origin.course.made();
        core.identity.runs.fetch_add(1, Ordering::Relaxed);
        if let Some(timeout) = core.timeout {
            self.set_alarm(timeout, attempt);
        }
        attempt == core.retries
    }

    /// What to do after an attempt that gave this. `None`: the next, at once.
    fn judge(&self, result: Result<Result<R, Raised>, Panic>) -> Option<Verdict<R>> {
        let attempt = self.flight.origin.course.one_more();
        match result {
            Ok(Ok(value)) => Some(Verdict::Ended(Ok(value))),
            Ok(Err(raised)) if self.core.is_none_or(|core| attempt == core.retries) || self.is_unwanted() => {
                Some(Verdict::Ended(Err(Failure::Raised(raised))))
            }
            Ok(Err(raised)) => {
                let rest = self.retried(attempt, &raised);
                (!rest.is_zero()).then_some(Verdict::Rest(rest))
            }
            Err(panic) => Some(Verdict::Ended(Err(Failure::Panicked(panic)))),
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
    pub(super) fn is_unwanted(&self) -> bool {
        self.flight.cell.is_given_up() || self.flight.cell.is_done()
    }

    #[inline(never)]
    fn conclude(
        &self,
        guard: Lead<R>,
        result: Result<R, Failure>,
        took: Duration,
        permit: Option<Box<Permit>>,
    ) {
        let tally = &self.flight.origin.tally;
        if self.flight.cell.is_done() {
            // It ran over its timeout: counted then, and nobody waits for what it still says.
            let _ = contain(|| drop(result));
            return guard.fail(Err(Error::cancelled()));
        }
        match result {
            // A closure is counted nowhere, and nobody keeps what it gives.
            Ok(value) if self.core.is_none() => {
                self.engine.emit(&Event::Computed { function: tally.name, took });
                guard.fail(Ok(Arc::new(value)));
            }
            Ok(value) => {
                count(&tally.computed);
                let joined = u64::from(self.flight.cell.interests() - 1);
                add_up(&tally.compute_nanos, nanos(took));
                add_up(&tally.joined_nanos, nanos(took).saturating_mul(joined));
                self.engine.emit(&Event::Computed { function: tally.name, took });
                let value = Arc::new(value);
                let keep = self.keep_value(&value, took, permit.as_deref());
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
                let keep = self.keep_error(kept.filter(|_| !self.is_unwanted()), took, permit.as_deref());
                if keep.kept.is_none()
                    && let (Some(disk), Some(permit)) = (&self.engine.disk, &permit)
                {
                    disk.note(fate, permit);
                }
                let outcome = Err(error);
                self.resolve(guard, keep, as_any(&outcome), outcome, permit);
            }
        }
    }
}

/// What a thread knows while it runs a body, or its callbacks.
pub(super) fn frame<R: Send + Sync + 'static>(flight: &Arc<CallFlight<R>>) -> Frame {
    Frame { body: Arc::clone(flight) as _, span: flight.origin.span.clone(), polled: false }
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

impl<R: Send + Sync + 'static> CallFlight<R> {
    /// Whether the body of `frame`, which waits for it, could run it on top of its own stack.
    pub(crate) fn can_be_helped(&self, frame: &Frame) -> bool {
        self.origin.runner().id == frame.body.runner().id && !self.timed && context::has_room()
    }
}

impl<R: Send + Sync + 'static> Body for CallFlight<R> {
    fn runner(&self) -> &Arc<Runner> {
        self.origin.runner()
    }

    fn host(&self) -> Option<Arc<dyn Host>> {
        Some(self.origin.home.engine.upgrade()? as _)
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
        self.origin.runner().id
    }

    fn is_done(&self) -> bool {
        self.cell.is_done()
    }

    fn is_starving(&self) -> bool {
        self.origin.runner().is_starving() && (self.cell.is_queued() || self.origin.sleeper.is_asleep())
    }

    fn is_given_up(&self) -> bool {
        self.cell.is_given_up()
    }
}
