//! Which group's masters are asked what, and when: one thing at a time for each group, on a thread of their own, so that neither a
//! slow hook nor a large state holds up a failover that has nothing to do with it.
//!
//! A failover comes first: it ends what is under way for its group. What comes of it is reported, and a report that nobody waits
//! for any more is recognised by its ticket.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::call::Target;
use super::kept::Known;
use super::work::{Group, Order, Tended};
use crate::clock::{self, Micros};
use crate::config::model::Hooks;
use crate::failover::record::Given;
use crate::failover::view::KeptState;
use crate::telemetry::Telemetry;

/// Between two looks at the same group, however much changes.
const PAUSE: Micros = 1_000_000;

/// What has come of something that was asked.
#[derive(Debug)]
pub struct Report {
    pub upstream: String,
    pub account: String,
    pub ticket: u64,
    pub done: Done,
    /// The newest state that is kept now.
    pub known: Option<Known>,
}

#[derive(Debug)]
pub enum Done {
    Gave(Result<Option<Given>, String>),
    TookBack,
    Tended(Tended),
}

/// Where reports go.
pub type Reports = Arc<dyn Fn(Report) + Send + Sync>;

/// Every group with hooks, and the thread that calls them.
pub struct Lanes {
    runtime: Handle,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    state: PathBuf,
    telemetry: Arc<Telemetry>,
    reports: Reports,
    lanes: HashMap<(String, String), Lane>,
    tickets: u64,
}

struct Lane {
    group: Arc<Group>,
    task: Option<Task>,
    began: Option<Micros>,
    next: Micros,
    /// Who owned it when it was looked at last, and whether that was well.
    owner: Option<(u32, bool)>,
    /// It has come back, and was not looked after since.
    is_back: bool,
    /// Those that were told that they do not serve, and did not answer well.
    tried: HashSet<u32>,
    known: Option<Known>,
    problem: Option<String>,
}

struct Task {
    ticket: u64,
    abort: AbortHandle,
}

