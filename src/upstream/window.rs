//! A sliding window over two counts, without a lock: how many of something happened lately, and how many of something else.
//!
//! The window is cut into `N` slots of equal length that are used in turn. A slot's count and the number of the stretch of
//! time it belongs to share one word, so that counting is one load and one add, and the first count of a new stretch
//! replaces the old one without a moment in which half of it shows. The sum covers the running stretch and the `N - 1` before it.
//!
//! The two counts of one event are written one after the other: a reading in between sees the first without the second.

use crate::clock::Micros;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A slot stops counting here; far below the 32 bits it has, so that adds racing past the check cannot overflow them.
const FULL: u32 = 1 << 30;
/// No slot is shorter, so that the 32-bit numbers of slots last for months of uptime before they repeat.
const MIN_SLOT: Micros = 1_000;

/// Counts over the last `N` slots.
#[derive(Debug)]
pub struct Window<const N: usize> {
    slot_length: AtomicU64,
    first: [Slot; N],
    second: [Slot; N],
}

/// Number of the stretch in the upper half, count in the lower half.
#[derive(Debug)]
struct Slot(AtomicU64);

impl<const N: usize> Window<N> {
    /// A window of this length; shorter than `N` milliseconds is taken as that.
    #[must_use]
    pub fn new(span: Micros) -> Self {
        Self {
            slot_length: AtomicU64::new(Self::slot_length(span)),
            first: std::array::from_fn(|_| Slot::new()),
            second: std::array::from_fn(|_| Slot::new()),
        }
    }

    /// Changes the length and, when it differs, forgets what was counted.
    pub fn set_span(&self, span: Micros) {
        let length = Self::slot_length(span);
        if self.slot_length.swap(length, Ordering::Relaxed) != length {
            self.clear();
        }
    }

    /// Adds one to the first count.
    pub fn count_first(&self, now: Micros) {
        self.count(&self.first, now);
    }

    /// Adds one to the second count.
    pub fn count_second(&self, now: Micros) {
        self.count(&self.second, now);
    }

    /// Both sums over the window that ends now.
    #[must_use]
    pub fn sums(&self, now: Micros) -> (u64, u64) {
        let stretch = self.stretch(now);
        let sum = |slots: &[Slot; N]| slots.iter().map(|slot| u64::from(slot.read(stretch, N))).sum();
        (sum(&self.first), sum(&self.second))
    }

    /// Forgets everything counted so far.
    pub fn clear(&self) {
        for slot in self.first.iter().chain(&self.second) {
            slot.0.store(0, Ordering::Relaxed);
        }
    }

    fn count(&self, slots: &[Slot; N], now: Micros) {
        let stretch = self.stretch(now);
        if let Some(slot) = slots.get(stretch as usize % N) {
            slot.count(stretch, N);
        }
    }

    fn slot_length(span: Micros) -> Micros {
        (span / N as u64).max(MIN_SLOT)
    }

    fn stretch(&self, now: Micros) -> u32 {
        // Wraps on purpose: ages are computed modulo 2^32.
        (now / self.slot_length.load(Ordering::Relaxed)) as u32
    }
}

impl Slot {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn count(&self, stretch: u32, slots: usize) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let (held, count) = unpack(seen);
            // A caller whose clock reading is a little old counts into the stretch that has begun meanwhile.
            if held == stretch || (held.wrapping_sub(stretch) as usize) <= slots {
                if count < FULL {
                    self.0.fetch_add(1, Ordering::Relaxed);
                }
                return;
            }
            let fresh = u64::from(stretch) << 32 | 1;
            match self.0.compare_exchange_weak(seen, fresh, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    fn read(&self, stretch: u32, slots: usize) -> u32 {
        let (held, count) = unpack(self.0.load(Ordering::Relaxed));
        if (stretch.wrapping_sub(held) as usize) < slots { count } else { 0 }
    }
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Micros = 1_000_000;

    #[test]
    fn counts_fall_out_slot_by_slot() {
        let window = Window::<10>::new(10 * SECOND);
        for second in 0..10 {
            window.count_first(second * SECOND);
        }
        window.count_second(0);
        assert_eq!(window.sums(9 * SECOND), (10, 1));
        assert_eq!(window.sums(10 * SECOND), (9, 0));
        assert_eq!(window.sums(18 * SECOND), (1, 0));
        assert_eq!(window.sums(19 * SECOND), (0, 0));
    }

    #[test]
    fn a_slot_that_is_used_again_starts_from_nothing() {
        let window = Window::<10>::new(10 * SECOND);
        for _ in 0..100 {
            window.count_first(3 * SECOND);
        }
        window.count_first(13 * SECOND);
        assert_eq!(window.sums(13 * SECOND), (1, 0));
    }

    #[test]
    fn a_slightly_old_clock_reading_is_counted_too() {
        let window = Window::<10>::new(10 * SECOND);
        window.count_first(10 * SECOND);
        window.count_first(10 * SECOND - 1);
        assert_eq!(window.sums(10 * SECOND), (2, 0));
    }

    #[test]
    fn another_span_starts_afresh_and_works_at_once() {
        let window = Window::<10>::new(10 * SECOND);
        window.count_first(100 * SECOND);
        window.set_span(100 * SECOND);
        assert_eq!(window.sums(100 * SECOND), (0, 0));
        window.count_first(100 * SECOND);
        assert_eq!(window.sums(190 * SECOND), (1, 0));
        window.set_span(100 * SECOND);
        assert_eq!(window.sums(190 * SECOND), (1, 0));
    }

    proptest! {
        #[test]
        fn the_sum_lies_between_the_counts_of_the_shortest_and_the_longest_window(
            mut times in proptest::collection::vec(0..60 * SECOND, 0..200),
        ) {
            times.sort_unstable();
            let window = Window::<10>::new(10 * SECOND);
            let mut counted: Vec<Micros> = Vec::new();
            for now in times {
                window.count_first(now);
                counted.push(now);
                let (sum, _) = window.sums(now);
                let within = |span: Micros| counted.iter().filter(|time| now - **time < span).count() as u64;
                prop_assert!(sum >= within(9 * SECOND), "{sum} of at least {}", within(9 * SECOND));
                prop_assert!(sum <= within(10 * SECOND), "{sum} of at most {}", within(10 * SECOND));
            }
        }
    }
}
