//! What a memory saves, and what it costs: the same work without a cache, with an empty one and with a full one.
//!
//! `cargo bench --bench cold_vs_warm` measures workloads in several states (round by round, in turns), single calls in each
//! tier, and how costs grow; it writes `report.html`, `report.md` and `report.json` (`docs/report.md`) to `target/report`,
//! and then lets criterion time the passes one by one. About ten minutes. `-- --report` leaves criterion out; `-- --test`
//! runs everything once on tiny input. `MEMOPOOL_LONG=1` adds ten million entries on disk. `-- --only 'small call'` measures
//! the workloads of which that is a part of the name (`entries`, `threads`, `arguments`, `results`: how costs grow with them),
//! and writes no report; with `--state 'cold, with disk'`, only the states of which that is a part, for a profiler; `--rounds 50` that
//! often.
//!
//! 1. [`workloads`] — what is done; [`corpus`] a pipeline over real files, [`fetch`] one that waits for a server.
//! 2. [`states`] — what is there when it begins; one round of each.
//! 3. [`tiers`] — single calls: latency, break-even, hit rate over time.
//! 4. [`scaling`] — how costs grow.
//! 5. [`results`] — what was found; [`view`] the same as a page.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench reports on its standard output")]
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures outside of the crate's clock, and its server is slow"
)]

mod corpus;
mod fetch;
#[path = "../../examples/corpus/lexer.rs"]
mod lexer;
#[path = "../../src/report/machine.rs"]
mod machine;
#[path = "../../src/report/page/mod.rs"]
mod page;
#[path = "../../tests/common/page.rs"]
mod page_check;
mod results;
#[path = "../common/rounds.rs"]
mod rounds;
mod scaling;
mod states;
mod tiers;
mod view;
mod workloads;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use corpus::Sources;
use criterion::Criterion;
use results::{Measured, Place, Results, Timed};
use states::{CHILD, Stage, State};
use workloads::{NAMES, Outside, SEED, Size, Workload};

type Failure = Box<dyn std::error::Error>;

/// Where the page goes, and, below it, what is made and deleted on the way.
fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target")).join("report")
}

fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().filter(|_| output.status.success()).map(str::to_owned)
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = text.split_whitespace().take(3).collect();
    if averages.is_empty() { "unknown".to_owned() } else { averages.join(", ") }
}

