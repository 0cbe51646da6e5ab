//! The cell: a run has one outcome, and everyone who waits for it gets it.
//!
//! In the drawings a lane is a thread, `·` a point at which the threads race.

use std::sync::Arc;

use crate::explore;
use crate::flight::cell::{Cell, Registration, Withdrawn};
use crate::support::{Log, join, spawn};
use crate::sync::now;

type Run = Cell<(), &'static str>;

const VALUE: &str = "the value";
const CANCELLED: &str = "cancelled";
const TIMEOUT: &str = "out of time";

/// A queued run that so many submissions want.
fn queued(interests: u32) -> Arc<Run> {
    let run = Cell::new();
    run.arm(()).expect("nobody else has the cell");
    for interest in 1..interests {
        assert_eq!(run.join(), Some(interest));
    }
    Arc::new(run)
}

/// What a worker does.
fn work(run: &Run) {
    if run.start().is_some() {
        run.finish(VALUE);
    }
}

/// `wait` never returns although the task has ended.
///
/// ```text
/// waiter 0        waiter 1        worker
/// --------        --------        ------
/// done?           done?           start
/// leave a waker · leave a waker · finish
/// park            park            wake all
/// value           value
/// ```
#[test]
fn no_wake_up_is_lost() {
    explore(|| {
        let run = queued(2);
        let waiters = [0, 1].map(|interest| {
            let run = Arc::clone(&run);
            spawn(move || run.wait(interest, None))
        });
        work(&run);
        for waiter in waiters {
            assert_eq!(join(waiter), Some(VALUE));
        }
    });
}

/// A `wait` with a timeout returns something else than the outcome, or harms the next wait.
///
/// ```text
/// waiter            worker
/// ------            ------
/// wait, timed     · start
/// none, or value  · finish
/// wait
/// value
/// ```
#[test]
fn a_timed_wait_ends_with_nothing_or_the_outcome() {
    explore(|| {
        let run = queued(1);
        let worker = Arc::clone(&run);
        let worker = spawn(move || work(&worker));
        let soon = run.wait(0, Some(now()));
        assert!(soon.is_none() || soon == Some(VALUE), "{soon:?}");
        assert_eq!(run.wait(0, None), Some(VALUE));
        join(worker);
    });
}

/// A function's body runs twice for one submission, or not at all.
///
/// ```text
/// worker          waiter that helps
/// ------          -----------------
/// start         · start
/// (one of them) · (gets the job)
/// finish          wait
///                 value
/// ```
#[test]
fn a_job_runs_once() {
    explore(|| {
        let (run, log) = (queued(1), Log::default());
        let turn = |run: Arc<Run>, log: Log| {
            move || {
                if run.start().is_some() {
                    log.add("ran");
                    assert!(run.finish(VALUE), "only one had the job");
                }
            }
        };
        let worker = spawn(turn(Arc::clone(&run), log.clone()));
        turn(Arc::clone(&run), log.clone())();
        assert_eq!(run.wait(0, None), Some(VALUE));
        join(worker);
        assert_eq!(log.count("ran"), 1);
    });
}

/// A cancelled task runs all the same, or its body is never told that nobody wants it.
///
/// ```text
/// worker            canceller
/// ------            ---------
/// start           · withdraw the last interest
///    |                 |
/// got nothing  <=>  never runs
/// got the job  <=>  given up, which the body sees
/// finish            reads "cancelled" in both cases
/// ```
#[test]
fn the_last_withdrawal_stops_the_run_or_tells_it() {
    explore(|| {
        let run = queued(1);
        let canceller = Arc::clone(&run);
        let canceller = spawn(move || canceller.withdraw(0, CANCELLED));
        let started = run.start().is_some();
        let withdrawn = join(canceller);
        if started {
            assert_eq!(withdrawn, Withdrawn::GivenUp);
            assert!(run.is_given_up());
        } else {
            assert_eq!(withdrawn, Withdrawn::NeverRuns);
            assert!(run.start().is_none());
        }
        assert_eq!(run.join(), None, "nobody joins what is left of it");
        assert_eq!(run.finish(VALUE), started);
        assert_eq!(run.outcome(0), Some(CANCELLED));
    });
}

