//! What makes loss, doubling and reordering visible from outside: every update of the sample gateway carries its run, its
//! conversation and its place there, as `SAMPLE.RUN.CONVERSATION.SEQUENCE` in its id or beside it.
//!
//! A master finds it by that word, whichever gateway's format the body has.

use std::fmt;

use memchr::memmem;

const WORD: &[u8] = b"SAMPLE.";
/// Longest run, conversation or place in digits.
const DIGITS_MAX: usize = 20;

/// The place of one update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Tells one run's updates from those of another.
    pub run: u64,
    pub conversation: u32,
    /// From 0.
    pub sequence: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SAMPLE.{:x}.{}.{}", self.run, self.conversation, self.sequence)
    }
}

/// The marks in a body in their order, each once; none in the body of a real gateway.
#[must_use]
pub fn marks(body: &[u8]) -> Vec<Mark> {
    let mut found = Vec::new();
    for at in memmem::find_iter(body, WORD) {
        let Some(mark) = read(&body[at + WORD.len()..]) else { continue };
        if found.last() != Some(&mark) && !found.contains(&mark) {
            found.push(mark);
        }
    }
    found
}

fn read(bytes: &[u8]) -> Option<Mark> {
    let (run, rest) = number(bytes, 16)?;
    let (conversation, rest) = number(rest.strip_prefix(b".")?, 10)?;
    let (sequence, _) = number(rest.strip_prefix(b".")?, 10)?;
    Some(Mark { run, conversation: u32::try_from(conversation).ok()?, sequence })
}

/// The number at the beginning, and what comes after it.
fn number(bytes: &[u8], radix: u32) -> Option<(u64, &[u8])> {
    let digit = |byte: &u8| char::from(*byte).is_digit(radix);
    let length = bytes.iter().take(DIGITS_MAX).take_while(|byte| digit(byte)).count();
    let text = std::str::from_utf8(&bytes[..length]).ok()?;
    Some((u64::from_str_radix(text, radix).ok()?, &bytes[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(run: u64, conversation: u32, sequence: u64) -> Mark {
        Mark { run, conversation, sequence }
    }

    #[test]
    fn a_mark_is_found_wherever_it_stands() {
        let written = mark(0xabc, 42, 7);
        assert_eq!(marks(format!("{{\"id\":\"wamid.{written}\"}}").as_bytes()), [written]);
        assert_eq!(marks(format!("MessageSid={written}&Body=x").as_bytes()), [written]);
    }

    #[test]
    fn a_mark_that_stands_twice_is_one_update() {
        let (first, second) = (mark(1, 2, 3), mark(1, 2, 4));
        assert_eq!(marks(format!("{first} {second} {first}").as_bytes()), [first, second]);
    }

    #[test]
    fn what_only_looks_like_a_mark_is_none() {
        for body in
            ["", "SAMPLE.", "SAMPLE.1.2", "SAMPLE.1.2.", "SAMPLE.x.1.2", "SAMPLE.1.99999999999.2", "sample.1.2.3"]
        {
            assert_eq!(marks(body.as_bytes()), [], "{body}");
        }
        assert_eq!(marks(b"SAMPLE.1.2.99999999999999999999999"), []);
    }
}
