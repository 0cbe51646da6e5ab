//! Parameters that can't be part of a key, or can't be made owned.

use std::borrow::Cow;
use std::fmt::Display;

use memopool::memo;

struct Token<'a>(&'a str);

#[memo]
fn exclusive(counts: &mut Vec<u64>) {
    counts.clear();
}

#[memo]
fn exclusive_inside(counts: Option<&mut u64>) {
    drop(counts);
}

#[memo]
fn trait_object(value: &dyn Display) -> String {
    value.to_string()
}

#[memo]
fn trait_objects(value: &(dyn Display + Send)) -> String {
    value.to_string()
}

#[memo]
fn boxed_trait_object(value: &Box<dyn Display>) -> String {
    value.to_string()
}

#[memo]
fn forever(text: &'static str) -> usize {
    text.len()
}

#[memo]
fn optional(text: Option<&str>) -> usize {
    text.map_or(0, str::len)
}

#[memo]
fn slice(texts: &[&str]) -> usize {
    texts.len()
}

#[memo]
fn vector(texts: Vec<&str>) -> usize {
    texts.len()
}

#[memo]
fn tuple(pair: (u64, &str)) -> usize {
    pair.1.len()
}

#[memo]
fn double(text: &&str) -> usize {
    text.len()
}

#[memo]
fn array(texts: [&str; 2]) -> usize {
    texts.len()
}

#[memo]
fn cow(text: Cow<'_, str>) -> usize {
    text.len()
}

#[memo]
fn cows(texts: &[std::borrow::Cow<'static, str>]) -> usize {
    texts.len()
}

#[memo]
fn named<'a>(token: Token<'a>) -> usize {
    token.0.len()
}

#[memo]
fn elided(token: &Token<'_>) -> usize {
    token.0.len()
}

#[memo]
fn bounded<'a>(value: Box<dyn Display + 'a>) -> String {
    value.to_string()
}

#[memo]
fn implementation(value: impl Display) -> String {
    value.to_string()
}

#[memo]
fn implementation_inside(values: &[impl Display]) -> usize {
    values.len()
}

#[memo]
fn pattern((a, b): (u64, u64)) -> u64 {
    a + b
}

#[memo]
fn wildcard(_: u64) {}

#[memo]
fn by_reference(ref text: String) -> usize {
    text.len()
}

#[memo]
fn bound(all @ (a, _): (u64, u64)) -> u64 {
    a + all.1
}

#[memo]
fn conditional(#[cfg(unix)] a: u64) {
    let _ = a;
}

#[memo]
fn several(text: &'static str, count: &mut u64, (a, b): (u8, u8)) {
    *count += text.len() as u64 + u64::from(a + b);
}

fn main() {}
