//! Who is told of alerts.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::{Rate, Secret};
use crate::events::Severity;

/// Somebody who is told of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    pub name: String,
    pub way: Way,
    /// The least. Default info.
    pub severity: Severity,
    /// Labels and patterns, all of which have to fit.
    pub matchers: Vec<(String, String)>,
    /// Labels. Default `upstream`.
    pub group_by: Vec<String>,
    /// Default 500 ms.
    pub group_wait: Duration,
    /// Default 4 h; zero is never.
    pub repeat: Duration,
    /// Default true.
    pub resolved: bool,
    /// Default 60 an hour.
    pub rate: Rate,
    /// For one attempt. Default 5 s.
    pub timeout: Duration,
    /// For one notification. Default 5.
    pub attempts: u32,
}

/// How it is told.
#[derive(Clone, PartialEq, Eq)]
pub enum Way {
    Webhook(HttpPlace, Option<Secret>),
    Slack(HttpPlace),
    /// Without the path of its API.
    Alertmanager(HttpPlace),
    Email(Box<Email>),
}

/// E-mail, and the server that takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// At least one.
    pub to: Vec<String>,
    pub from: String,
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
    /// Default STARTTLS.
    pub tls: MailTls,
    pub login: Option<(String, Secret)>,
    /// `None`: the system's authorities.
    pub ca: Option<PathBuf>,
}

/// How a connection to a mail server is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// From the server's consent on, without which nothing is sent.
    Starttls,
    /// From its beginning.
    Implicit,
    Off,
}

impl MailTls {
    /// As a configuration calls it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starttls => "starttls",
            Self::Implicit => "implicit",
            Self::Off => "off",
        }
    }
}

/// Where something is reached over HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpPlace {
    /// Absolute, `http` or `https`.
    pub url: Uri,
    /// `None`: the system's authorities.
    pub ca: Option<PathBuf>,
}

impl Way {
    /// As a configuration calls it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Webhook(..) => "webhook",
            Self::Slack(_) => "slack",
            Self::Alertmanager(_) => "alertmanager",
            Self::Email(_) => "email",
        }
    }

    /// Where it leads, without what may be secret.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Webhook(to, _) | Self::Slack(to) | Self::Alertmanager(to) => to.place(),
            Self::Email(email) => format!("smtp://{}:{}/", email.host, email.port),
        }
    }
}

impl HttpPlace {
    /// The URL without what may be secret in it: services put keys into the path.
    fn place(&self) -> String {
        let scheme = self.url.scheme_str().unwrap_or_default();
        format!("{scheme}://{}/", self.url.authority().map_or("", http::uri::Authority::as_str))
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook(to, secret) => f.debug_tuple("Webhook").field(to).field(secret).finish(),
            Self::Slack(to) => f.debug_tuple("Slack").field(to).finish(),
            Self::Alertmanager(to) => f.debug_tuple("Alertmanager").field(to).finish(),
            Self::Email(email) => f.debug_tuple("Email").field(email).finish(),
        }
    }
}

impl fmt::Debug for HttpPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, ca } = self;
        f.debug_struct("HttpPlace").field("url", &self.place()).field("ca", ca).finish()
    }
}
