//! Bodies that wait for what another process computes.

use crate::support::{Place, in_time};

/// Two processes whose bodies wait for each other's results hang for ever.
#[test]
fn a_cycle_over_two_processes_is_found() {
    in_time(|| {
        let place = Place::new();
        let (mut one, mut two) = (place.actor(""), place.actor(""));
        one.tell("submit t left 1");
        two.tell("submit t right 1");
        // Both are in their bodies, and have their claims, before either asks for the other's.
        one.expect("runs left 1");
        two.expect("runs right 1");
        for process in [&mut one, &mut two] {
            process.tell("open 1");
            process.tell("wait t 0");
        }
        for process in [&mut one, &mut two] {
            let said = process.expect("done t");
            assert!(
                said.contains(" cycle: ") && said.contains("left(#") && said.contains("right(#"),
                "{said}"
            );
        }
        // Nothing is left of it: no claim, and nothing stored.
        for function in ["left", "right"] {
            assert_eq!(one.ask(&format!("get {function} 1"), "got"), "nothing");
        }
    });
}

/// A body that waits for another process computes what that one is at, too.
#[test]
fn a_nested_wait_that_is_no_cycle_waits() {
    in_time(|| {
        let place = Place::new();
        let (mut one, mut two) = (place.actor(""), place.actor(""));
        two.tell("submit t held 1");
        two.expect("runs held 1");
        one.tell("submit t outer 1");
        one.expect("runs outer 1");
        one.tell("open 1");
        // Three times as long as a cycle is given.
        std::thread::sleep(std::time::Duration::from_millis(300));
        two.tell("open 1");
        let said = one.ask("wait t 0", "done t");
        assert!(said.ends_with(&format!("ok 1 {}", two.id())), "{said}");
        assert_eq!(place.runs(), ["held(1)", "outer(1)"]);
    });
}

/// Waits that go through three processes, and end, are taken for a cycle.
#[test]
fn a_chain_over_three_processes_ends_with_a_value() {
    in_time(|| {
        let place = Place::new();
        let (mut one, mut two, mut three) = (place.actor(""), place.actor(""), place.actor(""));
        three.tell("submit t held 1");
        three.expect("runs held 1");
        two.tell("submit t outer 1");
        two.expect("runs outer 1");
        one.tell("submit t around 1");
        one.expect("runs around 1");
        two.tell("open 1");
        one.tell("open 1");
        std::thread::sleep(std::time::Duration::from_millis(300));
        three.tell("open 1");
        for process in [&mut one, &mut two, &mut three] {
            let said = process.ask("wait t 0", "done t");
            assert!(said.contains(" ok 1 "), "{said}");
        }
        for function in ["outer", "around", "held"] {
            assert!(place.runs_of(&format!("{function}(1)")) >= 1);
        }
    });
}

/// With one thread a body that waits for another process keeps the pool from anything else, or hangs.
#[test]
fn a_pool_of_one_thread_waits_for_others_and_goes_on() {
    in_time(|| {
        let place = Place::new();
        let (mut one, mut two) = (place.actor("threads=1"), place.actor("threads=1"));
        two.tell("submit t held 1");
        two.expect("runs held 1");
        one.tell("open 1");
        one.ask("submit t outer 1", "submitted t");
        assert!(one.ask("run plain 5", "ran").starts_with("ok 5"));
        two.tell("open 1");
        let said = one.ask("wait t 0", "done t");
        assert!(said.ends_with(&format!("ok 1 {}", two.id())), "{said}");
    });
}
