//! The present state: status, readiness and metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::view::{Readiness, StatusView};
use super::{AdminState, gauges, sla};
use crate::telemetry::exposition;

pub async fn readyz(State(state): State<Arc<AdminState>>) -> (StatusCode, Json<Readiness>) {
    match state.source.ready() {
        Ok(()) => (StatusCode::OK, Json(Readiness { ready: true, reasons: Vec::new() })),
        Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, Json(Readiness { ready: false, reasons })),
    }
}

pub async fn metrics(State(state): State<Arc<AdminState>>) -> impl IntoResponse {
    let mut status = state.source.status();
    status.judge(&state.monitor.lock());
    let text = state.telemetry.render(|out| {
        gauges::write(&status, &state.events, out);
        gauges::alerts(&state.alerts.lock(), out);
        sla::write(&state, out);
    });
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text)
}

pub async fn status(State(state): State<Arc<AdminState>>) -> Json<StatusView> {
    Json(state.status())
}
