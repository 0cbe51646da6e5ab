use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::io::BufReader;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::memo::shape::MAX_DEPTH;

/// What bincode's own serializer writes.
pub(in crate::memo) fn plain<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, standard()).unwrap()
}

fn encoded<T: Serialize + 'static>(value: &T) -> (Vec<u8>, u64) {
    let mut bytes = Vec::new();
    let encoded = encode(value, &mut bytes).unwrap();
    (bytes, encoded.shape)
}

/// Decodes bytes that may be anything, both ways. They must agree.
fn decoded<T: DeserializeOwned + Debug + 'static>(bytes: &[u8], shape: u64) -> Result<T, Undecodable> {
    let value = decode::<T>(bytes, shape);
    let mut reader = BufReader::with_capacity(8, bytes);
    let streamed = decode_from::<T>(&mut reader, bytes.len() as u64, shape);
    assert_eq!(value.is_ok(), streamed.is_ok(), "{value:?} or {streamed:?}");
    value
}

#[track_caller]
fn malformed<T: DeserializeOwned + Debug + 'static>(bytes: &[u8], reason: &str) {
    match decoded::<T>(bytes, 0) {
        Err(Undecodable::Malformed(why)) => assert!(why.contains(reason), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    id: u64,
    name: String,
    scores: Vec<f64>,
    tags: HashMap<String, Option<u16>>,
    kind: Kind,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Pair(i32, char),
    Nested { inner: Vec<Kind>, flag: bool },
}

fn record() -> Record {
    Record {
        id: 1 << 40,
        name: "a name".to_owned(),
        scores: vec![1.5, -2.5],
        tags: HashMap::from([("one".to_owned(), Some(1)), ("two".to_owned(), None)]),
        kind: Kind::Nested { inner: vec![Kind::Plain, Kind::Pair(-1, 'x')], flag: true },
        bytes: vec![7; 300],
    }
}

/// A list of `len` elements: two containers each, and the innermost one more for the text's absence.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct List {
    value: u64,
    next: Option<Box<List>>,
}

fn list(len: usize) -> List {
    (1..len as u64)
        .fold(List { value: 0, next: None }, |next, value| List { value, next: Some(Box::new(next)) })
}

#[test]
fn deep_values() {
    // A long list is stored and can't be read, or overflows the stack of a worker.
    let deepest = MAX_DEPTH as usize / 2;
    let (bytes, shape) = encoded(&list(deepest));
    assert_eq!(decoded(&bytes, shape), Ok(list(deepest)));
    let refused = encode(&list(deepest + 1), &mut Vec::new()).unwrap_err();
    assert!(refused.contains("nested too deeply"), "{refused}");
    malformed::<List>(&[1; 100_000], "nested too deeply");

    #[derive(Debug, Serialize, Deserialize)]
    enum Tree {
        Branch(Box<Tree>),
    }
    malformed::<Tree>(&[0; 100_000], "nested too deeply");

    // Its frames are large, so the stack is the limit.
    #[derive(Debug, Serialize, Deserialize)]
    struct Fat {
        fill: [[u64; 32]; 32],
        next: Option<Box<Fat>>,
    }
    malformed::<Fat>(&[1; 10_000_000], "nested too deeply");
}

