//! Results that a pool is given, many at a time: written as they come, while whoever gives them makes the next.
//!
//! A batch goes to the writer's thread as a whole and comes back written: that takes one hand-over for a thousand results, and
//! makes two threads of one. What lies in it is dropped where it was made: an allocator has the two threads wait for each other
//! where one frees what the other allocates.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::put::Put;
use super::tier::Shared;
use super::writer::too_long;
use crate::error::Error;

/// How long the giver waits for the writer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A batch, and what became of it.
type Answer = (Result<(), Error>, Vec<Put>);

/// A batch on its way.
pub(super) struct Given {
    puts: Vec<Put>,
    reply: Sender<Answer>,
}

/// Where its giver waits for it.
pub(crate) struct Giving(Receiver<Answer>);

/// A batch, and where to wait for it.
pub(super) fn given(puts: Vec<Put>) -> (Given, Giving) {
    let (reply, receive) = bounded(1);
    (Given { puts, reply }, Giving(receive))
}

impl Given {
    pub(super) fn write(self, shared: &Shared) {
        let written = shared.give(&self.puts);
        // Whoever gave it may have panicked since.
        let _ = self.reply.send((written, self.puts));
    }
}

impl Giving {
    /// Waits until the batch is written, or says why it is not.
    pub(crate) fn wait(self) -> Answer {
        self.0.recv_timeout(PATIENCE).unwrap_or_else(|_| (Err(Error::store(too_long())), Vec::new()))
    }
}
