//! Errors of both sides of serde.

use std::fmt;
use std::fmt::Display;

/// Why a value can't be encoded or decoded. Thin, because every step of serde returns one.
pub(in crate::memo) struct Fault(Box<Reason>);

struct Reason(String);

impl Fault {
    #[cold]
    pub(in crate::memo) fn new(reason: impl Display) -> Fault {
        Fault(Box::new(Reason(reason.to_string())))
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.0)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl std::error::Error for Fault {}

impl serde::ser::Error for Fault {
    fn custom<T: Display>(message: T) -> Fault {
        Fault::new(message)
    }
}

impl serde::de::Error for Fault {
    fn custom<T: Display>(message: T) -> Fault {
        Fault::new(message)
    }
}
