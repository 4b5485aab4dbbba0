//! Dead letters: their rows, and the steps in which they come, go and return.

use redb::{ReadableTable, WriteTransaction};

use super::api::{Cursor, DeadFilter, DeadLetter, Page, Which};
use super::tables::{ATTEMPTS, DEAD, DEAD_BY_TIME, RECORDS};
use crate::clock::UnixMillis;
use crate::spool::codec::{Reader, Unreadable, Writer};
use crate::spool::record::{Attempt, Entry, Record, kind_from_byte, kind_to_byte};
use crate::spool::schedule::Reason;

const VERSION: u8 = 1;

/// Attempts of one message that are kept.
pub const HISTORY_MAX: usize = 32;

/// Rows that one step looks at.
pub const STEP: usize = 512;

const REASONS: [Reason; 3] = [Reason::Attempts, Reason::Masters, Reason::Expired];

fn write_history(row: &mut Writer, history: &[Attempt]) {
    let kept = &history[history.len().saturating_sub(HISTORY_MAX)..];
    row.number(kept.len() as u64);
    kept.iter().for_each(|attempt| attempt.write(row));
}

fn read_history(row: &mut Reader<'_>) -> Result<Vec<Attempt>, Unreadable> {
    let count = row.number()?.min(HISTORY_MAX as u64);
    (0..count).map(|_| Attempt::read(row)).collect()
}

/// The row of the attempts that a pending message has behind it.
pub fn encode_history(seq: u64, history: &[Attempt]) -> Vec<u8> {
    let mut row = Writer::new(VERSION, seq, 64 * history.len());
    write_history(&mut row, history);
    row.finish()
}

/// Reads what [`encode_history`] wrote.
pub fn decode_history(seq: u64, row: &[u8]) -> Result<Vec<Attempt>, Unreadable> {
    read_history(&mut Reader::new(VERSION, seq, row)?)
}

impl DeadLetter {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = Writer::new(VERSION, self.seq, 256);
        row.u64(self.died);
        row.u8(REASONS.iter().position(|reason| *reason == self.reason).map_or(u8::MAX, |reason| reason as u8));
        row.u64(self.accepted);
        row.u64(self.conversation);
        row.text(&self.route);
        row.text(&self.upstream);
        row.optional_text(self.account.as_deref());
        row.text(&self.message_id);
        row.u8(kind_to_byte(self.kind));
        row.text(&self.event);
        row.u8(self.flags);
        row.number(self.size.into());
        row.number(self.attempts.into());
        row.u8(self.breaks);
        write_history(&mut row, &self.history);
        row.finish()
    }

    pub(super) fn decode(seq: u64, row: &[u8]) -> Result<Self, Unreadable> {
        let mut row = Reader::new(VERSION, seq, row)?;
        let small = |number: u64| u32::try_from(number).map_err(|_| Unreadable::Damaged);
        let letter = Self {
            seq,
            died: row.u64()?,
            reason: REASONS.get(usize::from(row.u8()?)).copied().ok_or(Unreadable::Damaged)?,
            accepted: row.u64()?,
            conversation: row.u64()?,
            route: row.text()?.into(),
            upstream: row.text()?.into(),
            account: row.optional_text()?.map(Into::into),
            message_id: row.text()?.into(),
            kind: kind_from_byte(row.u8()?).ok_or(Unreadable::Damaged)?,
            event: row.text()?.into(),
            flags: row.u8()?,
            size: small(row.number()?)?,
            attempts: u16::try_from(row.number()?).map_err(|_| Unreadable::Damaged)?,
            breaks: row.u8()?,
            history: read_history(&mut row)?,
        };
        row.end()?;
        Ok(letter)
    }
}

