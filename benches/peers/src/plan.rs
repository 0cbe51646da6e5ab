//! What is measured, with whom, and how much of it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::child::Launcher;
use crate::peer::{CAN_STORE, Entry, Kind, PEERS};
use crate::say;
use crate::work::Task;

/// Threads that ask for one cold key.
pub(crate) const HERD: usize = 8;
/// Processes that do.
pub(crate) const PROCESSES: usize = 4;
/// Rounds of what is in memory.
pub(crate) const ROUNDS: usize = 9;
/// Rounds of what is on disk.
pub(crate) const DISK_ROUNDS: usize = 4;
/// Bits that are flipped.
pub(crate) const FLIPS: usize = 40;

/// What "store-100" takes until a power loss costs nothing.
const FLUSHED: &str = "flushed-100";

/// What was measured: `workload/peer` to an object with `ns` and `cpu` (a sample per round), and what else there was to count.
pub(crate) type Results = Map<String, Value>;

/// One run of everything, or of what `only` names.
pub(crate) struct Plan {
    pub(crate) launcher: Launcher,
    pub(crate) quick: bool,
    pub(crate) only: Option<String>,
    pub(crate) results: Results,
    /// Directories with a file for each entry: to remove them takes longer than to measure them, so that is done last.
    pub(crate) left: Vec<TempDir>,
}

/// A workload in its own directory each round, with these kinds of peers.
struct Part {
    name: &'static str,
    workload: &'static str,
    kinds: &'static [Kind],
    count: usize,
    length: usize,
    threads: usize,
    /// Milliseconds that the body waits.
    sleep: u64,
}

const PARTS: &[Part] = &[
    Part {
        name: "warm-1",
        workload: "warm",
        kinds: &[Kind::Memory],
        count: 10_000,
        length: 100,
        threads: 1,
        sleep: 0,
    },
    Part {
        name: "warm-2",
        workload: "warm",
        kinds: &[Kind::Memory],
        count: 10_000,
        length: 100,
        threads: 2,
        sleep: 0,
    },
    Part {
        name: "cold",
        workload: "cold",
        kinds: &[Kind::Memory, Kind::Threads],
        count: 10_000,
        length: 100,
        threads: 0,
        sleep: 0,
    },
    Part {
        name: "zipf",
        workload: "zipf",
        kinds: &[Kind::Memory, Kind::Threads],
        count: 5_000,
        length: 100,
        threads: 0,
        sleep: 1,
    },
    Part {
        name: "write-100",
        workload: "fill",
        kinds: &[Kind::Disk, Kind::Floor],
        count: 50_000,
        length: 100,
        threads: 0,
        sleep: 0,
    },
    Part {
        name: "store-100",
        workload: "store",
        kinds: &[Kind::Disk, Kind::Floor],
        count: 100_000,
        length: 100,
        threads: 0,
        sleep: 0,
    },
    Part {
        name: "write-64k",
        workload: "fill",
        kinds: &[Kind::Disk, Kind::Floor],
        count: 1_000,
        length: 64 << 10,
        threads: 0,
        sleep: 0,
    },
    Part {
        name: "write-1m",
        workload: "fill",
        kinds: &[Kind::Disk, Kind::Floor],
        count: 100,
        length: 1 << 20,
        threads: 0,
        sleep: 0,
    },
];

