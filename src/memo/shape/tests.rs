use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::ffi::{CString, OsString};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZero, Wrapping};
use std::ops::{Bound, Range, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Facts, Kind, ROOT};
use crate::memo::codec::{self, Undecodable};

fn encoded<T: Serialize + 'static>(value: &T) -> (Vec<u8>, u64) {
    let mut bytes = Vec::new();
    let encoded = codec::encode(value, &mut bytes).unwrap();
    assert_eq!(encoded.bytes, bytes.len() as u64);
    (bytes, encoded.shape)
}

/// Encodes `before` and decodes it as another type.
fn read_as<After: DeserializeOwned + 'static>(
    before: &(impl Serialize + 'static),
) -> Result<After, Undecodable> {
    let (bytes, shape) = encoded(before);
    codec::decode(&bytes, shape)
}

#[track_caller]
fn changed<After: DeserializeOwned + Debug + 'static>(before: impl Serialize + 'static) {
    let read = read_as::<After>(&before);
    assert!(read.is_err(), "read as {read:?}");
}

/// Like [`changed`], for changes that leave the bytes readable: only the fingerprint can tell.
#[track_caller]
fn changed_unseen<After: DeserializeOwned + Debug + 'static>(before: impl Serialize + 'static) {
    match read_as::<After>(&before) {
        Err(Undecodable::TypeChanged) => {}
        other => panic!("{other:?}"),
    }
}

/// What the module says that it does not see.
#[track_caller]
fn not_seen<After: DeserializeOwned + Debug + PartialEq + 'static>(
    before: impl Serialize + 'static,
    after: After,
) {
    assert_eq!(read_as::<After>(&before), Ok(after));
}

#[track_caller]
fn same<T: Serialize + DeserializeOwned + PartialEq + Debug + 'static>(value: T) {
    let (bytes, shape) = encoded(&value);
    assert_eq!(codec::decode::<T>(&bytes, shape).as_ref(), Ok(&value));
    assert_eq!(codec::survives::<T>(&bytes, shape), Ok(()));
    let mut reader = std::io::BufReader::with_capacity(16, bytes.as_slice());
    let streamed = codec::decode_from::<T>(&mut reader, bytes.len() as u64, shape);
    assert_eq!(streamed.as_ref(), Ok(&value));
    assert_eq!(bytes, codec::tests::plain(&value), "the bytes are not those of bincode");
}