/// Moves a message, whose entry is out of its table already, to the dead letters. `Err` inside: its record cannot be read.
pub fn bury(
    transaction: &WriteTransaction,
    entry: &Entry,
    died: UnixMillis,
    reason: Reason,
    last: Option<Attempt>,
) -> Result<Result<(), Unreadable>, redb::Error> {
    let record = match transaction.open_table(RECORDS)?.get(entry.seq)? {
        Some(row) => Record::decode_without_content(entry.seq, row.value()),
        None => Err(Unreadable::Damaged),
    };
    let Record { accepted, message } = match record {
        Ok(record) => record,
        Err(unreadable) => return Ok(Err(unreadable)),
    };
    let mut history = match transaction.open_table(ATTEMPTS)?.remove(entry.seq)? {
        // What cannot be read of it is no reason to lose the message.
        Some(row) => decode_history(entry.seq, row.value()).unwrap_or_default(),
        None => Vec::new(),
    };
    history.extend(last);
    let letter = DeadLetter {
        seq: entry.seq,
        died,
        reason,
        accepted,
        conversation: entry.conversation,
        route: (&*message.route).into(),
        upstream: (&*message.upstream).into(),
        account: message.account,
        message_id: message.message_id,
        kind: message.kind,
        event: message.event,
        flags: entry.flags,
        size: entry.size,
        attempts: entry.attempts,
        breaks: entry.breaks,
        history,
    };
    transaction.open_table(DEAD)?.insert(entry.seq, letter.encode().as_slice())?;
    transaction.open_table(DEAD_BY_TIME)?.insert((died, entry.seq), entry.size)?;
    Ok(Ok(()))
}

/// Takes a dead letter out of the tables of dead letters; its record stays. Where its row cannot be read `time` is what
/// [`DEAD_BY_TIME`] has it under.
pub fn exhume(
    transaction: &WriteTransaction,
    seq: u64,
    time: Option<UnixMillis>,
) -> Result<Option<Result<DeadLetter, Unreadable>>, redb::Error> {
    let mut dead = transaction.open_table(DEAD)?;
    let Some(row) = dead.remove(seq)? else { return Ok(None) };
    let letter = DeadLetter::decode(seq, row.value());
    if let Some(died) = letter.as_ref().map(|letter| letter.died).ok().or(time) {
        transaction.open_table(DEAD_BY_TIME)?.remove((died, seq))?;
    }
    Ok(Some(letter))
}

/// Numbers and times of some dead letters that are meant, and where to go on; the oldest first.
pub fn find(
    transaction: &WriteTransaction,
    which: &Which,
    after: Option<Cursor>,
) -> Result<Page<Cursor, Cursor>, redb::Error> {
    let dead = transaction.open_table(DEAD)?;
    match which {
        Which::One(seq) => {
            let letter = dead.get(*seq)?.map(|row| DeadLetter::decode(*seq, row.value()));
            // One that cannot be read is named, so that whoever asked is told of it.
            let rows = letter.map(|letter| (letter.map_or(0, |letter| letter.died), *seq)).into_iter().collect();
            Ok(Page { rows, next: None })
        }
        Which::Matching(filter) => {
            let by_time = transaction.open_table(DEAD_BY_TIME)?;
            let begin = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let mut page = Page { rows: Vec::new(), next: None };
            let mut looked_at = 0;
            for row in by_time.range((begin, std::ops::Bound::Unbounded))? {
                let cursor = row?.0.value();
                page.next = Some(cursor);
                if is_meant(&dead, cursor.1, filter)? {
                    page.rows.push(cursor);
                }
                looked_at += 1;
                if looked_at == STEP {
                    return Ok(page);
                }
            }
            page.next = None;
            Ok(page)
        }
    }
}

fn is_meant(
    dead: &impl ReadableTable<u64, &'static [u8]>,
    seq: u64,
    filter: &DeadFilter,
) -> Result<bool, redb::StorageError> {
    // Everything is meant by no filter at all, also what cannot be read.
    if *filter == DeadFilter::default() {
        return Ok(true);
    }
    let Some(row) = dead.get(seq)? else { return Ok(false) };
    Ok(DeadLetter::decode(seq, row.value()).is_ok_and(|letter| filter.matches(&letter)))
}

/// A page of dead letters, the latest first.
pub fn list(
    dead: &impl ReadableTable<u64, &'static [u8]>,
    by_time: &impl ReadableTable<(u64, u64), u32>,
    filter: &DeadFilter,
    before: Option<Cursor>,
    limit: usize,
) -> redb::Result<Page<DeadLetter, Cursor>> {
    let end = before.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
    let mut page = Page { rows: Vec::new(), next: None };
    for (looked_at, row) in by_time.range((std::ops::Bound::Unbounded, end))?.rev().enumerate() {
        if page.rows.len() == limit || looked_at == 16 * STEP {
            return Ok(page);
        }
        let cursor = row?.0.value();
        page.next = Some(cursor);
        let Some(row) = dead.get(cursor.1)? else { continue };
        page.rows.extend(DeadLetter::decode(cursor.1, row.value()).ok().filter(|letter| filter.matches(letter)));
    }
    page.next = None;
    Ok(page)
}
