//! Whether a path has become more expensive, decided without a clock: allocations and instructions of each operation.
//!
//! `cargo bench --bench gate` runs four paths, each in a process of its own and on one thread, and compares them with
//! `benches/gate.txt`. Instructions are counted by valgrind (`callgrind`), and only those of [`counted_part`]; without
//! valgrind allocations alone are checked. `-- --renew` writes the file anew: look at its difference before you commit it.
//! `-- --floors` prints what the least costs that could give the same; `docs/performance.md` says where the rest goes.
#![expect(clippy::print_stdout, reason = "a bench reports on its standard output")]

#[path = "gate/counting.rs"]
mod counting;
#[path = "gate/floors.rs"]
mod floors;
#[path = "gate/paths.rs"]
mod paths;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use counting::counted_part;

/// Operations of each run. All figures are per operation.
const OPERATIONS: u64 = 2000;

/// How far instructions may be from the file's, as a share. Five runs differ by less than 0.5 %: hashes are seeded.
const INSTRUCTIONS: f64 = 0.05;
/// How far allocations may be, as a share: tables grow a little earlier or later. None stays none.
const ALLOCATIONS: f64 = 0.02;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/gate.txt");
const RENEW: &str = "cargo bench --bench gate -- --renew";

/// Prepares itself, then does [`OPERATIONS`] operations within [`counted_part`], whose allocations it returns.
type Run = fn() -> u64;

/// Each path, and its floor.
const PATHS: [(&str, Run, Run); 4] = [
    ("warm-hit", paths::warm_hit, floors::warm_hit),
    ("cold-batch", paths::cold_batch, floors::cold_batch),
    ("disk-hit", paths::disk_hit, floors::disk_hit),
    ("nested", paths::nested, floors::nested),
];

/// What one operation costs.
#[derive(Clone, Copy)]
struct Figures {
    allocations: f64,
    /// `None`: nobody counted.
    instructions: Option<f64>,
}

/// Other features, or none of the optimiser's work, make other figures.
fn is_plain() -> bool {
    !cfg!(any(
        debug_assertions,
        feature = "lz4",
        feature = "metrics",
        feature = "rayon",
        feature = "report",
        feature = "testing",
        feature = "tokio",
        feature = "tracing",
        feature = "zstd"
    ))
}

/// Why instructions can't be counted here.
fn why_not() -> Option<String> {
    let arch = std::env::consts::ARCH;
    if arch != "x86_64" {
        return Some(format!("the file's are of x86_64, this is {arch}"));
    }
    let version =
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    (!version.is_ok_and(|status| status.success())).then(|| "valgrind is not here".into())
}

/// Where callgrind leaves what it found.
fn profile(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gate-{name}.callgrind"))
}

/// Runs one path, or its floor, in a process of its own.
fn measure(name: &str, counting: bool) -> Figures {
    let this = std::env::current_exe().expect("this program has a path");
    let out = profile(name);
    let mut command = if counting {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--quiet", "--toggle-collect=*counted_part*"]);
        command.arg(format!("--callgrind-out-file={}", out.display())).arg(this);
        command
    } else {
        Command::new(this)
    };
    let output = command.args(["--only", name]).output().expect("can be started");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{name}: {told}{}", String::from_utf8_lossy(&output.stderr));
    let allocations: f64 = told.trim().parse().expect("a number");
    let instructions = counting.then(|| {
        let text = std::fs::read_to_string(&out).expect("callgrind has written it");
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("totals");
        total.trim().parse::<f64>().expect("a number") / OPERATIONS as f64
    });
    Figures { allocations: allocations / OPERATIONS as f64, instructions }
}

/// The file's figures, by path.
fn expected() -> BTreeMap<String, Figures> {
    let text = std::fs::read_to_string(FILE).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, allocations) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        Some((name, Figures { allocations, instructions: words.next()?.parse().ok() }))
    };
    lines.filter_map(line).collect()
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map_or_else(|_| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().into())
}

