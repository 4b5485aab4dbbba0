//! Reading beside the thread that writes: short transactions, so that the space of what is deleted is used again soon.

use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{ReadTransaction, ReadableDatabase, ReadableTable};

use super::Store;
use super::api::{Cursor, DeadFilter, DeadLetter, Page, ReadError, Rows};
use super::dead;
use super::tables::{ALIASES, ATTEMPTS, DEAD, DEAD_BY_TIME, ENTRIES, PINS, RECORDS};
use crate::clock::UnixMillis;
use crate::spool::codec::{Unreadable, unseal};
use crate::spool::record::{Attempt, Entry, Record};

/// Rows of a page at most.
pub const PAGE_MAX: usize = 1000;

/// A pending message as a list shows it, without its head and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub entry: Entry,
    /// `None` where it cannot be read.
    pub record: Option<Record>,
    /// Attempts that ended, the last of them.
    pub history: Vec<Attempt>,
}

impl Store {
    /// A message, pending or dead; `None` when there is none of this number.
    ///
    /// # Errors
    ///
    /// It cannot be read, the disk failed, or the store is closed.
    pub fn load(&self, seq: u64) -> Result<Option<Record>, ReadError> {
        let read = self.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let record = records.get(seq)?.map(|row| Record::decode(seq, row.value()));
            // An entry without a record is damage; without an entry it was settled.
            let missing = record.is_none() && transaction.open_table(ENTRIES)?.get(seq)?.is_some();
            Ok(if missing { Some(Err(Unreadable::Damaged)) } else { record })
        })?;
        read.transpose().map_err(|unreadable| ReadError::Unreadable(seq, unreadable))
    }

    /// Pending messages by number, from `from` on.
    ///
    /// # Errors
    ///
    /// The disk failed, or the store is closed.
    pub fn pending(&self, from: u64, limit: usize) -> Result<Page<Pending, u64>, ReadError> {
        self.read(|transaction| {
            let (entries, records) = (transaction.open_table(ENTRIES)?, transaction.open_table(RECORDS)?);
            let attempts = transaction.open_table(ATTEMPTS)?;
            let mut page = Page { rows: Vec::new(), next: None };
            for row in entries.range(from..)? {
                let (seq, row) = row?;
                let seq = seq.value();
                if page.rows.len() == limit.min(PAGE_MAX) {
                    page.next = Some(seq);
                    break;
                }
                let Ok(entry) = Entry::decode(seq, row.value()) else { continue };
                let record = records.get(seq)?.and_then(|row| Record::decode_without_content(seq, row.value()).ok());
                let history = attempts.get(seq)?.and_then(|row| dead::decode_history(seq, row.value()).ok());
                page.rows.push(Pending { entry, record, history: history.unwrap_or_default() });
            }
            Ok(page)
        })
    }

    /// When the first of the pending messages was accepted. Messages put in line again may be younger than that.
    ///
    /// # Errors
    ///
    /// The disk failed, or the store is closed.
    pub fn oldest(&self) -> Result<Option<UnixMillis>, ReadError> {
        self.read(|transaction| {
            let entries = transaction.open_table(ENTRIES)?;
            let first = entries.first()?;
            Ok(first.and_then(|(seq, row)| Entry::decode(seq.value(), row.value()).ok()).map(|entry| entry.accepted))
        })
    }

    /// Dead letters that are meant, the latest first, before `before`.
    ///
    /// # Errors
    ///
    /// The disk failed, or the store is closed.
    pub fn dead_letters(
        &self,
        filter: &DeadFilter,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<DeadLetter, Cursor>, ReadError> {
        self.read(|transaction| {
            let (dead, by_time) = (transaction.open_table(DEAD)?, transaction.open_table(DEAD_BY_TIME)?);
            Ok(dead::list(&dead, &by_time, filter, before, limit.min(PAGE_MAX))?)
        })
    }

    /// One dead letter.
    ///
    /// # Errors
    ///
    /// It cannot be read, the disk failed, or the store is closed.
    pub fn dead_letter(&self, seq: u64) -> Result<Option<DeadLetter>, ReadError> {
        let read = self.read(|transaction| {
            Ok(transaction.open_table(DEAD)?.get(seq)?.map(|row| DeadLetter::decode(seq, row.value())))
        })?;
        read.transpose().map_err(|unreadable| ReadError::Unreadable(seq, unreadable))
    }

    /// Shows every row of a table that can be read, by key. The store is read while `see` runs, so that it should be quick.
    ///
    /// # Errors
    ///
    /// The disk failed, or the store is closed.
    pub fn each_row(&self, table: Rows, mut see: impl FnMut(u64, &[u8])) -> Result<(), ReadError> {
        self.read(|transaction| {
            for row in transaction.open_table(if table == Rows::Pins { PINS } else { ALIASES })?.iter()? {
                let (key, row) = row?;
                // Of one that cannot be read nothing can be used.
                if let Ok(row) = unseal(key.value(), row.value()) {
                    see(key.value(), row);
                }
            }
            Ok(())
        })
    }

    pub(super) fn read<T>(
        &self,
        action: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, ReadError> {
        let Some(database) = self.shared.database.load_full() else { return Err(ReadError::Closed) };
        // The library panics over some kinds of damage.
        let read = catch_unwind(AssertUnwindSafe(|| {
            let transaction = database.begin_read()?;
            action(&transaction)
        }));
        let cause = match read {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(redb::Error::DatabaseClosed)) => return Err(ReadError::Closed),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "its pages contradict each other".to_owned(),
        };
        Err(ReadError::Failed(format!("the spool cannot be read: {cause}").into()))
    }
}
