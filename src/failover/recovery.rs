//! A failed master's ways back: attempts with pauses between them, and an end to them.
//!
//! ```text
//! well ──fails──▶ attempt 1 ──well──▶ on trial ──well for `stable_after`──▶ well
//!                  │   ▲                 │
//!        not well in time               fails
//!                  ▼   │                 │
//!                pause (1 s, doubled) ◀──┘        after `max_attempts`: given up, until a reset
//! ```
//!
//! A master on trial may take over. One that is well during a pause stands by only when the pause is over, so that one which comes
//! and goes does not take conversations along each time. Both are a matter of order: where there is nobody better, a master
//! that is well is taken whatever it has failed (see [`super::plan`]).

use crate::clock::Micros;

/// The pause before the second attempt; it doubles up to the time of an attempt.
const PAUSE: Micros = 1_000_000;

/// The bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// For one attempt.
    pub timeout: Micros,
    /// 0 is any number.
    pub max_attempts: u32,
    /// How long a master has to be well until its attempts are forgotten.
    pub stable_after: Micros,
}

/// Where a master stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// It never failed, or has been well for long since.
    Well,
    /// It is waited for.
    Attempt { number: u32, until: Micros },
    /// It came back.
    Trial { number: u32, since: Micros },
    /// The next attempt begins later.
    Pause { number: u32, until: Micros },
    /// Too many attempts failed.
    GivenUp,
}

/// What happened to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The master came back.
    Recovered,
    /// It did not in time, or failed again.
    Failed,
    /// That was the last one.
    GivenUp,
}

impl Recovery {
    /// Takes in whether the master is well, or has failed; it can be neither, while nobody knows. To be called on every change and
    /// at [`Recovery::wake_at`], until it says nothing more.
    pub fn observe(&mut self, well: bool, failed: bool, rules: &Rules, now: Micros) -> Option<Ended> {
        match *self {
            Self::Well if failed => {
                *self = Self::Attempt { number: 1, until: now.saturating_add(rules.timeout) };
                None
            }
            Self::Attempt { number, .. } if well => {
                *self = Self::Trial { number, since: now };
                Some(Ended::Recovered)
            }
            Self::Attempt { number, until } if now >= until => Some(self.failed(number, rules, now)),
            Self::Trial { number, .. } if failed => Some(self.failed(number, rules, now)),
            Self::Trial { since, .. } if well && now >= since.saturating_add(rules.stable_after) => {
                *self = Self::Well;
                None
            }
            Self::Pause { number, until } if now >= until => {
                *self = Self::Attempt { number, until: now.saturating_add(rules.timeout) };
                self.observe(well, failed, rules, now)
            }
            _ => None,
        }
    }

    /// Starts anew, whatever was.
    pub fn reset(&mut self) {
        *self = Self::Well;
    }

    /// Whether it may stand by as far as its past is concerned.
    #[must_use]
    pub fn may_stand_by(self) -> bool {
        matches!(self, Self::Well | Self::Trial { .. })
    }

    /// When time alone changes something next.
    #[must_use]
    pub fn wake_at(self, rules: &Rules, now: Micros) -> Option<Micros> {
        let at = match self {
            Self::Well | Self::GivenUp => None,
            Self::Attempt { until, .. } | Self::Pause { until, .. } => Some(until),
            Self::Trial { since, .. } => Some(since.saturating_add(rules.stable_after)),
        };
        at.filter(|at| *at > now)
    }

