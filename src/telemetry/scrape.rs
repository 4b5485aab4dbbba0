//! The data path's part of a scrape: adds up the workers and writes the text.
//!
//! Every number is read once and written once, so a histogram's count equals its last bucket although workers go on
//! counting meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::exposition::Exposition;
use super::histogram::Reading;
use super::hot::{
    CLASSES, CompressionOutcome, ConnectOutcome, Counters, Handshake, ListenerSlot, MasterSlot, MirrorOutcome, Refusal,
    RetryReason, RouteRefusal, RouteSlot, SeriesReading, Slot, TcpEnd, UpstreamSlot, Webhook,
};
use super::names;
use super::registry::{Registry, Rows};

/// Writes every family of the data path.
pub fn write(registry: &Registry, out: &mut Exposition) {
    write_series(registry, out);
    write_listeners(registry, out);
    write_routes(registry, out);
    write_upstreams(registry, out);
    write_masters(registry, out);
    write_tcp(registry, out);
}

fn write_series(registry: &Registry, out: &mut Exposition) {
    let mut durations: BTreeMap<[String; 2], Reading> = BTreeMap::new();
    let mut requests = out.family(&names::REQUESTS);
    for (labels, cells) in registry.series() {
        let mut reading = SeriesReading::default();
        cells.iter().for_each(|cell| reading.add(cell));
        let [route, upstream, master] = &*labels;
        for (class, count) in CLASSES.iter().zip(reading.classes) {
            // Rates of success and of errors need a zero to start from; other classes are many and seldom there.
            if count > 0 || matches!(*class, "2xx" | "5xx") {
                requests.integer(&[route, upstream, master, class], count);
            }
        }
        durations.entry([route.clone(), upstream.clone()]).or_default().add_reading(&reading.duration);
    }
    let mut family = out.family(&names::REQUEST_DURATION);
    for ([route, upstream], reading) in &durations {
        family.histogram(&[route, upstream], &reading.cumulative(), reading.count(), reading.sum_seconds());
    }
}

fn write_listeners(registry: &Registry, out: &mut Exposition) {
    use ListenerSlot::{Accepted, Closed, Refused, TunnelsClosed, TunnelsOpened};
    // What ended is read before what began, so that the difference is seldom too small and never negative.
    let rows: Vec<_> = totals(registry.listener_counters(), &[Closed, TunnelsClosed, Accepted, TunnelsOpened]);
    let mut family = out.family(&names::CONNECTIONS);
    for ([listener], totals) in &rows {
        family.integer(&[listener], difference(totals, 2, 0));
    }
    let mut family = out.family(&names::CONNECTIONS_TOTAL);
    for ([listener], totals) in &rows {
        family.integer(&[listener], at(totals, 2));
    }
    let mut family = out.family(&names::TUNNELS);
    for ([listener], totals) in &rows {
        family.integer(&[listener], difference(totals, 3, 1));
    }
    write_handshakes(registry, out);
    let slots: Vec<_> = Refusal::ALL.iter().map(|reason| Refused(*reason)).collect();
    let mut family = out.family(&names::REFUSED);
    for ([listener], totals) in totals(registry.listener_counters(), &slots) {
        for (reason, count) in Refusal::ALL.iter().zip(totals) {
            family.integer(&[&listener, reason.word()], count);
        }
    }
}

fn write_routes(registry: &Registry, out: &mut Exposition) {
    let slots: Vec<_> = CompressionOutcome::ALL.iter().map(|outcome| RouteSlot::Compression(*outcome)).collect();
    let mut family = out.family(&names::COMPRESSED);
    for ([route], totals) in totals(registry.route_counters(), &slots) {
        for (outcome, count) in CompressionOutcome::ALL.iter().zip(totals) {
            family.integer(&[&route, outcome.word()], count);
        }
    }
    let slots = [RouteSlot::CompressionIn, RouteSlot::CompressionOut];
    let mut family = out.family(&names::COMPRESSION_BYTES);
    for ([route], totals) in totals(registry.route_counters(), &slots) {
        for (stage, count) in ["before", "after"].iter().zip(totals) {
            family.integer(&[&route, stage], count);
        }
    }
    let slots: Vec<_> = RouteRefusal::ALL.iter().map(|reason| RouteSlot::Refused(*reason)).collect();
    let mut family = out.family(&names::ROUTE_REFUSED);
    for ([route], totals) in totals(registry.route_counters(), &slots) {
        for (reason, count) in RouteRefusal::ALL.iter().zip(totals) {
            family.integer(&[&route, reason.word()], count);
        }
    }
    let slots: Vec<_> = Webhook::ALL.iter().map(|what| RouteSlot::Webhook(*what)).collect();
    let mut family = out.family(&names::WEBHOOK_UPDATES);
    for ([route], totals) in totals(registry.route_counters(), &slots) {
        for (what, count) in Webhook::ALL.iter().zip(totals) {
            family.integer(&[&route, what.word()], count);
        }
    }
}

