//! Every path of the admin listener, with what it needs: the router is built from this table and from nothing else, so
//! there is no path without a rule.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};

use super::audit;
use super::problem::Problem;
use super::role::{Need, Role};
use super::{
    AdminState, access, alerts, backup, config, dashboard, dead_letters, events, failovers, masters, sla, spool, state,
    trends,
};
use crate::config::TEXT_BYTES_MAX;

/// One method of one path.
pub struct Endpoint {
    pub method: Method,
    /// With `{names}` for what varies.
    pub path: &'static str,
    pub need: Need,
    /// From the end of a request's headers to the start of its answer, the arrival of its body included.
    patience: Duration,
    handler: MethodRouter<Arc<AdminState>>,
}

/// What most requests may take: a client that sends its body slowly must not keep its place.
const PATIENCE: Duration = Duration::from_secs(30);
/// What may go through every stored message.
const LONG_PATIENCE: Duration = Duration::from_secs(600);

const OPEN: Need = Need::Nothing;
const VIEWER: Need = Need::Role(Role::Viewer);
const OPERATOR: Need = Need::Role(Role::Operator);
const ADMIN: Need = Need::Role(Role::Admin);

/// The table.
#[must_use]
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        read("/", OPEN, get(dashboard::page)),
        read("/assets/{name}", OPEN, get(dashboard::asset)),
        read("/healthz", OPEN, get(async || "ok\n")),
        read("/readyz", OPEN, get(state::readyz)),
        read("/metrics", OPEN, get(state::metrics)),
        read("/api/v1/status", VIEWER, get(state::status)),
        read("/api/v1/trends", VIEWER, get(trends::trends)),
        read("/api/v1/sla", VIEWER, get(sla::show)),
        read("/api/v1/sla/report", VIEWER, get(sla::report)),
        change(
            "/api/v1/upstreams/{upstream}/masters/{master}/operator-state",
            OPERATOR,
            on(MethodFilter::POST, masters::set_operator_state),
        ),
        read("/api/v1/events", VIEWER, get(events::follow)),
        read("/api/v1/events/recent", VIEWER, get(events::recent)),
        read("/api/v1/audit", VIEWER, get(audit::list)),
        read("/api/v1/audit/verify", VIEWER, get(audit::verify)),
        read("/api/v1/audit/export", VIEWER, get(audit::export)),
        change("/api/v1/upstreams/{upstream}/failover", OPERATOR, on(MethodFilter::POST, failovers::failover)),
        change("/api/v1/upstreams/{upstream}/failback", OPERATOR, on(MethodFilter::POST, failovers::failback)),
        change("/api/v1/upstreams/{upstream}/reset", OPERATOR, on(MethodFilter::POST, failovers::reset)),
        read("/api/v1/failovers", VIEWER, get(failovers::list)),
        read("/api/v1/alerts", VIEWER, get(alerts::list)),
        read("/api/v1/alerts/history", VIEWER, get(alerts::history)),
        read("/api/v1/alerts/rules", VIEWER, get(alerts::rules)),
        read("/api/v1/alerts/silences", VIEWER, get(alerts::silences)),
        change("/api/v1/alerts/silences", OPERATOR, on(MethodFilter::POST, alerts::silence)),
        remove("/api/v1/alerts/silences/{id}", OPERATOR, on(MethodFilter::DELETE, alerts::unsilence)),
        change("/api/v1/alerts/{id}/acknowledge", OPERATOR, on(MethodFilter::POST, alerts::acknowledge)),
        read("/api/v1/config", OPERATOR, get(config::show)),
        change("/api/v1/config/validate", OPERATOR, on(MethodFilter::POST, config::validate).layer(text())),
        change("/api/v1/config/reload", OPERATOR, on(MethodFilter::POST, config::reload)),
        read("/api/v1/generations", VIEWER, get(config::list)),
        read("/api/v1/generations/{number}", OPERATOR, get(config::generation)),
        read("/api/v1/generations/{number}/diff", VIEWER, get(config::diff)),
        change("/api/v1/generations/{number}/rollback", OPERATOR, on(MethodFilter::POST, config::rollback)),
        read("/api/v1/spool", VIEWER, get(spool::summary)),
        read("/api/v1/spool/messages", VIEWER, get(spool::messages)),
        read("/api/v1/dead-letters", VIEWER, get(dead_letters::list)),
        read("/api/v1/dead-letters/{id}", VIEWER, get(dead_letters::show)),
        change("/api/v1/dead-letters/replay", OPERATOR, on(MethodFilter::POST, dead_letters::replay)).long(),
        change("/api/v1/dead-letters/discard", OPERATOR, on(MethodFilter::POST, dead_letters::discard)).long(),
        change("/api/v1/backup", ADMIN, on(MethodFilter::POST, backup::backup)).long(),
    ]
}

/// A configuration may be larger than what is asked otherwise.
fn text() -> DefaultBodyLimit {
    DefaultBodyLimit::max(TEXT_BYTES_MAX)
}

/// Every path, guarded.
pub(super) fn router(state: &Arc<AdminState>) -> Router<Arc<AdminState>> {
    endpoints().into_iter().fold(Router::new(), |router, endpoint| {
        let guard = middleware::from_fn_with_state((Arc::clone(state), endpoint.need), access::guard);
        let in_time = middleware::from_fn_with_state(endpoint.patience, in_time);
        router.route(endpoint.path, endpoint.handler.route_layer(guard).route_layer(in_time))
    })
}

/// Ends what takes too long.
async fn in_time(State(patience): State<Duration>, request: Request, next: Next) -> Response {
    let too_slow = |_| {
        let detail = format!("the request took longer than {} s", patience.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, detail).into_response()
    };
    tokio::time::timeout(patience, next.run(request)).await.unwrap_or_else(too_slow)
}

impl Endpoint {
    fn long(self) -> Self {
        Self { patience: LONG_PATIENCE, ..self }
    }
}

fn read(path: &'static str, need: Need, handler: MethodRouter<Arc<AdminState>>) -> Endpoint {
    Endpoint { method: Method::GET, path, need, patience: PATIENCE, handler }
}

fn change(path: &'static str, need: Need, handler: MethodRouter<Arc<AdminState>>) -> Endpoint {
    Endpoint { method: Method::POST, path, need, patience: PATIENCE, handler }
}

fn remove(path: &'static str, need: Need, handler: MethodRouter<Arc<AdminState>>) -> Endpoint {
    Endpoint { method: Method::DELETE, path, need, patience: PATIENCE, handler }
}
