//! A configuration's text as it may be shown: without the secrets that stand in it.

use super::diagnostic::{Place, guess_secret};
use super::shape::Decoder;
use super::substitute::{Lookup, Resolver};
use super::tree::Tree;
use super::validate;

/// What stands in a secret's place.
const HIDDEN: &str = "***";

/// The text with every secret value hidden: those that are secret by what they mean, and those under keys that speak of a
/// secret, also in comments. What only names one, `${NAME}` or `${file:PATH}`, stays. A text that is no YAML is judged line by
/// line. Blocks as `lookup` does.
#[must_use]
pub fn redact(text: &str, lookup: &dyn Lookup) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut resolver = Resolver::new(lookup, text);
    let mut reports = Vec::new();
    let secrets = Tree::parse(text, &mut resolver, &mut reports).map(|tree| {
        let mut decoder = Decoder { tree, reports };
        let file = decoder.at(decoder.tree.root());
        // Only while values are looked at is known which are hidden.
        let _ = validate::check(&file, &mut decoder, &mut resolver);
        decoder.tree.secrets()
    });
    let known = secrets.is_some();
    let secrets = secrets.unwrap_or_default();
    let mut shown = String::with_capacity(text.len());
    for (number, line) in (1..).zip(text.lines()) {
        let comment = line.trim_start().starts_with('#');
        let mut hidden: Vec<(usize, usize)> =
            secrets.iter().filter_map(|place| columns(*place, number, line)).collect();
        if !known || comment {
            hidden.extend(guess_secret(line).map(|first| (first, usize::MAX)));
        }
        hidden.sort_unstable();
        shown.push_str(&without(line, &hidden));
        shown.push('\n');
    }
    shown
}

/// The columns of a secret in a line, unless all that stands there is the name of one.
fn columns(place: Place, number: usize, line: &str) -> Option<(usize, usize)> {
    let (first, end) = place.columns_in(number)?;
    let value: String = line.chars().skip(first - 1).take(end.saturating_sub(first)).collect();
    let value = value.trim().trim_matches(['"', '\'']);
    let is_name =
        value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).is_some_and(|name| !name.contains('$'));
    (!is_name).then_some((first, end))
}

fn without(line: &str, hidden: &[(usize, usize)]) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut inside = false;
    for (column, character) in (1..).zip(line.chars()) {
        let is_hidden = hidden.iter().any(|(first, end)| (*first..*end).contains(&column));
        if is_hidden && !inside {
            shown.push_str(HIDDEN);
        }
        if !is_hidden {
            shown.push(character);
        }
        inside = is_hidden;
    }
    shown
}

#[cfg(test)]
mod tests {
    use crate::config::System;

    fn redact(text: &str) -> String {
        super::redact(text, &System)
    }

    #[test]
    fn secrets_are_hidden_and_everything_else_stays() {
        let text = "\
routes:
  - name: a # api_key: in a comment
    whatsapp: { provider: waha, app_secret: \"s3cret\", verify_token: plain }
    # app_secret: old one
    other: 1
admin:
  keys:
    - { id: k, secret: \"${KEY}\" }
    - id: l
      secret: >
        folded
        twice
";
        let shown = redact(text);
        for secret in ["s3cret", "plain", "old one", "folded", "twice"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        for kept in
            ["name: a", "provider: waha, app_secret: ***, verify_token: *** }", "\"${KEY}\"", "other: 1", "id: l"]
        {
            assert!(shown.contains(kept), "{kept} not in {shown}");
        }
        assert_eq!(shown.lines().count(), text.lines().count());
    }

    #[test]
    fn values_of_probe_headers_are_hidden_whatever_their_name() {
        let text = "\
upstreams:
  - name: bots
    masters: [{ name: a, address: \"127.0.0.1:1\" }]
    health_check: { http: { path: /health, headers: [{ name: x-key, value: abc123 }] } }
";
        let shown = redact(text);
        assert!(!shown.contains("abc123") && shown.contains("x-key"), "{shown}");
    }

    #[test]
    fn what_is_no_yaml_is_judged_by_its_lines() {
        let shown = redact("a: [\napp_secret: abc\nb: 2");
        assert!(!shown.contains("abc") && shown.contains("b: 2"), "{shown}");
    }

    #[test]
    fn a_name_beside_a_secret_hides_nothing_of_it() {
        assert!(!redact("app_secret: \"abc${X}\"").contains("abc"));
        assert!(!redact("app_secret: \"${X}abc${Y}\"").contains("abc"));
    }
}
