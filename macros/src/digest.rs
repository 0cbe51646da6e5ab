//! The code digest: which results a change of the source makes stale.
//!
//! Two sources of a function have one digest exactly if they have the same tokens, whatever their layout, comments, doc
//! comments, visibility, outer attributes or place in the file. The walk writes each token so that no two sequences of
//! tokens give the same bytes:
//!
//! ```text
//! identifier   'i' length text        (a lifetime is '\'' as punctuation, then its name)
//! literal      'l' length text        (as written: `1_000` and `1000` differ)
//! punctuation  'p' length character   (one by one, so that spacing does not count)
//! group        '(' '[' '{' or '_' (invisible), the tokens inside, then 'e'
//! ```
//!
//! Lengths are 8 bytes, little-endian. The bytes are hashed with BLAKE3 behind [`FORMAT`].

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Signature;

/// Comes first in what is hashed. Changing the walk changes this, and makes every stored result stale.
const FORMAT: &[u8] = b"memopool code 1\n";

/// The digest of a function of this signature and this body.
pub(crate) fn of_function(signature: &Signature, body: impl ToTokens) -> [u8; 32] {
    let mut signature = signature.clone();
    // Formatters add this comma when they break the line.
    signature.inputs.pop_punct();
    let mut tokens = signature.into_token_stream();
    body.to_tokens(&mut tokens);
    of_tokens(tokens)
}

fn of_tokens(tokens: TokenStream) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(FORMAT);
    walk(&mut hasher, tokens);
    hasher.finalize().into()
}

fn walk(hasher: &mut blake3::Hasher, tokens: TokenStream) {
    let mut rest = tokens.into_iter();
    while let Some(token) = rest.next() {
        if let Some(length) = doc_attribute(&token, &rest) {
            rest.by_ref().take(length).for_each(drop);
            continue;
        }
        match token {
            TokenTree::Ident(ident) => write(hasher, b'i', &ident.to_string()),
            TokenTree::Literal(literal) => write(hasher, b'l', &literal.to_string()),
            TokenTree::Punct(punct) => write(hasher, b'p', punct.as_char().encode_utf8(&mut [0; 4])),
            TokenTree::Group(group) => {
                hasher.update(match group.delimiter() {
                    Delimiter::Parenthesis => b"(",
                    Delimiter::Bracket => b"[",
                    Delimiter::Brace => b"{",
                    Delimiter::None => b"_",
                });
                walk(hasher, group.stream());
                hasher.update(b"e");
            }
        }
    }
}

fn write(hasher: &mut blake3::Hasher, kind: u8, text: &str) {
    hasher.update(&[kind]);
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

/// How many tokens after `token` finish a doc attribute (`#[doc = "…"]` or `#![doc = "…"]`) that begins with it.
///
/// A doc comment arrives as such an attribute. `#[doc(hidden)]` and its like were written by hand, and count.
fn doc_attribute(token: &TokenTree, rest: &(impl Iterator<Item = TokenTree> + Clone)) -> Option<usize> {
    let is = |token: &TokenTree, c| matches!(token, TokenTree::Punct(punct) if punct.as_char() == c);
    if !is(token, '#') {
        return None;
    }
    let mut rest = rest.clone();
    let mut length = 1;
    let mut next = rest.next()?;
    if is(&next, '!') {
        length = 2;
        next = rest.next()?;
    }
    let TokenTree::Group(group) = next else {
        return None;
    };
    if group.delimiter() != Delimiter::Bracket {
        return None;
    }
    let mut inside = group.stream().into_iter();
    let named = matches!(inside.next()?, TokenTree::Ident(ident) if ident == "doc");
    (named && is(&inside.next()?, '=')).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(source: &str) -> [u8; 32] {
        of_tokens(source.parse().expect("tokens"))
    }

    fn function(source: &str) -> [u8; 32] {
        let function: syn::ItemFn = syn::parse_str(source).expect("a function");
        of_function(&function.sig, &function.block)
    }

    #[test]
    fn layout_and_comments_do_not_count() {
        let plain = digest("fn f(n: u64) -> u64 { let m = n + 1; m - -m }");
        for same in [
            "fn f(n:u64)->u64{let m=n+1;m- -m}",
            "\n\n\n   fn f(n: u64) -> u64 {\n        let m = n + 1;\n        m - - m\n}\n",
            "fn f(n: u64) -> u64 { // why\n let m = /* because */ n + 1; m - -m }",
            "fn f(n: u64) -> u64 {\n /// Doc.\n let m = n + 1; m - -m }",
            "fn f(n: u64) -> u64 { //! Inner doc.\n /** Doc */ let m = n + 1; m - -m }",
            "fn f(n: u64) -> u64 { #[doc = \"Doc.\"] #[doc = \"More.\"] let m = n + 1; m - -m }",
        ] {
            assert_eq!(digest(same), plain, "{same}");
        }
    }

    #[test]
    fn spacing_of_punctuation_does_not_count() {
        assert_eq!(digest("a - - b"), digest("a -- b"));
        assert_eq!(digest("a & & b"), digest("a && b"));
        assert_eq!(digest("a < 'b >"), digest("a<'b>"));
    }

    #[test]
    fn every_token_counts() {
        let sources = [
            "",
            "a",
            "b",
            "ab",
            "a b",
            "r#a",
            "\"a\"",
            "'a'",
            "'a",
            "b'a'",
            "1",
            "1u8",
            "1.0",
            "01",
            "true",
            "!",
            "#",
            "a;",
            "(a)",
            "[a]",
            "{a}",
            "(a)b",
            "(a b)",
            "((a))",
            "()",
            "() ()",
            "(())",
            "a,",
            "- a",
            "a -",
            "#[doc(hidden)]",
            "#[test]",
            "#(doc = 1)",
            "[doc = 1]",
        ];
        for (index, one) in sources.iter().enumerate() {
            for other in &sources[..index] {
                assert_ne!(digest(one), digest(other), "{one} and {other}");
            }
        }
    }

    #[test]
    fn lengths_keep_tokens_apart() {
        // Without its length the second identifier could pass for the end of the first.
        assert_ne!(digest("ai b"), digest("a ib"));
        assert_ne!(digest("\"ai\""), digest("\"a\" i"));
    }

    #[test]
    fn visibility_and_outer_attributes_do_not_count() {
        let plain = function("fn f(n: u64) -> u64 { n }");
        for same in [
            "pub fn f(n: u64) -> u64 { n }",
            "pub(crate) fn f(n: u64) -> u64 { n }",
            "/// Doc.\n#[inline]\nfn f(n: u64) -> u64 { n }",
            "fn f(\n    n: u64,\n) -> u64 { n }",
        ] {
            assert_eq!(function(same), plain, "{same}");
        }
        for other in [
            "fn g(n: u64) -> u64 { n }",
            "fn f(m: u64) -> u64 { n }",
            "fn f(n: u32) -> u64 { n }",
            "fn f(n: u64) -> u32 { n }",
            "fn f(mut n: u64) -> u64 { n }",
            "fn f(n: u64) -> u64 { m }",
            "fn f(n: u64) -> u64 { n; }",
            "fn f(n: u64) -> u64 { (n) }",
        ] {
            assert_ne!(function(other), plain, "{other}");
        }
    }

    #[test]
    fn the_walk_is_pinned() {
        // Changed only together with `FORMAT`: it makes every stored result stale.
        let hex: String = function("fn f(n: &[u8]) -> u64 { n.len() as u64 + 1 }")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex, "e21f720c2d20777c826bb78733134622d19ea045c83577510c2d2e964230670a");
    }
}
