//! Who waits for whom, over all pools of the process: so that a wait that could never end fails instead.
//!
//! A node is a task whose body is running. While the body waits, the node has *branches*: the tasks it waits for. A wait
//! for one task has one branch; a wait for several (`wait` for the first, `as_completed`, several futures polled) is an
//! or-edge: any of them lets it go on.
//!
//! # Invariant
//!
//! From every waiting node some node without branches can be reached: one that runs, or will be run. A wait that would
//! break this is refused with the names along the cycle, before it is entered. So the graph never holds a closed set of
//! waiters, and whoever closes one is the one who is told.
//!
//! # Transitions, all under the one lock
//!
//! | change | who | checked |
//! |---|---|---|
//! | node gets its branches | the thread that runs its body, before it blocks ([`Graph::block`]) | yes: refused if all it can reach waits |
//! | branches go back to what they were | the same thread, after it wakes (drop of [`Blocked`]) | removing needs none |
//! | a polled future is added | the thread that polls it in a body ([`Graph::await_one`]) | on its *second* pending poll, since a combinator polls all of its branches before it sleeps |
//! | a polled future is removed | when it is ready or dropped ([`Graph::forget_one`]) | none |
//!
//! Two threads that close a cycle from both ends at once are ordered by the lock: the second one sees the first's edge.
//! A finished task never has branches, so an edge to it can't be part of a cycle; stale edges are harmless.
//!
//! The lock is held only over look-ups here. Labels are rendered after it is released.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem;

use crate::sync::{Arc, Mutex};

/// A task, as the graph sees it.
pub(crate) trait Node: Send + Sync {
    /// Unique in the process.
    fn id(&self) -> u64;
    /// How messages call it: `name(#short-key)`.
    fn label(&self) -> String;
    /// Whether it still lies in the queue of the pool `home`.
    fn is_queued_in(&self, home: u64) -> bool;
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
}

struct Waits {
    waiter: AnyNode,
    branches: Vec<AnyNode>,
}

impl Graph {
    /// Enters `waiter`'s wait for any one of `targets`, or says which cycle that would close.
    pub(crate) fn block(&self, waiter: &AnyNode, targets: Vec<AnyNode>) -> Result<Blocked<'_>, Cycle> {
        let mut waits = self.waits.lock();
        if let Some(path) = closed(&waits, waiter, &targets) {
            drop(waits);
            return Err(labels(&path));
        }
        let entry = waits.entry(waiter.id()).or_insert_with(|| Waits::of(waiter));
        let before = mem::replace(&mut entry.branches, targets);
        Ok(Blocked { graph: self, waiter: waiter.id(), before })
    }

    /// Adds a future that `waiter`'s body polls. With `check`, says which cycle its pending futures close, if so.
    pub(crate) fn await_one(&self, waiter: &AnyNode, target: &AnyNode, check: bool) -> Option<Cycle> {
        let mut waits = self.waits.lock();
        let entry = waits.entry(waiter.id()).or_insert_with(|| Waits::of(waiter));
        if entry.branches.iter().all(|branch| branch.id() != target.id()) {
            entry.branches.push(Arc::clone(target));
        }
        if !check {
            return None;
        }
        let branches = entry.branches.clone();
        let path = closed(&waits, waiter, &branches);
        drop(waits);
        path.map(|path| labels(&path))
    }

    /// `waiter` no longer polls `target`.
    pub(crate) fn forget_one(&self, waiter: u64, target: u64) {
        let mut waits = self.waits.lock();
        if let Some(entry) = waits.get_mut(&waiter) {
            entry.branches.retain(|branch| branch.id() != target);
            if entry.branches.is_empty() {
                waits.remove(&waiter);
            }
        }
    }

    /// `waiter`'s body has ended: whatever it polled, it waits no more.
    pub(crate) fn leave(&self, waiter: u64) {
        let left = self.waits.lock().remove(&waiter);
        drop(left);
    }

    /// Whether everything that `target` depends on lies in the queue of `home`: without a thread there it never ends.
    pub(crate) fn needs_thread_of(&self, home: u64, target: &AnyNode) -> bool {
        let waits = self.waits.lock();
        let mut seen = BTreeSet::new();
        let mut next = vec![Arc::clone(target)];
        while let Some(node) = next.pop() {
            if !seen.insert(node.id()) {
                continue;
            }
            match waits.get(&node.id()) {
                Some(entry) if !entry.branches.is_empty() => next.extend(entry.branches.iter().cloned()),
                _ if node.is_queued_in(home) => {}
                _ => return false,
            }
        }
        true
    }

    /// How many nodes wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waits.lock().len()
    }
}

impl Waits {
    fn of(waiter: &AnyNode) -> Waits {
        Waits { waiter: Arc::clone(waiter), branches: Vec::new() }
    }
}

/// A wait that was entered; it ends with this value.
#[must_use]
pub(crate) struct Blocked<'g> {
    graph: &'g Graph,
    waiter: u64,
    before: Vec<AnyNode>,
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        let before = mem::take(&mut self.before);
        let mut waits = self.graph.waits.lock();
        let after = if before.is_empty() {
            waits.remove(&self.waiter).map(|entry| entry.branches)
        } else {
            waits.get_mut(&self.waiter).map(|entry| mem::replace(&mut entry.branches, before))
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
    back = back.or(reach(waiter.id(), targets, &mut from, &mut nodes));
    let mut at = 0;
    while at < nodes.len() {
        let node = nodes[at].id();
        at += 1;
        match waits.get(&node) {
            Some(entry) if !entry.branches.is_empty() => {
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
