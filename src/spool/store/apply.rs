//! What one commit does to the tables.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use redb::{ReadableTable, WriteTransaction};
use tokio::sync::oneshot;

use super::api::{Accepted, Refused, RowChange, Rows, Which};
use super::command::{Action, Batch, Job};
use super::dead::{self, bury, exhume};
use super::seen::{Log, Memory, Seen};
use super::tables::{ALIASES, ATTEMPTS, DAMAGED, DEAD_BY_TIME, ENTRIES, NAMES, PINS, RECORDS, SEEN};
use crate::clock::UnixMillis;
use crate::config::model::Spool;
use crate::spool::codec::seal;
use crate::spool::record::{Attempt, Entry};
use crate::spool::schedule::Settlement;

/// Names of accounts that are interned; those of upstreams come from the configuration, which bounds them.
const ACCOUNTS_MAX: usize = 65_536;

/// Dead letters that one commit lets go of because of their age or number.
const RETIRE_STEP: usize = 64;

/// Everything that the tables add up to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    pub pending: u64,
    pub pending_bytes: u64,
    pub dead: u64,
    pub dead_bytes: u64,
    pub damaged: u64,
    pub stored: u64,
    pub duplicates: u64,
    /// When the oldest dead letter died.
    pub oldest_dead: Option<UnixMillis>,
}

/// Names and their numbers.
#[derive(Debug, Default)]
pub struct Numbers {
    pub by_name: HashMap<Arc<str>, u32>,
    pub next: u32,
}

/// What the tables stand for, and what a commit makes of them. It goes on from there even before the commit is on disk: if
/// that fails nothing goes on.
#[derive(Default)]
pub struct Image {
    pub sums: Sums,
    pub log: Log,
    pub numbers: Numbers,
}

impl Image {
    /// Bytes that the file needs at most for what is in it: three records of 1.2 KB fill a page of 4 KiB, larger ones take
    /// the next power of two; a row of the other tables takes twice its length where its page is half empty.
    pub fn file_needs(&self) -> u64 {
        const OTHERS: u64 = 8 << 20;
        let Sums { pending, pending_bytes, dead, dead_bytes, .. } = self.sums;
        2 * (pending_bytes + dead_bytes) + 128 * pending + 1024 * dead + 48 * self.log.ids() + OTHERS
    }
}

/// What there is to tell once the commit is on disk.
#[derive(Default)]
pub struct Changes {
    pub stored: Vec<Entry>,
    pub settled: Vec<u64>,
    pub names: Vec<(u32, Arc<str>)>,
    pub remembered: Vec<u128>,
    pub forgotten: Vec<u128>,
    pub answers: Vec<Answer>,
    pub released: (usize, usize),
}

type Answer = (oneshot::Sender<Result<Vec<Accepted>, Refused>>, Vec<Accepted>);

/// One commit in the making.
pub struct Step<'a> {
    pub transaction: &'a WriteTransaction,
    pub image: &'a mut Image,
    pub changes: &'a mut Changes,
    pub seen: &'a Seen,
    pub settings: &'a Spool,
    pub now: UnixMillis,
}

/// A message, what is to become of it, and the attempt that ended.
pub type Settled = (u64, Settlement, Option<Attempt>);

type Done = Result<(), redb::Error>;