    fn failed(&mut self, number: u32, rules: &Rules, now: Micros) -> Ended {
        if rules.max_attempts != 0 && number >= rules.max_attempts {
            *self = Self::GivenUp;
            return Ended::GivenUp;
        }
        let pause = PAUSE.saturating_mul(1 << (number - 1).min(32)).min(rules.timeout);
        *self = Self::Pause { number: number + 1, until: now.saturating_add(pause) };
        Ended::Failed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Micros = 1_000_000;
    const RULES: Rules = Rules { timeout: 30 * SECOND, max_attempts: 5, stable_after: 60 * SECOND };

    /// Fails at once whenever it is well; the times at which attempts began.
    fn flapping(rules: &Rules) -> Vec<Micros> {
        let (mut recovery, mut began, mut now) = (Recovery::Well, Vec::new(), 0);
        recovery.observe(false, true, rules, now);
        began.push(now);
        for _ in 0..20 {
            recovery.observe(true, false, rules, now);
            recovery.observe(false, true, rules, now);
            let Recovery::Pause { until, .. } = recovery else { break };
            now = until;
            recovery.observe(false, true, rules, now);
            began.push(now);
        }
        began
    }

    #[test]
    fn a_master_that_comes_back_is_on_trial_and_then_well() {
        let mut recovery = Recovery::Well;
        assert_eq!(recovery.observe(false, true, &RULES, 0), None);
        assert_eq!(recovery.observe(true, false, &RULES, SECOND), Some(Ended::Recovered));
        assert!(recovery.may_stand_by());
        recovery.observe(true, false, &RULES, 60 * SECOND);
        assert!(matches!(recovery, Recovery::Trial { .. }));
        recovery.observe(true, false, &RULES, 61 * SECOND);
        assert_eq!(recovery, Recovery::Well);
    }

    #[test]
    fn pauses_double_and_the_fifth_failed_attempt_is_the_last() {
        let began: Vec<_> = flapping(&RULES).into_iter().map(|time| time / SECOND).collect();
        assert_eq!(began, [0, 1, 3, 7, 15]);
        let patient = Rules { max_attempts: 0, ..RULES };
        let began = flapping(&patient);
        assert_eq!(began.len(), 21, "without a bound it goes on");
        assert!(began.windows(2).all(|pair| pair[1] - pair[0] <= patient.timeout));
    }

    #[test]
    fn one_that_does_not_come_back_is_given_up_until_it_is_reset() {
        let (mut recovery, mut now, mut failed) = (Recovery::Well, 0, 0);
        recovery.observe(false, true, &RULES, now);
        while let Some(wake) = recovery.wake_at(&RULES, now) {
            now = wake;
            failed += u32::from(recovery.observe(false, true, &RULES, now).is_some());
        }
        assert_eq!((recovery, failed, now / SECOND), (Recovery::GivenUp, 5, 5 * 30 + 1 + 2 + 4 + 8));
        assert_eq!(recovery.observe(true, false, &RULES, now + 1), None);
        assert!(!recovery.may_stand_by());
        recovery.reset();
        assert!(recovery.may_stand_by());
    }

    #[test]
    fn who_is_well_in_a_pause_waits_for_its_end() {
        let mut recovery = Recovery::Pause { number: 2, until: SECOND };
        assert_eq!(recovery.observe(true, false, &RULES, SECOND - 1), None);
        assert!(!recovery.may_stand_by());
        assert_eq!(recovery.observe(true, false, &RULES, SECOND), Some(Ended::Recovered));
    }

    proptest! {
        #[test]
        fn whatever_happens_it_ends_or_waits_for_a_time_to_come(
            steps in prop::collection::vec((0..40_u64, 0..3_u8), 0..200),
            max_attempts in 0..4_u32,
        ) {
            let rules = Rules { max_attempts, ..RULES };
            let (mut recovery, mut now) = (Recovery::Well, 0);
            for (pause, state) in steps {
                now += pause * SECOND;
                // What is due is done in as many calls as it takes.
                let mut calls = 0;
                while let Some(ended) = recovery.observe(state == 1, state == 2, &rules, now) {
                    prop_assert!(ended != Ended::GivenUp || max_attempts > 0);
                    calls += 1;
                    prop_assert!(calls < 4);
                }
                let due = match recovery {
                    Recovery::Attempt { until, .. } | Recovery::Pause { until, .. } => until <= now,
                    Recovery::Trial { since, .. } => state == 1 && since + rules.stable_after <= now,
                    Recovery::Well => state == 2,
                    Recovery::GivenUp => false,
                };
                prop_assert!(!due, "{:?} is due at {}", recovery, now);
            }
        }
    }
}
