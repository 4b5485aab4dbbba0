//! Rules that are there without a word in the configuration. `docs/alerts.md` says of each what to do.

use std::time::Duration;

use super::{AlertRule, Comparison, Only, Scope, Signal};
use crate::events::Severity;

/// A rule that is there without a word in the configuration.
#[derive(Debug)]
pub struct Builtin {
    pub name: &'static str,
    pub signal: Signal,
    pub comparison: Comparison,
    pub threshold: f64,
    pub clear: f64,
    pub hold: Duration,
    pub keep: Duration,
    pub severity: Severity,
}

macro_rules! rules {
    ($($name:literal $severity:ident $signal:ident $comparison:ident $threshold:literal clear $clear:literal for $hold:literal keep $keep:literal;)+) => {
        /// All of them; durations in seconds.
        pub static BUILTIN: &[Builtin] = &[$(Builtin {
            name: $name,
            signal: Signal::$signal,
            comparison: Comparison::$comparison,
            threshold: $threshold,
            clear: $clear,
            hold: Duration::from_secs($hold),
            keep: Duration::from_secs($keep),
            severity: Severity::$severity,
        }),+];
    };
}

// What stops answers or loses something is critical; what may do so next is a warning. A rule holds for a while where one look says little,
// and its alert stays for a while where the same would come back at once.
rules! {
    "no-usable-master"        Critical UsableMasters     Below   1.0    clear 1.0    for 0   keep 5;
    "failover-stuck"          Critical StuckGroups       AtLeast 1.0    clear 1.0    for 0   keep 5;
    "master-failed"           Warning  MasterFailed      AtLeast 1.0    clear 1.0    for 0   keep 5;
    "no-standby"              Warning  Standbys          Below   1.0    clear 1.0    for 30  keep 5;
    "recovery-given-up"       Warning  RecoveryGivenUp   AtLeast 1.0    clear 1.0    for 0   keep 0;
    "failover-made"           Info     Failovers         AtLeast 1.0    clear 1.0    for 0   keep 0;
    "circuit-open"            Warning  CircuitOpen       AtLeast 1.0    clear 1.0    for 60  keep 30;
    "health-flapping"         Warning  HealthChanges     AtLeast 6.0    clear 3.0    for 0   keep 0;
    "error-rate"              Warning  ErrorPercent      Above   5.0    clear 2.0    for 30  keep 30;
    "error-rate-high"         Critical ErrorPercent      Above   25.0   clear 10.0   for 30  keep 30;
    "latency-high"            Warning  LatencyP99        Above   5000.0 clear 3000.0 for 120 keep 60;
    "load-imbalance"          Warning  Distribution      Below   60.0   clear 75.0   for 120 keep 60;
    "retry-budget-spent"      Warning  RetriesRefused    Above   0.0    clear 0.0    for 30  keep 30;
    "backlog-old"             Warning  BacklogAge        Above   300.0  clear 60.0   for 0   keep 10;
    "backlog-growing"         Warning  BacklogGrowth     Above   100.0  clear 20.0   for 60  keep 60;
    "dead-letters"            Warning  DeadLettersNew    Above   0.0    clear 0.0    for 0   keep 0;
    "spool-failed"            Critical SpoolFailed       AtLeast 1.0    clear 1.0    for 0   keep 0;
    "spool-full"              Critical SpoolFull         AtLeast 1.0    clear 1.0    for 0   keep 30;
    "disk-budget"             Warning  DiskPercent       Above   80.0   clear 75.0   for 10  keep 60;
    "certificate-expiring"    Warning  CertificateDays   Below   14.0   clear 14.0   for 0   keep 0;
    "certificate-ending"      Critical CertificateDays   Below   3.0    clear 3.0    for 0   keep 0;
    "certificate-stale"       Warning  CertificatesStale AtLeast 1.0    clear 1.0    for 60  keep 0;
    "configuration-rejected"  Warning  ConfigRejected    AtLeast 1.0    clear 1.0    for 0   keep 0;
    "log-lines-dropped"       Warning  LogLinesLost      Above   0.0    clear 0.0    for 0   keep 60;
    "webhook-not-told"        Warning  WebhookUntold     Above   0.0    clear 0.0    for 0   keep 0;
    "receiver-not-told"       Warning  ReceiverUntold    Above   0.0    clear 0.0    for 0   keep 0;
    "audit-not-written"       Critical AuditUnwritten    Above   0.0    clear 0.0    for 0   keep 0;
    "audit-damaged"           Critical AuditDamaged      AtLeast 1.0    clear 1.0    for 0   keep 0;
    "failover-journal-failed" Warning  JournalFailed     AtLeast 1.0    clear 1.0    for 10  keep 0;
}

impl Builtin {
    /// As it is when nobody changes it.
    #[must_use]
    pub fn rule(&self) -> AlertRule {
        AlertRule {
            name: self.name.to_owned(),
            builtin: true,
            enabled: true,
            signal: self.signal,
            scope: self.signal.scopes().first().copied().unwrap_or(Scope::System),
            only: Only::default(),
            comparison: self.comparison,
            threshold: self.threshold,
            clear: self.clear,
            hold: self.hold,
            keep: self.keep,
            severity: self.severity,
            labels: Vec::new(),
            summary: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../../docs/alerts.md");

    #[test]
    fn the_playbook_has_a_section_for_each_rule_and_for_nothing_else() {
        let sections: Vec<&str> =
            PAGE.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
        let mut names: Vec<&str> = BUILTIN.iter().map(|rule| rule.name).collect();
        for (rule, name) in BUILTIN.iter().zip(&names) {
            let section = PAGE.split(&format!("### `{name}`\n\n")).nth(1).expect(name);
            let severity = match rule.severity {
                Severity::Info => "Info. ",
                Severity::Warning => "Warning. ",
                Severity::Critical => "Critical. ",
            };
            assert!(section.starts_with(severity), "{name} is {severity}");
        }
        let (count, mut sorted) = (sections.len(), sections);
        sorted.sort_unstable();
        names.sort_unstable();
        assert_eq!((sorted, count), (names, BUILTIN.len()));
    }

    #[test]
    fn the_page_has_every_signal_as_it_is() {
        for (signal, word) in Signal::ALL {
            let scopes: Vec<&str> = signal.scopes().iter().map(|scope| scope.word()).collect();
            let row = format!("| `{word}` | {} | {} | {} |", scopes.join(", "), signal.unit(), signal.meaning().trim());
            assert!(PAGE.contains(&row), "docs/alerts.md lacks {row}");
        }
        let rows = PAGE.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, Signal::ALL.len());
    }
}
