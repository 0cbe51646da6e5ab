//! Which calls are the same.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use memopool::key::{Hashed, Unordered};
use memopool::{Func, Key, Pool, memo};
use serde::{Serialize, Serializer};

use crate::{Counter, in_time, pool};

/// The key of a function of one name with one argument of any type.
fn key<A: Serialize + Send + 'static>(argument: A) -> Key {
    Func::new("keys::any", |_: A| 0_u8).call(argument).key()
}

/// The same arguments in another order of insertion are computed again.
#[test]
fn maps_in_any_order_are_one_key() {
    let forward: HashMap<u32, String> = (0..100).map(|n| (n, n.to_string())).collect();
    let mut backward = HashMap::with_capacity(1_000);
    for n in (0..100).rev() {
        backward.insert(n, n.to_string());
    }
    assert_eq!(key(forward.clone()), key(backward.clone()));
    let nested = |map: &HashMap<u32, String>| HashMap::from([(1_u8, vec![map.clone()]), (2, vec![])]);
    assert_eq!(key(nested(&forward)), key(nested(&backward)));
    backward.insert(1, "another".into());
    assert_ne!(key(forward), key(backward));
}

/// The same set is another argument in each run of the program, since its order is random.
#[test]
fn an_unordered_set_is_one_key() {
    let forward: HashSet<u32> = (0..100).collect();
    let mut backward: HashSet<u32> = HashSet::with_capacity(1_000);
    backward.extend((0..100).rev());
    assert_eq!(key(Unordered(forward.clone())), key(Unordered(backward.clone())));
    backward.remove(&3);
    assert_ne!(key(Unordered(forward)), key(Unordered(backward)));
    assert_ne!(key(Unordered(vec![1, 1, 2])), key(Unordered(vec![1, 2, 2])), "how often counts");
}

/// A large text that is handed from step to step is hashed at each; or its digest, made once, is another one's.
#[test]
fn a_hashed_argument_is_hashed_once() {
    #[derive(Clone)]
    struct Counted(u64, Counter);
    impl Serialize for Counted {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.1.up();
            match self.0 {
                13 => Err(serde::ser::Error::custom("no words for this")),
                n => serializer.serialize_u64(n),
            }
        }
    }
    let (pool, counter) = (Pool::new(), Counter::default());
    let inner = Func::new("keys::hashed_inner", |n: Hashed<Counted>| n.0 * 2);
    let outer = Func::named("keys::hashed_outer").resource(inner.clone()).func(
        |inner: &Func<_, u64>, n: Hashed<Counted>| *Pool::current().unwrap().run(inner.call(n)).unwrap() + 1,
    );
    let value = |n| Hashed::new(Counted(n, counter.clone()));
    let seven = value(7);
    for _ in 0..3 {
        assert_eq!(*pool.run(outer.call(seven.clone())).unwrap(), 15);
    }
    assert_eq!(*pool.run(inner.call(seven.clone())).unwrap(), 14);
    assert_eq!(counter.get(), 1);
    assert_eq!(inner.call(value(7)).key(), inner.call(seven).key());
    assert_ne!(inner.call(value(8)).key(), inner.call(value(7)).key());
    let refused = pool.run(inner.call(value(13))).unwrap_err();
    assert!(refused.is_invalid() && refused.to_string().contains("no words for this"), "{refused}");
    let bytes = |bytes: &[u8]| key(Hashed::<[u8]>::new(bytes));
    assert_eq!(bytes(&[7; 5000]), bytes(&[7; 5000]));
    assert_ne!(bytes(&[7; 5000]), bytes(&[7; 5001]));
    assert_ne!(bytes(&[]), key(Vec::<u8>::new()));
}