fn write_handshakes(registry: &Registry, out: &mut Exposition) {
    use ListenerSlot::{HandshakesBegun, HandshakesEnded};
    let mut family = out.family(&names::TLS_HANDSHAKES);
    for ([listener], totals) in totals(registry.listener_counters(), &[HandshakesEnded, HandshakesBegun]) {
        family.integer(&[&listener], difference(&totals, 1, 0));
    }
    let slots: Vec<_> = Handshake::ALL.iter().map(|kind| ListenerSlot::Handshake(*kind)).collect();
    let mut family = out.family(&names::TLS_HANDSHAKES_TOTAL);
    for ([listener], totals) in totals(registry.listener_counters(), &slots) {
        for (kind, count) in Handshake::ALL.iter().zip(totals) {
            family.integer(&[&listener, kind.word()], count);
        }
    }
}

fn write_upstreams(registry: &Registry, out: &mut Exposition) {
    let single = [UpstreamSlot::BudgetExhausted, UpstreamSlot::Held, UpstreamSlot::LateAnswers];
    let rows = totals(registry.upstream_counters(), &single);
    let metrics = [&names::RETRY_BUDGET_EXHAUSTED, &names::FAILOVER_HELD, &names::LATE_ANSWERS];
    for (number, metric) in metrics.into_iter().enumerate() {
        let mut family = out.family(metric);
        for ([upstream], totals) in &rows {
            family.integer(&[upstream], at(totals, number));
        }
    }
    let slots: Vec<_> = MirrorOutcome::ALL.iter().map(|outcome| UpstreamSlot::Mirrored(*outcome)).collect();
    let mut family = out.family(&names::MIRRORED);
    for ([upstream], totals) in totals(registry.upstream_counters(), &slots) {
        for (outcome, count) in MirrorOutcome::ALL.iter().zip(totals) {
            family.integer(&[&upstream, outcome.word()], count);
        }
    }
    let slots: Vec<_> = RetryReason::ALL.iter().map(|reason| UpstreamSlot::Retried(*reason)).collect();
    let mut family = out.family(&names::RETRIES);
    for ([upstream], totals) in totals(registry.upstream_counters(), &slots) {
        for (reason, count) in RetryReason::ALL.iter().zip(totals) {
            family.integer(&[&upstream, reason.word()], count);
        }
    }
}

fn write_masters(registry: &Registry, out: &mut Exposition) {
    use MasterSlot::{
        Connected, FailedAttempts, LinkClosed, LinkOpened, PoolIn, PoolOut, StaleReplays, StreamClosed, StreamOpened,
    };
    let rows = totals(
        registry.master_counters(),
        &[FailedAttempts, StaleReplays, PoolOut, PoolIn, LinkClosed, LinkOpened, StreamClosed, StreamOpened],
    );
    let mut family = out.family(&names::FAILED_ATTEMPTS);
    for ([upstream, master], totals) in &rows {
        family.integer(&[upstream, master], at(totals, 0));
    }
    let mut family = out.family(&names::STALE_REPLAYS);
    for ([upstream, master], totals) in &rows {
        family.integer(&[upstream, master], at(totals, 1));
    }
    let mut family = out.family(&names::POOL_IDLE);
    for ([upstream, master], totals) in &rows {
        family.integer(&[upstream, master], difference(totals, 3, 2));
    }
    let mut family = out.family(&names::UPSTREAM_H2_CONNECTIONS);
    for ([upstream, master], totals) in &rows {
        family.integer(&[upstream, master], difference(totals, 5, 4));
    }
    let mut family = out.family(&names::UPSTREAM_H2_STREAMS);
    for ([upstream, master], totals) in &rows {
        family.integer(&[upstream, master], difference(totals, 7, 6));
    }
    let slots: Vec<_> = ConnectOutcome::ALL.iter().map(|outcome| Connected(*outcome)).collect();
    let mut family = out.family(&names::UPSTREAM_CONNECTIONS);
    for ([upstream, master], totals) in totals(registry.master_counters(), &slots) {
        for (outcome, count) in ConnectOutcome::ALL.iter().zip(totals) {
            family.integer(&[&upstream, &master, outcome.word()], count);
        }
    }
}

