//! The last values of something that is measured at a fixed pace, by the number of the interval they belong to.

use std::collections::VecDeque;

/// Values of consecutive intervals, the oldest of which give way to new ones. An interval in which nothing was measured has the value
/// that stands for that.
#[derive(Debug, Clone)]
pub struct Ring<T> {
    values: VecDeque<T>,
    capacity: usize,
    absent: T,
    /// Number of the interval after the last one.
    end: u64,
}

impl<T: Copy> Ring<T> {
    /// An empty one; memory is taken as it fills.
    #[must_use]
    pub fn new(capacity: usize, absent: T) -> Self {
        Self { values: VecDeque::new(), capacity: capacity.max(1), absent, end: 0 }
    }

    /// Takes in the value of an interval. One that was left out since the last is absent. Where the clock has gone back, what
    /// had been measured from there on is forgotten.
    pub fn push(&mut self, interval: u64, value: T) {
        while self.end > interval && self.values.pop_back().is_some() {
            self.end -= 1;
        }
        if self.values.is_empty() || interval - self.end.min(interval) >= self.capacity as u64 {
            self.values.clear();
            self.end = interval;
        }
        while self.end < interval {
            self.append(self.absent);
        }
        self.append(value);
    }

    fn append(&mut self, value: T) {
        if self.values.len() == self.capacity {
            self.values.pop_front();
        }
        self.values.push_back(value);
        self.end += 1;
    }

    /// The value of an interval; absent where there is none.
    #[must_use]
    pub fn get(&self, interval: u64) -> T {
        let first = self.first();
        let index = interval.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.values.get(index)).copied().unwrap_or(self.absent)
    }

    /// Number of the first interval that is kept.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.end - self.values.len() as u64
    }

    /// Number of the interval after the last one.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Values of the last intervals, the oldest first; fewer when there are fewer.
    pub fn last(&self, intervals: usize) -> impl Iterator<Item = T> {
        self.values.iter().skip(self.values.len().saturating_sub(intervals)).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(ring: &Ring<i32>) -> Vec<i32> {
        ring.last(usize::MAX).collect()
    }

    #[test]
    fn what_was_left_out_is_absent() {
        let mut ring = Ring::new(5, -1);
        ring.push(100, 1);
        ring.push(103, 2);
        assert_eq!(all(&ring), [1, -1, -1, 2]);
        assert_eq!((ring.first(), ring.end()), (100, 104));
        assert_eq!([99, 100, 101, 103, 104].map(|at| ring.get(at)), [-1, 1, -1, 2, -1]);
        ring.push(1 << 60, 3);
        assert_eq!(all(&ring), [3]);
    }

    #[test]
    fn a_clock_that_was_set_back_takes_what_came_after_with_it() {
        let mut ring = Ring::new(4, -1);
        (0..4).for_each(|at| ring.push(at, i32::try_from(at).unwrap()));
        ring.push(2, 7);
        assert_eq!(all(&ring), [0, 1, 7]);
        ring.push(0, 8);
        assert_eq!((all(&ring), ring.first()), (vec![8], 0));
    }

    proptest! {
        #[test]
        fn it_answers_as_a_map_of_the_last_intervals_would(
            pushes in prop::collection::vec((0u64..40, any::<i32>()), 1..60), capacity in 1usize..12,
        ) {
            let (mut ring, mut model) = (Ring::new(capacity, i32::MIN), std::collections::BTreeMap::new());
            for (interval, value) in pushes {
                ring.push(interval, value);
                model.split_off(&interval);
                model.insert(interval, value);
                let first = (interval + 1).saturating_sub(capacity as u64);
                model = model.split_off(&first);
                for at in 0..45 {
                    prop_assert_eq!(ring.get(at), model.get(&at).copied().unwrap_or(i32::MIN), "at {}", at);
                }
                prop_assert!(ring.last(usize::MAX).count() <= capacity);
            }
        }
    }
}
