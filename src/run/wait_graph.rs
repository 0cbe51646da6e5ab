//! Who waits for whom, over all pools of the process: so that a wait that could never end fails instead.
//!
//! A node is a task whose body is running. While the body waits, the node has *branches*: the tasks it waits for. A wait
//! for one task has one branch; a wait for several (`wait` for the first, `as_completed`, several futures polled) is an
//! or-edge: any of them lets it go on. A node *goes on* if it has no branches (it runs, or will be run), or if one of its
//! branches is done (it is about to wake, unless that one's stack lies on top of its own), or if it has polled a future
//! only once so far (it has not gone to sleep: it may be about to poll one that is ready).
//!
//! # Invariant
//!
//! From every waiting node some node that goes on can be reached. A wait that would break this is refused with the names
//! along the cycle, before it is entered. So the graph never holds a closed set of waiters, and whoever closes one is the
//! one who is told.
//!
//! A *starving* task closes cycles of another kind: it is queued in a pool whose threads all wait, at its hard cap. It will
//! be run when any of that pool's bodies goes on, so to [`Graph::is_hopeless`] it waits for any of them. That is asked by
//! each waiter after its edge is entered and its thread is counted as blocked; whichever of several comes last sees all
//! the others. Where nothing starves, nobody is told that threads are missing: a closed set of bodies that poll each
//! other lasts only until the one who closed it polls again, and that one is told of the cycle.
//!
//! # Transitions, all under the one lock
//!
//! | change | who | checked |
//! |---|---|---|
//! | node gets its branches | the thread that runs its body, before it blocks ([`Graph::block`]) | yes: refused if all it can reach waits |
//! | branches go back to what they were | the same thread, after it wakes (drop of [`Blocked`]) | removing needs none |
//! | a poll of an async body begins | the thread that polls it ([`Graph::begin_poll`]): it is awake, whatever its branches | |
//! | that poll ends | the same thread ([`Graph::end_poll`]) | yes: if all it can reach waits, it is *doomed*: the wakers of its futures are called, and the next of them that is polled is told |
//! | a polled future is added | the thread that polls it in a body ([`Graph::await_one`]) | on its *second* pending poll, since a combinator polls all of its branches before it sleeps |
//! | a polled stream waits for more | on each pending poll ([`Graph::add_branches`]), before it is looked at | |
//! | a polled stream gives a task out | then ([`Graph::gave_out`]): its body is awake, and polls again before it sleeps | |
//! | a polled future is removed | when it is ready or dropped ([`Graph::forget_one`]) | yes: if the rest is closed now, their wakers are called, and their next poll is told |
//!
//! Two threads that close a cycle from both ends at once are ordered by the lock: the second one sees the first's edge.
//!
//! The lock is held only over look-ups here. Labels are rendered, and wakers called, after it is released.

// (The model checkers mount this file from elsewhere.)
#[path = "wait_graph/needs.rs"]
mod needs;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem;
use std::task::Waker;

use needs::Needs;

use crate::contain::contain;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard};

/// A task, as the graph sees it.
pub(crate) trait Node: Send + Sync {
    /// Unique in the process.
    fn id(&self) -> u64;
    /// How messages call it: `name(#short-key)`.
    fn label(&self) -> String;
    /// The pool that runs it.
    fn home(&self) -> u64;
    /// Whether it has its outcome.
    fn is_done(&self) -> bool;
    /// Whether it needs a thread of its pool (it is queued, or to be polled), which has none that could take it: all wait,
    /// and no more may be started.
    fn is_starving(&self) -> bool;
    /// Whether nobody wants its outcome any more.
    fn is_given_up(&self) -> bool;
}

/// A task that may be shared between threads.
pub(crate) type AnyNode = Arc<dyn Node>;

/// The labels along a cycle, first and last the same.
pub(crate) type Cycle = Vec<String>;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Graph {
    waits: Mutex<BTreeMap<u64, Waits>>,
    /// How many pools starve. While none does, nothing waits in vain for a thread.
    starving: AtomicUsize,
}

struct Waits {
    waiter: AnyNode,
    branches: Vec<AnyNode>,
    way: Way,
    /// Those branches that are polled futures.
    polled: Vec<Polled>,
    /// An async body that closes a cycle: whichever of its futures is polled next is told.
    doomed: bool,
}

/// How a body waits for its branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It polls them.
    Polls,
    /// It is an async body, and being polled.
    Awake,
    /// It is an async body, between two polls.
    Asleep,
    /// Its thread sleeps until one of them is done.
    Sleeps,
    /// Its stack lies below that of its one branch: it can't go on before that has returned, done or not.
    Pinned,
}

