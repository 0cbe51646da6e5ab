//! The items that stand next to a memoized function.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Path, ReturnType};

use crate::digest;
use crate::errors::Errors;
use crate::options::Options;
use crate::signature::{self, Function, Param, Passing};

/// The item as it was, followed by its memoized form or by what is wrong with it.
pub(crate) fn memo(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let options = Options::read(options, &mut errors);
    let memoized = match signature::parse(item.clone()) {
        Ok(function) => {
            let params = signature::check(&function, &mut errors);
            check(&options, &function, &params, &mut errors);
            Some(Memoized { options, function, params })
        }
        Err(error) => {
            errors.push(error);
            None
        }
    };
    let next = errors.into_tokens().or_else(|| memoized.map(|memoized| memoized.expand()));
    quote!(#item #next)
}

/// Whether the options fit the function.
fn check(options: &Options, function: &Function, params: &[Param], errors: &mut Errors) {
    let named = |name: &Ident| params.iter().any(|param| param.is_named(name));
    // A parameter that is in error may be the one that is meant.
    if params.len() == function.sig.inputs.len() {
        for argument in options.ignore.iter().filter(|argument| !named(argument)) {
            errors.add(
                argument,
                format_args!(
                    "`{}` has no parameter `{argument}`; name one of its parameters",
                    function.sig.ident
                ),
            );
        }
    }
    for path in options.deps.iter().filter(|path| is_function(path, &function.sig.ident)) {
        errors.add(path, "a function's own code is part of its identity already; remove it from `deps`");
    }
    if let Some(word) =
        options.fallible.as_ref().filter(|_| matches!(function.sig.output, ReturnType::Default))
    {
        errors.add(
            word,
            "the function returns nothing, so it can't fail; return a `Result`, or remove `fallible`",
        );
    }
    if let Some(word) = options.cache_errors.as_ref().filter(|_| !fallible(options, function)) {
        errors.add(
            word,
            if options.infallible.is_some() {
                "an `infallible` function has no errors to store; remove `cache_errors`, or `infallible`"
            } else {
                "the name of the return type does not end in `Result`, so there are no errors to store; remove `cache_errors`, or add \
                 `fallible` if it is a `Result` under another name"
            },
        );
    }
}

/// Whether `path` is `name` or `self::name`.
fn is_function(path: &Path, name: &Ident) -> bool {
    let here = match path.segments.len() {
        1 => path.leading_colon.is_none(),
        2 => path.segments[0].ident == "self",
        _ => false,
    };
    here && path.segments.last().is_some_and(|segment| segment.ident == *name)
}

fn fallible(options: &Options, function: &Function) -> bool {
    options.infallible.is_none()
        && (options.fallible.is_some() || signature::looks_fallible(&function.sig.output))
}

/// A function that passed all checks.
struct Memoized {
    options: Options,
    function: Function,
    params: Vec<Param>,
}

impl Memoized {
    fn expand(&self) -> TokenStream {
        let Function { vis, sig, .. } = &self.function;
        let function = &sig.ident;
        let doc = format!(
            "Memoized form of the function of the same name: `{function}::call` binds arguments without running anything, \
             `{function}::func` is the function as a value."
        );
        // The trait is implemented for a private type: on the public one, associated types could not name private types.
        let memo = format_ident!("__memo_{}", function);
        let attrs = self.function.attrs.iter().filter(|attr| is_shared(attr));
        let cfgs: Vec<_> = self.function.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect();
        let inherent = self.inherent(&memo);
        let implementation = self.implementation(&memo);
        quote! {
            #[doc = #doc]
            #(#attrs)*
            #[allow(dead_code, non_camel_case_types, unreachable_pub, missing_debug_implementations, missing_copy_implementations)]
            #vis enum #function {}

            #(#cfgs)*
            #[allow(dead_code, deprecated, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic)]
            impl #function { #inherent }

            #(#cfgs)*
            #[doc(hidden)]
            #[allow(dead_code, non_camel_case_types, missing_debug_implementations, missing_copy_implementations)]
            enum #memo {}

            #(#cfgs)*
            #[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
            impl ::memopool::__private::Memoized for #memo { #implementation }
        }
    }

    /// What users call.
    fn inherent(&self, memo: &Ident) -> TokenStream {
        let vis = &self.function.vis;
        let names: Vec<_> = self.params.iter().map(|param| &param.ident).collect();
        let lent: Vec<_> = self.params.iter().map(Param::lent).collect();
        let owned = self.params.iter().map(Param::owned);
        let output = self.output();
        let lifetime = self.params.iter().any(Param::is_lent).then(|| quote!(<'memo>));
        let (name, code) = (self.name(), self.code());
        let deps = mixed("deps");
        let each = self
            .options
            .deps
            .iter()
            .map(|path| quote_spanned!(at(path.span())=> <#path>::__memo_code(deps);));
        quote! {
            /// Binds arguments. Nothing runs until the call is given to a pool.
            #vis fn call #lifetime(#(#names: #lent),*) -> ::memopool::Call<(#(#lent,)*), #output> {
                ::memopool::__private::lend::<#memo>((#(#names,)*))
            }

            /// The function as a value.
            #vis fn func() -> &'static ::memopool::Func<(#(#owned,)*), #output> {
                <#memo as ::memopool::__private::Memoized>::func()
            }

            #[doc(hidden)]
            #vis fn __memo_code(#deps: &mut ::memopool::__private::Deps) {
                if #deps.enter(#name, #code) {
                    #(#each)*
                }
            }
        }
    }

    /// What the library calls.
    fn implementation(&self, memo: &Ident) -> TokenStream {
        let function = &self.function.sig.ident;
        let lent = self.params.iter().map(Param::lent);
        let owned = self.params.iter().map(Param::owned);
        let output = self.output();
        let (args, enc) = (mixed("args"), mixed("enc"));
        let own = self
            .params
            .iter()
            .enumerate()
            .map(|(index, param)| param.own(&place(&args, index, param.span())));
        let encode = self.encode(&args, &enc);
        let run = self
            .params
            .iter()
            .enumerate()
            .map(|(index, param)| param.lend(&place(&args, index, param.span())));
        let body = match self.is_async() {
            false => quote!({
                let _ = &#args;
                #function(#(#run),*)
            }),
            // The future owns the arguments, and lends them to the function.
            true => quote!(async move {
                let _ = &#args;
                #function(#(#run),*).await
            }),
        };
        let (name, code) = (self.name(), self.code());
        let finish = self.finish();
        let settings = self.settings();
        let func = quote!(::memopool::Func<
            <#memo as ::memopool::__private::Memoized>::Owned,
            <#memo as ::memopool::__private::Memoized>::Output,
        >);
        quote! {
            type Lent<'memo> = (#(#lent,)*);
            type Owned = (#(#owned,)*);
            type Output = #output;

            fn encode(
                #args: &Self::Lent<'_>,
                #enc: &mut ::memopool::__private::Encoder<'_>,
            ) -> ::std::result::Result<(), ::memopool::__private::EncodeError> {
                #encode
            }

            fn own(#args: Self::Lent<'_>) -> Self::Owned {
                let _ = &#args;
                (#(#own,)*)
            }

            fn func() -> &'static ::memopool::Func<Self::Owned, Self::Output> {
                static __MEMO_FUNC: ::std::sync::OnceLock<#func> = ::std::sync::OnceLock::new();
                __MEMO_FUNC.get_or_init(|| {
                    let memo = ::memopool::__private::Memo::<Self::Owned> {
                        name: #name,
                        code: #code,
                        deps: #function::__memo_code,
                        encode: |#args, #enc| { #encode },
                    };
                    memo.#finish(|#args: <#memo as ::memopool::__private::Memoized>::Owned| #body)
                    #settings
                })
            }
        }
    }

    /// Writes the arguments with their positions; for those that are no part of the key, that they are not.
    fn encode(&self, args: &Ident, enc: &Ident) -> TokenStream {
        let ignored = |param: &Param| self.options.ignore.iter().any(|ignored| param.is_named(ignored));
        let steps = self.params.iter().enumerate().map(|(index, param)| {
            let position = Literal::usize_unsuffixed(index + 1);
            let (name, place) = (param.name(), place(args, index, param.span()));
            let span = at(param.span());
            let enc = Ident::new(&enc.to_string(), span);
            if ignored(param) {
                quote_spanned!(span=> #enc.ignored();)
            } else if param.is_bytes() {
                quote_spanned!(span=> #enc.bytes(#position, #name, &#place)?;)
            } else {
                quote_spanned!(span=> #enc.arg(#position, #name, &#place)?;)
            }
        });
        quote! {
            let _ = (&#args, &#enc);
            #(#steps)*
            ::std::result::Result::Ok(())
        }
    }

    /// The type of a stored value.
    fn output(&self) -> TokenStream {
        match &self.function.sig.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, ty) if fallible(&self.options, &self.function) => {
                quote_spanned!(at(ty.span())=> <#ty as ::memopool::__private::Fallible>::Ok)
            }
            ReturnType::Type(_, ty) => ty.to_token_stream(),
        }
    }

    /// The function's name in its identity.
    fn name(&self) -> TokenStream {
        match &self.options.name {
            Some(name) => name.to_token_stream(),
            None => {
                let function = self.function.sig.ident.unraw().to_string();
                quote!(::std::concat!(::std::module_path!(), "::", #function))
            }
        }
    }

    /// What makes stored results stale when it changes.
    fn code(&self) -> TokenStream {
        match &self.options.version {
            Some(version) => quote!(::memopool::__private::Code::Version(#version)),
            None => {
                let digest =
                    Literal::byte_string(&digest::of_function(&self.function.sig, &self.function.body));
                quote!(::memopool::__private::Code::Digest(*#digest))
            }
        }
    }

    /// The method that ends the builder. It points at the return type, whose bounds it checks.
    fn finish(&self) -> Ident {
        let place = if self.options.in_memory.is_some() { "in_memory" } else { "stored" };
        let kind = match (fallible(&self.options, &self.function), &self.options.cache_errors) {
            (true, Some(_)) => "_errors",
            (true, None) => "_fallible",
            (false, _) => "",
        };
        let twin = if self.is_async() { "_async" } else { "" };
        let span = match &self.function.sig.output {
            ReturnType::Default => Span::call_site(),
            ReturnType::Type(_, ty) => at(ty.span()),
        };
        format_ident!("{place}{kind}{twin}", span = span)
    }

    fn is_async(&self) -> bool {
        self.function.sig.asyncness.is_some()
    }

    /// The setters that were asked for. Each points at its option.
    fn settings(&self) -> TokenStream {
        let Options { ttl, timeout, retries, backoff, .. } = &self.options;
        let durations = ttl
            .iter()
            .chain(timeout)
            .map(|(word, nanos)| quote!(.#word(::std::time::Duration::from_nanos(#nanos))));
        let retries = retries.iter().map(|(word, count)| {
            let count = Literal::u32_unsuffixed(*count);
            quote!(.#word(#count))
        });
        let backoff = backoff.iter().map(|(word, nanos)| {
            quote!(.#word(::memopool::Backoff::exponential(::std::time::Duration::from_nanos(#nanos))))
        });
        quote!(#(#durations)* #(#retries)* #(#backoff)*)
    }
}

impl Param {
    fn is_lent(&self) -> bool {
        matches!(self.passing, Passing::Shared(_))
    }

    /// Where the type stands.
    fn span(&self) -> Span {
        match &self.passing {
            Passing::Value(ty) | Passing::Shared(ty) => ty.span(),
        }
    }

    /// The type that a call holds.
    fn lent(&self) -> TokenStream {
        match &self.passing {
            Passing::Value(ty) => ty.to_token_stream(),
            Passing::Shared(ty) => quote_spanned!(at(ty.span())=> &'memo #ty),
        }
    }

    /// The type that a run holds.
    fn owned(&self) -> TokenStream {
        match &self.passing {
            Passing::Value(ty) => ty.to_token_stream(),
            Passing::Shared(ty) => {
                quote_spanned!(at(ty.span())=> <#ty as ::std::borrow::ToOwned>::Owned)
            }
        }
    }

    /// From what a call holds to what a run holds.
    fn own(&self, place: &TokenStream) -> TokenStream {
        match &self.passing {
            Passing::Value(_) => place.clone(),
            Passing::Shared(ty) => {
                quote_spanned!(at(ty.span())=> <#ty as ::std::borrow::ToOwned>::to_owned(#place))
            }
        }
    }

    /// From what a run holds to what the function takes.
    fn lend(&self, place: &TokenStream) -> TokenStream {
        match &self.passing {
            Passing::Value(_) => place.clone(),
            Passing::Shared(ty) => {
                quote_spanned!(at(ty.span())=> ::std::borrow::Borrow::<#ty>::borrow(&#place))
            }
        }
    }
}

/// Attributes of the function that hold for its memoized form as well.
fn is_shared(attr: &Attribute) -> bool {
    let path = attr.path();
    path.is_ident("cfg") || path.is_ident("deprecated") || (path.is_ident("doc") && is_hidden(attr))
}

fn is_hidden(attr: &Attribute) -> bool {
    attr.parse_args::<Ident>().is_ok_and(|word| word == "hidden")
}

/// A local name that can't meet one of the user's.
fn mixed(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// The place of `span` for generated code: errors point there, lints know that nobody wrote it, and locals are ours.
fn at(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}

/// One field of a tuple. Errors about it point at `span`.
fn place(tuple: &Ident, index: usize, span: Span) -> TokenStream {
    let tuple = Ident::new(&tuple.to_string(), at(span));
    let mut index = Literal::usize_unsuffixed(index);
    index.set_span(at(span));
    quote_spanned!(at(span)=> #tuple.#index)
}
