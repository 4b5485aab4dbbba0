//! The generic cell rate algorithm: how many requests a key may make, as one number for each key.
//!
//! A key's state is how far it is *ahead* of its rate: each admitted request moves it ahead by one interval, time brings it
//! back to zero. It is admitted while that stays within `burst` intervals. So any stretch of time `t` admits at most
//! `burst + t / interval`, and a key that has been quiet long enough always gets its whole burst. A refused request
//! changes nothing: whoever keeps asking is admitted as soon as whoever waits.
//!
//! This is the virtual scheduling form of ITU-T I.371 Annex A, with the theoretical arrival time kept relative to now.

use std::time::Duration;

use crate::clock::{self, Micros};

/// Units in a microsecond: an interval is rounded up to the next one, so that a rate is never exceeded, and missed by less
/// than one in a hundred at the highest that a configuration may ask for.
pub const TICKS_PER_MICRO: u64 = 16;

/// Time in units of a sixteenth of a microsecond.
pub type Ticks = u64;

/// How often, and how much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Between two requests at the steady rate.
    interval: Ticks,
    /// How far ahead a key may get: `burst` intervals.
    span: Ticks,
}

impl Rule {
    /// `count` requests in each `period`, and `burst` at once; zeros count as one.
    #[must_use]
    pub fn new(count: u32, period: Duration, burst: u32) -> Self {
        let interval = (clock::micros(period).saturating_mul(TICKS_PER_MICRO)).div_ceil(u64::from(count.max(1))).max(1);
        Self { interval, span: interval.saturating_mul(u64::from(burst.max(1))) }
    }

    /// Decides about a request of a key that is `ahead` by so much: how far ahead it is afterwards.
    ///
    /// # Errors
    /// The time after which the same request will be admitted.
    pub fn decide(&self, ahead: Ticks) -> Result<Ticks, Ticks> {
        let next = ahead.saturating_add(self.interval);
        if next <= self.span { Ok(next) } else { Err(next - self.span) }
    }

    /// The furthest that a key can be ahead.
    #[must_use]
    pub fn span(&self) -> Ticks {
        self.span
    }
}

/// The moment in ticks.
#[must_use]
pub fn ticks(now: Micros) -> Ticks {
    now.wrapping_mul(TICKS_PER_MICRO)
}

/// Whole seconds, rounded up: nobody is told to come back too early.
#[must_use]
pub fn seconds(ticks: Ticks) -> u64 {
    ticks.div_ceil(TICKS_PER_MICRO * 1_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_is_admitted_at_once_and_then_the_rate() {
        let rule = Rule::new(100, SECOND, 3);
        let mut ahead = 0;
        for _ in 0..3 {
            ahead = rule.decide(ahead).unwrap();
        }
        let wait = rule.decide(ahead).unwrap_err();
        assert_eq!(wait, 10_000 * TICKS_PER_MICRO);
        assert!(rule.decide(ahead - wait + 1).is_err());
        assert!(rule.decide(ahead - wait).is_ok());
    }

    #[test]
    fn a_wait_is_told_in_seconds_that_are_long_enough() {
        assert_eq!(seconds(1), 1);
        assert_eq!(seconds(1_000_000 * TICKS_PER_MICRO), 1);
        assert_eq!(seconds(1_000_000 * TICKS_PER_MICRO + 1), 2);
    }

    proptest! {
        /// Against the definition, over every stretch between two admitted requests.
        #[test]
        fn no_stretch_of_time_admits_more_than_the_burst_and_the_rate(
            count in 1_u32..5000, period in prop::sample::select(vec![1_u64, 60, 3600]), burst in 1_u32..50,
            gaps in prop::collection::vec(0_u64..2_000_000, 1..200),
        ) {
            let rule = Rule::new(count, Duration::from_secs(period), burst);
            let (mut now, mut arrival) = (0_u64, 0_u64);
            let mut admitted = Vec::new();
            for gap in gaps {
                now += ticks(gap);
                if let Ok(ahead) = rule.decide(arrival.saturating_sub(now)) {
                    arrival = now + ahead;
                    admitted.push(now);
                }
            }
            let per_tick = f64::from(count) / (period * 1_000_000 * TICKS_PER_MICRO) as f64;
            for (first, begun) in admitted.iter().enumerate() {
                for (last, ended) in admitted.iter().enumerate().skip(first) {
                    let allowed = f64::from(burst) + (ended - begun) as f64 * per_tick;
                    prop_assert!((last - first + 1) as f64 <= allowed + 1e-6, "{} > {allowed}", last - first + 1);
                }
            }
        }

        #[test]
        fn who_keeps_to_the_rate_is_never_refused(count in 1_u32..100_000, burst in 1_u32..10, requests in 1_u32..500) {
            let rule = Rule::new(count, SECOND, burst);
            let (mut now, mut arrival) = (0_u64, 0_u64);
            for _ in 0..requests {
                let ahead = rule.decide(arrival.saturating_sub(now));
                prop_assert!(ahead.is_ok());
                arrival = now + ahead.unwrap();
                now += rule.interval;
            }
        }

        #[test]
        fn who_waits_as_told_is_admitted_and_not_a_moment_earlier(count in 1_u32..100_000, burst in 1_u32..100) {
            let rule = Rule::new(count, SECOND, burst);
            let wait = rule.decide(rule.span()).unwrap_err();
            prop_assert!(rule.decide(rule.span() - wait).is_ok());
            prop_assert!(rule.decide(rule.span() - wait + 1).is_err());
        }

        #[test]
        fn the_interval_is_within_a_hundredth_of_what_was_asked_for(count in 1_u32..100_000) {
            let exact = 1e6 * TICKS_PER_MICRO as f64 / f64::from(count);
            let interval = Rule::new(count, SECOND, 1).interval as f64;
            prop_assert!(interval >= exact && interval <= exact * 1.01, "{interval} for {exact}");
        }
    }
}
