//! What a gateway sees of the balancer, counted: answers, failures, latency, silence.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::sample::histogram::Histogram;

/// Different reasons for a missing answer that are told apart; further ones count as `other`.
const MAX_REASONS: usize = 16;
/// Different master names that are told apart; further ones count as `other`.
const MAX_MASTERS: usize = 256;

/// How one webhook ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with this status, by the master that its answer names.
    Answered { status: u16, master: Option<String> },
    /// No complete answer, for this reason.
    Unanswered(String),
}

/// One webhook from the plan to its end. Times count from the start of the run.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub conversation: u32,
    /// Place in the conversation, from 0.
    pub sequence: u64,
    /// When the plan wanted it sent.
    pub intended: Duration,
    /// When it was sent; later than intended while the conversation's previous one was still unanswered.
    pub sent: Duration,
    /// When its answer was complete or its failure known.
    pub ended: Duration,
    pub outcome: Outcome,
}

impl Exchange {
    /// From the intended moment, so that a stall is charged with everything that had to wait behind it.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.ended.saturating_sub(self.intended)
    }

    /// Whether the gateway was told that its webhook has arrived.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        matches!(self.outcome, Outcome::Answered { status: 200..=299, .. })
    }
}

/// Counts over a span of time. It grows with the number of masters and statuses, not with the number of webhooks.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub succeeded: u64,
    /// Answered with another status than 2xx, or not at all.
    pub failed: u64,
    pub by_status: BTreeMap<u16, u64>,
    /// Successful answers by the master that gave them.
    pub by_master: BTreeMap<String, u64>,
    /// Missing answers by reason.
    pub unanswered: BTreeMap<String, u64>,
    /// Connections that the other side closed.
    pub connections_closed: u64,
    /// Latency of the answered ones, from the intended moment.
    pub latency: Histogram,
    /// The longest time without any 2xx answer since the first one.
    pub largest_gap: Duration,
    /// When the last 2xx answer was complete.
    pub last_success: Option<Duration>,
}

impl Tally {
    pub fn record(&mut self, exchange: &Exchange) {
        if exchange.succeeded() {
            self.succeeded += 1;
            self.note_silence(exchange.ended);
            self.last_success = Some(exchange.ended);
        } else {
            self.failed += 1;
        }
        match &exchange.outcome {
            Outcome::Answered { status, master } => {
                self.latency.record(exchange.latency());
                *self.by_status.entry(*status).or_default() += 1;
                if let (true, Some(master)) = (exchange.succeeded(), master) {
                    count(&mut self.by_master, master, MAX_MASTERS);
                }
            }
            Outcome::Unanswered(reason) => count(&mut self.unanswered, reason, MAX_REASONS),
        }
    }

    /// Takes notice of a silence that lasts until `now`.
    pub fn note_silence(&mut self, now: Duration) {
        if let Some(last) = self.last_success {
            self.largest_gap = self.largest_gap.max(now.saturating_sub(last));
        }
    }

    /// An empty tally that knows of a silence already under way.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self { last_success: self.last_success, ..Self::default() }
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.succeeded + self.failed
    }
}

fn count(counts: &mut BTreeMap<String, u64>, key: &str, limit: usize) {
    if let Some(count) = counts.get_mut(key) {
        *count += 1;
    } else {
        let key = if counts.len() < limit { key } else { "other" };
        *counts.entry(key.to_owned()).or_default() += 1;
    }
}

/// A finished run in numbers, as people and scripts read it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    #[serde(rename = "elapsed_seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    pub succeeded: u64,
    pub failed: u64,
    pub by_status: BTreeMap<u16, u64>,
    pub by_master: BTreeMap<String, u64>,
    pub unanswered: BTreeMap<String, u64>,
    pub connections_closed: u64,
    #[serde(rename = "p50_seconds", serialize_with = "seconds")]
    pub p50: Duration,
    #[serde(rename = "p99_seconds", serialize_with = "seconds")]
    pub p99: Duration,
    #[serde(rename = "max_seconds", serialize_with = "seconds")]
    pub max: Duration,
    #[serde(rename = "largest_gap_seconds", serialize_with = "seconds")]
    pub largest_gap: Duration,
    /// Every single one, as far as the plan asked for them to be kept.
    #[serde(skip)]
    pub exchanges: Vec<Exchange>,
}

