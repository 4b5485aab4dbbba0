//! When a certificate is ordered: pure arithmetic over seconds since 1970.

/// The first wait after the server could not be reached, and the longest.
const UNREACHABLE_FIRST: i64 = 2;
const UNREACHABLE_MOST: i64 = 600;

/// The first wait after the server refused, and the longest. Public servers allow a handful of failures an hour.
const REFUSED_FIRST: i64 = 300;
const REFUSED_MOST: i64 = 12 * 3600;

/// Why an attempt failed, as far as it decides when the next one is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No answer from the server: nothing counts against its limits.
    Unreachable,
    /// It answered, and not as hoped.
    Refused,
}

/// When a certificate with this validity is renewed: `before` its end, by default a third of its validity, and never in its first
/// half. `random` moves it forward by up to a twentieth of the validity, so that many do not come at once.
#[must_use]
pub fn renewal((begin, end): (i64, i64), before: Option<i64>, random: u64) -> i64 {
    let validity = (end - begin).max(0);
    let before = before.unwrap_or(validity / 3).min(validity / 2);
    (end - before - below(random, validity / 20)).max(begin + validity / 2)
}

/// The wait after this many failures in a row: doubled each time up to a bound, and up to a fifth longer.
#[must_use]
pub fn pause(failures: u32, fault: Fault, random: u64) -> i64 {
    let (first, most) = match fault {
        Fault::Unreachable => (UNREACHABLE_FIRST, UNREACHABLE_MOST),
        Fault::Refused => (REFUSED_FIRST, REFUSED_MOST),
    };
    let wait = first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(most);
    wait + below(random, wait / 5)
}

/// `random` brought into `0..=most`.
fn below(random: u64, most: i64) -> i64 {
    let most = u64::try_from(most).unwrap_or(0);
    i64::try_from(random % (most + 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = 24 * 3600;

    #[test]
    fn a_certificate_is_renewed_with_a_third_of_its_time_left_or_as_configured() {
        let quarter = (0, 90 * DAY);
        assert_eq!(renewal(quarter, None, 0), 60 * DAY);
        assert_eq!(renewal(quarter, Some(10 * DAY), 0), 80 * DAY);
        // Wanted earlier than makes sense: it would be ordered over and over.
        assert_eq!(renewal((0, 6 * DAY), Some(30 * DAY), 0), 3 * DAY);
    }

    #[test]
    fn failures_are_followed_by_ever_longer_waits_up_to_a_bound() {
        let waits = |fault| [1, 2, 3, 20, u32::MAX].map(|failures| pause(failures, fault, 0));
        assert_eq!(waits(Fault::Unreachable), [2, 4, 8, 600, 600]);
        assert_eq!(waits(Fault::Refused), [300, 600, 1200, 43_200, 43_200]);
    }

    proptest! {
        #[test]
        fn a_renewal_is_in_the_second_half_and_before_the_end(validity in 2..100_000_000_i64, before in prop::option::of(0..100_000_000_i64), random: u64) {
            let at = renewal((1000, 1000 + validity), before, random);
            prop_assert!(at >= 1000 + validity / 2 && at <= 1000 + validity);
        }

        #[test]
        fn a_wait_is_never_none_and_never_endless(failures: u32, random: u64) {
            for fault in [Fault::Unreachable, Fault::Refused] {
                let wait = pause(failures, fault, random);
                prop_assert!((2..=REFUSED_MOST * 6 / 5).contains(&wait));
            }
        }
    }
}
