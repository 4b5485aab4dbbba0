//! What operators ask for: first whether it can be done, with every reason why not, and then all of it.

use std::fmt;

use super::fleet::{Act, Fleet, Phase, View};
use super::hand_over::Begin;
use super::plan::Grade;
use super::record::{Manner, What};

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Another owner: this one, or the best there is. Of one account, or of everything that it concerns.
    Failover { account: Option<String>, target: Option<String> },
    /// The owner that the configuration prefers.
    Failback { account: Option<String> },
    /// That the failures of this master, or of all, are forgotten.
    Reset { master: Option<String> },
}

/// What it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Moves(Vec<Move>),
    /// Masters whose failures are forgotten, by position.
    Resets(Vec<usize>),
}

/// A group that changes hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    pub group: usize,
    pub from: Option<usize>,
    pub to: usize,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such master or account.
    Unknown(String),
    /// It is not possible as things are.
    Conflict(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(why) | Self::Conflict(why) => f.write_str(why),
        }
    }
}

impl Fleet {
    /// What would be done, without doing it.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn weigh(&self, ask: &Ask, view: &View) -> Result<Answer, Refusal> {
        match ask {
            Ask::Failover { account, target } => {
                let target = target.as_deref().map(|name| self.master(name)).transpose()?;
                let groups = self.concerned(account.as_deref())?;
                let of_account = account.is_some() || groups.len() == 1;
                let mut moves = Vec::new();
                for group in groups {
                    match target {
                        Some(target) if !of_account && !self.is_up_to(group, target) => {}
                        target => moves.push(self.weigh_failover(group, target, view)?),
                    }
                }
                match (moves.is_empty(), target) {
                    (true, Some(target)) => {
                        let name = self.plan.name(target);
                        Err(Refusal::Conflict(format!("{name} is active for every account that it serves")))
                    }
                    _ => Ok(Answer::Moves(moves)),
                }
            }
            Ask::Failback { account } => {
                let groups = self.concerned(account.as_deref())?;
                let mut moves = Vec::new();
                for group in &groups {
                    let Some(home) = self.home(*group) else { continue };
                    if self.groups[*group].owner != Some(home) {
                        moves.push(self.weigh_failover(*group, Some(home), view)?);
                    }
                }
                if moves.is_empty() {
                    let homes: Vec<&str> =
                        groups.iter().filter_map(|group| self.home(*group)).map(|home| self.plan.name(home)).collect();
                    return Err(Refusal::Conflict(format!("{} is active already", homes.join(", "))));
                }
                Ok(Answer::Moves(moves))
            }
            Ask::Reset { master } => {
                let wanted = master.as_deref().map(|name| self.master(name)).transpose()?;
                let failed = (0..self.members.len()).filter(|member| {
                    wanted.is_none_or(|wanted| wanted == *member)
                        && self.members[*member].recovery != super::recovery::Recovery::Well
                });
                Ok(Answer::Resets(failed.collect()))
            }
        }
    }

    /// Does what was weighed; `by` is who asked.
    pub fn carry_out(&mut self, answer: &Answer, by: &str, why: &str, view: &View) -> Vec<Act> {
        let mut acts = Vec::new();
        match answer {
            Answer::Moves(moves) => {
                for Move { group, from, to } in moves {
                    let cause = if why.is_empty() { "an operator asked for it".to_owned() } else { why.to_owned() };
                    let begin = Begin {
                        manner: Manner::Leave,
                        from: *from,
                        target: Some(*to),
                        fences_after: false,
                        cause,
                        by: by.to_owned(),
                    };
                    self.begin(*group, begin, view, &mut acts);
                }
            }
            Answer::Resets(members) => {
                for member in members {
                    self.members[*member].recovery.reset();
                    let what = What::Reset { master: self.plan.name(*member).to_owned(), by: by.to_owned() };
                    acts.push(self.record(view, what));
                }
            }
        }
        self.set_roles(&mut acts);
        acts.extend(self.look(view));
        acts
    }

    fn master(&self, name: &str) -> Result<usize, Refusal> {
        let position = self.plan.masters.iter().position(|master| master.name == name);
        position.ok_or_else(|| Refusal::Unknown(format!("upstream {} has no master {name}", self.plan.upstream)))
    }

    /// The group of an account; all groups without one.
    fn concerned(&self, account: Option<&str>) -> Result<Vec<usize>, Refusal> {
        let Some(account) = account else { return Ok((0..self.groups.len()).collect()) };
        let groups = &self.plan.groups;
        let has = |wanted: &str| groups.iter().position(|group| group.accounts.iter().any(|it| it == wanted));
        let found = has(account).or_else(|| has(crate::balance::accounts::EVERY));
        let found = found.or_else(|| groups.iter().position(|group| group.accounts.is_empty()));
        let unknown =
            || Refusal::Unknown(format!("no master of upstream {} serves account {account}", self.plan.upstream));
        found.map(|group| vec![group]).ok_or_else(unknown)
    }

    /// Whether the master serves this group's accounts, and does not own it.
    fn is_up_to(&self, group: usize, master: usize) -> bool {
        let serves = self.plan.groups[group].members.iter().any(|(member, _)| *member == master);
        serves && self.groups[group].owner != Some(master)
    }

    fn weigh_failover(&self, group: usize, target: Option<usize>, view: &View) -> Result<Move, Refusal> {
        let (state, planned) = (&self.groups[group], &self.plan.groups[group]);
        let conflict = |why: String| Err(Refusal::Conflict(why));
        if let Some(target) = target {
            let name = self.plan.name(target);
            if !planned.members.iter().any(|(member, _)| *member == target) {
                return conflict(format!("{name} does not serve account {}", planned.name));
            }
            if state.owner == Some(target) {
                return conflict(format!("{name} is active already"));
            }
            match view.masters.get(target).map(|facts| facts.grade(self.members[target].recovery)) {
                Some(Ok(Grade::Good)) => {}
                _ => return conflict(format!("{name} {}", self.objection(target, view))),
            }
        }
        if let Some(operation) = state.operation() {
            let name = |master: Option<usize>| master.map_or("nobody", |master| self.plan.name(master));
            let what = match &state.phase {
                Phase::Leaving(_) => format!("conversations are still leaving {}", name(state.leaving)),
                _ => format!("a failover from {} is under way", name(operation.from)),
            };
            return conflict(format!("{what}: wait until it has ended"));
        }
        let except: Vec<usize> = state.owner.into_iter().collect();
        let to = match target {
            Some(target) => target,
            None => {
                let best = self.candidates(group, view, &except).first().copied();
                match best.filter(|best| best.grade == Grade::Good) {
                    Some(best) => best.member,
                    None => {
                        let owner = state.owner.map_or("nobody", |owner| self.plan.name(owner));
                        let why = self.objections(group, view, &except);
                        return conflict(format!("nobody can take over from {owner}: {why}"));
                    }
                }
            }
        };
        Ok(Move { group, from: state.owner, to })
    }
}
