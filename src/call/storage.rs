//! What a run does with the disk: before its body, and after.
//!
//! # Before the body
//!
//! | stage | what happens | goes on with |
//! |---|---|---|
//! | [`Look`](Stage::Look) | the disk is asked for the result; left out where the index, asked by who submits, knows of none | found: the end; else `Claim`, behind what was queued before if anything is |
//! | [`Claim`](Stage::Claim) | the key is claimed among the processes of the directory, and the disk asked once more, since whoever held it may just have written | ours: `Compute`; another's: set aside |
//! | set aside | no thread is kept; the pool's timer asks every few milliseconds | the claim is gone or its owner is: `Claim` |
//! | [`Forget`](Stage::Forget) | where a refresh begins: whatever the disk has, or others are about to write, is older than this run; the key is claimed, if it can be | `Compute` |
//! | [`Compute`](Stage::Compute) | the body runs | |
//!
//! A run that is set aside is in its cell as `Aside`: it can be joined and cancelled, and nobody takes it for queued.
//!
//! # Two processes that wait for each other
//!
//! Process 1 computes *a*, which waits for *b*; process 2 computes *b*, which waits for *a*. Neither sees the other's wait
//! graph. So a process says (a counter beside its claims) how many results of others its *bodies* wait for. If a body waits
//! for a run that is set aside, and the claim's owner has such waits too, that may be a cycle: after
//! [`CYCLE_PATIENCE`] the run is computed here, without a claim, and if it is a cycle it is found here.
//!
//! # After the body
//!
//! The value is encoded once, by the worker that computed it: the size of that is its weight, the bytes go to the writer.
//! Of each function one value is decoded and encoded again first; so is every value in whose place lay a record that could
//! not be decoded: else what never comes back would be written again by each process.
//! The claim goes with them and is released when they can be read. A run that nobody waits for any more (over its timeout,
//! cancelled, forgotten) gives it back at once, though its body goes on: its result will not be written.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

use super::KeyRef;
use super::engine::{Engine, Spiller};
use super::execute::{CallFlight, Run, frame};
use super::explain::Explain;
use super::format::{Format, KeptError};
use super::func::Core;
use super::key::Key;
use crate::contain::contain;
use crate::error::Error;
use crate::event::Tally;
use crate::flight::Outcome;
use crate::memo::codec::{Encoded, Undecodable};
use crate::memo::disk::claims::{Claim, Holder};
use crate::memo::disk::functions::Version;
use crate::memo::disk::owners::NestedWait;
use crate::memo::disk::payload::{Meta, Packed, Payload};
use crate::memo::disk::put::{Permit, Put};
use crate::memo::disk::store::Hint;
use crate::memo::disk::tier::{Found, Tier};
use crate::memo::history::Fate;
use crate::memo::is_fresh;
use crate::run::timer::Alarm;
use crate::run::wait_graph::AnyNode;
use crate::run::{Lane, context, graph};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, now};

/// How long two processes that may wait for each other do so.
const CYCLE_PATIENCE: Duration = Duration::from_millis(100);

/// How long to the first look whether another process has finished, and how long between looks at most.
const FIRST_LOOK: Duration = Duration::from_micros(200);
const SLOWEST_LOOK: Duration = Duration::from_millis(8);

/// How far a run has got; see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Look,
    Claim,
    Forget,
    Compute,
}

impl Stage {
    pub(super) fn lane(self) -> Lane {
        match self {
            Stage::Look => Lane::Quick,
            Stage::Claim | Stage::Forget | Stage::Compute => Lane::Ordinary,
        }
    }
}

/// What is read from the disk by the thread that submits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eager {
    /// Nothing: it goes on at once.
    Nothing,
    /// A short record, which takes some microseconds: without a run.
    AtHand,
    /// Whatever is there: it would only wait for somebody else to read it.
    Anything,
}

/// How a run goes on.
pub(super) enum Next<R> {
    Compute,
    Found(Outcome<R>, Meta),
    /// Behind what is queued.
    Requeue,
    /// When another process is done with it.
    Await(Holder),
}

