//! The state of many keys under one rule, in a table of fixed size that all workers share without a lock.
//!
//! A key has one word: a part of its hash, to be recognised by, and the moment at which it is back at its rate. It is read
//! and changed by one compare-and-swap. The words lie in sets of eight, one cache line each; the rest of the hash chooses
//! the set, and a key may stand anywhere in it. So a look-up reads one cache line, and memory is eight bytes for each
//! key, taken when the table is made.
//!
//! A key that is back at its rate is the same as one never seen, so its word is free to be taken over. When all eight
//! of a set are in use, a new key takes the place of the one that is least ahead, which thereby gets its burst anew.
//! Whoever makes up many keys, addresses for instance, can thus make the table forget, but the keys furthest ahead last.
//!
//! What it does not promise: two keys are taken for one with a probability of 8 in a million; and when a set forgets a key
//! in the very moment in which two workers meet another one for the first time, that one may get its burst twice.
//! Whoever hashes must use a secret seed, or clients can choose what collides.

use super::gcra::{self, Rule, Ticks};
use crate::clock::Micros;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Words in a set: one cache line.
const WAYS: usize = 8;

/// Bits of the moment. It wraps around every 12 days, so [`Buckets::sweep`] has to come by more often than that.
const MOMENT_BITS: u32 = 44;

const MOMENT: u64 = (1 << MOMENT_BITS) - 1;

/// How far ahead a rule may let a key get: a day. A quarter of the moment's range, so that it is never taken for the past.
pub const SPAN_MAX_SECONDS: u64 = 86_400;

/// Workers read the clock one after the other; a moment may lie that much further ahead than the rule allows. A second,
/// which is longer than a worker stands still.
const CLOCK_SLACK: Ticks = gcra::TICKS_PER_MICRO * 1_000_000;

/// Tries to change a word. Each failed one means that another request of the same set was admitted meanwhile.
const TRIES_MAX: u32 = 100;

/// The keys of one rule.
#[derive(Debug)]
pub struct Buckets {
    sets: Box<[Set]>,
}

#[derive(Debug)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

