//! What the scenarios share.

use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::checker::thread::JoinHandle;
pub(crate) use crate::checker::thread::spawn;

/// What a thread returned.
pub(crate) fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("the thread has returned")
}

/// What happened, in order. Outside the model: writing it down is no step that the checker could interrupt.
#[expect(clippy::disallowed_types, reason = "must not be one of the checker's locks")]
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<std::sync::Mutex<Vec<&'static str>>>);

impl Log {
    pub(crate) fn add(&self, what: &'static str) {
        self.0.lock().expect("not poisoned").push(what);
    }

    pub(crate) fn count(&self, what: &'static str) -> usize {
        self.0.lock().expect("not poisoned").iter().filter(|known| **known == what).count()
    }

    pub(crate) fn all(&self) -> Vec<&'static str> {
        self.0.lock().expect("not poisoned").clone()
    }

    /// Nobody else can write any more: all wakers and callbacks are gone.
    pub(crate) fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// A waker that writes this down.
    pub(crate) fn waker(&self, what: &'static str) -> Waker {
        Waker::from(Arc::new(Note { log: self.clone(), what }))
    }
}

struct Note {
    log: Log,
    what: &'static str,
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        self.log.add(self.what);
    }
}
