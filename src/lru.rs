//! A table of what was used last: values by 64-bit hash, bounded, each for a time after its last use.
//!
//! An entry lasts until it has not been used for the time to live, or until the table is full and it is the one not used
//! for longest. Nothing here waits or runs in the background: an expired entry is not found any more, and goes when its
//! room is needed or when [`Lru::sweep`] comes by. Two keys with the same hash share an entry.
//!
//! The table is split into shards by hash, each a map and a list in order of use under one lock. The lock is held for
//! a few dozen nanoseconds and never while another one is taken or a caller's code runs, so there is no order of locks
//! to keep. A shard evicts for itself: entries of a full table go in the order of their last use within a shard, which is
//! nearly the order overall, and as shards fill unevenly, the first may go when the table is a few percent short of
//! its bound.
//!
//! Whoever keeps a copy elsewhere asks for [`Lru::changes`] from time to time. A use alone is a change only when the last
//! one told is older than a sixteenth of the time to live, so that busy entries are not told over and over.

use std::collections::HashMap;
use std::sync::PoisonError;

use crate::clock::Micros;
use crate::sync::Mutex;

/// Shards at most: enough that two of some dozen workers rarely meet in one.
const MAX_SHARDS: usize = 64;

/// Entries in a shard at least, so that a small table evicts in nearly the exact order and fills nearly completely.
const MIN_PER_SHARD: usize = 1024;

/// Expired entries that one sweep removes from a shard, so that it holds a lock for some ten microseconds at most.
const SWEEP_STEP: usize = 256;

/// Entries that are looked at under a lock when all with one value get another: some ten microseconds.
const REPLACE_STEP: usize = 1024;

/// The end of a list.
const NONE: u32 = u32::MAX;

/// Added to all times, so that what was used before this process began has one as well: some 35 years.
const EPOCH: Micros = 1 << 50;

/// The part of the time to live after which a use is told again.
const TELL_AFTER: Micros = 16;

/// Values by hash.
#[derive(Debug)]
pub struct Lru<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    /// Entries in a shard at most.
    capacity: usize,
    ttl: Micros,
}

/// An entry as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<V> {
    pub hash: u64,
    /// The value and how long ago it was used; `None`: the entry is gone.
    pub entry: Option<(V, Micros)>,
}

#[derive(Debug)]
struct Shard<V> {
    /// Slots by hash.
    slots: HashMap<u64, u32>,
    entries: Vec<Entry<V>>,
    /// First of the unused slots, linked by `next`.
    free: u32,
    /// Not used for longest; linked by `next` to the one used last.
    oldest: u32,
    newest: u32,
    /// Hashes whose entries changed and were not told, at most twice `capacity`; `None` until somebody asks.
    changed: Option<Vec<u64>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry<V> {
    hash: u64,
    used: Micros,
    /// The last use that was told; zero when the entry is among those to be told.
    told: Micros,
    value: V,
    previous: u32,
    next: u32,
}

impl<V: Copy> Lru<V> {
    /// A table of at most `max` entries, at least one, each kept for `ttl` after its last use. Room is taken as they come.
    #[must_use]
    pub fn new(max: usize, ttl: Micros) -> Self {
        let max = max.max(1);
        let shards = (max / MIN_PER_SHARD).clamp(1, MAX_SHARDS);
        let capacity = (max / shards).min(NONE as usize - 1);
        Self { shards: (0..shards).map(|_| Mutex::new(Shard::new())).collect(), capacity, ttl }
    }

    /// The value of a hash; counts as a use.
    pub fn get(&self, hash: u64, now: Micros) -> Option<V> {
        let now = now.saturating_add(EPOCH);
        with(self.shard(hash), |shard| shard.get(hash, now, self))
    }

    /// The value of a hash, else sets it to this one: of requests that come at once, all get the same answer. Counts as
    /// a use.
    pub fn get_or_set(&self, hash: u64, value: V, now: Micros) -> V {
        let now = now.saturating_add(EPOCH);
        with(self.shard(hash), |shard| {
            shard.get(hash, now, self).unwrap_or_else(|| {
                shard.set(hash, value, now, self);
                value
            })
        })
    }

    /// Sets a hash's value, whatever it was.
    pub fn set(&self, hash: u64, value: V, now: Micros) {
        let now = now.saturating_add(EPOCH);
        with(self.shard(hash), |shard| shard.set(hash, value, now, self));
    }

    /// Sets a hash's value if it is the `expected` one; the value that it has then. One that has none gets it.
    pub fn set_instead(&self, hash: u64, expected: V, value: V, now: Micros) -> V
    where
        V: PartialEq,
    {
        let now = now.saturating_add(EPOCH);
        with(self.shard(hash), |shard| match shard.get(hash, now, self) {
            Some(held) if held != expected => held,
            _ => {
                shard.set(hash, value, now, self);
                value
            }
        })
    }

