//! The audit trail: who changed what, from where, why, and how it ended.
//!
//! Every change is recorded here, by people, by a reload or by Baton itself, and so is every request that was refused for
//! who asked. Nothing secret is: no token, no body of a message. An entry goes to the log at once, and to a chained file
//! below `state.path` ([`files`]), which a thread of its own writes.
//!
//! **A disk that fails does not stop changes**: an operator who cannot drain a master, or a failover that does not happen,
//! is worse than a gap. What could not be written stands in the log, is counted, shown in the status and told as an event;
//! and when the disk takes records again, the first one says how many are missing.

pub mod chain;
pub mod files;
pub mod query;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::clock::{self, Micros};
use crate::events::Bus;
use chain::Record;

/// Refusals that are recorded in a row; a flood of them must not bury what matters.
const REFUSALS_BURST: u64 = 30;
/// One more refusal is recorded for each such time.
const REFUSAL_EVERY: Micros = 10_000_000;
/// Entries that wait for the disk.
const QUEUE: usize = 1024;
/// Longest text of an entry, in characters.
const TEXT_CHARS_MAX: usize = 1000;
/// Largest value before or after a change as JSON, in bytes; a larger one is left out.
const VALUE_BYTES_MAX: usize = 16 << 10;
/// What whoever changes something waits for the disk before the answer is given all the same.
const PATIENCE: Duration = Duration::from_secs(2);

/// One thing that somebody did, or tried to do.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Subject of the token; `baton` for what it does by itself.
    pub who: &'a str,
    /// Role of the token.
    pub role: Option<&'a str>,
    /// Address of the caller, without the port, or what made Baton act.
    pub from: &'a str,
    /// What was asked for, such as `operator-state`.
    pub action: &'a str,
    /// What it was done to, such as `upstreams/bots/masters/dubai-1`.
    pub target: &'a str,
    /// Why, in the caller's words; may be empty.
    pub reason: &'a str,
    pub before: Value,
    pub after: Value,
    pub outcome: Outcome,
}

/// On whose behalf something is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// As in [`Entry`].
    pub who: String,
    pub role: Option<String>,
    pub from: String,
    pub reason: String,
}

impl Author {
    /// Baton itself, because of this.
    #[must_use]
    pub fn own(cause: &str) -> Self {
        Self { who: "baton".to_owned(), role: None, from: cause.to_owned(), reason: String::new() }
    }

    /// An entry about something that it did, or tried.
    #[must_use]
    pub fn entry<'a>(
        &'a self,
        action: &'a str,
        target: &'a str,
        (before, after): (Value, Value),
        outcome: Outcome,
    ) -> Entry<'a> {
        let Self { who, role, from, reason } = self;
        Entry { who, role: role.as_deref(), from, action, target, reason, before, after, outcome }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Nothing has changed, because of this.
    Refused(String),
    /// Something may have changed, and then this happened.
    Failed(String),
}

impl Outcome {
    /// The words that records have.
    pub const WORDS: [&str; 3] = ["done", "refused", "failed"];

    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Done => (Self::WORDS[0], ""),
            Self::Refused(why) => (Self::WORDS[1], why),
            Self::Failed(why) => (Self::WORDS[2], why),
        }
    }
}

/// How the trail stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Number and hash of the newest record; none before the trail was opened.
    pub newest: Option<(u64, String)>,
    /// Entries that were not written since the process started.
    pub lost: u64,
    /// Why nothing is written at present.
    pub error: Option<String>,
    /// What the first look found changed or missing.
    pub damage: Option<String>,
}

/// Where entries go.
#[derive(Debug, Default)]
pub struct Audit {
    refusals: Mutex<Refusals>,
    /// `None`: the log has them, and nothing else does.
    file: Option<Handle>,
}

#[derive(Debug)]
struct Handle {
    jobs: SyncSender<Job>,
    directory: PathBuf,
    shared: Arc<Shared>,
}

/// What the thread and the handles look at.
#[derive(Debug, Default)]
struct Shared {
    standing: Mutex<Standing>,
    lost: AtomicU64,
}

/// What the thread is told.
#[derive(Debug)]
enum Job {
    Write(Box<Record>, oneshot::Sender<()>),
    /// Lets go of the file, so that another process can have it, until [`Job::Resume`].
    Release(oneshot::Sender<()>),
    Resume,
}

/// Whether an entry is on disk yet.
#[derive(Debug)]
pub struct Written(Option<oneshot::Receiver<()>>);

impl Written {
    /// Waits until the entry is on disk, or will not be; but not for long. Cancel-safe.
    pub async fn wait(self) {
        if let Some(answer) = self.0 {
            // Whatever the answer: what is lost is counted where it is lost.
            let _ = tokio::time::timeout(PATIENCE, answer).await;
        }
    }
}

/// How many refusals may be recorded now.
#[derive(Debug, Default)]
struct Refusals {
    used: u64,
    since: Micros,
    left_out: u64,
}

