//! [`Named`]: the builder of a [`Func`], one step for each thing that is not the default.

use std::any::{TypeId, type_name};
use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::format::{Format, KeptError, Revive};
use super::func::{Func, Parts, Raised, Run, Weigh};
use super::key::Encoder;
use super::polled::Answer;
use crate::contain::contain;
use crate::error::Error;
use crate::sync::Arc;

/// A function in the making: [`Func::named`], then what applies, then [`func`](Self::func) or
/// [`fallible`](Self::fallible), or their async twins [`func_async`](Self::func_async) and
/// [`fallible_async`](Self::fallible_async).
///
/// | step | effect | the body gets |
/// |---|---|---|
/// | – | results are kept and could be written to disk | `f(args)` |
/// | [`state(s)`](Named::state) | `s` joins the identity | `f(&s, args)` |
/// | [`resource(r)`](Named::resource) | `r` is not part of the key | `f(&r, args)`, with a state `f(&s, &r, args)` |
/// | [`in_memory()`](Named::in_memory) | results need not be serialisable | |
/// | [`cache_errors()`](Named::cache_errors) | errors are kept like values | |
///
/// # Examples
///
/// ```
/// use memopool::{Func, Pool};
///
/// // A tokenizer's settings decide what it returns: they are state. A client does not: it is a resource.
/// let split = Func::named("split")
///     .state(vec![',', ';'])
///     .resource(String::from("a connection"))
///     .func(|separators, _client, text: String| {
///         text.split(|c| separators.contains(&c)).map(str::to_owned).collect::<Vec<_>>()
///     });
/// assert_eq!(*Pool::new().run(split.call("a,b;c".into()))?, ["a", "b", "c"]);
/// # Ok::<(), memopool::Error>(())
/// ```
#[must_use = "a function in the making: end it with `func` or `fallible`"]
pub struct Named<S = None, C = None, K = Stored, X = ErrorsDropped> {
    name: Arc<str>,
    state: S,
    resource: C,
    kind: PhantomData<(K, X)>,
}

/// No state, or no resource.
#[derive(Debug, Clone, Copy)]
pub struct None;

/// A state or a resource.
#[derive(Debug, Clone, Copy)]
pub struct With<T>(T);

/// Results can be serialised.
#[derive(Debug, Clone, Copy)]
pub struct Stored;

/// Results never leave memory.
#[derive(Debug, Clone, Copy)]
pub struct InMemory;

/// Errors are not kept.
#[derive(Debug, Clone, Copy)]
pub struct ErrorsDropped;

/// Errors are kept like values.
#[derive(Debug, Clone, Copy)]
pub struct ErrorsCached;

/// How results of type `R` are kept. Sealed: [`Stored`] and [`InMemory`].
pub trait Keep<R>: Sealed {
    #[doc(hidden)]
    fn keeping() -> Keeping<R>;
}

/// How errors of type `E` are kept. Sealed: [`ErrorsDropped`] and [`ErrorsCached`].
pub trait KeepErrors<E>: Sealed {
    #[doc(hidden)]
    fn keep(error: &E) -> Option<KeptError>;
    #[doc(hidden)]
    fn revive() -> Option<Revive>;
}

/// Closes the traits of this file.
pub trait Sealed {
    #[doc(hidden)]
    const FLAVOUR: u8;
}

/// Opaque outside the crate.
#[doc(hidden)]
pub struct Keeping<R> {
    weigh: Weigh<R>,
    format: Option<Format<R>>,
}

impl<R> fmt::Debug for Keeping<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeping(..)")
    }
}

impl<R> Keeping<R> {
    fn and_errors(mut self, revive: Option<Revive>) -> Self {
        self.format = self.format.map(|format| Format { revive, ..format });
        self
    }
}

/// What a builder may hold as state. Sealed: [`None`], or [`With`] something serialisable.
pub trait StateDigest {
    #[doc(hidden)]
    const EMPTY: bool;
    #[doc(hidden)]
    fn digest(&self, name: &str) -> Result<Option<[u8; 32]>, Error>;
}

