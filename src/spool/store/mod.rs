//! The durable store of accepted messages: one file, one thread that writes it, and a handle for everybody else.
//!
//! A message is accepted when the commit that has it is on disk ([`Store::accept`]), and gone when the commit that has its
//! settlement is ([`Store::settle`], [`Event::Settled`]). Whether it came before is decided by the same thread that stores
//! it. Dead letters are messages whose record stays while their entry goes.

mod api;
mod apply;
mod backup;
mod command;
mod dead;
mod disk;
pub mod lock;
mod open;
mod read;
mod seen;
mod shared;
mod tables;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use tokio::sync::oneshot;

pub use api::{
    Accepted, Cursor, DeadFilter, DeadLetter, Event, Full, OpenError, OpenErrorKind, Page, ReadError, Recovered,
    Refused, RowChange, Rows, Stats, Which,
};
pub use backup::{BackupError, Summary, restore};
use command::{Action, Batch, Command, Job, Prepared};
pub use open::NAME;
pub use read::Pending;
use shared::Shared;

use super::record::{Attempt, Entry, Incoming};
use super::schedule::Settlement;
use crate::config::model::Spool;

/// Notes and rows that may wait for a commit; what is beyond is not kept, and counted.
const LAZY_MAX: usize = 65_536;

/// A handle of the store; cheap to copy, for any thread.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    commands: Sender<Command>,
}

/// Waits for the answer of [`Store::accept`]. Where it ends without one the store has failed.
pub type Answer = oneshot::Receiver<Result<Vec<Accepted>, Refused>>;

