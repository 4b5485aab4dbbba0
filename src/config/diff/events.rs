//! Who hears of events, as keys and values. Neither secrets nor paths of URLs are shown.

use super::super::model::EventWebhook;
use super::super::units::show_time;
use super::{Values, list, some, word};
use crate::events::Severity;

pub fn webhook(webhook: &EventWebhook) -> Values {
    let EventWebhook { name: _, url: _, secret, kinds, severity, ca, timeout, attempts } = webhook;
    vec![
        ("url", some(webhook.place())),
        ("secret", secret.as_ref().map(|_| "given".into())),
        ("kinds", list(kinds, |kind| kind.word().to_owned())),
        ("severity", word(&Severity::ALL, *severity)),
        ("ca", ca.as_ref().map(|path| path.display().to_string())),
        ("timeout", some(show_time(*timeout))),
        ("attempts", some(attempts)),
    ]
}
