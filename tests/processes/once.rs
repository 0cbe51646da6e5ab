//! A call that several processes ask for at once is computed by one, whatever becomes of that one.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Place, Process, amount, in_time, report};

/// The words of `done ID MILLIS …` after the time.
fn result(said: &str) -> &str {
    said.split_once(' ').expect("a time and a result").1
}

/// A process that is in the body of `held(n)`, which has the claim.
fn holder(place: &Place, function: &str, n: u64) -> Process {
    let mut holder = place.actor("");
    holder.tell(&format!("submit h {function} {n}"));
    holder.expect(&format!("runs {function} {n}"));
    holder
}

/// Another that waits for it. (That it has come to wait can't be seen from outside: what follows must hold either way.)
fn waiter(place: &Place, function: &str, n: u64) -> Process {
    let mut waiter = place.actor("");
    waiter.ask(&format!("submit w {function} {n}"), "submitted w");
    waiter.tell("wait w 0");
    waiter
}

/// Several processes that start with the same cold call each compute it.
#[test]
fn one_computes_and_the_others_read() {
    in_time(|| {
        let place = Place::new();
        let mut holder = holder(&place, "held", 1);
        let mut others: Vec<_> = (0..5).map(|_| waiter(&place, "held", 1)).collect();
        holder.tell("open 1");
        for other in &mut others {
            assert_eq!(result(&other.expect("done w")), format!("ok 1 {}", holder.id()));
            assert_eq!(other.ask("stats", "stats"), "0 1 0 0");
        }
        assert_eq!(place.runs(), ["held(1)"]);
    });
}

/// A key that nobody else has asked for yet is given away before its result can be read.
#[test]
fn the_first_to_ask_after_the_end_reads() {
    in_time(|| {
        let place = Place::new();
        let (mut first, mut second) = (place.actor(""), place.actor(""));
        for n in 0..amount(2000, 200) {
            let computed = first.ask(&format!("run plain {n}"), "ran");
            assert_eq!(second.ask(&format!("run plain {n}"), "ran"), computed);
        }
        assert_eq!(
            first.ask("stats", "stats").split(' ').next(),
            second.ask("stats", "stats").split(' ').nth(1)
        );
    });
}

/// A process that is killed in a body blocks its call for all others.
#[test]
fn a_killed_holder_is_replaced() {
    in_time(|| {
        let place = Place::new();
        let rounds = amount(50, 8);
        let mut slowest = Duration::ZERO;
        for n in 1..=rounds {
            let mut holder = holder(&place, "held", n);
            let mut others = [waiter(&place, "held", n), waiter(&place, "held", n)];
            let killed = Instant::now();
            holder.kill();
            // Whichever it is: say so as soon as one is at it.
            let winner = loop {
                let said =
                    |other: &mut Process| other.heard().iter().any(|said| said.starts_with("runs held"));
                if let Some(at) = others.iter_mut().position(said) {
                    break at;
                }
                assert!(killed.elapsed() < Duration::from_secs(2), "nobody takes over");
                std::thread::yield_now();
            };
            slowest = slowest.max(killed.elapsed());
            others[winner].tell(&format!("open {n}"));
            let id = others[winner].id();
            for other in &mut others {
                assert_eq!(result(&other.expect("done w")), format!("ok {n} {id}"));
            }
            assert_eq!(place.runs_of(&format!("held({n})")), 2);
        }
        report(&format!("{rounds} killed holders: the slowest was replaced after {slowest:?}"));
    });
}

