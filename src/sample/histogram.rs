//! Percentiles of a run that may last for days, in a fixed few kilobytes.
//!
//! Buckets are log-linear: every power of two is cut into 32 equal parts, so a reported percentile is at most 1/32
//! (3.1 %) above the true value. The maximum is kept exactly.

use std::time::Duration;

/// Bits of each value that select the part within its power of two.
const PART_BITS: u32 = 5;
const PARTS: usize = 1 << PART_BITS;
/// Values are microseconds below 2^36, about 19 hours; anything longer counts as that.
const VALUE_BITS: u32 = 36;
const BUCKETS: usize = PARTS * (VALUE_BITS - PART_BITS + 1) as usize;

/// Counts of durations.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    pub fn record(&mut self, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX).min((1 << VALUE_BITS) - 1);
        self.counts[bucket(micros)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// The smallest bucket bound that at least this share (0 to 1) of the values does not exceed; zero when empty.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let wanted = self.total as f64 * share.clamp(0.0, 1.0);
        let mut below = 0;
        for (index, count) in self.counts.iter().enumerate() {
            below += count;
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
            if *count > 0 && below as f64 >= wanted {
                return Duration::from_micros(upper_bound(index)).min(self.max);
            }
        }
        Duration::ZERO
    }

    #[must_use]
    pub fn max(&self) -> Duration {
        self.max
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.total
    }
}

/// Values below 32 have a bucket each; above, the highest bit selects the row and the next five the column.
fn bucket(micros: u64) -> usize {
    let row = (u64::BITS - micros.leading_zeros()).saturating_sub(PART_BITS + 1);
    let column = (micros >> row) as usize;
    row as usize * PARTS + column
}

fn upper_bound(bucket: usize) -> u64 {
    let row = (bucket / PARTS).saturating_sub(1);
    let column = bucket - row * PARTS;
    ((column as u64 + 1) << row) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_holds_values_within_a_thirty_second_of_each_other(micros in 0..1u64 << VALUE_BITS) {
            let index = bucket(micros);
            prop_assert!(index < BUCKETS);
            let top = upper_bound(index);
            prop_assert!(micros <= top);
            prop_assert!(top - micros <= micros / 32, "{micros} is reported as {top}");
        }

        #[test]
        fn quantiles_agree_with_the_sorted_values(mut values in prop::collection::vec(0..10_000_000u64, 1..200), share in 0.01..1.0f64) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|v| histogram.record(Duration::from_micros(*v)));
            values.sort_unstable();
            let rank = (values.len() as f64 * share).ceil() as usize;
            let exact = values[rank.max(1) - 1];
            let reported = histogram.quantile(share).as_micros() as u64;
            prop_assert!(reported >= exact && reported - exact <= exact / 32, "{reported} for {exact}");
            prop_assert_eq!(histogram.max(), Duration::from_micros(values[values.len() - 1]));
        }
    }

    #[test]
    fn nothing_recorded_reads_as_zero() {
        assert_eq!(Histogram::default().quantile(0.99), Duration::ZERO);
    }

    #[test]
    fn a_value_beyond_the_range_keeps_its_exact_maximum() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!((histogram.count(), histogram.max()), (1, Duration::MAX));
    }
}
