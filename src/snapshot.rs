//! One numbered generation of everything the data path reads.
//!
//! A snapshot is built whole from a configuration, published once and never changed. What must outlive it is shared with
//! the next one by identity:
//!
//! * a master keeps its health, counts and queue as long as its upstream's name and its address stay, whatever happens to
//!   its name, weight or priority. One address in two upstreams is two masters: each upstream probes and limits it for
//!   itself;
//! * an upstream keeps its retry budget as long as its name stays, its pins as long as its affinity settings stay too, and
//!   its strategy's state as long as nothing about it changes;
//! * a listener goes on counting its clients' connections as long as its name stays;
//! * a route goes on counting requests as long as its name and its rate limit stay;
//! * what has one owner at a time keeps it as long as its upstream's name and its own stay: who that is stands in a cell that
//!   all generations share.
//!
//! What is shared has one set of limits and rules, those of the newest build: exchanges that began under an older
//! generation go by them as well. So a snapshot is built to be published, after everything that can fail.

use std::net::IpAddr;
use std::sync::Arc;

use crate::balance::accounts::Accounts;
use crate::balance::affinity::Pins;
use crate::balance::{Balancer, Options, Set, Spec};
use crate::clock::{self, Micros};
use crate::config::model::{self, Config};
use crate::exchange::budget::Budget;
use crate::limits::gate::Gate;
use crate::limits::guard::Guard;
use crate::routing::RouteTable;
use crate::spool::Spool;
use crate::tls::client::MasterTls;
use crate::upstream::admission::{Admission, Role, Tier};
use crate::upstream::master::{Master, Policy};
use crate::upstream::owner::Owner;
use crate::upstream::owners::Owners;
use crate::whatsapp::aliases::Aliases;

/// Identifiers of people that are remembered at once.
const ALIASES_MAX: usize = 1_000_000;

/// How long one is remembered that is not seen again: a person who writes every few weeks is still the same one.
const ALIASES_TTL: Micros = 90 * 86_400 * 1_000_000;

/// A generation. Indices into `config.routes` and `config.listeners` are those of the route table.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts up by one with each publish; the first is 1.
    pub generation: u64,
    pub config: Arc<Config>,
    pub routes: Arc<RouteTable>,
    /// By listener.
    pub gates: Vec<Arc<Gate>>,
    /// By route; `None` where nothing is asked of a request.
    pub guards: Vec<Option<Arc<Guard>>>,
    /// In the order of `config.upstreams`.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Where messages are stored, if any route stores some.
    pub spool: Option<Spool>,
    /// Who is who in all accounts.
    pub aliases: Arc<Aliases>,
}

/// A set of masters with one policy.
#[derive(Debug)]
pub struct Upstream {
    pub settings: model::Upstream,
    /// In the order of `settings.masters`.
    pub masters: Vec<Arc<Master>>,
    /// In the same order: how TLS is spoken with each, if it is.
    pub tls: Vec<Option<Arc<MasterTls>>>,
    pub balancer: Balancer,
    pub budget: Arc<Budget>,
    pub pins: Option<Arc<Pins>>,
    /// `None`: every master takes the messages of every account.
    pub accounts: Option<Accounts>,
    /// Who serves, where that is one master at a time.
    pub owners: Option<Owners>,
}

/// Who may get something.
#[derive(Debug, Clone, Copy, Default)]
pub struct Takers<'a> {
    /// `None` for all.
    pub allowed: Option<&'a Set>,
    /// The one that gets it, where one does.
    pub owner: Option<&'a Arc<Owner>>,
}

impl Snapshot {
    /// Builds the generation after `previous`, which hands its masters and budgets over: they take up the new settings
    /// here. `tls` is what [`crate::tls::client::of_masters`] made of each upstream.
    #[must_use]
    pub fn build(config: Config, tls: Vec<Vec<Option<Arc<MasterTls>>>>, previous: Option<&Self>) -> Self {
        let upstreams = config
            .upstreams
            .iter()
            .zip(tls)
            .map(|(settings, tls)| {
                let before = previous.and_then(|snapshot| {
                    snapshot.upstreams.iter().find(|upstream| upstream.settings.name == settings.name)
                });
                match before {
                    Some(before) if before.settings == *settings && before.tls == tls => before.clone(),
                    before => Arc::new(Upstream::build(settings.clone(), tls, before.map(|upstream| &**upstream))),
                }
            })
            .collect();
        let gates = config
            .listeners
            .iter()
            .map(|listener| Gate::build(listener, previous.and_then(|snapshot| snapshot.gate(&listener.name))))
            .collect();
        let guards = config
            .routes
            .iter()
            .map(|route| {
                let before = previous.and_then(|snapshot| snapshot.guard(&route.name));
                Guard::build(route, before)
            })
            .collect();
        Self {
            generation: previous.map_or(1, |snapshot| snapshot.generation + 1),
            routes: Arc::new(RouteTable::build(&config.routes, &config.listeners)),
            gates,
            guards,
            upstreams,
            spool: previous.and_then(|snapshot| snapshot.spool.clone()),
            aliases: previous.map_or_else(|| Arc::new(Aliases::new(ALIASES_MAX, ALIASES_TTL)), |it| it.aliases.clone()),
            config: Arc::new(config),
        }
    }

