//! [`Explain`]: what submitting a call would find, and why.

use std::fmt;

use crate::error::Error;
use crate::memo::disk::record::Needs;
use crate::memo::history::Fate;

/// What submitting a call would find, and why. From [`Pool::explain`](crate::Pool::explain).
///
/// What became of a key is remembered for the last few thousand keys; older ones read as never seen.
///
/// # Examples
///
/// ```
/// use memopool::{Explain, Func, Pool};
///
/// let square = Func::new("square", |n: u64| n * n);
/// let pool = Pool::new();
/// assert!(matches!(pool.explain(&square.call(2)), Explain::NeverSeen));
/// pool.run(square.call(2))?;
/// assert_eq!(pool.explain(&square.call(2)).to_string(), "hit: kept in memory");
/// pool.forget(&square.call(2))?;
/// assert_eq!(pool.explain(&square.call(2)).to_string(), "miss: it was forgotten");
/// # Ok::<(), memopool::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Explain {
    /// A hit: the result is kept in memory.
    InMemory,
    /// A hit: the result is kept on disk.
    OnDisk,
    /// A join: a run is in flight.
    InFlight,
    /// A miss: no result of this call was ever computed here, or given.
    NeverSeen,
    /// A miss: the result was older than its function's `ttl`.
    Expired,
    /// A miss: the result had to make room.
    Evicted,
    /// A miss: the result was forgotten, cleared, or overtaken by `refresh` or `insert` while it was computed.
    Forgotten,
    /// A miss: the last run ended in an error, and errors are not kept.
    ErrorNotStored,
    /// A miss: the last run ended in a panic.
    Panicked,
    /// A miss: the last run was over its function's `timeout`.
    TimedOut,
    /// A miss: nobody was left who wanted the last run's result.
    Cancelled,
    /// A miss: the last run took no longer than its function's `cost_above`.
    TooCheap,
    /// A miss: the last result was heavier than the whole memory.
    TooLarge,
    /// A miss: the last result could not be encoded or weighed.
    NotEncodable,
    /// A miss: what is on disk was computed by another version of the function's code.
    OtherVersion {
        /// The version that is there.
        stored: String,
        /// The version that was asked for.
        asked: String,
    },
    /// A miss: what is on disk is damaged.
    Corrupt,
    /// A miss: what is on disk is sound, but was stored by a build with another feature, or by a later version of this
    /// crate, and this build can't read it. What is computed instead can be read by both.
    OtherBuild {
        /// What this build lacks.
        needs: &'static str,
    },
    /// A miss: what is on disk was stored by a build in which the result's type had other fields, variants or names.
    TypeChanged,
    /// Submitting would fail.
    Invalid(Error),
}

impl Explain {
    /// A miss, by what last happened to the key.
    pub(super) fn of(fate: Option<Fate>) -> Explain {
        match fate {
            None => Explain::NeverSeen,
            Some(Fate::Evicted) => Explain::Evicted,
            Some(Fate::Expired) => Explain::Expired,
            Some(Fate::Forgotten | Fate::Refreshed) => Explain::Forgotten,
            Some(Fate::Failed) => Explain::ErrorNotStored,
            Some(Fate::Panicked) => Explain::Panicked,
            Some(Fate::TimedOut) => Explain::TimedOut,
            Some(Fate::GivenUp) => Explain::Cancelled,
            Some(Fate::Cheap) => Explain::TooCheap,
            Some(Fate::TooLarge) => Explain::TooLarge,
            Some(Fate::NotWeighed) => Explain::NotEncodable,
            Some(Fate::Corrupt) => Explain::Corrupt,
            Some(Fate::TypeChanged) => Explain::TypeChanged,
            Some(Fate::NeedsLz4) => Explain::OtherBuild { needs: Needs::Lz4.text() },
            Some(Fate::NeedsZstd) => Explain::OtherBuild { needs: Needs::Zstd.text() },
            Some(Fate::NeedsLaterVersion) => Explain::OtherBuild { needs: Needs::LaterVersion.text() },
        }
    }

    /// Whether no run would be started.
    pub fn is_hit(&self) -> bool {
        matches!(self, Explain::InMemory | Explain::OnDisk | Explain::InFlight)
    }
}

impl fmt::Display for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Explain::InMemory => "hit: kept in memory",
            Explain::OnDisk => "hit: kept on disk",
            Explain::InFlight => "join: a run is in flight",
            Explain::NeverSeen => "miss: never computed here, or too long ago to tell",
            Explain::Expired => "miss: the kept result was older than its `ttl`",
            Explain::Evicted => "miss: the result had to make room for others (more `memory` keeps more)",
            Explain::Forgotten => "miss: it was forgotten",
            Explain::ErrorNotStored => {
                "miss: the last run failed, and errors are not kept (`cache_errors` keeps them)"
            }
            Explain::Panicked => "miss: the last run panicked",
            Explain::TimedOut => "miss: the last run was over its `timeout`",
            Explain::Cancelled => "miss: the last run was given up by everyone who wanted it",
            Explain::TooCheap => "miss: the last run was not worth keeping (`cost_above`)",
            Explain::TooLarge => "miss: the last result was heavier than the whole `memory`",
            Explain::NotEncodable => {
                "miss: the last result could not be encoded or weighed (`in_memory` needs no encoding)"
            }
            Explain::OtherVersion { stored, asked } => {
                return write!(f, "miss: what is on disk was computed by another version of the function: {stored}, not {asked}");
            }
            Explain::Corrupt => "miss: what is on disk is damaged",
            Explain::OtherBuild { needs } => {
                return write!(f, "miss: what is on disk was stored by another build; to read it takes {needs}");
            }
            Explain::TypeChanged => "miss: what is on disk was stored when the result's type was another",
            Explain::Invalid(error) => return write!(f, "invalid: {error}"),
        })
    }
}
