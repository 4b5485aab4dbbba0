//! The member with the fewest requests for what it can carry.
//!
//! Load is requests in flight, queued ones and open tunnels included, divided by weight times slow start. Equally
//! loaded members, idle ones above all, take turns.

use super::rotation::Cursor;
use super::set::Set;
use super::{Candidates, Spec, View};

#[derive(Debug)]
pub struct LeastLoaded {
    weights: Box<[u32]>,
    turns: Cursor,
}

impl LeastLoaded {
    pub fn new(specs: &[Spec]) -> Self {
        Self { weights: specs.iter().map(Spec::bounded_weight).collect(), turns: Cursor::default() }
    }

    pub fn pick<V: View>(&self, candidates: &Candidates<'_, V>) -> Option<usize> {
        let view = candidates.view;
        let mut least = Set::new();
        // The lowest load so far as a fraction, so that equal loads compare equal.
        let (mut least_in_flight, mut least_capacity) = (0, 0);
        for (i, weight) in self.weights.iter().enumerate().filter(|(i, _)| candidates.contain(*i)) {
            let in_flight = u64::from(view.in_flight(i));
            let capacity = u64::from(*weight) * u64::from(view.ramp(i).clamp(1, 100));
            let (here, there) = (in_flight * least_capacity, least_in_flight * capacity);
            if least.is_empty() || here < there {
                least.clear();
                (least_in_flight, least_capacity) = (in_flight, capacity);
            } else if here > there {
                continue;
            }
            least.insert(i);
        }
        match least.len() {
            0 | 1 => least.nth(0),
            ties => least.nth(self.turns.next(ties)),
        }
    }
}
