//! How a pool takes part in the [claims](super::claims) of its directory: it joins when it first needs to.
//!
//! Without them everything works, but what this pool computes others may compute at the same time. So that it can't join is
//! told as any trouble with the disk, and it tries again after a while.

use super::claims::{Claim, Claims, Holder};
use super::owners::NestedWait;
use super::store::Store;
use super::tier::{Shared, Tier};

impl Tier {
    /// Claims a key among the processes of the directory. `None`: claims are off, or can't be had.
    pub(crate) fn claim(&self, key: &[u8; 32]) -> Option<Claim> {
        if !self.shared.disk.single_flight {
            return None;
        }
        self.shared.with_claims(|claims| claims.claim(key))
    }

    /// Whether another process still works on it.
    pub(crate) fn is_held(&self, holder: &Holder) -> bool {
        self.shared.with_claims(|claims| claims.is_held(holder)).unwrap_or(false)
    }

    /// Whether bodies of that process wait for other processes.
    pub(crate) fn holder_waits(&self, holder: &Holder) -> bool {
        self.shared.with_claims(|claims| claims.holder_is_waiting(holder)).unwrap_or(false)
    }

    /// Says that a body of this process waits for another process.
    pub(crate) fn nested_wait(&self) -> Option<NestedWait> {
        self.shared.with_claims(Claims::wait_inside)
    }
}

impl Shared {
    /// Does something with the claims of the directory. `None`: they can't be had now.
    pub(super) fn with_claims<T>(&self, what: impl FnOnce(&Claims) -> T) -> Option<T> {
        let store = self.store();
        if let Some(claims) = store.claims() {
            return Some(what(claims));
        }
        self.join_claims(&store)?;
        store.claims().map(what)
    }

    #[cold]
    fn join_claims(&self, store: &Store) -> Option<()> {
        let joining = self.joining.lock();
        if store.claims().is_some() {
            return Some(());
        }
        if !self.claims.is_willing() {
            return None;
        }
        let joined = store.join_claims().inspect_err(|_| self.claims.failed());
        drop(joining);
        match joined {
            Ok(()) => {
                if self.claims.works() && self.reads.is_well() && self.writes.is_well() {
                    self.say(false, || None);
                }
                Some(())
            }
            Err(error) => {
                self.say(true, || Some(error.to_string()));
                None
            }
        }
    }
}
