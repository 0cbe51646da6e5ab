//! How a thread sleeps until something has happened; and what a thread of rayon's does meanwhile (feature `rayon`).
//!
//! # Why a rayon thread must not just sleep
//!
//! A body that is parallel (`par_iter`) leaves its pieces to rayon's threads. If all of those sit in a wait for that very
//! body, nobody is left to run them, and all wait for ever: the hang of `OnceLock`, moka and quick_cache under rayon
//! (rayon-rs/rayon#592). So a thread of rayon's that waits runs other jobs of rayon's (`rayon::yield_now`) until its result
//! is there. It sleeps first, for [`TURN`], and again after each look that found nothing to do: a wait that ends by itself
//! soon is not made longer by a job that is not, and a thread that has nothing to do costs a wake-up per `TURN`.
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
//! # What remains
//!
//! Rayon does not say which job is a piece of which body, so the graph can't know it. A piece that waits, for its own pieces
//! (inside of rayon) or for a task, may have a caller *of its own body* put on top of it: that waits for the body, the body for
//! its piece, and the piece for what is on top, and none of the three can be told. It takes callers that are still queued in
//! rayon while the body's pieces run. (Those that wait already are safe.) Where such may come, let them be other threads than
//! those which run the pieces: a rayon pool of its own for the bodies' (`install`) is enough. The same holds for a thread whose
//! stack is full of waits: it can't run the pieces that would end them.

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
