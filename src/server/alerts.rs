//! What rules of alerts are told each second, and what comes of it: the running proxy's numbers on the one side, events and a file on
//! the other.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use serde_json::json;

use super::Control;
use crate::alerts::alert::Alert;
use crate::alerts::book::{Change, Kept, What};
use crate::alerts::facts::Facts;
use crate::alerts::subject::Subject;
use crate::alerts::window::Windows;
use crate::config::model::{self, Signal};
use crate::events::{Event, Kind, Severity};
use crate::failover::view::{FleetView, GroupState};
use crate::monitor::core::{Core, Present};
use crate::monitor::observation::{MasterNow, Observation, UpstreamNow};
use crate::monitor::score;
use crate::monitor::series::{Key, Pace};
use crate::spool::store::Full;
use crate::state_file::StateFile;
use crate::upstream::admission::{Circuit, Health, OperatorState, Tier};

/// In the state directory: up to 1.2 MB, written when something has changed.
const FILE: &str = "alerts.json";
/// Requests in a minute below which a share of errors says little.
const REQUESTS_MIN: u64 = 20;
/// Over which what comes and goes is counted, in seconds.
const LONG: u64 = 600;
const MINUTE: u64 = 60;
/// How far back the backlog is compared.
const GROWTH_MINUTES: u64 = 5;
/// Masters that a sentence names.
const NAMED_MAX: usize = 3;

/// What has been seen so far, as far as rules need it, and where alerts are kept.
pub struct Watchman {
    file: StateFile,
    settings: Arc<crate::snapshot::Snapshot>,
    health: HashMap<Subject, Health>,
    turns: Windows<Subject>,
    epochs: Windows<Arc<str>>,
    retries: Windows<Arc<str>>,
    webhooks: Windows<String>,
    receivers: Windows<String>,
    dead: Windows<()>,
    unwritten: Windows<()>,
}

impl Watchman {
    /// Takes in what a process before this one has kept.
    pub fn new(control: &Control) -> Self {
        let settings = control.published.load_full();
        let file = StateFile::new(&settings.config.state_path, FILE, "alerts");
        let mut book = control.alerts.lock();
        book.configure(&settings.config.alerts);
        book.restore(file.load());
        drop(book);
        Self {
            file,
            settings,
            health: HashMap::new(),
            turns: Windows::over(LONG),
            epochs: Windows::over(LONG),
            retries: Windows::over(MINUTE),
            webhooks: Windows::over(LONG),
            receivers: Windows::over(LONG),
            dead: Windows::over(LONG),
            unwritten: Windows::over(LONG),
        }
    }

    /// Judges what is, tells of it, and keeps it.
    pub fn look(&mut self, control: &Control, seen: &Observation) {
        let settings = control.published.load_full();
        let facts = self.facts(control, seen, &settings.config);
        let mut book = control.alerts.lock();
        if !Arc::ptr_eq(&settings, &self.settings) {
            book.configure(&settings.config.alerts);
            self.settings = settings;
        }
        let changes = book.look(seen.at, &facts);
        let kept = book.to_keep();
        drop(book);
        if !changes.is_empty() {
            control.alerts.tell();
        }
        for change in &changes {
            control.events.publish(event(change));
        }
        self.keep(control, kept);
    }

    /// Keeps what has changed since the last look, as a process does that ends.
    pub fn finish(&mut self, control: &Control) {
        let kept = control.alerts.lock().to_keep();
        self.keep(control, kept);
    }

    fn keep(&mut self, control: &Control, kept: Option<Kept>) {
        if let Some(kept) = kept
            && !self.file.keep(&kept)
        {
            control.alerts.lock().not_kept();
        }
    }

    fn facts(&mut self, control: &Control, seen: &Observation, config: &model::Config) -> Facts {
        let mut facts = Facts::default();
        let second = seen.at / 1000;
        for (labels, count) in &seen.news.budgets {
            let [upstream] = &**labels;
            self.retries.add(&upstream.as_str().into(), second, *count);
        }
        {
            let core = control.monitor.lock();
            for (key, present) in core.all_present() {
                measured(&mut facts, &core, key, present);
            }
            system(&mut facts, seen, &core);
        }
        for upstream in &seen.upstreams {
            self.upstream(&mut facts, upstream, control.failover.fleet(&upstream.name).as_ref(), second);
        }
        self.gone(seen, config);
        let counted = |windows: &mut Windows<()>, total| windows.total(&(), second, total) as f64;
        facts.put(Signal::DeadLettersNew, Subject::SYSTEM, counted(&mut self.dead, seen.spool.dead_letters));
        let audit = control.audit.standing();
        let lost = counted(&mut self.unwritten, audit.lost);
        let failing = if audit.error.is_some() { 1.0 } else { 0.0 };
        let why = audit.error.unwrap_or_default();
        facts.because(Signal::AuditUnwritten, Subject::SYSTEM, lost + failing, why);
        let damage = audit.damage.clone().unwrap_or_default();
        let damaged = f64::from(u8::from(audit.damage.is_some()));
        facts.because(Signal::AuditDamaged, Subject::SYSTEM, damaged, damage);
        facts.flag(Signal::JournalFailed, Subject::SYSTEM, control.failover.journal_failed());
        let full = control.store().and_then(|store| store.stats().full).filter(|full| *full != Full::Message);
        let limit = full.map_or(String::new(), |full| format!("the limit of {} is reached", full.word()));
        facts.because(Signal::SpoolFull, Subject::SYSTEM, f64::from(u8::from(full.is_some())), limit);
        let rejected = control.config_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let line = rejected.as_deref().and_then(|text| text.lines().next()).unwrap_or_default().to_owned();
        facts.because(Signal::ConfigRejected, Subject::SYSTEM, f64::from(u8::from(rejected.is_some())), line);
        for (name, total) in control.webhooks.untold() {
            let untold = self.webhooks.total(&name, second, total) as f64;
            facts.put(Signal::WebhookUntold, Subject::named(&name), untold);
        }
        for (name, total) in control.receivers.untold() {
            let untold = self.receivers.total(&name, second, total) as f64;
            facts.put(Signal::ReceiverUntold, Subject::named(&name), untold);
        }
        facts
    }