/// A member of a group, and whether it can be asked anything.
pub struct Member {
    pub target: Target,
    pub is_well: bool,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Lanes {
    /// Starts the thread, which has nothing to do yet. States are kept in this state directory.
    ///
    /// # Errors
    /// When its thread or event loop cannot be made.
    pub fn start(telemetry: Arc<Telemetry>, reports: Reports) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("hooks".to_owned()).spawn(move || {
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self {
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
            state: PathBuf::new(),
            telemetry,
            reports,
            lanes: HashMap::new(),
            tickets: 0,
        })
    }

    /// Where states are kept.
    pub fn keep_in(&mut self, state: &Path) {
        self.state = state.to_owned();
    }

    /// Forgets everything, and ends what is under way: another process calls hooks from now on.
    pub fn clear(&mut self) {
        self.lanes.clear();
    }

    /// Looks after exactly these groups, each by upstream and account. What was under way is ended.
    pub fn adopt(&mut self, groups: Vec<((String, String), Hooks)>) {
        let mut before = std::mem::take(&mut self.lanes);
        for (name, hooks) in groups {
            let known = before.remove(&name).filter(|lane| *lane.group.hooks() == hooks);
            let group = match known {
                Some(lane) => Ok(lane.group.clone()),
                None => Group::new(&self.state, (&name.0, &name.1), &hooks, self.telemetry.clone()).map(Arc::new),
            };
            match group {
                Ok(group) => drop(self.lanes.insert(name, Lane::new(group))),
                Err(error) => tracing::error!("upstream {}: hooks are not called: {error}", name.0),
            }
        }
    }

    /// Hands a state over; the answer is reported under this ticket. What was under way for the group is ended.
    ///
    /// # Errors
    /// The group has no hooks that could be called.
    pub fn give(&mut self, name: &(String, String), order: Order) -> Result<u64, String> {
        self.begin(name, |group| async move { Done::Gave(group.give(&order).await) })
    }

    /// Takes that back.
    ///
    /// # Errors
    /// The group has no hooks that could be called.
    pub fn take_back(&mut self, name: &(String, String), order: Order) -> Result<u64, String> {
        self.begin(name, |group| async move {
            group.take_back(&order).await;
            Done::TookBack
        })
    }

    fn begin<F>(&mut self, name: &(String, String), work: impl FnOnce(Arc<Group>) -> F) -> Result<u64, String>
    where
        F: Future<Output = Done> + Send + 'static,
    {
        let lane = self.lanes.get(name).ok_or("there are no hooks to call")?;
        let work = work(lane.group.clone());
        Ok(self.spawn(name, work))
    }

    fn spawn(&mut self, name: &(String, String), work: impl Future<Output = Done> + Send + 'static) -> u64 {
        self.tickets += 1;
        let ticket = self.tickets;
        let Some(lane) = self.lanes.get_mut(name) else { return ticket };
        // Who is asked next must not wait for the one before.
        lane.task = None;
        let (group, reports, name) = (lane.group.clone(), self.reports.clone(), name.clone());
        let task = self.runtime.spawn(async move {
            let done = work.await;
            let (upstream, account) = name;
            let known = group.known().await;
            reports(Report { upstream, account, ticket, done, known });
        });
        lane.task = Some(Task { ticket, abort: task.abort_handle() });
        ticket
    }

    /// Takes a report in; whether somebody waits for it.
    pub fn take(&mut self, report: &Report) -> bool {
        let Some(lane) = self.lanes.get_mut(&(report.upstream.clone(), report.account.clone())) else { return false };
        if lane.task.as_ref().is_none_or(|task| task.ticket != report.ticket) {
            return false;
        }
        lane.task = None;
        lane.known.clone_from(&report.known);
        true
    }

    /// Looks after a group that does not change hands, if something is to be done.
    pub fn tend(&mut self, name: &(String, String), owner: Member, others: Vec<Member>, epoch: u32) {
        let now = clock::now();
        let Some(lane) = self.lanes.get_mut(name) else { return };
        let (id, is_well) = (owner.target.master.id(), owner.is_well);
        let is_back = lane.owner != Some((id, is_well)) && is_well;
        lane.owner = Some((id, is_well));
        if is_back {
            (lane.next, lane.is_back) = (now, true);
        }
        let is_due = lane.next <= now;
        for other in others.iter().filter(|other| !other.is_well) {
            lane.tried.remove(&other.target.master.id());
        }
        let is_owed = |member: &Member| {
            let id = member.target.master.id();
            member.is_well && lane.group.is_owed(id) && (is_due || !lane.tried.contains(&id))
        };
        let owed: Vec<Target> = others.into_iter().filter(is_owed).map(|member| member.target).collect();
        let is_paused = lane.began.is_some_and(|began| now < began.saturating_add(PAUSE));
        if lane.task.is_some() || is_paused || (!is_due && owed.is_empty()) {
            return;
        }
        if !is_well && owed.is_empty() {
            // Its coming back is seen.
            lane.next = now.saturating_add(clock::micros(lane.group.hooks().interval));
            return;
        }
        lane.began = Some(now);
        lane.next = now.saturating_add(clock::micros(lane.group.hooks().interval));
        lane.tried.extend(owed.iter().map(|master| master.master.id()));
        let (group, owner) = (lane.group.clone(), owner.is_well.then_some(owner.target));
        let is_back = owner.is_some() && std::mem::take(&mut lane.is_back);
        self.spawn(name, async move { Done::Tended(group.tend(owner.as_ref(), is_back, &owed, epoch).await) });
    }

    /// A group changes hands, or has no owner: nothing of it is due.
    pub fn pause(&mut self, name: &(String, String)) {
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.owner = None;
        }
    }

    /// When something is due by time alone.
    #[must_use]
    pub fn wake_at(&self) -> Option<Micros> {
        let idle = self.lanes.values().filter(|lane| lane.task.is_none() && lane.owner.is_some());
        idle.map(|lane| lane.next.max(lane.began.map_or(0, |began| began.saturating_add(PAUSE)))).min()
    }

    /// Takes in whether a group's owner could be looked after; whether that has changed.
    pub fn note(&mut self, name: &(String, String), problem: Option<&String>) -> bool {
        let Some(lane) = self.lanes.get_mut(name) else { return false };
        let has_changed = lane.problem.is_some() != problem.is_some();
        lane.problem = problem.cloned();
        has_changed
    }

    /// What is kept of a group; `None` where it has no hooks.
    #[must_use]
    pub fn kept(&self, name: &(String, String)) -> Option<KeptState> {
        let lane = self.lanes.get(name)?;
        let given = lane.known.clone().map(|Known { label, bytes, sha256 }| Given {
            bytes,
            sha256,
            from: label.master,
            taken: label.taken,
        });
        Some(KeptState { given, problem: lane.problem.clone().unwrap_or_default() })
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.lanes.clear();
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that calls hooks had panicked");
        }
    }
}

impl Lane {
    fn new(group: Arc<Group>) -> Self {
        Self {
            group,
            task: None,
            began: None,
            next: 0,
            owner: None,
            is_back: false,
            tried: HashSet::new(),
            known: None,
            problem: None,
        }
    }
}