impl Plan {
    /// Everything. What fails is a cell that says so.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for part in PARTS {
            self.rounds(part)?;
        }
        self.herds()?;
        self.reading()?;
        self.flips()
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| name.starts_with(only))
    }

    /// A fiftieth in a quick run.
    fn scaled(&self, full: usize) -> usize {
        if self.quick { (full / 50).max(10) } else { full }
    }

    fn times(&self, full: usize) -> usize {
        if self.quick { 1 } else { full }
    }

    fn peers(&self, kinds: &[Kind]) -> Vec<&'static Entry> {
        PEERS.iter().filter(|entry| kinds.contains(&entry.kind) && self.launcher.has(entry)).collect()
    }

    fn task(&self, workload: &str, entry: &Entry, dir: &Path, count: usize) -> Task {
        Task {
            workload: workload.into(),
            peer: entry.id.into(),
            dir: dir.into(),
            count,
            length: 1 << 10,
            threads: 1,
            sleep: 0,
            outcome: "value".into(),
        }
    }

    fn done_with(&mut self, entry: &Entry, dir: TempDir) {
        if entry.slow > 1 {
            self.left.push(dir);
        }
    }

    /// Adds a round to a cell: samples of times are collected, the rest is what the last round said.
    fn note(&mut self, name: &str, entry: &Entry, outcome: Result<Value, String>) {
        let cell =
            self.results.entry(format!("{name}/{}", entry.id)).or_insert(json!({ "ns": [], "cpu": [] }));
        match outcome {
            Err(trouble) => cell["trouble"] = trouble.into(),
            Ok(Value::Object(figures)) => {
                for (figure, value) in figures {
                    match &mut cell[&figure] {
                        Value::Array(samples) => samples.push(value),
                        other => *other = value,
                    }
                }
            }
            Ok(_) => cell["trouble"] = "said nothing".into(),
        }
    }

    /// Interleaved rounds of one workload.
    fn rounds(&mut self, part: &Part) -> Result<(), String> {
        if !self.wants(part.name) {
            return Ok(());
        }
        for round in 0..self.times(if part.kinds.contains(&Kind::Disk) { DISK_ROUNDS } else { ROUNDS }) {
            say(&format!("{}, round {}", part.name, round + 1));
            for entry in self.peers(part.kinds) {
                if part.workload == "store" && !CAN_STORE.contains(&entry.id) {
                    continue;
                }
                let dir = temporary()?;
                let count =
                    self.scaled(if part.workload == "fill" { part.count / entry.slow } else { part.count });
                let mut task = self.task(part.workload, entry, dir.path(), count);
                (task.length, task.threads, task.sleep) = (part.length, part.threads, part.sleep);
                let mut outcome = self.launcher.run(&task);
                if let Ok(Value::Object(figures)) = &mut outcome
                    && let Some(ns) = figures.remove("flushed")
                {
                    self.note(FLUSHED, entry, Ok(json!({ "ns": ns })));
                }
                self.note(part.name, entry, outcome);
                self.done_with(entry, dir);
            }
        }
        Ok(())
    }

    /// How often the body runs when many ask for one cold key.
    fn herds(&mut self) -> Result<(), String> {
        for outcome in ["value", "error", "panic"] {
            let name = format!("herd-{outcome}");
            if self.wants(&name) {
                say(&name);
                for entry in self.peers(&[Kind::Memory, Kind::Threads, Kind::Disk]) {
                    let dir = temporary()?;
                    let mut task = self.task("herd", entry, dir.path(), 1);
                    (task.threads, task.sleep, task.outcome) = (HERD, 200, outcome.into());
                    let outcome = self.launcher.run(&task);
                    self.note(&name, entry, outcome);
                }
            }
        }
        if self.wants("herd-parallel") {
            say("herd-parallel");
            for entry in
                self.peers(&[Kind::Memory, Kind::Disk]).into_iter().filter(|entry| entry.open.is_some())
            {
                let dir = temporary()?;
                let mut task = self.task("parallel", entry, dir.path(), 10);
                task.threads = 4;
                let outcome = self.launcher.run(&task);
                self.note("herd-parallel", entry, outcome);
            }
        }
        if self.wants("together") {
            say("together");
            for entry in self.peers(&[Kind::Disk]) {
                let dir = temporary()?;
                let mut task = self.task("together", entry, dir.path(), 1);
                task.sleep = 500;
                let outcomes = self.launcher.run_together(&task, PROCESSES);
                let runs: u64 = outcomes.iter().flatten().filter_map(|value| value["runs"].as_u64()).sum();
                let refused = outcomes.iter().filter(|outcome| outcome.is_err()).count();
                self.note("together", entry, Ok(json!({ "runs": runs, "refused": refused })));
            }
        }
        Ok(())
    }

    /// A full directory, read by fresh processes.
    fn reading(&mut self) -> Result<(), String> {
        if !self.wants("read") {
            return Ok(());
        }
        let mut full = Vec::new();
        for entry in self.peers(&[Kind::Disk]) {
            // Those that others are measured against have as many entries, however long it takes.
            let slow = if matches!(entry.id, "cacache" | "diskcache") { 1 } else { entry.slow };
            let count = self.scaled(100_000 / slow);
            say(&format!("read: {count} entries of {}", entry.id));
            let dir = temporary()?;
            let mut task = self.task("fill", entry, dir.path(), count);
            if let Err(trouble) = self.launcher.run(&task) {
                self.note("read", entry, Err(trouble));
                continue;
            }
            let ratio = allocated(dir.path()) as f64 / (count * task.length) as f64;
            self.note("read", entry, Ok(json!({ "disk": ratio, "count": count })));
            task.workload = "read".into();
            full.push((entry, dir, task));
        }
        for round in 0..self.times(DISK_ROUNDS) {
            say(&format!("read, round {}", round + 1));
            for (entry, _, task) in &full {
                let outcome = self.launcher.run(task);
                self.note("read", entry, outcome);
                let first = Task { workload: "first".into(), ..task.clone() };
                let outcome = self.launcher.run(&first);
                self.note("read-first", entry, outcome);
            }
        }
        full.into_iter().for_each(|(entry, dir, _)| self.done_with(entry, dir));
        Ok(())
    }

    /// What is believed of a damaged directory.
    fn flips(&mut self) -> Result<(), String> {
        if !self.wants("flips") {
            return Ok(());
        }
        for entry in self.peers(&[Kind::Disk]) {
            say(&format!("flips: {}", entry.id));
            let dir = temporary()?;
            let count = self.scaled(5_000);
            let mut task = self.task("fill", entry, dir.path(), count);
            let outcome = self.launcher.run(&task).and_then(|_| {
                flip(dir.path(), FLIPS).map_err(|error| format!("can't be damaged: {error}"))?;
                (task.workload, task.outcome) = ("read".into(), "checked".into());
                self.launcher.run(&task)
            });
            self.note("flips", entry, outcome);
            self.done_with(entry, dir);
        }
        Ok(())
    }
}

