//! Rates: how often something may happen, how many bytes a second, and by what it is counted.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::http::is_token;
use super::quantity::{Size, show_size};
use crate::config::model::{Rate, RateKey};
use crate::config::shape::{Scalar, scalars};

scalars! { Times; Throughput; RateBy; }

/// Highest rate: beyond it the time between two requests is too short for the clock to tell.
const TIMES_MAX: u32 = 100_000;

const PERIODS: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3600)];

/// How often: `100/s`, `10/m`, `1000/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times(pub Rate);

impl Scalar for Times {
    const NAME: &'static str = "a rate";

    fn parse(text: &str) -> Result<Self, String> {
        let help = "write a whole number and a period: 100/s, 10/m, 1000/h";
        let (count, period) = text.split_once('/').ok_or(help)?;
        let seconds = PERIODS.iter().find(|(name, _)| *name == period).ok_or(help)?.1;
        let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        if !digits {
            return Err(help.into());
        }
        match count.parse::<u32>() {
            Ok(0) => Err("it is at least 1".into()),
            // An hour of the highest rate does not fit; who wants that much does not want it counted by the hour.
            Ok(count @ 1..=TIMES_MAX) => Ok(Self(Rate { count, period: Duration::from_secs(seconds) })),
            _ => Err(format!("it is at most {TIMES_MAX} in a period")),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^0*[1-9][0-9]*/(s|m|h)$", "examples": ["100/s", "10/m", "1000/h"] })
    }
}

/// A rate as a configuration has it: `100/s`.
pub fn show_rate(rate: Rate) -> String {
    let name = PERIODS.iter().find(|(_, seconds)| *seconds == rate.period.as_secs()).map_or("s", |(name, _)| name);
    format!("{}/{name}", rate.count)
}

/// Bytes a second: `1KiB/s`; `0B/s` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throughput(pub u64);

impl Scalar for Throughput {
    const NAME: &'static str = "a number of bytes a second";

    fn parse(text: &str) -> Result<Self, String> {
        let help = "write a size and `/s`: 512B/s, 1KiB/s; 0B/s switches it off";
        let size = Size::<0, { 1 << 30 }>::parse(text.strip_suffix("/s").ok_or(help)?);
        size.map(|size| Self(size.0)).map_err(|_| help.into())
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)/s$", "examples": ["512B/s", "1KiB/s"] })
    }
}

/// Bytes a second as a configuration has them: `1KiB/s`.
pub fn show_throughput(bytes: u64) -> String {
    format!("{}/s", show_size(bytes))
}

/// What requests are counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateBy(pub RateKey);

impl Scalar for RateBy {
    const NAME: &'static str = "`account`, `client-ip` or `header:NAME`";

    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "client-ip" => Ok(Self(RateKey::ClientIp)),
            None if text == "account" => Ok(Self(RateKey::Account)),
            Some(("header", name)) if is_token(name) => Ok(Self(RateKey::Header(name.to_ascii_lowercase()))),
            _ => Err("NAME is one word, such as header:x-tenant".into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(account|client-ip|header:.+)$", "examples": ["client-ip", "account", "header:x-tenant"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_what_they_show_and_nonsense_is_refused() {
        for text in ["100/s", "10/m", "1000/h", "100000/s"] {
            assert_eq!(show_rate(Times::parse(text).unwrap().0), text);
        }
        for wrong in ["0/s", "100", "1/d", "/s", "-1/s", "+1/s", "1.5/s", "100 /s", "100001/s", "99999999999/s"] {
            assert!(Times::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_a_second_are_a_size_and_a_period() {
        assert_eq!(Throughput::parse("1KiB/s"), Ok(Throughput(1024)));
        assert_eq!(show_throughput(1024), "1KiB/s");
        for wrong in ["1KiB", "1/s", "1KB/s", "2GiB/s"] {
            assert!(Throughput::parse(wrong).is_err(), "{wrong}");
        }
    }
}