/// What a builder may hold as resource. Sealed: [`None`], or [`With`] anything.
pub trait Resource {
    #[doc(hidden)]
    const EMPTY: bool;
}

impl StateDigest for None {
    const EMPTY: bool = true;

    fn digest(&self, _: &str) -> Result<Option<[u8; 32]>, Error> {
        Ok(Option::None)
    }
}

impl<S: Serialize> StateDigest for With<S> {
    const EMPTY: bool = false;

    fn digest(&self, name: &str) -> Result<Option<[u8; 32]>, Error> {
        let digest = contain(|| {
            let mut encoder = Encoder::new(&[0; 32], 0, false);
            encoder.args(&self.0).map_err(|error| error.to_string())?;
            Ok(*encoder.finish().key(&[0; 32]).as_bytes())
        });
        let digest = digest.unwrap_or_else(|panic| Err(format!("panicked: {panic}")));
        match digest {
            Ok(digest) => Ok(Some(digest)),
            Err(reason) => Err(Error::invalid(format!("the state of `{name}` can't be encoded: {reason}"))),
        }
    }
}

impl Resource for None {
    const EMPTY: bool = true;
}

impl<C> Resource for With<C> {
    const EMPTY: bool = false;
}

impl Sealed for Stored {
    const FLAVOUR: u8 = 0;
}

impl Sealed for InMemory {
    const FLAVOUR: u8 = 1;
}

impl Sealed for ErrorsDropped {
    const FLAVOUR: u8 = 0;
}

impl Sealed for ErrorsCached {
    const FLAVOUR: u8 = 2;
}

impl<R: Serialize + DeserializeOwned + 'static> Keep<R> for Stored {
    fn keeping() -> Keeping<R> {
        Keeping { weigh: Weigh::encoded(), format: Some(Format::new()) }
    }
}

impl<R> Keep<R> for InMemory {
    fn keeping() -> Keeping<R> {
        Keeping { weigh: Weigh::Plain, format: Option::None }
    }
}

impl<E> KeepErrors<E> for ErrorsDropped {
    fn keep(_: &E) -> Option<KeptError> {
        Option::None
    }

    fn revive() -> Option<Revive> {
        Option::None
    }
}

impl<E> KeepErrors<E> for ErrorsCached
where
    E: Into<Box<dyn StdError + Send + Sync>> + Serialize + DeserializeOwned + 'static,
{
    fn keep(error: &E) -> Option<KeptError> {
        KeptError::of(error)
    }

    fn revive() -> Option<Revive> {
        Some(Revive::new::<E>())
    }
}

impl Func<(), ()> {
    /// Starts a function by its name, which is part of its identity: see [`Named`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::named("square").func(|n: u64| n * n);
    /// assert_eq!(*Pool::new().run(square.call(5))?, 25);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn named(name: impl Into<String>) -> Named {
        Named { name: name.into().into(), state: None, resource: None, kind: PhantomData }
    }
}

impl<S, C, K, X> Named<S, C, K, X> {
    /// Something that decides the results beside the arguments: settings, a model, a table. Its encoding joins the
    /// identity; the body gets it by reference, first.
    pub fn state<T: Serialize + Send + Sync + 'static>(self, state: T) -> Named<With<T>, C, K, X> {
        let Named { name, resource, kind, .. } = self;
        Named { name, state: With(state), resource, kind }
    }

    /// Something the body needs that does not decide the results: a client, a handle, a buffer pool. Explicitly not
    /// part of the key; the body gets it by reference, after the state if there is one.
    pub fn resource<T: Send + Sync + 'static>(self, resource: T) -> Named<S, With<T>, K, X> {
        let Named { name, state, kind, .. } = self;
        Named { name, state, resource: With(resource), kind }
    }

    /// Results need not be serialisable, and never leave memory. They weigh the size of their type unless
    /// [`Func::weigh`] says better.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// use std::sync::mpsc;
    ///
    /// struct Handle(std::thread::ThreadId); // not serialisable
    /// let whoami = Func::named("whoami").in_memory().func(|(): ()| Handle(std::thread::current().id()));
    /// let pool = Pool::new();
    /// let first = pool.run(whoami.call(()))?;
    /// let again = pool.run(whoami.call(()))?;
    /// assert_eq!(first.0, again.0);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn in_memory(self) -> Named<S, C, InMemory, X> {
        let Named { name, state, resource, .. } = self;
        Named { name, state, resource, kind: PhantomData }
    }

    /// Errors are kept like values: a page that is not there need not be asked for twice. Give the function a
    /// [`ttl`](Func::ttl) if they may heal.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let fetch = Func::named("fetch").cache_errors().fallible(|url: String| -> Result<String, String> {
    ///     Err(format!("{url}: not found"))
    /// });
    /// let pool = Pool::new();
    /// for _ in 0..3 {
    ///     assert!(pool.run(fetch.call("gone".into())).unwrap_err().is_failed());
    /// }
    /// assert_eq!(pool.stats().failed, 1);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn cache_errors(self) -> Named<S, C, K, ErrorsCached> {
        let Named { name, state, resource, .. } = self;
        Named { name, state, resource, kind: PhantomData }
    }
}

