//! Deadlines of bodies, and the ends of rests: one thread per pool, started with the first.
//!
//! Bodies and callbacks run elsewhere. What of the user's may still run here (a listener, a waker, the `Drop` of an argument)
//! can't end this thread by a panic: with it would go every later deadline.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::Instant;

use crossbeam_channel::{RecvTimeoutError, Sender, unbounded};

use crate::contain::contain;
use crate::sync::{JoinHandle, Mutex, now, spawn, this_thread};

/// What happens at a deadline.
pub(crate) trait Alarm: Send {
    /// It is time.
    fn ring(self: Box<Self>);
    /// Nobody is left to hear it.
    fn is_moot(&self) -> bool;
}

/// How many alarms there may be before the first look for moot ones: most bodies end long before their deadline.
const FIRST_LOOK: usize = 1024;

/// Calls alarms at their time, in order.
pub(crate) struct Timer {
    name: String,
    thread: Mutex<Option<(Sender<Entry>, JoinHandle<()>)>>,
}

struct Entry {
    at: Instant,
    alarm: Box<dyn Alarm>,
}

impl Timer {
    pub(crate) fn new(name: String) -> Timer {
        Timer { name, thread: Mutex::new(None) }
    }

    /// Calls `alarm` at `at`. Gives it back if the timer's thread can't be started.
    pub(crate) fn at(&self, at: Instant, alarm: Box<dyn Alarm>) -> Result<(), Box<dyn Alarm>> {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let (send, receive) = unbounded();
            match spawn(self.name.clone(), None, move || keep_time(&receive)) {
                Ok(handle) => *thread = Some((send, handle)),
                Err(_) => return Err(alarm),
            }
        }
        match &*thread {
            Some((send, _)) => send.send(Entry { at, alarm }).map_err(|unsent| unsent.0.alarm),
            None => Err(alarm),
        }
    }

    /// Whether this is its thread.
    pub(super) fn is_here(&self) -> bool {
        self.thread.lock().as_ref().is_some_and(|(_, handle)| handle.thread().id() == this_thread())
    }

    /// Ends the thread; alarms that are not due are dropped.
    pub(crate) fn stop(&self) {
        let thread = self.thread.lock().take();
        if let Some((send, handle)) = thread {
            drop(send);
            let _ = handle.join();
        }
    }
}

fn keep_time(incoming: &crossbeam_channel::Receiver<Entry>) {
    let mut due: BinaryHeap<Reverse<Entry>> = BinaryHeap::new();
    let mut look_at = FIRST_LOOK;
    loop {
        let received = match due.peek() {
            None => incoming.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(Reverse(first)) => incoming.recv_deadline(first.at),
        };
        match received {
            Ok(entry) => {
                due.push(Reverse(entry));
                if due.len() >= look_at {
                    let _ = contain(|| due.retain(|Reverse(entry)| !entry.alarm.is_moot()));
                    look_at = FIRST_LOOK.max(2 * due.len());
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        while due.peek().is_some_and(|Reverse(first)| first.at <= now()) {
            if let Some(Reverse(entry)) = due.pop() {
                let _ = contain(|| entry.alarm.ring());
            }
        }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("name", &self.name).finish_non_exhaustive()
    }
}
