//! What every handle of the store looks at without asking its thread.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use redb::Database;

use super::api::{Full, Refused};
use super::apply::Sums;
use super::seen::Seen;
use crate::clock::UnixMillis;
use crate::config::model::Spool;

/// Messages that may wait for a commit.
pub const QUEUE_MESSAGES: usize = 16_384;

/// Bytes of messages that may wait for a commit; a single larger message may, too.
pub const QUEUE_BYTES: usize = 64 << 20;

/// When to come back after the queue was full, which takes some commits to empty.
const SOON: Duration = Duration::from_secs(1);

/// When to come back after the store was full, which takes deliveries.
const LATER: Duration = Duration::from_secs(5);

/// One part in so many of the bytes that may be stored is next to nothing.
const FEW: u64 = 100;

/// Tells the time to whatever is dated.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

pub struct Shared {
    pub settings: ArcSwap<Spool>,
    pub clock: Clock,
    /// Gone when closed.
    pub database: ArcSwapOption<Database>,
    pub seen: Seen,
    pub names: RwLock<HashMap<u32, Arc<str>>>,
    pub next_seq: AtomicU64,
    pub closed: AtomicBool,
    pub failed: OnceLock<Arc<str>>,
    pub queued_messages: AtomicUsize,
    pub queued_bytes: AtomicUsize,
    /// Ids and rows that wait, and were not told to the thread because too many do.
    pub queued_lazy: AtomicUsize,
    pub dropped: AtomicU64,
    /// Duplicates that never got to the thread.
    pub copies: AtomicU64,
    pub totals: Totals,
    /// The disk has less free than it is to have.
    pub disk_full: AtomicBool,
    pub disk_bytes: AtomicU64,
    /// A message was kept out for want of bytes, and none was let in since.
    pub bytes_full: AtomicBool,
}

/// Sums as of the last commit; only the store's thread writes them.
#[derive(Debug, Default)]
pub struct Totals {
    pub pending: AtomicU64,
    pub pending_bytes: AtomicU64,
    pub dead: AtomicU64,
    pub dead_bytes: AtomicU64,
    pub damaged: AtomicU64,
    pub ids: AtomicU64,
    pub stored: AtomicU64,
    pub duplicates: AtomicU64,
    pub commits: AtomicU64,
}

impl Shared {
    /// Takes room in the queue, or says what is full. [`Shared::leave`] gives it back.
    pub fn enter(&self, messages: usize, bytes: usize) -> Result<(), Refused> {
        let queued_messages = self.queued_messages.fetch_add(messages, Ordering::AcqRel) + messages;
        let queued_bytes = self.queued_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let settings = self.settings.load();
        let stored = self.totals.pending_bytes.load(Ordering::Acquire) + self.totals.dead_bytes.load(Ordering::Acquire);
        let (why, retry_after) =
            if queued_messages > QUEUE_MESSAGES.max(messages) || queued_bytes > QUEUE_BYTES.max(bytes) {
                (Full::Queue, SOON)
            } else if self.totals.pending.load(Ordering::Acquire) + queued_messages as u64 > settings.max_messages {
                (Full::Messages, LATER)
            } else if stored + queued_bytes as u64 > settings.max_bytes {
                (Full::Bytes, LATER)
            } else if self.disk_full.load(Ordering::Acquire) {
                (Full::Disk, LATER)
            } else {
                self.bytes_full.store(false, Ordering::Relaxed);
                return Ok(());
            };
        self.leave(messages, bytes);
        Err(self.full(why, retry_after))
    }

    pub fn leave(&self, messages: usize, bytes: usize) {
        self.queued_messages.fetch_sub(messages, Ordering::AcqRel);
        self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// The refusal of a message that is larger than can be stored.
    pub fn too_large(&self) -> Refused {
        self.full(Full::Message, LATER)
    }

    /// The refusal while the disk has too little room.
    pub fn disk_full(&self) -> Refused {
        self.full(Full::Disk, LATER)
    }

    fn full(&self, why: Full, retry_after: Duration) -> Refused {
        if why == Full::Bytes {
            self.bytes_full.store(true, Ordering::Relaxed);
        }
        Refused::Full { why, retry_after }
    }

    /// Why nothing at all is accepted any more.
    pub fn ended(&self) -> Option<Refused> {
        if let Some(cause) = self.failed.get() {
            return Some(Refused::Failed(Arc::clone(cause)));
        }
        self.closed.load(Ordering::Acquire).then_some(Refused::Closed)
    }

    /// The first cause counts.
    pub fn fail(&self, cause: &str) -> Arc<str> {
        Arc::clone(self.failed.get_or_init(|| cause.into()))
    }

    pub fn name(&self, number: u32) -> Option<Arc<str>> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// The limit that keeps messages out at present. A message can be too large for the last bytes, so that those count as
    /// gone when there are few of them and one was kept out.
    pub fn full_at_present(&self) -> Option<Full> {
        let (settings, totals) = (self.settings.load(), &self.totals);
        let read = |total: &AtomicU64| total.load(Ordering::Acquire);
        let pending = read(&totals.pending) + self.queued_messages.load(Ordering::Acquire) as u64;
        let stored = read(&totals.pending_bytes) + read(&totals.dead_bytes);
        let stored = stored + self.queued_bytes.load(Ordering::Acquire) as u64;
        if self.disk_full.load(Ordering::Acquire) {
            Some(Full::Disk)
        } else if pending >= settings.max_messages {
            Some(Full::Messages)
        } else if stored >= settings.max_bytes - settings.max_bytes / FEW && self.bytes_full.load(Ordering::Relaxed) {
            Some(Full::Bytes)
        } else {
            None
        }
    }
}

impl Totals {
    pub fn publish(&self, sums: &Sums, ids: u64) {
        let pairs = [
            (&self.pending, sums.pending),
            (&self.pending_bytes, sums.pending_bytes),
            (&self.dead, sums.dead),
            (&self.dead_bytes, sums.dead_bytes),
            (&self.damaged, sums.damaged),
            (&self.ids, ids),
            (&self.stored, sums.stored),
            (&self.duplicates, sums.duplicates),
        ];
        for (total, sum) in pairs {
            total.store(sum, Ordering::Release);
        }
    }
}
