//! The circuit breaker: a master that fails too large a share of its requests gets none for a while, then one on trial.
//!
//! Closed: the last `window` is counted; with at least `minimum_requests` in it and `failure_rate` percent of them failed, the
//! circuit opens. Open: nothing passes until `open_for` is over, when the checker's tick makes it half-open. Half-open: one
//! request is admitted on trial ([`AdmissionWord::claim_trial`]); its success closes the circuit with an empty window, its
//! failure opens it again. Answers to requests that started earlier come in late and say nothing about now: only the trial counts.
//!
//! A failure is what [`super::outlier`] counts as one, and for the same reason: an answer of 400 or 500 is an answer.
//!
//! State and trial stand in the admission word. Requests read only that; this keeps the counts behind it.

use crate::clock::Micros;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::upstream::admission::{AdmissionWord, Circuit};
use crate::upstream::window::Window;

const SLOTS: usize = 10;

/// When to open, and for how long. A `failure_rate` of 0 switches the breaker off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BreakerRule {
    /// Percent.
    pub failure_rate: u32,
    pub minimum_requests: u32,
    pub open_for: Micros,
}

/// Counts of one master's circuit.
#[derive(Debug)]
pub struct Breaker {
    /// Requests, and failures among them.
    window: Window<SLOTS>,
    open_until: AtomicU64,
}

impl BreakerRule {
    fn trips(&self, requests: u64, failures: u64) -> bool {
        failures > 0
            && requests >= u64::from(self.minimum_requests)
            && failures * 100 >= requests * u64::from(self.failure_rate)
    }
}

impl Breaker {
    #[must_use]
    pub fn new(window: Micros) -> Self {
        Self { window: Window::new(window), open_until: AtomicU64::new(0) }
    }

    /// Changes the window's length and, when it differs, forgets what was counted.
    pub fn set_window(&self, window: Micros) {
        self.window.set_span(window);
    }

    /// Takes a request's end in; `trial` if it was the half-open circuit's. The new state if it changed.
    pub fn record(
        &self,
        word: &AdmissionWord,
        now: Micros,
        rule: &BreakerRule,
        failed: bool,
        trial: bool,
    ) -> Option<Circuit> {
        if rule.failure_rate == 0 {
            return None;
        }
        match word.read().circuit() {
            Circuit::Closed => {
                self.window.count_first(now);
                if !failed {
                    return None;
                }
                self.window.count_second(now);
                let (requests, failures) = self.window.sums(now);
                let trips = rule.trips(requests, failures);
                (trips && self.switch(word, now, rule, Circuit::Closed, Circuit::Open)).then_some(Circuit::Open)
            }
            Circuit::HalfOpen if trial => {
                let to = if failed { Circuit::Open } else { Circuit::Closed };
                self.switch(word, now, rule, Circuit::HalfOpen, to).then_some(to)
            }
            Circuit::HalfOpen | Circuit::Open => None,
        }
    }

    /// Makes an open circuit half-open once its time is over; whether it did. Called by one task, again by
    /// [`Breaker::next_tick`].
    pub fn tick(&self, word: &AdmissionWord, now: Micros) -> bool {
        let over = word.read().circuit() == Circuit::Open && now >= self.open_until.load(Ordering::Acquire);
        over && change(word, Circuit::Open, Circuit::HalfOpen)
    }

    /// When [`Breaker::tick`] has something to do next.
    #[must_use]
    pub fn next_tick(&self, circuit: Circuit) -> Option<Micros> {
        (circuit == Circuit::Open).then(|| self.open_until.load(Ordering::Acquire))
    }

    /// Requests and failures in the window that ends now.
    #[must_use]
    pub fn counts(&self, now: Micros) -> (u64, u64) {
        self.window.sums(now)
    }

    /// Closes the circuit and forgets what was counted; whether it was not closed before.
    pub fn reset(&self, word: &AdmissionWord) -> bool {
        self.window.clear();
        let (before, _) = word.update(|admission| admission.with_circuit(Circuit::Closed));
        before.circuit() != Circuit::Closed
    }

    fn switch(&self, word: &AdmissionWord, now: Micros, rule: &BreakerRule, from: Circuit, to: Circuit) -> bool {
        match to {
            // Before the word says open, so that no tick can find it open with an old time.
            Circuit::Open => self.open_until.store(now.saturating_add(rule.open_for), Ordering::Release),
            Circuit::Closed | Circuit::HalfOpen => self.window.clear(),
        }
        change(word, from, to)
    }
}

