//! A group changes hands, step by step, and each step that fails is undone.
//!
//! ```text
//! fence, where the owner is gone ─▶ choose ─▶ write the choice down ─▶ move pins ─▶ activate, look again ─▶ write it down ─▶ hand
//!                                     ▲                                     │
//!                                     └──────── undo, the next one ◀────────┘          nobody left: stuck, until somebody is
//! ```
//!
//! Where masters have hooks, what they own goes over behind the pins: see `giving`.
//!
//! Writing down is allowed to fail: a disk that takes nothing must not keep an account from being served. It is told, and the next
//! start goes by what was written last.

use super::fleet::{Act, BATON, Brought, Fleet, Phase, RETRY, Step, Told, View};
use super::operation::{Operation, Stage};
use super::record::{Manner, Moved, What};

/// What a failover begins with.
#[derive(Debug, Clone)]
pub(super) struct Begin {
    pub(super) manner: Manner,
    pub(super) from: Option<usize>,
    pub(super) target: Option<usize>,
    pub(super) fences_after: bool,
    pub(super) cause: String,
    pub(super) by: String,
}

impl Begin {
    /// One that takes all from its owner at once.
    pub(super) fn fence(from: Option<usize>, cause: String) -> Self {
        Self { manner: Manner::Fence, from, target: None, fences_after: false, cause, by: BATON.to_owned() }
    }
}

impl Fleet {
    pub(super) fn begin(&mut self, group: usize, begin: Begin, view: &View, acts: &mut Vec<Act>) {
        let Begin { manner, from, target, fences_after, cause, by } = begin;
        let now = view.moment.now;
        self.epoch += 1;
        let operation = Operation {
            epoch: self.epoch,
            manner,
            cause,
            by,
            from,
            to: None,
            target,
            fences_after,
            began: now,
            deadline: now.saturating_add(self.plan.rules.deadline),
            stage: Stage::Choosing,
            passed: Vec::new(),
            passed_until: 0,
            pins: None,
            emptied: false,
            handing: None,
            given: None,
            steps: Vec::new(),
            step_began: now,
            stuck: false,
        };
        let what = What::Begun {
            epoch: operation.epoch,
            group: self.plan.groups[group].name.clone(),
            manner,
            from: from.map(|from| self.plan.name(from).to_owned()),
            cause: operation.cause.clone(),
            by: operation.by.clone(),
        };
        acts.push(self.record(view, what));
        acts.push(Act::Tell(Told::Begun { epoch: operation.epoch }));
        if manner == Manner::Fence {
            if let Some(from) = from {
                self.members[from].fenced = Some(self.epoch);
            }
            self.groups[group].owner = None;
            acts.push(Act::Hand { group, owner: None, leaving: None });
            self.set_roles(acts);
        }
        self.choose(group, operation, view, acts);
    }

    /// Looks again for somebody where there was nobody.
    pub(super) fn seek(&mut self, group: usize, view: &View, acts: &mut Vec<Act>) {
        let phase = std::mem::replace(&mut self.groups[group].phase, Phase::Steady);
        match phase {
            Phase::Seeking(operation) => self.choose(group, operation, view, acts),
            other => self.groups[group].phase = other,
        }
    }

    /// Finds the next master for a failover, or says that there is none.
    pub(super) fn choose(&mut self, group: usize, mut operation: Operation, view: &View, acts: &mut Vec<Act>) {
        let now = view.moment.now;
        if operation.passed_until <= now {
            operation.passed.clear();
        }
        let mut except = operation.passed.clone();
        if operation.manner == Manner::Leave {
            except.extend(operation.from);
        }
        self.note_deadline(group, &mut operation, view, acts);
        let candidates = self.candidates(group, view, &except);
        let wanted = |member: usize| operation.target.is_none_or(|target| target == member);
        if let Some(best) = candidates.iter().find(|it| wanted(it.member)) {
            operation.to = Some(best.member);
            operation.stage = Stage::Intending;
            operation.took("choose", now);
            let to = self.plan.name(best.member).to_owned();
            acts.push(self.record(view, What::Chosen { epoch: operation.epoch, to }));
            acts.push(Act::Do { group, step: Step::Sync });
            self.groups[group].phase = Phase::Handing(operation);
            return;
        }
        let why = self.objections(group, view, &except);
        if operation.manner == Manner::Leave {
            return self.undone(group, &operation, why, view, acts);
        }
        let members = self.plan.groups[group].members.iter().map(|(member, _)| *member);
        let undecided = |member: usize| view.masters.get(member).is_some_and(|facts| facts.is_undecided());
        let may_come = members.into_iter().any(undecided) && now < operation.deadline;
        if !may_come && !operation.stuck {
            operation.stuck = true;
            acts.push(self.record(view, What::Stuck { epoch: operation.epoch, why: why.clone() }));
            acts.push(Act::Tell(Told::Stuck { group, why }));
        }
        let stuck = operation.stuck;
        self.groups[group].phase = Phase::Seeking(operation);
        self.set_hopeless(group, stuck, acts);
    }

