//! [`Hashed`]: an argument that is hashed once.

use std::any::Any;
use std::fmt;
use std::ops::Deref;

use serde::ser::{self, Serialize, Serializer};

use super::encode::{EncodeError, Encoder};
use crate::sync::{Arc, OnceLock};

/// Keeps these digests apart from the keys of calls.
const DOMAIN: &[u8; 32] = b"memopool 1: argument hashed once";

/// The name under which a digest enters a key: no type of a user's can have it by accident.
const NAME: &str = "#hashed";

/// A large argument that is hashed once, however many calls it is handed on to.
///
/// Each call hashes its arguments, and a pipeline that hands one text from step to step hashes it at each of them, hits
/// included. In a `Hashed` it brings its digest along: made when it first becomes part of a key, and shared by all clones. The
/// key has the digest in place of the value, so it is not the key that the bare value would give.
///
/// The value is shared and not to be changed (through a `Mutex`, say): its key would still be that of before. It is cheap to clone,
/// reads as a `&T`, and is a good parameter type: `fn lex(text: &Hashed<str>)`. Its `Serialize` writes the digest alone, so
/// there is no `Deserialize`: it belongs among arguments, not into results.
///
/// # Examples
///
/// ```
/// use memopool::key::Hashed;
/// use memopool::{Error, Pool, memo};
///
/// #[memo]
/// fn words(text: &Hashed<str>) -> usize {
///     text.split_whitespace().count()
/// }
///
/// #[memo(deps(words))]
/// fn density(text: &Hashed<str>) -> Result<f64, Error> {
///     let pool = Pool::current().expect("it runs in a pool");
///     Ok(*pool.run(words::call(text))? as f64 / text.len() as f64) // hashed already
/// }
///
/// let pool = Pool::new();
/// let text = Hashed::new("to be or not to be ".repeat(10_000));
/// assert!(*pool.run(density::call(&text))? > 0.3);
/// assert_eq!(*pool.run(words::call(&text))?, 60_000);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
///
/// A value whose `Serialize` fails gives no key: calls of it fail with [`is_invalid`](crate::Error::is_invalid), as they do
/// with the bare value.
pub struct Hashed<T: ?Sized> {
    value: Arc<T>,
    digest: Arc<OnceLock<[u8; 32]>>,
}

impl<T: ?Sized> Hashed<T> {
    /// Takes a value: a `String` for a `Hashed<str>`, a `Vec<u8>` for a `Hashed<[u8]>`, an `Arc` of either, or a `T`. Nothing
    /// is hashed yet.
    pub fn new(value: impl Into<Arc<T>>) -> Self {
        Self { value: value.into(), digest: Arc::default() }
    }

    /// The value.
    pub fn as_arc(&self) -> &Arc<T> {
        &self.value
    }
}

impl<T: Serialize + ?Sized + 'static> Hashed<T> {
    fn digest(&self) -> Result<&[u8; 32], EncodeError> {
        if let Some(digest) = self.digest.get() {
            return Ok(digest);
        }
        let mut encoder = Encoder::new(DOMAIN, 0, false);
        let value: &dyn Any = &self.value;
        match value.downcast_ref::<Arc<[u8]>>() {
            Some(bytes) => encoder.bytes(1, "value", bytes)?,
            None => encoder.arg(1, "value", &*self.value)?,
        }
        let digest = encoder.finish().key(DOMAIN);
        Ok(self.digest.get_or_init(|| *digest.as_bytes()))
    }
}

impl<T: Serialize + ?Sized + 'static> Serialize for Hashed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digest = self.digest().map_err(ser::Error::custom)?;
        serializer.serialize_newtype_struct(NAME, &Digest(digest))
    }
}

/// One byte string, not a list of bytes.
struct Digest<'a>(&'a [u8; 32]);

impl Serialize for Digest<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<T: ?Sized> Clone for Hashed<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), digest: Arc::clone(&self.digest) }
    }
}

impl<T: ?Sized> Deref for Hashed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: ?Sized> From<Arc<T>> for Hashed<T> {
    fn from(value: Arc<T>) -> Self {
        Self::new(value)
    }
}

impl<T: fmt::Debug + ?Sized> fmt::Debug for Hashed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hashed").field(&&*self.value).finish()
    }
}
