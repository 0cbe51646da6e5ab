//! Smaller bytes, when it pays.
//!
//! What is stored is compressed only if that saves an eighth; a value of a few hundred bytes never does. How a record was
//! compressed is said by a flag in its header, so records of all kinds live side by side. One whose feature is not built
//! in is a miss, as if it were not there.

#![cfg_attr(not(test), expect(dead_code, reason = "used by the disk tier"))]

/// How to compress what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Compress {
    /// Not at all.
    #[default]
    None,
    /// Fast, pure Rust. Needs the feature `lz4`.
    Lz4,
    /// Smaller, at this level (1 to 22; 3 is usual). Needs the feature `zstd`.
    Zstd(i32),
}

impl Compress {
    /// The flag of records that were compressed like this.
    pub(crate) fn flag(self) -> u16 {
        match self {
            Compress::None => 0,
            Compress::Lz4 => LZ4,
            Compress::Zstd(_) => ZSTD,
        }
    }

    /// The feature that would have to be built in for this.
    pub(crate) fn missing_feature(self) -> Option<&'static str> {
        match self {
            Compress::Lz4 if !cfg!(feature = "lz4") => Some("lz4"),
            Compress::Zstd(_) if !cfg!(feature = "zstd") => Some("zstd"),
            _ => None,
        }
    }
}

/// The bytes compressed, if they are at least `threshold` and it pays.
pub(crate) fn pack(bytes: &[u8], how: Compress, threshold: usize) -> Option<Vec<u8>> {
    if bytes.len() < threshold.max(SMALLEST) || bytes.len() > LARGEST {
        return None;
    }
    let most = bytes.len() - bytes.len() / 8;
    let packed = match how {
        Compress::None => return None,
        Compress::Lz4 => pack_lz4(bytes)?,
        Compress::Zstd(level) => pack_zstd(bytes, level, most)?,
    };
    let pays = packed.len() <= most && fits(packed.len(), bytes.len(), how.flag()).is_ok();
    pays.then_some(packed)
}

/// The `raw_len` bytes that were compressed to `bytes`, which is said by `flags`. Gives exactly so many or an error; makes
/// no buffer larger than the bytes could fill.
pub(crate) fn unpack(bytes: &[u8], raw_len: u64, flags: u16) -> Result<Vec<u8>, String> {
    let flag = flags & (LZ4 | ZSTD);
    let raw_len = usize::try_from(raw_len).map_err(|error| error.to_string())?;
    fits(bytes.len(), raw_len, flag)?;
    let mut raw = Vec::new();
    raw.try_reserve_exact(raw_len).map_err(|error| error.to_string())?;
    match flag {
        LZ4 => unpack_lz4(bytes, raw_len, &mut raw)?,
        ZSTD => unpack_zstd(bytes, &mut raw)?,
        other => return Err(format!("compressed in an unknown way ({other})")),
    }
    if raw.len() == raw_len { Ok(raw) } else { Err(format!("{} bytes instead of {raw_len}", raw.len())) }
}

/// Whether so many bytes could have been compressed to so few.
fn fits(packed_len: usize, raw_len: usize, flag: u16) -> Result<(), String> {
    let ratio = if flag == LZ4 { LZ4_RATIO } else { ZSTD_RATIO };
    if raw_len > LARGEST || raw_len / ratio > packed_len {
        return Err(format!("{packed_len} bytes can't be {raw_len} compressed ones"));
    }
    Ok(())
}

#[cfg(feature = "lz4")]
fn pack_lz4(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(lz4_flex::block::compress(bytes))
}

#[cfg(not(feature = "lz4"))]
fn pack_lz4(_: &[u8]) -> Option<Vec<u8>> {
    None
}

#[cfg(feature = "lz4")]
fn unpack_lz4(bytes: &[u8], raw_len: usize, raw: &mut Vec<u8>) -> Result<(), String> {
    raw.resize(raw_len, 0);
    let len = lz4_flex::block::decompress_into(bytes, raw).map_err(|error| error.to_string())?;
    raw.truncate(len);
    Ok(())
}

#[cfg(not(feature = "lz4"))]
fn unpack_lz4(_: &[u8], _: usize, _: &mut Vec<u8>) -> Result<(), String> {
    Err("compressed with lz4: the feature `lz4` is not built in".to_owned())
}

/// Stops when there are more than `most` bytes.
#[cfg(feature = "zstd")]
fn pack_zstd(bytes: &[u8], level: i32, most: usize) -> Option<Vec<u8>> {
    let mut packed = Vec::with_capacity(most);
    let mut compressor = zstd::bulk::Compressor::new(level).ok()?;
    compressor.compress_to_buffer(bytes, &mut packed).ok()?;
    Some(packed)
}

#[cfg(not(feature = "zstd"))]
fn pack_zstd(_: &[u8], _: i32, _: usize) -> Option<Vec<u8>> {
    None
}

/// Fills the room that `raw` has, and no more.
#[cfg(feature = "zstd")]
fn unpack_zstd(bytes: &[u8], raw: &mut Vec<u8>) -> Result<(), String> {
    let mut decompressor = zstd::bulk::Decompressor::new().map_err(|error| error.to_string())?;
    decompressor.decompress_to_buffer(bytes, raw).map(drop).map_err(|error| error.to_string())
}

#[cfg(not(feature = "zstd"))]
fn unpack_zstd(_: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
    Err("compressed with zstd: the feature `zstd` is not built in".to_owned())
}

/// Flags in a record's header.
pub(crate) const LZ4: u16 = 2;
pub(crate) const ZSTD: u16 = 4;

/// A byte of lz4 stands for at most 255.
const LZ4_RATIO: usize = 255;
/// Four bytes of zstd stand for a block of at most 128 KiB.
const ZSTD_RATIO: usize = 32 << 10;
/// Fewer bytes are not worth the call.
const SMALLEST: usize = 64;
/// More than two gibibytes at a time are beyond what lz4 was made for.
const LARGEST: usize = i32::MAX as usize;

#[cfg(test)]
mod tests;