    /// The same with this number, where numbers go on from an earlier process.
    #[must_use]
    pub fn numbered(self, generation: u64) -> Self {
        Self { generation, ..self }
    }

    /// The same generation with another store, which comes and goes with what this process owns and not with its
    /// configuration.
    #[must_use]
    pub fn with_spool(&self, spool: Option<Spool>) -> Self {
        Self {
            generation: self.generation,
            config: self.config.clone(),
            routes: self.routes.clone(),
            gates: self.gates.clone(),
            guards: self.guards.clone(),
            upstreams: self.upstreams.clone(),
            aliases: self.aliases.clone(),
            spool,
        }
    }

    /// The gate of the listener with this name.
    #[must_use]
    pub fn gate(&self, listener: &str) -> Option<&Gate> {
        let position = self.config.listeners.iter().position(|known| known.name == listener)?;
        self.gates.get(position).map(|gate| &**gate)
    }

    /// Whether a connection of this sender to this listener begins with a PROXY header.
    #[must_use]
    pub fn expects_header(&self, listener: &str, sender: Option<IpAddr>) -> bool {
        let listener = self.config.listeners.iter().find(|known| known.name == listener);
        listener.and_then(|listener| listener.proxy_protocol.as_ref()).is_some_and(|rule| rule.expects(sender))
    }

    fn guard(&self, route: &str) -> Option<&Guard> {
        let position = self.config.routes.iter().position(|known| known.name == route)?;
        self.guards[position].as_deref()
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
    fn build(settings: model::Upstream, tls: Vec<Option<Arc<MasterTls>>>, before: Option<&Self>) -> Self {
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
        // One that is the same keeps its sessions.
        let kept = |(tls, master): (Option<Arc<MasterTls>>, &model::Master)| {
            let known = before.and_then(|before| {
                let position = before.settings.masters.iter().position(|known| known.address == master.address)?;
                before.tls.get(position)?.clone()
            });
            if known == tls { known } else { tls }
        };
        let tls = tls.into_iter().zip(&settings.masters).map(kept).collect();
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
        let names = || settings.masters.iter().map(|master| &*master.accounts);
        let accounts = Accounts::new(names());
        let before = before.and_then(|before| before.owners.as_ref());
        let owners = settings.failover.as_ref().map(|_| Owners::new(names(), before));
        Self { settings, masters, tls, balancer, budget, pins, accounts, owners }
    }

    /// Whether it has a usable master besides the one at `position`, or one that can take over: the last one is not ejected.
    #[must_use]
    pub fn others_usable(&self, position: usize) -> bool {
        let usable = |master: &Master| self.standing_of(master).tier() <= Tier::Reserved;
        self.masters.iter().enumerate().any(|(other, master)| other != position && usable(master))
    }

    /// A master's admission, a standby's as if it were active: it is as well as that.
    #[must_use]
    pub fn standing_of(&self, master: &Master) -> Admission {
        let admission = master.admission();
        match admission.role() {
            Role::Standby if self.owners.is_some() => admission.with_role(Role::Active, admission.epoch()),
            _ => admission,
        }
    }

    /// Whether some master can be used at all.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.masters.iter().any(|master| self.standing_of(master).tier() != Tier::Out)
    }