impl<R: Send + Sync + 'static> Run<R> {
    /// Takes the run through the stages before its body, as far as it can go without waiting. `helped`: a waiter runs it
    /// on top of its own stack, so that it should not be queued again.
    #[inline(never)]
    pub(super) fn approach(&mut self, helped: bool) -> Next<R> {
        let (Some(tier), Some(core), Some(key)) =
            (self.engine().disk.clone(), self.core.clone(), self.flight.origin.digest().copied())
        else {
            self.stage = Stage::Compute;
            return Next::Compute;
        };
        if self.stage == Stage::Look {
            match self.look(&tier, &core, &key) {
                Found::Value(outcome, meta) => return Next::Found(outcome, meta),
                Found::Nothing(fate) => self.lacks(fate),
            }
            let runner = &self.engine().runner;
            if !helped && !runner.is_foreign() && runner.has_queued() {
                return Next::Requeue;
            }
        }
        if self.stage == Stage::Forget {
            // If the disk can't be told, it tells of that itself. What has ended this run since it was submitted is newer.
            let _ = tier.forget_unless(&key, || self.flight.origin.hold.has_ended());
        }
        match tier.claim(&key) {
            Some(Claim::Held(holder)) if self.stage == Stage::Claim => return Next::Await(holder),
            Some(Claim::Ours(token)) => self.flight.origin.hold.keep(token),
            // Who claims what was just forgotten has begun after that, too.
            Some(Claim::Held(_) | Claim::Full) | None => {}
        }
        // Before the last look: that this run fails must not bury what others write after it.
        let permit = tier.permit(key);
        if self.stage == Stage::Claim {
            match self.look(&tier, &core, &key) {
                Found::Value(outcome, meta) => {
                    drop(self.flight.origin.hold.take());
                    return Next::Found(outcome, meta);
                }
                Found::Nothing(fate) => self.lacks(fate),
            }
        }
        self.stage = Stage::Compute;
        self.permit = Some(Box::new(permit.doubting(self.doubtful)));
        Next::Compute
    }

    /// Leaves out the first look where it would be in vain. Who looks finds nothing, comes to the queue once more, and everything
    /// that a run needs goes from one thread to the next and back. So after a look in vain those who submit ask the index, which
    /// is in memory: what it does not know goes to the queue once. (What has come meanwhile is found when it is claimed.)
    pub(super) fn foresee(&mut self) {
        if self.stage == Stage::Look
            && let Some(tier) = &self.engine().disk
            && tier.looks_in_vain()
            && self.flight.origin.digest().is_some_and(|key| tier.lacks(key))
        {
            self.stage = Stage::Claim;
        }
    }

    /// Takes what the disk has, in the thread that submits. Gives the run back if there is nothing. Not with an executor of
    /// the user's: it decides where runs are. (What is at hand needs no run: see [`glance`](super::glance).)
    #[inline(never)]
    pub(super) fn look_here(mut self) -> Option<Self> {
        if self.stage != Stage::Look || self.engine().runner.is_foreign() {
            return Some(self);
        }
        let (Some(tier), Some(core), Some(key)) =
            (self.engine().disk.clone(), self.core.clone(), self.flight.origin.digest().copied())
        else {
            return Some(self);
        };
        self.ticket.start();
        let _frame = context::enter(frame(&self.flight));
        match self.look(&tier, &core, &key) {
            Found::Value(outcome, meta) => self.found(outcome, &meta),
            Found::Nothing(fate) => {
                self.lacks(fate);
                self.ticket.wait_again();
                return Some(self);
            }
        }
        None
    }

    /// A look has found nothing.
    fn lacks(&mut self, fate: Option<Fate>) {
        self.doubtful |= is_doubtful(fate);
        self.stage = Stage::Claim;
    }

    /// What the disk has.
    fn look(&self, tier: &Tier, core: &Core<R>, key: &[u8; 32]) -> Found<Outcome<R>> {
        #[cfg(feature = "report")]
        let asked = now();
        let now = || self.engine().reads_at();
        // What an earlier look of this run could not decode was counted then.
        let tally = || (!self.doubtful).then(|| Arc::clone(&self.flight.origin.tally));
        let found = read(tier, core, key, None, tally, now);
        #[cfg(feature = "report")]
        match &found {
            Found::Value(..) => super::record::read(self.engine(), &self.flight.origin.tally, asked),
            Found::Nothing(Some(fate)) => self.engine().note(&self.flight.origin, *fate),
            Found::Nothing(None) => {}
        }
        found
    }

    /// The run stops here, before its body, and goes on as `next` says.
    pub(super) fn defer(mut self, next: Option<Holder>) {
        self.ticket.pause();
        if !self.flight.cell.set_aside() {
            // Nobody wants it any more.
            return self.guard.fail(Err(Error::cancelled()));
        }
        match next {
            None => self.requeue(CallFlight::queue),
            Some(holder) => {
                Parked { run: self, holder, since: now(), pause: FIRST_LOOK, nested: None }.ask_again()
            }
        }
    }

    /// It counts as queued again: a bound on the queue that holds for the first look only would be none.
    fn requeue(mut self, queue: impl FnOnce(&Arc<CallFlight<R>>, Lane)) {
        self.ticket.wait_again();
        let (flight, lane) = (Arc::clone(&self.flight), self.stage.lane());
        if let Err(run) = flight.cell.arm(self) {
            let _ = contain(|| drop(run));
            return;
        }
        queue(&flight, lane);
        // Whoever began to wait for it while it needed no thread has not been told that there is none.
        if graph().is_hopeless(&[Arc::clone(&flight) as AnyNode]) {
            flight.cell.finish(Err(Error::full("all threads of the pool wait")));
        }
    }
}

