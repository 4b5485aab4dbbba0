//! What was promised about a route or an upstream.

use super::{Values, list, some};
use crate::config::model::{Begins, Maintenance, Sla};
use crate::config::units::{Weekday, show_moment, show_percent, show_time, show_time_of_day};

pub fn values(sla: &Sla) -> Values {
    let Sla { objective, by, period, maintenance } = sla;
    let window = |Maintenance { begins, lasts }: &Maintenance| match begins {
        Begins::Once(second) => format!("{} for {}", show_moment(*second), show_time(*lasts)),
        Begins::Weekly { days, second } => {
            let words = Weekday::ALL.iter().filter(|(day, _)| days.has(*day as u8)).map(|(_, word)| *word);
            let words: Vec<&str> = words.collect();
            format!("{} {} for {}", words.join(" "), show_time_of_day(*second), show_time(*lasts))
        }
    };
    vec![
        ("sla.objective", some(show_percent(*objective))),
        ("sla.by", some(by.name())),
        ("sla.period", some(show_time(*period))),
        ("sla.maintenance", list(maintenance, window)),
    ]
}