    /// The masters that may get what is of this account. `is_general`: it is about the account as a whole, and in no
    /// conversation; such things may name the account otherwise than its messages do.
    #[must_use]
    pub fn takers(&self, account: Option<&str>, is_general: bool) -> Takers<'_> {
        let sole = self.owners.as_ref().and_then(Owners::sole);
        let (Some(accounts), Some(account)) = (&self.accounts, account) else {
            return Takers { allowed: None, owner: sole };
        };
        if is_general && !accounts.is_known(account) {
            return Takers { allowed: None, owner: sole };
        }
        let group = self.owners.as_ref().and_then(|owners| owners.of(account));
        Takers { allowed: Some(accounts.of(account)), owner: group.map(|group| &group.owner) }
    }

    /// Position of the master with this name.
    #[must_use]
    pub fn position_of(&self, name: &str) -> Option<usize> {
        self.settings.masters.iter().position(|master| master.name == name)
    }

    /// Position of the master with this id.
    #[must_use]
    pub fn position(&self, id: u32) -> Option<usize> {
        self.masters.iter().position(|master| master.id() == id)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, System};
    use crate::upstream::admission::Health;

    fn build(config: Config, previous: Option<&Snapshot>) -> Snapshot {
        let tls = config.upstreams.iter().map(|upstream| vec![None; upstream.masters.len()]).collect();
        Snapshot::build(config, tls, previous)
    }

    const A: &str = "{ name: a, address: 127.0.0.1:1 }";
    const B: &str = "{ name: b, address: 127.0.0.1:2 }";

    fn config(upstreams: &[(&str, &[&str], &str)]) -> Config {
        let upstream = |(name, masters, more): &(&str, &[&str], &str)| {
            format!("  - {{ name: {name}, masters: [{}], {more} }}\n", masters.join(", "))
        };
        let text = format!(
            "listeners: [{{ name: gateway, address: \"127.0.0.1:0\" }}]\n\
             routes: [{{ name: all, upstream: {} }}]\nupstreams:\n{}",
            upstreams[0].0,
            upstreams.iter().map(upstream).collect::<String>(),
        );
        match config::parse(&text, Path::new("baton.yaml"), &System) {
            Ok(loaded) => loaded.config,
            Err(diagnostics) => panic!("{diagnostics}"),
        }
    }

    fn bots(masters: &[&str], more: &str) -> Config {
        config(&[("bots", masters, more)])
    }

    fn same_master(one: (&Snapshot, usize), other: (&Snapshot, usize)) -> bool {
        Arc::ptr_eq(&one.0.upstreams[0].masters[one.1], &other.0.upstreams[0].masters[other.1])
    }

    #[test]
    fn an_upstream_that_did_not_change_is_the_same_one() {
        let before = build(config(&[("bots", &[A], ""), ("others", &[B], "")]), None);
        let after = build(config(&[("bots", &[A, B], ""), ("others", &[B], "")]), Some(&before));
        assert_eq!((before.generation, after.generation), (1, 2));
        assert!(!Arc::ptr_eq(&before.upstreams[0], &after.upstreams[0]));
        assert!(Arc::ptr_eq(&before.upstreams[1], &after.upstreams[1]));
    }

    #[test]
    fn a_master_is_known_by_its_address_wherever_it_stands_and_whatever_its_name() {
        let before = build(bots(&[A, B], ""), None);
        before.upstreams[0].masters[0].set_health(Health::Failed, 0);
        let renamed = "{ name: elder, address: 127.0.0.1:1, weight: 7 }";
        let after = build(bots(&[B, renamed], ""), Some(&before));
        assert!(same_master((&before, 0), (&after, 1)) && same_master((&before, 1), (&after, 0)));
        assert_eq!(after.upstreams[0].masters[1].admission().health(), Health::Failed);
    }

    #[test]
    fn another_address_is_another_master_that_inherits_nothing() {
        let before = build(bots(&[A], ""), None);
        before.upstreams[0].masters[0].set_health(Health::Failed, 0);
        let after = build(bots(&["{ name: a, address: 127.0.0.1:3 }"], ""), Some(&before));
        assert!(!same_master((&before, 0), (&after, 0)));
        assert_ne!(after.upstreams[0].masters[0].admission().health(), Health::Failed);
        assert_eq!(after.upstreams[0].position(before.upstreams[0].masters[0].id()), None);
    }

    #[test]
    fn one_address_in_two_upstreams_is_two_masters() {
        let snapshot = build(config(&[("bots", &[A], ""), ("others", &[A], "")]), None);
        let [bots, others] = &snapshot.upstreams[..] else { panic!("two upstreams were configured") };
        assert!(bots.masters[0].permits().try_acquire());
        assert_eq!((bots.masters[0].permits().in_flight(), others.masters[0].permits().in_flight()), (1, 0));
    }

    #[test]
    fn kept_masters_and_budgets_take_up_new_settings() {
        let before = build(bots(&[A], "limits: { max_in_flight: 3 }"), None);
        let more = "limits: { max_in_flight: 5 }, retry: { budget: { min_retry_rate: 0 } }";
        let after = build(bots(&[A], more), Some(&before));
        assert!(same_master((&before, 0), (&after, 0)));
        assert_eq!(before.upstreams[0].masters[0].permits().max_in_flight(), 5);
        assert!(Arc::ptr_eq(&before.upstreams[0].budget, &after.upstreams[0].budget));
        assert_eq!(after.upstreams[0].budget.available(0), 0);
    }

    #[test]
    fn pins_outlive_every_change_but_one_of_the_affinity_itself() {
        let pins = |snapshot: &Snapshot| snapshot.upstreams[0].pins.clone().unwrap();
        let first = build(bots(&[A], "affinity: { key: client-ip }"), None);
        let second = build(bots(&[A, B], "affinity: { key: client-ip }"), Some(&first));
        assert!(Arc::ptr_eq(&pins(&first), &pins(&second)));
        let third = build(bots(&[A, B], "affinity: { key: \"header:x-chat\" }"), Some(&second));
        assert!(!Arc::ptr_eq(&pins(&second), &pins(&third)));
    }
}
