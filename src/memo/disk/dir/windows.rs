//! What Windows has instead: a directory's access list comes from the one above it, which is the user's own affair.

use std::fs::Metadata;
use std::io;
use std::path::{Component, Path, Prefix};

use super::Trust;

pub(super) fn trusted(_path: &Path, _metadata: &Metadata, _trust: Trust) -> Result<(), (String, String)> {
    Ok(())
}

pub(super) struct GroupOf;

impl GroupOf {
    pub(super) fn directory(_metadata: &Metadata) -> GroupOf {
        GroupOf
    }

    pub(super) fn give(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// Known by its name. A share that has a drive letter is not recognised.
pub(super) fn network(path: &Path) -> io::Result<Option<String>> {
    let share = path.components().next().is_some_and(|first| {
        matches!(first, Component::Prefix(prefix)
            if matches!(prefix.kind(), Prefix::UNC(..) | Prefix::VerbatimUNC(..)))
    });
    Ok(share.then(|| "a network share".to_owned()))
}