/// The same names in two modules: a type before and after it was changed.
macro_rules! versions {
    ($name:ident: { $($before:item)* } => { $($after:item)* }) => {
        mod $name {
            pub(super) mod before {
                $(#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)] $before)*
            }
            pub(super) mod after {
                $(#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)] $after)*
            }
        }
    };
}

// ---- Changes that must be a miss ----

versions!(field_added: {
    pub(crate) struct S { pub(crate) a: u8, pub(crate) b: u8 }
} => {
    pub(crate) struct S { pub(crate) a: u8, pub(crate) b: u8, pub(crate) c: u8 }
});

versions!(unit_added: {
    pub(crate) struct S { pub(crate) a: u8 }
} => {
    pub(crate) struct S { pub(crate) a: u8, pub(crate) b: () }
});

#[test]
fn field_added_or_dropped() {
    // A result of the version before the new field is read with the field made up from other bytes.
    use field_added::{after, before};
    changed::<after::S>(before::S { a: 1, b: 2 });
    changed_unseen::<after::S>((before::S { a: 1, b: 2 }, 3_u8));
    changed::<before::S>(after::S { a: 1, b: 2, c: 3 });
    changed_unseen::<(before::S, u8)>(after::S { a: 1, b: 2, c: 3 });
    changed_unseen::<Vec<after::S>>(Vec::from([[1_u8; 3]; 3]));
    changed_unseen::<unit_added::after::S>(unit_added::before::S { a: 1 });
    changed_unseen::<unit_added::before::S>(unit_added::after::S { a: 1, b: () });
}

versions!(field_renamed: {
    pub(crate) struct S { pub(crate) width: u32, pub(crate) depth: u32 }
    pub(crate) enum E { V { width: u32 } }
} => {
    pub(crate) struct S { pub(crate) width: u32, pub(crate) height: u32 }
    pub(crate) enum E { V { height: u32 } }
});

#[test]
fn field_renamed() {
    // A field with a new meaning gets the old numbers.
    use field_renamed::{after, before};
    changed_unseen::<after::S>(before::S { width: 1, depth: 2 });
    changed_unseen::<Vec<after::S>>(vec![before::S { width: 1, depth: 2 }]);
    changed_unseen::<Option<Vec<after::S>>>(Some(vec![before::S { width: 1, depth: 2 }]));
    changed_unseen::<HashMap<u8, after::S>>(HashMap::from([(1_u8, before::S { width: 1, depth: 2 })]));
    changed_unseen::<after::E>(before::E::V { width: 1 });
}

versions!(fields_swapped: {
    pub(crate) struct S { pub(crate) width: u32, pub(crate) height: u32 }
} => {
    pub(crate) struct S { pub(crate) height: u32, pub(crate) width: u32 }
});

#[test]
fn fields_in_another_order() {
    // Width and height change places.
    use fields_swapped::{after, before};
    changed_unseen::<after::S>(before::S { width: 1, height: 2 });
}

versions!(field_retyped: {
    pub(crate) struct S<T> { pub(crate) a: T, pub(crate) b: u8 }
} => {
    pub(crate) struct S<T> { pub(crate) a: T, pub(crate) b: u8 }
});

#[test]
fn field_retyped() {
    // Small numbers have the same bytes in all widths, so the bytes alone can't tell.
    use field_retyped::{after, before};
    changed_unseen::<after::S<u16>>(before::S { a: 5_u32, b: 1 });
    changed_unseen::<after::S<u64>>(before::S { a: 5_u32, b: 1 });
    changed_unseen::<after::S<u128>>(before::S { a: 5_u32, b: 1 });
    changed_unseen::<after::S<i32>>(before::S { a: 5_u32, b: 1 });
    changed_unseen::<after::S<u8>>(before::S { a: 5_u32, b: 1 });
    changed_unseen::<after::S<i8>>(before::S { a: 5_u8, b: 1 });
    changed_unseen::<after::S<bool>>(before::S { a: 1_u8, b: 1 });
    changed_unseen::<after::S<char>>(before::S { a: 65_u8, b: 1 });
    changed_unseen::<after::S<f32>>(before::S { a: [1_u8; 4], b: 1 });
    changed_unseen::<after::S<[u8; 4]>>(before::S { a: 1_f32, b: 1 });
    changed_unseen::<after::S<usize>>(before::S { a: 7_isize, b: 1 });
    changed_unseen::<after::S<String>>(before::S { a: b"text".to_vec(), b: 1 });
    changed_unseen::<after::S<Vec<u8>>>(before::S { a: "text".to_owned(), b: 1 });
    changed_unseen::<after::S<Vec<u8>>>(before::S { a: CString::new("text").unwrap(), b: 1 });
    changed_unseen::<after::S<Option<u8>>>(before::S { a: (1_u8, 2_u8), b: 1 });
    changed_unseen::<after::S<(u8, u8)>>(before::S { a: Some(1_u8), b: 1 });
    changed_unseen::<after::S<u8>>(before::S { a: None::<u8>, b: 1 });
    changed_unseen::<after::S<bool>>(before::S { a: None::<u8>, b: 1 });
    changed_unseen::<after::S<Option<u8>>>(before::S { a: false, b: 1 });
    changed_unseen::<after::S<Vec<u16>>>(before::S { a: BTreeMap::<u16, u16>::new(), b: 1 });
    changed_unseen::<after::S<BTreeMap<u8, u16>>>(before::S { a: BTreeMap::from([(1_u16, 1_u16)]), b: 1 });
    changed_unseen::<after::S<BTreeMap<u16, u8>>>(before::S { a: BTreeMap::from([(1_u16, 1_u16)]), b: 1 });
    changed_unseen::<after::S<((u8, u8), u8)>>(before::S { a: (1_u8, (2_u8, 3_u8)), b: 1 });
    changed_unseen::<after::S<(u8,)>>(before::S { a: 1_u8, b: 1 });
    changed_unseen::<after::S<Option<Option<u8>>>>(before::S { a: Some((1_u8, 1_u8)), b: 1 });
}

#[test]
fn whole_value_retyped() {
    // The result type itself was changed, not a field of it.
    changed_unseen::<u64>(5_u32);
    changed_unseen::<String>(b"text".to_vec());
    changed_unseen::<Vec<u8>>("text".to_owned());
    changed_unseen::<Vec<u64>>(vec![1_u32, 2]);
    changed_unseen::<Vec<i8>>(vec![1_u8, 2]);
    changed_unseen::<Vec<(u8, u8)>>(BTreeMap::from([(1_u8, 2_u8)]));
    changed_unseen::<BTreeMap<u8, u8>>(vec![(1_u8, 2_u8)]);
    changed_unseen::<Option<u8>>(vec![7_u8]);
    changed::<[u8; 3]>([1_u8, 2]);
    changed_unseen::<([u8; 2], u8)>([1_u8, 2, 3]);
    changed_unseen::<[[u8; 2]; 3]>([[1_u8; 3]; 2]);
    changed_unseen::<[u8; 3]>((1_u8, 2_u8, 3_u8, ()));
    changed_unseen::<()>([(); 1]);
    changed_unseen::<Vec<Vec<()>>>(vec![0_u8]);
    changed_unseen::<Duration>((1_u64, 2_u32));
    changed_unseen::<Range<u64>>(Range { start: 1_u32, end: 2 });
    changed_unseen::<RangeInclusive<u32>>(Range { start: 1_u32, end: 2 });
    changed_unseen::<IpAddr>(SocketAddrKind::V4([127, 0, 0, 1]));
}

#[derive(Serialize)]
enum SocketAddrKind {
    V4([u8; 4]),
}

versions!(kinds_of_struct: {
    pub(crate) struct S { pub(crate) a: u8 }
    pub(crate) struct T(pub(crate) u8);
    pub(crate) struct U(pub(crate) u8, pub(crate) u8);
    pub(crate) struct V;
} => {
    pub(crate) struct S(pub(crate) u8);
    pub(crate) struct T(pub(crate) u8, pub(crate) ());
    pub(crate) struct U { pub(crate) a: u8, pub(crate) b: u8 }
    pub(crate) struct V {}
});

versions!(renamed_types: {
    pub(crate) struct Metres(pub(crate) u8);
    pub(crate) struct Point { pub(crate) x: u8 }
    pub(crate) struct Pair(pub(crate) u8, pub(crate) u8);
    pub(crate) struct Nothing;
    pub(crate) enum Either { A(u8) }
} => {
    pub(crate) struct Feet(pub(crate) u8);
    pub(crate) struct Place { pub(crate) x: u8 }
    pub(crate) struct Couple(pub(crate) u8, pub(crate) u8);
    pub(crate) struct Empty;
    pub(crate) enum Or { A(u8) }
});

#[test]
fn struct_in_another_form_or_of_another_name() {
    // A newtype is there to tell metres from feet; its bytes are those of the number.
    use kinds_of_struct::{after, before};
    changed_unseen::<after::S>(before::S { a: 1 });
    changed_unseen::<after::T>(before::T(1));
    changed_unseen::<after::U>(before::U(1, 2));
    changed_unseen::<after::V>(before::V);
    changed_unseen::<u8>(before::T(1));
    changed_unseen::<before::T>(1_u8);
    changed_unseen::<(u8, u8)>(before::U(1, 2));
    changed_unseen::<(u8,)>(before::S { a: 1 });
    changed_unseen::<()>(before::V);
    changed_unseen::<HashMap<String, u8>>(BTreeMap::from([("a".to_owned(), before::T(1))]));
    use renamed_types::{after as new, before as old};
    changed_unseen::<new::Feet>(old::Metres(1));
    changed_unseen::<new::Place>(old::Point { x: 1 });
    changed_unseen::<new::Couple>(old::Pair(1, 2));
    changed_unseen::<new::Empty>(old::Nothing);
    changed_unseen::<new::Or>(old::Either::A(1));
}

#[test]
fn struct_becomes_map() {
    // A map of one entry whose bytes are those of a struct.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct S {
        a: u8,
        b: u8,
        c: u8,
    }
    changed_unseen::<BTreeMap<u8, u8>>(S { a: 1, b: 2, c: 3 });
    changed_unseen::<S>(BTreeMap::from([(2_u8, 3_u8)]));
}

versions!(variants: {
    pub(crate) enum Reordered { A, B }
    pub(crate) enum Renamed { A(u8), B(u8) }
    pub(crate) enum Inserted { A, C }
    pub(crate) enum Dropped { A, B(u8), C(u8) }
    pub(crate) enum Retyped { A(u32) }
    pub(crate) enum Form { A(u8), B(u8, u8), C { a: u8 }, D }
    pub(crate) enum Boxed { A }
} => {
    pub(crate) enum Reordered { B, A }
    pub(crate) enum Renamed { A(u8), C(u8) }
    pub(crate) enum Inserted { A, B, C }
    pub(crate) enum Dropped { A, C(u8) }
    pub(crate) enum Retyped { A(i32) }
    pub(crate) enum Form { A { a: u8 }, B((u8, u8)), C(u8), D() }
    pub(crate) enum Boxed { A, B }
});

#[test]
fn variants_changed() {
    // An enum's bytes are the number of the variant: an old `B` becomes an `A`.
    use variants::{after, before};
    changed_unseen::<after::Reordered>(before::Reordered::A);
    changed_unseen::<after::Reordered>(before::Reordered::B);
    changed_unseen::<after::Renamed>(before::Renamed::B(1));
    changed_unseen::<after::Inserted>(before::Inserted::C);
    changed::<before::Inserted>(after::Inserted::C);
    changed_unseen::<after::Dropped>(before::Dropped::B(1));
    changed::<after::Dropped>(before::Dropped::C(1));
    changed_unseen::<after::Retyped>(before::Retyped::A(1));
    changed_unseen::<after::Form>(before::Form::A(1));
    changed_unseen::<after::Form>(before::Form::B(1, 2));
    changed_unseen::<after::Form>(before::Form::C { a: 1 });
    changed_unseen::<after::Form>(before::Form::D);
    changed_unseen::<u8>(before::Boxed::A);
    changed_unseen::<Option<u8>>(before::Boxed::A);
    changed_unseen::<bool>(before::Boxed::A);
    changed_unseen::<before::Boxed>(false);
    changed_unseen::<Result<u8, u16>>(Err::<u16, u8>(3));
    changed_unseen::<Result<u16, u8>>(Ok::<u8, u16>(1));
}

#[test]
fn variants_that_the_value_does_not_use() {
    // Adding a variant must not cost everyone their cache.
    use variants::{after, before};
    not_seen(before::Boxed::A, after::Boxed::A);
    not_seen(vec![before::Inserted::A], vec![after::Inserted::A]);
    not_seen(before::Renamed::A(7), after::Renamed::A(7));
}

#[test]
fn deep_inside() {
    // A change in the second variant of an element of a map in a list is a change of the result.
    type Deep<T> = Vec<HashMap<String, (u8, Option<Result<Vec<T>, u8>>)>>;
    fn deep<T>(inner: Vec<T>) -> Deep<T> {
        vec![
            HashMap::new(),
            HashMap::from([("a".to_owned(), (1, None)), ("b".to_owned(), (2, Some(Ok(inner))))]),
        ]
    }
    use field_renamed::{after, before};
    same(deep(vec![before::S { width: 1, depth: 2 }]));
    changed_unseen::<Deep<after::S>>(deep(vec![before::S { width: 1, depth: 2 }]));
    changed_unseen::<Deep<u16>>(deep(vec![1_u8]));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct W<T>(T);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pair<A, B> {
    a: A,
    b: B,
}

#[test]
fn generic_types_have_one_name() {
    // `W<String>` and `W<Vec<u8>>` are both "W" for serde: exchanged, each is read as the other.
    changed_unseen::<Pair<W<Vec<u8>>, W<String>>>(Pair { a: W("a".to_owned()), b: W(b"b".to_vec()) });
    changed_unseen::<(W<Vec<u8>>, W<String>)>((W("a".to_owned()), W(b"b".to_vec())));
    changed_unseen::<(Result<u8, u8>, Result<u16, u8>)>((Ok::<u16, u8>(1), Ok::<u8, u8>(1)));
    changed_unseen::<W<u8>>(W(W(1_u8)));
    changed_unseen::<W<W<u8>>>(W(1_u8));
    changed_unseen::<W<W<u8>>>(W(W(W(1_u8))));
    changed_unseen::<W<W<W<u8>>>>(W(W(1_u8)));
    changed_unseen::<W<W<W<W<u8>>>>>(W(W(W(1_u8))));
    changed_unseen::<W<W<W<Vec<u8>>>>>(W(W(W("a".to_owned()))));
    same(W(W(W(W(W(1_u8))))));
    same(vec![W(Ok::<W<W<Vec<W<u8>>>>, W<u8>>(W(W(vec![W(1), W(2)])))), W(Err(W(1)))]);
    same(Pair {
        a: Pair { a: Pair { a: Pair { a: 1_u8, b: 2_u16 }, b: 3_u32 }, b: "x".to_owned() },
        b: [1_u8; 3],
    });
}

#[test]
fn elements_of_several_kinds() {
    // Only the last of many elements tells that the type has changed.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Old {
        A,
        B(u8),
        C(Option<u32>),
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename = "Old")]
    enum New {
        A,
        B(u8),
        C(Option<i32>),
    }
    let values = |last| -> Vec<Old> {
        (0..1000_u32).map(|n| if n % 2 == 0 { Old::A } else { Old::B(n as u8) }).chain([last]).collect()
    };
    assert!(read_as::<Vec<New>>(&values(Old::C(None))).is_ok());
    changed_unseen::<Vec<New>>(values(Old::C(Some(1))));
}

