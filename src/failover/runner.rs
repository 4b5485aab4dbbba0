//! One upstream's failover as it is carried out: the pure core beside the masters, cells and pins that it decides about.

use std::collections::HashMap;
use std::sync::Arc;

use super::fleet::{Act, Brought, Fleet, Handing, Moment, Plan, PlannedGroup, PlannedMaster, Rules, Step, View};
use super::hooks::call::Target;
use super::hooks::lanes::Member;
use super::hooks::work::Order;
use super::plan::Facts;
use super::record::{Moved, Past};
use super::recovery;
use crate::balance::accounts::EVERY;
use crate::balance::affinity::{MasterId, Pins};
use crate::clock;
use crate::config::model::{Failback, Failover, Hooks};
use crate::snapshot::Upstream;
use crate::upstream::admission::Role;
use crate::upstream::owner::Holders;
use crate::upstream::owners::{Group, Owners};

/// How often pins are looked for that came to a master while others were taken from it.
const LOOKS: usize = 3;

/// An upstream with `failover`.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) fleet: Fleet,
    upstream: Arc<Upstream>,
    /// By group, what [`Step::Unpin`] puts back.
    moved: HashMap<usize, (MasterId, MasterId, Vec<u64>)>,
}

/// Pins that were taken from a master.
struct Taken {
    from: MasterId,
    /// Who has them now; `None` where they are dropped.
    to: Option<MasterId>,
    hashes: Vec<u64>,
    /// None is left.
    all: bool,
}

/// What the configuration says of an upstream; `None` where it has no failover.
fn plan(upstream: &Upstream) -> Option<Plan> {
    let settings = &upstream.settings;
    let Failover { mode: _, deadline, failback, stable_after, recovery, hooks } = settings.failover.as_ref()?;
    let names = |position: usize| &settings.masters[position].accounts;
    let group = |group: &Group| PlannedGroup {
        name: group.name.to_string(),
        accounts: group.accounts.iter().map(|account| account.to_string()).collect(),
        members: group
            .members
            .iter()
            .map(|member| (*member, !names(*member).iter().any(|name| name == EVERY)))
            .collect(),
    };
    let master = |master: &crate::config::model::Master| PlannedMaster {
        name: master.name.clone(),
        address: master.address.to_string(),
        priority: master.priority,
    };
    Some(Plan {
        upstream: settings.name.clone(),
        rules: Rules {
            deadline: clock::micros(*deadline),
            fails_back: *failback == Failback::Automatic,
            hooks: hooks.is_some(),
            recovery: recovery::Rules {
                timeout: clock::micros(recovery.timeout),
                max_attempts: recovery.max_attempts,
                stable_after: clock::micros(*stable_after),
            },
        },
        masters: settings.masters.iter().map(master).collect(),
        groups: upstream.owners.iter().flat_map(Owners::groups).map(group).collect(),
    })
}

impl Runner {
    /// The upstream in this configuration, after the one `before` or after what is known of it; `None` where it has no failover.
    pub(super) fn new(upstream: &Arc<Upstream>, before: Option<Self>, past: &Past) -> Option<Self> {
        let plan = plan(upstream)?;
        let fleet = match before {
            Some(before) => before.fleet.replan(plan),
            None => Fleet::new(plan, past),
        };
        Some(Self { fleet, upstream: upstream.clone(), moved: HashMap::new() })
    }

    pub(super) fn name(&self) -> &str {
        &self.upstream.settings.name
    }

    /// What is so now.
    pub(super) fn view(&self) -> View {
        let facts = |master: &Arc<crate::upstream::master::Master>| {
            let permits = master.permits();
            Facts {
                // What is confirmed is read last: it is withdrawn first.
                admission: master.admission(),
                confirmed: master.confirmed(),
                load: permits.in_flight().saturating_add(permits.queued()),
            }
        };
        let groups = self.upstream.owners.iter().flat_map(Owners::groups);
        View {
            moment: Moment { now: clock::now(), today: clock::unix_millis() },
            masters: self.upstream.masters.iter().map(facts).collect(),
            has_left: groups.map(|group| self.has_left(group)).collect(),
        }
    }

    /// Whether nothing of a group is under way at who leaves it.
    fn has_left(&self, group: &Group) -> bool {
        let Holders { owner, leaving } = group.owner.holders();
        let Some(leaving) = leaving else { return true };
        if !group.owner.close() {
            return false;
        }
        // What belongs to no conversation is not counted by group. It matters where the state goes over, and nobody owns it meanwhile.
        let serves = |other: &Group| {
            let Holders { owner, leaving: left } = other.owner.holders();
            other.name != group.name && [owner, left].contains(&Some(leaving))
        };
        let leaving_master = self.upstream.masters.iter().find(|master| master.id() == leaving);
        owner.is_some()
            || self.upstream.owners.iter().flat_map(Owners::groups).any(serves)
            || leaving_master.is_none_or(|master| master.permits().in_flight() == 0)
    }

    /// Carries out what cannot fail and concerns this upstream alone.
    pub(super) fn carry_out(&self, act: &Act) {
        let id = |master: Option<usize>| Some(self.upstream.masters.get(master?)?.id());
        let owner = |group: usize| Some(&self.upstream.owners.as_ref()?.groups().get(group)?.owner);
        match *act {
            Act::Role { master, role, fenced_in } => {
                if let Some(master) = self.upstream.masters.get(master) {
                    master.set_role(role, fenced_in);
                }
            }
            Act::Hand { group, owner: to, leaving } => {
                if let Some(owner) = owner(group) {
                    owner.hand(Holders { owner: id(to), leaving: id(leaving) });
                }
            }
            Act::ForgetLeaving { group } => {
                if let Some(owner) = owner(group) {
                    owner.forget_leaving();
                }
            }
            Act::Hopeless { group, hopeless } => {
                if let Some(owner) = owner(group) {
                    owner.set_hopeless(hopeless);
                }
            }
            Act::MovePins { from, to } => {
                // Where they are does not matter any more: whoever owns a group gets what is of it.
                let _ = self.move_pins(from, Some(to));
            }
            Act::Record(_) | Act::Do { .. } | Act::Tell(_) => {}
        }
    }

