//! Stage 4, *run*: threads that take work off a queue.
//!
//! 1. [`worker`] — the threads: started on demand, reused when idle, retired, spare.
//! 2. [`sizing`] — how many there are, and who may be started.
//! 3. [`idle`] — workers that look for a job, awake or asleep.
//! 4. [`context`] — what a thread knows of the body it runs.
//! 5. [`wait_graph`] — who waits for whom.
//! 6. [`timer`] — deadlines of bodies.
//! 7. [`limit`] — how many bodies may use one resource at a time.
//! 8. [`overrun`] — bodies that run beyond their timeout.
//! 9. [`asleep`] — how a thread sleeps; what one of rayon's does meanwhile.
//! 10. [`job`] — a unit of work, the job that holds it, and who may run jobs; [`executors`] — rayon's threads, tokio's.
//! 11. [`crews`] — rayon pools of our own, for bodies that rayon's threads ask for.
//! 12. [`ticket`] — one unit's share in its pool, from admission to its last callback; [`load`] the figures it changes.
//!
//! This file is the queue: its bound, and how it ends. `run` imports no other stage: a unit of work is an object that can
//! be performed or abandoned.
//!
//! # How a pool ends
//!
//! `Open` → `Draining` (`shutdown`, drop: the pool's own tasks may still submit) → `Refusing` (`shutdown_now`). Every
//! unit of work holds a [`Ticket`] from before it is queued until its last callback has run. When the pool is not
//! `Open` and the last ticket goes, the workers are told to leave. A submission takes its ticket first and looks at the
//! mode after, the one who ends the pool sets the mode first and counts the tickets after: so none slips between.

pub(crate) mod asleep;
pub(crate) mod context;
#[cfg(feature = "rayon")]
mod crews;
#[cfg(any(feature = "rayon", feature = "tokio"))]
pub(crate) mod executors;
mod idle;
mod job;
pub(crate) mod limit;
mod load;
pub(crate) mod overrun;
pub(crate) mod sizing;
mod ticket;
pub(crate) mod timer;
pub(crate) mod wait_graph;
pub(crate) mod worker;

use std::fmt;
use std::io;
use std::task::Waker;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use crossbeam_utils::CachePadded;

use crate::contain::contain;
use crate::event::{Event, Listener, tell};
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use crate::sync::{Arc, Condvar, JoinHandle, Mutex, OnceLock, Weak, now};
use asleep::asleep;
use idle::Idle;
pub(crate) use job::Unit;
pub use job::{Executor, Job};
use load::Load;
use sizing::Sizing;
pub(crate) use ticket::{Host, Ticket};

/// The one wait graph of the process.
pub(crate) fn graph() -> &'static wait_graph::Graph {
    static GRAPH: OnceLock<wait_graph::Graph> = OnceLock::new();
    GRAPH.get_or_init(wait_graph::Graph::default)
}

/// What a runner is made with; validated by the builder.
pub(crate) struct Plan {
    pub(crate) width: std::ops::RangeInclusive<usize>,
    pub(crate) max_os_threads: usize,
    pub(crate) keep_alive: Duration,
    pub(crate) queue: usize,
    pub(crate) stack_size: usize,
    pub(crate) name: String,
    pub(crate) on_thread_start: Option<Box<dyn Fn() + Send + Sync>>,
    pub(crate) executor: Option<Box<dyn Executor>>,
    pub(crate) on_event: Option<Listener>,
    pub(crate) spawn: Spawn,
}