/// A task that was cancelled before its arguments were ready runs anyway, or its arguments are never freed.
///
/// ```text
/// leader          canceller                      worker
/// ------          ---------                      ------
/// arm           · withdraw the last interest   · start
/// job refused     never runs: drops the job,     nothing, or the job
/// or taken        if it is there; or given up
/// ```
#[test]
fn a_job_for_a_cancelled_cell_is_dropped_once() {
    struct Job(Log);
    impl Drop for Job {
        fn drop(&mut self) {
            self.0.add("dropped");
        }
    }
    explore(|| {
        let log = Log::default();
        let run = Arc::new(Cell::<Job, &str>::new());
        let (canceller, worker) = (Arc::clone(&run), Arc::clone(&run));
        let canceller = spawn(move || canceller.withdraw(0, CANCELLED));
        let worker = spawn(move || worker.start().is_some());
        drop(run.arm(Job(log.clone())));
        let (withdrawn, started) = (join(canceller), join(worker));
        let expected = if started { Withdrawn::GivenUp } else { Withdrawn::NeverRuns };
        assert_eq!(withdrawn, expected);
        assert!(run.start().is_none());
        assert_eq!(log.all(), ["dropped"]);
    });
}

/// A task's result changes after it was read, or a cancelled copy of a task takes the result from the others.
///
/// ```text
/// handle 0           its clone          worker      handle 1
/// --------           ---------          ------      --------
/// withdraw         · read             · start
///   too late: value  read again       · finish    · wait
///   else: cancelled  the same for good              value
/// ```
#[test]
fn a_handle_reads_one_outcome_for_good() {
    explore(|| {
        let run = queued(2);
        let (worker, reader) = (Arc::clone(&run), Arc::clone(&run));
        let worker = spawn(move || work(&worker));
        let reader = spawn(move || [reader.outcome(0), reader.outcome(0)]);
        let withdrawn = run.withdraw(0, CANCELLED);
        let expected = match withdrawn {
            Withdrawn::TooLate => VALUE,
            Withdrawn::Shared => CANCELLED,
            other => panic!("handle 1 is still there: {other:?}"),
        };
        assert_eq!(run.outcome(0), Some(expected));
        assert_eq!(run.wait(1, None), Some(VALUE));
        let [first, second] = join(reader);
        assert!(first.is_none() || first == second, "{first:?}, then {second:?}");
        assert!(second.is_none() || second == Some(expected), "{second:?}, then {expected}");
        join(worker);
        assert_eq!(run.outcome(0), Some(expected));
    });
}

/// A submission that joins a run while it is cancelled gets "cancelled", or never an answer.
///
/// ```text
/// handle 0          another submission      worker
/// --------          ------------------      ------
/// withdraw        · join                  · start
///   shared     <=>  joined: value           finish
///   else            refused: leads its own
/// ```
#[test]
fn a_join_is_before_the_last_withdrawal_or_refused() {
    explore(|| {
        let run = queued(1);
        let (worker, canceller) = (Arc::clone(&run), Arc::clone(&run));
        let worker = spawn(move || work(&worker));
        let canceller = spawn(move || canceller.withdraw(0, CANCELLED));
        let joined = run.join();
        if let Some(interest) = joined {
            assert_eq!(run.wait(interest, None), Some(VALUE));
        }
        let withdrawn = join(canceller);
        match withdrawn {
            Withdrawn::Shared => assert!(joined.is_some()),
            Withdrawn::NeverRuns | Withdrawn::GivenUp => assert!(joined.is_none()),
            Withdrawn::TooLate => {}
        }
        join(worker);
    });
}

/// A callback is called never or twice, or before the task's result can be read.
///
/// ```text
/// registrar         worker
/// ---------         ------
/// on_done         · start
///   kept, or      · finish
///   called here     call what was kept
/// ```
#[test]
fn a_callback_is_called_once_and_sees_the_outcome() {
    explore(|| {
        let (run, log) = (queued(1), Log::default());
        let worker = Arc::clone(&run);
        let worker = spawn(move || work(&worker));
        let (seen, at) = (log.clone(), Arc::clone(&run));
        run.on_done(
            0,
            Box::new(move |&outcome| {
                seen.add(if at.outcome(0) == Some(outcome) { outcome } else { "not there yet" });
            }),
        );
        join(worker);
        assert_eq!(log.all(), [VALUE]);
    });
}

/// A slow callback delays a thread that waits for the result, or a cancelled handle's callback comes for the others.
///
/// ```text
/// canceller                   worker
/// ---------                   ------
/// withdraw interest 0       · start
///   wake waiter 0           · finish
///   call callback 0           wake waiter 1 (and 0)
///                             call callback 1 (and 0)
/// ```
#[test]
fn waiters_are_woken_before_callbacks_run() {
    explore(|| {
        let (run, log) = (queued(2), Log::default());
        let mut registrations = [Registration::default(), Registration::default()];
        for (interest, registration) in (0..).zip(&mut registrations) {
            let (woken, called) = [("woken 0", "called 0"), ("woken 1", "called 1")][interest as usize];
            let log = log.clone();
            assert_eq!(run.poll(interest, registration, &log.waker(woken)), None);
            run.on_done(interest, Box::new(move |_| log.add(called)));
        }
        let worker = Arc::clone(&run);
        let worker = spawn(move || work(&worker));
        let withdrawn = run.withdraw(0, CANCELLED);
        join(worker);

        let log = log.all();
        let place = |what| log.iter().position(|known| *known == what).expect("it has happened");
        assert_eq!(log.len(), 4, "each once: {log:?}");
        assert!(place("woken 0") < place("called 0"), "{log:?}");
        assert!(place("woken 1") < place("called 1"), "{log:?}");
        if withdrawn == Withdrawn::TooLate {
            assert!(place("woken 0") < place("called 1") && place("woken 1") < place("called 0"), "{log:?}");
        }
    });
}

