//! Messages that were given up: looked at, put in line again, or removed for good.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::json;
use tokio::sync::oneshot;

use super::access::Caller;
use super::body::{Body, reason_of};
use super::problem::Problem;
use super::query::{Parameters, limit, wrong};
use super::role::Role;
use super::spool::{attempt_view, read, store};
use super::view::{Changed, DeadLetterQuery, DeadLetterView, MessageView, Page, WhichDeadLetters};
use super::{AdminState, spool};
use crate::audit::{Entry, Outcome};
use crate::clock::{UnixMillis, unix_millis};
use crate::spool::schedule::Reason;
use crate::spool::store::{Cursor, DeadFilter, DeadLetter, Refused, Store, Which};

const REASONS: [(Reason, &str); 3] =
    [(Reason::Attempts, "attempts"), (Reason::Masters, "masters"), (Reason::Expired, "expired")];

pub async fn list(
    State(state): State<Arc<AdminState>>,
    Parameters(query): Parameters<DeadLetterQuery>,
) -> Result<Json<Page<DeadLetterView>>, Problem> {
    let store = store(&state)?;
    let DeadLetterQuery { upstream, account, reason, older_than_seconds, limit: asked, cursor } = query;
    let limit = limit(asked)?;
    let before = cursor.as_deref().map(parse_cursor).transpose()?;
    let filter = filter(upstream, account, reason.as_deref(), older_than_seconds, unix_millis())?;
    let page = read(&store, move |store| store.dead_letters(&filter, before, limit)).await?;
    let next = page.next.map(|(died, id)| format!("{died}-{id}"));
    Ok(Json(Page { items: page.rows.into_iter().map(view).collect(), next }))
}

pub async fn show(
    State(state): State<Arc<AdminState>>,
    Path(id): Path<String>,
) -> Result<Json<DeadLetterView>, Problem> {
    let store = store(&state)?;
    let none = || Problem::new(StatusCode::NOT_FOUND, format!("there is no dead letter {id}"));
    let number = id.parse().map_err(|_| none())?;
    let letter = read(&store, move |store| store.dead_letter(number)).await?;
    letter.map(view).map(Json).ok_or_else(none)
}

pub async fn replay(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<WhichDeadLetters>,
) -> Result<Json<Changed>, Problem> {
    change(state, caller, asked, "dead-letters.replay", Store::replay).await
}

pub async fn discard(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<WhichDeadLetters>,
) -> Result<Json<Changed>, Problem> {
    change(state, caller, asked, "dead-letters.discard", Store::discard).await
}

type Answer = oneshot::Receiver<Result<u64, Refused>>;

async fn change(
    state: Arc<AdminState>,
    caller: Caller,
    asked: WhichDeadLetters,
    action: &'static str,
    begin: fn(&Store, Which) -> Result<Answer, Refused>,
) -> Result<Json<Changed>, Problem> {
    let store = spool::store(&state)?;
    let reason = reason_of(asked.comment.as_deref())?;
    let target = json!(asked).to_string();
    let which = which(asked, unix_millis())?;
    if let Which::One(id) = which
        && read(&store, move |store| store.dead_letter(id)).await?.is_none()
    {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no dead letter {id}")));
    }
    // Once begun it goes on, and is written down, whether or not the client waits for it.
    let done = tokio::spawn(async move {
        let outcome = match begin(&store, which) {
            Ok(answer) => answer.await.unwrap_or(Err(Refused::Closed)),
            Err(refused) => Err(refused),
        };
        let written = state.audit.record(&Entry {
            who: &caller.name,
            role: caller.role.map(Role::word),
            from: &caller.peer.to_string(),
            action,
            target: &target,
            reason: &reason,
            before: json!(null),
            after: outcome.as_ref().map_or(json!(null), |count| json!({ "count": count })),
            outcome: match &outcome {
                Ok(_) => Outcome::Done,
                Err(error) => Outcome::Failed(error.to_string()),
            },
        });
        written.wait().await;
        outcome
    });
    let outcome = done.await.unwrap_or(Err(Refused::Closed));
    let failed = |error: Refused| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    outcome.map(|count| Json(Changed { count })).map_err(failed)
}

