//! Every path of the admin listener, with what it needs: the router is built from this table and from nothing else, so
//! there is no path without a rule.

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::middleware;
use axum::routing::{MethodFilter, MethodRouter, get, on};

use super::role::{Need, Role};
use super::{AdminState, access, masters, page, state};

/// One method of one path.
pub struct Endpoint {
    pub method: Method,
    /// With `{names}` for what varies.
    pub path: &'static str,
    pub need: Need,
    handler: MethodRouter<Arc<AdminState>>,
}

const OPEN: Need = Need::Nothing;
const VIEWER: Need = Need::Role(Role::Viewer);
const OPERATOR: Need = Need::Role(Role::Operator);

/// The table.
#[must_use]
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        read("/", OPEN, get(page::page)),
        read("/healthz", OPEN, get(async || "ok\n")),
        read("/readyz", OPEN, get(state::readyz)),
        read("/metrics", OPEN, get(state::metrics)),
        read("/api/v1/status", VIEWER, get(state::status)),
        change(
            "/api/v1/upstreams/{upstream}/masters/{master}/operator-state",
            OPERATOR,
            on(MethodFilter::POST, masters::set_operator_state),
        ),
    ]
}

/// Every path, guarded.
pub(super) fn router(state: &Arc<AdminState>) -> Router<Arc<AdminState>> {
    endpoints().into_iter().fold(Router::new(), |router, endpoint| {
        let guard = middleware::from_fn_with_state((Arc::clone(state), endpoint.need), access::guard);
        router.route(endpoint.path, endpoint.handler.route_layer(guard))
    })
}

fn read(path: &'static str, need: Need, handler: MethodRouter<Arc<AdminState>>) -> Endpoint {
    Endpoint { method: Method::GET, path, need, handler }
}

fn change(path: &'static str, need: Need, handler: MethodRouter<Arc<AdminState>>) -> Endpoint {
    Endpoint { method: Method::POST, path, need, handler }
}
