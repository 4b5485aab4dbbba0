//! What is waiting: messages in the order of their numbers, conversation by conversation.
//!
//! A backlog of a million messages has to stay small, whether it is of a million conversations or of ten. A message is 40
//! bytes and linked to its neighbours by position; a conversation is 32 bytes, found through a table of positions.

use hashbrown::HashTable;

use super::UnixMillis;
use super::slab::{NIL, Slab};
use crate::ids;

#[derive(Debug)]
pub(super) struct Message {
    pub(super) seq: u64,
    pub(super) accepted: UnixMillis,
    pub(super) due: UnixMillis,
    next: u32,
    previous: u32,
    pub(super) attempts: u16,
    pub(super) breaks: u8,
    /// Baton ended while it may have been in flight.
    pub(super) interrupted: bool,
}

#[derive(Debug)]
pub(super) struct Conversation {
    key: u64,
    /// No delivery begins before, for the spacing's sake.
    pub(super) not_before: UnixMillis,
    pub(super) lane: u32,
    head: u32,
    tail: u32,
    pub(super) state: State,
    /// It is found by its key; a message without a conversation is one of its own, which nobody looks for.
    keyed: bool,
}

/// Where a conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its first message could be delivered now.
    Ready,
    /// Its first message, or the spacing, has a time that is still to come.
    Waiting,
    /// A message of it is in flight, or its settlement is not committed.
    Busy,
    /// Until it is released.
    Held,
}

#[derive(Debug)]
pub(super) struct Queues {
    messages: Slab<Message>,
    conversations: Slab<Conversation>,
    index: HashTable<u32>,
    seed: u64,
}

impl Message {
    pub(super) const fn new(seq: u64, accepted: UnixMillis, due: UnixMillis, attempts: u16, breaks: u8) -> Self {
        Self { seq, accepted, due, next: NIL, previous: NIL, attempts, breaks, interrupted: false }
    }
}

impl Queues {
    pub(super) fn new(seed: u64) -> Self {
        Self { messages: Slab::new(), conversations: Slab::new(), index: HashTable::new(), seed }
    }