impl Audit {
    /// A trail below a state directory, opened by a thread that is started here; entries wait until it is. With `held`,
    /// nothing is opened before [`Audit::resume`]: another process still has it.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(state: &Path, held: bool, events: Arc<Bus>) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(QUEUE);
        let shared: Arc<Shared> = Arc::default();
        writer::start(state.to_owned(), held, waiting, shared.clone(), events)?;
        let directory = state.join(files::DIRECTORY);
        Ok(Self { refusals: Mutex::default(), file: Some(Handle { jobs, directory, shared }) })
    }

    /// Appends one entry. Never waits; what it returns does.
    pub fn record(&self, entry: &Entry<'_>) -> Written {
        let Entry { who, role, from, action, target, reason, before, after, outcome } = entry;
        let (word, why) = outcome.words();
        // `target` is what the log itself calls the part of the program that says it.
        tracing::info!(
            who,
            role = role.unwrap_or("none"),
            from,
            action,
            object = target,
            reason,
            before = before.to_string(),
            after = after.to_string(),
            outcome = word,
            why,
            "audit"
        );
        let Some(file) = &self.file else { return Written(None) };
        let text = |text: &str| text.chars().take(TEXT_CHARS_MAX).collect::<String>();
        let record = Record {
            seq: 0,
            at: clock::unix_millis(),
            prev: String::new(),
            who: text(who),
            role: role.map(text),
            from: text(from),
            action: text(action),
            target: text(target),
            reason: text(reason),
            before: bounded(before),
            after: bounded(after),
            outcome: word.to_owned(),
            why: text(why),
            hash: String::new(),
        };
        let (done, answer) = oneshot::channel();
        match file.jobs.try_send(Job::Write(Box::new(record), done)) {
            Ok(()) => Written(Some(answer)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                file.shared.lose(1);
                Written(None)
            }
        }
    }

    /// Appends that a request was refused for who asked, unless there are too many of these.
    pub fn refused(&self, who: &str, from: &str, action: &str, why: &str) {
        let left_out = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            match refusals.admit(clock::now()) {
                Some(left_out) => left_out,
                None => return,
            }
        };
        let why = if left_out == 0 { why.to_owned() } else { format!("{why} (and {left_out} more before it)") };
        self.record(&Entry {
            who,
            role: None,
            from,
            action,
            target: "",
            reason: "",
            before: Value::Null,
            after: Value::Null,
            outcome: Outcome::Refused(why),
        });
    }

    /// Writes what waits, and lets go of the file for another process.
    pub async fn release(&self) {
        let Some(file) = &self.file else { return };
        let (done, answer) = oneshot::channel();
        if file.jobs.try_send(Job::Release(done)).is_ok() {
            let _ = tokio::time::timeout(PATIENCE, answer).await;
        }
    }

    /// Takes the file again, or for the first time.
    pub fn resume(&self) {
        if let Some(file) = &self.file {
            // A full queue wakes the thread as well.
            let _ = file.jobs.try_send(Job::Resume);
        }
    }

    #[must_use]
    pub fn standing(&self) -> Standing {
        let Some(file) = &self.file else { return Standing::default() };
        let standing = file.shared.standing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Standing { lost: file.shared.lost.load(Ordering::Relaxed), ..standing }
    }

    /// Where the files are, if there are any to be.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| &*file.directory)
    }
}

impl Shared {
    fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
    }
}

fn bounded(value: &Value) -> Value {
    let bytes = value.to_string().len();
    if bytes > VALUE_BYTES_MAX { json!({ "left_out_bytes": bytes }) } else { value.clone() }
}

impl Refusals {
    /// Whether one more is recorded, and how many were not since the last one.
    fn admit(&mut self, now: Micros) -> Option<u64> {
        let regained = now.saturating_sub(self.since) / REFUSAL_EVERY;
        self.used = self.used.saturating_sub(regained);
        self.since = if self.used == 0 { now } else { self.since + regained * REFUSAL_EVERY };
        if self.used >= REFUSALS_BURST {
            self.left_out += 1;
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_counted_and_not_written_out() {
        let mut refusals = Refusals::default();
        let admitted = (0..1000).filter(|_| refusals.admit(0).is_some()).count();
        assert_eq!(admitted as u64, REFUSALS_BURST);
        assert_eq!(refusals.admit(REFUSAL_EVERY), Some(1000 - REFUSALS_BURST));
        assert_eq!(refusals.admit(REFUSAL_EVERY), None);
        let long = 1000 * REFUSAL_EVERY;
        assert_eq!((0..1000).filter(|_| refusals.admit(long).is_some()).count() as u64, REFUSALS_BURST);
    }

    #[tokio::test]
    async fn a_disk_that_fails_stops_nothing_and_the_gap_is_on_disk_when_it_is_well_again() {
        let state = std::env::temp_dir().join(format!("baton-audit-failing-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&state);
        // A file where the directory is to be.
        std::fs::create_dir(&state).unwrap();
        std::fs::write(state.join(files::DIRECTORY), "").unwrap();
        let bus: Arc<Bus> = Arc::default();
        let audit = Audit::start(&state, false, bus.clone()).unwrap();
        let write = |action: &'static str| {
            audit.record(&Entry {
                who: "ann",
                role: None,
                from: "test",
                action,
                target: "",
                reason: "",
                before: Value::Null,
                after: Value::Null,
                outcome: Outcome::Done,
            })
        };
        write("a").wait().await;
        write("b").wait().await;
        let standing = audit.standing();
        assert!(standing.lost == 2 && standing.error.is_some(), "{standing:?}");
        assert_eq!(bus.recent(10, None, |_| true).0.len(), 1, "told once");
        std::fs::remove_file(state.join(files::DIRECTORY)).unwrap();
        // It is tried again after a while.
        tokio::time::sleep(writer::PAUSE + Duration::from_millis(200)).await;
        write("c").wait().await;
        let standing = audit.standing();
        assert!(standing.error.is_none() && standing.newest.is_some_and(|(seq, _)| seq == 2));
        let files = files::files(&state.join(files::DIRECTORY)).unwrap();
        let text = std::fs::read_to_string(&files[0]).unwrap();
        let records: Vec<Record> = text.lines().map(|line| chain::read(line).unwrap()).collect();
        assert_eq!(records.iter().map(|record| &*record.action).collect::<Vec<_>>(), ["audit.lost", "c"]);
        assert_eq!(records[0].after["entries"], 2);
        std::fs::remove_dir_all(&state).unwrap();
    }
}
