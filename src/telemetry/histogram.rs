//! A histogram of durations that costs one search and two stores to write.
//!
//! Buckets are the same for every histogram, so that workers, masters and routes can be added up. Their edges keep a
//! quantile within 12.5 % of the true value from 10 µs to 100 s, and include every bound that is exposed to
//! Prometheus, so that those cumulative counts are exact.
//!
//! A histogram has one writer: it stores what it loaded plus the new value, without a read-modify-write instruction. Any
//! thread may read at any time; what it reads was true a moment ago and never shrinks.

use crate::sync::atomic::{AtomicU64, Ordering};

/// One power of ten, from 1 (as 100) to just below 10, in steps of at most 12.5 %.
const DECADE: [u32; 24] = [
    100, 110, 120, 130, 140, 150, 165, 180, 200, 225, 250, 275, 300, 330, 360, 400, 450, 500, 550, 600, 675, 750, 825,
    900,
];

/// Decades from 10 µs to 100 s.
const DECADES: usize = 7;

const EDGE_COUNT: usize = DECADE.len() * DECADES + 1;

/// Upper edges in microseconds, each inside its bucket.
const EDGES: [u32; EDGE_COUNT] = edges();

/// One bucket for each edge and one for everything above the last.
const BUCKETS: usize = EDGE_COUNT + 1;

/// The number of a bucket fits a byte, with numbers to spare for other meanings.
const _: () = assert!(BUCKETS < 250);

/// The bounds that are exposed: seconds as Prometheus writes them, and the index of the edge.
const BOUNDS: [(&str, usize); 18] = [
    ("0.0001", edge(100)),
    ("0.00025", edge(250)),
    ("0.0005", edge(500)),
    ("0.001", edge(1_000)),
    ("0.0025", edge(2_500)),
    ("0.005", edge(5_000)),
    ("0.01", edge(10_000)),
    ("0.025", edge(25_000)),
    ("0.05", edge(50_000)),
    ("0.1", edge(100_000)),
    ("0.25", edge(250_000)),
    ("0.5", edge(500_000)),
    ("1", edge(1_000_000)),
    ("2.5", edge(2_500_000)),
    ("5", edge(5_000_000)),
    ("10", edge(10_000_000)),
    ("30", edge(30_000_000)),
    ("60", edge(60_000_000)),
];

/// One writer's counts.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_micros: AtomicU64,
}

/// Counts taken from one or more histograms.
#[derive(Debug, Clone)]
pub struct Reading {
    buckets: [u64; BUCKETS],
    sum_micros: u64,
}

/// Adds to a cell that only the caller writes.
pub(super) fn add(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_micros: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one duration. Only the owner may call this: with two writers counts get lost.
    pub fn record(&self, micros: u64) {
        let bucket = EDGES.partition_point(|edge| u64::from(*edge) < micros);
        // The search returns at most the number of edges, which is the last bucket.
        if let Some(cell) = self.buckets.get(bucket) {
            add(cell, 1);
        }
        add(&self.sum_micros, micros);
    }

    /// Adds what `other` has counted. The caller must be the only writer of `self`.
    pub(super) fn absorb(&self, other: &Self) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            add(mine, theirs.load(Ordering::Relaxed));
        }
        add(&self.sum_micros, other.sum_micros.load(Ordering::Relaxed));
    }
}

impl Default for Reading {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum_micros: 0 }
    }
}

impl Reading {
    /// Adds the present counts of a histogram.
    pub fn add(&mut self, histogram: &Histogram) {
        for (total, cell) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total = total.wrapping_add(cell.load(Ordering::Relaxed));
        }
        self.sum_micros = self.sum_micros.wrapping_add(histogram.sum_micros.load(Ordering::Relaxed));
    }

    /// Adds the counts of another reading.
    pub fn add_reading(&mut self, other: &Self) {
        for (total, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *total = total.wrapping_add(*count);
        }
        self.sum_micros = self.sum_micros.wrapping_add(other.sum_micros);
    }

    /// What was counted since an earlier reading of the same histograms.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        for (count, before) in since.buckets.iter_mut().zip(&earlier.buckets) {
            *count = count.wrapping_sub(*before);
        }
        since.sum_micros = since.sum_micros.wrapping_sub(earlier.sum_micros);
        since
    }

    /// Number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All durations together, in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_micros as f64 / 1e6
    }

    /// Mean in microseconds; `None` when nothing was counted.
    #[must_use]
    pub fn mean_micros(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum_micros as f64 / count as f64)
    }

    /// Upper edge, in microseconds, of the bucket that holds the quantile `q` (0 to 1): at least the true value, and at
    /// most 12.5 % or 10 µs more. Above 100 s it stays at 100 s. `None` when nothing was counted.
    #[must_use]
    pub fn quantile_micros(&self, q: f64) -> Option<u64> {
        self.quantile_bucket(q).map(bucket_micros)
    }

    /// The same as a number that fits a byte; [`bucket_micros`] makes microseconds of it.
    #[must_use]
    pub fn quantile_bucket(&self, q: f64) -> Option<u8> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count);
        let mut cumulative = 0;
        let bucket = self.buckets.iter().position(|bucket| {
            cumulative += bucket;
            cumulative >= rank
        });
        bucket.and_then(|bucket| u8::try_from(bucket).ok())
    }

    /// For each exposed bound, how many durations were no longer.
    #[must_use]
    pub fn cumulative(&self) -> [(&'static str, u64); BOUNDS.len()] {
        BOUNDS.map(|(text, edge)| (text, self.buckets.iter().take(edge + 1).sum()))
    }
}