/// What starts a worker's thread: [`crate::sync::spawn`], but for tests.
pub(crate) type Spawn = fn(String, Option<usize>, Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>;

/// How many settled jobs may lie in the queue beside twice those that count, before they are swept out.
const GHOSTS: i64 = 1024;

const OPEN: u8 = 0;
const DRAINING: u8 = 1;
const REFUSING: u8 = 2;

/// A queue and the threads that empty it.
pub(crate) struct Runner {
    pub(crate) id: u64,
    plan: Plan,
    queue: (Sender<Job>, Receiver<Job>),
    /// What is only looked up: a few microseconds each, so it goes before what is computed.
    quick: (Sender<Job>, Receiver<Job>),
    idle: Idle,
    load: CachePadded<Load>,
    sizing: Mutex<Sizing>,
    /// As many workers are runnable as the width allows: a job for which nobody looks needs not ask for another. Changed under
    /// the lock of `sizing`; taken back before anyone there looks at the demand for the last time.
    enough: AtomicBool,
    /// A hint that more workers may be runnable than the width: each looks after its job.
    excess: AtomicBool,
    /// All workers wait for tasks, and no more may be started: what is queued here starves until one goes on.
    starving: AtomicBool,
    /// Units that an executor of somebody else's holds, or a limit, for `close`.
    held: Mutex<Vec<Weak<dyn Unit>>>,
    /// Limits that may hold runs of this pool.
    limits: limit::Limits,
    /// Spare workers wait here to be recalled.
    recall: Condvar,
    mode: AtomicU8,
    /// Polls of async bodies that lie in the queue.
    polls: AtomicUsize,
    /// Bodies that run beyond their timeout.
    stuck: AtomicUsize,
    /// Submitters that wait for room, and whoever waits for the end. Under the gate: the futures among them.
    blocked_submitters: AtomicUsize,
    gate: Mutex<Vec<Waker>>,
    opened: Condvar,
    timer: timer::Timer,
    #[cfg(feature = "rayon")]
    crews: crews::Crews,
}

/// How long a submission waits for room in the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    None,
    Until(Instant),
    Endless,
}

/// Which queue a unit waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// It begins with a look at the disk.
    Quick,
    Ordinary,
}

/// Why a unit can't be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Shutdown,
    QueueFull,
}

impl Runner {
    pub(crate) fn new(id: u64, plan: Plan) -> Arc<Runner> {
        let sizing = Sizing::new(plan.width.clone(), plan.max_os_threads);
        Arc::new(Runner {
            id,
            timer: timer::Timer::new(format!("{}-timer", plan.name)),
            plan,
            queue: unbounded(),
            quick: unbounded(),
            idle: Idle::default(),
            load: CachePadded::default(),
            sizing: Mutex::new(sizing),
            enough: AtomicBool::new(false),
            excess: AtomicBool::new(false),
            starving: AtomicBool::new(false),
            held: Mutex::new(Vec::new()),
            limits: limit::Limits::default(),
            recall: Condvar::default(),
            mode: AtomicU8::new(OPEN),
            polls: AtomicUsize::new(0),
            stuck: AtomicUsize::new(0),
            blocked_submitters: AtomicUsize::new(0),
            gate: Mutex::new(Vec::new()),
            opened: Condvar::default(),
            #[cfg(feature = "rayon")]
            crews: crews::Crews::default(),
        })
    }

    /// Queues an admitted unit and sees to a thread for it. Fails when there is none and none can be started.
    pub(crate) fn push(self: &Arc<Self>, unit: Arc<dyn Unit>, lane: Lane) -> Result<(), io::Error> {
        if let Some(executor) = &self.plan.executor {
            self.hold(&unit);
            // An executor's panic drops the job, which resolves it.
            let _ = contain(|| executor.execute(Job::new(unit)));
            return Ok(());
        }
        let job = Job::new(unit);
        // The channel is never disconnected: the runner holds both ends.
        let _ = match lane {
            Lane::Quick => self.quick.0.send(job),
            Lane::Ordinary => self.queue.0.send(job),
        };
        let demand = self.load.demand.fetch_add(1, Ordering::SeqCst);
        if demand > GHOSTS && demand - GHOSTS > self.known() {
            self.sweep();
        }
        self.sweep_up();
        self.idle.wake_one();
        if demand >= 0 { self.start_if_needed() } else { Ok(()) }
    }

    /// How many jobs there should be in the queue at most. (How many there are is told by the demand for workers: to ask the
    /// queue would be to read what all of them write.)
    fn known(&self) -> i64 {
        let known = 2 * self.load.waiting() + self.polls.load(Ordering::Relaxed);
        i64::try_from(known).unwrap_or(i64::MAX)
    }

    /// Remembers what lies elsewhere (an executor has it, a limit, or the timer), as long as it is pending. Gives it up at
    /// once if nothing is to be started any more: `shutdown_now` may have looked before it was here.
    pub(crate) fn hold(&self, unit: &Arc<dyn Unit>) {
        let mut seen = Vec::new();
        let mut held = self.held.lock();
        if held.len() == held.capacity() {
            held.retain(|unit| {
                let unit = unit.upgrade();
                let pending = unit.as_ref().is_some_and(|unit| unit.is_pending());
                // It may be the last reference by now, and then a value of the user's goes with it.
                seen.extend(unit);
                pending
            });
        }
        held.push(Arc::downgrade(unit));
        drop(held);
        let _ = contain(|| drop(seen));
        if self.is_refusing() {
            unit.abandon();
        }
    }

