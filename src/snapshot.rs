//! One numbered generation of everything the data path reads.
//!
//! A snapshot is built whole from a configuration, published once and never changed. What must outlive it is shared with
//! the next one by identity: a master keeps its health, counters and limits as long as its upstream and address stay,
//! whatever happens to its name, weight or priority; an upstream keeps its retry budget and pins as long as its name
//! stays.

use std::sync::Arc;

use crate::balance::affinity::Pins;
use crate::balance::{Balancer, Options, Spec};
use crate::clock;
use crate::config::model::{self, Config};
use crate::exchange::budget::Budget;
use crate::routing::RouteTable;
use crate::upstream::master::{Master, Policy};

/// A generation. Indices into `config.routes` and `config.listeners` are those of the route table.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up by one with each publish; the first is 1.
    pub generation: u64,
    pub config: Arc<Config>,
    pub routes: RouteTable,
    /// In the order of `config.upstreams`.
    pub upstreams: Vec<Arc<Upstream>>,
}

/// A set of masters with one policy.
#[derive(Debug)]
pub struct Upstream {
    pub settings: model::Upstream,
    /// In the order of `settings.masters`.
    pub masters: Vec<Arc<Master>>,
    pub balancer: Balancer,
    pub budget: Arc<Budget>,
    pub pins: Option<Arc<Pins>>,
}

impl Snapshot {
    /// Builds the generation after `previous`.
    #[must_use]
    pub fn build(config: Config, previous: Option<&Self>) -> Self {
        let upstreams = config
            .upstreams
            .iter()
            .map(|settings| {
                let before = previous.and_then(|snapshot| {
                    snapshot.upstreams.iter().find(|upstream| upstream.settings.name == settings.name)
                });
                match before {
                    Some(before) if before.settings == *settings => before.clone(),
                    before => Arc::new(Upstream::build(settings.clone(), before.map(|upstream| &**upstream))),
                }
            })
            .collect();
        Self {
            generation: previous.map_or(1, |snapshot| snapshot.generation + 1),
            routes: RouteTable::build(&config.routes, &config.listeners),
            upstreams,
            config: Arc::new(config),
        }
    }

    /// Every master of every upstream.
    pub fn masters(&self) -> impl Iterator<Item = (&Upstream, &model::Master, &Arc<Master>)> {
        self.upstreams.iter().flat_map(|upstream| {
            upstream
                .settings
                .masters
                .iter()
                .zip(&upstream.masters)
                .map(move |(settings, master)| (&**upstream, settings, master))
        })
    }
}

impl Upstream {
    fn build(settings: model::Upstream, before: Option<&Self>) -> Self {
        let (name, policy): (Arc<str>, Policy) = (Arc::from(&*settings.name), Policy::of(&settings));
        let masters = settings
            .masters
            .iter()
            .map(|master| {
                let known =
                    before.and_then(|before| before.masters.iter().find(|known| *known.address() == master.address));
                match known {
                    Some(known) => {
                        known.set_policy(policy);
                        known.clone()
                    }
                    None => Arc::new(Master::new(Arc::clone(&name), master.address.clone(), policy)),
                }
            })
            .collect();
        let specs: Vec<Spec> = settings.masters.iter().map(Spec::of).collect();
        let pins = settings.affinity.as_ref().map(|affinity| {
            let kept = before
                .filter(|before| before.settings.affinity.as_ref() == Some(affinity))
                .and_then(|before| before.pins.clone());
            kept.unwrap_or_else(|| Arc::new(Pins::new(affinity.max_pins, clock::micros(affinity.ttl))))
        });
        let budget = match before {
            Some(before) => {
                before.budget.configure(&settings.retry.budget);
                before.budget.clone()
            }
            None => Arc::new(Budget::new(&settings.retry.budget)),
        };
        let balancer = Balancer::new(settings.strategy, &specs, Options::of(&settings));
        Self { settings, masters, balancer, budget, pins }
    }

    /// Position of the master with this id.
    #[must_use]
    pub fn position(&self, id: u32) -> Option<usize> {
        self.masters.iter().position(|master| master.id() == id)
    }
}