/// A process that somebody stopped blocks others beyond the time that they want to wait; or it overwrites, when it goes
/// on, what was computed after the call was forgotten.
#[test]
fn a_stopped_holder_delays_no_timeout_and_overwrites_nothing() {
    in_time(|| {
        for (n, anew) in [(1, "forget"), (2, "refresh")] {
            let place = Place::new();
            let mut holder = holder(&place, "held", n);
            let mut other = place.actor("");
            holder.signal(Signal::STOP);
            let stopped = Instant::now();
            other.ask(&format!("submit w held {n}"), "submitted w");
            assert!(
                result(&other.ask("wait w 50", "done w")).starts_with("timeout"),
                "nothing to be had so far"
            );
            // It still waits: the call belongs to one that lives.
            assert_eq!(place.runs_of(&format!("held({n})")), 1);
            match anew {
                "forget" => {
                    assert_eq!(other.ask(&format!("forget held {n}"), "forgot"), "ok");
                    other.tell(&format!("submit v held {n}"));
                }
                _ => other.tell(&format!("refresh v held {n}")),
            }
            other.expect(&format!("runs held {n}"));
            other.tell(&format!("open {n}"));
            let newer = format!("ok {n} {}", other.id());
            assert_eq!(result(&other.ask("wait v 0", "done v")), newer);
            assert_eq!(other.ask("flush", "flushed"), "ok");
            std::thread::sleep(Duration::from_millis(amount(5000, 300)).saturating_sub(stopped.elapsed()));
            holder.signal(Signal::CONT);
            holder.tell(&format!("open {n}"));
            // Its own waiters have its own result.
            assert_eq!(result(&holder.ask("wait h 0", "done h")), format!("ok {n} {}", holder.id()));
            assert_eq!(holder.ask("flush", "flushed"), "ok");
            let mut third = place.actor("");
            assert_eq!(third.ask(&format!("run held {n}"), "ran"), newer, "after {anew}");
            assert_eq!(other.ask(&format!("get held {n}"), "got"), newer);
        }
    });
}

/// A failure in one process is taken for everybody's, or makes others run the call again and again.
#[test]
fn each_process_fails_by_itself_and_once() {
    in_time(|| {
        for (function, ends) in [("fails", "failed"), ("panics", "panic")] {
            let place = Place::new();
            let mut processes = vec![holder(&place, function, 1)];
            processes.extend((0..3).map(|_| waiter(&place, function, 1)));
            processes[0].tell("wait h 0");
            // They stay in their bodies until they are let: one after the other, since each has the claim then.
            for process in &mut processes {
                process.tell("open 1");
            }
            for (at, process) in processes.iter_mut().enumerate() {
                let said = process.expect(if at == 0 { "done h" } else { "done w" });
                assert!(result(&said).starts_with(ends), "{said}");
            }
            assert_eq!(place.runs_of(&format!("{function}(1)")), 4);
        }
    });
}

/// A failure in one process takes the result away that another has computed since.
#[test]
fn a_late_failure_buries_nothing_newer() {
    in_time(|| {
        let place = Place::new();
        let mut holder = place.actor("moody=1");
        holder.tell("submit h moody 1");
        holder.expect("runs moody 1");
        let mut other = place.actor("");
        assert_eq!(other.ask("forget moody 1", "forgot"), "ok");
        other.tell("open 1");
        let newer = other.ask("run moody 1", "ran");
        // Something lies behind it when the failure is noted.
        other.ask("run plain 1", "ran");
        assert_eq!(other.ask("flush", "flushed"), "ok");
        holder.tell("open 1");
        assert!(result(&holder.ask("wait h 0", "done h")).starts_with("failed"));
        assert_eq!(holder.ask("flush", "flushed"), "ok");
        assert_eq!(place.actor("").ask("get moody 1", "got"), newer);
    });
}

/// `Disk::single_flight(false)` waits for other processes all the same.
#[test]
fn without_single_flight_each_computes() {
    in_time(|| {
        let place = Place::new();
        let mut processes: Vec<_> = (0..3).map(|_| place.actor("single_flight=0")).collect();
        for process in &mut processes {
            process.tell("submit w held 1");
            process.expect("runs held 1");
        }
        for process in &mut processes {
            process.tell("open 1");
            let id = process.id();
            assert_eq!(result(&process.ask("wait w 0", "done w")), format!("ok 1 {id}"));
        }
        assert_eq!(place.runs_of("held(1)"), 3);
    });
}
