//! Passive detection: a master whose requests keep failing is set aside for a while.
//!
//! Counted are failures of the master rather than of the message: connections that time out or break, time-outs, and
//! 502/503/504. Any other answer, 500 included, ends the row: bots answer so to particular payloads while well.
//!
//! Ejection lasts `base * times in a row`, at most `max(maximum, base)`; a healthy interval takes one off the multiplier
//! (Envoy's outlier detection). In groups of two to five masters shares mislead, so there is no percentage: a master may
//! be ejected as long as another usable one is left, and the caller says whether that is so.
//!
//! Any number of workers call [`Outlier::succeeded`] and [`Outlier::failed`]; one task calls [`Outlier::tick`]. Whether the
//! master is ejected stands in its admission word; this is the arithmetic behind it.

use crate::clock::Micros;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How long a master stays out of trouble to have one ejection forgotten: Envoy's analysis interval.
pub const HEALTHY_INTERVAL: Micros = 10_000_000;

/// When to eject, and for how long. `consecutive_failures` of 0 switches detection off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutlierRule {
    pub consecutive_failures: u32,
    pub base_ejection: Micros,
    pub max_ejection: Micros,
}

/// Failures in a row and ejections of one master.
#[derive(Debug)]
pub struct Outlier {
    consecutive: AtomicU32,
    /// Ejections in a row: the multiplier.
    ejections: AtomicU32,
    /// End of the last ejection.
    until: AtomicU64,
    /// When the multiplier last changed, or the last ejection ended.
    settled: AtomicU64,
}

impl OutlierRule {
    /// How long the `times`-th ejection in a row lasts.
    #[must_use]
    pub fn ejection(&self, times: u32) -> Micros {
        self.base_ejection.saturating_mul(u64::from(times)).min(self.max_ejection.max(self.base_ejection))
    }
}

impl Outlier {
    #[must_use]
    pub fn new() -> Self {
        Self {
            consecutive: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            until: AtomicU64::new(0),
            settled: AtomicU64::new(0),
        }
    }

    /// Ends the row of failures. Costs one load when there is none.
    pub fn succeeded(&self) {
        if self.consecutive.load(Ordering::Relaxed) != 0 {
            self.consecutive.store(0, Ordering::Relaxed);
        }
    }

    /// Takes a failure in; `true` tells exactly one caller to eject the master. A row that is long enough while
    /// `may_eject` denies it stays, so that the next failure ejects once that is allowed.
    #[must_use]
    pub fn failed(&self, now: Micros, rule: &OutlierRule, may_eject: impl FnOnce() -> bool) -> bool {
        if rule.consecutive_failures == 0 {
            return false;
        }
        let row = self.consecutive.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if row < rule.consecutive_failures || !may_eject() {
            return false;
        }
        // Whoever resets the row ejects; the others have lost it.
        if self.consecutive.compare_exchange(row, 0, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return false;
        }
        let times = self.ejections.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.until.store(now.saturating_add(rule.ejection(times)), Ordering::Release);
        true
    }

    /// Takes back an ejection that turned out not to be allowed.
    pub fn undo(&self) {
        self.ejections.fetch_sub(1, Ordering::Relaxed);
        self.until.store(0, Ordering::Release);
    }

    /// Whether an ejected master's time is up. Called by one task, again by [`Outlier::next_tick`].
    #[must_use]
    pub fn tick(&self, now: Micros, ejected: bool) -> bool {
        if ejected {
            let over = now >= self.until.load(Ordering::Acquire);
            if over {
                self.settled.store(now, Ordering::Relaxed);
            }
            return over;
        }
        let times = self.ejections.load(Ordering::Relaxed);
        if times > 0 && now.saturating_sub(self.settled.load(Ordering::Relaxed)) >= HEALTHY_INTERVAL {
            // Fails when an ejection came in between, which then counts on from the higher number.
            let lower = self.ejections.compare_exchange(times, times - 1, Ordering::Relaxed, Ordering::Relaxed);
            if lower.is_ok() {
                self.settled.store(now, Ordering::Relaxed);
            }
        }
        false
    }