// ---- Options whose first value is `None` ----

/// A struct of optional parts, each of a type of its own: more of them than one place may have kinds.
macro_rules! wide {
    ($($part:ident)*) => {
        $(
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            struct $part(u8);
        )*

        #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
        #[expect(non_snake_case, reason = "each field is called as its type is")]
        struct Wide { $($part: Option<$part>),* }

        fn full() -> Wide {
            Wide { $($part: Some($part(1))),* }
        }
    };
}

wide!(
    W00 W01 W02 W03 W04 W05 W06 W07 W08 W09 W10 W11 W12 W13 W14 W15 W16 W17 W18 W19
    W20 W21 W22 W23 W24 W25 W26 W27 W28 W29 W30 W31 W32 W33 W34 W35 W36 W37 W38 W39
    W40 W41 W42 W43 W44 W45 W46 W47 W48 W49 W50 W51 W52 W53 W54 W55 W56 W57 W58 W59
    W60 W61 W62 W63 W64 W65 W66 W67 W68 W69 W70 W71 W72 W73 W74 W75 W76 W77 W78 W79
);

#[test]
fn none_before_some() {
    // A list whose first element lacks what the others have can't be stored, or is taken for another type's.
    assert_eq!(encoded(&vec![None, Some(1_u32)]).1, encoded(&vec![Some(1_u32), None]).1);
    assert_eq!(encoded(&vec![Wide::default(), full()]).1, encoded(&vec![full(), Wide::default()]).1);
    let places = |kinds: [Kind; 2]| {
        let mut facts = Facts::new();
        for kind in kinds {
            match kind {
                Kind::Unit => facts.leaf(ROOT, Kind::Option),
                _ => {
                    let inside = facts.enter(ROOT, 0, Kind::Option, 0).unwrap();
                    assert_ne!(inside, ROOT, "what is inside has a place of its own");
                    facts.leaf(inside, kind);
                }
            }
        }
        facts.places.len()
    };
    assert_eq!(places([Kind::Unit, Kind::U8]), places([Kind::U8, Kind::Unit]));
    same(vec![Wide::default(), full(), Wide::default()]);
    same(vec![Some(full()), None, Some(Wide::default())]);
    same(vec![None, Some(vec![None, Some((None::<u8>, Some("text".to_owned())))])]);
}

