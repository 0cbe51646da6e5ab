//! An executor under the test's hand.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::contain::panic_text;
use crate::sync::{Arc, Mutex};
use crate::{Executor, Job};

/// The environment variable with the seed that [`Stepper::explore`] replays.
pub const REPLAY: &str = "MEMOPOOL_SEED";

/// Holds jobs until told to run one, and picks which by a seed: so that a test decides when, and a failure can be replayed
/// from the printed seed. Clones share the jobs.
///
/// Jobs run in the thread that tells it to, so that thread must not wait for a task before it has run: nobody else would run
/// it. (A body may wait for others: it runs them itself.)
///
/// # Examples
///
/// ```
/// use memopool::testing::Stepper;
/// use memopool::{Func, Pool};
///
/// let stepper = Stepper::new(42);
/// let pool = Pool::builder().executor(stepper.clone()).build()?;
/// let square = Func::new("square", |n: u64| n * n);
/// let task = pool.submit(square.call(3));
/// let joined = pool.submit(square.call(3));
/// assert!(!task.is_done());
/// assert!(stepper.step());
/// assert_eq!((*task.wait()?, *joined.wait()?), (9, 9));
/// assert!(!stepper.step(), "one job for both");
/// # Ok::<(), memopool::Error>(())
/// ```
#[derive(Clone)]
pub struct Stepper {
    seed: u64,
    state: Arc<Mutex<State>>,
}

struct State {
    jobs: Vec<Job>,
    random: u64,
}

impl Stepper {
    /// A stepper whose order follows from `seed`.
    pub fn new(seed: u64) -> Stepper {
        Stepper { seed, state: Arc::new(Mutex::new(State { jobs: Vec::new(), random: seed })) }
    }

    /// Runs `test` with a new stepper for each of the seeds `0..seeds`, so in as many orders. It stops at the first panic and
    /// says with which seed that was; with the environment variable [`REPLAY`] set to that seed, `test` runs with it alone.
    ///
    /// # Panics
    ///
    /// When `test` does: with its message, and the seed. Also when [`REPLAY`] is set, but not to a number.
    ///
    /// # Examples
    ///
    /// ```
    /// use memopool::testing::Stepper;
    /// use memopool::{Func, Pool};
    ///
    /// let square = Func::new("square", |n: u64| n * n);
    /// Stepper::explore(20, |stepper| {
    ///     let pool = Pool::builder().executor(stepper.clone()).build().unwrap();
    ///     let tasks = pool.submit_all((0..5).map(|n| square.call(n)));
    ///     stepper.step();
    ///     pool.forget(&square.call(2)).unwrap(); // before, or after it has run
    ///     stepper.run_until_idle();
    ///     assert_eq!(*tasks[2].wait().unwrap(), 4);
    /// });
    /// ```
    pub fn explore(seeds: u64, test: impl Fn(&Stepper)) {
        let seeds = match std::env::var(REPLAY) {
            Ok(seed) => {
                let seed = seed.parse().unwrap_or_else(|_| panic!("{REPLAY}={seed}: a seed is a number"));
                seed..=seed
            }
            Err(_) if seeds == 0 => return,
            Err(_) => 0..=seeds - 1,
        };
        for seed in seeds {
            let tested = catch_unwind(AssertUnwindSafe(|| test(&Stepper::new(seed))));
            if let Err(panic) = tested {
                panic!("with the seed {seed} ({REPLAY}={seed} replays it): {}", panic_text(&*panic));
            }
        }
    }

    /// The seed, to print when a test fails.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many jobs are queued.
    pub fn queued(&self) -> usize {
        self.state.lock().jobs.len()
    }

    /// Runs one job in this thread, whichever the seed says. `false`: there is none.
    pub fn step(&self) -> bool {
        let job = {
            let mut state = self.state.lock();
            match state.jobs.len() {
                0 => return false,
                n => {
                    let at = (state.next() % n as u64) as usize;
                    state.jobs.remove(at)
                }
            }
        };
        job.run();
        true
    }

    /// Runs jobs, those they submit included, until none is left. Returns how many.
    pub fn run_until_idle(&self) -> usize {
        let mut ran = 0;
        while self.step() {
            ran += 1;
        }
        ran
    }
}

impl State {
    /// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Executor for Stepper {
    fn execute(&self, job: Job) {
        self.state.lock().jobs.push(job);
    }
}

impl fmt::Debug for Stepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stepper(seed {}, {} queued)", self.seed, self.queued())
    }
}
