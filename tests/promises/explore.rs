//! A test in many orders (feature `testing`): [`Stepper::explore`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use memopool::Pool;
use memopool::testing::{REPLAY, Stepper};

use crate::{Counter, build, in_time};

/// Set in the child process.
const CHILD: &str = "MEMOPOOL_TEST_EXPLORE";

/// Holds in half of all orders.
fn first_comes_first(stepper: &Stepper) {
    let (pool, order) = (build(Pool::builder().executor(stepper.clone())), Arc::new(Mutex::new(Vec::new())));
    for n in [1, 2] {
        let order = Arc::clone(&order);
        drop(pool.spawn(move || order.lock().unwrap().push(n)));
    }
    stepper.run_until_idle();
    assert_eq!(*order.lock().unwrap(), [1, 2], "the order");
}

fn fails(test: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(test)).err()?;
    Some(panic.downcast_ref::<String>().expect("a message").clone())
}

/// A test that fails once in fifty orders is green, or nobody knows in which order it failed.
#[test]
fn an_order_that_fails_is_named_and_can_be_replayed() {
    if std::env::var_os(CHILD).is_some() {
        return Stepper::explore(1_000, first_comes_first);
    }
    in_time(|| {
        let mut bad = (0..1_000).filter(|seed| fails(|| first_comes_first(&Stepper::new(*seed))).is_some());
        let (first, later) = (bad.next().expect("half of them"), bad.nth(3).expect("half of them"));
        let good = (0..).find(|seed| fails(|| first_comes_first(&Stepper::new(*seed))).is_none()).unwrap();
        let message = fails(|| Stepper::explore(1_000, first_comes_first)).expect("some order fails");
        let named = format!(
            "with the seed {first} ({REPLAY}={first} replays it): assertion `left == right` failed: the order"
        );
        assert!(message.starts_with(&named), "{message}");
        // As somebody does who read that.
        let replay = |seed: &str| -> Output {
            let mut command = Command::new(std::env::current_exe().expect("a program that runs is a file"));
            command.args([
                "--exact",
                "explore::an_order_that_fails_is_named_and_can_be_replayed",
                "--nocapture",
            ]);
            command.env(CHILD, "1").env(REPLAY, seed).output().expect("this very program")
        };
        assert!(replay(&good.to_string()).status.success());
        for (seed, named) in [
            (later.to_string(), format!("with the seed {later} (")),
            ("three".to_owned(), format!("{REPLAY}=three: a seed is a number")),
        ] {
            let output = replay(&seed);
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && text.contains(&named), "{text}");
        }
    });
}

/// Orders are left out, or the same one is taken again and again.
#[test]
fn as_many_orders_are_taken_as_are_asked_for() {
    in_time(|| {
        let (taken, seeds) = (Counter::default(), Mutex::new(Vec::new()));
        Stepper::explore(5, |stepper| {
            taken.up();
            seeds.lock().unwrap().push(stepper.seed());
        });
        Stepper::explore(0, |_| unreachable!("none was asked for"));
        assert_eq!((taken.get(), seeds.into_inner().unwrap()), (5, vec![0, 1, 2, 3, 4]));
    });
}
