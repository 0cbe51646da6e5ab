//! The span of one run: opened by its first submitter, entered by whoever runs it.
//!
//! Its parent is the span in which the call was submitted, so that what a body does on a worker is seen below what asked for
//! it; nested submissions are children of their body's span in the same way. Those who join the run later have spans of
//! their own, which it follows from. It ends with the run's last handle. Without the feature `tracing` all of this is
//! nothing, and takes no room.

use crate::call::KeyRef;

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

/// A span that is entered until this is dropped.
pub(crate) struct InSpan {
    #[cfg(feature = "tracing")]
    _entered: tracing::span::EnteredSpan,
}

#[cfg(feature = "tracing")]
impl Span {
    /// For a run of that function, below the current span. `key`: none for a spawned closure.
    pub(crate) fn of_run(function: &'static str, key: Option<&KeyRef>) -> Span {
        let span = match key {
            // The key is a digest, and only made if somebody wants to see it.
            Some(key) => tracing::debug_span!("run", function, key = %key.key().short()),
            None => tracing::debug_span!("run", function),
        };
        Span { span }
    }

    /// The current span is one more that the run was asked for in.
    pub(crate) fn joined(&self) {
        self.span.follows_from(tracing::Span::current());
    }

    pub(crate) fn enter(self) -> InSpan {
        InSpan { _entered: self.span.entered() }
    }
}

#[cfg(not(feature = "tracing"))]
impl Span {
    #[inline]
    pub(crate) fn of_run(_: &'static str, _: Option<&KeyRef>) -> Span {
        Span {}
    }

    #[inline]
    pub(crate) fn joined(&self) {}

    #[inline]
    pub(crate) fn enter(self) -> InSpan {
        InSpan {}
    }
}
