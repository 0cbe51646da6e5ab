//! Smaller bytes on disk, where that pays.
//!
//! Per entry: what does not get an eighth smaller is stored as it is, so that reading it costs nothing more. An entry says
//! in its flags how it was packed; one whose codec is not built in is not damaged: it is a miss that says which feature is
//! missing ([`needs`]), and stays for those who have it.
//!
//! The raw length in an entry's header is covered by its seal. All the same no more is allocated for it than the codec
//! could have packed into so many bytes; and where that is much, as with zstd, no more than what comes of them.

#[cfg(feature = "zstd")]
use std::io::Read;

use crate::config::disk::{COMPRESS_ABOVE, Compress};
use crate::memo::disk::record::{Needs, flags};

/// What it has to save: one byte of so many.
const WORTH: usize = 8;

/// The packed bytes and the flag that says how; `None`: not worth it.
pub(crate) fn pack(bytes: &[u8], how: Compress) -> Option<(Vec<u8>, u16)> {
    if bytes.len() < COMPRESS_ABOVE {
        return None;
    }
    let packed: Option<(Vec<u8>, u16)> = match how {
        Compress::None => None,
        #[cfg(feature = "lz4")]
        Compress::Lz4 => Some((lz4_flex::block::compress(bytes), flags::LZ4)),
        #[cfg(feature = "zstd")]
        Compress::Zstd(level) => zstd::bulk::compress(bytes, level).ok().map(|packed| (packed, flags::ZSTD)),
    };
    packed.filter(|(packed, _)| packed.len() <= bytes.len() - bytes.len() / WORTH)
}

/// What it takes to unpack what was packed like that, if this build does not have it.
pub(crate) fn needs(packed_how: u16) -> Option<Needs> {
    match packed_how & (flags::LZ4 | flags::ZSTD) {
        0 => None,
        flags::LZ4 => (!cfg!(feature = "lz4")).then_some(Needs::Lz4),
        flags::ZSTD => (!cfg!(feature = "zstd")).then_some(Needs::Zstd),
        // Packed twice: no version does that yet.
        _ => Some(Needs::LaterVersion),
    }
}

/// The bytes as they were; `None`: they were not packed. Asked only where nothing is missing for it ([`needs`]).
pub(crate) fn unpack(packed: &[u8], raw_len: u64, packed_how: u16) -> Result<Option<Vec<u8>>, String> {
    match packed_how & (flags::LZ4 | flags::ZSTD) {
        0 => Ok(None),
        flags::LZ4 => unlz4(packed, raw_len).map(Some),
        flags::ZSTD => unzstd(packed, raw_len).map(Some),
        _ => Err("it is packed in two ways".into()),
    }
}

#[cfg(feature = "lz4")]
fn unlz4(packed: &[u8], raw_len: u64) -> Result<Vec<u8>, String> {
    // A byte of lz4 stands for 255 at most.
    let len = plausible(packed, raw_len, 255)?;
    let mut raw = zeros(len)?;
    match lz4_flex::block::decompress_into(packed, &mut raw) {
        Ok(unpacked) if unpacked == len => Ok(raw),
        Ok(_) => Err("its lz4 is shorter than it says".into()),
        Err(error) => Err(format!("its lz4 is damaged: {error}")),
    }
}

/// What can't be had is an error. (Zeros that the system gives take no memory until they are written over.)
#[cfg(feature = "lz4")]
fn zeros(len: usize) -> Result<Vec<u8>, String> {
    let mut probe = Vec::<u8>::new();
    probe.try_reserve_exact(len).map_err(|error| format!("no memory for {len} bytes: {error}"))?;
    drop(probe);
    Ok(vec![0; len])
}

#[cfg(feature = "zstd")]
fn unzstd(packed: &[u8], raw_len: u64) -> Result<Vec<u8>, String> {
    // A block of 128 KiB that repeats one byte takes four.
    let len = plausible(packed, raw_len, 32 << 10)?;
    let unpacked = match len <= AT_ONCE.max(packed.len().saturating_mul(OFTEN)) {
        true => zstd::bulk::decompress(packed, len),
        // As it says, it has shrunk to next to nothing: memory is taken as it is filled.
        false => zstd::Decoder::with_buffer(packed).and_then(|decoder| {
            let mut raw = Vec::new();
            decoder.take(raw_len + 1).read_to_end(&mut raw)?;
            Ok(raw)
        }),
    };
    match unpacked {
        Ok(raw) if raw.len() == len => Ok(raw),
        Ok(_) => Err("its zstd is not as long as it says".into()),
        Err(error) => Err(format!("its zstd is damaged: {error}")),
    }
}