    /// Messages, those in flight included.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn message(&mut self, position: u32) -> &mut Message {
        &mut self.messages[position]
    }

    pub(super) fn conversation(&mut self, position: u32) -> &mut Conversation {
        &mut self.conversations[position]
    }

    pub(super) fn state(&self, conversation: u32) -> State {
        self.conversations[conversation].state
    }

    /// The key by which others know a conversation, if they do.
    pub(super) fn key(&self, conversation: u32) -> Option<u64> {
        let conversation = &self.conversations[conversation];
        conversation.keyed.then_some(conversation.key)
    }

    pub(super) fn lane(&self, conversation: u32) -> u32 {
        self.conversations[conversation].lane
    }

    /// The first message of a conversation that is not in flight.
    pub(super) fn head(&self, conversation: u32) -> Option<&Message> {
        let head = self.conversations[conversation].head;
        (head != NIL).then(|| &self.messages[head])
    }

    /// When the first message of a conversation may go, or the conversation be forgotten if there is none.
    pub(super) fn due(&self, conversation: u32) -> UnixMillis {
        let due = self.head(conversation).map_or(0, |head| head.due);
        due.max(self.conversations[conversation].not_before)
    }

    pub(super) fn find(&self, lane: u32, key: u64) -> Option<u32> {
        let found = self.index.find(self.hash(lane, key), |position| {
            let conversation = &self.conversations[*position];
            (conversation.lane, conversation.key) == (lane, key)
        });
        found.copied()
    }

    /// A new conversation, held until somebody places it.
    pub(super) fn open(&mut self, lane: u32, key: u64, keyed: bool) -> Option<u32> {
        let conversation = Conversation { key, not_before: 0, lane, head: NIL, tail: NIL, state: State::Held, keyed };
        let position = self.conversations.insert(conversation)?;
        if keyed {
            let (conversations, seed) = (&self.conversations, self.seed);
            let hash = |position: &u32| {
                let conversation = &conversations[*position];
                hash(seed, conversation.lane, conversation.key)
            };
            self.index.insert_unique(hash(&position), position, hash);
        }
        Some(position)
    }

    /// Gives a conversation another key, which none of its lane has.
    pub(super) fn rename(&mut self, conversation: u32, key: u64) {
        let Conversation { lane, key: old, .. } = self.conversations[conversation];
        if let Ok(entry) = self.index.find_entry(self.hash(lane, old), |position| *position == conversation) {
            entry.remove();
        }
        self.conversations[conversation].key = key;
        let (conversations, seed) = (&self.conversations, self.seed);
        let hash = |position: &u32| {
            let conversation = &conversations[*position];
            hash(seed, conversation.lane, conversation.key)
        };
        self.index.insert_unique(hash(&conversation), conversation, hash);
    }

    /// Messages of a conversation that are not in flight.
    pub(super) fn count(&self, conversation: u32) -> usize {
        let following = |position: &u32| Some(self.messages[*position].next).filter(|next| *next != NIL);
        let head = Some(self.conversations[conversation].head).filter(|head| *head != NIL);
        std::iter::successors(head, following).count()
    }

    /// Puts the messages of a conversation among those of another one, in the order of their numbers.
    pub(super) fn merge(&mut self, from: u32, into: u32) {
        let (mut one, mut other) = (self.conversations[from].head, self.conversations[into].head);
        let not_before = self.conversations[from].not_before.max(self.conversations[into].not_before);
        (self.conversations[from].head, self.conversations[from].tail) = (NIL, NIL);
        let into = &mut self.conversations[into];
        (into.head, into.tail, into.not_before) = (NIL, NIL, not_before);
        while one != NIL || other != NIL {
            let takes_one = other == NIL || (one != NIL && self.messages[one].seq < self.messages[other].seq);
            let taken = if takes_one { &mut one } else { &mut other };
            let position = *taken;
            *taken = self.messages[position].next;
            (self.messages[position].previous, self.messages[position].next) = (into.tail, NIL);
            match into.tail {
                NIL => into.head = position,
                tail => self.messages[tail].next = position,
            }
            into.tail = position;
        }
    }

    /// Forgets a conversation without messages.
    pub(super) fn close(&mut self, conversation: u32) {
        let Conversation { lane, key, keyed, .. } = self.conversations[conversation];
        if keyed && let Ok(entry) = self.index.find_entry(self.hash(lane, key), |position| *position == conversation) {
            entry.remove();
        }
        self.conversations.remove(conversation);
        if self.index.is_empty() {
            self.index = HashTable::new();
        }
    }

    /// Takes a message into its place in the order; false when its number is there already, or there is no room at all.
    pub(super) fn insert(&mut self, conversation: u32, message: Message) -> bool {
        let Conversation { head, tail, .. } = self.conversations[conversation];
        let seq = message.seq;
        // Most messages come behind all others. Those that come late go before all others, or are late by a few.
        let mut before = if head != NIL && seq < self.messages[head].seq { NIL } else { tail };
        while before != NIL && self.messages[before].seq > seq {
            before = self.messages[before].previous;
        }
        if before != NIL && self.messages[before].seq == seq {
            return false;
        }
        let Some(position) = self.messages.insert(message) else { return false };
        self.link(conversation, position, before);
        true
    }

    /// Takes the first message out of a conversation's order, to be put back or removed.
    pub(super) fn take(&mut self, conversation: u32) -> Option<u32> {
        let head = self.conversations[conversation].head;
        if head == NIL {
            return None;
        }
        let next = self.messages[head].next;
        self.conversations[conversation].head = next;
        match next {
            NIL => self.conversations[conversation].tail = NIL,
            next => self.messages[next].previous = NIL,
        }
        Some(head)
    }

    /// Puts a message back that was taken; lower numbers may have come since.
    pub(super) fn put_back(&mut self, conversation: u32, position: u32) {
        let seq = self.messages[position].seq;
        let (mut before, mut after) = (NIL, self.conversations[conversation].head);
        while after != NIL && self.messages[after].seq < seq {
            (before, after) = (after, self.messages[after].next);
        }
        self.link(conversation, position, before);
    }

    pub(super) fn remove(&mut self, position: u32) {
        self.messages.remove(position);
    }

    /// Marks what may have been in flight when Baton ended: of each conversation the first message that was due, and those
    /// that were accepted so soon after it that they may have gone before it was here.
    pub(super) fn interrupt(&mut self, now: UnixMillis, spread: UnixMillis) {
        for conversation in 0..self.conversations.places() {
            let Conversation { head, .. } = self.conversations[conversation];
            if head == NIL || self.conversations[conversation].state == State::Busy {
                continue;
            }
            let (mut position, until) = (head, self.messages[head].accepted.saturating_add(spread));
            while position != NIL && self.messages[position].accepted <= until {
                self.messages[position].interrupted |= self.messages[position].due <= now;
                position = self.messages[position].next;
            }
        }
    }

    fn link(&mut self, conversation: u32, position: u32, before: u32) {
        let conversation = &mut self.conversations[conversation];
        let after = if before == NIL { conversation.head } else { self.messages[before].next };
        (self.messages[position].previous, self.messages[position].next) = (before, after);
        match before {
            NIL => conversation.head = position,
            before => self.messages[before].next = position,
        }
        match after {
            NIL => conversation.tail = position,
            after => self.messages[after].previous = position,
        }
    }

    fn hash(&self, lane: u32, key: u64) -> u64 {
        hash(self.seed, lane, key)
    }
}

fn hash(seed: u64, lane: u32, key: u64) -> u64 {
    ids::mix(key ^ seed ^ u64::from(lane).rotate_left(40))
}
