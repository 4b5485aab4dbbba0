//! Keys about what was promised.

use super::super::model::Basis;
use super::super::shape::{List, shape};
use super::super::units::{Moment, Percent, Time, TimeOfDay, Weekday};

shape! {
    /// What was promised, for the budget, the burn rates and the monthly report. Availability is measured without it as well.
    struct Sla {
        /// The share that has to be good, in percent.
        objective: Percent,
        /// What it is a share of. `requests`: those that were answered, and not with 5xx. `time`: the seconds in which a master was
        /// there to answer.
        by: Basis = "requests",
        /// Over which it has to be met, in whole days up to 90: the budget is that of the last so many days.
        period: Time = "30d",
        /// Announced work. What happens meanwhile counts neither for nor against.
        maintenance: List<MaintenanceWindow> = "[]",
    }

    /// A stretch of announced work: once, or each week.
    struct MaintenanceWindow {
        /// Once: when it begins, in UTC.
        from: Option<Moment>,
        /// Each week: the time of day at which it begins, in UTC.
        at: Option<TimeOfDay>,
        /// Each week: the days on which it begins. Empty means every day.
        days: List<Weekday> = "[]",
        /// How long it goes on, up to 7 days.
        lasts: Time,
    }
}
