//! What a route asks of a request before it goes further: where it comes from, and how often.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use super::buckets::Buckets;
use super::clients::identity;
use super::gcra::{Rule, seconds};
use super::networks::Networks;
use crate::clock::Micros;
use crate::config::model::{self, RateKey, Route};
use crate::http::problem::{Problem, Quota};
use crate::http::request::Request;
use crate::telemetry::hot::{Refusal, RouteRefusal};

/// The rules of one route.
#[derive(Debug)]
pub struct Guard {
    access: Option<Networks>,
    rate: Option<Arc<RateLimit>>,
}

/// A rate limit with the state of its keys.
#[derive(Debug)]
pub struct RateLimit {
    settings: model::RateLimit,
    rule: Rule,
    buckets: Buckets,
    /// Seeded at random, so that clients cannot choose keys that collide.
    hasher: RandomState,
}

/// Why a request goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// Its client's network is not let in.
    Denied,
    /// More than its quota; `wait` is in seconds until a request is admitted.
    Limited { quota: Quota, wait: u64 },
}

impl Guard {
    /// The guard of a route, if it has rules. Counts go on from `before` where the rate limit is the same.
    #[must_use]
    pub fn build(route: &Route, before: Option<&Self>) -> Option<Arc<Self>> {
        let rate = route.rate_limit.as_ref().map(|settings| {
            let kept = before.and_then(|before| before.rate.as_ref()).filter(|rate| rate.settings == *settings);
            kept.cloned().unwrap_or_else(|| Arc::new(RateLimit::new(settings.clone())))
        });
        let access = route.access.as_ref().map(Networks::new);
        (rate.is_some() || access.is_some()).then(|| Arc::new(Self { access, rate }))
    }

    /// Decides about a request of `client`, as far as its address is known, and counts it. `now` is asked for the time only
    /// when that is needed.
    ///
    /// # Errors
    /// Why it goes no further.
    pub fn check(
        &self,
        client: Option<IpAddr>,
        request: &Request<'_>,
        now: impl FnOnce() -> Micros,
    ) -> Result<(), Turned> {
        if let Some(networks) = &self.access
            && !networks.admit(client)
        {
            return Err(Turned::Denied);
        }
        match &self.rate {
            Some(rate) => rate.check(client, request, now),
            None => Ok(()),
        }
    }

    /// Decides about a webhook of this account, and counts it, where accounts are what is counted by.
    ///
    /// # Errors
    /// [`Turned::Limited`].
    pub fn check_account(&self, account: &str, now: Micros) -> Result<(), Turned> {
        match &self.rate {
            Some(rate) if rate.settings.key == RateKey::Account => rate.take(rate.hasher.hash_one(account), now),
            _ => Ok(()),
        }
    }

    /// Forgets keys that are back at their rate; call it every few seconds.
    pub fn sweep(&self, now: Micros) {
        if let Some(rate) = &self.rate {
            rate.buckets.sweep(&rate.rule, now);
        }
    }
}

impl Turned {
    /// The answer.
    #[must_use]
    pub fn problem(self) -> Problem {
        match self {
            Self::Denied => Problem::new(403, "this route does not let in clients of your network"),
            Self::Limited { quota, wait } => Problem::limited(quota, wait),
        }
    }

    /// How it is counted, for the listener and for the route.
    #[must_use]
    pub fn counted(self) -> (Refusal, RouteRefusal) {
        match self {
            Self::Denied => (Refusal::AccessDenied, RouteRefusal::AccessDenied),
            Self::Limited { .. } => (Refusal::RateLimited, RouteRefusal::RateLimited),
        }
    }
}

impl RateLimit {
    fn new(settings: model::RateLimit) -> Self {
        let rule = Rule::new(settings.rate.count, settings.rate.period, settings.burst);
        let buckets = Buckets::new(settings.max_keys);
        Self { settings, rule, buckets, hasher: RandomState::new() }
    }

    fn check(&self, client: Option<IpAddr>, request: &Request<'_>, now: impl FnOnce() -> Micros) -> Result<(), Turned> {
        let hash = match &self.settings.key {
            RateKey::ClientIp => self.hasher.hash_one(identity(client, self.settings.ipv6_prefix)),
            // What has no key cannot be counted under one.
            RateKey::Header(name) => match request.field(name) {
                Some(value) => self.hasher.hash_one(value),
                None => return Ok(()),
            },
            // Known when the body has been read.
            RateKey::Account => return Ok(()),
        };
        self.take(hash, now())
    }