    /// When [`Outlier::tick`] has something to do next.
    #[must_use]
    pub fn next_tick(&self, ejected: bool) -> Option<Micros> {
        if ejected {
            return Some(self.until.load(Ordering::Acquire));
        }
        let times = self.ejections.load(Ordering::Relaxed);
        (times > 0).then(|| self.settled.load(Ordering::Relaxed).saturating_add(HEALTHY_INTERVAL))
    }

    /// Failures in a row now.
    #[must_use]
    pub fn consecutive(&self) -> u32 {
        self.consecutive.load(Ordering::Relaxed)
    }
}

impl Default for Outlier {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Micros = 1_000_000;
    const RULE: OutlierRule =
        OutlierRule { consecutive_failures: 5, base_ejection: 30 * SECOND, max_ejection: 300 * SECOND };

    /// Fails until it is ejected; how many failures that took.
    fn fail_until_ejected(outlier: &Outlier, now: Micros) -> u32 {
        (1..=100).find(|_| outlier.failed(now, &RULE, || true)).unwrap()
    }

    #[test]
    fn ejection_grows_by_its_base_up_to_the_maximum() {
        let seconds = [1, 2, 3, 9, 10, 11, 1000].map(|times| RULE.ejection(times) / SECOND);
        assert_eq!(seconds, [30, 60, 90, 270, 300, 300, 300]);
        let short = OutlierRule { max_ejection: SECOND, ..RULE };
        assert_eq!(short.ejection(4), 30 * SECOND);
    }

    #[test]
    fn the_fifth_failure_in_a_row_ejects() {
        assert_eq!(fail_until_ejected(&Outlier::new(), 0), 5);
    }

    #[test]
    fn one_success_ends_the_row() {
        let outlier = Outlier::new();
        assert!((0..4).all(|_| !outlier.failed(0, &RULE, || true)));
        outlier.succeeded();
        assert_eq!(fail_until_ejected(&outlier, 0), 5);
    }

    #[test]
    fn a_master_that_may_not_be_ejected_is_at_the_next_failure_once_it_may() {
        let outlier = Outlier::new();
        assert!((0..20).all(|_| !outlier.failed(0, &RULE, || false)));
        assert!(outlier.failed(0, &RULE, || true));
    }

    #[test]
    fn ejections_in_a_row_last_longer_and_a_quiet_time_shortens_them_again() {
        let outlier = Outlier::new();
        fail_until_ejected(&outlier, 0);
        assert_eq!(outlier.next_tick(true), Some(30 * SECOND));
        assert!(!outlier.tick(30 * SECOND - 1, true));
        assert!(outlier.tick(30 * SECOND, true));
        fail_until_ejected(&outlier, 30 * SECOND);
        assert!(!outlier.tick(90 * SECOND - 1, true));
        assert!(outlier.tick(90 * SECOND, true));
        assert_eq!(outlier.next_tick(false), Some(100 * SECOND));
        assert!(!outlier.tick(100 * SECOND, false));
        assert!(!outlier.tick(110 * SECOND, false));
        assert_eq!(outlier.next_tick(false), None);
        fail_until_ejected(&outlier, 110 * SECOND);
        assert_eq!(outlier.next_tick(true), Some(140 * SECOND));
    }

    #[test]
    fn without_a_threshold_nothing_is_ejected() {
        let outlier = Outlier::new();
        assert!((0..100).all(|_| !outlier.failed(0, &OutlierRule::default(), || true)));
    }

    proptest! {
        #[test]
        fn no_ejection_without_its_row_of_failures(failures in proptest::collection::vec(any::<bool>(), 0..200)) {
            let outlier = Outlier::new();
            let mut row = 0;
            for failed in failures {
                if failed {
                    row += 1;
                    let ejected = outlier.failed(0, &RULE, || true);
                    prop_assert_eq!(ejected, row == 5);
                    if ejected {
                        row = 0;
                    }
                } else {
                    row = 0;
                    outlier.succeeded();
                }
            }
        }
    }
}
