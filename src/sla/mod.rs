//! What was promised, and how it was kept: availability by request and by time, error budgets, burn rates, a report for each month.
//!
//! ```text
//! samples, admissions ──▶ standing ──▶ ledger (slot) ──▶ burn, report ──▶ admin
//! configuration ──▶ maintenance ─┘        └──▶ log, files
//! ```
//!
//! All but `files` is told the time and does no more than think. Whole days are those of UTC.

pub mod burn;
pub mod files;
pub mod ledger;
pub mod log;
pub mod maintenance;
pub mod month;
pub mod report;
pub mod slot;
pub mod standing;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The ledger as the monitor's thread and the admin API share it.
#[derive(Debug, Default)]
pub struct Sla(Mutex<ledger::Ledger>);

impl Sla {
    /// Nobody may hold it over a wait.
    pub fn lock(&self) -> MutexGuard<'_, ledger::Ledger> {
        // An observation that panicked has left numbers behind, no more.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