    /// Gives every entry with this value another one, or removes it; when it was used stays as it is. Returns the hashes. Entries
    /// that get the value meanwhile may be missed.
    pub fn replace(&self, value: V, by: Option<V>) -> Vec<u64>
    where
        V: PartialEq,
    {
        let mut hashes = Vec::new();
        for shard in &self.shards {
            let mut from = 0;
            while with(shard, |shard| shard.replace(from, value, by, self.capacity, &mut hashes)) {
                from += REPLACE_STEP;
            }
        }
        hashes
    }

    /// Entries with this value.
    #[must_use]
    pub fn count(&self, value: V) -> usize
    where
        V: PartialEq,
    {
        let mut count = 0;
        for shard in &self.shards {
            let mut from = 0;
            while with(shard, |shard| shard.count(from, value, &mut count)) {
                from += REPLACE_STEP;
            }
        }
        count
    }

    /// The value of a hash and how long ago it was used, without using it.
    pub fn peek(&self, hash: u64, now: Micros) -> Option<(V, Micros)> {
        let now = now.saturating_add(EPOCH);
        with(self.shard(hash), |shard| {
            let entry = &shard.entries[*shard.slots.get(&hash)? as usize];
            (!entry.expired(now, self.ttl)).then(|| (entry.value, now.saturating_sub(entry.used)))
        })
    }

    /// Removes expired entries, up to a bounded number in each shard; call it from time to time.
    pub fn sweep(&self, now: Micros) {
        let now = now.saturating_add(EPOCH);
        for shard in &self.shards {
            with(shard, |shard| shard.sweep(now, self));
        }
    }

    /// Gives every entry that changed since the last call; the first call gives all there are. One shard's are gathered
    /// at a time, and told without its lock.
    pub fn changes(&self, now: Micros, mut tell: impl FnMut(Change<V>)) {
        let now = now.saturating_add(EPOCH);
        for shard in &self.shards {
            with(shard, |shard| shard.changes(now)).into_iter().for_each(&mut tell);
        }
    }

    /// Takes in an entry that was told as used `age` ago, unless it is expired or its hash has a value already. Give the
    /// oldest first: of more than the table holds, the last given stay.
    pub fn restore(&self, hash: u64, value: V, age: Micros, now: Micros) {
        let now = now.saturating_add(EPOCH);
        with(self.shard(hash), |shard| {
            if age < self.ttl && !shard.slots.contains_key(&hash) {
                shard.insert(hash, value, now.saturating_sub(age), self);
            }
        });
    }

    /// How long an entry is kept after its last use.
    #[must_use]
    pub fn ttl(&self) -> Micros {
        self.ttl
    }

    /// Entries in the table, expired ones that are still to go included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| with(shard, |shard| shard.slots.len())).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard<V>> {
        // The high half picks the shard; its map mixes the hash again.
        let i = ((hash >> 32) * self.shards.len() as u64) >> 32;
        &self.shards[i as usize]
    }
}

