//! Which master a key is pinned to.
//!
//! A pin lasts until it has not been used for the time to live, until it is set to another master, or until the table is
//! full and it is the one not used for longest. Nothing here waits or runs in the background: an expired pin is not
//! found any more, and goes when its room is needed or when [`Pins::sweep`] comes by. A pin to a master that was removed
//! stays until its key's next request sets it anew: numbers of masters are never used again, so it misleads nobody.
//!
//! The table is split into shards by hash, each a map and a list in order of use under one lock. The lock is held for
//! a few dozen nanoseconds and never while another one is taken or a caller's code runs, so there is no order of locks
//! to keep. A shard evicts for itself: pins of a full table go in the order of their last use within a shard, which is
//! nearly the order overall, and as shards fill unevenly, the first may go when the table is a few percent short of
//! its bound.

use std::collections::HashMap;
use std::sync::PoisonError;

use crate::clock::Micros;
use crate::sync::Mutex;

/// A master, as the caller numbers them; a number is never used for another one.
pub type MasterId = u32;

/// Shards at most: enough that two of some dozen workers rarely meet in one.
const MAX_SHARDS: usize = 64;

/// Pins in a shard at least, so that a small table evicts in nearly the exact order and fills nearly completely.
const MIN_PINS_PER_SHARD: usize = 1024;

/// Expired pins that one sweep removes from a shard, so that it holds a lock for some ten microseconds at most.
const SWEEP_STEP: usize = 256;

/// The end of a list.
const NONE: u32 = u32::MAX;

/// Pins of keys, by hash, to masters. Two keys with the same 64-bit hash share a pin.
#[derive(Debug)]
pub struct Pins {
    shards: Box<[Mutex<Shard>]>,
    /// Pins in a shard at most.
    capacity: usize,
    ttl: Micros,
}

#[derive(Debug)]
struct Shard {
    /// Slots by hash.
    slots: HashMap<u64, u32>,
    pins: Vec<Pin>,
    /// First of the unused slots, linked by `next`.
    free: u32,
    /// Not used for longest; linked by `next` to the one used last.
    oldest: u32,
    newest: u32,
}

#[derive(Debug, Clone, Copy)]
struct Pin {
    hash: u64,
    used: Micros,
    master: MasterId,
    previous: u32,
    next: u32,
}

impl Pins {
    /// A table of at most `max` pins, at least one, each kept for `ttl` after its last use. Room is taken as pins come.
    #[must_use]
    pub fn new(max: usize, ttl: Micros) -> Self {
        let max = max.max(1);
        let shards = (max / MIN_PINS_PER_SHARD).clamp(1, MAX_SHARDS);
        let capacity = (max / shards).min(NONE as usize - 1);
        Self { shards: (0..shards).map(|_| Mutex::new(Shard::new())).collect(), capacity, ttl }
    }

    /// The master that the key is pinned to; counts as a use.
    pub fn get(&self, hash: u64, now: Micros) -> Option<MasterId> {
        with(self.shard(hash), |shard| shard.get(hash, now, self.ttl))
    }

    /// The master that the key is pinned to, else pins it to this one: of requests that come at once, all get the
    /// same answer. Counts as a use.
    pub fn get_or_set(&self, hash: u64, master: MasterId, now: Micros) -> MasterId {
        with(self.shard(hash), |shard| {
            shard.get(hash, now, self.ttl).unwrap_or_else(|| {
                shard.set(hash, master, now, self.capacity);
                master
            })
        })
    }

    /// Pins the key to a master, instead of to any other one.
    pub fn set(&self, hash: u64, master: MasterId, now: Micros) {
        with(self.shard(hash), |shard| shard.set(hash, master, now, self.capacity));
    }

    /// Removes expired pins, up to a bounded number in each shard; call it from time to time.
    pub fn sweep(&self, now: Micros) {
        for shard in &self.shards {
            with(shard, |shard| shard.sweep(now, self.ttl));
        }
    }

    /// Pins in the table, expired ones that are still to go included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| with(shard, |shard| shard.slots.len())).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        // The high half picks the shard; its map mixes the hash again.
        let i = ((hash >> 32) * self.shards.len() as u64) >> 32;
        &self.shards[i as usize]
    }
}