impl Buckets {
    /// Room for at least `keys` keys.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let set = || Set(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { sets: std::iter::repeat_with(set).take(keys.div_ceil(WAYS).max(1)).collect() }
    }

    /// Decides about a request of the key with this hash, and counts it if it is admitted: how far ahead the key is then.
    ///
    /// # Errors
    /// The time after which the key's next request will be admitted.
    pub fn take(&self, hash: u64, rule: &Rule, now: Micros) -> Result<Ticks, Ticks> {
        let (Set(words), tag) = (self.set(hash), tag(hash));
        let now = gcra::ticks(now);
        for _ in 0..TRIES_MAX {
            let mut place = (Ticks::MAX, &words[0], 0);
            let mut own = None;
            for cell in words {
                let word = cell.load(Ordering::Relaxed);
                let ahead = ahead(word, rule, now);
                if word >> MOMENT_BITS == tag {
                    own = Some((ahead, cell, word));
                    break;
                }
                if ahead < place.0 {
                    place = (ahead, cell, word);
                }
            }
            let (ahead, cell, word) = own.unwrap_or((0, place.1, place.2));
            let next = rule.decide(ahead)?;
            let new = tag << MOMENT_BITS | now.wrapping_add(next) & MOMENT;
            if cell.compare_exchange(word, new, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Ok(next);
            }
        }
        rule.decide(rule.span())
    }

    /// Empties the words of keys that are back at their rate; call it every few seconds.
    pub fn sweep(&self, rule: &Rule, now: Micros) {
        let now = gcra::ticks(now);
        for cell in self.sets.iter().flat_map(|set| &set.0) {
            let word = cell.load(Ordering::Relaxed);
            if word != 0 && ahead(word, rule, now) == 0 {
                // A word that has changed meanwhile is in use.
                let _ = cell.compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    /// Keys that there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    fn set(&self, hash: u64) -> &Set {
        let index = ((hash >> 32) * self.sets.len() as u64) >> 32;
        &self.sets[index as usize]
    }
}

/// From the low half of the hash, as the high half chooses the set; never 0, which is an empty word.
fn tag(hash: u64) -> u64 {
    (hash & (u64::MAX >> MOMENT_BITS)).max(1)
}

/// How far ahead of its rate the key of this word is.
fn ahead(word: u64, rule: &Rule, now: Ticks) -> Ticks {
    let ahead = word.wrapping_sub(now) & MOMENT;
    // Anything further than a rule can lead is the past, seen around the corner.
    if word == 0 || ahead > rule.span() + CLOCK_SLACK { 0 } else { ahead }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Micros = 1_000_000;

    fn rule(burst: u32) -> Rule {
        Rule::new(1, Duration::from_secs(1), burst)
    }

    /// How many of `tries` requests are admitted at once.
    fn admitted(buckets: &Buckets, hash: u64, rule: &Rule, now: Micros, tries: u32) -> u32 {
        (0..tries).map(|_| u32::from(buckets.take(hash, rule, now).is_ok())).sum()
    }

    #[test]
    fn keys_are_counted_apart() {
        let (buckets, rule) = (Buckets::new(64), rule(3));
        assert_eq!(admitted(&buckets, 1, &rule, SECOND, 10), 3);
        assert_eq!(admitted(&buckets, 2, &rule, SECOND, 10), 3);
        assert_eq!(admitted(&buckets, 1, &rule, 3 * SECOND, 10), 2);
    }

    #[test]
    fn a_full_set_forgets_the_key_that_is_least_ahead() {
        let (buckets, rule) = (Buckets::new(8), rule(100));
        for hash in 1..=8 {
            admitted(&buckets, hash, &rule, SECOND, 10 * hash as u32);
        }
        assert_eq!(admitted(&buckets, 9, &rule, SECOND, 50), 50);
        assert_eq!(admitted(&buckets, 8, &rule, SECOND, 100), 20, "the key furthest ahead is still known");
        assert_eq!(admitted(&buckets, 1, &rule, SECOND, 100), 100, "the key least ahead was forgotten");
    }

    #[test]
    fn a_key_that_is_back_at_its_rate_makes_room_and_loses_nothing() {
        let (buckets, rule) = (Buckets::new(8), rule(2));
        for hash in 1..=8 {
            admitted(&buckets, hash, &rule, SECOND, 2);
        }
        for hash in 11..=18 {
            assert_eq!(admitted(&buckets, hash, &rule, 3 * SECOND, 5), 2);
        }
        assert_eq!(admitted(&buckets, 11, &rule, 3 * SECOND, 5), 0);
    }

    #[test]
    fn nothing_is_remembered_around_the_corner_of_the_clock() {
        let (buckets, rule) = (Buckets::new(8), rule(2));
        let around = (MOMENT + 1) / gcra::TICKS_PER_MICRO;
        for now in [0, SECOND, around - SECOND, around, 7 * around - 1] {
            buckets.sweep(&rule, now);
            assert_eq!(admitted(&buckets, 1, &rule, now, 5), 2, "at {now}");
            assert_eq!(admitted(&buckets, 1, &rule, now + SECOND, 5), 1, "after {now}");
            buckets.sweep(&rule, now + 10 * SECOND);
        }
    }

    #[test]
    fn a_sweep_keeps_what_is_in_use_and_frees_the_rest() {
        let (buckets, rule) = (Buckets::new(8), rule(4));
        admitted(&buckets, 1, &rule, 0, 4);
        admitted(&buckets, 2, &rule, 0, 1);
        buckets.sweep(&rule, 2 * SECOND);
        let used = buckets.sets[0].0.iter().filter(|cell| cell.load(Ordering::Relaxed) != 0).count();
        assert_eq!(used, 1);
        assert_eq!(admitted(&buckets, 1, &rule, 2 * SECOND, 4), 2);
    }

    #[test]
    fn a_clock_read_a_little_earlier_forgets_nothing() {
        let (buckets, rule) = (Buckets::new(8), rule(2));
        assert_eq!(admitted(&buckets, 1, &rule, 10 * SECOND, 5), 2);
        assert_eq!(admitted(&buckets, 1, &rule, 10 * SECOND - 900_000, 5), 0);
    }

    #[test]
    fn many_threads_together_get_the_burst_and_no_more() {
        let (buckets, rule) = (Buckets::new(1024), rule(1000));
        let total: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| admitted(&buckets, 7, &rule, SECOND, 1000))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(total, 1000);
    }

    proptest! {
        #[test]
        fn a_table_with_room_decides_like_the_rule_alone(
            requests in prop::collection::vec((0_u64..6, 0_u64..400_000), 1..300), burst in 1_u32..5,
        ) {
            let rule = Rule::new(5, Duration::from_secs(1), burst);
            let buckets = Buckets::new(8);
            let mut arrivals = [0_u64; 6];
            let mut now = 0;
            for (key, gap) in requests {
                now += gap;
                let decided = rule.decide(arrivals[key as usize].saturating_sub(gcra::ticks(now)));
                prop_assert_eq!(buckets.take(key + 1, &rule, now), decided);
                if let Ok(ahead) = decided {
                    arrivals[key as usize] = gcra::ticks(now) + ahead;
                }
            }
        }
    }
}