/// A dropped future leaves its waker behind, or takes another one's along.
///
/// ```text
/// future 0          waiter 1        worker
/// --------          --------        ------
/// poll: pending     wait          · start
/// dropped         · park          · finish
///                   value
/// ```
#[test]
fn a_dropped_future_takes_only_its_own_waker_back() {
    explore(|| {
        let (run, log) = (queued(2), Log::default());
        let (worker, waiter) = (Arc::clone(&run), Arc::clone(&run));
        let worker = spawn(move || work(&worker));
        let waiter = spawn(move || waiter.wait(1, None));
        let waker = log.waker("woken");
        let mut registration = Registration::default();
        let polled = run.poll(0, &mut registration, &waker);
        run.unregister(&mut registration);
        assert!(polled.is_none() || polled == Some(VALUE));
        assert_eq!(join(waiter), Some(VALUE));
        join(worker);
        assert!(log.count("woken") <= usize::from(polled.is_none()));
        drop(waker);
        assert!(log.is_last(), "a waker was left in the cell");
    });
}

/// A future that moved to another executor thread sleeps for ever.
///
/// ```text
/// future                        worker
/// ------                        ------
/// poll with the first waker   · start
/// poll with the second waker  · finish
/// pending twice: the second     wake
/// must be woken
/// ```
#[test]
fn the_last_waker_of_a_future_is_the_one_that_is_woken() {
    explore(|| {
        let (run, log) = (queued(1), Log::default());
        let worker = Arc::clone(&run);
        let worker = spawn(move || work(&worker));
        let mut registration = Registration::default();
        let polled =
            ["first", "second"].map(|waker| run.poll(0, &mut registration, &log.waker(waker)).is_some());
        join(worker);
        match polled {
            [true, _] => assert!(log.all().is_empty()),
            [false, true] => assert_eq!(log.all(), ["first"]),
            [false, false] => assert_eq!(log.all(), ["second"]),
        }
    });
}

/// A body that ends at its deadline gives one waiter the value and the other a timeout.
///
/// ```text
/// timer             worker          waiter 0       waiter 1
/// -----             ------          --------       --------
/// finish early    · finish        · wait         · callback
/// (one of them) <=> (is first)      the outcome    the same one
/// ```
#[test]
fn at_the_deadline_all_get_the_same_outcome() {
    explore(|| {
        let (run, log) = (queued(2), Log::default());
        assert!(run.start().is_some());
        let called = log.clone();
        run.on_done(1, Box::new(move |outcome| called.add(outcome)));
        let (timer, waiter) = (Arc::clone(&run), Arc::clone(&run));
        let timer = spawn(move || timer.finish_early(TIMEOUT, |callbacks| callbacks()));
        let waiter = spawn(move || waiter.wait(0, None));
        let in_time = run.finish(VALUE);
        assert_ne!(join(timer), in_time);
        let outcome = if in_time { VALUE } else { TIMEOUT };
        assert_eq!(join(waiter), Some(outcome));
        assert_eq!(run.outcome(1), Some(outcome));
        assert_eq!(log.all(), [outcome]);
        assert_eq!(run.join(), None);
    });
}

/// A body that stops at its deadline, because it was told to, passes for one that was cancelled, or for one that made it.
///
/// ```text
/// timer             body
/// -----             ----
/// finish early    · told to stop?
///                   yes: its outcome is there
/// ```
#[test]
fn a_body_that_is_told_to_stop_at_its_deadline_is_over() {
    explore(|| {
        let run = queued(1);
        assert!(run.start().is_some());
        let timer = Arc::clone(&run);
        let timer = spawn(move || timer.finish_early(TIMEOUT, |callbacks| callbacks()));
        if run.is_given_up() {
            assert!(run.is_done());
            assert!(!run.finish(VALUE));
        }
        assert!(join(timer));
        assert_eq!(run.outcome(0), Some(TIMEOUT));
    });
}