    fn upstream(&mut self, facts: &mut Facts, upstream: &UpstreamNow, fleet: Option<&FleetView>, second: u64) {
        let subject = Subject::upstream(&upstream.name);
        let usable = upstream.masters.iter().filter(|master| master.admission.tier() != Tier::Out).count();
        let cause = if usable == 0 { why_none(&upstream.masters) } else { String::new() };
        facts.because(Signal::UsableMasters, subject.clone(), usable as f64, cause);
        let refused = self.retries.add(&upstream.name, second, 0) as f64;
        facts.put(Signal::RetriesRefused, subject.clone(), refused);
        for (position, master) in upstream.masters.iter().enumerate() {
            let given_up = fleet.and_then(|fleet| fleet.members.get(position)).map(|it| it.recovery == "given-up");
            self.master(facts, &upstream.name, master, given_up, second);
        }
        let Some(fleet) = fleet else { return };
        let standbys = fleet.groups.iter().map(|group| group.standbys).min().unwrap_or(0);
        facts.put(Signal::Standbys, subject.clone(), standbys as f64);
        let mut stuck = fleet.groups.iter().filter(|group| group.state == GroupState::Stuck);
        let (count, cause) = (stuck.clone().count(), stuck.next().map_or(String::new(), |group| group.cause.clone()));
        facts.because(Signal::StuckGroups, subject.clone(), count as f64, cause);
        let failovers = self.epochs.total(&upstream.name, second, u64::from(fleet.epoch));
        facts.put(Signal::Failovers, subject, failovers as f64);
    }

    fn master(
        &mut self,
        facts: &mut Facts,
        upstream: &Arc<str>,
        master: &MasterNow,
        given_up: Option<bool>,
        second: u64,
    ) {
        let (admission, subject) = (master.admission, Subject::master(upstream, &master.name));
        if admission.operator() == OperatorState::Ready {
            let failed = admission.dead() || admission.health() == Health::Failed;
            let why = if admission.dead() { "it refuses connections" } else { "it fails its probes" };
            let why = if failed { why.to_owned() } else { String::new() };
            facts.because(Signal::MasterFailed, subject.clone(), f64::from(u8::from(failed)), why);
            facts.flag(Signal::CircuitOpen, subject.clone(), admission.circuit() == Circuit::Open);
        }
        facts.put(Signal::FailuresInRow, subject.clone(), f64::from(master.failures_in_row));
        if let Some(given_up) = given_up {
            facts.flag(Signal::RecoveryGivenUp, subject.clone(), given_up);
        }
        let before = self.health.insert(subject.clone(), admission.health());
        let turned = before.is_some_and(|before| before != Health::Unknown && before != admission.health());
        let turns = self.turns.add(&subject, second, u64::from(turned));
        facts.put(Signal::HealthChanges, subject, turns as f64);
    }

    /// Forgets what is no longer configured.
    fn gone(&mut self, seen: &Observation, config: &model::Config) {
        self.webhooks.keep(|name| config.event_webhooks.iter().any(|webhook| webhook.name == *name));
        self.receivers.keep(|name| config.alerts.receivers.iter().any(|receiver| receiver.name == *name));
        if seen.upstreams.iter().map(|upstream| upstream.masters.len()).sum::<usize>() == self.health.len() {
            return;
        }
        let upstream = |name: &str| seen.upstreams.iter().find(|upstream| *upstream.name == *name);
        let known = |subject: &Subject| {
            let upstream = subject.upstream.as_deref().and_then(upstream);
            upstream.is_some_and(|it| it.masters.iter().any(|master| Some(&master.name) == subject.master.as_ref()))
        };
        self.health.retain(|subject, _| known(subject));
        self.turns.keep(known);
        self.epochs.keep(|name| upstream(name).is_some());
        self.retries.keep(|name| upstream(name).is_some());
    }
}