/// Two calls run into one another because their arguments look the same when put side by side.
#[test]
fn the_borders_of_arguments_are_part_of_the_key() {
    let pair = |a: &str, b: &str| key((a.to_owned(), b.to_owned()));
    assert_ne!(pair("ab", "c"), pair("a", "bc"));
    assert_ne!(pair("", "abc"), pair("abc", ""));
    let lists = |a: &[u8], b: &[u8]| key((a.to_vec(), b.to_vec()));
    assert_ne!(lists(&[1, 2], &[3]), lists(&[1], &[2, 3]));
    let deep = |lists: &[&[u64]]| key(lists.iter().map(|list| list.to_vec()).collect::<Vec<_>>());
    let all: BTreeSet<Key> =
        [deep(&[]), deep(&[&[]]), deep(&[&[], &[]]), deep(&[&[1]]), deep(&[&[1], &[]]), deep(&[&[], &[1]])]
            .into();
    assert_eq!(all.len(), 6);
}

/// Arguments of different types with one meaning get each other's results.
#[test]
fn types_are_part_of_the_key() {
    let all: BTreeSet<Key> = [
        key(1_u8),
        key(1_u16),
        key(1_u64),
        key(1_i64),
        key(1_u128),
        key(1.0_f32),
        key(1.0_f64),
        key(true),
        key('1'),
        key("1".to_owned()),
        key(Some(1_u8)),
        key((1_u8,)),
        key([1_u8]),
        key(vec![1_u8]),
        key(()),
        key(None::<u8>),
        key(Vec::<u8>::new()),
        key(String::new()),
    ]
    .into();
    assert_eq!(all.len(), 18);
    // The result's type counts as well.
    let small = Func::new("keys::result", |n: u8| n).call(1).key();
    assert_ne!(small, Func::new("keys::result", |n: u8| u64::from(n)).call(1).key());
}

/// `-0.0` gets the result of `0.0`, though 1/x is another; a NaN misses itself for ever.
#[test]
fn floats_are_keyed_by_their_bits() {
    let nan = |bits: u64| f64::from_bits(0x7ff8_0000_0000_0000 | bits);
    assert_ne!(key(0.0_f64), key(-0.0_f64));
    assert_ne!(key(0.0_f32), key(-0.0_f32));
    assert_eq!(key(nan(1)), key(nan(1)));
    assert_ne!(key(nan(1)), key(nan(2)));
    in_time(|| {
        let (pool, func) = (pool(1), Func::new("keys::float", |x: f64| x.is_nan()));
        assert!(*pool.run(func.call(f64::NAN)).unwrap());
        assert!(pool.get(&func.call(f64::NAN)).is_some());
        assert!(!*pool.run(func.call(0.0)).unwrap());
        assert!(pool.get(&func.call(-0.0)).is_none());
    });
}

/// An argument that serde refuses.
#[derive(Clone)]
struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}

/// An argument whose `Serialize` has a defect.
struct Explodes;

impl Serialize for Explodes {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        std::panic::resume_unwind(Box::new("a defect"))
    }
}

/// A call that can't be encoded says neither which function nor which argument is at fault.
#[test]
fn an_argument_that_cannot_be_encoded_is_named() {
    #[memo(name = "keys::refuses")]
    fn refuses(first: u64, second: &Refuses) -> u64 {
        let _ = second;
        first
    }
    in_time(|| {
        let pool = pool(1);
        let texts = [
            pool.run(Func::new("keys::fails", |_: (u8, Vec<Refuses>)| 1_u8).call((1, vec![Refuses]))),
            pool.run(Func::new("keys::fails", |_: (u8, Explodes)| 1_u8).call((1, Explodes))),
        ]
        .map(|result| {
            let error = result.unwrap_err();
            assert!(error.is_invalid(), "{error}");
            error.to_string()
        });
        assert!(texts.iter().all(|text| text.contains("`keys::fails`")), "{texts:?}");
        assert!(texts[0].contains("never") && texts[1].contains("a defect"), "{texts:?}");
        let error = pool.run(refuses::call(1, &Refuses)).unwrap_err();
        assert!(error.is_invalid(), "{error}");
        let text = error.to_string();
        assert!(text.contains("keys::refuses") && text.contains("never"), "{text}");
        assert!(
            text.contains("second") || text.contains("argument 2") || text.contains(".1"),
            "which one? {text}"
        );
        assert_eq!(pool.stats().computed, 0);
        let key = std::panic::catch_unwind(|| refuses::call(1, &Refuses).key());
        assert!(key.is_err(), "`key` has no other way to say so");
    });
}

