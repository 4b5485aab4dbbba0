//! Time as the data path counts it: microseconds since this process first asked.
//!
//! One `u64` fits an atomic, compares with one instruction and never goes backwards. Pure code takes it as an argument;
//! only shells call [`now`].

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the process first asked for the time.
pub type Micros = u64;

/// Milliseconds since 1970: what outlives the process is dated with it.
pub type UnixMillis = u64;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The present moment.
#[must_use]
pub fn now() -> Micros {
    micros(START.elapsed())
}

/// A duration in microseconds; one longer than 584 000 years is cut.
#[must_use]
pub fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The present moment for what outlives the process; it can be set back, or forward.
#[must_use]
pub fn unix_millis() -> UnixMillis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// A duration in milliseconds; one longer than 584 million years is cut.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is a year's last and the months' lengths follow one formula.
#[must_use]
pub fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468; // since 1 March of the year 0
    const DAYS_IN_ERA: u64 = 146_097; // 400 years
    let day = days + DAYS_TO_1970;
    let (era, day) = (day / DAYS_IN_ERA, day % DAYS_IN_ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// A moment as RFC 3339 writes it, in UTC with milliseconds: `2026-11-25T03:01:30.250Z`.
#[derive(Debug, Clone, Copy)]
pub struct Rfc3339(pub UnixMillis);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0 / 1000, self.0 % 1000);
        let (year, month, day) = civil(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_of_a_thousand_years_follows_the_one_before() {
        let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..365_250 {
            assert_eq!(civil(days), (year, month, day), "day {days}");
            let length = match month {
                2 if leap(year) => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, day) if day == length => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
    }

    #[test]
    fn a_moment_is_written_with_milliseconds_and_in_utc() {
        assert_eq!(Rfc3339(1_700_000_000_042).to_string(), "2023-11-14T22:13:20.042Z");
        assert_eq!(Rfc3339(0).to_string(), "1970-01-01T00:00:00.000Z");
    }
}
