//! What a scrape says about the present state: written from the same view as the status, so the two cannot disagree, and a
//! master that left has no gauge that stays behind.

use std::collections::BTreeMap;

use super::view::{Circuit, FailoverStatus, Health, MasterView, StatusView, UpstreamView};
use crate::alerts::alert::severity_word;
use crate::alerts::book::{self, Book};
use crate::clock::unix_millis;
use crate::events::Bus;
use crate::failover::view::GroupState;
use crate::telemetry::exposition::Exposition;
use crate::telemetry::names::{self, Metric};

/// Writes every gauge of the state.
pub fn write(status: &StatusView, events: &Bus, out: &mut Exposition) {
    let mut told = out.family(&names::EVENTS);
    events.counts().for_each(|(kind, count)| told.integer(&[kind.word()], count));
    out.family(&names::CONFIG_GENERATION).integer(&[], status.generation);
    out.family(&names::CONFIG_REJECTED).integer(&[], u64::from(status.config_error.is_some()));
    out.family(&names::WORKERS).integer(&[], status.workers);
    let mut dropped = out.family(&names::ACCESS_LOG_DROPPED);
    dropped.integer(&["queue-full"], status.access_log_dropped.queue_full);
    dropped.integer(&["write-error"], status.access_log_dropped.write_error);

    let audit = &status.audit;
    out.family(&names::AUDIT_LOST).integer(&[], audit.lost);
    out.family(&names::AUDIT_FAILED).integer(&[], u64::from(audit.error.is_some()));
    out.family(&names::AUDIT_DAMAGED).integer(&[], u64::from(audit.damage.is_some()));
    let spool = &status.spool;
    out.family(&names::SPOOL_PENDING).integer(&[], spool.pending);
    out.family(&names::SPOOL_OLDEST).float(&[], spool.oldest_seconds);
    out.family(&names::SPOOL_FULL).integer(&[], u64::from(spool.full.is_some()));
    out.family(&names::SPOOL_FAILED).integer(&[], u64::from(spool.failed.is_some()));
    out.family(&names::DEAD_LETTERS).integer(&[], spool.dead_letters);
    out.family(&names::DUPLICATES).integer(&[], spool.duplicates);
    certificates(status, out);
    let mut stale = out.family(&names::CERTIFICATES_STALE);
    for listener in status.listeners.iter().filter(|listener| listener.tls) {
        stale.integer(&[&listener.name], listener.certificate_errors.len() as u64);
    }
    standings(status, out);
    masters(status, out, &names::MASTER_HEALTH, |master| match master.health {
        Health::Unknown => 0,
        Health::Healthy => 1,
        Health::Degraded => 2,
        Health::Failed => 3,
    });
    masters(status, out, &names::MASTER_CIRCUIT, |master| match master.circuit {
        Circuit::Closed => 0,
        Circuit::Open => 1,
        Circuit::HalfOpen => 2,
    });
    masters(status, out, &names::MASTER_USABLE, |master| u64::from(master.usable));
    masters(status, out, &names::MASTER_IN_FLIGHT, |master| master.in_flight);
    masters(status, out, &names::MASTER_QUEUED, |master| master.queued);
    failovers(status, out);
}

/// Writes how many alerts there are.
pub fn alerts(book: &Book, out: &mut Exposition) {
    let mut family = out.family(&names::ALERTS);
    for ((severity, state), count) in book::counts(book, unix_millis()) {
        family.integer(&[severity_word(severity), state], count);
    }
    out.family(&names::ALERTS_LEFT_OUT).integer(&[], book.left_out());
}

/// Where nothing was observed yet there is no score.
fn standings(status: &StatusView, out: &mut Exposition) {
    if let Some(standing) = &status.standing {
        out.family(&names::HEALTH_SCORE).integer(&[], u64::from(standing.health_score));
    }
    let upstreams =
        || status.upstreams.iter().filter_map(|upstream| Some((&*upstream.name, upstream.standing.as_ref()?)));
    let mut family = out.family(&names::UPSTREAM_HEALTH_SCORE);
    for (name, standing) in upstreams() {
        family.integer(&[name], u64::from(standing.health_score));
    }
    let mut family = out.family(&names::LOAD_DISTRIBUTION);
    for (name, standing) in upstreams() {
        if let Some(distribution) = &standing.distribution {
            family.integer(&[name], u64::from(distribution.quality));
        }
    }
}

fn failovers(status: &StatusView, out: &mut Exposition) {
    out.family(&names::FAILOVER_JOURNAL_FAILED).integer(&[], u64::from(status.failover_journal_failed));
    let mut each = |metric, value: fn(&UpstreamView, &FailoverStatus) -> u64| {
        let mut family = out.family(metric);
        for upstream in &status.upstreams {
            if let Some(failover) = &upstream.failover {
                family.integer(&[&upstream.name], value(upstream, failover));
            }
        }
    };
    each(&names::FAILOVER_EPOCH, |upstream, _| u64::from(upstream.epoch));
    each(&names::FAILOVER_STUCK, |_, failover| {
        failover.groups.iter().filter(|group| group.state == GroupState::Stuck.word()).count() as u64
    });
    each(&names::FAILOVER_STANDBYS, |_, failover| {
        failover.groups.iter().map(|group| group.standbys).min().unwrap_or_default()
    });
}

/// Of several with one name the one that ends first: a series must not stand there twice.
fn certificates(status: &StatusView, out: &mut Exposition) {
    let mut ends: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for listener in &status.listeners {
        for certificate in &listener.certificates {
            let Some(end) = certificate.expires.and_then(|end| u64::try_from(end).ok()) else { continue };
            let known = ends.entry((&listener.name, &certificate.name)).or_insert(end);
            *known = end.min(*known);
        }
    }
    let mut family = out.family(&names::CERTIFICATE_EXPIRY);
    for ((listener, name), end) in ends {
        family.integer(&[listener, name], end);
    }
}

fn masters(status: &StatusView, out: &mut Exposition, metric: &'static Metric, value: impl Fn(&MasterView) -> u64) {
    let mut family = out.family(metric);
    for UpstreamView { name, masters, .. } in &status.upstreams {
        for master in masters {
            family.integer(&[name, &master.name], value(master));
        }
    }
}
