//! The wait graph: of tasks that wait for each other one is told, and no other.
//!
//! In the drawings a lane is a thread, `·` a point at which the threads race; `a > b` is "a waits for b".

use std::mem;
use std::sync::Arc;
use std::task::Waker;

use crate::explore;
use crate::run::wait_graph::{AnyNode, Cycle, Graph, Node};
use crate::support::{join, spawn};

struct Task(&'static str);

impl Node for Task {
    fn id(&self) -> u64 {
        u64::from(self.0.as_bytes()[0])
    }

    fn label(&self) -> String {
        self.0.to_owned()
    }

    fn home(&self) -> u64 {
        1
    }

    fn is_done(&self) -> bool {
        false
    }

    fn is_starving(&self) -> bool {
        false
    }

    fn is_given_up(&self) -> bool {
        false
    }
}

fn task(name: &'static str) -> AnyNode {
    Arc::new(Task(name))
}

/// `waiter` waits for any of `targets` from now on, or is told of a cycle.
fn wait(graph: &Graph, waiter: &'static str, targets: &[&'static str]) -> Result<(), Cycle> {
    let targets = targets.iter().map(|target| task(target)).collect();
    // The scenario ends while it waits.
    graph.block(&task(waiter), targets).map(mem::forget)
}

/// All of them at once, each in its own thread; who was refused, and with what.
fn wait_at_once<const N: usize>(waits: [(&'static str, &'static [&'static str]); N]) -> Vec<Cycle> {
    let graph = Arc::new(Graph::default());
    let [others @ .., (waiter, targets)] = &waits[..] else { panic!("nobody waits") };
    let others: Vec<_> = others
        .iter()
        .map(|&(waiter, targets)| {
            let graph = Arc::clone(&graph);
            spawn(move || wait(&graph, waiter, targets))
        })
        .collect();
    let mine = wait(&graph, waiter, targets);
    others.into_iter().map(join).chain([mine]).filter_map(Result::err).collect()
}

/// Two tasks that wait for each other hang, or both fail although one could go on.
///
/// ```text
/// body of a       body of b
/// ---------       ---------
/// a > b         · b > a
/// (one of them is told: a > b > a, or b > a > b)
/// ```
#[test]
fn of_two_that_wait_for_each_other_one_is_told() {
    explore(|| {
        let told = wait_at_once([("a", &["b"]), ("b", &["a"])]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0] == ["a", "b", "a"] || told[0] == ["b", "a", "b"], "{told:?}");
    });
}

/// Three tasks that wait in a ring hang, or more than one fails.
///
/// ```text
/// body of a       body of b       body of c
/// ---------       ---------       ---------
/// a > b         · b > c         · c > a
/// (the last one is told, with the ring from itself to itself)
/// ```
#[test]
fn of_a_ring_of_three_one_is_told() {
    explore(|| {
        let told = wait_at_once([("a", &["b"]), ("b", &["c"]), ("c", &["a"])]);
        assert_eq!(told.len(), 1, "{told:?}");
        let rings = [["a", "b", "c", "a"], ["b", "c", "a", "b"], ["c", "a", "b", "c"]];
        assert!(rings.iter().any(|ring| told[0] == *ring), "{told:?}");
    });
}

/// A wait for the first of several tasks fails although one of them can still end.
///
/// ```text
/// body of a          body of b       c runs
/// ---------          ---------
/// a > b or c       · b > a
/// (nobody is told: c ends, a goes on, b goes on)
/// ```
#[test]
fn a_wait_for_any_of_two_needs_only_one() {
    explore(|| {
        let told = wait_at_once([("a", &["b", "c"]), ("b", &["a"])]);
        assert!(told.is_empty(), "{told:?}");
    });
}

/// A wait for the first of several tasks hangs because all of them wait for the one that waits.
///
/// ```text
/// body of a          body of b       body of c
/// ---------          ---------       ---------
/// a > b or c       · b > a         · c > a
/// (the last one is told)
/// ```
#[test]
fn a_wait_for_any_of_two_is_refused_when_both_wait_back() {
    explore(|| {
        let told = wait_at_once([("a", &["b", "c"]), ("b", &["a"]), ("c", &["a"])]);
        assert_eq!(told.len(), 1, "{told:?}");
        let rings = [["a", "b", "a"], ["b", "a", "b"], ["c", "a", "c"]];
        assert!(rings.iter().any(|ring| told[0] == *ring), "{told:?}");
    });
}

/// A wait that is over is still held against a task: it is refused for a cycle that is not there (any more).
///
/// ```text
/// body of a                          body of b
/// ---------                          ---------
/// polls c twice (pending)            b > a
/// a > b: refused, or entered       · refused, or entered
/// woken: a > c again               · woken
/// then: a > b alone is fine, c > a is told
/// ```
#[test]
fn an_ended_wait_is_taken_back() {
    explore(|| {
        let graph = Arc::new(Graph::default());
        for again in [false, true] {
            assert_eq!(graph.await_one(&task("a"), &task("c"), Waker::noop(), again), None);
        }
        let other = Arc::clone(&graph);
        let other = spawn(move || other.block(&task("b"), vec![task("a")]).map(drop));
        let mine = graph.block(&task("a"), vec![task("b")]).map(drop);
        let theirs = join(other);
        assert!(mine.is_ok() || theirs.is_ok(), "{mine:?}, {theirs:?}");
        assert_eq!(graph.block(&task("a"), vec![task("b")]).map(drop), Ok(()));
        assert_eq!(wait(&graph, "c", &["a"]), Err(["c", "a", "c"].map(str::to_owned).to_vec()));
        graph.forget_one(task("a").id(), task("c").id());
        assert_eq!(graph.waiting(), 0);
    });
}

/// Two tasks that poll each other's future hang, or both fail, or one is told that the pool has no thread left.
///
/// ```text
/// body of a           body of b
/// ---------           ---------
/// polls b           · polls a
/// polls b again     · polls a again
/// (one of them is told at its second poll; the other may sleep)
/// ```
#[test]
fn of_two_that_poll_each_other_one_is_told() {
    explore(|| {
        let graph = Arc::new(Graph::default());
        graph.starves(true);
        let poll_twice = |graph: &Graph, waiter, target| {
            let (waiter, target) = (task(waiter), task(target));
            assert_eq!(graph.await_one(&waiter, &target, Waker::noop(), false), None);
            let told = graph.await_one(&waiter, &target, Waker::noop(), true);
            assert!(told.is_some() || !graph.is_hopeless(&[target]), "threads are not what is missing");
            told
        };
        let other = Arc::clone(&graph);
        let other = spawn(move || poll_twice(&other, "b", "a"));
        let mine = poll_twice(&graph, "a", "b");
        let theirs = join(other);
        assert!(mine.is_some() != theirs.is_some(), "{mine:?}, {theirs:?}");
        assert!(mine.is_none_or(|cycle| cycle == ["a", "b", "a"]));
        assert!(theirs.is_none_or(|cycle| cycle == ["b", "a", "b"]));
    });
}
