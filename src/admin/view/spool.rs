//! What the admin API says about stored messages. Bodies are never among it.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Some rows of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// To be given as `cursor` for the rows that follow; none at the end. A page can be empty and not the last.
    pub next: Option<String>,
}

/// `GET /api/v1/spool`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SpoolSummary {
    /// Messages accepted and not delivered.
    pub pending: u64,
    pub pending_bytes: u64,
    /// For how long the first of them has been waiting.
    pub oldest_seconds: f64,
    pub dead_letters: u64,
    pub dead_letter_bytes: u64,
    /// Messages that cannot be read.
    pub damaged: u64,
    /// Messages remembered, so that a copy is known.
    pub remembered: u64,
    /// What the file takes on disk.
    pub disk_bytes: u64,
    /// Messages that wait for a commit.
    pub queued: u64,
    /// Since the process started.
    pub stored: u64,
    /// Since the process started.
    pub duplicates: u64,
    /// The limit that keeps messages out at present: `messages`, `bytes`, `disk`.
    pub full: Option<String>,
    /// Why nothing is accepted any more.
    pub failed: Option<String>,
}

/// One of `GET /api/v1/spool/messages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PendingView {
    pub id: u64,
    pub upstream: String,
    /// The rest of what it is; none where it cannot be read.
    pub message: Option<MessageView>,
    /// In milliseconds since 1970.
    pub accepted: u64,
    /// When the next attempt may be made, in milliseconds since 1970.
    pub due: u64,
    pub attempts: u16,
    /// Attempts after which a master may have it although it did not say so.
    pub breaks: u8,
    pub history: Vec<AttemptView>,
}

/// What a stored message is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessageView {
    pub route: String,
    pub account: Option<String>,
    /// A hash, in hexadecimal digits.
    pub conversation: String,
    /// As the gateway names it.
    pub message_id: String,
    /// In the gateway's words.
    pub event: String,
}

/// One of `GET /api/v1/dead-letters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterView {
    pub id: u64,
    pub upstream: String,
    pub message: MessageView,
    /// `attempts`, `masters` or `expired`.
    pub reason: String,
    /// In milliseconds since 1970.
    pub accepted: u64,
    /// When it was given up, in milliseconds since 1970.
    pub died: u64,
    pub bytes: u32,
    pub attempts: u16,
    pub breaks: u8,
    /// The last attempts.
    pub history: Vec<AttemptView>,
}

/// An attempt that did not deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// In milliseconds since 1970.
    pub at: u64,
    pub master: String,
    /// `status 500`, `reset` or `timeout`.
    pub ending: String,
}

/// Dead letters that are meant: query of `GET /api/v1/dead-letters`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct DeadLetterQuery {
    pub upstream: Option<String>,
    pub account: Option<String>,
    pub reason: Option<String>,
    pub older_than_seconds: Option<u64>,
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    pub cursor: Option<String>,
}

/// Query of a list without filters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct PageQuery {
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    pub cursor: Option<String>,
}

/// Body of `POST /api/v1/dead-letters/replay` and `discard`: `id`, or filters, all of which have to hold, or `all`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichDeadLetters {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_seconds: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// For the audit trail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Their answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// How many dead letters it was.
    pub count: u64,
}
