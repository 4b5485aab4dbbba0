//! What the admin API says about alerts, and what it is asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::alerts::alert::{Acknowledged, Alert, severity_word};
use crate::alerts::book::{Book, state};
use crate::alerts::silence::{Matcher, Silence};
use crate::clock::UnixMillis;
use crate::config::model::AlertRule;

/// One of `GET /api/v1/alerts` and `GET /api/v1/alerts/history`. Times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertView {
    /// The same for each alert of this rule about this thing.
    pub id: String,
    /// Another one for each alert.
    pub number: u64,
    pub rule: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// `active`, `acknowledged`, `silenced` or `resolved`.
    pub state: String,
    pub summary: String,
    /// As far as it is about one of these; `name` is that of a certificate or a webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// All of them, `alertname` and `severity` included: what silences compare.
    pub labels: BTreeMap<String, String>,
    pub value: f64,
    pub threshold: f64,
    pub raised: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<AcknowledgedView>,
    /// When it came to matter more because nobody had acknowledged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalated: Option<u64>,
    /// The silence that hides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<String>,
    /// Receivers that know of it, each with when it was told last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<String, u64>,
}

/// Who looks after an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcknowledgedView {
    pub by: String,
    pub at: u64,
    pub note: String,
}

/// One of `GET /api/v1/alerts/rules`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertRuleView {
    pub name: String,
    /// Baton comes with it.
    pub builtin: bool,
    pub enabled: bool,
    pub signal: String,
    /// What the signal is.
    pub meaning: String,
    /// Of the value; empty for a count.
    pub unit: String,
    /// `system`, `upstream`, `master`, `route` or `name`.
    pub scope: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// `above`, `at-least`, `below` or `at-most`.
    pub comparison: String,
    pub threshold: f64,
    pub clear: f64,
    pub for_seconds: f64,
    pub keep_firing_for_seconds: f64,
    pub severity: String,
    pub labels: BTreeMap<String, String>,
    /// Its alerts that go on.
    pub alerts: u64,
}

/// One of `GET /api/v1/alerts/silences`, and the answer to making one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SilenceView {
    pub id: String,
    /// Whether it hides anything at present.
    pub active: bool,
    pub matchers: Vec<Matcher>,
    pub from: u64,
    pub until: u64,
    pub by: String,
    pub reason: String,
    /// Alerts that it hides.
    pub alerts: u64,
}

/// Query of `GET /api/v1/alerts` and `GET /api/v1/alerts/history`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
pub struct AlertQuery {
    pub state: Option<String>,
    pub severity: Option<String>,
    pub rule: Option<String>,
    pub upstream: Option<String>,
    pub master: Option<String>,
    pub route: Option<String>,
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    pub cursor: Option<String>,
}

/// Body of `POST /api/v1/alerts/{id}/acknowledge`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Acknowledge {
    /// What others should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Body of `POST /api/v1/alerts/silences`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MakeSilence {
    /// An alert that fits all of them is hidden.
    pub matchers: Vec<Matcher>,
    /// How long from now, such as `2h`; this or `until`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Why; it must say something.
    pub reason: String,
}

impl AlertView {
    #[must_use]
    pub fn new(alert: &Alert, book: &Book, now: UnixMillis) -> Self {
        let labels = alert.all_labels().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            id: alert.id.clone(),
            number: alert.number,
            rule: alert.rule.clone(),
            severity: severity_word(alert.severity).to_owned(),
            state: state(book, alert, now).to_owned(),
            summary: alert.summary.clone(),
            upstream: alert.upstream.clone(),
            master: alert.master.clone(),
            route: alert.route.clone(),
            name: alert.name.clone(),
            labels: labels.collect(),
            value: alert.value,
            threshold: alert.threshold,
            raised: alert.raised,
            resolved: alert.resolved,
            acknowledged: alert.acknowledged.clone().map(|Acknowledged { by, at, note }| AcknowledgedView {
                by,
                at,
                note,
            }),
            escalated: alert.escalated,
            silence: alert
                .resolved
                .is_none()
                .then(|| book.silenced(alert, now).map(|silence| silence.id.clone()))
                .flatten(),
            told: alert.told.iter().map(|(receiver, told)| (receiver.clone(), told.at)).collect(),
        }
    }
}

impl AlertRuleView {
    #[must_use]
    pub fn new(rule: &AlertRule, book: &Book) -> Self {
        Self {
            name: rule.name.clone(),
            builtin: rule.builtin,
            enabled: rule.enabled,
            signal: rule.signal.word().to_owned(),
            meaning: rule.signal.meaning().trim().to_owned(),
            unit: rule.signal.unit().to_owned(),
            scope: rule.scope.word().to_owned(),
            upstream: rule.only.upstream.clone(),
            master: rule.only.master.clone(),
            route: rule.only.route.clone(),
            comparison: rule.comparison.word().to_owned(),
            threshold: rule.threshold,
            clear: rule.clear,
            for_seconds: rule.hold.as_secs_f64(),
            keep_firing_for_seconds: rule.keep.as_secs_f64(),
            severity: severity_word(rule.severity).to_owned(),
            labels: rule.labels.iter().cloned().collect(),
            alerts: book.open().filter(|alert| alert.rule == rule.name).count() as u64,
        }
    }
}

impl SilenceView {
    #[must_use]
    pub fn new(silence: &Silence, book: &Book, now: UnixMillis) -> Self {
        Self {
            id: silence.id.clone(),
            active: silence.is_active(now),
            matchers: silence.matchers.clone(),
            from: silence.from,
            until: silence.until,
            by: silence.by.clone(),
            reason: silence.reason.clone(),
            alerts: book.open().filter(|alert| silence.hides(alert, now)).count() as u64,
        }
    }
}
