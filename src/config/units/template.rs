//! Values with variables in braces, and hosts to be written.

use serde_json::{Value as Json, json};

use super::text::TEXT_BYTES_MAX;
use crate::config::model::{HostRewrite, Part, Template, Variable};
use crate::config::shape::{Decode, Decoder, Kind, Scalar, scalars};
use crate::config::tree::NodeId;

scalars! { NewHost; RedirectStatus; UrlScheme; }

/// The value of a header that a rule writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderTemplate(pub Template);

impl Decode for HeaderTemplate {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        decoder.tree.hide(node);
        let text = decoder.text(node, "the value of a header")?;
        // Such values are often credentials: what was found is not repeated.
        let (message, help) = if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
            let message = "the value of this header has control characters or is too long";
            (message, format!("one line of up to {TEXT_BYTES_MAX} bytes"))
        } else if let Some(parts) = parts(&text) {
            return Some(Self(Template(parts)));
        } else {
            let known: Vec<String> = Variable::ALL.iter().map(|(_, word)| format!("`{{{word}}}`")).collect();
            ("the value of this header has a word in braces that is no variable", known.join(", "))
        };
        let report = decoder.error(node, message);
        decoder.reports.push(report.help(help));
        None
    }

    fn kind() -> Kind {
        Kind::Scalar("a text", json!({ "type": "string", "maxLength": TEXT_BYTES_MAX }))
    }
}

/// The parts of a text; `None` when a word in braces is not known. Braces around anything but one word are text.
fn parts(text: &str) -> Option<Vec<Part>> {
    let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(open) = rest.find('{') {
        let (before, after) = (&rest[..open], &rest[open + 1..]);
        plain.push_str(before);
        let length = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').unwrap_or(after.len());
        if length == 0 || !after[length..].starts_with('}') {
            plain.push('{');
            rest = after;
            continue;
        }
        let word = &after[..length];
        let (variable, _) = Variable::ALL.iter().find(|(_, known)| *known == word)?;
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        parts.push(Part::Variable(*variable));
        rest = &after[length + 1..];
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Some(parts)
}

/// The `Host` that a master is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHost(pub HostRewrite);

/// A DNS name has at most 253 characters; a colon and a port come behind it.
const HOST_BYTES_MAX: usize = 260;

impl Scalar for NewHost {
    const NAME: &'static str = "a host, or `upstream`";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "upstream" {
            return Ok(Self(HostRewrite::Master));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        if (1..=HOST_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(HostRewrite::Name(text.to_owned())))
        } else {
            Err("write bot.example or bot.example:8080, without a scheme and a path".into())
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9._:\\[\\]-]{1,260}$", "examples": ["bot.example", "upstream"] })
    }
}

/// The status of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedirectStatus(pub u16);

impl Scalar for RedirectStatus {
    const NAME: &'static str = "301, 302, 303, 307 or 308";

    fn parse(text: &str) -> Result<Self, String> {
        let status = text.parse().ok().filter(|status| [301, 302, 303, 307, 308].contains(status));
        status.map(Self).ok_or_else(|| "301 and 308 are for good, the others for now".into())
    }

    fn schema() -> Json {
        json!({ "enum": [301, 302, 303, 307, 308] })
    }
}

/// The scheme of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlScheme {
    Http,
    Https,
}

impl UrlScheme {
    pub fn is_https(self) -> bool {
        self == Self::Https
    }
}

impl Scalar for UrlScheme {
    const NAME: &'static str = "`http` or `https`";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            _ => Err("without a colon".into()),
        }
    }

    fn schema() -> Json {
        json!({ "enum": ["http", "https"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_known_word_in_braces_is_a_variable() {
        let text = |text: &str| Part::Text(text.to_owned());
        let ip = Part::Variable(Variable::ClientIp);
        assert_eq!(parts("a {client-ip}!"), Some(vec![text("a "), ip.clone(), text("!")]));
        assert_eq!(parts("{client-ip}{client-ip}"), Some(vec![ip.clone(), ip]));
        for plain in ["{\"group\":\"x\"}", "{}", "a{", "}", "{ host }", "{a b}"] {
            assert_eq!(parts(plain), Some(vec![text(plain)]));
        }
        assert_eq!(parts(""), Some(vec![]));
        assert_eq!(parts("{client_ip}"), None);
        assert_eq!(parts("{{hostname}}"), None);
    }
}
