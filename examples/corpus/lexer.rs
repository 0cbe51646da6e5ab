//! The first step: Rust source to tokens and comments.

use memopool::key::Hashed;
use memopool::memo;
use serde::{Deserialize, Serialize};

/// The tokens of a file, as hashes, and the text of its comments.
#[derive(Serialize, Deserialize)]
pub(crate) struct Lexed {
    pub(crate) tokens: Vec<u32>,
    pub(crate) comments: String,
}

/// Splits Rust source into tokens and comments, near enough. In memory alone, for the two steps that share it: it takes a tenth of
/// what they take, and would be most of what is on disk.
#[memo(in_memory)]
pub(crate) fn lex(text: &Hashed<str>) -> Lexed {
    // A helper in here is part of the function's code, so changing it makes old results stale.
    fn token_len(text: &str) -> usize {
        let until = |from: usize, end: &str| {
            text.get(from..).and_then(|rest| rest.find(end)).map_or(text.len(), |at| from + at + end.len())
        };
        match text.as_bytes() {
            [b'/', b'/', ..] => until(2, "\n"),
            [b'/', b'*', ..] => until(2, "*/"),
            [b'r', b'"', ..] => until(2, "\""),
            [b'r', b'#', b'"', ..] => until(3, "\"#"),
            [b'\'', b'\\', ..] => until(3, "'"),
            [b'\'', b'"', b'\'', ..] => 3,
            [b'"', string @ ..] => {
                let mut bytes = string.iter();
                while bytes.next().is_some_and(|&b| b != b'"' && (b != b'\\' || bytes.next().is_some())) {}
                text.len() - bytes.len()
            }
            _ => match text.find(|c: char| !c.is_alphanumeric() && c != '_') {
                Some(0) => text.chars().next().map_or(0, char::len_utf8),
                end => end.unwrap_or(text.len()),
            },
        }
    }
    let mut lexed = Lexed { tokens: Vec::new(), comments: String::new() };
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (token, after) = rest.split_at(token_len(rest));
        if token.starts_with("//") || token.starts_with("/*") {
            lexed.comments += token;
        } else {
            lexed
                .tokens
                .push(token.bytes().fold(0, |hash: u32, b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193)));
        }
        rest = after.trim_start();
    }
    lexed
}