fn place() -> Place {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let commit = first_line("git", &["rev-parse", "--short=12", "HEAD"]);
    let edited = Command::new("git")
        .args(["diff", "--quiet", "HEAD"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .is_ok_and(|status| !status.success());
    let edited = if edited { " with local changes" } else { "" };
    Place {
        date: machine::date(SystemTime::now()),
        processor: machine::processor(),
        threads: all_threads(),
        system: machine::system(),
        toolchain: first_line(&rustc, &["--version"]).unwrap_or_else(|| "unknown".to_owned()),
        commit: commit.map_or_else(|| "unknown".to_owned(), |commit| format!("{commit}{edited}")),
        memopool: env!("CARGO_PKG_VERSION").to_owned(),
        load: [load(), String::new()],
    }
}

fn all_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// All states of a workload in turns.
fn measure(
    workload: &Workload,
    size: Size,
    threads: usize,
    work: &Path,
    list: Option<&Path>,
    rounds: usize,
    only: &Only,
) -> Measured {
    let mut times: Vec<Result<Vec<Duration>, String>> = State::ALL.map(|_| Ok(Vec::new())).to_vec();
    let mut runs = [None; State::ALL.len()];
    {
        let mut stage = Stage::new(workload, size, threads, work, list);
        for round in 0..rounds {
            // Each round begins with another, so that none always comes after the same.
            let order = (0..State::ALL.len()).map(|nth| (nth + 3 * round) % State::ALL.len());
            for (nth, state) in order.map(|nth| (nth, State::ALL[nth])) {
                let Ok(measured) = &mut times[nth] else { continue };
                if !only.has_state(state) {
                    continue;
                }
                match stage.round(state) {
                    Ok(round) => {
                        measured.push(round.took);
                        runs[nth] = Some(round.runs);
                    }
                    Err(why) => times[nth] = Err(why),
                }
            }
        }
    }
    let state = |(nth, times): (usize, Result<Vec<Duration>, String>)| {
        let mut timed = Timed {
            state: State::ALL[nth].name(),
            rounds,
            median_ns: None,
            quartiles_ns: None,
            runs: runs[nth],
            why: None,
        };
        match times {
            Ok(times) if times.is_empty() => {}
            Ok(mut times) => {
                times.sort();
                let at =
                    |share: usize| times[(times.len() * share / 4).min(times.len() - 1)].as_nanos() as f64;
                timed.median_ns = Some(at(2));
                timed.quartiles_ns = Some([at(1), at(3)]);
            }
            Err(why) => timed.why = Some(why),
        }
        timed
    };
    Measured {
        workload: workload.name.to_owned(),
        what: workload.what.clone(),
        threads,
        calls: workload.calls,
        distinct_runs: workload.runs,
        states: times.into_iter().enumerate().map(state).collect(),
    }
}

/// A directory that is deleted in the end, whatever happens.
struct Work(PathBuf);

impl Work {
    fn new(name: &str) -> Result<Work, Failure> {
        let path = target().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path)?;
        Ok(Work(path))
    }

    fn clear(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { Ok(()) };
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What is asked for on the command line, if not all.
#[derive(Default)]
struct Only {
    workload: Option<String>,
    state: Option<String>,
    rounds: Option<usize>,
}

impl Only {
    fn asked(args: &[String]) -> Result<Only, Failure> {
        let value = |option: &str| {
            let at = args.iter().position(|arg| arg == option);
            at.map(|at| args.get(at + 1).cloned().ok_or(format!("{option}: what?"))).transpose()
        };
        let rounds = value("--rounds")?.map(|rounds| rounds.parse()).transpose()?;
        Ok(Only { workload: value("--only")?, state: value("--state")?, rounds })
    }

    fn has_workload(&self, name: &str) -> bool {
        self.workload.as_ref().is_none_or(|part| name.contains(&**part))
    }

    fn has_state(&self, state: State) -> bool {
        self.state.as_ref().is_none_or(|part| state.name().contains(&**part))
    }
}

fn report(size: Size, outside: &Outside, only: &Only) -> Result<(), Failure> {
    let work = Work::new("work")?;
    let list = work.0.join("sources");
    if let Ok(sources) = &outside.sources {
        sources.write(&list)?;
    }
    let list = outside.sources.is_ok().then_some(&*list);
    let mut results = Results {
        schema: 1,
        kind: "cold_vs_warm",
        quick: size == Size::Quick,
        seed: SEED,
        place: place(),
        ..Results::default()
    };
    let mut widths = vec![1, all_threads()];
    widths.dedup();
    for name in NAMES.into_iter().filter(|name| only.has_workload(name)) {
        let workload = match workloads::named(name, size, outside) {
            Ok(workload) => workload,
            Err(why) => {
                println!("skipped: {name}: {why}");
                continue;
            }
        };
        let whole = name == NAMES[NAMES.len() - 1];
        for threads in &widths {
            if whole && *threads == 1 && widths.len() > 1 {
                continue;
            }
            let rounds = if whole { size.of(3, 1) } else { size.of(9, 1) };
            let rounds = only.rounds.unwrap_or(rounds);
            let measured = measure(&workload, size, *threads, &work.0, list, rounds, only);
            print(&measured);
            results.workloads.push(measured);
            work.clear();
        }
    }
    if let Some(part) = &only.workload {
        scaling::print(part, size, &work.0);
        return Ok(());
    }
    println!("hit rate, latency, break-even …");
    results.hit_rate = tiers::hit_rates(size, &work.0);
    results.latency = tiers::latencies(size, &work.0);
    results.break_even = tiers::break_even(size, &work.0);
    work.clear();
    println!("scaling …");
    results.scaling = scaling::all(size, &work.0);
    results.place.load[1] = load();
    write(&results)
}

fn print(measured: &Measured) {
    println!("{} ({} threads)", measured.workload, measured.threads);
    for timed in &measured.states {
        let text = timed.median_ns.map_or_else(|| "–".to_owned(), |median| page::Unit::Time.text(median));
        let ratio = measured.ratio("cold, with disk", timed.state).unwrap_or(f64::NAN);
        let why = timed.why.as_ref().map(|why| format!("skipped: {why}")).unwrap_or_default();
        println!("  {:<26}{text:>12}{ratio:>9.2}{:>8} {why}", timed.state, timed.runs.unwrap_or_default());
    }
}

/// Writes the three files, and reads the page as a strict parser would.
fn write(results: &Results) -> Result<(), Failure> {
    let (dir, page) = (target(), results.page());
    let html = page.html();
    let charts = page_check::check(&html).map_err(|wrong| format!("report.html: {wrong}"))?;
    fs::write(dir.join("report.json"), serde_json::to_string_pretty(results)?)?;
    fs::write(dir.join("report.md"), page.markdown())?;
    fs::write(dir.join("report.html"), html)?;
    println!("{charts} charts, each label in its place: {}", dir.join("report.html").display());
    Ok(())
}

/// The same passes, timed by criterion: with all threads, one state after the other.
fn criterion(size: Size, outside: &Outside, mut criterion: Criterion) -> Result<(), Failure> {
    let work = Work::new("work-criterion")?;
    let list = work.0.join("sources");
    if let Ok(sources) = &outside.sources {
        sources.write(&list)?;
    }
    let list = outside.sources.is_ok().then_some(&*list);
    for name in &NAMES[..NAMES.len() - 1] {
        let Ok(workload) = workloads::named(name, size, outside) else { continue };
        let mut stage = Stage::new(&workload, size, all_threads(), &work.0, list);
        let mut group = criterion.benchmark_group(*name);
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(50))
            .measurement_time(Duration::from_millis(400));
        for state in State::ALL {
            if stage.round(state).is_err() {
                continue;
            }
            group.bench_function(state.name(), |bencher| {
                bencher.iter_custom(|rounds| {
                    let round = |_| stage.round(state).map_or(Duration::ZERO, |round| round.took);
                    (0..rounds).map(round).sum()
                });
            });
        }
        group.finish();
        drop(stage);
        work.clear();
    }
    criterion.final_summary();
    Ok(())
}

/// A child makes the same workload, and passes once.
fn child(args: &[String]) -> Result<(), Failure> {
    let [name, size, threads, dir, sources] = args else { return Ok(()) };
    let size = if size == "full" { Size::Full } else { Size::Quick };
    let sources = match sources.is_empty() {
        true => Err("the parent has none".to_owned()),
        false => Sources::read(Path::new(sources)),
    };
    // Only a body would ask the server, and none should run.
    let outside = Outside { server: fetch::serve()?, sources };
    let workload = workloads::named(name, size, &outside)?;
    println!("{}", states::child(&workload, threads.parse()?, Path::new(dir)));
    Ok(())
}

fn bench() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == CHILD) {
        return child(&args[1..]);
    }
    let has = |option: &str| args.iter().any(|arg| arg == option);
    let size = if has("--test") { Size::Quick } else { Size::Full };
    let outside = Outside { server: fetch::serve()?, sources: Sources::find() };
    let only = Only::asked(&args)?;
    report(size, &outside, &only)?;
    match has("--report") || only.workload.is_some() {
        true => Ok(()),
        false => criterion(size, &outside, Criterion::default().configure_from_args()),
    }
}

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cold_vs_warm: {error}");
            ExitCode::FAILURE
        }
    }
}
