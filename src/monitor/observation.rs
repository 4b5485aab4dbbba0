//! What the monitor is told each second: plain values, read from the running proxy in one go.

use std::sync::Arc;

use super::score::System;
use crate::clock::UnixMillis;
use crate::telemetry::deltas::News;
use crate::upstream::admission::Admission;

/// The running proxy at a moment, and what has happened since the observation before.
#[derive(Debug, Default)]
pub struct Observation {
    pub at: UnixMillis,
    pub news: News,
    pub routes: Vec<Arc<str>>,
    pub upstreams: Vec<UpstreamNow>,
    pub system: System,
    pub spool: SpoolNow,
}

/// An upstream of the configuration in use.
#[derive(Debug)]
pub struct UpstreamNow {
    pub name: Arc<str>,
    /// Whether its strategy is meant to spread load by weight.
    pub spreads: bool,
    pub masters: Vec<MasterNow>,
}

/// One of its masters.
#[derive(Debug)]
pub struct MasterNow {
    pub name: Arc<str>,
    pub admission: Admission,
    pub weight: u32,
    pub in_flight: u64,
    pub queued: u64,
    /// Stored messages that only it may get.
    pub pending: u64,
    /// Failures since the last success.
    pub failures_in_row: u32,
}

/// Stored messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpoolNow {
    pub pending: u64,
    pub dead_letters: u64,
    /// Room on disk that is used, in percent of what may be.
    pub disk_percent: u8,
}
