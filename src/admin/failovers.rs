//! Failovers: what operators ask for, and what has happened.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::json;

use super::AdminState;
use super::access::Caller;
use super::body::{Body, reason_of};
use super::problem::Problem;
use super::query::{Parameters, limit, wrong};
use super::role::Role;
use super::view::{AskFailback, AskFailover, AskReset, FailoverAnswer, FailoverQuery, FailoverView, Page};
use crate::audit::{Entry, Outcome};
use crate::failover::ask::{Ask, Refusal};
use crate::failover::orchestrator::{Refused, Request};

type Answered = Result<Json<FailoverAnswer>, Problem>;

pub async fn failover(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Path(upstream): Path<String>,
    Body(AskFailover { target, account, dry_run, reason }): Body<AskFailover>,
) -> Answered {
    ask(&state, &caller, "failover", Asked { upstream, ask: Ask::Failover { account, target }, dry_run, reason }).await
}

pub async fn failback(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Path(upstream): Path<String>,
    Body(AskFailback { account, dry_run, reason }): Body<AskFailback>,
) -> Answered {
    ask(&state, &caller, "failback", Asked { upstream, ask: Ask::Failback { account }, dry_run, reason }).await
}

pub async fn reset(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Path(upstream): Path<String>,
    Body(AskReset { master, dry_run, reason }): Body<AskReset>,
) -> Answered {
    ask(&state, &caller, "reset", Asked { upstream, ask: Ask::Reset { master }, dry_run, reason }).await
}

pub async fn list(
    State(state): State<Arc<AdminState>>,
    Parameters(query): Parameters<FailoverQuery>,
) -> Result<Json<Page<FailoverView>>, Problem> {
    let limit = limit(query.limit)?;
    let all = state.source.failovers().into_iter().map(FailoverView::from);
    let wanted = |it: &FailoverView| {
        query.upstream.as_ref().is_none_or(|name| *name == it.upstream)
            && query.state.as_ref().is_none_or(|state| *state == it.state)
    };
    let mut rest: Vec<FailoverView> = all.filter(wanted).collect();
    if let Some(cursor) = &query.cursor {
        let at = rest.iter().position(|it| name_of(it) == *cursor);
        let at = at.ok_or_else(|| wrong("cursor: give `next` of the page before"))?;
        rest.drain(..=at);
    }
    let more = rest.len() > limit;
    rest.truncate(limit);
    let next = rest.last().filter(|_| more).map(name_of);
    Ok(Json(Page { items: rest, next }))
}

/// What tells a failover from all others.
fn name_of(failover: &FailoverView) -> String {
    format!("{}@{}", failover.epoch, failover.upstream)
}

struct Asked {
    upstream: String,
    ask: Ask,
    dry_run: bool,
    reason: Option<String>,
}

async fn ask(state: &AdminState, caller: &Caller, action: &str, asked: Asked) -> Answered {
    let Asked { upstream, ask, dry_run, reason } = asked;
    let reason = reason_of(reason.as_deref())?;
    let after = match &ask {
        Ask::Failover { account, target } => json!({ "account": account, "target": target }),
        Ask::Failback { account } => json!({ "account": account }),
        Ask::Reset { master } => json!({ "master": master }),
    };
    let (by, why) = (caller.name.clone(), reason.clone());
    let request = Request { upstream: upstream.clone(), ask, dry_run, by, why };
    let answer = state.operations.failover(request).await.unwrap_or(Err(Refused::Released));
    let answer =
        answer.map(|done| FailoverAnswer::new(upstream.clone(), dry_run, done)).map_err(|why| problem(&upstream, why));
    if !dry_run {
        let before = answer.as_ref().map_or(json!(null), |answer| json!(answer.moves));
        state.audit.record(&Entry {
            who: &caller.name,
            role: caller.role.map(Role::word),
            from: &caller.peer.to_string(),
            action,
            target: &format!("upstreams/{upstream}"),
            reason: &reason,
            before,
            after,
            outcome: match &answer {
                Ok(answer) if answer.moves.iter().all(|it| it.done) => Outcome::Done,
                Ok(_) => Outcome::Failed("not every account changed hands: the history says why".to_owned()),
                Err(problem) => Outcome::Refused(problem.detail.clone()),
            },
        });
    }
    answer.map(Json)
}

fn problem(upstream: &str, refused: Refused) -> Problem {
    match refused {
        Refused::NoUpstream => Problem::new(StatusCode::NOT_FOUND, format!("there is no upstream {upstream}")),
        Refused::NoFailover => Problem::new(
            StatusCode::CONFLICT,
            format!("upstream {upstream} has no `failover`: any of its masters gets requests"),
        ),
        Refused::Refusal(Refusal::Unknown(why)) => Problem::new(StatusCode::NOT_FOUND, why),
        Refused::Refusal(Refusal::Conflict(why)) => Problem::new(StatusCode::CONFLICT, why),
        Refused::Released => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "this process is handing over to another one, or stopping")
        }
    }
}
