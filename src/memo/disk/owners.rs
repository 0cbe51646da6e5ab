//! Who is alive: the processes (more exactly, the pools) that share a directory.
//!
//! A pool takes a number by locking the file `owners/<number>` and keeps the lock as long as it lives; the kernel lets go
//! of it however the process ends. In the owner table (part of the `claims` file, shared memory) the number has two words:
//!
//! | word | content |
//! |---|---|
//! | nonce | random, new each time the number is taken; 0 = its last owner has left, 1 = was found dead |
//! | nested waits | how many claims of others the owner waits for from inside a task, while it may hold claims itself |
//!
//! | nonce | from | to | who |
//! |---|---|---|---|
//! | | anything | random | who has just locked the file, after it has emptied what an owner that did not leave left behind |
//! | | its own | 0 | the owner, leaving: it holds no claim any more |
//! | | that of a dead owner | 1 | who found the file unlocked; by compare-exchange, so a new owner is never hit |
//!
//! Whoever holds a nonce that is not there any more knows that its owner is gone. One that is still there says nothing:
//! whether the owner lives is asked of the lock ([`Owners::life`]), by a shared lock on a handle of its own, so that
//! two who ask do not see each other. While somebody asks, a newcomer may find the file locked; it takes the next number.
//!
//! Two pools of one process are two owners: such a lock belongs to the open file, not to the process.
//!
//! # Fork
//!
//! A child that was forked without exec shares its parent's open files, and so its locks: the parent seems to live as long
//! as the child does, and values dropped in the child would release claims of the parent. A pool can't be used after a
//! fork anyway (its threads are not there). Children that call exec close the files.

use std::fs::{File, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
#[cfg(test)]
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{fmt, io, process};

use super::map::Map;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, now};

/// How many pools can share a directory and claim. Others work without claims.
pub(crate) const OWNERS: usize = 1024;
/// Words of the owner table.
pub(super) const WORDS: usize = 2 * OWNERS;
/// Its first word in the file.
const TABLE: usize = super::claims::HEADER;

const LEFT: u64 = 0;
const DIED: u64 = 1;

/// An owner that was just seen alive is not asked again for so long.
const CREDIT: Duration = Duration::from_millis(10);

/// Opens or creates the file of an owner, to be locked.
pub(crate) type Opener = Box<dyn Fn(u16) -> io::Result<File> + Send + Sync>;

/// The opener for a directory of owners' files.
#[cfg(test)]
pub(crate) fn in_dir(dir: PathBuf) -> Opener {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // A link or a fifo that someone has put there is an error, not somewhere else and not a wait.
        options.mode(0o600).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    }
    Box::new(move |owner| options.open(dir.join(owner.to_string())))
}

/// Whether an owner lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Dead,
    /// The system does not let us ask. Nobody should wait for such an owner, nor take its claims away.
    Unknown,
}

/// The owner table, and our place in it.
pub(crate) struct Owners {
    map: Map,
    own: u16,
    nonce: u64,
    open: Opener,
    /// When each owner was last seen alive: nanoseconds since `born`, 0 = never.
    seen: Box<[AtomicU64]>,
    born: Instant,
    /// Our lock: last, so that it is the last to go.
    #[cfg_attr(not(test), expect(dead_code, reason = "held, not used"))]
    life: File,
}

