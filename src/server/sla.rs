//! What the ledger of availability is told each second: made of what the monitor has seen and of what the configuration promises.

use std::collections::HashMap;

use crate::clock::UnixMillis;
use crate::config::model::{Delivery, Sla};
use crate::monitor::core;
use crate::monitor::observation::{Observation, UpstreamNow};
use crate::monitor::sample::Tally;
use crate::monitor::series::Key;
use crate::sla::ledger::Seen;
use crate::sla::maintenance;
use crate::sla::standing::{self, Standing};
use crate::snapshot::Snapshot;

/// How everything of this generation stands, and what it did since the look before.
pub fn seen(snapshot: &Snapshot, observation: &Observation) -> Vec<Seen> {
    let mut tallies = core::tallies(observation);
    let mut all = Vec::new();
    let mut see = |key: Key, standing: Standing| {
        let Tally { requests, errors, .. } = tallies.remove(&key).unwrap_or_default();
        all.push(Seen { key, requests, failed: errors, standing });
    };
    let mut upstreams: HashMap<&str, Standing> = HashMap::new();
    for upstream in &observation.upstreams {
        let settings = snapshot.config.upstreams.iter().find(|settings| *settings.name == *upstream.name);
        let planned =
            settings.and_then(|settings| settings.sla.as_ref()).is_some_and(|sla| goes_on(sla, observation.at));
        let or_planned = |standing: Standing| if planned { Standing::Excluded } else { standing };
        for master in &upstream.masters {
            let standing = or_planned(standing::of_master(master.admission));
            see(Key::Master(upstream.name.clone(), master.name.clone()), standing);
        }
        let standing = or_planned(of_upstream(upstream));
        upstreams.insert(&upstream.name, standing);
        see(Key::Upstream(upstream.name.clone()), standing);
    }
    let can_store = observation.system.spool_failed.is_none() && observation.system.spool_full.is_none();
    for route in &snapshot.config.routes {
        let stores = can_store && route.delivery != Delivery::Inline;
        let names = route.to.upstreams().filter_map(|index| Some(&*snapshot.config.upstreams.get(index)?.name));
        let standings: Vec<_> = names.filter_map(|name| upstreams.get(name).copied()).collect();
        let planned = route.sla.as_ref().is_some_and(|sla| goes_on(sla, observation.at));
        let standing = if planned { Standing::Excluded } else { standing::of_route(&standings, stores) };
        see(Key::Route(route.name.as_str().into()), standing);
    }
    all
}

fn of_upstream(upstream: &UpstreamNow) -> Standing {
    let masters: Vec<_> = upstream.masters.iter().map(|master| master.admission).collect();
    standing::of_upstream(&masters)
}

/// Whether announced work goes on.
pub fn goes_on(sla: &Sla, at: UnixMillis) -> bool {
    maintenance::any(&sla.maintenance, at / 1000)
}