/// Whether a look found a record that could not be decoded.
pub(super) fn is_doubtful(fate: Option<Fate>) -> bool {
    matches!(fate, Some(Fate::Corrupt | Fate::TypeChanged))
}

/// What the disk has for a key, which may have a hint. The value's `Deserialize` is user code. `tally`: where it is counted
/// that an entry is of no use, unless it was already.
pub(super) fn read<R: Send + Sync + 'static>(
    tier: &Tier,
    core: &Core<R>,
    key: &[u8; 32],
    hint: Option<Hint>,
    tally: impl FnOnce() -> Option<Arc<Tally>>,
    now: impl Fn() -> u64,
) -> Found<Outcome<R>> {
    let Some(format) = core.format else { return Found::Nothing(None) };
    let decode = |meta: &Meta, payload: Payload<'_>| {
        let decoded = contain(|| match (meta.is_error(), format.revive, payload) {
            (false, _, payload) => (format.decode)(payload, meta.shape).map(|value| Ok(Arc::new(value))),
            (true, Some(revive), Payload::Bytes(bytes)) => {
                (revive.0)(bytes, meta.shape).map(|error| Err(Error::failed(core.identity.name, error)))
            }
            (true, ..) => Err(Undecodable::TypeChanged),
        });
        decoded.unwrap_or_else(|panic| Err(Undecodable::Malformed(format!("decoding panicked: {panic}"))))
    };
    tier.look(key, hint, tally, now, decode)
}

/// Why the disk does or does not have the result. `fate`: what is remembered of the key in this process; `under`: the key
/// that the same arguments have with another function.
pub(super) fn explain<R: Send + Sync + 'static>(
    tier: &Tier,
    core: &Core<R>,
    key: &[u8; 32],
    tally: impl FnOnce() -> Arc<Tally>,
    now: u64,
    fate: Option<Fate>,
    under: impl Fn(&[u8; 32]) -> Option<Key>,
) -> Explain {
    let fate = match read(tier, core, key, None, || Some(tally()), || now) {
        Found::Value(..) => return Explain::OnDisk,
        Found::Nothing(on_disk) => on_disk.or(fate),
    };
    if fate.is_none() {
        let others = tier.other_versions(core.signature.family(), &core.identity.digest);
        let has = |version: &Version| under(&version.digest).is_some_and(|key| tier.knows(key.as_bytes()));
        if let Some(version) = others.into_iter().find(has) {
            return Explain::OtherVersion { stored: version.label, asked: core.signature.label() };
        }
    }
    Explain::of(fate)
}

