//! Promises and the calendar: objectives, times of day, moments.

use serde_json::{Value as Json, json};

use crate::clock::civil;
use crate::config::model::Objective;
use crate::config::shape::{Scalar, scalars};

scalars! { Percent; TimeOfDay; Moment; }

/// An objective in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub Objective);

/// Digits after the point: more of them nobody can keep.
const DIGITS_MAX: usize = 4;

impl Scalar for Percent {
    const NAME: &'static str = "a percentage";

    fn parse(text: &str) -> Result<Self, String> {
        let help = "it is from 1 to 99.9999, with up to four digits after the point: 99.9";
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > DIGITS_MAX {
            return Err(help.into());
        }
        let part: u32 = format!("{part:0<DIGITS_MAX$}").parse().map_err(|_| help)?;
        let whole: u32 = whole.parse().map_err(|_| help)?;
        match whole {
            1..=99 => Ok(Self(Objective(whole * 10_000 + part))),
            _ => Err(help.into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "number", "minimum": 1, "maximum": 99.9999, "examples": [99, 99.9, 99.95] })
    }
}

/// An objective as a configuration has it: `99.9`.
pub fn show_percent(objective: Objective) -> String {
    objective.percent().to_string()
}

/// A time of day in seconds since midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOfDay(pub u32);

impl Scalar for TimeOfDay {
    const NAME: &'static str = "a time of day";

    fn parse(text: &str) -> Result<Self, String> {
        let help = || "write hours and minutes in UTC: 02:00".to_owned();
        let (hour, minute) = text.split_once(':').ok_or_else(help)?;
        match (two(hour), two(minute)) {
            (Some(hour @ 0..=23), Some(minute @ 0..=59)) => Ok(Self(hour * 3600 + minute * 60)),
            _ => Err(help()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$", "examples": ["02:00"] })
    }
}

/// A time of day as a configuration has it: `02:00`.
pub fn show_time_of_day(second: u32) -> String {
    format!("{:02}:{:02}", second / 3600, second / 60 % 60)
}

/// A moment in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub u64);

impl Scalar for Moment {
    const NAME: &'static str = "a moment";

    fn parse(text: &str) -> Result<Self, String> {
        moment(text).map(Self).ok_or_else(|| "write a moment in UTC, from 1970 on: 2026-11-28T22:00:00Z".into())
    }

    fn schema() -> Json {
        let pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$";
        json!({ "type": "string", "pattern": pattern, "examples": ["2026-11-28T22:00:00Z"] })
    }
}

/// A moment as a configuration has it: `2026-11-28T22:00:00Z`.
pub fn show_moment(second: u64) -> String {
    let (year, month, day) = civil(second / 86_400);
    format!("{year:04}-{month:02}-{day:02}T{}:{:02}Z", show_time_of_day((second % 86_400) as u32), second % 60)
}

fn moment(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-');
    let (century, month, day) = (date.next()?, two(date.next()?)?, two(date.next()?)?);
    let (century, year) = century.split_at_checked(2)?;
    let year = two(century)? * 100 + two(year)?;
    let mut time = time.split(':');
    let (hour, minute, second) = (two(time.next()?)?, two(time.next()?)?, two(time.next()?)?);
    let whole = date.next().is_none() && time.next().is_none();
    if !whole || year < 1970 || !(1..=12).contains(&month) || day < 1 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years that begin in March, so that the leap day is last.
    let (from, months) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * from + from / 4 - from / 100 + from / 400 + (153 * months + 2) / 5 + day - 1;
    let days = u64::from(days - 719_468);
    // A day that its month does not have is another month's.
    (civil(days) == (year.into(), month.into(), day.into()))
        .then(|| days * 86_400 + u64::from(hour * 3600 + minute * 60 + second))
}

/// Two digits.
fn two(text: &str) -> Option<u32> {
    (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_to_the_last_digit() {
        let read = |text| Percent::parse(text).map(|percent| percent.0.0).ok();
        assert_eq!(
            ["99", "99.9", "99.95", "99.9999", "1.0"].map(read),
            [990_000, 999_000, 999_500, 999_999, 10_000].map(Some)
        );
        for text in ["", "0", "0.5", "100", "100.0", "99.99999", "-1", "+99", "99.", ".9", "1e1", "99,9"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!([999_500, 990_000].map(|it| show_percent(Objective(it))), ["99.95", "99"]);
    }

    #[test]
    fn times_of_day_and_moments_are_those_of_the_calendar() {
        assert_eq!(TimeOfDay::parse("23:59"), Ok(TimeOfDay(86_340)));
        for text in ["24:00", "1:00", "01:60", "0100", "01:00:00", "+1:00"] {
            assert!(TimeOfDay::parse(text).is_err(), "{text}");
        }
        for second in [0, 951_782_400, 1_795_910_399, 4_107_542_400] {
            assert_eq!(moment(&show_moment(second)), Some(second), "{}", show_moment(second));
        }
        for text in [
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "1969-12-31T00:00:00Z",
            "2026-11-28",
            "2026-11-28T22:00:00",
            "2026-11-28T22:00:00+01:00",
            "2026-11-28T24:00:00Z",
            "2026-11-31T00:00:00Z",
            "2026-11-00T00:00:00Z",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
