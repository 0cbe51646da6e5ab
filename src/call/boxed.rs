//! Calls whose arguments' type is hidden, so that calls of different functions fit one collection.

use std::fmt;

use super::Call;
use super::func::{Attempts, Core, Encode, Start};
use super::key::{EncodeError, Encoder};

impl<A, R: Send + Sync + 'static> Call<A, R> {
    /// Hides the type of the arguments, so that calls of different functions with one result type fit one collection.
    ///
    /// # Examples
    ///
    /// ```
    /// # use memopool::{Func, Pool};
    /// let double = Func::new("double", |n: u64| n * 2);
    /// let length = Func::new("length", |text: String| text.len() as u64);
    /// let calls = vec![double.call(4).boxed(), length.call("seven".into()).boxed()];
    /// let sum: u64 = Pool::new().map(calls).map(|result| *result.unwrap()).sum();
    /// assert_eq!(sum, 13);
    /// ```
    pub fn boxed<'a>(self) -> Call<BoxedArgs<'a, R>, R>
    where
        A: Send + 'a,
    {
        let Call { core, args, encode, start, refresh } = self;
        let args = BoxedArgs(Box::new(Erased { args, encode, start }));
        Call {
            core,
            args,
            encode: |args, encoder| args.0.encode(encoder),
            start: |args, core| args.0.start(core),
            refresh,
        }
    }
}

/// Arguments of any type; see [`Call::boxed`].
pub struct BoxedArgs<'a, R>(Box<dyn AnyArgs<R> + Send + 'a>);

trait AnyArgs<R> {
    fn encode(&self, encoder: &mut Encoder<'_>) -> Result<(), EncodeError>;
    fn start(self: Box<Self>, core: &Core<R>) -> Attempts<R>;
}

struct Erased<A, R> {
    args: A,
    encode: Encode<A>,
    start: Start<A, R>,
}

impl<A, R> AnyArgs<R> for Erased<A, R> {
    fn encode(&self, encoder: &mut Encoder<'_>) -> Result<(), EncodeError> {
        (self.encode)(&self.args, encoder)
    }

    fn start(self: Box<Self>, core: &Core<R>) -> Attempts<R> {
        (self.start)(self.args, core)
    }
}

impl<R> fmt::Debug for BoxedArgs<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxedArgs(..)")
    }
}
