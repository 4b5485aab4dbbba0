//! Messages that are being forwarded at once, by id, so that of two copies in the same moment one waits for the other.
//!
//! Whoever claims an id looks it up in the store, forwards the message, notes its id as seen, and only then lets the claim go:
//! a copy either finds the claim, or the note.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Parts with a lock each.
const SHARDS: usize = 64;

/// Ids claimed in one part; beyond, a message is to be stored instead, where copies are found by other means.
const SHARD_MAX: usize = 1024;

/// All claims.
#[derive(Debug)]
pub struct Claims {
    shards: [Mutex<Shard>; SHARDS],
}

/// What a copy waits for; made when the first one comes.
type Shard = HashMap<u128, Option<Arc<Notify>>>;

/// What became of a claim.
#[derive(Debug)]
pub enum Claim<'a> {
    Mine(Claimed<'a>),
    /// Another copy is being forwarded: to be asked for again when it has ended.
    Taken(Ended),
    /// Too many are claimed.
    Full,
}

/// An id that is claimed until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Claimed<'a> {
    claims: &'a Claims,
    id: u128,
}

/// The end of another's claim.
#[derive(Debug)]
pub struct Ended(OwnedNotified);

impl Default for Claims {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Claims {
    /// Claims an id.
    pub fn claim(&self, id: u128) -> Claim<'_> {
        let mut shard = self.shard(id);
        let full = shard.len() >= SHARD_MAX;
        match shard.entry(id) {
            Entry::Occupied(mut taken) => {
                let ended = taken.get_mut().get_or_insert_default().clone().notified_owned();
                Claim::Taken(Ended(ended))
            }
            Entry::Vacant(_) if full => Claim::Full,
            Entry::Vacant(free) => {
                free.insert(None);
                Claim::Mine(Claimed { claims: self, id })
            }
        }
    }

    fn shard(&self, id: u128) -> MutexGuard<'_, Shard> {
        // Ids are hashes. What is cut off is not needed, and no panic leaves a shard half changed.
        self.shards[id as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.claims.shard(self.id).remove(&self.id).flatten() {
            waiting.notify_waiters();
        }
    }
}

impl Ended {
    /// Waits for it; false when it has not come within this time. Can be dropped at any moment.
    pub async fn within(self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.0).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_copy_waits_for_the_end_of_the_first() {
        let claims = Claims::default();
        let Claim::Mine(first) = claims.claim(7) else { panic!("nobody has it") };
        let Claim::Taken(ended) = claims.claim(7) else { panic!("it is taken") };
        let Claim::Taken(other) = claims.claim(7) else { panic!("it is taken") };
        assert!(matches!(claims.claim(8), Claim::Mine(_)));
        drop(first);
        // The end is not missed by those who look for it later.
        assert!(ended.within(Duration::ZERO).await && other.within(Duration::ZERO).await);
        assert!(matches!(claims.claim(7), Claim::Mine(_)));
    }

    #[tokio::test]
    async fn a_copy_does_not_wait_for_ever() {
        let claims = Claims::default();
        let _first = claims.claim(7);
        let Claim::Taken(ended) = claims.claim(7) else { panic!("it is taken") };
        assert!(!ended.within(Duration::from_millis(5)).await);
    }

    #[test]
    fn claims_are_bounded_and_a_claimed_id_is_still_found() {
        let claims = Claims::default();
        let ids = (0..SHARD_MAX as u128).map(|id| id * SHARDS as u128);
        let held: Vec<_> = ids.map(|id| claims.claim(id)).collect();
        assert!(held.iter().all(|claim| matches!(claim, Claim::Mine(_))));
        assert!(matches!(claims.claim((SHARDS * SHARD_MAX) as u128), Claim::Full));
        assert!(matches!(claims.claim(0), Claim::Taken(_)));
        drop(held);
        assert!(matches!(claims.claim((SHARDS * SHARD_MAX) as u128), Claim::Mine(_)));
    }
}
