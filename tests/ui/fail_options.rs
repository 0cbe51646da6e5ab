//! Options that don't exist, don't parse, or contradict each other.

use memopool::memo;

type Answer = Result<u8, std::fmt::Error>;

#[memo(tll = "1h")]
fn unknown() {}

#[memo(ttl = "1h", name = "n", ttl = "2h")]
fn twice() {}

#[memo(
    version = 2,
    name,
    ttl = 3600,
    retries = "3",
    timeout = "1 hour",
    in_memory = true
)]
fn wrong_values() {}

#[memo(name = "", version = "", ignore(), deps(), retries = 3u8)]
fn empty_values() {}

#[memo(ttl = "0s", timeout = "0m")]
fn zero() {}

#[memo(ttl = "30m1h")]
fn out_of_order() {}

#[memo(in_memory cache_errors)]
fn no_comma() {}

#[memo(backoff = "1s")]
fn nothing_to_rest_between() {}

#[memo("2")]
fn not_an_option() {}

#[memo(fallible, infallible)]
fn contradiction() -> Answer {
    Ok(1)
}

#[memo(cache_errors)]
fn no_errors() -> u8 {
    1
}

#[memo(cache_errors)]
fn hidden_errors() -> Option<u8> {
    None
}

#[memo(infallible, cache_errors)]
fn errors_as_values() -> Result<u8, u8> {
    Ok(1)
}

#[memo(fallible)]
fn nothing_to_fail() {}

#[memo(ignore(progress))]
fn no_such_parameter(text: &str) -> usize {
    text.len()
}

#[memo(ignore(text, text))]
fn ignored_twice(text: &str) -> usize {
    text.len()
}

#[memo(ignore = text)]
fn ignore_without_list(text: &str) -> usize {
    text.len()
}

#[memo(ignore("text"), deps(twice::<u8>))]
fn lists_of_other_things(text: &str) -> usize {
    text.len()
}

#[memo(deps(own_dependency))]
fn own_dependency() {}

#[memo(deps(self::own_path))]
fn own_path() {}

#[memo]
#[memo(in_memory)]
fn memo_twice() {}

fn main() {}
