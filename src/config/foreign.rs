//! Words of HAProxy, NGINX and Envoy that people write by habit, and what this configuration has instead.
//!
//! Only hints hang on this table: nothing written in another program's words is ever accepted.

/// Hints about keys. The mapping by the name of its declaration, the foreign key in lower case, and what to say of it.
const KEYS: [(&str, &str, &str); 30] = [
    ("File", "frontend", "write `listeners` and `routes`"),
    ("File", "frontends", "write `listeners` and `routes`"),
    ("File", "server", "write `listeners` and `routes`"),
    ("File", "backend", UPSTREAMS),
    ("File", "backends", UPSTREAMS),
    ("File", "services", UPSTREAMS),
    ("File", "clusters", UPSTREAMS),
    ("File", "timeout", "a route has a `timeout`, an upstream a `connect_timeout`"),
    ("Listener", "bind", "the key is `address`"),
    ("Listener", "listen", "the key is `address`"),
    ("Listener", "mode", "the key is `protocol`"),
    ("Listener", "ssl", "the key is `tls`"),
    ("Listener", "maxconn", "the bound is `limits.connections`"),
    ("Route", "backend", "the key is `upstream`"),
    ("Route", "service", "the key is `upstream`"),
    ("Route", "use_backend", "the key is `upstream`"),
    ("Upstream", "balance", "the key is `strategy`"),
    ("Upstream", "lb_policy", "the key is `strategy`"),
    ("Upstream", "algorithm", "the key is `strategy`"),
    ("Upstream", "server", MASTERS),
    ("Upstream", "servers", MASTERS),
    ("Upstream", "backends", MASTERS),
    ("Upstream", "endpoints", MASTERS),
    ("Upstream", "bots", MASTERS),
    ("Upstream", "timeout", "a route has a `timeout`; here are `connect_timeout` and `retry.per_try_timeout`"),
    ("Upstream", "sticky", "the key is `affinity`"),
    ("Upstream", "maxconn", MAX_IN_FLIGHT),
    ("Master", "maxconn", MAX_IN_FLIGHT),
    ("Master", "backup", "write `priority: 1` here, and `strategy: priority` or `failover` in the upstream"),
    ("Master", "check", "probes are the upstream's `health_check`"),
];

const UPSTREAMS: &str = "the key is `upstreams`";
const MASTERS: &str = "the key is `masters`";
const MAX_IN_FLIGHT: &str = "the bound is the upstream's `limits.max_in_flight`";

/// Values and the words for them here. Those that differ in hyphens alone are found by their likeness.
const VALUES: [(&str, &str); 11] = [
    ("leastconn", "least-loaded"),
    ("least_conn", "least-loaded"),
    ("least-connections", "least-loaded"),
    ("least_request", "least-loaded"),
    ("source", "ip-hash"),
    ("hash", "consistent-hash"),
    ("ring_hash", "consistent-hash"),
    ("maglev", "consistent-hash"),
    ("ewma", "peak-ewma"),
    ("warning", "warn"),
    ("notice", "info"),
];

/// What to write instead of a key that this mapping does not have.
pub fn hint(object: &str, key: &str) -> Option<&'static str> {
    let key = key.to_ascii_lowercase();
    KEYS.iter().find(|(owner, foreign, _)| *owner == object && *foreign == key).map(|(_, _, hint)| *hint)
}

/// The word here for a word of another program.
pub fn word(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    VALUES.iter().find(|(foreign, _)| *foreign == text).map(|(_, word)| *word)
}
