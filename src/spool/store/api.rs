//! What is said to the store, and what it answers.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::spool::codec::Unreadable;
use crate::spool::record::{Attempt, Entry};
use crate::spool::schedule::Reason;
use crate::whatsapp::Kind;

/// What became of one of the messages given to [`super::Store::accept`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is on disk.
    Stored,
    /// It came before, and counts as accepted.
    Duplicate,
}

/// Why nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no room; none of the messages was stored.
    Full { why: Full, retry_after: Duration },
    /// The disk failed. Nothing is accepted until Baton is started again; of these messages some may be on disk, though none
    /// is promised.
    Failed(Arc<str>),
    /// The store was closed.
    Closed,
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Full {
    /// What waits for the next commit.
    Queue,
    /// `max_messages`.
    Messages,
    /// `max_bytes`.
    Bytes,
    /// `min_free`.
    Disk,
    /// A single message is larger than can be stored.
    Message,
}

impl Full {
    /// A word for labels.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Messages => "messages",
            Self::Bytes => "bytes",
            Self::Disk => "disk",
            Self::Message => "message",
        }
    }
}

/// What the dispatcher is told, in the order of the commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// These are on disk, new or put in line again.
    Stored(Vec<Entry>),
    /// What was to become of these is on disk.
    Settled(Vec<u64>),
    /// The disk failed, and no settlement is committed any more.
    Failed(Arc<str>),
}

/// What a start found.
#[derive(Debug)]
pub struct Recovered {
    /// Every pending message, by sequence number.
    pub entries: Vec<Entry>,
    /// The store was closed in order. Otherwise what was in flight may have been delivered.
    pub clean: bool,
    /// Messages that cannot be read, from this start and earlier ones.
    pub damaged: u64,
}

/// Rows that others keep in the store, by a key of theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rows {
    Pins,
    Aliases,
}

/// A row to be written, or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    pub key: u64,
    /// `None` removes it.
    pub row: Option<Box<[u8]>>,
}

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub seq: u64,
    pub died: UnixMillis,
    pub reason: Reason,
    /// When it was stored first.
    pub accepted: UnixMillis,
    pub conversation: u64,
    pub route: Box<str>,
    pub upstream: Box<str>,
    pub account: Option<Box<str>>,
    pub message_id: Box<str>,
    pub kind: Kind,
    pub event: Box<str>,
    pub flags: u8,
    /// Bytes of its record.
    pub size: u32,
    /// Attempts made; `history` has the last of them.
    pub attempts: u16,
    pub breaks: u8,
    pub history: Vec<Attempt>,
}

/// Which dead letters are meant; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadFilter {
    pub upstream: Option<Box<str>>,
    pub account: Option<Box<str>>,
    pub reason: Option<Reason>,
    /// Died at or after.
    pub since: Option<UnixMillis>,
    /// Died before.
    pub before: Option<UnixMillis>,
}

impl DeadFilter {
    /// Whether a dead letter is meant.
    #[must_use]
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        self.upstream.as_ref().is_none_or(|upstream| *upstream == letter.upstream)
            && (self.account.is_none() || self.account == letter.account)
            && self.reason.is_none_or(|reason| reason == letter.reason)
            && self.since.is_none_or(|since| letter.died >= since)
            && self.before.is_none_or(|before| letter.died < before)
    }
}

/// The dead letters that something is done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    One(u64),
    Matching(DeadFilter),
}

/// What a list goes on with after a page.
pub type Cursor = (UnixMillis, u64);

/// Some rows of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, C> {
    pub rows: Vec<T>,
    /// Where the next page begins; `None` at the end. A page can be empty and not the last.
    pub next: Option<C>,
}

/// How the store stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Messages accepted and not settled.
    pub pending: u64,
    /// Bytes of their records.
    pub pending_bytes: u64,
    pub dead: u64,
    pub dead_bytes: u64,
    /// Messages that cannot be read.
    pub damaged: u64,
    /// Ids remembered.
    pub ids: u64,
    /// Bytes that the file takes on disk.
    pub disk_bytes: u64,
    /// Messages that wait for a commit.
    pub queued: u64,
    /// Since the start: messages stored, duplicates found, commits made, notes and rows not kept for want of room.
    pub stored: u64,
    pub duplicates: u64,
    pub commits: u64,
    pub dropped: u64,
    /// Which limit keeps messages out at present.
    pub full: Option<Full>,
    /// Why nothing is accepted any more.
    pub failed: Option<Arc<str>>,
}

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// The message is there and cannot be read: [`super::Store::quarantine`].
    Unreadable(u64, Unreadable),
    /// The disk failed.
    Failed(Arc<str>),
    Closed,
}

/// Why the store could not be opened. Its text says what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct OpenError {
    pub kind: OpenErrorKind,
    pub path: PathBuf,
    pub cause: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenErrorKind {
    /// Another process has it.
    Locked,
    /// It cannot be trusted as it is.
    Damaged,
    /// A newer Baton wrote it.
    Newer,
    /// It cannot be read or written.
    Io,
}

impl std::error::Error for OpenError {}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, path, cause } = self;
        let way_out = match kind {
            OpenErrorKind::Locked => "stop that process, or give this one another state.path",
            OpenErrorKind::Damaged => {
                "restore a backup (baton restore), or move the file away to start with an empty spool; what it holds was \
                 accepted and has not been delivered, so keep it"
            }
            OpenErrorKind::Newer => "run the version of Baton that wrote it, or a later one",
            OpenErrorKind::Io => "see to the disk, and to the rights of the user that runs Baton",
        };
        write!(f, "{}: {cause}; {way_out}", path.display())
    }
}

impl std::error::Error for ReadError {}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(seq, why) => write!(f, "message {seq} of the spool cannot be read: {why}"),
            Self::Failed(cause) => f.write_str(cause),
            Self::Closed => f.write_str("the spool is closed"),
        }
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { why, .. } => write!(f, "the spool is full ({})", why.word()),
            Self::Failed(cause) => f.write_str(cause),
            Self::Closed => f.write_str("the spool is closed"),
        }
    }
}