/// Why a captured value stops the build.
macro_rules! captures_nothing {
    ($f:ty) => {
        const {
            assert!(
                size_of::<$f>() == 0,
                "memopool: this function captures its environment, and what it captured would be missing from the \
                 key; pass it as an argument, as `state` (part of the key) or as `resource` (not part of it)"
            )
        }
    };
}

/// The two ends of the builder, for one shape of body.
macro_rules! ends {
    ([$($generic:ident: $bound:path),*] $state:ty, $resource:ty, ($($given:ty),*), |$named:ident, $f:ident, $args:ident| $make:expr) => {
        impl<$($generic: $bound + Send + Sync + 'static,)* K: Sealed, X: Sealed> Named<$state, $resource, K, X> {
            /// Ends the builder with a body that can't fail. It must capture nothing.
            pub fn func<A, R, F>(self, f: F) -> Func<A, R>
            where
                F: Fn($(&$given,)* A) -> R + Send + Sync + 'static,
                A: Serialize + Send + 'static,
                R: Send + Sync + 'static,
                K: Keep<R>,
            {
                captures_nothing!(F);
                let keeping = K::keeping();
                self.end::<A, R, F>(keeping, |$named| {
                    let $f = f;
                    Arc::new(move |$args: A| Answer::Now(Ok($make)))
                })
            }

            /// Ends the builder with a body that may fail. It must capture nothing.
            pub fn fallible<A, R, E, F>(self, f: F) -> Func<A, R>
            where
                F: Fn($(&$given,)* A) -> Result<R, E> + Send + Sync + 'static,
                E: Into<Box<dyn StdError + Send + Sync>>,
                A: Serialize + Send + 'static,
                R: Send + Sync + 'static,
                K: Keep<R>,
                X: KeepErrors<E>,
            {
                captures_nothing!(F);
                let keeping = K::keeping().and_errors(X::revive());
                self.end::<A, R, F>(keeping, |$named| {
                    let $f = f;
                    Arc::new(move |$args: A| Answer::Now($make.map_err(raise::<E, X>)))
                })
            }
        }
    };
}

ends!([] None, None, (), |_named, f, args| f(args));
ends!([S: Serialize] With<S>, None, (S), |named, f, args| f(&named.state.0, args));
ends!([C: Sized] None, With<C>, (C), |named, f, args| f(&named.resource.0, args));
ends!([S: Serialize, C: Sized] With<S>, With<C>, (S, C), |named, f, args| f(&named.state.0, &named.resource.0, args));

