//! The page that is made from the figures.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::child::Launcher;
use crate::peer::{self, Entry, Kind, PEERS};
use crate::plan::{FLIPS, HERD, PROCESSES};
use crate::words::{self, Workload};

/// What a figure is worth nothing without.
pub(crate) fn about(launcher: &Launcher, quick: bool) -> Value {
    let first = |path: &str, field: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(field));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let processor = first("/proc/cpuinfo", "model name").unwrap_or("unknown processor".into());
    let memory =
        first("/proc/meminfo", "MemTotal").and_then(|kib| kib.split(' ').next()?.parse::<u64>().ok());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let gib = memory.map_or("unknown".into(), |kib| format!("{:.0} GiB of", kib as f64 / f64::from(1 << 20)));
    let mut crates = crates();
    if let Some(python) = launcher.python() {
        for (name, version) in python.versions.as_object().into_iter().flatten() {
            crates[name] = version.clone();
        }
    }
    json!({
        "date": said("date", &["-u", "+%F"]),
        "machine": format!("{processor}, {cores} cores, {gib} memory, {} {}", std::env::consts::OS, kernel()),
        "toolchain": said("rustc", &["--version"]),
        "load": std::fs::read_to_string("/proc/loadavg").ok().and_then(|load| Some(load.split(' ').next()?.to_owned())),
        "commit": said("git", &["describe", "--always", "--dirty", "--exclude=*"]),
        "versions": crates,
        "quick": quick,
    })
}

/// The kernel's version, without what its builders have added.
fn kernel() -> String {
    let release = said("uname", &["-r"]);
    let digits = release.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(release.len());
    match release[..digits].trim_end_matches('.') {
        "" => release,
        version => version.to_owned(),
    }
}

/// What a command says on its first line.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or("unknown".into())
}

/// The versions that were built, from the lock file.
fn crates() -> Value {
    const NAMES: [&str; 10] = [
        "cacache",
        "cached",
        "foyer",
        "heed",
        "memoize",
        "moka",
        "quick_cache",
        "rayon",
        "redb",
        "threadpool",
    ];
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let lock = std::fs::read_to_string(lock).unwrap_or_default();
    let quoted = |line: &str, field: &str| {
        line.strip_prefix(field).map(|value| value.trim_matches([' ', '=', '"']).to_owned())
    };
    let mut versions = json!({});
    for package in lock.split("[[package]]") {
        let field = |field: &str| package.lines().find_map(|line| quoted(line, field));
        if let (Some(name), Some(version)) = (field("name"), field("version"))
            && NAMES.contains(&name.as_str())
        {
            // Two versions of one crate: the newer one is the peer, the older one a dependency.
            versions[name] = version.into();
        }
    }
    versions
}

/// The whole page.
pub(crate) fn page(figures: &Value) -> String {
    let (about, results) = (&figures["about"], &figures["results"]);
    let text = |field: &str| about[field].as_str().unwrap_or("unknown").to_owned();
    let versions = about["versions"].as_object().into_iter().flatten();
    let versions: Vec<String> =
        versions.map(|(name, version)| format!("{name} {}", version.as_str().unwrap_or("?"))).collect();
    let quick = if about["quick"] == true { words::QUICK } else { "" };
    let mut page = format!(
        "{}{quick}\nMeasured on {} at commit {} with {}: {}; load when it began: {}.\nPeers: {}.\n",
        words::HEAD,
        text("date"),
        text("commit"),
        text("toolchain"),
        text("machine"),
        text("load"),
        versions.join(", "),
    );
    summary(&mut page, results);
    for table in words::TABLES {
        let _ = write!(page, "\n## {}\n\n{}\n\n", table.title, table.text.trim());
        detail(&mut page, results, table.kinds, table.columns);
    }
    let _ = write!(page, "\n## Targets, and what was reached\n\n{}\n", words::TARGETS);
    bars(&mut page, results);
    page.push_str(words::TAIL);
    page
}

/// The fastest round of a cell.
fn fastest(results: &Value, part: &str, id: &str) -> Option<f64> {
    least(results, part, id, "ns")
}

/// The least of a cell's samples.
fn least(results: &Value, part: &str, id: &str, field: &str) -> Option<f64> {
    let samples = results[format!("{part}/{id}")][field].as_array()?;
    samples.iter().filter_map(Value::as_f64).min_by(f64::total_cmp)
}

