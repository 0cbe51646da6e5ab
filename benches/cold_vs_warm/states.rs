//! The states a pass is measured in, and how one round of each is taken.
//!
//! All states of a workload are measured in turns, round by round, so that what the machine does to one it does to all.
//! Every round checks that the pass gave the same as without a cache, and counts the bodies that ran.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::time::Duration;

use memopool::{Disk, Pool};

use crate::rounds::timed;
use crate::workloads::{Size, Workload};

/// Submitters of the joined state.
pub(crate) const SUBMITTERS: usize = 8;

/// What is there when a pass begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    NoCache,
    ColdMemory,
    ColdDisk,
    Joined,
    WarmMemory,
    WarmDisk,
    FreshProcess,
    SmallMemory,
}

impl State {
    pub(crate) const ALL: [State; 8] = [
        State::NoCache,
        State::ColdMemory,
        State::ColdDisk,
        State::Joined,
        State::WarmMemory,
        State::WarmDisk,
        State::FreshProcess,
        State::SmallMemory,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            State::NoCache => "no cache",
            State::ColdMemory => "cold, memory only",
            State::ColdDisk => "cold, with disk",
            State::Joined => "joined by 8",
            State::WarmMemory => "warm memory",
            State::WarmDisk => "warm disk",
            State::FreshProcess => "warm disk, new process",
            State::SmallMemory => "warm disk, small memory",
        }
    }

    /// Its colour on the page: what is cold is warm in colour, and the other way round.
    pub(crate) fn tone(self) -> usize {
        match self {
            State::NoCache => 0,
            State::ColdMemory => 1,
            State::ColdDisk => 6,
            State::Joined => 2,
            State::WarmMemory => 3,
            State::WarmDisk => 4,
            State::FreshProcess => 5,
            State::SmallMemory => 7,
        }
    }

    pub(crate) fn what(self) -> &'static str {
        match self {
            State::NoCache => "a plain pool: the same bodies, spawned; the pool's start and end included",
            State::ColdMemory => "an empty pool without a disk; its start and end included",
            State::ColdDisk => "an empty directory; opening it and writing everything included",
            State::Joined => {
                "8 threads submit the whole pass at once to an empty pool; until all have all results"
            }
            State::WarmMemory => "everything is in memory",
            State::WarmDisk => "everything is on disk, nothing in memory; the pool is open",
            State::FreshProcess => {
                "a process is started, opens the directory, finds everything there, and ends; all of that included"
            }
            State::SmallMemory => "everything is on disk, and the memory holds a tenth of it",
        }
    }
}

/// One round.
pub(crate) struct Round {
    pub(crate) took: Duration,
    /// Bodies that ran.
    pub(crate) runs: u64,
}

/// A workload with what its states need: directories, and pools that stay warm.
pub(crate) struct Stage<'a> {
    workload: &'a Workload,
    size: Size,
    threads: usize,
    work: &'a Path,
    sources: Option<&'a Path>,
    expected: u64,
    warm: PathBuf,
    in_memory: Pool,
    small: Pool,
    nth: u64,
}

/// Room for all results of the largest workload.
const MEMORY: u64 = 2 << 30;

fn pool(threads: usize, memory: u64, disk: Option<&Path>) -> Pool {
    let builder = Pool::builder().threads(threads).memory(memory);
    let builder = match disk {
        Some(path) => builder.disk(Disk::new(path)),
        None => builder,
    };
    builder.build().expect("a usable directory")
}

