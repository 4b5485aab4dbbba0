//! One failover on its way: what it has done so far, and what that was for.

use super::fleet::Handing;
use super::record::{Given, Manner, Moved, Took};
use crate::clock::Micros;

/// A group changes hands.
#[derive(Debug, Clone)]
pub struct Operation {
    pub epoch: u32,
    pub manner: Manner,
    pub cause: String,
    pub by: String,
    pub from: Option<usize>,
    pub to: Option<usize>,
    /// The one master that is wanted.
    pub target: Option<usize>,
    /// The owner from before is fenced when everything has left it.
    pub fences_after: bool,
    pub began: Micros,
    pub deadline: Micros,
    pub stage: Stage,
    /// Masters that could not take over.
    pub passed: Vec<usize>,
    pub passed_until: Micros,
    pub pins: Option<Moved>,
    /// The owner gets nothing new any more, so that its state does not change while it goes over.
    pub emptied: bool,
    /// What was asked of masters by their hooks, and not taken back.
    pub handing: Option<Handing>,
    pub given: Option<Given>,
    pub steps: Vec<Took>,
    pub step_began: Micros,
    /// Said to be stuck.
    pub stuck: bool,
}

/// The step that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Choosing, which waits for nothing.
    Choosing,
    /// The choice is written down.
    Intending,
    MovingPins,
    /// What is under way at the owner comes to its end.
    Emptying,
    /// The masters' hooks are called.
    Giving,
    /// What masters were told by their hooks is taken back.
    TakingBack,
    /// What was done for a master that turned out to be no good is undone.
    Undoing,
    /// The hand-over is written down.
    Committing,
}

impl Operation {
    /// A step has ended, and the next one begins.
    pub fn took(&mut self, step: &str, now: Micros) {
        let micros = now.saturating_sub(self.step_began);
        self.steps.push(Took { step: step.to_owned(), micros });
        self.step_began = now;
    }

    /// When a master is to be sought again.
    #[must_use]
    pub fn retry_at(&self, now: Micros) -> Micros {
        let times = [self.deadline, self.passed_until];
        times.into_iter().filter(|at| *at > now).min().unwrap_or(Micros::MAX)
    }

    /// Under a configuration in which masters stand elsewhere, or not at all.
    #[must_use]
    pub fn replan(&self, position: impl Fn(usize) -> Option<usize>) -> Self {
        let passed = self.passed.iter().filter_map(|passed| position(*passed)).collect();
        Self {
            from: self.from.and_then(&position),
            to: self.to.and_then(&position),
            target: self.target.and_then(&position),
            passed,
            stage: Stage::Choosing,
            emptied: false,
            handing: None,
            ..self.clone()
        }
    }
}
