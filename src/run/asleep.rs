//! How a thread sleeps until something has happened; and what a thread of rayon's does meanwhile (feature `rayon`).
//!
//! # Why a rayon thread must not just sleep
//!
//! A body may leave work to a rayon pool in so many words (`install`, `spawn`), or have left its pieces there before the first
//! of rayon's threads asked for anything. If all threads of that pool sit in a wait for that very body, nobody is left to run
//! them, and all wait for ever. So a thread of rayon's that waits runs other jobs of rayon's (`rayon::yield_now`) until its
//! result is there. It sleeps first, for [`TURN`], and again after each look that found nothing to do: a wait that ends by
//! itself soon is not made longer by a job that is not, and a thread that has nothing to do costs a wake-up per `TURN`.
//!
//! # What it may find there
//!
//! Rayon does not say what a job is; it comes on top of the wait's stack, which goes on only after the job has returned.
//!
//! - *A piece of a body.* It computes and returns: what this is for.
//! - *Another caller*, which waits, too, perhaps for the same body. It finds itself in here, one level up, and runs jobs in
//!   turn. All of them end when their bodies do. Each level takes some kilobytes of stack, so a thread that has used
//!   [`FOREIGN_STACK`](super::context::FOREIGN_STACK) since its lowest wait takes no more, and only sleeps.
//! - *A job of a pool on rayon's threads* ([`executor::Rayon`](crate::executor::Rayon)): a body. It has its own frame.
//! - *Anything on top of a body*, where such a body waits, or where rayon itself put it while the body waits for its pieces:
//!   what it waits for is a wait of that body, since that can't go on before. The wait graph knows it as such, and refuses what
//!   would close a cycle. That is all that can be done: it can't be moved to another stack.
//!
//! That a caller comes on top of a piece of its own body is prevented before: bodies that such callers ask for run where no
//! callers are ([`crews`](super::crews)). A thread whose stack is full of waits runs no pieces; those are not its to run, then.

use std::time::Instant;

#[cfg(feature = "rayon")]
use {super::context, crate::sync::now, std::time::Duration};

/// How long a thread of rayon's sleeps between two looks for something to do.
#[cfg(feature = "rayon")]
const TURN: Duration = Duration::from_millis(1);

/// Sleeps until `sleep` gives something, or until the `deadline`. `sleep` is given a time, and returns `None` at that time at the
/// latest.
pub(crate) fn asleep<T>(
    deadline: Option<Instant>,
    mut sleep: impl FnMut(Option<Instant>) -> Option<T>,
) -> Option<T> {
    #[cfg(feature = "rayon")]
    if rayon_core::current_thread_index().is_some() {
        return take_turns(deadline, sleep);
    }
    sleep(deadline)
}

/// Sleeps and runs rayon's jobs by turns.
#[cfg(feature = "rayon")]
fn take_turns<T>(
    deadline: Option<Instant>,
    mut sleep: impl FnMut(Option<Instant>) -> Option<T>,
) -> Option<T> {
    let _measured = context::measure_stack();
    let mut turn = TURN;
    loop {
        let until = now() + turn;
        let woken = sleep(Some(deadline.map_or(until, |deadline| deadline.min(until))));
        if woken.is_some() || deadline.is_some_and(|deadline| deadline <= now()) {
            return woken;
        }
        let ran = context::has_room() && rayon_core::yield_now() == Some(rayon_core::Yield::Executed);
        // Where there was something to do there may be more.
        turn = if ran { Duration::ZERO } else { TURN };
    }
}