fn renew() -> ExitCode {
    if let Some(why) = why_not() {
        println!("can't renew {FILE}: {why}");
        return ExitCode::FAILURE;
    }
    let mut text = format!(
        "# What one operation of each path costs: written by `{RENEW}`.\n# {}, x86_64\n# {:<12}{:>12}{:>14}\n",
        compiler(),
        "path",
        "allocations",
        "instructions"
    );
    for (name, ..) in PATHS {
        let Figures { allocations, instructions } = measure(name, true);
        let instructions = instructions.unwrap_or_default();
        writeln!(text, "{name:<14}{allocations:>12.2}{instructions:>14.0}").expect("a string takes all");
    }
    std::fs::write(FILE, &text).expect("the file can be written");
    print!("{text}");
    ExitCode::SUCCESS
}

/// Says what is wrong with one figure, if something is.
fn judge(what: &str, was: f64, is: f64, tolerance: f64) -> Option<String> {
    // Half of the last digit in the file is no change.
    let is_within = (is - was).abs() <= was * tolerance + if was == 0.0 { 0.0 } else { 0.005 };
    let change = if was == 0.0 { String::new() } else { format!(" ({:+.1} %)", (is / was - 1.0) * 100.0) };
    (!is_within)
        .then(|| format!("{what}: was {was}, is {is:.2}{change}, may differ by {} %", tolerance * 100.0))
}

fn check() -> ExitCode {
    let why_not = why_not();
    if let Some(why) = &why_not {
        println!("skipped: instruction counts ({why})");
    }
    let expected = expected();
    let mut is_good = true;
    println!("{:<12}{:>14}{:>16}", "path", "allocations", "instructions");
    for (name, ..) in PATHS {
        let is = measure(name, why_not.is_none());
        let instructions = is.instructions.map_or("-".into(), |count| format!("{count:.0}"));
        println!("{name:<12}{:>14.2}{instructions:>16}", is.allocations);
        let Some(was) = expected.get(name) else {
            println!("FAILED {name}: not in {FILE}; write it with `{RENEW}`");
            is_good = false;
            continue;
        };
        let instructions = was.instructions.zip(is.instructions);
        let wrong = [
            judge("allocations", was.allocations, is.allocations, ALLOCATIONS),
            instructions.and_then(|(was, is)| judge("instructions", was, is, INSTRUCTIONS)),
        ];
        for wrong in wrong.into_iter().flatten() {
            println!(
                "FAILED {name}, {wrong}; if that is meant (or better, or another compiler's): `{RENEW}`"
            );
            is_good = false;
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What each path costs beside the least that could give the same.
fn against_floors() -> ExitCode {
    if let Some(why) = why_not() {
        println!("skipped: instruction counts ({why})");
        return ExitCode::SUCCESS;
    }
    println!("{:<12}{:>14}{:>12}{:>10}", "path", "instructions", "its floor", "ratio");
    for (name, ..) in PATHS {
        let count = |name: &str| measure(name, true).instructions.unwrap_or_default();
        let (ours, floor) = (count(name), count(&format!("{name}-floor")));
        println!("{name:<12}{ours:>14.0}{floor:>12.0}{:>10.2}", ours / floor);
    }
    println!("by function: callgrind_annotate --inclusive=yes {}", profile("PATH").display());
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| args.iter().any(|arg| arg == name);
    if let Some(name) = args.iter().skip_while(|arg| *arg != "--only").nth(1) {
        let floor = name.strip_suffix("-floor");
        let (_, ours, least) =
            PATHS.iter().find(|path| path.0 == floor.unwrap_or(name)).expect("the name of a path");
        println!("{}", if floor.is_some() { least() } else { ours() });
        return ExitCode::SUCCESS;
    }
    if !is_plain() {
        println!("skipped: the gate (its figures are those of a plain `cargo bench --bench gate`)");
        return ExitCode::SUCCESS;
    }
    match () {
        () if has("--renew") => renew(),
        () if has("--floors") => against_floors(),
        () => check(),
    }
}
