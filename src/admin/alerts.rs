//! Alerts: what there is and was, and what people do about it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::AdminState;
use super::access::Caller;
use super::body::{Body, reason_of};
use super::problem::Problem;
use super::query::{Parameters, limit, wrong};
use super::role::Role;
use super::view::{Acknowledge, AlertQuery, AlertRuleView, AlertView, MakeSilence, Page, PageQuery, SilenceView};
use crate::alerts::book::Refused;
use crate::audit::{Entry, Outcome};
use crate::clock::{millis, unix_millis};
use crate::events::{Event, Kind, Severity};

/// Longest label or value of a matcher, in bytes.
const MATCHER_BYTES_MAX: usize = 256;
/// Longest silence: a longer one is a rule to switch off.
const SILENCE_MAX: Duration = Duration::from_secs(366 * 86_400);

type Answer<T> = Result<Json<T>, Problem>;

pub async fn list(
    State(state): State<Arc<AdminState>>,
    Parameters(query): Parameters<AlertQuery>,
) -> Answer<Page<AlertView>> {
    let (book, now) = (state.alerts.lock(), unix_millis());
    page(book.open().rev().map(|alert| AlertView::new(alert, &book, now)), &query)
}

pub async fn history(
    State(state): State<Arc<AdminState>>,
    Parameters(query): Parameters<AlertQuery>,
) -> Answer<Page<AlertView>> {
    let (book, now) = (state.alerts.lock(), unix_millis());
    page(book.ended().rev().map(|alert| AlertView::new(alert, &book, now)), &query)
}

fn page(all: impl Iterator<Item = AlertView>, query: &AlertQuery) -> Answer<Page<AlertView>> {
    let AlertQuery { state, severity, rule, upstream, master, route, limit: asked, cursor } = query;
    let limit = limit(*asked)?;
    one_of("state", state.as_deref(), &["active", "acknowledged", "silenced", "resolved"])?;
    one_of("severity", severity.as_deref(), &["info", "warning", "critical"])?;
    let same = |wanted: &Option<String>, own: Option<&str>| wanted.as_deref().is_none_or(|it| own == Some(it));
    let wanted = |alert: &AlertView| {
        same(state, Some(&alert.state))
            && same(severity, Some(&alert.severity))
            && same(rule, Some(&alert.rule))
            && same(upstream, alert.upstream.as_deref())
            && same(master, alert.master.as_deref())
            && same(route, alert.route.as_deref())
    };
    let mut rest: Vec<AlertView> = all.filter(wanted).collect();
    if let Some(cursor) = cursor {
        let at = rest.iter().position(|alert| alert.number.to_string() == *cursor);
        let at = at.ok_or_else(|| wrong("cursor: give `next` of the page before"))?;
        rest.drain(..=at);
    }
    let more = rest.len() > limit;
    rest.truncate(limit);
    let next = rest.last().filter(|_| more).map(|alert| alert.number.to_string());
    Ok(Json(Page { items: rest, next }))
}

fn one_of(name: &str, given: Option<&str>, words: &[&str]) -> Result<(), Problem> {
    match given {
        Some(word) if !words.contains(&word) => Err(wrong(&format!("{name}: {}", words.join(", ")))),
        _ => Ok(()),
    }
}

pub async fn rules(
    State(state): State<Arc<AdminState>>,
    Parameters(query): Parameters<PageQuery>,
) -> Answer<Page<AlertRuleView>> {
    let limit = limit(query.limit)?;
    let book = state.alerts.lock();
    let mut rest: Vec<_> = book.rules().iter().map(|rule| AlertRuleView::new(rule, &book)).collect();
    if let Some(cursor) = &query.cursor {
        let at = rest.iter().position(|rule| rule.name == *cursor);
        let at = at.ok_or_else(|| wrong("cursor: give `next` of the page before"))?;
        rest.drain(..=at);
    }
    let more = rest.len() > limit;
    rest.truncate(limit);
    let next = rest.last().filter(|_| more).map(|rule| rule.name.clone());
    Ok(Json(Page { items: rest, next }))
}

pub async fn acknowledge(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body(asked): Body<Acknowledge>,
) -> Answer<AlertView> {
    let note = reason_of(asked.note.as_deref())?;
    let now = unix_millis();
    let done = {
        let mut book = state.alerts.lock();
        let done = book.acknowledge(&id, &caller.name, &note, now);
        done.map(|alert| AlertView::new(&alert, &book, now))
    };
    let outcome = done.as_ref().map(|_| ()).map_err(|refused| problem(refused, "alert", &id));
    written(
        &state,
        &caller,
        "alert.acknowledge",
        &format!("alerts/{id}"),
        &note,
        json!({ "by": caller.name }),
        outcome_of(&outcome),
    )
    .await;
    outcome?;
    let alert = done.map_err(|refused| problem(&refused, "alert", &id))?;
    state.alerts.tell();
    let message = format!("alert {} is acknowledged by {}: {}", alert.rule, caller.name, alert.summary);
    let mut event = Event::new(Kind::AlertAcknowledged, Severity::Info, message);
    (event.upstream, event.master, event.route) = (alert.upstream.clone(), alert.master.clone(), alert.route.clone());
    state.events.publish(event.detail(json!({ "id": alert.id, "rule": alert.rule, "by": caller.name, "note": note })));
    Ok(Json(alert))
}

