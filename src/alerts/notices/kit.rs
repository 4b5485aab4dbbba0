//! A book with one rule, and receivers, for tests.

use std::time::Duration;

use crate::alerts::book::Book;
use crate::alerts::facts::Facts;
use crate::alerts::silence::Matcher;
use crate::alerts::subject::Subject;
use crate::clock::UnixMillis;
use crate::config::model::{
    AlertRule, Alerts, Comparison, Escalation, HttpPlace, Only, Rate, Receiver, Scope, Signal, Way,
};
use crate::events::Severity;

pub const NOW: UnixMillis = 1_800_000_000_000;

/// One that wants everything.
pub fn receiver(name: &str) -> Receiver {
    let url = "http://127.0.0.1:1/".parse().unwrap();
    Receiver {
        name: name.to_owned(),
        way: Way::Webhook(HttpPlace { url, ca: None }, None),
        severity: Severity::Info,
        matchers: Vec::new(),
        group_by: vec!["upstream".to_owned()],
        group_wait: Duration::from_millis(500),
        repeat: Duration::from_secs(600),
        resolved: true,
        rate: Rate { count: 60, period: Duration::from_secs(3600) },
        timeout: Duration::from_secs(5),
        attempts: 5,
    }
}

/// Upstreams whose requests fail above 5 %, which is a warning.
pub struct World {
    pub book: Book,
    settings: Alerts,
}

impl Default for World {
    fn default() -> Self {
        let rule = AlertRule {
            name: "errors".to_owned(),
            builtin: false,
            enabled: true,
            signal: Signal::ErrorPercent,
            scope: Scope::Upstream,
            only: Only::default(),
            comparison: Comparison::Above,
            threshold: 5.0,
            clear: 5.0,
            hold: Duration::ZERO,
            keep: Duration::ZERO,
            severity: Severity::Warning,
            labels: Vec::new(),
            summary: None,
        };
        let receivers = ["ops", "am"].map(receiver).to_vec();
        let settings = Alerts { enabled: true, rules: vec![rule], escalation: None, receivers };
        let mut book = Book::default();
        book.configure(&settings);
        Self { book, settings }
    }
}

impl World {
    /// These fail so much at this second, and no others.
    pub fn look(&mut self, second: u64, failing: &[(&str, f64)]) {
        let mut facts = Facts::default();
        for (name, percent) in failing {
            facts.put(Signal::ErrorPercent, Subject::upstream(&(*name).into()), *percent);
        }
        self.book.look(NOW + second * 1000, &facts);
    }

    /// Silences an upstream from a second on, for so many.
    pub fn silence(&mut self, upstream: &str, second: u64, seconds: u64) -> String {
        let matcher = Matcher { label: "upstream".to_owned(), value: upstream.to_owned() };
        let from = NOW + second * 1000;
        self.book.silence(vec![matcher], from + seconds * 1000, "ann", "work", from).unwrap().id
    }

    /// Alerts become critical so many seconds after they were raised.
    pub fn escalate_after(&mut self, seconds: u64) {
        let after = Duration::from_secs(seconds);
        self.settings.escalation = Some(Escalation { after, severity: Severity::Critical, from: Severity::Info });
        self.book.configure(&self.settings);
    }

    /// Writes the book down and reads it again, as over a restart.
    pub fn restart(&mut self) {
        let mut book = Book::default();
        book.configure(&self.settings);
        self.book.not_kept();
        let text = serde_json::to_string(&self.book.to_keep().unwrap()).unwrap();
        book.restore(serde_json::from_str(&text).unwrap());
        self.book = book;
    }
}
