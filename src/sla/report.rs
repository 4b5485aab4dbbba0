//! A month, day by day.

use super::burn;
use super::ledger::{Ledger, Span};
use super::month::Month;
use super::slot::Slot;
use crate::config::model::{Objective, Sla};
use crate::monitor::series::Key;

/// What one thing did in a month.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub key: Key,
    pub sla: Option<Sla>,
    pub total: Slot,
    /// Days of which something is known, as numbers since 1970, in order.
    pub days: Vec<(u64, Slot)>,
    /// Whether the objective was met; none without one, or where nothing was measured.
    pub met: Option<bool>,
}

/// The month of everything that has an objective now, and of everything else of which something is kept.
pub fn lines(ledger: &Ledger, month: Month, sla: impl Fn(&Key) -> Option<Sla>) -> Vec<Line> {
    let line = |key: &Key| {
        let days: Vec<(u64, Slot)> = month.days().map(|day| (day, ledger.get(key, Span::Day, day))).collect();
        let days: Vec<(u64, Slot)> = days.into_iter().filter(|(_, slot)| *slot != Slot::EMPTY).collect();
        let mut total = Slot::EMPTY;
        days.iter().for_each(|(_, slot)| total.add(slot));
        let sla = sla(key);
        let met = sla.as_ref().and_then(|sla| met(&total, sla));
        Line { key: key.clone(), sla, total, days, met }
    };
    ledger.keys().map(line).filter(|line| !line.days.is_empty()).collect()
}

fn met(total: &Slot, sla: &Sla) -> Option<bool> {
    let (bad, all) = burn::bad(total, sla.by);
    // In whole numbers: a share of exactly the objective meets it.
    let good = u128::from(all - bad.min(all)) * u128::from(Objective::WHOLE);
    (all > 0).then(|| good >= u128::from(all) * u128::from(sla.objective.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::model::Basis;
    use crate::sla::ledger::Seen;
    use crate::sla::standing::Standing;

    fn sla(objective: u32) -> Sla {
        let period = Duration::from_secs(30 * 86_400);
        Sla { objective: Objective(objective), by: Basis::Requests, period, maintenance: Vec::new() }
    }

    #[test]
    fn a_month_has_its_own_days_and_says_whether_the_promise_was_kept() {
        let month = Month::parse("2026-11").unwrap();
        let first = month.days().start * 86_400;
        let mut ledger = Ledger::default();
        let (bots, other) = (Key::Upstream("bots".into()), Key::Route("other".into()));
        for (second, key, requests, failed) in [
            (first - 1, &bots, 100, 100),
            (first, &bots, 900, 0),
            (first + 86_400, &bots, 100, 1),
            (first + 29 * 86_400, &bots, 0, 0),
            (first + 30 * 86_400, &other, 5, 0),
        ] {
            ledger.observe(second, [Seen { key: key.clone(), requests, failed, standing: Standing::Up }]);
        }
        let told = |objective| lines(&ledger, month, |_| Some(sla(objective)));
        let all = told(999_000);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].total.requests, all[0].total.failed, all[0].days.len()), (1000, 1, 2));
        assert_eq!((all[0].met, told(999_001)[0].met), (Some(true), Some(false)));
        assert_eq!(lines(&ledger, month, |_| None)[0].met, None);
        assert_eq!(lines(&ledger, Month::parse("2026-12").unwrap(), |_| None).len(), 1);
    }
}