struct Polled {
    id: u64,
    waker: Waker,
    /// It, or another of the same body's, was polled a second time since: the body has polled all of them once, and may
    /// sleep now.
    again: bool,
}

impl Graph {
    /// Enters `waiter`'s wait for any one of `targets`, or says which cycle that would close.
    pub(crate) fn block(&self, waiter: &AnyNode, targets: Vec<AnyNode>) -> Result<Blocked<'_>, Cycle> {
        let waits = self.waits.lock();
        if let Some(path) = closed(&waits, waiter, &targets) {
            drop(waits);
            return Err(labels(&path));
        }
        Ok(self.enter(waits, waiter, targets, Way::Sleeps))
    }

    /// Enters the wait of a body that runs `target` on top of its own stack. Nothing to check: `target` was queued.
    pub(crate) fn pin(&self, waiter: &AnyNode, target: AnyNode) -> Blocked<'_> {
        self.enter(self.waits.lock(), waiter, vec![target], Way::Pinned)
    }

    fn enter(
        &self,
        mut waits: MutexGuard<'_, BTreeMap<u64, Waits>>,
        waiter: &AnyNode,
        targets: Vec<AnyNode>,
        way: Way,
    ) -> Blocked<'_> {
        let entry = waits.entry(waiter.id()).or_insert_with(|| Waits::of(waiter));
        let before = mem::replace(&mut entry.branches, targets);
        let way = mem::replace(&mut entry.way, way);
        Blocked { graph: self, waiter: waiter.id(), before, way }
    }

    /// The async body of `waiter` is polled.
    pub(crate) fn begin_poll(&self, waiter: u64) {
        if let Some(entry) = self.waits.lock().get_mut(&waiter) {
            entry.way = Way::Awake;
        }
    }

    /// That poll has ended. Returns whether the body waits for tasks.
    pub(crate) fn end_poll(&self, waiter: u64) -> bool {
        let mut waits = self.waits.lock();
        let Some(entry) = waits.get_mut(&waiter) else { return false };
        entry.way = Way::Asleep;
        let woken = doom(&mut waits, waiter);
        drop(waits);
        wake(woken);
        true
    }

    /// Adds a future that `waiter`'s async body polls, or says which cycle it closes.
    pub(crate) fn await_polled(&self, waiter: &AnyNode, target: &AnyNode, waker: &Waker) -> Option<Cycle> {
        let doomed = {
            let mut waits = self.waits.lock();
            let entry = waits.entry(waiter.id()).or_insert_with(|| Waits::of(waiter));
            entry.way = Way::Awake;
            mem::take(&mut entry.doomed)
        };
        self.await_one(waiter, target, waker, doomed)
    }

    /// Adds a future that `waiter`'s body polls. With `check`, says which cycle its pending futures close, if so.
    pub(crate) fn await_one(
        &self,
        waiter: &AnyNode,
        target: &AnyNode,
        waker: &Waker,
        check: bool,
    ) -> Option<Cycle> {
        // Cloning and dropping a waker is an executor's code.
        let (id, waker) = (target.id(), waker.clone());
        let mut waits = self.waits.lock();
        let entry = waits.entry(waiter.id()).or_insert_with(|| Waits::of(waiter));
        if entry.branches.iter().all(|branch| branch.id() != id) {
            entry.branches.push(Arc::clone(target));
        }
        let before = entry.polled.extract_if(.., |polled| polled.id == id).next();
        entry.polled.push(Polled { id, waker, again: false });
        if check {
            entry.polled.iter_mut().for_each(|polled| polled.again = true);
        }
        let path = if check { closed(&waits, waiter, &waits[&waiter.id()].branches) } else { None };
        // Who is told goes on: in the same critical section, so that nobody else is told of the same cycle.
        let told = match &path {
            Some(_) => waits.remove(&waiter.id()),
            None => None,
        };
        drop(waits);
        drop((before, told));
        path.map(|path| labels(&path))
    }

    /// Adds those of `targets` that are not among the branches of `waiter`, whose body polls all of them as one future. They
    /// are looked at when one of them is polled next ([`Graph::await_one`]). `waker` is the crate's own: it is cloned here.
    #[cfg(feature = "stream")]
    pub(crate) fn add_branches(&self, waiter: &AnyNode, targets: &[AnyNode], waker: &Waker) {
        if targets.is_empty() {
            return;
        }
        let mut waits = self.waits.lock();
        let entry = waits.entry(waiter.id()).or_insert_with(|| Waits::of(waiter));
        let mut branches: BTreeSet<u64> = entry.branches.iter().map(|branch| branch.id()).collect();
        let mut polled: BTreeSet<u64> = entry.polled.iter().map(|polled| polled.id).collect();
        for target in targets {
            let id = target.id();
            if branches.insert(id) {
                entry.branches.push(Arc::clone(target));
            }
            if polled.insert(id) {
                entry.polled.push(Polled { id, waker: waker.clone(), again: false });
            }
        }
    }

    /// What `waiter`'s body polls has given `target` out: it goes on with that, whatever else it waits for, and polls again
    /// before it sleeps.
    #[cfg(feature = "stream")]
    pub(crate) fn gave_out(&self, waiter: u64, target: u64) {
        let mut waits = self.waits.lock();
        let Some(entry) = waits.get_mut(&waiter) else { return };
        let branch = entry.branches.extract_if(.., |branch| branch.id() == target).next();
        let polled = entry.polled.extract_if(.., |polled| polled.id == target).next();
        entry.polled.iter_mut().for_each(|polled| polled.again = false);
        let removed = if entry.branches.is_empty() { waits.remove(&waiter) } else { None };
        drop(waits);
        drop((branch, polled, removed));
    }

    /// `waiter` no longer polls `target`.
    pub(crate) fn forget_one(&self, waiter: u64, target: u64) {
        let mut waits = self.waits.lock();
        let Some(entry) = waits.get_mut(&waiter) else { return };
        let branch = entry.branches.extract_if(.., |branch| branch.id() == target).next();
        let polled = entry.polled.extract_if(.., |polled| polled.id == target).next();
        let (mut woken, mut removed) = (Vec::new(), None);
        if entry.branches.is_empty() {
            removed = waits.remove(&waiter);
        } else if entry.way != Way::Awake {
            woken = doom(&mut waits, waiter);
        }
        drop(waits);
        drop((branch, polled, removed));
        wake(woken);
    }

    /// `waiter`'s body has ended: whatever it polled, it waits no more.
    pub(crate) fn leave(&self, waiter: u64) {
        let left = self.waits.lock().remove(&waiter);
        drop(left);
    }

    /// Whether a wait for any of `targets` would never end for want of a thread: some of what they depend on starves, and
    /// nothing of it goes on.
    ///
    /// Most nodes need *one* of several others to go on. An async body whose pool starves needs two things, one of its
    /// branches and one of the threads; where such are met, it is decided by going up from those that go on by themselves.
    pub(crate) fn is_hopeless(&self, targets: &[AnyNode]) -> bool {
        if self.starving.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let waits = self.waits.lock();
        let mut seen: BTreeMap<u64, Needs> = BTreeMap::new();
        let mut next = targets.to_vec();
        let (mut starves, mut two) = (false, false);
        while let Some(node) = next.pop() {
            if seen.contains_key(&node.id()) {
                continue;
            }
            let needs = Needs::of(&waits, &node);
            starves |= needs.threads.is_some();
            two |= needs.branches.is_some() && needs.threads.is_some();
            if needs.nothing() && !two {
                return false;
            }
            next.extend(needs.all().cloned());
            seen.insert(node.id(), needs);
        }
        if !two {
            return starves;
        }
        let mut go_on: BTreeSet<u64> = BTreeSet::new();
        loop {
            let more = seen.iter().filter(|(id, needs)| !go_on.contains(id) && needs.are_met(&go_on));
            let more: Vec<u64> = more.map(|(id, _)| *id).collect();
            if more.is_empty() {
                return targets.iter().all(|target| !go_on.contains(&target.id()));
            }
            go_on.extend(more);
        }
    }

    /// A pool's threads all wait now, and it gets no more; or no longer. Told before any of those waits asks for hope.
    pub(crate) fn starves(&self, now: bool) {
        if now {
            self.starving.fetch_add(1, Ordering::SeqCst);
        } else {
            self.starving.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether that body waits for something.
    pub(crate) fn is_waiting(&self, waiter: u64) -> bool {
        self.waits.lock().get(&waiter).is_some_and(|entry| !entry.branches.is_empty())
    }

    /// Whether a body waits for that task.
    pub(crate) fn is_awaited(&self, target: u64) -> bool {
        self.waits.lock().values().any(|entry| entry.branches.iter().any(|branch| branch.id() == target))
    }

    /// How many nodes wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waits.lock().len()
    }
}