/// Runs `act` under the shard's lock. A panic in there could only come from the allocator, and leaves a shard whose
/// entries may be lost but whose links are whole, so poison is passed over.
fn with<V, T>(shard: &Mutex<Shard<V>>, act: impl FnOnce(&mut Shard<V>) -> T) -> T {
    act(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
}

impl<V: Copy> Shard<V> {
    fn new() -> Self {
        Self { slots: HashMap::new(), entries: Vec::new(), free: NONE, oldest: NONE, newest: NONE, changed: None }
    }

    fn get(&mut self, hash: u64, now: Micros, table: &Lru<V>) -> Option<V> {
        let slot = *self.slots.get(&hash)?;
        let entry = self.entries[slot as usize];
        if entry.expired(now, table.ttl) {
            return None;
        }
        self.touch(slot, now);
        if now.saturating_sub(entry.told) >= table.ttl / TELL_AFTER {
            self.mark(slot, table.capacity);
        }
        Some(entry.value)
    }

    fn set(&mut self, hash: u64, value: V, now: Micros, table: &Lru<V>) {
        if let Some(slot) = self.slots.get(&hash).copied() {
            self.entries[slot as usize].value = value;
            self.touch(slot, now);
            self.mark(slot, table.capacity);
            return;
        }
        let slot = self.insert(hash, value, now, table);
        self.mark(slot, table.capacity);
    }

    /// Puts a new entry at the end of the list, as one that was told.
    fn insert(&mut self, hash: u64, value: V, now: Micros, table: &Lru<V>) -> u32 {
        if self.slots.len() >= table.capacity {
            self.remove(self.oldest, table.capacity);
        }
        let entry = Entry { hash, used: now, told: now, value, previous: NONE, next: NONE };
        let slot = if self.free == NONE {
            self.entries.push(entry);
            // The capacity keeps slots below `NONE`.
            (self.entries.len() - 1) as u32
        } else {
            let slot = self.free;
            self.free = self.entries[slot as usize].next;
            self.entries[slot as usize] = entry;
            slot
        };
        self.slots.insert(hash, slot);
        self.append(slot);
        slot
    }

    fn sweep(&mut self, now: Micros, table: &Lru<V>) {
        for _ in 0..SWEEP_STEP {
            match self.entries.get(self.oldest as usize) {
                Some(entry) if entry.expired(now, table.ttl) => self.remove(self.oldest, table.capacity),
                _ => return,
            }
        }
    }

    /// Looks at some entries; false behind the last one.
    fn replace(&mut self, from: usize, value: V, by: Option<V>, capacity: usize, hashes: &mut Vec<u64>) -> bool
    where
        V: PartialEq,
    {
        let end = self.entries.len().min(from + REPLACE_STEP);
        for slot in from..end {
            if !self.holds(slot, value) {
                continue;
            }
            hashes.push(self.entries[slot].hash);
            match by {
                Some(by) => {
                    self.entries[slot].value = by;
                    self.mark(slot as u32, capacity);
                }
                None => self.remove(slot as u32, capacity),
            }
        }
        end < self.entries.len()
    }

    /// Counts some entries; false behind the last one.
    fn count(&self, from: usize, value: V, count: &mut usize) -> bool
    where
        V: PartialEq,
    {
        let end = self.entries.len().min(from + REPLACE_STEP);
        *count += (from..end).filter(|slot| self.holds(*slot, value)).count();
        end < self.entries.len()
    }

    /// Whether a slot is in use, and has this value.
    fn holds(&self, slot: usize, value: V) -> bool
    where
        V: PartialEq,
    {
        let entry = &self.entries[slot];
        entry.value == value && self.slots.get(&entry.hash).is_some_and(|used| *used as usize == slot)
    }

    fn changes(&mut self, now: Micros) -> Vec<Change<V>> {
        let hashes = match self.changed.replace(Vec::new()) {
            Some(changed) => changed,
            None => self.slots.keys().copied().collect(),
        };
        let mut changes: Vec<_> = hashes
            .into_iter()
            .map(|hash| {
                let entry = self.slots.get(&hash).map(|slot| &mut self.entries[*slot as usize]).map(|entry| {
                    entry.told = entry.used;
                    (entry.value, now.saturating_sub(entry.used))
                });
                Change { hash, entry }
            })
            .collect();
        // What went and came back is there twice.
        changes.sort_unstable_by_key(|change| change.hash);
        changes.dedup_by_key(|change| change.hash);
        changes
    }

    /// Notes that an entry is to be told. Of more than twice the capacity the rest is not, and what is kept elsewhere
    /// stays as it was until the entry changes again.
    fn mark(&mut self, slot: u32, capacity: usize) {
        let entry = &mut self.entries[slot as usize];
        if let Some(changed) = self.changed.as_mut().filter(|changed| changed.len() < 2 * capacity)
            && entry.told != 0
        {
            entry.told = 0;
            changed.push(entry.hash);
        }
    }

    /// Marks an entry as used now and moves it to the end of the list.
    fn touch(&mut self, slot: u32, now: Micros) {
        let entry = &mut self.entries[slot as usize];
        // Workers read the clock before they get the lock, so time may seem to step back.
        entry.used = entry.used.max(now);
        if slot != self.newest {
            self.unlink(slot);
            self.append(slot);
        }
    }

    fn remove(&mut self, slot: u32, capacity: usize) {
        self.mark(slot, capacity);
        self.unlink(slot);
        self.slots.remove(&self.entries[slot as usize].hash);
        self.entries[slot as usize].next = self.free;
        self.free = slot;
    }

    fn append(&mut self, slot: u32) {
        let last = std::mem::replace(&mut self.newest, slot);
        let entry = &mut self.entries[slot as usize];
        (entry.previous, entry.next) = (last, NONE);
        match self.entries.get_mut(last as usize) {
            Some(last) => last.next = slot,
            None => self.oldest = slot,
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Entry { previous, next, .. } = self.entries[slot as usize];
        match self.entries.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => self.oldest = next,
        }
        match self.entries.get_mut(next as usize) {
            Some(next) => next.previous = previous,
            None => self.newest = previous,
        }
    }
}

impl<V> Entry<V> {
    fn expired(&self, now: Micros, ttl: Micros) -> bool {
        now.saturating_sub(self.used) >= ttl
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
