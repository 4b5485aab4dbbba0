//! Upstreams: masters that differ, probes that can succeed, bounds that fit together.

use super::super::file::{self, File};
use super::super::model::{
    Affinity, AllDown, CircuitBreaker, Geo, HealthCheck, HttpProbe, JsonProbe, Master, MasterHttp2, MasterLimits,
    MasterProtocol, OutlierDetection, Pool, Probe, ProxyVersion, Retry, RetryBudget, Upstream,
};
use super::super::shape::{At, List, Switch};
use super::super::units::{self, Int, Literal, OnFailure, WhenAllDown, show_time};
use super::{Checker, delivery, failover, master_tls, sla, strategy};

pub fn check(checker: &mut Checker<'_, '_>, at: &At<file::Upstream>, file: &File) -> Option<Upstream> {
    let upstream = at.get()?;
    let tls = match upstream.tls.get() {
        Some(Some(tls)) => master_tls::check(checker, tls).map(Some),
        Some(None) => Some(None),
        None => None,
    };
    let masters = checker.each(&upstream.masters, "master", |checker, at| master(checker, at, upstream));
    check_masters(checker, upstream);
    delivery::check_accounts(checker, upstream);
    strategy::check(checker, upstream, file);
    let redelivery = delivery::redelivery(checker, &upstream.redelivery);
    let health_check = match upstream.health_check.get() {
        Some(Some(check)) => health_check(checker, check, &upstream.health_check).map(Some),
        Some(None) => Some(None),
        None => None,
    };
    let proxy_protocol = upstream.proxy_protocol.get().map(|version| {
        version.map(|version| match version {
            units::ProxyVersion::V1 => ProxyVersion::V1,
            units::ProxyVersion::V2 => ProxyVersion::V2,
        })
    });
    let outlier_detection = upstream.outlier_detection.get().and_then(|switch| outlier_detection(checker, switch));
    let retry = upstream.retry.get().and_then(|rules| retry(checker, rules));
    check_connect_timeout(checker, upstream);
    let failover = failover::check(checker, upstream);
    let sla = sla::check(checker, &upstream.sla);
    let protocol = protocol(checker, upstream);
    let (pool, limits) = (upstream.pool.get()?, upstream.limits.get()?);
    Some(Upstream {
        name: upstream.name.get()?.0.clone(),
        strategy: *upstream.strategy.get()?,
        geo: geo(upstream.geo.get()?)?,
        hash_balance_factor: upstream.hash_balance_factor.get()?.u32(),
        masters_that_suffice: upstream.masters_that_suffice.get()?.map(|number| number.usize()),
        affinity: match upstream.affinity.get()? {
            Some(rule) => Some(affinity(rule)?),
            None => None,
        },
        masters: masters?,
        connect_timeout: upstream.connect_timeout.get()?.0,
        tls: tls?,
        protocol: protocol?,
        http2: http2(upstream.http2.get()?)?,
        pool: Pool { idle_timeout: pool.idle_timeout.get()?.0, max_idle: pool.max_idle.get()?.usize() },
        limits: MasterLimits {
            max_in_flight: limits.max_in_flight.get()?.u32(),
            max_queue: limits.max_queue.get()?.u32(),
            queue_timeout: limits.queue_timeout.get()?.0,
        },
        health_check: health_check?.map(|check| HealthCheck { proxy_protocol: proxy_protocol.flatten(), ..check }),
        outlier_detection: outlier_detection?,
        circuit_breaker: circuit_breaker(upstream.circuit_breaker.get()?)?,
        retry: retry?,
        redelivery: redelivery?,
        slow_start: upstream.slow_start.get()?.0,
        all_down: match upstream.all_down.get()? {
            WhenAllDown::Reject => AllDown::Reject,
            WhenAllDown::Panic => AllDown::Panic,
        },
        closes_failed: *upstream.tcp_connections_on_failure.get()? == OnFailure::Close,
        proxy_protocol: proxy_protocol?,
        failover: failover?,
        sla: sla?,
    })
}

fn protocol(checker: &mut Checker<'_, '_>, upstream: &file::Upstream) -> Option<MasterProtocol> {
    Some(match upstream.protocol.get()? {
        units::MasterProtocol::Http1 => MasterProtocol::Http1,
        units::MasterProtocol::Http2 => MasterProtocol::Http2,
        units::MasterProtocol::Auto => {
            if upstream.tls.get()?.is_none() {
                let report = checker.error(upstream.protocol.node, "`auto` without TLS");
                checker.push(report.help("the master says what it speaks within TLS; write `http1` or `http2`"));
            }
            MasterProtocol::Auto
        }
    })
}

