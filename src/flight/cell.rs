//! The cell: the shared one-shot outcome of one run, and everyone who waits for it.
//!
//! # States
//!
//! | state | may be read or written in it |
//! |---|---|
//! | `Claimed` | the leader is still making its arguments owned; no job yet |
//! | `Aside` | the run waits for something, before its body begins or between two attempts; its job is with whoever set it aside |
//! | `Queued(job)` | the job, taken exactly once by whoever starts it |
//! | `Running` | nothing: the job belongs to the thread that runs it |
//! | `Done(outcome)` | the outcome, for good |
//!
//! # Transitions, all under the one lock
//!
//! | from | to | who |
//! |---|---|---|
//! | `Claimed`, `Aside` | `Queued` | the leader, or whoever set the run aside ([`Cell::arm`]) |
//! | `Queued` | `Running` | one worker, or one waiter that helps ([`Cell::start`]); the other finds nothing to start |
//! | `Running` | `Aside` | the run itself, between attempts or before the first ([`Cell::set_aside`]): it goes on later, elsewhere |
//! | any but `Done` | `Done` | whoever has an outcome first: the run, its timer, the guard that is dropped unfinished ([`Cell::finish`]) |
//! | `Claimed`, `Aside`, `Queued` | `Done` | the last interest that is withdrawn ([`Cell::withdraw`]): the job never runs |
//!
//! Each submission is one *interest*. Withdrawing one settles that interest alone; the last one withdrawn from a
//! `Running` cell marks it *given up*: the body can see that, nobody can join it any more, and it still ends in `Done`.
//!
//! # Why no wake-up is lost
//!
//! | outcome is posted | waiter registers |
//! |---|---|
//! | lock; write `Done`; take all wakers; unlock; wake them | lock; `Done`? then return it, else leave a waker; unlock; park |
//!
//! Both sides hold the lock from the check to the write, so either the waiter sees `Done` or the poster sees the waker.
//!
//! # Order of delivery
//!
//! Waiters are woken first, then a job that never ran is dropped, then callbacks run, each contained by itself: all of it after the lock is released, because wakers, callbacks and a job's arguments are user code. The job goes before the
//! callbacks: one of those may wait for what it holds, its place in the queue.

use std::fmt;
use std::mem;
use std::task::Waker;
use std::time::Instant;

use crate::contain::contain;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Mutex, Parker};

/// One submission's share in a cell.
pub(crate) type Interest = u32;

/// What runs once with the outcome.
pub(crate) type Callback<T> = Box<dyn FnOnce(&T) + Send>;

/// See the [module](self).
pub(crate) struct Cell<J, T> {
    state: Mutex<State<J, T>>,
    /// Mirrors `Done`, so that a short wait can spin without the lock.
    done: AtomicBool,
    given_up: AtomicBool,
}

struct State<J, T> {
    phase: Phase<J, T>,
    /// The number of interests handed out.
    interests: Interest,
    /// Those that were withdrawn, each with what its handle reads.
    withdrawn: Vec<(Interest, T)>,
    waiters: Vec<Waiter>,
    next_waiter: u64,
    callbacks: Vec<(Interest, Callback<T>)>,
}

enum Phase<J, T> {
    Claimed,
    Aside,
    Queued(J),
    Running,
    Done(T),
}

struct Waiter {
    id: u64,
    interest: Interest,
    waker: Waker,
}

/// A waker left in a cell; taken back with [`Cell::unregister`].
#[derive(Debug, Default)]
pub(crate) struct Registration(Option<u64>);

/// What became of [`Cell::withdraw`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Withdrawn {
    /// The interest had its outcome already.
    TooLate,
    /// Others are still interested.
    Shared,
    /// That was the last one, and the job had not started: it never will.
    NeverRuns,
    /// That was the last one; the run goes on unheard.
    GivenUp,
}

impl<J, T: Clone> Cell<J, T> {
    /// A claimed cell with the leader's interest, number 0.
    pub(crate) fn new() -> Self {
        Cell {
            state: Mutex::new(State {
                phase: Phase::Claimed,
                interests: 1,
                withdrawn: Vec::new(),
                waiters: Vec::new(),
                next_waiter: 0,
                callbacks: Vec::new(),
            }),
            done: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
        }
    }

    /// Puts the job in. Gives it back when the cell was settled in the meantime: drop it, nobody wants it.
    pub(crate) fn arm(&self, job: J) -> Result<(), J> {
        let mut state = self.state.lock();
        match state.phase {
            Phase::Claimed | Phase::Aside => {
                state.phase = Phase::Queued(job);
                Ok(())
            }
            _ => Err(job),
        }
    }

    /// Takes the job to run it. Exactly one caller gets it.
    pub(crate) fn start(&self) -> Option<J> {
        let mut state = self.state.lock();
        state.take_job()
    }

