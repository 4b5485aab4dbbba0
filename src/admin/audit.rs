//! The audit trail: searched, verified, and given whole.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use utoipa::IntoParams;

use super::problem::Problem;
use super::query::{Parameters, limit, wrong};
use super::view::{AuditFinding, AuditRecord, AuditVerification, Page};
use super::{AdminState, stream};
use crate::audit::Outcome;
use crate::audit::files::{Survey, files, survey};
use crate::audit::query::{Filter, search};
use crate::clock::UnixMillis;

/// Looks through the trail at once: each may read all of it.
static LOOKS: Semaphore = Semaphore::const_new(2);
/// Read and sent at once.
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNKS_AHEAD: usize = 4;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    who: Option<String>,
    action: Option<String>,
    target: Option<String>,
    outcome: Option<String>,
    #[param(value_type = Option<u64>)]
    since: Option<UnixMillis>,
    #[param(value_type = Option<u64>)]
    until: Option<UnixMillis>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    cursor: Option<u64>,
}

pub async fn list(
    State(state): State<Arc<AdminState>>,
    Parameters(query): Parameters<AuditQuery>,
) -> Result<Json<Page<AuditRecord>>, Problem> {
    let AuditQuery { who, action, target, outcome, since, until, limit: asked, cursor } = query;
    if outcome.as_ref().is_some_and(|outcome| !Outcome::WORDS.contains(&outcome.as_str())) {
        return Err(wrong("outcome: done, refused or failed"));
    }
    let (limit, filter) = (limit(asked)?, Filter { who, action, target, outcome, since, until });
    let directory = directory(&state)?;
    let (records, next) = look(move || search(&directory, &filter, cursor, limit)).await?;
    let items = records.into_iter().map(|(record, intact)| AuditRecord { record, intact }).collect();
    Ok(Json(Page { items, next: next.map(|next| next.to_string()) }))
}

pub async fn verify(State(state): State<Arc<AdminState>>) -> Result<Json<AuditVerification>, Problem> {
    let directory = directory(&state)?;
    let survey = look(move || survey(&files(&directory)?)).await?;
    Ok(Json(view(survey)))
}

/// Every record that is kept, as it stands on disk, the oldest first.
pub async fn export(State(state): State<Arc<AdminState>>) -> Result<Response, Problem> {
    let directory = directory(&state)?;
    let permit = LOOKS.acquire().await;
    let files = files(&directory).map_err(|error| unreadable(&error))?;
    let (sender, pieces) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send(&files, &sender) {
            let _ = sender.blocking_send(Err(error));
        }
        drop(permit);
    });
    let mut response = stream::response("application/x-ndjson", pieces);
    let name = HeaderValue::from_static("attachment; filename=\"baton-audit.ndjson\"");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// What a look at a whole trail found, as the API and the command line say it.
#[must_use]
pub fn view(survey: Survey) -> AuditVerification {
    let Survey { walk, findings, torn } = survey;
    let finding = |finding: crate::audit::files::Finding| AuditFinding {
        file: finding.file,
        line: finding.line,
        fault: finding.fault.to_string(),
    };
    AuditVerification {
        intact: findings.is_empty(),
        records: walk.records,
        first: walk.first,
        last: walk.last.as_ref().map(|(seq, _)| *seq),
        newest_hash: walk.last.map(|(_, hash)| hash),
        unfinished_bytes: torn,
        findings: findings.into_iter().map(finding).collect(),
    }
}

fn send(files: &[PathBuf], to: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    for path in files {
        let mut file = match File::open(path) {
            // Rotated away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let read = file.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            chunk.truncate(read);
            if to.blocking_send(Ok(chunk.into())).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn directory(state: &AdminState) -> Result<PathBuf, Problem> {
    let none = || Problem::new(StatusCode::NOT_FOUND, "this Baton keeps no audit trail");
    state.audit.directory().map(PathBuf::from).ok_or_else(none)
}

/// Reads the disk beside the thread that answers everybody.
async fn look<T: Send + 'static>(action: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Problem> {
    let _permit = LOOKS.acquire().await;
    match tokio::task::spawn_blocking(action).await {
        Ok(read) => read.map_err(|error| unreadable(&error)),
        Err(_) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the audit trail could not be read")),
    }
}

fn unreadable(error: &io::Error) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the audit trail cannot be read: {error}"))
}
