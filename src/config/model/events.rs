//! Who hears of events.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::Secret;
use crate::events::{Event, Kind, Severity};

/// A program that is sent each event.
#[derive(Clone, PartialEq, Eq)]
pub struct EventWebhook {
    pub name: String,
    /// Absolute, `http` or `https`.
    pub url: http::Uri,
    /// `None`: nothing is signed.
    pub secret: Option<Secret>,
    /// Empty: all.
    pub kinds: Vec<Kind>,
    /// The least. Default info.
    pub severity: Severity,
    /// `None`: the system's authorities.
    pub ca: Option<PathBuf>,
    /// For one request. Default 5 s.
    pub timeout: Duration,
    /// For one event. Default 8.
    pub attempts: u32,
}

impl EventWebhook {
    /// Whether it is to be told.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        event.severity >= self.severity && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
    }

    /// The URL without what may be secret in it: services put keys into the path.
    #[must_use]
    pub fn place(&self) -> String {
        let scheme = self.url.scheme_str().unwrap_or_default();
        format!("{scheme}://{}/", self.url.authority().map_or("", http::uri::Authority::as_str))
    }
}

impl fmt::Debug for EventWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, url: _, secret, kinds, severity, ca, timeout, attempts } = self;
        f.debug_struct("EventWebhook")
            .field("name", name)
            .field("url", &self.place())
            .field("secret", secret)
            .field("kinds", kinds)
            .field("severity", severity)
            .field("ca", ca)
            .field("timeout", timeout)
            .field("attempts", attempts)
            .finish()
    }
}
