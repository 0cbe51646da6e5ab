//! [`Func`]: a function with an identity.

use std::any::{Any, TypeId, type_name};
use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Call;
use super::format::{Format, KeptError};
use super::identity::{Identity, Signature};
use super::key::{EncodeError, Encoder};
use super::polled::Answer;
use super::retry::Backoff;
use crate::error::Error;
use crate::memo::codec;
use crate::run::limit::Limit;
use crate::sync::{Arc, Mutex};

/// A function whose results are remembered: its identity, its body, and how its results are kept.
///
/// Made from a name and a function or closure that captures nothing; `#[memo]` makes one from a plain function. Cheap
/// to clone. The identity is the name, the [`version`](Self::version) and the types of arguments and result: two
/// functions that share all of these but differ in code are refused (their tasks fail with
/// [`is_invalid`](Error::is_invalid)). **A changed body needs a changed version**, unless `#[memo]` made the function:
/// that digests the code.
///
/// Arguments need `Serialize + Send + 'static`, with [`retries`](Self::retries) `Clone`, too. (They enter the key as serde
/// shows them: what is `#[serde(skip)]` does not; sets want [`key::Unordered`](crate::key::Unordered), large
/// ones that are handed on [`key::Hashed`](crate::key::Hashed).) Results need
/// `Serialize + DeserializeOwned + Send + Sync + 'static`; [`in_memory`](crate::Named::in_memory) frees them of serde. Some
/// can't go to disk, and stay in memory: see [`Disk`](crate::Disk#results-that-cant-be-written). They come as `Arc<R>`: read
/// them with `*`.
///
/// # Examples
///
/// ```
/// use memopool::{Func, Pool};
///
/// let area = Func::new("area", |(width, height): (u32, u32)| u64::from(width) * u64::from(height));
/// let pool = Pool::new();
/// assert_eq!(*pool.run(area.call((6, 7)))?, 42);
/// # Ok::<(), memopool::Error>(())
/// ```
///
/// A closure that captures does not compile: what it captured would be missing from the key. Pass it as an argument,
/// or as [`state`](crate::Named::state).
///
/// ```compile_fail
/// use memopool::Func;
///
/// let factor = 3;
/// let scale = Func::new("scale", move |n: u64| n * factor);
/// ```
pub struct Func<A, R: 'static> {
    core: Handle<R>,
    encode: Encode<A>,
    start: Start<A, R>,
}