impl Store {
    /// A number that no message had, or will have: larger than all before.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.shared.next_seq.fetch_add(1, Ordering::AcqRel)
    }

    /// Hands messages over to be stored, all or none, and returns at once. The answer comes when they are on disk, with one
    /// word for each. Whoever drops it learns nothing; the messages are stored all the same.
    ///
    /// # Errors
    ///
    /// There is no room, the disk failed before, or the store is closed. The answer can say the same.
    pub fn accept(&self, messages: &[Incoming]) -> Result<Answer, Refused> {
        if let Some(refused) = self.shared.ended() {
            return Err(refused);
        }
        let (reply, answer) = oneshot::channel();
        // Copies need no room: what they say is on disk already.
        if messages.iter().all(|message| message.id.is_some_and(|id| self.shared.seen.contains(id))) {
            self.shared.copies.fetch_add(messages.len() as u64, Ordering::Relaxed);
            let _ = reply.send(Ok(vec![Accepted::Duplicate; messages.len()]));
            return Ok(answer);
        }
        // Room first: a full store is the wrong time to copy bodies. The encoding adds little to what is counted here.
        let estimate = messages.iter().map(|message| message.head.len() + message.body.len()).sum::<usize>();
        let count = messages.len();
        self.shared.enter(count, estimate)?;
        let now = (self.shared.clock)();
        let prepared: Result<Vec<_>, _> = messages.iter().map(|message| prepare(message, now)).collect();
        let Ok(messages) = prepared else {
            self.shared.leave(count, estimate);
            return Err(self.shared.too_large());
        };
        self.tell(Command::Accept(Batch { messages, bytes: estimate, reply })).inspect_err(|_| {
            self.shared.leave(count, estimate);
        })?;
        Ok(answer)
    }

    /// Whether another process may have it by now.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Whether a message with this id was accepted, or noted, within the window.
    #[must_use]
    pub fn seen(&self, id: u128) -> bool {
        self.shared.seen.contains(id)
    }

    /// Remembers messages that were delivered without being stored. They count as seen at once; on disk they are with one of
    /// the next commits.
    pub fn note_seen(&self, ids: Vec<u128>) {
        if self.shared.ended().is_some() || !self.enter_lazy(ids.len()) {
            return;
        }
        let count = ids.len();
        let new: Vec<u128> = ids.into_iter().filter(|id| self.shared.seen.insert(*id)).collect();
        self.shared.queued_lazy.fetch_sub(count - new.len(), Ordering::AcqRel);
        if !new.is_empty() {
            // Closed meanwhile: then nobody asks any more.
            let _ = self.tell(Command::Note(new));
        }
    }

    /// Writes what became of a message; [`Event::Settled`] tells when it is on disk. An attempt that did not deliver goes to
    /// the message's history.
    pub fn settle(&self, seq: u64, settlement: Settlement, attempt: Option<Attempt>) {
        // After a failure the next start finds the message as it was.
        let _ = self.tell(Command::Settle { seq, settlement, attempt });
    }

    /// Puts a message that cannot be read aside; [`Event::Settled`] tells when that is on disk.
    pub fn quarantine(&self, seq: u64) {
        let _ = self.tell(Command::Quarantine(seq));
    }

    /// Puts dead letters in line again, the oldest first, each under the number it had; [`Event::Stored`] has them. Answers how
    /// many, fewer than were meant when there is no room for more.
    ///
    /// # Errors
    ///
    /// The store has failed or is closed; the answer can say the same.
    pub fn replay(&self, which: Which) -> Result<oneshot::Receiver<Result<u64, Refused>>, Refused> {
        self.start(Action::Replay, which)
    }

    /// Removes dead letters for good; answers how many.
    ///
    /// # Errors
    ///
    /// The store has failed or is closed; the answer can say the same.
    pub fn discard(&self, which: Which) -> Result<oneshot::Receiver<Result<u64, Refused>>, Refused> {
        self.start(Action::Discard, which)
    }

    fn start(&self, action: Action, which: Which) -> Result<oneshot::Receiver<Result<u64, Refused>>, Refused> {
        if let Some(refused) = self.shared.ended() {
            return Err(refused);
        }
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Dead(Job { action, which, after: None, done: 0, reply }))?;
        Ok(answer)
    }

    /// Keeps rows for others, with one of the next commits, in the order of the calls; false when too many wait, and
    /// these are not kept.
    pub fn put_rows(&self, table: Rows, changes: Vec<RowChange>) -> bool {
        let count = changes.len();
        self.shared.ended().is_none() && self.enter_lazy(count) && self.tell(Command::Rows(table, changes)).is_ok()
    }

    fn enter_lazy(&self, count: usize) -> bool {
        let queued = self.shared.queued_lazy.fetch_add(count, Ordering::AcqRel);
        if queued + count > LAZY_MAX {
            self.shared.queued_lazy.fetch_sub(count, Ordering::AcqRel);
            self.shared.dropped.fetch_add(count as u64, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Answers when everything asked for before is on disk; where it ends without an answer the store has failed.
    #[must_use]
    pub fn flush(&self) -> oneshot::Receiver<()> {
        let (reply, done) = oneshot::channel();
        let _ = self.tell(Command::Flush(reply));
        done
    }

    /// Refuses everything from now on, commits what waits, and closes the file, so that another process can open it. Answers
    /// when that is done; an end without an answer means the same.
    #[must_use]
    pub fn close(&self) -> oneshot::Receiver<()> {
        self.shared.closed.store(true, Ordering::Release);
        let (reply, done) = oneshot::channel();
        let _ = self.tell(Command::Close(reply));
        done
    }

    /// Goes by other limits from now on.
    pub fn configure(&self, settings: &Spool) {
        self.shared.settings.store(Arc::new(*settings));
    }

    /// The name behind a number in an entry.
    #[must_use]
    pub fn name(&self, number: u32) -> Option<Arc<str>> {
        self.shared.name(number)
    }

    /// How the store stands. Reads atomics, not the disk.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Shared { totals, .. } = &*self.shared;
        let read = |total: &std::sync::atomic::AtomicU64| total.load(Ordering::Acquire);
        Stats {
            pending: read(&totals.pending),
            pending_bytes: read(&totals.pending_bytes),
            dead: read(&totals.dead),
            dead_bytes: read(&totals.dead_bytes),
            damaged: read(&totals.damaged),
            ids: read(&totals.ids),
            disk_bytes: read(&self.shared.disk_bytes),
            queued: self.shared.queued_messages.load(Ordering::Acquire) as u64,
            stored: read(&totals.stored),
            duplicates: read(&totals.duplicates) + read(&self.shared.copies),
            commits: read(&totals.commits),
            dropped: read(&self.shared.dropped),
            full: self.shared.full_at_present(),
            failed: self.shared.failed.get().cloned(),
        }
    }

    fn tell(&self, command: Command) -> Result<(), Refused> {
        self.commands.send(command).map_err(|_| self.shared.ended().unwrap_or(Refused::Closed))
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

fn prepare(message: &Incoming, now: crate::clock::UnixMillis) -> Result<Prepared, super::record::TooLarge> {
    let record = message.encode(now)?;
    let flags = if message.maybe_delivered { Entry::MAYBE_DELIVERED } else { 0 }
        | if message.ordered { 0 } else { Entry::UNORDERED };
    let entry = Entry {
        seq: message.seq,
        conversation: message.conversation,
        upstream: 0,
        account: Entry::NO_ACCOUNT,
        accepted: now,
        due: now,
        attempts: 0,
        breaks: 0,
        flags,
        size: u32::try_from(record.len()).unwrap_or(u32::MAX),
    };
    Ok(Prepared { entry, id: message.id, upstream: message.upstream.clone(), account: message.account.clone(), record })
}
