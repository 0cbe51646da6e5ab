//! The disk tier: results that outlive the process and are shared between processes.
//!
//! 1. [`tier`] — what a pool sees: look, claim, put, forget; what it does about trouble.
//! 2. [`writer`] — the one thread that writes behind; [`outbox`] what waits for it; [`health`] when it is worth trying; [`unwritten`]
//!    what a flush tells, [`telling`] what the listener is told.
//! 3. [`put`] — a result on its way to the disk; [`given`] many at once; [`payload`] its bytes, there and back.
//! 4. [`store`] — one directory: reading without a lock; [`log`] writing it in two short sections of one; [`current`] which
//!    one a pool uses.
//! 5. [`evict`] — making room, a segment at a time; [`rebuild`] — the index anew from the segments.
//! 6. [`index`] — where a key's record may lie; [`map`] the memory map under it.
//! 7. [`claims`] — one run between processes; [`owners`] — who of them lives; [`joining`] — how a pool takes part.
//! 8. [`segment`] — files of records; [`record`] — what makes a reader believe one.
//! 9. [`functions`] — which versions of which functions have results here.
//! 10. [`copy`] — the records of one directory in another (feature `testing`).
//! 11. [`dir`] — the directory, and whether it can be trusted; [`io`] — the one door to the file system.
//!
//! `docs/format.md` has the bytes.

pub(crate) mod claims;
#[cfg(feature = "testing")]
pub(crate) mod copy;
mod current;
pub(crate) mod dir;
mod evict;
pub(crate) mod functions;
pub(crate) mod given;
mod health;
pub(crate) mod index;
pub(crate) mod io;
mod joining;
mod log;
mod map;
mod outbox;
pub(crate) mod owners;
pub(crate) mod payload;
pub(crate) mod put;
mod rebuild;
pub(crate) mod record;
pub(crate) mod segment;
pub(crate) mod store;
mod telling;
pub(crate) mod tier;
mod unwritten;
mod writer;
