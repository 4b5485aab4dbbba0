//! The configuration: what is in use, what would be, and the ways back.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path as Segment, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::json;

use super::AdminState;
use super::access::Caller;
use super::body::{Body, reason_of};
use super::problem::Problem;
use super::query::{Parameters, limit, wrong};
use super::role::Role;
use super::view::{
    AskConfig, AskReload, ConfigAnswer, ConfigView, DiffQuery, DiffView, Finding, GenerationText, GenerationView, Page,
    PageQuery, Validation,
};
use crate::audit::Author;
use crate::config::{self, CannotEdit, Diagnostics, Edit, Loaded, System};
use crate::generations::{Generation, Instead};

/// What is asked of the running process about its configuration.
#[derive(Debug)]
pub struct Order {
    pub what: What,
    /// Only say what would follow.
    pub dry_run: bool,
    pub author: Author,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Read the file again.
    Reload,
    /// The same, and go by it whatever was brought back or set meanwhile.
    File,
    /// Use this generation again.
    Rollback(u64),
    /// Use what is in use with one value changed.
    Set(Edit),
}

impl What {
    /// What the audit trail calls it.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match self {
            Self::Set(edit) => edit.key,
            Self::Reload | Self::File | Self::Rollback(_) => "config.reload",
        }
    }

    /// What it is done to, for the audit trail.
    #[must_use]
    pub fn target(&self) -> String {
        match self {
            Self::Set(Edit { upstream, master: None, .. }) => format!("upstreams/{upstream}"),
            Self::Set(Edit { upstream, master: Some(master), .. }) => format!("upstreams/{upstream}/masters/{master}"),
            Self::Reload | Self::File | Self::Rollback(_) => "config".to_owned(),
        }
    }
}

/// What came of it, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// In use now.
    pub generation: u64,
    /// Differences, in words; empty when nothing has changed.
    pub changes: Vec<String>,
    pub warnings: Diagnostics,
}

/// Why nothing has changed.
#[derive(Debug)]
pub enum Refused {
    Wrong(Diagnostics),
    /// The file is right, and cannot be put into use, for this reason.
    Failed(String),
    NoGeneration(u64),
    CannotEdit(CannotEdit),
    /// This process is stopping, or handing over.
    Ending,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(diagnostics) => {
                let first = diagnostics.lines(1).into_iter().next().unwrap_or_default();
                write!(f, "the configuration is refused, the one in use stays: {first}")
            }
            Self::Failed(why) => write!(f, "the configuration cannot be put into use: {why}"),
            Self::NoGeneration(number) => {
                write!(f, "generation {number} is not kept; GET /api/v1/generations lists those that are")
            }
            Self::CannotEdit(why) => why.fmt(f),
            Self::Ending => f.write_str("this process is handing over to another one, or stopping"),
        }
    }
}

/// What is in use.
#[derive(Debug, Clone)]
pub struct Present {
    pub path: PathBuf,
    pub text: Arc<str>,
    pub generation: u64,
}

pub async fn show(State(state): State<Arc<AdminState>>) -> Result<Json<ConfigView>, Problem> {
    let Present { path, text, generation } = state.source.configuration();
    Ok(Json(ConfigView {
        path: path.display().to_string(),
        generation,
        rolled_back_to: state.generations.held().and_then(Instead::back_to),
        set_at_run_time: state.generations.held() == Some(Instead::Settings),
        text: redacted(text.to_string()).await?,
    }))
}

async fn redacted(text: String) -> Result<String, Problem> {
    let redacted = tokio::task::spawn_blocking(move || config::redact(&text, &System)).await;
    redacted.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the configuration cannot be shown"))
}

/// Looks at a text and changes nothing. It is judged as the file in use would be: variables are those of the process, and relative paths
/// start at its working directory.
pub async fn validate(State(state): State<Arc<AdminState>>, text: Bytes) -> Result<Json<Validation>, Problem> {
    let text = String::from_utf8(text.to_vec())
        .map_err(|_| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "the configuration is not UTF-8"))?;
    let Present { text: present, .. } = state.source.configuration();
    let looked = tokio::task::spawn_blocking(move || {
        let origin = Path::new("the body of this request");
        let found = config::parse(&text, origin, &System);
        let before = config::parse(&present, origin, &System);
        match (found, before) {
            (Ok(Loaded { config, warnings, .. }), before) => Validation {
                valid: true,
                findings: findings(&warnings),
                changes: before.map(|before| config::diff(&before.config, &config)).unwrap_or_default(),
            },
            (Err(diagnostics), _) => Validation { valid: false, findings: findings(&diagnostics), changes: Vec::new() },
        }
    });
    looked.await.map(Json).map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "it could not be looked at"))
}

pub async fn reload(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Body(AskReload { discard, dry_run, reason }): Body<AskReload>,
) -> Result<Json<ConfigAnswer>, Problem> {
    let what = if discard { What::File } else { What::Reload };
    order(&state, &caller, what, AskConfig { dry_run, reason }).await
}

