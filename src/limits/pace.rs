//! How slow a client may be in sending a body or taking an answer.
//!
//! A bound on pauses alone is no bound: a byte before each pause is over, and a transfer lasts for days. Here the time spent
//! waiting for a client is bounded by one pause and what its bytes may take at the least rate. Only that time counts: a
//! slow master, or one that sends an event now and then, is not the client's fault.

use crate::clock::Micros;

/// The patience with one transfer.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The longest pause.
    pause: Micros,
    /// Bytes a second; 0 bounds pauses only.
    min_rate: u64,
    waited: Micros,
    moved: u64,
}

impl Pace {
    #[must_use]
    pub fn new(pause: Micros, min_rate: u64) -> Self {
        Self { pause, min_rate, waited: 0, moved: 0 }
    }

    /// A wait has brought so many bytes, or has taken so many off.
    pub fn waited(&mut self, micros: Micros, bytes: usize) {
        self.waited = self.waited.saturating_add(micros);
        self.moved = self.moved.saturating_add(bytes as u64);
    }

    /// How long the next wait may be.
    #[must_use]
    pub fn patience(&self) -> Micros {
        match self.min_rate {
            0 => self.pause,
            rate => {
                let earned = u128::from(self.moved) * 1_000_000 / u128::from(rate);
                let earned = Micros::try_from(earned).unwrap_or(Micros::MAX);
                self.pause.min(self.pause.saturating_add(earned).saturating_sub(self.waited))
            }
        }
    }

    /// The longest pause of the other side, to which the rate does not apply.
    #[must_use]
    pub fn pause(&self) -> Micros {
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Micros = 1_000_000;

    #[test]
    fn who_drips_is_given_up_although_no_pause_is_too_long() {
        let mut pace = Pace::new(30 * SECOND, 100);
        let mut waited = 0;
        while pace.patience() >= SECOND {
            pace.waited(SECOND, 1);
            waited += 1;
        }
        assert_eq!(waited, 30);
    }

    #[test]
    fn who_keeps_to_the_rate_has_a_whole_pause_every_time() {
        let mut pace = Pace::new(30 * SECOND, 100);
        for _ in 0..1000 {
            pace.waited(SECOND, 100);
            assert_eq!(pace.patience(), 30 * SECOND);
        }
    }

    #[test]
    fn without_a_rate_only_pauses_are_bounded() {
        let mut pace = Pace::new(SECOND, 0);
        pace.waited(Micros::MAX, 0);
        assert_eq!(pace.patience(), SECOND);
    }

    proptest! {
        /// Whatever the client does, as long as each wait ends when its patience is over.
        #[test]
        fn all_waits_together_last_a_pause_and_what_the_bytes_earn(
            steps in prop::collection::vec((0.0_f64..=1.0, 0_usize..100_000), 1..300), rate in 1_u64..1_000_000,
        ) {
            let pause = 30 * SECOND;
            let mut pace = Pace::new(pause, rate);
            let (mut waited, mut moved) = (0, 0_u64);
            for (share, bytes) in steps {
                let wait = (pace.patience() as f64 * share) as Micros;
                pace.waited(wait, bytes);
                (waited, moved) = (waited + wait, moved + bytes as u64);
                prop_assert!(waited <= pause + moved * SECOND / rate);
            }
        }
    }
}
