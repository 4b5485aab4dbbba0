//! Which conversation an update belongs to, whatever name of its person it shows.
//!
//! One payload has a person's phone number and user id, the next only one of them, and some gateways write a contact as
//! `@lid` now and as a number a second later. So every two names that stand together in a payload are learnt to be one
//! person, in a forest of hashes as of the union-find problem: a name leads to the name that stands for its
//! conversation, whose hash is the conversation's key. A group is a conversation by its own id and needs no table.
//!
//! Names may turn out to be one person that were two until then, with a conversation each. Then the one that was used
//! last goes on, as its context is what the person remembers, and the other ends in it: [`Learnt::merged`] has the keys
//! that ended, so that what is kept by key can follow.
//!
//! A person who changes number keeps the conversation. Who gets the old number joins it, until the number has not been
//! seen for the time to live: two people then share an order and a master, and nothing else.
//!
//! Looking up takes the locks of `lru`, one after another. Only learning something takes a lock of its own, since the
//! forest has no loops as long as one thread changes it at a time. What was evicted is a name that nobody has seen: it
//! stands for itself until a payload shows it together with another one.

use std::sync::PoisonError;

use super::Update;
use super::identity::name_hash;
use super::update::NAMES_MAX;
use crate::clock::Micros;
use crate::lru::Lru;
use crate::sync::Mutex;

/// Names in one update, present and former ones.
const LEARNT_MAX: usize = 2 * NAMES_MAX;

/// Steps from a name to its conversation at most; one more for each time that a conversation ended in another one and no
/// update of the name came in between.
const DEPTH_MAX: usize = 64;

/// Who is who.
#[derive(Debug)]
pub struct Aliases {
    /// A name to one that is nearer to its conversation's; the latter to itself.
    parents: Lru<u64>,
    learning: Mutex<()>,
}

/// A conversation, and what an update told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learnt {
    /// The conversation's key.
    pub conversation: u64,
    ended: Few,
}

impl Learnt {
    /// Keys of conversations that are this one from now on.
    pub fn merged(&self) -> &[u64] {
        self.ended.as_slice()
    }
}

impl Aliases {
    /// A table of at most `max` names, each kept for `ttl` after it was seen last.
    #[must_use]
    pub fn new(max: usize, ttl: Micros) -> Self {
        Self { parents: Lru::new(max, ttl), learning: Mutex::new(()) }
    }

    /// The conversation of an update, after learning what its names tell; `None` where it names nobody.
    pub fn learn(&self, account: &str, update: &Update<'_>, now: Micros) -> Option<Learnt> {
        if let Some(group) = &update.group {
            return Some(Learnt { conversation: name_hash(account, group), ended: Few::default() });
        }
        let mut names = Few::default();
        update.names.iter().chain(update.moved.iter()).for_each(|name| names.push(name_hash(account, name)));
        self.learn_hashes(names.as_slice(), now)
    }

    /// The conversation that one is by now.
    #[must_use]
    pub fn resolve(&self, conversation: u64, now: Micros) -> u64 {
        self.root(conversation, now).map_or(conversation, |(root, _)| root)
    }

    /// The table, to be kept over a restart: hashes of names, and of the names that they lead to.
    #[must_use]
    pub fn table(&self) -> &Lru<u64> {
        &self.parents
    }

    fn learn_hashes(&self, names: &[u64], now: Micros) -> Option<Learnt> {
        let conversation = match self.known(names, now) {
            Some(conversation) => conversation,
            None => return self.link(names, now),
        };
        for name in names.iter().filter(|name| **name != conversation) {
            self.parents.get(*name, now);
        }
        self.parents.get(conversation, now);
        Some(Learnt { conversation, ended: Few::default() })
    }

    /// The conversation, if all names lead there in one step.
    fn known(&self, names: &[u64], now: Micros) -> Option<u64> {
        let parent = |name: u64| self.parents.peek(name, now).map(|(parent, _)| parent);
        let conversation = parent(*names.first()?)?;
        let agreed = names[1..].iter().all(|name| parent(*name) == Some(conversation));
        (agreed && (names[0] == conversation || parent(conversation) == Some(conversation))).then_some(conversation)
    }

    /// Makes all names lead to one conversation.
    fn link(&self, names: &[u64], now: Micros) -> Option<Learnt> {
        let _alone = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        let mut roots = Few::default();
        let mut winner: Option<(u64, Micros)> = None;
        for (root, age) in names.iter().filter_map(|name| self.root(*name, now)) {
            roots.push(root);
            if winner.is_none_or(|(_, least)| age < least) {
                winner = Some((root, age));
            }
        }
        let conversation = winner.map_or(names.first().copied(), |(root, _)| Some(root))?;
        let mut ended = Few::default();
        roots.as_slice().iter().filter(|root| **root != conversation).for_each(|root| ended.push(*root));
        // In the order of what must not be evicted for want of room.
        for name in ended.as_slice().iter().chain(names) {
            if self.parents.get(*name, now) != Some(conversation) {
                self.parents.set(*name, conversation, now);
            }
        }
        if self.parents.get(conversation, now) != Some(conversation) {
            self.parents.set(conversation, conversation, now);
        }
        Some(Learnt { conversation, ended })
    }

    /// Where a known name leads in the end, and how long ago that was used.
    fn root(&self, name: u64, now: Micros) -> Option<(u64, Micros)> {
        let (mut at, mut age) = self.parents.peek(name, now)?;
        for _ in 0..DEPTH_MAX {
            match self.parents.peek(at, now) {
                Some((parent, used)) if parent == at => return Some((at, used)),
                Some((parent, used)) => (at, age) = (parent, used),
                // Evicted before its names.
                None => break,
            }
        }
        Some((at, age))
    }
}

/// A few different hashes, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Few {
    list: [u64; LEARNT_MAX],
    length: usize,
}

impl Few {
    fn push(&mut self, hash: u64) {
        if self.length < LEARNT_MAX && !self.as_slice().contains(&hash) {
            self.list[self.length] = hash;
            self.length += 1;
        }
    }

    fn as_slice(&self) -> &[u64] {
        &self.list[..self.length]
    }
}

#[cfg(test)]
mod tests;
