//! Which route serves a request.
//!
//! The most specific route wins. What makes one more specific, in this order:
//! 1. the host: an exact name, then the longest wildcard, then any host;
//! 2. the path: the longest, an exact path before a prefix of the same length;
//! 3. the number of its other conditions: each header, and methods if any are given;
//! 4. its place in the file, first to last.
//!
//! A route whose methods or headers do not match is passed over for the next less specific one, also across paths and
//! hosts. So a general route stays reachable beneath a special one.
//!
//! How values are compared:
//! * hosts without port, in either case, one trailing dot ignored; an IPv6 literal by its address, however written;
//! * paths byte for byte, without the query, and prefixes by whole segments: one slash at the end of a prefix adds
//!   nothing, `/a/` is `/a`. Nothing is decoded: what the listener's path rules made of it ([`crate::http::path`]) is what
//!   is compared and what the master gets;
//! * methods in their exact case; header values byte for byte, any line of the name being enough.
//!
//! A lookup allocates nothing. It hashes the host at most once for each length of a wildcard, and finds the path by
//! binary search, so its cost hardly depends on the number of routes.

mod host;
mod path;
pub mod server_name;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use httparse::Header;

use crate::config::model::{HeaderMatch, HostPattern, Listener, Match, Route};

use host::Host;
use path::Paths;

/// All routes, by listener.
#[derive(Debug)]
pub struct RouteTable {
    listeners: Box<[Hosts]>,
    /// By route index.
    conditions: Box<[Conditions]>,
}

/// What is left to check once host and path match.
#[derive(Debug)]
struct Conditions {
    methods: Box<[Box<str>]>,
    headers: Box<[HeaderMatch]>,
}

type ByHost = HashMap<Box<[u8]>, Paths, BuildHasherDefault<HostHasher>>;

/// XXH3 of the host. Whoever sends hosts cannot add any to the map, so it needs no secret.
#[derive(Debug, Default)]
struct HostHasher(u64);

/// One listener's routes, by host.
#[derive(Debug, Default)]
struct Hosts {
    exact: ByHost,
    /// By what follows the star, dot included.
    wildcard: ByHost,
    /// Distinct lengths of the keys of `wildcard`, longest first.
    wildcard_lengths: Box<[usize]>,
    any: Paths,
}

impl RouteTable {
    /// Compiles the routes for these listeners; both are known by their index from here on.
    #[must_use]
    pub fn build(routes: &[Route], listeners: &[Listener]) -> Self {
        let hosts = |listener: &Listener| {
            let serves = |route: &Route| route.listeners.is_empty() || route.listeners.contains(&listener.name);
            Hosts::build(routes.iter().enumerate().filter(|(_, route)| serves(route)))
        };
        Self {
            listeners: listeners.iter().map(hosts).collect(),
            conditions: routes.iter().map(|route| Conditions::of(&route.matcher)).collect(),
        }
    }

    /// The index of the most specific route that matches. `host` is the `Host` field or the authority, port included or
    /// not, and may be empty; `path` comes without its query.
    pub fn lookup(
        &self,
        listener: usize,
        host: &[u8],
        path: &str,
        method: &str,
        headers: &[Header<'_>],
    ) -> Option<usize> {
        let hosts = self.listeners.get(listener)?;
        let holds = |route: usize| self.conditions.get(route).is_some_and(|it| it.hold(method, headers));
        let mut buffer = host::Buffer::default();
        let host = if hosts.tell_apart() { Host::parse(host, &mut buffer) } else { None };
        hosts.levels(host).find_map(|paths| paths.find(path.as_bytes(), holds))
    }
}

impl Conditions {
    fn of(matcher: &Match) -> Self {
        Self {
            methods: matcher.methods.iter().map(|method| method.as_str().into()).collect(),
            headers: matcher.headers.iter().cloned().collect(),
        }
    }

    fn hold(&self, method: &str, headers: &[Header<'_>]) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|allowed| **allowed == *method))
            && self.headers.iter().all(|wanted| headers.iter().any(|line| satisfies(line, wanted)))
    }
}

fn satisfies(line: &Header<'_>, wanted: &HeaderMatch) -> bool {
    line.name.eq_ignore_ascii_case(&wanted.name)
        && wanted.value.as_ref().is_none_or(|value| value.as_bytes() == line.value)
}

/// How many conditions a route has beside host and path.
fn other_conditions(matcher: &Match) -> usize {
    usize::from(!matcher.methods.is_empty()) + matcher.headers.len()
}

impl Hosts {
    fn build<'a>(routes: impl Iterator<Item = (usize, &'a Route)>) -> Self {
        let (mut exact, mut wildcard) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        let mut any = Vec::new();
        for (index, route) in routes {
            let rule = path::Rule { route: index, others: other_conditions(&route.matcher), path: &route.matcher.path };
            if route.matcher.hosts.is_empty() {
                any.push(rule);
            }
            for host in &route.matcher.hosts {
                match host {
                    HostPattern::Exact(name) => exact.entry(host::normal(name)).or_default().push(rule),
                    HostPattern::Wildcard(suffix) => wildcard.entry(host::normal(suffix)).or_default().push(rule),
                }
            }
        }
        let compiled = |map: HashMap<Box<[u8]>, Vec<path::Rule<'_>>>| -> ByHost {
            map.into_iter().map(|(host, rules)| (host, Paths::build(rules))).collect()
        };
        let wildcard = compiled(wildcard);
        let mut lengths: Vec<usize> = wildcard.keys().map(|suffix| suffix.len()).collect();
        lengths.sort_unstable_by(|one, other| other.cmp(one));
        lengths.dedup();
        Self { exact: compiled(exact), wildcard, wildcard_lengths: lengths.into(), any: Paths::build(any) }
    }

    /// Whether the host of a request makes any difference.
    fn tell_apart(&self) -> bool {
        !self.exact.is_empty() || !self.wildcard.is_empty()
    }

    /// The routes whose host matches, most specific first.
    fn levels<'a>(&'a self, host: Option<Host<'a>>) -> impl Iterator<Item = &'a Paths> {
        let exact = host.and_then(|host| self.exact.get(host.text));
        let name = host.filter(|host| host.is_name).map_or(&b""[..], |host| host.text);
        let suffix = |length: &usize| name.len().checked_sub(*length).filter(|rest| *rest > 0).map(|at| &name[at..]);
        let wildcard = self.wildcard_lengths.iter().filter_map(suffix).filter_map(|suffix| self.wildcard.get(suffix));
        exact.into_iter().chain(wildcard).chain(std::iter::once(&self.any))
    }
}

impl Hasher for HostHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }

    // The length that a slice writes before its bytes.
    fn write_usize(&mut self, length: usize) {
        self.0 ^= length as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
