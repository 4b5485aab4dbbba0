//! What receivers of alerts read: a notice as each kind of receiver wants it.
//!
//! Sentences in alerts carry names and reasons from outside. None of them becomes markup, a mention or a header anywhere.

pub mod alertmanager;
pub mod email;
pub mod slack;
pub mod webhook;

use crate::alerts::alert::{Alert, severity_word};
use crate::alerts::notices::{Notice, Why};
use crate::clock::{Rfc3339, UnixMillis};

/// Longest sentence about one alert, in characters.
const SENTENCE_CHARS_MAX: usize = 500;

/// A notice in one line.
#[must_use]
pub fn title(notice: &Notice) -> String {
    let word = if notice.test {
        "TEST".to_owned()
    } else if notice.is_over() {
        "RESOLVED".to_owned()
    } else {
        severity_word(notice.severity()).to_uppercase()
    };
    match notice.alerts.as_slice() {
        [(_, alert)] if notice.more == 0 => format!("{word}: {}", sentence(alert)),
        _ => {
            let of: Vec<String> = notice.group.iter().map(|(label, value)| format!("{label} {value}")).collect();
            let of = if of.is_empty() { String::new() } else { format!(" of {}", of.join(", ")) };
            format!("{word}: {} alerts{}", notice.count(), plain(&of))
        }
    }
}

/// Each alert of a notice in one line, up to so many, and what else is to be said.
#[must_use]
pub fn lines(notice: &Notice, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = notice.alerts.iter().take(most).map(|(why, alert)| line(*why, alert)).collect();
    let further = notice.count().saturating_sub(lines.len() as u64);
    if further > 0 {
        lines.push(format!("and {further} more: baton ctl alerts"));
    }
    if notice.held > 0 {
        lines.push(format!("{} of these were held back, as there had been too many notifications.", notice.held));
    }
    if let Some(until) = notice.full_until {
        lines.push(format!("This is the last notification until {}: there have been too many.", moment(until)));
    }
    lines
}

fn line(why: Why, alert: &Alert) -> String {
    let (severity, since) = (severity_word(alert.severity), moment(alert.raised));
    let when = match alert.resolved {
        Some(end) => format!("from {since} to {}", moment(end)),
        None => format!("since {since}"),
    };
    format!("{severity}, {}: {} ({}, {when})", why.word(), sentence(alert), plain(&alert.rule))
}

/// An alert's own sentence, in one line.
fn sentence(alert: &Alert) -> String {
    plain(&alert.summary)
}

/// A text in one line and of bounded length.
#[must_use]
pub fn plain(text: &str) -> String {
    let characters = text.chars().map(|character| if breaks(character) { ' ' } else { character });
    let mut short: String = characters.clone().take(SENTENCE_CHARS_MAX).collect();
    if characters.count() > SENTENCE_CHARS_MAX {
        short.push('…');
    }
    short
}

/// What ends a line, or changes the direction of what follows.
fn breaks(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// To the second.
fn moment(at: UnixMillis) -> String {
    let text = Rfc3339(at).to_string();
    format!("{}Z", text.split('.').next().unwrap_or_default())
}

#[cfg(test)]
mod kit;

#[cfg(test)]
mod tests {
    use super::kit::{many, notice};
    use super::*;

    #[test]
    fn a_title_is_one_line_whatever_the_sentence_has_in_it() {
        let odd = notice("it failed\r\nBcc: all@example.com\u{2028}\u{202e}x");
        assert_eq!(title(&odd), "INFO: it failed  Bcc: all@example.com  x");
        let long = title(&notice(&"ü".repeat(9000)));
        assert!(long.chars().count() < SENTENCE_CHARS_MAX + 20 && long.ends_with('…'));
        assert_eq!(title(&many()), "WARNING: 60 alerts");
    }

    #[test]
    fn what_does_not_fit_and_what_was_held_back_is_said() {
        let lines = lines(&many(), 10);
        assert_eq!(lines.len(), 13);
        assert!(lines[0].starts_with(
            "warning, raised: 50 % of the requests of upstream u00 fail (errors, since 2027-01-15T08:00:00Z"
        ));
        assert_eq!(lines[10], "and 50 more: baton ctl alerts");
        assert!(lines[11].starts_with("7 of these were held back"));
        assert!(lines[12].starts_with("This is the last notification until 2027-01-15T08:00:00Z"));
    }
}