/// What the monitor has measured anyway.
fn measured(facts: &mut Facts, core: &Core, key: &Key, present: &Present) {
    let subject = match key {
        Key::System => Subject::SYSTEM,
        Key::Upstream(name) => Subject::upstream(name),
        Key::Route(name) => Subject::route(name),
        Key::Master(upstream, name) => Subject::master(upstream, name),
    };
    let rates = &present.rates;
    let requests = core.series(key).map_or(0, |series| series.sums(MINUTE as usize).0);
    if let Some(ratio) = rates.error_ratio.filter(|_| requests >= REQUESTS_MIN) {
        facts.put(Signal::ErrorPercent, subject.clone(), 100.0 * ratio);
    }
    for (signal, micros) in [(Signal::LatencyP50, rates.p50_micros), (Signal::LatencyP99, rates.p99_micros)] {
        if let Some(micros) = micros {
            facts.put(signal, subject.clone(), micros as f64 / 1000.0);
        }
    }
    facts.put(Signal::RequestRate, subject.clone(), rates.requests_per_second);
    if matches!(key, Key::Route(_)) {
        return;
    }
    facts.put(Signal::InFlight, subject.clone(), rates.in_flight as f64);
    facts.put(Signal::Queued, subject.clone(), rates.queued as f64);
    if let Some(distribution) = &present.distribution {
        let cause = distribution.reasons.first().cloned().unwrap_or_default();
        facts.because(Signal::Distribution, subject.clone(), f64::from(distribution.quality), cause);
    }
    let cause = present.score.reasons.first().map_or(String::new(), |reason| reason.text.clone());
    facts.because(Signal::HealthScore, subject, f64::from(present.score.points), cause);
}

/// What is about Baton as a whole.
fn system(facts: &mut Facts, seen: &Observation, core: &Core) {
    let whole = Subject::SYSTEM;
    let (system, pending) = (&seen.system, seen.spool.pending as f64);
    facts.put(Signal::Backlog, whole.clone(), pending);
    facts.put(Signal::BacklogAge, whole.clone(), system.oldest_seconds.floor());
    let before =
        core.series(&Key::System).map(|series| series.ring(Pace::Second).get(seen.at / 1000 - GROWTH_MINUTES * MINUTE));
    if let Some(before) = before.filter(crate::monitor::sample::Sample::is_there) {
        let growth = (pending - before.pending() as f64) / GROWTH_MINUTES as f64;
        facts.put(Signal::BacklogGrowth, whole.clone(), growth);
    }
    facts.put(Signal::DeadLetters, whole.clone(), seen.spool.dead_letters as f64);
    let failed = f64::from(u8::from(system.spool_failed.is_some()));
    facts.because(Signal::SpoolFailed, whole.clone(), failed, system.spool_failed.clone().unwrap_or_default());
    facts.put(Signal::DiskPercent, whole.clone(), f64::from(seen.spool.disk_percent));
    facts.put(Signal::CertificatesStale, whole.clone(), system.stale_certificates as f64);
    facts.put(Signal::LogLinesLost, whole, system.log_lines_lost as f64);
    let mut ends: HashMap<&str, i64> = HashMap::new();
    for (name, seconds) in &system.certificates {
        ends.entry(name).and_modify(|end| *end = (*end).min(*seconds)).or_insert(*seconds);
    }
    for (name, seconds) in ends {
        facts.put(Signal::CertificateDays, Subject::named(name), seconds.div_euclid(86_400) as f64);
    }
}

/// Why no master can be used, by the first of them.
fn why_none(masters: &[MasterNow]) -> String {
    let why = masters.iter().map(|master| (&master.name, score::of_master(master.admission).1));
    let why: Vec<_> = why.filter(|(_, why)| !why.is_empty()).map(|(name, why)| format!("{name} {why}")).collect();
    let more = why.len().saturating_sub(NAMED_MAX);
    let named = why.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}

fn event(change: &Change) -> Event {
    let Change { what, alert } = change;
    let (kind, severity, verb) = match what {
        What::Raised => (Kind::AlertRaised, alert.severity, "raised"),
        What::Escalated => (Kind::AlertEscalated, alert.severity, "escalated: nobody has acknowledged it"),
        What::Resolved => (Kind::AlertResolved, Severity::Info, "resolved"),
    };
    of_alert(alert, Event::new(kind, severity, format!("alert {} {verb}: {}", alert.rule, alert.summary)))
}

fn of_alert(alert: &Alert, mut event: Event) -> Event {
    (event.upstream, event.master, event.route) = (alert.upstream.clone(), alert.master.clone(), alert.route.clone());
    event.detail(json!({
        "id": alert.id, "rule": alert.rule, "labels": alert.all_labels(), "value": alert.value,
        "threshold": alert.threshold, "raised": alert.raised,
    }))
}