/// Tells the disk once that this version of a function is in use.
pub(super) fn announce<R>(engine: &Engine, tier: &Tier, core: &Core<R>, tally: &Tally) {
    if !tally.announced.load(Ordering::Relaxed) && !tally.announced.swap(true, Ordering::Relaxed) {
        let (family, label) = (core.signature.family(), core.signature.label());
        tier.note_version(Version { digest: core.identity.digest, family, label, used: engine.now() });
    }
}

/// A run that waits for another process.
struct Parked<R: 'static> {
    run: Run<R>,
    holder: Holder,
    since: Instant,
    pause: Duration,
    /// A body waits for it; said beside our claims.
    nested: Option<NestedWait>,
}

impl<R: Send + Sync + 'static> Parked<R> {
    fn ask_again(mut self) {
        let engine = Arc::clone(self.run.engine());
        let at = now() + self.pause;
        self.pause = (self.pause * 2).min(SLOWEST_LOOK);
        // Without a thread for the timer it is dropped here, which settles it.
        let _ = engine.runner.timer().at(at, Box::new(self));
    }

    /// Whether there is nothing to wait for any more.
    fn is_free(&mut self, tier: &Tier) -> bool {
        if !tier.is_held(&self.holder) {
            return true;
        }
        if self.nested.is_none() && graph().is_awaited(self.run.flight.id) {
            self.nested = tier.nested_wait();
        }
        let cycle = self.nested.is_some() && tier.holder_waits(&self.holder);
        if cycle && self.since.elapsed() > CYCLE_PATIENCE {
            self.run.stage = Stage::Compute;
            return true;
        }
        false
    }
}

impl<R: Send + Sync + 'static> Alarm for Parked<R> {
    fn ring(mut self: Box<Self>) {
        let over = self.run.flight.cell.is_done() || self.run.engine().runner.is_refusing();
        let Some(tier) = self.run.engine().disk.clone().filter(|_| !over) else {
            // Whoever still waits for it is told that the pool has ended.
            return self.run.abandon();
        };
        if self.is_free(&tier) {
            if self.run.stage == Stage::Compute
                && let Some(key) = self.run.flight.origin.digest()
            {
                self.run.permit = Some(Box::new(tier.permit(*key)));
            }
            let Parked { run, nested, .. } = *self;
            drop(nested);
            return run.requeue(CallFlight::queue_from_timer);
        }
        self.ask_again();
    }

    fn is_moot(&self) -> bool {
        self.run.flight.cell.is_done()
    }
}

/// How a value is to be kept on disk.
pub(super) struct Kept {
    pub(super) packed: Packed,
    pub(super) encoded: Encoded,
    pub(super) is_error: bool,
}

/// Why a value is not kept on disk.
pub(super) enum Unkept {
    /// It can't be encoded, or does not come back: nor will others of its type. After so many bytes.
    Unfit(String, u64),
    /// It takes more than the directory may give it. Others may not.
    TooLarge(String),
    /// The disk is in trouble, which has been told.
    Trouble(String),
}

impl Unkept {
    /// Tells the listener, the first time. Nothing of a function whose results are unfit is tried again.
    pub(super) fn tell(&self, tier: &Tier, tally: &Tally) {
        let (told, reason, advice) = match self {
            Unkept::Unfit(reason, _) => {
                (&tally.unstorable, reason, "its results stay in memory (make the function `in_memory`)")
            }
            Unkept::TooLarge(reason) => {
                (&tally.oversized, reason, "it stays in memory (see `Disk::max_bytes`)")
            }
            Unkept::Trouble(_) => return,
        };
        if !told.swap(true, Ordering::Relaxed) {
            tier.not_stored(tally.name, &format!("{reason}; {advice}"));
        }
    }
}

