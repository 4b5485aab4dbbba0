//! What the store's thread is asked to do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::api::{Accepted, Cursor, Refused, RowChange, Rows, Which};
use crate::spool::record::{Attempt, Entry};
use crate::spool::schedule::Settlement;

/// Messages that one commit takes on.
const GROUP_MESSAGES: usize = 512;

/// Bytes that one commit takes on; a single message may have more.
const GROUP_BYTES: usize = 8 << 20;

/// Everything else that one commit takes on.
const GROUP_REST: usize = 4096;

/// How long what nobody waits for may wait for a commit that takes it along.
const LAZY: Duration = Duration::from_millis(200);

/// What can be wanted of the thread.
pub enum Command {
    Accept(Batch),
    Settle {
        seq: u64,
        settlement: Settlement,
        attempt: Option<Attempt>,
    },
    Quarantine(u64),
    Note(Vec<u128>),
    Rows(Rows, Vec<RowChange>),
    Dead(Job),
    /// To answer when everything before it is on disk.
    Flush(oneshot::Sender<()>),
    /// To answer when the file is closed.
    Close(oneshot::Sender<()>),
}

/// Messages that are stored together or not at all.
pub struct Batch {
    pub messages: Vec<Prepared>,
    pub bytes: usize,
    pub reply: oneshot::Sender<Result<Vec<Accepted>, Refused>>,
}

/// A message, encoded by whoever brought it.
pub struct Prepared {
    /// Without the names' numbers.
    pub entry: Entry,
    pub id: Option<u128>,
    pub upstream: Arc<str>,
    pub account: Option<Box<str>>,
    pub record: Vec<u8>,
}

/// Something done with many dead letters, in steps.
pub struct Job {
    pub action: Action,
    pub which: Which,
    pub after: Option<Cursor>,
    pub done: u64,
    pub reply: oneshot::Sender<Result<u64, Refused>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Replay,
    Discard,
}

/// What goes into one commit.
#[derive(Default)]
pub struct Group {
    pub batches: Vec<Batch>,
    pub settlements: Vec<(u64, Settlement, Option<Attempt>)>,
    pub quarantined: Vec<u64>,
    pub notes: Vec<u128>,
    pub rows: Vec<(Rows, Vec<RowChange>)>,
    pub flushes: Vec<oneshot::Sender<()>>,
    pub close: Option<oneshot::Sender<()>>,
    messages: usize,
    bytes: usize,
    rest: usize,
    /// Since when something is in here that nobody waits for.
    lazy: Option<Instant>,
    urgent: bool,
}

impl Group {
    pub fn add(&mut self, command: Command, jobs: &mut VecDeque<Job>) {
        self.urgent |= !matches!(command, Command::Note(_) | Command::Rows(..));
        match command {
            Command::Accept(batch) => {
                self.messages += batch.messages.len();
                self.bytes += batch.bytes;
                self.batches.push(batch);
            }
            Command::Settle { seq, settlement, attempt } => {
                self.rest += 1;
                self.settlements.push((seq, settlement, attempt));
            }
            Command::Quarantine(seq) => {
                self.rest += 1;
                self.quarantined.push(seq);
            }
            Command::Note(mut ids) => {
                self.rest += ids.len();
                self.notes.append(&mut ids);
                self.lazy.get_or_insert_with(Instant::now);
            }
            Command::Rows(table, changes) => {
                self.rest += changes.len();
                self.rows.push((table, changes));
                self.lazy.get_or_insert_with(Instant::now);
            }
            Command::Dead(job) => jobs.push_back(job),
            Command::Flush(reply) => self.flushes.push(reply),
            Command::Close(reply) => self.close = Some(reply),
        }
    }

    fn is_full(&self) -> bool {
        let Self { messages, bytes, rest, close, .. } = self;
        *messages >= GROUP_MESSAGES || *bytes >= GROUP_BYTES || *rest >= GROUP_REST || close.is_some()
    }

    /// Takes what waits, after waiting for the first of it for at most `patience`; what can wait longer does. With `at_once`
    /// nothing is waited for. None: there is nothing left, and never will be.
    pub fn gather(
        mut self,
        commands: &Receiver<Command>,
        jobs: &mut VecDeque<Job>,
        patience: Duration,
        at_once: bool,
    ) -> Option<Self> {
        let begun = Instant::now();
        loop {
            match commands.try_recv() {
                Ok(command) => self.add(command, jobs),
                Err(TryRecvError::Disconnected) => return (!self.is_empty()).then_some(self),
                Err(TryRecvError::Empty) => {
                    let lazy = self.lazy.map_or(patience, |since| LAZY.saturating_sub(since.elapsed()));
                    let wait = lazy.min(patience.saturating_sub(begun.elapsed()));
                    if at_once || self.urgent || !jobs.is_empty() || wait.is_zero() {
                        return Some(self);
                    }
                    match commands.recv_timeout(wait) {
                        Ok(command) => self.add(command, jobs),
                        Err(RecvTimeoutError::Timeout) => return Some(self),
                        Err(RecvTimeoutError::Disconnected) => {}
                    }
                }
            }
            if self.is_full() {
                return Some(self);
            }
        }
    }

    /// Whether there is nothing to commit, nor to answer.
    pub fn is_empty(&self) -> bool {
        !self.urgent && self.lazy.is_none()
    }

    /// Answers everybody in it that nothing was done.
    pub fn refuse(self, why: &Refused) {
        for batch in self.batches {
            // Whoever asked may have left.
            let _ = batch.reply.send(Err(why.clone()));
        }
    }
}
