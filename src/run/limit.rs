//! [`Limit`]: how many bodies may use one resource at a time.
//!
//! A run of a limited function asks for a *slot* right before its body. If none is free it does not keep its thread: its
//! job goes back into its cell, and the limit queues it again, first come first served, when a slot is there.
//!
//! # States of one run (its [`Pass`]), all changed under the limit's lock
//!
//! | state | slot | leaves it |
//! |---|---|---|
//! | `Outside` | no | its body is about to start: `Inside` if a slot is free, else `Parked` |
//! | `Parked` | no | a slot is free and it is first: `Granted`, and it is queued in its pool again |
//! | `Granted` | yes | its body is about to start: `Inside`; or a body that comes back needs the slot: `Parked` again, as the first |
//! | `Inside` | yes | its body waits for tasks: `Lent` |
//! | `Lent` | no | its wait is over: `Inside`, as soon as there is a slot; a thread waits for that, an async body is `Parked` as the first |
//! | `Left` | no | for good: the body has ended, or will never begin |
//!
//! # Why nobody waits for a slot for ever
//!
//! A body that waits for a task, for room in a queue, or for the end of a pool lends its slot meanwhile, as a condition
//! variable does with its lock. So whoever is `Inside` runs, and ends, or begins to wait and lends. Whoever is `Granted`
//! lies in the queue of a pool that has a thread for it: a pool that starves (all its threads wait, at its hard cap) is passed
//! over, and gives back what it was granted when it begins to. A body that comes back need not wait for one that is only
//! granted, and goes before those that are parked. A thread that has lent several slots takes them back in the order of
//! their limits' numbers.
//!
//! What a pool knows of its limits is [`pools`]. Units are pushed, wakers called and things dropped after the lock is released.

mod pools;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;

use super::asleep::asleep;
use super::{Lane, Runner, Unit, context};
use crate::ids;
use crate::sync::{Arc, Mutex, Parker, spawn};
pub(super) use pools::Limits;

/// How many bodies may run at a time that use one resource: an API, a disk, a licence.
///
/// Given to functions with [`Func::limit`](crate::Func::limit); those that share it (clones are the same limit) share its
/// slots, in all pools. Submissions that join a run take one slot together; hits, in memory or on disk, take none. A run that
/// waits for a slot occupies no thread, and is counted as queued.
///
/// While a body waits for another task it lends its slot, so that limited functions may call each other: the limit bounds
/// the bodies that *run*. A wait inside a body returns only when a slot is free again, so it may outlast its own timeout.
///
/// # Examples
///
/// ```
/// use memopool::{Func, Limit, Pool};
///
/// let polite = Limit::new("api.example", 4);
/// let fetch = Func::new("fetch", |page: u32| format!("page {page}")).limit(&polite);
/// let pool = Pool::builder().threads(2..=64).build()?;
/// for page in pool.map((1..=100).map(|page| fetch.call(page))) {
///     page?; // never more than four at a time
/// }
/// # Ok::<(), memopool::Error>(())
/// ```
#[derive(Clone)]
pub struct Limit(Arc<Shared>);

struct Shared {
    id: u64,
    name: String,
    slots: usize,
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// Runs that wait, those that have left in the meantime included.
    parked: VecDeque<Parked>,
    /// Runs that have a slot and were queued again for it.
    granted: Vec<Parked>,
    /// Bodies whose wait is over.
    returning: VecDeque<(Arc<Pass>, Arc<Parker>)>,
    /// How many of the parked have left.
    gone: usize,
    /// Those that were taken out for it, to be dropped when the lock is released.
    dead: Vec<Parked>,
}

#[derive(Clone)]
struct Parked {
    pass: Arc<Pass>,
    unit: Arc<dyn Unit>,
    runner: Arc<Runner>,
}

/// One run's relation to its limit.
pub(super) struct Pass {
    limit: Arc<Shared>,
    /// Changed under the limit's lock.
    at: Mutex<At>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Outside,
    Parked,
    Granted,
    Inside,
    Lent,
    Left,
}

/// So many runs that have left may lie among those that are parked.
const FEW: usize = 64;

/// What is due once the lock is released.
#[must_use]
enum Due {
    Nothing,
    Push(Parked),
    Wake(Arc<Parker>),
}