pub async fn rollback(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Segment(number): Segment<String>,
    Body(asked): Body<AskConfig>,
) -> Result<Json<ConfigAnswer>, Problem> {
    order(&state, &caller, What::Rollback(parse_number(&number)?), asked).await
}

pub async fn list(
    State(state): State<Arc<AdminState>>,
    Parameters(query): Parameters<PageQuery>,
) -> Result<Json<Page<GenerationView>>, Problem> {
    let limit = limit(query.limit)?;
    let present = state.source.configuration().generation;
    let before = query.cursor.map(|cursor| cursor.parse().map_err(|_| wrong("cursor: give `next` of the page before")));
    let before: u64 = before.transpose()?.unwrap_or(u64::MAX);
    let mut rest: Vec<Generation> = state.generations.list();
    rest.retain(|it| it.number < before);
    let more = rest.len() > limit;
    rest.truncate(limit);
    let next = rest.last().filter(|_| more).map(|it| it.number.to_string());
    Ok(Json(Page { items: rest.into_iter().map(|it| GenerationView::new(it, present)).collect(), next }))
}

pub async fn generation(
    State(state): State<Arc<AdminState>>,
    Segment(number): Segment<String>,
) -> Result<Json<GenerationText>, Problem> {
    let (generation, text) = kept(&state, &number).await?;
    let present = state.source.configuration().generation;
    let text = redacted(text).await?;
    Ok(Json(GenerationText { generation: GenerationView::new(generation, present), text }))
}

/// From another generation to this one; without `with`, from the one in use to this one, which is what a rollback would change.
pub async fn diff(
    State(state): State<Arc<AdminState>>,
    Segment(number): Segment<String>,
    Parameters(query): Parameters<DiffQuery>,
) -> Result<Json<DiffView>, Problem> {
    let (to, text) = kept(&state, &number).await?;
    let present = state.source.configuration();
    let (from, before) = match query.with {
        Some(with) => kept(&state, &with).await.map(|(generation, text)| (generation.number, text))?,
        None => (present.generation, present.text.to_string()),
    };
    let compared = tokio::task::spawn_blocking(move || {
        let read = |text: &str, number: u64| {
            config::parse(text, Path::new(&format!("generation {number}")), &System).map(|loaded| loaded.config)
        };
        Ok::<_, Diagnostics>(config::diff(&read(&before, from)?, &read(&text, to.number)?))
    });
    let changes = compared.await.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "it was not compared"))?;
    changes.map(|changes| Json(DiffView { from, to: to.number, changes })).map_err(|why| problem(&Refused::Wrong(why)))
}

async fn kept(state: &AdminState, number: &str) -> Result<(Generation, String), Problem> {
    let number = parse_number(number)?;
    let generations = state.generations.clone();
    let read = tokio::task::spawn_blocking(move || generations.get(number)).await;
    match read {
        Ok(Ok(Some(kept))) => Ok(kept),
        Ok(Ok(None)) => Err(problem(&Refused::NoGeneration(number))),
        Ok(Err(error)) => {
            let detail = format!("generation {number} cannot be read: {error}");
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail))
        }
        Err(_) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "it was not read")),
    }
}

fn parse_number(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| wrong("a generation is a number"))
}

/// Has it done, and says what came of it.
pub async fn order(
    state: &AdminState,
    caller: &Caller,
    what: What,
    asked: AskConfig,
) -> Result<Json<ConfigAnswer>, Problem> {
    let AskConfig { dry_run, reason } = asked;
    let reason = reason_of(reason.as_deref())?;
    let author = Author {
        who: caller.name.clone(),
        role: caller.role.map(|role: Role| role.word().to_owned()),
        from: caller.peer.to_string(),
        reason,
    };
    let answer = state.operations.configure(Order { what, dry_run, author }).await.unwrap_or(Err(Refused::Ending));
    match answer {
        Ok(Applied { generation, changes, warnings }) => {
            Ok(Json(ConfigAnswer { generation, dry_run, changes, warnings: findings(&warnings) }))
        }
        Err(refused) => Err(problem(&refused)),
    }
}

fn problem(refused: &Refused) -> Problem {
    let status = match refused {
        Refused::Wrong(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refused::Failed(_) | Refused::CannotEdit(CannotEdit::Shared { .. } | CannotEdit::Unreadable) => {
            StatusCode::CONFLICT
        }
        Refused::NoGeneration(_) | Refused::CannotEdit(CannotEdit::NoUpstream(_) | CannotEdit::NoMaster { .. }) => {
            StatusCode::NOT_FOUND
        }
        Refused::Ending => StatusCode::SERVICE_UNAVAILABLE,
    };
    let problem = Problem::new(status, refused.to_string());
    match refused {
        Refused::Wrong(diagnostics) => problem.errors(json!(findings(diagnostics))),
        _ => problem,
    }
}

fn findings(diagnostics: &Diagnostics) -> Vec<Finding> {
    diagnostics.iter().map(Finding::from).collect()
}
