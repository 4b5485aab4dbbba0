//! What a reload changed, in words: one line for each thing added, removed or set to another value.
//!
//! Every field of the model is named here once, without `..`, so that a new key cannot be forgotten.

mod alerts;
mod delivery;
mod destination;
mod events;
mod failover;
mod passage;
mod receivers;
mod sla;

use std::collections::BTreeSet;
use std::fmt::Display;

use super::model::{
    Access, AccessLog, Acme, AcmeChallenge, Admin, AdminKey, Affinity, AffinityKey, Alerts, AllDown, CertificateFiles,
    CircuitBreaker, ClientAddress, ClientAuth, Config, DotSegments, Geo, HealthCheck, HostPattern, Http2, HttpProbe,
    JsonProbe, Listener, ListenerLimits, Logging, Master, MasterHttp2, MasterLimits, MasterProtocol, MasterTls, Match,
    OutlierDetection, Overload, PathPattern, PathRules, Pool, Probe, ProxyProtocol, ProxyVersion, RateKey, RateLimit,
    RepeatedSlashes, Retry, RetryBudget, Route, SniRoute, Strictness, Tcp, Tls, TlsVersion, Upstream,
};
use super::units::{show_rate, show_size, show_throughput, show_time};

/// Lines such as `upstream bots: master dubai-2 added` and `route webhooks: timeout 30s -> 10s`. Empty only when both are
/// equal. Values of probe headers, which are often credentials, are not shown.
pub fn diff(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Lines::default();
    lines.values("", &globals(old), &globals(new));
    let (old_listeners, new_listeners) = (listeners(old), listeners(new));
    lines.items(
        "listener",
        &old_listeners,
        &new_listeners,
        |(listener, _)| &listener.name,
        |lines, name, old, new| {
            lines.values(name, &listener(old), &listener(new));
        },
    );
    let (old_routes, new_routes) = (routes(old), routes(new));
    lines.items(
        "route",
        &old_routes,
        &new_routes,
        |(route, _)| &route.name,
        |lines, name, old, new| {
            lines.values(name, &route(old), &route(new));
        },
    );
    lines.items(
        "upstream",
        &old.upstreams,
        &new.upstreams,
        |upstream| &upstream.name,
        |lines, name, old, new| {
            lines.values(name, &upstream(old), &upstream(new));
            let word = format!("{name}: master");
            lines.items(
                &word,
                &old.masters,
                &new.masters,
                |master| &master.name,
                |lines, name, old, new| {
                    lines.values(name, &master(old), &master(new));
                },
            );
        },
    );
    lines.items(
        "event webhook",
        &old.event_webhooks,
        &new.event_webhooks,
        |webhook| &webhook.name,
        |lines, name, old, new| {
            lines.values(name, &events::webhook(old), &events::webhook(new));
        },
    );
    lines.items(
        "alert rule",
        &old.alerts.rules,
        &new.alerts.rules,
        |rule| &rule.name,
        |lines, name, old, new| {
            lines.values(name, &alerts::rule(old), &alerts::rule(new));
        },
    );
    lines.items(
        "alert receiver",
        &old.alerts.receivers,
        &new.alerts.receivers,
        |receiver| &receiver.name,
        |lines, name, old, new| {
            lines.values(name, &receivers::receiver(old), &receivers::receiver(new));
        },
    );
    if lines.0.is_empty() && old != new {
        lines.0.push("the order of entries or a secret value changed".into());
    }
    lines.0
}

/// Listeners, each with its configuration: an index of an upstream means nothing in another one.
fn listeners(config: &Config) -> Vec<(&Listener, &Config)> {
    config.listeners.iter().map(|listener| (listener, config)).collect()
}

/// Routes, each with its configuration: an index of an upstream means nothing in another one.
fn routes(config: &Config) -> Vec<(&Route, &Config)> {
    config.routes.iter().map(|route| (route, config)).collect()
}

/// A key and its value as text; no value when the key is absent.
type Values = Vec<(&'static str, Option<String>)>;

#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn values(&mut self, name: &str, old: &Values, new: &Values) {
        let keys: BTreeSet<&str> = old.iter().chain(new).map(|(key, _)| *key).collect();
        for key in keys {
            let value =
                |values: &Values| values.iter().find(|(found, _)| *found == key).and_then(|(_, value)| value.clone());
            let (old, new) = (value(old), value(new));
            if old != new {
                let separator = if name.is_empty() { "" } else { ": " };
                let text = |value: Option<String>| value.unwrap_or_else(|| "none".into());
                self.0.push(format!("{name}{separator}{key} {} -> {}", text(old), text(new)));
            }
        }
    }

    /// Compares items of the same name, and names those that only one side has.
    fn items<T>(
        &mut self,
        word: &str,
        old: &[T],
        new: &[T],
        name: impl Fn(&T) -> &str,
        compare: impl Fn(&mut Self, &str, &T, &T),
    ) {
        for item in old {
            let full = format!("{word} {}", name(item));
            match new.iter().find(|other| name(other) == name(item)) {
                Some(other) => compare(self, &full, item, other),
                None => self.0.push(format!("{full} removed")),
            }
        }
        for item in new.iter().filter(|item| !old.iter().any(|other| name(other) == name(item))) {
            self.0.push(format!("{word} {} added", name(item)));
        }
    }
}

