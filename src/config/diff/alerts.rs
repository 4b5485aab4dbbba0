//! Alerts as keys and values.

use super::super::model::{AlertRule, Comparison, Escalation, Signal};
use super::super::units::show_time;
use super::{Values, list, some, word};
use crate::events::Severity;

pub fn rule(rule: &AlertRule) -> Values {
    let AlertRule {
        name: _,
        builtin: _,
        enabled,
        signal,
        scope,
        only,
        comparison,
        threshold,
        clear,
        hold,
        keep,
        severity,
        labels,
        summary,
    } = rule;
    vec![
        ("enabled", some(enabled)),
        ("signal", word(&Signal::ALL, *signal)),
        ("scope", some(scope.word())),
        ("upstream", only.upstream.clone()),
        ("master", only.master.clone()),
        ("route", only.route.clone()),
        ("comparison", word(&Comparison::ALL, *comparison)),
        ("threshold", some(threshold)),
        ("clear", some(clear)),
        ("for", some(show_time(*hold))),
        ("keep_firing_for", some(show_time(*keep))),
        ("severity", word(&Severity::ALL, *severity)),
        ("labels", list(labels, |(name, value)| format!("{name}={value}"))),
        ("summary", summary.clone()),
    ]
}

/// In one line.
pub fn escalation(escalation: &Escalation) -> String {
    let Escalation { after, severity, from } = escalation;
    let name = |severity| word(&Severity::ALL, severity).unwrap_or_default();
    format!("{} to {} after {}", name(*from), name(*severity), show_time(*after))
}