impl<'a> Stage<'a> {
    pub(crate) fn new(
        workload: &'a Workload,
        size: Size,
        threads: usize,
        work: &'a Path,
        sources: Option<&'a Path>,
    ) -> Stage<'a> {
        let warm = work.join("warm");
        let expected = (workload.plain)(&pool(threads, MEMORY, None));
        assert_eq!((workload.memoized)(&pool(threads, MEMORY, Some(&warm))), expected, "{}", workload.name);
        let in_memory = pool(threads, MEMORY, None);
        assert_eq!((workload.memoized)(&in_memory), expected, "{}", workload.name);
        let small = pool(threads, workload.small_memory, Some(&warm));
        Stage { workload, size, threads, work, sources, expected, warm, in_memory, small, nth: 0 }
    }

    /// One round of a state.
    ///
    /// # Errors
    ///
    /// Why it can't be measured.
    pub(crate) fn round(&mut self, state: State) -> Result<Round, String> {
        let Stage { workload, threads, expected, .. } = *self;
        let check = |sum: u64| assert_eq!(sum, expected, "{} in state {state:?}", workload.name);
        let warm = |pool: &Pool| {
            let before = pool.stats();
            let took = timed(|| check((workload.memoized)(pool)));
            Round { took, runs: pool.stats().since(&before).computed }
        };
        Ok(match state {
            State::NoCache => {
                let took = timed(|| check((workload.plain)(&pool(threads, 0, None))));
                Round { took, runs: workload.runs }
            }
            State::ColdMemory => {
                whole(|| pool(threads, MEMORY, None), |pool| check((workload.memoized)(pool)))
            }
            State::ColdDisk => {
                self.nth += 1;
                let dir = self.work.join(format!("cold-{}", self.nth));
                let round =
                    whole(|| pool(threads, MEMORY, Some(&dir)), |pool| check((workload.memoized)(pool)));
                std::fs::remove_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
                round
            }
            State::Joined => {
                let pool = pool(threads, MEMORY, None);
                let start = Barrier::new(SUBMITTERS);
                let took = std::thread::scope(|scope| {
                    for _ in 1..SUBMITTERS {
                        scope.spawn(|| {
                            start.wait();
                            check((workload.memoized)(&pool));
                        });
                    }
                    timed(|| {
                        start.wait();
                        // The scope's end waits for the threads; so does the last task.
                        check((workload.memoized)(&pool));
                    })
                });
                Round { took, runs: pool.stats().computed }
            }
            State::WarmMemory => warm(&self.in_memory),
            State::WarmDisk => warm(&pool(threads, MEMORY, Some(&self.warm))),
            State::SmallMemory => warm(&self.small),
            State::FreshProcess => self.fresh_process()?,
        })
    }

    /// The child says how long it was at it; the start and the end of a process that does nothing are added.
    fn fresh_process(&self) -> Result<Round, String> {
        let empty = timed_child(&[CHILD, "nothing"])?.0;
        let threads = self.threads.to_string();
        let size = if self.size == Size::Full { "full" } else { "quick" };
        let warm = self.warm.display().to_string();
        let sources = self.sources.map_or_else(String::new, |list| list.display().to_string());
        let said = timed_child(&[CHILD, self.workload.name, size, &threads, &warm, &sources])?.1;
        let numbers: Vec<u64> = said.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [nanos, runs, sum] = numbers[..] else { return Err(format!("the child said `{said}`")) };
        assert_eq!(sum, self.expected, "{} in a new process", self.workload.name);
        Ok(Round { took: Duration::from_nanos(nanos) + empty, runs })
    }
}

/// A pool from its start to its end.
fn whole(open: impl FnOnce() -> Pool, pass: impl FnOnce(&Pool)) -> Round {
    let mut runs = 0;
    let took = timed(|| {
        let pool = open();
        pass(&pool);
        runs = pool.stats().computed;
        drop(pool);
    });
    Round { took, runs }
}

/// The hidden argument that makes this program a child.
pub(crate) const CHILD: &str = "--child-of-the-bench";

fn timed_child(args: &[&str]) -> Result<(Duration, String), String> {
    let this = std::env::current_exe().map_err(|error| format!("where this program lies: {error}"))?;
    let mut output = None;
    let took = timed(|| output = Some(Command::new(&this).args(args).output()));
    let output = output.expect("it was run").map_err(|error| format!("{}: {error}", this.display()))?;
    if !output.status.success() {
        return Err(format!("a child failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok((took, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// One pass of a new process: nanoseconds from opening the directory to the pool's end, bodies run, checksum.
pub(crate) fn child(workload: &Workload, threads: usize, dir: &Path) -> String {
    let mut sum = 0;
    let round = whole(|| pool(threads, MEMORY, Some(dir)), |pool| sum = (workload.memoized)(pool));
    format!("{} {} {sum}", round.took.as_nanos(), round.runs)
}
