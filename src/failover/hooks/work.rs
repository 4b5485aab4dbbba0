//! What is done with hooks for one group: its state fetched from the owner, given to the next one, and taken back where that fails.
//!
//! One of these goes on at a time for each group ([`Group::give`], [`Group::take_back`], [`Group::tend`]). Dropped in the middle
//! of a call it leaves masters that were told something nobody knows of: they are told again who serves by the next [`Group::tend`].

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::call::{Caller, Hook, Target};
use super::kept::{Kept, Known, State};
use super::sealed::Label;
use crate::clock::{self, Micros};
use crate::config::model::Hooks;
use crate::config::show_time;
use crate::failover::record::Given;
use crate::telemetry::{Telemetry, names};

/// For a master that has just failed to take over to hear that it does not: the next one waits for that.
const UNDO: Duration = Duration::from_millis(250);

/// What belongs together, as far as hooks are concerned.
#[derive(Debug)]
pub struct Group {
    caller: Caller,
    kept: tokio::sync::Mutex<Kept>,
    told: Mutex<Told>,
    telemetry: Arc<Telemetry>,
}

/// What masters were told and have answered, by their ids.
#[derive(Debug, Default)]
struct Told {
    active: Option<u32>,
    /// That they do not serve.
    passive: HashSet<u32>,
}

/// Masters between which a state goes.
#[derive(Debug, Clone)]
pub struct Order {
    /// The owner so far, where it is there to be asked.
    pub from: Option<Target>,
    /// It is well, so that nothing of its state may be lost.
    pub whole: bool,
    pub to: Target,
    pub epoch: u32,
    pub until: Micros,
}

/// What came of looking after a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tended {
    /// Why the owner's state could not be kept, or the owner not be told that it serves.
    pub problem: Option<String>,
    /// The owner had lost what it owns, and was given what was kept.
    pub restored: Option<Given>,
}

/// What an owner gives.
enum Exported {
    State(State),
    /// It has none, or is not asked.
    Nothing,
    /// It was not activated since it started.
    NotActive,
}

