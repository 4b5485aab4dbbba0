//! Tells of certificates that are about to end, while there is time to renew them.

use std::collections::HashMap;

use serde_json::json;

use crate::events::{Bus, Event, Kind, Severity};

/// How long before the end of a certificate the log begins to warn: enough for a renewal that needs people.
const WARN_SECONDS: i64 = 14 * DAY;

const DAY: i64 = 24 * 3600;

/// What was told already: for each listener and certificate its end, and when it was told.
#[derive(Debug, Default)]
pub struct Told(HashMap<(String, String), (i64, i64)>);

/// A certificate in use: its listener, what it is called, and its end in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub listener: String,
    pub name: String,
    pub end: i64,
}

impl Told {
    /// Those of `in_use` that are to be told of now: within two weeks of their end, each once a day.
    pub fn due(&mut self, in_use: Vec<Certificate>, now: i64) -> Vec<Certificate> {
        let key = |certificate: &Certificate| (certificate.listener.clone(), certificate.name.clone());
        self.0.retain(|known, _| in_use.iter().any(|certificate| key(certificate) == *known));
        let mut due = in_use;
        due.retain(|certificate| certificate.end - now < WARN_SECONDS);
        due.retain(|certificate| {
            let told = self.0.get(&key(certificate));
            told.is_none_or(|(end, told)| *end != certificate.end || now - told >= DAY)
        });
        self.0.extend(due.iter().map(|certificate| (key(certificate), (certificate.end, now))));
        due
    }
}

/// Writes a line for each, and tells it.
pub fn tell(due: &[Certificate], now: i64, events: &Bus) {
    for Certificate { listener, name, end } in due {
        let days = (end - now) / DAY;
        let (severity, message) = if *end <= now {
            (Severity::Critical, format!("listener {listener}: the certificate for {name} has expired"))
        } else {
            (Severity::Warning, format!("listener {listener}: the certificate for {name} expires in {days} days"))
        };
        match severity {
            Severity::Critical => tracing::error!("{message}"),
            _ => tracing::warn!("{message}"),
        }
        let detail = json!({ "listener": listener, "name": name, "expires": end });
        events.publish(Event::new(Kind::CertificateExpiring, severity, message).detail(detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str, end: i64) -> Certificate {
        Certificate { listener: "gateway".to_owned(), name: name.to_owned(), end }
    }

    #[test]
    fn an_end_within_two_weeks_is_told_once_a_day_and_a_new_certificate_anew() {
        let mut told = Told::default();
        let mut due = |certificates: &[Certificate], now| told.due(certificates.to_vec(), now).len();
        let near = [certificate("near", 10 * DAY), certificate("far", 15 * DAY)];
        assert_eq!(due(&near, 0), 1);
        assert_eq!(due(&near, DAY - 1), 0);
        assert_eq!(due(&near, DAY), 1);
        // The other one comes within reach.
        assert_eq!(due(&near, DAY + 1), 1);
        // Replaced by one that is hardly better.
        assert_eq!(due(&[certificate("near", 11 * DAY)], DAY + 2), 1);
        // Over; then away and back again.
        assert_eq!(due(&[certificate("near", 11 * DAY)], 12 * DAY), 1);
        assert_eq!(due(&[], 12 * DAY), 0);
        assert_eq!(due(&near, 12 * DAY), 2);
    }
}
