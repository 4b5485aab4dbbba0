//! How it goes with a receiver: what it was told, and how that ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::Counter;

use crate::clock::UnixMillis;
use crate::telemetry::{Telemetry, names};

/// The last notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    pub at: UnixMillis,
    /// Why it was not delivered.
    pub error: Option<String>,
}

/// Since the receiver is configured as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    pub last: Option<Last>,
    /// Notifications.
    pub delivered: u64,
    pub failed: u64,
    /// Alerts.
    pub held: u64,
    pub dropped: u64,
    /// Alerts that wait to be told.
    pub waiting: u64,
}

/// One receiver's, shared by its task and those who ask.
pub struct Standing {
    numbers: Mutex<Numbers>,
    delivered: Counter,
    failed: Counter,
    held: Counter,
    dropped: Counter,
}

impl Standing {
    #[must_use]
    pub fn new(name: &str, telemetry: &Telemetry) -> Arc<Self> {
        let counter = |outcome| telemetry.cold.counter(&names::ALERT_NOTIFICATIONS, &[name, outcome]);
        Arc::new(Self {
            numbers: Mutex::default(),
            delivered: counter("delivered"),
            failed: counter("failed"),
            held: counter("held"),
            dropped: counter("dropped"),
        })
    }

    #[must_use]
    pub fn numbers(&self) -> Numbers {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a look has come to.
    pub fn seen(&self, waiting: usize, held: u64, dropped: u64) {
        let mut numbers = self.lock();
        numbers.waiting = waiting as u64;
        numbers.held += held;
        numbers.dropped += dropped;
        drop(numbers);
        self.held.increment(held);
        self.dropped.increment(dropped);
    }

    /// Notes how a notification ended.
    pub fn told(&self, at: UnixMillis, outcome: &Result<(), String>) {
        let mut numbers = self.lock();
        numbers.last = Some(Last { at, error: outcome.as_ref().err().cloned() });
        match outcome {
            Ok(()) => numbers.delivered += 1,
            Err(_) => numbers.failed += 1,
        }
        drop(numbers);
        if outcome.is_ok() { self.delivered.increment(1) } else { self.failed.increment(1) }
    }
}