/// A path that is no text can't be an argument, and nobody says so.
#[cfg(unix)]
#[test]
fn a_path_that_is_no_text_is_invalid() {
    use std::os::unix::ffi::OsStrExt;

    #[memo(name = "keys::length")]
    fn length(path: &Path) -> usize {
        path.as_os_str().len()
    }
    in_time(|| {
        let pool = pool(1);
        let broken = Path::new(std::ffi::OsStr::from_bytes(&[b'a', 0xff]));
        let error = pool.run(length::call(broken)).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("keys::length"), "{error}");
        let func = Func::new("keys::owned_length", |path: PathBuf| path.as_os_str().len());
        assert!(pool.run(func.call(broken.to_owned())).unwrap_err().is_invalid());
        assert_eq!(*pool.run(length::call(Path::new("/tmp/ä"))).unwrap(), 7);
    });
}

/// Two functions with one name read each other's results.
#[test]
fn an_identity_clash_is_refused_and_names_both() {
    in_time(|| {
        let pool = pool(1);
        let first = Func::new("keys::clash", |n: u64| n + 1);
        let second = Func::new("keys::clash", |n: u64| n + 2);
        assert_eq!(*pool.run(first.call(1)).unwrap(), 2);
        let error = pool.run(second.call(1)).unwrap_err();
        assert!(error.is_invalid(), "{error}");
        let text = error.to_string();
        assert!(text.contains("`keys::clash`") && text.contains("`version`"), "{text}");
        assert_eq!(text.matches("an_identity_clash_is_refused").count(), 2, "both functions: {text}");
        assert!(matches!(pool.explain(&second.call(1)), memopool::Explain::Invalid(_)));
        assert_eq!(*pool.run(first.call(2)).unwrap(), 3, "the first one is untouched");
        let versions = (
            Func::new("keys::clash", |n: u64| n + 3).version(3),
            Func::new("keys::clash", |n: u64| n + 4).version(4),
        );
        assert_eq!(*pool.run(versions.0.call(1)).unwrap(), 4);
        assert_eq!(*pool.run(versions.1.call(1)).unwrap(), 5);
        let same = Func::new("keys::clash", |n: u64| n + 5).version(4);
        assert!(pool.run(same.call(1)).unwrap_err().is_invalid(), "one version is one function");
        assert_eq!(*pool.run(Func::new("keys::clash", |n: u32| n + 9).call(1)).unwrap(), 10, "other types");
    });
}

/// A `version` does not settle a clash of functions with state, as the message says it would.
#[test]
fn versions_settle_a_clash_of_functions_with_state() {
    in_time(|| {
        let pool = pool(1);
        let one = Func::named("keys::stated").state(1_u64).func(|state, n: u64| n + state).version(1);
        let two = Func::named("keys::stated").state(1_u64).func(|state, n: u64| n * 10 + state).version(2);
        assert_eq!(*pool.run(one.call(5)).unwrap(), 6);
        assert_eq!(*pool.run(two.call(5)).unwrap(), 51);
        assert_eq!(two.call(5).key(), two.version(1).version(2).call(5).key(), "the last one said counts");
    });
}

/// Results for one configuration are served for another.
#[test]
fn state_joins_the_identity_and_a_resource_does_not() {
    in_time(|| {
        let pool = pool(1);
        let scaled = |factor: u64, client: Counter| {
            Func::named("keys::scaled").state(factor).resource(client).func(|factor, client, n: u64| {
                client.up();
                n * factor
            })
        };
        let (first, second) = (Counter::default(), Counter::default());
        assert_eq!(*pool.run(scaled(2, first.clone()).call(5)).unwrap(), 10);
        assert_eq!(*pool.run(scaled(3, first.clone()).call(5)).unwrap(), 15);
        assert_eq!(*pool.run(scaled(2, second.clone()).call(5)).unwrap(), 10, "a hit");
        assert_eq!((first.get(), second.get()), (2, 0));
        assert_eq!(scaled(2, first.clone()).call(5).key(), scaled(2, second.clone()).call(5).key());
        assert_ne!(scaled(2, first.clone()).call(5).key(), scaled(3, first).call(5).key());
        let broken = Func::named("keys::broken_state").state(vec![Refuses]).func(|_, n: u64| n);
        let error = pool.run(broken.call(1)).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("state of `keys::broken_state`"), "{error}");
        let versioned = broken.version(2);
        assert!(pool.run(versioned.call(1)).unwrap_err().is_invalid(), "a version does not mend it");
    });
}