#[test]
fn lengths_that_lie() {
    // A length of 2^60 takes all memory, or a loop never ends.
    let lie = [253, 0, 0, 0, 0, 0, 0, 0, 16];
    let longer = [&lie[..], &[1; 64]].concat();
    for bytes in [&lie[..], &longer] {
        malformed::<Vec<()>>(bytes, "longer than its bytes");
        malformed::<Vec<[(); 3]>>(bytes, "longer than its bytes");
        malformed::<Box<[()]>>(bytes, "longer than its bytes");
        malformed::<BTreeMap<(), ()>>(bytes, "longer than its bytes");
        malformed::<Vec<u8>>(bytes, "longer than its bytes");
        malformed::<Vec<u64>>(bytes, "longer than its bytes");
        malformed::<Vec<f64>>(bytes, "longer than its bytes");
        malformed::<Vec<u128>>(bytes, "longer than its bytes");
        malformed::<Box<[u8]>>(bytes, "longer than its bytes");
        malformed::<Vec<String>>(bytes, "longer than its bytes");
        malformed::<HashMap<String, u8>>(bytes, "longer than its bytes");
        malformed::<String>(bytes, "end too early");
        malformed::<Box<str>>(bytes, "end too early");
        malformed::<std::ffi::CString>(bytes, "end too early");
    }
    // Not longer than all bytes, but than those that the elements find.
    malformed::<Vec<f64>>(&[8; 9], "longer than its bytes");
    malformed::<Vec<String>>(&[4, 1, 65, 3, 65], "end too early");
}

#[test]
fn elements_without_bytes() {
    // A value is stored that is refused when it is read.
    let most = EMPTY_ELEMENTS as usize;
    let (bytes, shape) = encoded(&vec![(); most]);
    assert_eq!(decoded::<Vec<()>>(&bytes, shape).unwrap().len(), most);
    assert!(encode(&vec![(); most + 1], &mut Vec::new()).is_err());
    let halves = vec![vec![(); most / 2]; 2];
    let (bytes, shape) = encoded(&halves);
    assert_eq!(decoded(&bytes, shape), Ok(halves));
    assert!(encode(&vec![vec![(); most / 2]; 3], &mut Vec::new()).is_err());
    // The bytes claim it.
    let claimed = [&[3][..], &[252, 0, 0, 8, 0][..], &[252, 0, 0, 8, 0], &[252, 0, 0, 8, 0]].concat();
    malformed::<Vec<Vec<()>>>(&claimed, "longer than its bytes");
}

/// Remembers the hints that it was given.
#[derive(Debug)]
struct Hinted(Vec<usize>);

impl<'de> Deserialize<'de> for Hinted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Hinted, D::Error> {
        struct Hints;
        impl<'de> Visitor<'de> for Hints {
            type Value = Vec<usize>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<usize>, A::Error> {
                let mut hints = vec![seq.size_hint().unwrap()];
                while seq.next_element::<()>()?.is_some() {}
                hints.push(seq.size_hint().unwrap());
                Ok(hints)
            }
        }
        deserializer.deserialize_seq(Hints).map(Hinted)
    }
}

#[test]
fn hints_of_size() {
    // A type that makes room for as many elements as it was told takes all memory.
    let (bytes, shape) = encoded(&vec![(); 1000]);
    let Hinted(hints) = decode(&bytes, shape).unwrap();
    assert_eq!(hints, [0, 0]);
}

#[test]
fn all_bytes_are_used() {
    // A value of a type that has lost its last field is read.
    let (mut bytes, shape) = encoded(&record());
    bytes.push(0);
    assert_eq!(
        decoded::<Record>(&bytes, shape),
        Err(Undecodable::Malformed("1 bytes are left over".to_owned()))
    );
    // Only what belongs to the value is taken from a stream.
    let mut reader = BufReader::new(bytes.as_slice());
    assert_eq!(decode_from(&mut reader, bytes.len() as u64 - 1, shape), Ok(record()));
    let mut rest = Vec::new();
    io::Read::read_to_end(&mut reader, &mut rest).unwrap();
    assert_eq!(rest, [0]);
    // The stream has less than it was said to have.
    let mut reader = BufReader::new(&bytes[..10]);
    let cut = decode_from::<Record>(&mut reader, bytes.len() as u64, shape);
    assert!(matches!(cut, Err(Undecodable::Malformed(_))), "{cut:?}");
}

