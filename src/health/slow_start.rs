//! How large a share a master gets while it warms up after a failure.
//!
//! Envoy's formula with aggression 1: the share grows linearly over the window and never lies below a tenth, because a
//! master that gets nothing cannot warm up.

use crate::clock::Micros;

/// The smallest share, in percent.
pub const MIN_PERCENT: u32 = 10;

/// The share in percent, this long after the master came back; a window of zero switches slow start off.
#[must_use]
pub fn percent(elapsed: Micros, window: Micros) -> u32 {
    if elapsed >= window {
        return 100;
    }
    // Below the window, so the quotient is below 100.
    let grown = u128::from(elapsed) * 100 / u128::from(window);
    (grown as u32).max(MIN_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    #[test]
    fn the_share_follows_the_published_vectors() {
        let shares = [0, 3, 15, 30, 60].map(|elapsed| percent(elapsed * SECOND, 60 * SECOND));
        assert_eq!(shares, [10, 10, 25, 50, 100]);
    }

    #[test]
    fn no_window_means_the_full_share_at_once() {
        assert_eq!(percent(0, 0), 100);
    }

    #[test]
    fn the_longest_times_do_not_overflow() {
        assert_eq!(percent(u64::MAX - 1, u64::MAX), 99);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
    }
}
