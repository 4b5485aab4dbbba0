//! The thread that carries failovers out.
//!
//! It is woken by every change of a master's health, by operators, and by time; looks at each upstream with `failover` as it is at that
//! moment ([`super::fleet`]); and does what follows, one thing after the other. Nothing else writes roles, cells or the journal, so
//! there is nothing to lock. What it decides takes effect with the stores it makes: requests wait for nothing but those.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::ask::{Answer, Ask, Move, Refusal};
use super::fleet::{Act, Step, Told};
use super::journal::{self, Journal, Opened};
use super::record::{Failover, Moved, Past, Record};
use super::recovery::Ended;
use super::runner::{Runner, release};
use super::view::FleetView;
use crate::clock::{self, Micros};
use crate::config::model::Config;
use crate::events::{Bus, Event, Kind, Severity};
use crate::snapshot::Snapshot;
use crate::telemetry::{Telemetry, names};

/// Failovers that a condensed journal tells in full.
const KEPT: usize = 200;

/// Acts that one look may lead to, steps and what follows them included: far beyond what any state leads to.
const ACTS_MAX: usize = 100_000;

/// What is asked of the thread.
enum Message {
    /// Something has changed.
    Nudge,
    Prepare {
        state: PathBuf,
        reply: oneshot::Sender<Result<(), String>>,
    },
    Adopt {
        snapshot: Arc<Snapshot>,
        reply: oneshot::Sender<()>,
    },
    Release {
        reply: oneshot::Sender<()>,
    },
    Ask {
        request: Box<Request>,
        reply: oneshot::Sender<Result<Done, Refused>>,
    },
}

/// What an operator asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub upstream: String,
    pub ask: Ask,
    /// Only says what would be done.
    pub dry_run: bool,
    /// Who asks.
    pub by: String,
    /// Why; may be empty.
    pub why: String,
}

/// What was done, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    pub moves: Vec<Moving>,
    /// Masters whose failures are forgotten.
    pub resets: Vec<String>,
}

/// A group that changes hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving {
    /// Empty where accounts are not told apart.
    pub accounts: Vec<String>,
    pub from: Option<String>,
    pub to: String,
    /// Conversations that are pinned to the master that loses the group.
    pub pins: u64,
    /// The failover's number; none in a dry run.
    pub epoch: Option<u32>,
    /// The new master has it. Otherwise the history says why not.
    pub done: bool,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    NoUpstream,
    /// The upstream has no `failover`.
    NoFailover,
    Refusal(Refusal),
    /// This process is handing over to another one, or stopping.
    Released,
}

/// What the thread shows.
#[derive(Debug, Default)]
struct Shared {
    fleets: Vec<FleetView>,
    past: Past,
    journal_failed: bool,
}

