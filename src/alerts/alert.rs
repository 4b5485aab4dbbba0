//! One alert: from when a rule began to hold for something until it ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::subject::Subject;
use crate::clock::UnixMillis;
use crate::config::model::AlertRule;
use crate::events::Severity;

/// An alert, as it is kept on disk too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// [`Subject::fingerprint`]: the next alert of the rule about the same thing has it too.
    pub id: String,
    /// Grows with each alert; no two have the same.
    pub number: u64,
    pub rule: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Those that the rule gives.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    pub severity: Severity,
    /// A sentence without an end.
    pub summary: String,
    pub value: f64,
    pub threshold: f64,
    pub raised: UnixMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledged>,
    /// When it came to matter more because nobody acknowledged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalated: Option<UnixMillis>,
    /// By receiver: what it was last told about this alert.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<String, Told>,
}

/// Who looks after an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    pub by: String,
    pub at: UnixMillis,
    pub note: String,
}

/// What a receiver knows of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub at: UnixMillis,
    pub severity: Severity,
    pub resolved: bool,
}

impl Alert {
    /// One that begins now.
    #[must_use]
    pub fn new(rule: &AlertRule, subject: &Subject, number: u64, now: UnixMillis) -> Self {
        let owned = |name: &Option<std::sync::Arc<str>>| name.as_deref().map(str::to_owned);
        Self {
            id: subject.fingerprint(&rule.name),
            number,
            rule: rule.name.clone(),
            upstream: owned(&subject.upstream),
            master: owned(&subject.master),
            route: owned(&subject.route),
            name: owned(&subject.name),
            labels: rule.labels.iter().cloned().collect(),
            severity: rule.severity,
            summary: String::new(),
            value: 0.0,
            threshold: rule.threshold,
            raised: now,
            resolved: None,
            acknowledged: None,
            escalated: None,
            told: BTreeMap::new(),
        }
    }

    /// One that is about nothing: it tries whether somebody can be told.
    #[must_use]
    pub fn test(receiver: &str, by: &str, now: UnixMillis) -> Self {
        Self {
            id: Subject::named(receiver).fingerprint("test"),
            number: now,
            rule: "test".to_owned(),
            upstream: None,
            master: None,
            route: None,
            name: Some(receiver.to_owned()),
            labels: BTreeMap::new(),
            severity: Severity::Info,
            summary: format!("{by} tries whether {receiver} can be told; nothing is wrong"),
            value: 0.0,
            threshold: 0.0,
            raised: now,
            resolved: None,
            acknowledged: None,
            escalated: None,
            told: BTreeMap::new(),
        }
    }

    /// What it is about.
    #[must_use]
    pub fn subject(&self) -> Subject {
        let shared = |name: &Option<String>| name.as_deref().map(Into::into);
        Subject {
            upstream: shared(&self.upstream),
            master: shared(&self.master),
            route: shared(&self.route),
            name: shared(&self.name),
        }
    }

    /// The value of a label; `alertname` is the rule.
    #[must_use]
    pub fn label(&self, label: &str) -> Option<&str> {
        match label {
            "alertname" => Some(&self.rule),
            "severity" => Some(severity_word(self.severity)),
            "upstream" => self.upstream.as_deref(),
            "master" => self.master.as_deref(),
            "route" => self.route.as_deref(),
            "name" => self.name.as_deref(),
            _ => self.labels.get(label).map(String::as_str),
        }
    }

    /// All labels, as Prometheus and Alertmanager know alerts by.
    #[must_use]
    pub fn all_labels(&self) -> BTreeMap<&str, &str> {
        let own = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let common = ["alertname", "severity", "upstream", "master", "route", "name"];
        own.chain(common.into_iter().filter_map(|label| Some((label, self.label(label)?)))).collect()
    }
}

/// As the API and configurations write it.
#[must_use]
pub fn severity_word(severity: Severity) -> &'static str {
    Severity::ALL.iter().find(|(known, _)| *known == severity).map_or("", |(_, word)| word)
}
