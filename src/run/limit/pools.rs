//! The limits that a pool knows of, for when it has no thread for what they grant, and when it has again.

use super::{Due, Parked, Shared};
use crate::run::Runner;
use crate::sync::{Arc, Mutex, Weak};

/// The limits that a pool's runs have waited for.
#[derive(Default)]
pub(in crate::run) struct Limits(Mutex<Vec<Weak<Shared>>>);

impl Limits {
    pub(super) fn add(&self, limit: &Arc<Shared>) {
        let mut limits = self.0.lock();
        let known = limits.iter().any(|known| known.as_ptr() == Arc::as_ptr(limit));
        if !known {
            limits.retain(|limit| limit.strong_count() > 0);
            limits.push(Arc::downgrade(limit));
        }
    }

    fn all(&self) -> Vec<Arc<Shared>> {
        self.0.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// The pool has no thread for what it was granted: others go first.
    pub(in crate::run) fn starve(&self, runner: &Runner) {
        for limit in self.all() {
            let mut granted = true;
            // (If it has one again, it would be granted the same once more.)
            while granted && runner.is_starving() {
                limit.change(|state| {
                    let idle =
                        |granted: &Parked| granted.runner.id == runner.id && granted.unit.needs_thread();
                    let last = state.granted.iter().rposition(idle);
                    granted = last.is_some();
                    let Some(last) = last else { return Due::Nothing };
                    let parked = state.granted.remove(last);
                    state.revoke(parked);
                    state.release()
                });
            }
        }
    }

    /// The pool has threads again.
    pub(in crate::run) fn go_on(&self) {
        for limit in self.all() {
            let mut granted = true;
            while granted {
                limit.change(|state| {
                    let due = state.grant_next();
                    granted = !matches!(due, Due::Nothing);
                    due
                });
            }
        }
    }
}
