//! Results that can't be stored.

use std::borrow::Cow;
use std::io;

use memopool::memo;

struct Token<'a>(&'a str);

#[memo]
fn reference(text: &str) -> &str {
    text
}

#[memo]
fn reference_inside<'a>(text: &'a str) -> io::Result<Vec<&'a str>> {
    Ok(vec![text])
}

#[memo]
fn forever() -> &'static str {
    "text"
}

#[memo]
fn exclusive(n: u64) -> Option<&'static mut u64> {
    Some(Box::leak(Box::new(n)))
}

#[memo]
fn named<'a>(text: &'a str) -> Token<'a> {
    Token(text)
}

#[memo]
fn elided(text: &str) -> Option<Token<'_>> {
    Some(Token(text))
}

#[memo]
fn cow(text: &str) -> Cow<'_, str> {
    text.into()
}

#[memo]
fn implementation(text: &str) -> impl Iterator<Item = u8> {
    text.as_bytes().to_vec().into_iter()
}

#[memo]
fn never() -> ! {
    std::process::abort()
}

fn main() {
    let _ = Token("").0;
}
