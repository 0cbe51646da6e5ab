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

/// A record's header and payload, as they lie in a segment.
fn record(header: &Header, payload: &[u8], position: Position, key: &SealKey) -> Vec<u8> {
    [&header.encode(payload, position, key)[..], payload].concat()
}

/// One payload that the seal covers, and one that has its own hash.
fn payloads() -> [Vec<u8>; 2] {
    [vec![5; SMALL], vec![5; SMALL + 1]]
}

/// What a header says after it was read: a small record has no hash of its payload.
fn read_back(header: Header) -> Header {
    let payload_hash = if is_small(header.flags, header.stored_len) { [0; 16] } else { header.payload_hash };
    Header { payload_hash, ..header }
}

#[test]
fn a_header_comes_back_as_it_was() {
    // A cache that can't read what it wrote is a slow way to compute everything twice.
    let (key, position) = (SealKey::new(None), Position::new(3, 4096));
    for payload in [vec![], b"payload".to_vec()].into_iter().chain(payloads()) {
        for flags in [0, flags::ERROR, flags::LARGE, flags::LZ4, flags::ZSTD | flags::ERROR] {
            let header = Header { flags, expires: 9, ..header(&payload) };
            let bytes = record(&header, &payload, position, &key);
            assert_eq!(Header::decode(&bytes, position, &key), Ok(read_back(header.clone())));
            assert!(read_back(header).is_of(&payload));
        }
    }
}

#[test]
fn the_layout_is_pinned() {
    // A build that lays fields out elsewhere, or seals otherwise, would throw away everybody's cache, or misread it.
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (key, position) = (SealKey::new(Some(b"secret")), Position::new(3, 4096));
    let fields = concat!(
        "0707070707070707070707070707070707070707070707070707070707070707",
        "0102030405060708",
        "8877665544332211",
        "00002a36fe9c9717",
        "0000000000000000",
        "3930000000000000",
    );
    assert_eq!(
        hex(&header(b"payload").encode(b"payload", position, &key)),
        [
            "6d6d6f31",
            "01",
            "f36d77",
            "83decdc94f52887b08cf254e73b13f4b",
            "00000000000000000000000000000000",
            "0700000000010000",
            "0002000003000000",
            fields,
        ]
        .concat()
    );
    let long = vec![5; SMALL + 1];
    assert_eq!(
        hex(&Header { flags: flags::ERROR, ..header(&long) }.encode(&long, position, &key)),
        [
            "6d6d6f31",
            "01",
            "f36d77",
            "06912d38dd26032a59942c162d4c14cd",
            "6f26467ddae255d8d7b2b0fb3b124826",
            "0102000000010100",
            "0102000000000000",
            fields,
        ]
        .concat()
    );
}

#[test]
fn every_flipped_bit_is_refused() {
    // One bit that rots unnoticed gives a caller another call's value, or another type's.
    let (key, position) = (SealKey::new(None), Position::new(3, 4096));
    for payload in payloads() {
        let whole = record(&header(&payload), &payload, position, &key);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let believed = Header::decode(&bytes, position, &key).is_ok_and(|it| it.is_of(&bytes[HEADER..]));
            assert!(!believed, "bit {bit} of {}", whole.len());
        }
    }
}

#[test]
fn half_a_small_record_is_refused() {
    // A writer that was killed leaves a header whose payload is not there; read past its end, it would be a panic.
    let (key, position) = (SealKey::new(None), Position::new(3, 4096));
    let whole = record(&header(b"payload"), b"payload", position, &key);
    for len in 0..whole.len() {
        assert_eq!(Header::decode(&whole[..len], position, &key), Err(Bad::Short), "{len} bytes");
    }
}

