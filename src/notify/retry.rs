//! When a request that failed is made again: pure arithmetic.

use std::time::Duration;

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// Between two attempts, at most, before what is added at random.
const MOST: Duration = Duration::from_secs(60);

/// The wait after so many failures of one request: doubled each time up to a minute, and up to a fifth longer, so that
/// many who failed together do not come back together.
#[must_use]
pub fn pause(failures: u32, random: u64) -> Duration {
    let wait = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(MOST);
    let fifth = u64::try_from(wait.as_millis() / 5).unwrap_or(0);
    wait + Duration::from_millis(random % (fifth + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let seconds = [1, 2, 3, 4, 7, 8, u32::MAX].map(|failures| pause(failures, 0).as_secs());
        assert_eq!(seconds, [1, 2, 4, 8, 60, 60, 60]);
    }

    proptest! {
        #[test]
        fn chance_adds_up_to_a_fifth(failures: u32, random: u64) {
            let least = pause(failures, 0);
            let waited = pause(failures, random);
            prop_assert!(waited >= least && waited <= least + least / 5);
        }
    }
}
