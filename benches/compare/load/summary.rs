//! What a run found, as one line of JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Counts and latencies of one run. Every request ends in exactly one of the counts.
#[derive(Default)]
pub struct Summary {
    pub requests: u64,
    /// Answers by status code.
    pub answers: BTreeMap<u16, u64>,
    /// Requests whose connection ended before the answer.
    pub broken: u64,
    /// Requests without an answer when the run ended.
    pub unanswered: u64,
    pub elapsed: Duration,
    /// The longest time between two 2xx answers.
    pub largest_gap: Duration,
    /// Nanoseconds from the moment a request was due to its answer, in no order.
    pub latencies: Vec<u64>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let micros = |quantile| percentile(&sorted, quantile) as f64 / 1e3;
        let value = serde_json::json!({
            "requests": self.requests,
            "answers": self.answers,
            "broken": self.broken,
            "unanswered": self.unanswered,
            "seconds": self.elapsed.as_secs_f64(),
            "over_a_second": self.latencies.iter().filter(|&&latency| latency > 1_000_000_000).count(),
            "largest_gap_ms": self.largest_gap.as_secs_f64() * 1e3,
            "latency_us": {
                "p50": micros(0.5), "p90": micros(0.9), "p99": micros(0.99), "p999": micros(0.999), "max": micros(1.0),
            },
        });
        write!(f, "{value}")
    }
}

/// The smallest value that at least `quantile` of the sorted values do not exceed; 0 of nothing.
fn percentile(sorted: &[u64], quantile: f64) -> u64 {
    let rank = (sorted.len() as f64 * quantile).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        let sorted: Vec<u64> = (1..=1000).collect();
        assert_eq!(percentile(&sorted, 0.5), 500);
        assert_eq!(percentile(&sorted, 0.99), 990);
        assert_eq!(percentile(&sorted, 1.0), 1000);
        assert_eq!(percentile(&[7], 0.5), 7);
        assert_eq!(percentile(&[], 0.5), 0);
    }
}
