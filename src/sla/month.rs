//! A month of the calendar, as numbers of days since 1970.

use std::fmt;
use std::ops::Range;

use crate::clock::civil;

/// A month, written `2026-11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    year: u64,
    month: u64,
}

/// First and last year that a month may be of.
const YEARS: std::ops::RangeInclusive<u64> = 1970..=9999;

impl Month {
    /// The month that a day is in.
    #[must_use]
    pub fn of(day: u64) -> Self {
        let (year, month, _) = civil(day);
        Self { year, month }
    }

    /// The month of such a text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        let number = |text: &str, digits: usize| {
            (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| text.parse::<u64>().ok())?
        };
        let (year, month) = (number(year, 4)?, number(month, 2)?);
        (YEARS.contains(&year) && (1..=12).contains(&month)).then_some(Self { year, month })
    }

    /// Its days since 1970.
    #[must_use]
    pub fn days(self) -> Range<u64> {
        let next = match self.month {
            12 => Self { year: self.year + 1, month: 1 },
            month => Self { month: month + 1, ..self },
        };
        self.first()..next.first()
    }

    /// The first of the month, in the Gregorian calendar; the inverse of [`civil`].
    fn first(self) -> u64 {
        let (year, month) = if self.month <= 2 { (self.year - 1, self.month + 9) } else { (self.year, self.month - 3) };
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 - 719_468
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// A day as `2026-11-25`.
#[must_use]
pub fn date(day: u64) -> String {
    let (year, month, day) = civil(day);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_each_other_and_hold_their_days() {
        let mut end = 0;
        for year in 1970..2400 {
            for month in 1..=12 {
                let days = Month { year, month }.days();
                assert_eq!(days.start, end, "{year}-{month}");
                assert_eq!(civil(days.start), (year, month, 1));
                assert_eq!(
                    (Month::of(days.start), Month::of(days.end - 1)),
                    (Month { year, month }, Month { year, month })
                );
                end = days.end;
            }
        }
    }

    #[test]
    fn what_is_no_month_is_none() {
        assert_eq!(Month::parse("2026-11").map(|month| month.to_string()).as_deref(), Some("2026-11"));
        for text in [
            "",
            "2026",
            "2026-0",
            "2026-00",
            "2026-13",
            "2026-1",
            "20261-1",
            "+026-11",
            "2026-11-25",
            "1969-12",
            "２０２６-11",
        ] {
            assert_eq!(Month::parse(text), None, "{text}");
        }
        assert_eq!(date(20_782), "2026-11-25");
    }
}
