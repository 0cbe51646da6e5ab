//! The one error type.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::contain::panic_text;
use crate::sync::Arc;

/// Why there is no result.
///
/// Opaque and cheap to clone (everyone who shares a run gets the same error): ask it with the predicates. Trouble with
/// the cache never becomes one of these; a task only ever fails through its function, a panic, a cancellation, a
/// timeout, a cycle of waits, or a pool that is shut down or out of threads.
///
/// Its text is one line. An error that came through functions which handed it up names them, the outermost first; of more
/// than 17 the first and the last eight.
///
/// # Examples
///
/// ```
/// use memopool::{Func, Pool};
///
/// let pool = Pool::new();
/// let parse = Func::fallible("parse", |text: String| text.parse::<u32>());
/// let error = pool.run(parse.call("forty-two".into())).unwrap_err();
/// assert!(error.is_failed());
/// assert!(error.downcast_ref::<std::num::ParseIntError>().is_some());
/// assert_eq!(error.to_string(), "`parse` failed: invalid digit found in string");
/// ```
///
/// Each kind has its predicate:
///
/// ```
/// use std::time::Duration;
/// use memopool::{Error, Func, Pool};
///
/// fn what_to_do(error: &Error) -> &'static str {
///     if error.is_failed() || error.is_panic() {
///         "look at the function"
///     } else if error.is_timeout() || error.is_full() {
///         "give it more time, or more threads"
///     } else if error.is_cancelled() || error.is_shutdown() {
///         "nothing: somebody wanted this"
///     } else if error.is_cycle() || error.is_invalid() {
///         "correct the program"
///     } else {
///         "look at the disk" // `is_store`
///     }
/// }
///
/// let pool = Pool::new();
/// let panics = pool.spawn(|| -> u32 { panic!("no such luck") }).wait().unwrap_err();
/// assert_eq!(panics.panic_message(), Some("no such luck"));
/// assert_eq!(what_to_do(&panics), "look at the function");
/// let slow = Func::new("slow", |n: u64| {
///     while !memopool::cancelled() {
///         std::thread::yield_now();
///     }
///     n
/// });
/// let late = pool.run(slow.timeout(Duration::from_millis(5)).call(1)).unwrap_err();
/// assert_eq!(what_to_do(&late), "give it more time, or more threads");
/// pool.shutdown();
/// assert_eq!(what_to_do(&pool.spawn(|| 1).wait().unwrap_err()), "nothing: somebody wanted this");
/// assert_eq!(what_to_do(&Pool::builder().queue(0).build().unwrap_err()), "correct the program");
/// ```
#[derive(Clone)]
pub struct Error(Arc<Kind>);

enum Kind {
    Failed {
        function: Arc<str>,
        source: Box<dyn StdError + Send + Sync>,
    },
    Panic {
        function: Arc<str>,
        message: String,
    },
    Cancelled,
    /// `function` is `None` for a wait's own deadline.
    Timeout {
        function: Option<Arc<str>>,
        after: Duration,
    },
    /// `k` of `n` tasks were not finished at a deadline.
    Deadline {
        unfinished: usize,
        of: usize,
        after: Duration,
    },
    Unwritten {
        after: Duration,
    },
    Cycle {
        path: Vec<String>,
    },
    Shutdown,
    Full {
        reason: String,
    },
    Invalid {
        reason: String,
    },
    Store {
        reason: String,
    },
    /// A recorded pool does not have it.
    Missing {
        call: String,
        reason: String,
    },
    /// A body returned an error of ours: it keeps its nature, and says through whom it came.
    Via(Via),
}

/// One step of the way that an error came. An error that a deep recursion hands up has as many steps as that had levels, so
/// all that goes along the way is a loop.
struct Via {
    function: Arc<str>,
    /// `None` only while it is dropped.
    inner: Option<Error>,
}

impl Drop for Via {
    fn drop(&mut self) {
        let mut below = self.inner.take();
        // As far as nobody else has it.
        while let Some(mut kind) = below.and_then(|error| Arc::into_inner(error.0)) {
            below = match &mut kind {
                Kind::Via(via) => via.inner.take(),
                _ => None,
            };
        }
    }
}

impl Error {
    pub(crate) fn failed(function: &str, source: Box<dyn StdError + Send + Sync>) -> Error {
        match source.downcast::<Error>() {
            Ok(inner) => Kind::Via(Via { function: function.into(), inner: Some(*inner) }).into(),
            Err(source) => Kind::Failed { function: function.into(), source }.into(),
        }
    }

    pub(crate) fn panic(function: &str, payload: &(dyn std::any::Any + Send)) -> Error {
        Kind::Panic { function: function.into(), message: panic_text(payload) }.into()
    }

    pub(crate) fn cancelled() -> Error {
        Kind::Cancelled.into()
    }

    pub(crate) fn timeout(function: Option<&str>, after: Duration) -> Error {
        Kind::Timeout { function: function.map(Into::into), after }.into()
    }

