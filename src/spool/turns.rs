//! Who may deliver to a conversation next: a worker that forwards at once, or the dispatcher with what is stored.
//!
//! One word stands for all conversations of a bucket: a bit while a worker forwards a message at once, and the number of
//! stored messages that are not settled. A worker forwards at once only where the word is zero, and the dispatcher delivers
//! only where the bit is clear, so that neither overtakes the other. Conversations that share a bucket sometimes wait for
//! each other, or are stored where they could have been forwarded; never more than that.
//!
//! A worker reserves its message's sequence number before it asks for the turn: what comes later and is stored has a higher
//! number then, also if the worker's own message has to be stored in the end.

use crate::sync::atomic::{AtomicU32, Ordering};

/// Conversations that can be told apart, as a power of two; a word each, so 4 MiB.
pub const BUCKETS: usize = 1 << 20;

/// A worker forwards a message at once.
const INLINE: u32 = 1 << 31;

/// The turns of all conversations.
pub struct Turns {
    buckets: Box<[AtomicU32]>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// A worker's turn; dropping it lets the dispatcher go on.
#[must_use]
pub struct Turn<'a> {
    bucket: &'a AtomicU32,
    turns: &'a Turns,
}

impl Turns {
    /// So many buckets, a power of two; `wake` is called when a turn ended that stored messages wait for.
    #[must_use]
    pub fn new(buckets: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let buckets = (0..buckets.next_power_of_two()).map(|_| AtomicU32::new(0)).collect();
        Self { buckets, wake: Box::new(wake) }
    }

    /// The turn to forward a message of this conversation at once; `None` when another is being forwarded, or messages are
    /// stored that go before it.
    pub fn take(&self, conversation: u64) -> Option<Turn<'_>> {
        let bucket = self.bucket(conversation);
        // Acquire: what the dispatcher and the worker before did to the conversation has happened.
        let free = bucket.compare_exchange(0, INLINE, Ordering::Acquire, Ordering::Relaxed);
        free.ok().map(|_| Turn { bucket, turns: self })
    }

    /// A message of this conversation is going to be stored. Nothing is forwarded at once from now on, until
    /// [`Turns::settled`] was called as often.
    pub fn storing(&self, conversation: u64) {
        self.bucket(conversation).fetch_add(1, Ordering::Relaxed);
    }

    /// A stored message is delivered or dead, or was not stored after all.
    pub fn settled(&self, conversation: u64) {
        // One call too many must not take the bit for a number: the bucket would never be free again.
        let less = |word: u32| (word & !INLINE > 0).then(|| word - 1);
        let _ = self.bucket(conversation).fetch_update(Ordering::Release, Ordering::Relaxed, less);
    }

    /// Whether anything of this conversation is stored, or being forwarded at once.
    #[must_use]
    pub fn is_waited_for(&self, conversation: u64) -> bool {
        self.bucket(conversation).load(Ordering::Acquire) != 0
    }

    /// Whether a worker is forwarding a message at once, for which the dispatcher waits. Only where this conversation has
    /// stored messages does the answer hold for longer than a moment: no turn begins then.
    #[must_use]
    pub fn is_taken(&self, conversation: u64) -> bool {
        self.bucket(conversation).load(Ordering::Acquire) & INLINE != 0
    }

    fn bucket(&self, conversation: u64) -> &AtomicU32 {
        let mask = self.buckets.len() - 1;
        // What is cut off is not needed: conversations are hashes.
        &self.buckets[conversation as usize & mask]
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.bucket.fetch_and(!INLINE, Ordering::Release) != INLINE {
            (self.turns.wake)();
        }
    }
}

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turns").field("buckets", &self.buckets.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turn")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn turns() -> (Turns, Arc<AtomicUsize>) {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        let wake = move || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        (Turns::new(16, wake), woken)
    }

    #[test]
    fn one_message_of_a_conversation_is_forwarded_at_once() {
        let (turns, _) = turns();
        let turn = turns.take(1);
        assert!(turn.is_some() && turns.take(1).is_none() && turns.is_taken(1));
        assert!(turns.take(2).is_some(), "another conversation has a turn of its own");
        drop(turn);
        assert!(!turns.is_taken(1) && turns.take(1).is_some());
    }

    #[test]
    fn nothing_is_forwarded_past_stored_messages() {
        let (turns, _) = turns();
        turns.storing(1);
        turns.storing(1);
        turns.settled(1);
        assert!(turns.take(1).is_none() && !turns.is_taken(1));
        turns.settled(1);
        turns.settled(1);
        assert!(turns.take(1).is_some());
    }

    #[test]
    fn the_end_of_a_turn_wakes_who_waits_for_it_and_nobody_else() {
        let (turns, woken) = turns();
        drop(turns.take(1));
        assert_eq!(woken.load(Ordering::Relaxed), 0);
        let turn = turns.take(1);
        turns.storing(1);
        drop(turn);
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert!(turns.take(1).is_none(), "what was stored meanwhile goes first");
    }
}
