//! A notice as a message for Slack, and for what takes Slack's webhooks.

use serde_json::{Value, json};

use crate::alerts::notices::Notice;
use crate::events::Severity;

/// Alerts that a message names: people read it on a telephone.
const NAMED_MAX: usize = 20;

/// The body of the request.
#[must_use]
pub fn body(notice: &Notice) -> Value {
    let title = escaped(&super::title(notice));
    let text = escaped(&super::lines(notice, NAMED_MAX).join("\n"));
    let color = match notice.severity() {
        _ if notice.test => "#808080",
        _ if notice.is_over() => "#2e9e5b",
        Severity::Critical => "#c62828",
        Severity::Warning => "#e0a000",
        Severity::Info => "#3070c0",
    };
    json!({
        "text": title,
        // Stars and the like are what they are.
        "mrkdwn": false,
        "link_names": false,
        "attachments": [{ "color": color, "fallback": title, "text": text, "mrkdwn_in": [] }],
    })
}

/// `&`, `<` and `>` as Slack wants them, without which a text could be a link or call people. Others take `@all` as it is, so that is
/// taken apart by a space without a width.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '@' => out.push_str("@\u{200b}"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::kit::{many, notice};
    use super::*;

    #[test]
    fn a_message_has_a_title_and_a_line_for_each_alert() {
        let body = body(&many());
        assert_eq!(body["text"], "WARNING: 60 alerts");
        let text = body["attachments"][0]["text"].as_str().unwrap();
        assert_eq!(text.lines().count(), NAMED_MAX + 3, "{text}");
    }

    proptest! {
        #[test]
        fn no_sentence_becomes_a_link_a_mention_or_another_line(text in r"[<>&!@#*|\n\rab:/.\u{2028}]{0,60}") {
            let body = body(&notice(&text));
            for part in [&body["text"], &body["attachments"][0]["text"], &body["attachments"][0]["fallback"]] {
                let part = part.as_str().unwrap();
                prop_assert!(!part.contains(['<', '>', '\r', '\n', '\u{2028}']), "{part:?}");
                prop_assert!(part.match_indices('@').all(|(at, _)| part[at + 1..].starts_with('\u{200b}')), "{part:?}");
                let entities = ["amp;", "lt;", "gt;"];
                prop_assert!(part.match_indices('&').all(|(at, _)| entities.iter().any(|it| part[at + 1..].starts_with(it))));
            }
        }
    }
}