/// Everyone who has a figure, the fastest first. Floors are no peers.
fn ranking(results: &Value, part: &str, among: impl Fn(&Entry) -> bool) -> Vec<(&'static Entry, f64)> {
    let peers =
        PEERS.iter().filter(|entry| !matches!(entry.kind, Kind::Floor | Kind::Threads) && among(entry));
    let mut ranking: Vec<_> =
        peers.filter_map(|entry| Some((entry, fastest(results, part, entry.id)?))).collect();
    ranking.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    ranking
}

/// One line for each workload that is timed.
fn summary(page: &mut String, results: &Value) {
    page.push_str(words::SUMMARY);
    let mut reasons = String::new();
    for Workload { part, title, us, alike, unit, why } in words::WORKLOADS {
        let ranking = ranking(results, part, |_| true);
        let Some(ours) = fastest(results, part, us) else { continue };
        let Some((first, best)) = ranking.first() else { continue };
        let same = ranking.iter().find(|(entry, _)| alike.contains(&entry.id));
        let against = same.map_or("nobody".into(), |(entry, ns)| {
            let verdict = if ours <= ns * 1.1 { "" } else { " (1)" };
            format!("{:.2} × {}{verdict}", ours / ns, entry.title)
        });
        let behind = same.is_some_and(|(_, ns)| ours > ns * 1.1);
        if behind || ours > best * 1.1 {
            let _ = writeln!(reasons, "- **{title}**: {why}");
        }
        let _ = writeln!(
            page,
            "| {title} | **{}**, {} | {} | {against} |",
            first.title,
            unit.show(*best),
            unit.show(ours)
        );
    }
    if !reasons.is_empty() {
        let _ = write!(page, "\n{}\n\n{reasons}", words::WHY.trim());
    }
}

/// What a column shows.
#[derive(Clone, Copy)]
pub(crate) enum Figure {
    /// The time of the fastest round, in a unit.
    Time(Unit),
    /// The time that its threads computed, in a unit.
    Cpu(Unit),
    /// Runs of the body.
    Runs,
    /// Runs of the body in all processes.
    Together,
    /// Bytes on disk for each byte of results.
    Disk,
    /// Values that were wrong, and those that were computed again.
    Wrong,
}

/// How a time per entry is shown.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Ns,
    Us,
    Ms,
    /// Entries in a second.
    Rate,
    /// Megabytes in a second, for entries of so many bytes.
    Megabytes(u32),
}

impl Unit {
    fn show(self, ns: f64) -> String {
        let precise = |number: f64| match number {
            n if n >= 100.0 => format!("{n:.0}"),
            n if n >= 10.0 => format!("{n:.1}"),
            n => format!("{n:.2}"),
        };
        match self {
            Unit::Ns => format!("{ns:.0} ns"),
            Unit::Us => format!("{} µs", precise(ns / 1e3)),
            Unit::Ms => format!("{} ms", precise(ns / 1e6)),
            Unit::Rate if ns < 1e6 => format!("{} k/s", precise(1e6 / ns)),
            Unit::Rate => format!("{:.0} /s", 1e9 / ns),
            Unit::Megabytes(bytes) => format!("{} MB/s", precise(f64::from(bytes) * 1e3 / ns)),
        }
    }
}

/// A column: its head, the part that was measured, and what of it is shown.
pub(crate) type Column = (&'static str, &'static str, Figure);

/// A line for each peer, the best of each column in bold.
fn detail(page: &mut String, results: &Value, kinds: &[Kind], columns: &[Column]) {
    let heads: Vec<&str> = columns.iter().map(|(head, ..)| *head).collect();
    let _ = writeln!(page, "| | {} |\n|---|{}", heads.join(" | "), "---:|".repeat(columns.len()));
    let best: Vec<Option<f64>> = columns
        .iter()
        .map(|(_, part, figure)| {
            let entries =
                PEERS.iter().filter(|entry| entry.kind != Kind::Floor && entry.kind != Kind::Threads);
            entries.filter_map(|entry| order(results, part, entry.id, *figure)).min_by(f64::total_cmp)
        })
        .collect();
    for entry in PEERS.iter().filter(|entry| kinds.contains(&entry.kind)) {
        let cells: Vec<String> = columns
            .iter()
            .zip(&best)
            .map(|((_, part, figure), best)| {
                let shown = shown(results, part, entry, *figure);
                let mine = order(results, part, entry.id, *figure);
                let peer = !matches!(entry.kind, Kind::Floor | Kind::Threads);
                if peer && mine.is_some() && mine == *best { format!("**{shown}**") } else { shown }
            })
            .collect();
        if cells.iter().any(|cell| cell != "–") {
            let _ = writeln!(page, "| {} | {} |", entry.title, cells.join(" | "));
        }
    }
}