#[test]
fn none_before_some_of_another_type() {
    // The type of an optional part was changed, and the old values are read as the new ones.
    changed_unseen::<Vec<Option<u64>>>(vec![None, Some(1_u32)]);
    changed_unseen::<Vec<Option<String>>>(vec![None, Some(vec![7_u8])]);
    changed_unseen::<Vec<Option<Vec<u16>>>>(vec![None, Some(vec![7_u8])]);
    changed_unseen::<Vec<Option<W01>>>(vec![None, Some(W00(1))]);
    changed_unseen::<Vec<Option<Option<bool>>>>(
        vec![None, Some(true), Some(false)]
            .into_iter()
            .map(|truth| truth.map(|truth| truth.then_some(1_u8)))
            .collect::<Vec<_>>(),
    );
    changed_unseen::<Vec<(Option<u16>, Option<u8>)>>(vec![(None, None), (Some(1_u8), Some(2_u16))]);
}

// ---- Unchanged types must be read ----

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Clone, Serialize, Deserialize)]
enum Many {
    Unit,
    Newtype(u32),
    Tuple(u8, String),
    Struct { a: i64, b: Option<Box<Many>> },
    EmptyTuple(),
    EmptyStruct {},
    More(Vec<Many>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    many: Vec<Many>,
    #[serde(rename = "the tuple")]
    tuple: (u8, (i16, char), [u64; 3]),
    #[serde(default)]
    map: BTreeMap<String, Vec<Option<f64>>>,
    #[serde(skip)]
    skipped: u64,
    unit: (),
    marker: PhantomData<u8>,
    #[serde(with = "as_text")]
    with: u32,
    raw_kind: Raw,
    last: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Raw {
    r#type: u8,
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn many() -> Vec<Many> {
    vec![
        Many::Unit,
        Many::More(vec![]),
        Many::Newtype(1 << 20),
        Many::Tuple(1, "x".repeat(300)),
        Many::Struct { a: -5, b: Some(Box::new(Many::Struct { a: 5, b: None })) },
        Many::EmptyTuple(),
        Many::EmptyStruct {},
        Many::More(vec![Many::More(vec![Many::More(vec![Many::Unit, Many::Newtype(1)])])]),
    ]
}

#[test]
fn derived_types() {
    // A type that was not changed is never found again.
    same(Everything {
        many: many(),
        tuple: (1, (-2, 'ß'), [3, u64::MAX, 0]),
        map: BTreeMap::from([("a".to_owned(), vec![None, Some(1.5)]), (String::new(), vec![])]),
        skipped: 0,
        unit: (),
        marker: PhantomData,
        with: 77,
        raw_kind: Raw { r#type: 1 },
        last: 9,
    });
    many().into_iter().for_each(same);
    same((0..40).map(|n| if n % 3 == 0 { Many::Unit } else { Many::Newtype(n) }).collect::<Vec<_>>());
}

#[test]
fn numbers_and_texts() {
    // The simplest results.
    macro_rules! edges {
        ($($number:ty),*) => {
            $(for number in [<$number>::MIN, <$number>::MAX, 0 as $number, 1 as $number, 100 as $number] {
                same(number);
                same(Some(number));
                same(vec![number; 3]);
                same(Box::<[$number]>::from([number; 300]));
            }
            same(Vec::<$number>::new());
            same((0..1000).map(|number| number as $number).collect::<Vec<$number>>());)*
        };
    }
    edges!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64);
    same(true);
    same([false, true]);
    for character in ['\0', 'a', 'ß', '水', '😀', char::MAX] {
        same(character);
    }
    same(String::new());
    same("水".repeat(1000));
    same(());
    same(CString::new("bytes").unwrap());
    same(Wrapping(5_u8));
    same(Reverse(7_i32));
    same(NonZero::new(9_u16).unwrap());
}

#[test]
fn std_types() {
    // The types that results are made of.
    same(Some(Some(None::<u8>)));
    same(Ok::<u8, String>(1));
    same(vec![Ok(1), Err("e".to_owned()), Ok::<u8, String>(2)]);
    same(Duration::new(5, 6));
    same(UNIX_EPOCH + Duration::new(5, 6));
    same(PathBuf::from("some/path"));
    same(OsString::from("os"));
    same(IpAddr::from([127, 0, 0, 1]));
    same(vec![IpAddr::from([0_u16; 8]), IpAddr::from([127, 0, 0, 1])]);
    same("127.0.0.1:80".parse::<SocketAddr>().unwrap());
    same("[::1]:80".parse::<SocketAddr>().unwrap());
    same(1..5_u8);
    same(1..=5_u8);
    same((Bound::Included(1_u8), Bound::Excluded(2_u8)));
    same(Box::new(1_u8));
    same(Arc::new(vec![1_u8]));
    same(Arc::<str>::from("shared"));
    same(Arc::<[u16]>::from([1, 2]));
    same(Box::<str>::from("boxed"));
    same(Cow::<'static, str>::Owned("cow".to_owned()));
    same(Cell::new(1_u8));
    same(RefCell::new(vec![1_u8]));
    same(PhantomData::<String>);
    same([[1_u8; 2]; 3]);
    same([0_u16; 32]);
    same([(); 0]);
    same(vec![(); 1000]);
    same((1_u8, 2_u16, 3_u32, 4_u64, 5_i8, 6_i16, 7_i32, 8_i64, 'c', true, (), "s".to_owned()));
    same(VecDeque::from([1_u8, 2]));
    same(LinkedList::from([1_u8, 2]));
    same(BTreeSet::from([1_u8, 2]));
    same(BTreeMap::from([((1_u8, 'a'), vec![Some(2_u8)])]));
    let heap = BinaryHeap::from([1_u8, 2, 3]);
    assert_eq!(read_as::<BinaryHeap<u8>>(&heap).unwrap().into_sorted_vec(), [1, 2, 3]);
}

#[test]
fn maps_in_any_order() {
    // Nearly every hash map is in another order after it was read: it would never be stored.
    let map: HashMap<String, Vec<u32>> = (0..100).map(|n| (n.to_string(), vec![n; 3])).collect();
    let (bytes, shape) = encoded(&map);
    assert_eq!(codec::decode(&bytes, shape), Ok(map));
    assert_eq!(codec::survives::<HashMap<String, Vec<u32>>>(&bytes, shape), Ok(()));
    let set: HashSet<u64> = (0..1000).collect();
    let (bytes, shape) = encoded(&set);
    assert_eq!(codec::decode(&bytes, shape), Ok(set));
    assert_eq!(codec::survives::<HashSet<u64>>(&bytes, shape), Ok(()));
    let mixed: HashMap<u32, Many> =
        many().into_iter().cycle().take(100).enumerate().map(|(n, many)| (n as u32, many)).collect();
    let (bytes, shape) = encoded(&mixed);
    assert_eq!(codec::decode(&bytes, shape), Ok(mixed));
    assert_eq!(codec::survives::<HashMap<u32, Many>>(&bytes, shape), Ok(()));
}

#[test]
fn fingerprint_is_of_the_type() {
    // Two values of one type in one order or the other are equally shaped; and the format is fixed: if this number
    // changes, everyone's cache is lost.
    let one = encoded(&many()).1;
    let mut turned = many();
    turned.reverse();
    assert_eq!(encoded(&turned).1, one);
    assert_eq!(one, 15_581_462_126_070_213_126);
    assert_eq!(encoded(&vec![1_u8, 2]).1, encoded(&VecDeque::from([3_u8])).1);
    assert_ne!(encoded(&vec![1_u8, 2]).1, encoded(&vec![1_i8, 2]).1);
}

#[test]
fn large_enums() {
    // Variants beyond the first few are found another way.
    macro_rules! large {
        ($($variant:ident)*) => {
            #[derive(Debug, PartialEq, Serialize, Deserialize)]
            enum Large { $($variant(u8)),* }
            fn all() -> Vec<Large> { vec![$(Large::$variant(1)),*] }
        };
    }
    large!(A00 A01 A02 A03 A04 A05 A06 A07 A08 A09 A10 A11 A12 A13 A14 A15 A16 A17 A18 A19 A20 A21 A22 A23 A24 A25
        B00 B01 B02 B03 B04 B05 B06 B07 B08 B09 B10 B11 B12 B13 B14 B15 B16 B17 B18 B19 B20 B21 B22 B23 B24 B25
        C00 C01 C02 C03 C04 C05 C06 C07 C08 C09 C10 C11 C12 C13 C14 C15 C16 C17 C18 C19 C20 C21 C22 C23 C24 C25
        D00 D01 D02 D03 D04 D05 D06 D07 D08 D09 D10 D11 D12 D13 D14 D15 D16 D17 D18 D19 D20 D21 D22 D23 D24 D25);
    same(all());
    same(all().pop().unwrap());
    let mut turned = all();
    turned.reverse();
    assert_eq!(encoded(&turned).1, encoded(&all()).1);
}

#[test]
fn tuples_of_many_elements() {
    // Elements from the 32nd on share a place.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct T(
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        u8,
        String,
        u64,
        Option<u8>,
        u64,
    );
    let t = || {
        T(
            0,
            1,
            2,
            3,
            4,
            5,
            6,
            7,
            8,
            9,
            10,
            11,
            12,
            13,
            14,
            15,
            16,
            17,
            18,
            19,
            20,
            21,
            22,
            23,
            24,
            25,
            26,
            27,
            28,
            29,
            30,
            31,
            "x".to_owned(),
            33,
            Some(34),
            35,
        )
    };
    same(t());
    same(vec![t(), t()]);
}

// ---- Types that can't be stored ----

#[track_caller]
fn not_encoded(value: impl Serialize + 'static, reason: &str) {
    let error = codec::encode(&value, &mut Vec::new()).unwrap_err();
    assert!(error.contains(reason), "{error}");
}

#[track_caller]
fn does_not_survive<T: Serialize + DeserializeOwned + 'static>(value: T) -> String {
    let (bytes, shape) = encoded(&value);
    assert!(codec::decode::<T>(&bytes, shape).is_err());
    codec::survives::<T>(&bytes, shape).unwrap_err()
}

#[test]
fn types_for_formats_that_describe_themselves() {
    // Such a type panics, or is read as something else.
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        A(u8),
        B { b: String },
    }
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Internal {
        A { a: u8 },
        B,
    }
    #[derive(Serialize, Deserialize)]
    struct Flat {
        a: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    }
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "type", content = "value")]
    enum Adjacent {
        A(u8),
    }
    let reason = does_not_survive(Untagged::A(1));
    assert!(reason.contains("describes itself"), "{reason}");
    does_not_survive(Untagged::B { b: "b".to_owned() });
    does_not_survive(vec![Untagged::A(1)]);
    does_not_survive(Internal::A { a: 1 });
    does_not_survive(Internal::B);
    does_not_survive(Adjacent::A(1));
    does_not_survive(serde_json::json!({"a": [1, "b", null]}));
    not_encoded(Flat { a: 1, rest: BTreeMap::new() }, "does not know its length");
}