fn http2(http2: &file::MasterHttp2) -> Option<MasterHttp2> {
    Some(MasterHttp2 {
        max_streams: http2.max_streams.get()?.usize(),
        ping_after: http2.ping_after.get()?.0,
        ping_timeout: http2.ping_timeout.get()?.0,
    })
}

fn master(checker: &mut Checker<'_, '_>, at: &At<file::Master>, upstream: &file::Upstream) -> Option<Master> {
    let master = at.get()?;
    let server_name = master_tls::server_name(checker, master, &upstream.tls);
    let location = match master.location.get()? {
        Some(place) => Some((place.latitude.get()?.0, place.longitude.get()?.0)),
        None => None,
    };
    Some(Master {
        name: master.name.get()?.0.clone(),
        address: master.address.get()?.0.clone(),
        server_name: server_name?,
        phone: master.phone.get()?.as_ref().map(|phone| phone.0.clone()),
        priority: master.priority.get()?.u32(),
        weight: master.weight.get()?.u32(),
        country: master.country.get()?.map(|country| country.0),
        location,
        accounts: master.accounts.get()?.iter().map(|account| Some(account.get()?.0.clone())).collect::<Option<_>>()?,
    })
}

/// Names, addresses and phone numbers are those of one master.
fn check_masters(checker: &mut Checker<'_, '_>, upstream: &file::Upstream) {
    checker.unique_names(&upstream.masters, |master| &master.name);
    let masters = || upstream.masters.get().into_iter().flatten().filter_map(At::get);
    let addresses = masters().filter_map(|master| Some((master.address.get()?, master.address.node)));
    checker.unique("address", addresses);
    for master in masters() {
        checker.set("account", &master.accounts);
    }
}

/// A try includes its connection. The default is meant to be cut short.
fn check_connect_timeout(checker: &mut Checker<'_, '_>, upstream: &file::Upstream) {
    let Some(per_try) = upstream.retry.get().map(|retry| &retry.per_try_timeout) else { return };
    if let (Some(connect), Some(whole)) = (upstream.connect_timeout.get(), per_try.get())
        && connect > whole
        && checker.is_given(upstream.connect_timeout.node)
    {
        let node = upstream.connect_timeout.node;
        let (connect, whole) = (show_time(connect.0), show_time(whole.0));
        let message = format!("`connect_timeout` of {connect} is never reached: the `per_try_timeout` is {whole}");
        checker.push(checker.warning(node, message));
    }
}

fn geo(geo: &file::Geo) -> Option<Geo> {
    Some(Geo {
        country_header: geo.country_header.get()?.as_ref().map(|name| name.0.clone()),
        location_header: geo.location_header.get()?.as_ref().map(|name| name.0.clone()),
    })
}

fn affinity(rule: &file::AffinityRule) -> Option<Affinity> {
    Some(Affinity { key: rule.key.get()?.0.clone(), ttl: rule.ttl.get()?.0, max_pins: rule.max_pins.get()?.usize() })
}

fn health_check(
    checker: &mut Checker<'_, '_>,
    check: &file::HealthCheck,
    at: &At<Option<file::HealthCheck>>,
) -> Option<HealthCheck> {
    if let (Some(timeout), Some(interval)) = (check.timeout.get(), check.interval.get())
        && timeout > interval
    {
        let (timeout, interval) = (show_time(timeout.0), show_time(interval.0));
        let node = if checker.is_given(check.timeout.node) { check.timeout.node } else { check.interval.node };
        let message = format!("a probe's `timeout` of {timeout} is longer than the `interval` of {interval}");
        let report = checker.error(node, message);
        checker
            .push(report.help("probes of one master never overlap; make the interval at least as long as the timeout"));
    }
    let probe = match (check.http.get(), check.tcp.get()) {
        (Some(Some(_)), Some(Some(_))) => {
            let report = checker.error(check.tcp.node, "both `http` and `tcp`");
            checker.push(report.help("keep one of them"));
            None
        }
        (Some(None), Some(None)) => {
            let report = checker.error(at.node, "what is to be probed?");
            checker.push(report.help("add `http: { path: /health }`, or `tcp: {}` to connect only"));
            None
        }
        (Some(Some(http)), _) => http_probe(checker, http).map(Probe::Http),
        (_, Some(Some(_))) => Some(Probe::Tcp),
        _ => None,
    };
    Some(HealthCheck {
        interval: check.interval.get()?.0,
        timeout: check.timeout.get()?.0,
        unhealthy_threshold: check.unhealthy_threshold.get()?.u32(),
        healthy_threshold: check.healthy_threshold.get()?.u32(),
        jitter_percent: check.jitter_percent.get()?.u32(),
        probe: probe?,
        proxy_protocol: None,
        suspect_after: check.suspect_after.get()?.0,
        suspect_timeout: check.suspect_timeout.get()?.0,
    })
}

