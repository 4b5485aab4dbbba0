//! `baton demo --script`: kills, stops and reconfigures by itself, and says before what it does and after what came of it.
//!
//! The script is a list of acts. Each begins with one action, lasts at least so many seconds, and ends when its
//! condition holds or its patience is over; time comes in whole seconds from outside.

use std::time::Duration;

use crate::sample::tally::{Tally, milliseconds};

/// What an act begins with; masters by their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Watch,
    Kill(usize),
    Stop(usize),
    Continue(usize),
    Reweigh,
}

struct Act {
    action: Action,
    says: &'static str,
    at_least_seconds: u32,
    /// Also wait until every master runs and is healthy.
    until_healthy: bool,
}

const ACTS: [Act; 5] = [
    Act {
        action: Action::Watch,
        says: "First a quiet moment: three healthy masters share the load evenly.",
        at_least_seconds: 4,
        until_healthy: true,
    },
    Act {
        action: Action::Kill(0),
        says: "Now dubai-1 is killed (kill -9). The other two should take over without one failed webhook.\n\
               After ten seconds it is started again and comes back once its health checks succeed.",
        at_least_seconds: 12,
        until_healthy: true,
    },
    Act {
        action: Action::Stop(1),
        says: "Now dubai-2 hangs (kill -STOP): its connections stay open, but it answers nothing any more.",
        at_least_seconds: 5,
        until_healthy: false,
    },
    Act {
        action: Action::Continue(1),
        says: "dubai-2 goes on (kill -CONT) and should be trusted again after two good health checks.",
        at_least_seconds: 3,
        until_healthy: true,
    },
    Act {
        action: Action::Reweigh,
        says: "Now the configuration changes while it runs (edit, kill -HUP): riyadh-1 gets a weight of 3, the others 1,\n\
               so 60 % should go there. No connection is closed for it.",
        at_least_seconds: 6,
        until_healthy: false,
    },
];
/// An act whose condition never comes true ends all the same after this long.
const PATIENCE_SECONDS: u32 = 45;

/// The running script.
pub struct Script {
    act: usize,
    seconds: u32,
    sum: Sum,
}

/// What came of an act.
#[derive(Default)]
struct Sum {
    succeeded: u64,
    failed: u64,
    closed: u64,
    slowest: Duration,
    gap: Duration,
}

/// What to do after a second has passed.
pub enum Step {
    Nothing,
    /// The act before has ended like this; do and say that.
    Next {
        result: String,
        action: Action,
        says: &'static str,
    },
    /// The last act has ended like this.
    End {
        result: String,
    },
}

impl Script {
    /// The script with what it says at first.
    #[must_use]
    pub fn begin() -> (Self, &'static str) {
        (Self { act: 0, seconds: 0, sum: Sum::default() }, ACTS[0].says)
    }

    /// Takes one second's counts; `healthy` is whether every master runs and is healthy.
    pub fn second(&mut self, window: &Tally, healthy: bool) -> Step {
        self.seconds += 1;
        self.sum.add(window);
        let act = &ACTS[self.act];
        let waits = act.until_healthy && !healthy && self.seconds < PATIENCE_SECONDS;
        if self.seconds < act.at_least_seconds || waits {
            return Step::Nothing;
        }
        let result = std::mem::take(&mut self.sum).to_string();
        let Some(next) = ACTS.get(self.act + 1) else { return Step::End { result } };
        (self.act, self.seconds) = (self.act + 1, 0);
        Step::Next { result, action: next.action, says: next.says }
    }
}

impl Sum {
    fn add(&mut self, window: &Tally) {
        self.succeeded += window.succeeded;
        self.failed += window.failed;
        self.closed += window.connections_closed;
        self.slowest = self.slowest.max(window.latency.max());
        self.gap = self.gap.max(window.largest_gap);
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (slowest, gap) = (milliseconds(self.slowest), milliseconds(self.gap));
        write!(f, "{} webhooks answered, {} failed, ", self.succeeded, self.failed)?;
        write!(f, "{} connections closed, slowest {slowest}, longest pause {gap}", self.closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the script to its end and gives the actions with the second each began in.
    fn play(mut healthy: impl FnMut(u32) -> bool) -> Vec<(u32, Action)> {
        let (mut script, _) = Script::begin();
        let mut actions = Vec::new();
        for second in 1.. {
            match script.second(&Tally::default(), healthy(second)) {
                Step::Nothing => {}
                Step::Next { action, .. } => actions.push((second, action)),
                Step::End { .. } => return actions,
            }
        }
        actions
    }

    #[test]
    fn each_act_lasts_its_time_when_all_goes_well() {
        let actions = play(|_| true);
        assert_eq!(
            actions,
            [(4, Action::Kill(0)), (16, Action::Stop(1)), (21, Action::Continue(1)), (24, Action::Reweigh)]
        );
    }

    #[test]
    fn the_next_fault_waits_until_the_last_one_is_healed() {
        let actions = play(|second| !(5..30).contains(&second));
        assert_eq!(actions[..2], [(4, Action::Kill(0)), (30, Action::Stop(1))]);
    }

    #[test]
    fn a_master_that_never_heals_does_not_hold_the_script_for_ever() {
        assert_eq!(play(|_| false)[0], (PATIENCE_SECONDS, Action::Kill(0)));
    }

    #[test]
    fn a_result_sums_its_own_act_only() {
        let (mut script, _) = Script::begin();
        let window = Tally { succeeded: 100, failed: 1, ..Tally::default() };
        let results: Vec<String> = (0..16)
            .filter_map(|_| match script.second(&window, true) {
                Step::Next { result, .. } => Some(result),
                _ => None,
            })
            .collect();
        assert!(results[0].starts_with("400 webhooks answered, 4 failed"), "{}", results[0]);
        assert!(results[1].starts_with("1200 webhooks answered, 12 failed"), "{}", results[1]);
    }
}
