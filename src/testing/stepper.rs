//! An executor under the test's hand.

use std::fmt;

use crate::sync::{Arc, Mutex};
use crate::{Executor, Job};

/// Holds jobs until told to run one, and picks which by a seed: so that a test decides when, and a failure can be replayed
/// from the printed seed. Clones share the jobs.
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

    /// The seed, to print when a test fails.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many jobs are queued.
    pub fn queued(&self) -> usize {
        self.state.lock().jobs.len()
    }

    /// Runs one job in this thread. `false`: there is none.
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
