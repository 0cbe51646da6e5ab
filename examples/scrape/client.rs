//! What requests are sent with: connections that are kept, a pace, and counts of what came back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use memopool::block_in_place;
use url::Url;

/// Connections, and how they were used.
pub(crate) struct Client {
    pub(crate) agent: ureq::Agent,
    pub(crate) delay: Duration,
    pub(crate) requests: AtomicU64,
    pub(crate) bodies: AtomicU64,
    pub(crate) unchanged: AtomicU64,
}

impl Client {
    pub(crate) fn new(url: &Url, delay: Duration) -> Client {
        let own = url.host_str().is_some_and(|host| host == "localhost" || host.starts_with("127."));
        let config = ureq::Agent::config_builder()
            .proxy(if own { None } else { ureq::Proxy::try_from_env() })
            .timeout_global(Some(Duration::from_secs(30)))
            .http_status_as_error(false)
            .max_redirects(0) // where it leads to is a URL like any other: fetched once, and kept
            .max_redirects_will_error(false);
        let [requests, bodies, unchanged] = [0, 0, 0].map(AtomicU64::new);
        Client { agent: config.build().new_agent(), delay, requests, bodies, unchanged }
    }

    /// Keeps its place in the limit for a while, so that the next request comes later. The pool has another thread meanwhile.
    #[expect(clippy::disallowed_methods, reason = "to be slow is the point")]
    pub(crate) fn pause(&self) {
        if !self.delay.is_zero() {
            block_in_place(|| std::thread::sleep(self.delay));
        }
    }
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
