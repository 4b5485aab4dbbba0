//! How much of something has happened in the last minutes, in ten-second steps.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Length of a step.
const STEP: u64 = 10;

/// Counts by what they are of, each over the same stretch of time.
#[derive(Debug)]
pub struct Windows<K> {
    steps: u64,
    counts: HashMap<K, VecDeque<(u64, u64)>>,
    totals: HashMap<K, u64>,
}

impl<K: Eq + Hash + Clone> Windows<K> {
    /// Over so many seconds, rounded up to steps of ten.
    #[must_use]
    pub fn over(seconds: u64) -> Self {
        Self { steps: seconds.div_ceil(STEP).max(1), counts: HashMap::new(), totals: HashMap::new() }
    }

    /// Adds what has happened by now, and gives how much it is in all.
    pub fn add(&mut self, key: &K, second: u64, count: u64) -> u64 {
        let step = second / STEP;
        let steps = self.steps;
        if count == 0 && !self.counts.contains_key(key) {
            return 0;
        }
        let counts = self.counts.entry(key.clone()).or_default();
        match counts.back_mut() {
            Some((last, sum)) if *last == step => *sum = sum.saturating_add(count),
            _ if count > 0 => counts.push_back((step, count)),
            _ => {}
        }
        // Also when the clock was set back.
        counts.retain(|(at, _)| *at + steps > step && *at <= step);
        let sum = counts.iter().fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
        if counts.is_empty() {
            self.counts.remove(key);
        }
        sum
    }

    /// The same for a total that only grows; what it was at first is no news, and one that fell begins anew.
    pub fn total(&mut self, key: &K, second: u64, total: u64) -> u64 {
        let before = self.totals.insert(key.clone(), total);
        self.add(key, second, before.map_or(0, |before| total.saturating_sub(before)))
    }

    /// Forgets what is gone.
    pub fn keep(&mut self, wanted: impl Fn(&K) -> bool) {
        self.counts.retain(|key, _| wanted(key));
        self.totals.retain(|key, _| wanted(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_counts_no_more() {
        let mut windows = Windows::over(60);
        assert_eq!(windows.add(&"a", 1000, 3), 3);
        assert_eq!(windows.add(&"a", 1030, 2), 5);
        assert_eq!(windows.add(&"a", 1059, 0), 5);
        assert_eq!(windows.add(&"a", 1061, 0), 2);
        assert_eq!(windows.add(&"b", 1061, 0), 0);
        assert_eq!(windows.add(&"a", 1200, 0), 0);
        assert_eq!(windows.add(&"a", 900, 1), 1);
    }

    #[test]
    fn a_total_counts_from_when_it_was_first_seen_and_a_reset_is_no_growth() {
        let mut windows = Windows::over(60);
        assert_eq!(windows.total(&"a", 1000, 500), 0);
        assert_eq!(windows.total(&"a", 1001, 502), 2);
        assert_eq!(windows.total(&"a", 1002, 1), 2);
        assert_eq!(windows.total(&"a", 1003, 4), 5);
        windows.keep(|_| false);
        assert_eq!(windows.total(&"a", 1004, 9), 0);
    }
}
