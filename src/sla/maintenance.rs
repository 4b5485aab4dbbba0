//! Whether announced work goes on at a moment.

use crate::config::model::{Begins, Maintenance};

const DAY: u64 = 86_400;

/// Whether any of these goes on at `second` (since 1970).
#[must_use]
pub fn any(windows: &[Maintenance], second: u64) -> bool {
    windows.iter().any(|window| goes_on(window, second))
}

fn goes_on(window: &Maintenance, second: u64) -> bool {
    let lasts = window.lasts.as_secs();
    match window.begins {
        Begins::Once(begin) => (begin..begin.saturating_add(lasts)).contains(&second),
        Begins::Weekly { days, second: offset } => {
            // One that began yesterday may last until today, and so on; it lasts for a week at most.
            (0..=lasts / DAY + 1).any(|back| {
                let Some(day) = (second / DAY).checked_sub(back) else { return false };
                let begin = day * DAY + u64::from(offset);
                days.has(weekday(day)) && (begin..begin + lasts).contains(&second)
            })
        }
    }
}

/// Day of the week of a number of days since 1970; 0 is Monday.
#[must_use]
pub fn weekday(days: u64) -> u8 {
    // 1 January 1970 was a Thursday.
    ((days + 3) % 7) as u8
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::model::Weekdays;

    /// Wednesday, 25 November 2026, 00:00 UTC.
    const WEDNESDAY: u64 = 20_782 * DAY;

    fn weekly(day: u8, hour: u32, hours: u64) -> Maintenance {
        let begins = Begins::Weekly { days: Weekdays::new([day]), second: hour * 3600 };
        Maintenance { begins, lasts: Duration::from_secs(hours * 3600) }
    }

    #[test]
    fn the_week_begins_on_monday() {
        assert_eq!(crate::clock::civil(20_782), (2026, 11, 25));
        assert_eq!([0, 20_782, 20_783, 20_787].map(weekday), [3, 2, 3, 0]);
    }

    #[test]
    fn work_goes_on_from_its_first_second_and_ends_before_its_last() {
        let window = [weekly(2, 2, 2)];
        let at = |seconds: u64| any(&window, WEDNESDAY + seconds);
        assert_eq!([7199, 7200, 4 * 3600 - 1, 4 * 3600].map(at), [false, true, true, false]);
        assert!(at(7 * DAY + 7200) && !at(DAY + 7200));
    }

    #[test]
    fn work_goes_on_past_midnight() {
        let window = [weekly(1, 23, 3)];
        assert!(any(&window, WEDNESDAY - 1) && any(&window, WEDNESDAY + 7199) && !any(&window, WEDNESDAY + 7200));
        let long = [weekly(0, 0, 7 * 24)];
        assert!((0..14).all(|day| any(&long, WEDNESDAY + day * DAY)));
    }

    #[test]
    fn work_that_is_done_once_is_not_done_again() {
        let window = [Maintenance { begins: Begins::Once(WEDNESDAY), lasts: Duration::from_secs(60) }];
        assert!(any(&window, WEDNESDAY) && any(&window, WEDNESDAY + 59));
        assert!(!any(&window, WEDNESDAY + 60) && !any(&window, WEDNESDAY - 1) && !any(&window, WEDNESDAY + 7 * DAY));
    }
}
