//! What two processes say to each other while listening sockets move from the old one to the new one.
//!
//! ```text
//! new                                              old
//!  │  Hello                                         │  is it the same user, the same protocol, and the only one?
//!  ├───────────────────────────────────────────────▶│
//!  │  Socket + descriptor, one for each; Complete   │
//!  │◀───────────────────────────────────────────────┤
//!  │  starts its workers, probes its masters        │  serves
//!  │  Ready, with the sockets it uses               │
//!  ├───────────────────────────────────────────────▶│  lets go of what only one process may hold
//!  │  Go                                            │
//!  │◀───────────────────────────────────────────────┤
//!  │  takes hold of it, accepts                     │  still accepts
//!  │  Serving                                       │
//!  ├───────────────────────────────────────────────▶│  stops accepting, drains, ends
//! ```
//!
//! A listening socket has one queue, whoever holds it, so nothing in that queue is reset while at least one process
//! lives. At no moment nobody accepts, and whichever of the two dies leaves the other one serving: until `Serving`
//! arrives the old process has changed nothing, and a new one that finds the old one dead after `Complete` goes on alone.
//! Instead of any answer `Refused` may come, which ends it.
//!
//! A message is its length in four bytes, most significant first, and JSON. This file has no I/O; see [`super::link`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// Version of these messages. Two processes that do not agree on it do not hand over: the old one carries on.
pub const PROTOCOL: u32 = 1;

/// Longest message: `Ready` numbers each of [`SOCKETS_MAX`] sockets, and a reason is one sentence.
pub const MESSAGE_BYTES_MAX: usize = 32 * 1024;

/// Sockets in one hand-over. A configuration has a handful.
pub const SOCKETS_MAX: usize = 1024;

const LENGTH_BYTES: usize = 4;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    Hello {
        protocol: u32,
        /// Of the program, for the log.
        version: String,
    },
    /// It will not be, for this reason.
    Refused {
        reason: String,
    },
    /// The descriptor that comes with it is this socket.
    Socket {
        role: Role,
        /// Of the listener; empty for the other roles.
        name: String,
        /// Whether whoever closes a Unix socket last removes its file; it is not so when a service manager made it.
        owns_file: bool,
    },
    /// That was the last socket.
    Complete,
    /// Everything is prepared. The numbers are those of the sockets in use, counted from 0 as they came.
    Ready {
        kept: Vec<usize>,
    },
    Go,
    Serving,
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Listener,
    Admin,
    /// The one over which the next process will ask.
    Upgrade,
}

/// Bytes that are no message.
#[derive(Debug, PartialEq, Eq)]
pub struct Garbled(String);

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the other process does not speak the hand-over protocol: {}", self.0)
    }
}

impl std::error::Error for Garbled {}

/// The bytes of a message.
#[must_use]
pub fn encode(message: &Message) -> Vec<u8> {
    // Strings and numbers always are JSON.
    let json = serde_json::to_vec(message).unwrap_or_default();
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&json);
    bytes
}

/// Takes the first message off `bytes`; `None` as long as it is not whole.
///
/// # Errors
/// [`Garbled`] when no further bytes can make a message of it.
pub fn decode(bytes: &mut Vec<u8>) -> Result<Option<Message>, Garbled> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES_MAX {
        return Err(Garbled(format!("a message of {length} bytes is longer than {MESSAGE_BYTES_MAX}")));
    }
    let Some(json) = rest.get(..length) else { return Ok(None) };
    let message = serde_json::from_slice(json).map_err(|error| Garbled(error.to_string()))?;
    bytes.drain(..LENGTH_BYTES + length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn messages() -> Vec<Message> {
        vec![
            Message::Hello { protocol: PROTOCOL, version: "1.2.3".into() },
            Message::Refused { reason: "another one is \"under way\"\n".into() },
            Message::Socket { role: Role::Listener, name: "gateway".into(), owns_file: true },
            Message::Complete,
            Message::Ready { kept: (0..SOCKETS_MAX).collect() },
            Message::Go,
            Message::Serving,
        ]
    }

    #[test]
    fn the_longest_message_fits() {
        for message in messages() {
            assert!(encode(&message).len() <= MESSAGE_BYTES_MAX, "{message:?}");
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_the_bytes_are_there() {
        let mut bytes = u32::MAX.to_be_bytes().to_vec();
        assert!(decode(&mut bytes).unwrap_err().to_string().contains("longer than"));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let mut bytes = encode(&Message::Complete);
        let text = String::from_utf8(bytes.split_off(LENGTH_BYTES)).unwrap().replace("complete", "finished");
        bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(text.bytes());
        assert!(decode(&mut bytes).unwrap_err().to_string().contains("finished"));
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(cuts in prop::collection::vec(1..40_usize, 1..50)) {
            let stream: Vec<u8> = messages().iter().flat_map(encode).collect();
            let (mut pending, mut got, mut rest, mut turn) = (Vec::new(), Vec::new(), &stream[..], 0);
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(cuts[turn % cuts.len()].min(rest.len()));
                pending.extend_from_slice(piece);
                (rest, turn) = (after, turn + 1);
                while let Some(message) = decode(&mut pending).unwrap() {
                    got.push(message);
                }
            }
            prop_assert_eq!(got, messages());
            prop_assert!(pending.is_empty());
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error_or_wait_for_more(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            while let Ok(Some(_)) = decode(&mut bytes) {}
        }
    }
}
