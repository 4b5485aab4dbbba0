//! Who can take over, in which order, and why somebody cannot.
//!
//! Candidates go by `priority`, then by health, then by what they have to do already, then whether they name the account
//! themselves, then by their order in the configuration. One that only just came back, was given up or is being drained comes
//! behind all others: it is better than nobody, and never better than anybody else.

use std::fmt;

use super::recovery::Recovery;
use crate::upstream::admission::{Admission, Circuit, Health, OperatorState};

/// What is so about a master at this instant.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub admission: Admission,
    /// A probe has seen what the admission says, or time has shown it; not just one refused connection.
    pub confirmed: bool,
    /// Requests at it, those queued for it included.
    pub load: u32,
}

/// Why a master cannot take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    Failed,
    Unknown,
    Maintenance,
    Refuses,
    Suspect,
    Ejected,
    CircuitOpen,
}

/// How well a fit master would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    Good,
    /// The operator wants nothing new there.
    Draining,
    /// It came back, and has to show that it stays.
    Held,
    /// It failed too often.
    GivenUp,
}

impl Facts {
    /// Whether it could serve, its past aside.
    ///
    /// # Errors
    /// Why not.
    pub fn fit(&self) -> Result<(), Unfit> {
        let admission = self.admission;
        if admission.operator() == OperatorState::Maintenance {
            Err(Unfit::Maintenance)
        } else if admission.dead() {
            Err(Unfit::Refuses)
        } else if admission.health() == Health::Failed {
            Err(Unfit::Failed)
        } else if admission.health() == Health::Unknown {
            Err(Unfit::Unknown)
        } else if admission.suspect() {
            Err(Unfit::Suspect)
        } else if admission.ejected() {
            Err(Unfit::Ejected)
        } else if admission.circuit() == Circuit::Open {
            Err(Unfit::CircuitOpen)
        } else {
            Ok(())
        }
    }

    /// How it would do as an owner.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn grade(&self, recovery: Recovery) -> Result<Grade, Unfit> {
        self.fit()?;
        Ok(match recovery {
            Recovery::GivenUp => Grade::GivenUp,
            _ if !recovery.may_stand_by() => Grade::Held,
            _ if self.admission.operator() == OperatorState::Drain => Grade::Draining,
            _ => Grade::Good,
        })
    }

    /// Whether a probe under way, or the first one, may yet make it fit.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        matches!(self.fit(), Err(Unfit::Unknown | Unfit::Suspect | Unfit::Refuses))
            || (self.fit() == Err(Unfit::Failed) && !self.confirmed)
    }
}

/// A member of a group as a candidate.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Position in the upstream.
    pub member: usize,
    pub grade: Grade,
    pub priority: u32,
    pub degraded: bool,
    /// Groups that it owns already.
    pub owned: usize,
    pub load: u32,
    /// It names the account, rather than serving every one.
    pub named: bool,
}

/// Puts the best first.
pub fn order(candidates: &mut [Candidate]) {
    candidates.sort_by_key(|it| (it.grade, it.priority, it.degraded, it.owned, it.load, !it.named, it.member));
}

impl Unfit {
    /// The rest of a sentence that begins with the master's name.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::Failed => "has failed",
            Self::Unknown => "has not been probed yet",
            Self::Maintenance => "is in maintenance",
            Self::Refuses => "refuses connections",
            Self::Suspect => "is silent, and being probed",
            Self::Ejected => "is ejected for failures in a row",
            Self::CircuitOpen => "has an open circuit",
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why())
    }
}

impl Grade {
    /// Why an operator is told no who asks for a master of this grade; the rest of a sentence that begins with its name.
    #[must_use]
    pub fn objection(self) -> Option<&'static str> {
        match self {
            Self::Good => None,
            Self::Draining => Some("is being drained: make it `ready` first"),
            Self::Held => Some("has only just come back after a failure: wait, or `reset` it first"),
            Self::GivenUp => Some("has failed too often: `reset` it first"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(Admission) -> Admission;

    fn facts(change: Change) -> Facts {
        Facts { admission: change(Admission::new(Health::Healthy)), confirmed: true, load: 0 }
    }

    #[test]
    fn a_master_that_could_not_serve_is_no_candidate_and_says_why() {
        let unfit: [(Change, Unfit); 7] = [
            (|it| it.with_operator(OperatorState::Maintenance), Unfit::Maintenance),
            (|it| it.with_dead(true), Unfit::Refuses),
            (|it| it.with_health(Health::Failed), Unfit::Failed),
            (|it| it.with_health(Health::Unknown), Unfit::Unknown),
            (|it| it.with_suspect(true), Unfit::Suspect),
            (|it| it.with_ejected(true), Unfit::Ejected),
            (|it| it.with_circuit(Circuit::Open), Unfit::CircuitOpen),
        ];
        for (change, why) in unfit {
            assert_eq!(facts(change).grade(Recovery::Well), Err(why));
        }
        assert_eq!(facts(|it| it.with_circuit(Circuit::HalfOpen)).fit(), Ok(()));
    }

    #[test]
    fn the_past_and_the_operator_make_a_master_the_last_choice() {
        let grade = |recovery| facts(|it| it.with_operator(OperatorState::Drain)).grade(recovery);
        assert_eq!(grade(Recovery::Well), Ok(Grade::Draining));
        assert_eq!(grade(Recovery::Trial { number: 1, since: 0 }), Ok(Grade::Draining));
        assert_eq!(grade(Recovery::Pause { number: 2, until: 9 }), Ok(Grade::Held));
        assert_eq!(grade(Recovery::GivenUp), Ok(Grade::GivenUp));
    }

    #[test]
    fn candidates_go_by_priority_then_health_then_load_then_account() {
        let plain =
            Candidate { member: 0, grade: Grade::Good, priority: 1, degraded: false, owned: 1, load: 5, named: true };
        let mut all = [
            Candidate { member: 0, grade: Grade::Held, priority: 0, ..plain },
            Candidate { member: 1, named: false, ..plain },
            Candidate { member: 2, degraded: true, owned: 0, load: 0, ..plain },
            Candidate { member: 3, load: 4, ..plain },
            Candidate { member: 4, owned: 0, load: 9, ..plain },
            Candidate { member: 5, priority: 0, degraded: true, ..plain },
            Candidate { member: 6, ..plain },
        ];
        order(&mut all);
        assert_eq!(all.map(|it| it.member), [5, 4, 3, 6, 1, 2, 0]);
    }
}