/// Which ones a body means: exactly one way of saying so.
fn which(asked: WhichDeadLetters, now: UnixMillis) -> Result<Which, Problem> {
    let WhichDeadLetters { id, upstream, account, reason, older_than_seconds, all, comment: _ } = asked;
    let filters = upstream.is_some() || account.is_some() || reason.is_some() || older_than_seconds.is_some();
    match (id, filters, all) {
        (Some(id), false, false) => Ok(Which::One(id)),
        (None, true, false) => {
            filter(upstream, account, reason.as_deref(), older_than_seconds, now).map(Which::Matching)
        }
        (None, false, true) => Ok(Which::Matching(DeadFilter::default())),
        _ => {
            let detail = "say which: `id`, or filters (upstream, account, reason, older_than_seconds), or `all: true`";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail))
        }
    }
}

fn filter(
    upstream: Option<String>,
    account: Option<String>,
    reason: Option<&str>,
    older_than_seconds: Option<u64>,
    now: UnixMillis,
) -> Result<DeadFilter, Problem> {
    let reason = reason
        .map(|word| {
            let known = REASONS.iter().find(|(_, known)| *known == word).map(|(reason, _)| *reason);
            known.ok_or_else(|| wrong("reason: attempts, masters or expired"))
        })
        .transpose()?;
    Ok(DeadFilter {
        upstream: upstream.map(String::into_boxed_str),
        account: account.map(String::into_boxed_str),
        reason,
        since: None,
        before: older_than_seconds.map(|seconds| now.saturating_sub(seconds.saturating_mul(1000))),
    })
}

fn parse_cursor(text: &str) -> Result<Cursor, Problem> {
    let parts = text.split_once('-').and_then(|(died, id)| Some((died.parse().ok()?, id.parse().ok()?)));
    parts.ok_or_else(|| wrong("cursor: give `next` of the page before"))
}

fn view(letter: DeadLetter) -> DeadLetterView {
    let reason = REASONS.iter().find(|(known, _)| *known == letter.reason).map_or("", |(_, word)| *word);
    DeadLetterView {
        id: letter.seq,
        upstream: letter.upstream.into(),
        message: MessageView {
            route: letter.route.into(),
            account: letter.account.map(String::from),
            conversation: format!("{:016x}", letter.conversation),
            message_id: letter.message_id.into(),
            event: letter.event.into(),
        },
        reason: reason.to_owned(),
        accepted: letter.accepted,
        died: letter.died,
        bytes: letter.size,
        attempts: letter.attempts,
        breaks: letter.breaks,
        history: letter.history.into_iter().map(attempt_view).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_ones_are_meant_is_said_in_exactly_one_way() {
        let read = |text: &str| which(serde_json::from_str(text).unwrap(), 100_000).map_err(|problem| problem.detail);
        assert_eq!(read(r#"{"id":7}"#), Ok(Which::One(7)));
        assert_eq!(read(r#"{"all":true}"#), Ok(Which::Matching(DeadFilter::default())));
        let old = DeadFilter { before: Some(40_000), reason: Some(Reason::Masters), ..DeadFilter::default() };
        assert_eq!(read(r#"{"older_than_seconds":60,"reason":"masters"}"#), Ok(Which::Matching(old)));
        for wrong in ["{}", r#"{"all":false}"#, r#"{"id":7,"all":true}"#, r#"{"all":true,"upstream":"a"}"#] {
            assert!(read(wrong).unwrap_err().starts_with("say which"), "{wrong}");
        }
        assert!(read(r#"{"reason":"bored"}"#).unwrap_err().starts_with("reason"));
        assert!(serde_json::from_str::<WhichDeadLetters>(r#"{"ids":[7]}"#).is_err());
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        assert_eq!(parse_cursor("17-4").map_err(|problem| problem.detail), Ok((17, 4)));
        for wrong in ["", "17", "17-", "-4", "17-4-5", "x-y"] {
            assert!(parse_cursor(wrong).is_err(), "{wrong}");
        }
    }
}
