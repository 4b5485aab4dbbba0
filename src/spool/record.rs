//! A stored message in its forms: [`Incoming`] is given, [`Record`] is read again, and [`Entry`] is the little of it that
//! the schedule needs, so that a start with a million messages waiting does not read their bodies.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::codec::{Reader, Unreadable, Writer};
use crate::clock::UnixMillis;
use crate::whatsapp::Kind;

/// Version of a record's encoding.
const VERSION: u8 = 1;

/// Bytes kept of a message's id and of its event's name, which are for people.
const LABEL_MAX: usize = 256;

/// A message to be stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Orders messages and names this one; from [`super::store::Store::next_seq`].
    pub seq: u64,
    /// What a copy of the message has too; `None` for what cannot be told from a copy.
    pub id: Option<u128>,
    pub conversation: u64,
    pub route: Arc<str>,
    pub upstream: Arc<str>,
    pub account: Option<Box<str>>,
    pub country: Option<[u8; 2]>,
    /// The gateway's id of the message, for people; what is longer than 256 bytes is cut.
    pub message_id: Box<str>,
    pub kind: Kind,
    /// The gateway's word for what this is; cut like `message_id`.
    pub event: Box<str>,
    /// The master that is to get it, by name, if it can.
    pub preferred: Option<Box<str>>,
    /// The request's head for masters, without framing and with an empty line at its end.
    pub head: Bytes,
    pub body: Bytes,
    /// A master may have got it before it came here.
    pub maybe_delivered: bool,
    /// False: it belongs to no conversation, and may be delivered at any time.
    pub ordered: bool,
}

/// A message that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was stored.
    pub accepted: UnixMillis,
    pub message: Incoming,
}

/// The fixed part of a stored message, and how its delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    pub conversation: u64,
    /// Interned: [`super::store::Store::name`].
    pub upstream: u32,
    /// Interned; [`Entry::NO_ACCOUNT`] without one, [`Entry::ACCOUNT_IN_RECORD`] where there were too many to intern.
    pub account: u32,
    /// When it was stored, or put in line again by [`super::store::Store::replay`].
    pub accepted: UnixMillis,
    /// When the next attempt may be made.
    pub due: UnixMillis,
    /// Attempts that ended.
    pub attempts: u16,
    /// Those of them after which the master may have it although it did not say so.
    pub breaks: u8,
    pub flags: u8,
    /// Bytes of its record.
    pub size: u32,
}

/// One attempt at delivering a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub at: UnixMillis,
    /// Name of the master.
    pub master: Box<str>,
    pub ending: Ending,
}

/// How an attempt ended that did not deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With an answer other than 2xx.
    Status(u16),
    /// The connection ended before the answer.
    Reset,
    TimedOut,
}

/// A record is longer than [`RECORD_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// Bytes of a record at most, far beyond what a listener lets in.
pub const RECORD_MAX: usize = 1 << 30;

impl Incoming {
    /// The record's bytes.
    pub fn encode(&self, accepted: UnixMillis) -> Result<Vec<u8>, TooLarge> {
        let texts = self.route.len() + self.upstream.len() + 3 * LABEL_MAX;
        let size = self.body.len() + self.head.len() + texts + 64;
        if size > RECORD_MAX {
            return Err(TooLarge);
        }
        let mut row = Writer::new(VERSION, self.seq, size);
        row.u8(u8::from(self.maybe_delivered) | u8::from(self.ordered) << 1 | u8::from(self.id.is_some()) << 2);
        row.u8(kind_to_byte(self.kind));
        let [first, second] = self.country.unwrap_or_default();
        row.u8(first);
        row.u8(second);
        row.u64(accepted);
        row.u64(self.conversation);
        if let Some(id) = self.id {
            row.u128(id);
        }
        row.text(&self.route);
        row.text(&self.upstream);
        row.optional_text(self.account.as_deref());
        row.text(cut(&self.message_id));
        row.text(cut(&self.event));
        row.optional_text(self.preferred.as_deref());
        row.bytes(&self.head);
        row.bytes(&self.body);
        let row = row.finish();
        if row.len() > RECORD_MAX { Err(TooLarge) } else { Ok(row) }
    }
}

impl Record {
    /// Reads what [`Incoming::encode`] wrote under this number.
    pub fn decode(seq: u64, row: &[u8]) -> Result<Self, Unreadable> {
        Self::parse(seq, row, Bytes::copy_from_slice)
    }

    /// Reads all but head and body, which stay empty.
    pub fn decode_without_content(seq: u64, row: &[u8]) -> Result<Self, Unreadable> {
        Self::parse(seq, row, |_| Bytes::new())
    }

