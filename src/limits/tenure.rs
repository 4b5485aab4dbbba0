//! How long a connection may stay, in time and in requests.
//!
//! What is under way is never cut: a connection whose time is over is told so with its answer, and closed after it. Without
//! that, gateways that keep connections for days would never move to a new worker, process or machine.

use crate::clock::{self, Micros};
use crate::config::model::ListenerLimits;

/// What a connection has had so far.
#[derive(Debug, Clone, Copy)]
pub struct Tenure {
    since: Micros,
    requests: u64,
}

impl Tenure {
    /// A connection that begins now.
    #[must_use]
    pub fn new(now: Micros) -> Self {
        Self { since: now, requests: 0 }
    }

    /// Counts one more request. True when it is the last one under these limits. `now` is asked for the time only where that
    /// makes a difference.
    pub fn ends_with_next(&mut self, limits: &ListenerLimits, now: impl FnOnce() -> Micros) -> bool {
        self.requests += 1;
        let (requests, lifetime) = (limits.requests_per_connection, limits.lifetime);
        (requests > 0 && self.requests >= requests)
            || (!lifetime.is_zero() && now().saturating_sub(self.since) >= clock::micros(lifetime))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, System};

    fn limits(keys: &str) -> ListenerLimits {
        let text = format!(
            "listeners: [{{ name: gateway, address: \"127.0.0.1:0\", limits: {{ {keys} }} }}]\n\
             routes: [{{ name: all, upstream: bots }}]\n\
             upstreams: [{{ name: bots, masters: [{{ name: a, address: \"127.0.0.1:1\" }}] }}]"
        );
        config::parse(&text, Path::new("baton.yaml"), &System).unwrap().config.listeners.remove(0).limits
    }

    #[test]
    fn the_last_of_so_many_requests_ends_the_connection() {
        let limits = limits("requests_per_connection: 3");
        let mut tenure = Tenure::new(0);
        assert_eq!([0; 4].map(|now| tenure.ends_with_next(&limits, || now)), [false, false, true, true]);
    }

    #[test]
    fn the_first_request_after_the_lifetime_ends_the_connection() {
        let limits = limits("lifetime: 10s");
        let mut tenure = Tenure::new(5_000_000);
        let at = |tenure: &mut Tenure, now| tenure.ends_with_next(&limits, || now);
        assert!(!at(&mut tenure, 14_999_999));
        assert!(at(&mut tenure, 15_000_000));
    }

    #[test]
    fn without_limits_a_connection_stays_and_nobody_asks_for_the_time() {
        let limits = limits("");
        let mut tenure = Tenure::new(0);
        assert!((0..1000).all(|_| !tenure.ends_with_next(&limits, || panic!("nothing depends on the time"))));
    }
}
