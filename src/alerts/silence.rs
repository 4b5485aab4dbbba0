//! Silences: alerts that nobody wants to be told of for a while, and who said so.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::alert::Alert;
use crate::clock::UnixMillis;

/// Matchers of one silence.
pub const MATCHERS_MAX: usize = 16;

/// A condition on a label of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Matcher {
    /// `alertname` is the rule.
    pub label: String,
    /// The whole value; `*` in it stands for any characters.
    pub value: String,
}

/// Alerts that are not told for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    pub id: String,
    /// An alert that they all fit is silenced; there is at least one.
    pub matchers: Vec<Matcher>,
    pub from: UnixMillis,
    pub until: UnixMillis,
    /// Who asked for it.
    pub by: String,
    pub reason: String,
}

impl Matcher {
    /// Whether an alert fits. A label that it does not have is an empty text.
    #[must_use]
    pub fn fits(&self, alert: &Alert) -> bool {
        fits(&self.value, alert.label(&self.label).unwrap_or_default())
    }
}

impl Silence {
    #[must_use]
    pub fn is_active(&self, now: UnixMillis) -> bool {
        self.from <= now && now < self.until
    }

    /// Whether it hides an alert.
    #[must_use]
    pub fn hides(&self, alert: &Alert, now: UnixMillis) -> bool {
        self.is_active(now) && self.matchers.iter().all(|matcher| matcher.fits(alert))
    }
}

/// Whether a pattern fits a text; `*` is any number of characters. The time it takes grows with the product of their lengths.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut read) = (0, 0);
    // Where the last star stands, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, read));
            at += 1;
        } else if pattern.get(at) == text.get(read) {
            (at, read) = (at + 1, read + 1);
        } else if let Some((back, taken)) = star {
            star = Some((back, taken + 1));
            (at, read) = (back + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_number_of_characters_and_everything_else_is_itself() {
        for (pattern, text) in
            [("", ""), ("*", ""), ("*", "x"), ("a*c", "ac"), ("a*c", "abbc"), ("a*b*c", "aXbbYc"), ("a.c", "a.c")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "x"), ("a", ""), ("a*c", "abd"), ("a.c", "abc"), ("ab", "abc"), ("*b", "bc")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