    fn take(&self, hash: u64, now: Micros) -> Result<(), Turned> {
        self.buckets.take(hash, &self.rule, now).map(drop).map_err(|wait| {
            let quota = Quota { burst: self.settings.burst, window: seconds(self.rule.span()) };
            Turned::Limited { quota, wait: seconds(wait) }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::model::{Access, Delivery, Destination, Match, Rate};

    fn route(key: RateKey, burst: u32) -> Route {
        let rate = Rate { count: 1, period: Duration::from_secs(1) };
        Route {
            name: "webhooks".to_owned(),
            listeners: Vec::new(),
            matcher: Match::default(),
            delivery: Delivery::Inline,
            whatsapp: None,
            to: Destination::Upstream(0),
            timeout: Duration::from_secs(1),
            rate_limit: Some(model::RateLimit { key, rate, burst, ipv6_prefix: 64, max_keys: 64 }),
            access: None,
            sla: None,
            passage: Default::default(),
        }
    }

    fn check(guard: &Guard, client: &str, header: &str) -> Result<(), Turned> {
        let raw = format!("GET / HTTP/1.1\r\nHost: a\r\n{header}\r\n");
        let request = Request::parse(raw.as_bytes()).unwrap();
        guard.check(client.parse().ok(), &request, || 1_000_000)
    }

    #[test]
    fn a_client_over_its_rate_is_told_when_to_come_back() {
        let guard = Guard::build(&route(RateKey::ClientIp, 2), None).unwrap();
        assert_eq!(check(&guard, "192.0.2.1", ""), Ok(()));
        assert_eq!(check(&guard, "192.0.2.1", ""), Ok(()));
        assert_eq!(
            check(&guard, "192.0.2.1", ""),
            Err(Turned::Limited { quota: Quota { burst: 2, window: 2 }, wait: 1 })
        );
        assert_eq!(check(&guard, "192.0.2.2", ""), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_client() {
        let guard = Guard::build(&route(RateKey::ClientIp, 1), None).unwrap();
        assert_eq!(check(&guard, "2001:db8::1", ""), Ok(()));
        assert!(check(&guard, "2001:db8::2", "").is_err());
        assert_eq!(check(&guard, "2001:db8:0:1::2", ""), Ok(()));
    }

    #[test]
    fn requests_are_counted_by_a_header_and_without_it_not_at_all() {
        let guard = Guard::build(&route(RateKey::Header("x-tenant".to_owned()), 1), None).unwrap();
        assert_eq!(check(&guard, "192.0.2.1", "X-Tenant: a\r\n"), Ok(()));
        assert!(check(&guard, "192.0.2.2", "x-tenant: a\r\n").is_err());
        assert_eq!(check(&guard, "192.0.2.1", "X-Tenant: b\r\n"), Ok(()));
        for _ in 0..3 {
            assert_eq!(check(&guard, "192.0.2.1", ""), Ok(()));
        }
    }

    #[test]
    fn a_new_generation_goes_on_counting_unless_the_rule_is_another() {
        let before = Guard::build(&route(RateKey::ClientIp, 1), None).unwrap();
        assert_eq!(check(&before, "192.0.2.1", ""), Ok(()));
        let denying = Access { allow: Vec::new(), deny: vec!["10.0.0.0/8".parse().unwrap()] };
        let same = Route { access: Some(denying), ..route(RateKey::ClientIp, 1) };
        let same = Guard::build(&same, Some(&before)).unwrap();
        assert!(check(&same, "192.0.2.1", "").is_err());
        assert_eq!(check(&same, "10.0.0.1", ""), Err(Turned::Denied));
        let other = Guard::build(&route(RateKey::ClientIp, 2), Some(&same)).unwrap();
        assert_eq!(check(&other, "192.0.2.1", ""), Ok(()));
    }

    #[test]
    fn a_route_without_rules_has_no_guard() {
        assert!(Guard::build(&Route { rate_limit: None, ..route(RateKey::ClientIp, 1) }, None).is_none());
    }
}
