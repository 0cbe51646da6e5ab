//! Everything `#[memo]` accepts. The lints are those that generated code is most likely to meet.

#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    missing_copy_implementations
)]
#![deny(
    unreachable_pub,
    unused_qualifications,
    unused_lifetimes,
    single_use_lifetimes
)]
#![deny(
    non_camel_case_types,
    dead_code,
    deprecated,
    unused,
    private_interfaces
)]
#![deny(rust_2018_idioms, unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use memopool::{Call, Func, Pool, memo};

type FmtResult<T> = Result<T, fmt::Error>;

#[memo]
fn nothing() {}

#[memo]
fn one(n: u64) -> u64 {
    n + 1
}

/// A doc comment, attributes and `mut`.
#[memo]
#[inline]
#[must_use]
fn mixed(
    text: &str,
    mut n: u64,
    bytes: &[u8],
    path: &Path,
    list: &Vec<u8>,
    owned: String,
) -> usize {
    n += 1;
    text.len() + n as usize + bytes.len() + path.as_os_str().len() + list.len() + owned.len()
}

/// Not serialisable, so it must be ignored.
#[derive(Clone)]
struct Progress(Arc<()>);

#[memo(
    ttl = "1h30m",
    timeout = "500ms",
    retries = 3,
    backoff = "100ms",
    ignore(progress, hook),
    deps(one, inner::two, self::fallible)
)]
fn every_option(text: &str, progress: &Progress, hook: fn(&str) -> usize) -> io::Result<usize> {
    let _ = &progress.0;
    if text.is_empty() {
        Err(io::Error::other("empty"))
    } else {
        Ok(hook(text))
    }
}

#[memo(name = "renamed", version = "2")]
fn fallible(n: u64) -> FmtResult<u64> {
    if n == 0 { Err(fmt::Error) } else { Ok(n) }
}

// Each depends on the other.
#[memo(deps(odd))]
fn even(n: u64) -> bool {
    n == 0 || odd(n - 1)
}

#[memo(deps(even))]
fn odd(n: u64) -> bool {
    n != 0 && even(n - 1)
}

mod outcome {
    pub(super) type Answer = Result<u8, String>;
}

#[memo(fallible)]
fn alias(n: u8) -> outcome::Answer {
    n.checked_add(1).ok_or_else(|| "too large".to_owned())
}

#[memo(infallible)]
fn value(n: u8) -> Result<u8, String> {
    alias(n)
}

#[memo(cache_errors)]
fn stored_errors(n: u8) -> Result<u8, String> {
    alias(n)
}

#[memo(in_memory, cache_errors)]
fn kept_errors(n: u8) -> Result<u8, String> {
    alias(n)
}

/// A result that can't be serialised.
struct Opaque(u8);

#[memo(in_memory)]
fn opaque(n: u8) -> Opaque {
    Opaque(n)
}

#[memo(in_memory)]
fn opaque_fallible(n: u8) -> Result<Opaque, String> {
    alias(n).map(Opaque)
}

#[memo(ignore(shared, boxed))]
fn objects(
    n: u8,
    shared: Arc<dyn Fn(&str) -> usize + Send + Sync>,
    boxed: Box<dyn Fn(u8) -> u8 + Send>,
) -> usize {
    shared("text") + usize::from(boxed(n))
}

#[memo]
fn lifetimes<'a>(a: &'a str, b: &'a str) -> usize {
    a.len() + b.len()
}

#[memo]
fn owned_cow(text: &str) -> Cow<'static, str> {
    Cow::Owned(text.to_owned())
}

#[memo]
#[rustfmt::skip]
fn sixteen(
    a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8, m: u8, n: u8, o: u8, p: u8,
) -> u8 {
    a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p
}

// Names that the generated code uses as well.
#[memo(ignore(deps))]
fn hygiene(hygiene: u8, args: u8, enc: u8, deps: u8, memo: &str, r#type: &str) -> usize {
    usize::from(hygiene + args + enc + deps) + memo.len() + r#type.len()
}

#[memo]
fn r#match(n: u8) -> u8 {
    n
}

#[memo]
#[cfg(any())]
fn configured_away(n: Missing) {}