#[test]
fn fields_left_out() {
    // Who reads takes the next field for the one that was left out.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sparse {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        a: Option<u8>,
        b: u8,
    }
    not_encoded(Sparse { a: None, b: 1 }, "`a` is left out");
    same(Sparse { a: Some(2), b: 1 });

    #[derive(Serialize, Deserialize)]
    struct OneWay {
        #[serde(skip_serializing)]
        #[expect(dead_code, reason = "skipped")]
        a: u8,
        b: u8,
    }
    does_not_survive(vec![OneWay { a: 1, b: 2 }, OneWay { a: 3, b: 4 }]);

    #[derive(Serialize, Deserialize)]
    struct Alias {
        #[serde(alias = "old")]
        a: u8,
        b: u8,
    }
    does_not_survive(Alias { a: 1, b: 2 });
}

#[test]
fn skipped_variants() {
    // serde counts skipped variants when it writes, and does not when it reads: D would become C.
    #[derive(Debug, Serialize, Deserialize)]
    enum Skipping {
        A,
        #[serde(skip)]
        #[expect(dead_code, reason = "skipped")]
        B,
        C,
        D,
        E,
    }
    assert!(read_as::<Skipping>(&Skipping::A).is_ok());
    does_not_survive(Skipping::C);
    does_not_survive(Skipping::D);
    does_not_survive(Skipping::E);
}