impl Owners {
    /// Takes a number. `inherit` is called first with a number whose last owner did not leave, to clear its claims away.
    pub(super) fn join(map: Map, open: Opener, inherit: impl FnOnce(&Map, u16)) -> io::Result<Owners> {
        let mut trouble = None;
        for number in (0..OWNERS).map(|step| ((process::id() as usize).wrapping_add(step) % OWNERS) as u16) {
            match open(number).and_then(|file| file.try_lock().map(|()| file).map_err(io::Error::from)) {
                Ok(life) => return Ok(Owners::take(map, number, life, open, inherit)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => trouble = Some(error),
            }
        }
        Err(trouble
            .unwrap_or_else(|| io::Error::other("as many pools as can share a directory use this one")))
    }

    fn take(map: Map, own: u16, life: File, open: Opener, inherit: impl FnOnce(&Map, u16)) -> Owners {
        let nonce = random_word().max(DIED + 1);
        if map.word(nonce_at(own)).load(Ordering::Acquire) != LEFT {
            inherit(&map, own);
        }
        map.word(nonce_at(own) + 1).store(0, Ordering::Relaxed);
        map.word(nonce_at(own)).store(nonce, Ordering::Release);
        let seen = (0..OWNERS).map(|_| AtomicU64::new(0)).collect();
        Owners { map, own, nonce, open, seen, born: now(), life }
    }

    pub(super) fn map(&self) -> &Map {
        &self.map
    }

    /// Our number.
    pub(super) fn own(&self) -> u16 {
        self.own
    }

    /// The file whose lock says that we live.
    #[cfg(test)]
    pub(super) fn life_file(&self) -> &File {
        &self.life
    }

    /// Our nonce. The number is ours as long as we hold the lock, so a nonce that somebody has damaged is put right.
    #[inline]
    pub(super) fn own_nonce(&self) -> u64 {
        let word = self.map.word(nonce_at(self.own));
        if word.load(Ordering::Relaxed) != self.nonce {
            word.store(self.nonce, Ordering::Release);
        }
        self.nonce
    }

    /// The nonce of the owner who has that number, if one has.
    #[inline]
    pub(super) fn nonce(&self, owner: u16) -> Option<u64> {
        let nonce = self.map.word(nonce_at(owner)).load(Ordering::Acquire);
        (nonce > DIED).then_some(nonce)
    }

    /// Whether the owner who has that number lives. Costs three system calls, but not more often than every 10 ms.
    pub(crate) fn life(&self, owner: u16) -> Life {
        let seen = &self.seen[usize::from(owner) % OWNERS];
        let age = (self.born.elapsed().as_nanos() as u64).max(1);
        let last = seen.load(Ordering::Relaxed);
        if owner == self.own || last > 0 && age.saturating_sub(last) < CREDIT.as_nanos() as u64 {
            return Life::Alive;
        }
        let life = self.ask(owner);
        if life == Life::Alive {
            seen.store(age, Ordering::Relaxed);
        }
        life
    }

    pub(super) fn ask(&self, owner: u16) -> Life {
        match (self.open)(owner % OWNERS as u16).map(|file| file.try_lock_shared()) {
            Ok(Ok(())) => Life::Dead,
            Ok(Err(TryLockError::WouldBlock)) => Life::Alive,
            Ok(Err(TryLockError::Error(_))) | Err(_) => Life::Unknown,
        }
    }

    /// Notes that the owner with this nonce was found dead: all its claims are free at once.
    pub(super) fn bury(&self, owner: u16, nonce: u64) {
        let word = self.map.word(nonce_at(owner));
        let _ = word.compare_exchange(nonce, DIED, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Counts a wait for another's claim from inside a task, as long as the guard lives.
    pub(crate) fn wait_inside(self: &Arc<Self>) -> NestedWait {
        let wait = NestedWait { owners: Arc::clone(self) };
        wait.count().fetch_add(1, Ordering::SeqCst);
        wait
    }

    /// Whether that owner waits for others from inside a task.
    pub(super) fn waits_inside(&self, owner: u16) -> bool {
        self.map.word(nonce_at(owner) + 1).load(Ordering::SeqCst) > 0
    }
}

impl Drop for Owners {
    fn drop(&mut self) {
        self.map.word(nonce_at(self.own) + 1).store(0, Ordering::Relaxed);
        let word = self.map.word(nonce_at(self.own));
        let _ = word.compare_exchange(self.nonce, LEFT, Ordering::Release, Ordering::Relaxed);
    }
}

impl fmt::Debug for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owners").field("own", &self.own).finish_non_exhaustive()
    }
}

/// See [`Owners::wait_inside`].
#[derive(Debug)]
pub(crate) struct NestedWait {
    owners: Arc<Owners>,
}

impl NestedWait {
    fn count(&self) -> &AtomicU64 {
        self.owners.map.word(nonce_at(self.owners.own) + 1)
    }
}

impl Drop for NestedWait {
    fn drop(&mut self) {
        self.count().fetch_sub(1, Ordering::SeqCst);
    }
}

/// The number may come from the file: it is masked.
fn nonce_at(owner: u16) -> usize {
    TABLE + 2 * (usize::from(owner) % OWNERS)
}

/// A random word, not 0: not secret, but different each time and in each process.
pub(crate) fn random_word() -> u64 {
    // The standard library's keys are random per thread, and counted up; a forked child would repeat its parent's.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(process::id());
    let time = crate::sync::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    hasher.write_u128(time.as_nanos());
    hasher.finish().max(1)
}
