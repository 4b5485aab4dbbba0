//! The validated configuration: what every other module builds from.
//!
//! [`super::file`] is the shape of the YAML as people write it; validation turns it into these types, so that nothing
//! past this point can meet a dangling name, an impossible value or a missing default. Two equal texts give equal
//! models, which is what the reload compares.

mod acme;
mod admin;
mod alerts;
mod compression;
mod delivery;
mod destination;
mod events;
mod failover;
mod passage;
mod receivers;
mod sla;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use acme::{Acme, AcmeChallenge, Eab};
pub use admin::{Admin, AdminKey};
pub use alerts::{AlertRule, Alerts, BUILTIN, Builtin, Comparison, Escalation, Only, Scope, Signal, shown};
pub use compression::{Coding, Compression, CompressionLevel};
pub use delivery::{Delivery, Ignore, Redelivery, Secret, Spool, WhatsApp};
pub use destination::{Destination, Redirect, Share};
pub use events::EventWebhook;
pub use failover::{Failback, Failover, FailoverMode, Hooks, Recovery};
use ipnet::IpNet;
pub use passage::{
    HeaderRule, HeaderRules, HostRewrite, Mirror, Part, Passage, PathRewrite, Rewrite, Template, Variable,
};
pub use receivers::{Email, HttpPlace, MailTls, Receiver, Way};
pub use sla::{Basis, Begins, Maintenance, Objective, Sla, Weekdays};

/// A whole configuration. Listener, route and upstream names are unique, and every name that one of them mentions exists.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Number of worker threads; `None` means one for each core this process may use.
    pub workers: Option<usize>,
    pub listeners: Vec<Listener>,
    pub routes: Vec<Route>,
    pub upstreams: Vec<Upstream>,
    /// Directory for durable state.
    pub state_path: PathBuf,
    pub spool: Spool,
    pub admin: Admin,
    pub event_webhooks: Vec<EventWebhook>,
    pub alerts: Alerts,
    pub logging: Logging,
    /// How long requests in flight may take to finish after SIGTERM.
    pub drain_timeout: Duration,
    /// How long a new process may take to become ready when it takes over.
    pub upgrade_timeout: Duration,
    pub overload: Overload,
}

/// What each worker takes on at once; beyond it 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overload {
    /// Requests in progress, tunnels not counted. Default 8192.
    pub requests: usize,
    /// Memory for request bodies. Default 128 MiB.
    pub body_bytes: usize,
    /// How late the worker may be with what is due; zero is any time. Default 1 s.
    pub lag: Duration,
}

/// Where a listener is bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Where a master is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Socket(SocketAddr),
    /// A host name and a port, looked up again every few seconds.
    Name { host: String, port: u16 },
    /// `unix:/path`.
    Unix(PathBuf),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    pub name: String,
    pub address: ListenAddress,
    /// Where its connections go, with `protocol: tcp`; `None` for one that speaks HTTP and has routes.
    pub tcp: Option<Tcp>,
    pub proxy_protocol: Option<ProxyProtocol>,
    pub tls: Option<Tls>,
    /// Networks of proxies whose word about the client is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Which header of theirs names the client.
    pub client_address: ClientAddress,
    pub paths: PathRules,
    /// `None` lets everybody in.
    pub access: Option<Access>,
    pub limits: ListenerLimits,
    pub http2: Http2,
}

/// HTTP/2 on a listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Http2 {
    /// Default true.
    pub enabled: bool,
    /// Requests under way on one connection. Default 128.
    pub max_concurrent_streams: u32,
}

/// The header in which trusted proxies name the client. One, for a proxy that writes one may pass on the other as its
/// own client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAddress {
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

