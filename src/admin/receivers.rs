//! Receivers of alerts: how it goes with each, and whether one can be told.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::json;

use super::AdminState;
use super::access::Caller;
use super::alerts::written;
use super::problem::Problem;
use super::query::{Parameters, limit, wrong};
use super::view::{Page, PageQuery, ReceiverTest, ReceiverView};
use crate::audit::Outcome;

pub async fn list(
    State(state): State<Arc<AdminState>>,
    Parameters(query): Parameters<PageQuery>,
) -> Result<Json<Page<ReceiverView>>, Problem> {
    let limit = limit(query.limit)?;
    let all = state.receivers.all();
    let mut rest: Vec<_> = all.iter().map(|(receiver, numbers)| ReceiverView::new(receiver, numbers)).collect();
    if let Some(cursor) = &query.cursor {
        let at = rest.iter().position(|receiver| receiver.name == *cursor);
        let at = at.ok_or_else(|| wrong("cursor: give `next` of the page before"))?;
        rest.drain(..=at);
    }
    let more = rest.len() > limit;
    rest.truncate(limit);
    let next = rest.last().filter(|_| more).map(|receiver| receiver.name.clone());
    Ok(Json(Page { items: rest, next }))
}

/// Tries once. That the receiver does not take it is an answer, and no failure of this API.
pub async fn test(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Json<ReceiverTest>, Problem> {
    let done = state.receivers.test(&name, &caller.name).await;
    let outcome = match &done {
        None => Outcome::Refused("there is no such receiver".to_owned()),
        Some(Ok(_)) => Outcome::Done,
        Some(Err(reason)) => Outcome::Failed(reason.clone()),
    };
    let target = format!("alerts/receivers/{name}");
    written(&state, &caller, "alert.test", &target, "", json!(null), outcome).await;
    let done = done
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no receiver {}", name.escape_debug())))?;
    Ok(Json(match done {
        Ok(took) => ReceiverTest { receiver: name, delivered: true, error: None, seconds: Some(took.as_secs_f64()) },
        Err(reason) => ReceiverTest { receiver: name, delivered: false, error: Some(reason), seconds: None },
    }))
}
