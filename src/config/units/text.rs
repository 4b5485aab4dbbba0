//! Texts: names, paths of files, phone numbers, countries, values of JSON.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::config::shape::{Decode, Decoder, Kind, Scalar, scalars};
use crate::config::tree::{NodeId, Value};

/// Names are labels of metrics and words of commands.
const NAME_CHARS_MAX: usize = 64;

/// Longest text that is compared with or sent in an HTTP message.
pub const TEXT_BYTES_MAX: usize = 4096;

scalars! { Name; NameOrAll; LabelName; KnownLabel; Text; FilePath; Phone; Country; Pointer; }

/// What listeners, routes, upstreams and masters are called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(pub String);

impl Scalar for Name {
    const NAME: &'static str = "a name";

    fn parse(text: &str) -> Result<Self, String> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !text.is_empty() && text.len() <= NAME_CHARS_MAX && text.bytes().all(valid) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("up to {NAME_CHARS_MAX} letters, digits, `.`, `_` and `-`"))
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": format!("^[A-Za-z0-9._-]{{1,{NAME_CHARS_MAX}}}$") })
    }
}

/// A name, or `*` for each one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NameOrAll {
    All,
    Name(String),
}

impl Scalar for NameOrAll {
    const NAME: &'static str = "a name or `*`";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::All);
        }
        Name::parse(text).map(|name| Self::Name(name.0)).map_err(|help| format!("{help}, or \"*\" for each one"))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": format!("^(\\*|[A-Za-z0-9._-]{{1,{NAME_CHARS_MAX}}})$") })
    }
}

/// A label of alerts, as Prometheus has them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LabelName(pub String);

/// Labels that alerts have anyway.
const LABELS_TAKEN: [&str; 7] = ["alertname", "severity", "upstream", "master", "route", "name", "instance"];

impl Scalar for LabelName {
    const NAME: &'static str = "the name of a label";

    fn parse(text: &str) -> Result<Self, String> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let begins = text.bytes().next().is_some_and(|first| !first.is_ascii_digit());
        if LABELS_TAKEN.contains(&text) {
            return Err("alerts have that label anyway".into());
        }
        if begins && text.len() <= NAME_CHARS_MAX && text.bytes().all(valid) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("up to {NAME_CHARS_MAX} letters, digits and `_`, and no digit first"))
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": format!("^[A-Za-z_][A-Za-z0-9_]{{0,{}}}$", NAME_CHARS_MAX - 1) })
    }
}

/// A label that alerts may have, those that all have included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KnownLabel(pub String);

impl Scalar for KnownLabel {
    const NAME: &'static str = "the name of a label";

    fn parse(text: &str) -> Result<Self, String> {
        if LABELS_TAKEN.contains(&text) {
            return Ok(Self(text.to_owned()));
        }
        LabelName::parse(text).map(|label| Self(label.0))
    }

    fn schema() -> Json {
        LabelName::schema()
    }
}

/// Any text in one line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Text(pub String);

impl Scalar for Text {
    const NAME: &'static str = "a text";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(format!("one line of up to {TEXT_BYTES_MAX} bytes, without control characters"));
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": TEXT_BYTES_MAX })
    }
}

/// A file or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath(pub PathBuf);

impl Scalar for FilePath {
    const NAME: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, String> {
        Text::parse(text).map(|text| Self(PathBuf::from(text.0)))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// A phone number as E.164 has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phone(pub String);

impl Scalar for Phone {
    const NAME: &'static str = "a phone number";

    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix('+').unwrap_or_default();
        let valid = (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err("write `+`, the country and the number: \"+971501234567\"".into())
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^\\+[1-9][0-9]{6,14}$" })
    }
}

/// A country as ISO 3166-1 alpha-2 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Country(pub [u8; 2]);

impl Scalar for Country {
    const NAME: &'static str = "a country";

    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_bytes() {
            // Often written, never assigned.
            [b'U', b'K'] => Err("the code of the United Kingdom is GB".into()),
            &[a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Ok(Self([a, b])),
            _ => Err("write its two letters: AE, DE, GB".into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z]{2}$", "examples": ["AE", "DE"] })
    }
}

/// A JSON pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(pub String);

impl Scalar for Pointer {
    const NAME: &'static str = "a JSON pointer";

    fn parse(text: &str) -> Result<Self, String> {
        let escapes_end = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if text.len() <= TEXT_BYTES_MAX && (text.is_empty() || text.starts_with('/')) && escapes_end {
            Ok(Self(text.to_owned()))
        } else {
            Err("write the keys on the way, each after a `/`: /checks/whatsapp/state".into())
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(/([^~]|~[01])*)?$", "examples": ["/state"] })
    }
}

/// A value of JSON that is compared as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Literal(pub String);

impl Decode for Literal {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        match &decoder.tree.node(node).value {
            Value::Scalar(scalar) if !(scalar.plain && scalar.text.is_empty()) => Some(Self(scalar.text.clone())),
            _ => {
                decoder.expected(node, "a text, a number, true, false or null", "");
                None
            }
        }
    }

    fn kind() -> Kind {
        Kind::Scalar(
            "a text, a number, true, false or null",
            json!({ "type": ["string", "number", "boolean", "null"] }),
        )
    }
}