/// Sends what it is told to.
enum Liar {
    Seq { len: usize, elements: usize },
    Tuple { len: usize, elements: usize },
    Struct { len: usize, fields: &'static [&'static str] },
    Map { len: usize, entries: usize },
    Variant(u32),
}

impl Serialize for Liar {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple};
        match *self {
            Liar::Seq { len, elements } => {
                let mut seq = serializer.serialize_seq(Some(len))?;
                (0..elements).try_for_each(|_| seq.serialize_element(&1_u8))?;
                seq.end()
            }
            Liar::Tuple { len, elements } => {
                let mut tuple = serializer.serialize_tuple(len)?;
                (0..elements).try_for_each(|_| tuple.serialize_element(&1_u8))?;
                tuple.end()
            }
            Liar::Struct { len, fields } => {
                let mut tuple = serializer.serialize_struct("Liar", len)?;
                fields.iter().try_for_each(|field| tuple.serialize_field(field, &1_u8))?;
                tuple.end()
            }
            Liar::Map { len, entries } => {
                let mut map = serializer.serialize_map(Some(len))?;
                (0..entries).try_for_each(|_| map.serialize_entry(&1_u8, &1_u8))?;
                map.end()
            }
            Liar::Variant(index) => serializer.serialize_unit_variant("Liar", index, "V"),
        }
    }
}