/// A new version of a function is served the results of the old one.
#[test]
fn a_version_changes_the_key() {
    let func = Func::new("keys::versioned", |n: u64| n);
    let keys: BTreeSet<Key> = [
        func.call(1).key(),
        func.clone().version(1).call(1).key(),
        func.clone().version("1.1").call(1).key(),
        func.clone().version("").call(1).key(),
        func.clone().version(1).version(2).call(1).key(),
    ]
    .into();
    assert_eq!(keys.len(), 5);
    assert_eq!(func.clone().version(1).call(1).key(), func.clone().version(2).version("1").call(1).key());
    // How a result is kept is no part of what it is.
    let settings = func
        .clone()
        .ttl(std::time::Duration::from_secs(1))
        .timeout(std::time::Duration::from_secs(1))
        .retries(3)
        .weigh(|_| 1);
    assert_eq!(settings.call(1).key(), func.call(1).key());
    assert_eq!(func.call(1).boxed().key(), func.call(1).key());
    assert_eq!(func.call(1).refresh().key(), func.call(1).key());
}

/// After an upgrade of the crate or the compiler, everything that was ever computed is computed again; or worse, keys
/// mean something else.
#[test]
fn golden_keys_of_whole_calls() {
    let table: BTreeMap<&str, &str> = include_str!("golden_calls.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').expect("a name and a key"))
        .collect();
    fn id<T>(value: T) -> T {
        value
    }
    fn id_with<T>(_: &&'static str, value: T) -> T {
        value
    }
    let (number, stated) = (|| Func::named("golden::number"), || Func::named("golden::stated"));
    let now: BTreeMap<&str, Key> = [
        ("number", number().func(id).call(42).key()),
        ("number_version", number().func(id).version("2").call(42).key()),
        ("number_state", stated().state("utf-8").func(id_with).call(42).key()),
        ("number_state_version", stated().state("utf-8").func(id_with).version(2).call(42).key()),
        ("unit", Func::named("golden::unit").func(|(): ()| 1_u8).call(()).key()),
        ("text", Func::named("golden::text").func(id::<String>).call("grüße".into()).key()),
        ("long_text", Func::named("golden::text").func(id::<String>).call("x".repeat(10_000)).key()),
        (
            "tuple",
            Func::named("golden::tuple")
                .func(|(a, b, c): (bool, Option<f64>, Vec<u8>)| (a, b, c))
                .call((true, Some(-0.5), vec![1, 2, 3]))
                .key(),
        ),
        (
            "map",
            Func::named("golden::map")
                .func(|map: HashMap<String, i32>| map.len())
                .call(HashMap::from([("a".into(), 1), ("b".into(), -2)]))
                .key(),
        ),
    ]
    .into();
    let now: BTreeMap<&str, String> = now.into_iter().map(|(name, key)| (name, key.to_string())).collect();
    for (name, key) in &now {
        assert_eq!(table.get(name), Some(&key.as_str()), "{name}; all now: {now:#?}");
    }
    assert_eq!(table.len(), now.len(), "a key of the table is not tested any more");
}

/// A name of a task's key that can't be read back, or is another than its call's.
#[test]
fn a_tasks_key_is_its_calls_key() {
    in_time(|| {
        let (pool, func) = (pool(1), Func::new("keys::of_task", |text: String| text));
        for text in ["short".to_owned(), "long".repeat(100)] {
            let key = func.call(text.clone()).key();
            let (led, hit) = (pool.submit(func.call(text.clone())), pool.run(func.call(text.clone())));
            assert!(hit.is_ok());
            assert_eq!(led.key(), Some(key));
            assert_eq!(pool.submit(func.call(text)).key(), Some(key));
            assert_eq!(key.to_string().parse(), Ok(key));
            assert!(key.to_string().starts_with(&key.short().to_string()));
        }
        assert_eq!(pool.spawn(|| 1).key(), None);
    });
}

mod here {
    use memopool::memo;

    #[memo(name = "keys::digested")]
    pub(super) fn same(n: u64) -> u64 {
        n + 1
    }

    #[memo(name = "keys::changed")]
    pub(super) fn changed(n: u64) -> u64 {
        n + 1
    }

    #[memo]
    pub(super) fn unnamed(n: u64) -> u64 {
        n
    }
}

mod there {
    use memopool::memo;

    // Comments and formatting are no code.
    #[memo(name = "keys::digested")]
    #[rustfmt::skip]
    pub(super) fn same(n: u64) -> u64 {
        /* the same */ n+1
    }

    #[memo(name = "keys::changed")]
    pub(super) fn changed(n: u64) -> u64 {
        n + 2
    }

    #[memo]
    pub(super) fn unnamed(n: u64) -> u64 {
        n
    }
}

/// A function that was moved loses its results, or one whose code was changed keeps them.
#[test]
fn a_memos_key_is_its_name_and_code() {
    assert_eq!(here::same(1), there::same(1));
    assert_eq!(here::changed(1) + 1, there::changed(1));
    assert_eq!(here::unnamed(1), there::unnamed(1));
    assert_ne!(here::changed::call(1).key(), there::changed::call(1).key(), "another body");
    assert_ne!(here::unnamed::call(1).key(), there::unnamed::call(1).key(), "another place");
    assert!(
        here::unnamed::func().name().ends_with("keys::here::unnamed"),
        "{}",
        here::unnamed::func().name()
    );
    assert_eq!(here::same::func().name(), "keys::digested");
}

/// Moving a function, as `name` allows, gives it a new key: attributes and comments count as its code.
#[test]
fn a_moved_memo_keeps_its_key() {
    let here = here::same::call(1);
    let key = here.key();
    // Registered second in this process, its submission would be a clash; its key is still the same.
    let there = std::panic::catch_unwind(|| there::same::call(1).key());
    match there {
        Ok(there) => assert_eq!(there, key),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().expect("the text of a clash");
            assert!(text.contains("two functions are called `keys::digested`"), "{text}");
        }
    }
}

