//! One thing that a webhook tells, whatever gateway it is from.

use std::borrow::Cow;

use xxhash_rust::xxh3::Xxh3;

use super::split::Part;

/// Identifiers kept of one person; there are three kinds, and each may stand twice.
pub(super) const NAMES_MAX: usize = 6;
/// Longest identifier in bytes. The longest known is a parent BSUID of 135.
pub(super) const NAME_LENGTH_MAX: usize = 256;

/// What an update is, as far as delivery and filters care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A person wrote.
    Message,
    /// The account itself wrote, on another device or through the gateway.
    Own,
    /// What became of a message that the account sent.
    Status,
    /// Everything else.
    Event,
}

/// One thing that a webhook tells. Borrows from the body.
#[derive(Debug, Clone)]
pub struct Update<'a> {
    /// The account it belongs to, in the gateway's terms: phone number id, session, instance.
    pub account: Option<Cow<'a, str>>,
    /// A group chat's id: then it alone names the conversation.
    pub group: Option<Cow<'a, str>>,
    /// Identifiers of the other person as they stand, the most preferred first. In a group the one who wrote.
    pub names: Names<'a>,
    /// Identifiers that this person had before and has no more.
    pub moved: Names<'a>,
    /// What repeats of this update have in common with it and with nothing else; none where the gateway gives no id.
    pub id: Option<Id<'a>>,
    pub kind: Kind,
    /// The gateway's word for it: `messages`, `statuses`, `account_update`, `message.any`, `messages.upsert`.
    pub event: Cow<'a, str>,
    /// The master that sent the message this is about, where the sender's note names one (`master=NAME`).
    pub master: Option<Cow<'a, str>>,
    pub part: Part,
}

impl<'a> Update<'a> {
    /// An update of which only what it is called is known.
    pub(super) fn new(kind: Kind, event: Cow<'a, str>) -> Self {
        let (names, moved) = (Names::default(), Names::default());
        Self { account: None, group: None, names, moved, id: None, kind, event, master: None, part: Part::Whole }
    }
}

/// Several identifiers of one person, in order and without repeats.
#[derive(Debug, Clone)]
pub struct Names<'a> {
    list: [Cow<'a, str>; NAMES_MAX],
    length: usize,
}

impl Default for Names<'_> {
    fn default() -> Self {
        Self { list: [const { Cow::Borrowed("") }; NAMES_MAX], length: 0 }
    }
}

impl<'a> Names<'a> {
    /// Adds one at the end. What is empty, too long to identify anyone, there already, or one too many is left out.
    pub fn push(&mut self, name: Cow<'a, str>) {
        if !name.is_empty() && name.len() <= NAME_LENGTH_MAX && self.length < NAMES_MAX && !self.contains(&name) {
            self.list[self.length] = name;
            self.length += 1;
        }
    }

    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|known| known == name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.list[..self.length].iter().map(|name| &**name)
    }

    /// The most preferred.
    pub fn first(&self) -> Option<&str> {
        self.iter().next()
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub(super) fn sort_by_key(&mut self, key: impl FnMut(&Cow<'a, str>) -> u8) {
        self.list[..self.length].sort_by_key(key);
    }
}

/// What tells an update from all others of its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id<'a> {
    /// The message's id.
    pub message: Cow<'a, str>,
    /// The gateway's word for what happened to it: one message is the subject of several events.
    pub event: Cow<'a, str>,
    /// Status, acknowledgement, and whatever else changes while id and event stay.
    pub state: Option<Cow<'a, str>>,
}

impl Id<'_> {
    /// The same for repeats of one update and, but for chance, for nothing else. `scope` is what ids are unique in: route and
    /// account. Stable over restarts and versions.
    pub fn hash(&self, scope: &[&str]) -> u128 {
        let mut hasher = Xxh3::new();
        // Each part with its length before it: no two lists of parts are the same bytes.
        let mut add = |part: &str| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        };
        scope.iter().for_each(|part| add(part));
        add(&self.message);
        add(&self.event);
        self.state.iter().for_each(|part| add(part));
        hasher.digest128()
    }
}
