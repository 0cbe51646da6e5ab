//! Keys: different calls must differ, equal calls must not, and what is stored today must be found by every later build.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;

use super::*;

mod model;

const DIGEST: [u8; 32] = [7; 32];

fn slot<T: Serialize + ?Sized>(value: &T) -> SlotKey {
    let mut encoder = Encoder::new(&DIGEST, 1, true);
    encoder.args(value).expect("encodes");
    encoder.finish()
}

fn key<T: Serialize + ?Sized>(value: &T) -> Key {
    slot(value).key(&DIGEST)
}

fn bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    Encoder::bytes_of(value)
}

#[derive(Serialize)]
struct Point {
    x: i32,
    y: i32,
}

#[derive(Serialize)]
struct Unit;

#[derive(Serialize)]
struct Meters(f64);

#[derive(Serialize)]
struct Pair(u8, u8);

#[derive(Serialize)]
enum Shape {
    Empty,
    Circle(f32),
    Line(u16, u16),
    Box { w: u32, h: u32 },
}

/// Serialises through `Display`, as URLs, dates and addresses do.
struct Shown<'a>(&'a str);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (start, end) = self.0.split_at(self.0.len() / 2);
        serializer.collect_str(&format_args!("{start}{end}"))
    }
}

/// Serialises as a byte string, as `serde_bytes` does.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A value that refuses, or panics.
struct Broken {
    panic: bool,
}

impl Serialize for Broken {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        assert!(!self.panic, "a bug in the user's Serialize");
        Err(serde::ser::Error::custom("no words for this"))
    }
}

#[test]
fn a_new_release_finds_what_older_ones_stored() {
    // A changed key format: every cache on every disk is silently cold, or worse, one key means two calls.
    let map = HashMap::from([("one", 1u8), ("two", 2), ("three", 3)]);
    let set = Unordered(HashSet::from([30u16, 10, 20]));
    let long: Vec<u8> = (0..10_000u32).map(|i| (i % 251) as u8).collect();
    let wide: Vec<u64> = (0..2_000).map(|i| i * 0x0101_0101).collect();
    let golden = [
        ("unit", key(&())),
        ("bool", key(&true)),
        ("u8", key(&1u8)),
        ("u16", key(&1u16)),
        ("u32", key(&1u32)),
        ("u64", key(&1u64)),
        ("u128", key(&u128::MAX)),
        ("i8", key(&-1i8)),
        ("i64", key(&-1i64)),
        ("i128", key(&i128::MIN)),
        ("f32", key(&1.5f32)),
        ("f64", key(&-0.0f64)),
        ("char", key(&'é')),
        ("str", key("to be or not to be")),
        ("str_1000", key("x".repeat(1000).as_str())),
        ("none", key(&None::<u8>)),
        ("some", key(&Some(1u8))),
        ("bytes", key(&Raw(b"raw"))),
        ("seq_u8", key(&vec![1u8, 2, 3])),
        ("seq_u8_10000", key(&long)),
        ("seq_u64_2000", key(&wide)),
        ("seq_nested", key(&vec![vec![], vec!["a"], vec!["a", "b"]])),
        ("tuple", key(&("twenty bytes or so..", 12_345u64, true))),
        ("array", key(&[0u8; 32])),
        ("map", key(&map)),
        ("unordered", key(&set)),
        ("hashed", key(&Hashed::<str>::new("to be or not to be"))),
        ("hashed_bytes", key(&Hashed::<[u8]>::new(long.clone()))),
        ("unit_struct", key(&Unit)),
        ("newtype_struct", key(&Meters(2.5))),
        ("tuple_struct", key(&Pair(1, 2))),
        ("struct", key(&Point { x: 1, y: -1 })),
        ("unit_variant", key(&Shape::Empty)),
        ("newtype_variant", key(&Shape::Circle(1.0))),
        ("tuple_variant", key(&Shape::Line(1, 2))),
        ("struct_variant", key(&Shape::Box { w: 1, h: 2 })),
        ("json", key(&json!({"a": [1, 2.0, null], "b": {"c": "d"}}))),
    ];
    let actual: String = golden.iter().map(|(name, key)| format!("{name} {key}\n")).collect();
    let expected = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/keys.txt"));
    assert_eq!(actual, expected, "the golden keys; actual:\n{actual}");
}

