//! When a master that says nothing is suspected of hanging.
//!
//! A hung process keeps its port open and its connections alive; all that shows is that no byte comes. So a master is
//! suspected when a request has waited for its first byte for `suspect_after`, and in that time no byte came from the
//! master on any connection of any worker: one slow answer beside others that flow is not silence. Suspicion is no verdict.
//! It sets the master aside for the moment and has it probed at once; the probe decides.
//!
//! A master that is slow rather than hung answers that probe. Each such false alarm is a strike and doubles the threshold, up
//! to [`MAX_THRESHOLD`], so that bots that think for seconds are not probed for every message. A strike is forgiven after
//! [`FORGIVEN_AFTER`] without a further one: a master that stays slow keeps its patience at the price of about one needless
//! probe a minute, and one that has become fast is watched closely again.
//!
//! Workers write the last byte's time and raise the alarm, the checker alone writes strikes.

use crate::clock::Micros;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// However slow a master has shown itself, this long a silence is suspect: a worker that hangs has to show within the
/// usual time-out of one attempt.
pub const MAX_THRESHOLD: Micros = 2_000_000;
/// One strike is forgiven after this long without another.
pub const FORGIVEN_AFTER: Micros = 60_000_000;
/// Bytes closer together than this share one note: finer would only have the workers write to one cache line all the time.
const RESOLUTION: Micros = 1_000;
/// 1 ms doubled this often passes every threshold's cap.
const MAX_STRIKES: u32 = 12;

/// Since when a master has been silent, and how far it may be.
#[derive(Debug)]
pub struct Silence {
    last_byte: AtomicU64,
    /// The running suspicion is one of silence.
    alarm: AtomicBool,
    strikes: AtomicU32,
    last_strike: AtomicU64,
}

impl Silence {
    #[must_use]
    pub fn new() -> Self {
        Self {
            last_byte: AtomicU64::new(0),
            alarm: AtomicBool::new(false),
            strikes: AtomicU32::new(0),
            last_strike: AtomicU64::new(0),
        }
    }

    /// A byte came from the master.
    pub fn touched(&self, now: Micros) {
        if now.saturating_sub(self.last_byte.load(Ordering::Relaxed)) >= RESOLUTION {
            self.last_byte.store(now, Ordering::Relaxed);
        }
    }

    /// Whether the master is suspect. `waiting_since` is when the oldest request that has got no byte yet was sent to it,
    /// of those the caller knows.
    #[must_use]
    pub fn suspicious(&self, now: Micros, waiting_since: Micros, suspect_after: Micros) -> bool {
        now >= self.suspect_at(now, waiting_since, suspect_after)
    }

    /// When it becomes suspect if nothing comes until then.
    #[must_use]
    pub fn suspect_at(&self, now: Micros, waiting_since: Micros, suspect_after: Micros) -> Micros {
        let silent_since = waiting_since.max(self.last_byte.load(Ordering::Relaxed));
        silent_since.saturating_add(self.threshold(now, suspect_after))
    }

    /// How long a silence is suspect now.
    #[must_use]
    pub fn threshold(&self, now: Micros, suspect_after: Micros) -> Micros {
        // A configured value above the cap is meant.
        let cap = MAX_THRESHOLD.max(suspect_after);
        suspect_after.saturating_mul(1 << self.strikes(now)).min(cap)
    }

    /// The master is suspected of silence from now on.
    pub fn raise_alarm(&self) {
        self.alarm.store(true, Ordering::Relaxed);
    }

    /// Whether the running suspicion is one of silence.
    #[must_use]
    pub fn alarmed(&self) -> bool {
        self.alarm.load(Ordering::Relaxed)
    }

    /// The master answered a probe: silence starts anew, and an alarm that was raised was a false one.
    pub fn answered(&self, now: Micros) {
        self.touched(now);
        if self.alarm.swap(false, Ordering::Relaxed) {
            self.strike(now);
        }
    }

    /// The alarm was a true one.
    pub fn confirmed(&self) {
        self.alarm.store(false, Ordering::Relaxed);
    }

    fn strike(&self, now: Micros) {
        let strikes = (self.strikes(now) + 1).min(MAX_STRIKES);
        self.last_strike.store(now, Ordering::Relaxed);
        self.strikes.store(strikes, Ordering::Relaxed);
    }

