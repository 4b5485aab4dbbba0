//! Alerts as the second version of Alertmanager's API takes them.

use serde_json::{Value, json};

use crate::alerts::alert::Alert;
use crate::alerts::refresh::{Batch, ENDS_AFTER};
use crate::clock::{Rfc3339, UnixMillis, millis};

/// Below the URL of the configuration.
pub const PATH: &str = "/api/v2/alerts";

/// The body of the request.
#[must_use]
pub fn body(batch: &Batch, now: UnixMillis) -> Value {
    let later = now.saturating_add(millis(ENDS_AFTER));
    let firing = batch.firing.iter().map(|alert| one(alert, later));
    firing.chain(batch.ended.iter().map(|(alert, end)| one(alert, *end))).collect()
}

/// One that ends by itself after this many milliseconds.
#[must_use]
pub fn test(alert: &Alert, lasts: u64) -> Value {
    json!([one(alert, alert.raised.saturating_add(lasts))])
}

fn one(alert: &Alert, end: UnixMillis) -> Value {
    let mut annotations = json!({ "summary": alert.summary, "value": crate::config::model::shown(alert.value) });
    if let Some(by) = &alert.acknowledged {
        annotations["acknowledged_by"] = json!(by.by);
    }
    json!({
        "labels": alert.all_labels(),
        "annotations": annotations,
        "startsAt": Rfc3339(alert.raised).to_string(),
        // It refuses an end before the beginning.
        "endsAt": Rfc3339(end.max(alert.raised)).to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::kit::alert;
    use super::*;

    #[test]
    fn what_goes_on_ends_later_and_what_has_ended_when_it_did() {
        let mut batch = Batch::default();
        batch.firing.push(alert("a"));
        batch.ended.push((alert("b"), 1_700_000_001_000));
        let body = body(&batch, 1_700_000_100_000);
        assert_eq!(body[0]["endsAt"], "2023-11-14T22:19:00.000Z");
        assert_eq!(body[0]["startsAt"], "2023-11-14T22:13:20.000Z");
        assert_eq!(body[1]["endsAt"], "2023-11-14T22:13:21.000Z");
        assert_eq!(body[0]["labels"], json!({ "alertname": "test", "severity": "info", "name": "bots" }));
        assert_eq!(body[0]["annotations"]["summary"], "a");
    }
}