#[test]
fn lengths_that_do_not_hold() {
    // What follows is read from the wrong place.
    not_encoded((Liar::Seq { len: 2, elements: 1 }, 1_u8), "fewer elements");
    not_encoded((Liar::Seq { len: 2, elements: 3 }, 1_u8), "more elements");
    not_encoded(Liar::Seq { len: usize::MAX, elements: 3 }, "fewer elements");
    not_encoded((Liar::Tuple { len: 2, elements: 1 }, 1_u8), "not as many fields");
    not_encoded((Liar::Tuple { len: 2, elements: 3 }, 1_u8), "not as many fields");
    not_encoded(Liar::Tuple { len: usize::MAX, elements: 3 }, "4,294,967,295");
    not_encoded(Liar::Struct { len: 2, fields: &["a"] }, "not as many fields");
    not_encoded(Liar::Struct { len: 2, fields: &["a", "b", "c"] }, "not as many fields");
    not_encoded(Liar::Struct { len: 1 << 31, fields: &["a"] }, "not as many fields");
    not_encoded(Liar::Map { len: 2, entries: 1 }, "fewer elements");
    not_encoded(Liar::Map { len: 2, entries: 3 }, "more elements");
    not_encoded(Liar::Variant(1 << 16), "65,536 variants");
    encoded(&Liar::Variant(u32::from(u16::MAX)));
}