/// Upper edge of a bucket in microseconds; 100 s for all that are beyond.
#[must_use]
pub fn bucket_micros(bucket: u8) -> u64 {
    EDGES.get(usize::from(bucket)).or(EDGES.last()).map_or(0, |edge| u64::from(*edge))
}

const fn edges() -> [u32; EDGE_COUNT] {
    let mut edges = [0; EDGE_COUNT];
    let mut index = 0;
    // The first decade is 10 to 90 µs: fractions of a microsecond are cut, whole ones lie on the same side either way.
    let mut divisor = 10;
    let mut factor = 1;
    while index < EDGE_COUNT {
        edges[index] = DECADE[index % DECADE.len()] * factor / divisor;
        index += 1;
        if index.is_multiple_of(DECADE.len()) {
            if divisor == 10 {
                divisor = 1;
            } else {
                factor *= 10;
            }
        }
    }
    edges
}

/// Index of an edge; a bound that is none does not compile.
const fn edge(micros: u32) -> usize {
    let mut index = 0;
    while EDGES[index] != micros {
        index += 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reading(durations: &[u64]) -> Reading {
        let histogram = Histogram::default();
        for duration in durations {
            histogram.record(*duration);
        }
        let mut reading = Reading::default();
        reading.add(&histogram);
        reading
    }

    #[test]
    fn edges_rise_from_ten_microseconds_to_a_hundred_seconds() {
        assert_eq!(EDGES[0], 10);
        assert_eq!(EDGES[EDGE_COUNT - 1], 100_000_000);
        assert!(EDGES.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn exposed_bounds_mean_what_they_say() {
        for (text, edge) in BOUNDS {
            let seconds: f64 = text.parse().unwrap();
            assert_eq!(seconds, f64::from(EDGES[edge]) / 1e6, "{text}");
        }
        let bounds: Vec<f64> = BOUNDS.iter().map(|(text, _)| text.parse().unwrap()).collect();
        assert!(bounds.is_sorted());
    }

    #[test]
    fn nothing_counted_has_no_mean_and_no_quantile() {
        let empty = reading(&[]);
        assert_eq!((empty.count(), empty.mean_micros(), empty.quantile_micros(0.5)), (0, None, None));
    }

    #[test]
    fn a_duration_beyond_the_last_edge_is_counted_and_reported_as_the_last_edge() {
        let long = reading(&[3_600_000_000]);
        assert_eq!(long.count(), 1);
        assert_eq!(long.quantile_micros(1.0), Some(100_000_000));
        assert_eq!(long.sum_seconds(), 3600.0);
        assert_eq!(long.cumulative()[BOUNDS.len() - 1].1, 0);
    }

    #[test]
    fn a_histogram_takes_less_than_two_kilobytes() {
        assert!(size_of::<Histogram>() <= 2048, "{}", size_of::<Histogram>());
    }

    fn duration() -> impl Strategy<Value = u64> {
        (0u32..27, any::<u64>()).prop_map(|(bits, random)| (random & ((1 << bits) - 1)) + (1 << bits) - 1)
    }

    proptest! {
        #[test]
        fn a_quantile_is_never_below_the_true_one_and_at_most_an_eighth_above(
            mut durations in proptest::collection::vec(duration(), 1..300), q in 0.0f64..=1.0,
        ) {
            let estimate = reading(&durations).quantile_micros(q).unwrap();
            durations.sort_unstable();
            let rank = ((q * durations.len() as f64).ceil() as usize).max(1);
            let truth = durations[rank - 1].min(100_000_000);
            prop_assert!(estimate >= truth, "{} < {}", estimate, truth);
            prop_assert!(estimate <= (truth + truth / 8).max(10), "{} for {}", estimate, truth);
        }

        #[test]
        fn count_sum_and_exposed_buckets_are_exact(durations in proptest::collection::vec(duration(), 0..300)) {
            let reading = reading(&durations);
            prop_assert_eq!(reading.count(), durations.len() as u64);
            prop_assert_eq!(reading.sum_seconds(), durations.iter().sum::<u64>() as f64 / 1e6);
            for (text, cumulative) in reading.cumulative() {
                let bound = (text.parse::<f64>().unwrap() * 1e6).round() as u64;
                prop_assert_eq!(cumulative, durations.iter().filter(|d| **d <= bound).count() as u64, "le {}", text);
            }
        }

        #[test]
        fn what_came_since_is_the_difference(
            before in proptest::collection::vec(duration(), 0..50), after in proptest::collection::vec(duration(), 0..50),
        ) {
            let since = reading(&[before.clone(), after.clone()].concat()).since(&reading(&before));
            prop_assert_eq!(since.buckets, reading(&after).buckets);
            prop_assert_eq!(since.sum_micros, reading(&after).sum_micros);
        }

        #[test]
        fn absorbing_equals_recording_everything_in_one(
            left in proptest::collection::vec(duration(), 0..50), right in proptest::collection::vec(duration(), 0..50),
        ) {
            let (one, other) = (Histogram::default(), Histogram::default());
            left.iter().for_each(|d| one.record(*d));
            right.iter().for_each(|d| other.record(*d));
            one.absorb(&other);
            let mut absorbed = Reading::default();
            absorbed.add(&one);
            let together = reading(&[left, right].concat());
            prop_assert_eq!(absorbed.buckets, together.buckets);
            prop_assert_eq!(absorbed.sum_micros, together.sum_micros);
        }
    }
}
