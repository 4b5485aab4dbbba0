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

use tokio::sync::{mpsc, oneshot};

use super::ask::{Ask, Refusal};
use super::fleet::{Act, Brought, Step};
use super::hooks::lanes::{Done as HookDone, Lanes, Report};
use super::journal::{self, Journal, Opened};
use super::operators::Waiting;
use super::record::{Failover, Past, Record};
use super::runner::{Runner, release};
use super::view::FleetView;
use crate::clock::{self, Micros};
use crate::config::model::Config;
use crate::events::Bus;
use crate::snapshot::Snapshot;
use crate::telemetry::Telemetry;

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
    /// Something has come of masters' hooks.
    Hooks(Box<Report>),
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
pub(super) struct Shared {
    fleets: Vec<FleetView>,
    pub(super) past: Past,
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
        // Whoever sends keeps the thread alive; hooks must not.
        let weak = sender.downgrade();
        let report = move |report: Report| {
            if let Some(sender) = weak.upgrade() {
                let _ = sender.send(Message::Hooks(Box::new(report)));
            }
        };
        let keeper = Keeper {
            runners: Vec::new(),
            lanes: Lanes::start(telemetry.clone(), Arc::new(report))?,
            waiting: Vec::new(),
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

pub(super) fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's own.
pub(super) struct Keeper {
    pub(super) runners: Vec<Runner>,
    pub(super) lanes: Lanes,
    pub(super) waiting: Vec<Waiting>,
    journal: Option<Journal>,
    journal_failed: bool,
    pub(super) released: bool,
    pub(super) shared: Arc<Mutex<Shared>>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) events: Arc<Bus>,
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
        let fleets = self.runners.iter().filter_map(|runner| runner.fleet.wake_at(now));
        let at: Micros = fleets.chain(self.lanes.wake_at()).min()?;
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
                self.lanes.clear();
                self.waiting.clear();
                let _ = reply.send(());
            }
            Message::Ask { request, reply } => self.answer(&request, reply),
            Message::Hooks(report) => self.hooks_answered(*report),
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
        self.lanes.keep_in(&snapshot.config.state_path);
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
        let mut groups = Vec::new();
        for runner in &self.runners {
            let Some(hooks) = runner.hooks() else { continue };
            let names = (0..runner.fleet.plan().groups.len()).map(|group| runner.group_name(group));
            groups.extend(names.map(|name| (name, hooks.clone())));
        }
        self.lanes.adopt(groups);
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
        self.tend();
        self.condense();
        self.show();
        self.answer_waiting();
    }

    /// Has the states of owners kept that do not change hands.
    fn tend(&mut self) {
        for runner in self.runners.iter().filter(|runner| runner.hooks().is_some()) {
            let view = runner.view();
            for group in 0..runner.fleet.plan().groups.len() {
                let name = runner.group_name(group);
                match runner.settled(group, &view) {
                    Some((owner, others)) => self.lanes.tend(&name, owner, others, runner.fleet.epoch()),
                    None => self.lanes.pause(&name),
                }
            }
        }
    }

    pub(super) fn carry_out(&mut self, number: usize, acts: Vec<Act>) {
        let mut queue: std::collections::VecDeque<Act> = acts.into();
        for _ in 0..ACTS_MAX {
            let Some(act) = queue.pop_front() else { return };
            match act {
                Act::Record(record) => self.write(&record),
                Act::Do { group, step } => {
                    // What hooks answer comes as a message.
                    let Some(outcome) = self.step(number, group, &step) else { continue };
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

    /// What a step has come to; `None` where that is not known yet.
    fn step(&mut self, number: usize, group: usize, step: &Step) -> Option<Result<Brought, String>> {
        let runner = &mut self.runners[number];
        let name = runner.group_name(group);
        let begun = match step {
            Step::Sync => {
                let unwritten = || Err("the journal cannot be written".to_owned());
                return Some(if self.sync("a failover") { Ok(Brought::default()) } else { unwritten() });
            }
            Step::Pins { .. } | Step::Unpin => return Some(runner.step(group, step)),
            Step::Give(handing) => runner.order(handing).map(|order| self.lanes.give(&name, order)),
            Step::TakeBack(handing) => runner.order(handing).map(|order| self.lanes.take_back(&name, order)),
        };
        match begun {
            Some(Ok(_ticket)) => None,
            Some(Err(why)) => Some(Err(why)),
            None => Some(Err("there is no such master".to_owned())),
        }
    }

    fn hooks_answered(&mut self, report: Report) {
        if self.released || !self.lanes.take(&report) {
            return;
        }
        let name = (report.upstream, report.account);
        let Some(number) = self.runners.iter().position(|runner| runner.name() == name.0) else { return };
        let groups = &self.runners[number].fleet.plan().groups;
        let Some(group) = groups.iter().position(|group| group.name == name.1) else { return };
        let outcome = match report.done {
            HookDone::Gave(result) => result.map(|given| Brought { pins: None, given }),
            HookDone::TookBack => Ok(Brought::default()),
            HookDone::Tended(tended) => return self.tended(&name, &tended),
        };
        let view = self.runners[number].view();
        let acts = self.runners[number].fleet.done(group, outcome, &view);
        self.carry_out(number, acts);
    }

    fn write(&mut self, record: &Record) {
        lock(&self.shared).past.apply(record);
        if let Some(Err(error)) = self.journal.as_mut().map(|journal| journal.append(record)) {
            self.failed("a record", &error);
        }
    }

    /// Whether everything is on disk.
    pub(super) fn sync(&mut self, what: &str) -> bool {
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

    fn view(&self, runner: &Runner) -> FleetView {
        let mut fleet = runner.fleet.show(&runner.view());
        for (number, group) in fleet.groups.iter_mut().enumerate() {
            group.kept = self.lanes.kept(&runner.group_name(number));
        }
        fleet
    }

    pub(super) fn show(&self) {
        let fleets = self.runners.iter().map(|runner| self.view(runner)).collect();
        let mut shared = lock(&self.shared);
        shared.fleets = fleets;
        shared.journal_failed = self.journal_failed;
    }
}