impl Group {
    /// Nothing is known of any master yet.
    ///
    /// # Errors
    /// The configured key is none.
    pub fn new(
        state: &Path,
        (upstream, account): (&str, &str),
        hooks: &Hooks,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, String> {
        let kept = tokio::sync::Mutex::new(Kept::new(state, upstream, account, hooks)?);
        let caller = Caller { upstream: upstream.to_owned(), account: account.to_owned(), hooks: hooks.clone() };
        Ok(Self { caller, kept, told: Mutex::default(), telemetry })
    }

    #[must_use]
    pub fn hooks(&self) -> &Hooks {
        &self.caller.hooks
    }

    /// Whether this master, by its id, still has to hear that it does not serve.
    #[must_use]
    pub fn is_owed(&self, master: u32) -> bool {
        self.caller.path(Hook::Deactivate).is_some() && !self.told().passive.contains(&master)
    }

    /// What is known of the newest state.
    pub async fn known(&self) -> Option<Known> {
        self.kept.lock().await.known()
    }

    /// Fetches the owner's last state where it can, has it serve no more, gives the state to the next one and has that serve. What
    /// fails has been undone, as far as masters answer.
    ///
    /// # Errors
    /// Why the next one cannot serve.
    pub async fn give(&self, order: &Order) -> Result<Option<Given>, String> {
        let Order { from, whole, to, epoch, until } = order;
        let mut kept = self.kept.lock().await;
        let mut silenced = None;
        if let Some(from) = from {
            let result = self.leave(from, *epoch, *until, &mut kept).await;
            silenced = Some(from);
            match result {
                Ok(()) => {}
                Err(why) if *whole => {
                    self.undo(None, silenced, *epoch).await;
                    return Err(why);
                }
                Err(why) => {
                    tracing::warn!("upstream {}: {why}; what was kept goes over", self.caller.upstream);
                    // It may hear that all the same. If not, it is told when it is well.
                    let _ = self.deactivate(from, *epoch, UNDO.min(self.caller.hooks.timeout)).await;
                }
            }
        }
        let given = self.fill(to, *epoch, *until, &mut kept).await;
        if given.is_err() {
            self.undo(Some(to), silenced, *epoch).await;
        }
        given
    }

    /// Has the next one serve no more, and the owner from before serve again.
    pub async fn take_back(&self, order: &Order) {
        let _kept = self.kept.lock().await;
        self.undo(Some(&order.to), order.from.as_ref(), order.epoch).await;
    }

    /// Keeps the owner's state, gives it what is kept where it has lost its own, and tells those that do not serve. An owner that
    /// has come back may have been started anew.
    pub async fn tend(&self, owner: Option<&Target>, is_back: bool, owed: &[Target], epoch: u32) -> Tended {
        let mut kept = self.kept.lock().await;
        if is_back {
            self.told().active = None;
        }
        let mut tended = Tended::default();
        if let Some(owner) = owner {
            match self.keep(owner, epoch, &mut kept).await {
                Ok(restored) => tended.restored = restored,
                Err(why) => tended.problem = Some(why),
            }
        }
        for master in owed {
            if let Err(why) = self.deactivate(master, epoch, self.caller.hooks.timeout).await {
                tracing::warn!("upstream {}: {why}", self.caller.upstream);
            }
        }
        tended
    }

    async fn keep(&self, owner: &Target, epoch: u32, kept: &mut Kept) -> Result<Option<Given>, String> {
        let far = Micros::MAX;
        match self.export(owner, epoch, far).await? {
            Exported::State(state) => {
                let mut told = self.told();
                told.active = Some(owner.master.id());
                told.passive.remove(&owner.master.id());
                drop(told);
                kept.put(state)?;
                Ok(None)
            }
            Exported::NotActive => self.fill(owner, epoch, far, kept).await,
            Exported::Nothing if self.told().active == Some(owner.master.id()) => Ok(None),
            Exported::Nothing => self.activate(owner, epoch, self.caller.hooks.timeout).await.map(|()| None),
        }
    }

    /// The owner gives its last state, and serves no more.
    async fn leave(&self, from: &Target, epoch: u32, until: Micros, kept: &mut Kept) -> Result<(), String> {
        if let Exported::State(state) = self.export(from, epoch, until).await?
            && let Err(why) = kept.put(state)
        {
            // It is there all the same, in memory.
            tracing::error!("{why}");
        }
        self.deactivate(from, epoch, self.time(until)?).await
    }

    /// Gives a master the newest state, if there is one, and has it serve.
    async fn fill(&self, to: &Target, epoch: u32, until: Micros, kept: &mut Kept) -> Result<Option<Given>, String> {
        self.told().passive.remove(&to.master.id());
        let newest = if self.caller.path(Hook::Import).is_some() { kept.newest() } else { None };
        if let (Some(State { body, sha256, .. }), Some(path)) = (&newest, self.caller.path(Hook::Import)) {
            let within = self.time(until)?;
            let answer = self.call((Hook::Import, path), to, epoch, body.clone(), within).await?;
            let problem = match answer {
                None => Some("does not say what it holds".to_owned()),
                Some(digest) if digest != *sha256 => Some("holds another state than it was given".to_owned()),
                Some(_) => None,
            };
            if let Some(problem) = problem {
                self.count(Hook::Import, false);
                return Err(format!("{} {problem}", to.name));
            }
            self.count(Hook::Import, true);
        }
        self.activate(to, epoch, self.time(until)?).await?;
        Ok(newest.map(|State { label, body, sha256 }| Given {
            bytes: body.len() as u64,
            sha256,
            from: label.master,
            taken: label.taken,
        }))
    }

    async fn undo(&self, to: Option<&Target>, from: Option<&Target>, epoch: u32) {
        let timeout = self.caller.hooks.timeout;
        let mut problems = Vec::new();
        if let Some(to) = to {
            problems.push(self.deactivate(to, epoch, UNDO.min(timeout)).await);
        }
        if let Some(from) = from {
            problems.push(self.activate(from, epoch, timeout).await);
        }
        for why in problems.into_iter().filter_map(Result::err) {
            tracing::warn!("upstream {}: {why}", self.caller.upstream);
        }
    }

    async fn export(&self, from: &Target, epoch: u32, until: Micros) -> Result<Exported, String> {
        let Some(path) = self.caller.path(Hook::Export) else { return Ok(Exported::Nothing) };
        let within = self.time(until)?;
        let taken = clock::unix_millis();
        let answer = self.caller.call((Hook::Export, path), from, epoch, Bytes::new(), within).await;
        let result = answer.and_then(|answer| match answer.status {
            204 => Ok(Exported::Nothing),
            409 => Ok(Exported::NotActive),
            200 => {
                let Caller { upstream, account, .. } = &self.caller;
                let (upstream, account) = (upstream.clone(), account.clone());
                let label = Label { upstream, account, master: from.name.clone(), epoch, taken };
                let state = State::new(label, answer.body);
                match answer.digest {
                    Some(digest) if digest != state.sha256 => Err("its digest is not that of its state".to_owned()),
                    _ => Ok(Exported::State(state)),
                }
            }
            status => Err(format!("status {status}")),
        });
        self.count(Hook::Export, result.is_ok());
        result.map_err(|why| format!("{} does not give its state: {why}", from.name))
    }

    async fn activate(&self, to: &Target, epoch: u32, within: Duration) -> Result<(), String> {
        let id = to.master.id();
        {
            let mut told = self.told();
            told.passive.remove(&id);
            told.active = None;
        }
        if let Some(path) = self.caller.path(Hook::Activate) {
            self.call((Hook::Activate, path), to, epoch, Bytes::new(), within).await?;
        }
        self.told().active = Some(id);
        Ok(())
    }

    async fn deactivate(&self, master: &Target, epoch: u32, within: Duration) -> Result<(), String> {
        {
            let mut told = self.told();
            told.active = told.active.filter(|active| *active != master.master.id());
        }
        let Some(path) = self.caller.path(Hook::Deactivate) else { return Ok(()) };
        self.call((Hook::Deactivate, path), master, epoch, Bytes::new(), within).await?;
        self.told().passive.insert(master.master.id());
        Ok(())
    }

    /// Calls a hook that has to answer with 2xx; the digest that it gives.
    async fn call(
        &self,
        (hook, path): (Hook, &str),
        to: &Target,
        epoch: u32,
        body: Bytes,
        within: Duration,
    ) -> Result<Option<String>, String> {
        let answer = self.caller.call((hook, path), to, epoch, body, within).await;
        let result = answer.and_then(|answer| match answer.status {
            200..=299 => Ok(answer.digest),
            status => Err(format!("status {status}")),
        });
        // Of an import the digest decides, too.
        if hook != Hook::Import || result.is_err() {
            self.count(hook, result.is_ok());
        }
        result.map_err(|why| format!("{} does not {}: {why}", to.name, hook.word()))
    }

    /// For the next call.
    fn time(&self, until: Micros) -> Result<Duration, String> {
        let left = Duration::from_micros(until.saturating_sub(clock::now()));
        if left.is_zero() {
            return Err("there is no time left within failover.deadline".to_owned());
        }
        Ok(left.min(self.caller.hooks.timeout))
    }

    fn count(&self, hook: Hook, answered: bool) {
        let outcome = if answered { "answered" } else { "failed" };
        self.telemetry.cold.counter(&names::HOOK_CALLS, &[&self.caller.upstream, hook.word(), outcome]).increment(1);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tended {
    /// How a restored state is told.
    #[must_use]
    pub fn sentence(given: &Given, now: u64) -> String {
        let age = show_time(Duration::from_secs(now.saturating_sub(given.taken) / 1000));
        format!("{} bytes that {} gave {age} before", given.bytes, given.from)
    }
}
