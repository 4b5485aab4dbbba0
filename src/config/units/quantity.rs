//! Numbers: durations, sizes, whole numbers within bounds, degrees.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::config::shape::{Scalar, scalars};

/// Longest duration: a longer one is a mistake, and microseconds of this fit every counter.
const TIME_MAX: Duration = Duration::from_secs(365 * 86_400);

const TIME_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

scalars! {
    Time; TimeOrZero; Size<MIN, MAX> where MIN: u64, MAX: u64; Int<MIN, MAX> where MIN: u64, MAX: u64;
    Degrees<MAX> where MAX: i32; Number;
}

/// A number and a unit, without anything between them.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The largest unit that leaves a whole number.
fn show(value: u64, units: &[(&str, u64)]) -> String {
    let unit = units.iter().rev().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    let (name, factor) = unit.unwrap_or(&units[0]);
    format!("{}{name}", value / factor)
}

/// A duration as a configuration has it: `250ms`.
pub fn show_time(time: Duration) -> String {
    match u64::try_from(time.as_millis()) {
        Ok(0) => "0s".into(),
        millis => show(millis.unwrap_or(u64::MAX), &TIME_UNITS),
    }
}

/// A size as a configuration has it: `32KiB`.
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZE_UNITS)
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let help = "write a whole number and a unit: 250ms, 5s, 10m, 24h, 7d";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let time = Duration::from_millis(quantity(text, &TIME_UNITS).ok_or(help)?);
    if time > TIME_MAX { Err("it is at most 365d".into()) } else { Ok(time) }
}

const TIME_PATTERN: &str = "^([0-9]+(ms|s|m|h|d)|0)$";

/// A duration above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Scalar for Time {
    const NAME: &'static str = "a duration";

    fn parse(text: &str) -> Result<Self, String> {
        let time = parse_time(text)?;
        if time.is_zero() { Err("it must be longer than zero".into()) } else { Ok(Self(time)) }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^0*[1-9][0-9]*(ms|s|m|h|d)$", "examples": ["250ms", "5s", "24h"] })
    }
}

/// A duration that may be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOrZero(pub Duration);

impl Scalar for TimeOrZero {
    const NAME: &'static str = "a duration";

    fn parse(text: &str) -> Result<Self, String> {
        parse_time(text).map(Self)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": TIME_PATTERN, "examples": ["0s", "30s"] })
    }
}

/// A number of bytes from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Scalar for Size<MIN, MAX> {
    const NAME: &'static str = "a size";

    fn parse(text: &str) -> Result<Self, String> {
        match quantity(text, &SIZE_UNITS) {
            None => Err("write a whole number and a unit: 512B, 32KiB, 4MiB, 1GiB".into()),
            Some(bytes) if (MIN..=MAX).contains(&bytes) => Ok(Self(bytes)),
            Some(_) => Err(format!("it is from {} to {}", show_size(MIN), show_size(MAX))),
        }
    }

    fn schema() -> Json {
        let examples = [32 << 10, 4 << 20].map(|bytes: u64| show_size(bytes.clamp(MIN, MAX)));
        let range = format!("from {} to {}", show_size(MIN), show_size(MAX));
        json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$", "examples": examples, "$comment": range })
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Int<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Scalar for Int<MIN, MAX> {
    const NAME: &'static str = "a whole number";

    fn parse(text: &str) -> Result<Self, String> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && (MIN..=MAX).contains(&number) => Ok(Self(number)),
            _ => Err(format!("it is from {MIN} to {MAX}")),
        }
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    pub fn usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Int<MIN, MAX> {
    pub fn u32(self) -> u32 {
        const { assert!(MAX <= u32::MAX as u64) };
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }

    pub fn u8(self) -> u8 {
        const { assert!(MAX <= u8::MAX as u64) };
        u8::try_from(self.0).unwrap_or(u8::MAX)
    }

    pub fn u16(self) -> u16 {
        const { assert!(MAX <= u16::MAX as u64) };
        u16::try_from(self.0).unwrap_or(u16::MAX)
    }

    pub fn usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Degrees from `-MAX` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Degrees<const MAX: i32>(pub f64);

impl<const MAX: i32> Scalar for Degrees<MAX> {
    const NAME: &'static str = "a number of degrees";

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(degrees) if degrees.abs() <= f64::from(MAX) => Ok(Self(degrees)),
            _ => Err(format!("it is from -{MAX} to {MAX}, such as 25.2048")),
        }
    }

    fn schema() -> Json {
        json!({ "type": "number", "minimum": -MAX, "maximum": MAX })
    }
}

/// Any number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number(pub f64);

/// Beyond it a float has no whole numbers left.
const NUMBER_MAX: f64 = 1e15;

impl Scalar for Number {
    const NAME: &'static str = "a number";

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(number) if number.abs() <= NUMBER_MAX => Ok(Self(number)),
            _ => Err("write digits, and a point if need be: 5, 0.1".into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "number", "minimum": -NUMBER_MAX, "maximum": NUMBER_MAX })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_quantity_that_overflows_is_refused() {
        assert_eq!(quantity("18446744073709551615GiB", &SIZE_UNITS), None);
        assert_eq!(quantity("99999999999999999999ms", &TIME_UNITS), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_the_same_again(millis in 0..=u64::try_from(TIME_MAX.as_millis()).unwrap(), bytes in any::<u64>()) {
            let time = Duration::from_millis(millis);
            prop_assert_eq!(parse_time(&show_time(time)), Ok(time));
            prop_assert_eq!(quantity(&show_size(bytes), &SIZE_UNITS), Some(bytes));
        }
    }
}