    /// A step has ended, as it says.
    pub fn done(&mut self, group: usize, outcome: Result<Brought, String>, view: &View) -> Vec<Act> {
        let mut acts = Vec::new();
        let Some(state) = self.groups.get_mut(group) else { return acts };
        let mut operation = match std::mem::replace(&mut state.phase, Phase::Steady) {
            Phase::Handing(operation) => operation,
            // Of an operation that a new configuration has ended.
            other => {
                state.phase = other;
                return acts;
            }
        };
        let now = view.moment.now;
        match (operation.stage, outcome) {
            (Stage::Intending, _) => {
                operation.took("record", now);
                self.take_pins(group, operation, view, &mut acts);
            }
            (Stage::MovingPins, Ok(brought)) => {
                operation.took("pins", now);
                operation.pins = brought.pins;
                self.hand_state(group, operation, view, &mut acts);
            }
            (Stage::MovingPins, Err(why)) => {
                // Some of them may have moved.
                operation.pins = Some(Moved::default());
                self.pass(group, operation, why, view, &mut acts);
            }
            (Stage::Undoing, _) => {
                operation.took("undo", now);
                self.choose(group, operation, view, &mut acts);
            }
            (Stage::Committing, _) => {
                operation.took("commit", now);
                self.hand(group, operation, view, &mut acts);
            }
            (Stage::Giving, Ok(brought)) => {
                operation.took("state", now);
                operation.given = brought.given;
                self.activate(group, operation, view, &mut acts);
            }
            (Stage::Giving, Err(why)) => {
                operation.took("state", now);
                // It has taken itself back.
                operation.handing = None;
                self.pass(group, operation, why, view, &mut acts);
            }
            (Stage::TakingBack, _) => {
                operation.took("take back", now);
                self.unpin(group, operation, view, &mut acts);
            }
            (Stage::Choosing | Stage::Emptying, _) => self.choose(group, operation, view, &mut acts),
        }
        self.set_roles(&mut acts);
        acts
    }

    fn take_pins(&mut self, group: usize, mut operation: Operation, view: &View, acts: &mut Vec<Act>) {
        let (Some(from), Some(to), Manner::Fence) = (operation.from, operation.to, operation.manner) else {
            return self.hand_state(group, operation, view, acts);
        };
        if from == to {
            return self.hand_state(group, operation, view, acts);
        }
        // Pins do not say which group they belong to.
        let others =
            self.plan.groups.iter().enumerate().filter(|(other, planned)| {
                *other != group && planned.members.iter().any(|(member, _)| *member == from)
            });
        let to = (others.count() == 0).then_some(to);
        operation.stage = Stage::MovingPins;
        acts.push(Act::Do { group, step: Step::Pins { from, to } });
        self.groups[group].phase = Phase::Handing(operation);
    }

    /// Lets the next owner serve, if it still can.
    pub(super) fn activate(&mut self, group: usize, mut operation: Operation, view: &View, acts: &mut Vec<Act>) {
        let Some(to) = operation.to else { return self.choose(group, operation, view, acts) };
        if let Err(unfit) = view.masters.get(to).map_or(Err(super::plan::Unfit::Failed), |facts| facts.fit()) {
            return self.pass(group, operation, format!("it {unfit}"), view, acts);
        }
        self.groups[group].activating = Some(to);
        self.members[to].fenced = None;
        self.set_roles(acts);
        operation.took("activate", view.moment.now);
        operation.stage = Stage::Committing;
        let what = What::Committed {
            epoch: operation.epoch,
            group: self.plan.groups[group].name.clone(),
            to: self.plan.name(to).to_owned(),
            held: operation.by != BATON && self.home(group) != Some(to),
            micros: view.moment.now.saturating_sub(operation.began),
            pins: operation.pins,
            given: operation.given.clone(),
            steps: operation.steps.clone(),
        };
        acts.push(self.record(view, what));
        acts.push(Act::Do { group, step: Step::Sync });
        self.groups[group].phase = Phase::Handing(operation);
    }