#[memo(name = "keys::ignores", ignore(label))]
fn ignores(n: u64, label: &str) -> String {
    format!("{label} {n}")
}

/// A progress bar's name decides what is computed.
#[test]
fn ignored_arguments_are_no_part_of_the_key() {
    in_time(|| {
        let pool = pool(1);
        assert_eq!(*pool.run(ignores::call(1, "first")).unwrap(), "first 1");
        assert_eq!(*pool.run(ignores::call(1, "second")).unwrap(), "first 1");
        assert_eq!(*pool.run(ignores::call(2, "second")).unwrap(), "second 2");
        assert_eq!(ignores::call(1, "a").key(), ignores::call(1, "b").key());
    });
}

mod ignores_second {
    use memopool::memo;

    #[memo(name = "keys::pages", ignore(page))]
    pub(super) fn fetch(client: u64, page: u64) -> u64 {
        client + page
    }

    #[memo(name = "keys::versioned_pages", version = "1", ignore(page))]
    pub(super) fn versioned(client: u64, page: u64) -> u64 {
        client + page
    }
}

mod ignores_first {
    use memopool::memo;

    #[memo(name = "keys::pages", ignore(client))]
    pub(super) fn fetch(client: u64, page: u64) -> u64 {
        client + page
    }

    #[memo(name = "keys::versioned_pages", version = "1", ignore(client))]
    pub(super) fn versioned(client: u64, page: u64) -> u64 {
        client + page
    }
}

/// In the environment of a child process: the keys that it must not have.
const TAKEN: &str = "MEMOPOOL_TEST_TAKEN";

