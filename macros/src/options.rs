//! What stands in the parentheses of the attribute.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{LitInt, LitStr, Path, Token, parenthesized, token};

use crate::duration;
use crate::errors::{Errors, error};

const KNOWN: &str = "`version = \"…\"`, `name = \"…\"`, `ttl = \"1h\"`, `ignore(arg, …)`, `deps(function, …)`, `in_memory`, \
                     `cache_errors`, `retries = 3`, `backoff = \"100ms\"`, `timeout = \"30s\"`, `fallible` and `infallible`";

/// The options of one function. Switches are the word that turned them on.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) version: Option<LitStr>,
    pub(crate) name: Option<LitStr>,
    pub(crate) ignore: Vec<Ident>,
    pub(crate) deps: Vec<Path>,
    pub(crate) in_memory: Option<Ident>,
    pub(crate) cache_errors: Option<Ident>,
    pub(crate) fallible: Option<Ident>,
    pub(crate) infallible: Option<Ident>,
    /// The option's word and its nanoseconds.
    pub(crate) ttl: Option<(Ident, u64)>,
    /// The option's word and its nanoseconds.
    pub(crate) timeout: Option<(Ident, u64)>,
    /// The option's word and its number.
    pub(crate) retries: Option<(Ident, u32)>,
    /// The option's word and its nanoseconds.
    pub(crate) backoff: Option<(Ident, u64)>,
}

impl Options {
    /// Reads the options. Those that are wrong go to `errors`, the others are read all the same.
    pub(crate) fn read(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut options = Self::default();
        let mut seen = Vec::new();
        let parser = |input: ParseStream<'_>| {
            while !input.is_empty() {
                if let Err(error) = options.read_one(input, &mut seen) {
                    errors.push(error);
                    skip_to_comma(input);
                }
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        };
        if let Err(error) = parser.parse2(tokens) {
            errors.push(error);
        }
        options.check(errors);
        options
    }

    fn read_one(&mut self, input: ParseStream<'_>, seen: &mut Vec<Ident>) -> syn::Result<()> {
        let word: Ident = input.parse().map_err(|wrong| {
            syn::Error::new(wrong.span(), format!("memopool: expected an option: {KNOWN}"))
        })?;
        if seen.contains(&word) {
            return Err(error(&word, format_args!("`{word}` is given twice; keep one of them")));
        }
        seen.push(word.clone());
        match word.to_string().as_str() {
            "version" => self.version = Some(text(&word, input)?),
            "name" => self.name = Some(text(&word, input)?),
            "ttl" => self.ttl = Some((word.clone(), nanos(&word, input)?)),
            "timeout" => self.timeout = Some((word.clone(), nanos(&word, input)?)),
            "retries" => self.retries = Some((word.clone(), number(&word, input)?)),
            "backoff" => self.backoff = Some((word.clone(), nanos(&word, input)?)),
            "ignore" => self.ignore = list(&word, input, "ignore(argument)", Ident::parse)?,
            "deps" => self.deps = list(&word, input, "deps(function)", Path::parse_mod_style)?,
            "in_memory" => self.in_memory = Some(switch(&word, input)?),
            "cache_errors" => self.cache_errors = Some(switch(&word, input)?),
            "fallible" => self.fallible = Some(switch(&word, input)?),
            "infallible" => self.infallible = Some(switch(&word, input)?),
            _ => {
                return Err(error(&word, format_args!("there is no option `{word}`; there are {KNOWN}")));
            }
        }
        if !input.is_empty() && !input.peek(Token![,]) {
            return Err(syn::Error::new(input.span(), "memopool: expected a comma between two options"));
        }
        Ok(())
    }

    /// What is wrong with the options among themselves.
    fn check(&self, errors: &mut Errors) {
        if let (Some(_), Some(word)) = (&self.fallible, &self.infallible) {
            errors.add(word, "`fallible` and `infallible` contradict each other; keep the one that is true");
        }
        if let (None, Some((word, _))) = (&self.retries, &self.backoff) {
            errors.add(word, "`backoff` is the rest between two attempts, and there is only one; add `retries = 3`, or remove `backoff`");
        }
        for (index, argument) in self.ignore.iter().enumerate() {
            if self.ignore[..index].contains(argument) {
                errors.add(argument, format_args!("`{argument}` is ignored twice; name it once"));
            }
        }
    }
}

/// `word = "…"`, not empty.
fn text(word: &Ident, input: ParseStream<'_>) -> syn::Result<LitStr> {
    let literal: LitStr = value(word, input, "string", "\"…\"")?;
    if literal.value().is_empty() {
        return Err(error(literal, format_args!("`{word}` is empty; give it a text, or leave it out")));
    }
    Ok(literal)
}

/// `word = "1h30m"`.
fn nanos(word: &Ident, input: ParseStream<'_>) -> syn::Result<u64> {
    let literal: LitStr = value(word, input, "duration", "\"1h30m\"")?;
    duration::nanos(&literal.value()).map_err(|wrong| error(&literal, wrong))
}

/// `word = 3`.
fn number(word: &Ident, input: ParseStream<'_>) -> syn::Result<u32> {
    let literal: LitInt = value(word, input, "whole number", "3")?;
    let fits = literal.suffix().is_empty() || literal.suffix() == "u32";
    literal
        .base10_parse()
        .ok()
        .filter(|_| fits)
        .ok_or_else(|| error(&literal, format_args!("`{word}` needs a `u32`: `{word} = 3`")))
}

/// A switch takes no value.
fn switch(word: &Ident, input: ParseStream<'_>) -> syn::Result<Ident> {
    if input.peek(Token![=]) || input.peek(token::Paren) {
        return Err(error(word, format_args!("`{word}` takes no value; write it alone, or leave it out")));
    }
    Ok(word.clone())
}

/// `= literal`, or an error that shows the form: "`word` needs a {what}: `word = {example}`".
fn value<T: Parse>(word: &Ident, input: ParseStream<'_>, what: &str, example: &str) -> syn::Result<T> {
    let wrong = format!("memopool: `{word}` needs a {what}: `{word} = {example}`");
    if !input.peek(Token![=]) {
        return Err(syn::Error::new(word.span(), wrong));
    }
    input.parse::<Token![=]>()?;
    input.parse().map_err(|error| syn::Error::new(error.span(), wrong))
}

/// `(a, b)`, not empty.
fn list<T: Parse>(
    word: &Ident,
    input: ParseStream<'_>,
    form: &str,
    item: fn(ParseStream<'_>) -> syn::Result<T>,
) -> syn::Result<Vec<T>> {
    if !input.peek(token::Paren) {
        return Err(error(word, format_args!("`{word}` needs a list of names: `{form}`")));
    }
    let inside;
    parenthesized!(inside in input);
    let items = Punctuated::<T, Token![,]>::parse_terminated_with(&inside, item).map_err(|wrong| {
        // A rest that nobody reads would be an error of its own.
        skip(&inside);
        syn::Error::new(wrong.span(), format!("memopool: `{word}` needs names: `{form}`"))
    })?;
    if items.is_empty() {
        return Err(error(word, format_args!("`{word}` names nothing; write `{form}`, or leave it out")));
    }
    Ok(items.into_iter().collect())
}

/// Passes over everything.
fn skip(input: ParseStream<'_>) {
    while input.parse::<TokenTree>().is_ok() {}
}

/// Passes over what is left of an option in error.
fn skip_to_comma(input: ParseStream<'_>) {
    while !input.peek(Token![,]) && input.parse::<TokenTree>().is_ok() {}
}
