//! What one worker takes on at once, so that load beyond what it can carry is turned away while that is cheap: before a
//! body is received, and before a master is asked.
//!
//! Asked after the rules that are each client's own, so a client over its rate is not what fills a worker. What was taken on
//! is never given up for what comes.

use std::cell::Cell;
use std::rc::Rc;

use crate::clock::{self, Micros};
use crate::config::model::Overload;

/// One worker's requests in progress and the memory that it spends on bodies.
#[derive(Debug, Default)]
pub struct Load {
    requests: Cell<usize>,
    body_bytes: Cell<usize>,
    /// Of [`Overload::body_bytes`], from the newest request on.
    body_bytes_max: Cell<usize>,
    /// How late the last look at the worker's deadlines was, and the one before it.
    late: Cell<[Micros; 2]>,
}

/// A request's part of its worker's load, until dropped.
#[derive(Debug)]
pub struct Admitted {
    load: Rc<Load>,
    body_bytes: usize,
}

impl Load {
    /// Takes on a request that is going to hold `body_bytes`; `None` when that is too much.
    #[must_use]
    pub fn admit(self: &Rc<Self>, limits: &Overload, body_bytes: usize) -> Option<Admitted> {
        self.body_bytes_max.set(limits.body_bytes);
        if self.lag() > clock::micros(limits.lag) && !limits.lag.is_zero() {
            return None;
        }
        let (requests, held) = (self.requests.get() + 1, self.body_bytes.get().saturating_add(body_bytes));
        // A body alone always finds room, or a low limit would refuse the larger ones for ever.
        let full = body_bytes > 0 && self.body_bytes.get() > 0 && held > limits.body_bytes;
        if requests > limits.requests || full {
            return None;
        }
        self.requests.set(requests);
        self.body_bytes.set(held);
        Some(Admitted { load: self.clone(), body_bytes })
    }

    /// How late the worker is with what is due: the lesser of its last two looks, for one alone may be a machine that stood
    /// still, after which there is nothing to make up for.
    #[must_use]
    pub fn lag(&self) -> Micros {
        let [last, before] = self.late.get();
        last.min(before)
    }

    /// Takes note of how late a look was.
    pub fn looked(&self, late: Micros) {
        let [last, _] = self.late.get();
        self.late.set([late, last]);
    }

    /// Takes `bytes` for a body that is kept for another attempt, if less than half of the memory would then be in use: what
    /// may come in handy must not keep out what has to be received.
    #[must_use]
    pub fn keep(&self, bytes: usize) -> bool {
        let held = self.body_bytes.get().saturating_add(bytes);
        let fits = held <= self.body_bytes_max.get() / 2;
        if fits {
            self.body_bytes.set(held);
        }
        fits
    }

    /// Gives back what [`Load::keep`] took.
    pub fn give_back(&self, bytes: usize) {
        self.body_bytes.set(self.body_bytes.get() - bytes);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.load.requests.set(self.load.requests.get() - 1);
        self.load.give_back(self.body_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Overload = Overload { requests: 2, body_bytes: 100, lag: std::time::Duration::from_millis(50) };

    #[test]
    fn no_more_requests_are_in_progress_than_allowed() {
        let load = Rc::new(Load::default());
        let first = load.admit(&LIMITS, 0);
        let second = load.admit(&LIMITS, 0);
        assert!(first.is_some() && second.is_some() && load.admit(&LIMITS, 0).is_none());
        drop(first);
        assert!(load.admit(&LIMITS, 0).is_some());
    }

    #[test]
    fn no_more_memory_is_spent_than_allowed_and_a_request_without_a_body_needs_none() {
        let load = Rc::new(Load::default());
        let large = load.admit(&LIMITS, 90).unwrap();
        assert!(load.admit(&LIMITS, 11).is_none());
        assert!(load.admit(&LIMITS, 10).is_some());
        drop(large);
        let _alone = load.admit(&LIMITS, 101).unwrap();
        assert!(load.admit(&LIMITS, 1).is_none());
        assert!(load.admit(&LIMITS, 0).is_some());
    }

    #[test]
    fn a_worker_that_was_late_twice_takes_on_nothing_until_it_is_in_time() {
        let load = Rc::new(Load::default());
        load.looked(70_000);
        assert!(load.admit(&LIMITS, 0).is_some(), "late once");
        load.looked(60_000);
        assert!(load.admit(&LIMITS, 0).is_none());
        assert!(load.admit(&Overload { lag: std::time::Duration::ZERO, ..LIMITS }, 0).is_some(), "off");
        load.looked(50_000);
        assert!(load.admit(&LIMITS, 0).is_some());
    }

    #[test]
    fn bodies_kept_for_another_attempt_leave_half_to_the_others() {
        let load = Rc::new(Load::default());
        let _first = load.admit(&LIMITS, 20).unwrap();
        assert!(load.keep(30));
        assert!(!load.keep(1));
        assert!(load.admit(&LIMITS, 50).is_some());
        load.give_back(30);
        assert!(load.keep(30));
    }
}
