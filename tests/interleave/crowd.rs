//! Everything at once, with more threads than can be examined exhaustively.
//!
//! In the drawings a lane is a thread, `·` a point at which the threads race.

use std::sync::Arc;

use crate::claim::{Calls, Found, Key, publish, wait};
use crate::explore;
use crate::support::{Log, join, spawn};

/// Many equal calls at the same time run the function more than once, or one of them never returns.
///
/// ```text
/// caller 1   caller 2   caller 3   caller 4   caller 5
/// --------   --------   --------   --------   --------
/// claim    · claim    · claim    · claim    · claim
/// (one leads, the others join or hit, all get its value)
/// ```
#[test]
fn many_equal_calls_share_one_run() {
    explore(|| {
        let (calls, log) = (Calls::new(), Log::default());
        let callers = [1, 2, 3, 4, 5].map(|value| {
            let (calls, log) = (calls.clone(), log.clone());
            spawn(move || calls.call(value, &log))
        });
        let answers = callers.map(join);
        assert!(answers[0].is_ok());
        assert_eq!(answers, [answers[0]; 5]);
        assert_eq!(log.count("ran"), 1);
    });
}

/// Calls, a failure, a cancellation and a `forget` at the same time leave a call without an answer, or a key blocked.
///
/// ```text
/// caller 1   caller 2   failing caller   cancelling caller   forgetter
/// --------   --------   --------------   -----------------   ---------
/// claim    · claim    · claim          · claim             · forget
/// value      value      if it leads:     if it joined:       claim
///            or         drop the guard   withdraw            value, or
///            dropped                                         dropped
/// then: one more call gets a value that is kept
/// ```
#[test]
fn a_crowd_leaves_nobody_behind() {
    explore(|| {
        let (calls, log) = (Calls::new(), Log::default());
        let callers = [1, 2].map(|value| {
            let (calls, log) = (calls.clone(), log.clone());
            spawn(move || calls.call(value, &log))
        });
        let failing = calls.clone();
        let failing = spawn(move || match failing.submit() {
            Found::Hit(value) => Ok(value),
            Found::Joined(flight, interest) => wait(&flight, interest),
            Found::Leads(..) => Ok(0),
        });
        let cancelling = calls.clone();
        let cancelling = spawn(move || match cancelling.submit() {
            Found::Hit(value) => Ok(value),
            Found::Joined(flight, interest) => {
                flight.cell.withdraw(interest, Err("cancelled"));
                wait(&flight, interest)
            }
            Found::Leads(_, guard) => {
                publish(guard, 4);
                Ok(4)
            }
        });
        drop(calls.0.remove(Key));
        let mine = calls.call(5, &log);

        let answers = callers.into_iter().chain([failing, cancelling]).map(join).chain([mine]);
        for (at, answer) in answers.enumerate() {
            match answer {
                Ok(_) | Err("left behind") => {}
                Err("cancelled") => assert_eq!(at, 3, "only who cancelled"),
                Err(other) => panic!("{other}"),
            }
        }
        let kept = calls.call(6, &log);
        assert!(kept.is_ok());
        assert_eq!(calls.call(7, &log), kept);
        assert_eq!(Arc::strong_count(&calls.0), 1, "no guard is left");
    });
}
