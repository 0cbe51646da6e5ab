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

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::put::Put;
use super::tier::Shared;
use super::writer::too_long;
use crate::error::Error;
use crate::sync::{Arc, Mutex};

/// How long the giver waits for a batch.
const PATIENCE: Duration = Duration::from_secs(60);

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
pub(super) fn given(puts: Vec<Put>) -> (Given, Giving) {
    let (reply, answer) = bounded(1);
    let waiting = Arc::new(Mutex::new(Some(puts)));
    (Given { waiting: Arc::clone(&waiting), reply }, Giving { waiting, answer })
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
        match self.answer.recv_timeout(PATIENCE) {
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
