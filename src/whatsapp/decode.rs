//! A body to its updates, by the gateway that sent it.

use std::borrow::Cow;

use super::update::NAME_LENGTH_MAX;
use super::{Provider, Update, cloud_api, evolution, gowa, twilio, waha, wppconnect, wwebjs};

/// Updates in one body. Meta sends at most 1000.
pub const UPDATES_MAX: usize = 4096;
/// Longest word for an event in bytes.
pub(super) const EVENT_LENGTH_MAX: usize = 64;

/// Why a body tells nothing. Its caller passes it on as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecodable {
    /// No JSON, or a string that is wanted is no text; found at this byte (0 in a form).
    Broken { at: usize },
    /// Nested deeper than any gateway does; at this byte.
    TooDeep { at: usize },
    /// A member that is wanted stands twice in one object; the second value is at this byte (0 in a form).
    Repeated { at: usize },
    /// More than [`UPDATES_MAX`] updates, or so much that belongs to all of them that single bodies would swell.
    TooMany,
    /// No payload of this gateway.
    Unknown,
}

impl std::fmt::Display for Undecodable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Broken { at } => write!(f, "broken at byte {at}"),
            Self::TooDeep { at } => write!(f, "nested too deep at byte {at}"),
            Self::Repeated { at } => write!(f, "a member stands twice at byte {at}"),
            Self::TooMany => f.write_str("too many updates in one body"),
            Self::Unknown => f.write_str("no payload of this gateway"),
        }
    }
}

impl std::error::Error for Undecodable {}

/// Adds the updates of a body to `into`, in their order: at least one, at most [`UPDATES_MAX`].
///
/// # Errors
/// [`Undecodable`], and `into` is as it was.
pub fn decode<'a>(provider: Provider, body: &'a [u8], into: &mut Vec<Update<'a>>) -> Result<(), Undecodable> {
    let before = into.len();
    let read = match provider {
        Provider::CloudApi => cloud_api::decode(body, into),
        Provider::Waha => waha::decode(body, into),
        Provider::Evolution => evolution::decode(body, into),
        Provider::Wppconnect => wppconnect::decode(body, into),
        Provider::Wwebjs => wwebjs::decode(body, into),
        Provider::Gowa => gowa::decode(body, into),
        Provider::Twilio => twilio::decode(body, into),
    };
    if read.is_err() {
        into.truncate(before);
        return read;
    }
    for update in &mut into[before..] {
        if update.event.len() > EVENT_LENGTH_MAX {
            update.event = Cow::Borrowed("");
        }
        for word in [&mut update.account, &mut update.group, &mut update.master] {
            if word.as_ref().is_some_and(|word| word.is_empty() || word.len() > NAME_LENGTH_MAX) {
                *word = None;
            }
        }
    }
    Ok(())
}