/// Beside the build: a disk, where the directory for temporary files may be memory.
fn temporary() -> Result<TempDir, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers");
    fs::create_dir_all(&root)
        .and_then(|()| tempfile::tempdir_in(root))
        .map_err(|error| format!("no room for a directory in target/peers: {error}"))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![dir.to_path_buf()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Blocks that the files take.
fn allocated(dir: &Path) -> u64 {
    files(dir).iter().filter_map(|path| path.metadata().ok()).map(|file| file.blocks() * 512).sum()
}

/// Flips bits anywhere in the directory, but for pages of zeros: nothing is kept in those.
fn flip(dir: &Path, bits: usize) -> std::io::Result<()> {
    const PAGE: usize = 4096;
    let (mut places, mut page) = (Vec::new(), [0; PAGE]);
    for path in files(dir) {
        let mut file = File::open(&path)?;
        let length = file.metadata()?.len();
        for offset in (0..length).step_by(PAGE) {
            let bytes = PAGE.min((length - offset) as usize);
            file.read_exact(&mut page[..bytes])?;
            if page[..bytes].iter().any(|byte| *byte != 0) {
                places.push((path.clone(), offset, bytes));
            }
        }
    }
    let mut seed = 0xf11b_u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for _ in 0..bits {
        let (path, offset, bytes) = &places[next(places.len())];
        let place = SeekFrom::Start(offset + next(*bytes) as u64);
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut byte = [0];
        file.seek(place)?;
        file.read_exact(&mut byte)?;
        byte[0] ^= 1 << next(8);
        file.seek(place)?;
        file.write_all(&byte)?;
    }
    Ok(())
}
