//! Who takes over when a master fails.

use std::time::Duration;

use super::Secret;

/// Failover of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    pub mode: FailoverMode,
    /// For one failover, every candidate included. Default 10 s.
    pub deadline: Duration,
    pub failback: Failback,
    /// How long a master that was down has to be well to count as stable. Default 60 s.
    pub stable_after: Duration,
    pub recovery: Recovery,
    /// `None`: masters are asked nothing.
    pub hooks: Option<Hooks>,
}

/// How masters hand their own state over. At least one path is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    pub export: Option<String>,
    pub import: Option<String>,
    pub activate: Option<String>,
    pub deactivate: Option<String>,
    /// For one call. Default 2 s.
    pub timeout: Duration,
    /// Between exports. Default 10 s.
    pub interval: Duration,
    /// Of a state. Default 16 MiB.
    pub max_bytes: usize,
    /// `None`: nothing is signed.
    pub secret: Option<Secret>,
    /// `None`: what is kept is not encrypted.
    pub key: Option<Secret>,
}

/// How masters share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailoverMode {
    /// One serves, for each account that masters name; the others wait.
    ActiveStandby,
}

impl FailoverMode {
    /// Each with the word a configuration uses for it.
    pub const ALL: [(Self, &'static str); 1] = [(Self::ActiveStandby, "active-standby")];

    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(mode, _)| *mode == self).map_or("", |(_, name)| name)
    }
}

/// When the work goes back to the most preferred master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failback {
    /// When an operator says so.
    Manual,
    /// When that master is stable again.
    Automatic,
}

impl Failback {
    /// Each with the word a configuration uses for it.
    pub const ALL: [(Self, &'static str); 2] = [(Self::Manual, "manual"), (Self::Automatic, "automatic")];

    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(failback, _)| *failback == self).map_or("", |(_, name)| name)
    }
}

/// A failed master's ways back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// For one attempt. Default 30 s.
    pub timeout: Duration,
    /// Failed attempts after which it stays failed; 0 is any number. Default 5.
    pub max_attempts: u32,
}
