//! Settings of upstreams and masters that change at run time: each makes a generation of the configuration, and is used until
//! the file changes.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::AdminState;
use super::access::Caller;
use super::body::Body;
use super::config::{What, order};
use super::problem::Problem;
use super::view::{AskConfig, ConfigAnswer, SetPriority, SetStrategy, SetWeight};
use crate::config::Edit;
use crate::config::model::StrategyKind;

type Answered = Result<Json<ConfigAnswer>, Problem>;

pub async fn strategy(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Path(upstream): Path<String>,
    Body(SetStrategy { strategy, dry_run, reason }): Body<SetStrategy>,
) -> Answered {
    let Some((_, word)) = StrategyKind::ALL.iter().find(|(_, word)| *word == strategy) else {
        let words = StrategyKind::ALL.map(|(_, word)| word);
        let detail = format!("strategy: there is no such one; there are {}", words.join(", "));
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    };
    let edit = Edit { upstream, master: None, key: "strategy", value: (*word).to_owned() };
    order(&state, &caller, What::Set(edit), AskConfig { dry_run, reason }).await
}

pub async fn weight(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Path((upstream, master)): Path<(String, String)>,
    Body(SetWeight { weight, dry_run, reason }): Body<SetWeight>,
) -> Answered {
    let edit = Edit { upstream, master: Some(master), key: "weight", value: weight.to_string() };
    order(&state, &caller, What::Set(edit), AskConfig { dry_run, reason }).await
}

pub async fn priority(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Path((upstream, master)): Path<(String, String)>,
    Body(SetPriority { priority, dry_run, reason }): Body<SetPriority>,
) -> Answered {
    let edit = Edit { upstream, master: Some(master), key: "priority", value: priority.to_string() };
    order(&state, &caller, What::Set(edit), AskConfig { dry_run, reason }).await
}
