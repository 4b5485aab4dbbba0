//! The audit trail: who changed what, from where, why, and how it ended.
//!
//! Every change through the admin API is recorded here, and so is every request that was refused for who asked. Nothing
//! secret is: no token, no body of a message.

use std::sync::Mutex;
use std::sync::PoisonError;

use serde_json::Value;

use crate::clock::{self, Micros};

/// Refusals that are recorded in a row; a flood of them must not bury what matters.
const REFUSALS_BURST: u64 = 30;
/// One more refusal is recorded for each such time.
const REFUSAL_EVERY: Micros = 10_000_000;

/// One thing that somebody did, or tried to do.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Subject of the token.
    pub who: &'a str,
    /// Role of the token.
    pub role: Option<&'a str>,
    /// Address of the caller, without the port.
    pub from: &'a str,
    /// What was asked for, such as `operator-state`.
    pub action: &'a str,
    /// What it was done to, such as `upstreams/bots/masters/dubai-1`.
    pub target: &'a str,
    /// Why, in the caller's words; may be empty.
    pub reason: &'a str,
    pub before: Value,
    pub after: Value,
    pub outcome: Outcome,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Nothing has changed, because of this.
    Refused(String),
    /// Something may have changed, and then this happened.
    Failed(String),
}

/// Where entries go.
#[derive(Debug, Default)]
pub struct Audit {
    refusals: Mutex<Refusals>,
}

/// How many refusals may be recorded now.
#[derive(Debug, Default)]
struct Refusals {
    used: u64,
    since: Micros,
    left_out: u64,
}

impl Audit {
    /// Appends one entry.
    pub fn record(&self, entry: &Entry<'_>) {
        let Entry { who, role, from, action, target, reason, before, after, outcome } = entry;
        let role = role.unwrap_or("none");
        let (word, why) = match outcome {
            Outcome::Done => ("done", ""),
            Outcome::Refused(why) => ("refused", &**why),
            Outcome::Failed(why) => ("failed", &**why),
        };
        let (before, after) = (before.to_string(), after.to_string());
        // `target` is what the log itself calls the part of the program that says it.
        tracing::info!(who, role, from, action, object = target, reason, before, after, outcome = word, why, "audit");
    }

    /// Appends that a request was refused for who asked, unless there are too many of these.
    pub fn refused(&self, who: &str, from: &str, action: &str, why: &str) {
        let left_out = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            match refusals.admit(clock::now()) {
                Some(left_out) => left_out,
                None => return,
            }
        };
        let why = if left_out == 0 { why.to_owned() } else { format!("{why} (and {left_out} more before it)") };
        self.record(&Entry {
            who,
            role: None,
            from,
            action,
            target: "",
            reason: "",
            before: Value::Null,
            after: Value::Null,
            outcome: Outcome::Refused(why),
        });
    }
}

impl Refusals {
    /// Whether one more is recorded, and how many were not since the last one.
    fn admit(&mut self, now: Micros) -> Option<u64> {
        let regained = now.saturating_sub(self.since) / REFUSAL_EVERY;
        self.used = self.used.saturating_sub(regained);
        self.since = if self.used == 0 { now } else { self.since + regained * REFUSAL_EVERY };
        if self.used >= REFUSALS_BURST {
            self.left_out += 1;
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_counted_and_not_written_out() {
        let mut refusals = Refusals::default();
        let admitted = (0..1000).filter(|_| refusals.admit(0).is_some()).count();
        assert_eq!(admitted as u64, REFUSALS_BURST);
        assert_eq!(refusals.admit(REFUSAL_EVERY), Some(1000 - REFUSALS_BURST));
        assert_eq!(refusals.admit(REFUSAL_EVERY), None);
        let long = 1000 * REFUSAL_EVERY;
        assert_eq!((0..1000).filter(|_| refusals.admit(long).is_some()).count() as u64, REFUSALS_BURST);
    }
}
