//! Directories, processes, and what is said about them.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::watchdog::within;

/// The environment variables that say what a child process is to do, and with what.
pub(crate) const ROLE: &str = "MEMOPOOL_PROCESSES_ROLE";
const SETTINGS: &str = "MEMOPOOL_PROCESSES_SETTINGS";

/// What a line begins with that a child says to its test; the harness says things on the same pipe.
const MARK: &str = "@ ";

/// How long a test waits for what must come. Nothing is decided by it but that something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Whether everything is to be tried, not a part of it.
pub(crate) fn long() -> bool {
    std::env::var_os("MEMOPOOL_LONG").is_some_and(|value| value == "1")
}

/// How many: all, or a part.
pub(crate) fn amount(all: u64, part: u64) -> u64 {
    if long() { all } else { part }
}

/// Says something on stderr, past the harness, which would keep it to itself.
pub(crate) fn report(text: &str) {
    let kind = if long() { "long" } else { "short" };
    let _ = std::io::stderr().write_all(format!("processes ({kind}): {text}\n").as_bytes());
}

/// Runs a test's body and fails, by the test's name, if it does not end.
pub(crate) fn in_time(body: impl FnOnce() + Send + 'static) {
    let patience = Duration::from_secs(if long() { 900 } else { 120 });
    within(patience, body);
}

/// A cache directory, and beside it the file that bodies note their runs in. Gone at the end of its test.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Place {
        Place(tempfile::tempdir().expect("room for a temporary directory"))
    }

    /// The cache directory: made by the first pool.
    pub(crate) fn cache(&self) -> PathBuf {
        self.0.path().join("cache")
    }

    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Each run of a body, in order: `name(n)`.
    pub(crate) fn runs(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.path().join(RUNS)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn runs_of(&self, call: &str) -> usize {
        self.runs().iter().filter(|run| *run == call).count()
    }

    /// Starts a process in this place.
    pub(crate) fn start(&self, role: &str, settings: &str) -> Process {
        Process::start(self.0.path(), role, settings)
    }

    /// An actor whose pool has default settings but for those given.
    pub(crate) fn actor(&self, settings: &str) -> Process {
        let mut actor = self.start("actor", settings);
        actor.expect("ready");
        actor
    }

    /// Bytes of the segments and of the index, at a moment when no segment came or went.
    pub(crate) fn bytes(&self) -> u64 {
        let size = |file: PathBuf| fs::metadata(file).map_or(0, |file| file.len());
        let names = || {
            let mut names = files_in(&self.cache().join("v1/seg"));
            names.sort();
            names
        };
        for _ in 0..20 {
            let before = names();
            let bytes = size(self.cache().join("v1/index")) + before.iter().cloned().map(size).sum::<u64>();
            if names() == before {
                return bytes;
            }
        }
        0
    }

    /// All files of the cache.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = files_in(&self.cache());
        let mut at = 0;
        while at < files.len() {
            if files[at].is_dir() {
                let dir = files.swap_remove(at);
                files.extend(files_in(&dir));
            } else {
                at += 1;
            }
        }
        files
    }

    pub(crate) fn unfinished(&self) -> Vec<PathBuf> {
        files_in(&self.cache().join("v1/tmp"))
    }
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

const RUNS: &str = "runs";

/// The place of a child process: its working directory.
pub(crate) fn cache_of_child() -> PathBuf {
    Path::new("cache").to_owned()
}

/// The setting `name=…` of a child process.
pub(crate) fn setting(name: &str) -> Option<String> {
    let settings = std::env::var(SETTINGS).unwrap_or_default();
    settings.split_whitespace().find_map(|pair| Some(pair.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

/// A setting that is a number.
pub(crate) fn number(name: &str) -> Option<u64> {
    setting(name).map(|text| text.parse().expect("a number"))
}

/// Notes a run, where those of all processes are: a line is appended as a whole.
pub(crate) fn note_run(call: &str) {
    static FILE: OnceLock<File> = OnceLock::new();
    let open = || OpenOptions::new().append(true).create(true).open(RUNS).expect("a file beside the cache");
    FILE.get_or_init(open).write_all(format!("{call}\n").as_bytes()).expect("room for a line");
}

/// Says something to the test that started this process.
pub(crate) fn say(text: &str) {
    let line = format!("\n{MARK}{text}\n");
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

/// A child process, killed at the latest when this is dropped.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// What it said that nobody has asked for yet.
    said: Vec<String>,
}

impl Process {
    fn start(place: &Path, role: &str, settings: &str) -> Process {
        let mut child = Command::new(std::env::current_exe().expect("the path of this binary"))
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(SETTINGS, settings)
            .current_dir(place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child process");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(said) = line.strip_prefix(MARK)
                    && send.send(said.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        Process { child, input, lines, said: Vec::new() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to do something.
    pub(crate) fn tell(&mut self, command: &str) {
        let input = self.input.as_mut().expect("it still listens");
        input.write_all(format!("{command}\n").as_bytes()).expect("it still listens");
    }

    /// Waits until it says something that begins so, and gives the rest.
    pub(crate) fn expect(&mut self, start: &str) -> String {
        loop {
            let found =
                self.said.iter().position(|said| said == start || said.starts_with(&format!("{start} ")));
            if let Some(at) = found {
                return self.said.remove(at)[start.len()..].trim_start().to_owned();
            }
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.said.push(line),
                Err(why) => panic!("it never said {start:?} ({why}), but {:?}", self.said),
            }
        }
    }

    /// What it has said by now, without waiting.
    pub(crate) fn heard(&mut self) -> Vec<String> {
        self.said.extend(self.lines.try_iter());
        std::mem::take(&mut self.said)
    }

    /// Tells it to do something that it answers.
    pub(crate) fn ask(&mut self, command: &str, answer: &str) -> String {
        self.tell(command);
        self.expect(answer)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it is our child");
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Closes its input, after which it ends, and gives what it has said since.
    pub(crate) fn end(mut self) -> Vec<String> {
        drop(self.input.take());
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end; it said {:?}", self.said),
            }
        }
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "{status}; it said {:?}", self.said);
        std::mem::take(&mut self.said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// SplitMix64: the same numbers from the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}
