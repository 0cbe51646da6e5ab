//! A real pipeline over real input: the sources of this crate's dependencies, measured and compared.
//!
//! ```text
//! load ─▶ summarize ─┬─▶ measure ───┬─▶ lex        overall ─┬─▶ crate_report, for each crate
//!                    └─▶ signature ─┘                       └─▶ duplicates
//! ```
//!
//! Loading a file is not memoized, and what follows is keyed by content: an edited file is seen at once, and only what
//! depends on it is computed again. Here it all runs twice in one process, and each process finds on disk what earlier
//! ones have computed: `cargo run --release --example corpus`, twice.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

mod input;
mod lexer;
mod report;
mod similar;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressIterator;
use input::{Asked, Source};
use lexer::lex;
use memopool::key::Hashed;
use memopool::{Error, Key, Pool, Stats, memo};
use report::{Overall, Share, bar, timed};
use serde::{Deserialize, Serialize};
use similar::{duplicates, signature};

/// What there is to count, in one file or several.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Measures {
    lines: usize,
    bytes: usize,
    comment_bytes: usize,
    words: BTreeMap<String, usize>,
}

/// All that later steps read of a file.
#[derive(Serialize, Deserialize)]
struct Summary {
    measures: Measures,
    signature: Vec<u32>,
}

/// A file as an argument of later steps. The key of the summary stands for the summary: as exact, and cheap to hash.
#[derive(Clone, Serialize)]
struct File {
    krate: String,
    path: String,
    key: Key,
    #[serde(skip)]
    summary: Arc<Summary>,
}

/// The pool that runs the step we are in.
fn pool() -> Pool {
    Pool::current().expect("steps run in a pool")
}

/// Counts lines, bytes, and the longer words of comments.
#[memo(deps(lex))]
fn measure(text: &Hashed<str>) -> Result<Measures, Error> {
    let comments = &pool().run(lex::call(text))?.comments;
    let mut words = BTreeMap::new();
    for word in comments.split(|c: char| !c.is_alphabetic()).filter(|word| word.len() > 5) {
        *words.entry(word.to_lowercase()).or_default() += 1;
    }
    Ok(Measures { lines: text.lines().count(), bytes: text.len(), comment_bytes: comments.len(), words })
}

/// All about one file. Its text is the whole key, so copies share one run, whatever they are called. (It is hashed once, and
/// not copied, however many steps have it.)
#[memo(deps(measure, signature))]
fn summarize(text: &Hashed<str>) -> Result<Summary, Error> {
    let signature = pool().submit(signature::call(text));
    let measures = pool().run(measure::call(text))?;
    Ok(Summary { measures: (*measures).clone(), signature: signature.wait()?.to_vec() })
}

/// The files of one crate, added up.
#[memo]
fn crate_report(files: &[File]) -> Measures {
    let mut sum = Measures::default();
    for Measures { lines, bytes, comment_bytes, words } in files.iter().map(|file| &file.summary.measures) {
        sum.lines += lines;
        sum.bytes += bytes;
        sum.comment_bytes += comment_bytes;
        words.iter().for_each(|(word, n)| *sum.words.entry(word.clone()).or_default() += n);
    }
    sum
}

/// Everything, from which `report.rs` writes the report; `files` are sorted by crate.
#[memo(deps(crate_report, duplicates))]
fn overall(files: &[File]) -> Result<Overall, Error> {
    let pairs = pool().submit(duplicates::call(files));
    let crates: Vec<&[File]> = files.chunk_by(|a, b| a.krate == b.krate).collect();
    let sums = pool().map(crates.iter().map(|files| crate_report::call(files))).try_collect()?;
    let mut words: BTreeMap<&str, usize> = BTreeMap::new();
    sums.iter().flat_map(|sum| &sum.words).for_each(|(word, n)| *words.entry(word).or_default() += n);
    let mut words: Vec<_> = words.into_iter().map(|(word, n)| (word.to_owned(), n)).collect();
    words.sort_by_key(|&(_, n)| Reverse(n));
    words.truncate(8);
    let share = |(files, sum): (&&[File], &Arc<Measures>)| Share {
        krate: files[0].krate.clone(),
        files: files.len(),
        lines: sum.lines,
        comment_percent: 100 * sum.comment_bytes / sum.bytes.max(1),
    };
    let (pairs, name) = (pairs.wait()?, |i: usize| format!("{} {}", files[i].krate, files[i].path));
    Ok(Overall {
        files: files.len(),
        copies: files.len() - files.iter().map(|file| file.key).collect::<BTreeSet<_>>().len(),
        crates: crates.iter().zip(&sums).map(share).collect(),
        words,
        pairs: pairs.len(),
        alike: pairs.iter().take(8).map(|&(i, j, percent)| (percent, name(i), name(j))).collect(),
    })
}

