//! What the control plane sees, counted and told: masters that change, and the spool as it fills, empties or fails.

use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwap;
use serde_json::json;

use super::{Control, outage};
use crate::audit::{Author, Outcome};
use crate::events::{Bus, Event, Kind, Severity};
use crate::failover::orchestrator::Orchestrator;
use crate::health::checker::{Change, Event as Turn, OnChange};
use crate::health::counter::Sign;
use crate::snapshot::Snapshot;
use crate::spool::store::Full;
use crate::telemetry::{Telemetry, names};
use crate::upstream::admission::{Circuit, Health};

/// Counts probes and ejections, has failovers made, and tells of masters, and of upstreams without one; the checker itself logs
/// every master's changes.
pub fn on_change(
    telemetry: Arc<Telemetry>,
    published: Arc<ArcSwap<Snapshot>>,
    events: Arc<Bus>,
    failover: Arc<Orchestrator>,
) -> Arc<OnChange> {
    let outages = outage::Outages::default();
    Arc::new(move |change: &Change| {
        failover.nudge();
        let (upstream, master, cold) = (change.master.upstream(), &*change.name, &telemetry.cold);
        match change.event {
            Turn::Ejected => cold.counter(&names::MASTER_EJECTIONS, &[upstream, master]).increment(1),
            Turn::Probed { sign, micros } => {
                let outcome = match sign {
                    Sign::Healthy => "healthy",
                    Sign::Degraded => "degraded",
                    Sign::Failed => "failed",
                };
                cold.counter(&names::HEALTH_PROBES, &[upstream, master, outcome]).increment(1);
                cold.histogram(&names::HEALTH_PROBE_DURATION, &[upstream, master]).record(micros as f64 / 1e6);
            }
            _ => {}
        }
        if let Some(event) = told(change) {
            events.publish(event);
        }
        // After the event that led to it.
        outages.observe(change, &published.load(), &events);
    })
}

/// The event for a change; none for what comes and goes with every second request.
fn told(change: &Change) -> Option<Event> {
    let (kind, severity) = match change.event {
        Turn::Health(Health::Failed | Health::Degraded) => (Kind::MasterHealth, Severity::Warning),
        Turn::Health(Health::Unknown | Health::Healthy) => (Kind::MasterHealth, Severity::Info),
        Turn::Ejected => (Kind::MasterEjected, Severity::Warning),
        Turn::Returned => (Kind::MasterReturned, Severity::Info),
        Turn::Circuit(Circuit::Open) => (Kind::CircuitOpened, Severity::Warning),
        Turn::Circuit(Circuit::HalfOpen) => (Kind::CircuitHalfOpen, Severity::Info),
        Turn::Circuit(Circuit::Closed) => (Kind::CircuitClosed, Severity::Info),
        Turn::Suspected | Turn::Cleared | Turn::Probed { .. } => return None,
    };
    let health = match change.admission.health() {
        Health::Unknown => "unknown",
        Health::Healthy => "healthy",
        Health::Degraded => "degraded",
        Health::Failed => "failed",
    };
    let detail = json!({ "health": health, "evidence": change.evidence });
    let event = Event::new(kind, severity, change.to_string()).upstream(change.master.upstream()).master(&*change.name);
    Some(event.detail(detail))
}

/// How the spool stood when it was last looked at.
#[derive(Debug, Default)]
pub struct SpoolWatch {
    failed: bool,
    full: Option<Full>,
}

impl SpoolWatch {
    /// What has changed about it.
    fn look(&mut self, failed: Option<&str>, full: Option<Full>) -> Vec<Event> {
        // One message that is too large says nothing about room.
        let full = full.filter(|full| *full != Full::Message);
        let mut events = Vec::new();
        if let Some(cause) = failed.filter(|_| !self.failed) {
            let message = format!("the spool has failed: {cause}; nothing is stored until Baton is started again");
            events.push(Event::new(Kind::SpoolFailed, Severity::Critical, message));
        }
        match (self.full, full) {
            (before, Some(full)) if before != Some(full) => {
                let message = format!("the spool has no room ({}); messages are answered 503", full.word());
                let event = Event::new(Kind::SpoolFull, Severity::Critical, message);
                events.push(event.detail(json!({ "limit": full.word() })));
            }
            (Some(_), None) => {
                events.push(Event::new(Kind::SpoolRoom, Severity::Info, "the spool has room again"));
            }
            _ => {}
        }
        *self = Self { failed: failed.is_some(), full };
        events
    }
}

impl Control {
    /// This process serves from now on.
    pub fn started(&self, generation: u64) {
        let version = env!("CARGO_PKG_VERSION");
        let message = format!("Baton {version} serves configuration generation {generation}");
        let event = Event::new(Kind::ProcessStarted, Severity::Info, message);
        self.events.publish(event.detail(json!({ "version": version, "generation": generation })));
        self.audit_process("process.start");
        self.supervisor.ready(generation);
    }

    /// Writes into the audit trail that this process begins or ends.
    pub fn audit_process(&self, action: &str) {
        let (pid, version) = (std::process::id(), env!("CARGO_PKG_VERSION"));
        let generation = self.published.load().generation;
        let state = json!({ "pid": pid, "version": version, "generation": generation });
        let author = Author::own("process");
        self.audit.record(&author.entry(action, "process", (json!(null), state), Outcome::Done));
    }

    /// Tells what has changed about the spool; call it every second.
    pub fn observe_spool(&self) {
        let Some(store) = self.store() else { return };
        let stats = store.stats();
        let mut watch = self.spool_watch.lock().unwrap_or_else(PoisonError::into_inner);
        let told = watch.look(stats.failed.as_deref(), stats.full);
        for event in told {
            self.events.publish(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_spool_is_told_once_and_so_is_its_end_and_its_failure() {
        let mut watch = SpoolWatch::default();
        let mut look =
            |full, failed: Option<&str>| watch.look(failed, full).iter().map(|event| event.kind).collect::<Vec<_>>();
        assert_eq!(look(None, None), []);
        assert_eq!(look(Some(Full::Disk), None), [Kind::SpoolFull]);
        assert_eq!(look(Some(Full::Disk), None), []);
        assert_eq!(look(Some(Full::Message), None), [Kind::SpoolRoom]);
        assert_eq!(look(None, None), []);
        assert_eq!(look(None, Some("no space left")), [Kind::SpoolFailed]);
        assert_eq!(look(None, Some("no space left")), []);
    }
}
