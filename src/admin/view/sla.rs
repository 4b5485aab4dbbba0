//! What was promised, and how it was kept.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// `GET /api/v1/sla`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlaView {
    /// In milliseconds since 1970.
    pub at: u64,
    pub items: Vec<SlaItem>,
}

/// A route, an upstream or a master.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlaItem {
    /// `route/NAME`, `upstream/NAME` or `master/UPSTREAM/NAME`.
    pub name: String,
    /// What was promised; none of masters.
    pub promise: Option<Promise>,
    pub windows: Vec<WindowView>,
    /// Of the promise's period.
    pub budget: Option<BudgetView>,
    /// The rules of multi-window burn rates; none without a promise.
    pub burn: Vec<BurnView>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Promise {
    pub objective_percent: f64,
    /// `requests` or `time`.
    pub by: String,
    pub period_seconds: u64,
    /// Whether announced work goes on, during which nothing counts.
    pub maintenance: bool,
}

/// Availability over the last so many seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WindowView {
    pub seconds: u64,
    #[serde(flatten)]
    pub figures: Figures,
}

/// What passed in a stretch of time. Requests and seconds of maintenance are left out, and so are seconds in which Baton did not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Figures {
    pub requests: u64,
    /// Those of them without an answer or with 5xx.
    pub failed: u64,
    /// Answered ones among all, rounded down; none without a request.
    pub availability_percent: Option<f64>,
    pub up_seconds: u64,
    pub down_seconds: u64,
    pub maintenance_seconds: u64,
    /// Seconds up among those up and down, rounded down; none where nothing was measured.
    pub uptime_percent: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BudgetView {
    /// Requests, or seconds, that may go wrong.
    pub allowed: f64,
    pub spent: u64,
    /// Below 0 when more went wrong than may; none where nothing was measured.
    pub remaining_percent: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BurnView {
    /// `fast`, `medium` or `slow`.
    pub rule: String,
    /// Whether somebody has to look at once.
    pub page: bool,
    pub long_seconds: u64,
    pub short_seconds: u64,
    /// Burn rate from which on it is an alarm, when both windows have it.
    pub threshold: f64,
    pub long: Option<f64>,
    pub short: Option<f64>,
    pub burning: bool,
}

/// `GET /api/v1/sla/report`, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlaReport {
    /// `2026-11`.
    pub month: String,
    /// Whether the month is over.
    pub complete: bool,
    pub items: Vec<ReportItem>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportItem {
    pub name: String,
    pub objective_percent: Option<f64>,
    /// What the objective is measured by: `requests` or `time`.
    pub by: Option<String>,
    /// Whether the objective was met; none without one.
    pub met: Option<bool>,
    pub total: Figures,
    pub days: Vec<ReportDay>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportDay {
    /// `2026-11-25`, of UTC.
    pub date: String,
    #[serde(flatten)]
    pub figures: Figures,
}

/// Query of `GET /api/v1/sla`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct SlaQuery {
    /// `masters=false` leaves masters out.
    pub masters: Option<bool>,
}

/// Query of `GET /api/v1/sla/report`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct SlaReportQuery {
    /// `2026-11`; the present month unless given.
    pub month: Option<String>,
    /// `json`, `csv` or `html`.
    pub format: Option<String>,
}