impl Waits {
    /// It does not go on by itself.
    fn waits(&self) -> bool {
        let goes_on = self.is_awake() || self.branches.iter().any(|branch| branch.is_done());
        !self.branches.is_empty() && (self.way == Way::Pinned || !goes_on)
    }

    /// It polls, and will do so at least once more before it sleeps; or its wakers have been called.
    fn is_awake(&self) -> bool {
        match self.way {
            Way::Polls => self.polled.iter().any(|polled| !polled.again),
            Way::Awake => true,
            Way::Asleep => self.doomed,
            Way::Sleeps | Way::Pinned => false,
        }
    }

    /// It holds a thread while it waits.
    fn has_thread(&self) -> bool {
        !matches!(self.way, Way::Awake | Way::Asleep)
    }

    fn of(waiter: &AnyNode) -> Waits {
        let waiter = Arc::clone(waiter);
        Waits { waiter, branches: Vec::new(), way: Way::Polls, polled: Vec::new(), doomed: false }
    }
}

/// If that waiter's branches close a cycle: its futures, of which one is to be told.
fn doom(waits: &mut BTreeMap<u64, Waits>, waiter: u64) -> Vec<Polled> {
    let closes =
        |entry: &Waits| !entry.branches.is_empty() && closed(waits, &entry.waiter, &entry.branches).is_some();
    if !waits.get(&waiter).is_some_and(closes) {
        return Vec::new();
    }
    let Some(entry) = waits.get_mut(&waiter) else { return Vec::new() };
    entry.doomed = entry.way == Way::Asleep;
    mem::take(&mut entry.polled)
}

