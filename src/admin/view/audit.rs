//! The audit trail, as the API says it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::audit::chain::Record;

/// A record of `GET /api/v1/audit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditRecord {
    #[serde(flatten)]
    pub record: Record,
    /// Whether it is as it was written.
    pub intact: bool,
}

/// `GET /api/v1/audit/verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditVerification {
    /// Nothing that is kept was changed, removed or added.
    pub intact: bool,
    pub records: u64,
    /// Number of the oldest record that is kept; those before it were rotated away.
    pub first: Option<u64>,
    pub last: Option<u64>,
    /// Hash of the newest record: written down elsewhere, it proves that none was cut off later.
    pub newest_hash: Option<String>,
    /// At the end, of a record that is under way or that a crash left.
    pub unfinished_bytes: u64,
    pub findings: Vec<AuditFinding>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditFinding {
    pub file: String,
    pub line: u64,
    pub fault: String,
}

/// How the trail stands, in the status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    /// Number of the newest record.
    pub records: u64,
    /// Entries that could not be written since the process started.
    pub lost: u64,
    /// Why none is written at present.
    pub error: Option<String>,
    /// What was found changed or missing as the trail was opened.
    pub damage: Option<String>,
}
