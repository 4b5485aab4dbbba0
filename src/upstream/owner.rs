//! Who has what belongs together: one cell, shared by all workers and all generations of the configuration.
//!
//! Where one master serves at a time, an exchange asks here which one it is, at the moment in which it picks. It is no part of
//! the snapshot on purpose: an exchange holds on to the snapshot it began with, and must not go to the owner of then.
//!
//! A failover takes the owner away ([`Owner::hand`] to nobody) and gives the next one in; in between exchanges wait. A
//! hand-over from a master that is well goes conversation by conversation: one with something in flight stays with the master
//! that leaves until that has ended, every other one goes to the new owner with its next message. For that each bucket of
//! conversations counts what is in flight, and has a bit for the side on which its first one went.
//!
//! One thread writes, and when it has found that nothing is left on the old side ([`Owner::close`]), nothing goes there any more:
//! it says first that the side is closed and then looks, and whoever enters counts itself first and then looks whether the cell is
//! still what it went by. Who has counted itself by an old cell takes that back, and in that moment may be taken for something
//! in flight on a closed side: whoever meets it waits a moment.

use std::sync::Arc;

use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

/// Buckets of conversations, a word each. Those that share one leave together.
pub const BUCKETS: usize = 4096;

/// In the cell: the side of the present owner. Below it the owner's id plus one, in the upper half that of who leaves.
const SIDE: u64 = 1 << 31;
const ID: u64 = SIDE - 1;
const LEAVING_SHIFT: u32 = 32;
/// Nothing more goes to who leaves.
const CLOSED: u64 = 1 << 63;

/// In a bucket: the side of what is in flight; below it how many.
const BUCKET_SIDE: u32 = 1 << 31;
const COUNT: u32 = BUCKET_SIDE - 1;

/// The cell.
#[derive(Debug)]
pub struct Owner {
    cell: AtomicU64,
    /// Nobody is about to take over: waiting is for nothing.
    hopeless: AtomicBool,
    buckets: Box<[AtomicU32]>,
}

/// The masters of the cell, by [`super::master::Master::id`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holders {
    pub owner: Option<u32>,
    /// Whose conversations go over one by one.
    pub leaving: Option<u32>,
}

/// Something of a conversation in flight, until dropped.
#[derive(Debug)]
#[must_use]
pub struct Flight {
    owner: Arc<Owner>,
    bucket: usize,
}

impl Owner {
    /// Nobody's, with so many buckets, at least one.
    #[must_use]
    pub fn new(buckets: usize) -> Self {
        let buckets = (0..buckets.max(1)).map(|_| AtomicU32::new(0)).collect();
        Self { cell: AtomicU64::new(0), hopeless: AtomicBool::new(false), buckets }
    }

    /// The masters as they are now.
    #[must_use]
    pub fn holders(&self) -> Holders {
        let cell = self.cell.load(Ordering::Acquire);
        Holders { owner: id(cell & ID), leaving: leaving(cell) }
    }

