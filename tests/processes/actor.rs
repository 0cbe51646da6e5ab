//! A process that does what it is told, line by line.
//!
//! | told | does | says |
//! |---|---|---|
//! | `submit ID F N` | submits `F(N)` as the task `ID` | `submitted ID` |
//! | `refresh ID F N` | the same, to be computed anew | `submitted ID` |
//! | `wait ID MS` | waits for it, elsewhere, for so long (0: for ever) | `done ID …`, at some time |
//! | `run F N` | submits and waits | `ran …` |
//! | `get F N` | looks | `got …` |
//! | `forget F N` | forgets | `forgot ok` |
//! | `open N` | lets the body of `N` go on | |
//! | `stats` | | `stats computed disk_hits corrupt store_errors` |
//! | `flush`, `drop` | flushes, ends its pool | `flushed ok`, `dropped` |

use std::collections::HashMap;
use std::io::BufRead;
use std::thread;
use std::time::{Duration, Instant};

use memopool::{Disk, Pool, Task};

use crate::functions::{Answer, named, open, outcome};
use crate::support::{cache_of_child, number, say};

/// The role: until its input ends.
pub(crate) fn child() {
    let disk = Disk::new(cache_of_child()).single_flight(number("single_flight") != Some(0));
    let builder = Pool::builder()
        .threads(number("threads").unwrap_or(2) as usize)
        .memory(number("memory").unwrap_or(1 << 20))
        .disk(disk);
    let mut pool = Some(builder.build().expect("a cache directory"));
    let mut tasks: HashMap<String, Task<Answer>> = HashMap::new();
    say("ready");
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let n = || words[words.len() - 1].parse::<u64>().expect("a number");
        let pool_now = || pool.as_ref().expect("not dropped");
        match words[0] {
            "submit" | "refresh" => {
                let call = named(words[2]).call(n());
                let call = if words[0] == "refresh" { call.refresh() } else { call };
                tasks.insert(words[1].to_owned(), pool_now().submit(call));
                say(&format!("submitted {}", words[1]));
            }
            "wait" => {
                let (id, task, patience) = (words[1].to_owned(), tasks[words[1]].clone(), n());
                thread::spawn(move || wait(&id, &task, patience));
            }
            "run" => say(&format!("ran {}", outcome(&pool_now().run(named(words[1]).call(n()))))),
            "get" => match pool_now().get(&named(words[1]).call(n())) {
                Some(answer) => say(&format!("got ok {} {}", answer.0, answer.1)),
                None => say("got nothing"),
            },
            "forget" => match pool_now().forget(&named(words[1]).call(n())) {
                Ok(()) => say("forgot ok"),
                Err(error) => say(&format!("forgot error: {error}")),
            },
            "open" => open(n()),
            "stats" => {
                let stats = pool_now().stats();
                let (computed, hits) = (stats.computed, stats.disk_hits);
                say(&format!("stats {computed} {hits} {} {}", stats.corrupt, stats.store_errors));
            }
            "flush" => match pool_now().flush() {
                Ok(()) => say("flushed ok"),
                Err(error) => say(&format!("flushed error: {error}")),
            },
            "drop" => {
                drop(pool.take());
                say("dropped");
            }
            other => panic!("{other}: no such command"),
        }
    }
}

fn wait(id: &str, task: &Task<Answer>, patience: u64) {
    let begun = Instant::now();
    let result = match patience {
        0 => task.wait(),
        patience => task.wait_timeout(Duration::from_millis(patience)),
    };
    say(&format!("done {id} {} {}", begun.elapsed().as_millis(), outcome(&result)));
}
