//! The shape of a configuration file: every key with its type, its default and what it means.
//!
//! What stands here is what the parser knows, what `baton schema` prints and what `docs/configuration.md` lists. Whether
//! the values make sense together is said in [`super::validate`].

mod admin;
mod alerts;
mod delivery;
mod destination;
mod events;
mod failover;
mod passage;
mod receivers;
mod sla;

use super::model::{ClientAddress, DotSegments, RepeatedSlashes, StrategyKind, Strictness};
use super::shape::{List, Switch, shape};
use super::units::{
    Affinity, Bool, Challenge, ClientAuthMode, Country, Degrees, Delivery, Email, FilePath, HeaderName, HeaderValue,
    Host, HttpsUrl, Int, Level, Listen, Literal, Log, MasterAddress, MasterProtocol, Method, Name, Network, OnFailure,
    Phone, Pointer, ProbePath, Protocol, ProxyVersion, RateBy, Secret, Size, StatusRanges, Text, Throughput, Time,
    TimeOrZero, Times, TlsName, TlsVersion, UrlPath, Verify, WhenAllDown, Workers,
};
pub use admin::{Admin, AdminKey};
pub use alerts::{AlertLabel, AlertRule, Alerts, BuiltinRule};
pub use delivery::{Redelivery, Spool, WhatsApp};
pub use destination::{Redirect, Share};
pub use events::{EventWebhook, Events};
pub use failover::{Failover, Hooks};
pub use passage::{Compression, HeaderRules, HeaderSetting, Mirror, Rewrite};
pub use receivers::{Receiver, ReceiverEmail};
pub use sla::{MaintenanceWindow, Sla};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