/// Wakers are an executor's code.
fn wake(futures: Vec<Polled>) {
    for future in futures {
        let _ = contain(|| future.waker.wake());
    }
}

/// A wait that was entered; it ends with this value.
#[must_use]
pub(crate) struct Blocked<'g> {
    graph: &'g Graph,
    waiter: u64,
    before: Vec<AnyNode>,
    way: Way,
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        let before = mem::take(&mut self.before);
        let mut waits = self.graph.waits.lock();
        let after = if before.is_empty() {
            waits.remove(&self.waiter).map(|entry| entry.branches)
        } else {
            waits.get_mut(&self.waiter).map(|entry| {
                entry.way = self.way;
                mem::replace(&mut entry.branches, before)
            })
        };
        drop(waits);
        drop(after);
    }
}

/// The cycle that `waiter → targets` closes: every node it reaches waits, too. Breadth first, so the shortest way back.
fn closed(waits: &BTreeMap<u64, Waits>, waiter: &AnyNode, targets: &[AnyNode]) -> Option<Vec<AnyNode>> {
    // node → the one it was reached from
    let mut from: BTreeMap<u64, u64> = BTreeMap::new();
    let mut nodes: Vec<AnyNode> = Vec::new();
    let mut back = None;
    let reach = |at: u64, targets: &[AnyNode], from: &mut BTreeMap<u64, u64>, nodes: &mut Vec<AnyNode>| {
        let mut home = None;
        for target in targets {
            if target.id() == waiter.id() {
                home = Some(at);
            } else if let Entry::Vacant(unseen) = from.entry(target.id()) {
                unseen.insert(at);
                nodes.push(Arc::clone(target));
            }
        }
        home
    };
    if targets.iter().any(|target| target.is_done()) || leads_on(waits, waiter, targets) {
        return None;
    }
    back = back.or(reach(waiter.id(), targets, &mut from, &mut nodes));
    let mut at = 0;
    while at < nodes.len() {
        let node = nodes[at].id();
        at += 1;
        match waits.get(&node) {
            Some(entry) if entry.waits() => {
                back = back.or(reach(node, &entry.branches, &mut from, &mut nodes));
            }
            _ => return None,
        }
    }
    let mut path = vec![Arc::clone(waiter)];
    let mut step = back?;
    while step != waiter.id() {
        let node = nodes.iter().find(|node| node.id() == step)?;
        path.push(Arc::clone(node));
        step = *from.get(&step)?;
    }
    path.push(Arc::clone(waiter));
    path.reverse();
    Some(path)
}

/// Whether the one target goes on, or waits for one task that does, and so on: most waits are of this kind, and long chains
/// of them are walked for each link that is added.
fn leads_on(waits: &BTreeMap<u64, Waits>, waiter: &AnyNode, targets: &[AnyNode]) -> bool {
    let mut branches = targets;
    for _ in 0..=waits.len() {
        let [node] = branches else { break };
        match waits.get(&node.id()) {
            _ if node.id() == waiter.id() => break,
            Some(entry) if entry.waits() => branches = &entry.branches,
            _ => return true,
        }
    }
    false
}

fn labels(path: &[AnyNode]) -> Cycle {
    path.iter().map(|node| node.label()).collect()
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph").field("waiting", &self.waiting()).finish()
    }
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waits").field("waiter", &self.waiter.id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Blocked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocked").field("waiter", &self.waiter).finish_non_exhaustive()
    }
}
