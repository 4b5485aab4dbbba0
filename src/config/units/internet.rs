//! Addresses of services and of people: URLs, e-mail.

use http::Uri;
use serde_json::{Value as Json, json};

use crate::config::shape::{Decode, Decoder, Kind, Scalar, scalars};
use crate::config::tree::NodeId;

/// Longest URL or address.
const BYTES_MAX: usize = 1024;

scalars! { HttpsUrl; WebUrl; Email; }

/// A URL that is asked over TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpsUrl(pub String);

impl Scalar for HttpsUrl {
    const NAME: &'static str = "an https URL";

    fn parse(text: &str) -> Result<Self, String> {
        let url = text.parse::<Uri>().ok().filter(|_| text.len() <= BYTES_MAX);
        let usable = |url: &Uri| {
            let authority = url
                .authority()
                .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
            url.scheme_str() == Some("https") && authority
        };
        if url.as_ref().is_some_and(usable) { Ok(Self(text.to_owned())) } else { Err("https://host/path".to_owned()) }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^https://[!-~]+$", "examples": ["https://acme.example/directory"] })
    }
}

/// A URL that is asked, over TLS or without.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WebUrl(pub Uri);

impl Scalar for WebUrl {
    const NAME: &'static str = "an http or https URL";

    fn parse(text: &str) -> Result<Self, String> {
        let url = text.parse::<Uri>().ok().filter(|_| text.len() <= BYTES_MAX);
        let usable = |url: &Uri| {
            let authority = url
                .authority()
                .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
            matches!(url.scheme_str(), Some("http" | "https")) && authority
        };
        url.filter(usable).map(Self).ok_or_else(|| "https://host/path".to_owned())
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^https?://[!-~]+$", "examples": ["https://alerts.example/baton"] })
    }
}

/// A URL that is a secret by itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(pub Uri);

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretUrl")
    }
}

impl Decode for SecretUrl {
    fn decode(decoder: &mut Decoder, node: NodeId) -> Option<Self> {
        decoder.tree.hide(node);
        decoder.scalar::<WebUrl>(node).map(|url| Self(url.0))
    }

    fn kind() -> Kind {
        Kind::Scalar(WebUrl::NAME, WebUrl::schema())
    }
}

/// An e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(pub String);

impl Scalar for Email {
    const NAME: &'static str = "an e-mail address";

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix("mailto:").unwrap_or(text);
        // Whether it exists only a letter can tell; what would change the meaning of a `mailto:` URL is refused (RFC 6068).
        let plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && !b"?&,;:<>()%@".contains(&byte))
        };
        match text.split_once('@') {
            Some((name, host)) if plain(name) && plain(host) && text.len() <= BYTES_MAX => Ok(Self(text.to_owned())),
            _ => Err("name@host".to_owned()),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[^@]+@[^@]+$", "examples": ["operator@bot.example"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_that_can_be_asked_over_tls_are_taken() {
        for url in ["https://acme.example/directory", "https://127.0.0.1:14000/dir", "https://[::1]:1/"] {
            assert!(HttpsUrl::parse(url).is_ok(), "{url}");
        }
        for url in ["http://acme.example/", "acme.example", "https://", "https:///dir", "https://user@host/", ""] {
            assert!(HttpsUrl::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_url_without_tls_is_one_as_well_where_that_is_allowed() {
        for url in ["http://127.0.0.1:9/x?y", "https://[::1]/"] {
            assert!(WebUrl::parse(url).is_ok(), "{url}");
        }
        for url in ["ftp://a/", "a.example/", "http:///x", "http://user@host/", "/x", ""] {
            assert!(WebUrl::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn an_address_is_one_address() {
        assert_eq!(Email::parse("mailto:a@bot.example").unwrap().0, "a@bot.example");
        for wrong in ["a", "@b", "a@", "a@b,c@d", "a@b?cc=x@y", "a b@c", "a@b@c"] {
            assert!(Email::parse(wrong).is_err(), "{wrong}");
        }
    }
}
