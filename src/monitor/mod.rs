//! What Baton knows about how it goes: samples, scores and alerts, made once a second from what the data path has counted anyway.
//!
//! ```text
//! counters, admissions ──▶ observation ──▶ core ──▶ samples (series, ring) ──▶ trend
//!                                            │          └──▶ record, files
//!                                            └──▶ scores (score, distribution)
//! ```
//!
//! All but `files` is told the time and what is, and does no more than think. A request never comes here.

pub mod core;
pub mod distribution;
pub mod files;
pub mod observation;
pub mod pack;
pub mod record;
pub mod ring;
pub mod sample;
pub mod score;
pub mod series;
pub mod trend;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The monitor as its thread and the admin API share it.
#[derive(Debug, Default)]
pub struct Monitor(Mutex<core::Core>);

impl Monitor {
    /// Nobody may hold it over a wait.
    pub fn lock(&self) -> MutexGuard<'_, core::Core> {
        // An observation that panicked has left numbers behind, no more.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