impl Limit {
    /// A limit of so many `slots`, at least one. The name is for people: messages and `Debug`.
    pub fn new(name: impl Into<String>, slots: usize) -> Limit {
        let slots = slots.max(1);
        let state = State {
            free: slots,
            parked: VecDeque::new(),
            granted: Vec::new(),
            returning: VecDeque::new(),
            gone: 0,
            dead: Vec::new(),
        };
        Limit(Arc::new(Shared { id: ids::unique(), name: name.into(), slots, state: Mutex::new(state) }))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How many bodies may run at a time.
    pub fn slots(&self) -> usize {
        self.0.slots
    }

    /// How many run now, or are about to.
    pub fn running(&self) -> usize {
        self.0.slots - self.0.state.lock().free
    }

    /// How many runs wait for a slot.
    pub fn waiting(&self) -> usize {
        let state = self.0.state.lock();
        state.parked.len() - state.gone
    }

    /// For one run.
    pub(crate) fn turn(&self) -> Turn {
        Turn(Arc::new(Pass { limit: Arc::clone(&self.0), at: Mutex::new(At::Outside) }))
    }
}

/// A run's turn: it leaves the limit when this is dropped, wherever that is.
pub(crate) struct Turn(Arc<Pass>);

impl Turn {
    /// The body is about to start. `false`: not now.
    pub(crate) fn enter(&self) -> bool {
        let pass = &self.0;
        let mut state = pass.limit.state.lock();
        let entered = match pass.at() {
            At::Outside => state.take(),
            At::Parked => false,
            At::Granted => {
                state.granted.retain(|granted| !Arc::ptr_eq(&granted.pass, pass));
                true
            }
            At::Inside | At::Lent | At::Left => return true,
        };
        if entered {
            pass.set(At::Inside);
        }
        entered
    }

    /// What parks the run, for when its job is back in its cell (and this with it).
    pub(crate) fn parker(&self) -> impl FnOnce(Arc<dyn Unit>, Arc<Runner>) + use<> {
        let pass = Arc::clone(&self.0);
        move |unit, runner| {
            runner.hold(&unit);
            runner.limits.add(&pass.limit);
            pass.park(Parked { pass: Arc::clone(&pass), unit, runner });
        }
    }

    /// The async body waits for tasks: its slot is somebody else's until it [comes back](Self::resume).
    pub(crate) fn lend(&self) {
        self.0.lend();
    }

    /// The async body is about to be polled. `false`: it lent its slot; it [goes on](Unit::go_on) when it has one again.
    pub(crate) fn resume(&self, unit: impl FnOnce() -> (Arc<dyn Unit>, Arc<Runner>)) -> bool {
        let pass = &self.0;
        if pass.at() == At::Inside {
            return true;
        }
        let (unit, runner) = unit();
        runner.limits.add(&pass.limit);
        let parked = Parked { pass: Arc::clone(pass), unit, runner };
        let mut state = pass.limit.state.lock();
        match pass.at() {
            At::Granted => state.granted.retain(|granted| !Arc::ptr_eq(&granted.pass, pass)),
            At::Lent if state.take() => {}
            At::Lent => match state.granted.pop() {
                Some(revoked) => state.revoke(revoked),
                None => {
                    pass.set(At::Parked);
                    state.parked.push_front(parked);
                    return false;
                }
            },
            At::Parked => return false,
            At::Outside | At::Inside | At::Left => return true,
        }
        pass.set(At::Inside);
        true
    }

    /// The body runs in this thread until the value is dropped.
    pub(crate) fn run(&self) -> Running {
        HELD.with_borrow_mut(|held| held.push(Arc::clone(&self.0)));
        Running(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.leave();
    }
}

thread_local! {
    /// The passes whose bodies are on this thread's stack.
    static HELD: RefCell<Vec<Arc<Pass>>> = const { RefCell::new(Vec::new()) };
}

/// The passes whose bodies are on this thread's stack.
#[cfg(feature = "rayon")]
pub(super) fn held() -> Vec<Arc<Pass>> {
    HELD.with_borrow(Clone::clone)
}

/// This thread runs the bodies that have those. Gives what it had.
#[cfg(feature = "rayon")]
pub(super) fn hold(passes: Vec<Arc<Pass>>) -> Vec<Arc<Pass>> {
    HELD.replace(passes)
}

/// See [`Turn::run`].
pub(crate) struct Running(());

impl Drop for Running {
    fn drop(&mut self) {
        let left = HELD.with_borrow_mut(Vec::pop);
        drop(left);
    }
}

/// The slots of a body that waits; taken back when this is dropped.
#[must_use]
pub(crate) struct Lent(Vec<Arc<Pass>>);

/// The body on this thread's stack is about to wait.
pub(crate) fn lend() -> Lent {
    // (A thread that ends has forgotten them: then no body runs in it.)
    let mut lent = HELD.try_with(|held| held.borrow().clone()).unwrap_or_default();
    if lent.is_empty() {
        return Lent(lent);
    }
    lent.retain(Pass::lend);
    lent.sort_by_key(|pass| pass.limit.id);
    Lent(lent)
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|pass| pass.take_back());
    }
}

impl Pass {
    fn at(&self) -> At {
        *self.at.lock()
    }

    fn set(&self, at: At) {
        *self.at.lock() = at;
    }

    fn replace(&self, at: At) -> At {
        std::mem::replace(&mut *self.at.lock(), at)
    }

    fn park(&self, parked: Parked) {
        self.limit.change(|state| match self.at() {
            At::Outside if state.take() => state.grant(parked),
            At::Outside => {
                self.set(At::Parked);
                parked.unit.mark_parked(true);
                state.parked.push_back(parked);
                Due::Nothing
            }
            // Its slot was taken from it, and given back before its job was in its cell: nobody has found it there.
            At::Granted => Due::Push(parked),
            At::Parked | At::Inside | At::Lent | At::Left => Due::Nothing,
        });
    }