    /// The run stops before an attempt, to be armed again. `false`: nobody is left who wants it, or it is settled.
    pub(crate) fn set_aside(&self) -> bool {
        let mut state = self.state.lock();
        let open = matches!(state.phase, Phase::Running) && !self.is_given_up();
        if open {
            state.phase = Phase::Aside;
        }
        open
    }

    /// One more submission wants the outcome. `None` when the run is over or given up: start another.
    pub(crate) fn join(&self) -> Option<Interest> {
        let mut state = self.state.lock();
        if !self.is_open() {
            return None;
        }
        state.interests += 1;
        Some(state.interests - 1)
    }

    /// The single transition to `Done`. Returns whether this was it.
    pub(crate) fn finish(&self, outcome: T) -> bool {
        let Some(notice) = self.end(outcome, false) else { return false };
        notice.deliver();
        true
    }

    /// Like [`finish`](Self::finish), for an outcome that comes while the body goes on (its timeout): the body can see
    /// that it should stop. Waiters are woken here; what else is due goes to `elsewhere`, if there is anything.
    pub(crate) fn finish_early(&self, outcome: T, elsewhere: impl FnOnce(Box<dyn FnOnce() + Send>)) -> bool
    where
        J: Send + 'static,
        T: Send + 'static,
    {
        let Some(mut notice) = self.end(outcome, true) else { return false };
        notice.wake();
        if notice.callbacks.is_empty() {
            notice.deliver();
        } else {
            elsewhere(Box::new(move || notice.deliver()));
        }
        true
    }

    fn end(&self, outcome: T, given_up: bool) -> Option<Notice<J, T>> {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Done(_)) {
            return None;
        }
        let notice = self.settle(&mut state, outcome);
        if given_up {
            // After the outcome: a body that stops because it sees this is to find itself over, not just unwanted.
            self.given_up.store(true, Ordering::Release);
        }
        Some(notice)
    }

    /// Takes one interest back; its handle reads `outcome` from now on.
    pub(crate) fn withdraw(&self, interest: Interest, outcome: T) -> Withdrawn {
        self.withdraw_if(interest, outcome, |_| true)
    }

    /// The same, unless an attempt has begun.
    pub(crate) fn withdraw_unstarted(&self, interest: Interest, outcome: T) -> Withdrawn {
        self.withdraw_if(interest, outcome, State::is_queued)
    }

    fn withdraw_if(
        &self,
        interest: Interest,
        outcome: T,
        wanted: impl FnOnce(&State<J, T>) -> bool,
    ) -> Withdrawn {
        let mut state = self.state.lock();
        if state.outcome(interest).is_some() || !wanted(&state) {
            return Withdrawn::TooLate;
        }
        state.withdrawn.push((interest, outcome.clone()));
        let last = state.withdrawn.len() == state.interests as usize;
        let (notice, withdrawn) = match (last, &state.phase) {
            (true, Phase::Running) => {
                self.given_up.store(true, Ordering::Release);
                (state.notice_for(interest, outcome), Withdrawn::GivenUp)
            }
            (true, _) => (self.settle(&mut state, outcome), Withdrawn::NeverRuns),
            (false, _) => (state.notice_for(interest, outcome), Withdrawn::Shared),
        };
        drop(state);
        notice.deliver();
        withdrawn
    }

    /// What `interest` reads, if it is settled.
    pub(crate) fn outcome(&self, interest: Interest) -> Option<T> {
        self.state.lock().outcome(interest)
    }

    /// The outcome, or a waker left behind; a second call with the same registration replaces the waker.
    pub(crate) fn poll(
        &self,
        interest: Interest,
        registration: &mut Registration,
        waker: &Waker,
    ) -> Option<T> {
        // Cloning and dropping a waker is an executor's code: never under the lock.
        let mut waker = waker.clone();
        let mut state = self.state.lock();
        if let Some(outcome) = state.outcome(interest) {
            registration.0 = None;
            return Some(outcome);
        }
        let known = registration.0.and_then(|id| state.waiters.iter_mut().find(|w| w.id == id));
        match known {
            Some(waiter) => mem::swap(&mut waiter.waker, &mut waker),
            None => {
                let id = state.next_waiter;
                state.next_waiter += 1;
                state.waiters.push(Waiter { id, interest, waker });
                registration.0 = Some(id);
                return None;
            }
        }
        drop(state);
        drop(waker);
        None
    }

    /// Takes a waker back.
    pub(crate) fn unregister(&self, registration: &mut Registration) {
        if let Some(id) = registration.0.take() {
            let mut state = self.state.lock();
            let place = state.waiters.iter().position(|w| w.id == id);
            let waiter = place.map(|at| state.waiters.swap_remove(at));
            drop(state);
            drop(waiter);
        }
    }

    /// Blocks this thread until the interest is settled, or until `deadline`.
    pub(crate) fn wait(&self, interest: Interest, deadline: Option<Instant>) -> Option<T> {
        let parker = Arc::new(Parker::default());
        let waker = Waker::from(Arc::clone(&parker));
        let mut registration = Registration::default();
        loop {
            if let Some(outcome) = self.poll(interest, &mut registration, &waker) {
                return Some(outcome);
            }
            if !parker.park(deadline) {
                self.unregister(&mut registration);
                return self.outcome(interest);
            }
        }
    }

    /// Runs `callback` once the interest is settled; at once, in this thread, when it is already.
    pub(crate) fn on_done(&self, interest: Interest, callback: Callback<T>) {
        let mut state = self.state.lock();
        match state.outcome(interest) {
            None => state.callbacks.push((interest, callback)),
            Some(outcome) => {
                drop(state);
                Notice::<J, T> {
                    wakers: Vec::new(),
                    callbacks: vec![callback],
                    outcome: Some(outcome),
                    job: None,
                }
                .deliver();
            }
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Whether a submission could join: it is not over, and not given up.
    pub(crate) fn is_open(&self) -> bool {
        !self.is_done() && !self.is_given_up()
    }

    pub(crate) fn is_queued(&self) -> bool {
        self.state.lock().is_queued()
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Running)
    }

    /// How many submissions have shared the run, withdrawn ones included.
    pub(crate) fn interests(&self) -> Interest {
        self.state.lock().interests
    }

    /// How many wakers are left in it.
    #[cfg(test)]
    pub(crate) fn waiters(&self) -> usize {
        self.state.lock().waiters.len()
    }

    /// Nobody is left who wants the outcome: the body should stop, and what it returns is not stored.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    fn settle(&self, state: &mut State<J, T>, outcome: T) -> Notice<J, T> {
        let job = state.take_job().map(Box::new);
        let mut notice = Notice { wakers: Vec::new(), callbacks: Vec::new(), outcome: None, job };
        if !state.waiters.is_empty() {
            notice.wakers = mem::take(&mut state.waiters).into_iter().map(|w| w.waker).collect();
        }
        if !state.callbacks.is_empty() {
            notice.callbacks = mem::take(&mut state.callbacks).into_iter().map(|(_, c)| c).collect();
            notice.outcome = Some(outcome.clone());
        }
        state.phase = Phase::Done(outcome);
        self.done.store(true, Ordering::Release);
        notice
    }
}

