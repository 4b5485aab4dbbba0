//! Chats as the gateways over WhatsApp Web name them: by JID, `USER@SERVER`.

use std::borrow::Cow;

use super::json::{Reader, Slot, Text};
use super::{Undecodable, Update};

/// Where something was said, and who is called what there.
#[derive(Default)]
pub struct Place<'a> {
    /// The chat's JID: the other person's, or that of a group.
    pub chat: Option<Cow<'a, str>>,
    /// Further names of the other person; in a group those of the one who wrote.
    pub persons: [Option<Cow<'a, str>>; 5],
    /// Names of the account itself, which are nobody's in its conversations.
    pub own: [Option<Cow<'a, str>>; 2],
}

impl<'a> Place<'a> {
    /// Writes it into an update.
    pub fn tell(self, update: &mut Update<'a>) {
        let moved = &update.moved;
        let nobody = |name: &str| moved.contains(name) || self.own.iter().flatten().any(|own| user(own) == user(name));
        update.group = self.chat.clone().filter(|chat| is_shared(chat));
        for name in [&self.chat].into_iter().chain(&self.persons).flatten() {
            if !is_shared(name) && !nobody(name) {
                update.names.push(name.clone());
            }
        }
        // A number is known to more gateways than a LID, and tells the country.
        update.names.sort_by_key(|name| u8::from(name.ends_with("@lid")));
        if update.names.is_empty() && update.group.is_none() {
            // A chat with oneself.
            self.chat.into_iter().for_each(|chat| update.names.push(chat));
        }
    }
}

/// Whether a chat has more than one other person: groups, channels, status broadcasts.
pub fn is_shared(jid: &str) -> bool {
    ["@g.us", "@newsletter", "@broadcast"].iter().any(|server| jid.ends_with(server))
}

/// A JID without server and device.
fn user(jid: &str) -> &str {
    jid.split(['@', ':']).next().unwrap_or(jid)
}

/// A message's id as WhatsApp Web has it: `fromMe_remote_id`, or an object that holds the same.
#[derive(Default)]
pub struct MessageKey<'a> {
    whole: Text<'a>,
    short: Text<'a>,
    pub remote: Text<'a>,
    pub participant: Text<'a>,
    pub from_me: Slot<bool>,
}

impl<'a> MessageKey<'a> {
    /// # Errors
    /// Broken JSON.
    pub fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Undecodable> {
        if reader.peek() != Some(b'{') {
            return reader.text(&mut self.whole);
        }
        reader
            .object(|key, value| match key.name {
                b"_serialized" => value.text(&mut self.whole),
                b"id" => value.text(&mut self.short),
                b"remote" => value.text_or_member(&mut self.remote, b"_serialized"),
                b"participant" => value.text_or_member(&mut self.participant, b"_serialized"),
                b"fromMe" => value.flag(&mut self.from_me),
                _ => Ok(()),
            })
            .map(drop)
    }

    /// The whole id, or what there is of it.
    pub fn id(&mut self) -> Option<Cow<'a, str>> {
        self.whole.take().or_else(|| self.short.take())
    }

    /// Whether the account wrote the message, as far as the id tells.
    pub fn is_own(&self) -> Option<bool> {
        let whole = self.whole.value.as_deref().unwrap_or_default();
        self.from_me.value.or_else(|| match whole.split('_').next() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        })
    }
}