/// Writes arguments canonically.
pub(super) type Encode<A> = fn(&A, &mut Encoder<'_>) -> Result<(), EncodeError>;

/// Makes arguments owned and binds them to the body.
pub(super) type Start<A, R> = fn(A, &Core<R>) -> Attempts<R>;

/// Calls the body once; told whether this is the last attempt.
pub(super) type Attempts<R> = Box<dyn FnMut(bool) -> Answer<R> + Send>;

/// The error that a body returned.
pub(crate) struct Raised {
    pub(super) error: Box<dyn StdError + Send + Sync>,
    /// Its encoding, when errors of this function are kept.
    pub(super) kept: Option<KeptError>,
}

/// A shared core: without a reference count when it lives as long as the program.
pub(super) enum Handle<R: 'static> {
    Static(&'static Core<R>),
    Shared(Arc<Core<R>>),
}

/// Everything about a function but its argument type.
pub(super) struct Core<R> {
    pub(super) identity: &'static Identity,
    pub(super) signature: Signature,
    /// The identity's digest, with the state's.
    pub(super) digest: [u8; 32],
    /// The digest of the state. Without one, small arguments may stand for the key as they are.
    pub(super) state: Option<[u8; 32]>,
    pub(super) invalid: Option<Error>,
    /// The state could not be encoded, whatever the version.
    pub(super) broken_state: Option<Error>,
    /// A `Body<A, R>`.
    pub(super) body: Arc<dyn Any + Send + Sync>,
    pub(super) weigh: Weigh<R>,
    /// How results become bytes and come back; `None`: they never leave memory.
    pub(super) format: Option<Format<R>>,
    pub(super) ttl: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(super) retries: u32,
    pub(super) backoff: Option<Backoff>,
    pub(super) cost_above: Duration,
    pub(super) limit: Option<Limit>,
}

/// How heavy a result is.
#[derive(Debug)]
pub(super) enum Weigh<R> {
    /// The size of its encoding.
    Encoded(fn(&R) -> Result<u64, String>),
    /// The size of its type: nothing else is known.
    Plain,
    /// What the author says.
    Given(fn(&R) -> u64),
}

pub(super) struct Body<A, R> {
    pub(super) run: Run<A, R>,
    pub(super) encode: Encode<A>,
    /// Set by `retries`: how to have arguments for another attempt.
    pub(super) copy: Option<fn(&A) -> A>,
}

/// A body with its state and resource.
pub(super) type Run<A, R> = Arc<dyn Fn(A) -> Answer<R> + Send + Sync>;

/// How a new function is put together.
pub(super) struct Parts<A, R> {
    pub(super) name: Arc<str>,
    pub(super) code: Vec<u8>,
    pub(super) function: TypeId,
    pub(super) function_name: &'static str,
    pub(super) run: Run<A, R>,
    pub(super) encode: Encode<A>,
    pub(super) weigh: Weigh<R>,
    pub(super) format: Option<Format<R>>,
    /// The digest of the state, if there is one.
    pub(super) state: Result<Option<[u8; 32]>, Error>,
    /// Everything is known from the types: one core serves all equal functions.
    pub(super) plain: Option<u8>,
}

impl<A: Send + 'static, R: Send + Sync + 'static> Func<A, R> {
    /// A function that can't fail.
    ///
    /// Short for `Func::named(name).func(f)`. `f` must capture nothing, which the compiler checks when the program is
    /// built (not in `cargo check`).
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let shout = Func::new("shout", |text: String| text.to_uppercase());
    /// assert_eq!(*Pool::new().run(shout.call("hi".into()))?, "HI");
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn new<F>(name: impl Into<String>, f: F) -> Self
    where
        F: Fn(A) -> R + Send + Sync + 'static,
        A: Serialize,
        R: Serialize + DeserializeOwned,
    {
        Func::named(name).func(f)
    }

    /// A function that may fail: `Ok` is kept, `Err` is not, and reaches everyone who waits.
    ///
    /// Short for `Func::named(name).fallible(f)`; see [`Error::downcast_ref`] for the way back to `E`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let parse = Func::fallible("parse", |text: String| text.parse::<f64>());
    /// let pool = Pool::new();
    /// assert_eq!(*pool.run(parse.call("2.5".into()))?, 2.5);
    /// assert!(pool.run(parse.call("two".into())).unwrap_err().is_failed());
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn fallible<E, F>(name: impl Into<String>, f: F) -> Self
    where
        F: Fn(A) -> Result<R, E> + Send + Sync + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
        A: Serialize,
        R: Serialize + DeserializeOwned,
    {
        Func::named(name).fallible(f)
    }

    /// An async function that can't fail.
    ///
    /// Short for `Func::named(name).func_async(f)`; see [`Named::func_async`](crate::Named::func_async) for where it runs.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let sum = Func::new_async("sum", async |n: u64| {
    ///     let pool = Pool::current().expect("called in a task");
    ///     let square = Func::new("square", |n: u64| n * n);
    ///     let squares = pool.submit_all((1..=n).map(|n| square.call(n)));
    ///     let mut sum = 0;
    ///     for task in squares {
    ///         sum += *task.await.expect("squares don't fail"); // holds no thread
    ///     }
    ///     sum
    /// });
    /// assert_eq!(*Pool::new().run(sum.call(3))?, 14);
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn new_async<F, Fut>(name: impl Into<String>, f: F) -> Self
    where
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        A: Serialize,
        R: Serialize + DeserializeOwned,
    {
        Func::named(name).func_async(f)
    }

    /// An async function that may fail: `Ok` is kept, `Err` is not, and reaches everyone who waits.
    ///
    /// Short for `Func::named(name).fallible_async(f)`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let parse = Func::fallible_async("parse", async |text: String| text.parse::<f64>());
    /// let pool = Pool::new();
    /// assert_eq!(*pool.run(parse.call("2.5".into()))?, 2.5);
    /// assert!(pool.run(parse.call("two".into())).unwrap_err().is_failed());
    /// # Ok::<(), memopool::Error>(())
    /// ```
    pub fn fallible_async<E, F, Fut>(name: impl Into<String>, f: F) -> Self
    where
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
        A: Serialize,
        R: Serialize + DeserializeOwned,
    {
        Func::named(name).fallible_async(f)
    }

    /// Binds arguments. Costs nothing but the arguments: a call is not boxed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let square = Func::new("square", |n: u64| n * n);
    /// let call = square.call(12);
    /// let key = call.key();
    /// assert_eq!(*Pool::new().run(call)?, 144);
    /// assert_eq!(key, square.call(12).key());
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[inline]
    pub fn call(&self, args: A) -> Call<A, R> {
        Call::new(self.core.clone(), args, self.encode, self.start)
    }

    /// The function's name, by which [`Pool::stats_by_func`](crate::Pool::stats_by_func), events and errors call it. For a
    /// `#[memo]` function that is its path, such as `my_crate::parse::lines`, unless its option `name` says otherwise.
    pub fn name(&self) -> &str {
        self.core.identity.name
    }

    #[cfg(feature = "testing")]
    pub(crate) fn identity(&self) -> &'static Identity {
        self.core.identity
    }

    pub(crate) fn owner(&self) -> u32 {
        self.core.owner()
    }

    pub(super) fn assemble(parts: Parts<A, R>) -> Self {
        let Parts { name, code, function, function_name, run, encode, weigh, format, state, plain } = parts;
        let signature = Signature {
            name,
            code,
            args: type_name::<A>(),
            result: type_name::<R>(),
            function,
            function_name,
        };
        let (identity, clash) = signature.register();
        let (state, broken_state) = match state {
            Ok(state) => (state, None),
            Err(error) => (Some([0; 32]), Some(error)),
        };
        let core = || Core {
            identity,
            signature,
            digest: with_state(&identity.digest, state),
            state,
            invalid: clash.clone().or_else(|| broken_state.clone()),
            broken_state,
            body: Arc::new(Body { run, encode, copy: None }),
            weigh,
            format,
            ttl: None,
            timeout: None,
            retries: 0,
            backoff: None,
            cost_above: Duration::ZERO,
            limit: None,
        };
        let core = match plain {
            Some(flavour) if clash.is_none() => intern((identity.id, flavour), core),
            _ => Handle::Shared(Arc::new(core())),
        };
        Func { core, encode, start: Self::start }
    }

    fn start(args: A, core: &Core<R>) -> Attempts<R> {
        let body = Self::body(core);
        let run = Arc::clone(&body.run);
        let copy = body.copy;
        let mut args = Some(args);
        Box::new(move |last| match (&args, copy) {
            (Some(kept), Some(copy)) if !last => run(copy(kept)),
            _ => run(args.take().expect("the last attempt is made once")),
        })
    }

    pub(super) fn body(core: &Core<R>) -> &Body<A, R> {
        core.body.downcast_ref().expect("a function's body takes its own arguments")
    }

    pub(super) fn with(self, change: impl FnOnce(&mut Core<R>)) -> Self {
        let mut core = Core { signature: self.core.signature.clone(), ..self.core.copy() };
        change(&mut core);
        Func { core: Handle::Shared(Arc::new(core)), ..self }
    }

    /// The parts that a call with borrowed arguments needs.
    pub(super) fn static_core(&'static self) -> Handle<R> {
        Handle::Static(&self.core)
    }

    pub(super) fn starter(core: &Core<R>, args: A) -> Attempts<R> {
        Self::start(args, core)
    }
}

