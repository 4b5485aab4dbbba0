//! What the admin API says about how something goes at present, and how it went.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::monitor::core::Present;

/// How the whole, an upstream, a route or a master stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StandingView {
    /// `ok`, `impaired` or `down`.
    pub state: String,
    /// Since when, in milliseconds since 1970; not before this process started.
    pub since: u64,
    /// 0 to 100.
    pub health_score: u8,
    /// Why the score is not 100, what took most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<ReasonView>,
    /// Over the last ten seconds.
    pub requests_per_second: f64,
    /// Share of requests that failed in the last minute, 0 to 1; none without a request.
    pub error_ratio: Option<f64>,
    /// Of the last ten to twenty seconds; at most 12.5 % too high.
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub in_flight: u64,
    pub queued: u64,
    /// Stored messages that wait.
    pub pending: u64,
    /// Of an upstream: how well its load was spread in the last minute, where that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<DistributionView>,
    /// Of a master: its part of the upstream's requests in the last minute, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_percent: Option<f64>,
    /// Of a master: failures since the last success, where outlier detection counts them.
    #[serde(default)]
    pub failures_in_row: u32,
}

/// A fault, and the points that it takes off the score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReasonView {
    pub points: u8,
    pub text: String,
}

/// How load was spread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DistributionView {
    /// 0 to 100.
    pub quality: u8,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// A route of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteView {
    pub name: String,
    /// The upstreams that it leads to; none where it redirects.
    pub upstreams: Vec<String>,
    /// `inline`, `inline-then-spool` or `spool`.
    pub delivery: String,
    pub standing: Option<StandingView>,
}

impl From<&Present> for StandingView {
    fn from(present: &Present) -> Self {
        let millis = |micros: Option<u64>| micros.map(|micros| micros as f64 / 1000.0);
        let rates = &present.rates;
        Self {
            state: present.state.word().to_owned(),
            since: present.since,
            health_score: present.score.points,
            reasons: present
                .score
                .reasons
                .iter()
                .map(|reason| ReasonView { points: reason.points, text: reason.text.clone() })
                .collect(),
            requests_per_second: rates.requests_per_second,
            error_ratio: rates.error_ratio.map(|ratio| rounded(ratio, 1e5)),
            p50_ms: millis(rates.p50_micros),
            p99_ms: millis(rates.p99_micros),
            in_flight: rates.in_flight,
            queued: rates.queued,
            pending: rates.pending,
            distribution: present.distribution.as_ref().map(|distribution| DistributionView {
                quality: distribution.quality,
                reasons: distribution.reasons.clone(),
            }),
            share_percent: present.share_percent.map(|share| rounded(share, 10.0)),
            failures_in_row: present.failures_in_row,
        }
    }
}

/// More digits would only pretend.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

/// Query of `GET /api/v1/trends`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct TrendQuery {
    /// Which, separated by commas: `system`, `upstream/NAME`, `route/NAME`, `master/UPSTREAM/NAME`.
    pub series: Option<String>,
    /// How far back, such as `10m`, `6h` or `30d`.
    pub range: Option<String>,
    /// What, separated by commas.
    pub fields: Option<String>,
    /// Steps at most.
    pub points: Option<u64>,
    /// Only steps that begin at this time or later, in seconds since 1970.
    pub since: Option<u64>,
}

/// `GET /api/v1/trends`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TrendsView {
    /// When the first step begins, in seconds since 1970.
    pub start: u64,
    /// Length of a step. The last one goes on.
    pub step_seconds: u64,
    pub series: Vec<TrendView>,
}

/// One series: a value for each step, none where nothing was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TrendView {
    pub name: String,
    #[serde(flatten)]
    pub fields: std::collections::BTreeMap<String, Vec<Option<f64>>>,
}

/// A value of a trend as it is sent.
#[must_use]
pub fn shortened(value: f64) -> f64 {
    rounded(value, 1e4)
}
