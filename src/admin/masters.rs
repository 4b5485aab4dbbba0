//! What operators do with masters.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::json;

use super::access::Caller;
use super::body::{Body, reason_of};
use super::preview::effects;
use super::problem::Problem;
use super::role::Role;
use super::view::{OperatorState, OperatorStateSet, SetOperatorState};
use super::{AdminState, NoSuchMaster};
use crate::audit::{Entry, Outcome};
use crate::events::{Event, Kind, Severity};

pub async fn set_operator_state(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Path((upstream, master)): Path<(String, String)>,
    Body(asked): Body<SetOperatorState>,
) -> Result<Json<OperatorStateSet>, Problem> {
    let reason = reason_of(asked.reason.as_deref())?;
    let (dry_run, to) = (asked.dry_run, asked.state);
    let stands = state.source.status();
    let found = stands.upstreams.iter().find(|it| it.name == upstream);
    let found = found.and_then(|it| it.masters.iter().find(|known| known.name == master).map(|known| (it, known)));
    let effects = found.map(|(upstream, master)| effects(upstream, master, to)).unwrap_or_default();
    if let (true, Some((_, known))) = (dry_run, found) {
        let before = known.operator_state;
        return Ok(Json(OperatorStateSet { upstream, master, before, operator_state: before, dry_run, effects }));
    }
    let done = state.operations.set_operator_state(&upstream, &master, asked.state);
    let written = state.audit.record(&Entry {
        who: &caller.name,
        role: caller.role.map(Role::word),
        from: &caller.peer.to_string(),
        action: "operator-state",
        target: &format!("upstreams/{upstream}/masters/{master}"),
        reason: &reason,
        before: done.as_ref().map_or(json!(null), |before| json!(before)),
        after: json!(asked.state),
        outcome: match &done {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Refused(error.to_string()),
        },
    });
    written.wait().await;
    match done {
        Ok(before) => {
            if before != asked.state {
                tell(&state, &caller, &upstream, &master, before, asked.state, &reason);
            }
            Ok(Json(OperatorStateSet { upstream, master, before, operator_state: to, dry_run, effects }))
        }
        Err(error @ (NoSuchMaster::Upstream(_) | NoSuchMaster::Master { .. })) => {
            Err(Problem::new(StatusCode::NOT_FOUND, error.to_string()))
        }
    }
}

fn tell(
    state: &AdminState,
    caller: &Caller,
    upstream: &str,
    master: &str,
    before: OperatorState,
    after: OperatorState,
    reason: &str,
) {
    let (from, to) = (before.word(), after.word());
    let message = format!("master {master} of {upstream}: {from} -> {to}, by {}", caller.name);
    let detail = json!({ "before": before, "after": after, "by": caller.name, "reason": reason });
    let event = Event::new(Kind::OperatorState, Severity::Info, message).upstream(upstream).master(master);
    state.events.publish(event.detail(detail));
}
