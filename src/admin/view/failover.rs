//! What the admin API says about failovers, and what it is asked.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::failover::orchestrator::{Done, Moving};
use crate::failover::record::{Failover, Given};
use crate::failover::view::{FleetView, GroupView, MemberView};

/// How an upstream's failover stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailoverStatus {
    /// As the configuration writes it.
    pub mode: String,
    /// One for each set of accounts that the same masters serve; a single one without accounts.
    pub groups: Vec<OwnedView>,
}

/// Who serves some accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnedView {
    /// `*` are those that no master names; empty where accounts are not told apart.
    pub accounts: Vec<String>,
    pub active: Option<String>,
    /// The master that conversations leave one by one.
    pub leaving: Option<String>,
    /// `steady`, `handing-over`, `leaving` or `stuck`.
    pub state: String,
    /// Of the failover under way, or why nobody serves.
    pub cause: String,
    /// Masters that could take over now.
    pub standbys: u64,
    /// An operator chose the active master: automatic failback leaves it.
    pub held: bool,
    /// What is kept of the active master's own state; none without `failover.hooks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptView>,
}

/// What is kept of a master's own state, for the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptView {
    /// None where no master has given one yet.
    pub state: Option<StateView>,
    /// Why there is no newer one; empty while all is well.
    pub problem: String,
}

/// A master's own state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateView {
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
    /// The master that gave it.
    pub from: String,
    /// When it did, in milliseconds since 1970.
    pub taken: u64,
}

/// A master's ways back after failures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoveryView {
    /// `well`, `recovering` (waited for), `on-trial` (back, and not stable yet), `waiting` (the next attempt begins later) or
    /// `given-up` (until a reset).
    pub state: String,
    /// Number of the attempt, from 1; 0 without one.
    pub attempt: u32,
}

/// Body of `POST /api/v1/upstreams/{upstream}/failover`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AskFailover {
    /// The master that is to serve; the best there is without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Of this account alone, and those that share its masters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Says what would be done, and does nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// For the audit trail and the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `POST /api/v1/upstreams/{upstream}/failback`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AskFailback {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `POST /api/v1/upstreams/{upstream}/reset`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AskReset {
    /// All of the upstream's without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Their answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailoverAnswer {
    pub upstream: String,
    /// Nothing was done.
    pub dry_run: bool,
    pub moves: Vec<MoveView>,
    /// Masters whose failures are forgotten.
    pub resets: Vec<String>,
}

/// Accounts that change hands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MoveView {
    /// Empty where accounts are not told apart.
    pub accounts: Vec<String>,
    pub from: Option<String>,
    pub to: String,
    /// Conversations that are pinned to `from`.
    pub pins: u64,
    /// The failover's number; none in a dry run.
    pub epoch: Option<u32>,
    /// The new master has them. Otherwise `GET /api/v1/failovers` says why not.
    pub done: bool,
}

/// One of `GET /api/v1/failovers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailoverView {
    pub upstream: String,
    /// Its number in the upstream.
    pub epoch: u32,
    /// The first of the accounts that change hands; `*` are those that no master names, empty where accounts are not told apart.
    pub account: String,
    /// `fence`: the owner was taken everything at once. `leave`: conversations left it one by one.
    pub manner: String,
    pub from: Option<String>,
    pub to: Option<String>,
    pub cause: String,
    /// An operator's name, or `baton`.
    pub by: String,
    /// `under-way`, `stuck`, `completed` or `undone`.
    pub state: String,
    /// Why it is stuck or undone.
    pub why: String,
    /// In milliseconds since 1970.
    pub began: u64,
    /// Until the new master got requests.
    pub duration_ms: Option<f64>,
    /// Until the last conversation had left the old one.
    pub left_ms: Option<f64>,
    /// Conversations whose pins were moved.
    pub pins: Option<u64>,
    /// Their keys, combined by exclusive or, in hexadecimal digits.
    pub pins_checksum: Option<String>,
    /// The state that the new master was given and answered for; none without `failover.hooks`.
    pub given: Option<StateView>,
    /// What its hooks took, export, import and activation.
    pub given_ms: Option<f64>,
    pub steps: Vec<StepView>,
    /// Masters that could not take over.
    pub passed: Vec<PassedView>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    pub step: String,
    pub ms: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PassedView {
    pub master: String,
    pub why: String,
}

/// Query of `GET /api/v1/failovers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct FailoverQuery {
    pub upstream: Option<String>,
    pub state: Option<String>,
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    pub cursor: Option<String>,
}

impl FailoverStatus {
    #[must_use]
    pub fn new(mode: &str, fleet: &FleetView) -> Self {
        let group = |group: &GroupView| OwnedView {
            accounts: group.accounts.clone(),
            active: group.active.clone(),
            leaving: group.leaving.clone(),
            state: group.state.word().to_owned(),
            cause: group.cause.clone(),
            standbys: group.standbys as u64,
            held: group.held,
            kept: group
                .kept
                .as_ref()
                .map(|kept| KeptView { state: kept.given.clone().map(StateView::from), problem: kept.problem.clone() }),
        };
        Self { mode: mode.to_owned(), groups: fleet.groups.iter().map(group).collect() }
    }
}

impl From<Given> for StateView {
    fn from(Given { bytes, sha256, from, taken }: Given) -> Self {
        Self { bytes, sha256, from, taken }
    }
}

impl From<MemberView> for RecoveryView {
    fn from(member: MemberView) -> Self {
        Self { state: member.recovery.to_owned(), attempt: member.attempt }
    }
}

impl FailoverAnswer {
    #[must_use]
    pub fn new(upstream: String, dry_run: bool, done: Done) -> Self {
        let moving =
            |Moving { accounts, from, to, pins, epoch, done }| MoveView { accounts, from, to, pins, epoch, done };
        Self { upstream, dry_run, moves: done.moves.into_iter().map(moving).collect(), resets: done.resets }
    }
}

impl From<Failover> for FailoverView {
    fn from(it: Failover) -> Self {
        let ms = |micros: u64| micros as f64 / 1000.0;
        let giving = it.steps.iter().rfind(|took| took.step == "state").map(|took| ms(took.micros));
        Self {
            upstream: it.upstream,
            epoch: it.epoch,
            account: it.group,
            manner: it.manner.word().to_owned(),
            from: it.from,
            to: it.to,
            cause: it.cause,
            by: it.by,
            state: it.state.word().to_owned(),
            why: it.why,
            began: it.began,
            duration_ms: it.micros.map(ms),
            left_ms: it.left_micros.map(ms),
            pins: it.pins.map(|pins| pins.count),
            pins_checksum: it.pins.map(|pins| format!("{:016x}", pins.checksum)),
            given: it.given.map(StateView::from),
            given_ms: giving,
            steps: it.steps.into_iter().map(|took| StepView { step: took.step, ms: ms(took.micros) }).collect(),
            passed: it.passed.into_iter().map(|(master, why)| PassedView { master, why }).collect(),
        }
    }
}
