//! Promises: periods of whole days, and work that has one beginning.

use std::time::Duration;

use super::super::file;
use super::super::model::{Begins, Maintenance, Sla, Weekdays};
use super::super::shape::At;
use super::super::units::show_time;
use super::Checker;

const DAY: u64 = 86_400;
/// Longest period: what is kept reaches further back.
const PERIOD_MAX: Duration = Duration::from_secs(90 * DAY);
/// Longest stretch of work: a longer one would meet itself.
const LASTS_MAX: Duration = Duration::from_secs(7 * DAY);

/// `None` in the outer place when something is wrong, in the inner one when nothing was given.
pub fn check(checker: &mut Checker<'_, '_>, at: &At<Option<file::Sla>>) -> Option<Option<Sla>> {
    let Some(sla) = at.get()? else { return Some(None) };
    let period = sla.period.get().and_then(|period| {
        if period.0.as_secs().is_multiple_of(DAY) && period.0.subsec_nanos() == 0 && period.0 <= PERIOD_MAX {
            return Some(period.0);
        }
        let message = format!("a `period` of {} is not a number of whole days up to 90", show_time(period.0));
        checker.push(checker.error(sla.period.node, message).help("write `30d`, or `7d`"));
        None
    });
    let maintenance = checker.each_of(&sla.maintenance, "maintenance window", false, window);
    Some(Some(Sla {
        objective: sla.objective.get()?.0,
        by: *sla.by.get()?,
        period: period?,
        maintenance: maintenance?,
    }))
}

fn window(checker: &mut Checker<'_, '_>, at: &At<file::MaintenanceWindow>) -> Option<Maintenance> {
    let window = at.get()?;
    let days = checker.set("day", &window.days);
    let lasts = window.lasts.get().and_then(|lasts| {
        if lasts.0 <= LASTS_MAX && lasts.0 >= Duration::from_secs(1) {
            return Some(lasts.0);
        }
        let message = format!("a maintenance window of {} is not from 1s to 7d", show_time(lasts.0));
        checker.push(checker.error(window.lasts.node, message));
        None
    });
    let days = days?;
    let begins = match (window.from.get()?, window.at.get()?) {
        (Some(_), Some(_)) => {
            let report = checker.error(window.at.node, "both `from` and `at`");
            checker.push(report.help("keep `from` for work that is done once, or `at` for work of each week"));
            return None;
        }
        (None, None) => {
            let report = checker.error(at.node, "when does the work begin?");
            checker.push(
                report.help("add `from: 2026-11-28T22:00:00Z`, or `at: \"02:00\"` and, if not every day, `days`"),
            );
            return None;
        }
        (Some(_), None) if !days.is_empty() => {
            let report = checker.error(window.days.node, "`days` beside `from`");
            checker.push(report.help("a moment has its day; write `at` instead of `from` for work of each week"));
            return None;
        }
        (Some(from), None) => Begins::Once(from.0),
        (None, Some(second)) if days.is_empty() => Begins::Weekly { days: Weekdays::ALL, second: second.0 },
        (None, Some(second)) => {
            Begins::Weekly { days: Weekdays::new(days.into_iter().map(|day| day as u8)), second: second.0 }
        }
    };
    Some(Maintenance { begins, lasts: lasts? })
}
