//! What the checker tells about a master: one event, the evidence for it, and where it led.

use std::fmt;
use std::sync::Arc;

use super::counter::Sign;
use crate::clock::Micros;
use crate::upstream::admission::{Admission, Circuit, Health};
use crate::upstream::master::Master;

/// Hears of every change, on the checker's runtime; must not block.
pub type OnChange = dyn Fn(&Change) + Send + Sync;

/// Something about a master has changed.
#[derive(Debug, Clone)]
pub struct Change {
    pub master: Arc<Master>,
    /// The master's name in the configuration.
    pub name: Arc<str>,
    pub event: Event,
    /// Why; part of a sentence, of one line, and safe to log. May be empty.
    pub evidence: String,
    /// The admission that the change led to.
    pub admission: Admission,
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Health(Health),
    Suspected,
    /// A probe cleared the suspicion.
    Cleared,
    Ejected,
    /// The ejection is over.
    Returned,
    Circuit(Circuit),
    /// A probe ended, whatever it changed.
    Probed {
        sign: Sign,
        micros: Micros,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "master {} of {}: {}", self.name, self.master.upstream(), self.event)?;
        if self.evidence.is_empty() { Ok(()) } else { write!(f, ": {}", self.evidence) }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Health(Health::Unknown) => "unknown",
            Self::Health(Health::Healthy) => "healthy",
            Self::Health(Health::Degraded) => "degraded",
            Self::Health(Health::Failed) => "failed",
            Self::Suspected => "suspected",
            Self::Cleared => "no longer suspected",
            Self::Ejected => "ejected",
            Self::Returned => "back from ejection",
            Self::Probed { sign: Sign::Healthy, .. } => "probed: healthy",
            Self::Probed { sign: Sign::Degraded, .. } => "probed: degraded",
            Self::Probed { sign: Sign::Failed, .. } => "probed: failed",
            Self::Circuit(Circuit::Closed) => "circuit closed",
            Self::Circuit(Circuit::Open) => "circuit open",
            Self::Circuit(Circuit::HalfOpen) => "circuit half-open",
        })
    }
}
