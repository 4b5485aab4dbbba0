//! The masters of one upstream and who of them owns what: a pure core, which is told what is so and says what is to be done.
//!
//! [`Fleet::look`] goes by states, not by events: whoever calls it reads every master's admission at that moment, so that
//! nothing is missed by coming together with something else. It returns [`Act`]s, to be carried out in their order. Those that
//! can fail are steps ([`Act::Do`]); each is answered by [`Fleet::done`], which says what follows, or what undoes it.
//!
//! What always holds:
//! * a group has one owner at most, and while it changes hands by a fence it has none;
//! * an epoch is used for one failover, and each failover has a higher one than all before;
//! * a master that was fenced serves again only after it was found well.

use std::collections::BTreeSet;

use super::operation::Operation;
use super::plan::{self, Candidate, Facts, Grade, Unfit};
use super::record::{Given, Moved, Past, PastUpstream, Record, What};
use super::recovery::{self, Recovery};
use crate::clock::{Micros, UnixMillis};
use crate::upstream::admission::Role;

/// How often it is looked whether a leaving master's conversations have ended.
pub const LEAVING_POLL: Micros = 10_000;

/// When masters that failed to take over are asked again.
pub(super) const RETRY: Micros = 1_000_000;

/// What a failover that a hook has failed waits with its next try, doubled each time up to the other.
pub(super) const PAUSE_MIN: Micros = 1_000_000;
pub(super) const PAUSE_MAX: Micros = 60_000_000;

/// Whose name stands for what Baton does by itself.
pub const BATON: &str = "baton";

/// What the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub deadline: Micros,
    /// The most preferred master gets back what is its own once it is stable.
    pub fails_back: bool,
    /// Masters hand their own state over, or want to know who serves.
    pub hooks: bool,
    pub recovery: recovery::Rules,
}

/// An upstream as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub upstream: String,
    pub rules: Rules,
    pub masters: Vec<PlannedMaster>,
    pub groups: Vec<PlannedGroup>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMaster {
    pub name: String,
    /// What makes it the same one under another name.
    pub address: String,
    /// 0 is the most preferred.
    pub priority: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedGroup {
    pub name: String,
    pub accounts: Vec<String>,
    /// Positions of masters, each with whether it names the accounts, rather than serving every one.
    pub members: Vec<(usize, bool)>,
}

/// One moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Micros,
    pub today: UnixMillis,
}

/// What is so at one moment.
#[derive(Debug, Clone)]
pub struct View {
    pub moment: Moment,
    /// By position.
    pub masters: Vec<Facts>,
    /// By group: nothing is in flight any more at the master that leaves it.
    pub has_left: Vec<bool>,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// The master's role; `fenced_in` is the epoch in which it is fenced by this.
    Role {
        master: usize,
        role: Role,
        fenced_in: Option<u32>,
    },
    /// The group's cell.
    Hand {
        group: usize,
        owner: Option<usize>,
        leaving: Option<usize>,
    },
    /// What was still on the side of the leaving master stays with the owner.
    ForgetLeaving {
        group: usize,
    },
    /// Whether whoever waits for an owner does so in vain.
    Hopeless {
        group: usize,
        hopeless: bool,
    },
    /// To be written down, before the next step that is.
    Record(Record),
    /// May fail, and is answered by [`Fleet::done`].
    Do {
        group: usize,
        step: Step,
    },
    /// Pins that are left at the master that has lost the group.
    MovePins {
        from: usize,
        to: usize,
    },
    Tell(Told),
}

/// What may fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Everything recorded so far is to be on disk.
    Sync,
    /// Moves the pins of a master, or drops them where they cannot be told apart by group.
    Pins { from: usize, to: Option<usize> },
    /// Puts back what the last [`Step::Pins`] of the group moved.
    Unpin,
    /// Hands over what the masters own, and tells the next owner that it serves. Where it fails it has undone itself. It takes
    /// its time, in which others fail over.
    Give(Handing),
    /// Undoes the last [`Step::Give`] of the group that did not fail.
    TakeBack(Handing),
}

/// Masters that are asked by their hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handing {
    /// The owner so far, where it is there to be asked.
    pub from: Option<usize>,
    /// It is well, so that nothing of its state may be lost.
    pub whole: bool,
    pub to: usize,
    pub epoch: u32,
    /// When the whole has to be done.
    pub until: Micros,
}

/// What a step has brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brought {
    pub pins: Option<Moved>,
    pub given: Option<Given>,
}

