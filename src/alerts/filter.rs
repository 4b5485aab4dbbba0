//! Which alerts a receiver wants to hear of.

use super::alert::Alert;
use super::silence::Matcher;
use crate::config::model::Receiver;
use crate::events::Severity;

/// The rule about what a receiver could not be told: the receiver itself is not to be told that, either.
pub const UNTOLD_RULE: &str = "receiver-not-told";

/// One receiver's.
#[derive(Debug)]
pub struct Filter {
    name: String,
    severity: Severity,
    matchers: Vec<Matcher>,
}

impl Filter {
    #[must_use]
    pub fn new(receiver: &Receiver) -> Self {
        let matcher = |(label, value): &(String, String)| Matcher { label: label.clone(), value: value.clone() };
        Self {
            name: receiver.name.clone(),
            severity: receiver.severity,
            matchers: receiver.matchers.iter().map(matcher).collect(),
        }
    }

    #[must_use]
    pub fn fits(&self, alert: &Alert) -> bool {
        let itself = alert.rule == UNTOLD_RULE && alert.name.as_deref() == Some(&*self.name);
        !itself && alert.severity >= self.severity && self.matchers.iter().all(|matcher| matcher.fits(alert))
    }
}
