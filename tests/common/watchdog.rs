//! Every test that could hang has a watchdog.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Runs a test's body and fails, by the test's name, if it does not end.
pub(crate) fn within(patience: Duration, body: impl FnOnce() + Send + 'static) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let (running, ended) = channel::<()>();
    let body = move || {
        let _running = running;
        body();
    };
    let thread = thread::Builder::new().name(name.clone()).spawn(body).expect("a thread for the test");
    match ended.recv_timeout(patience) {
        Err(RecvTimeoutError::Timeout) => panic!("{name} hangs: it is not done after {patience:?}"),
        _ => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
    }
}