impl Report {
    #[must_use]
    pub fn new(tally: &Tally, elapsed: Duration, exchanges: Vec<Exchange>) -> Self {
        Self {
            elapsed,
            succeeded: tally.succeeded,
            failed: tally.failed,
            by_status: tally.by_status.clone(),
            by_master: tally.by_master.clone(),
            unanswered: tally.unanswered.clone(),
            connections_closed: tally.connections_closed,
            p50: tally.latency.quantile(0.5),
            p99: tally.latency.quantile(0.99),
            max: tally.latency.max(),
            largest_gap: tally.largest_gap,
            exchanges,
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total = self.succeeded + self.failed;
        #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
        let rate = total as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        writeln!(f, "sent       {total} in {:.1} s ({rate:.1}/s)", self.elapsed.as_secs_f64())?;
        writeln!(f, "succeeded  {}", self.succeeded)?;
        writeln!(f, "failed     {}", self.failed)?;
        for (status, count) in self.by_status.iter().filter(|(status, _)| !(200..=299).contains(*status)) {
            writeln!(f, "             {count} with status {status}")?;
        }
        for (reason, count) in &self.unanswered {
            writeln!(f, "             {count} without an answer: {reason}")?;
        }
        for (master, count) in &self.by_master {
            writeln!(f, "master     {count} by {master}")?;
        }
        writeln!(f, "closed     {} connections by the other side", self.connections_closed)?;
        let (p50, p99, max) = (milliseconds(self.p50), milliseconds(self.p99), milliseconds(self.max));
        writeln!(f, "latency    p50 {p50}, p99 {p99}, max {max}")?;
        writeln!(f, "silence    {} at most between two answers", milliseconds(self.largest_gap))
    }
}

/// `1.2 ms`.
#[must_use]
pub fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(intended: u64, ended: u64, outcome: Outcome) -> Exchange {
        let at = Duration::from_millis;
        Exchange { conversation: 0, sequence: 0, intended: at(intended), sent: at(intended), ended: at(ended), outcome }
    }

    fn answered(status: u16, master: &str) -> Outcome {
        Outcome::Answered { status, master: Some(master.into()) }
    }

    #[test]
    fn answers_are_counted_by_status_and_successes_by_master() {
        let mut tally = Tally::default();
        tally.record(&exchange(0, 1, answered(200, "a")));
        tally.record(&exchange(0, 1, answered(204, "b")));
        tally.record(&exchange(0, 1, answered(503, "a")));
        tally.record(&exchange(0, 1, Outcome::Unanswered("closed".into())));
        assert_eq!((tally.succeeded, tally.failed, tally.total()), (2, 2, 4));
        assert_eq!(tally.by_status, [(200, 1), (204, 1), (503, 1)].into());
        assert_eq!(tally.by_master, [("a".into(), 1), ("b".into(), 1)].into());
        assert_eq!(tally.unanswered, [("closed".into(), 1)].into());
    }

    #[test]
    fn a_gap_is_the_time_without_success_whatever_fails_in_between() {
        let mut tally = Tally::default();
        tally.record(&exchange(0, 100, answered(200, "a")));
        tally.record(&exchange(0, 150, answered(500, "a")));
        tally.record(&exchange(0, 180, answered(200, "a")));
        assert_eq!(tally.largest_gap, Duration::from_millis(80));
    }

    #[test]
    fn a_silence_under_way_passes_into_the_next_span() {
        let mut first = Tally::default();
        first.record(&exchange(0, 100, answered(200, "a")));
        let mut second = first.successor();
        second.note_silence(Duration::from_millis(400));
        assert_eq!((second.total(), second.largest_gap), (0, Duration::from_millis(300)));
    }

    #[test]
    fn names_chosen_by_the_other_side_cannot_grow_a_tally_without_bound() {
        let mut tally = Tally::default();
        for number in 0..2 * MAX_MASTERS {
            tally.record(&exchange(0, 1, answered(200, &number.to_string())));
        }
        assert_eq!(tally.by_master.len(), MAX_MASTERS + 1);
        assert_eq!(tally.by_master["other"], MAX_MASTERS as u64);
    }

    #[test]
    fn a_report_reads_as_plain_lines() {
        let mut tally = Tally::default();
        tally.record(&exchange(0, 2, answered(200, "a")));
        tally.record(&exchange(2, 3, answered(500, "a")));
        let report = Report::new(&tally, Duration::from_secs(1), Vec::new()).to_string();
        assert_eq!(
            report,
            "sent       2 in 1.0 s (2.0/s)\n\
             succeeded  1\n\
             failed     1\n             1 with status 500\n\
             master     1 by a\n\
             closed     0 connections by the other side\n\
             latency    p50 1.0 ms, p99 2.0 ms, max 2.0 ms\n\
             silence    0.0 ms at most between two answers\n"
        );
    }
}
