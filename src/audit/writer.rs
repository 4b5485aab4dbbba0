//! The thread that writes the trail: what waits goes to disk together, with one sync.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::chain::Record;
use super::files::{Survey, Trail};
use super::{Job, Outcome, Shared, Standing};
use crate::clock;
use crate::events::{Bus, Event, Kind, Severity};

/// Records that are written together, at most.
const GROUP: usize = 256;
/// Between two tries to open a trail that could not be opened, or has failed.
pub const PAUSE: Duration = Duration::from_secs(1);

/// Starts the thread; it ends when nobody can tell it anything any more.
pub fn start(state: PathBuf, held: bool, jobs: Receiver<Job>, shared: Arc<Shared>, events: Arc<Bus>) -> io::Result<()> {
    let mut writer = Writer { state, trail: None, held, tried: None, missing: 0, failing: false, shared, events };
    let thread = std::thread::Builder::new().name("audit".to_owned());
    thread.spawn(move || writer.run(&jobs)).map(drop)
}

struct Writer {
    state: PathBuf,
    trail: Option<Trail>,
    /// Another process is to have it.
    held: bool,
    /// When it was last tried to be opened in vain.
    tried: Option<Instant>,
    /// Entries that are not in the trail and are not told there yet.
    missing: u64,
    failing: bool,
    shared: Arc<Shared>,
    events: Arc<Bus>,
}

impl Writer {
    fn run(&mut self, jobs: &Receiver<Job>) {
        self.open();
        let mut group = Vec::new();
        while let Ok(first) = jobs.recv() {
            let mut next = Some(first);
            while let Some(job) = next.take() {
                match job {
                    Job::Write(record, done) => group.push((*record, done)),
                    Job::Release(done) => {
                        self.flush(&mut group);
                        (self.held, self.trail) = (true, None);
                        let _ = done.send(());
                    }
                    Job::Resume => {
                        self.held = false;
                        self.open();
                    }
                }
                if group.len() < GROUP {
                    next = jobs.try_recv().ok();
                }
            }
            self.flush(&mut group);
        }
    }

    /// Opens the trail unless it is open, held, or was tried just now.
    fn open(&mut self) {
        let tried = self.tried.is_some_and(|tried| tried.elapsed() < PAUSE);
        if self.trail.is_some() || self.held || tried {
            return;
        }
        match Trail::open(&self.state) {
            Ok((trail, survey)) => {
                self.tried = None;
                self.opened(trail, &survey);
            }
            Err(error) => {
                self.tried = Some(Instant::now());
                self.fail(&error);
            }
        }
    }

    /// Begins with what there is to say about the trail itself.
    fn opened(&mut self, trail: Trail, survey: &Survey) {
        self.trail = Some(trail);
        let mut news = Vec::new();
        if survey.torn > 0 {
            let why = format!("{} bytes of a record that a crash left unfinished were cut off", survey.torn);
            news.push(own("audit.recovered", json!({ "bytes": survey.torn }), &Outcome::Done, &why));
        }
        let damage = survey.findings.first().map(|finding| {
            let more = survey.findings.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            format!("{} line {}: {}{more}", finding.file, finding.line, finding.fault)
        });
        if let Some(damage) = &damage {
            tracing::error!("the audit trail is not what was written: {damage}");
            let message = format!("the audit trail is not what was written: {damage}");
            self.events.publish(Event::new(Kind::AuditDamaged, Severity::Critical, message));
            let found = json!({ "findings": survey.findings.len() });
            news.push(own("audit.damaged", found, &Outcome::Failed(damage.clone()), ""));
        }
        self.shared.standing.lock().unwrap_or_else(PoisonError::into_inner).damage = damage;
        if self.missing > 0 {
            let why = "these entries could not be written; the log has them";
            news.push(own("audit.lost", json!({ "entries": self.missing }), &Outcome::Failed(why.to_owned()), ""));
        }
        if self.append(&mut news).is_ok() {
            self.missing = 0;
        }
    }

    fn flush(&mut self, group: &mut Vec<(Record, oneshot::Sender<()>)>) {
        if group.is_empty() {
            return;
        }
        self.open();
        let (mut records, answers): (Vec<Record>, Vec<_>) = group.drain(..).unzip();
        let count = records.len() as u64;
        if self.trail.is_none() || self.append(&mut records).is_err() {
            self.missing += count;
            self.shared.lose(count);
        }
        for answer in answers {
            let _ = answer.send(());
        }
    }

    fn append(&mut self, records: &mut [Record]) -> io::Result<()> {
        let Some(trail) = &mut self.trail else { return Ok(()) };
        if let Err(error) = trail.append(records) {
            // What is on disk now only reading can tell.
            self.trail = None;
            self.fail(&error);
            return Err(error);
        }
        let (seq, hash) = trail.newest();
        let mut standing = self.shared.standing.lock().unwrap_or_else(PoisonError::into_inner);
        *standing =
            Standing { newest: Some((seq, hash.to_owned())), error: None, damage: standing.damage.take(), lost: 0 };
        if std::mem::take(&mut self.failing) {
            tracing::info!("the audit trail is written again");
        }
        Ok(())
    }

    fn fail(&mut self, error: &io::Error) {
        self.shared.standing.lock().unwrap_or_else(PoisonError::into_inner).error = Some(error.to_string());
        if !std::mem::replace(&mut self.failing, true) {
            let message = format!("the audit trail (state.path) is not written, changes are in the log alone: {error}");
            tracing::error!("{message}");
            self.events.publish(Event::new(Kind::AuditFailed, Severity::Critical, message));
        }
    }
}

/// A record by the trail about itself.
fn own(action: &str, after: Value, outcome: &Outcome, note: &str) -> Record {
    let (word, why) = outcome.words();
    Record {
        seq: 0,
        at: clock::unix_millis(),
        prev: String::new(),
        who: "baton".to_owned(),
        role: None,
        from: "audit".to_owned(),
        action: action.to_owned(),
        target: "audit".to_owned(),
        reason: note.to_owned(),
        before: Value::Null,
        after,
        outcome: word.to_owned(),
        why: why.to_owned(),
        hash: String::new(),
    }
}
