//! What there is to see of an upstream's failover.

use super::fleet::{Fleet, Phase, View};
use super::plan::Unfit;
use super::record::Given;
use super::recovery::Recovery;

/// One upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetView {
    pub upstream: String,
    /// The number of the last failover.
    pub epoch: u32,
    pub groups: Vec<GroupView>,
    /// By position.
    pub members: Vec<MemberView>,
}

/// What belongs together, and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// Empty where accounts are not told apart.
    pub accounts: Vec<String>,
    pub active: Option<String>,
    /// Whose conversations go over one by one.
    pub leaving: Option<String>,
    pub state: GroupState,
    /// Of the failover under way, or why nobody serves.
    pub cause: String,
    /// Masters that could take over now.
    pub standbys: usize,
    /// An operator chose the owner.
    pub held: bool,
    /// What the owner owns itself, as it is kept for the next one; none without hooks.
    pub kept: Option<KeptState>,
}

/// A master's own state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptState {
    /// None where there is no state yet.
    pub given: Option<Given>,
    /// Why there is no newer one; empty while all is well.
    pub problem: String,
}

/// How a group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    Steady,
    HandingOver,
    Leaving,
    /// Nobody serves it, and nobody can take over.
    Stuck,
}

/// A master's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberView {
    /// `well`, `recovering`, `on-trial`, `waiting` or `given-up`.
    pub recovery: &'static str,
    /// Of the attempt to recover, from 1; 0 without one.
    pub attempt: u32,
}

impl GroupState {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::HandingOver => "handing-over",
            Self::Leaving => "leaving",
            Self::Stuck => "stuck",
        }
    }
}

impl Fleet {
    /// What there is to see.
    #[must_use]
    pub fn show(&self, view: &View) -> FleetView {
        let name = |master: usize| self.plan.name(master).to_owned();
        let groups = self.groups.iter().zip(&self.plan.groups).enumerate().map(|(number, (group, planned))| {
            // One that still answers, however badly, serves.
            let unserved = |unfit: Unfit| !matches!(unfit, Unfit::Ejected | Unfit::Suspect);
            let state = match &group.phase {
                Phase::Seeking(operation) if operation.stuck => GroupState::Stuck,
                Phase::Handing(operation) if operation.stuck => GroupState::Stuck,
                Phase::Handing(_) | Phase::Seeking(_) | Phase::Emptying(_) => GroupState::HandingOver,
                Phase::Leaving(_) => GroupState::Leaving,
                Phase::Steady if group.hopeless && self.owner_fit(number, view).is_err_and(unserved) => {
                    GroupState::Stuck
                }
                Phase::Steady => GroupState::Steady,
            };
            let cause = match (group.operation(), state) {
                (Some(operation), _) => operation.cause.clone(),
                (None, GroupState::Stuck) => self.objections(number, view, &[]),
                (None, _) => String::new(),
            };
            GroupView {
                accounts: planned.accounts.clone(),
                active: group.owner.map(name),
                leaving: group.leaving.map(name),
                state,
                cause,
                standbys: self.standbys(number, view),
                held: group.held,
                kept: None,
            }
        });
        let member = |recovery: Recovery| match recovery {
            Recovery::Well => MemberView { recovery: "well", attempt: 0 },
            Recovery::Attempt { number, .. } => MemberView { recovery: "recovering", attempt: number },
            Recovery::Trial { number, .. } => MemberView { recovery: "on-trial", attempt: number },
            Recovery::Pause { number, .. } => MemberView { recovery: "waiting", attempt: number },
            Recovery::GivenUp => MemberView { recovery: "given-up", attempt: 0 },
        };
        FleetView {
            upstream: self.plan.upstream.clone(),
            epoch: self.epoch,
            groups: groups.collect(),
            members: self.members.iter().map(|it| member(it.recovery)).collect(),
        }
    }
}