fn http_probe(checker: &mut Checker<'_, '_>, http: &file::HttpProbe) -> Option<HttpProbe> {
    let json = match http.json.get() {
        Some(Some(json)) => json_probe(checker, json).map(Some),
        Some(None) => Some(None),
        None => None,
    };
    let header = |at: &At<file::ProbeHeader>| {
        let header = at.get()?;
        Some((header.name.get()?.0.clone(), header.value.get()?.0.clone()))
    };
    Some(HttpProbe {
        method: http.method.get()?.0.clone(),
        path: http.path.get()?.0.clone(),
        host: http.host.get()?.as_ref().map(|host| host.0.clone()),
        headers: http.headers.get()?.iter().map(header).collect::<Option<_>>()?,
        expect_status: http.expect_status.get()?.0.iter().map(|range| (range.0, range.1)).collect(),
        expect_body: http.expect_body.get()?.as_ref().map(|text| text.0.clone()),
        json: json?,
    })
}

fn json_probe(checker: &mut Checker<'_, '_>, json: &file::JsonProbe) -> Option<JsonProbe> {
    if json.healthy.get().is_some_and(Vec::is_empty) {
        let report = checker.error(json.healthy.node, "no value counts as healthy");
        checker.push(report.help("name at least one, such as `healthy: [CONNECTED]`"));
    }
    let lists = [&json.healthy, &json.degraded, &json.failed];
    let values = lists.into_iter().filter_map(At::get).flatten();
    checker.unique("value", values.filter_map(|value| Some((value.get()?, value.node))));
    let texts = |list: &At<List<Literal>>| -> Option<Vec<String>> {
        list.get()?.iter().map(|value| Some(value.get()?.0.clone())).collect()
    };
    Some(JsonProbe {
        pointer: json.pointer.get()?.0.clone(),
        healthy: texts(&json.healthy)?,
        degraded: texts(&json.degraded)?,
        failed: texts(&json.failed)?,
    })
}

fn outlier_detection(
    checker: &mut Checker<'_, '_>,
    switch: &Switch<file::OutlierDetection>,
) -> Option<Option<OutlierDetection>> {
    let Switch::On(rules) = switch else { return Some(None) };
    let (base, max) = (rules.base_ejection.get(), rules.max_ejection.get());
    if let (Some(base), Some(max)) = (base, max)
        && base > max
    {
        let given = checker.is_given(rules.base_ejection.node);
        let node = if given { rules.base_ejection.node } else { rules.max_ejection.node };
        let (base, max) = (show_time(base.0), show_time(max.0));
        checker.push(checker.error(node, format!("`base_ejection` of {base} is longer than `max_ejection` of {max}")));
    }
    Some(Some(OutlierDetection {
        consecutive_failures: rules.consecutive_failures.get()?.u32(),
        base_ejection: base?.0,
        max_ejection: max?.0,
    }))
}

fn circuit_breaker(switch: &Switch<file::CircuitBreaker>) -> Option<Option<CircuitBreaker>> {
    let Switch::On(rules) = switch else { return Some(None) };
    Some(Some(CircuitBreaker {
        failure_rate: rules.failure_rate.get()?.u32(),
        minimum_requests: rules.minimum_requests.get()?.u32(),
        window: rules.window.get()?.0,
        open_for: rules.open_for.get()?.0,
    }))
}

fn retry(checker: &mut Checker<'_, '_>, rules: &file::Retry) -> Option<Retry> {
    let statuses = checker.set("status", &rules.on_status);
    let budget = rules.budget.get()?;
    Some(Retry {
        attempts: rules.attempts.get()?.u32(),
        per_try_timeout: rules.per_try_timeout.get()?.0,
        non_idempotent: rules.non_idempotent.get()?.map(|given| given.0),
        replay_stale: rules.replay_stale.get()?.0,
        on_status: statuses?.into_iter().map(Int::u16).collect(),
        body_bytes: rules.body_bytes.get()?.usize(),
        budget: RetryBudget {
            percent: budget.percent.get()?.u32(),
            interval: budget.interval.get()?.0,
            min_retry_rate: budget.min_retry_rate.get()?.u32(),
        },
    })
}
