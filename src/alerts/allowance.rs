//! How many notifications a receiver may get: all of a period's at once, and then one whenever there is room again.

use crate::clock::UnixMillis;
use crate::config::model::Rate;

const MICROS: u64 = 1000;

/// A rate and what of it is spent.
#[derive(Debug)]
pub struct Allowance {
    /// What one takes, in microseconds.
    each: u64,
    /// What all of a period take.
    period: u64,
    /// When nothing is spent any more, in microseconds since 1970.
    free_at: u64,
}

impl Allowance {
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let period = u64::try_from(rate.period.as_micros()).unwrap_or(u64::MAX / 4);
        Self { each: (period / u64::from(rate.count.max(1))).max(1), period, free_at: 0 }
    }

    /// When there is room for one, if there is none now.
    #[must_use]
    pub fn full_until(&self, now: UnixMillis) -> Option<UnixMillis> {
        let now = now.saturating_mul(MICROS);
        // After the clock was set back nobody waits for longer than a period.
        let free_at = self.free_at.min(now.saturating_add(self.period));
        let needed = free_at.saturating_add(self.each);
        let room_at = needed.saturating_sub(self.period);
        (room_at > now).then(|| room_at.div_ceil(MICROS))
    }

    /// Takes the room of one.
    pub fn spend(&mut self, now: UnixMillis) {
        let now = now.saturating_mul(MICROS);
        self.free_at = self.free_at.clamp(now, now.saturating_add(self.period)).saturating_add(self.each);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: UnixMillis = 1_800_000_000_000;

    fn allowance(count: u32) -> Allowance {
        Allowance::new(Rate { count, period: Duration::from_secs(3600) })
    }

    #[test]
    fn a_periods_worth_may_come_at_once_and_then_one_at_a_time() {
        let mut allowance = allowance(60);
        for _ in 0..60 {
            assert_eq!(allowance.full_until(NOW), None);
            allowance.spend(NOW);
        }
        assert_eq!(allowance.full_until(NOW), Some(NOW + 60_000));
        assert_eq!(allowance.full_until(NOW + 60_000), None);
        allowance.spend(NOW + 60_000);
        assert_eq!(allowance.full_until(NOW + 60_000), Some(NOW + 120_000));
        // Set back by a day, the clock keeps nobody waiting for longer than it would have been.
        assert!(allowance.full_until(NOW - 86_400_000).is_some_and(|until| until <= NOW - 86_400_000 + 3_600_000));
    }

    proptest! {
        #[test]
        fn no_period_has_more_than_twice_the_rate(count in 1u32..50, steps in prop::collection::vec(0u64..200_000, 1..300)) {
            let mut allowance = allowance(count);
            let (mut now, mut spent) = (NOW, Vec::new());
            for step in steps {
                now += step;
                if allowance.full_until(now).is_none() {
                    allowance.spend(now);
                    spent.push(now);
                }
            }
            for (index, from) in spent.iter().enumerate() {
                let within = spent[index..].iter().take_while(|at| **at < from + 3_600_000).count();
                prop_assert!(within <= 2 * count as usize, "{within} of {count}");
            }
        }
    }
}