/// Reads a file and summarizes it. Not memoized: another day, the file may read differently.
fn load(source: Source) -> Result<File, String> {
    let skipped = |error: &dyn std::error::Error| format!("skipped {}: {error}", source.at.display());
    let text = Hashed::new(fs::read_to_string(&source.at).map_err(|error| skipped(&error))?);
    let task = pool().submit(summarize::call(&text));
    let summary = task.wait().map_err(|error| skipped(&error))?;
    Ok(File { key: task.key().expect("calls have keys"), krate: source.krate, path: source.path, summary })
}

/// The whole pipeline: the report, and a line for each file that was skipped.
fn run(pool: &Pool, sources: &[Source], title: &'static str) -> Result<(String, Vec<String>), Error> {
    let load = |source: Source| pool.spawn(|| load(source));
    let tasks: Vec<_> = sources.iter().cloned().map(load).collect();
    let (mut files, mut skipped) = (Vec::new(), Vec::new());
    for task in tasks.iter().progress_with(bar(sources.len(), title)) {
        match &*task.wait()? {
            Ok(file) => files.push(file.clone()),
            Err(line) => skipped.push(line.clone()),
        }
    }
    Ok((pool.run(overall::call(&files))?.to_string(), skipped))
}

/// What the memory was good for.
fn table(cold: &Stats, warm: &Stats, wall: [Duration; 2]) {
    let row = |name: &str, [cold, warm]: [String; 2]| println!("{name:<20}{cold:>12}{warm:>12}");
    let count = |name: &str, of: fn(&Stats) -> u64| row(name, [of(cold), of(warm)].map(|n| n.to_string()));
    let time = |time: Duration| format!("{:.3} s", time.as_secs_f64());
    row("", ["cold", "warm"].map(String::from));
    count("tasks", |stats| stats.submitted);
    count("computed", |stats| stats.computed);
    count("joined", |stats| stats.joined);
    count("hits in memory", |stats| stats.memory_hits);
    count("hits on disk", |stats| stats.disk_hits);
    row("hit rate", [cold, warm].map(|stats| format!("{:.1} %", 100.0 * stats.hit_rate())));
    row("wall time", wall.map(time));
    row("speed-up", [1.0, wall[0].as_secs_f64() / wall[1].as_secs_f64()].map(|n| format!("{n:.1} x")));
    row("compute time saved", [cold, warm].map(|stats| time(stats.saved_time)));
}

/// Cold (or from disk), then warm, then the figures.
fn corpus() -> Result<(), Box<dyn std::error::Error>> {
    let Asked { sources, cache, out, page } = input::asked()?;
    let pool = Pool::builder().name("corpus").disk(&cache).build()?;
    let (cold, cold_time) = timed(|| run(&pool, &sources, "cold"));
    let (report, skipped) = cold?;
    skipped.iter().for_each(|line| eprintln!("{line}"));
    let cold_stats = pool.stats();
    let (warm, warm_time) = timed(|| run(&pool, &sources, "warm"));
    assert!(report == warm?.0, "the runs differ: did a file change in between?");
    match out {
        Some(path) => fs::write(path, report)?,
        None => println!("{report}"),
    }
    println!("Both runs gave this report. What was computed is kept in {}.", cache.display());
    if cold_stats.computed == 0 {
        println!("Nothing was computed: all was there from earlier processes.");
    }
    println!();
    table(&cold_stats, &pool.stats().since(&cold_stats), [cold_time, warm_time]);
    page.map_or(Ok(()), |dir| report::write(&pool, &dir))
}

fn main() -> ExitCode {
    match corpus() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corpus: {error}");
            ExitCode::FAILURE
        }
    }
}