#[test]
fn sinks_that_fail() {
    // A full disk is taken for a stored value.
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.checked_sub(bytes.len()) {
                Some(left) => self.0 = left,
                None => return Err(io::Error::other("the disk is full")),
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for value in [vec![], vec!["x".repeat(1000)], vec!["x".to_owned(); 1000]] {
        let (bytes, _) = encoded(&value);
        assert_eq!(encode(&value, &mut Full(bytes.len())).unwrap().bytes, bytes.len() as u64);
        assert_eq!(encode(&value, &mut Full(bytes.len() - 1)).unwrap_err(), "the disk is full");
    }
    assert_eq!(encode(&vec![1_u8; 1000], &mut Full(900)).unwrap_err(), "the disk is full");
    assert_eq!(encode(&vec![1_f64; 1000], &mut Full(900)).unwrap_err(), "the disk is full");
    assert_eq!(encode(&vec![1_u64; 1000], &mut Full(900)).unwrap_err(), "the disk is full");
}

#[test]
fn errors_of_the_type() {
    // What the user's types say is lost.
    malformed::<std::num::NonZero<u8>>(&[0], "nonzero");
    malformed::<bool>(&[2], "2");
    malformed::<char>(&[0xff], "CharEncoding");
    malformed::<String>(&[1, 0xff], "utf-8");
    malformed::<Option<u8>>(&[7, 1], "neither Some nor None");
    malformed::<Kind>(&[3], "has no variant 3");
    malformed::<u8>(&[], "end too early");
    assert_eq!(
        Undecodable::Malformed("reason".to_owned()).to_string(),
        "the stored bytes can't be decoded: reason"
    );
}

fn kinds() -> impl Strategy<Value = Kind> {
    let leaf = prop_oneof![Just(Kind::Plain), any::<(i32, char)>().prop_map(|(a, b)| Kind::Pair(a, b))];
    leaf.prop_recursive(4, 32, 4, |inner| {
        (prop::collection::vec(inner, 0..4), any::<bool>())
            .prop_map(|(inner, flag)| Kind::Nested { inner, flag })
    })
}

fn records() -> impl Strategy<Value = Record> {
    let tags = prop::collection::hash_map(any::<String>(), any::<Option<u16>>(), 0..4);
    (any::<(u64, String, Vec<f64>, Vec<u8>)>(), tags, kinds())
        .prop_map(|((id, name, scores, bytes), tags, kind)| Record { id, name, scores, tags, kind, bytes })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_value_comes_back(value in prop::collection::vec(records(), 0..8)) {
        // A result comes back as another.
        let (bytes, shape) = encoded(&value);
        let back = decoded::<Vec<Record>>(&bytes, shape);
        prop_assert_eq!(back.as_ref(), Ok(&value));
        prop_assert_eq!(survives::<Vec<Record>>(&bytes, shape), Ok(()));
        prop_assert_eq!(bytes, plain(&value));
    }

    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..200), small in any::<bool>()) {
        // Bytes that nobody wrote: a panic in a worker, or all memory is taken. Small numbers get further.
        let bytes: Vec<u8> = bytes.iter().map(|byte| if small { byte % 8 } else { *byte }).collect();
        let _ = decoded::<Vec<Record>>(&bytes, 0);
        let _ = decoded::<Kind>(&bytes, 0);
        let _ = decoded::<List>(&bytes, 0);
        let _ = decoded::<Vec<Vec<()>>>(&bytes, 0);
        let _ = decoded::<HashMap<String, Box<[Option<u128>]>>>(&bytes, 0);
        let _ = decoded::<Vec<f32>>(&bytes, 0);
        let _ = decoded::<Vec<i64>>(&bytes, 0);
        let _ = decoded::<serde_json::Value>(&bytes, 0);
    }

    #[test]
    fn any_cut_or_flip_is_harmless(value in records(), cut in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        // A record is cut short, or a byte of it is another, and its checksum does not tell.
        let (mut bytes, shape) = encoded(&value);
        let at = cut.index(bytes.len());
        prop_assert!(decoded::<Record>(&bytes[..at], shape).is_err());
        bytes[at] ^= flip;
        let _ = decoded::<Record>(&bytes, shape);
    }
}
