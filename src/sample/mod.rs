//! Stand-ins for both sides of the balancer: a bot ([`master`]) and a WhatsApp gateway that sends it webhooks
//! ([`gateway`]).
//!
//! They are part of the product: `baton demo` runs on them, a new user tries a configuration with them before real bots
//! are at risk, and the integration tests measure with them. Neither knows anything about the balancer between them.

pub mod client;
pub mod gateway;
pub mod histogram;
pub mod hooks;
pub mod log;
pub mod mark;
pub mod master;
mod memory;
pub mod signing;
pub mod tally;
pub mod webhook;
pub mod websocket;

use std::time::Duration;

/// Response header in which a sample master gives its name.
pub const MASTER_HEADER: &str = "x-master";
/// Request header in which the sample gateway repeats the conversation, for affinity by header.
pub const CONVERSATION_HEADER: &str = "x-conversation";

/// Reads `250ms`, `10s`, `5m` or `1h`, as a command line gives them.
///
/// # Errors
/// A sentence with the forms that are allowed.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("expected a whole number with ms, s, m or h, such as 250ms or 10s".into()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(milliseconds))
        .map(Duration::from_millis)
        .ok_or_else(|| "expected a whole number with ms, s, m or h, such as 250ms or 10s".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_number_and_a_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3600)));
        for wrong in ["", "10", "s", "1.5s", "-1s", "10 s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