    pub(crate) fn deadline(unfinished: usize, of: usize, after: Duration) -> Error {
        Kind::Deadline { unfinished, of, after }.into()
    }

    /// A pool has ended, but not what it has to write.
    pub(crate) fn unwritten(after: Duration) -> Error {
        Kind::Unwritten { after }.into()
    }

    pub(crate) fn cycle(path: Vec<String>) -> Error {
        Kind::Cycle { path }.into()
    }

    pub(crate) fn store(reason: impl Into<String>) -> Error {
        Kind::Store { reason: reason.into() }.into()
    }

    pub(crate) fn missing(call: String, reason: String) -> Error {
        Kind::Missing { call, reason }.into()
    }

    pub(crate) fn shutdown() -> Error {
        Kind::Shutdown.into()
    }

    pub(crate) fn full(reason: impl Into<String>) -> Error {
        Kind::Full { reason: reason.into() }.into()
    }

    pub(crate) fn invalid(reason: impl Into<String>) -> Error {
        Kind::Invalid { reason: reason.into() }.into()
    }

    /// The function returned an error, which [`downcast_ref`](Self::downcast_ref) and `source()` give.
    pub fn is_failed(&self) -> bool {
        matches!(self.root(), Kind::Failed { .. })
    }

    /// The function panicked; see [`panic_message`](Self::panic_message).
    pub fn is_panic(&self) -> bool {
        matches!(self.root(), Kind::Panic { .. })
    }

    /// This handle was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.root(), Kind::Cancelled)
    }

    /// The function ran over its `timeout`, or a wait over its own: in the first case the task is done
    /// ([`Task::is_done`](crate::Task::is_done)), in the second it may go on.
    pub fn is_timeout(&self) -> bool {
        matches!(self.root(), Kind::Timeout { .. } | Kind::Deadline { .. } | Kind::Unwritten { .. })
    }

    /// The wait would have closed a cycle; the text names the calls in order.
    pub fn is_cycle(&self) -> bool {
        matches!(self.root(), Kind::Cycle { .. })
    }

    /// The pool was shut down.
    pub fn is_shutdown(&self) -> bool {
        matches!(self.root(), Kind::Shutdown)
    }

    /// The pool has no thread left for the work (the queue is never meant: `submit` waits for room in it). Its hard cap
    /// ([`Builder::max_os_threads`](crate::Builder::max_os_threads)) is reached, or the system gives no more.
    pub fn is_full(&self) -> bool {
        matches!(self.root(), Kind::Full { .. })
    }

    /// The call itself is at fault: an argument that can't be encoded, two functions with one identity, a bad setting.
    pub fn is_invalid(&self) -> bool {
        matches!(self.root(), Kind::Invalid { .. })
    }

    /// The store is at fault: never for a pool that keeps its results in memory alone, and never from a task.
    pub fn is_store(&self) -> bool {
        matches!(self.root(), Kind::Store { .. })
    }

    /// The pool is [recorded](crate::Pool::recorded) and does not have the result; the text names the function, the key and
    /// what to do (feature `testing`).
    #[cfg(feature = "testing")]
    pub fn is_miss(&self) -> bool {
        matches!(self.root(), Kind::Missing { .. })
    }

    /// The text of the panic, when [`is_panic`](Self::is_panic) (a payload that is no string is named as such).
    pub fn panic_message(&self) -> Option<&str> {
        match self.root() {
            Kind::Panic { message, .. } => Some(message),
            _ => None,
        }
    }

    /// The function's own error, if it is an `E`. Of an error that came through several functions, it is that of the one which
    /// failed first.
    ///
    /// `None` for errors that are no `std::error::Error` themselves: `String`, `&str` and `anyhow::Error` are kept as their
    /// text. A body that turns a [`memopool::Error`](Error) into one of these, or wraps it in an error of its own, makes it an
    /// error of that function: the predicates of the inner one are lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::num::ParseIntError;
    /// use memopool::{Error, Func, Pool};
    ///
    /// let sum = Func::fallible("sum", |line: String| -> Result<u32, Error> {
    ///     let parse = Func::fallible("parse", |word: String| word.parse::<u32>());
    ///     let pool = Pool::current().expect("called in a task");
    ///     line.split('+').map(|word| Ok(*pool.run(parse.call(word.into()))?)).sum()
    /// });
    /// let pool = Pool::new();
    /// assert_eq!(*pool.run(sum.call("1+2".into()))?, 3);
    /// let error = pool.run(sum.call("1+two".into())).unwrap_err();
    /// assert_eq!(error.to_string(), "in `sum`: `parse` failed: invalid digit found in string");
    /// assert!(error.downcast_ref::<ParseIntError>().is_some());
    ///
    /// let text_only = Func::fallible("text only", |(): ()| Err::<u32, _>("no"));
    /// assert!(pool.run(text_only.call(())).unwrap_err().is_failed()); // and nothing to downcast to
    /// # Ok::<(), Error>(())
    /// ```
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        match self.root() {
            Kind::Failed { source, .. } => source.downcast_ref(),
            _ => None,
        }
    }

    /// What kind it is, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self.root() {
            Kind::Failed { .. } => "failed",
            Kind::Panic { .. } => "panic",
            Kind::Cancelled => "cancelled",
            Kind::Timeout { .. } | Kind::Deadline { .. } | Kind::Unwritten { .. } => "timeout",
            Kind::Cycle { .. } => "cycle",
            Kind::Shutdown => "shutdown",
            Kind::Full { .. } => "full",
            Kind::Invalid { .. } => "invalid",
            Kind::Store { .. } => "store",
            Kind::Missing { .. } => "miss",
            Kind::Via(_) => unreachable!("root() looks through it"),
        }
    }

    fn root(&self) -> &Kind {
        let mut error = self;
        while let Some(via) = error.via() {
            error = via.1;
        }
        &error.0
    }

    /// The function that handed it up, and what that was given.
    fn via(&self) -> Option<(&str, &Error)> {
        match &*self.0 {
            Kind::Via(Via { function, inner: Some(inner) }) => Some((function, inner)),
            _ => None,
        }
    }

    /// Names the functions through which it came, the outermost first: those at the ends of a long way.
    fn fmt_way(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way =
            || std::iter::successors(self.via(), |(_, inner)| inner.via()).map(|(function, _)| function);
        let steps = way().count();
        let left_out = if steps > 2 * ENDS + 1 { ENDS..steps - ENDS } else { 0..0 };
        for (step, function) in way().enumerate() {
            if !left_out.contains(&step) {
                write!(f, "in `{function}`: ")?;
            } else if step == left_out.start {
                write!(f, "… {} more …: ", left_out.len())?;
            }
        }
        Ok(())
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Error(Arc::new(kind))
    }
}

