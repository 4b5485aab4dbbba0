//! The bytes of a frame and of its answer. No I/O.
//!
//! ```text
//! frame:   kind (1) · length of the rest (8) · rest
//! rest:    of messages: each its number (8), the length of its record (8), its record; of ids: each in 16 bytes
//! answer:  kind (1) · milliseconds (8)
//! ```
//!
//! Numbers are little-endian. A record has a checksum, and says its own version: a process of another version refuses what it
//! cannot read.

use std::io;
use std::time::Duration;

use crate::spool::record::{Incoming, Record};

pub const HEAD_BYTES: usize = 9;
pub const ANSWER_BYTES: usize = 9;

/// The longest frame, far beyond a webhook's body with its head for each of its updates.
const FRAME_BYTES_MAX: u64 = 64 << 20;

const MESSAGES: u8 = 1;
const IDS: u8 = 2;

/// What is passed on.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// To be stored, all or none.
    Messages(Vec<Incoming>),
    /// To be remembered.
    Ids(Vec<u128>),
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Stored, or known from before.
    Stored,
    /// There is no room.
    Full {
        retry_after: Duration,
    },
    Failed,
}

pub fn of_messages(messages: &[Incoming]) -> io::Result<Vec<u8>> {
    let mut rest = Vec::new();
    for message in messages {
        let record = message.encode(0).map_err(|_| too_long())?;
        rest.extend_from_slice(&message.seq.to_le_bytes());
        rest.extend_from_slice(&(record.len() as u64).to_le_bytes());
        rest.extend_from_slice(&record);
    }
    framed(MESSAGES, &rest)
}

pub fn of_ids(ids: &[u128]) -> io::Result<Vec<u8>> {
    framed(IDS, &ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>())
}

fn framed(kind: u8, rest: &[u8]) -> io::Result<Vec<u8>> {
    let length = rest.len() as u64;
    if length > FRAME_BYTES_MAX {
        return Err(too_long());
    }
    Ok([&[kind][..], &length.to_le_bytes(), rest].concat())
}

/// How long the rest is.
pub fn length_of(head: &[u8; HEAD_BYTES]) -> io::Result<u64> {
    let [_, length @ ..] = *head;
    let length = u64::from_le_bytes(length);
    if length > FRAME_BYTES_MAX { Err(too_long()) } else { Ok(length) }
}

pub fn read(head: &[u8; HEAD_BYTES], mut rest: &[u8]) -> io::Result<Frame> {
    match head[0] {
        MESSAGES => {
            let mut messages = Vec::new();
            while !rest.is_empty() {
                let seq = u64::from_le_bytes(*take(&mut rest)?);
                let length = u64::from_le_bytes(*take(&mut rest)?);
                let length = usize::try_from(length).map_err(|_| garbled("a record's length"))?;
                let (record, after) =
                    rest.split_at_checked(length).ok_or_else(|| garbled("a record that is cut off"))?;
                rest = after;
                messages.push(Record::decode(seq, record).map_err(|why| garbled(&why.to_string()))?.message);
            }
            Ok(Frame::Messages(messages))
        }
        IDS => {
            let mut ids = Vec::new();
            while !rest.is_empty() {
                ids.push(u128::from_le_bytes(*take(&mut rest)?));
            }
            Ok(Frame::Ids(ids))
        }
        kind => Err(garbled(&format!("kind {kind}"))),
    }
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> io::Result<&'a [u8; N]> {
    let (taken, after) = rest.split_first_chunk().ok_or_else(|| garbled("a number that is cut off"))?;
    *rest = after;
    Ok(taken)
}

pub fn write_answer(outcome: Outcome) -> [u8; ANSWER_BYTES] {
    let (kind, millis) = match outcome {
        Outcome::Stored => (0, 0),
        Outcome::Full { retry_after } => (1, u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX)),
        Outcome::Failed => (2, 0),
    };
    let mut answer = [0; ANSWER_BYTES];
    answer[0] = kind;
    answer[1..].copy_from_slice(&millis.to_le_bytes());
    answer
}

/// What is not known is no promise.
pub fn read_answer([kind, millis @ ..]: [u8; ANSWER_BYTES]) -> Outcome {
    match kind {
        0 => Outcome::Stored,
        1 => Outcome::Full { retry_after: Duration::from_millis(u64::from_le_bytes(millis)) },
        _ => Outcome::Failed,
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("more than {FRAME_BYTES_MAX} bytes to pass on at once"))
}

fn garbled(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("what is passed on cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::whatsapp::Kind;

    fn message(seq: u64, body: Vec<u8>) -> Incoming {
        Incoming {
            seq,
            id: Some(u128::from(seq) << 70),
            conversation: seq / 3,
            route: "r".into(),
            upstream: "u".into(),
            account: Some("a".into()),
            country: Some(*b"AE"),
            message_id: "wamid".into(),
            kind: Kind::Message,
            event: "messages".into(),
            preferred: None,
            head: Bytes::from_static(b"POST / HTTP/1.1\r\n\r\n"),
            body: body.into(),
            maybe_delivered: seq.is_multiple_of(2),
            ordered: true,
        }
    }

    fn read_all(frame: &[u8]) -> io::Result<Frame> {
        let (head, rest) = frame.split_first_chunk().ok_or_else(|| garbled("no head"))?;
        if length_of(head)? != rest.len() as u64 {
            return Err(garbled("length"));
        }
        read(head, rest)
    }

    proptest! {
        #[test]
        fn messages_and_ids_come_out_as_they_went_in(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5), ids: Vec<u128>,
        ) {
            let messages: Vec<_> = bodies.into_iter().zip(1..).map(|(body, seq)| message(seq, body)).collect();
            prop_assert_eq!(read_all(&of_messages(&messages).unwrap()).unwrap(), Frame::Messages(messages));
            prop_assert_eq!(read_all(&of_ids(&ids).unwrap()).unwrap(), Frame::Ids(ids));
        }

        #[test]
        fn any_bytes_are_a_frame_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_all(&bytes);
        }

        #[test]
        fn a_changed_bit_in_a_record_is_noticed(at in 25_usize..100, bit in 0..8u8) {
            let mut frame = of_messages(&[message(1, vec![7; 50])]).unwrap();
            frame[at] ^= 1 << bit;
            prop_assert!(read_all(&frame).is_err());
        }
    }

    #[test]
    fn an_announced_length_beyond_the_limit_is_refused() {
        let mut head = [0xff; HEAD_BYTES];
        head[0] = MESSAGES;
        assert!(length_of(&head).is_err());
    }

    #[test]
    fn only_one_answer_means_stored() {
        let full = Outcome::Full { retry_after: Duration::from_secs(3) };
        for outcome in [Outcome::Stored, full, Outcome::Failed] {
            assert_eq!(read_answer(write_answer(outcome)), outcome);
        }
        assert_eq!(read_answer([9; ANSWER_BYTES]), Outcome::Failed);
    }
}