/// Connections of bytes. Most masters have none: series of zeros for each of them would say nothing.
fn write_tcp(registry: &Registry, out: &mut Exposition) {
    use MasterSlot::{BytesToClient, BytesToMaster, Ended};
    let slots: Vec<_> = TcpEnd::ALL.iter().map(|end| Ended(*end)).collect();
    let ends = totals(registry.master_counters(), &slots);
    let bytes = totals(registry.master_counters(), &[BytesToMaster, BytesToClient]);
    let used = |counts: &[u64]| counts.iter().any(|count| *count > 0);
    let mut family = out.family(&names::TCP_CONNECTIONS);
    for ([upstream, master], totals) in ends.iter().filter(|(_, totals)| used(totals)) {
        for (end, count) in TcpEnd::ALL.iter().zip(totals) {
            family.integer(&[upstream, master, end.word()], *count);
        }
    }
    let mut family = out.family(&names::TCP_BYTES);
    for ([upstream, master], totals) in bytes.iter().filter(|(_, totals)| used(totals)) {
        family.integer(&[upstream, master, "to-master"], at(totals, 0));
        family.integer(&[upstream, master, "to-client"], at(totals, 1));
    }
}

/// For each row its labels and the sum of each slot over the workers, the slots read in the order given.
fn totals<const L: usize, const N: usize, S: Slot>(
    rows: Rows<L, Counters<S, N>>,
    slots: &[S],
) -> Vec<([String; L], Vec<u64>)> {
    let sum = |cells: &[Arc<Counters<S, N>>], slot: S| cells.iter().map(|cell| cell.get(slot)).sum();
    rows.into_iter()
        .map(|(labels, cells)| {
            let totals = slots.iter().map(|slot| sum(&cells, *slot)).collect();
            (<[String; L]>::clone(&labels), totals)
        })
        .collect()
}

fn at(totals: &[u64], index: usize) -> u64 {
    totals.get(index).copied().unwrap_or(0)
}

fn difference(totals: &[u64], begun: usize, ended: usize) -> u64 {
    at(totals, begun).saturating_sub(at(totals, ended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::registry::NONE;

    fn text(registry: &Registry) -> String {
        let mut out = Exposition::new();
        write(registry, &mut out);
        out.finish()
    }

    #[test]
    fn a_request_shows_under_its_labels_and_in_its_bucket() {
        let registry = Registry::new();
        let worker = registry.worker();
        worker.series("webhooks", "bots", "dubai-1").record(200, 250_000);
        worker.series("webhooks", "bots", "dubai-2").record(503, 250_001);
        worker.series(NONE, NONE, NONE).record(404, 20);
        let text = text(&registry);
        for line in [
            r#"baton_requests_total{route="webhooks",upstream="bots",master="dubai-1",code="2xx"} 1"#,
            r#"baton_requests_total{route="webhooks",upstream="bots",master="dubai-2",code="5xx"} 1"#,
            r#"baton_requests_total{route="none",upstream="none",master="none",code="4xx"} 1"#,
            r#"baton_request_duration_seconds_bucket{route="webhooks",upstream="bots",le="0.1"} 0"#,
            r#"baton_request_duration_seconds_bucket{route="webhooks",upstream="bots",le="0.25"} 1"#,
            r#"baton_request_duration_seconds_bucket{route="webhooks",upstream="bots",le="0.5"} 2"#,
            r#"baton_request_duration_seconds_count{route="webhooks",upstream="bots"} 2"#,
            r#"baton_request_duration_seconds_sum{route="webhooks",upstream="bots"} 0.500001"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn open_connections_are_those_begun_less_those_ended_over_all_workers() {
        let registry = Registry::new();
        let (one, two) = (registry.worker(), registry.worker());
        one.listener("gateway").add(ListenerSlot::Accepted, 5);
        two.listener("gateway").add(ListenerSlot::Closed, 2);
        one.listener("gateway").increment(ListenerSlot::Refused(Refusal::NoRoute));
        one.master("bots", "a").add(MasterSlot::PoolIn, 3);
        one.master("bots", "a").add(MasterSlot::PoolOut, 1);
        one.upstream("bots").increment(UpstreamSlot::Retried(RetryReason::Connect));
        let text = text(&registry);
        for line in [
            r#"baton_connections{listener="gateway"} 3"#,
            r#"baton_connections_total{listener="gateway"} 5"#,
            r#"baton_refused_total{listener="gateway",reason="no-route"} 1"#,
            r#"baton_refused_total{listener="gateway",reason="malformed"} 0"#,
            r#"baton_pool_idle{upstream="bots",master="a"} 2"#,
            r#"baton_retries_total{upstream="bots",reason="connect"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_difference_read_in_between_is_not_negative() {
        assert_eq!(difference(&[3, 2], 1, 0), 0);
    }
}
