//! What the admin API says, as plain data.
//!
//! Apart from the types inside, so that those can change while clients keep working. Fields are added, never renamed or
//! removed; a client ignores those it does not know.

mod alerts;
mod audit;
mod config;
mod failover;
mod receivers;
mod sla;
mod spool;
mod standing;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use alerts::*;
pub use audit::*;
pub use config::*;
pub use failover::*;
pub use receivers::*;
pub use sla::*;
pub use spool::*;
pub use standing::*;

use crate::monitor::core::Core;
use crate::monitor::series::Key;
use crate::telemetry::registry::Registry;
use crate::upstream::admission;

/// `GET /api/v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    pub version: String,
    /// Number of the configuration generation in use.
    pub generation: u64,
    pub uptime_seconds: f64,
    /// 0 to 100.
    pub health_score: u32,
    pub workers: u64,
    /// Why the newest configuration was refused, while an older one is kept.
    pub config_error: Option<String>,
    /// The generation that is used in the place of what the file says, after a rollback.
    #[serde(default)]
    pub rolled_back_to: Option<u64>,
    /// Settings that were changed at run time are used in the place of what the file says.
    #[serde(default)]
    pub set_at_run_time: bool,
    /// How the whole stands; none in the first moments of a process.
    #[serde(default)]
    pub standing: Option<StandingView>,
    pub listeners: Vec<ListenerView>,
    #[serde(default)]
    pub routes: Vec<RouteView>,
    pub upstreams: Vec<UpstreamView>,
    pub spool: SpoolView,
    /// Failovers cannot be written down, so that a restart would not know of the last ones.
    pub failover_journal_failed: bool,
    pub access_log_dropped: AccessLogDropped,
    #[serde(default)]
    pub audit: AuditView,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListenerView {
    pub name: String,
    /// As bound: with the port that the kernel chose where the configuration says 0.
    pub address: String,
    pub tls: bool,
    /// In use by new connections, in the order of the configuration.
    pub certificates: Vec<CertificateView>,
    /// What is wrong with files of which an earlier certificate is still in use.
    pub certificate_errors: Vec<String>,
    /// How it stands with the next certificate by ACME, where the listener asks for one.
    pub acme: Option<AcmeView>,
    /// Open ones; counted by the admin API.
    pub connections: u64,
    /// Those of the connections that are tunnels; counted by the admin API.
    pub tunnels: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcmeView {
    /// Why the last order failed.
    pub error: Option<String>,
    /// When the next one is due, in seconds since 1970; none while one is under way for the first time.
    pub next_order: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateView {
    /// Its first DNS name, else its common name.
    pub name: String,
    /// Its DNS names.
    pub names: Vec<String>,
    /// Its end in seconds since 1970.
    pub expires: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UpstreamView {
    pub name: String,
    /// As the configuration writes it.
    pub strategy: String,
    /// The one active master, where the upstream has such a mode.
    pub active: Option<String>,
    /// Failovers so far.
    pub epoch: u32,
    #[serde(default)]
    pub standing: Option<StandingView>,
    /// Who serves what; none without `failover`.
    pub failover: Option<FailoverStatus>,
    pub masters: Vec<MasterView>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MasterView {
    pub name: String,
    /// As the configuration writes it.
    pub address: String,
    /// What a host name stands for at present.
    pub resolved: Vec<String>,
    pub health: Health,
    pub operator_state: OperatorState,
    pub role: Role,
    /// Its ways back after failures; none without `failover`.
    pub recovery: Option<RecoveryView>,
    pub circuit: Circuit,
    /// Whether it is in rotation for new requests, all reasons considered. One that is not may still get requests that are
    /// pinned to it, or when nothing better is left.
    pub usable: bool,
    /// Put aside by outlier detection.
    pub ejected: bool,
    /// Silent for too long; a probe is deciding.
    pub suspect: bool,
    /// A request found nothing listening; probes must pass before it is used again.
    pub dead: bool,
    pub priority: u32,
    pub weight: u32,
    pub in_flight: u64,
    pub queued: u64,
    /// Exchanges and further attempts since the process started; counted by the admin API.
    pub requests: u64,
    /// Those of them that failed; counted by the admin API.
    pub failures: u64,
    /// Mean duration since the process started, 0 before the first; counted by the admin API.
    pub latency_ms: f64,
    /// 99th percentile, at most 12.5 % too high; counted by the admin API.
    pub latency_p99_ms: f64,
    /// Stored messages that wait for it and that no other master may get: of accounts that it alone serves, or that it has at present.
    pub pending: u64,
    #[serde(default)]
    pub standing: Option<StandingView>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SpoolView {
    pub pending: u64,
    pub dead_letters: u64,
    pub oldest_seconds: f64,
    /// Messages that had come before, since the process started.
    pub duplicates: u64,
    /// The limit that keeps messages out at present: `messages`, `bytes`, `disk`.
    pub full: Option<String>,
    /// Why nothing is stored any more.
    pub failed: Option<String>,
}

/// Lines lost since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessLogDropped {
    pub queue_full: u64,
    pub write_error: u64,
}

/// `GET /readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    pub ready: bool,
    pub reasons: Vec<String>,
}

/// Body of `POST /api/v1/upstreams/{upstream}/masters/{master}/operator-state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetOperatorState {
    pub state: OperatorState,
    /// Says what would follow, and does nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// For the audit trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperatorStateSet {
    pub upstream: String,
    pub master: String,
    /// The state before; the same one when nothing has changed.
    pub before: OperatorState,
    /// The state now.
    pub operator_state: OperatorState,
    #[serde(default)]
    pub dry_run: bool,
    /// What follows, or would.
    #[serde(default)]
    pub effects: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    Unknown,
    Healthy,
    Degraded,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorState {
    Ready,
    Drain,
    Maintenance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Active,
    Standby,
    Fenced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Circuit {
    Closed,
    Open,
    HalfOpen,
}

impl OperatorState {
    /// As the API writes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        }
    }
}

impl StatusView {
    /// Fills in what the data path has counted.
    pub fn count(&mut self, registry: &Registry) {
        let mut totals = registry.masters();
        for upstream in &mut self.upstreams {
            for master in &mut upstream.masters {
                let total = totals.remove(&(upstream.name.clone(), master.name.clone())).unwrap_or_default();
                master.requests = total.requests;
                master.failures = total.failures;
                // Whole microseconds: more digits would only pretend.
                master.latency_ms = total.duration.mean_micros().map_or(0.0, |micros| micros.round() / 1000.0);
                let p99 = total.duration.quantile_micros(0.99);
                master.latency_p99_ms = p99.map_or(0.0, |micros| micros as f64 / 1000.0);
            }
        }
        let open = registry.open_connections();
        for listener in &mut self.listeners {
            let open = open.get(&listener.name).copied().unwrap_or_default();
            listener.connections = open.connections;
            listener.tunnels = open.tunnels;
        }
    }
}

impl StatusView {
    /// Fills in what the monitor makes of it.
    pub fn judge(&mut self, core: &Core) {
        let standing = |key: Key| core.present(&key).map(StandingView::from);
        self.standing = standing(Key::System);
        self.health_score = self.standing.as_ref().map_or(self.health_score, |it| u32::from(it.health_score));
        for route in &mut self.routes {
            route.standing = standing(Key::Route(route.name.as_str().into()));
        }
        for upstream in &mut self.upstreams {
            let name: std::sync::Arc<str> = upstream.name.as_str().into();
            for master in &mut upstream.masters {
                master.standing = standing(Key::Master(name.clone(), master.name.as_str().into()));
            }
            upstream.standing = standing(Key::Upstream(name));
        }
    }
}

impl MasterView {
    /// A master as one reading of its admission shows it. The rest is empty.
    #[must_use]
    pub fn new(name: &str, address: &str, admission: admission::Admission) -> Self {
        Self {
            name: name.to_owned(),
            address: address.to_owned(),
            resolved: Vec::new(),
            health: admission.health().into(),
            operator_state: admission.operator().into(),
            role: admission.role().into(),
            recovery: None,
            circuit: admission.circuit().into(),
            usable: admission.tier() == admission::Tier::Full,
            ejected: admission.ejected(),
            suspect: admission.suspect(),
            dead: admission.dead(),
            priority: 0,
            weight: 1,
            in_flight: 0,
            queued: 0,
            requests: 0,
            failures: 0,
            latency_ms: 0.0,
            latency_p99_ms: 0.0,
            pending: 0,
            standing: None,
        }
    }
}

impl From<admission::Health> for Health {
    fn from(health: admission::Health) -> Self {
        match health {
            admission::Health::Unknown => Self::Unknown,
            admission::Health::Healthy => Self::Healthy,
            admission::Health::Degraded => Self::Degraded,
            admission::Health::Failed => Self::Failed,
        }
    }
}

impl From<admission::OperatorState> for OperatorState {
    fn from(state: admission::OperatorState) -> Self {
        match state {
            admission::OperatorState::Ready => Self::Ready,
            admission::OperatorState::Drain => Self::Drain,
            admission::OperatorState::Maintenance => Self::Maintenance,
        }
    }
}

impl From<OperatorState> for admission::OperatorState {
    fn from(state: OperatorState) -> Self {
        match state {
            OperatorState::Ready => Self::Ready,
            OperatorState::Drain => Self::Drain,
            OperatorState::Maintenance => Self::Maintenance,
        }
    }
}

impl From<admission::Role> for Role {
    fn from(role: admission::Role) -> Self {
        match role {
            admission::Role::Active => Self::Active,
            admission::Role::Standby => Self::Standby,
            admission::Role::Fenced => Self::Fenced,
        }
    }
}

impl From<admission::Circuit> for Circuit {
    fn from(circuit: admission::Circuit) -> Self {
        match circuit {
            admission::Circuit::Closed => Self::Closed,
            admission::Circuit::Open => Self::Open,
            admission::Circuit::HalfOpen => Self::HalfOpen,
        }
    }
}
