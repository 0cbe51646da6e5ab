//! A disk under the test's hand.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use crate::memo::disk::io::{Hook, Op, Verdict};
use crate::sync::{Arc, Mutex};

/// Makes the disk tier of a pool fail, tear, fill up or slow down on command, to see that a pipeline goes on: trouble with
/// the cache never fails a task. Clones are one and the same.
///
/// What is done to files is counted by [`Op`], faults included, so that a test can first count and then pick. Faults that
/// last (`full`, `read_only`, `broken`, `slow`, `fail_every`) do so until [`heal`](Self::heal). Where several apply, one
/// that was planned for this very operation comes first.
///
/// # Examples
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("memopool-doc-faults-{}", std::process::id()));
/// use memopool::testing::{Faults, Op};
/// use memopool::{Disk, Func, Pool};
///
/// let faults = Faults::new();
/// let pool = Pool::builder().disk(Disk::new(&dir).faults(&faults)).build()?;
/// let square = Func::new("square", |n: u64| n * n);
///
/// faults.full(); // from now on the disk is full
/// assert_eq!(*pool.run(square.call(3))?, 9);
/// let _ = pool.flush(); // by then it was tried
/// assert!(pool.stats().store_errors > 0);
/// faults.heal(); // all is well
///
/// faults.fail_nth(Op::Write, 2); // the second write from now on fails, once
/// faults.torn(5, 100);           // of the fifth, only 100 bytes are written
/// assert_eq!(*pool.run(square.call(4))?, 16);
/// # drop(pool);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), memopool::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    counts: [u64; OPS],
    /// Faults of single operations, by the count at which they are due.
    planned: Vec<Planned>,
    /// (operation, every how many, since which count).
    repeated: Vec<(Op, u64, u64)>,
    health: Health,
    slow: Option<Duration>,
}

struct Planned {
    op: Op,
    at: u64,
    /// `None`: fails outright.
    torn: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Health {
    #[default]
    Well,
    Full,
    ReadOnly,
    Broken,
}

/// How many variants [`Op`] has.
const OPS: usize = Op::Stat as usize + 1;

impl Faults {
    /// A disk on which all is well.
    pub fn new() -> Faults {
        Faults::default()
    }

    /// The `n`-th such operation from now on (counted from 1) fails, once.
    pub fn fail_nth(&self, op: Op, n: u64) {
        self.plan(op, n, None);
    }

    /// Every `n`-th such operation from now on fails; with 1, each. With 0, none.
    pub fn fail_every(&self, op: Op, n: u64) {
        let mut state = self.0.lock();
        let since = state.counts[op as usize];
        state.repeated.push((op, n, since));
    }

    /// Of the `nth` write from now on (counted from 1) only the first `bytes` are written; then it fails. As when a process
    /// is killed, or the disk is full, in the middle.
    pub fn torn(&self, nth: u64, bytes: usize) {
        self.plan(Op::Write, nth, Some(bytes));
    }

    /// The disk is full: nothing can be made or written. Reading and removing go on.
    pub fn full(&self) {
        self.0.lock().health = Health::Full;
    }

    /// The disk can only be read.
    pub fn read_only(&self) {
        self.0.lock().health = Health::ReadOnly;
    }

    /// The disk is broken: every operation fails.
    pub fn broken(&self) {
        self.0.lock().health = Health::Broken;
    }

    /// Every operation takes this much longer.
    pub fn slow(&self, time: Duration) {
        self.0.lock().slow = Some(time);
    }

    /// All is well again: no fault lasts, none is planned. Counts stay.
    pub fn heal(&self) {
        let mut state = self.0.lock();
        *state = State { counts: state.counts, ..State::default() };
    }

    /// How many such operations there were so far, failed ones included.
    pub fn count(&self, op: Op) -> u64 {
        self.0.lock().counts[op as usize]
    }

