//! Which functions can be memoized, and how they take their arguments.

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{
    Attribute, FnArg, GenericArgument, GenericParam, Lifetime, Pat, PatType, Path, PathArguments,
    PathSegment, ReturnType, Signature, Token, Type, TypeImplTrait, TypeParamBound, TypePath, TypeReference,
    Visibility, token,
};

use crate::errors::Errors;

/// Arguments are one tuple, and `ToOwned`, `Hash` and the like stop early on long ones.
const MAX_PARAMS: usize = 16;

/// An associated function without `self` looks like a free one until `Self` turns up.
const ASSOCIATED: &str =
    "an associated function can't be memoized; make it a free function, and write the type's name for `Self`";

/// A function with its body unread: what stands in there is none of our business.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig = input.parse()?;
        if !input.peek(token::Brace) {
            return Err(input.error("expected a body"));
        }
        match input.parse()? {
            TokenTree::Group(body) => Ok(Self { attrs, vis, sig, body }),
            other => Err(syn::Error::new(other.span(), "expected a body")),
        }
    }
}

/// One argument of the function.
pub(crate) struct Param {
    /// The name without `mut`.
    pub(crate) ident: Ident,
    pub(crate) passing: Passing,
}

impl Param {
    /// The name as it joins the key: `type` for `r#type`.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    /// Whether it is written as a list of bytes: `&[u8]`, `Vec<u8>` or `&Vec<u8>`.
    pub(crate) fn is_bytes(&self) -> bool {
        let (Passing::Value(ty) | Passing::Shared(ty)) = &self.passing;
        match peel(ty) {
            Type::Slice(slice) => is_u8(&slice.elem),
            Type::Path(TypePath { qself: None, path }) if path.segments.len() == 1 => {
                let PathSegment { ident, arguments } = &path.segments[0];
                match arguments {
                    PathArguments::AngleBracketed(given) if ident == "Vec" && given.args.len() == 1 => {
                        matches!(&given.args[0], GenericArgument::Type(ty) if is_u8(ty))
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    }

    /// Whether an option that says `name` means this parameter.
    pub(crate) fn is_named(&self, name: &Ident) -> bool {
        self.ident.unraw() == name.unraw()
    }
}

/// How an argument is passed.
pub(crate) enum Passing {
    /// `T`.
    Value(Type),
    /// `&T`. It is lent from the caller for a look-up, and from an owned copy for a run.
    Shared(Type),
}

fn is_u8(ty: &Type) -> bool {
    matches!(peel(ty), Type::Path(TypePath { qself: None, path }) if path.is_ident("u8"))
}

/// The type under invisible groups, which macros leave behind, and parentheses.
pub(crate) fn peel(mut ty: &Type) -> &Type {
    loop {
        ty = match ty {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            other => return other,
        };
    }
}

/// The parameters of `function`. What keeps it from being memoized goes to `errors`.
pub(crate) fn check(function: &Function, errors: &mut Errors) -> Vec<Param> {
    let Function { attrs, sig, .. } = function;
    for attr in attrs.iter().filter(|attr| last(attr.path()).is_some_and(|segment| segment.ident == "memo")) {
        errors.add(attr, "`#[memo]` is given twice; merge the two into one");
    }
    name(&sig.ident, errors);
    qualifiers(sig, errors);
    generics(sig, errors);
    result(&sig.output, errors);
    let mut params = Vec::new();
    for input in &sig.inputs {
        match input {
            FnArg::Typed(input) => params.extend(param(input, errors)),
            FnArg::Receiver(receiver) => errors.add(
                receiver,
                "a method can't be memoized, because `self` has no place in the call; make it a free function that takes the value as \
                 an argument",
            ),
        }
    }
    if let Some(extra) = sig.inputs.iter().nth(MAX_PARAMS) {
        errors.add(
            extra,
            format_args!(
                "a memoized function has at most {MAX_PARAMS} parameters; group some of them in a struct"
            ),
        );
    }
    params
}

/// Names of types and crates that generated code and the code around it need, and that a type of the function's name would hide.
const TAKEN: [&str; 23] = [
    "bool", "char", "str", "f16", "f32", "f64", "f128", "i8", "i16", "i32", "i64", "i128", "isize", "u8",
    "u16", "u32", "u64", "u128", "usize", "std", "core", "alloc", "memopool",
];

fn name(name: &Ident, errors: &mut Errors) {
    let plain = name.unraw();
    if TAKEN.iter().any(|taken| plain == taken) {
        errors.add(
            name,
            format_args!(
                "a memoized function is a type of its name as well, which would hide the `{plain}` that is there; give the function \
                 another name (`name = \"…\"` says under which its results are kept)"
            ),
        );
    }
}

fn qualifiers(sig: &Signature, errors: &mut Errors) {
    if let Some(word) = &sig.constness {
        errors.add(
            word,
            "a `const fn` can't be memoized: memoized calls are made at run time; remove `const`, or memoize a plain `fn` that calls it",
        );
    }
    if let Some(word) = &sig.unsafety {
        errors.add(
            word,
            "an `unsafe fn` can't be memoized: a pool calls it without knowing its conditions; memoize a safe `fn` that upholds them",
        );
    }
    if let Some(abi) = &sig.abi {
        errors.add(abi, "an `extern` function can't be memoized; memoize a plain `fn` that calls it");
    }
    if let Some(dots) = &sig.variadic {
        errors.add(dots, "a variadic function can't be memoized; take the rest as a slice or a `Vec`");
    }
}

fn generics(sig: &Signature, errors: &mut Errors) {
    for generic in &sig.generics.params {
        let (kind, name, each) = match generic {
            GenericParam::Lifetime(_) => continue,
            GenericParam::Type(param) => ("type", &param.ident, "type"),
            GenericParam::Const(param) => ("const", &param.ident, "value"),
        };
        errors.add(
            generic,
            format_args!(
                "`{name}` is a {kind} parameter: a memoized function needs one identity for its results; write one `#[memo]` function \
                 for each {each} you use, each calling the generic one"
            ),
        );
    }
}

fn result(output: &ReturnType, errors: &mut Errors) {
    let ReturnType::Type(_, ty) = output else {
        return;
    };
    if let Type::Never(never) = peel(ty) {
        errors.add(never, "the function never returns, so there is no result to store; remove `#[memo]`");
        return;
    }
    match Culprit::find(ty, Place::Result) {
        None => {}
        Some(Culprit::Reference(reference)) => errors.add(
            reference,
            "the return type contains a reference: a stored result outlives the arguments of its call; return an owned value, such as \
             `String` for `&str`",
        ),
        Some(Culprit::Lifetime(lifetime)) => errors.add(
            lifetime,
            format_args!("the return type borrows for `{lifetime}`: a stored result outlives the arguments of its call; return an owned type"),
        ),
        Some(Culprit::Impl(ty)) => errors.add(
            ty,
            "the return type is `impl Trait`: a stored result needs a type with a name; name the type, or collect it into a `Vec`",
        ),
        Some(Culprit::SelfType(path)) => errors.add(path, ASSOCIATED),
        // A `Cow` of its own lifetime is an owned value.
        Some(Culprit::Cow(_)) => {}
    }
}

fn param(input: &PatType, errors: &mut Errors) -> Option<Param> {
    if let Some(attr) =
        input.attrs.iter().find(|attr| attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr"))
    {
        errors.add(
            attr,
            "a parameter of a memoized function can't depend on `cfg`: its arguments are its identity; put `#[cfg]` on two functions",
        );
    }
    let ident = match &*input.pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => pat.ident.clone(),
        pat => {
            errors.add(
                pat,
                "a parameter of a memoized function needs a name, which joins the key; name it, and take it apart in the body",
            );
            return None;
        }
    };
    let ty = peel(&input.ty);
    let passing = match ty {
        Type::Reference(reference) => {
            reference_param(&ident, reference, errors);
            Passing::Shared((*reference.elem).clone())
        }
        _ => {
            inner_types(&ident, ty, errors);
            Passing::Value((*input.ty).clone())
        }
    };
    Some(Param { ident, passing })
}

/// Checks a parameter that is a reference.
fn reference_param(name: &Ident, reference: &TypeReference, errors: &mut Errors) {
    if reference.mutability.is_some() {
        return exclusive(name, reference, errors);
    }
    if let Some(lifetime) = reference.lifetime.as_ref().filter(|lifetime| lifetime.ident == "static") {
        errors.add(
            lifetime,
            format_args!(
                "parameter `{name}` is `&'static T`: a run lends its own copy of the argument, which lives only as long as the run; write \
                 `&T`, or take an owned value"
            ),
        );
        return;
    }
    match peel(&reference.elem) {
        Type::TraitObject(_) => errors.add(
            reference,
            format_args!(
                "parameter `{name}` is `&dyn Trait`: a run needs its own copy of the argument, and a trait object has none; take a \
                 concrete type, or an `Arc<dyn Trait>` or `Box<dyn Trait>` by value"
            ),
        ),
        Type::Path(ty) if boxed_trait_object(&ty.path) => errors.add(
            reference,
            format_args!(
                "parameter `{name}` is `&Box<dyn Trait>`: a run needs its own copy of the argument, and a trait object has none; take the \
                 `Box<dyn Trait>`, or an `Arc<dyn Trait>`, by value"
            ),
        ),
        Type::Reference(inner) if inner.mutability.is_none() => errors.add(
            reference,
            format_args!(
                "parameter `{name}` is a reference to a reference, which can't be made owned when the run starts; take `&T`, or an owned \
                 value"
            ),
        ),
        inner => inner_types(name, inner, errors),
    }
}

/// Checks what a parameter's type is made of.
fn inner_types(name: &Ident, ty: &Type, errors: &mut Errors) {
    match Culprit::find(ty, Place::Argument) {
        None => {}
        Some(Culprit::Reference(inner)) if inner.mutability.is_some() => exclusive(name, inner, errors),
        Some(Culprit::Reference(inner)) => errors.add(
            inner,
            format_args!(
                "parameter `{name}` has a reference inside another type, which can't be made owned when the run starts; use owned \
                 elements, such as `Option<String>` or `&[String]`"
            ),
        ),
        Some(Culprit::Cow(cow)) => errors.add(
            cow,
            format_args!("parameter `{name}` is a `Cow`: the call already borrows, and owns only for a run; take `&T`, such as `&str`"),
        ),
        Some(Culprit::Lifetime(lifetime)) => errors.add(
            lifetime,
            format_args!(
                "parameter `{name}` borrows for `{lifetime}` inside its type, which can't be made owned when the run starts; take an \
                 owned type, or `&T` of an owned one"
            ),
        ),
        Some(Culprit::Impl(ty)) => errors.add(
            ty,
            format_args!(
                "parameter `{name}` is `impl Trait`: a memoized function needs one identity for its results; name a concrete type"
            ),
        ),
        Some(Culprit::SelfType(path)) => errors.add(path, ASSOCIATED),
    }
}

fn exclusive(name: &Ident, reference: &TypeReference, errors: &mut Errors) {
    errors.add(
        reference,
        format_args!(
            "parameter `{name}` is `&mut T`: a memoized function's result may depend only on its arguments; take it by value or by shared \
             reference and return the new value"
        ),
    );
}

fn boxed_trait_object(path: &Path) -> bool {
    let Some(segment) = last(path).filter(|segment| segment.ident == "Box") else {
        return false;
    };
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return false;
    };
    let object = |argument: &GenericArgument| matches!(argument, GenericArgument::Type(ty) if matches!(peel(ty), Type::TraitObject(_)));
    arguments.args.iter().any(object)
}

fn last(path: &Path) -> Option<&PathSegment> {
    path.segments.last()
}

/// Whether a function of this return type is fallible by its looks: the last name ends in `Result`.
pub(crate) fn looks_fallible(output: &ReturnType) -> bool {
    match output {
        ReturnType::Type(_, ty) => match peel(ty) {
            Type::Path(ty) => {
                last(&ty.path).is_some_and(|segment| segment.ident.to_string().ends_with("Result"))
            }
            _ => false,
        },
        ReturnType::Default => false,
    }
}

/// Where a type stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Argument,
    Result,
}

/// A part of a type that ties it to a lifetime or to an `impl` block, or leaves it without a name.
enum Culprit<'a> {
    Reference(&'a TypeReference),
    Cow(&'a PathSegment),
    Lifetime(&'a Lifetime),
    Impl(&'a TypeImplTrait),
    SelfType(&'a Path),
}

impl<'a> Culprit<'a> {
    /// The first culprit in a type.
    ///
    /// The arguments of function types (`fn(&str)`, `dyn Fn(&str)`) are left alone: nothing is borrowed before the call.
    fn find(ty: &'a Type, place: Place) -> Option<Self> {
        match ty {
            Type::Reference(reference) => Some(Self::Reference(reference)),
            Type::ImplTrait(ty) => Some(Self::Impl(ty)),
            Type::Group(ty) => Self::find(&ty.elem, place),
            Type::Paren(ty) => Self::find(&ty.elem, place),
            Type::Array(ty) => Self::find(&ty.elem, place),
            Type::Slice(ty) => Self::find(&ty.elem, place),
            Type::Ptr(ty) => Self::find(&ty.elem, place),
            Type::Tuple(ty) => ty.elems.iter().find_map(|ty| Self::find(ty, place)),
            Type::TraitObject(ty) => Self::find_in_bounds(&ty.bounds, place),
            Type::Path(ty) => {
                let own = ty.qself.as_ref().and_then(|own| Self::find(&own.ty, place));
                own.or_else(|| Self::find_in_path(&ty.path, place))
            }
            _ => None,
        }
    }

    fn find_in_path(path: &'a Path, place: Place) -> Option<Self> {
        if path.segments.first().is_some_and(|segment| segment.ident == "Self") {
            return Some(Self::SelfType(path));
        }
        path.segments.iter().find_map(|segment| {
            if place == Place::Argument && segment.ident == "Cow" {
                return Some(Self::Cow(segment));
            }
            let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
                return None;
            };
            arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Lifetime(lifetime) => Self::find_in_lifetime(lifetime),
                GenericArgument::Type(ty) => Self::find(ty, place),
                GenericArgument::AssocType(assoc) => Self::find(&assoc.ty, place),
                _ => None,
            })
        })
    }

    fn find_in_bounds(bounds: &'a Punctuated<TypeParamBound, Token![+]>, place: Place) -> Option<Self> {
        bounds.iter().find_map(|bound| match bound {
            TypeParamBound::Lifetime(lifetime) => Self::find_in_lifetime(lifetime),
            TypeParamBound::Trait(bound) if bound.lifetimes.is_none() => {
                Self::find_in_path(&bound.path, place)
            }
            _ => None,
        })
    }

    fn find_in_lifetime(lifetime: &'a Lifetime) -> Option<Self> {
        (lifetime.ident != "static").then_some(Self::Lifetime(lifetime))
    }
}

/// The function in `item`, or why the attribute does not belong there.
pub(crate) fn parse(item: TokenStream) -> syn::Result<Function> {
    syn::parse2(item).map_err(|wrong| {
        syn::Error::new(
            wrong.span(),
            "memopool: `#[memo]` belongs on a free function with a body; move it to one, or make a free function of this",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_of(source: &str) -> String {
        let mut errors = Errors::default();
        let function = parse(source.parse().expect("tokens")).expect("a function");
        check(&function, &mut errors);
        errors.into_tokens().unwrap_or_default().to_string()
    }

    #[test]
    fn variadic_functions_are_refused() {
        // The compiler has more to say about these than belongs into expected messages.
        assert!(errors_of("unsafe extern \"C\" fn f(n: u8, _: ...) {}").contains("variadic"));
    }

    #[test]
    fn fallible_by_the_name_of_the_return_type() {
        let fallible = |source: &str| {
            looks_fallible(&parse(source.parse().expect("tokens")).expect("a function").sig.output)
        };
        for source in [
            "fn f() -> Result<u8, E> {}",
            "fn f() -> io::Result<u8> {}",
            "fn f() -> MyResult {}",
            "fn f() -> (Result<u8>) {}",
        ] {
            assert!(fallible(source), "{source}");
        }
        for source in [
            "fn f() {}",
            "fn f() -> Results {}",
            "fn f() -> Option<Result<u8, E>> {}",
            "fn f() -> (Result<u8>, u8) {}",
        ] {
            assert!(!fallible(source), "{source}");
        }
    }
}
