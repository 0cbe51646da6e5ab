//! Every measurement is a process of its own: nothing is left over from the one before, a crash or a hang costs one cell
//! of the table, and Python is measured in the same way.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::peer;
use crate::work::Task;

/// How long one process may take.
const LIMIT: Duration = Duration::from_secs(240);

/// The same, where a hang is what is looked for: some fifty times what it takes.
const SHORT_LIMIT: Duration = Duration::from_secs(15);

/// How to start the measured processes.
pub(crate) struct Launcher {
    own: PathBuf,
    python: Option<Python>,
}

/// An interpreter, and the versions of what it has.
pub(crate) struct Python {
    program: PathBuf,
    script: PathBuf,
    pub(crate) versions: Value,
}

impl Launcher {
    /// With Python from `MEMOPOOL_PYTHON`, from `target/peers-venv`, or from the path.
    pub(crate) fn new() -> Result<Launcher, String> {
        let own = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = root.join("peers.py");
        let given = std::env::var_os("MEMOPOOL_PYTHON").map(PathBuf::from);
        let candidates =
            given.into_iter().chain([root.join("../../target/peers-venv/bin/python"), "python3".into()]);
        let python = candidates.into_iter().find_map(|program| {
            let output = Command::new(&program).arg(&script).arg("versions").output().ok()?;
            let versions = serde_json::from_slice(&output.stdout).ok()?;
            Some(Python { program, script: script.clone(), versions })
        });
        Ok(Launcher { own, python })
    }

    pub(crate) fn python(&self) -> Option<&Python> {
        self.python.as_ref()
    }

    /// Whether there is all that this peer needs.
    pub(crate) fn has(&self, entry: &peer::Entry) -> bool {
        entry.open.is_some()
            || self.python.as_ref().is_some_and(|python| match entry.id {
                name @ ("joblib" | "diskcache") => !python.versions[name].is_null(),
                _ => true,
            })
    }

    /// Runs one task; what it printed, or in a few words why it did not.
    pub(crate) fn run(&self, task: &Task) -> Result<Value, String> {
        self.start(task)?.finish()
    }

    /// Runs a task in several processes that begin when all are ready.
    pub(crate) fn run_together(&self, task: &Task, processes: usize) -> Vec<Result<Value, String>> {
        let mut started: Vec<_> = (0..processes).map(|_| self.start(task)).collect();
        let ready = |process: &Process| process.lines.recv_timeout(LIMIT).is_ok_and(|line| line == "ready");
        let ready: Vec<bool> = started.iter().map(|process| process.as_ref().is_ok_and(ready)).collect();
        for (process, ready) in started.iter_mut().zip(&ready) {
            if let (Ok(process), true) = (process, ready)
                && let Some(input) = &mut process.child.stdin
            {
                // Whoever has died says so at its end.
                let _ = input.write_all(b"\n");
            }
        }
        started.into_iter().map(|process| process?.finish()).collect()
    }

    fn start(&self, task: &Task) -> Result<Process, String> {
        let own = peer::named(&task.peer).is_some_and(|entry| entry.open.is_some());
        let mut command = match (&self.python, own) {
            (_, true) => Command::new(&self.own),
            (Some(python), false) => {
                let mut command = Command::new(&python.program);
                command.arg(&python.script);
                command
            }
            (None, false) => return Err("no Python here".into()),
        };
        if own {
            command.arg("child");
        }
        command.args(task.to_args()).env("RUST_BACKTRACE", "0");
        if task.workload == "parallel" {
            command.env("RAYON_NUM_THREADS", task.threads.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("can't be started: {error}"))?;
        let (send, lines) = channel();
        if let Some(output) = child.stdout.take() {
            thread::spawn(move || {
                let lines = BufReader::new(output).lines().map_while(Result::ok);
                lines.for_each(|line| drop(send.send(line)));
            });
        }
        let (send, complaint) = channel();
        if let Some(mut errors) = child.stderr.take() {
            thread::spawn(move || {
                let mut text = Vec::new();
                // What can't be read can't be shown.
                let _ = errors.read_to_end(&mut text);
                drop(send.send(String::from_utf8_lossy(&text).into_owned()));
            });
        }
        Ok(Process { child, lines, complaint, task: task.clone() })
    }
}

struct Process {
    child: Child,
    lines: Receiver<String>,
    complaint: Receiver<String>,
    task: Task,
}

impl Process {
    /// Its last line.
    fn finish(mut self) -> Result<Value, String> {
        let mut last = None;
        let limit = if self.task.workload == "parallel" { SHORT_LIMIT } else { LIMIT };
        loop {
            match self.lines.recv_timeout(limit) {
                Ok(line) => last = Some(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    // It may have ended just now.
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return Err("hangs".into());
                }
            }
        }
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if let (true, Some(line)) = (status.success(), &last)
            && let Ok(value) = serde_json::from_str(line)
        {
            return Ok(value);
        }
        let complaint = self.complaint.recv_timeout(LIMIT).unwrap_or_default();
        let Task { workload, peer, .. } = &self.task;
        let said = complaint.lines().map(str::trim).filter(|line| !line.is_empty()).take(3);
        let said: Vec<&str> = said.collect();
        crate::say(&format!("  {workload} with {peer} failed ({status}): {}", said.join(" ")));
        Err(ended(status))
    }
}

fn ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("killed by signal {signal}");
    }
    format!("fails ({status})").replace(" (exit status: 101)", "")
}
