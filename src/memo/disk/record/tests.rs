use proptest::prelude::*;

use super::*;

fn header(payload: &[u8]) -> Header {
    Header {
        codec: codec::BINCODE,
        flags: 0,
        stored_len: payload.len() as u64,
        raw_len: payload.len() as u64,
        key: [7; 32],
        function: [1, 2, 3, 4, 5, 6, 7, 8],
        shape: 0x1122_3344_5566_7788,
        stored_at: 1_700_000_000_000_000_000,
        expires: 0,
        compute: 12_345,
        payload_hash: payload_hash(payload),
    }
}

#[test]
fn a_header_comes_back_as_it_was() {
    // A cache that can't read what it wrote is a slow way to compute everything twice.
    let (key, position) = (SealKey::new(None), Position::new(3, 4096));
    for flags in [0, flags::ERROR, flags::LARGE, flags::LZ4, flags::ZSTD | flags::ERROR] {
        let header = Header { flags, expires: 9, ..header(b"payload") };
        let bytes = header.encode(position, &key);
        assert_eq!(Header::decode(&bytes, position, &key), Ok(header));
    }
}

#[test]
fn the_layout_is_pinned() {
    // A build that lays fields out elsewhere, or seals otherwise, would throw away everybody's cache, or misread it.
    let bytes = header(b"payload").encode(Position::new(3, 4096), &SealKey::new(Some(b"secret")));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        concat!(
            "6d6d6f31",
            "01",
            "01",
            "0000",
            "0700000000000000",
            "0700000000000000",
            "0707070707070707070707070707070707070707070707070707070707070707",
            "0102030405060708",
            "8877665544332211",
            "00002a36fe9c9717",
            "0000000000000000",
            "3930000000000000",
            "ec90915fa26ab012a89a88ecc8b47e4d",
            "e37e7267841718ecbf53a9192f41f404",
        )
    );
}

#[test]
fn every_flipped_bit_of_a_header_is_refused() {
    // One bit that rots unnoticed gives a caller another call's value, or another type's.
    let (key, position) = (SealKey::new(None), Position::new(3, 4096));
    let bytes = header(b"payload").encode(position, &key);
    for bit in 0..HEADER * 8 {
        let mut bytes = bytes;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Header::decode(&bytes, position, &key).is_err(), "bit {bit}");
    }
}

#[test]
fn a_header_elsewhere_or_under_another_key_is_refused() {
    // A copied segment, or a cache that somebody else may write, would be believed.
    let (key, position) = (SealKey::new(None), Position::new(3, 4096));
    let bytes = header(b"payload").encode(position, &key);
    for elsewhere in [Position::new(4, 4096), Position::new(3, 4104), Position::NONE] {
        assert_eq!(Header::decode(&bytes, elsewhere, &key), Err(Bad::Seal));
    }
    assert_eq!(Header::decode(&bytes, position, &SealKey::new(Some(b"secret"))), Err(Bad::Seal));
    assert_eq!(SealKey::new(None).0, SealKey::new(Some(b"")).0);
    assert_eq!(format!("{key:?}"), "SealKey(..)");
}

#[test]
fn a_sealed_header_that_makes_no_sense_is_refused() {
    // A later version's record, or one that a hostile writer without a `mac_key` to know has made, must be a miss.
    let (key, position) = (SealKey::new(None), Position::new(3, 4096));
    let good = header(b"payload");
    let cases = [
        (Header { flags: 64, ..good.clone() }, Bad::Flags(64)),
        (Header { flags: flags::LZ4 | flags::ZSTD, ..good.clone() }, Bad::Flags(6)),
        (Header { raw_len: 8, ..good.clone() }, Bad::Lengths),
        (Header { stored_len: u64::MAX, raw_len: u64::MAX, ..good.clone() }, Bad::Lengths),
        (Header { stored_len: MAX_RECORD, raw_len: MAX_RECORD, ..good.clone() }, Bad::Lengths),
    ];
    for (header, bad) in cases {
        assert_eq!(Header::decode(&header.encode(position, &key), position, &key), Err(bad));
    }
    let mut other = good.encode(position, &key);
    other[4] = 2;
    assert_eq!(Header::decode(&other, position, &key), Err(Bad::Version(2)));
}

#[test]
fn lengths_round_up_to_words() {
    // Records that do not begin at a word can't be pointed to.
    for (stored, len) in [(0, 128), (1, 136), (8, 136), (9, 144), (100, 232)] {
        assert_eq!(record_len(stored), len);
    }
    assert!(record_len(u64::MAX) >= MAX_RECORD);
}

#[test]
fn a_payload_hashes_the_same_in_pieces() {
    // Large values are hashed as they stream; a reader that hashes them at once must find the same.
    let payload: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let mut hash = PayloadHash::default();
    payload.chunks(777).for_each(|piece| hash.update(piece));
    assert_eq!(hash.finish(), payload_hash(&payload));
}

proptest! {
    #[test]
    fn no_bytes_make_decode_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), magic: bool) {
        // Anything may lie on a disk.
        if magic && bytes.len() > 4 {
            bytes[..4].copy_from_slice(&MAGIC);
            bytes[4] = FORMAT_VERSION;
        }
        let decoded = Header::decode(&bytes, Position::new(1, 0), &SealKey::new(None));
        prop_assert!(decoded.is_err());
    }

    #[test]
    fn positions_keep_their_parts_and_their_order(a: u32, b: u32, x in 0..1_u64 << 32, y in 0..1_u64 << 32) {
        // "Newer" is decided by comparing positions.
        let (one, two) = (Position::new(a, x * 8), Position::new(b, y * 8));
        prop_assert_eq!((one.segment(), one.offset()), (a, x * 8));
        prop_assert_eq!(one.cmp(&two), (a, x).cmp(&(b, y)));
    }
}