    fn parse(seq: u64, row: &[u8], content: impl Fn(&[u8]) -> Bytes) -> Result<Self, Unreadable> {
        let mut row = Reader::new(VERSION, seq, row)?;
        let flags = row.u8()?;
        let kind = kind_from_byte(row.u8()?).ok_or(Unreadable::Damaged)?;
        let country = Some(row.array()?).filter(|country| *country != [0; 2]);
        let accepted = row.u64()?;
        let message = Incoming {
            seq,
            kind,
            country,
            maybe_delivered: flags & 1 != 0,
            ordered: flags & 2 != 0,
            conversation: row.u64()?,
            id: if flags & 4 != 0 { Some(row.u128()?) } else { None },
            route: row.text()?.into(),
            upstream: row.text()?.into(),
            account: row.optional_text()?.map(Into::into),
            message_id: row.text()?.into(),
            event: row.text()?.into(),
            preferred: row.optional_text()?.map(Into::into),
            head: content(row.bytes()?),
            body: content(row.bytes()?),
        };
        row.end()?;
        Ok(Self { accepted, message })
    }
}

/// Leaves out what must not reach a log.
impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("seq", &self.seq)
            .field("route", &self.route)
            .field("upstream", &self.upstream)
            .field("kind", &self.kind)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}

impl Entry {
    /// Bytes of a row.
    pub const ROW: usize = 44;
    /// [`Entry::account`] of a message that belongs to none.
    pub const NO_ACCOUNT: u32 = u32::MAX;
    /// [`Entry::account`] where only the record tells which it is.
    pub const ACCOUNT_IN_RECORD: u32 = u32::MAX - 1;

    /// A master may have got it before it was stored.
    pub const MAYBE_DELIVERED: u8 = 1;
    /// It needs no order.
    pub const UNORDERED: u8 = 2;
    /// It was a dead letter before.
    pub const REPLAYED: u8 = 4;

    /// The row's bytes. It has a checksum of its own, because its record may be whole where it is not.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::ROW] {
        let mut row = [0; Self::ROW];
        let fields: [&[u8]; 9] = [
            &self.conversation.to_le_bytes(),
            &self.upstream.to_le_bytes(),
            &self.account.to_le_bytes(),
            &self.accepted.to_le_bytes(),
            &self.due.to_le_bytes(),
            &self.attempts.to_le_bytes(),
            &[self.breaks],
            &[self.flags],
            &self.size.to_le_bytes(),
        ];
        let mut at = 0;
        for field in fields {
            row[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        }
        let check = Self::check(self.seq, &row);
        row[at..].copy_from_slice(&check);
        row
    }

    /// Reads what [`Entry::encode`] wrote.
    pub fn decode(seq: u64, row: &[u8; Self::ROW]) -> Result<Self, Unreadable> {
        fn number<const N: usize>(row: &[u8], at: usize) -> [u8; N] {
            row.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
        }
        if row[Self::ROW - 4..] != Self::check(seq, row) {
            return Err(Unreadable::Damaged);
        }
        Ok(Self {
            seq,
            conversation: u64::from_le_bytes(number(row, 0)),
            upstream: u32::from_le_bytes(number(row, 8)),
            account: u32::from_le_bytes(number(row, 12)),
            accepted: u64::from_le_bytes(number(row, 16)),
            due: u64::from_le_bytes(number(row, 24)),
            attempts: u16::from_le_bytes(number(row, 32)),
            breaks: row[34],
            flags: row[35],
            size: u32::from_le_bytes(number(row, 36)),
        })
    }

    /// The lower half of a hash over all but itself.
    fn check(seq: u64, row: &[u8; Self::ROW]) -> [u8; 4] {
        number_low(xxh3_64_with_seed(&row[..Self::ROW - 4], seq))
    }
}

const fn number_low(hash: u64) -> [u8; 4] {
    ((hash & 0xffff_ffff) as u32).to_le_bytes()
}

impl Attempt {
    pub(super) fn write(&self, row: &mut Writer) {
        row.u64(self.at);
        row.text(cut(&self.master));
        row.number(match self.ending {
            Ending::Reset => 0,
            Ending::TimedOut => 1,
            Ending::Status(status) => u64::from(status),
        });
    }

    pub(super) fn read(row: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let at = row.u64()?;
        let master = row.text()?.into();
        let ending = match row.number()? {
            0 => Ending::Reset,
            1 => Ending::TimedOut,
            status => Ending::Status(u16::try_from(status).map_err(|_| Unreadable::Damaged)?),
        };
        Ok(Self { at, master, ending })
    }
}

/// The beginning of a text that is for people.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LABEL_MAX)]
}

const KINDS: [Kind; 4] = [Kind::Message, Kind::Own, Kind::Status, Kind::Event];

/// A kind as it stands on disk.
pub(super) fn kind_to_byte(kind: Kind) -> u8 {
    KINDS.iter().position(|known| *known == kind).map_or(u8::MAX, |position| position as u8)
}

/// The kind that a byte on disk stands for.
pub(super) fn kind_from_byte(byte: u8) -> Option<Kind> {
    KINDS.get(usize::from(byte)).copied()
}

#[cfg(test)]
mod tests;