/// What is counted, and told to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Begun {
        epoch: u32,
    },
    Completed {
        epoch: u32,
        micros: Micros,
    },
    Undone {
        epoch: u32,
        why: String,
    },
    Stuck {
        group: usize,
        why: String,
    },
    /// Somebody owns it again.
    Unstuck {
        group: usize,
    },
    Recovery {
        master: usize,
        ended: recovery::Ended,
    },
}

/// The state.
#[derive(Debug, Clone)]
pub struct Fleet {
    pub(super) plan: Plan,
    pub(super) members: Vec<Member>,
    pub(super) groups: Vec<Group>,
    pub(super) epoch: u32,
    /// Failovers that a new configuration has ended, from which the owner goes on.
    ended: Vec<u32>,
}

#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) recovery: Recovery,
    /// Since when it has been well without a break.
    pub(super) well_since: Option<Micros>,
    /// It may not serve until it is well.
    pub(super) fenced: Option<u32>,
    /// As it was last set; nothing at first.
    role: Option<Role>,
}

#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) owner: Option<usize>,
    pub(super) leaving: Option<usize>,
    /// Who is about to own it: it may serve, and gets nothing yet.
    pub(super) activating: Option<usize>,
    /// An operator chose the owner.
    pub(super) held: bool,
    pub(super) hopeless: bool,
    pub(super) phase: Phase,
    /// Failovers in a row that hooks have failed while the owner went on, and when the next one may begin.
    pub(super) failed: u32,
    pub(super) not_before: Micros,
}

#[derive(Debug, Clone)]
pub(super) enum Phase {
    Steady,
    /// A step is under way.
    Handing(Operation),
    /// Nobody can take over so far.
    Seeking(Operation),
    /// What is under way at the owner ends, before its state goes over.
    Emptying(Operation),
    /// Conversations leave the owner from before one by one.
    Leaving(Operation),
}

impl Plan {
    pub(super) fn name(&self, master: usize) -> &str {
        self.masters.get(master).map_or("", |master| &master.name)
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.masters.iter().position(|master| master.name == name)
    }
}

impl Group {
    fn new(owner: Option<usize>, held: bool) -> Self {
        Self {
            owner,
            leaving: None,
            activating: None,
            held,
            hopeless: false,
            phase: Phase::Steady,
            failed: 0,
            not_before: 0,
        }
    }

    pub(super) fn operation(&self) -> Option<&Operation> {
        match &self.phase {
            Phase::Steady => None,
            Phase::Handing(operation)
            | Phase::Seeking(operation)
            | Phase::Emptying(operation)
            | Phase::Leaving(operation) => Some(operation),
        }
    }
}

impl Fleet {
    /// The upstream as it was left by the process before.
    #[must_use]
    pub fn new(plan: Plan, past: &Past) -> Self {
        let nothing = PastUpstream::default();
        let known = past.upstream(&plan.upstream).unwrap_or(&nothing);
        let member = |master: &PlannedMaster| {
            let recovery = if known.given_up.contains(&master.name) { Recovery::GivenUp } else { Recovery::Well };
            let fenced = known.fenced.contains(&master.name).then_some(known.epoch);
            Member { recovery, well_since: None, fenced, role: None }
        };
        let group = |planned: &PlannedGroup| {
            let known = known.groups.get(&planned.name);
            let owner = known.and_then(|known| plan.position(known.owner.as_deref()?));
            let owner = owner.filter(|owner| planned.members.iter().any(|(member, _)| member == owner));
            Group::new(owner, known.is_some_and(|known| known.held))
        };
        let members = plan.masters.iter().map(member).collect();
        let groups = plan.groups.iter().map(group).collect();
        Self { members, groups, epoch: known.epoch, plan, ended: Vec::new() }
    }

