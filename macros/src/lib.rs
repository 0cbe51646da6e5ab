//! The `#[memo]` attribute of `memopool`. Use it through that crate, which re-exports it.
//!
//! The files, in the order an attribute passes through them:
//!
//! 1. `options.rs` reads what stands in the parentheses of the attribute.
//! 2. `duration.rs` reads `"1h30m"`.
//! 3. `signature.rs` decides whether the function can be memoized, and how each argument is passed.
//! 4. `digest.rs` turns the function's tokens into its code digest.
//! 5. `expand.rs` writes the items that stand next to the function.
//! 6. `errors.rs` collects what is wrong, so that one build reports all of it.

mod digest;
mod duration;
mod errors;
mod expand;
mod options;
mod signature;

use proc_macro::TokenStream;

/// Gives a function a memoized form.
///
/// The function itself stays as it is: a direct call, also one that it makes of itself, is a plain call, which neither looks
/// up nor stores. Next to it, in the type namespace and under the same name, come `f::call(args…)`, which binds arguments
/// without running anything, and `f::func()`, the function as a value. A pool runs the bound call, or finds its result.
///
/// ```text
/// #[memo]
/// fn word_count(text: &str) -> usize {
///     text.split_whitespace().count()
/// }
///
/// let task = pool.submit(word_count::call("to be or not to be"));
/// ```
///
/// A call is identified by the function's path (such as `my_crate::parse::lines`, by which statistics and events call it,
/// too), the digest of its code, its types, and its arguments. Comments, doc comments and formatting are not part of the
/// digest; every other token of the function is. Code that the function calls is not: name memoized functions in `deps`, and
/// change `version` for all the rest.
///
/// # Options
///
/// | option | effect |
/// |---|---|
/// | `version = "2"` | stands in for the code digest: results stay valid until you change it |
/// | `name = "lex"` | replaces the path of the function in its identity, so that it may be moved |
/// | `ttl = "1h"` | a result is good for this long (`ms`, `s`, `m`, `h`, `d`, also `"1h30m"`) |
/// | `ignore(arg, …)` | the values of these arguments are not part of the key: progress bars, handles |
/// | `deps(other, …)` | the code digests of these memoized functions, and of theirs, join the identity |
/// | `in_memory` | the result need not be serialisable, and never leaves memory |
/// | `cache_errors` | an `Err` is stored like a value |
/// | `retries = 3` | a run that fails is repeated up to this often |
/// | `backoff = "100ms"` | … after a rest: this long at first, doubled each time up to a minute, with jitter |
/// | `timeout = "30s"` | the longest an attempt may take |
/// | `fallible`, `infallible` | whether the function returns a `Result` whose `Ok` is the value |
///
/// Without the last two, a function is fallible if the name of its return type ends in `Result`.
///
/// `Func` has more settings than that: `limit`, `cost_above`, `weigh`. For these take the function as a value. Its `call`
/// takes all arguments as one tuple of owned values:
///
/// ```text
/// let fetch = fetch::func().clone().limit(&Limit::new("api.example", 4));
/// pool.run(fetch.call(("https://api.example/1".to_owned(),)))?;
/// ```
///
/// # What can be memoized
///
/// A free function, plain or `async`, of up to 16 arguments without type parameters. Arguments are taken by value or by shared
/// reference; borrowed ones are made owned (`ToOwned`) when a run starts, and lent to the function. The result is owned.
/// Anything else is an error that says what to do instead.
///
/// | | needs |
/// |---|---|
/// | arguments | `Serialize` (unless they are ignored); owned, `Send + 'static`; with `retries`, `Clone` |
/// | borrowed arguments | `ToOwned`, too |
/// | the result, or its `Ok` | `Serialize + DeserializeOwned + Send + Sync + 'static`; with `in_memory`, nothing of serde |
/// | the `Err` | `Into<Box<dyn Error + Send + Sync>>`; with `cache_errors`, `Serialize + DeserializeOwned`, too |
///
/// Arguments enter the key as serde shows them: what is `#[serde(skip)]` does not, and a `HashSet` wants the wrapper
/// [`key::Unordered`](key/struct.Unordered.html). A large argument that several calls share is hashed once in a
/// [`key::Hashed`](key/struct.Hashed.html). Results that only a format which describes itself can hold
/// (`serde_json::Value`, `untagged` or internally tagged enums, `flatten`) stay in memory:
/// [`Disk`](struct.Disk.html#results-that-cant-be-written) says more. Results come as `Arc<R>`: read them with `*`.
#[proc_macro_attribute]
pub fn memo(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::memo(options.into(), item.into()).into()
}
