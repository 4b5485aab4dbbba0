//! Parts of HTTP messages: paths, methods, headers, status codes, and what recognises a requester.

use serde_json::{Value as Json, json};

use super::quantity::Int;
use super::text::TEXT_BYTES_MAX;
use crate::config::model::AffinityKey;
use crate::config::shape::{Decode, Decoder, Kind, List, Scalar, scalars};
use crate::config::tree::{NodeId, Value};

scalars! { UrlPath; ProbePath; Method; HeaderName; MediaRange; Affinity; StatusRange; }

/// A path of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UrlPath(pub String);

impl Scalar for UrlPath {
    const NAME: &'static str = "a path of a URL";

    fn parse(text: &str) -> Result<Self, String> {
        let graphic = text.len() <= TEXT_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !text.starts_with('/') {
            Err("it begins with `/`".into())
        } else if !graphic {
            Err("it has neither spaces nor other than ASCII characters; write them as %20".into())
        } else if text.contains(['?', '#']) {
            Err("it ends before `?` and `#`".into())
        } else if text.split('/').any(|segment| segment == "." || segment == "..") {
            Err("it has no segment `.` or `..`".into())
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/[^?#\\s]*$", "examples": ["/webhook"] })
    }
}

/// A path with a query, to be requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbePath(pub String);

impl Scalar for ProbePath {
    const NAME: &'static str = "a path of a URL";

    fn parse(text: &str) -> Result<Self, String> {
        let graphic = text.len() <= TEXT_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.starts_with('/') && graphic && !text.contains('#') {
            Ok(Self(text.to_owned()))
        } else {
            Err("it begins with `/` and has neither spaces nor `#`, such as /health?deep=1".into())
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/[^#\\s]*$", "examples": ["/health"] })
    }
}

/// RFC 9110, section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=256).contains(&text.len()) && text.bytes().all(valid)
}

/// A request method.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Method(pub String);

impl Scalar for Method {
    const NAME: &'static str = "a request method";

    fn parse(text: &str) -> Result<Self, String> {
        if is_token(text) { Ok(Self(text.to_ascii_uppercase())) } else { Err("one word, such as GET or POST".into()) }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[!-~]+$", "examples": ["GET", "POST"] })
    }
}

/// The name of a header, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderName(pub String);

impl Scalar for HeaderName {
    const NAME: &'static str = "the name of a header";

    fn parse(text: &str) -> Result<Self, String> {
        if is_token(text) { Ok(Self(text.to_ascii_lowercase())) } else { Err("one word, such as x-tenant".into()) }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[!-~]+$", "examples": ["x-tenant"] })
    }
}

/// A media type without parameters, or all of a kind (`text/*`), in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MediaRange(pub String);

impl Scalar for MediaRange {
    const NAME: &'static str = "a media type";

    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((kind, subtype))
                if is_token(kind)
                    && is_token(subtype)
                    && !kind.contains('*')
                    && (subtype == "*" || !subtype.contains('*')) =>
            {
                Ok(Self(text.to_ascii_lowercase()))
            }
            _ => Err("a kind and a subtype without parameters, such as text/html or text/*".into()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[!-~]+/[!-~]+$", "examples": ["text/html", "text/*"] })
    }
}

/// A value of a header of a request that Baton sends itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderValue(pub String);

impl Decode for HeaderValue {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        decoder.tree.hide(node);
        let text = decoder.text(node, "the value of a header")?;
        if text.len() <= TEXT_BYTES_MAX && text.chars().all(|character| !character.is_control()) {
            return Some(Self(text));
        }
        // Such values are often credentials: what was found is not repeated.
        let report = decoder.error(node, "the value of this header has control characters or is too long");
        decoder.reports.push(report.help(format!("one line of up to {TEXT_BYTES_MAX} bytes")));
        None
    }

    fn kind() -> Kind {
        Kind::Scalar("a text", json!({ "type": "string", "maxLength": TEXT_BYTES_MAX }))
    }
}

/// A secret that is shared with somebody else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Decode for Secret {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        decoder.tree.hide(node);
        let text = decoder.text(node, "a secret")?;
        if !text.is_empty() && text.len() <= TEXT_BYTES_MAX && text.chars().all(|character| !character.is_control()) {
            return Some(Self(text));
        }
        let report = decoder.error(node, "this secret is empty, too long or has control characters");
        let help = format!(
            "one line of 1 to {TEXT_BYTES_MAX} bytes; `${{file:/run/secrets/x}}` leaves the line end of a file out"
        );
        decoder.reports.push(report.help(help));
        None
    }

    fn kind() -> Kind {
        Kind::Scalar("a text", json!({ "type": "string", "minLength": 1, "maxLength": TEXT_BYTES_MAX }))
    }
}

/// What holds a requester to a master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affinity(pub AffinityKey);

impl Scalar for Affinity {
    const NAME: &'static str = "`conversation`, `client-ip`, `header:NAME` or `cookie:NAME`";

    fn parse(text: &str) -> Result<Self, String> {
        let key = match text.split_once(':') {
            None if text == "client-ip" => AffinityKey::ClientIp,
            None if text == "conversation" => AffinityKey::Conversation,
            Some(("header", name)) if is_token(name) => AffinityKey::Header(name.to_ascii_lowercase()),
            Some(("cookie", name)) if is_token(name) => AffinityKey::Cookie(name.to_owned()),
            _ => return Err("NAME is one word, such as header:x-session".into()),
        };
        Ok(Self(key))
    }

    fn schema() -> Json {
        let examples = ["conversation", "client-ip", "header:x-session", "cookie:session"];
        json!({ "type": "string", "pattern": "^(conversation|client-ip|header:.+|cookie:.+)$", "examples": examples })
    }
}

/// A status code or a range of them, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange(pub u16, pub u16);

impl Scalar for StatusRange {
    const NAME: &'static str = "a status code or a range of them";

    fn parse(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (Int::<100, 599>::parse(first), Int::<100, 599>::parse(last)) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self(first.u16(), last.u16())),
            _ => Err("write 200 or 200-299, from 100 to 599".into()),
        }
    }

    fn schema() -> Json {
        let range = json!({ "type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$", "examples": ["200-299"] });
        json!({ "anyOf": [{ "type": "integer", "minimum": 100, "maximum": 599 }, range] })
    }
}

/// One range of status codes, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRanges(pub Vec<StatusRange>);

impl Decode for StatusRanges {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        if !matches!(decoder.tree.node(node).value, Value::List(_)) {
            return StatusRange::decode(decoder, node).map(|range| Self(vec![range]));
        }
        let ranges = List::<StatusRange>::decode(decoder, node)?;
        if ranges.is_empty() {
            let report = decoder.error(node, "no status code");
            decoder.reports.push(report.help("name at least one, such as `expect_status: 200-299`"));
            return None;
        }
        ranges.iter().map(|range| range.get().copied()).collect::<Option<Vec<_>>>().map(Self)
    }

    fn kind() -> Kind {
        let one = StatusRange::schema();
        let list = json!({ "type": "array", "items": one, "minItems": 1 });
        Kind::Scalar("status codes, ranges of them, or a list", json!({ "anyOf": [one, list] }))
    }
}
