//! Ten things people do with `concurrent.futures`, each as a short function: `cargo run --example patterns`.

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::collections::HashMap;
use std::num::ParseIntError;
use std::sync::mpsc::channel;
use std::time::Duration;

use futures_util::future::join_all;
use memopool::{Error, Func, Pool, Task, TaskId, Until, as_completed, cancelled, memo, wait};

/// Some work: how many steps `n` takes to reach 1 in the Collatz game.
#[memo]
fn collatz(n: u64) -> u32 {
    let (mut n, mut steps) = (n, 0);
    while n != 1 {
        n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
        steps += 1;
    }
    steps
}

/// Work that may fail.
#[memo]
fn parse(text: &str) -> Result<u64, ParseIntError> {
    text.trim().parse()
}

/// Work that waits without a thread: an async function is one run for all who ask, too.
#[memo]
async fn steps_up_to(n: u64) -> Result<u32, Error> {
    let pool = Pool::current().expect("called in a task");
    let tasks = pool.submit_all((1..=n).map(collatz::call));
    let steps: Result<Vec<_>, Error> = join_all(tasks).await.into_iter().collect();
    Ok(steps?.iter().map(|steps| **steps).sum())
}

/// Work that does not end by itself, but stops when nobody wants it any more.
fn endless() -> u64 {
    let mut rounds = 0;
    while !cancelled() {
        rounds += 1;
        std::thread::yield_now();
    }
    rounds
}

/// 1. Leaving the scope of a pool waits for all its work, also when it is left with an error.
fn leaving_the_scope_waits() -> Result<(), Error> {
    fn work(done: std::sync::mpsc::Sender<u32>) -> Result<(), Error> {
        let pool = Pool::builder().threads(2).build()?;
        for n in 0..5 {
            let done = done.clone();
            drop(pool.spawn(move || done.send(n)));
        }
        pool.run(parse::call("five"))?; // fails: and still nothing is lost
        Ok(())
    }
    let (done, receive) = channel();
    let error = work(done).expect_err("`five` is no number");
    println!("  left with: {error}");
    println!("  tasks that were finished all the same: {}", receive.iter().count());
    Ok(())
}

/// 2. `map`: results in the order of the inputs, computed a bounded number ahead.
fn map_in_order() -> Result<(), Error> {
    let pool = Pool::new();
    let steps: Vec<u32> =
        pool.map((1..=10).map(collatz::call)).map(|steps| steps.map(|n| *n)).collect::<Result<_, _>>()?;
    println!("  1 to 10 take {steps:?} steps");
    // The input has no end; what is taken from it has.
    let long = pool.map((1..).map(collatz::call)).window(64).flatten().position(|steps| *steps > 100);
    println!("  the first above 100 steps is {}", long.map_or(0, |at| at + 1));
    Ok(())
}

/// 3. Results as they come, each with the input that belongs to it.
fn as_they_are_completed() -> Result<(), Error> {
    let pool = Pool::new();
    let inputs = [97, 871, 6171];
    let tasks = pool.submit_all(inputs.map(collatz::call));
    let input_of: HashMap<TaskId, u64> = tasks.iter().map(Task::id).zip(inputs).collect();
    for task in as_completed(tasks) {
        let task = task?;
        println!("  {:>5} takes {} steps", input_of[&task.id()], task.wait()?);
    }
    Ok(())
}

/// 4. One failure is one item, not the end.
fn errors_per_task() -> Result<(), Error> {
    let pool = Pool::new();
    let inputs = ["12", "twelve", " 21 "];
    for (input, result) in inputs.iter().zip(pool.map(inputs.map(parse::call))) {
        match result {
            Ok(n) => println!("  {input:?} is {n}"),
            Err(error) if error.downcast_ref::<ParseIntError>().is_some() => println!("  {input:?}: {error}"),
            Err(error) => return Err(error),
        }
    }
    let panicked = pool.spawn(|| [1, 2, 3].iter().position(|n| *n == 4).expect("no four")).wait();
    println!("  a panic is an error, too: {}", panicked.expect_err("there is no four"));
    Ok(())
}

/// 5. A wait that is over leaves the work alone; cancelling tells the body.
fn timeouts_and_cancelling() -> Result<(), Error> {
    let pool = Pool::new();
    let task = pool.spawn(endless);
    let error = task.wait_timeout(Duration::from_millis(5)).expect_err("it does not end");
    println!("  {error}; running still: {}", task.is_running());
    println!("  cancelled: {}; now: {}", task.cancel(), task.wait().expect_err("cancelled"));
    // The same as a property of the function: whoever waits is freed, and the body is told.
    let stuck = Func::named("stuck").func(|(): ()| endless()).timeout(Duration::from_millis(5));
    println!("  {}", pool.run(stuck.call(())).expect_err("it does not end"));
    Ok(())
}

