//! A cache directory that was written by format version 1, long ago: `tests/golden/v1`. What users have on their disks looks
//! like that. It is never written anew because a test fails: either what broke it is mended, or the format gets another
//! version, and another directory beside this one.
//!
//! A key covers the names of the types of arguments and result, so those below stay in this module, under these names.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memopool::{Explain, Func, Pool, Source};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Place, Told, bare, bytes_of, files_in};
use crate::{build, in_time};

/// Makes segments of 64 KiB, so that what has more than 16 KiB has a file of its own.
const BOUND: u64 = 4 << 20;

/// A hundred years.
const LONG: Duration = Duration::from_secs(100 * 365 * 86_400);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Nothing;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Metres(f64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pair(i16, char);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Person {
    name: String,
    age: Option<u8>,
    tags: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Circle(f64),
    Line(i32, i32),
    Box { width: u32, height: u32 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Tree {
    shape: Shape,
    owners: BTreeMap<String, Option<Person>>,
    children: Vec<Tree>,
}

type Ask = dyn Fn(&Pool) -> Option<Source>;

/// A call whose result is in the directory.
struct Case {
    name: &'static str,
    /// How it is packed.
    how: How,
    /// Makes the call, fails unless the result is right, and says where it came from.
    ask: Box<Ask>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Plain,
    Lz4,
    Zstd,
}

impl How {
    /// Whether this build can read it.
    fn is_readable(self) -> bool {
        match self {
            How::Plain => true,
            How::Lz4 => cfg!(feature = "lz4"),
            How::Zstd => cfg!(feature = "zstd"),
        }
    }
}

fn case<A, R, F>(name: &'static str, args: A, body: F) -> Case
where
    A: Serialize + Clone + Send + Sync + 'static,
    R: Serialize + DeserializeOwned + Debug + PartialEq + Send + Sync + 'static,
    F: Fn(A) -> R + Copy + Send + Sync + 'static,
{
    let func = Func::new(format!("golden_v1::{name}"), body).version(1);
    let func = if name == "expires" { func.ttl(LONG) } else { func };
    let right = body(args.clone());
    let ask = move |pool: &Pool| {
        let task = pool.submit(func.call(args.clone()));
        assert_eq!(*task.wait().unwrap(), right, "{name}");
        task.source()
    };
    Case { name, how: How::Plain, ask: Box::new(ask) }
}

fn packed(how: How, name: &'static str) -> Case {
    Case { how, ..case(name, 300, verse) }
}

fn verse(lines: u64) -> String {
    (0..lines).map(|line| format!("line {line}: to be or not to be\n")).collect()
}

fn refused() -> Func<String, u64> {
    Func::named("golden_v1::refused")
        .cache_errors()
        .fallible(|text: String| match text.parse::<u64>() {
            Ok(number) => Ok(number),
            Err(_) => Err(format!("{text}: not a number")),
        })
        .version(1)
}

/// Two that are forgotten in the directory: one as a key, the other with its whole function.
fn forgotten() -> [Func<u64, u64>; 2] {
    [
        Func::new("golden_v1::forgotten", |n: u64| n + 1).version(1),
        Func::new("golden_v1::forgotten_function", |n: u64| n + 2).version(1),
    ]
}

fn tree(depth: u32) -> Tree {
    let ada = Person { name: "Ada".into(), age: Some(36), tags: vec!["first".into(), "näive".into()] };
    let owners = [("ada".to_owned(), Some(ada)), ("nobody".to_owned(), None)];
    Tree {
        shape: Shape::Box { width: depth, height: u32::MAX },
        owners: owners.into(),
        children: (0..depth).map(tree).collect(),
    }
}

fn cases() -> Vec<Case> {
    let refused = refused();
    let error = move |pool: &Pool| {
        let task = pool.submit(refused.call("seven".into()));
        let error = task.wait().unwrap_err();
        assert!(error.is_failed() && error.to_string().contains("seven: not a number"), "{error}");
        task.source()
    };
    vec![
        case("number", 7_u64, |n: u64| n * n),
        case("negative", -7_i64, |n: i64| i128::from(n) * i128::from(i64::MAX)),
        case("float", 3_u8, |n: u8| (f64::from(n) / 7.0, f32::NEG_INFINITY, -0.0_f64)),
        case("unit", (), |()| ()),
        case("truth", (true, 'ß'), |(truth, letter): (bool, char)| (!truth, letter)),
        case("text", "grüße".to_owned(), |text: String| text.to_uppercase()),
        case("empty", String::new(), |text: String| text),
        case("bytes", (3_u64, 500_usize), |(seed, length): (u64, usize)| bytes_of(seed, length)),
        // Beyond what makes a record small.
        case("more_bytes", (4_u64, 5000_usize), |(seed, length): (u64, usize)| bytes_of(seed, length)),
        case("large", (5_u64, 20_000_usize), |(seed, length): (u64, usize)| bytes_of(seed, length)),
        case("nothing", Nothing, |nothing: Nothing| nothing),
        case("metres", 2.5_f64, Metres),
        case("pair", (-3_i16, 'x'), |(a, b): (i16, char)| Pair(a, b)),
        case("person", Some("Zoë".to_owned()), |name: Option<String>| Person {
            name: name.unwrap_or_default(),
            age: None,
            tags: Vec::new(),
        }),
        case("shape_unit", Shape::Line(1, 2), |_: Shape| Shape::Empty),
        case("shape_newtype", Shape::Empty, |_: Shape| Shape::Circle(0.1)),
        case("shape_tuple", Shape::Circle(1.5), |_: Shape| Shape::Line(i32::MIN, i32::MAX)),
        case("shape_struct", Shape::Box { width: 1, height: 2 }, |_: Shape| Shape::Box {
            width: 3,
            height: 4,
        }),
        case("some", 1_u32, |n: u32| Some(Some(n))),
        case("none", 1_u32, |_: u32| None::<Option<u32>>),
        case("result", 1_u32, |n: u32| [Ok(n), Err("no".to_owned())] as [Result<u32, String>; 2]),
        case("map", vec!["b".to_owned(), "a".to_owned()], |names: Vec<String>| {
            names.into_iter().map(|name| (name, vec![1_u8, 2])).collect::<BTreeMap<_, _>>()
        }),
        case("tree", 4_u32, tree),
        case("expires", 1_u64, |n: u64| n + 1),
        Case { name: "refused", how: How::Plain, ask: Box::new(error) },
        packed(How::Lz4, "lz4"),
        packed(How::Zstd, "zstd"),
    ]
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// Copies the files of one directory, as private as a cache has them.
fn copy(from: &Path, to: &Path) {
    for file in files_in(from) {
        let copy = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(&file, &copy).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(0o600)).unwrap();
    }
}

/// The directory as a cache of its own.
fn restored() -> Place {
    let place = Place::new();
    let v1 = place.path().join("v1");
    copy(&golden(), &v1);
    for dir in [place.path(), v1.join("seg"), v1] {
        fs::set_permissions(dir, Permissions::from_mode(0o700)).unwrap();
    }
    place
}

/// After an update, everything that was on disk is computed again, or is read as something else.
#[test]
fn what_the_first_version_wrote_is_read() {
    in_time(|| {
        for (bound, lost) in [(Some(BOUND), false), (Some(BOUND), true), (None, false), (None, true)] {
            let (place, told) = (restored(), Told::default());
            if lost {
                place.lose_index();
            }
            let disk = match bound {
                Some(bound) => place.disk().max_bytes(bound),
                None => place.disk(),
            };
            let pool = build(told.listen(bare()).disk(disk));
            let what = format!("bound: {bound:?}, without an index: {lost}");
            let mut unread = 0;
            for case in cases() {
                let readable = case.how.is_readable();
                let source = if readable { Source::Disk } else { Source::Computed };
                assert_eq!((case.ask)(&pool), Some(source), "{}, {what}", case.name);
                unread += u64::from(!readable);
            }
            let stats = pool.stats();
            // What this build can't unpack is not damaged.
            assert_eq!((stats.computed, stats.failed, stats.corrupt), (unread, 0, 0), "{what}: {stats}");
            assert_eq!(told.of("OtherBuild").len() as u64, unread, "{what}: {:?}", told.of(""));
            assert_eq!(stats.store_errors, 0, "{what}: {:?}", told.of(""));
            for func in forgotten() {
                assert_eq!(pool.get(&func.call(1)), None, "{} is back, {what}", func.name());
            }
            let newer = Func::new("golden_v1::number", |n: u64| n * n + 1).version(2);
            match pool.explain(&newer.call(7)) {
                Explain::OtherVersion { stored, .. } => assert!(stored.contains('1'), "{stored}"),
                other => panic!("version 1 is there, and not seen: {other}, {what}"),
            }
        }
    });
}

/// Two programs share a directory and one of them has no `lz4`: it computes what is packed each time, takes it for damaged,
/// or takes it from the other. (The other test has the same calls with all features.)
#[test]
fn a_build_without_a_feature_computes_once_what_is_packed() {
    in_time(|| {
        for packed in cases().into_iter().filter(|case| case.how != How::Plain) {
            let (place, name, readable) = (restored(), packed.name, packed.how.is_readable());
            let func = Func::new(format!("golden_v1::{name}"), verse).version(1);
            let pool = || build(bare().disk(place.disk()));
            let explained = pool().explain(&func.call(300));
            match &explained {
                Explain::OnDisk => assert!(readable, "{name}"),
                Explain::OtherBuild { needs } => {
                    assert!(!readable && needs.contains(name), "{name}: {needs}")
                }
                other => panic!("{name}: {other}"),
            }
            assert_eq!(explained.is_hit(), readable);
            assert_eq!(pool().get(&func.call(300)).is_some(), readable, "{name}");
            for source in [if readable { Source::Disk } else { Source::Computed }, Source::Disk] {
                let pool = pool();
                assert_eq!((packed.ask)(&pool), Some(source), "{name}");
                assert_eq!(pool.stats().corrupt, 0, "{name}");
            }
            super::say(format_args!("{name}: {explained}"));
        }
    });
}

/// Not a test: writes the directory, once for each version of the format.
#[cfg(all(feature = "lz4", feature = "zstd"))]
#[test]
#[ignore = "writes tests/golden, with MEMOPOOL_GOLDEN=write"]
fn write_the_golden_directory() {
    use memopool::Compress;

    if std::env::var_os("MEMOPOOL_GOLDEN").is_none_or(|how| how != "write") {
        return super::skip("MEMOPOOL_GOLDEN=write is not set");
    }
    in_time(|| {
        let place = Place::new();
        for how in [How::Plain, How::Lz4, How::Zstd] {
            let compress = match how {
                How::Plain => Compress::None,
                How::Lz4 => Compress::Lz4,
                How::Zstd => Compress::Zstd(3),
            };
            let disk = place.disk().max_bytes(BOUND).compress(compress);
            let pool = build(bare().disk(disk));
            for case in cases().iter().filter(|case| case.how == how) {
                (case.ask)(&pool);
            }
            if how == How::Plain {
                let [key, function] = forgotten();
                for func in [&key, &function] {
                    pool.run(func.call(1)).unwrap();
                }
                pool.flush().unwrap();
                pool.forget(&key.call(1)).unwrap();
                pool.forget_func(&function).unwrap();
            }
            pool.flush().unwrap();
        }
        assert!(!golden().exists(), "{} is there already", golden().display());
        let v1 = place.path().join("v1");
        for what in ["seg", "index", "functions"] {
            let (from, to) = (v1.join(what), golden().join(what));
            if from.is_dir() {
                copy(&from, &to);
            } else {
                fs::copy(&from, &to).unwrap();
            }
        }
        super::say(format_args!("{} bytes", super::bytes_in(&golden())));
    });
}
