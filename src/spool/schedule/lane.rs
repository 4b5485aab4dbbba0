//! The messages of one upstream that the same masters may take.
//!
//! Where masters are restricted to accounts, those of one account can all be down while others work: what nobody takes
//! stops its own lane, and not the upstream.

use std::collections::BTreeMap;

use super::UnixMillis;

/// The first pause after a delivery that found nobody to take it, in milliseconds.
pub(super) const PAUSE_MIN: UnixMillis = 100;

/// The longest such pause.
pub(super) const PAUSE_MAX: UnixMillis = 1000;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) upstream: u32,
    /// Whether some master that may take its messages is usable.
    open: bool,
    paused_until: UnixMillis,
    pause: UnixMillis,
    /// Conversations by the number of their first message.
    ready: BTreeMap<u64, u32>,
    /// The same for those whose first message has broken off with a master.
    suspects: BTreeMap<u64, u32>,
    /// Conversations that are known, whatever they wait for.
    pub(super) conversations: u32,
    /// Messages, those in flight included.
    pub(super) messages: usize,
}

impl Lane {
    pub(super) fn new(upstream: u32) -> Self {
        let (ready, suspects) = (BTreeMap::new(), BTreeMap::new());
        Self {
            upstream,
            open: false,
            paused_until: 0,
            pause: PAUSE_MIN,
            ready,
            suspects,
            conversations: 0,
            messages: 0,
        }
    }

    pub(super) fn open(&mut self, open: bool) {
        if open && !self.open {
            self.found();
        }
        self.open = open;
    }

    /// A delivery found a master.
    pub(super) fn found(&mut self) {
        (self.paused_until, self.pause) = (0, PAUSE_MIN);
    }

    /// A delivery found none. Those that were in flight beside it say nothing new.
    pub(super) fn found_none(&mut self, now: UnixMillis) {
        if self.paused_until <= now {
            self.paused_until = now.saturating_add(self.pause);
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }

    /// When it may go on, if anything waits for that alone.
    pub(super) fn paused_until(&self, now: UnixMillis) -> Option<UnixMillis> {
        let waits = self.open && self.paused_until > now && !(self.ready.is_empty() && self.suspects.is_empty());
        waits.then_some(self.paused_until)
    }

    pub(super) fn may_go(&self, now: UnixMillis) -> bool {
        self.open && self.paused_until <= now
    }

    /// The oldest first message, and its conversation.
    pub(super) fn oldest(&self, suspects: bool) -> Option<(u64, u32)> {
        let ready = self.ready.first_key_value();
        let suspect = self.suspects.first_key_value().filter(|_| suspects);
        let oldest = match (ready, suspect) {
            (Some(one), Some(other)) => one.min(other),
            (one, other) => one.or(other)?,
        };
        Some((*oldest.0, *oldest.1))
    }

    /// The oldest first messages that no break has been seen of, and that one has.
    pub(super) fn firsts(&self) -> [Option<(u64, u32)>; 2] {
        [&self.ready, &self.suspects]
            .map(|some| some.first_key_value().map(|(seq, conversation)| (*seq, *conversation)))
    }

    pub(super) fn add(&mut self, seq: u64, conversation: u32, suspect: bool) {
        self.of(suspect).insert(seq, conversation);
    }

    pub(super) fn remove(&mut self, seq: u64, suspect: bool) {
        self.of(suspect).remove(&seq);
    }

    fn of(&mut self, suspect: bool) -> &mut BTreeMap<u64, u32> {
        if suspect { &mut self.suspects } else { &mut self.ready }
    }
}
