//! What `#[memo]` expands to: the seam between the macro and the library. Not for use by hand.

use std::any::{TypeId, type_name};
use std::error::Error as StdError;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Call;
use super::format::Format;
use super::func::{Attempts, Core, Func, Parts, Raised, Run, Weigh};
use super::identity::{Code, Deps, Signature};
use super::key::{EncodeError, Encoder};
use super::named::{ErrorsCached, ErrorsDropped, KeepErrors, raise};
use super::polled::Answer;
use crate::sync::Arc;

/// A `Result`, whatever it is called.
#[diagnostic::on_unimplemented(
    message = "memopool: `{Self}` is not a `Result`",
    note = "a return type whose name ends in `Result` is taken as fallible; say `#[memo(infallible)]` if it is not"
)]
pub trait Fallible {
    /// What is kept.
    type Ok;
    /// What is not.
    type Err;
}

impl<T, E> Fallible for Result<T, E> {
    type Ok = T;
    type Err = E;
}

/// A function that `#[memo]` stands on.
pub trait Memoized: 'static {
    /// The arguments as given: borrowed where the function borrows.
    type Lent<'memo>;
    /// The arguments as kept for a run.
    type Owned: Send + 'static;
    /// What is remembered.
    type Output: Send + Sync + 'static;
    /// Writes the arguments that are part of the key.
    fn encode(args: &Self::Lent<'_>, encoder: &mut Encoder<'_>) -> Result<(), EncodeError>;
    /// Makes the arguments owned.
    fn own(args: Self::Lent<'_>) -> Self::Owned;
    /// The function.
    fn func() -> &'static Func<Self::Owned, Self::Output>;
}