/// The digest of a function with its state.
pub(super) fn with_state(identity: &[u8; 32], state: Option<[u8; 32]>) -> [u8; 32] {
    match state {
        None => *identity,
        Some(state) => *blake3::keyed_hash(identity, &state).as_bytes(),
    }
}

/// Cores of functions that are all in their types, by identity and flavour.
fn intern<R: Send + Sync + 'static>(at: (u32, u8), make: impl FnOnce() -> Core<R>) -> Handle<R> {
    type Interned = std::collections::BTreeMap<(u32, u8), &'static (dyn Any + Send + Sync)>;
    static CORES: Mutex<Interned> = Mutex::new(std::collections::BTreeMap::new());
    let mut cores = CORES.lock();
    let known = cores.get(&at).and_then(|core| core.downcast_ref::<Core<R>>());
    Handle::Static(known.unwrap_or_else(|| {
        let core: &'static Core<R> = Box::leak(Box::new(make()));
        cores.insert(at, core);
        core
    }))
}

impl<R> Core<R> {
    /// Which entries of the slot table are this function's. Two functions may share one by chance: forgetting one then
    /// forgets both, which costs time, not truth.
    pub(super) fn owner(&self) -> u32 {
        let [a, b, c, d, ..] = self.digest;
        u32::from_le_bytes([a, b, c, d])
    }

    fn copy(&self) -> Core<R> {
        Core {
            identity: self.identity,
            signature: self.signature.clone(),
            digest: self.digest,
            state: self.state,
            invalid: self.invalid.clone(),
            broken_state: self.broken_state.clone(),
            body: Arc::clone(&self.body),
            weigh: self.weigh,
            format: self.format,
            ttl: self.ttl,
            timeout: self.timeout,
            retries: self.retries,
            backoff: self.backoff,
            cost_above: self.cost_above,
            limit: self.limit.clone(),
        }
    }
}

impl<R: Serialize + 'static> Weigh<R> {
    pub(super) fn encoded() -> Weigh<R> {
        Weigh::Encoded(codec::encoded_size::<R>)
    }
}

impl<R> Clone for Weigh<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Weigh<R> {}

impl<R> Deref for Handle<R> {
    type Target = Core<R>;

    #[inline]
    fn deref(&self) -> &Core<R> {
        match self {
            Handle::Static(core) => core,
            Handle::Shared(core) => core,
        }
    }
}

impl<R> Clone for Handle<R> {
    #[inline]
    fn clone(&self) -> Self {
        match self {
            Handle::Static(core) => Handle::Static(core),
            Handle::Shared(core) => Handle::Shared(Arc::clone(core)),
        }
    }
}

impl<A, R: 'static> Clone for Func<A, R> {
    fn clone(&self) -> Self {
        Func { core: self.core.clone(), encode: self.encode, start: self.start }
    }
}

impl<A, R: 'static> fmt::Debug for Func<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signature { name, args, result, .. } = &self.core.signature;
        write!(f, "Func({name}: {args} -> {result})")
    }
}
