//! The configuration and its generations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::clock::UnixMillis;
use crate::config::{Diagnostic, Severity};
use crate::generations::Generation;

/// `GET /api/v1/config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigView {
    /// The file.
    pub path: String,
    pub generation: u64,
    /// The generation that is used in the place of what the file says.
    pub rolled_back_to: Option<u64>,
    /// Settings that were changed at run time are used in the place of what the file says.
    #[serde(default)]
    pub set_at_run_time: bool,
    /// What is in use, without secrets.
    pub text: String,
}

/// What `POST /api/v1/config/reload` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskReload {
    /// Go by the file, also where something was brought back or set at run time.
    #[serde(default)]
    pub discard: bool,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// For the audit trail and the generation.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What `POST /api/v1/upstreams/{upstream}/strategy` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetStrategy {
    /// As in the configuration: `least-loaded`.
    pub strategy: String,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// For the audit trail and the generation.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What `POST /api/v1/upstreams/{upstream}/masters/{master}/weight` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetWeight {
    /// Its part of the load, in proportion to the others'.
    #[schema(minimum = 1, maximum = 1000)]
    pub weight: u32,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// For the audit trail and the generation.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What `POST /api/v1/upstreams/{upstream}/masters/{master}/priority` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPriority {
    /// 0 is the most preferred.
    #[schema(minimum = 0, maximum = 1000)]
    pub priority: u32,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// For the audit trail and the generation.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What `POST /api/v1/generations/{number}/rollback` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskConfig {
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// For the audit trail and the generation.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What they answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigAnswer {
    /// In use now.
    pub generation: u64,
    pub dry_run: bool,
    /// What changed, or would; empty: nothing.
    pub changes: Vec<String>,
    pub warnings: Vec<Finding>,
}

/// What `POST /api/v1/config/validate` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Validation {
    pub valid: bool,
    /// Errors, and warnings.
    pub findings: Vec<Finding>,
    /// What it would change, if it is valid.
    pub changes: Vec<String>,
}

/// Something about a configuration's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    pub severity: String,
    pub message: String,
    /// From 1; 0 where it is about the whole.
    pub line: usize,
    pub column: usize,
    /// The key, such as `upstreams[0].masters[2].weight`.
    pub key: String,
    /// `help`, `allowed`, `note` and `meaning`, as far as there are any.
    pub notes: BTreeMap<String, String>,
}

impl From<&Diagnostic> for Finding {
    fn from(it: &Diagnostic) -> Self {
        let severity = match it.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        Self {
            severity: severity.to_owned(),
            message: it.message.clone(),
            line: it.line,
            column: it.column,
            key: it.path.clone(),
            notes: it.notes.iter().map(|(label, text)| ((*label).to_owned(), text.clone())).collect(),
        }
    }
}

/// One of `GET /api/v1/generations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GenerationView {
    pub number: u64,
    pub in_use: bool,
    #[schema(value_type = u64)]
    pub at: UnixMillis,
    pub who: String,
    /// `start`, `signal`, `file`, or the address of who asked.
    pub cause: String,
    pub reason: String,
    /// The generation that was brought back by this one.
    pub back_to: Option<u64>,
    pub changes: Vec<String>,
}

impl GenerationView {
    #[must_use]
    pub fn new(it: Generation, present: u64) -> Self {
        let Generation { number, at, who, cause, reason, back_to, changes } = it;
        Self { number, in_use: number == present, at, who, cause, reason, back_to, changes }
    }
}

/// `GET /api/v1/generations/{number}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GenerationText {
    #[serde(flatten)]
    pub generation: GenerationView,
    /// Without secrets.
    pub text: String,
}

/// The query of `GET /api/v1/generations/{number}/diff`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct DiffQuery {
    /// The generation to start from [default: the one in use]
    pub with: Option<String>,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiffView {
    pub from: u64,
    pub to: u64,
    pub changes: Vec<String>,
}