#[test]
fn a_header_elsewhere_or_under_another_key_is_refused() {
    // A copied segment, or a cache that somebody else may write, would be believed.
    let (key, position) = (SealKey::new(None), Position::new(3, 4096));
    for payload in payloads() {
        let bytes = record(&header(&payload), &payload, position, &key);
        for elsewhere in [Position::new(4, 4096), Position::new(3, 4104), Position::NONE] {
            assert_eq!(Header::decode(&bytes, elsewhere, &key), Err(Bad::Seal));
        }
        let other = SealKey::new(Some(b"secret"));
        assert_eq!(Header::decode(&bytes, position, &other), Err(Bad::Foreign));
        // Nor is it the id that decides.
        let mut forged = bytes;
        forged[5..8].copy_from_slice(&other.id);
        assert_eq!(Header::decode(&forged, position, &other), Err(Bad::Seal));
    }
    assert_eq!(SealKey::new(None).key, SealKey::new(Some(b"")).key);
    assert_eq!(format!("{key:?}"), "SealKey(..)");
}

#[test]
fn a_small_record_says_where_it_lies_whatever_its_reader_says() {
    // The place is one of the sealed fields: a record for one place must not be made to fit another by changing it.
    let (key, position) = (SealKey::new(None), Position::new(3, 4096));
    let elsewhere = Position::new(4, 4096);
    let mut bytes = record(&header(b"payload"), b"payload", position, &key);
    bytes[48..56].copy_from_slice(&elsewhere.word().to_le_bytes());
    assert_eq!(Header::decode(&bytes, elsewhere, &key), Err(Bad::Seal));
}

#[test]
fn a_sealed_header_that_makes_no_sense_is_refused() {
    // What a hostile writer without a `mac_key` to know has made must be a miss.
    let (key, position) = (SealKey::new(None), Position::new(3, 4096));
    for payload in payloads() {
        let good = header(&payload);
        let cases = [
            (Header { flags: flags::LARGE, raw_len: 8, ..good.clone() }, Bad::Lengths),
            (Header { stored_len: STORED_LEN, raw_len: STORED_LEN, ..good.clone() }, Bad::Lengths),
            (Header { stored_len: MAX_RECORD, raw_len: MAX_RECORD, ..good.clone() }, Bad::Lengths),
        ];
        for (header, bad) in cases {
            let bytes = record(&header, &payload, position, &key);
            assert_eq!(Header::decode(&bytes, position, &key), Err(bad));
        }
        let mut other = record(&good, &payload, position, &key);
        other[4] = 2;
        assert_eq!(Header::decode(&other, position, &key), Err(Bad::Version(2)));
    }
}

#[test]
fn what_a_later_version_has_sealed_is_believed_but_not_read() {
    // An older build takes a newer one's records for damage, and the two undo each other's work for ever.
    let (key, position) = (SealKey::new(None), Position::new(3, 4096));
    for payload in payloads() {
        let good = header(&payload);
        assert_eq!(good.needs(), None);
        let cases = [
            Header { flags: 64, ..good.clone() },
            Header { flags: 0x8000 | flags::ERROR, ..good.clone() },
            Header { flags: flags::LZ4 | flags::ZSTD, ..good.clone() },
            Header { codec: 2, ..good.clone() },
            Header { codec: 255, flags: 128, ..good.clone() },
        ];
        for header in cases {
            let bytes = record(&header, &payload, position, &key);
            let decoded = Header::decode(&bytes, position, &key);
            assert_eq!(decoded.map(|header| header.needs()), Ok(Some(Needs::LaterVersion)), "{header:?}");
        }
    }
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
    fn no_bytes_make_decode_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..900), magic: bool, small: bool) {
        // Anything may lie on a disk.
        if magic && bytes.len() > 4 {
            bytes[..4].copy_from_slice(&MAGIC);
            bytes[4] = FORMAT_VERSION;
        }
        let (key, position) = (SealKey::new(None), Position::new(1, 0));
        if magic && small && bytes.len() > HEADER {
            bytes[5..8].copy_from_slice(&key.id);
            bytes[24..40].fill(0);
            bytes[42..48].fill(0);
            bytes[48..56].copy_from_slice(&position.word().to_le_bytes());
        }
        let decoded = Header::decode(&bytes, position, &key);
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