    /// Carries out a step that may fail and is done at once. [`Step::Sync`] and those that call hooks are not for here.
    pub(super) fn step(&mut self, group: usize, step: &Step) -> Result<Brought, String> {
        match step {
            Step::Sync | Step::Give(_) | Step::TakeBack(_) => Ok(Brought::default()),
            Step::Pins { from, to } => {
                let Some(Taken { from: from_id, to: to_id, hashes, all }) = self.move_pins(*from, *to) else {
                    return Ok(Brought::default());
                };
                let moved = self.verify(from_id, to_id, &hashes);
                self.moved.insert(group, (from_id, to_id.unwrap_or(from_id), hashes));
                if all {
                    moved.map(|moved| Brought { pins: Some(moved), given: None })
                } else {
                    Err(format!("pins kept coming to {}", self.fleet.plan().masters[*from].name))
                }
            }
            Step::Unpin => {
                if let (Some((from, to, hashes)), Some(pins)) = (self.moved.remove(&group), &self.upstream.pins) {
                    let now = clock::now();
                    hashes.into_iter().for_each(|hash| {
                        pins.set_instead(hash, to, from, now);
                    });
                }
                Ok(Brought::default())
            }
        }
    }

    /// What masters own themselves, if they have hooks for it.
    pub(super) fn hooks(&self) -> Option<&Hooks> {
        self.upstream.settings.failover.as_ref()?.hooks.as_ref()
    }

    /// The names of a group among all of all upstreams.
    pub(super) fn group_name(&self, group: usize) -> (String, String) {
        let planned = self.fleet.plan().groups.get(group);
        (self.name().to_owned(), planned.map_or_else(String::new, |planned| planned.name.clone()))
    }

    /// What the masters' hooks are called for.
    pub(super) fn order(&self, handing: &Handing) -> Option<Order> {
        let Handing { from, whole, to, epoch, until } = *handing;
        let from = from.and_then(|from| self.target(from));
        Some(Order { from, whole, to: self.target(to)?, epoch, until })
    }

    /// A group's owner and its other members, where it does not change hands.
    pub(super) fn settled(&self, group: usize, view: &View) -> Option<(Member, Vec<Member>)> {
        let owner = self.fleet.settled(group)?;
        let member = |position: usize| {
            let is_well = view.masters.get(position)?.fit().is_ok();
            Some(Member { target: self.target(position)?, is_well })
        };
        let members = self.fleet.plan().groups.get(group)?.members.iter().map(|(position, _)| *position);
        let others = members.filter(|position| *position != owner).filter_map(member).collect();
        Some((member(owner)?, others))
    }

    fn target(&self, position: usize) -> Option<Target> {
        let Upstream { settings, masters, tls, .. } = &*self.upstream;
        Some(Target {
            name: settings.masters.get(position)?.name.clone(),
            master: masters.get(position)?.clone(),
            tls: tls.get(position)?.clone(),
            protocol: settings.protocol,
            proxy_protocol: settings.proxy_protocol,
        })
    }

    /// Takes a master's pins away, and gives them to another one where that is given; `None` where nothing is pinned.
    fn move_pins(&self, from: usize, to: Option<usize>) -> Option<Taken> {
        let pins = self.upstream.pins.as_ref()?;
        let id = |master: usize| self.upstream.masters.get(master).map(|master| master.id());
        let (from, to) = (id(from)?, to.and_then(id));
        let mut hashes = pins.replace(from, to);
        let mut all = false;
        for _ in 0..LOOKS {
            all = pins.count(from) == 0;
            if all {
                break;
            }
            hashes.extend(pins.replace(from, to));
        }
        Some(Taken { from, to, hashes, all })
    }

    /// Counts and sums up on both sides what was moved.
    fn verify(&self, from: MasterId, to: Option<MasterId>, hashes: &[u64]) -> Result<Moved, String> {
        let Some(pins) = &self.upstream.pins else { return Ok(Moved::default()) };
        let (now, mut left, mut checksum) = (clock::now(), Moved::default(), 0);
        for hash in hashes {
            checksum ^= hash;
            // One that has expired meanwhile, or was pinned anew, is where it should be.
            if pins.peek(*hash, now).is_some_and(|(master, _)| master == from && to != Some(from)) {
                left.count += 1;
                left.checksum ^= hash;
            }
        }
        if left.count > 0 {
            return Err(format!(
                "{} of {} pins did not move (checksum {:016x})",
                left.count,
                hashes.len(),
                left.checksum
            ));
        }
        Ok(Moved { count: hashes.len() as u64, checksum })
    }

    /// Pins at a master.
    pub(super) fn pinned_at(&self, master: usize) -> usize {
        let id = self.upstream.masters.get(master).map(|master| master.id());
        let count = |pins: &Arc<Pins>| id.map_or(0, |id| pins.count(id));
        self.upstream.pins.as_ref().map_or(0, count)
    }
}

/// Lets every master of an upstream without failover serve, which may have had one before.
pub(super) fn release(upstream: &Upstream) {
    for master in &upstream.masters {
        if master.admission().role() != Role::Active {
            master.set_role(Role::Active, None);
        }
    }
}
