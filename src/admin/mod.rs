//! The admin listener: what operators, Prometheus and supervisors ask Baton, on a thread of its own so that traffic cannot
//! starve it and it cannot starve traffic.
//!
//! Read-only and without a login so far: bind it to loopback or a private network.

mod gauges;
mod page;
mod problem;
mod server;
pub mod view;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

pub use problem::Problem;
pub use server::{Admin, Listener, start};

use crate::telemetry::Telemetry;
use crate::telemetry::exposition;
use view::{Readiness, StatusView};

/// Nothing that this API takes is larger.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Where the admin API learns the present state. Calls come from the admin thread and may take some milliseconds, but must
/// not wait for the network or a disk.
pub trait Source: Send + Sync {
    /// Everything in [`StatusView`] except what is counted: see [`StatusView::count`].
    fn status(&self) -> StatusView;

    /// Whether this process can take traffic; otherwise the reasons, as sentences.
    fn ready(&self) -> Result<(), Vec<String>>;
}

/// What the handlers share.
pub struct AdminState {
    pub source: Arc<dyn Source>,
    pub telemetry: Arc<Telemetry>,
}

impl AdminState {
    fn status(&self) -> StatusView {
        let mut status = self.source.status();
        status.count(&self.telemetry.hot);
        status
    }
}

/// Every path of the admin listener.
pub fn router(state: Arc<AdminState>) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(harden))
        .with_state(state)
}

async fn readyz(State(state): State<Arc<AdminState>>) -> (StatusCode, Json<Readiness>) {
    match state.source.ready() {
        Ok(()) => (StatusCode::OK, Json(Readiness { ready: true, reasons: Vec::new() })),
        Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, Json(Readiness { ready: false, reasons })),
    }
}

async fn metrics(State(state): State<Arc<AdminState>>) -> impl IntoResponse {
    let status = state.source.status();
    let text = state.telemetry.render(|out| gauges::write(&status, out));
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text)
}

async fn status(State(state): State<Arc<AdminState>>) -> Json<StatusView> {
    Json(state.status())
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}

/// Answers describe a moment and are for no other site to embed.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    );
    response
}

#[cfg(test)]
mod tests;
