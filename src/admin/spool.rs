//! Stored messages that wait for their delivery.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::AdminState;
use super::problem::Problem;
use super::query::{Parameters, limit, wrong};
use super::view::{AttemptView, MessageView, Page, PageQuery, PendingView, SpoolSummary};
use crate::clock::{UnixMillis, unix_millis};
use crate::spool::record::{Attempt, Ending};
use crate::spool::store::{Pending, ReadError, Store};

pub async fn summary(State(state): State<Arc<AdminState>>) -> Result<Json<SpoolSummary>, Problem> {
    let store = store(&state)?;
    let (stats, oldest) = read(&store, |store| Ok((store.stats(), store.oldest()?))).await?;
    Ok(Json(SpoolSummary {
        pending: stats.pending,
        pending_bytes: stats.pending_bytes,
        oldest_seconds: oldest.map_or(0.0, |since| seconds_since(since, unix_millis())),
        dead_letters: stats.dead,
        dead_letter_bytes: stats.dead_bytes,
        damaged: stats.damaged,
        remembered: stats.ids,
        disk_bytes: stats.disk_bytes,
        queued: stats.queued,
        stored: stats.stored,
        duplicates: stats.duplicates,
        full: stats.full.map(|full| full.word().to_owned()),
        failed: stats.failed.map(|why| why.to_string()),
    }))
}

pub async fn messages(
    State(state): State<Arc<AdminState>>,
    Parameters(query): Parameters<PageQuery>,
) -> Result<Json<Page<PendingView>>, Problem> {
    let store = store(&state)?;
    let limit = limit(query.limit)?;
    let from = match query.cursor {
        Some(cursor) => cursor.parse().map_err(|_| wrong("cursor: give `next` of the page before"))?,
        None => 0,
    };
    let page = read(&store, move |store| store.pending(from, limit)).await?;
    let items = page.rows.into_iter().map(|pending| pending_view(&store, pending)).collect();
    Ok(Json(Page { items, next: page.next.map(|next| next.to_string()) }))
}

fn pending_view(store: &Store, pending: Pending) -> PendingView {
    let Pending { entry, record, history } = pending;
    PendingView {
        id: entry.seq,
        upstream: store.name(entry.upstream).map_or_else(String::new, |name| name.to_string()),
        message: record.map(|record| MessageView {
            route: record.message.route.to_string(),
            account: record.message.account.map(String::from),
            conversation: format!("{:016x}", entry.conversation),
            message_id: record.message.message_id.into(),
            event: record.message.event.into(),
        }),
        accepted: entry.accepted,
        due: entry.due,
        attempts: entry.attempts,
        breaks: entry.breaks,
        history: history.into_iter().map(attempt_view).collect(),
    }
}

pub(super) fn attempt_view(attempt: Attempt) -> AttemptView {
    let ending = match attempt.ending {
        Ending::Status(status) => format!("status {status}"),
        Ending::Reset => "reset".to_owned(),
        Ending::TimedOut => "timeout".to_owned(),
    };
    AttemptView { at: attempt.at, master: attempt.master.into(), ending }
}

fn seconds_since(since: UnixMillis, now: UnixMillis) -> f64 {
    now.saturating_sub(since) as f64 / 1000.0
}

/// The store, where there is one.
pub(super) fn store(state: &AdminState) -> Result<Store, Problem> {
    let none = || Problem::new(StatusCode::NOT_FOUND, "no route stores messages (delivery), so there is no spool");
    state.source.store().ok_or_else(none)
}

/// Reads from the disk beside the thread that answers everybody.
pub(super) async fn read<T: Send + 'static>(
    store: &Store,
    action: impl FnOnce(&Store) -> Result<T, ReadError> + Send + 'static,
) -> Result<T, Problem> {
    let store = store.clone();
    let failed = |why: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why);
    match tokio::task::spawn_blocking(move || action(&store)).await {
        Ok(read) => read.map_err(|error| failed(error.to_string())),
        Err(_) => Err(failed("the spool could not be read".to_owned())),
    }
}
