//! How many retries an upstream's requests may cause together, so that an outage cannot multiply its own load.
//!
//! Every request deposits one, every retry withdraws `100 / percent`; both are forgotten after `interval`, and
//! `min_retry_rate` retries a second are allowed on top. Because it counts requests rather than requests in flight, the
//! budget does not shrink in an outage, when few are in flight. The formula is the one of Finagle's `RetryBudget`.
//!
//! Workers look first and withdraw then, so at the limit each of them may take one retry too many.

use crate::clock::{self, Micros};
use crate::config::model::RetryBudget;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::upstream::window::Window;

/// Deposits and withdrawals expire in tenths of the interval.
const SLOTS: usize = 10;

/// The budget of one upstream, shared by every worker and kept over reloads.
#[derive(Debug)]
pub struct Budget {
    percent: AtomicU32,
    /// Retries an interval that need no deposit.
    reserve: AtomicU64,
    /// Requests, and retries.
    window: Window<SLOTS>,
}

impl Budget {
    #[must_use]
    pub fn new(settings: &RetryBudget) -> Self {
        Self {
            percent: AtomicU32::new(settings.percent),
            reserve: AtomicU64::new(reserve(settings)),
            window: Window::new(clock::micros(settings.interval)),
        }
    }

    /// Takes new settings over; what was counted is kept unless the interval changed.
    pub fn configure(&self, settings: &RetryBudget) {
        self.percent.store(settings.percent, Ordering::Relaxed);
        self.reserve.store(reserve(settings), Ordering::Relaxed);
        self.window.set_span(clock::micros(settings.interval));
    }

    /// Counts one request (not one attempt).
    pub fn deposit(&self, now: Micros) {
        self.window.count_first(now);
    }

    /// Takes one retry out of the budget; `false` when none is left.
    #[must_use]
    pub fn try_withdraw(&self, now: Micros) -> bool {
        let granted = self.available(now) > 0;
        if granted {
            self.window.count_second(now);
        }
        granted
    }

    /// Retries left now.
    #[must_use]
    pub fn available(&self, now: Micros) -> u64 {
        let (requests, retries) = self.window.sums(now);
        let earned = requests * u64::from(self.percent.load(Ordering::Relaxed)) / 100;
        earned.saturating_add(self.reserve.load(Ordering::Relaxed)).saturating_sub(retries)
    }
}

fn reserve(settings: &RetryBudget) -> u64 {
    u64::from(settings.min_retry_rate).saturating_mul(clock::micros(settings.interval)) / 1_000_000
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Micros = 1_000_000;

    fn settings(percent: u32, min_retry_rate: u32) -> RetryBudget {
        RetryBudget { percent, interval: Duration::from_secs(10), min_retry_rate }
    }

    fn retries_after(requests: u32, min_retry_rate: u32) -> usize {
        let budget = Budget::new(&settings(20, min_retry_rate));
        (0..requests).for_each(|_| budget.deposit(0));
        (0..10_000).filter(|_| budget.try_withdraw(0)).count()
    }

    #[test]
    fn an_idle_upstream_has_its_reserve() {
        assert_eq!(retries_after(0, 10), 100);
    }

    #[test]
    fn requests_add_their_share_to_the_reserve() {
        assert_eq!(retries_after(50, 10), 110);
        assert_eq!(retries_after(1000, 10), 300);
    }

    #[test]
    fn without_a_reserve_only_requests_count() {
        assert_eq!(retries_after(1000, 0), 200);
        assert_eq!(retries_after(0, 0), 0);
    }

    #[test]
    fn withdrawals_are_forgotten_after_the_interval() {
        let budget = Budget::new(&settings(20, 10));
        assert_eq!((0..1000).filter(|_| budget.try_withdraw(0)).count(), 100);
        assert!(!budget.try_withdraw(9 * SECOND));
        assert_eq!(budget.available(10 * SECOND), 100);
    }

    #[test]
    fn a_ratio_that_is_no_whole_fraction_is_kept_exactly() {
        let budget = Budget::new(&settings(30, 0));
        (0..1000).for_each(|_| budget.deposit(0));
        assert_eq!(budget.available(0), 300);
    }

    #[test]
    fn new_settings_keep_what_was_counted() {
        let budget = Budget::new(&settings(20, 0));
        (0..100).for_each(|_| budget.deposit(0));
        budget.configure(&settings(50, 1));
        assert_eq!(budget.available(0), 60);
    }

    proptest! {
        #[test]
        fn retries_never_exceed_their_share_of_the_window_and_the_reserve(
            steps in proptest::collection::vec((0..2 * SECOND, any::<bool>()), 0..300),
        ) {
            let budget = Budget::new(&settings(20, 1));
            let (mut now, mut requests, mut retries) = (0, Vec::new(), Vec::new());
            for (pause, is_request) in steps {
                now += pause;
                if is_request {
                    budget.deposit(now);
                    requests.push(now);
                } else if budget.try_withdraw(now) {
                    retries.push(now);
                }
                let since = |times: &[Micros], span| times.iter().filter(|time| now - **time < span).count();
                prop_assert!(since(&retries, 9 * SECOND) <= requests.len() / 5 + 10);
            }
        }
    }
}