/// The two async ends of the builder, for one shape of body.
macro_rules! async_ends {
    ([$($generic:ident: $bound:path),*] $state:ty, $resource:ty, |$named:ident| $($part:ident: $given:ty = $take:expr),*) => {
        impl<$($generic: $bound + Send + Sync + 'static,)* K: Sealed, X: Sealed> Named<$state, $resource, K, X> {
            /// Ends the builder with an async body that can't fail. It must capture nothing; a state and a resource come
            /// as `Arc`s, since the future outlives the call.
            ///
            /// The pool owns the run: a caller that is dropped does not stop it, and it is joined, kept, retried, timed
            /// and limited like any other. It is polled by the pool's own threads (or by a runtime, see
            /// `Builder::runtime`), and holds none of them while it awaits. Each poll sees
            /// [`cancelled()`](crate::cancelled) and [`Pool::current()`](crate::Pool::current).
            ///
            /// In it, `.await` tasks; don't block on them, which would hold the thread.
            ///
            /// # Cancellation
            ///
            /// When nobody is left who wants its result, when it is over its timeout, and in
            /// [`shutdown_now`](crate::Pool::shutdown_now), it is dropped where it awaits.
            pub fn func_async<A, R, F, Fut>(self, f: F) -> Func<A, R>
            where
                F: Fn($(Arc<$given>,)* A) -> Fut + Send + Sync + 'static,
                Fut: Future<Output = R> + Send + 'static,
                A: Serialize + Send + 'static,
                R: Send + Sync + 'static,
                K: Keep<R>,
            {
                captures_nothing!(F);
                let keeping = K::keeping();
                self.end::<A, R, F>(keeping, |$named| {
                    let f = Arc::new(f);
                    $(let $part = Arc::new($take);)*
                    Arc::new(move |args: A| {
                        let f = Arc::clone(&f);
                        $(let $part = Arc::clone(&$part);)*
                        Answer::later(async move { Ok(f($($part,)* args).await) })
                    })
                })
            }

            /// Ends the builder with an async body that may fail; all else as [`func_async`](Self::func_async).
            pub fn fallible_async<A, R, E, F, Fut>(self, f: F) -> Func<A, R>
            where
                F: Fn($(Arc<$given>,)* A) -> Fut + Send + Sync + 'static,
                Fut: Future<Output = Result<R, E>> + Send + 'static,
                E: Into<Box<dyn StdError + Send + Sync>>,
                A: Serialize + Send + 'static,
                R: Send + Sync + 'static,
                K: Keep<R>,
                X: KeepErrors<E>,
            {
                captures_nothing!(F);
                let keeping = K::keeping().and_errors(X::revive());
                self.end::<A, R, F>(keeping, |$named| {
                    let f = Arc::new(f);
                    $(let $part = Arc::new($take);)*
                    Arc::new(move |args: A| {
                        let f = Arc::clone(&f);
                        $(let $part = Arc::clone(&$part);)*
                        Answer::later(async move { f($($part,)* args).await.map_err(raise::<E, X>) })
                    })
                })
            }
        }
    };
}

async_ends!([] None, None, |_named|);
async_ends!([S: Serialize] With<S>, None, |named| state: S = named.state.0);
async_ends!([C: Sized] None, With<C>, |named| resource: C = named.resource.0);
async_ends!([S: Serialize, C: Sized] With<S>, With<C>, |named| state: S = named.state.0, resource: C = named.resource.0);

/// The error a body returned, with its weight if it is kept.
pub(super) fn raise<E: Into<Box<dyn StdError + Send + Sync>>, X: KeepErrors<E>>(error: E) -> Raised {
    let kept = X::keep(&error);
    Raised { error: error.into(), kept }
}

impl<S: StateDigest, C: Resource, K: Sealed, X: Sealed> Named<S, C, K, X> {
    fn end<A, R, F>(self, keeping: Keeping<R>, make: impl FnOnce(Self) -> Run<A, R>) -> Func<A, R>
    where
        A: Serialize + Send + 'static,
        R: Send + Sync + 'static,
        F: 'static,
    {
        Func::assemble(Parts {
            name: Arc::clone(&self.name),
            code: Vec::new(),
            function: TypeId::of::<F>(),
            function_name: type_name::<F>(),
            encode: |args, encoder| encoder.any_args(args),
            weigh: keeping.weigh,
            format: keeping.format,
            state: self.state.digest(&self.name),
            plain: (S::EMPTY && C::EMPTY).then_some(K::FLAVOUR | X::FLAVOUR),
            run: make(self),
        })
    }
}

impl<S, C, K, X> fmt::Debug for Named<S, C, K, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").field("name", &self.name).finish_non_exhaustive()
    }
}
