//! What follows from what is so: who has recovered, which owner is in trouble, who gets back what is his.

use super::fleet::{Act, BATON, Fleet, Phase, Told, View};
use super::hand_over::Begin;
use super::plan::{Grade, Unfit};
use super::record::{Manner, What};
use super::recovery::Ended;
use crate::upstream::admission::Health;

/// What is wrong with an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// It is gone: fenced, whoever is there to take over.
    Gone,
    /// It still answers: it keeps what it has until somebody takes over.
    Unwell(Unfit),
}

impl Fleet {
    /// Does what follows from the present state. To be called on every change, and at [`Fleet::wake_at`].
    pub fn look(&mut self, view: &View) -> Vec<Act> {
        let mut acts = Vec::new();
        for member in 0..self.members.len() {
            self.observe(member, view, &mut acts);
        }
        for group in 0..self.groups.len() {
            self.look_at(group, view, &mut acts);
        }
        self.set_roles(&mut acts);
        acts
    }

    /// Follows a master's ways back.
    fn observe(&mut self, position: usize, view: &View, acts: &mut Vec<Act>) {
        let Some(facts) = view.masters.get(position) else { return };
        let (now, fit) = (view.moment.now, facts.fit().is_ok());
        let failed = facts.admission.health() == Health::Failed && facts.confirmed;
        let rules = self.plan.rules.recovery;
        let member = &mut self.members[position];
        member.well_since = if fit { member.well_since.or(Some(now)) } else { None };
        let mut gave_up = false;
        while let Some(ended) = member.recovery.observe(fit, failed, &rules, now) {
            gave_up |= ended == Ended::GivenUp;
            acts.push(Act::Tell(Told::Recovery { master: position, ended }));
        }
        let is_back = member.fenced.is_some() && fit && member.recovery.may_stand_by();
        if is_back {
            member.fenced = None;
        }
        let name = self.plan.name(position).to_owned();
        if gave_up {
            acts.push(self.record(view, What::GaveUp { master: name.clone() }));
            let serves = self.groups.iter().any(|it| it.owner == Some(position) || it.leaving == Some(position));
            if !serves && self.members[position].fenced.is_none() {
                self.members[position].fenced = Some(self.epoch);
                acts.push(self.record(view, What::Fenced { master: name.clone(), epoch: self.epoch }));
            }
        }
        if is_back {
            acts.push(self.record(view, What::Rejoined { master: name }));
        }
    }

    fn look_at(&mut self, group: usize, view: &View, acts: &mut Vec<Act>) {
        match &self.groups[group].phase {
            // What a step leads to is seen when it has ended.
            Phase::Handing(_) => {}
            Phase::Seeking(_) => self.seek(group, view, acts),
            Phase::Emptying(_) => self.look_after_emptying(group, view, acts),
            Phase::Leaving(_) => self.look_after_leaving(group, view, acts),
            Phase::Steady => {
                if !self.look_after_owner(group, view, acts) {
                    self.fail_back(group, view, acts);
                }
            }
        }
    }

    /// Begins a failover where the owner is in trouble. Whether it is.
    fn look_after_owner(&mut self, group: usize, view: &View, acts: &mut Vec<Act>) -> bool {
        let Some(owner) = self.groups[group].owner else {
            self.begin(group, Begin::fence(None, "nobody owns it".to_owned()), view, acts);
            return true;
        };
        let Some(trouble) = trouble(owner, view) else {
            self.set_hopeless(group, false, acts);
            return false;
        };
        let name = self.plan.name(owner).to_owned();
        match trouble {
            Trouble::Gone => {
                self.begin(group, Begin::fence(Some(owner), format!("{name} has failed")), view, acts);
            }
            // What hooks have failed is not tried again and again at once.
            Trouble::Unwell(_) if self.groups[group].not_before > view.moment.now => {}
            Trouble::Unwell(unfit) => {
                // What answers, however badly, is better than what came back a moment ago.
                let worst = if unfit == Unfit::Maintenance { Grade::GivenUp } else { Grade::Draining };
                let candidates = self.candidates(group, view, &[owner]);
                if candidates.first().is_some_and(|best| best.grade <= worst) {
                    let begin = Begin {
                        manner: Manner::Leave,
                        from: Some(owner),
                        target: None,
                        fences_after: unfit != Unfit::Maintenance,
                        cause: format!("{name} {unfit}"),
                        by: BATON.to_owned(),
                    };
                    self.begin(group, begin, view, acts);
                } else {
                    self.set_hopeless(group, true, acts);
                }
            }
        }
        true
    }