impl<J, T: Clone> State<J, T> {
    /// The job, if it is queued: it is running then. (Looked at first: a job is large, and taken out once.)
    fn take_job(&mut self) -> Option<J> {
        if !matches!(self.phase, Phase::Queued(_)) {
            return None;
        }
        match mem::replace(&mut self.phase, Phase::Running) {
            Phase::Queued(job) => Some(job),
            _ => None,
        }
    }

    fn is_queued(&self) -> bool {
        matches!(self.phase, Phase::Claimed | Phase::Queued(_))
    }

    fn outcome(&self, interest: Interest) -> Option<T> {
        if let Some((_, outcome)) = self.withdrawn.iter().find(|(i, _)| *i == interest) {
            return Some(outcome.clone());
        }
        match &self.phase {
            Phase::Done(outcome) => Some(outcome.clone()),
            _ => None,
        }
    }

    fn notice_for(&mut self, interest: Interest, outcome: T) -> Notice<J, T> {
        let wakers = self.waiters.extract_if(.., |w| w.interest == interest).map(|w| w.waker).collect();
        let callbacks = self.callbacks.extract_if(.., |(i, _)| *i == interest).map(|(_, c)| c).collect();
        Notice { wakers, callbacks, outcome: Some(outcome), job: None }
    }
}

/// What is due once the lock is released.
struct Notice<J, T> {
    wakers: Vec<Waker>,
    callbacks: Vec<Callback<T>>,
    /// `None`: nobody has to be told it.
    outcome: Option<T>,
    /// One that never ran. Boxed: there hardly ever is one, and it would be moved about with the rest.
    job: Option<Box<J>>,
}

impl<J, T> Notice<J, T> {
    fn wake(&mut self) {
        for waker in mem::take(&mut self.wakers) {
            // A waker is an executor's code: its panic must not cost the others their wake-up.
            let _ = contain(|| waker.wake());
        }
    }

    fn deliver(mut self) {
        self.wake();
        let Notice { callbacks, outcome, job, .. } = self;
        if job.is_some() {
            let _ = contain(|| drop(job));
        }
        let Some(outcome) = outcome else { return };
        for callback in callbacks {
            let _ = contain(|| callback(&outcome));
        }
        let _ = contain(|| drop(outcome));
    }
}

impl<J, T> fmt::Debug for Cell<J, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("done", &self.done).field("given_up", &self.given_up).finish()
    }
}
