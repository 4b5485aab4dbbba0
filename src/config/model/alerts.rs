//! When something is worth an alert.

mod builtin;
mod signal;

use std::fmt;
use std::time::Duration;

pub use builtin::{BUILTIN, Builtin};
pub use signal::{Scope, Signal, shown};

use super::Receiver;
use crate::events::Severity;

/// Rules, and what becomes of alerts.
#[derive(Clone, PartialEq)]
pub struct Alerts {
    /// Default true.
    pub enabled: bool,
    /// The built-in ones, as they were changed, then the others. Names are unique.
    pub rules: Vec<AlertRule>,
    /// `None`: nobody's silence changes anything.
    pub escalation: Option<Escalation>,
    /// Their names are unique.
    pub receivers: Vec<Receiver>,
}

/// Without the rules that are as Baton comes with them.
impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { enabled, rules, escalation, receivers } = self;
        let untouched = |rule: &&AlertRule| BUILTIN.iter().any(|it| it.name == rule.name && it.rule() == **rule);
        let rules: Vec<_> = rules.iter().filter(|rule| !untouched(rule)).collect();
        let mut all = f.debug_struct("Alerts");
        all.field("enabled", enabled).field("rules", &rules).field("escalation", escalation);
        all.field("receivers", receivers).finish()
    }
}

/// A comparison of a signal with a number, for each thing that has the signal.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRule {
    pub name: String,
    pub builtin: bool,
    pub enabled: bool,
    pub signal: Signal,
    pub scope: Scope,
    pub only: Only,
    pub comparison: Comparison,
    pub threshold: f64,
    /// An alert ends when the comparison with this does not hold; never harder to reach than the threshold.
    pub clear: f64,
    /// How long the comparison must hold. Default 0 s.
    pub hold: Duration,
    /// How long it must not hold until the alert ends. Default 0 s.
    pub keep: Duration,
    pub severity: Severity,
    pub labels: Vec<(String, String)>,
    /// In place of the signal's own sentence.
    pub summary: Option<String>,
}

/// What a rule looks at: everything of its scope, but for the names given here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Only {
    pub upstream: Option<String>,
    pub master: Option<String>,
    pub route: Option<String>,
}

/// What happens to an alert that nobody acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    /// Since it was raised.
    pub after: Duration,
    /// What it becomes at least.
    pub severity: Severity,
    /// Those that matter less do not escalate.
    pub from: Severity,
}

/// How a signal compares with the threshold when something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Comparison {
    /// Each with the word a configuration uses for it.
    pub const ALL: [(Self, &'static str); 4] =
        [(Self::Above, "above"), (Self::AtLeast, "at-least"), (Self::Below, "below"), (Self::AtMost, "at-most")];

    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, word)| word)
    }

    /// Whether the value stands so to the threshold.
    #[must_use]
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Above => value > threshold,
            Self::AtLeast => value >= threshold,
            Self::Below => value < threshold,
            Self::AtMost => value <= threshold,
        }
    }

    /// Whether more is worse.
    #[must_use]
    pub fn upwards(self) -> bool {
        matches!(self, Self::Above | Self::AtLeast)
    }
}
