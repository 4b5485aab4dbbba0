//! The hash chain: each record has the hash of the one before it, so that none can be changed, removed or put in between
//! without every later hash being wrong.
//!
//! A record is one line of JSON that ends with its own hash, `,"hash":"<64 hexadecimal digits>"}`: the SHA-256 of the line's
//! bytes before that. `prev` is the hash of the record before, 64 zeros in the very first. What has to be remembered
//! elsewhere to make the chain's end safe, too, is the newest hash.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::UnixMillis;

/// `prev` of the first record there ever was.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Before the hash, and after it.
const SEAL: (&str, &str) = (",\"hash\":\"", "\"}");
const HASH_DIGITS: usize = 64;

/// One record as it is stored and told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Record {
    /// Counts up by one.
    pub seq: u64,
    #[schema(value_type = u64)]
    pub at: UnixMillis,
    /// Hash of the record before.
    pub prev: String,
    pub who: String,
    /// Of the token; none for what Baton does by itself, and for who showed none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Address of the caller, or what made Baton act.
    pub from: String,
    pub action: String,
    pub target: String,
    pub reason: String,
    pub before: Value,
    pub after: Value,
    /// `done`, `refused` or `failed`.
    pub outcome: String,
    /// Why it was refused, or failed.
    pub why: String,
    /// Filled in by [`seal`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

/// The line of a record, with its line end; its hash is put into the record.
#[must_use]
pub fn seal(record: &mut Record) -> String {
    record.hash.clear();
    let mut line = serde_json::json!(&*record).to_string();
    // The closing brace comes after the hash.
    line.pop();
    record.hash = hash(line.as_bytes());
    format!("{line}{}{}{}\n", SEAL.0, record.hash, SEAL.1)
}

fn hash(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is no record.
    Unreadable,
    /// It is not what was written.
    Changed,
    /// What was before it is not what stands before it now.
    Detached,
    /// Its number does not follow.
    Number { expected: u64 },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("this is no record"),
            Self::Changed => f.write_str("the record was changed: its hash is another one"),
            Self::Detached => f.write_str(
                "the record does not follow the one before it: something was changed, removed or added there",
            ),
            Self::Number { expected } => write!(f, "record {expected} is expected here"),
        }
    }
}

/// Reads a line without its line end, and checks its own hash.
///
/// # Errors
/// It is unreadable, or was changed.
pub fn read(line: &str) -> Result<Record, Fault> {
    let (record, intact) = parse(line).ok_or(Fault::Unreadable)?;
    if intact { Ok(record) } else { Err(Fault::Changed) }
}

/// A record, and whether its hash is right.
pub fn parse(line: &str) -> Option<(Record, bool)> {
    let record: Record = serde_json::from_str(line).ok()?;
    let end = SEAL.0.len() + HASH_DIGITS + SEAL.1.len();
    let sealed = line.len().checked_sub(end).and_then(|at| line.split_at_checked(at));
    let intact = sealed.is_some_and(|(text, seal)| seal == format!("{}{}{}", SEAL.0, hash(text.as_bytes()), SEAL.1));
    Some((record, intact))
}

/// Follows a chain from its oldest kept record on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    pub records: u64,
    /// Number of the oldest record that was seen.
    pub first: Option<u64>,
    /// Number and hash of the newest.
    pub last: Option<(u64, String)>,
    /// The line before could not be read, so nothing is known of what follows it.
    lost: bool,
}

impl Walk {
    /// Takes the next line.
    ///
    /// # Errors
    /// What is wrong with it. The walk goes on with the next line, so that one fault is told once.
    pub fn step(&mut self, line: &str) -> Result<Record, Fault> {
        let Some((record, intact)) = parse(line) else {
            self.lost = true;
            return Err(Fault::Unreadable);
        };
        let lost = std::mem::take(&mut self.lost);
        let before = self.last.replace((record.seq, record.hash.clone()));
        self.records += 1;
        self.first.get_or_insert(record.seq);
        match before {
            _ if !intact => Err(Fault::Changed),
            _ if lost => Ok(record),
            Some((_, hash)) if hash != record.prev => Err(Fault::Detached),
            Some((seq, _)) if seq + 1 != record.seq => Err(Fault::Number { expected: seq + 1 }),
            // Records before the oldest one that is kept have been rotated away.
            None if (record.seq == 1) != (record.prev == GENESIS) => Err(Fault::Detached),
            _ => Ok(record),
        }
    }
}

#[cfg(test)]
impl Record {
    /// One for tests.
    pub fn sample(seq: u64, prev: &str) -> Self {
        use serde_json::json;
        Self {
            seq,
            at: 1_700_000_000_000 + seq,
            prev: prev.to_owned(),
            who: "ann".to_owned(),
            role: Some("operator".to_owned()),
            from: "127.0.0.1".to_owned(),
            action: "operator-state".to_owned(),
            target: format!("upstreams/bots/masters/{seq}"),
            reason: "because \"of\" this,\"hash\":\"".to_owned(),
            before: json!("ready"),
            after: json!({ "state": "drain" }),
            outcome: "done".to_owned(),
            why: String::new(),
            hash: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(length: u64) -> Vec<String> {
        let mut prev = GENESIS.to_owned();
        (1..=length)
            .map(|seq| {
                let mut record = Record::sample(seq, &prev);
                let line = seal(&mut record);
                prev = record.hash;
                line.trim_end().to_owned()
            })
            .collect()
    }

    fn faults(lines: &[String]) -> Vec<Fault> {
        let mut walk = Walk::default();
        lines.iter().filter_map(|line| walk.step(line).err()).collect()
    }

    #[test]
    fn a_chain_that_nobody_touched_is_whole_also_without_its_oldest_records() {
        let lines = chain(20);
        assert_eq!(faults(&lines), []);
        assert_eq!(faults(&lines[7..]), []);
        let mut walk = Walk::default();
        lines[7..].iter().for_each(|line| drop(walk.step(line)));
        assert_eq!((walk.records, walk.first, walk.last.map(|(seq, _)| seq)), (13, Some(8), Some(20)));
    }

    #[test]
    fn what_was_removed_swapped_added_or_written_anew_is_found() {
        let lines = chain(6);
        let mut removed = lines.clone();
        removed.remove(2);
        assert_eq!(faults(&removed), [Fault::Detached]);
        let mut swapped = lines.clone();
        swapped.swap(2, 3);
        assert_eq!(faults(&swapped).len(), 3);
        let mut doubled = lines.clone();
        doubled.insert(2, lines[1].clone());
        assert_eq!(faults(&doubled).len(), 1);
        // With a hash of its own that is right.
        let mut forged = lines.clone();
        let mut other = read(&lines[2]).unwrap();
        other.who = "eve".to_owned();
        forged[2] = seal(&mut other).trim_end().to_owned();
        assert_eq!(faults(&forged), [Fault::Detached]);
        // A chain that does not begin where it says.
        let mut first = Record::sample(1, &"1".repeat(64));
        assert_eq!(faults(&[seal(&mut first).trim_end().to_owned()]), [Fault::Detached]);
    }

    proptest! {
        #[test]
        fn no_changed_byte_goes_unseen(at in 0_usize..2000, byte in 32_u8..127) {
            let mut lines = chain(3);
            let at = at % lines[1].len();
            let mut bytes = lines[1].clone().into_bytes();
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            lines[1] = String::from_utf8(bytes).unwrap();
            prop_assert!(!faults(&lines).is_empty(), "{}", lines[1]);
        }

        #[test]
        fn any_line_is_read_without_a_panic(line in ".{0,200}") {
            let _ = read(&line);
        }
    }
}