/// 6. Waiting for all, for the first, for the first failure, or for no longer than this.
fn waiting_for_several() -> Result<(), Error> {
    let pool = Pool::builder().threads(4).build()?;
    let (open, gate) = channel::<()>();
    let mut tasks = pool.submit_all(["1", "2", "three"].map(|text| parse::call(text).boxed()));
    tasks.push(pool.spawn(move || gate.recv().map_or(4, |()| 0)));
    let first = wait(&tasks, Until::First, None);
    println!("  first:       at least one is done: {}", !first.done.is_empty());
    let failed = wait(&tasks, Until::FirstError, None);
    let error = failed.done.iter().find_map(|task| task.wait().err()).expect("`three` is no number");
    println!("  first error: {error}");
    let late = wait(&tasks, Until::All, Some(Duration::from_millis(5)));
    println!("  5 ms later:  {} pending", late.pending.len());
    drop(open);
    println!("  all:         {} done", wait(&tasks, Until::All, None).done.len());
    Ok(())
}

/// 7. Callbacks: called once with the result, also with an error.
fn callbacks() -> Result<(), Error> {
    let pool = Pool::new();
    let (send, receive) = channel();
    for text in ["7", "seven"] {
        let send = send.clone();
        pool.submit(parse::call(text)).on_done(move |result| {
            let _ = send.send(match result {
                Ok(n) => format!("{n} is a number"),
                Err(error) => error.to_string(),
            });
        });
    }
    drop(send);
    let mut lines: Vec<String> = receive.iter().collect();
    lines.sort();
    lines.iter().for_each(|line| println!("  {line}"));
    Ok(())
}

/// 8. Batches with bounded concurrency: never more than `threads` at once, never more than `window` ahead.
fn batches() -> Result<(), Error> {
    let pool = Pool::builder().threads(2).build()?;
    let numbers: Vec<u64> = (1..=1000).collect();
    let longest = Func::new("longest", |batch: Vec<u64>| batch.into_iter().max_by_key(|n| collatz(*n)));
    let batches = numbers.chunks(100).map(|batch| longest.call(batch.to_vec()));
    let winners: Vec<u64> = pool.map(batches).window(4).flatten().filter_map(|winner| *winner).collect();
    println!("  the longest of each hundred: {winners:?}");
    Ok(())
}

/// 9. A pool that lives as long as the service that uses it. Clones of the pool are the same pool.
struct Service {
    pool: Pool,
}

impl Service {
    fn new() -> Result<Service, Error> {
        // Work that waits for others wants more threads than the machine has; unused ones go away.
        Ok(Service { pool: Pool::builder().threads(2..=16).name("service").build()? })
    }

    fn answer(&self, question: u64) -> Result<u32, Error> {
        Ok(*self.pool.run(collatz::call(question))?)
    }
}

fn a_long_lived_pool() -> Result<(), Error> {
    let service = Service::new()?;
    for question in [27, 9, 27] {
        println!("  {question} takes {} steps", service.answer(question)?);
    }
    let stats = service.pool.stats();
    println!("  {} questions, {} computed", stats.submitted, stats.computed);
    Ok(())
}

/// 10. From async code: blocking work goes to the pool, its tasks are futures under any runtime, and async functions are
///     remembered like plain ones.
fn from_async_code() -> Result<(), Error> {
    async fn many(pool: Pool) -> Result<u32, Error> {
        let mut sum = 0;
        for steps in join_all(pool.submit_all((1..=100).map(collatz::call))).await {
            sum += *steps?;
        }
        Ok(sum)
    }
    let pool = Pool::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    println!("  under tokio: {} steps", runtime.block_on(many(pool.clone()))?);
    println!("  under smol:  {} steps", smol::block_on(many(pool.clone()))?);
    // Two ask for an async function, and share its run; so does a thread that waits for it.
    let both = [pool.submit(steps_up_to::call(50)), pool.submit(steps_up_to::call(50))];
    println!("  async fn:    {} steps up to 50", both[1].wait()?);
    println!("  under tokio: {} again", runtime.block_on(both[0].clone())?);
    println!("  computed:    {} of {}", pool.stats().computed, pool.stats().submitted);
    Ok(())
}

/// A pattern, by its name.
type Pattern = (&'static str, fn() -> Result<(), Error>);

fn main() -> Result<(), Error> {
    // The panic in pattern 4 is part of the show.
    std::panic::set_hook(Box::new(|_| {}));
    let patterns: [Pattern; 10] = [
        ("leaving the scope waits for the work", leaving_the_scope_waits),
        ("map, in order", map_in_order),
        ("results as they are completed", as_they_are_completed),
        ("errors, task by task", errors_per_task),
        ("timeouts and cancelling", timeouts_and_cancelling),
        ("waiting for several", waiting_for_several),
        ("callbacks", callbacks),
        ("batches with bounded concurrency", batches),
        ("a pool in a long-lived struct", a_long_lived_pool),
        ("from async code", from_async_code),
    ];
    for (n, (name, pattern)) in patterns.iter().enumerate() {
        println!("{}. {name}", n + 1);
        pattern()?;
    }
    Ok(())
}
