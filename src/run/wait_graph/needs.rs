//! What a node of the graph waits for, a thread of its pool included.

use std::collections::{BTreeMap, BTreeSet};

use super::{AnyNode, Waits};
use crate::sync::Arc;

/// What must happen before a node goes on: one of each that is there.
pub(super) struct Needs {
    pub(super) branches: Option<Vec<AnyNode>>,
    /// The bodies on the threads of its pool, one of which must be free for it.
    pub(super) threads: Option<Vec<AnyNode>>,
}

impl Needs {
    pub(super) fn of(waits: &BTreeMap<u64, Waits>, node: &AnyNode) -> Needs {
        let entry = waits.get(&node.id());
        if node.is_done() {
            return Needs { branches: None, threads: None };
        }
        let branches = entry.filter(|entry| !entry.is_awake() && !entry.branches.is_empty());
        let here = |entry: &&Waits| entry.has_thread() && entry.waiter.home() == node.home();
        let threads = || waits.values().filter(here).map(|entry| Arc::clone(&entry.waiter)).collect();
        Needs {
            branches: branches.map(|entry| entry.branches.clone()),
            threads: node.is_starving().then(threads),
        }
    }

    pub(super) fn nothing(&self) -> bool {
        self.branches.is_none() && self.threads.is_none()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &AnyNode> {
        self.branches.iter().chain(&self.threads).flatten()
    }

    pub(super) fn are_met(&self, go_on: &BTreeSet<u64>) -> bool {
        let one = |nodes: &Option<Vec<AnyNode>>| {
            nodes.as_ref().is_none_or(|nodes| nodes.iter().any(|node| go_on.contains(&node.id())))
        };
        one(&self.branches) && one(&self.threads)
    }
}
