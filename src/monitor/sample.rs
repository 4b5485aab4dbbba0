//! What is kept of an interval: ten bytes, so that a month of every master fits the memory of a small machine.
//!
//! | field | bytes | precision |
//! |---|---:|---|
//! | requests, errors | 2 each | exact below 2048, then within 0.05 % |
//! | p50, p99 | 1 each | a bucket of the histogram: at most 12.5 % too high |
//! | in flight, pending | 1 each | exact below 16, then within 6.3 %; the highest of the interval |
//! | health, distribution | 1 each | 0 to 100, the mean of the interval |

use super::pack::{narrow, unnarrow, unwide, wide};
use crate::telemetry::histogram::{Reading, bucket_micros};

/// A quantile of nothing, a score of nothing.
const NONE: u8 = u8::MAX;

/// One interval, packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    requests: u16,
    errors: u16,
    p50: u8,
    p99: u8,
    in_flight: u8,
    pending: u8,
    health: u8,
    distribution: u8,
}

/// Bytes of a sample on disk.
pub const SAMPLE_BYTES: usize = 10;

/// What was measured in an interval, from which a [`Sample`] is made.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub requests: u64,
    pub errors: u64,
    pub duration: Reading,
    in_flight: u64,
    pending: u64,
    health: Mean,
    distribution: Mean,
}

/// A mean of scores.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: u32,
    count: u32,
}

/// What stands at a moment rather than adding up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    pub in_flight: u64,
    /// Stored messages that wait.
    pub pending: u64,
    /// 0 to 100.
    pub health: Option<u8>,
    /// 0 to 100.
    pub distribution: Option<u8>,
}

impl Sample {
    /// Of an interval in which nothing was measured.
    pub const ABSENT: Self = Self {
        requests: u16::MAX,
        errors: 0,
        p50: NONE,
        p99: NONE,
        in_flight: 0,
        pending: 0,
        health: NONE,
        distribution: NONE,
    };

    /// Whether anything was measured.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.requests != u16::MAX
    }

    /// Exchanges that ended.
    #[must_use]
    pub fn requests(&self) -> u64 {
        if self.is_there() { unwide(self.requests) } else { 0 }
    }

    /// Those of them that failed.
    #[must_use]
    pub fn errors(&self) -> u64 {
        unwide(self.errors)
    }

    /// Median duration in microseconds.
    #[must_use]
    pub fn p50_micros(&self) -> Option<u64> {
        quantile(self.p50)
    }

    /// 99th percentile in microseconds.
    #[must_use]
    pub fn p99_micros(&self) -> Option<u64> {
        quantile(self.p99)
    }

    #[must_use]
    pub fn in_flight(&self) -> u64 {
        unnarrow(self.in_flight)
    }

    #[must_use]
    pub fn pending(&self) -> u64 {
        unnarrow(self.pending)
    }

    /// 0 to 100.
    #[must_use]
    pub fn health(&self) -> Option<u8> {
        (self.health != NONE).then_some(self.health)
    }

    /// 0 to 100.
    #[must_use]
    pub fn distribution(&self) -> Option<u8> {
        (self.distribution != NONE).then_some(self.distribution)
    }

    /// As it is stored.
    #[must_use]
    pub fn to_bytes(self) -> [u8; SAMPLE_BYTES] {
        let ([a, b], [c, d]) = (self.requests.to_le_bytes(), self.errors.to_le_bytes());
        [a, b, c, d, self.p50, self.p99, self.in_flight, self.pending, self.health, self.distribution]
    }

    /// From what was stored.
    #[must_use]
    pub fn from_bytes([a, b, c, d, p50, p99, in_flight, pending, health, distribution]: [u8; SAMPLE_BYTES]) -> Self {
        let (requests, errors) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        Self { requests, errors, p50, p99, in_flight, pending, health, distribution }
    }
}

fn quantile(bucket: u8) -> Option<u64> {
    (bucket != NONE).then(|| bucket_micros(bucket))
}

