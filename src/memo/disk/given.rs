//! Results that a pool is given, many at a time: written as they come, while whoever gives them makes the next.
//!
//! A batch goes to the writer's thread as a whole and comes back written: that takes one hand-over for a thousand results, and
//! makes two threads of one. What lies in it is dropped where it was made: an allocator has the two threads wait for each other
//! where one frees what the other allocates.
//!
//! | a batch | becomes | by |
//! |---|---|---|
//! | waits | being written | the writer, which takes it out of what the two share |
//! | waits | taken back: it will not be written | its giver, who has waited for too long, or knows that the one before failed |
//! | being written | answered | the writer |

use std::io;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::index::{Place, Position};
use super::log::{FULL, LOCK_PATIENCE};
use super::payload::Packed;
use super::put::{Permit, Put, count_spilled};
use super::store::Store;
use super::tier::{Shared, Tier};
use super::writer::{FLUSH_PATIENCE, too_long};
use crate::error::Error;
use crate::sync::{Arc, Mutex};

/// For so many results the index is made at once: more is said easily, and may never come.
const MOST_EXPECTED: u64 = 1 << 20;

/// A batch, as long as it waits.
type Waiting = Arc<Mutex<Option<Vec<Put>>>>;

/// What became of it, and its parts.
type Answer = (Result<(), Error>, Vec<Put>);

/// A batch on its way.
pub(super) struct Given {
    waiting: Waiting,
    reply: Sender<Answer>,
}

/// Where its giver waits for it.
pub(crate) struct Giving {
    waiting: Waiting,
    answer: Receiver<Answer>,
}

/// A batch that was written, or was not.
pub(crate) struct Outcome {
    pub(crate) written: Result<(), Error>,
    /// It may be written all the same, later.
    pub(crate) doubtful: bool,
    /// To be used again.
    pub(crate) puts: Vec<Put>,
}

/// A batch that was written, for its giver.
pub(super) struct Written {
    answer: Answer,
    reply: Sender<Answer>,
}

/// A batch, and where to wait for it.
fn given(puts: Vec<Put>) -> (Given, Giving) {
    let (reply, answer) = bounded(1);
    let waiting = Arc::new(Mutex::new(Some(puts)));
    (Given { waiting: Arc::clone(&waiting), reply }, Giving { waiting, answer })
}

impl Tier {
    /// So many results are about to be [given](Self::give), at least.
    pub(crate) fn expect(&self, results: u64) {
        // If there is no room for that, it is made on the way, or that fails.
        let _ = self.shared.store().expect(results.min(MOST_EXPECTED));
    }

    /// A batch of more bytes could evict itself.
    pub(crate) fn largest_batch(&self) -> u64 {
        self.shared.outbox.load_bytes()
    }

    /// Has results written that are newer than whatever is there.
    pub(crate) fn give(&self, puts: Vec<Put>) -> Giving {
        let (given, giving) = given(puts);
        self.writer.give(given);
        giving
    }

    /// For a value that is newer than whatever is there.
    pub(crate) fn permit_given(&self, key: [u8; 32]) -> Permit {
        Permit::new(key, Position::LAST)
    }
}

impl Shared {
    /// Writes results that were given.
    pub(super) fn give(&self, puts: &[Put]) -> Result<(), Error> {
        match self.revived().and_then(|store| store.append_given(puts)) {
            Ok(()) => {
                count_spilled(puts.iter());
                self.write_works(puts.first().map(|put| &put.permit.key));
                Ok(())
            }
            Err(error) => {
                self.write_fails(&error);
                Err(Error::store(error.to_string()))
            }
        }
    }
}

impl Store {
    /// Writes results that are newer than whatever is there. What somebody else has written since their places were taken was
    /// begun before them, or while they were given: they are written once more then, behind it, in the section that publishes them.
    pub(crate) fn append_given(&self, puts: &[Put]) -> io::Result<()> {
        if let [put] = puts
            && let Packed::Large(large) = &put.packed
        {
            return self.append_large(put, large).map(drop);
        }
        let places = self.writing(LOCK_PATIENCE, |writing| writing.places(puts))?;
        let written = self.write_runs(puts, &places)?;
        self.writing(LOCK_PATIENCE, |writing| {
            let mut stored = writing.publish_all(puts, &written)?.into_iter().peekable();
            for (at, place) in &written {
                if stored.next_if_eq(at).is_none() {
                    let place = Place { position: writing.reserve(place.len)?, ..*place };
                    self.write_run(puts, &[(*at, place)])?;
                    writing.publish(&puts[*at], place)?;
                }
            }
            Ok(())
        })
    }

    /// Has the index made large enough for so many results more, where it would grow several times on the way.
    pub(crate) fn expect(&self, results: u64) -> io::Result<()> {
        if self.index().load_with(results) <= FULL {
            return Ok(());
        }
        self.writing(LOCK_PATIENCE, |writing| match writing.index.load_with(results) > FULL {
            true => writing.grow(results),
            // Somebody else expected them, too.
            false => Ok(()),
        })
    }
}

impl Given {
    /// Writes it, unless it was taken back.
    pub(super) fn write(self, shared: &Shared) -> Option<Written> {
        let puts = self.waiting.lock().take()?;
        let written = shared.give(&puts);
        Some(Written { answer: (written, puts), reply: self.reply })
    }

    /// The pool has ended before.
    pub(super) fn refuse(self) {
        let puts = self.waiting.lock().take();
        let answer = (Err(Error::shutdown()), puts.unwrap_or_default());
        Written { answer, reply: self.reply }.tell();
    }
}

impl Written {
    /// For its giver.
    pub(super) fn tell(self) {
        // Whoever gave it may have panicked since.
        let _ = self.reply.send(self.answer);
    }
}

impl Giving {
    /// Waits until the batch is written, or says why it is not.
    pub(crate) fn wait(self) -> Outcome {
        match self.answer.recv_timeout(FLUSH_PATIENCE) {
            Ok((written, puts)) => Outcome { written, doubtful: false, puts },
            Err(reason) => {
                let puts = self.waiting.lock().take();
                let text = match reason {
                    RecvTimeoutError::Timeout => too_long(),
                    RecvTimeoutError::Disconnected => "the writer has ended".into(),
                };
                let written = Err(Error::store(text));
                Outcome { written, doubtful: puts.is_none(), puts: puts.unwrap_or_default() }
            }
        }
    }

    /// One before failed: this one is not to be written, if that can still be helped.
    pub(crate) fn recall(self) -> Option<Outcome> {
        let puts = self.waiting.lock().take();
        if puts.is_some() { None } else { Some(self.wait()) }
    }
}