shape! {
    /// A whole configuration.
    struct File {
        /// Number of worker threads. `auto` starts one on each core that the process may use.
        workers: Workers = "auto",
        /// Where requests come in.
        listeners: List<Listener>,
        /// Which requests go where. The most specific match wins: host before path, the longest path, then the number
        /// of other conditions. `http` listeners need at least one.
        routes: List<Route> = "[]",
        /// Sets of masters, each with one policy.
        upstreams: List<Upstream>,
        /// Durable state, such as certificates by ACME.
        state: State = "{}",
        /// The admin API, `/metrics`, `/healthz` and `/readyz`.
        admin: Admin = "{}",
        /// Who hears of what happens.
        events: Events = "{}",
        /// What is wrong, since when, and how much it matters.
        alerts: Alerts = "{}",
        /// Log and access log.
        logging: Logging = "{}",
        /// How long requests in flight may take to finish after SIGTERM. `0s` waits for none.
        drain_timeout: TimeOrZero = "30s",
        /// How long a new process may take to become ready when it takes over from this one (SIGUSR2, `--takeover`).
        /// Beyond it this one carries on.
        upgrade_timeout: Time = "60s",
        /// What each worker takes on at once.
        overload: Overload = "{}",
    }

    /// What each worker takes on at once. A request beyond it is answered 503 with `Retry-After` before its body is received.
    /// Rate limits are asked first.
    struct Overload {
        /// Requests in progress, from the end of the headers to the end of the answer. Tunnels do not count.
        requests: Int<1, 1_000_000> = "8192",
        /// Memory for request bodies: those received whole, up to 64KiB each, and pieces of larger ones on their way. Up to a half of
        /// it also keeps bodies for another attempt; a body that finds no room there is tried once.
        body_bytes: Size<{ 32 * KIB }, { 64 * GIB }> = "128MiB",
        /// How late the worker may be with what is due: while it is later than this, for two looks 25 ms apart, new requests
        /// are refused. Zero is off.
        lag: TimeOrZero = "1s",
    }

    /// A bound socket and what it accepts.
    struct Listener {
        /// What it is called, unique among listeners.
        name: Name,
        /// An IP address and a port, or `unix:/path`.
        address: Listen,
        /// What it speaks.
        protocol: Protocol = "http",
        /// `protocol: tcp`: name of the upstream that its connections go to.
        upstream: Option<Name>,
        /// `protocol: tcp` without `tls`: other upstreams for TLS connections, by the name that the client asks for. They are
        /// passed on as they come; what names nothing, or something else, goes to `upstream`.
        sni: List<SniRoute> = "[]",
        /// Believes balancers that begin each connection with whose it is (PROXY protocol, version 1 or 2).
        proxy_protocol: Option<ProxyProtocol>,
        /// Certificates. Left out, the listener takes plain HTTP, or TCP as it comes.
        tls: Option<Tls>,
        /// Networks of proxies in front of Baton. What they say about the client in `X-Forwarded-*` and `Forwarded` is
        /// believed and extended; from anybody else these headers are dropped and written anew.
        trusted_proxies: List<Network> = "[]",
        /// Which clients may connect, by the address of the connection. Others are closed at once, before TLS and without an
        /// answer. Left out, everybody may.
        access: Option<Access>,
        /// The header in which those proxies name the client, for `client-ip` and the like: the nearest address in it
        /// that is no trusted proxy's. Only one is read: a proxy that writes one may pass on the other as it came.
        client_address: ClientAddress = "x-forwarded-for",
        /// What becomes of paths that two programs could read differently. Routes compare what masters get.
        paths: Paths = "{}",
        /// Bounds on what one connection may ask for.
        limits: ListenerLimits = "{}",
        /// HTTP/2: offered in the handshake of TLS, and taken from clients of a plain listener that begin with it.
        http2: Http2 = "{}",
    }

    /// Networks of clients. The most specific one that an address is in decides, whatever their order; `deny` wins where
    /// both name the same one. An address in none of them is let in, unless there are any under `allow`.
    struct Access {
        /// Those let in.
        allow: List<Network> = "[]",
        /// Those kept out.
        deny: List<Network> = "[]",
    }

    /// What becomes of paths that two programs could read differently. Refused ones are answered 400; the query is left alone.
    struct Paths {
        /// `.` and `..` as a segment, also encoded (`%2e`): refused, resolved for route and master, or left as they are.
        /// Where they are hidden (`..;a`, `a%2f..`), `normalize` refuses them.
        dot_segments: DotSegments = "reject",
        /// `//`: refused, made one for route and master, or left as they are.
        repeated_slashes: RepeatedSlashes = "merge",
        /// `%2F`, `%5C` and backslashes.
        encoded_slashes: Strictness = "reject",
        /// A `%` without two hexadecimal digits, encoded control characters such as `%00`, and what does not decode to UTF-8.
        invalid_encoding: Strictness = "reject",
    }

    /// Names that TLS clients ask for (SNI), and where their connections go.
    struct SniRoute {
        /// An exact name comes before a wildcard, a longer wildcard before a shorter one.
        names: List<Host>,
        /// Name of the upstream.
        upstream: Name,
    }

    /// Believes balancers that begin each connection with whose it is (PROXY protocol, version 1 or 2).
    struct ProxyProtocol {
        /// Whether headers are expected at all.
        accept: Bool = "true",
        /// Networks of the balancers. Each of their connections has to begin with a header, within `limits.header_timeout`;
        /// from anybody else a header is bytes like any. On a Unix socket everybody is trusted.
        trusted: List<Network> = "[]",
    }

    /// TLS of a listener.
    struct Tls {
        /// Chosen by the name that the client asks for (SNI). The first one serves names that no other one matches.
        certificates: List<Certificate> = "[]",
        /// The oldest version that clients may speak.
        min_version: TlsVersion = "1.2",
        /// Asks clients for a certificate. Left out, none is asked for.
        client_auth: Option<ClientAuth>,
        /// Orders a certificate and renews it. It serves names that none of `certificates` has.
        acme: Option<Acme>,
    }

    /// A certificate ordered from an ACME server. It is kept under `state.path`.
    struct Acme {
        /// URL of the server's directory.
        directory: HttpsUrl = "https://acme-v02.api.letsencrypt.org/directory",
        /// Names the certificate is for; wildcards cannot be proven by the challenges offered here.
        domains: List<Host>,
        /// E-mail addresses that the server may write to.
        contact: List<Email> = "[]",
        /// Must be `true`: that you have read the terms of service of the directory, and agree.
        terms_of_service_agreed: Bool,
        /// How the names are proven. `tls-alpn-01`: the server connects to this listener, which has to be reached on port 443.
        /// `http-01`: it asks any `http` listener without TLS, which has to be reached on port 80.
        challenge: Challenge = "tls-alpn-01",
        /// How long before its end the certificate is renewed. Left out, a third of its validity; at most half of it.
        renew_before: Option<Time>,
        /// PEM file with the authorities that signed the certificate of the directory itself, if it is a private one.
        ca: Option<FilePath>,
        /// Binds the account to one that you have with the authority, where it asks for that.
        eab: Option<Eab>,
    }

    /// An external account (RFC 8555 section 7.3.4), as the authority told it.
    struct Eab {
        /// The key's identifier.
        kid: Text,
        /// The key, in base64url.
        hmac_key: Secret,
    }

    /// Certificates that clients show.
    struct ClientAuth {
        /// `require`: a client without a certificate is turned away. `request`: it is let in; one that is shown has to be
        /// good all the same.
        mode: ClientAuthMode,
        /// PEM file with the authorities that sign clients' certificates.
        ca: FilePath,
        /// A client's certificate must carry one of these as a DNS name or as its common name, compared whole and without
        /// regard to case. Empty allows every certificate of the authorities.
        allowed_names: List<Text> = "[]",
        /// PEM file with revocation lists of the authorities.
        crl: Option<FilePath>,
    }

    /// A certificate and its key. Relative paths start at the working directory.
    struct Certificate {
        /// PEM file with the certificate and those between it and the root.
        cert: FilePath,
        /// PEM file with its private key.
        key: FilePath,
    }

    /// Bounds on what one connection may ask for.
    struct ListenerLimits {
        /// Connections open at once. Further ones wait in the queue of the kernel.
        connections: Int<1, 1_000_000> = "10000",
        /// Connections open at once from one client address, as far as Baton sees it; further ones are closed at once, without an
        /// answer. 0 is any number. A proxy or load balancer in front is one address for all its clients.
        connections_per_client: Int<0, 1_000_000> = "0",
        /// Leading bits of an IPv6 address that count as one client. IPv4 addresses count one by one.
        client_ipv6_prefix: Int<1, 128> = "64",
        /// TLS handshakes under way at once in each worker. For a further one the oldest is closed.
        handshakes: Int<1, 100_000> = "512",
        /// For a TLS handshake, from the accepted connection on. Beyond it the connection is closed.
        handshake_timeout: Time = "10s",
        /// Request line and headers together. Beyond it the answer is 431.
        header_bytes: Size<KIB, { 64 * KIB }> = "32KiB",
        /// The body of a request. Beyond it the answer is 413.
        body_bytes: Size<0, GIB> = "4MiB",
        /// From the first byte of a request to the end of its headers. Beyond it the answer is 408.
        header_timeout: Time = "10s",
        /// The longest pause while a body arrives. Beyond it the answer is 408.
        body_timeout: Time = "30s",
        /// Bytes a second that a client has to send of a body, or take of an answer, on average over the time that Baton
        /// waits for it, after `body_timeout` of grace. Below it the answer is 408, or is broken off. `0B/s` switches it off.
        min_rate: Throughput = "512B/s",
        /// A connection without a request is closed after this time.
        idle_timeout: Time = "60s",
        /// After this time a connection is closed behind its next answer, which says so. Tunnels are left alone. One of a `tcp`
        /// listener is closed then whatever passes, since nobody knows where its messages end. `0s` keeps it for as long as it is
        /// used.
        lifetime: TimeOrZero = "0s",
        /// After this many requests a connection is closed behind the last answer, which says so. 0 is any number.
        requests_per_connection: Int<0, 1_000_000_000> = "0",
        /// A tunnel, such as a WebSocket, and a connection of a `tcp` listener are closed after this time without a byte
        /// either way.
        tunnel_timeout: Time = "1h",
    }

    /// HTTP/2 on a listener.
    struct Http2 {
        /// `false` leaves HTTP/1.1 only.
        enabled: Bool = "true",
        /// Requests that one connection may have under way.
        max_concurrent_streams: Int<1, 10_000> = "128",
    }

    /// A match on a request, and where it goes.
    struct Route {
        /// What it is called, unique among routes.
        name: Name,
        /// Names of the listeners it serves. Left out or empty, it serves all of them.
        listeners: List<Name> = "[]",
        /// Conditions; all of them must hold. Without any, it takes what no other route takes.
        r#match: Match = "{}",
        /// Name of the upstream that answers. A route has either this, or `split`, or `redirect`.
        upstream: Option<Name>,
        /// Several upstreams that share the requests. Requests with the same affinity key go to the same one, others are
        /// dealt at random.
        split: Option<List<Share>>,
        /// Sends the client elsewhere instead of asking a master.
        redirect: Option<Redirect>,
        /// How a request gets to a master. `inline`: while the requester waits. `spool`: it is stored, answered 200 and delivered
        /// then. `inline-then-spool`: it is stored when no master takes it in time, or when others of its conversation wait.
        delivery: Delivery = "inline",
        /// `inline-then-spool`: how long the masters have to take a request before it is stored.
        spool_after: Time = "2s",
        /// Its requests are webhooks of a WhatsApp gateway, which are checked, told apart by account and conversation, and kept in order.
        whatsapp: Option<WhatsApp>,
        /// The whole exchange, every attempt included. Beyond it the answer is 504.
        timeout: Time = "30s",
        /// How many requests each client, or whatever `key` tells apart, may make. Beyond it the answer is 429, with the
        /// time to wait for. Left out, there is no limit.
        rate_limit: Option<RateLimit>,
        /// Which clients may use it, by the address nearest to the client that trusted proxies tell. Others are answered 403.
        /// Left out, everybody may.
        access: Option<Access>,
        /// Changes to the header fields of a request on its way to a master.
        request_headers: Option<HeaderRules>,
        /// Changes to the header fields of a master's answer on its way to the client.
        response_headers: Option<HeaderRules>,
        /// Another path or host for the master. Left out, both reach it as they came.
        rewrite: Option<Rewrite>,
        /// Copies requests to a second upstream, beside the one that answers.
        mirror: Option<Mirror>,
        /// Compresses answers for clients that take it. Left out, they stay as masters make them.
        compression: Option<Compression>,
        /// What was promised about it. Left out, it is measured all the same.
        sla: Option<Sla>,
    }

    /// How many requests each key may make. All workers count together, and a reload goes on counting where nothing in here
    /// changed.
    struct RateLimit {
        /// What requests are counted by: `client-ip`, the address nearest to the client that trusted proxies tell, or
        /// `header:NAME`; or `account`, what a webhook is for, on routes with `whatsapp`. A request without that header, or whose
        /// account cannot be told, is not limited.
        key: RateBy,
        /// So many in the long run: `100/s`, `10/m`, `1000/h`.
        rate: Times,
        /// So many at once after a quiet time. Left out, as many as the rate allows in a second, at least 1.
        burst: Option<Int<1, 1_000_000>>,
        /// Leading bits of an IPv6 address that count as one client. IPv4 addresses count one by one.
        ipv6_prefix: Int<1, 128> = "64",
        /// Keys remembered at once, 8 bytes each. Beyond it a new key takes the place of one that has asked least lately.
        max_keys: Int<8, 16_777_216> = "65536",
    }

    /// Conditions of a route.
    struct Match {
        /// Any of these hosts. `*.bot.example` stands for everything below `bot.example`. Empty means every host.
        hosts: List<Host> = "[]",
        /// This very path.
        path: Option<UrlPath>,
        /// This path and everything below it: `/webhook` matches `/webhook` and `/webhook/a`, not `/webhooks`.
        path_prefix: Option<UrlPath>,
        /// Any of these methods. Empty means every method.
        methods: List<Method> = "[]",
        /// All of these headers.
        headers: List<HeaderMatch> = "[]",
    }

    /// A header that a request must have.
    struct HeaderMatch {
        /// Name of the header, in any case of letters.
        name: HeaderName,
        /// Its exact value. Left out, any value will do.
        value: Option<Text>,
    }

    /// A set of masters with one policy.
    struct Upstream {
        /// What it is called, unique among upstreams.
        name: Name,
        /// How a master is picked.
        strategy: StrategyKind = "round-robin",
        /// Where `strategy: geo` learns the place of the requester.
        geo: Geo = "{}",
        /// `strategy: consistent-hash`: a master takes at most this percentage of the mean load; 0 switches the bound off.
        hash_balance_factor: Int<0, 10_000> = "125",
        /// `strategy: priority`: how many masters of one priority suffice for the whole load. Left out, a priority
        /// passes load on when less than 71 % of it is healthy.
        masters_that_suffice: Option<Int<1, 1000>>,
        /// Keeps a requester at the master it had.
        affinity: Option<AffinityRule>,
        /// Those that answer; at least one.
        masters: List<Master>,
        /// For a connection to a master to be made, its TLS handshake included.
        connect_timeout: Time = "1s",
        /// Speaks TLS with the masters, probes included. Left out, it is plain HTTP.
        tls: Option<MasterTls>,
        /// What the masters speak. `http2` needs no agreement on a plain connection and one by ALPN over TLS; `auto` asks by
        /// ALPN and takes what the master prefers.
        protocol: MasterProtocol = "http1",
        /// Connections with `protocol: http2`, or `auto`.
        http2: MasterHttp2 = "{}",
        /// Connections kept for further requests.
        pool: Pool = "{}",
        /// Bounds for each master.
        limits: MasterLimits = "{}",
        /// Probes. Left out, a master's health is judged by its answers alone.
        health_check: Option<HealthCheck>,
        /// Takes a master out after failures in a row. `off` switches it off.
        outlier_detection: Switch<OutlierDetection> = "{}",
        /// Stops requests to a master that fails too large a share of them.
        circuit_breaker: Switch<CircuitBreaker> = "off",
        /// Further attempts of a failed request.
        retry: Retry = "{}",
        /// Deliveries of stored messages, for routes that store them.
        redelivery: Redelivery = "{}",
        /// After a failure, a master's share grows from 10 % to 100 % over this time. `0s` switches it off.
        slow_start: TimeOrZero = "0s",
        /// When no master is usable: `reject` answers 503 with `Retry-After`, `panic` tries those that are down all
        /// the same. Masters in `drain` and `maintenance` are left alone.
        all_down: WhenAllDown = "reject",
        /// What becomes of a failed master's open connections from `tcp` listeners: `keep` leaves them to their two ends,
        /// `close` resets them, so that clients connect again.
        tcp_connections_on_failure: OnFailure = "keep",
        /// Begins connections of `tcp` listeners with a PROXY header, so that masters learn whose they are. Probes have one, too.
        proxy_protocol: Option<ProxyVersion>,
        /// Who takes over when a master fails. Left out, requests go to any master that is usable.
        failover: Option<Failover>,
        /// What was promised about it. Left out, it is measured all the same.
        sla: Option<Sla>,
    }

    /// TLS with masters. Relative paths start at the working directory; changed files are used for new connections.
    struct MasterTls {
        /// PEM file with the certificates of the authorities that are trusted, and no others. Left out, those of the
        /// system are.
        ca: Option<FilePath>,
        /// The name that certificates must have, which is also asked for (SNI). Left out, it is the host of each master's
        /// address; the certificate must then name the IP address where the address is one.
        server_name: Option<TlsName>,
        /// PEM file with the certificate that is shown to masters that ask for one, and those between it and the root.
        cert: Option<FilePath>,
        /// PEM file with its private key.
        key: Option<FilePath>,
        /// The oldest version spoken.
        min_version: TlsVersion = "1.2",
        /// `off` takes any certificate: whoever can put himself in between reads and changes everything.
        verify: Verify = "on",
    }

    /// HTTP/2 connections to masters. Each worker shares one among its requests, and makes another one when it is full.
    struct MasterHttp2 {
        /// Requests at once on one connection; the master may allow fewer.
        max_streams: Int<1, 1000> = "100",
        /// A connection with requests and without a byte from the master for this long is asked for a sign of life (PING).
        ping_after: Time = "10s",
        /// Without that sign for this long it is given up.
        ping_timeout: Time = "5s",
    }

    /// Where `strategy: geo` learns the place of the requester.
    struct Geo {
        /// Request header with a country of two letters, such as `cf-ipcountry`.
        country_header: Option<HeaderName>,
        /// Request header with `latitude,longitude` in degrees.
        location_header: Option<HeaderName>,
    }

    /// Keeps a requester at the master it had.
    struct AffinityRule {
        /// What a requester is recognised by: `client-ip`, `header:NAME` or `cookie:NAME`; or `conversation`, the chat that a webhook is
        /// about, on routes with `whatsapp`.
        key: Affinity,
        /// Forgotten when not used for this long.
        ttl: Time = "24h",
        /// Remembered at once; the oldest go first.
        max_pins: Int<1, 100_000_000> = "1000000",
    }

    /// One bot process.
    struct Master {
        /// What it is called, unique in its upstream.
        name: Name,
        /// `host:port` or `unix:/path`. A host name is looked up again every few seconds.
        address: MasterAddress,
        /// The name its certificate must have, instead of the one in the upstream's `tls`.
        server_name: Option<TlsName>,
        /// Its phone number with `+` and country; for people only.
        phone: Option<Phone>,
        /// 0 is the most preferred.
        priority: Int<0, 1000> = "0",
        /// Its share among others.
        weight: Int<1, 1000> = "1",
        /// Where it is, in two letters (ISO 3166-1), for `strategy: geo`.
        country: Option<Country>,
        /// Where it is, for `strategy: geo`.
        location: Option<Location>,
        /// WhatsApp accounts that it serves, as the gateway calls them: `phone_number_id`, session, instance. It gets no webhook of another
        /// account. `"*"` serves every one; when no master of the upstream names any, all do.
        accounts: List<Text> = "[]",
    }

    /// A place on Earth.
    struct Location {
        /// Degrees north.
        latitude: Degrees<90>,
        /// Degrees east.
        longitude: Degrees<180>,
    }

    /// Connections kept for further requests.
    struct Pool {
        /// Closed when idle for this long. Keep it below the master's own limit: Node closes after 5 s.
        idle_timeout: Time = "4s",
        /// Idle connections kept for each master by each worker. 0 keeps none.
        max_idle: Int<0, 100_000> = "64",
    }

    /// Bounds for each master.
    struct MasterLimits {
        /// Requests that a master works on at once, each connection of a `tcp` listener being one. Further ones queue.
        max_in_flight: Int<1, 1_000_000> = "256",
        /// Requests in its queue. Further ones are answered 503.
        max_queue: Int<0, 1_000_000> = "1024",
        /// The longest wait in the queue. Beyond it the answer is 503.
        queue_timeout: Time = "5s",
    }

    /// Probes of each master. Give either `http` or `tcp`.
    struct HealthCheck {
        /// Between the starts of two probes.
        interval: Time = "5s",
        /// For the whole probe; at most `interval`.
        timeout: Time = "2s",
        /// Failures in a row after which a master is down.
        unhealthy_threshold: Int<1, 100> = "3",
        /// Successes in a row after which it is up again.
        healthy_threshold: Int<1, 100> = "2",
        /// Share of the interval by which probes are spread at random, in percent.
        jitter_percent: Int<0, 50> = "10",
        /// Requests a path.
        http: Option<HttpProbe>,
        /// Makes a connection and closes it. Has no keys: `tcp: {}`.
        tcp: Option<TcpProbe>,
        /// With requests in flight and no byte from a master for this long, it is suspected and probed at once.
        suspect_after: Time = "150ms",
        /// For that probe. Beyond it the master is down.
        suspect_timeout: Time = "500ms",
    }

    /// A probe that makes a connection and closes it.
    struct TcpProbe {}

    /// A probe that requests a path.
    struct HttpProbe {
        /// Request method.
        method: Method = "GET",
        /// Path and query.
        path: ProbePath,
        /// `Host` header. Left out, it is the master's address.
        host: Option<Text>,
        /// Further headers.
        headers: List<ProbeHeader> = "[]",
        /// Status codes that count as success: `200`, `200-299`, or a list of such.
        expect_status: StatusRanges = "200-299",
        /// Text that the body must contain.
        expect_body: Option<Text>,
        /// Judges by a value in a JSON answer.
        json: Option<JsonProbe>,
    }

    /// A header of a probe.
    struct ProbeHeader {
        /// Name of the header, in any case of letters.
        name: HeaderName,
        /// Its value, never shown.
        value: HeaderValue,
    }

    /// Judges by a value in a JSON answer. One that is in none of the lists counts as failed.
    struct JsonProbe {
        /// Where the value stands (RFC 6901): `/state`.
        pointer: Pointer,
        /// Values of a master that is well.
        healthy: List<Literal>,
        /// Values of a master that is used only when no healthy one is left.
        degraded: List<Literal> = "[]",
        /// Values of a master that is down.
        failed: List<Literal> = "[]",
    }

    /// Takes a master out after failures in a row.
    struct OutlierDetection {
        /// Failures in a row after which it is out.
        consecutive_failures: Int<1, 10_000> = "5",
        /// How long it is out the first time; each further time longer.
        base_ejection: Time = "30s",
        /// The longest time that it is out.
        max_ejection: Time = "300s",
    }

    /// Stops requests to a master that fails too large a share of them.
    struct CircuitBreaker {
        /// Share of failed requests, in percent, at which it opens.
        failure_rate: Int<1, 100> = "50",
        /// Requests in the window below which it stays closed.
        minimum_requests: Int<1, 1_000_000> = "20",
        /// How far back requests count.
        window: Time = "10s",
        /// How long it stays open before it lets one request through as a trial.
        open_for: Time = "5s",
    }

    /// Further attempts of a failed request.
    struct Retry {
        /// Tries in all, the first one included. 1 means no retry.
        attempts: Int<1, 10> = "3",
        /// From a try's start to the headers of its answer; at most what is left of the route's `timeout`.
        per_try_timeout: Time = "10s",
        /// Whether a request that was sent and got no byte of an answer may go to another master although its method is
        /// not idempotent (POST, PATCH). The masters must then expect repeats. Left out, it is `true` for routes with
        /// `whatsapp`, for whose receivers that is so anyway.
        non_idempotent: Option<Bool>,
        /// Whether a request is sent once more, on a new connection to the same master, when a kept connection ended
        /// before the first byte of an answer. It was most likely closed while idle; `false` rules out that a request
        /// that may not be repeated is.
        replay_stale: Bool = "true",
        /// Status codes that are tried elsewhere, for requests that may be repeated.
        on_status: List<Int<400, 599>> = "[502, 503, 504]",
        /// A request with a larger body is tried once.
        body_bytes: Size<0, { 64 * MIB }> = "4MiB",
        /// Bounds retries to a share of the requests, so that they cannot multiply an outage.
        budget: RetryBudget = "{}",
    }

    /// Bounds retries to a share of the requests.
    struct RetryBudget {
        /// Retries for each hundred requests.
        percent: Int<0, 100> = "20",
        /// How far back requests count.
        interval: Time = "10s",
        /// Retries a second that are always allowed.
        min_retry_rate: Int<0, 100_000> = "10",
    }

    /// Durable state.
    struct State {
        /// Its directory. A relative path starts at the working directory.
        path: FilePath = "./data",
        /// Messages that are stored before they are delivered, for routes with `delivery: spool` and the like.
        spool: Spool = "{}",
    }

    /// Log and access log.
    struct Logging {
        /// How much is logged.
        level: Level = "info",
        /// One line for each request: `off`, `stdout`, or the path of a file.
        access_log: Log = "off",
    }
}
