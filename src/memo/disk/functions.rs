//! Which functions have results here, under which versions of their code, and when each was last used.
//!
//! One small file, `functions`, of records that check themselves: appended under the lock when a process uses a function
//! for the first time, unless it was noted within the last hour. It tells [`Explain`](crate::Explain) that there is a
//! result of another version, and the eviction which versions nobody uses any more. A file that is lost or damaged costs
//! those two things. When it has grown too large it is written anew, the latest note of each version alone.
//!
//! A record: length of the label (8 bytes), when (8, nanoseconds since the epoch), family (8), digest (32),
//! label, zeros to a multiple of 8, BLAKE3 of all that (8).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::dir::Dir;
use super::io::Access;

/// A version of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// The function's digest: name, types, code.
    pub(crate) digest: [u8; 32],
    /// The same of all versions: name and types.
    pub(crate) family: u64,
    /// What its author or its code says.
    pub(crate) label: String,
    /// When it was last used, in nanoseconds since the Unix epoch.
    pub(crate) used: u64,
}

/// What is older is noted again.
const NOTED_EVERY: u64 = 3_600_000_000_000;

/// The file is written anew when it is larger than this.
const LARGEST: u64 = 256 << 10;

const FIXED: usize = 56;
const CHECK: usize = 8;
const LONGEST_LABEL: usize = 256;

/// All versions that are noted, by their digests.
pub(super) fn read(dir: &Dir) -> io::Result<BTreeMap<[u8; 32], Version>> {
    let bytes = match dir.io().open(&dir.functions(), Access::Read) {
        Ok(handle) => {
            let len = dir.io().len(&handle)?.min(2 * LARGEST);
            let mut bytes = vec![0; len as usize];
            let read = dir.io().read_at(&handle, &mut bytes, 0)?;
            bytes.truncate(read);
            bytes
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let (mut versions, mut rest) = (BTreeMap::new(), &bytes[..]);
    while rest.len() >= FIXED + CHECK {
        let Some((version, len)) = decode(rest) else {
            rest = &rest[8..];
            continue;
        };
        rest = &rest[len..];
        let newer = |known: &Version| known.used >= version.used;
        if !versions.get(&version.digest).is_some_and(newer) {
            versions.insert(version.digest, version);
        }
    }
    Ok(versions)
}

/// Notes that a version is used, unless that was done lately. Under the lock.
pub(super) fn note(dir: &Dir, version: &Version) -> io::Result<()> {
    let mut versions = read(dir)?;
    let lately = version.used.saturating_sub(NOTED_EVERY);
    if versions.get(&version.digest).is_some_and(|known| known.used > lately && known.used <= version.used) {
        return Ok(());
    }
    let handle = dir.io().open_or_create(&dir.functions())?;
    let len = dir.io().len(&handle)?;
    if len <= LARGEST {
        return dir.io().write_all_at(&handle, &encode(version), len.next_multiple_of(8));
    }
    versions.insert(version.digest, version.clone());
    let mut latest: Vec<&Version> = versions.values().collect();
    latest.sort_by_key(|version| std::cmp::Reverse(version.used));
    let mut bytes: Vec<u8> = latest.into_iter().flat_map(encode).collect();
    bytes.truncate(LARGEST as usize / 2);
    let (new, unnamed) = dir.begin()?;
    dir.io().write_all_at(&new, &bytes, 0)?;
    unnamed.rename(&dir.functions())
}

/// The versions after which another one of the same function was used: how their digests begin.
pub(super) fn outdated(versions: &BTreeMap<[u8; 32], Version>) -> BTreeSet<[u8; 8]> {
    let mut latest = BTreeMap::new();
    for version in versions.values() {
        let used: &mut u64 = latest.entry(version.family).or_default();
        *used = version.used.max(*used);
    }
    let outdated = versions.values().filter(|version| version.used < latest[&version.family]);
    outdated.filter_map(|version| version.digest.first_chunk().copied()).collect()
}

fn encode(version: &Version) -> Vec<u8> {
    let mut end = version.label.len().min(LONGEST_LABEL);
    while !version.label.is_char_boundary(end) {
        end -= 1;
    }
    let label = &version.label.as_bytes()[..end];
    let mut bytes = Vec::with_capacity(FIXED + label.len() + 8 + CHECK);
    bytes.extend_from_slice(&(label.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&version.used.to_le_bytes());
    bytes.extend_from_slice(&version.family.to_le_bytes());
    bytes.extend_from_slice(&version.digest);
    bytes.extend_from_slice(label);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let check = check(&bytes);
    bytes.extend_from_slice(&check);
    bytes
}

/// The version that `bytes` begin with, and its length.
fn decode(bytes: &[u8]) -> Option<(Version, usize)> {
    let word =
        |at: usize| bytes.get(at..at + 8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
    let label = usize::try_from(word(0)?).ok().filter(|len| *len <= LONGEST_LABEL)?;
    let end = (FIXED + label).next_multiple_of(8);
    if bytes.get(end..end + CHECK)? != check(bytes.get(..end)?) {
        return None;
    }
    let label = String::from_utf8_lossy(&bytes[FIXED..FIXED + label]).into_owned();
    let digest = *bytes[24..].first_chunk()?;
    Some((Version { digest, family: word(16)?, label, used: word(8)? }, end + CHECK))
}

fn check(bytes: &[u8]) -> [u8; CHECK] {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(bytes).as_bytes();
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(n: u8, family: u64, used: u64) -> Version {
        Version { digest: [n; 32], family, label: format!("version {n}"), used }
    }

    #[test]
    fn damage_costs_only_what_is_damaged() {
        // When this fails, a damaged file tells lies about versions, or hides those behind the damage.
        let all: Vec<Version> = (1..=3).map(|n| version(n, 7, n.into())).collect();
        let bytes: Vec<u8> = all.iter().flat_map(encode).collect();
        let first = encode(&all[0]).len();
        for at in 0..first * 8 {
            let mut bytes = bytes.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            assert!(decode(&bytes).is_none(), "bit {at}");
            assert_eq!(decode(&bytes[first..]).map(|(version, _)| version), Some(all[1].clone()));
        }
        for len in 0..first {
            assert!(decode(&bytes[..len]).is_none());
        }
    }

    #[test]
    fn outdated_is_what_another_version_followed() {
        // When this fails, results that nobody can reach any more push out those that are used.
        let versions: BTreeMap<_, _> =
            [version(1, 7, 10), version(2, 7, 20), version(3, 8, 5)].map(|v| (v.digest, v)).into();
        assert_eq!(outdated(&versions), [[1; 8]].into());
    }
}