/// How many names an error tells from each end of the way that it came.
const ENDS: usize = 8;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_way(f)?;
        match self.root() {
            Kind::Failed { function, source } => write!(f, "`{function}` failed: {source}"),
            Kind::Panic { function, message } => write!(f, "`{function}` panicked: {message}"),
            Kind::Cancelled => f.write_str("the task was cancelled"),
            Kind::Timeout { function: Some(function), after } => {
                write!(f, "`{function}` ran over its timeout of {after:?}")
            }
            Kind::Timeout { function: None, after } => {
                write!(f, "the task was not done within {after:?}")
            }
            Kind::Deadline { unfinished, of, after } => {
                write!(f, "{unfinished} of {of} tasks unfinished after {after:?}")
            }
            Kind::Unwritten { after } => write!(f, "what is finished is still being written after {after:?}"),
            Kind::Cycle { path } => write!(f, "waiting would never end: {}", path.join(" → ")),
            Kind::Shutdown => f.write_str("the pool is shut down"),
            Kind::Full { reason } | Kind::Invalid { reason } | Kind::Store { reason } => f.write_str(reason),
            Kind::Missing { call, reason } => write!(f, "{call} is not recorded: {reason}"),
            Kind::Via(_) => unreachable!("root() looks through it"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({}: {self})", self.kind())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            Kind::Failed { source, .. } => Some(&**source),
            Kind::Via(via) => via.inner.as_ref().map(|inner| inner as _),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed_through(levels: usize) -> Error {
        let base = Error::failed("base", "no ink".into());
        (0..levels).fold(base, |inner, level| Error::failed(&format!("f{level}"), Box::new(inner)))
    }

    /// The error of a deep recursion ends the process when it is shown, or when it is dropped.
    #[test]
    fn a_deep_error_needs_no_stack() {
        let work = || {
            let error = passed_through(1_000_000);
            assert!(error.is_failed() && error.to_string().len() < 1000, "{error}");
            assert!(format!("{error:?}").ends_with("`base` failed: no ink)"), "{error:?}");
            let inner = error.source().and_then(|source| source.downcast_ref::<Error>()).cloned();
            drop(error);
            // What somebody else still has stays whole.
            assert!(inner.is_some_and(|inner| inner.to_string().starts_with("in `f999998`: in `f999997`")));
        };
        let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(work);
        thread.expect("a thread").join().expect("it does not fail");
    }

    /// The text of an error is a hundred thousand names long, or leaves out where it came from.
    #[test]
    fn a_long_way_is_told_by_its_ends() {
        assert_eq!(passed_through(2).to_string(), "in `f1`: in `f0`: `base` failed: no ink");
        let text = passed_through(2 * ENDS + 1).to_string();
        assert_eq!(text.matches("in `f").count(), 2 * ENDS + 1, "{text}");
        let text = passed_through(2 * ENDS + 2).to_string();
        assert_eq!(text.matches("in `f").count(), 2 * ENDS, "{text}");
        assert!(text.contains("in `f10`: … 2 more …: in `f7`"), "{text}");
        assert!(text.ends_with("in `f0`: `base` failed: no ink"), "{text}");
    }
}