fn some(value: impl Display) -> Option<String> {
    Some(value.to_string())
}

/// The word that a configuration uses for it.
fn word<T: PartialEq + Copy>(words: &[(T, &'static str)], value: T) -> Option<String> {
    words.iter().find(|(known, _)| *known == value).map(|(_, word)| (*word).to_owned())
}

/// `none` for an empty list.
fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> Option<String> {
    (!items.is_empty()).then(|| format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")))
}

fn globals(config: &Config) -> Values {
    let Config {
        workers,
        listeners: _,
        routes: _,
        upstreams: _,
        event_webhooks: _,
        alerts: Alerts { enabled: alerts_enabled, rules: _, escalation, receivers: _ },
        state_path,
        spool,
        admin: Admin { address, keys, audience },
        logging: Logging { level, access_log },
        drain_timeout,
        upgrade_timeout,
        overload: Overload { requests, body_bytes, lag },
    } = config;
    let access_log = match access_log {
        AccessLog::Off => "off".into(),
        AccessLog::Stdout => "stdout".into(),
        AccessLog::File(path) => path.display().to_string(),
    };
    let mut values = vec![
        ("workers", Some(workers.map_or_else(|| "auto".into(), |number| number.to_string()))),
        ("state.path", some(state_path.display())),
        ("admin.address", some(address)),
        ("admin.keys", list(keys, |AdminKey { id, secret: _ }| id.clone())),
        ("admin.audience", some(audience)),
        ("logging.level", some(level)),
        ("logging.access_log", Some(access_log)),
        ("alerts.enabled", some(alerts_enabled)),
        ("alerts.escalation", escalation.as_ref().map(alerts::escalation)),
        ("drain_timeout", some(show_time(*drain_timeout))),
        ("upgrade_timeout", some(show_time(*upgrade_timeout))),
        ("overload.requests", some(requests)),
        ("overload.body_bytes", some(show_size(*body_bytes as u64))),
        ("overload.lag", some(show_time(*lag))),
    ];
    values.extend(delivery::spool(spool));
    values
}

fn listener((listener, config): &(&Listener, &Config)) -> Values {
    let Listener {
        name: _,
        address,
        tcp,
        proxy_protocol,
        tls,
        trusted_proxies,
        client_address,
        paths,
        access,
        limits,
        http2,
    } = listener;
    let Http2 { enabled, max_concurrent_streams } = http2;
    let PathRules { dot_segments, repeated_slashes, encoded_slashes, invalid_encoding } = paths;
    let ListenerLimits {
        connections,
        client_ipv6_prefix,
        connections_per_client,
        handshake_timeout,
        handshakes,
        header_bytes,
        body_bytes,
        header_timeout,
        body_timeout,
        min_rate,
        idle_timeout,
        lifetime,
        requests_per_connection,
        tunnel_timeout,
    } = limits;
    let upstream_name = |index: usize| config.upstreams.get(index).map(|upstream| upstream.name.clone());
    let upstream = tcp.as_ref().and_then(|Tcp { upstream, sni: _ }| upstream_name(*upstream));
    let name = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Wildcard(rest) => format!("*{rest}"),
    };
    let sni = |SniRoute { names, upstream }: &SniRoute| {
        let names: Vec<String> = names.iter().map(name).collect();
        format!("{} to {}", names.join(" "), upstream_name(*upstream).unwrap_or_default())
    };
    let trusted = proxy_protocol
        .as_ref()
        .map(|ProxyProtocol { trusted }| list(trusted, ToString::to_string).unwrap_or_else(|| "everybody".into()));
    let mut values = vec![
        ("address", some(address)),
        ("protocol", some(if tcp.is_some() { "tcp" } else { "http" })),
        ("upstream", upstream),
        ("sni", tcp.as_ref().and_then(|tcp| list(&tcp.sni, sni))),
        ("proxy_protocol.trusted", trusted),
        ("trusted_proxies", list(trusted_proxies, ToString::to_string)),
        ("client_address", word(&ClientAddress::ALL, *client_address)),
        ("paths.dot_segments", word(&DotSegments::ALL, *dot_segments)),
        ("paths.repeated_slashes", word(&RepeatedSlashes::ALL, *repeated_slashes)),
        ("paths.encoded_slashes", word(&Strictness::ALL, *encoded_slashes)),
        ("paths.invalid_encoding", word(&Strictness::ALL, *invalid_encoding)),
        ("limits.connections", some(connections)),
        ("limits.connections_per_client", some(connections_per_client)),
        ("limits.client_ipv6_prefix", some(client_ipv6_prefix)),
        ("limits.handshakes", some(handshakes)),
        ("limits.handshake_timeout", some(show_time(*handshake_timeout))),
        ("limits.header_bytes", some(show_size(*header_bytes as u64))),
        ("limits.body_bytes", some(show_size(*body_bytes))),
        ("limits.header_timeout", some(show_time(*header_timeout))),
        ("limits.body_timeout", some(show_time(*body_timeout))),
        ("limits.min_rate", some(show_throughput(*min_rate))),
        ("limits.idle_timeout", some(show_time(*idle_timeout))),
        ("limits.lifetime", some(show_time(*lifetime))),
        ("limits.requests_per_connection", some(requests_per_connection)),
        ("limits.tunnel_timeout", some(show_time(*tunnel_timeout))),
        ("http2.enabled", some(enabled)),
        ("http2.max_concurrent_streams", some(max_concurrent_streams)),
    ];
    values.extend(networks(access.as_ref()));
    if let Some(settings) = tls {
        values.extend(encryption(settings));
    }
    values
}

fn version(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::V12 => "1.2",
        TlsVersion::V13 => "1.3",
    }
}

fn encryption(tls: &Tls) -> Values {
    let Tls { certificates, min_version, client_auth, acme } = tls;
    let pair = |files: &CertificateFiles| format!("{} with {}", files.cert.display(), files.key.display());
    let mut values =
        vec![("tls.certificates", list(certificates, pair)), ("tls.min_version", some(version(*min_version)))];
    if let Some(ClientAuth { required, ca, crl, allowed_names }) = client_auth {
        values.extend([
            ("tls.client_auth.mode", some(if *required { "require" } else { "request" })),
            ("tls.client_auth.ca", some(ca.display())),
            ("tls.client_auth.crl", crl.as_ref().map(|file| file.display().to_string())),
            ("tls.client_auth.allowed_names", list(allowed_names, Clone::clone)),
        ]);
    }
    if let Some(Acme { directory, contact, domains, challenge, renew_before, ca, eab }) = acme {
        let challenge = match challenge {
            AcmeChallenge::TlsAlpn01 => "tls-alpn-01",
            AcmeChallenge::Http01 => "http-01",
        };
        values.extend([
            ("tls.acme.directory", some(directory)),
            ("tls.acme.contact", list(contact, Clone::clone)),
            ("tls.acme.domains", list(domains, Clone::clone)),
            ("tls.acme.challenge", some(challenge)),
            ("tls.acme.renew_before", renew_before.map(show_time)),
            ("tls.acme.ca", ca.as_ref().map(|path| path.display().to_string())),
            ("tls.acme.eab.kid", eab.as_ref().map(|eab| eab.kid.clone())),
            ("tls.acme.eab.hmac_key", eab.as_ref().map(|_| "given".into())),
        ]);
    }
    values
}

fn networks(access: Option<&Access>) -> Values {
    let Some(Access { allow, deny }) = access else { return Vec::new() };
    vec![("access.allow", list(allow, ToString::to_string)), ("access.deny", list(deny, ToString::to_string))]
}

fn rates(limit: &RateLimit) -> Values {
    let RateLimit { key, rate, burst, ipv6_prefix, max_keys } = limit;
    let key = match key {
        RateKey::ClientIp => "client-ip".into(),
        RateKey::Account => "account".into(),
        RateKey::Header(name) => format!("header:{name}"),
    };
    vec![
        ("rate_limit.key", Some(key)),
        ("rate_limit.rate", some(show_rate(*rate))),
        ("rate_limit.burst", some(burst)),
        ("rate_limit.ipv6_prefix", some(ipv6_prefix)),
        ("rate_limit.max_keys", some(max_keys)),
    ]
}

fn route((route, config): &(&Route, &Config)) -> Values {
    let Route { name: _, listeners, matcher, to, delivery, whatsapp, timeout, rate_limit, access, passage, sla } =
        route;
    let Match { hosts, path, methods, headers } = matcher;
    let host = |host: &HostPattern| match host {
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Wildcard(rest) => format!("*{rest}"),
    };
    let (exact, prefix) = match path {
        PathPattern::Any => (None, None),
        PathPattern::Exact(path) => (some(path), None),
        PathPattern::Prefix(path) => (None, some(path)),
    };
    let mut values = vec![
        ("listeners", list(listeners, Clone::clone)),
        ("match.hosts", list(hosts, host)),
        ("match.path", exact),
        ("match.path_prefix", prefix),
        ("match.methods", list(methods, Clone::clone)),
        (
            "match.headers",
            list(headers, |header| match &header.value {
                Some(value) => format!("{}: {value:?}", header.name),
                None => header.name.clone(),
            }),
        ),
        ("timeout", some(show_time(*timeout))),
    ];
    values.extend(rate_limit.iter().flat_map(rates));
    values.extend(networks(access.as_ref()));
    values.extend(destination::values(config, to));
    values.extend(delivery::delivery(*delivery));
    values.extend(whatsapp.iter().flat_map(|rules| delivery::whatsapp(rules)));
    values.extend(passage::values(config, passage));
    values.extend(sla.iter().flat_map(sla::values));
    values
}

fn upstream(upstream: &Upstream) -> Values {
    let Upstream {
        name: _,
        strategy,
        geo: Geo { country_header, location_header },
        hash_balance_factor,
        masters_that_suffice,
        affinity,
        masters: _,
        connect_timeout,
        tls,
        protocol,
        http2: MasterHttp2 { max_streams, ping_after, ping_timeout },
        pool: Pool { idle_timeout, max_idle },
        limits: MasterLimits { max_in_flight, max_queue, queue_timeout },
        health_check,
        outlier_detection,
        circuit_breaker,
        retry,
        redelivery,
        slow_start,
        all_down,
        closes_failed,
        proxy_protocol,
        failover,
        sla,
    } = upstream;
    let mut values = vec![
        ("strategy", some(strategy.name())),
        ("geo.country_header", country_header.clone()),
        ("geo.location_header", location_header.clone()),
        ("hash_balance_factor", some(hash_balance_factor)),
        ("masters_that_suffice", masters_that_suffice.map(|number| number.to_string())),
        ("connect_timeout", some(show_time(*connect_timeout))),
        (
            "protocol",
            some(match protocol {
                MasterProtocol::Http1 => "http1",
                MasterProtocol::Http2 => "http2",
                MasterProtocol::Auto => "auto",
            }),
        ),
        ("http2.max_streams", some(max_streams)),
        ("http2.ping_after", some(show_time(*ping_after))),
        ("http2.ping_timeout", some(show_time(*ping_timeout))),
        ("pool.idle_timeout", some(show_time(*idle_timeout))),
        ("pool.max_idle", some(max_idle)),
        ("limits.max_in_flight", some(max_in_flight)),
        ("limits.max_queue", some(max_queue)),
        ("limits.queue_timeout", some(show_time(*queue_timeout))),
        ("slow_start", some(show_time(*slow_start))),
        (
            "all_down",
            some(match all_down {
                AllDown::Reject => "reject",
                AllDown::Panic => "panic",
            }),
        ),
        ("tcp_connections_on_failure", some(if *closes_failed { "close" } else { "keep" })),
        (
            "proxy_protocol",
            proxy_protocol.map(|version| match version {
                ProxyVersion::V1 => "v1".into(),
                ProxyVersion::V2 => "v2".into(),
            }),
        ),
    ];
    if let Some(Affinity { key, ttl, max_pins }) = affinity {
        let key = match key {
            AffinityKey::Conversation => "conversation".into(),
            AffinityKey::ClientIp => "client-ip".into(),
            AffinityKey::Header(name) => format!("header:{name}"),
            AffinityKey::Cookie(name) => format!("cookie:{name}"),
        };
        values.push(("affinity.key", Some(key)));
        values.push(("affinity.ttl", some(show_time(*ttl))));
        values.push(("affinity.max_pins", some(max_pins)));
    }
    if let Some(check) = health_check {
        values.extend(health(check));
    }
    match outlier_detection {
        Some(OutlierDetection { consecutive_failures, base_ejection, max_ejection }) => values.extend([
            ("outlier_detection.consecutive_failures", some(consecutive_failures)),
            ("outlier_detection.base_ejection", some(show_time(*base_ejection))),
            ("outlier_detection.max_ejection", some(show_time(*max_ejection))),
        ]),
        None => values.push(("outlier_detection", some("off"))),
    }
    if let Some(CircuitBreaker { failure_rate, minimum_requests, window, open_for }) = circuit_breaker {
        values.extend([
            ("circuit_breaker.failure_rate", some(failure_rate)),
            ("circuit_breaker.minimum_requests", some(minimum_requests)),
            ("circuit_breaker.window", some(show_time(*window))),
            ("circuit_breaker.open_for", some(show_time(*open_for))),
        ]);
    }
    values.extend(tls.iter().flat_map(master_tls));
    values.extend(retries(retry));
    values.extend(delivery::redelivery(redelivery));
    values.extend(failover.iter().flat_map(failover::values));
    values.extend(sla.iter().flat_map(sla::values));
    values
}

fn master_tls(tls: &MasterTls) -> Values {
    let MasterTls { ca, client, min_version, verify } = tls;
    let (cert, key) = client.as_ref().map(|CertificateFiles { cert, key }| (cert, key)).unzip();
    vec![
        ("tls.ca", Some(ca.as_ref().map_or_else(|| "the system's".into(), |path| path.display().to_string()))),
        ("tls.cert", cert.map(|path| path.display().to_string())),
        ("tls.key", key.map(|path| path.display().to_string())),
        ("tls.min_version", some(version(*min_version))),
        ("tls.verify", some(if *verify { "on" } else { "off" })),
    ]
}

fn health(check: &HealthCheck) -> Values {
    let HealthCheck {
        interval,
        timeout,
        unhealthy_threshold,
        healthy_threshold,
        jitter_percent,
        probe,
        // Told with the upstream.
        proxy_protocol: _,
        suspect_after,
        suspect_timeout,
    } = check;
    let mut values = vec![
        ("health_check.interval", some(show_time(*interval))),
        ("health_check.timeout", some(show_time(*timeout))),
        ("health_check.unhealthy_threshold", some(unhealthy_threshold)),
        ("health_check.healthy_threshold", some(healthy_threshold)),
        ("health_check.jitter_percent", some(jitter_percent)),
        ("health_check.suspect_after", some(show_time(*suspect_after))),
        ("health_check.suspect_timeout", some(show_time(*suspect_timeout))),
    ];
    match probe {
        Probe::Tcp => values.push(("health_check.tcp", some("{}"))),
        Probe::Http(HttpProbe { method, path, host, headers, expect_status, expect_body, json }) => {
            values.extend([
                ("health_check.http.method", some(method)),
                ("health_check.http.path", some(path)),
                ("health_check.http.host", host.clone()),
                // Values of these are often credentials.
                ("health_check.http.headers", list(headers, |(name, _)| name.clone())),
                ("health_check.http.expect_status", list(expect_status, |(first, last)| format!("{first}-{last}"))),
                ("health_check.http.expect_body", expect_body.as_ref().map(|text| format!("{text:?}"))),
            ]);
            if let Some(JsonProbe { pointer, healthy, degraded, failed }) = json {
                let texts = |texts: &[String]| list(texts, |text| format!("{text:?}"));
                values.extend([
                    ("health_check.http.json.pointer", some(pointer)),
                    ("health_check.http.json.healthy", texts(healthy)),
                    ("health_check.http.json.degraded", texts(degraded)),
                    ("health_check.http.json.failed", texts(failed)),
                ]);
            }
        }
    }
    values
}

fn retries(retry: &Retry) -> Values {
    let Retry { attempts, per_try_timeout, non_idempotent, replay_stale, on_status, body_bytes, budget } = retry;
    let RetryBudget { percent, interval, min_retry_rate } = budget;
    vec![
        ("retry.attempts", some(attempts)),
        ("retry.per_try_timeout", some(show_time(*per_try_timeout))),
        ("retry.non_idempotent", non_idempotent.map(|given| given.to_string())),
        ("retry.replay_stale", some(replay_stale)),
        ("retry.on_status", list(on_status, ToString::to_string)),
        ("retry.body_bytes", some(show_size(*body_bytes as u64))),
        ("retry.budget.percent", some(percent)),
        ("retry.budget.interval", some(show_time(*interval))),
        ("retry.budget.min_retry_rate", some(min_retry_rate)),
    ]
}

fn master(master: &Master) -> Values {
    let Master { name: _, address, server_name, phone, priority, weight, country, location, accounts } = master;
    vec![
        ("address", some(address)),
        ("server_name", server_name.clone()),
        ("phone", phone.clone()),
        ("priority", some(priority)),
        ("weight", some(weight)),
        ("country", country.map(|country| country.iter().map(|byte| char::from(*byte)).collect())),
        ("location", location.map(|(latitude, longitude)| format!("{latitude},{longitude}"))),
        ("accounts", list(accounts, Clone::clone)),
    ]
}
