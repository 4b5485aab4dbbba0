//! When probes add up to a verdict.
//!
//! Going down takes `unhealthy_threshold` failures in a row, coming up `healthy_threshold` successes in a row, as HAProxy's
//! `fall` and `rise`. Three moments need no row: the first probe decides alone, so that a start takes one probe; a master that
//! answers and calls itself degraded, or healthy again, is believed at once; and what the data path saw with its own eyes,
//! a refused connection or silence, is a verdict by itself ([`Counter::condemn`]).

use crate::upstream::admission::Health;

/// What one probe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    Healthy,
    /// It answers, and says it should get nothing new.
    Degraded,
    Failed,
}

/// Probes of one master so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    health: Health,
    /// Probes in a row that contradict `health`.
    contrary: u32,
}

impl Counter {
    #[must_use]
    pub fn new(health: Health) -> Self {
        Self { health, contrary: 0 }
    }

    #[must_use]
    pub fn health(self) -> Health {
        self.health
    }

    /// Probes in a row that contradict the verdict; the row that has just made one is not counted.
    #[must_use]
    pub fn contrary(self) -> u32 {
        self.contrary
    }

    /// Takes one probe in; the new health if that made a verdict. A threshold of 0 acts as 1.
    pub fn observe(&mut self, sign: Sign, unhealthy_threshold: u32, healthy_threshold: u32) -> Option<Health> {
        let says = match sign {
            Sign::Healthy => Health::Healthy,
            Sign::Degraded => Health::Degraded,
            Sign::Failed => Health::Failed,
        };
        let needed = match (self.health, says) {
            (held, says) if held == says => {
                self.contrary = 0;
                return None;
            }
            (Health::Unknown, _) | (Health::Healthy, Health::Degraded) | (Health::Degraded, Health::Healthy) => 1,
            (Health::Failed, _) => healthy_threshold,
            (_, _) => unhealthy_threshold,
        };
        self.contrary += 1;
        if self.contrary < needed {
            return None;
        }
        *self = Self::new(says);
        Some(says)
    }

    /// Declares it failed without a probe; whether that is news.
    pub fn condemn(&mut self) -> bool {
        let news = self.health != Health::Failed;
        *self = Self::new(Health::Failed);
        news
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FALL: u32 = 3;
    const RISE: u32 = 2;

    fn sign(letter: char) -> Sign {
        match letter {
            'S' => Sign::Healthy,
            'D' => Sign::Degraded,
            _ => Sign::Failed,
        }
    }

    /// The verdicts with the number of the probe that made them, counted from 1.
    fn verdicts(start: Health, probes: &str) -> Vec<(usize, Health)> {
        let mut counter = Counter::new(start);
        let verdict = |(index, letter)| Some((index + 1, counter.observe(sign(letter), FALL, RISE)?));
        probes.chars().enumerate().filter_map(verdict).collect()
    }

    #[test]
    fn three_failures_in_a_row_take_a_healthy_master_down() {
        assert_eq!(verdicts(Health::Healthy, "FFSFFF"), [(6, Health::Failed)]);
    }

    #[test]
    fn two_successes_in_a_row_bring_a_failed_master_up() {
        assert_eq!(verdicts(Health::Failed, "SFSS"), [(4, Health::Healthy)]);
    }

    #[test]
    fn the_first_probe_decides_alone() {
        assert_eq!(verdicts(Health::Unknown, "S"), [(1, Health::Healthy)]);
        assert_eq!(verdicts(Health::Unknown, "F"), [(1, Health::Failed)]);
        assert_eq!(verdicts(Health::Unknown, "D"), [(1, Health::Degraded)]);
    }

    #[test]
    fn a_master_that_calls_itself_degraded_is_believed_at_once_both_ways() {
        assert_eq!(verdicts(Health::Healthy, "DS"), [(1, Health::Degraded), (2, Health::Healthy)]);
        assert_eq!(verdicts(Health::Degraded, "FFF"), [(3, Health::Failed)]);
    }

    #[test]
    fn a_failed_master_comes_up_as_what_its_last_probe_says() {
        assert_eq!(verdicts(Health::Failed, "SD"), [(2, Health::Degraded)]);
        assert_eq!(verdicts(Health::Failed, "DS"), [(2, Health::Healthy)]);
    }

    #[test]
    fn a_condemned_master_needs_the_whole_row_to_come_back() {
        let mut counter = Counter::new(Health::Failed);
        assert_eq!(counter.observe(Sign::Healthy, FALL, RISE), None);
        assert!(!counter.condemn());
        assert_eq!(counter.observe(Sign::Healthy, FALL, RISE), None);
        assert_eq!(counter.observe(Sign::Healthy, FALL, RISE), Some(Health::Healthy));
        assert!(counter.condemn());
        assert_eq!(counter.health(), Health::Failed);
    }

    proptest! {
        #[test]
        fn no_verdict_without_its_row(probes in "[SFD]{0,60}", fall in 1..5_usize, rise in 1..5_usize) {
            let mut counter = Counter::new(Health::Healthy);
            let letters: Vec<char> = probes.chars().collect();
            for (index, letter) in letters.iter().enumerate() {
                let before = counter.health();
                let verdict = counter.observe(sign(*letter), fall as u32, rise as u32);
                let row = |failing: bool| {
                    letters[..=index].iter().rev().take_while(|letter| (**letter == 'F') == failing).count()
                };
                match verdict {
                    Some(Health::Failed) => prop_assert!(row(true) >= fall),
                    Some(_) if before == Health::Failed => prop_assert!(row(false) >= rise),
                    _ => {}
                }
                // And never later than its row.
                prop_assert!(counter.health() == Health::Failed || row(true) < fall);
                prop_assert!(counter.health() != Health::Failed || row(false) < rise);
            }
        }
    }
}
