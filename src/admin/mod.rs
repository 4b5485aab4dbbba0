//! The admin listener: what operators, Prometheus and supervisors ask Baton, on a thread of its own so that traffic cannot
//! starve it and it cannot starve traffic.
//!
//! [`table`] lists every path with what it needs, [`access`] decides who may, and each resource has a file of its own.

mod access;
mod alerts;
pub mod audit;
pub mod backup;
mod body;
pub mod config;
mod dashboard;
mod dead_letters;
pub mod events;
mod failovers;
mod gauges;
pub mod keys;
mod masters;
mod openapi;
mod preview;
mod problem;
mod query;
mod receivers;
pub mod role;
mod server;
mod settings;
mod sla;
mod sla_report;
mod spool;
mod state;
mod stream;
pub mod table;
pub mod token;
mod trends;
pub mod view;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{self, DefaultBodyLimit};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::sync::oneshot;

pub use problem::{Document, Problem};
pub use server::{Admin, Listener, start};

use crate::alerts::Alerts;
use crate::audit::Audit;
use crate::config::model;
use crate::events::Bus;
use crate::failover::orchestrator::{Done, Refused, Request};
use crate::failover::record::Failover;
use crate::generations::Generations;
use crate::monitor::Monitor;
use crate::monitor::series::Key;
use crate::notify::receivers::Receivers;
use crate::sla::Sla;
use crate::spool::store::Store;
use crate::telemetry::Telemetry;
use token::Keyring;
use tokio::sync::Semaphore;
use view::{OperatorState, StatusView};

/// Nothing that this API takes is larger.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Where the admin API learns the present state. Calls come from the admin thread and may take some milliseconds, but must
/// not wait for the network or a disk.
pub trait Source: Send + Sync {
    /// Everything in [`StatusView`] except what is counted and what is made of it: see [`StatusView::count`] and [`StatusView::judge`].
    fn status(&self) -> StatusView;

    /// Whether this process can take traffic; otherwise the reasons, as sentences.
    fn ready(&self) -> Result<(), Vec<String>>;

    /// The failovers that are remembered, the newest first.
    fn failovers(&self) -> Vec<Failover>;

    /// What the configuration in use promises, by what it promises it of.
    fn promises(&self) -> Vec<(Key, model::Sla)>;

    /// The store of messages, where there is one.
    fn store(&self) -> Option<Store>;

    /// The configuration in use.
    fn configuration(&self) -> config::Present;
}

/// What operators can do to the running proxy. As with [`Source`], nothing here waits.
pub trait Operations: Send + Sync {
    /// Sets the state of a master and gives the one before. Setting the one it has changes nothing.
    ///
    /// # Errors
    /// When there is no such master.
    fn set_operator_state(
        &self,
        upstream: &str,
        master: &str,
        state: OperatorState,
    ) -> Result<OperatorState, NoSuchMaster>;

    /// Has a failover made, or says what it would be. The receiver gets the answer; what it takes is bounded by the upstream's
    /// `failover.deadline`.
    fn failover(&self, request: Request) -> oneshot::Receiver<Result<Done, Refused>>;

    /// Has another configuration put into use, or says what that would change. The receiver gets the answer, which takes as long as
    /// reading and checking a configuration; none comes where the process ends first.
    fn configure(&self, order: config::Order) -> oneshot::Receiver<Result<config::Applied, config::Refused>>;
}

/// A name that nothing has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoSuchMaster {
    Upstream(String),
    Master { upstream: String, master: String },
}

impl fmt::Display for NoSuchMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(upstream) => write!(f, "there is no upstream {upstream}"),
            Self::Master { upstream, master } => write!(f, "upstream {upstream} has no master {master}"),
        }
    }
}

/// What the handlers share.
pub struct AdminState {
    pub source: Arc<dyn Source>,
    pub operations: Arc<dyn Operations>,
    pub telemetry: Arc<Telemetry>,
    /// Replaced when the configuration is.
    pub keys: Arc<ArcSwap<Keyring>>,
    pub audit: Arc<Audit>,
    pub monitor: Arc<Monitor>,
    pub alerts: Arc<Alerts>,
    pub receivers: Arc<Receivers>,
    pub generations: Arc<Generations>,
    pub sla: Arc<Sla>,
    pub backups: Arc<backup::Backups>,
    pub events: Arc<Bus>,
    /// Places for streams of events, by [`events::places`].
    pub event_readers: Arc<Semaphore>,
    /// Directory for durable state, where copies are made.
    pub state_path: PathBuf,
}

impl AdminState {
    fn status(&self) -> StatusView {
        let mut status = self.source.status();
        status.count(&self.telemetry.hot);
        status.judge(&self.monitor.lock());
        status
    }
}

/// Every path of the admin listener.
pub fn router(state: Arc<AdminState>) -> Router {
    table::router(&state)
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(harden))
        .with_state(state)
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}

/// Answers describe a moment and are for no other site to embed.
async fn harden(request: extract::Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    // The dashboard has its own.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ));
    response
}

#[cfg(test)]
mod tests;