/// Runs `act` under the shard's lock. A panic in there could only come from the allocator, and leaves a shard whose
/// pins may be lost but whose links are whole, so poison is passed over.
fn with<T>(shard: &Mutex<Shard>, act: impl FnOnce(&mut Shard) -> T) -> T {
    act(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Shard {
    fn new() -> Self {
        Self { slots: HashMap::new(), pins: Vec::new(), free: NONE, oldest: NONE, newest: NONE }
    }

    fn get(&mut self, hash: u64, now: Micros, ttl: Micros) -> Option<MasterId> {
        let slot = *self.slots.get(&hash)?;
        let pin = self.pins[slot as usize];
        if pin.expired(now, ttl) {
            return None;
        }
        self.touch(slot, now);
        Some(pin.master)
    }

    fn set(&mut self, hash: u64, master: MasterId, now: Micros, capacity: usize) {
        if let Some(slot) = self.slots.get(&hash).copied() {
            self.pins[slot as usize].master = master;
            self.touch(slot, now);
            return;
        }
        if self.slots.len() >= capacity {
            self.remove(self.oldest);
        }
        let pin = Pin { hash, used: now, master, previous: NONE, next: NONE };
        let slot = if self.free == NONE {
            self.pins.push(pin);
            // The capacity keeps slots below `NONE`.
            (self.pins.len() - 1) as u32
        } else {
            let slot = self.free;
            self.free = self.pins[slot as usize].next;
            self.pins[slot as usize] = pin;
            slot
        };
        self.slots.insert(hash, slot);
        self.append(slot);
    }

    fn sweep(&mut self, now: Micros, ttl: Micros) {
        for _ in 0..SWEEP_STEP {
            match self.pins.get(self.oldest as usize) {
                Some(pin) if pin.expired(now, ttl) => self.remove(self.oldest),
                _ => return,
            }
        }
    }

    /// Marks a pin as used now and moves it to the end of the list.
    fn touch(&mut self, slot: u32, now: Micros) {
        let pin = &mut self.pins[slot as usize];
        // Workers read the clock before they get the lock, so time may seem to step back.
        pin.used = pin.used.max(now);
        if slot != self.newest {
            self.unlink(slot);
            self.append(slot);
        }
    }

    fn remove(&mut self, slot: u32) {
        self.unlink(slot);
        self.slots.remove(&self.pins[slot as usize].hash);
        self.pins[slot as usize].next = self.free;
        self.free = slot;
    }

    fn append(&mut self, slot: u32) {
        let last = std::mem::replace(&mut self.newest, slot);
        let pin = &mut self.pins[slot as usize];
        (pin.previous, pin.next) = (last, NONE);
        match self.pins.get_mut(last as usize) {
            Some(last) => last.next = slot,
            None => self.oldest = slot,
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Pin { previous, next, .. } = self.pins[slot as usize];
        match self.pins.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => self.oldest = next,
        }
        match self.pins.get_mut(next as usize) {
            Some(next) => next.previous = previous,
            None => self.newest = previous,
        }
    }
}

impl Pin {
    fn expired(&self, now: Micros, ttl: Micros) -> bool {
        now.saturating_sub(self.used) >= ttl
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Micros = 100;

    #[test]
    fn a_pin_lasts_while_it_is_used() {
        let pins = Pins::new(10, TTL);
        pins.set(1, 7, 0);
        assert_eq!(pins.get(1, 99), Some(7));
        assert_eq!(pins.get(1, 198), Some(7));
        assert_eq!(pins.get(1, 298), None);
        assert_eq!(pins.get(2, 0), None);
    }

    #[test]
    fn a_pin_that_lives_is_kept_and_one_that_expired_is_made_anew() {
        let pins = Pins::new(10, TTL);
        assert_eq!(pins.get_or_set(1, 7, 0), 7);
        assert_eq!(pins.get_or_set(1, 8, 99), 7);
        assert_eq!(pins.get_or_set(1, 8, 199), 8);
        assert_eq!(pins.len(), 1);
    }

    #[test]
    fn a_new_pin_replaces_the_old_one() {
        let pins = Pins::new(10, TTL);
        pins.set(1, 7, 0);
        pins.set(1, 8, 1);
        assert_eq!((pins.get(1, 2), pins.len()), (Some(8), 1));
    }

    #[test]
    fn a_full_table_gives_up_the_pin_not_used_for_longest() {
        let pins = Pins::new(2, TTL);
        pins.set(1, 7, 0);
        pins.set(2, 7, 1);
        assert_eq!(pins.get(1, 2), Some(7));
        pins.set(3, 7, 3);
        assert_eq!([1, 2, 3].map(|hash| pins.get(hash, 4)), [Some(7), None, Some(7)]);
        assert_eq!(pins.len(), 2);
    }

    #[test]
    fn sweeps_remove_expired_pins_and_no_others() {
        let pins = Pins::new(1000, TTL);
        (0..SWEEP_STEP as u64 + 10).for_each(|hash| pins.set(hash, 7, 0));
        pins.set(u64::MAX, 7, 50);
        pins.sweep(120);
        assert_eq!(pins.len(), 11);
        pins.sweep(120);
        assert_eq!((pins.len(), pins.get(u64::MAX, 120)), (1, Some(7)));
    }

    #[test]
    fn the_bound_holds_for_any_number_of_keys() {
        for max in [0, 1, 5, 1023, 1024, 5000] {
            let pins = Pins::new(max, TTL);
            (0..3 * max as u64 + 3).for_each(|i| pins.set(i.wrapping_mul(0x9e37_79b9_7f4a_7c15), 7, i));
            assert!(pins.len() <= max.max(1), "{} of {max}", pins.len());
            assert!(pins.len() >= max * 9 / 10, "{} of {max}", pins.len());
        }
    }

    #[test]
    fn workers_may_use_it_all_at_once() {
        let pins = Pins::new(4096, TTL);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let pins = &pins;
                scope.spawn(move || {
                    for i in 0..5000_u64 {
                        let hash = (i % 997).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                        let master = pins.get_or_set(hash, worker, 0);
                        assert_eq!(pins.get(hash, 0), Some(master));
                    }
                });
            }
        });
        assert_eq!(pins.len(), 997);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Get(u64),
        Set(u64, MasterId),
        GetOrSet(u64, MasterId),
        Sweep,
        Wait(Micros),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u64..12).prop_map(Step::Get),
            4 => (0_u64..12, 0_u32..3).prop_map(|(hash, master)| Step::Set(hash, master)),
            4 => (0_u64..12, 0_u32..3).prop_map(|(hash, master)| Step::GetOrSet(hash, master)),
            1 => Just(Step::Sweep),
            2 => (0_u64..70).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_list_in_order_of_use(
            max in 1_usize..8,
            steps in prop::collection::vec(any_step(), 1..200),
        ) {
            let pins = Pins::new(max, TTL);
            // Hash, master and last use, oldest use first.
            let mut model: Vec<(u64, MasterId, Micros)> = Vec::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Get(hash) => {
                        let found = model.iter().position(|pin| pin.0 == hash && now - pin.2 < TTL);
                        let expected = found.map(|i| model.remove(i).1);
                        model.extend(expected.map(|master| (hash, master, now)));
                        prop_assert_eq!(pins.get(hash, now), expected);
                    }
                    Step::Set(hash, master) => {
                        model.retain(|pin| pin.0 != hash);
                        if model.len() == max {
                            model.remove(0);
                        }
                        model.push((hash, master, now));
                        pins.set(hash, master, now);
                    }
                    Step::GetOrSet(hash, master) => {
                        let held = model.iter().position(|pin| pin.0 == hash);
                        let kept = held.filter(|i| now - model[*i].2 < TTL);
                        let expected = kept.map_or(master, |i| model[i].1);
                        match held {
                            Some(i) => drop(model.remove(i)),
                            None if model.len() == max => drop(model.remove(0)),
                            None => {}
                        }
                        model.push((hash, expected, now));
                        prop_assert_eq!(pins.get_or_set(hash, master, now), expected);
                    }
                    Step::Sweep => {
                        model.retain(|pin| now - pin.2 < TTL);
                        pins.sweep(now);
                    }
                    Step::Wait(time) => now += time,
                }
                prop_assert_eq!(pins.len(), model.len());
            }
        }
    }
}