    /// Undoes what was done for a master that cannot take over, and seeks the next one.
    pub(super) fn pass(
        &mut self,
        group: usize,
        mut operation: Operation,
        why: String,
        view: &View,
        acts: &mut Vec<Act>,
    ) {
        self.groups[group].activating = None;
        self.set_roles(acts);
        if let Some(to) = operation.to.take() {
            let name = self.plan.name(to).to_owned();
            acts.push(self.record(view, What::Passed { epoch: operation.epoch, to: name, why }));
            operation.passed.push(to);
            operation.passed_until = view.moment.now.saturating_add(RETRY);
        }
        if let Some(handing) = operation.handing.take() {
            operation.given = None;
            operation.stage = Stage::TakingBack;
            acts.push(Act::Do { group, step: Step::TakeBack(handing) });
            self.groups[group].phase = Phase::Handing(operation);
        } else {
            self.unpin(group, operation, view, acts);
        }
    }

    fn unpin(&mut self, group: usize, mut operation: Operation, view: &View, acts: &mut Vec<Act>) {
        if operation.pins.take().is_some() {
            operation.stage = Stage::Undoing;
            acts.push(Act::Do { group, step: Step::Unpin });
            self.groups[group].phase = Phase::Handing(operation);
        } else {
            self.choose(group, operation, view, acts);
        }
    }

    /// The group is the new owner's.
    fn hand(&mut self, group: usize, mut operation: Operation, view: &View, acts: &mut Vec<Act>) {
        let Some(to) = operation.to else { return self.choose(group, operation, view, acts) };
        let state = &mut self.groups[group];
        state.activating = None;
        let before = state.owner.filter(|owner| *owner != to && operation.manner == Manner::Leave);
        let leaving = before.filter(|_| !operation.emptied);
        (state.owner, state.leaving) = (Some(to), leaving);
        (state.failed, state.not_before) = (0, 0);
        self.groups[group].held = operation.by != BATON && self.home(group) != Some(to);
        acts.push(Act::Hand { group, owner: Some(to), leaving });
        self.set_hopeless(group, false, acts);
        let micros = view.moment.now.saturating_sub(operation.began);
        acts.push(Act::Tell(Told::Completed { epoch: operation.epoch, micros }));
        operation.deadline = view.moment.now.saturating_add(self.plan.rules.deadline);
        if leaving.is_some() {
            self.groups[group].phase = Phase::Leaving(operation);
        } else if let Some(from) = before {
            self.has_left(group, from, &operation, view, acts);
        }
    }

    /// Ends the time in which conversations leave one by one.
    pub(super) fn left(&mut self, group: usize, view: &View, acts: &mut Vec<Act>) {
        let state = &mut self.groups[group];
        let phase = std::mem::replace(&mut state.phase, Phase::Steady);
        let (Phase::Leaving(operation), Some(from)) = (phase, state.leaving.take()) else { return };
        acts.push(Act::ForgetLeaving { group });
        self.has_left(group, from, &operation, view, acts);
    }

    /// The owner from before has nothing of the group any more.
    fn has_left(&mut self, group: usize, from: usize, operation: &Operation, view: &View, acts: &mut Vec<Act>) {
        let still_serves = self.groups.iter().any(|it| it.owner == Some(from) || it.leaving == Some(from));
        if operation.fences_after && !still_serves && self.members[from].fenced.is_none() {
            self.members[from].fenced = Some(self.epoch);
            let (master, epoch) = (self.plan.name(from).to_owned(), self.epoch);
            acts.push(self.record(view, What::Fenced { master, epoch }));
        }
        if let (Some(to), false) = (self.groups[group].owner, still_serves) {
            acts.push(Act::MovePins { from, to });
        }
        let micros = view.moment.now.saturating_sub(operation.began);
        acts.push(self.record(view, What::Left { epoch: operation.epoch, micros }));
        self.set_roles(acts);
    }

    pub(super) fn set_hopeless(&mut self, group: usize, hopeless: bool, acts: &mut Vec<Act>) {
        let state = &mut self.groups[group];
        if state.hopeless != hopeless {
            state.hopeless = hopeless;
            acts.push(Act::Hopeless { group, hopeless });
            if !hopeless {
                acts.push(Act::Tell(Told::Unstuck { group }));
            }
        }
    }
}