    /// The upstream under another configuration. A step that is under way is forgotten; where it would have led to is sought anew.
    #[must_use]
    pub fn replan(self, plan: Plan) -> Self {
        let before = self;
        let mut ended = before.ended.clone();
        let position = |old: usize| {
            let address = &before.plan.masters.get(old)?.address;
            plan.masters.iter().position(|master| master.address == *address)
        };
        let member = |master: &PlannedMaster| {
            let old = before.plan.masters.iter().position(|known| known.address == master.address);
            old.and_then(|old| before.members.get(old).cloned()).unwrap_or(Member {
                recovery: Recovery::Well,
                well_since: None,
                fenced: None,
                role: None,
            })
        };
        let mut group = |planned: &PlannedGroup| {
            let is_same = |known: &&(&PlannedGroup, &Group)| known.0.name == planned.name;
            let had = |known: &&(&PlannedGroup, &Group)| {
                planned.accounts.first().is_some_and(|account| known.0.accounts.contains(account))
            };
            let known: Vec<_> = before.plan.groups.iter().zip(&before.groups).collect();
            let Some((_, old)) = known.iter().find(is_same).or_else(|| known.iter().find(had)) else {
                return Group::new(None, false);
            };
            let now = |old: usize| {
                position(old).filter(|position| planned.members.iter().any(|(member, _)| member == position))
            };
            let (owner, leaving) = (old.owner.and_then(now), old.leaving.and_then(now));
            let operation = old.operation().map(|operation| operation.replan(now));
            let phase = match (&old.phase, operation) {
                (Phase::Leaving(_), Some(operation)) if owner.is_some() && leaving.is_some() => {
                    Phase::Leaving(operation)
                }
                (Phase::Handing(_) | Phase::Seeking(_), Some(operation)) if owner.is_none() => {
                    Phase::Seeking(operation)
                }
                (Phase::Handing(operation) | Phase::Seeking(operation) | Phase::Emptying(operation), _) => {
                    ended.push(operation.epoch);
                    Phase::Steady
                }
                _ => Phase::Steady,
            };
            let leaving = leaving.filter(|_| matches!(phase, Phase::Leaving(_)));
            Group { leaving, phase, ..Group::new(owner, old.held) }
        };
        let members = plan.masters.iter().map(member).collect();
        let groups = plan.groups.iter().map(&mut group).collect();
        Self { members, groups, epoch: before.epoch, plan, ended }
    }

    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The number of the last failover.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Sets every role and cell, as they are at the start and under a new configuration, and owners where there are none.
    pub fn adopt(&mut self, view: &View) -> Vec<Act> {
        let mut acts = Vec::new();
        self.members.iter_mut().for_each(|member| member.role = None);
        for epoch in std::mem::take(&mut self.ended) {
            let why = "the configuration has changed".to_owned();
            acts.push(self.record(view, What::Undone { epoch, why: why.clone() }));
            acts.push(Act::Tell(Told::Undone { epoch, why }));
        }
        for group in 0..self.groups.len() {
            let seeks = matches!(self.groups[group].phase, Phase::Seeking(_));
            if self.groups[group].owner.is_none() && !seeks {
                self.assign(group, view, &mut acts);
            }
        }
        self.set_roles(&mut acts);
        for (number, group) in self.groups.iter().enumerate() {
            // The cell of a group that is left one by one knows who went where.
            if group.leaving.is_none() {
                acts.push(Act::Hand { group: number, owner: group.owner, leaving: None });
            }
            acts.push(Act::Hopeless { group: number, hopeless: group.hopeless });
        }
        acts
    }

    /// Gives a group to the best of its masters, or while none is well to the one that is meant to have it.
    fn assign(&mut self, group: usize, view: &View, acts: &mut Vec<Act>) {
        let best = self.candidates(group, view, &[]).first().map(|candidate| candidate.member);
        let Some(owner) = best.or_else(|| self.home(group)) else { return };
        self.groups[group].owner = Some(owner);
        self.groups[group].held = false;
        self.members[owner].fenced = None;
        let what = What::Assigned {
            group: self.plan.groups[group].name.clone(),
            owner: self.plan.name(owner).to_owned(),
            epoch: self.epoch,
            held: false,
            why: "nobody had it".to_owned(),
        };
        acts.push(self.record(view, what));
    }

    /// The member that is meant to own a group when all are well: the most preferred, the first of several.
    #[must_use]
    pub(super) fn home(&self, group: usize) -> Option<usize> {
        let members = self.plan.groups.get(group)?.members.iter().map(|(member, _)| *member);
        members.min_by_key(|member| (self.plan.masters[*member].priority, *member))
    }

    /// Those that can take a group over from who has it, the best first.
    pub(super) fn candidates(&self, group: usize, view: &View, except: &[usize]) -> Vec<Candidate> {
        let Some(planned) = self.plan.groups.get(group) else { return Vec::new() };
        let candidate = |(member, named): &(usize, bool)| {
            let facts = view.masters.get(*member)?;
            Some(Candidate {
                member: *member,
                grade: facts.grade(self.members[*member].recovery).ok()?,
                priority: self.plan.masters[*member].priority,
                degraded: facts.admission.health() != crate::upstream::admission::Health::Healthy,
                owned: self.groups.iter().filter(|group| group.owner == Some(*member)).count(),
                load: facts.load,
                named: *named,
            })
        };
        let members = planned.members.iter().filter(|(member, _)| !except.contains(member));
        let mut candidates: Vec<Candidate> = members.filter_map(candidate).collect();
        plan::order(&mut candidates);
        candidates
    }