    /// False alarms not forgiven yet.
    #[must_use]
    pub fn strikes(&self, now: Micros) -> u32 {
        let quiet = now.saturating_sub(self.last_strike.load(Ordering::Relaxed));
        let forgiven = u32::try_from(quiet / FORGIVEN_AFTER).unwrap_or(u32::MAX);
        self.strikes.load(Ordering::Relaxed).saturating_sub(forgiven)
    }
}

impl Default for Silence {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Micros = 1_000;
    const SECOND: Micros = 1_000 * MS;
    const AFTER: Micros = 150 * MS;

    #[test]
    fn a_request_without_a_byte_for_the_threshold_makes_it_suspect() {
        let silence = Silence::new();
        assert!(!silence.suspicious(10 * SECOND + AFTER - 1, 10 * SECOND, AFTER));
        assert!(silence.suspicious(10 * SECOND + AFTER, 10 * SECOND, AFTER));
    }

    #[test]
    fn a_master_that_answers_other_requests_is_not_silent() {
        let silence = Silence::new();
        silence.touched(10 * SECOND);
        assert!(!silence.suspicious(10 * SECOND + AFTER - 1, 5 * SECOND, AFTER));
        assert!(silence.suspicious(10 * SECOND + AFTER, 5 * SECOND, AFTER));
    }

    #[test]
    fn every_false_alarm_doubles_the_patience_up_to_two_seconds() {
        let silence = Silence::new();
        let thresholds = [150, 300, 600, 1200, 2000, 2000].map(|expected| {
            let threshold = silence.threshold(0, AFTER) / MS;
            silence.strike(0);
            (threshold, expected)
        });
        assert!(thresholds.iter().all(|(threshold, expected)| threshold == expected), "{thresholds:?}");
        (0..1000).for_each(|_| silence.strike(0));
        assert_eq!(silence.threshold(0, AFTER), MAX_THRESHOLD);
        assert_eq!(silence.threshold(0, MS), MAX_THRESHOLD);
    }

    #[test]
    fn an_answered_probe_is_a_strike_only_after_an_alarm_and_starts_the_silence_anew() {
        let silence = Silence::new();
        silence.answered(SECOND);
        assert_eq!(silence.strikes(SECOND), 0);
        silence.raise_alarm();
        silence.answered(2 * SECOND);
        assert_eq!(silence.strikes(2 * SECOND), 1);
        assert_eq!(silence.suspect_at(2 * SECOND, SECOND, AFTER), 2 * SECOND + 2 * AFTER);
        silence.raise_alarm();
        silence.confirmed();
        silence.answered(3 * SECOND);
        assert_eq!(silence.strikes(3 * SECOND), 1);
    }

    #[test]
    fn a_configured_threshold_above_the_cap_is_kept() {
        let silence = Silence::new();
        silence.strike(0);
        assert_eq!(silence.threshold(0, 5 * SECOND), 5 * SECOND);
    }

    #[test]
    fn strikes_are_forgiven_one_a_minute() {
        let silence = Silence::new();
        silence.strike(0);
        silence.strike(SECOND);
        assert_eq!(silence.strikes(SECOND + FORGIVEN_AFTER - 1), 2);
        assert_eq!(silence.strikes(SECOND + FORGIVEN_AFTER), 1);
        silence.strike(SECOND + FORGIVEN_AFTER);
        assert_eq!(silence.strikes(SECOND + FORGIVEN_AFTER), 2);
        assert_eq!(silence.strikes(SECOND + 3 * FORGIVEN_AFTER), 0);
    }

    proptest! {
        #[test]
        fn a_hung_master_is_suspected_within_the_cap_and_never_before_the_configured_time(
            strikes in 0..20_u32, last_byte in 0..100 * SECOND, waiting_since in 0..100 * SECOND,
        ) {
            let silence = Silence::new();
            silence.touched(last_byte);
            (0..strikes).for_each(|_| silence.strike(last_byte));
            let silent_since = waiting_since.max(last_byte);
            prop_assert!(!silence.suspicious(silent_since + AFTER - RESOLUTION - 1, waiting_since, AFTER));
            prop_assert!(silence.suspicious(silent_since + MAX_THRESHOLD, waiting_since, AFTER));
        }
    }
}
