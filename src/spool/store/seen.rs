//! Which messages came before.
//!
//! On disk ids are a log: one row for each commit, with its time, so that remembering costs an append and forgetting takes
//! rows from the front, wherever the ids would stand in an order of their own. In memory they are a set, sharded so that
//! every thread may ask. It takes about 20 bytes an id, 140 MB for five million.

use std::collections::HashSet;
use std::sync::PoisonError;

use redb::{ReadableTable, Table};

use crate::clock::UnixMillis;
use crate::spool::codec::{seal, unseal};
use crate::sync::Mutex;

/// Enough that growing one of them does not hold up a commit, or a request, for more than about a millisecond.
const SHARDS: usize = 256;

/// Rows forgotten in one commit at most.
const STEP: usize = 64;

const ID: usize = size_of::<u128>();
const TIME: usize = size_of::<UnixMillis>();

/// The ids that are remembered.
#[derive(Debug)]
pub struct Seen {
    shards: Box<[Mutex<HashSet<u128>>]>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Seen {
    pub fn contains(&self, id: u128) -> bool {
        self.with(id, |shard| shard.contains(&id))
    }

    /// False when it is there already.
    pub fn insert(&self, id: u128) -> bool {
        self.with(id, |shard| shard.insert(id))
    }

    pub fn remove(&self, id: u128) {
        self.with(id, |shard| shard.remove(&id));
    }

    fn with<T>(&self, id: u128, action: impl FnOnce(&mut HashSet<u128>) -> T) -> T {
        // Ids are hashes, any eight bits are as good as others.
        let shard = &self.shards[(id >> 64) as usize % SHARDS];
        action(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where the log on disk stands.
#[derive(Debug, Default, Clone, Copy)]
pub struct Log {
    /// Number of the next row.
    next: u64,
    /// Ids in all rows.
    ids: u64,
    /// Time of the first row.
    oldest: Option<UnixMillis>,
}

/// How long ids are remembered, and how many.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub window: UnixMillis,
    pub max_ids: u64,
}

impl Log {
    /// Reads the log into the set.
    pub fn load(table: &impl ReadableTable<u64, &'static [u8]>, seen: &Seen) -> redb::Result<Self> {
        let mut log = Self::default();
        let mut unreadable = 0;
        for row in table.range::<u64>(..)? {
            let (number, row) = row?;
            log.next = number.value() + 1;
            let Some((time, ids)) = parse(number.value(), row.value()) else {
                unreadable += 1;
                continue;
            };
            log.oldest.get_or_insert(time);
            for id in ids {
                log.ids += 1;
                seen.insert(id);
            }
        }
        if unreadable > 0 {
            tracing::error!(
                rows = unreadable,
                "ids of messages that came before cannot be read; copies may be delivered again"
            );
        }
        Ok(log)
    }

    pub const fn ids(&self) -> u64 {
        self.ids
    }

    /// Whether there is something to forget.
    pub fn is_due(&self, now: UnixMillis, memory: Memory) -> bool {
        self.ids > memory.max_ids || self.oldest.is_some_and(|oldest| now.saturating_sub(oldest) >= memory.window)
    }

    pub fn append(
        &mut self,
        table: &mut Table<'_, u64, &'static [u8]>,
        now: UnixMillis,
        ids: &[u128],
    ) -> redb::Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut row = Vec::with_capacity(TIME + ids.len() * ID);
        row.extend_from_slice(&now.to_le_bytes());
        ids.iter().for_each(|id| row.extend_from_slice(&id.to_le_bytes()));
        table.insert(self.next, seal(self.next, &row).as_slice())?;
        self.next += 1;
        self.ids += ids.len() as u64;
        self.oldest.get_or_insert(now);
        Ok(())
    }

    /// Takes rows that are too old, or too many, from the front; returns their ids.
    pub fn forget(
        &mut self,
        table: &mut Table<'_, u64, &'static [u8]>,
        now: UnixMillis,
        memory: Memory,
    ) -> redb::Result<Vec<u128>> {
        let mut forgotten = Vec::new();
        for _ in 0..STEP {
            if !self.is_due(now, memory) {
                break;
            }
            let Some((number, row)) = table.pop_first()? else {
                // The count was wrong, or this would be due for ever.
                (self.ids, self.oldest) = (0, None);
                break;
            };
            let before = forgotten.len();
            forgotten.extend(parse(number.value(), row.value()).into_iter().flat_map(|(_, ids)| ids));
            drop((number, row));
            self.ids = self.ids.saturating_sub((forgotten.len() - before) as u64);
            // One that cannot be read has no time, and goes with the next.
            self.oldest =
                table.first()?.map(|(number, row)| parse(number.value(), row.value()).map_or(0, |(time, _)| time));
        }
        Ok(forgotten)
    }
}

/// Time and ids of a row; `None` where it cannot be read.
fn parse(number: u64, row: &[u8]) -> Option<(UnixMillis, impl Iterator<Item = u128>)> {
    let (time, ids) = unseal(number, row).ok()?.split_first_chunk::<TIME>()?;
    Some((UnixMillis::from_le_bytes(*time), ids.as_chunks::<ID>().0.iter().map(|id| u128::from_le_bytes(*id))))
}