impl ClientAddress {
    /// Each with the word a configuration uses for it.
    pub const ALL: [(Self, &'static str); 2] =
        [(Self::XForwardedFor, "x-forwarded-for"), (Self::Forwarded, "forwarded")];
}

/// What becomes of paths that two programs could read differently. The defaults break no known sender of webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathRules {
    /// `.` and `..`, with encoded dots too.
    pub dot_segments: DotSegments,
    /// `//`.
    pub repeated_slashes: RepeatedSlashes,
    /// `%2F`, `%5C` and backslashes.
    pub encoded_slashes: Strictness,
    /// Encoding that is none, that hides a control character such as NUL, or that does not decode to UTF-8.
    pub invalid_encoding: Strictness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DotSegments {
    #[default]
    Reject,
    Normalize,
    Pass,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RepeatedSlashes {
    Reject,
    #[default]
    Merge,
    Pass,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strictness {
    #[default]
    Reject,
    Pass,
}

impl DotSegments {
    /// Each with the word a configuration uses for it.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Reject, "reject"), (Self::Normalize, "normalize"), (Self::Pass, "pass")];
}

impl RepeatedSlashes {
    /// Each with the word a configuration uses for it.
    pub const ALL: [(Self, &'static str); 3] = [(Self::Reject, "reject"), (Self::Merge, "merge"), (Self::Pass, "pass")];
}

impl Strictness {
    /// Each with the word a configuration uses for it.
    pub const ALL: [(Self, &'static str); 2] = [(Self::Reject, "reject"), (Self::Pass, "pass")];
}

/// A listener that passes bytes on as they come.
#[derive(Debug, Clone, PartialEq)]
pub struct Tcp {
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// Other upstreams, by the name in the ClientHello; the names differ.
    pub sni: Vec<SniRoute>,
}

/// Names that clients ask for, and where their connections go.
#[derive(Debug, Clone, PartialEq)]
pub struct SniRoute {
    pub names: Vec<HostPattern>,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
}

/// A listener whose connections come through balancers that tell whose they are.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyProtocol {
    /// Where the header is expected from, and from nobody else.
    pub trusted: Vec<IpNet>,
}

impl ProxyProtocol {
    /// Whether a connection of this sender begins with a header. Who may connect to a Unix socket is trusted.
    #[must_use]
    pub fn expects(&self, sender: Option<IpAddr>) -> bool {
        sender.is_none_or(|sender| self.trusted.iter().any(|network| network.contains(&sender.to_canonical())))
    }
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    V1,
    V2,
}

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// The first one serves names that no other one matches.
    pub certificates: Vec<CertificateFiles>,
    pub min_version: TlsVersion,
    pub client_auth: Option<ClientAuth>,
    /// A certificate for names that none of the files has.
    pub acme: Option<Acme>,
}

/// Certificates that clients show.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientAuth {
    /// Whether a client without one is turned away.
    pub required: bool,
    /// PEM file with the authorities whose word is taken.
    pub ca: PathBuf,
    /// PEM file with their revocation lists.
    pub crl: Option<PathBuf>,
    /// Names of which a client's certificate must carry one; empty allows all.
    pub allowed_names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Bounds on what one downstream connection may ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerLimits {
    /// Connections open at once; further ones wait in the kernel's queue. Default 10000.
    pub connections: usize,
    /// Connections open at once from one client; further ones are closed. Default 0: any number.
    pub connections_per_client: u32,
    /// Bits of an IPv6 address that are one client. Default 64.
    pub client_ipv6_prefix: u8,
    /// TLS handshakes under way at once in each worker; beyond it the oldest is closed. Default 512.
    pub handshakes: usize,
    /// For a TLS handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Request line and headers together, in bytes; beyond it 431. Default 32 KiB, at most 64 KiB.
    pub header_bytes: usize,
    /// Request body in bytes; beyond it 413. Default 4 MiB.
    pub body_bytes: u64,
    /// From the first byte of a request to the end of its headers; beyond it 408. Default 10 s.
    pub header_timeout: Duration,
    /// The longest pause while a body arrives; beyond it 408. Default 30 s.
    pub body_timeout: Duration,
    /// Bytes a second, on average over the time spent waiting for a client, `body_timeout` set aside; 0 is off. Default 512.
    pub min_rate: u64,
    /// A connection without a request, and a tunnel without bytes either way (see `tunnel_timeout`). Default 60 s.
    pub idle_timeout: Duration,
    /// Closed behind the next answer after this time; zero is never. Default zero.
    pub lifetime: Duration,
    /// Closed behind the last of so many requests; 0 is any number. Default 0.
    pub requests_per_connection: u64,
    /// A tunnel, or a connection of a `tcp` listener, without a byte in either direction. Default 1 h.
    pub tunnel_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    pub name: String,
    /// Names of the listeners it serves; empty means every HTTP listener.
    pub listeners: Vec<String>,
    pub matcher: Match,
    pub to: Destination,
    pub delivery: Delivery,
    /// `None`: its requests are any.
    pub whatsapp: Option<Box<WhatsApp>>,
    /// The whole exchange, every attempt included. Default 30 s.
    pub timeout: Duration,
    /// What is changed on the way.
    pub passage: Passage,
    pub rate_limit: Option<RateLimit>,
    /// `None` lets everybody in.
    pub access: Option<Access>,
    /// `None`: it is measured all the same.
    pub sla: Option<Sla>,
}

/// Networks of clients: the longest that an address is in decides; an address in none is let in if `allow` is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
}

/// How many requests each key may make; beyond it 429.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    pub key: RateKey,
    pub rate: Rate,
    /// At once; default one second's worth.
    pub burst: u32,
    /// Bits of an IPv6 address that are one client. Default 64.
    pub ipv6_prefix: u8,
    /// Keys remembered at once, eight bytes each. Default 65536.
    pub max_keys: usize,
}

/// What requests are counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateKey {
    ClientIp,
    /// The WhatsApp account that a webhook is for; only on routes with `whatsapp`.
    Account,
    /// In lower case.
    Header(String),
}

/// So many in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub period: Duration,
}

/// Conditions of a route; all that are given must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Match {
    /// Any of these; empty means every host.
    pub hosts: Vec<HostPattern>,
    pub path: PathPattern,
    /// Any of these, in upper case; empty means every method.
    pub methods: Vec<String>,
    /// All of these.
    pub headers: Vec<HeaderMatch>,
}

/// A host to match, in lower case and without a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Exact(String),
    /// `*.bot.example`, kept as `.bot.example`: one or more labels before it.
    Wildcard(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum PathPattern {
    #[default]
    Any,
    Exact(String),
    /// Whole segments: `/webhook` matches `/webhook` and `/webhook/a`, not `/webhooks`.
    Prefix(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// In lower case.
    pub name: String,
    /// `None` means present with any value.
    pub value: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    pub name: String,
    pub strategy: StrategyKind,
    pub geo: Geo,
    /// Bounded load of `consistent-hash`: a master takes at most this percentage of the mean; 0 switches it off. Default 125.
    pub hash_balance_factor: u32,
    /// `priority`: how many masters of a level suffice to carry the whole load; sets the overprovisioning factor.
    /// `None` keeps the usual factor of 140 %.
    pub masters_that_suffice: Option<usize>,
    pub affinity: Option<Affinity>,
    pub masters: Vec<Master>,
    /// A new connection, its TLS handshake included.
    pub connect_timeout: Duration,
    pub tls: Option<MasterTls>,
    /// Never `Auto` without TLS.
    pub protocol: MasterProtocol,
    pub http2: MasterHttp2,
    pub pool: Pool,
    pub limits: MasterLimits,
    pub health_check: Option<HealthCheck>,
    pub outlier_detection: Option<OutlierDetection>,
    pub circuit_breaker: Option<CircuitBreaker>,
    pub retry: Retry,
    pub redelivery: Redelivery,
    /// After a failure a master's share grows from 10 % to 100 % over this time; zero switches it off. Default zero.
    pub slow_start: Duration,
    /// What to do when no master is usable.
    pub all_down: AllDown,
    /// Whether a failed master's open connections from `tcp` listeners are closed. Default false.
    pub closes_failed: bool,
    /// The header that connections of `tcp` listeners begin with.
    pub proxy_protocol: Option<ProxyVersion>,
    /// `None`: requests go to any usable master.
    pub failover: Option<Failover>,
    pub sla: Option<Sla>,
}

/// What masters speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MasterProtocol {
    Http1,
    Http2,
    /// What the master chooses by ALPN.
    Auto,
}

/// HTTP/2 connections to masters.
#[derive(Debug, Clone, PartialEq)]
pub struct MasterHttp2 {
    /// Requests at once on one connection. Default 100.
    pub max_streams: usize,
    /// Silence, with requests in flight, after which a PING is sent. Default 10 s.
    pub ping_after: Duration,
    /// How long its answer may take. Default 5 s.
    pub ping_timeout: Duration,
}

/// TLS with the masters of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct MasterTls {
    /// Authorities that are trusted; `None` trusts the system's.
    pub ca: Option<PathBuf>,
    /// The certificate shown to masters that ask for one.
    pub client: Option<CertificateFiles>,
    pub min_version: TlsVersion,
    /// Whether the master's certificate must be right.
    pub verify: bool,
}

/// The oldest version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    V12,
    V13,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StrategyKind {
    RoundRobin,
    WeightedRoundRobin,
    Priority,
    LeastLoaded,
    Geo,
    IpHash,
    ConsistentHash,
    PeakEwma,
    Random,
}

impl StrategyKind {
    /// Every strategy with the word a configuration uses for it.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::RoundRobin, "round-robin"),
        (Self::WeightedRoundRobin, "weighted-round-robin"),
        (Self::Priority, "priority"),
        (Self::LeastLoaded, "least-loaded"),
        (Self::Geo, "geo"),
        (Self::IpHash, "ip-hash"),
        (Self::ConsistentHash, "consistent-hash"),
        (Self::PeakEwma, "peak-ewma"),
        (Self::Random, "random"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// Where the `geo` strategy learns the requester's place.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Geo {
    /// Request header (lower case) with a two-letter country, such as `cf-ipcountry`.
    pub country_header: Option<String>,
    /// Request header (lower case) with `latitude,longitude` in degrees.
    pub location_header: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Affinity {
    pub key: AffinityKey,
    /// A pin not used for this long is forgotten. Default 24 h.
    pub ttl: Duration,
    /// Pins kept at once; the oldest go first. Default 1000000.
    pub max_pins: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AffinityKey {
    /// The chat that a webhook is about.
    Conversation,
    ClientIp,
    /// Header name in lower case.
    Header(String),
    /// Cookie name, case kept.
    Cookie(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Master {
    pub name: String,
    pub address: Address,
    /// The name that its certificate must have: a host name in lower case or an IP address. `None` without TLS.
    pub server_name: Option<String>,
    /// E.164 with `+`; informative.
    pub phone: Option<String>,
    /// 0 is the most preferred.
    pub priority: u32,
    /// 1 to 1000; default 1.
    pub weight: u32,
    /// ISO 3166-1 alpha-2, upper case.
    pub country: Option<[u8; 2]>,
    /// Latitude and longitude in degrees.
    pub location: Option<(f64, f64)>,
    /// WhatsApp accounts it serves, `*` being all; empty when no master of its upstream names any.
    pub accounts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Default 4 s: Node closes idle connections after 5 s.
    pub idle_timeout: Duration,
    /// Idle connections kept for each master by each worker. Default 64.
    pub max_idle: usize,
}

/// Per master.
#[derive(Debug, Clone, PartialEq)]
pub struct MasterLimits {
    pub max_in_flight: u32,
    pub max_queue: u32,
    pub queue_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheck {
    pub interval: Duration,
    pub timeout: Duration,
    pub unhealthy_threshold: u32,
    pub healthy_threshold: u32,
    /// Share of the interval, in percent, by which probes are spread at random. Default 10.
    pub jitter_percent: u32,
    pub probe: Probe,
    /// Its connections begin with a header of this version: the upstream's.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Silence (requests in flight, no byte from the master) after which it is suspected and probed at once. Default 150 ms.
    pub suspect_after: Duration,
    /// How long that probe may take before the master counts as failed. Default 500 ms.
    pub suspect_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there is one for each upstream")]
pub enum Probe {
    Tcp,
    Http(HttpProbe),
}

#[derive(Debug, Clone, PartialEq)]
pub struct HttpProbe {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `Host` header; `None` sends the master's address.
    pub host: Option<String>,
    pub headers: Vec<(String, String)>,
    /// Inclusive ranges of status codes that count as success.
    pub expect_status: Vec<(u16, u16)>,
    /// Plain text the body must contain.
    pub expect_body: Option<String>,
    pub json: Option<JsonProbe>,
}

/// Maps a value in a JSON answer to a health. A value in none of the lists counts as failed.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonProbe {
    /// RFC 6901.
    pub pointer: String,
    /// Values are compared as text: strings as they are, booleans, numbers and null as JSON writes them.
    pub healthy: Vec<String>,
    pub degraded: Vec<String>,
    pub failed: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct OutlierDetection {
    pub consecutive_failures: u32,
    pub base_ejection: Duration,
    pub max_ejection: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CircuitBreaker {
    /// Percent, 1 to 100.
    pub failure_rate: u32,
    pub minimum_requests: u32,
    pub window: Duration,
    pub open_for: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Tries in all, the first one included; 1 means no retry.
    pub attempts: u32,
    pub per_try_timeout: Duration,
    /// Whether a request that was sent and got no byte of an answer may go to another master although its method is
    /// not idempotent. `None`: where the route has `whatsapp`.
    pub non_idempotent: Option<bool>,
    /// Whether a request on a pooled connection that ended before the first byte of an answer is sent once more on a new
    /// one, whatever its method. Default true.
    pub replay_stale: bool,
    pub on_status: Vec<u16>,
    /// Bodies up to this size are kept for a retry; a larger one is tried once. Default 4 MiB.
    pub body_bytes: usize,
    pub budget: RetryBudget,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RetryBudget {
    pub percent: u32,
    pub interval: Duration,
    /// Retries a second that are always allowed.
    pub min_retry_rate: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllDown {
    /// 503 with `Retry-After`.
    Reject,
    /// Try ejected, suspected and failed masters all the same; only `drain` and `maintenance` are respected.
    Panic,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Logging {
    /// One of `error`, `warn`, `info`, `debug`, `trace`.
    pub level: String,
    pub access_log: AccessLog,
}

#[derive(Debug, Clone, PartialEq)]
pub enum AccessLog {
    Off,
    Stdout,
    File(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