    /// Goes on when the owner has nothing under way any more, or when that has taken half of the time there is.
    fn look_after_emptying(&mut self, group: usize, view: &View, acts: &mut Vec<Act>) {
        let state = &self.groups[group];
        let (Some(owner), Phase::Emptying(operation)) = (state.owner, &state.phase) else { return };
        let half = self.plan.rules.deadline / 2;
        if trouble(owner, view) == Some(Trouble::Gone) {
            let why = format!("{} has failed", self.plan.name(owner));
            self.give_up(group, why, view, acts);
            self.look_after_owner(group, view, acts);
        } else if view.has_left.get(group) == Some(&true) || operation.began.saturating_add(half) <= view.moment.now {
            self.emptied(group, view, acts);
        }
    }

    fn look_after_leaving(&mut self, group: usize, view: &View, acts: &mut Vec<Act>) {
        let state = &self.groups[group];
        let (Some(owner), Some(leaving), Phase::Leaving(operation)) = (state.owner, state.leaving, &state.phase) else {
            return;
        };
        if trouble(leaving, view) == Some(Trouble::Gone) {
            self.members[leaving].fenced = Some(self.epoch);
            let (master, epoch) = (self.plan.name(leaving).to_owned(), self.epoch);
            acts.push(self.record(view, What::Fenced { master, epoch }));
            self.left(group, view, acts);
            self.look_after_owner(group, view, acts);
        } else if trouble(owner, view) == Some(Trouble::Gone) {
            self.left(group, view, acts);
            self.look_after_owner(group, view, acts);
        } else if view.has_left.get(group) == Some(&true) || operation.deadline <= view.moment.now {
            self.left(group, view, acts);
        }
    }

    /// Gives the most preferred master back what is its own.
    fn fail_back(&mut self, group: usize, view: &View, acts: &mut Vec<Act>) {
        let now = view.moment.now;
        let due = self.fails_back_at(group).is_some_and(|at| at <= now) && self.groups[group].not_before <= now;
        let Some(home) = self.home(group).filter(|_| due) else { return };
        let is_good = view.masters[home].grade(self.members[home].recovery) == Ok(Grade::Good);
        if !is_good || self.owner_fit(group, view).is_err() {
            return;
        }
        let seconds = self.plan.rules.recovery.stable_after / 1_000_000;
        let begin = Begin {
            manner: Manner::Leave,
            from: self.groups[group].owner,
            target: Some(home),
            fences_after: false,
            cause: format!("{} has been well for {seconds} s", self.plan.name(home)),
            by: BATON.to_owned(),
        };
        self.begin(group, begin, view, acts);
    }
}

fn trouble(owner: usize, view: &View) -> Option<Trouble> {
    let facts = view.masters.get(owner)?;
    match facts.fit() {
        Err(Unfit::Failed) if facts.confirmed => Some(Trouble::Gone),
        Err(unfit @ (Unfit::Maintenance | Unfit::Ejected | Unfit::CircuitOpen)) => Some(Trouble::Unwell(unfit)),
        // A probe decides.
        Err(Unfit::Failed | Unfit::Refuses | Unfit::Suspect | Unfit::Unknown) | Ok(()) => None,
    }
}