    fn plan(&self, op: Op, nth: u64, torn: Option<usize>) {
        let mut state = self.0.lock();
        let at = state.counts[op as usize].saturating_add(nth);
        state.planned.push(Planned { op, at, torn });
    }
}

impl State {
    fn before(&mut self, op: Op) -> Verdict {
        let count = &mut self.counts[op as usize];
        *count += 1;
        let count = *count;
        if let Some(due) = self.planned.iter().position(|planned| planned.op == op && planned.at == count) {
            return match self.planned.swap_remove(due).torn {
                Some(bytes) => Verdict::Torn(bytes),
                None => Verdict::Fail(io::Error::other(ON_PURPOSE)),
            };
        }
        // (No number is a multiple of 0.)
        let due = |&(on, n, since): &(Op, u64, u64)| on == op && (count - since).is_multiple_of(n);
        if self.repeated.iter().any(due) {
            return Verdict::Fail(io::Error::other(ON_PURPOSE));
        }
        match (self.health, op) {
            (Health::Full, Op::Create | Op::Write) => Verdict::Fail(ErrorKind::StorageFull.into()),
            (Health::ReadOnly, Op::Create | Op::Write | Op::Rename | Op::Remove) => {
                Verdict::Fail(ErrorKind::ReadOnlyFilesystem.into())
            }
            (Health::Broken, _) => Verdict::Fail(io::Error::other("input/output error, on purpose")),
            _ => self.slow.map_or(Verdict::Go, Verdict::Delay),
        }
    }
}

const ON_PURPOSE: &str = "failed on purpose";

impl Hook for Faults {
    fn before(&self, op: Op, _path: &Path, _bytes: usize) -> Verdict {
        self.0.lock().before(op)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        let mut f = f.debug_struct("Faults");
        f.field("health", &state.health).field("slow", &state.slow);
        f.field("planned", &state.planned.len()).field("repeated", &state.repeated.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memo::disk::io::{Access, Io};

    /// A file of 8 bytes on a disk with faults.
    fn file() -> (Faults, Io, tempfile::TempDir) {
        let (faults, dir) = (Faults::new(), tempfile::tempdir().unwrap());
        let io = Io::with_hook(Arc::new(faults.clone()));
        let file = io.create(&dir.path().join("file")).unwrap();
        io.write_all_at(&file, b"12345678", 0).unwrap();
        (faults, io, dir)
    }

    #[test]
    fn planned_faults_come_when_planned() {
        // A test that fails another write than it says proves nothing.
        let (faults, io, dir) = file();
        let file = io.open(&dir.path().join("file"), Access::Write).unwrap();
        let write = || io.write_all_at(&file, b"x", 0).is_ok();
        faults.fail_nth(Op::Write, 2);
        assert_eq!([write(), write(), write()], [true, false, true]);
        faults.fail_every(Op::Write, 2);
        assert_eq!([write(), write(), write(), write()], [true, false, true, false]);
        faults.fail_every(Op::Read, 0);
        assert_eq!(io.read_at(&file, &mut [0; 8], 0).unwrap(), 8);
        assert_eq!(faults.count(Op::Write), 8);
        faults.heal();
        assert_eq!([write(), write()], [true, true]);
        assert_eq!(faults.count(Op::Write), 10);
    }

    #[test]
    fn a_torn_write_leaves_what_it_says() {
        // What a killed process leaves is half a batch, not none of it.
        let (faults, io, dir) = file();
        let path = dir.path().join("file");
        let file = io.open(&path, Access::Write).unwrap();
        faults.torn(1, 3);
        let error = io.write_all_at(&file, b"abcdefgh", 0).unwrap_err();
        assert_eq!(error.to_string(), format!("writing {}: torn on purpose", path.display()));
        assert_eq!(std::fs::read(&path).unwrap(), b"abc45678");
    }

    #[test]
    fn a_full_a_read_only_and_a_broken_disk_fail_what_theirs_would() {
        // A cache on a full disk must still answer and still be able to evict.
        let (faults, io, dir) = file();
        let path = dir.path().join("file");
        let file = io.open(&path, Access::Write).unwrap();
        let does = || {
            let kind = |result: io::Result<()>| result.map_err(|error| error.kind());
            [
                kind(io.write_all_at(&file, b"x", 0)),
                kind(io.create(&dir.path().join("new")).map(drop)),
                kind(io.read_at(&file, &mut [0; 8], 0).map(drop)),
                kind(io.remove(&dir.path().join("new"))),
            ]
        };
        let (full, fixed) = (Err(ErrorKind::StorageFull), Err(ErrorKind::ReadOnlyFilesystem));
        faults.full();
        assert_eq!(does(), [full, full, Ok(()), Ok(())]);
        faults.read_only();
        assert_eq!(does(), [fixed, fixed, Ok(()), fixed]);
        faults.broken();
        assert_eq!(does(), [Err(ErrorKind::Other); 4]);
        faults.clone().heal();
        assert_eq!(does(), [Ok(()); 4]);
    }

    #[test]
    fn a_slow_disk_does_all_it_should() {
        // A delay that loses the operation would test something else.
        let (faults, io, dir) = file();
        faults.slow(Duration::from_micros(10));
        let file = io.open(&dir.path().join("file"), Access::Write).unwrap();
        io.write_all_at(&file, b"abcdefgh", 0).unwrap();
        assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"abcdefgh");
    }
}
