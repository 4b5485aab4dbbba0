//! What masters own themselves goes over, where they have hooks for it.
//!
//! ```text
//! pins ─▶ empty, where the owner is well ─▶ give ─▶ activate, look again ─▶ ...
//!            │                               │ fails, and has undone itself
//!            └── it fails: the owner goes on ◀┘ or the next one
//! ```
//!
//! Without hooks conversations leave an owner that is well one by one. With them its state is one thing: requests wait while what is
//! under way there ends, the state goes over, and the next owner serves with it. Calling hooks takes its time, in which the core is
//! asked about everything else; what has become of the group meanwhile is looked at when the answer is there.

use super::fleet::{Act, BATON, Fleet, Handing, PAUSE_MAX, PAUSE_MIN, Phase, Step, Told, View};
use super::operation::{Operation, Stage};
use super::record::{Manner, What};

impl Fleet {
    /// Hands over what the masters own, if they have hooks, and goes on.
    pub(super) fn hand_state(&mut self, group: usize, mut operation: Operation, view: &View, acts: &mut Vec<Act>) {
        if !self.plan.rules.hooks {
            return self.activate(group, operation, view, acts);
        }
        if operation.manner == Manner::Fence || operation.emptied || operation.from.is_none() {
            return self.give(group, operation, view, acts);
        }
        operation.stage = Stage::Emptying;
        operation.emptied = true;
        acts.push(Act::Hand { group, owner: None, leaving: operation.from });
        self.groups[group].phase = Phase::Emptying(operation);
    }

    /// The owner has nothing under way any more, or it is no longer waited for.
    pub(super) fn emptied(&mut self, group: usize, view: &View, acts: &mut Vec<Act>) {
        let phase = std::mem::replace(&mut self.groups[group].phase, Phase::Steady);
        match phase {
            Phase::Emptying(mut operation) => {
                operation.took("empty", view.moment.now);
                self.give(group, operation, view, acts);
            }
            other => self.groups[group].phase = other,
        }
    }

    fn give(&mut self, group: usize, mut operation: Operation, view: &View, acts: &mut Vec<Act>) {
        let Some(to) = operation.to else { return self.choose(group, operation, view, acts) };
        let from = operation.from.filter(|from| operation.manner == Manner::Leave && *from != to);
        let is_well = |from: usize| view.masters.get(from).is_some_and(|facts| facts.fit().is_ok());
        // Whoever is stuck has no deadline to meet any more.
        let until = if operation.stuck { u64::MAX } else { operation.deadline };
        let handing = Handing { from, whole: from.is_some_and(is_well), to, epoch: operation.epoch, until };
        operation.handing = Some(handing.clone());
        operation.stage = Stage::Giving;
        acts.push(Act::Do { group, step: Step::Give(handing) });
        self.groups[group].phase = Phase::Handing(operation);
    }

    /// Says that nobody serves once hooks have taken all the time there is; masters are tried on.
    pub(super) fn note_deadline(&mut self, group: usize, operation: &mut Operation, view: &View, acts: &mut Vec<Act>) {
        let is_late = self.plan.rules.hooks && operation.deadline <= view.moment.now;
        if operation.manner == Manner::Leave || operation.stuck || !is_late {
            return;
        }
        operation.stuck = true;
        let why = "no master has taken over within the deadline".to_owned();
        acts.push(self.record(view, What::Stuck { epoch: operation.epoch, why: why.clone() }));
        acts.push(Act::Tell(Told::Stuck { group, why }));
        self.set_hopeless(group, true, acts);
    }

    /// Ends a failover whose owner is well enough to go on.
    pub(super) fn undone(
        &mut self,
        group: usize,
        operation: &Operation,
        why: String,
        view: &View,
        acts: &mut Vec<Act>,
    ) {
        let state = &mut self.groups[group];
        state.phase = Phase::Steady;
        if operation.emptied && operation.by == BATON {
            state.failed = state.failed.saturating_add(1);
            let pause = PAUSE_MIN.saturating_mul(1 << (state.failed - 1).min(10)).min(PAUSE_MAX);
            state.not_before = view.moment.now.saturating_add(pause);
        }
        let owner = state.owner;
        acts.push(self.record(view, What::Undone { epoch: operation.epoch, why: why.clone() }));
        acts.push(Act::Tell(Told::Undone { epoch: operation.epoch, why }));
        if operation.emptied {
            acts.push(Act::Hand { group, owner, leaving: None });
        }
    }

    /// Ends a failover before anything was handed over.
    pub(super) fn give_up(&mut self, group: usize, why: String, view: &View, acts: &mut Vec<Act>) {
        let phase = std::mem::replace(&mut self.groups[group].phase, Phase::Steady);
        match phase {
            Phase::Emptying(operation) => self.undone(group, &operation, why, view, acts),
            other => self.groups[group].phase = other,
        }
    }
}