/// So many bytes are reserved for what is to be unpacked, whatever is there.
#[cfg(feature = "zstd")]
const AT_ONCE: usize = 1 << 20;

/// So many times the packed bytes, too: little gets smaller than that.
#[cfg(feature = "zstd")]
const OFTEN: usize = 64;

#[cfg(any(feature = "lz4", feature = "zstd"))]
fn plausible(packed: &[u8], raw_len: u64, most: u64) -> Result<usize, String> {
    let bound = (packed.len() as u64).saturating_mul(most);
    match usize::try_from(raw_len) {
        Ok(len) if raw_len <= bound => Ok(len),
        _ => Err(format!("{} bytes can't stand for {raw_len}", packed.len())),
    }
}

#[cfg(not(feature = "lz4"))]
fn unlz4(_: &[u8], _: u64) -> Result<Vec<u8>, String> {
    Err("it is packed with lz4: build with the feature `lz4` to read it".into())
}

#[cfg(not(feature = "zstd"))]
fn unzstd(_: &[u8], _: u64) -> Result<Vec<u8>, String> {
    Err("it is packed with zstd: build with the feature `zstd` to read it".into())
}

#[cfg(all(test, feature = "lz4", feature = "zstd"))]
mod tests {
    use super::*;

    const WAYS: [Compress; 2] = [Compress::Lz4, Compress::Zstd(3)];

    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|at| b"to be or not to be "[at % 19]).collect()
    }

    #[test]
    fn what_was_packed_comes_back() {
        // When this fails, compressed results are computed again, or come back changed.
        for how in WAYS {
            for raw in [text(COMPRESS_ABOVE), text(100_000), vec![0; 1 << 20]] {
                let (packed, flag) = pack(&raw, how).unwrap();
                assert!(packed.len() < raw.len() / 2);
                assert_eq!(unpack(&packed, raw.len() as u64, flag), Ok(Some(raw)));
            }
        }
    }

    #[test]
    fn what_does_not_get_smaller_stays_as_it_is() {
        // When this fails, reading pays for a compression that saved nothing.
        let mut noise = blake3::Hasher::new().update(b"noise").finalize_xof();
        let mut bytes = vec![0; 10_000];
        noise.fill(&mut bytes);
        for how in WAYS {
            assert_eq!(pack(&bytes, how), None);
            assert_eq!(pack(&text(COMPRESS_ABOVE - 1), how), None);
        }
        assert_eq!((pack(&text(5000), Compress::None), unpack(&bytes, 1, 0)), (None, Ok(None)));
    }

    #[test]
    fn damage_is_an_error() {
        // When this fails, a damaged entry takes the process down, or its memory.
        for how in WAYS {
            let raw = text(5000);
            let (packed, flag) = pack(&raw, how).unwrap();
            for len in 0..packed.len() {
                assert!(unpack(&packed[..len], 5000, flag).is_err());
            }
            for len in [0, 4999, 5001, 1 << 40, u64::MAX] {
                assert!(unpack(&packed, len, flag).is_err(), "{how:?}, {len}");
            }
        }
        assert!(unpack(&[1], 1, flags::LZ4 | flags::ZSTD).is_err());
    }

    #[test]
    fn what_only_says_that_it_is_long_takes_no_room() {
        // When this fails, an entry of some megabytes asks for more memory than there is, which ends the process.
        let packed = zstd::bulk::compress(&text(100 << 10), 3).unwrap();
        let padded = [packed, vec![0; 64 << 20]].concat();
        for bytes in [&padded[..], &vec![0; 64 << 20]] {
            assert!(unpack(bytes, 1 << 40, flags::ZSTD).is_err());
            assert!(unpack(bytes, 1 << 33, flags::LZ4).is_err());
        }
    }
}