#[test]
fn the_table_of_the_format_is_what_is_written() {
    // The documented format and the written one part ways: nobody can make a key outside this crate.
    let cases: [(Vec<u8>, &[u8]); 10] = [
        (bytes(&258u32), b"\x1a\x02\x01\0\0"),
        (bytes(&(1u8, 'a')), b"\x31\x2a\x01\x01\x22a\0\0\0\0"),
        (bytes("ab"), b"\x28\x02ab"),
        (bytes(&Some([0u8; 0])), b"\x05\x31\0"),
        (bytes(&vec![Some(7u8), None]), b"\x30\x05\x18\x07\x04\0"),
        (bytes(&Point { x: 1, y: 2 }), b"\x3b\x05Point\x48\x01x\x12\x01\0\0\0\x48\x01y\x12\x02\0\0\0\0"),
        (bytes(&Shape::Empty), b"\x40\x05Shape\0\x28\x05Empty"),
        (bytes(&Shape::Line(1, 2)), b"\x42\x05Shape\x02\x28\x04Line\x19\x01\0\x19\x02\0\0"),
        (bytes(&BTreeMap::from([(2u8, true), (1, false)])), b"\x32\x18\x01\x01\x18\x02\x02\0"),
        (bytes(&Unordered(vec!["b", "a"])), b"\x33\x30\x28\x01a\x28\x01b\0"),
    ];
    for (actual, expected) in cases {
        assert_eq!(actual, expected);
    }
    let run = bytes(&vec![9u8; 300]);
    assert_eq!(run.len(), 2 + 300 + 3 * 2);
    assert_eq!((run[2], run[2 + 130], run[2 + 260]), (128, 128, 44));
    let long = bytes("x".repeat(300).as_str());
    assert_eq!(&long[..4], b"\x28\xac\x02x");
}

#[test]
fn moving_a_border_between_arguments_makes_another_call() {
    // ("ab", "c") answered with the result of ("a", "bc").
    assert_ne!(key(&("ab", "c")), key(&("a", "bc")));
    let args = |a: &str, b: &str| {
        let mut encoder = Encoder::new(&DIGEST, 1, true);
        encoder.arg(1, "a", a).expect("encodes");
        encoder.arg(2, "b", b).expect("encodes");
        encoder.finish()
    };
    assert_ne!(args("ab", "c"), args("a", "bc"));
    assert_ne!(args("", "abc"), args("abc", ""));
    assert_eq!(args("a", "b"), args("a", "b"));
}

#[test]
fn values_that_look_alike_are_different_calls() {
    // f(1u8) answered with the result of f(1u64) behind an untagged enum or a JSON value; empties taken for one another.
    let all = [
        bytes(&1u8),
        bytes(&1u16),
        bytes(&1u32),
        bytes(&1u64),
        bytes(&1u128),
        bytes(&1i8),
        bytes(&1i16),
        bytes(&1i32),
        bytes(&1i64),
        bytes(&1i128),
        bytes(&1f32),
        bytes(&1f64),
        bytes(&true),
        bytes("1"),
        bytes(&'1'),
        bytes(&Some(1u8)),
        bytes(&Some(Some(1u8))),
        bytes(&[1u8]),
        bytes(&vec![1u8]),
        bytes(&Raw(&[1])),
        bytes(&vec![vec![1u8]]),
        bytes(&Unordered(vec![1u8])),
        bytes(&()),
        bytes(&None::<()>),
        bytes(&Some(())),
        bytes(&[0u8; 0]),
        bytes(&Vec::<u8>::new()),
        bytes(&vec![Vec::<u8>::new()]),
        bytes(&vec![Vec::<u8>::new(); 2]),
        bytes(&vec![vec![Vec::<u8>::new()]]),
        bytes(&BTreeMap::<u8, u8>::new()),
        bytes(""),
        bytes(&Raw(b"")),
        bytes(&Unit),
        bytes(&0.0f64),
        bytes(&-0.0f64),
        bytes(&f64::NAN),
        bytes(&f64::from_bits(f64::NAN.to_bits() ^ 1)),
        bytes(&json!(1)),
        bytes(&json!(1.0)),
        bytes(&json!([])),
        bytes(&json!({"a": []})),
        bytes(&json!({"a": {}})),
    ];
    let different: BTreeSet<_> = all.iter().collect();
    // Three pairs are the same value on purpose: serde_json's 1 is a u64, its 1.0 an f64, its [] a sequence.
    assert_eq!(different.len(), all.len() - 3);
}