/// The thread, from outside.
#[derive(Debug)]
pub struct Orchestrator {
    sender: mpsc::UnboundedSender<Message>,
    shared: Arc<Mutex<Shared>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Orchestrator {
    /// Starts the thread, which looks after nothing until it is told what there is.
    ///
    /// # Errors
    /// When its thread or event loop cannot be made.
    pub fn start(telemetry: Arc<Telemetry>, events: Arc<Bus>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let keeper = Keeper {
            runners: Vec::new(),
            journal: None,
            journal_failed: false,
            released: false,
            shared: shared.clone(),
            telemetry,
            events,
        };
        let thread = std::thread::Builder::new().name("failover".to_owned());
        let thread = thread.spawn(move || runtime.block_on(keeper.run(receiver)))?;
        Ok(Self { sender, shared, thread: Mutex::new(Some(thread)) })
    }

    /// A master has changed: look at once. Waits for nothing.
    pub fn nudge(&self) {
        let _ = self.sender.send(Message::Nudge);
    }

    /// Opens the journal if the configuration needs it and it is not open.
    ///
    /// # Errors
    /// One line; nothing is open then.
    pub async fn prepare(&self, config: &Config) -> Result<(), String> {
        if !config.upstreams.iter().any(|upstream| upstream.failover.is_some()) {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        let _ = self.sender.send(Message::Prepare { state: config.state_path.clone(), reply });
        answer.await.unwrap_or_else(|_| Err("the failover thread has ended".to_owned()))
    }

    /// Looks after the upstreams of this snapshot from now on. When this returns, each has its owners and every master its role.
    pub async fn adopt(&self, snapshot: &Arc<Snapshot>) {
        let (reply, answer) = oneshot::channel();
        let _ = self.sender.send(Message::Adopt { snapshot: snapshot.clone(), reply });
        let _ = answer.await;
    }

    /// Lets go of the journal, and decides nothing any more until the next [`Orchestrator::adopt`]: another process will.
    pub async fn release(&self) {
        let (reply, answer) = oneshot::channel();
        let _ = self.sender.send(Message::Release { reply });
        let _ = answer.await;
    }

    /// Asks for something as an operator does. The receiver gets the answer, or ends when this process does.
    pub fn ask(&self, request: Request) -> oneshot::Receiver<Result<Done, Refused>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.sender.send(Message::Ask { request: Box::new(request), reply });
        answer
    }

    /// How an upstream stands; `None` where it has no failover.
    #[must_use]
    pub fn fleet(&self, upstream: &str) -> Option<FleetView> {
        lock(&self.shared).fleets.iter().find(|fleet| fleet.upstream == upstream).cloned()
    }

    /// The failovers that are remembered, the newest first.
    #[must_use]
    pub fn history(&self) -> Vec<Failover> {
        lock(&self.shared).past.failovers().rev().cloned().collect()
    }

    /// Whether failovers cannot be written down.
    #[must_use]
    pub fn journal_failed(&self) -> bool {
        lock(&self.shared).journal_failed
    }
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        // Without a sender the thread ends.
        self.sender = mpsc::unbounded_channel().0;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the failover thread had panicked");
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's own.
struct Keeper {
    runners: Vec<Runner>,
    journal: Option<Journal>,
    journal_failed: bool,
    released: bool,
    shared: Arc<Mutex<Shared>>,
    telemetry: Arc<Telemetry>,
    events: Arc<Bus>,
}

impl Keeper {
    async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        loop {
            let message = match self.wake_in() {
                Some(pause) => tokio::time::timeout(pause, messages.recv()).await.unwrap_or(Some(Message::Nudge)),
                None => messages.recv().await,
            };
            let Some(message) = message else { return };
            self.take(message);
            // Of many changes at once the state in the end is what counts.
            while let Ok(message) = messages.try_recv() {
                self.take(message);
            }
            self.look();
        }
    }

    /// How long until something is due.
    fn wake_in(&self) -> Option<Duration> {
        if self.released {
            return None;
        }
        let now = clock::now();
        let at: Micros = self.runners.iter().filter_map(|runner| runner.fleet.wake_at(now)).min()?;
        Some(Duration::from_micros(at.saturating_sub(now)))
    }

    fn take(&mut self, message: Message) {
        // Whoever does not wait for an answer any more does not get one.
        match message {
            Message::Nudge => {}
            Message::Prepare { state, reply } => {
                let _ = reply.send(self.prepare(&state));
            }
            Message::Adopt { snapshot, reply } => {
                self.adopt(&snapshot);
                let _ = reply.send(());
            }
            Message::Release { reply } => {
                self.released = true;
                self.sync("the end");
                self.journal = None;
                let _ = reply.send(());
            }
            Message::Ask { request, reply } => {
                let _ = reply.send(self.answer(&request));
            }
        }
    }

    fn prepare(&mut self, state: &Path) -> Result<(), String> {
        if self.journal.is_some() {
            return Ok(());
        }
        let problem = |error| format!("cannot open the journal of failovers (state.path): {error}");
        let Opened { journal, records, damaged } = Journal::open(state).map_err(problem)?;
        if damaged > 0 {
            tracing::error!(damaged, "lines of {} cannot be read, and are passed over", journal::NAME);
        }
        self.journal = Some(journal);
        let past = Past::of(&records);
        let unfinished = past.close(clock::unix_millis());
        lock(&self.shared).past = past;
        for record in &unfinished {
            tracing::warn!("upstream {}: a failover was under way when Baton ended, and is undone", record.upstream);
            self.write(record);
        }
        self.sync("what was under way");
        Ok(())
    }

    fn adopt(&mut self, snapshot: &Snapshot) {
        self.released = false;
        let mut before = std::mem::take(&mut self.runners);
        for upstream in &snapshot.upstreams {
            let known = before.iter().position(|runner| runner.name() == upstream.settings.name);
            let known = known.map(|position| before.swap_remove(position));
            let runner = Runner::new(upstream, known, &lock(&self.shared).past);
            match runner {
                Some(runner) => self.runners.push(runner),
                None => release(upstream),
            }
        }
        for number in 0..self.runners.len() {
            self.count_from_nothing(number);
            let view = self.runners[number].view();
            let acts = self.runners[number].fleet.adopt(&view);
            self.carry_out(number, acts);
        }
        self.sync("who owns what");
        self.show();
    }

    /// Does what follows from the present state of every upstream.
    fn look(&mut self) {
        if self.released {
            return;
        }
        for number in 0..self.runners.len() {
            let view = self.runners[number].view();
            let acts = self.runners[number].fleet.look(&view);
            self.carry_out(number, acts);
        }
        self.condense();
        self.show();
    }

    fn carry_out(&mut self, number: usize, acts: Vec<Act>) {
        let mut queue: std::collections::VecDeque<Act> = acts.into();
        for _ in 0..ACTS_MAX {
            let Some(act) = queue.pop_front() else { return };
            match act {
                Act::Record(record) => self.write(&record),
                Act::Do { group, step } => {
                    let outcome = self.step(number, group, &step);
                    let runner = &mut self.runners[number];
                    let view = runner.view();
                    queue.extend(runner.fleet.done(group, outcome, &view));
                }
                Act::Tell(told) => self.tell(number, &told),
                act => self.runners[number].carry_out(&act),
            }
        }
        tracing::error!("upstream {}: a failover does not come to an end", self.runners[number].name());
    }

    fn step(&mut self, number: usize, group: usize, step: &Step) -> Result<Option<Moved>, String> {
        if *step == Step::Sync {
            return if self.sync("a failover") { Ok(None) } else { Err("the journal cannot be written".to_owned()) };
        }
        self.runners[number].step(group, step)
    }

    fn write(&mut self, record: &Record) {
        lock(&self.shared).past.apply(record);
        if let Some(Err(error)) = self.journal.as_mut().map(|journal| journal.append(record)) {
            self.failed("a record", &error);
        }
    }

    /// Whether everything is on disk.
    fn sync(&mut self, what: &str) -> bool {
        match self.journal.as_mut().map(Journal::sync) {
            Some(Err(error)) => {
                self.failed(what, &error);
                false
            }
            Some(Ok(())) | None => {
                self.journal_failed = false;
                true
            }
        }
    }

    fn failed(&mut self, what: &str, error: &io::Error) {
        if !std::mem::replace(&mut self.journal_failed, true) {
            tracing::error!(
                "{} cannot be written ({what}): {error}; failovers go on, and a restart may not know of them",
                journal::NAME
            );
        }
    }

    fn condense(&mut self) {
        let Some(journal) = self.journal.as_mut().filter(|journal| journal.is_large()) else { return };
        let all = journal.records();
        let done = all.and_then(|all| journal.begin_anew(&Past::of(&all).condense(&all, KEPT, clock::unix_millis())));
        match done {
            Ok(()) => tracing::info!("{} has become large, and begins anew", journal::NAME),
            Err(error) => self.failed("a shorter one", &error),
        }
    }

    fn answer(&mut self, request: &Request) -> Result<Done, Refused> {
        if self.released {
            return Err(Refused::Released);
        }
        let number = self.runners.iter().position(|runner| runner.name() == request.upstream);
        let number = number.ok_or(Refused::NoFailover)?;
        let runner = &self.runners[number];
        let view = runner.view();
        let answer = runner.fleet.weigh(&request.ask, &view).map_err(Refused::Refusal)?;
        let mut done = self.describe(number, &answer);
        if request.dry_run {
            return Ok(done);
        }
        let first = self.runners[number].fleet.epoch() + 1;
        let acts = self.runners[number].fleet.carry_out(&answer, &request.by, &request.why, &view);
        self.carry_out(number, acts);
        self.sync("what an operator asked for");
        // Whoever is told that it is done sees it done.
        self.show();
        if let Answer::Moves(moves) = &answer {
            let fleet = self.runners[number].fleet.show(&self.runners[number].view());
            for ((moving, Move { group, .. }), epoch) in done.moves.iter_mut().zip(moves).zip(first..) {
                moving.epoch = Some(epoch);
                moving.done = fleet.groups[*group].active.as_ref() == Some(&moving.to);
            }
        }
        Ok(done)
    }

    fn describe(&self, number: usize, answer: &Answer) -> Done {
        let runner = &self.runners[number];
        let plan = runner.fleet.plan();
        let name = |master: usize| plan.masters[master].name.clone();
        match answer {
            Answer::Moves(moves) => {
                let moving = |it: &Move| Moving {
                    accounts: plan.groups[it.group].accounts.clone(),
                    from: it.from.map(name),
                    to: name(it.to),
                    pins: it.from.map_or(0, |from| runner.pinned_at(from)) as u64,
                    epoch: None,
                    done: false,
                };
                Done { moves: moves.iter().map(moving).collect(), resets: Vec::new() }
            }
            Answer::Resets(masters) => {
                Done { moves: Vec::new(), resets: masters.iter().map(|master| name(*master)).collect() }
            }
        }
    }

    fn show(&self) {
        let fleets = self.runners.iter().map(|runner| runner.fleet.show(&runner.view())).collect();
        let mut shared = lock(&self.shared);
        shared.fleets = fleets;
        shared.journal_failed = self.journal_failed;
    }

    /// Has every counter there from the beginning: an increase from nothing at all is seen by nobody.
    fn count_from_nothing(&self, number: usize) {
        let (plan, cold) = (self.runners[number].fleet.plan(), &self.telemetry.cold);
        for outcome in ["completed", "undone", "stuck"] {
            cold.counter(&names::FAILOVERS, &[&plan.upstream, outcome]).increment(0);
        }
        for master in &plan.masters {
            for outcome in ["recovered", "failed", "given-up"] {
                cold.counter(&names::RECOVERY_ATTEMPTS, &[&plan.upstream, &master.name, outcome]).increment(0);
            }
        }
    }

    /// Counts it, and tells it to the log and to whoever listens.
    fn tell(&self, number: usize, told: &Told) {
        let runner = &self.runners[number];
        let (plan, cold) = (runner.fleet.plan(), &self.telemetry.cold);
        let upstream = &*plan.upstream;
        let counted = |outcome| cold.counter(&names::FAILOVERS, &[upstream, outcome]).increment(1);
        let event = match told {
            Told::Begun { epoch } => self.about(Kind::FailoverBegun, Severity::Warning, upstream, *epoch, "begins"),
            Told::Completed { epoch, micros } => {
                counted("completed");
                cold.histogram(&names::FAILOVER_DURATION, &[upstream]).record(*micros as f64 / 1e6);
                self.about(Kind::FailoverCompleted, Severity::Warning, upstream, *epoch, "has completed")
            }
            Told::Undone { epoch, .. } => {
                counted("undone");
                self.about(Kind::FailoverUndone, Severity::Warning, upstream, *epoch, "is undone")
            }
            Told::Stuck { group, why } => {
                counted("stuck");
                let group = plan.groups.get(*group).map_or("", |group| &group.name);
                let account = if group.is_empty() { String::new() } else { format!(" account {group} of") };
                let message = format!("nobody serves{account} upstream {upstream}: {why}");
                let detail = json!({ "account": group, "why": why });
                Event::new(Kind::FailoverStuck, Severity::Critical, message).detail(detail)
            }
            Told::Unstuck { .. } => return,
            Told::Recovery { master, ended } => {
                let master = &*plan.masters[*master].name;
                let (word, severity, what) = match ended {
                    Ended::Recovered => ("recovered", Severity::Info, "is back, and on trial"),
                    Ended::Failed => ("failed", Severity::Warning, "did not come back in time, or not for long"),
                    Ended::GivenUp => {
                        ("given-up", Severity::Critical, "failed too often, and stays out until `baton ctl reset`")
                    }
                };
                cold.counter(&names::RECOVERY_ATTEMPTS, &[upstream, master, word]).increment(1);
                let event = Event::new(Kind::MasterRecovery, severity, format!("master {master} of {upstream} {what}"));
                event.master(master).detail(json!({ "outcome": word }))
            }
        };
        match event.severity {
            Severity::Critical => tracing::error!("{}", event.message),
            Severity::Warning => tracing::warn!("{}", event.message),
            Severity::Info => tracing::info!("{}", event.message),
        }
        self.events.publish(event.upstream(upstream));
    }

    /// What a failover is about, as far as it has come.
    fn about(&self, kind: Kind, severity: Severity, upstream: &str, epoch: u32, what: &str) -> Event {
        let shared = lock(&self.shared);
        let found = shared.past.failovers().rev().find(|it| it.upstream == upstream && it.epoch == epoch);
        let title = format!("upstream {upstream}: failover {epoch} {what}");
        let Some(it) = found else { return Event::new(kind, severity, title) };
        let part = |before: &str, name: Option<&String>| name.map_or_else(String::new, |it| format!(" {before} {it}"));
        let account = Some(&it.group).filter(|group| !group.is_empty());
        let (from, to) = (part("from", it.from.as_ref()), part("to", it.to.as_ref()));
        let why = if it.why.is_empty() { String::new() } else { format!("; {}", it.why) };
        let message = format!("{title}{from}{to}{}: {}{why}", part("for account", account), it.cause);
        let detail = json!({
            "epoch": epoch,
            "account": it.group,
            "manner": it.manner.word(),
            "from": it.from,
            "to": it.to,
            "cause": it.cause,
            "by": it.by,
            "why": it.why,
            "duration_ms": it.micros.map(|micros| micros as f64 / 1e3),
        });
        Event::new(kind, severity, message).detail(detail)
    }
}
