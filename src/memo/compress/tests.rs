use proptest::prelude::*;

use super::*;

/// The ways that are built in.
fn ways() -> impl Iterator<Item = Compress> {
    [Compress::Lz4, Compress::Zstd(1), Compress::Zstd(3), Compress::Zstd(19)]
        .into_iter()
        .filter(|how| how.missing_feature().is_none())
}

/// Bytes that no codec makes smaller.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(len)
    .collect()
}

fn text(len: usize) -> Vec<u8> {
    (0..).flat_map(|n: u32| format!("line {n} of a table\n").into_bytes()).take(len).collect()
}

#[test]
fn what_pays_comes_back() {
    // A compressed value is lost, or the option does nothing.
    for how in ways() {
        for bytes in [text(100_000), vec![0; 1 << 20], vec![0; 100_000_000], vec![7; 64]] {
            let packed = pack(&bytes, how, 0).unwrap();
            assert!(packed.len() <= bytes.len() - bytes.len() / 8);
            assert!(unpack(&packed, bytes.len() as u64, how.flag() | 1) == Ok(bytes), "{how:?}");
        }
    }
}

#[test]
fn what_does_not_pay_is_left_alone() {
    // Time is spent on every hit to unpack what is no smaller.
    for how in ways() {
        assert_eq!(pack(&noise(100_000), how, 0), None);
        assert_eq!(pack(&noise(63), how, 0), None);
        assert_eq!(pack(&[], how, 0), None);
        assert_eq!(pack(&text(4095), how, 4096), None);
        assert!(pack(&text(4096), how, 4096).is_some());
        // Saves a little, but not an eighth.
        let mut mostly = noise(10_000);
        mostly.extend(vec![0; 1_000]);
        assert_eq!(pack(&mostly, how, 0), None);
    }
    assert_eq!(pack(&text(100_000), Compress::None, 0), None);
    assert_eq!(pack(&text(100_000), Compress::default(), 0), None);
}

#[test]
fn exact_length_or_nothing() {
    // A header that lies about the length gives half a value, or takes all memory.
    for how in ways() {
        let bytes = text(10_000);
        let packed = pack(&bytes, how, 0).unwrap();
        for raw_len in [0, 1, 9_999, 10_001, 20_000] {
            assert!(unpack(&packed, raw_len, how.flag()).is_err(), "{how:?} {raw_len}");
        }
        for raw_len in [1 << 31, 1 << 40, u64::MAX, i64::MAX as u64] {
            assert!(unpack(&packed, raw_len, how.flag()).unwrap_err().contains("can't be"));
        }
        assert!(unpack(&packed[..packed.len() - 1], 10_000, how.flag()).is_err());
        assert!(unpack(&[&packed[..], &[0]].concat(), 10_000, how.flag()).is_err());
        assert!(unpack(&[], 10_000, how.flag()).is_err());
    }
    assert!(unpack(&[0; 100], 100, 0).is_err());
    assert!(unpack(&[0; 100], 100, LZ4 | ZSTD).is_err());
}

#[test]
fn features_that_are_not_built_in() {
    // Nobody learns why a cache of another build is never hit.
    for how in [Compress::Lz4, Compress::Zstd(3)] {
        if let Some(feature) = how.missing_feature() {
            assert_eq!(pack(&text(100_000), how, 0), None);
            assert!(unpack(&[0; 100], 200, how.flag()).unwrap_err().contains(feature));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_harmless(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        raw_len in prop_oneof![0..1000_u64, any::<u64>()],
        flags in any::<u16>(),
    ) {
        // Bytes that nobody compressed: a panic in a worker.
        let _ = unpack(&bytes, raw_len, flags);
    }

    #[test]
    fn any_flip_is_harmless(at in any::<prop::sample::Index>(), flip in 1..=255_u8, len in 100..3000_usize) {
        // A flipped bit that the checksum did not see: more bytes than there is room for.
        for how in ways() {
            if let Some(mut packed) = pack(&text(len), how, 0) {
                let at = at.index(packed.len());
                packed[at] ^= flip;
                if let Ok(raw) = unpack(&packed, len as u64, how.flag()) {
                    prop_assert_eq!(raw.len(), len);
                }
            }
        }
    }
}