#[test]
fn a_map_is_one_argument_in_whatever_order_it_iterates() {
    // A HashMap argument misses in every process, since each iterates in its own order.
    let entries = || (0..50u64).map(|i| (format!("key {i}"), vec![i; 3]));
    let one: HashMap<_, _> = entries().collect();
    let other: HashMap<_, _> = entries().rev().collect();
    let sorted: BTreeMap<_, _> = entries().collect();
    assert_eq!(slot(&one), slot(&other));
    assert_eq!(slot(&one), slot(&sorted));
    let nested = |map: &HashMap<String, Vec<u64>>| HashMap::from([(1u8, map.clone()), (2, map.clone())]);
    assert_eq!(slot(&nested(&one)), slot(&nested(&other)));
    let text = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(slot(&text(r#"{"a":1,"b":{"c":2,"d":3}}"#)), slot(&text(r#"{"b":{"d":3,"c":2},"a":1}"#)));
    assert_ne!(slot(&text(r#"{"a":1,"b":2}"#)), slot(&text(r#"{"a":2,"b":1}"#)));
}

#[test]
fn an_unordered_set_is_one_argument_in_whatever_order_it_iterates() {
    // A HashSet argument misses in every process; or two different sets are taken for one.
    let one: Unordered<HashSet<u32>> = Unordered((0..50).collect());
    let other: Unordered<HashSet<u32>> = Unordered((0..50).rev().collect());
    let sorted: Unordered<BTreeSet<u32>> = Unordered((0..50).collect());
    let less: Unordered<HashSet<u32>> = Unordered((1..50).collect());
    assert_eq!(slot(&one), slot(&other));
    assert_eq!(slot(&one), slot(&sorted));
    assert_ne!(slot(&one), slot(&less));
    assert_eq!(slot(&Unordered([3u8, 1, 2])), slot(&Unordered([1u8, 2, 3])));
    assert_eq!(slot(&Unordered(Some(vec!["b", "a"]))), slot(&Unordered(Some(vec!["a", "b"]))));
    // Only its own list: what is inside keeps its order.
    assert_ne!(slot(&Unordered(vec![vec![1, 2]])), slot(&Unordered(vec![vec![2, 1]])));
    assert_ne!(slot(&vec![1, 2]), slot(&vec![2, 1]));
}

#[test]
fn unordered_is_not_seen_by_other_formats() {
    // Wrapping a field changes the JSON that the user's program reads and writes.
    let set = Unordered(vec![2, 1]);
    let text = serde_json::to_string(&set).expect("JSON");
    assert_eq!(text, "[2,1]");
    assert_eq!(serde_json::from_str::<Unordered<Vec<i32>>>(&text).expect("JSON"), set);
    assert_eq!(set.len(), 2);
    assert_eq!(Unordered::from(vec![2, 1]), set);
}

#[test]
fn a_renamed_or_reordered_field_is_a_miss() {
    // After a refactoring, {x, y} swapped for {y, x} is answered with the old result.
    mod other {
        #[derive(serde::Serialize)]
        pub(super) struct Point {
            pub(super) y: i32,
            pub(super) x: i32,
        }
    }
    assert_ne!(key(&Point { x: 1, y: 1 }), key(&other::Point { y: 1, x: 1 }));

    #[derive(Serialize)]
    struct Sparse {
        #[serde(skip_serializing_if = "Option::is_none")]
        a: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        b: Option<u8>,
    }
    let sparse = |a, b| key(&Sparse { a, b });
    let all = [(None, None), (Some(1), None), (None, Some(1)), (Some(1), Some(1))];
    let different: BTreeSet<_> = all.iter().map(|(a, b)| sparse(*a, *b)).collect();
    assert_eq!(different.len(), 4);
}

#[test]
fn a_sequence_of_unknown_length_is_the_same_sequence() {
    // The same list given by an iterator and by a vector computes twice.
    struct Lazy<T>(Vec<T>, Option<usize>);
    impl<T: Serialize> Serialize for Lazy<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut seq = serializer.serialize_seq(self.1)?;
            self.0.iter().try_for_each(|item| seq.serialize_element(item))?;
            seq.end()
        }
    }
    for len in [0, 1, 127, 128, 129, 1000] {
        let list: Vec<u8> = (0..len).map(|i| i as u8).collect();
        assert_eq!(key(&list), key(&Lazy(list.clone(), None)));
        assert_eq!(key(&list), key(&Lazy(list.clone(), Some(7))));
    }
    let texts = vec!["a", "", "b"];
    assert_eq!(key(&texts), key(&Lazy(texts.clone(), None)));
}

#[test]
fn bytes_mixed_with_other_elements_keep_their_places() {
    // Gathered bytes slip past the elements between them: [1, "a", 2] is taken for [1, 2, "a"].
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Item {
        Byte(u8),
        Text(&'static str),
        List(Vec<u8>),
    }
    use Item::{Byte, List, Text};
    let all = [
        bytes(&vec![Byte(1), Text("a"), Byte(2)]),
        bytes(&vec![Byte(1), Byte(2), Text("a")]),
        bytes(&vec![Text("a"), Byte(1), Byte(2)]),
        bytes(&vec![Byte(1), List(vec![2])]),
        bytes(&vec![List(vec![1]), Byte(2)]),
        bytes(&vec![List(vec![1, 2])]),
        bytes(&vec![List(vec![]), Byte(1), Byte(2)]),
    ];
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
}

#[test]
fn a_display_value_is_its_text() {
    // URLs, dates, addresses (serialised through Display) are cut off or run together when long.
    for len in [0, 1, 63, 64, 65, 127, 128, 129, 1000] {
        let text = "x".repeat(len);
        assert_eq!(bytes(&Shown(&text)), bytes(text.as_str()), "{len}");
    }
}

#[test]
fn short_and_long_arguments_get_their_key_by_one_rule() {
    // A result stored under the key of a call is not found by the same call through another path.
    let check = |name: &str, slot: SlotKey, bytes: Vec<u8>| {
        let expected = Key::of(&DIGEST, &bytes);
        assert_eq!(slot.key(&DIGEST), expected, "{name} of {} bytes", bytes.len());
        assert_eq!(slot.is_hashed(), bytes.len() > INLINE, "{name}");
        assert_eq!(SlotKey::hashed(expected).key(&DIGEST), expected);
    };
    for len in (0..600).chain(4_000..4_200).chain([8_192, 20_000]) {
        let text = "x".repeat(len);
        check("str", slot(text.as_str()), bytes(text.as_str()));
        let list: Vec<u8> = (0..len).map(|i| i as u8).collect();
        check("bytes", slot(&list), bytes(&list));
        let numbers: Vec<u64> = (0..len as u64 / 5).collect();
        check("numbers", slot(&numbers), bytes(&numbers));
        let map: BTreeMap<_, _> = (0..len as u64 / 50).map(|i| (i, i.to_string())).collect();
        check("map", slot(&(len, &map)), bytes(&(len, &map)));
    }
    let mut encoder = Encoder::new(&DIGEST, 1, false);
    encoder.args(&5u8).expect("encodes");
    assert_eq!(encoder.finish(), SlotKey::hashed(key(&5u8)));
}

#[test]
fn an_argument_that_cannot_be_encoded_is_named() {
    // "can't be encoded", and nobody knows which of the five arguments it was.
    let broken = Broken { panic: false };
    let mut encoder = Encoder::new(&DIGEST, 1, true);
    encoder.arg(1, "first", &1).expect("encodes");
    let error = encoder.arg(2, "second", &HashMap::from([(1, vec![broken])]));
    let error = error.expect_err("refused");
    assert_eq!(error.to_string(), "argument 2 (`second`) can't be encoded: no words for this");

    let broken = Broken { panic: false };
    let mut encoder = Encoder::new(&DIGEST, 1, true);
    let error = encoder.args(&(1u8, "a", broken)).expect_err("refused");
    assert_eq!(error.to_string(), "argument 3 can't be encoded: no words for this");

    let nested = ((1u8, 2u8, Broken { panic: false }), 4u8);
    let error = Encoder::new(&DIGEST, 1, true).args(&nested).expect_err("refused");
    assert!(error.to_string().starts_with("argument 1 "), "{error}");
    let list = vec![Some(Broken { panic: false })];
    let error = Encoder::new(&DIGEST, 1, true).args(&list).expect_err("refused");
    assert!(error.to_string().starts_with("argument 1 "), "{error}");
}

#[test]
fn half_a_value_has_no_key() {
    // A Serialize that swallows the error of an element: all calls whose elements fail share one result.
    struct Careless(Broken);
    impl Serialize for Careless {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeMap;
            let mut map = serializer.serialize_map(None)?;
            let _ = map.serialize_entry("a", &HashMap::from([("b", &self.0)]));
            map.end()
        }
    }
    let mut encoder = Encoder::new(&DIGEST, 1, true);
    let error = encoder.args(&Careless(Broken { panic: false }));
    assert!(error.is_err());
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_utf8_is_refused_in_words() {
    // Two odd file names share one key, or the message says nothing.
    use std::os::unix::ffi::OsStrExt;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(b"\xff"));
    let mut encoder = Encoder::new(&DIGEST, 1, true);
    let error = encoder.arg(2, "path", path).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "argument 2 (`path`) can't be encoded: path contains invalid UTF-8 characters"
    );
}

#[test]
fn after_a_panic_in_serialize_the_argument_is_known() {
    // A panic in the user's Serialize is reported without saying which argument it was.
    let mut encoder = Encoder::new(&DIGEST, 1, true);
    let args = (1u8, vec![Broken { panic: true }], 3u8);
    catch_unwind(AssertUnwindSafe(|| encoder.args(&args))).expect_err("panics");
    assert_eq!(
        encoder.panicked("ouch").to_string(),
        "argument 2 can't be encoded: its Serialize panicked: ouch"
    );

    let mut encoder = Encoder::new(&DIGEST, 1, true);
    encoder.arg(1, "a", "fine").expect("encodes");
    let broken = Broken { panic: true };
    catch_unwind(AssertUnwindSafe(|| encoder.arg(2, "b", &broken))).expect_err("panics");
    assert_eq!(
        encoder.panicked("ouch").to_string(),
        "argument 2 (`b`) can't be encoded: its Serialize panicked: ouch"
    );
}

#[test]
fn a_list_of_bytes_has_one_key_however_it_is_encoded() {
    // A result computed for a `Vec<u8>` is not found again when it is passed on its own, or by a function of `#[memo]`.
    let short = [0, 1, 45, 46, 47, 48, 51, 127, 128, 129, 130, 256, 500, 512, 513, 4_000, 4_095];
    let long = [4_096, 4_097, 5_000, 12_100, 16_100, 16_128, 16_384, 28_500, 100_000, 1 << 20];
    for len in short.into_iter().chain(long) {
        let value: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let by_element = slot(&value);
        let mut encoder = Encoder::new(&DIGEST, 1, true);
        encoder.any_args(&value).expect("encodes");
        assert!(encoder.finish() == by_element, "{len} bytes as all arguments");
        let (mut slow, mut fast) = (Encoder::new(&DIGEST, 1, true), Encoder::new(&DIGEST, 1, true));
        slow.arg(1, "a", &7u8).and_then(|()| slow.arg(2, "b", &value[..])).expect("encodes");
        slow.arg(3, "c", "end").expect("encodes");
        fast.arg(1, "a", &7u8).and_then(|()| fast.bytes(2, "b", &value)).expect("encodes");
        fast.arg(3, "c", "end").expect("encodes");
        assert!(slow.finish() == fast.finish(), "{len} bytes among others");
        // The hasher begins the list at any place.
        for before in [3, 600, 4_090, 4_096, 28_671, 50_000] {
            let (mut slow, mut fast) = (Encoder::new(&DIGEST, 1, true), Encoder::new(&DIGEST, 1, true));
            let text = "x".repeat(before);
            slow.arg(1, "a", &text).and_then(|()| slow.arg(2, "b", &value)).expect("encodes");
            fast.arg(1, "a", &text).and_then(|()| fast.bytes(2, "b", &value)).expect("encodes");
            slow.arg(3, "c", &value).expect("encodes");
            fast.bytes(3, "c", &value).expect("encodes");
            assert!(slow.finish() == fast.finish(), "{len} bytes, twice, behind {before}");
        }
    }
}

#[test]
fn a_key_survives_being_written_down() {
    // A key copied from a log or a JSON report is not accepted, or is accepted although mistyped.
    let key = key("some call");
    let text = key.to_string();
    assert_eq!(text.len(), 64);
    assert_eq!(text.parse(), Ok(key));
    assert_eq!(Key::from_hex(&text.to_uppercase()), Ok(key));
    assert_eq!(key.short().to_string(), text[..8]);
    assert_eq!(format!("{key:?}"), format!("Key({text})"));
    assert_eq!(Key::from_bytes(*key.as_bytes()), key);
    for wrong in
        ["", &text[1..], &text.replace(&text[..1], "g"), &format!("{text}00"), &format!("+{}", &text[1..])]
    {
        assert_eq!(Key::from_hex(wrong), Err(ParseKeyError), "{wrong}");
    }
    let json = serde_json::to_string(&key).expect("JSON");
    assert_eq!(json, format!("\"{text}\""));
    assert_eq!(serde_json::from_str::<Key>(&json).expect("JSON"), key);
    assert_eq!(bytes(&key), bytes(key.as_bytes()));
    assert_eq!(Key::from_bytes([1; 32]).cmp(&Key::from_bytes([2; 32])), std::cmp::Ordering::Less);
}

#[test]
fn the_slot_table_tells_functions_apart() {
    // f(1) answered with the result of g(1); or all calls in one bucket.
    let slot = |func, value: u64| {
        let mut encoder = Encoder::new(&DIGEST, func, true);
        encoder.args(&value).expect("encodes");
        encoder.finish()
    };
    assert_ne!(slot(1, 5), slot(2, 5));
    assert_ne!(slot(1, 5).hash(), slot(2, 5).hash());
    // Low bits choose the bucket, high bits the shard: 4096 keys must meet well over half of 4096 places both ways.
    let low: HashSet<_> = (0..4096).map(|i| slot(1, i).hash() & 0xfff).collect();
    let high: HashSet<_> = (0..4096).map(|i| slot(1, i).hash() >> 52).collect();
    assert!(low.len() > 2_400 && high.len() > 2_400, "{} {}", low.len(), high.len());
    assert!(format!("{:?}", slot(1, 5)).starts_with("SlotKey(small, "));
}

#[test]
fn a_wrapped_argument_reads_back() {
    // The disk tier stores a Key, or a struct holding an Unordered field, and can't read it again.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Report {
        key: Key,
        tags: Unordered<BTreeSet<String>>,
    }
    let report = Report { key: key(&1), tags: Unordered(["a".to_owned()].into()) };
    let text = serde_json::to_string(&report).expect("JSON");
    assert_eq!(serde_json::from_str::<Report>(&text).expect("JSON"), report);
}