/// Binds lent arguments: they are made owned only when a run starts.
#[inline]
pub fn lend<M: Memoized>(args: M::Lent<'_>) -> Call<M::Lent<'_>, M::Output> {
    Call::new(M::func().static_core(), args, M::encode, start_lent::<M>)
}

fn start_lent<M: Memoized>(args: M::Lent<'_>, core: &Core<M::Output>) -> Attempts<M::Output> {
    Func::<M::Owned, M::Output>::starter(core, M::own(args))
}

/// A function as the macro describes it.
pub struct Memo<A> {
    /// Its name: by default where it stands.
    pub name: &'static str,
    /// Its code.
    pub code: Code,
    /// Adds itself and its dependencies.
    pub deps: fn(&mut Deps),
    /// Writes owned arguments; those that are ignored are left out.
    pub encode: fn(&A, &mut Encoder<'_>) -> Result<(), EncodeError>,
}

impl<A: Send + 'static> Memo<A> {
    /// Results can be serialised.
    pub fn stored<R, F>(self, f: F) -> Func<A, R>
    where
        R: Serialize + DeserializeOwned + Send + Sync + 'static,
        F: Fn(A) -> R + Send + Sync + 'static,
    {
        self.end::<R, F>(Weigh::encoded(), Some(Format::new()), plain(f))
    }

    /// Results never leave memory.
    pub fn in_memory<R, F>(self, f: F) -> Func<A, R>
    where
        R: Send + Sync + 'static,
        F: Fn(A) -> R + Send + Sync + 'static,
    {
        self.end::<R, F>(Weigh::Plain, None, plain(f))
    }

    /// May fail; errors are not kept.
    pub fn stored_fallible<R, E, F>(self, f: F) -> Func<A, R>
    where
        R: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
        F: Fn(A) -> Result<R, E> + Send + Sync + 'static,
    {
        self.end::<R, F>(Weigh::encoded(), Some(Format::new()), fallible(f, raise::<E, ErrorsDropped>))
    }

    /// May fail; errors are not kept, results never leave memory.
    pub fn in_memory_fallible<R, E, F>(self, f: F) -> Func<A, R>
    where
        R: Send + Sync + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
        F: Fn(A) -> Result<R, E> + Send + Sync + 'static,
    {
        self.end::<R, F>(Weigh::Plain, None, fallible(f, raise::<E, ErrorsDropped>))
    }

    /// May fail; errors are kept.
    pub fn stored_errors<R, E, F>(self, f: F) -> Func<A, R>
    where
        R: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + Serialize + DeserializeOwned + 'static,
        F: Fn(A) -> Result<R, E> + Send + Sync + 'static,
    {
        let revive = <ErrorsCached as KeepErrors<E>>::revive();
        let format = Format { revive, ..Format::new() };
        self.end::<R, F>(Weigh::encoded(), Some(format), fallible(f, raise::<E, ErrorsCached>))
    }

    /// May fail; errors are kept, nothing leaves memory.
    pub fn in_memory_errors<R, E, F>(self, f: F) -> Func<A, R>
    where
        R: Send + Sync + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + Serialize + DeserializeOwned + 'static,
        F: Fn(A) -> Result<R, E> + Send + Sync + 'static,
    {
        self.end::<R, F>(Weigh::Plain, None, fallible(f, raise::<E, ErrorsCached>))
    }

    /// As [`stored`](Self::stored), for an async function.
    pub fn stored_async<R, F, Fut>(self, f: F) -> Func<A, R>
    where
        R: Serialize + DeserializeOwned + Send + Sync + 'static,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        self.end::<R, F>(Weigh::encoded(), Some(Format::new()), plain_async(f))
    }

    /// As [`in_memory`](Self::in_memory), for an async function.
    pub fn in_memory_async<R, F, Fut>(self, f: F) -> Func<A, R>
    where
        R: Send + Sync + 'static,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        self.end::<R, F>(Weigh::Plain, None, plain_async(f))
    }

    /// As [`stored_fallible`](Self::stored_fallible), for an async function.
    pub fn stored_fallible_async<R, E, F, Fut>(self, f: F) -> Func<A, R>
    where
        R: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        let run = fallible_async(f, raise::<E, ErrorsDropped>);
        self.end::<R, F>(Weigh::encoded(), Some(Format::new()), run)
    }

    /// As [`in_memory_fallible`](Self::in_memory_fallible), for an async function.
    pub fn in_memory_fallible_async<R, E, F, Fut>(self, f: F) -> Func<A, R>
    where
        R: Send + Sync + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        self.end::<R, F>(Weigh::Plain, None, fallible_async(f, raise::<E, ErrorsDropped>))
    }

    /// As [`stored_errors`](Self::stored_errors), for an async function.
    pub fn stored_errors_async<R, E, F, Fut>(self, f: F) -> Func<A, R>
    where
        R: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + Serialize + DeserializeOwned + 'static,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        let revive = <ErrorsCached as KeepErrors<E>>::revive();
        let format = Format { revive, ..Format::new() };
        self.end::<R, F>(Weigh::encoded(), Some(format), fallible_async(f, raise::<E, ErrorsCached>))
    }

    /// As [`in_memory_errors`](Self::in_memory_errors), for an async function.
    pub fn in_memory_errors_async<R, E, F, Fut>(self, f: F) -> Func<A, R>
    where
        R: Send + Sync + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + Serialize + DeserializeOwned + 'static,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        self.end::<R, F>(Weigh::Plain, None, fallible_async(f, raise::<E, ErrorsCached>))
    }

    fn end<R: Send + Sync + 'static, F: 'static>(
        self,
        weigh: Weigh<R>,
        format: Option<Format<R>>,
        run: Run<A, R>,
    ) -> Func<A, R> {
        let mut deps = Deps::default();
        (self.deps)(&mut deps);
        Func::assemble(Parts {
            name: self.name.into(),
            code: Signature::code_of(&deps),
            function: TypeId::of::<F>(),
            function_name: type_name::<F>(),
            encode: self.encode,
            weigh,
            format,
            state: Ok(None),
            plain: None,
            run,
        })
    }
}

fn plain<A: 'static, R: 'static>(f: impl Fn(A) -> R + Send + Sync + 'static) -> Run<A, R> {
    Arc::new(move |args| Answer::Now(Ok(f(args))))
}

fn fallible<A, R, E>(
    f: impl Fn(A) -> Result<R, E> + Send + Sync + 'static,
    raise: fn(E) -> Raised,
) -> Run<A, R>
where
    A: 'static,
    R: 'static,
    E: 'static,
{
    Arc::new(move |args| Answer::Now(f(args).map_err(raise)))
}

fn plain_async<A, R, Fut>(f: impl Fn(A) -> Fut + Send + Sync + 'static) -> Run<A, R>
where
    A: Send + 'static,
    R: 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    let f = Arc::new(f);
    Arc::new(move |args| {
        let f = Arc::clone(&f);
        Answer::later(async move { Ok(f(args).await) })
    })
}

fn fallible_async<A, R, E, Fut>(
    f: impl Fn(A) -> Fut + Send + Sync + 'static,
    raise: fn(E) -> Raised,
) -> Run<A, R>
where
    A: Send + 'static,
    R: 'static,
    E: 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
{
    let f = Arc::new(f);
    Arc::new(move |args| {
        let f = Arc::clone(&f);
        Answer::later(async move { f(args).await.map_err(raise) })
    })
}

impl<A> fmt::Debug for Memo<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo").field("name", &self.name).finish_non_exhaustive()
    }
}
