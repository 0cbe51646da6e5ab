//! The functions that actors compute. Each notes its runs where all processes' are, and gives who computed it.

use std::collections::HashMap;
use std::process;
use std::sync::{Arc, Condvar, LazyLock, Mutex};

use memopool::{Error, Func, Pool};

use crate::support::{note_run, number, say};

/// The number it was called with, and the process that ran it.
pub(crate) type Answer = (u64, u32);

/// Gates of this process: closed until they are opened, then open for good.
#[derive(Default)]
struct Gates {
    open: Mutex<HashMap<u64, bool>>,
    changed: Condvar,
}

static GATES: LazyLock<Gates> = LazyLock::new(Gates::default);

/// Opens a gate of this process.
pub(crate) fn open(gate: u64) {
    GATES.open.lock().expect("no panic under this lock").insert(gate, true);
    GATES.changed.notify_all();
}

fn pass(gate: u64) {
    let gates = GATES.open.lock().expect("no panic under this lock");
    let closed = |gates: &mut HashMap<u64, bool>| !gates.get(&gate).copied().unwrap_or(false);
    drop(GATES.changed.wait_while(gates, closed).expect("no panic under this lock"));
}

fn run(name: &str, n: u64) -> Answer {
    note_run(&format!("{name}({n})"));
    (n, process::id())
}

/// As [`run`], and stays until the gate `n` of its process is open.
fn held(name: &str, n: u64) -> Answer {
    let answer = run(name, n);
    say(&format!("runs {name} {n}"));
    pass(n);
    answer
}

/// Waits, inside the body, for another call.
fn through(name: &str, n: u64, other: &Func<u64, Answer>) -> Result<Answer, Error> {
    held(name, n);
    let pool = Pool::current().expect("a body runs in a pool");
    pool.run(other.call(n)).map(|answer| *answer)
}

/// All of them, by name.
pub(crate) fn named(name: &str) -> Func<u64, Answer> {
    match name {
        "plain" => Func::new("plain", |n: u64| run("plain", n)),
        "held" => Func::new("held", |n: u64| held("held", n)),
        "fails" => Func::fallible("fails", |n: u64| -> Result<Answer, String> {
            held("fails", n);
            Err(format!("{n} failed"))
        }),
        "panics" => Func::new("panics", |n: u64| -> Answer {
            held("panics", n);
            panic!("{n} panicked")
        }),
        "moody" => Func::fallible("moody", |n: u64| -> Result<Answer, String> {
            let answer = held("moody", n);
            if number("moody") == Some(1) { Err(format!("{n} failed")) } else { Ok(answer) }
        }),
        // Each waits for the other: a cycle.
        "left" => Func::fallible("left", |n: u64| through("left", n, &named("right"))),
        "right" => Func::fallible("right", |n: u64| through("right", n, &named("left"))),
        // No cycle.
        "outer" => Func::fallible("outer", |n: u64| through("outer", n, &named("held"))),
        "around" => Func::fallible("around", |n: u64| through("around", n, &named("outer"))),
        other => panic!("no function is called {other}"),
    }
}

/// How a task ended, in one line.
pub(crate) fn outcome(result: &Result<Arc<Answer>, Error>) -> String {
    match result {
        Ok(answer) => format!("ok {} {}", answer.0, answer.1),
        Err(error) if error.is_cycle() => format!("cycle: {error}"),
        Err(error) if error.is_panic() => format!("panic: {error}"),
        Err(error) if error.is_timeout() => format!("timeout: {error}"),
        Err(error) if error.is_shutdown() => format!("shutdown: {error}"),
        Err(error) if error.is_failed() => format!("failed: {error}"),
        Err(error) => format!("error: {error}"),
    }
}