/// Encodes a value for the disk.
pub(super) fn encode<R: Send + Sync + 'static>(
    tier: &Tier,
    format: &Format<R>,
    value: &R,
    checked: bool,
) -> Result<Kept, Unkept> {
    let (encoded, packed, written) = tier.sink(|sink| {
        let encoded = contain(|| {
            let encoded = (format.encode)(value, sink)?;
            match sink.bytes() {
                Some(bytes) if !checked => (format.survives)(bytes, encoded.shape).map(|()| encoded),
                _ => Ok(encoded),
            }
        });
        encoded.unwrap_or_else(|panic| Err(format!("encoding it panicked: {panic}")))
    });
    // Trouble with the file comes first: what the encoder says then is only its echo.
    let packed = packed.map_err(|error| unwritten(tier, &error))?;
    let encoded = encoded.map_err(|reason| Unkept::Unfit(reason, written))?;
    Ok(Kept { packed, encoded, is_error: false })
}

/// The bytes of a kept error.
pub(super) fn error(tier: &Tier, error: KeptError) -> Result<Kept, Unkept> {
    let encoded = Encoded { shape: error.shape, bytes: error.bytes.len() as u64 };
    // (What the sink says itself is the echo of what went wrong with the file.)
    let (_, packed, _) = tier.sink(|sink| sink.write_all(&error.bytes));
    Ok(Kept { packed: packed.map_err(|error| unwritten(tier, &error))?, encoded, is_error: true })
}

/// Why a value has no file of its own.
fn unwritten(tier: &Tier, error: &io::Error) -> Unkept {
    match error.kind() {
        ErrorKind::FileTooLarge => Unkept::TooLarge(error.to_string()),
        _ => {
            tier.write_failed(error);
            Unkept::Trouble(error.to_string())
        }
    }
}

/// What the writer is given. `digest`: of the function, with its state.
pub(super) fn put(
    digest: &[u8; 32],
    kept: Kept,
    expires: u64,
    cost: u64,
    tally: &Arc<Tally>,
    now: u64,
    permit: Permit,
) -> Put {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    Put {
        function: [a, b, c, d, e, f, g, h],
        shape: kept.encoded.shape,
        is_error: kept.is_error,
        raw_len: kept.encoded.bytes,
        packed: kept.packed,
        stored_at: now,
        expires,
        compute: cost,
        permit,
        tally: Arc::clone(tally),
    }
}

/// How a result of that function is written when it leaves the memory, if it ever is.
pub(super) fn spiller<R: Send + Sync + 'static>(core: &Core<R>) -> Option<Spiller> {
    let (identity, digest, format) = (core.identity, core.digest, core.format?);
    Some(Arc::new(move |tier, slot, entry, now| {
        let fresh = is_fresh(entry.expires, now);
        let Some(value) = entry.value.downcast_ref::<R>().filter(|_| fresh) else { return };
        let key = *KeyRef { slot: *slot, identity }.key().as_bytes();
        let tally = &entry.tally;
        // Where it is known it lies, or must not: what was computed since was written at once (see `Tier::takes`).
        if tally.unstorable.load(Ordering::Relaxed) || !tier.takes_evicted_of(&key, &digest) {
            return;
        }
        match encode(tier, &format, value, tally.checked.load(Ordering::Relaxed)) {
            Ok(kept) => {
                if let Packed::Bytes { .. } = kept.packed {
                    tally.checked.store(true, Ordering::Relaxed);
                }
                let permit = tier.permit_evicted(key);
                tier.put(put(&digest, kept, entry.expires, entry.cost, tally, now, permit));
            }
            Err(unkept) => unkept.tell(tier, tally),
        }
    }))
}