    /// `true`: the slot is somebody else's now.
    fn lend(self: &Arc<Self>) -> bool {
        let mut lent = false;
        self.limit.change(|state| {
            lent = self.at() == At::Inside;
            if !lent {
                return Due::Nothing;
            }
            self.set(At::Lent);
            state.release()
        });
        lent
    }

    /// Waits for a slot, if it lent its own.
    fn take_back(self: &Arc<Self>) {
        let mut state = self.limit.state.lock();
        if self.at() != At::Lent {
            return;
        }
        if state.take() {
            return self.set(At::Inside);
        }
        if let Some(revoked) = state.granted.pop() {
            state.revoke(revoked);
            return self.set(At::Inside);
        }
        let parker = Arc::new(Parker::default());
        state.returning.push_back((Arc::clone(self), Arc::clone(&parker)));
        drop(state);
        let blocked = context::block_for_slot();
        while self.at() != At::Inside {
            asleep(None, |until| parker.park(until).then_some(()));
        }
        drop(blocked);
    }

    fn leave(self: &Arc<Self>) {
        self.limit.change(|state| match self.replace(At::Left) {
            At::Parked => {
                state.gone += 1;
                state.sweep();
                Due::Nothing
            }
            before @ (At::Granted | At::Inside) => {
                if before == At::Granted {
                    let mine = |granted: &mut Parked| Arc::ptr_eq(&granted.pass, self);
                    state.dead.extend(state.granted.extract_if(.., mine));
                }
                state.release()
            }
            At::Outside | At::Lent | At::Left => Due::Nothing,
        });
    }
}

impl Shared {
    /// Changes the state, and does what is due afterwards.
    fn change(&self, f: impl FnOnce(&mut State) -> Due) {
        let mut state = self.state.lock();
        let due = f(&mut state);
        let dead = std::mem::take(&mut state.dead);
        drop(state);
        drop(dead);
        due.carry_out();
    }
}

impl State {
    /// A free slot. While one is free nobody waits for it but runs of pools that starve.
    fn take(&mut self) -> bool {
        let free = self.free > 0;
        self.free -= usize::from(free);
        free
    }

    /// Somebody has no use for his slot any more: whose is it now?
    fn release(&mut self) -> Due {
        if let Some((pass, parker)) = self.returning.pop_front() {
            pass.set(At::Inside);
            return Due::Wake(parker);
        }
        self.free += 1;
        self.grant_next()
    }

    /// Gives a free slot to the first who can use it.
    fn grant_next(&mut self) -> Due {
        while let Some(left) = self.parked.pop_front_if(|first| first.pass.at() == At::Left) {
            self.gone -= 1;
            self.dead.push(left);
        }
        if self.free == 0 {
            return Due::Nothing;
        }
        let able = |parked: &Parked| {
            parked.pass.at() == At::Parked && !(parked.runner.is_starving() && parked.unit.needs_thread())
        };
        match self.parked.iter().position(able).and_then(|at| self.parked.remove(at)) {
            Some(parked) => {
                self.free -= 1;
                self.grant(parked)
            }
            None => Due::Nothing,
        }
    }

    /// Takes a slot from a run that was only granted it: it is the first to get one again.
    fn revoke(&mut self, granted: Parked) {
        granted.pass.set(At::Parked);
        granted.unit.mark_parked(true);
        self.parked.push_front(granted);
    }

    fn grant(&mut self, parked: Parked) -> Due {
        parked.pass.set(At::Granted);
        parked.unit.mark_parked(false);
        self.granted.push(parked.clone());
        Due::Push(parked)
    }

    /// Takes out those that have left, when they are many.
    fn sweep(&mut self) {
        if self.gone < FEW || 2 * self.gone < self.parked.len() {
            return;
        }
        self.gone = 0;
        let all = std::mem::take(&mut self.parked);
        let (left, kept) = all.into_iter().partition(|parked| parked.pass.at() == At::Left);
        self.parked = kept;
        self.dead.extend::<VecDeque<_>>(left);
    }
}

impl Due {
    fn carry_out(self) {
        match self {
            Due::Nothing => {}
            Due::Push(parked) if parked.unit.go_on() => {}
            Due::Wake(parker) => std::task::Wake::wake(parker),
            Due::Push(parked) if parked.runner.is_foreign() => {
                // An executor may run it right where it is given to it, and here somebody else's body may be in the
                // middle of something.
                let again = parked.clone();
                if spawn("memopool-limit".into(), None, move || parked.push()).is_err() {
                    again.push();
                }
            }
            Due::Push(parked) => parked.push(),
        }
    }
}

impl Parked {
    fn push(self) {
        if self.runner.push(Arc::clone(&self.unit), Lane::Ordinary).is_err() {
            self.unit.abandon();
        }
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limit({}: {} of {}, {} wait)", self.name(), self.running(), self.slots(), self.waiting())
    }
}
