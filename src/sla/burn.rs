//! Error budgets, and how fast they are spent.
//!
//! What an objective leaves to go wrong is its budget. A burn rate of 1 spends it exactly within the period; a rule looks at a long
//! window, so that a blip is no alarm, and at a short one, so that the alarm ends when the burning does. Google, The Site
//! Reliability Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts".

use super::ledger::Ledger;
use super::slot::Slot;
use crate::config::model::{Basis, Objective, Sla};
use crate::monitor::series::Key;

/// When burning is an alarm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// In a word.
    pub name: &'static str,
    /// Seconds.
    pub long: u64,
    pub short: u64,
    /// Share of the budget that burning for the long window spends.
    pub share: f64,
    /// Whether somebody has to look at once.
    pub page: bool,
}

/// 14.4, 6 and 1 times the even pace for a period of 30 days.
pub const RULES: [Rule; 3] = [
    Rule { name: "fast", long: 3600, short: 300, share: 0.02, page: true },
    Rule { name: "medium", long: 6 * 3600, short: 1800, share: 0.05, page: true },
    Rule { name: "slow", long: 3 * 86_400, short: 6 * 3600, share: 0.1, page: false },
];

/// A rule and what it sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burn {
    pub rule: &'static Rule,
    /// Burn rate from which on it is an alarm.
    pub threshold: f64,
    /// Burn rates of the two windows; none where nothing was measured.
    pub long: Option<f64>,
    pub short: Option<f64>,
}

/// A period's budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Requests, or seconds, that may go wrong.
    pub allowed: f64,
    /// Those that did.
    pub spent: u64,
    /// Share that is left, 1 to 0, or below where more was spent; none where nothing was measured.
    pub remaining: Option<f64>,
}

impl Rule {
    /// Burn rate from which on it is an alarm, for a period in seconds.
    #[must_use]
    pub fn threshold(&self, period: u64) -> f64 {
        self.share * period as f64 / self.long as f64
    }
}

impl Burn {
    /// Whether it is an alarm: both windows are at the threshold or above.
    #[must_use]
    pub fn burning(&self) -> bool {
        let over = |rate: Option<f64>| rate.is_some_and(|rate| rate >= self.threshold);
        over(self.long) && over(self.short)
    }
}

/// What went wrong, and of how much.
#[must_use]
pub fn bad(slot: &Slot, by: Basis) -> (u64, u64) {
    match by {
        Basis::Requests => (slot.failed, slot.requests),
        Basis::Time => (slot.down.into(), u64::from(slot.up) + u64::from(slot.down)),
    }
}

/// The burn rate of a stretch: its share of what went wrong, over the share that may. None where nothing was measured.
#[must_use]
pub fn rate(slot: &Slot, by: Basis, objective: Objective) -> Option<f64> {
    let (bad, all) = bad(slot, by);
    (all > 0).then(|| bad as f64 / all as f64 / objective.allowance())
}

/// The burn rate of the last `seconds` of something.
#[must_use]
pub fn rate_of(ledger: &Ledger, key: &Key, sla: &Sla, now: u64, seconds: u64) -> Option<f64> {
    rate(&ledger.last(key, now, seconds), sla.by, sla.objective)
}

/// Every rule, as it stands at `now` (seconds since 1970).
#[must_use]
pub fn burns(ledger: &Ledger, key: &Key, sla: &Sla, now: u64) -> [Burn; RULES.len()] {
    const { &RULES }.each_ref().map(|rule| Burn {
        rule,
        threshold: rule.threshold(sla.period.as_secs()),
        long: rate_of(ledger, key, sla, now, rule.long),
        short: rate_of(ledger, key, sla, now, rule.short),
    })
}

/// The budget of a stretch. By requests it is a share of those that came, by time a share of the whole period.
#[must_use]
pub fn budget(slot: &Slot, by: Basis, objective: Objective, period: u64) -> Budget {
    let (spent, all) = bad(slot, by);
    let whole = match by {
        Basis::Requests => all,
        Basis::Time => period,
    };
    let allowed = whole as f64 * objective.allowance();
    Budget { allowed, spent, remaining: (all > 0).then(|| 1.0 - spent as f64 / allowed) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sla::ledger::Seen;
    use crate::sla::standing::Standing;

    const START: u64 = 20_782 * 86_400;

    fn sla(by: Basis) -> Sla {
        Sla { objective: Objective(999_000), by, period: Duration::from_secs(30 * 86_400), maintenance: Vec::new() }
    }

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9
    }

    #[test]
    fn thresholds_are_those_of_the_book_and_follow_the_period() {
        let thresholds = RULES.each_ref().map(|rule| rule.threshold(30 * 86_400));
        assert!(thresholds.into_iter().zip([14.4, 6.0, 1.0]).all(|(is, ought)| close(is, ought)), "{thresholds:?}");
        assert!(close(RULES[0].threshold(7 * 86_400), 3.36));
    }

    #[test]
    fn failing_as_much_as_is_allowed_burns_at_one() {
        let slot = Slot { requests: 10_000, failed: 10, up: 999, down: 1, ..Slot::EMPTY };
        assert!(close(rate(&slot, Basis::Requests, Objective(999_000)).unwrap(), 1.0));
        assert!(close(rate(&slot, Basis::Time, Objective(999_000)).unwrap(), 1.0));
        assert_eq!(rate(&Slot::EMPTY, Basis::Requests, Objective(999_000)), None);
    }

    #[test]
    fn a_budget_is_spent_by_what_fails_and_can_be_overspent() {
        let slot = |failed| Slot { requests: 10_000, failed, ..Slot::EMPTY };
        let left = |failed| budget(&slot(failed), Basis::Requests, Objective(999_000), 0).remaining.unwrap();
        assert!(close(left(0), 1.0) && close(left(4), 0.6) && close(left(10), 0.0) && close(left(20), -1.0));
        // By time the whole period counts, however much of it has passed.
        let slot = Slot { up: 3600, down: 36, ..Slot::EMPTY };
        let budget = budget(&slot, Basis::Time, Objective(990_000), 36_000);
        assert!(close(budget.allowed, 360.0) && close(budget.remaining.unwrap(), 0.9));
        assert_eq!(super::budget(&Slot::EMPTY, Basis::Time, Objective(990_000), 36_000).remaining, None);
    }

    #[test]
    fn an_alarm_takes_both_windows_and_ends_with_the_short_one() {
        let key = Key::Upstream("bots".into());
        let mut ledger = Ledger::default();
        let mut pass = |seconds: std::ops::Range<u64>, failed: u64| {
            for second in seconds {
                let seen = Seen { key: key.clone(), requests: 10, failed, standing: Standing::Up };
                ledger.observe(START + second, [seen]);
            }
            let second = START + ledger_end(&ledger, &key);
            burns(&ledger, &key, &sla(Basis::Requests), second).map(|burn| burn.burning())
        };
        assert_eq!(pass(0..3600, 0), [false; 3]);
        // Of an hour two minutes in which everything fails: 33 times the even pace.
        assert_eq!(pass(3600..3720, 10), [true; 3]);
        // The short windows are over.
        assert!(!pass(3720..3720 + 420, 0)[0]);
    }

    /// Seconds since the start, up to the last minute of which there is something.
    fn ledger_end(ledger: &Ledger, key: &Key) -> u64 {
        (0..200)
            .rev()
            .find(|minute| ledger.get(key, crate::sla::ledger::Span::Minute, START / 60 + minute) != Slot::EMPTY)
            .unwrap()
            * 60
    }
}