#[test]
fn kinds_without_end() {
    // A custom `Serialize` that makes up types as it goes takes all memory.
    let tuples = |count| (0..count).map(|len| Liar::Tuple { len, elements: len }).collect::<Vec<_>>();
    encoded(&tuples(20));
    not_encoded(tuples(100), "too many kinds");
}

#[test]
fn places_of_several_kinds() {
    // Types nested in types of the same name share places; two that were exchanged there are read for each other.
    changed_unseen::<W<W<W<(W<String>, W<u8>)>>>>(W(W(W((W(1_u8), W("a".to_owned()))))));
    changed_unseen::<W<W<W<(W<Option<u8>>, W<(u8, u8)>)>>>>(W(W(W((W((1_u8, 2_u8)), W(Some(3_u8)))))));
    same(W(W(W((W(1_u8), W("a".to_owned()), vec![W(2_u16), W(3)])))));
    let structs = |fields: [&'static [&'static str]; 3]| {
        encoded(&Vec::from(fields.map(|fields| Liar::Struct { len: fields.len(), fields }))).1
    };
    let one = structs([&["a", "b"], &["c", "b"], &["a", "d"]]);
    assert_ne!(structs([&["a", "b"], &["a", "d"], &["c", "b"]]), one);
    assert_ne!(structs([&["a", "b"], &["c", "b"], &["a", "b"]]), one);
}

// ---- What it does not see ----

#[test]
fn stated_exceptions() {
    // The list in the module's documentation is not true.
    use fields_swapped::{after, before};
    not_seen(Vec::<before::S>::new(), Vec::<after::S>::new());
    not_seen(None::<before::S>, None::<after::S>);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(transparent)]
    struct Transparent(u8);
    not_seen(Transparent(1), 1_u8);
    not_seen(Box::new(1_u8), Arc::new(1_u8));
    not_seen(vec![1_u8, 2, 2], BTreeSet::from([1_u8, 2]));
    not_seen(HashMap::from([(1_u8, 2_u8)]), BTreeMap::from([(1_u8, 2_u8)]));
    not_seen("path".to_owned(), PathBuf::from("path"));
    not_seen(Ipv4Addr::LOCALHOST, [127_u8, 0, 0, 1]);
    not_seen((1_u8, 2_u8), [1_u8, 2_u8]);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename = "S")]
    struct Renamed {
        width: u32,
        #[serde(rename = "height")]
        depth: u32,
    }
    not_seen(before::S { width: 1, height: 2 }, Renamed { width: 1, depth: 2 });
}

#[test]
fn round_trip_that_changes_the_value() {
    // A type whose `Deserialize` does not undo its `Serialize` is stored, and comes back as something else.
    #[derive(Deserialize)]
    struct Grows(u8);
    impl Serialize for Grows {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_newtype_struct("Grows", &(self.0 + 1))
        }
    }
    let (bytes, shape) = encoded(&Grows(1));
    assert!(codec::survives::<Grows>(&bytes, shape).is_err());
}
