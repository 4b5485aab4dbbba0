//! Events as they happen, as a stream of server-sent events, and those of the last while as pages.
//!
//! `Last-Event-ID`, or `after` where a client cannot set it, continues where a stream broke off. Every line of a stream but
//! its data is a number that the next request may give, so a client that filters does not come back to what it has
//! passed over.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use utoipa::IntoParams;

use super::problem::Problem;
use super::query::{Parameters, limit, wrong};
use super::view::Page;
use super::{AdminState, stream};
use crate::events::{Bus, Event, Kind, Next};

/// Streams at once; half of the connections stay for everything else.
pub const READERS_MAX: usize = 32;
/// A quiet stream says this often that it lives, and finds out whether its reader does.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends after this time, before its connection's age does it less gently. The client asks again, and
/// shows its token again.
const STREAM_MAX: Duration = Duration::from_secs(240);
/// Wait of a client before it asks again, in milliseconds.
const RETRY_MILLIS: u32 = 1000;
/// Pieces that wait for the client; when it does not take them, events pile up in the bus alone.
const PIECES_AHEAD: usize = 16;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct StreamQuery {
    /// Words, separated by commas.
    kinds: Option<String>,
    /// Number of the last event that the client has.
    after: Option<u64>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct RecentQuery {
    kinds: Option<String>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    cursor: Option<u64>,
}

/// `GET /api/v1/events`.
pub async fn follow(
    State(state): State<Arc<AdminState>>,
    Parameters(query): Parameters<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let kinds = Kinds::read(query.kinds.as_deref())?;
    let after = match headers.get("last-event-id") {
        Some(last) => {
            let number = last.to_str().ok().and_then(|text| text.trim().parse().ok());
            Some(number.ok_or_else(|| wrong("Last-Event-ID: the number of an event"))?)
        }
        None => query.after,
    };
    let place = Arc::clone(&state.event_readers).try_acquire_owned().map_err(|_| {
        let detail = format!("{READERS_MAX} streams of events are open, which is all there may be");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let bus = Arc::clone(&state.events);
    tokio::spawn(async move {
        feed(&bus, after, &kinds, &sender).await;
        drop(place);
    });
    Ok(stream::response("text/event-stream", pieces))
}

/// `GET /api/v1/events/recent`.
pub async fn recent(
    State(state): State<Arc<AdminState>>,
    Parameters(query): Parameters<RecentQuery>,
) -> Result<Json<Page<Event>>, Problem> {
    let kinds = Kinds::read(query.kinds.as_deref())?;
    let (events, more) = state.events.recent(limit(query.limit)?, query.cursor, |event| kinds.have(event.kind));
    let next = events.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(Page { items: events.iter().map(|event| Event::clone(event)).collect(), next }))
}

/// A new set of places for streams.
#[must_use]
pub fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(READERS_MAX))
}

/// Which kinds a client wants; without a word about it, all.
struct Kinds(Option<Vec<Kind>>);

impl Kinds {
    fn read(asked: Option<&str>) -> Result<Self, Problem> {
        let one = |word: &str| {
            Kind::of(word).ok_or_else(|| {
                let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
                wrong(&format!("kinds: there is no kind {}; there are {}", word.escape_debug(), known.join(", ")))
            })
        };
        let kinds = asked.map(|words| words.split(',').map(one).collect());
        kinds.transpose().map(Self)
    }

    fn have(&self, kind: Kind) -> bool {
        self.0.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }
}

/// Writes a stream until the client has gone, the bus is closed, or the time is over.
async fn feed(bus: &Arc<Bus>, after: Option<u64>, kinds: &Kinds, to: &mpsc::Sender<io::Result<Bytes>>) {
    let mut reader = bus.read(after);
    let end = Instant::now() + STREAM_MAX;
    // Sent at once, so that a client knows that it is connected, and from where to go on.
    let mut piece = format!("retry: {RETRY_MILLIS}\nid: {}\n\n", reader.position());
    loop {
        // One that does not read is found out by its connection's age.
        if to.send(Ok(piece.into())).await.is_err() {
            return;
        }
        let beat = Instant::now() + HEARTBEAT;
        piece = loop {
            tokio::select! {
                next = reader.next() => match next {
                    Next::Event(event) if kinds.have(event.kind) => break message(&event),
                    Next::Event(_) => {}
                    Next::Missed(count) => break missed(count, reader.position()),
                    Next::Closed => return,
                },
                () = sleep_until(beat) => break format!(": alive\nid: {}\n\n", reader.position()),
                () = to.closed() => return,
                () = sleep_until(end) => return,
            }
        };
    }
}

fn message(event: &Event) -> String {
    // Without a name, so that a page gets all of them by one handler. JSON has no line break in it.
    format!("id: {}\ndata: {}\n\n", event.id, json!(event))
}

fn missed(count: Option<u64>, position: u64) -> String {
    format!("id: {position}\nevent: missed\ndata: {}\n\n", json!({ "missed": count }))
}