fn change(word: &AdmissionWord, from: Circuit, to: Circuit) -> bool {
    let (before, _) =
        word.update(|admission| if admission.circuit() == from { admission.with_circuit(to) } else { admission });
    before.circuit() == from
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::admission::{Admission, Health, Tier};

    const SECOND: Micros = 1_000_000;
    const RULE: BreakerRule = BreakerRule { failure_rate: 50, minimum_requests: 20, open_for: 5 * SECOND };

    struct Master {
        word: AdmissionWord,
        breaker: Breaker,
    }

    impl Master {
        fn new() -> Self {
            Self { word: AdmissionWord::new(Admission::new(Health::Healthy)), breaker: Breaker::new(10 * SECOND) }
        }

        fn end(&self, now: Micros, failed: bool, trial: bool) -> Option<Circuit> {
            self.breaker.record(&self.word, now, &RULE, failed, trial)
        }

        fn half_open(now: Micros) -> Self {
            let master = Self::new();
            let opened = (0..20).find_map(|_| master.end(now, true, false));
            assert_eq!(opened, Some(Circuit::Open));
            assert!(master.breaker.tick(&master.word, now + RULE.open_for));
            master
        }
    }

    #[test]
    fn too_few_requests_open_nothing() {
        let master = Master::new();
        assert!((0..19).all(|_| master.end(0, true, false).is_none()));
        assert_eq!(master.end(0, true, false), Some(Circuit::Open));
        assert_eq!(master.word.read().tier(), Tier::Out);
    }

    #[test]
    fn half_of_the_requests_failing_opens_and_less_does_not() {
        let master = Master::new();
        assert!((0..11).all(|_| master.end(0, false, false).is_none()));
        assert!((0..10).all(|_| master.end(0, true, false).is_none()));
        assert_eq!(master.end(0, true, false), Some(Circuit::Open));
    }

    #[test]
    fn failures_older_than_the_window_do_not_count() {
        let master = Master::new();
        assert!((0..19).all(|_| master.end(0, true, false).is_none()));
        assert_eq!(master.end(10 * SECOND, true, false), None);
        assert_eq!(master.breaker.counts(10 * SECOND), (1, 1));
    }

    #[test]
    fn an_open_circuit_becomes_half_open_when_its_time_is_over() {
        let master = Master::new();
        assert!((0..20).any(|_| master.end(SECOND, true, false).is_some()));
        assert_eq!(master.breaker.next_tick(Circuit::Open), Some(6 * SECOND));
        assert!(!master.breaker.tick(&master.word, 6 * SECOND - 1));
        assert!(master.breaker.tick(&master.word, 6 * SECOND));
        assert!(!master.breaker.tick(&master.word, 6 * SECOND));
        assert_eq!(master.word.read().circuit(), Circuit::HalfOpen);
    }

    #[test]
    fn the_trial_decides_and_nothing_else_does() {
        let master = Master::half_open(0);
        assert_eq!(master.end(6 * SECOND, false, false), None);
        assert!(master.word.claim_trial());
        assert_eq!(master.end(6 * SECOND, true, true), Some(Circuit::Open));
        assert!(!master.breaker.tick(&master.word, 11 * SECOND - 1));
        assert!(master.breaker.tick(&master.word, 11 * SECOND));
        assert!(master.word.claim_trial());
        assert_eq!(master.end(12 * SECOND, false, true), Some(Circuit::Closed));
        assert_eq!(master.word.read().tier(), Tier::Full);
        assert_eq!(master.breaker.counts(12 * SECOND), (0, 0));
    }

    #[test]
    fn a_breaker_that_is_switched_off_never_opens() {
        let master = Master::new();
        let off = BreakerRule::default();
        assert!((0..1000).all(|_| master.breaker.record(&master.word, 0, &off, true, false).is_none()));
    }

    #[test]
    fn a_reset_forgets_the_failures() {
        let master = Master::half_open(0);
        assert!(master.breaker.reset(&master.word));
        assert!(!master.breaker.reset(&master.word));
        assert!((0..19).all(|_| master.end(5 * SECOND, true, false).is_none()));
    }

    proptest! {
        #[test]
        fn it_opens_exactly_when_the_counts_say_so(ends in proptest::collection::vec(any::<bool>(), 0..200)) {
            let master = Master::new();
            let (mut requests, mut failures) = (0_u64, 0_u64);
            for failed in ends {
                let opened = master.end(0, failed, false);
                requests += 1;
                failures += u64::from(failed);
                let due = failed && requests >= 20 && failures * 2 >= requests;
                prop_assert_eq!(opened, due.then_some(Circuit::Open));
                if due {
                    break;
                }
            }
        }
    }
}