    /// Takes out of the queue what was cancelled or has been run by its waiter: it is no longer counted, so nothing but
    /// this bounds it.
    #[cold]
    fn sweep(&self) {
        for (sender, receiver) in [&self.quick, &self.queue] {
            for _ in 0..receiver.len() {
                match receiver.try_recv() {
                    Ok(job) if !job.is_pending() => {
                        self.load.demand.fetch_sub(1, Ordering::SeqCst);
                        job.forget();
                    }
                    Ok(job) => drop(sender.send(job)),
                    Err(_) => break,
                }
            }
        }
    }

    /// Empties the queue if nothing is to be started any more. (Whoever queues something looks here afterwards: `shutdown_now`
    /// may have been here before it, and its worker may be long in coming.) And if all is over: what is left then was cancelled,
    /// or run by its waiter, nobody takes it out any more, and it would keep this pool alive, which keeps it.
    fn sweep_up(&self) {
        while (self.is_over() || self.is_refusing())
            && let Some(job) = self.take()
        {
            self.load.demand.fetch_sub(1, Ordering::SeqCst);
            drop(job);
        }
    }

    /// The next job: look-ups first.
    fn take(&self) -> Option<Job> {
        self.quick.1.try_recv().or_else(|_| self.queue.1.try_recv()).ok()
    }

    /// Whether something is queued.
    pub(crate) fn has_queued(&self) -> bool {
        !self.quick.1.is_empty() || !self.queue.1.is_empty()
    }

    /// How many units wait in the quick lane.
    pub(crate) fn queued_looks(&self) -> usize {
        self.quick.1.len()
    }

    /// Whether what is queued here is run only after one of its waiting bodies goes on.
    pub(crate) fn is_starving(&self) -> bool {
        self.starving.load(Ordering::SeqCst)
    }

    /// Calls a body.
    #[cfg(not(feature = "rayon"))]
    pub(crate) fn call<T>(self: &Arc<Self>, body: impl FnOnce() -> T) -> T {
        body()
    }

    /// Whether somebody else's threads run the jobs.
    pub(crate) fn is_foreign(&self) -> bool {
        self.plan.executor.is_some()
    }

    pub(crate) fn timer(&self) -> &timer::Timer {
        &self.timer
    }

    /// Units that have not started.
    pub(crate) fn queued(&self) -> usize {
        self.load.waiting()
    }

    /// A poll of an async body, which has started long ago, is about to be queued.
    pub(crate) fn expect_poll(&self) {
        self.polls.fetch_add(1, Ordering::Relaxed);
    }

    /// It was taken out.
    pub(crate) fn took_poll(&self) {
        self.polls.fetch_sub(1, Ordering::Relaxed);
    }

    /// Bodies that run.
    pub(crate) fn running(&self) -> usize {
        self.load.running()
    }

    /// Those of them that run beyond their timeout.
    pub(crate) fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Tells the listener, which is user code: no lock is held.
    fn emit(&self, event: &Event<'_>) {
        tell(self.plan.on_event.as_ref(), event);
    }

    /// Waits until there may be room, or the pool ends. `false`: out of patience.
    fn await_place(&self, patience: Patience) -> bool {
        let deadline = match patience {
            Patience::None => return false,
            Patience::Until(deadline) => Some(deadline),
            Patience::Endless => None,
        };
        // What is queued here may wait for whatever this thread has: its slot, and its place in its own pool.
        let _lent = limit::lend();
        let _blocked = context::block_outside();
        self.blocked_submitters.fetch_add(1, Ordering::SeqCst);
        // A wake-up that comes with the deadline is used, or it would be lost to the others.
        let may_be_room = asleep(deadline, |until| {
            let mut gate = self.gate.lock();
            while self.load.waiting() >= self.plan.queue && self.is_open() {
                gate = match until {
                    None => self.opened.wait(gate),
                    Some(at) if now() < at => self.opened.wait_until(gate, at),
                    Some(_) => return None,
                };
            }
            Some(())
        });
        self.blocked_submitters.fetch_sub(1, Ordering::SeqCst);
        may_be_room.is_some()
    }