    /// Whether nobody is about to take over from an owner that cannot be used.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.hopeless.load(Ordering::Acquire)
    }

    /// Says whether waiting is for nothing.
    pub fn set_hopeless(&self, hopeless: bool) {
        self.hopeless.store(hopeless, Ordering::Release);
    }

    /// Gives it to another owner, or to nobody. With somebody `leaving` conversations go over one by one. One thread alone
    /// calls this. Ids are below 2^31 - 1, which no process comes to.
    pub fn hand(&self, Holders { owner, leaving }: Holders) {
        let side = self.cell.load(Ordering::Relaxed) & SIDE;
        let side = if leaving.is_some() { side ^ SIDE } else { side };
        let cell = (word(owner) & ID) | side | word(leaving) << LEAVING_SHIFT;
        self.cell.store(cell, Ordering::Release);
    }

    /// The leaving master, if any, is none any more: what belongs to the owner stays as it is.
    pub fn forget_leaving(&self) {
        let cell = self.cell.load(Ordering::Relaxed) & (ID | SIDE);
        self.cell.store(cell, Ordering::Release);
    }

    /// The master that gets a message of this conversation now. While the flight lives it counts as in flight.
    pub fn enter(self: &Arc<Self>, conversation: Option<u64>) -> (Option<u32>, Option<Flight>) {
        loop {
            let cell = self.cell.load(Ordering::Acquire);
            let (Some(conversation), Some(owner)) = (conversation, id(cell & ID)) else { return (id(cell & ID), None) };
            let side = if cell & SIDE == 0 { 0 } else { BUCKET_SIDE };
            let (flight, before) = self.count_in(conversation, side);
            // Either this sees a cell that was written meanwhile, or its writer sees what was counted.
            fence(Ordering::SeqCst);
            if self.cell.load(Ordering::Acquire) != cell {
                continue;
            }
            let stays = before & COUNT > 0 && before & BUCKET_SIDE != side;
            return match leaving(cell).filter(|_| stays) {
                Some(_) if cell & CLOSED != 0 => (None, None),
                Some(leaving) => (Some(leaving), Some(flight)),
                None => (Some(owner), Some(flight)),
            };
        }
    }

    /// Closes the side of the master that leaves, if nothing is in flight there any more; whether it is closed. The writer alone
    /// calls this.
    #[must_use]
    pub fn close(&self) -> bool {
        let open = self.cell.load(Ordering::Relaxed) & !CLOSED;
        self.cell.store(open | CLOSED, Ordering::Release);
        // Before any bucket is read: see `enter`.
        fence(Ordering::SeqCst);
        let side = if open & SIDE == 0 { 0 } else { BUCKET_SIDE };
        let is_left = |bucket: &AtomicU32| {
            let word = bucket.load(Ordering::Acquire);
            word & COUNT == 0 || word & BUCKET_SIDE == side
        };
        let closed = self.buckets.iter().all(is_left);
        if !closed {
            self.cell.store(open, Ordering::Release);
        }
        closed
    }

    fn count_in(self: &Arc<Self>, conversation: u64, side: u32) -> (Flight, u32) {
        // Conversations are hashes; the table may have any size.
        let bucket = (conversation % self.buckets.len() as u64) as usize;
        let word = &self.buckets[bucket];
        let mut before = word.load(Ordering::Relaxed);
        loop {
            let after = if before & COUNT == 0 { side | 1 } else { before + 1 };
            match word.compare_exchange_weak(before, after, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return (Flight { owner: Arc::clone(self), bucket }, before),
                Err(now) => before = now,
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.owner.buckets[self.bucket].fetch_sub(1, Ordering::Release);
    }
}

fn leaving(cell: u64) -> Option<u32> {
    id((cell & !CLOSED) >> LEAVING_SHIFT)
}

fn id(word: u64) -> Option<u32> {
    u32::try_from(word.checked_sub(1)?).ok()
}

fn word(id: Option<u32>) -> u64 {
    id.map_or(0, |id| u64::from(id) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(owner: Option<u32>, leaving: Option<u32>) -> Holders {
        Holders { owner, leaving }
    }

    fn cell(owner: u32) -> Arc<Owner> {
        let cell = Arc::new(Owner::new(16));
        cell.hand(owned(Some(owner), None));
        cell
    }

    #[test]
    fn what_is_nobodys_goes_to_nobody_and_is_not_counted() {
        let cell = Arc::new(Owner::new(16));
        assert!(matches!(cell.enter(Some(1)), (None, None)));
        cell.hand(owned(Some(0), None));
        assert_eq!(cell.holders(), owned(Some(0), None));
        assert_eq!(cell.enter(None).0, Some(0));
    }

    #[test]
    fn a_conversation_with_something_in_flight_stays_until_that_has_ended() {
        let cell = cell(1);
        let (_, busy) = cell.enter(Some(5));
        cell.hand(owned(Some(2), Some(1)));
        let (master, second) = cell.enter(Some(5));
        assert_eq!((master, cell.enter(Some(6)).0, cell.enter(None).0), (Some(1), Some(2), Some(2)));
        drop(busy);
        assert!(!cell.close(), "another one of the conversation followed it");
        drop(second);
        assert!(cell.close());
        assert_eq!(cell.enter(Some(5)).0, Some(2));
    }

    #[test]
    fn what_went_over_stays_on_the_new_side() {
        let cell = cell(1);
        cell.hand(owned(Some(2), Some(1)));
        let (first, _held) = cell.enter(Some(5));
        let (second, _too) = cell.enter(Some(5));
        assert_eq!((first, second, cell.close()), (Some(2), Some(2), true));
    }

    #[test]
    fn the_way_back_is_as_the_way_there() {
        let cell = cell(1);
        cell.hand(owned(Some(2), Some(1)));
        cell.forget_leaving();
        let (_, busy) = cell.enter(Some(5));
        cell.hand(owned(Some(1), Some(2)));
        assert_eq!((cell.enter(Some(5)).0, cell.enter(Some(6)).0), (Some(2), Some(1)));
        drop(busy);
        assert!(cell.close());
    }

    #[test]
    fn who_does_not_leave_in_time_goes_on_with_the_owner() {
        let cell = cell(1);
        let (_, _busy) = cell.enter(Some(5));
        cell.hand(owned(Some(2), Some(1)));
        cell.forget_leaving();
        assert_eq!((cell.holders(), cell.enter(Some(5)).0), (owned(Some(2), None), Some(2)));
    }

    #[test]
    fn a_fence_takes_it_from_everybody() {
        let cell = cell(1);
        let (_, busy) = cell.enter(Some(5));
        cell.hand(Holders::default());
        assert_eq!(cell.enter(Some(5)).0, None);
        cell.hand(owned(Some(2), None));
        assert_eq!(cell.enter(Some(5)).0, Some(2));
        drop(busy);
    }
}