impl Step<'_> {
    /// Stores what is new. Of two copies in one commit the first is new.
    pub fn accept(&mut self, batches: Vec<Batch>) -> Done {
        if batches.is_empty() {
            return Ok(());
        }
        let mut entries = self.transaction.open_table(ENTRIES)?;
        let mut records = self.transaction.open_table(RECORDS)?;
        let mut fresh = HashSet::new();
        for Batch { messages, bytes, reply } in batches {
            self.changes.released.0 += messages.len();
            self.changes.released.1 += bytes;
            let mut answer = Vec::with_capacity(messages.len());
            for message in messages {
                if message.id.is_some_and(|id| self.seen.contains(id) || !fresh.insert(id)) {
                    self.image.sums.duplicates += 1;
                    answer.push(Accepted::Duplicate);
                    continue;
                }
                let mut entry = message.entry;
                entry.upstream = self.intern(&message.upstream)?;
                entry.account = match message.account {
                    Some(account) => self.intern_account(&account)?,
                    None => Entry::NO_ACCOUNT,
                };
                entries.insert(entry.seq, &entry.encode())?;
                records.insert(entry.seq, message.record.as_slice())?;
                self.changes.remembered.extend(message.id);
                self.changes.stored.push(entry);
                self.image.sums.stored += 1;
                self.image.sums.begin(&entry);
                answer.push(Accepted::Stored);
            }
            self.changes.answers.push((reply, answer));
        }
        Ok(())
    }

    /// Commits what became of messages; one that is not there any more is settled already.
    pub fn settle(&mut self, settlements: Vec<Settled>) -> Done {
        if settlements.is_empty() {
            return Ok(());
        }
        self.changes.settled.extend(settlements.iter().map(|(seq, ..)| *seq));
        let (delivered, others): (Vec<_>, Vec<_>) =
            settlements.into_iter().partition(|(_, settlement, _)| *settlement == Settlement::Delivered);
        self.remove_delivered(delivered.into_iter().map(|(seq, ..)| seq))?;
        for (seq, settlement, attempt) in others {
            let Some(entry) = self.take_entry(seq)? else { continue };
            let Ok(entry) = entry else {
                self.image.sums.end_unknown(0);
                self.damage(seq, &[])?;
                continue;
            };
            match settlement {
                Settlement::Delivered => {}
                Settlement::Retry { due, attempts, breaks } => {
                    let entry = Entry { due, attempts, breaks, ..entry };
                    self.transaction.open_table(ENTRIES)?.insert(seq, &entry.encode())?;
                    if let Some(attempt) = attempt {
                        self.append_attempt(seq, attempt)?;
                    }
                }
                Settlement::Dead { reason, attempts, breaks } => {
                    self.image.sums.end(&entry);
                    let entry = Entry { attempts, breaks, ..entry };
                    match bury(self.transaction, &entry, self.now, reason, attempt)? {
                        Ok(()) => self.image.sums.bury(entry.size, self.now),
                        Err(_) => self.damage(seq, &entry.encode())?,
                    }
                }
            }
        }
        Ok(())
    }

    /// The way of nearly all messages, with each table opened once.
    fn remove_delivered(&mut self, delivered: impl Iterator<Item = u64>) -> Done {
        let mut entries = self.transaction.open_table(ENTRIES)?;
        let mut records = self.transaction.open_table(RECORDS)?;
        let mut with_history = Vec::new();
        for seq in delivered {
            let Some(entry) = entries.remove(seq)?.map(|row| Entry::decode(seq, row.value())) else { continue };
            let size = records.remove(seq)?.map_or(0, |row| size_of_row(row.value()));
            let sums = &mut self.image.sums;
            match entry {
                Ok(entry) => {
                    sums.end(&entry);
                    if entry.attempts > 0 || entry.flags & Entry::REPLAYED != 0 {
                        with_history.push(seq);
                    }
                }
                // It was delivered from its record; what it had behind it is not known.
                Err(_) => {
                    sums.end_unknown(size);
                    with_history.push(seq);
                }
            }
        }
        drop((entries, records));
        for seq in with_history {
            self.transaction.open_table(ATTEMPTS)?.remove(seq)?;
        }
        Ok(())
    }

    /// Puts messages that cannot be read where they block nobody.
    pub fn quarantine(&mut self, messages: Vec<u64>) -> Done {
        for seq in messages {
            self.changes.settled.push(seq);
            let row = self.transaction.open_table(ENTRIES)?.remove(seq)?.map(|row| *row.value());
            let Some(row) = row else { continue };
            match Entry::decode(seq, &row) {
                Ok(entry) => self.image.sums.end(&entry),
                Err(_) => self.image.sums.end_unknown(0),
            }
            self.damage(seq, &row)?;
        }
        Ok(())
    }

    /// Remembers the ids of what came with this commit and of what was noted, and forgets old ones.
    pub fn remember(&mut self, notes: &[u128]) -> Done {
        let memory =
            Memory { window: crate::clock::millis(self.settings.dedup_window), max_ids: self.settings.dedup_max_ids };
        if notes.is_empty() && self.changes.remembered.is_empty() && !self.image.log.is_due(self.now, memory) {
            return Ok(());
        }
        let mut table = self.transaction.open_table(SEEN)?;
        let log = &mut self.image.log;
        log.append(&mut table, self.now, &self.changes.remembered)?;
        log.append(&mut table, self.now, notes)?;
        self.changes.forgotten = log.forget(&mut table, self.now, memory)?;
        Ok(())
    }

    pub fn rows(&mut self, rows: Vec<(Rows, Vec<RowChange>)>) -> Done {
        for (table, changes) in rows {
            let definition = if table == Rows::Pins { PINS } else { ALIASES };
            let mut table = self.transaction.open_table(definition)?;
            for RowChange { key, row } in changes {
                match row {
                    Some(row) => table.insert(key, seal(key, &row).as_slice())?,
                    None => table.remove(key)?,
                };
            }
        }
        Ok(())
    }

    /// Does a part of a job; true when that was the last.
    pub fn work(&mut self, job: &mut Job) -> Result<bool, redb::Error> {
        let page = dead::find(self.transaction, &job.which, job.after)?;
        for (time, seq) in page.rows {
            if job.action == Action::Replay && self.image.sums.pending >= self.settings.max_messages {
                return Ok(true);
            }
            let time = matches!(job.which, Which::Matching(_)).then_some(time);
            job.done += u64::from(match job.action {
                Action::Replay => self.replay(seq, time)?,
                Action::Discard => self.discard(seq, time)?,
            });
        }
        job.after = page.next;
        Ok(page.next.is_none())
    }

    /// Whether [`Step::retire`] has something to do.
    pub fn is_due(sums: &Sums, settings: &Spool, now: UnixMillis) -> bool {
        let age = crate::clock::millis(settings.dead_max_age);
        sums.dead_bytes > settings.dead_max_bytes
            || sums.oldest_dead.is_some_and(|died| now.saturating_sub(died) >= age)
    }

    /// Lets dead letters go that are too old, or too many.
    pub fn retire(&mut self) -> Done {
        for _ in 0..RETIRE_STEP {
            if !Self::is_due(&self.image.sums, self.settings, self.now) {
                break;
            }
            let Some((died, seq)) = self.first_dead()? else {
                // The sums were wrong, or this would be due for ever.
                let sums = &mut self.image.sums;
                (sums.dead, sums.dead_bytes, sums.oldest_dead) = (0, 0, None);
                break;
            };
            if self.discard(seq, Some(died))? {
                tracing::info!(seq, "a dead letter was let go of, by the age or size that they may have");
            }
            self.image.sums.oldest_dead = self.first_dead()?.map(|(died, _)| died);
        }
        Ok(())
    }

    fn first_dead(&self) -> Result<Option<(u64, u64)>, redb::Error> {
        Ok(self.transaction.open_table(DEAD_BY_TIME)?.first()?.map(|(key, _)| key.value()))
    }

    fn replay(&mut self, seq: u64, time: Option<UnixMillis>) -> Result<bool, redb::Error> {
        let Some(letter) = exhume(self.transaction, seq, time)? else { return Ok(false) };
        let Ok(letter) = letter else {
            self.image.sums.dead = self.image.sums.dead.saturating_sub(1);
            self.damage(seq, &[])?;
            return Ok(false);
        };
        self.image.sums.exhume(letter.size);
        let account = match &letter.account {
            Some(account) => self.intern_account(account)?,
            None => Entry::NO_ACCOUNT,
        };
        let ambiguous = if letter.breaks > 0 { Entry::MAYBE_DELIVERED } else { 0 };
        let entry = Entry {
            seq,
            conversation: letter.conversation,
            upstream: self.intern(&letter.upstream)?,
            account,
            // Its age counts anew, or it would die of it at once.
            accepted: self.now,
            due: self.now,
            attempts: 0,
            breaks: 0,
            flags: letter.flags | Entry::REPLAYED | ambiguous,
            size: letter.size,
        };
        self.transaction.open_table(ENTRIES)?.insert(seq, &entry.encode())?;
        if !letter.history.is_empty() {
            let history = dead::encode_history(seq, &letter.history);
            self.transaction.open_table(ATTEMPTS)?.insert(seq, history.as_slice())?;
        }
        self.image.sums.begin(&entry);
        self.changes.stored.push(entry);
        Ok(true)
    }

    fn discard(&mut self, seq: u64, time: Option<UnixMillis>) -> Result<bool, redb::Error> {
        let letter = exhume(self.transaction, seq, time)?;
        let Some(letter) = letter else {
            // A time without its letter.
            if let Some(died) = time {
                self.transaction.open_table(DEAD_BY_TIME)?.remove((died, seq))?;
            }
            return Ok(false);
        };
        let size = self.transaction.open_table(RECORDS)?.remove(seq)?.map_or(0, |row| size_of_row(row.value()));
        self.image.sums.exhume(letter.map_or(size, |letter| letter.size));
        Ok(true)
    }

    fn take_entry(&self, seq: u64) -> Result<Option<Result<Entry, crate::spool::codec::Unreadable>>, redb::Error> {
        let mut entries = self.transaction.open_table(ENTRIES)?;
        Ok(entries.remove(seq)?.map(|row| Entry::decode(seq, row.value())))
    }

    /// Keeps what there is of a message that cannot be read, out of everybody's way.
    fn damage(&mut self, seq: u64, entry: &[u8]) -> Done {
        let mut records = self.transaction.open_table(RECORDS)?;
        let record = records.remove(seq)?.map(|row| row.value().to_vec()).unwrap_or_default();
        self.transaction.open_table(DAMAGED)?.insert(seq, (entry, record.as_slice()))?;
        self.transaction.open_table(ATTEMPTS)?.remove(seq)?;
        self.image.sums.damaged += 1;
        tracing::error!(seq, "a stored message cannot be read; it was put aside and is not delivered");
        Ok(())
    }

    fn append_attempt(&self, seq: u64, attempt: Attempt) -> Done {
        let mut table = self.transaction.open_table(ATTEMPTS)?;
        let history = table.get(seq)?.map(|row| dead::decode_history(seq, row.value()).unwrap_or_default());
        let mut history = history.unwrap_or_default();
        history.push(attempt);
        table.insert(seq, dead::encode_history(seq, &history).as_slice())?;
        Ok(())
    }

    fn intern_account(&mut self, account: &str) -> Result<u32, redb::Error> {
        let numbers = &self.image.numbers;
        if numbers.by_name.len() >= ACCOUNTS_MAX && !numbers.by_name.contains_key(account) {
            return Ok(Entry::ACCOUNT_IN_RECORD);
        }
        self.intern(account)
    }

    fn intern(&mut self, name: &str) -> Result<u32, redb::Error> {
        let numbers = &mut self.image.numbers;
        if let Some(number) = numbers.by_name.get(name) {
            return Ok(*number);
        }
        let (number, name) = (numbers.next, Arc::<str>::from(name));
        let row = seal(number.into(), name.as_bytes());
        self.transaction.open_table(NAMES)?.insert(number, row.as_slice())?;
        numbers.next += 1;
        numbers.by_name.insert(Arc::clone(&name), number);
        self.changes.names.push((number, name));
        Ok(number)
    }
}

impl Sums {
    pub fn begin(&mut self, entry: &Entry) {
        self.pending += 1;
        self.pending_bytes += u64::from(entry.size);
    }

    fn end(&mut self, entry: &Entry) {
        self.end_unknown(entry.size);
    }

    fn end_unknown(&mut self, size: u32) {
        self.pending = self.pending.saturating_sub(1);
        self.pending_bytes = self.pending_bytes.saturating_sub(size.into());
    }

    pub fn bury(&mut self, size: u32, died: UnixMillis) {
        self.dead += 1;
        self.dead_bytes += u64::from(size);
        self.oldest_dead = Some(self.oldest_dead.map_or(died, |oldest| oldest.min(died)));
    }

    fn exhume(&mut self, size: u32) {
        self.dead = self.dead.saturating_sub(1);
        self.dead_bytes = self.dead_bytes.saturating_sub(size.into());
    }
}

fn size_of_row(row: &[u8]) -> u32 {
    u32::try_from(row.len()).unwrap_or(u32::MAX)
}