pub async fn silences(
    State(state): State<Arc<AdminState>>,
    Parameters(query): Parameters<PageQuery>,
) -> Answer<Page<SilenceView>> {
    let limit = limit(query.limit)?;
    let (book, now) = (state.alerts.lock(), unix_millis());
    let mut rest: Vec<_> = book.silences().iter().rev().map(|silence| SilenceView::new(silence, &book, now)).collect();
    if let Some(cursor) = &query.cursor {
        let at = rest.iter().position(|silence| silence.id == *cursor);
        let at = at.ok_or_else(|| wrong("cursor: give `next` of the page before"))?;
        rest.drain(..=at);
    }
    let more = rest.len() > limit;
    rest.truncate(limit);
    let next = rest.last().filter(|_| more).map(|silence| silence.id.clone());
    Ok(Json(Page { items: rest, next }))
}

pub async fn silence(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<MakeSilence>,
) -> Answer<SilenceView> {
    let unusable = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
    let reason = reason_of(Some(&asked.reason))?;
    if reason.trim().is_empty() {
        return Err(unusable("reason: say why, for whoever misses the alert".to_owned()));
    }
    let plain = |text: &str| text.len() <= MATCHER_BYTES_MAX && !text.chars().any(char::is_control);
    if asked.matchers.iter().any(|it| it.label.is_empty() || !plain(&it.label) || !plain(&it.value)) {
        return Err(unusable(format!(
            "matchers: a label and a value, each in one line of up to {MATCHER_BYTES_MAX} bytes"
        )));
    }
    let now = unix_millis();
    let until = match (&asked.duration, asked.until) {
        (Some(duration), None) => {
            let duration = crate::config::parse_time(duration);
            now.saturating_add(millis(duration.map_err(|help| unusable(format!("duration: {help}")))?))
        }
        (None, Some(until)) => until,
        _ => return Err(unusable("say how long: `duration`, or `until`".to_owned())),
    };
    if until > now.saturating_add(millis(SILENCE_MAX)) {
        return Err(unusable("until: a silence lasts at most a year; switch the rule off instead".to_owned()));
    }
    let done = {
        let mut book = state.alerts.lock();
        let done = book.silence(asked.matchers.clone(), until, &caller.name, &reason, now);
        done.map(|silence| SilenceView::new(&silence, &book, now))
    };
    let outcome = done.as_ref().map(|_| ()).map_err(|refused| problem(refused, "silence", ""));
    let target = done.as_ref().map_or("alerts/silences".to_owned(), |it| format!("alerts/silences/{}", it.id));
    let after = json!({ "matchers": asked.matchers, "until": until });
    written(&state, &caller, "alert.silence", &target, &reason, after, outcome_of(&outcome)).await;
    state.alerts.tell();
    done.map(Json).map_err(|refused| problem(&refused, "silence", ""))
}

pub async fn unsilence(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<SilenceView> {
    let now = unix_millis();
    let done = {
        let mut book = state.alerts.lock();
        let done = book.unsilence(&id, now);
        done.map(|silence| SilenceView { active: false, until: now, ..SilenceView::new(&silence, &book, now) })
    };
    let outcome = done.as_ref().map(|_| ()).map_err(|refused| problem(refused, "silence", &id));
    written(
        &state,
        &caller,
        "alert.unsilence",
        &format!("alerts/silences/{id}"),
        "",
        json!(null),
        outcome_of(&outcome),
    )
    .await;
    state.alerts.tell();
    done.map(Json).map_err(|refused| problem(&refused, "silence", &id))
}

fn problem(refused: &Refused, what: &str, id: &str) -> Problem {
    match refused {
        Refused::Unknown => Problem::new(StatusCode::NOT_FOUND, format!("there is no {what} {id} that goes on")),
        Refused::Wrong(why) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why.clone()),
    }
}

fn outcome_of(done: &Result<(), Problem>) -> Outcome {
    match done {
        Ok(()) => Outcome::Done,
        Err(problem) => Outcome::Refused(problem.detail.clone()),
    }
}

/// Writes down what somebody has done about alerts.
pub async fn written(
    state: &AdminState,
    caller: &Caller,
    action: &str,
    target: &str,
    reason: &str,
    after: Value,
    outcome: Outcome,
) {
    let written = state.audit.record(&Entry {
        who: &caller.name,
        role: caller.role.map(Role::word),
        from: &caller.peer.to_string(),
        action,
        target,
        reason,
        before: json!(null),
        after,
        outcome,
    });
    written.wait().await;
}
