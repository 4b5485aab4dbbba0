//! How gateways prove who they are, from their side, and how a bot on Meta's API checks it.

use std::fmt::Write;

use aws_lc_rs::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256, HMAC_SHA512};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::header::{self, HeaderName};

use crate::whatsapp::Provider;

/// The header in which Meta signs.
pub const HUB_SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
/// What Evolution's tokens are valid for, in seconds.
const TOKEN_SECONDS: u64 = 600;

/// The header that the gateway adds to a request for this URL with this body; none where it has none. `now` is in seconds
/// since 1970.
#[must_use]
pub fn header(provider: Provider, secret: &str, url: &str, body: &[u8], now: u64) -> Option<(HeaderName, String)> {
    match provider {
        Provider::CloudApi | Provider::Gowa => Some((HUB_SIGNATURE, hub(secret, body))),
        Provider::Waha => Some((HeaderName::from_static("x-webhook-hmac"), digits(HMAC_SHA512, secret, body))),
        Provider::Evolution => Some((header::AUTHORIZATION, format!("Bearer {}", token(secret, now)))),
        Provider::Wwebjs => Some((HeaderName::from_static("x-api-key"), secret.to_owned())),
        Provider::Wppconnect => None,
        Provider::Twilio => {
            let tag = hmac::sign(&hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes()), &form(url, body));
            Some((HeaderName::from_static("x-twilio-signature"), STANDARD.encode(tag)))
        }
    }
}

/// Meta's signature over the raw bytes: `sha256=` and the digest in lower-case hexadecimal.
#[must_use]
pub fn hub(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", digits(HMAC_SHA256, secret, body))
}

fn digits(algorithm: hmac::Algorithm, secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(algorithm, secret.as_bytes()), body);
    tag.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A JSON Web Token (RFC 7519) with HS256, as Evolution makes one for each webhook.
fn token(secret: &str, now: u64) -> String {
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = serde_json::json!({ "iat": now, "exp": now + TOKEN_SECONDS, "app": "evolution", "action": "webhook" });
    let signed = format!("{}.{}", part(serde_json::json!({ "alg": "HS256", "typ": "JWT" })), part(claims));
    let tag = hmac::sign(&hmac::Key::new(HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// What Twilio signs: the URL, then the names and values of the form, sorted, with nothing between them.
fn form(url: &str, body: &[u8]) -> Vec<u8> {
    let mut pairs: Vec<_> = body
        .split(|byte| *byte == b'&')
        .map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            (decoded(&pair[..at]), decoded(pair.get(at + 1..).unwrap_or_default()))
        })
        .collect();
    pairs.sort();
    pairs.iter().fold(url.as_bytes().to_vec(), |text, (name, value)| [&text[..], name, value].concat())
}

/// `+` and `%XX` in a form read.
fn decoded(text: &[u8]) -> Vec<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) if let (Some(high), Some(low)) = (hex(*high), hex(*low)) => {
                out.push(high << 4 | low);
                rest = after;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(*first),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(provider: Provider, secret: &str, url: &str, body: &[u8]) -> String {
        header(provider, secret, url, body, 1_782_991_800).unwrap().1
    }

    #[test]
    fn signatures_are_those_of_the_gateways() {
        let body = br#"{"object":"whatsapp_business_account","entry":[]}"#;
        let meta = "sha256=dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756";
        assert_eq!(value(Provider::CloudApi, "test_app_secret", "", body), meta);
        let waha = "4b8884c6a06c31931bd128875a6af78d1c10b3d42134490369b717711bb97545\
                    cd30dab98c7306a223c957ae3dafffb638587ba3437604429ffcc80ba7fb5f6b";
        assert_eq!(value(Provider::Waha, "waha_key", "", br#"{"event":"message","session":"default"}"#), waha);
        let form = "SmsMessageSid=SM0123456789abcdef0123456789abcdef&NumMedia=0&ProfileName=Layla&MessageType=text\
                    &SmsSid=SM0123456789abcdef0123456789abcdef&WaId=971501234567&SmsStatus=received\
                    &Body=Is+the+15%3A30+slot+still+free%3F&To=whatsapp%3A%2B97140000000&NumSegments=1\
                    &MessageSid=SM0123456789abcdef0123456789abcdef&AccountSid=AC0123456789abcdef0123456789abcdef\
                    &From=whatsapp%3A%2B971501234567&ApiVersion=2010-04-01";
        let twilio = value(Provider::Twilio, "tok", "https://hooks.example.com/twilio", form.as_bytes());
        assert_eq!(twilio, "bMNvEoUdr9halBkPjtNB0RYAMKk=");
    }

    #[test]
    fn a_token_has_three_parts_and_the_name_of_its_algorithm() {
        let token = value(Provider::Evolution, "key", "", b"");
        let parts: Vec<_> = token.strip_prefix("Bearer ").unwrap().split('.').collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(URL_SAFE_NO_PAD.decode(parts[0]).unwrap(), br#"{"alg":"HS256","typ":"JWT"}"#);
    }

    #[test]
    fn a_gateway_that_proves_nothing_adds_nothing() {
        assert!(header(Provider::Wppconnect, "key", "", b"", 0).is_none());
    }

    #[test]
    fn forms_are_read_also_where_they_are_broken() {
        for (written, read) in [("a+b", "a b"), ("%3a%2B", ":+"), ("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("", "")] {
            assert_eq!(decoded(written.as_bytes()), read.as_bytes());
        }
    }
}
