//! The disk tier.

pub(crate) mod claims;
pub(crate) mod dir;
pub(crate) mod evict;
pub(crate) mod index;
pub(crate) mod io;
pub(crate) mod map;
pub(crate) mod owners;
pub(crate) mod rebuild;
pub(crate) mod record;
pub(crate) mod segment;
pub(crate) mod store;
pub(crate) mod writer;
