//! The way to one receiver.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri};
use serde_json::Value;

use super::mail::Mail;
use crate::alerts::notices::Notice;
use crate::alerts::refresh::Batch;
use crate::clock::unix_millis;
use crate::config::model::{Email, HttpPlace, Receiver, Secret, Way};
use crate::ids::random_u64;
use crate::net::outbound;
use crate::notify::letters::{alertmanager, email, slack, webhook};
use crate::notify::post::Post;

/// `firing`, `resolved` or `test`, for receivers that pick before they parse.
const STATUS: &str = "baton-notification";
/// The same in each attempt.
const KEY: &str = "idempotency-key";
/// How long an alert that is a test goes on at an Alertmanager.
const TEST_LASTS: u64 = 60_000;

/// Ready to be used.
pub struct Channel {
    name: String,
    kind: Kind,
}

enum Kind {
    Webhook(Post),
    Slack(Post),
    Alertmanager(Post),
    Email(Box<Email>, Mail),
}

impl Channel {
    /// Reads what is needed to reach a receiver, but does not reach for it yet. Reading authorities takes some milliseconds.
    ///
    /// # Errors
    /// Why it cannot be reached.
    pub fn open(receiver: &Receiver, attempts: u32) -> Result<Self, String> {
        let post = |to: &HttpPlace, url: Uri, secret: Option<&Secret>| {
            let over_tls = url.scheme_str() == Some("https");
            let tls = if over_tls { Some(outbound::trusting(to.ca.as_deref())?) } else { None };
            let secret = secret.map(|Secret(secret)| secret.clone());
            Ok::<_, String>(Post { url, secret, tls, timeout: receiver.timeout, attempts })
        };
        let kind = match &receiver.way {
            Way::Webhook(to, secret) => Kind::Webhook(post(to, to.url.clone(), secret.as_ref())?),
            Way::Slack(to) => Kind::Slack(post(to, to.url.clone(), None)?),
            Way::Alertmanager(to) => Kind::Alertmanager(post(to, below(&to.url, alertmanager::PATH)?, None)?),
            Way::Email(email) => Kind::Email(email.clone(), Mail::open(email, receiver.timeout, attempts)?),
        };
        Ok(Self { name: receiver.name.clone(), kind })
    }

    /// Tells a notice; `failed` hears of each attempt that failed and is followed by another one.
    ///
    /// # Errors
    /// Why the last attempt failed.
    pub async fn tell(&self, notice: &Notice, failed: impl Fn(u32, &str)) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        let (post, body) = match &self.kind {
            Kind::Webhook(post) => {
                let key = HeaderValue::try_from(format!("{:016x}", random_u64())).map_err(|error| error.to_string())?;
                headers.insert(STATUS, HeaderValue::from_static(webhook::status(notice)));
                headers.insert(KEY, key);
                (post, webhook::body(&self.name, notice))
            }
            Kind::Slack(post) => (post, slack::body(notice)),
            Kind::Alertmanager(post) => {
                let alert = notice.alerts.first();
                (post, alert.map_or(Value::Null, |(_, alert)| alertmanager::test(alert, TEST_LASTS)))
            }
            Kind::Email(email, mail) => {
                let message = email::message(&self.name, email, notice, random_u64())?;
                return mail.deliver(&message, failed).await;
            }
        };
        post.deliver(&headers, Bytes::from(body.to_string()), failed).await
    }

    /// Tells an Alertmanager.
    ///
    /// # Errors
    /// Why the last attempt failed.
    pub async fn refresh(&self, batch: &Batch, failed: impl Fn(u32, &str)) -> Result<(), String> {
        let Kind::Alertmanager(post) = &self.kind else { return Err("this is no Alertmanager".to_owned()) };
        let body = alertmanager::body(batch, unix_millis());
        post.deliver(&HeaderMap::new(), Bytes::from(body.to_string()), failed).await
    }
}

/// A path below that of a URL.
fn below(url: &Uri, path: &str) -> Result<Uri, String> {
    let mut parts = url.clone().into_parts();
    let before = url.path().trim_end_matches('/');
    let path = format!("{before}{path}").parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_below_whatever_path_an_alertmanager_has() {
        for (url, expected) in [
            ("http://am:9093", "http://am:9093/api/v2/alerts"),
            ("https://am/", "https://am/api/v2/alerts"),
            ("https://am/a/b/?x=y", "https://am/a/b/api/v2/alerts"),
        ] {
            assert_eq!(below(&url.parse().unwrap(), alertmanager::PATH).unwrap().to_string(), expected);
        }
    }
}
