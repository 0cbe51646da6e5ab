//! Functions with a [`Limit`], and what their runs do when there is no slot.

use super::execute::Run;
use super::func::Func;
use crate::contain::contain;
use crate::error::Error;
use crate::run::limit::Limit;
use crate::sync::Arc;

impl<A: Send + 'static, R: Send + Sync + 'static> Func<A, R> {
    /// Lets at most as many bodies run at a time as the limit has slots, together with all other functions that share it.
    /// Default: as many as the pool has threads. A function has one limit; another replaces it.
    ///
    /// No part of the identity: what is kept is found with and without it.
    ///
    /// # Examples
    ///
    /// ```
    /// use memopool::{Limit, Pool, memo};
    ///
    /// #[memo]
    /// fn fetch(page: u32) -> String {
    ///     format!("page {page}")
    /// }
    ///
    /// let fetch = fetch::func().clone().limit(&Limit::new("api.example", 4));
    /// assert_eq!(*Pool::new().run(fetch.call((7,)))?, "page 7");
    /// # Ok::<(), memopool::Error>(())
    /// ```
    #[must_use]
    pub fn limit(self, limit: &Limit) -> Self {
        self.with(|core| core.limit = Some(limit.clone()))
    }
}

impl<R: Send + Sync + 'static> Run<R> {
    /// There is no slot for its body: back into its cell, until the limit queues it again.
    #[inline(never)]
    pub(super) fn wait_for_slot(mut self) {
        let Some(turn) = &self.turn else { return };
        let park = turn.parker();
        self.ticket.wait_again();
        if !self.flight.cell.set_aside() {
            // Nobody wants it any more.
            return self.guard.fail(Err(Error::cancelled()));
        }
        let (flight, runner) = (Arc::clone(&self.flight), Arc::clone(&self.engine().runner));
        if let Err(run) = flight.cell.arm(self) {
            let _ = contain(|| drop(run));
            return;
        }
        park(flight as _, runner);
    }
}