    /// There may be room in the queue.
    fn tell_of_place(&self) {
        if self.blocked_submitters.load(Ordering::SeqCst) > 0 {
            // Taking the gate orders this after a submitter's last look at `waiting`.
            self.open_gate();
            self.opened.notify_one();
        }
    }

    /// Wakes the futures that wait for room. Each asks again, and leaves another waker if it finds none.
    fn open_gate(&self) {
        let wakers = std::mem::take(&mut *self.gate.lock());
        if !wakers.is_empty() {
            self.blocked_submitters.fetch_sub(wakers.len(), Ordering::SeqCst);
            // A waker is an executor's code.
            wakers.into_iter().for_each(|waker| _ = contain(|| waker.wake()));
        }
    }

    /// Has `waker` called when there may be room. `false`: there may be now.
    #[cfg(feature = "stream")]
    pub(crate) fn call_when_there_is_room(&self, waker: &Waker) -> bool {
        let waker = waker.clone();
        self.blocked_submitters.fetch_add(1, Ordering::SeqCst);
        let mut gate = self.gate.lock();
        let full = self.load.waiting() >= self.plan.queue && self.is_open();
        // (A future that is polled again and again leaves one.)
        let known = full && gate.iter().any(|known| known.will_wake(&waker));
        if full && !known {
            gate.push(waker);
            return true;
        }
        drop(gate);
        if known {
            self.blocked_submitters.fetch_sub(1, Ordering::SeqCst);
            return true;
        }
        self.blocked_submitters.fetch_sub(1, Ordering::SeqCst);
        false
    }

    /// Ends the pool: outsiders are refused from now on, and with `refuse_all` its own tasks, too; what has not started
    /// is then abandoned. Returns at once.
    pub(crate) fn close(&self, refuse_all: bool) {
        self.mode.fetch_max(if refuse_all { REFUSING } else { DRAINING }, Ordering::SeqCst);
        if refuse_all {
            self.sweep_up();
            let held = std::mem::take(&mut *self.held.lock());
            held.iter().filter_map(Weak::upgrade).for_each(|unit| unit.abandon());
        }
        self.open_gate();
        self.opened.notify_all();
        self.end_if_idle();
    }

    /// Waits until all work is done and all threads are gone. `false`: they are not, by `deadline`. Inside one of the
    /// pool's own tasks, or where it keeps the time (a listener is told of timeouts there), it does not wait, since it would
    /// wait for itself.
    pub(crate) fn join(&self, deadline: Option<Instant>) -> bool {
        if context::is_inside(self.id) || context::is_worker_of(self.id) || self.timer.is_here() {
            return false;
        }
        let _lent = limit::lend();
        let _blocked = context::block_outside();
        let ended = asleep(deadline, |until| {
            let mut gate = self.gate.lock();
            loop {
                let handles = match self.is_over() {
                    true => self.sizing.lock().threads_left(),
                    false => None,
                };
                if handles.is_some() {
                    return handles;
                }
                gate = match until {
                    None => self.opened.wait(gate),
                    Some(at) if now() < at => self.opened.wait_until(gate, at),
                    Some(_) => return None,
                };
            }
        });
        let Some(handles) = ended else { return false };
        for handle in handles {
            let _ = handle.join();
        }
        self.timer.stop();
        true
    }

    /// Whether this thread may still submit something.
    pub(crate) fn admits(&self) -> bool {
        match self.mode.load(Ordering::SeqCst) {
            OPEN => true,
            DRAINING => context::is_inside(self.id),
            _ => false,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.mode.load(Ordering::SeqCst) == OPEN
    }

    /// Whether nothing is to be started any more.
    pub(crate) fn is_refusing(&self) -> bool {
        self.mode.load(Ordering::SeqCst) == REFUSING
    }

    /// Whether it ends, and no work is left.
    pub(crate) fn is_over(&self) -> bool {
        !self.is_open() && self.load.is_none()
    }

    fn end_if_idle(&self) {
        if self.is_over() {
            self.idle.wake_all();
            // Taking the lock orders this after a spare worker's last look at the mode.
            drop(self.sizing.lock());
            self.recall.notify_all();
            self.signal_end();
        }
    }

    fn signal_end(&self) {
        drop(self.gate.lock());
        self.opened.notify_all();
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("id", &self.id).finish_non_exhaustive()
    }
}
