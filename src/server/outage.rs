//! Says when an upstream has no master left, and when it has one again.
//!
//! The checker writes a line for each master. That the last one is gone is another matter: from then on requests fail.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::config::model::AllDown;
use crate::events::{self, Bus, Kind, Severity};
use crate::health::checker::{Change, Event};
use crate::snapshot::{Snapshot, Upstream};
use crate::upstream::admission::{Health, Tier};

/// Upstreams that are known to have no usable master.
#[derive(Debug, Default)]
pub struct Outages(Mutex<BTreeSet<String>>);

/// What became of an upstream.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Down,
    Up,
}

impl Outages {
    /// Looks at the upstream of a master that changed, and logs and tells it if that decided something.
    pub fn observe(&self, change: &Change, snapshot: &Snapshot, bus: &Bus) {
        if matches!(change.event, Event::Probed { .. } | Event::Suspected | Event::Cleared) {
            return;
        }
        let name = change.master.upstream();
        // Where others stand by, failover tells whether nobody takes over.
        let is_meant =
            |upstream: &&std::sync::Arc<Upstream>| upstream.settings.name == *name && upstream.owners.is_none();
        let Some(upstream) = snapshot.upstreams.iter().find(is_meant) else { return };
        let (kind, severity, what) = match (self.turn(name, usable(upstream)), upstream.settings.all_down) {
            (Some(Turn::Down), AllDown::Reject) => {
                (Kind::UpstreamDown, Severity::Critical, "no master can be used; its requests are answered 503")
            }
            (Some(Turn::Down), AllDown::Panic) => {
                let what = "no master can be used; requests go to failed ones (all_down: panic)";
                (Kind::UpstreamDown, Severity::Critical, what)
            }
            (Some(Turn::Up), _) => (Kind::UpstreamUp, Severity::Info, "has a usable master again"),
            (None, _) => return,
        };
        match severity {
            Severity::Critical => tracing::error!("upstream {name}: {what}"),
            _ => tracing::info!("upstream {name}: {what}"),
        }
        bus.publish(events::Event::new(kind, severity, format!("upstream {name}: {what}")).upstream(name));
    }

    /// Keeps the state of an upstream; some, when it is another one than before.
    fn turn(&self, name: &str, usable: Option<bool>) -> Option<Turn> {
        let mut down = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match usable? {
            true => down.remove(name).then_some(Turn::Up),
            false => down.insert(name.to_owned()).then_some(Turn::Down),
        }
    }
}

/// Whether any master takes requests; none as long as that may only be a matter of the first probes.
fn usable(upstream: &Upstream) -> Option<bool> {
    let admissions = || upstream.masters.iter().map(|master| master.admission());
    if admissions().any(|admission| admission.tier() != Tier::Out) {
        return Some(true);
    }
    (!admissions().any(|admission| admission.health() == Health::Unknown)).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_when_it_begins_and_once_when_it_ends() {
        let outages = Outages::default();
        let turns = [Some(true), Some(false), Some(false), None, Some(true), Some(true)];
        assert_eq!(
            turns.map(|usable| outages.turn("bots", usable)),
            [None, Some(Turn::Down), None, None, Some(Turn::Up), None]
        );
    }
}
