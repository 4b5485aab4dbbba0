//! What was promised about a route or an upstream.

use std::time::Duration;

/// An objective, what it is measured by, and when it does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sla {
    pub objective: Objective,
    pub by: Basis,
    /// Whole days over which the objective is to be met. Default 30.
    pub period: Duration,
    /// Announced work, which counts neither for nor against.
    pub maintenance: Vec<Maintenance>,
}

/// The share that has to be good, in millionths: 99.9 % is 999 000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Objective(pub u32);

impl Objective {
    /// Everything.
    pub const WHOLE: u32 = 1_000_000;

    /// In percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// The share that may be bad, above 0 and below 1.
    #[must_use]
    pub fn allowance(self) -> f64 {
        f64::from(Self::WHOLE - self.0) / f64::from(Self::WHOLE)
    }
}

/// What an objective is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Requests that were answered, and not with 5xx, among all.
    Requests,
    /// Seconds in which somebody was there to answer, among all.
    Time,
}

impl Basis {
    /// Each with the word a configuration uses for it.
    pub const ALL: [(Self, &'static str); 2] = [(Self::Requests, "requests"), (Self::Time, "time")];

    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(basis, _)| *basis == self).map_or("", |(_, name)| name)
    }
}

/// A stretch of announced work, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maintenance {
    pub begins: Begins,
    pub lasts: Duration,
}

/// When a stretch of work begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// Once, in seconds since 1970.
    Once(u64),
    /// On these days of the week, so many seconds after midnight.
    Weekly { days: Weekdays, second: u32 },
}

/// Some days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weekdays(u8);

impl Weekdays {
    /// Every day.
    pub const ALL: Self = Self(0x7f);

    /// These; 0 is Monday.
    #[must_use]
    pub fn new(days: impl IntoIterator<Item = u8>) -> Self {
        Self(days.into_iter().fold(0, |all, day| all | 1 << (day % 7)))
    }

    /// Whether a day is one of them; 0 is Monday.
    #[must_use]
    pub fn has(self, day: u8) -> bool {
        self.0 & 1 << (day % 7) != 0
    }
}
