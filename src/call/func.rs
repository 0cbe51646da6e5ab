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
pub(super) type Attempts<R> = Box<dyn FnMut(bool) -> Result<R, Raised> + Send>;

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
    broken_state: Option<Error>,
    /// A `Body<A, R>`.
    body: Arc<dyn Any + Send + Sync>,
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

struct Body<A, R> {
    run: Run<A, R>,
    encode: Encode<A>,
    /// Set by `retries`: how to have arguments for another attempt.
    copy: Option<fn(&A) -> A>,
}

/// A body with its state and resource.
pub(super) type Run<A, R> = Arc<dyn Fn(A) -> Result<R, Raised> + Send + Sync>;

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

    /// Says which version of the code this is. Another version is another function: its results are its own.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::Func;
    /// let one = Func::new("rate", |n: u64| n * 2).version(1);
    /// let two = Func::new("rate", |n: u64| n * 3).version("2 (new tariff)");
    /// assert_ne!(one.call(1).key(), two.call(1).key());
    /// ```
    #[must_use]
    pub fn version(self, version: impl fmt::Display) -> Self {
        self.with(|core| {
            core.signature.code = format!("v{version}").into_bytes();
            let (identity, clash) = core.signature.register();
            core.identity = identity;
            core.invalid = clash.or(core.broken_state.clone());
            core.digest = with_state(&identity.digest, core.state);
        })
    }

    /// Results are used for at most `ttl` from their completion, by the pool's clock. Default: without end.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        self.with(|core| core.ttl = Some(ttl))
    }

    /// How long one attempt of the body may take. Default: without end.
    ///
    /// Counted from the start of the attempt, waits for nested tasks included. When it runs over, everyone who waits
    /// gets [`is_timeout`](Error::is_timeout) at once; the body itself can't be killed, but sees
    /// [`cancelled()`](crate::cancelled), and what it still returns is not kept. An attempt that ran over is not
    /// retried.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// # use memopool::{Func, Pool};
    ///
    /// let stuck = Func::named("stuck").in_memory().func(|(): ()| {
    ///     while !memopool::cancelled() {
    ///         std::thread::yield_now();
    ///     }
    /// });
    /// let stuck = stuck.timeout(Duration::from_millis(5));
    /// assert!(Pool::new().run(stuck.call(())).unwrap_err().is_timeout());
    /// ```
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|core| core.timeout = Some(timeout))
    }

    /// How often a body that returned an error is called again, in the same run: at once, or after a
    /// [`backoff`](Self::backoff). Default: 0. A panic is not retried: it is a defect, not bad luck.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// # use memopool::{Func, Pool};
    ///
    /// static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
    /// let flaky = Func::fallible("flaky", |name: String| match ATTEMPTS.fetch_add(1, Ordering::Relaxed) {
    ///     0 | 1 => Err("connection reset"),
    ///     _ => Ok(format!("hello {name}")),
    /// });
    /// let pool = Pool::new();
    /// assert_eq!(*pool.run(flaky.retries(2).call("you".into()))?, "hello you");
    /// assert_eq!((pool.stats().computed, pool.stats().retried), (1, 2));
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[must_use]
    pub fn retries(self, retries: u32) -> Self
    where
        A: Clone,
    {
        self.with(|core| {
            core.retries = retries;
            let body = Self::body(core);
            core.body =
                Arc::new(Body { run: Arc::clone(&body.run), encode: body.encode, copy: Some(A::clone) });
        })
    }

    /// Keep only results that took longer than `cost` to compute. Default: keep all.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// # use memopool::{Func, Pool};
    ///
    /// let square = Func::new("square", |n: u64| n * n).cost_above(Duration::from_secs(60));
    /// let pool = Pool::new();
    /// pool.run(square.call(9))?;
    /// assert!(pool.get(&square.call(9)).is_none());
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[must_use]
    pub fn cost_above(self, cost: Duration) -> Self {
        self.with(|core| core.cost_above = cost)
    }

    /// How heavy a result is, in bytes or in whatever [`Builder::memory`](crate::Builder::memory) is meant in. Default:
    /// the size of its encoding, at least 64; for [`in_memory`](crate::Named::in_memory) results the size of the type,
    /// which knows nothing of what it points to.
    ///
    /// A weigher that panics costs that result its place in memory, and nothing else.
    #[must_use]
    pub fn weigh(self, weigh: fn(&R) -> u64) -> Self {
        self.with(|core| core.weigh = Weigh::Given(weigh))
    }

    /// The function's name.
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

    fn body(core: &Core<R>) -> &Body<A, R> {
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