impl Tally {
    /// Adds exchanges.
    pub fn count(&mut self, requests: u64, errors: u64, duration: Option<&Reading>) {
        self.requests += requests;
        self.errors += errors;
        if let Some(duration) = duration {
            self.duration.add_reading(duration);
        }
    }

    /// Adds what another one counted, and what stands now.
    pub fn take_in(&mut self, other: &Self, gauges: &Gauges) {
        self.count(other.requests, other.errors, (other.requests > 0).then_some(&other.duration));
        self.gauge(gauges);
    }

    fn gauge(&mut self, gauges: &Gauges) {
        self.in_flight = self.in_flight.max(gauges.in_flight);
        self.pending = self.pending.max(gauges.pending);
        self.health.add(gauges.health);
        self.distribution.add(gauges.distribution);
    }

    /// What is kept of it.
    #[must_use]
    pub fn sample(&self) -> Sample {
        Sample {
            requests: wide(self.requests),
            errors: wide(self.errors),
            p50: self.duration.quantile_bucket(0.5).unwrap_or(NONE),
            p99: self.duration.quantile_bucket(0.99).unwrap_or(NONE),
            in_flight: narrow(self.in_flight),
            pending: narrow(self.pending),
            health: self.health.get().unwrap_or(NONE),
            distribution: self.distribution.get().unwrap_or(NONE),
        }
    }
}

impl Mean {
    fn add(&mut self, score: Option<u8>) {
        if let Some(score) = score {
            self.sum += u32::from(score.min(100));
            self.count += 1;
        }
    }

    fn get(self) -> Option<u8> {
        u8::try_from((self.sum + self.count / 2).checked_div(self.count)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::histogram::Histogram;

    fn durations(micros: &[u64]) -> Reading {
        let (histogram, mut reading) = (Histogram::default(), Reading::default());
        micros.iter().for_each(|micros| histogram.record(*micros));
        reading.add(&histogram);
        reading
    }

    #[test]
    fn an_interval_says_how_much_how_fast_and_how_well() {
        let mut tally = Tally::default();
        tally.count(99, 0, Some(&durations(&[1000; 99])));
        tally.count(1, 1, Some(&durations(&[50_000])));
        tally.gauge(&Gauges { in_flight: 3, pending: 0, health: Some(100), distribution: None });
        tally.gauge(&Gauges { in_flight: 9, pending: 2, health: Some(51), distribution: Some(80) });
        let sample = tally.sample();
        assert_eq!((sample.requests(), sample.errors()), (100, 1));
        assert_eq!((sample.p50_micros(), sample.p99_micros()), (Some(1000), Some(1000)));
        assert_eq!((sample.in_flight(), sample.pending()), (9, 2));
        assert_eq!((sample.health(), sample.distribution()), (Some(76), Some(80)));
        assert!(sample.is_there() && !Sample::ABSENT.is_there());
    }

    #[test]
    fn an_idle_interval_was_measured_all_the_same() {
        let sample = Tally::default().sample();
        assert!(sample.is_there());
        assert_eq!((sample.requests(), sample.p99_micros(), sample.health()), (0, None, None));
        assert_eq!((Sample::ABSENT.requests(), Sample::ABSENT.errors()), (0, 0));
    }

    #[test]
    fn a_sample_takes_as_much_memory_as_is_said() {
        assert_eq!(size_of::<Sample>(), SAMPLE_BYTES);
    }

    proptest! {
        #[test]
        fn a_sample_is_read_as_it_was_written(bytes: [u8; SAMPLE_BYTES]) {
            let sample = Sample::from_bytes(bytes);
            prop_assert_eq!(sample.to_bytes(), bytes);
            // Whatever a file holds, it is read without a panic.
            let _ = (sample.requests(), sample.errors(), sample.p50_micros(), sample.p99_micros(), sample.in_flight());
        }
    }
}
