//! A copy of everything that is stored, sent as it is made ready: bodies of messages included, so it needs the highest role.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::json;
use tokio::sync::mpsc;

use super::access::Caller;
use super::problem::Problem;
use super::role::Role;
use super::spool::store;
use super::{AdminState, stream};
use crate::audit::{Entry, Outcome};
use crate::spool::store::{Store, Summary};

/// Read and sent at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that wait for the client.
const CHUNKS_AHEAD: usize = 4;
/// In the state directory, for as long as it takes to open it.
const FILE: &str = "backup.redb";
/// Says how many messages the copy has.
pub const PENDING: &str = "baton-pending";
/// Says how many dead letters it has.
pub const DEAD_LETTERS: &str = "baton-dead-letters";

/// One copy at a time: each takes as much room on the disk as the store.
#[derive(Debug, Default)]
pub struct Backups {
    busy: AtomicBool,
}

struct Turn(Arc<Backups>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

pub async fn backup(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let store = store(&state)?;
    if state.backups.busy.swap(true, Ordering::AcqRel) {
        return Err(Problem::new(StatusCode::CONFLICT, "another copy is being made; try again when it is done"));
    }
    let turn = Turn(Arc::clone(&state.backups));
    let directory = state.state_path.clone();
    let made = tokio::task::spawn_blocking(move || make(&store, &directory)).await;
    let made = made.unwrap_or_else(|_| Err("the copy could not be made".to_owned()));
    let written = state.audit.record(&Entry {
        who: &caller.name,
        role: caller.role.map(Role::word),
        from: &caller.peer.to_string(),
        action: "backup",
        target: "spool",
        reason: "",
        before: json!(null),
        after: made.as_ref().map_or(json!(null), |(_, copy)| json!({ "pending": copy.pending, "dead": copy.dead })),
        outcome: match &made {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error.clone()),
        },
    });
    written.wait().await;
    let (file, summary) = made.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error))?;
    let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        send(file, &sender);
        drop(turn);
    });
    let mut response = stream::response("application/octet-stream", chunks);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, summary.bytes.into());
    headers.insert(PENDING, summary.pending.into());
    headers.insert(DEAD_LETTERS, summary.dead.into());
    Ok(response)
}

/// Makes the copy and opens it. Its name is taken away at once, so that it goes when it has been read, whatever happens.
fn make(store: &Store, directory: &Path) -> Result<(File, Summary), String> {
    let path: PathBuf = directory.join(FILE);
    let summary = store.backup(&path).map_err(|error| error.to_string())?;
    let opened = File::open(&path);
    let removed = std::fs::remove_file(&path);
    let file = opened.and_then(|file| removed.map(|()| file));
    file.map(|file| (file, summary)).map_err(|error| format!("{}: {error}", path.display()))
}

fn send(mut file: File, to: &mpsc::Sender<std::io::Result<Bytes>>) {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = match file.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) => {
                // The client then sees an answer that ends too early.
                let _ = to.blocking_send(Err(error));
                return;
            }
        };
        chunk.truncate(read);
        if to.blocking_send(Ok(chunk.into())).is_err() {
            return;
        }
    }
}