    /// Masters that could take the group over now and are not worse than their configuration says.
    #[must_use]
    pub fn standbys(&self, group: usize, view: &View) -> usize {
        let owner = self.groups.get(group).and_then(|group| group.owner);
        let except: Vec<usize> = owner.into_iter().collect();
        self.candidates(group, view, &except).iter().filter(|it| it.grade == Grade::Good).count()
    }

    /// Why the members of a group cannot take over, but for those `except`.
    pub(super) fn objections(&self, group: usize, view: &View, except: &[usize]) -> String {
        let Some(planned) = self.plan.groups.get(group) else { return String::new() };
        let members = planned.members.iter().map(|(member, _)| *member).filter(|member| !except.contains(member));
        let objection = |member: usize| format!("{} {}", self.plan.name(member), self.objection(member, view));
        let all: Vec<String> = members.map(objection).collect();
        if all.is_empty() { "there is no other master".to_owned() } else { all.join(", ") }
    }

    pub(super) fn objection(&self, member: usize, view: &View) -> &'static str {
        let Some(facts) = view.masters.get(member) else { return "is not there" };
        match facts.grade(self.members[member].recovery) {
            Err(unfit) => unfit.why(),
            Ok(grade) => grade.objection().unwrap_or("could not take over"),
        }
    }

    /// Puts roles right that are not what they have to be.
    pub(super) fn set_roles(&mut self, acts: &mut Vec<Act>) {
        let serving: BTreeSet<usize> =
            self.groups.iter().flat_map(|it| [it.owner, it.leaving, it.activating]).flatten().collect();
        for (position, member) in self.members.iter_mut().enumerate() {
            let role = match member.fenced {
                Some(_) => Role::Fenced,
                None if serving.contains(&position) => Role::Active,
                None => Role::Standby,
            };
            if member.role != Some(role) {
                let fenced_in = member.fenced.filter(|_| role == Role::Fenced);
                member.role = Some(role);
                acts.push(Act::Role { master: position, role, fenced_in });
            }
        }
    }

    pub(super) fn record(&self, view: &View, what: What) -> Act {
        Act::Record(Record { at: view.moment.today, upstream: self.plan.upstream.clone(), what })
    }

    /// Whether a group's owner, were it asked now, could serve; [`Unfit`] says why not.
    pub(super) fn owner_fit(&self, group: usize, view: &View) -> Result<(), Unfit> {
        let owner = self.groups[group].owner.and_then(|owner| view.masters.get(owner));
        owner.map_or(Err(Unfit::Failed), Facts::fit)
    }

    /// Who owns a group that is not changing hands.
    #[must_use]
    pub fn settled(&self, group: usize) -> Option<usize> {
        let group = self.groups.get(group)?;
        group.owner.filter(|_| matches!(group.phase, Phase::Steady))
    }

    /// The failover by which a group is changing hands, until its next owner has it.
    #[must_use]
    pub fn under_way(&self, group: usize) -> Option<u32> {
        match &self.groups.get(group)?.phase {
            Phase::Handing(operation) | Phase::Emptying(operation) | Phase::Seeking(operation) => Some(operation.epoch),
            Phase::Steady | Phase::Leaving(_) => None,
        }
    }

    /// When [`Fleet::look`] may have something to do although nothing has changed.
    #[must_use]
    pub fn wake_at(&self, now: Micros) -> Option<Micros> {
        let rules = &self.plan.rules;
        let recoveries = self.members.iter().filter_map(|it| it.recovery.wake_at(&rules.recovery, now));
        let groups = self.groups.iter().enumerate().filter_map(|(number, group)| match &group.phase {
            Phase::Steady => {
                let pause = Some(group.not_before).filter(|at| *at > now);
                self.fails_back_at(number).filter(|at| *at > now).into_iter().chain(pause).min()
            }
            // The answer to a step comes by itself.
            Phase::Handing(_) => None,
            Phase::Seeking(operation) => Some(operation.retry_at(now)),
            Phase::Emptying(_) | Phase::Leaving(_) => Some(now.saturating_add(LEAVING_POLL)),
        });
        recoveries.chain(groups).min()
    }

    /// When the most preferred master is stable enough to have a group back that another one owns.
    pub(super) fn fails_back_at(&self, group: usize) -> Option<Micros> {
        let (state, home) = (&self.groups[group], self.home(group)?);
        if !self.plan.rules.fails_back || state.held || state.owner == Some(home) {
            return None;
        }
        Some(self.members[home].well_since?.saturating_add(self.plan.rules.recovery.stable_after))
    }
}
