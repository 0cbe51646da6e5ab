//! The files of `src/flight` as they are, over the swapped [`sync`](crate::sync) and a plain map.

#[expect(dead_code, reason = "the crate uses more of it than the scenarios do")]
#[path = "../../src/flight/cell.rs"]
pub(crate) mod cell;
#[expect(dead_code, reason = "the crate uses more of it than the scenarios do")]
#[path = "../../src/flight/claim.rs"]
pub(crate) mod claim;
pub(crate) mod slots;
