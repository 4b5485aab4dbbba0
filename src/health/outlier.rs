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
//! master is ejected stands in its admission word, which is all that requests read; this keeps the counts behind it.

use crate::clock::Micros;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use crate::upstream::admission::AdmissionWord;

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

    /// Failures since the last success, as far as they are counted.
    #[must_use]
    pub fn in_row(&self) -> u32 {
        self.consecutive.load(Ordering::Relaxed)
    }

    /// Ends the row of failures. Costs one load when there is none.
    pub fn succeeded(&self) {
        if self.consecutive.load(Ordering::Relaxed) != 0 {
            self.consecutive.store(0, Ordering::Relaxed);
        }
    }

    /// Takes a failure in; whether it ejected the master. `others_usable` says whether the upstream has another usable one.
    /// A row that is long enough while it has none stays, so that the next failure ejects once it has.
    #[must_use]
    pub fn failed(
        &self,
        word: &AdmissionWord,
        now: Micros,
        rule: &OutlierRule,
        others_usable: impl Fn() -> bool,
    ) -> bool {
        if rule.consecutive_failures == 0 || word.read().ejected() {
            return false;
        }
        let row = self.consecutive.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if row < rule.consecutive_failures || !others_usable() {
            return false;
        }
        // Whoever resets the row ejects; the others have lost it.
        if self.consecutive.compare_exchange(row, 0, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return false;
        }
        let times = self.ejections.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // Before the word says ejected, so that no tick can find it ejected with an old time.
        self.until.store(now.saturating_add(rule.ejection(times)), Ordering::Release);
        word.update(|admission| admission.with_ejected(true));
        // Two masters may be ejected in the same moment, each because of the other. Each looks again once its own
        // ejection shows, and of two looks separated from their writes by such fences at least one sees both.
        fence(Ordering::SeqCst);
        if others_usable() {
            return true;
        }
        word.update(|admission| admission.with_ejected(false));
        self.ejections.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Ends an ejection whose time is up, and forgets one after a healthy interval. Called by one task, again by
    /// [`Outlier::next_tick`].
    pub fn tick(&self, word: &AdmissionWord, now: Micros) {
        if word.read().ejected() {
            if now >= self.until.load(Ordering::Acquire) {
                self.settled.store(now, Ordering::Relaxed);
                word.update(|admission| admission.with_ejected(false));
            }
            return;
        }
        let times = self.ejections.load(Ordering::Relaxed);
        if times > 0 && now.saturating_sub(self.settled.load(Ordering::Relaxed)) >= HEALTHY_INTERVAL {
            // Fails when an ejection came in between, which then counts on from the higher number.
            let lower = self.ejections.compare_exchange(times, times - 1, Ordering::Relaxed, Ordering::Relaxed);
            if lower.is_ok() {
                self.settled.store(now, Ordering::Relaxed);
            }
        }
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
    use crate::upstream::admission::{Admission, Health};

    const SECOND: Micros = 1_000_000;
    const RULE: OutlierRule =
        OutlierRule { consecutive_failures: 5, base_ejection: 30 * SECOND, max_ejection: 300 * SECOND };

    struct Master {
        word: AdmissionWord,
        outlier: Outlier,
    }

    impl Master {
        fn new() -> Self {
            Self { word: AdmissionWord::new(Admission::new(Health::Healthy)), outlier: Outlier::new() }
        }

        fn fails(&self, now: Micros, others_usable: bool) -> bool {
            let ejected = self.outlier.failed(&self.word, now, &RULE, || others_usable);
            assert_eq!(ejected, self.ejected());
            ejected
        }

        /// Fails until it is ejected; how many failures that took.
        fn fails_until_ejected(&self, now: Micros) -> u32 {
            (1..=100).find(|_| self.fails(now, true)).unwrap()
        }

        fn tick(&self, now: Micros) {
            self.outlier.tick(&self.word, now);
        }

        fn ejected(&self) -> bool {
            self.word.read().ejected()
        }
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
        assert_eq!(Master::new().fails_until_ejected(0), 5);
    }

    #[test]
    fn one_success_ends_the_row() {
        let master = Master::new();
        assert!((0..4).all(|_| !master.fails(0, true)));
        master.outlier.succeeded();
        assert_eq!(master.fails_until_ejected(0), 5);
    }

    #[test]
    fn the_last_usable_master_stays_and_goes_at_the_next_failure_once_there_is_another() {
        let master = Master::new();
        assert!((0..20).all(|_| !master.fails(0, false)));
        assert!(master.fails(0, true));
    }

    #[test]
    fn a_master_that_turns_out_to_be_the_last_one_is_taken_back_at_no_cost() {
        let master = Master::new();
        assert!((0..4).all(|_| !master.fails(0, true)));
        let looks = std::cell::Cell::new(0);
        let others_usable = || looks.replace(looks.get() + 1) == 0;
        assert!(!master.outlier.failed(&master.word, 0, &RULE, others_usable));
        assert!(!master.ejected());
        assert_eq!(master.fails_until_ejected(0), 5);
        assert_eq!(master.outlier.next_tick(true), Some(30 * SECOND));
    }

    #[test]
    fn failures_of_an_ejected_master_do_not_prolong_its_ejection() {
        let master = Master::new();
        master.fails_until_ejected(0);
        assert!((0..100).all(|_| !master.outlier.failed(&master.word, SECOND, &RULE, || true)));
        assert_eq!(master.outlier.next_tick(true), Some(30 * SECOND));
    }

    #[test]
    fn ejections_in_a_row_last_longer_and_a_quiet_time_shortens_them_again() {
        let master = Master::new();
        master.fails_until_ejected(0);
        master.tick(30 * SECOND - 1);
        assert!(master.ejected());
        master.tick(30 * SECOND);
        assert!(!master.ejected());
        master.fails_until_ejected(30 * SECOND);
        master.tick(90 * SECOND - 1);
        assert!(master.ejected());
        master.tick(90 * SECOND);
        assert!(!master.ejected());
        assert_eq!(master.outlier.next_tick(false), Some(100 * SECOND));
        master.tick(100 * SECOND);
        master.tick(110 * SECOND);
        assert_eq!(master.outlier.next_tick(false), None);
        master.fails_until_ejected(110 * SECOND);
        assert_eq!(master.outlier.next_tick(true), Some(140 * SECOND));
    }

    #[test]
    fn without_a_threshold_nothing_is_ejected() {
        let master = Master::new();
        let off = OutlierRule::default();
        assert!((0..100).all(|_| !master.outlier.failed(&master.word, 0, &off, || true)));
    }

    proptest! {
        #[test]
        fn no_ejection_without_its_row_of_failures(failures in proptest::collection::vec(any::<bool>(), 0..200)) {
            let master = Master::new();
            let mut row = 0;
            let mut now = 0;
            for failed in failures {
                row = if failed { row + 1 } else { 0 };
                if failed {
                    let ejected = master.fails(now, true);
                    prop_assert_eq!(ejected, row == 5);
                    if ejected {
                        row = 0;
                        now += 300 * SECOND;
                        master.tick(now);
                    }
                } else {
                    master.outlier.succeeded();
                }
            }
        }
    }
}
