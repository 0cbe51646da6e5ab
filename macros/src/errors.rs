//! The errors of one use of the attribute, reported together.

use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::Error;

/// Everything found wrong so far.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    /// Adds an error that underlines `culprit`.
    pub(crate) fn add(&mut self, culprit: impl ToTokens, message: impl Display) {
        self.push(error(culprit, message));
    }

    /// Adds an error made elsewhere.
    pub(crate) fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    /// The errors as code that makes the compiler report them, if there are any.
    pub(crate) fn into_tokens(self) -> Option<TokenStream> {
        self.0.map(Error::into_compile_error)
    }
}

/// An error of ours that underlines `culprit`.
pub(crate) fn error(culprit: impl ToTokens, message: impl Display) -> Error {
    Error::new_spanned(culprit, format!("memopool: {message}"))
}