/// What a cell is compared by: less is better.
fn order(results: &Value, part: &str, id: &str, figure: Figure) -> Option<f64> {
    let cell = &results[format!("{part}/{id}")];
    match figure {
        Figure::Time(_) => fastest(results, part, id),
        Figure::Cpu(_) => least(results, part, id, "cpu"),
        Figure::Disk => cell["disk"].as_f64(),
        Figure::Wrong => cell["wrong"].as_f64(),
        Figure::Together if cell["refused"] != 0 => None,
        Figure::Runs | Figure::Together => cell["runs"].as_f64(),
    }
}

fn shown(results: &Value, part: &str, entry: &Entry, figure: Figure) -> String {
    let cell = &results[format!("{part}/{}", entry.id)];
    let number = |field: &str| cell[field].as_u64().map(|number| number.to_string());
    let figure = match figure {
        Figure::Time(unit) => fastest(results, part, entry.id).map(|ns| unit.show(ns)),
        Figure::Cpu(unit) => least(results, part, entry.id, "cpu").map(|ns| unit.show(ns)),
        Figure::Runs => number("runs"),
        Figure::Together if cell["refused"].as_u64() > Some(0) => {
            number("refused").map(|refused| format!("{refused} of {PROCESSES} refused"))
        }
        Figure::Together => number("runs"),
        Figure::Disk => cell["disk"].as_f64().map(|ratio| format!("{ratio:.2}")),
        Figure::Wrong => {
            number("wrong").zip(number("runs")).map(|(wrong, again)| format!("{wrong}, {again}"))
        }
    };
    figure.or(cell["trouble"].as_str().map(str::to_owned)).unwrap_or("–".into())
}

/// The ratios that memopool sets itself.
fn bars(page: &mut String, results: &Value) {
    page.push_str("| | target | measured |\n|---|---|---|\n");
    for (what, part, us, other, bar) in words::BARS {
        let (Some(ours), Some(theirs)) = (fastest(results, part, us), fastest(results, part, other)) else {
            continue;
        };
        let ratio = theirs / ours;
        let cpu = |id: &str| least(results, part, id, "cpu");
        let cpu = cpu(us)
            .zip(cpu(other))
            .map_or(String::new(), |(us, other)| format!(" (CPU {:.2} ×)", other / us));
        let verdict = if ratio >= *bar { "" } else { ", **missed**" };
        let other = peer::named(other).map_or(*other, |entry| entry.title);
        let _ = writeln!(page, "| {what}, against {other} | at least {bar} × | {ratio:.2} ×{cpu}{verdict} |");
    }
    let runs = |part: &str, id: &str| results[format!("{part}/{id}")]["runs"].as_u64();
    let counts = [
        (format!("runs of a cold key, {HERD} threads: value, error, panic"), "1, 1, 1", {
            let found = ["herd-value", "herd-error", "herd-panic"].map(|part| runs(part, "memopool"));
            found
                .iter()
                .map(|runs| runs.map_or("–".into(), |runs| runs.to_string()))
                .collect::<Vec<_>>()
                .join(", ")
        }),
        (
            format!("runs of a cold key, {PROCESSES} processes"),
            "1",
            runs("together", "memopool-disk").map_or("–".into(), |runs| runs.to_string()),
        ),
        (
            format!("wrong values after {FLIPS} flipped bits"),
            "0",
            results["flips/memopool-disk"]["wrong"].as_u64().map_or("–".into(), |wrong| wrong.to_string()),
        ),
    ];
    for (what, bar, found) in counts {
        let _ = writeln!(page, "| {what} | {bar} | {found} |");
    }
}

/// What memopool promises and did not keep in this run: it can't depend on how busy the machine was.
pub(crate) fn broken(figures: &Value) -> Vec<String> {
    let cells = figures["results"].as_object().into_iter().flatten();
    let broken = cells.filter_map(|(name, cell)| {
        let (part, id) = name.split_once('/')?;
        let promised = match part {
            _ if !id.starts_with("memopool") => return None,
            "herd-value" | "herd-error" | "herd-panic" | "together" => cell["runs"] == 1,
            "herd-parallel" => cell["runs"] == 10,
            "flips" => cell["wrong"] == 0,
            _ => true,
        };
        (!promised || !cell["trouble"].is_null()).then(|| format!("{name}: {cell}"))
    });
    broken.collect()
}