#[memo]
#[deprecated]
fn outdated(#[expect(unused_variables, reason = "on a parameter")] n: u8) {}

mod inner {
    use memopool::memo;

    // Visible in the crate only, though the function is public: no item may leak it.
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    pub(crate) struct Narrow(pub(crate) u8);

    #[memo]
    #[expect(unreachable_pub, reason = "a public function of a private module")]
    pub fn two(narrow: &Narrow, other: Narrow) -> Narrow {
        Narrow(narrow.0 + other.0)
    }
}

macro_rules! define {
    ($name:ident, $argument:ty, $result:ty, $body:expr) => {
        #[memo]
        fn $name(argument: $argument) -> $result {
            let f: fn($argument) -> $result = $body;
            f(argument)
        }
    };
}
define!(by_macro, &str, FmtResult<usize>, |text| Ok(text.len()));

fn direct_calls_are_plain() {
    nothing();
    assert_eq!(one(1), 2);
    assert_eq!(fallible(0), Err(fmt::Error));
    assert_eq!(
        mixed("a", 1, b"b", Path::new("c"), &vec![1], String::new()),
        6
    );
    assert!(even(4));
}

fn types_follow_the_signature() {
    let _: Call<(), ()> = nothing::call();
    let _: Call<(u64,), u64> = one::call(1);
    let _: Call<(u64,), u64> = fallible::call(1);
    let _: Call<(u8,), Result<u8, String>> = value::call(1);
    let text = "text".to_owned();
    let _: Call<(&str, &Progress, fn(&str) -> usize), usize> =
        every_option::call(&text, &Progress(Arc::new(())), |text| text.len());
    let _: &'static Func<(), ()> = nothing::func();
    let _: &'static Func<(String, u64, Vec<u8>, PathBuf, Vec<u8>, String), usize> = mixed::func();
    let _: &'static Func<(String, String), usize> = lifetimes::func();
}

fn keys_are_made_of_what_is_not_ignored() {
    let key = |text: &str, length: fn(&str) -> usize| {
        every_option::call(text, &Progress(Arc::new(())), length).key()
    };
    assert_eq!(key("a", str::len), key("a", |_| 1));
    assert_ne!(key("a", str::len), key("b", str::len));

    let key = |a, deps, text: &str| hygiene::call(a, 2, 3, deps, text, "t").key();
    assert_eq!(key(1, 4, "m"), key(1, 5, "m"));
    assert_ne!(key(1, 4, "m"), key(2, 4, "m"));
    assert_ne!(key(1, 4, "m"), key(1, 4, "n"));
    assert_ne!(even::call(1).key(), odd::call(1).key());
}

fn pools_run_calls() {
    let pool = Pool::new();
    assert_eq!(*pool.run(one::call(1)).unwrap(), 2);
    assert_eq!(
        *pool
            .run(mixed::call(
                "a",
                1,
                b"b",
                Path::new("c"),
                &vec![1],
                "d".into()
            ))
            .unwrap(),
        7
    );
    assert_eq!(
        *pool
            .run(every_option::call("abc", &Progress(Arc::new(())), str::len))
            .unwrap(),
        3
    );
    assert!(
        pool.run(every_option::call("", &Progress(Arc::new(())), str::len))
            .is_err()
    );
    assert_eq!(
        *pool.run(value::call(255)).unwrap(),
        Err("too large".to_owned())
    );
    assert!(pool.run(alias::call(255)).is_err());
    assert!(pool.run(stored_errors::call(255)).is_err());
    assert!(pool.run(kept_errors::call(255)).is_err());
    assert_eq!(pool.run(opaque::call(1)).unwrap().0, 1);
    assert_eq!(pool.run(opaque_fallible::call(1)).unwrap().0, 2);
    assert_eq!(
        *pool
            .run(objects::call(
                1,
                Arc::new(|text| text.len()),
                Box::new(|n| n)
            ))
            .unwrap(),
        5
    );
    assert_eq!(*pool.run(lifetimes::call("a", "b")).unwrap(), 2);
    assert_eq!(*pool.run(owned_cow::call("a")).unwrap(), "a");
    assert_eq!(
        *pool
            .run(sixteen::call(
                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
            ))
            .unwrap(),
        16
    );
    assert_eq!(*pool.run(hygiene::call(1, 2, 3, 4, "m", "t")).unwrap(), 12);
    assert_eq!(*pool.run(r#match::call(1)).unwrap(), 1);
    assert_eq!(
        pool.run(inner::two::call(&inner::Narrow(1), inner::Narrow(2)))
            .unwrap()
            .0,
        3
    );
    assert_eq!(*pool.run(by_macro::call("abc")).unwrap(), 3);
    assert_eq!(*pool.run(even::call(4)).unwrap(), true);
    assert_eq!(inner::two(&inner::Narrow(1), inner::Narrow(2)).0, 3);
    let _ = Duration::ZERO;
}

fn functions_may_be_local() {
    #[memo]
    fn local(text: &str) -> usize {
        text.len()
    }
    assert_eq!(*Pool::new().run(local::call("abc")).unwrap(), 3);
}

fn main() {
    direct_calls_are_plain();
    types_follow_the_signature();
    keys_are_made_of_what_is_not_ignored();
    pools_run_calls();
    functions_may_be_local();
}
