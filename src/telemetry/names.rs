//! Every metric: its name, kind, labels and help, in one place.
//!
//! A metric that is not in [`ALL`] does not exist: writers take a [`Metric`], never a string. Labels carry names from the
//! configuration and words from closed sets; never a phone number, a conversation, a path or a client's address.

/// What a metric is to Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// The word a `# TYPE` line uses.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric family.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// In the order in which they are written; a histogram's `le` is not among them.
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $constant: Metric =
                Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*
        /// Every metric there is.
        pub static ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    // The data path.
    REQUESTS = Counter "baton_requests_total" ["route", "upstream", "master", "code"]
        "Finished exchanges by status class; a client that left before its answer is a 4xx (499).";
    REQUEST_DURATION = Histogram "baton_request_duration_seconds" ["route", "upstream"]
        "Time from the first byte of a request to the last byte of its answer, every attempt included.";
    RETRIES = Counter "baton_retries_total" ["upstream", "reason"]
        "Attempts after the first one, by what ended the attempt before.";
    RETRY_BUDGET_EXHAUSTED = Counter "baton_retry_budget_exhausted_total" ["upstream"]
        "Retries not made because the retry budget was used up.";
    FAILOVER_HELD = Counter "baton_failover_held_total" ["upstream"]
        "Exchanges that waited for a master to take over.";
    LATE_ANSWERS = Counter "baton_late_answers_total" ["upstream"]
        "Answers of masters that had been fenced meanwhile, and that settled nothing.";
    MIRRORED = Counter "baton_mirrored_total" ["upstream", "outcome"]
        "Requests that a mirror was to get, by what became of the copy.";
    COMPRESSED = Counter "baton_compressed_total" ["route", "outcome"]
        "Answers that were to be compressed, by algorithm; busy ones went on as they were.";
    COMPRESSION_BYTES = Counter "baton_compression_bytes_total" ["route", "stage"]
        "Bytes of compressed answers, before compression and after it.";
    STALE_REPLAYS = Counter "baton_stale_replays_total" ["upstream", "master"]
        "Requests sent again on a new connection because a pooled one had been closed by the master.";
    FAILED_ATTEMPTS = Counter "baton_failed_attempts_total" ["upstream", "master"]
        "Attempts that failed on a master and were followed by another attempt.";
    UPSTREAM_CONNECTIONS = Counter "baton_upstream_connections_total" ["upstream", "master", "outcome"]
        "Connection attempts to masters by outcome.";
    POOL_IDLE = Gauge "baton_pool_idle" ["upstream", "master"]
        "Idle connections kept open to a master, over all workers.";
    TCP_CONNECTIONS = Counter "baton_tcp_connections_total" ["upstream", "master", "end"]
        "Finished connections of tcp listeners by how they ended, under the master they were last given to.";
    TCP_BYTES = Counter "baton_tcp_bytes_total" ["upstream", "master", "direction"]
        "Bytes passed on between clients of tcp listeners and masters.";
    UPSTREAM_H2_CONNECTIONS = Gauge "baton_upstream_h2_connections" ["upstream", "master"]
        "Open HTTP/2 connections to a master, over all workers.";
    UPSTREAM_H2_STREAMS = Gauge "baton_upstream_h2_streams" ["upstream", "master"]
        "Requests under way on them.";
    CONNECTIONS = Gauge "baton_connections" ["listener"]
        "Open downstream connections.";
    CONNECTIONS_TOTAL = Counter "baton_connections_total" ["listener"]
        "Accepted downstream connections.";
    TUNNELS = Gauge "baton_tunnels" ["listener"]
        "Open tunnels: upgraded connections such as WebSocket.";
    REFUSED = Counter "baton_refused_total" ["listener", "reason"]
        "Requests and connections that Baton itself turned away.";
    ROUTE_REFUSED = Counter "baton_route_refused_total" ["route", "reason"]
        "Requests that a route's own rules turned away.";
    WEBHOOK_UPDATES = Counter "baton_webhook_updates_total" ["route", "kind"]
        "Updates found in webhooks, by kind; ignored ones are those no master wants, undecodable ones bodies that could not be read.";

    TLS_HANDSHAKES = Gauge "baton_tls_handshakes" ["listener"]
        "TLS handshakes under way.";
    TLS_HANDSHAKES_TOTAL = Counter "baton_tls_handshakes_total" ["listener", "kind"]
        "TLS handshakes that succeeded, by kind: full or resumed.";
    CERTIFICATE_EXPIRY = Gauge "baton_certificate_expiry_timestamp_seconds" ["listener", "name"]
        "When a certificate in use ends, in seconds since 1970.";

    CERTIFICATES_STALE = Gauge "baton_certificates_stale" ["listener"]
        "Pairs of files that cannot be used any more, and whose earlier certificate is still in use.";

    ACME_ORDERS = Counter "baton_acme_orders_total" ["name", "outcome"]
        "Orders of certificates by ACME by outcome: issued or failed.";

    // Alerts.
    ALERTS = Gauge "baton_alerts" ["severity", "state"]
        "Alerts that go on, by severity and by state: active, acknowledged or silenced.";
    ALERTS_LEFT_OUT = Counter "baton_alerts_left_out_total" []
        "Alerts for which there was no room, because a thousand go on already.";

    // Masters.
    MASTER_HEALTH = Gauge "baton_master_health" ["upstream", "master"]
        "Health by probes: 0 unknown, 1 healthy, 2 degraded, 3 failed.";
    MASTER_USABLE = Gauge "baton_master_usable" ["upstream", "master"]
        "1 while new requests may go to the master, all reasons considered, else 0.";
    MASTER_CIRCUIT = Gauge "baton_master_circuit" ["upstream", "master"]
        "Circuit breaker: 0 closed, 1 open, 2 half-open.";
    MASTER_IN_FLIGHT = Gauge "baton_master_in_flight" ["upstream", "master"]
        "Attempts under way.";
    MASTER_QUEUED = Gauge "baton_master_queued" ["upstream", "master"]
        "Requests that wait for a master to have room.";
    MASTER_EJECTIONS = Counter "baton_master_ejections_total" ["upstream", "master"]
        "Ejections by outlier detection.";
    HEALTH_PROBES = Counter "baton_health_probes_total" ["upstream", "master", "outcome"]
        "Health probes by outcome.";
    HEALTH_PROBE_DURATION = Histogram "baton_health_probe_duration_seconds" ["upstream", "master"]
        "How long health probes took, whatever their outcome.";

    HEALTH_SCORE = Gauge "baton_health_score" []
        "How well it goes in all: 100 when nothing is wrong, 0 when an upstream serves nobody.";
    UPSTREAM_HEALTH_SCORE = Gauge "baton_upstream_health_score" ["upstream"]
        "The same for an upstream: 100 when nothing is wrong, 0 when no master can be used.";
    LOAD_DISTRIBUTION = Gauge "baton_load_distribution_quality" ["upstream"]
        "How evenly the load of the last minute was spread by weight: 100 when each master has its share, 0 when one has everything.";
    // What was promised; `route` or `upstream` says of what, the other one is empty.
    SLA_OBJECTIVE = Gauge "baton_sla_objective_ratio" ["route", "upstream"]
        "The share that has to be good, as the configuration promises it.";
    SLA_AVAILABILITY = Gauge "baton_sla_availability_ratio" ["route", "upstream"]
        "The share that was good over the period of the objective.";
    SLA_BUDGET = Gauge "baton_sla_error_budget_remaining_ratio" ["route", "upstream"]
        "The share of the period's error budget that is left: 1 when nothing failed, below 0 when more did than may.";
    SLA_BURN_RATE = Gauge "baton_sla_burn_rate_ratio" ["route", "upstream", "window"]
        "How fast the error budget is spent: at 1 it is spent exactly within its period.";
    SLA_MAINTENANCE = Gauge "baton_sla_maintenance" ["route", "upstream"]
        "Whether announced maintenance goes on, during which nothing counts.";
    // Failover.
    FAILOVERS = Counter "baton_failovers_total" ["upstream", "outcome"]
        "Failovers by outcome: completed, undone, or stuck when nobody could take over at first.";
    FAILOVER_DURATION = Histogram "baton_failover_duration_seconds" ["upstream"]
        "From the decision for a failover until the new master got requests.";
    FAILOVER_EPOCH = Gauge "baton_failover_epoch" ["upstream"]
        "Number of the last failover.";
    FAILOVER_STUCK = Gauge "baton_failover_stuck" ["upstream"]
        "Groups of accounts that no master serves, because the last one failed and nobody can take over.";
    FAILOVER_STANDBYS = Gauge "baton_failover_standbys" ["upstream"]
        "Masters that could take over now, where there are the fewest.";
    FAILOVER_JOURNAL_FAILED = Gauge "baton_failover_journal_failed" []
        "1 while failovers cannot be written down, so that a restart would not know of the last ones, else 0.";
    HOOK_CALLS = Counter "baton_hook_calls_total" ["upstream", "hook", "outcome"]
        "Hooks of masters that were called (export, import, activate, deactivate): answered, or failed, which includes wrong digests.";
    RECOVERY_ATTEMPTS = Counter "baton_recovery_attempts_total" ["upstream", "master", "outcome"]
        "Attempts of failed masters to come back: recovered, failed, or given-up after the last one.";

    // Stored messages.
    SPOOL_PENDING = Gauge "baton_spool_pending" []
        "Messages that were accepted and are neither delivered nor dead.";
    SPOOL_OLDEST = Gauge "baton_spool_oldest_seconds" []
        "Age of the oldest message that is pending; 0 when there is none.";
    SPOOL_STRANDED = Gauge "baton_spool_stranded" []
        "Pending messages whose upstream is not in the configuration; they wait until it is, or they are too old.";
    SPOOL_FULL = Gauge "baton_spool_full" []
        "1 while there is no room for more messages: on the disk, or within the limits of state.spool. Else 0.";
    SPOOL_FAILED = Gauge "baton_spool_failed" []
        "1 when the disk has failed and no message is stored or settled until Baton is started again, else 0.";
    DEAD_LETTERS = Gauge "baton_dead_letters" []
        "Messages that were given up on, until somebody replays or discards them.";
    DUPLICATES = Counter "baton_duplicates_total" []
        "Messages that had come before and were accepted without being stored again.";
    DELIVERED = Counter "baton_delivered_total" ["upstream", "outcome"]
        "Stored messages that came to an end: delivered, dead-attempts, dead-masters or dead-expired.";
    DELIVERY_ATTEMPTS = Counter "baton_delivery_attempts_total" ["upstream", "master", "outcome"]
        "Attempts to deliver stored messages: delivered, failed (another answer), broken (none after it was sent) or not-sent.";
    DELIVERY_WINDOW = Gauge "baton_delivery_window" ["upstream"]
        "Deliveries of stored messages that may be in flight at once now.";
    DELIVERIES_IN_FLIGHT = Gauge "baton_deliveries_in_flight" ["upstream"]
        "Deliveries of stored messages that are in flight.";

    // The process and its configuration.
    CONFIG_GENERATION = Gauge "baton_config_generation" []
        "Number of the configuration generation in use.";
    CONFIG_REJECTED = Gauge "baton_config_rejected" []
        "1 while the newest configuration was refused and an older one is kept, else 0.";
    CONFIG_RELOADS = Counter "baton_config_reloads_total" ["outcome"]
        "Configuration reloads by outcome: applied, unchanged or rejected.";
    UPGRADES = Counter "baton_upgrades_total" ["outcome"]
        "Hand-overs to a new process by outcome: completed (counted by the new one), failed, timed-out or refused.";
    AUDIT_LOST = Counter "baton_audit_lost_total" []
        "Entries of the audit trail that could not be written and stand in the log alone.";
    AUDIT_FAILED = Gauge "baton_audit_failed" []
        "1 while the audit trail cannot be written, else 0.";
    AUDIT_DAMAGED = Gauge "baton_audit_damaged" []
        "1 when the audit trail was found changed as it was opened, else 0.";
    EVENTS = Counter "baton_events_total" ["kind"]
        "Events that were told, by kind.";
    EVENT_WEBHOOKS = Counter "baton_event_webhooks_total" ["webhook", "outcome"]
        "Events for webhooks by outcome: delivered, failed (every attempt), or dropped (the webhook was too slow).";
    ALERT_NOTIFICATIONS = Counter "baton_alert_notifications_total" ["receiver", "outcome"]
        "Notifications of alerts by outcome: delivered or failed (every attempt); and alerts that were held (over the rate) or dropped.";
    WORKERS = Gauge "baton_workers" []
        "Worker threads.";
    ACCESS_LOG_DROPPED = Counter "baton_access_log_dropped_total" ["reason"]
        "Access log lines lost: queue-full when the writer fell behind, write-error when the target refused them.";
    BUILD_INFO = Gauge "baton_build_info" ["version"]
        "Always 1; the version is in the label.";
    PROCESS_CPU = Counter "process_cpu_seconds_total" []
        "User and system time spent by the process, in seconds.";
    PROCESS_RSS = Gauge "process_resident_memory_bytes" []
        "Resident memory of the process.";
    PROCESS_START = Gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970.";
    PROCESS_FDS = Gauge "process_open_fds" []
        "Open file descriptors.";
    PROCESS_MAX_FDS = Gauge "process_max_fds" []
        "Limit of open file descriptors.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut seen = HashSet::new();
        for metric in ALL {
            let Metric { name, kind, labels, help } = metric;
            assert!(seen.insert(name), "{name} is defined twice");
            assert!(name.starts_with("baton_") || name.starts_with("process_"), "{name} has no known prefix");
            assert!(name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{name} has odd characters");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}: _total belongs to counters alone");
            for suffix in ["_count", "_sum", "_bucket"] {
                assert!(!name.ends_with(suffix), "{name} ends like a part of a histogram");
            }
            for word in name.split('_') {
                let derived = ["milliseconds", "ms", "minutes", "hours", "kilobytes", "percent", "bits"];
                assert!(!derived.contains(&word), "{name} is not in a base unit");
                assert_ne!(word, kind.word(), "{name} repeats its kind");
            }
            if *kind == Kind::Histogram {
                assert!(name.ends_with("_seconds"), "{name} says no unit");
            }
            assert!(
                help.ends_with('.') && !help.contains('\n'),
                "{name}: help is one or more whole sentences on a line"
            );
            for label in *labels {
                assert!(label.bytes().all(|b| b.is_ascii_lowercase()), "{name}: label {label}");
                assert!(!["le", "quantile", "job", "instance"].contains(label), "{name}: label {label} is reserved");
            }
        }
    }

    #[test]
    fn every_metric_is_documented_and_nothing_else_is() {
        let page = include_str!("../../docs/metrics.md");
        let documented: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .filter_map(|line| line.split_once('`'))
            .map(|(name, _)| name)
            .filter(|name| name.starts_with("baton_") || name.starts_with("process_"))
            .collect();
        for metric in ALL {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", metric.name)));
            let row = row.unwrap_or_else(|| panic!("docs/metrics.md lacks {}", metric.name));
            let labels =
                if metric.labels.is_empty() { String::new() } else { format!("`{}`", metric.labels.join("`, `")) };
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert_eq!(cells.get(2), Some(&metric.kind.word()), "{}: kind", metric.name);
            assert_eq!(cells.get(3), Some(&labels.as_str()), "{}: labels", metric.name);
        }
        for name in documented {
            assert!(ALL.iter().any(|metric| metric.name == name), "docs/metrics.md names {name}, which does not exist");
        }
    }
}
