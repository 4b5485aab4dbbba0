//! What becomes of a message after an attempt.

use super::{Outcome, Reason, Settings, Settlement, UnixMillis};

/// What is known of a message when an attempt ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Past {
    pub(super) accepted: UnixMillis,
    /// Attempts before this one.
    pub(super) attempts: u16,
    /// Those of them that broke off.
    pub(super) breaks: u8,
}

/// Judges an attempt; `None` when it was none, because nothing was sent.
pub(super) fn judge(
    past: Past,
    outcome: Outcome,
    settings: &Settings,
    now: UnixMillis,
    random: u64,
) -> Option<Settlement> {
    let broke = match outcome {
        Outcome::NotSent => return None,
        Outcome::Delivered => return Some(Settlement::Delivered),
        Outcome::Failed => 0,
        Outcome::Broken => 1,
    };
    let (attempts, breaks) = (past.attempts.saturating_add(1), past.breaks.saturating_add(broke));
    let reason = if breaks >= settings.masters.max(1) {
        Reason::Masters
    } else if attempts >= settings.attempts.max(1) {
        Reason::Attempts
    } else if is_expired(past.accepted, settings, now) {
        Reason::Expired
    } else {
        let due = now.saturating_add(backoff(attempts, settings, random));
        return Some(Settlement::Retry { due, attempts, breaks });
    };
    Some(Settlement::Dead { reason, attempts, breaks })
}

pub(super) fn is_expired(accepted: UnixMillis, settings: &Settings, now: UnixMillis) -> bool {
    now >= accepted.saturating_add(settings.max_age)
}

/// The wait after so many attempts: doubling up to the longest, and of that a random part between a half and all, so that
/// messages that failed together do not come back together.
fn backoff(attempts: u16, settings: &Settings, random: u64) -> UnixMillis {
    let doublings = u32::from(attempts.saturating_sub(1)).min(32);
    let whole = settings.backoff.saturating_mul(1 << doublings).min(settings.max_backoff);
    let half = whole / 2;
    half + random % (whole - half + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = 1_000_000_000;

    fn after(attempts: u16, breaks: u8, outcome: Outcome) -> Option<Settlement> {
        judge(Past { accepted: NOW, attempts, breaks }, outcome, &Settings::default(), NOW, 0)
    }

    #[test]
    fn only_what_was_sent_is_an_attempt() {
        assert_eq!(after(0, 0, Outcome::NotSent), None);
        assert_eq!(after(5, 2, Outcome::Delivered), Some(Settlement::Delivered));
        assert!(matches!(after(0, 0, Outcome::Failed), Some(Settlement::Retry { attempts: 1, breaks: 0, .. })));
        assert!(matches!(after(0, 0, Outcome::Broken), Some(Settlement::Retry { attempts: 1, breaks: 1, .. })));
    }

    #[test]
    fn the_sixth_attempt_and_the_third_break_are_the_last() {
        let dead = |reason, attempts, breaks| Some(Settlement::Dead { reason, attempts, breaks });
        assert!(matches!(after(4, 2, Outcome::Failed), Some(Settlement::Retry { .. })));
        assert_eq!(after(5, 2, Outcome::Failed), dead(Reason::Attempts, 6, 2));
        assert_eq!(after(2, 2, Outcome::Broken), dead(Reason::Masters, 3, 3));
    }

    #[test]
    fn a_message_too_old_is_not_tried_again() {
        let past = Past { accepted: NOW - Settings::default().max_age, attempts: 0, breaks: 0 };
        let settled = judge(past, Outcome::Failed, &Settings::default(), NOW, 0);
        assert_eq!(settled, Some(Settlement::Dead { reason: Reason::Expired, attempts: 1, breaks: 0 }));
    }

    #[test]
    fn the_wait_doubles_up_to_the_longest_and_is_at_least_half_of_it() {
        let settings = Settings::default();
        let range = |attempts| {
            let waits: Vec<_> = (0..100_000).step_by(7).map(|random| backoff(attempts, &settings, random)).collect();
            (*waits.iter().min().unwrap() / 10 * 10, waits.iter().max().unwrap().div_ceil(10) * 10)
        };
        assert_eq!(range(1), (500, 1000));
        assert_eq!(range(2), (1000, 2000));
        assert_eq!(range(5), (8000, 16_000));
        assert!(backoff(20, &settings, 0) == 150_000 && backoff(u16::MAX, &settings, 150_000) == 300_000);
    }
}