/// After another argument is ignored, a call is given what was stored for a call of quite other arguments.
#[test]
fn which_argument_is_ignored_is_part_of_the_key() {
    // The two can't be in one process, where they would clash: this very test is the other one as well.
    if let Ok(taken) = std::env::var(TAKEN) {
        let keys = [ignores_first::fetch::call(1, 7).key(), ignores_first::versioned::call(1, 7).key()];
        assert!(keys.iter().all(|key| !taken.contains(&key.to_string())), "{keys:?} are taken: {taken}");
        assert_eq!(ignores_first::fetch(1, 7), 8);
        return assert_eq!(ignores_first::versioned(1, 7), 8);
    }
    let key = ignores_second::fetch::call(7, 3).key();
    assert_eq!(key, ignores_second::fetch::call(7, 4).key());
    assert_eq!(key, ignores_second::fetch::func().call((7, 5)).key(), "the function as a value has the same");
    assert_ne!(key, ignores_second::fetch::call(8, 3).key());
    let versioned = ignores_second::versioned::call(7, 3).key();
    assert_eq!(ignores_second::fetch(7, 3), ignores_second::versioned(7, 3));
    let mut child = Command::new(std::env::current_exe().expect("a program that runs is a file"));
    child.args(["--exact", "keys::which_argument_is_ignored_is_part_of_the_key"]);
    let output = child.env(TAKEN, format!("{key} {versioned}")).output().expect("this very program");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

mod deps_one {
    use memopool::memo;

    #[memo(name = "keys::dep")]
    pub(super) fn dep(n: u64) -> u64 {
        n
    }

    #[memo(name = "keys::depends", deps(dep))]
    pub(super) fn depends(n: u64) -> u64 {
        dep(n)
    }

    #[memo(name = "keys::depends_deep", deps(depends))]
    pub(super) fn deep(n: u64) -> u64 {
        depends(n)
    }

    #[memo(name = "keys::pinned", version = "1", deps(dep))]
    pub(super) fn pinned(n: u64) -> u64 {
        dep(n)
    }
}

mod deps_two {
    use memopool::memo;

    #[memo(name = "keys::dep")]
    pub(super) fn dep(n: u64) -> u64 {
        n + 1
    }

    #[memo(name = "keys::depends", deps(dep))]
    pub(super) fn depends(n: u64) -> u64 {
        dep(n)
    }

    #[memo(name = "keys::depends_deep", deps(depends))]
    pub(super) fn deep(n: u64) -> u64 {
        depends(n)
    }

    #[memo(name = "keys::pinned", version = "1", deps(dep))]
    pub(super) fn pinned(n: u64) -> u64 {
        dep(n) + 1
    }
}

/// A changed helper leaves the results of those who call it as they were.
#[test]
fn the_code_of_dependencies_is_part_of_the_key() {
    assert_ne!(deps_one::dep::call(1).key(), deps_two::dep::call(1).key());
    assert_ne!(deps_one::depends::call(1).key(), deps_two::depends::call(1).key());
    assert_ne!(deps_one::deep::call(1).key(), deps_two::deep::call(1).key(), "at any depth");
    assert_ne!(deps_one::pinned::call(1).key(), deps_two::pinned::call(1).key(), "with a version, too");
}

/// A borrowed argument has another key than the same one owned, and nothing that was computed is found.
#[test]
fn borrowed_arguments_are_the_same_call() {
    #[memo(name = "keys::borrows")]
    fn borrows(text: &str, list: &[u32], map: &BTreeMap<u8, u8>, tail: Option<u8>) -> usize {
        text.len() + list.len() + map.len() + usize::from(tail.unwrap_or(0))
    }
    in_time(|| {
        let pool = pool(1);
        let (text, list, map) = ("text".to_owned(), vec![1, 2, 3], BTreeMap::from([(1, 2)]));
        assert_eq!(*pool.run(borrows::call(&text, &list, &map, Some(1))).unwrap(), 9);
        assert!(pool.get(&borrows::call("text", &[1, 2, 3], &map, Some(1))).is_some());
        assert!(pool.get(&borrows::call("text", &[1, 2], &map, Some(1))).is_none());
        let func: &Func<_, usize> = borrows::func();
        assert_eq!(func.name(), "keys::borrows");
        let calls =
            vec![borrows::call("a", &[], &map, None).boxed(), borrows::call("b", &[1], &map, None).boxed()];
        let tasks = pool.submit_all(calls);
        assert_eq!(tasks.iter().map(|task| *task.wait().unwrap()).sum::<usize>(), 5);
        assert!(Pool::current().is_none());
    });
}
