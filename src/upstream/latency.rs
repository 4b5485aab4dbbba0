//! A master's latency as Peak-EWMA sees it: up at once with a slow answer, down slowly with fast ones.
//!
//! The average and the moment it belongs to share one word, so that an observation is one compare-and-swap and a reading
//! never sees one without the other. Reading decays in the reader's head and changes nothing, which makes two readings at one
//! time equal and lets a strategy compare masters without writing to them. The formula is the one of Finagle's `PeakEwma`:
//!
//! ```text
//! observe(now, rtt):  if rtt > cost: cost = rtt   else: w = exp(-dt / tau); cost = rtt * (1 - w) + cost * w
//! cost(now):          cost decayed as if 0 was observed now
//! ```
//!
//! A failure would look like a fast answer; it is charged like a very slow one instead, see [`FAILURE`].

use crate::clock::Micros;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Time in which the weight of an old observation falls to 1/e.
pub const TAU: Micros = 10_000_000;
/// What a failure or a 429 costs; Linkerd's load biaser takes the same.
pub const FAILURE: Micros = 5_000_000;
/// The most one observation can cost: five minutes. A master that takes longer is no worse a choice than one that takes these.
pub const MAX_COST: Micros = 300_000_000;

/// Microseconds up to [`MAX_COST`] fit.
const COST_BITS: u32 = 29;
const COST: u64 = (1 << COST_BITS) - 1;
/// The stamp has the other 35 bits, in milliseconds: it repeats after 397 days.
const STAMP: u64 = (1 << (64 - COST_BITS)) - 1;
/// A reading this much older than the stamp, in milliseconds, is a late one; anything beyond is a stamp from before the repeat.
const LATE: u64 = 60_000;

/// The peak-sensitive moving average of one master, shared by every worker.
#[derive(Debug)]
pub struct Latency(AtomicU64);

impl Latency {
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes an answer's latency in; the first one is taken as it is.
    pub fn observe(&self, now: Micros, latency: Micros) {
        let latency = latency.min(MAX_COST);
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let next = observed(seen, now, latency);
            if next == seen {
                return;
            }
            match self.0.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Charges a failure.
    pub fn charge_failure(&self, now: Micros) {
        self.observe(now, FAILURE);
    }

    /// The average decayed to `now`, in microseconds; 0 before the first observation.
    #[must_use]
    pub fn cost(&self, now: Micros) -> f64 {
        (observed(self.0.load(Ordering::Relaxed), now, 0) & COST) as f64
    }

    /// The average at its last observation in microseconds, not decayed since; `None` before the first one.
    #[must_use]
    pub fn average(&self) -> Option<Micros> {
        let word = self.0.load(Ordering::Relaxed);
        (word != 0).then_some(word & COST)
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

/// The word after an observation.
fn observed(word: u64, now: Micros, latency: Micros) -> u64 {
    let (cost, stamp) = (word & COST, word >> COST_BITS);
    let now = (now / 1_000) & STAMP;
    let elapsed = now.wrapping_sub(stamp) & STAMP;
    let late = elapsed > STAMP - LATE;
    let (elapsed, stamp) = if late { (0, stamp) } else { (elapsed, now) };
    let cost = if latency > cost {
        latency
    } else {
        let weight = (-(elapsed as f64 * 1_000.0) / TAU as f64).exp();
        (latency as f64 * (1.0 - weight) + cost as f64 * weight).round() as u64
    };
    stamp << COST_BITS | cost
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Micros = 1_000_000;
    const MS: Micros = 1_000;

    /// In milliseconds with two digits, as the vectors are written.
    fn ms(micros: u64) -> f64 {
        (micros as f64 / 10.0).round() / 100.0
    }

    #[test]
    fn the_average_follows_the_published_vectors() {
        let latency = Latency::new();
        latency.observe(0, 100 * MS);
        assert_eq!(latency.average().map(ms), Some(100.0));
        latency.observe(10 * SECOND, 20 * MS);
        assert_eq!(latency.average().map(ms), Some(49.43));
        latency.observe(20 * SECOND, 0);
        assert_eq!(latency.average().map(ms), Some(18.18));
        assert_eq!(ms(latency.cost(20 * SECOND) as Micros * 4), 72.74);
    }

    #[test]
    fn a_peak_counts_at_once() {
        let latency = Latency::new();
        latency.observe(0, 100 * MS);
        latency.observe(10 * SECOND, 20 * MS);
        latency.observe(15 * SECOND, 500 * MS);
        assert_eq!(latency.average(), Some(500 * MS));
    }

    #[test]
    fn reading_changes_nothing() {
        let latency = Latency::new();
        latency.observe(0, 100 * MS);
        let first = latency.cost(30 * SECOND);
        assert_eq!(latency.cost(30 * SECOND), first);
        assert_eq!(latency.average(), Some(100 * MS));
    }

    #[test]
    fn a_master_that_never_answered_has_no_cost_yet() {
        let latency = Latency::new();
        assert_eq!((latency.average(), latency.cost(SECOND)), (None, 0.0));
    }

    #[test]
    fn a_failure_costs_more_than_any_usual_answer() {
        let latency = Latency::new();
        latency.observe(0, MS);
        latency.charge_failure(0);
        assert_eq!(latency.average(), Some(5 * SECOND));
    }

    #[test]
    fn an_observation_that_comes_late_does_not_turn_time_back() {
        let latency = Latency::new();
        latency.observe(20 * SECOND, 100 * MS);
        latency.observe(10 * SECOND, 20 * MS);
        assert_eq!(latency.cost(20 * SECOND), (100 * MS) as f64);
    }

    #[test]
    fn a_master_idle_for_a_year_is_as_good_as_new() {
        const DAY: Micros = 86_400 * SECOND;
        for days in [1, 100, 250, 390, 500] {
            let latency = Latency::new();
            latency.observe(SECOND, 100 * MS);
            assert_eq!(latency.cost(days * DAY), 0.0, "{days} days");
            latency.observe(days * DAY, 20 * MS);
            assert_eq!(latency.average(), Some(20 * MS), "{days} days");
        }
    }

    proptest! {
        #[test]
        fn the_average_stays_between_the_smallest_and_the_largest_observation(
            samples in proptest::collection::vec((0..60 * SECOND, MS..400 * SECOND), 1..60),
        ) {
            let latency = Latency::new();
            let (mut now, mut low, mut high) = (0, u64::MAX, 0);
            for (pause, sample) in samples {
                now += pause;
                latency.observe(now, sample);
                low = low.min(sample.min(MAX_COST));
                high = high.max(sample.min(MAX_COST));
                let average = latency.average().unwrap();
                prop_assert!(average >= low - 1 && average <= high, "{low} <= {average} <= {high}");
                prop_assert!(latency.cost(now + TAU) <= latency.cost(now));
            }
        }
    }
}
