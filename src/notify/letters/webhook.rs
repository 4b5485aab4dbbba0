//! A notice as JSON for programs.

use serde_json::{Value, json};

use crate::alerts::alert::{Alert, severity_word};
use crate::alerts::notices::{Notice, Why};

/// `test`, `resolved`, or `firing` while one of its alerts goes on.
#[must_use]
pub fn status(notice: &Notice) -> &'static str {
    if notice.test {
        "test"
    } else if notice.is_over() {
        "resolved"
    } else {
        "firing"
    }
}

/// The body of the request. Moments are in milliseconds since 1970.
#[must_use]
pub fn body(receiver: &str, notice: &Notice) -> Value {
    json!({
        "version": 1,
        "receiver": receiver,
        "status": status(notice),
        "severity": severity_word(notice.severity()),
        "title": super::title(notice),
        "group": notice.group,
        "alerts": notice.alerts.iter().map(|(why, alert)| one(*why, alert)).collect::<Vec<_>>(),
        "more": notice.more,
        "held_back": notice.held,
        "next_not_before": notice.full_until,
    })
}

fn one(why: Why, alert: &Alert) -> Value {
    json!({
        "id": alert.id,
        "number": alert.number,
        "why": why.word(),
        "rule": alert.rule,
        "severity": severity_word(alert.severity),
        "summary": alert.summary,
        "labels": alert.all_labels(),
        "value": alert.value,
        "threshold": alert.threshold,
        "raised": alert.raised,
        "escalated": alert.escalated,
        "resolved": alert.resolved,
        "acknowledged_by": alert.acknowledged.as_ref().map(|it| &it.by),
    })
}

#[cfg(test)]
mod tests {
    use super::super::kit::{many, notice};
    use super::*;

    #[test]
    fn a_program_reads_what_it_is_about_and_how_much_more_there_is() {
        let body = body("ops", &many());
        assert_eq!((&body["status"], &body["more"], &body["held_back"]), (&json!("firing"), &json!(10), &json!(7)));
        assert_eq!(body["alerts"].as_array().map(Vec::len), Some(50));
        assert_eq!(
            body["alerts"][0]["labels"],
            json!({ "alertname": "errors", "severity": "warning", "upstream": "u00" })
        );
        assert_eq!(super::body("ops", &notice("a \"b\"\n"))["alerts"][0]["summary"], "a \"b\"\n");
    }
}
