//! Payloads of Meta's Cloud API: `entry` x `changes` x lists of messages, statuses and the like.
//!
//! A change is read in whatever order its members come: what belongs to all its updates (account, contacts, the field's
//! name) is added when the change has been read.

use std::borrow::Cow;

use super::json::{Reader, Text};
use super::{Id, Kind, Names, UPDATES_MAX, Undecodable, Update};

/// The lists of a change's value whose elements are updates, and what each is.
pub(super) const LISTS: [(&str, Kind); 7] = [
    ("messages", Kind::Message),
    ("statuses", Kind::Status),
    ("message_echoes", Kind::Own),
    ("calls", Kind::Event),
    ("user_preferences", Kind::Event),
    ("user_id_update", Kind::Event),
    ("groups", Kind::Event),
];

pub fn decode<'a>(body: &'a [u8], into: &mut Vec<Update<'a>>) -> Result<(), Undecodable> {
    let first = into.len();
    let mut reader = Reader::new(body);
    let (mut object, mut entries) = (Text::default(), false);
    let known = reader.object(|key, value| match key.name {
        b"object" => value.text(&mut object),
        b"entry" => {
            value.once(&mut entries)?;
            value.array(|element| entry(element, first, into)).map(drop)
        }
        _ => Ok(()),
    })?;
    reader.end()?;
    if !known || (object.value.is_none() && !entries) {
        return Err(Undecodable::Unknown);
    }
    if into.len() == first {
        into.push(Update::new(Kind::Event, object.take().unwrap_or_default()));
    }
    Ok(())
}

fn entry<'a>(reader: &mut Reader<'a>, start: usize, into: &mut Vec<Update<'a>>) -> Result<(), Undecodable> {
    let first = into.len();
    let (mut id, mut changes) = (Text::default(), false);
    reader.object(|key, value| match key.name {
        b"id" => value.text(&mut id),
        b"changes" => {
            value.once(&mut changes)?;
            value.array(|element| change(element, start, into)).map(drop)
        }
        _ => Ok(()),
    })?;
    // What names no number belongs to the business account as a whole.
    for update in into[first..].iter_mut().filter(|update| update.account.is_none()) {
        update.account.clone_from(&id.value);
    }
    Ok(())
}

fn change<'a>(reader: &mut Reader<'a>, start: usize, into: &mut Vec<Update<'a>>) -> Result<(), Undecodable> {
    let first = into.len();
    let (mut field, mut shared) = (Text::default(), None);
    let mut seen = false;
    reader.object(|key, value| match key.name {
        b"field" => value.text(&mut field),
        b"value" => {
            value.once(&mut seen)?;
            shared = Some(read_value(value, start, into)?);
            Ok(())
        }
        _ => Ok(()),
    })?;
    let mut shared = shared.unwrap_or_default();
    if shared.errors || into.len() == first {
        push(into, start, Update::new(Kind::Event, Cow::Borrowed(if shared.errors { "errors" } else { "" })))?;
    }
    let account = shared.account.take();
    link(&mut into[first..], &shared.contacts);
    for update in &mut into[first..] {
        update.account.clone_from(&account);
        // The field `messages` carries several kinds of lists; any other says more than the name of its list.
        if let Some(field) = &field.value
            && (field != "messages" || update.event.is_empty())
        {
            update.event.clone_from(field);
        }
        if let Some(id) = &mut update.id {
            id.event.clone_from(&update.event);
        }
    }
    Ok(())
}

/// What a change's value says about all its updates.
#[derive(Default)]
struct Shared<'a> {
    account: Text<'a>,
    contacts: Vec<Person<'a>>,
    /// There are errors that belong to no message.
    errors: bool,
}

fn read_value<'a>(
    reader: &mut Reader<'a>,
    start: usize,
    into: &mut Vec<Update<'a>>,
) -> Result<Shared<'a>, Undecodable> {
    let mut shared = Shared::default();
    let (mut metadata, mut contacts, mut errors) = (false, false, false);
    let mut lists = [false; LISTS.len()];
    reader.object(|key, value| match key.name {
        b"metadata" => {
            value.once(&mut metadata)?;
            value
                .object(|key, value| match key.name {
                    b"phone_number_id" => value.text(&mut shared.account),
                    _ => Ok(()),
                })
                .map(drop)
        }
        b"contacts" => {
            value.once(&mut contacts)?;
            value
                .array(|element| {
                    if shared.contacts.len() == UPDATES_MAX {
                        return Err(Undecodable::TooMany);
                    }
                    shared.contacts.push(contact(element)?);
                    Ok(())
                })
                .map(drop)
        }
        b"errors" => {
            value.once(&mut errors)?;
            value
                .array(|_| {
                    shared.errors = true;
                    Ok(())
                })
                .map(drop)
        }
        name => {
            let Some(list) = LISTS.iter().position(|(list, _)| list.as_bytes() == name) else { return Ok(()) };
            value.once(&mut lists[list])?;
            let (list, kind) = LISTS[list];
            value.array(|element| push(into, start, item(element, list, kind)?)).map(drop)
        }
    })?;
    Ok(shared)
}

fn push<'a>(into: &mut Vec<Update<'a>>, start: usize, update: Update<'a>) -> Result<(), Undecodable> {
    if into.len() - start == UPDATES_MAX {
        return Err(Undecodable::TooMany);
    }
    into.push(update);
    Ok(())
}

/// One person's identifiers, by kind.
#[derive(Default)]
struct Person<'a> {
    parent: Text<'a>,
    user: Text<'a>,
    phone: Text<'a>,
}

impl<'a> Person<'a> {
    fn each(self) -> impl Iterator<Item = Cow<'a, str>> {
        [self.parent.value, self.user.value, self.phone.value].into_iter().flatten()
    }

    fn names(&self) -> impl Iterator<Item = &Cow<'a, str>> {
        [&self.parent.value, &self.user.value, &self.phone.value].into_iter().flatten()
    }
}

fn contact<'a>(reader: &mut Reader<'a>) -> Result<Person<'a>, Undecodable> {
    let mut person = Person::default();
    reader.object(|key, value| match key.name {
        b"parent_user_id" => value.text(&mut person.parent),
        b"user_id" => value.text(&mut person.user),
        b"wa_id" => value.text(&mut person.phone),
        _ => Ok(()),
    })?;
    Ok(person)
}

/// One element of a list. What a member means does not depend on the list, but for who is the other person.
fn item<'a>(reader: &mut Reader<'a>, list: &'static str, kind: Kind) -> Result<Update<'a>, Undecodable> {
    let mut update = Update::new(kind, Cow::Borrowed(list));
    let (mut from, mut to, mut participant) = (Person::default(), Person::default(), Person::default());
    let (mut now, mut old) = (Person::default(), Person::default());
    let (mut id, mut group, mut note, mut state) = (Text::default(), Text::default(), Text::default(), Text::default());
    let (mut recipient_type, mut class, mut direction) = (Text::default(), Text::default(), Text::default());
    let mut system = false;
    reader.object(|key, value| match key.name {
        b"id" => value.text(&mut id),
        b"group_id" => value.text(&mut group),
        b"from" => value.text(&mut from.phone),
        b"from_user_id" => value.text(&mut from.user),
        b"from_parent_user_id" => value.text(&mut from.parent),
        b"type" => value.text(&mut class),
        b"to" | b"recipient_id" => value.text(&mut to.phone),
        b"to_user_id" | b"recipient_user_id" => value.text(&mut to.user),
        b"to_parent_user_id" | b"recipient_parent_user_id" => value.text(&mut to.parent),
        b"recipient_participant_id" => value.text(&mut participant.phone),
        b"recipient_participant_user_id" => value.text(&mut participant.user),
        b"recipient_participant_parent_user_id" => value.text(&mut participant.parent),
        b"recipient_type" => value.text(&mut recipient_type),
        b"status" | b"event" => value.text(&mut state),
        b"direction" => value.text(&mut direction),
        b"biz_opaque_callback_data" => value.text(&mut note),
        b"system" => {
            value.once(&mut system)?;
            changed(value, &mut now, &mut old)
        }
        b"wa_id" | b"user_id" | b"parent_user_id" if kind == Kind::Event => {
            one_change(key.name, value, &mut now, &mut old)
        }
        _ => Ok(()),
    })?;
    let other = match list {
        "statuses" if recipient_type.value.as_deref() == Some("group") => {
            group = std::mem::take(&mut to.phone);
            participant
        }
        "statuses" | "message_echoes" => to,
        "calls" if direction.value.as_deref() == Some("BUSINESS_INITIATED") => to,
        _ => from,
    };
    update.group = group.take();
    update.id = id.take().and_then(|message| {
        let state = match (list, class.take()) {
            // The state of a payment may change under one status.
            ("statuses", Some(class)) if class == "payment" => return None,
            // Each member of a group has a status of its own for one message.
            ("statuses", _) if update.group.is_some() => {
                let who = other.names().next().map_or("", |who| who);
                Some(Cow::Owned(format!("{} {who}", state.take().unwrap_or_default())))
            }
            ("statuses" | "calls", _) => state.take(),
            // What Meta could not show at first may come again under the same id.
            (_, Some(class)) if class == "unsupported" => Some(class),
            _ => None,
        };
        Some(Id { message, event: Cow::Borrowed(list), state })
    });
    update.master = note.take().and_then(master);
    name(&mut update, now, old, other);
    Ok(update)
}

/// A system message: the person's identifiers from now on, and in `old` what the message says about before.
fn changed<'a>(reader: &mut Reader<'a>, now: &mut Person<'a>, old: &mut Person<'a>) -> Result<(), Undecodable> {
    let mut newer = Text::default();
    reader.object(|key, value| match key.name {
        b"new_wa_id" => value.text(&mut newer),
        b"previous_wa_id" => value.text(&mut old.phone),
        b"previous_user_id" => value.text(&mut old.user),
        b"previous_parent_user_id" => value.text(&mut old.parent),
        name => one_change(name, value, now, old),
    })?;
    if newer.value.is_some() {
        now.phone = newer;
    }
    Ok(())
}

/// An identifier, or an object with the previous and the current one.
fn one_change<'a>(
    name: &[u8],
    reader: &mut Reader<'a>,
    now: &mut Person<'a>,
    old: &mut Person<'a>,
) -> Result<(), Undecodable> {
    let (now, old) = match name {
        b"wa_id" => (&mut now.phone, &mut old.phone),
        b"user_id" => (&mut now.user, &mut old.user),
        b"parent_user_id" => (&mut now.parent, &mut old.parent),
        _ => return Ok(()),
    };
    if reader.peek() != Some(b'{') {
        return reader.text(now);
    }
    reader
        .object(|key, value| match key.name {
            b"current" => value.text(now),
            b"previous" => value.text(old),
            _ => Ok(()),
        })
        .map(drop)
}

/// Sorts identifiers into those the person has and those it had. The one a message comes from is an old one when the
/// message itself names another of its kind.
fn name<'a>(update: &mut Update<'a>, now: Person<'a>, old: Person<'a>, other: Person<'a>) {
    old.each().for_each(|name| update.moved.push(name));
    for (current, other) in [(now.parent, other.parent), (now.user, other.user), (now.phone, other.phone)] {
        let replaced = |other: &Cow<'a, str>| current.value.as_ref().is_some_and(|current| current != other);
        match other.value {
            Some(other) if replaced(&other) => update.moved.push(other),
            Some(other) if !update.moved.contains(&other) => update.names.push(other),
            _ => {}
        }
        current.value.into_iter().for_each(|current| update.names.push(current));
    }
}

/// Adds to each update what the contact of the same person is called besides.
fn link<'a>(updates: &mut [Update<'a>], contacts: &[Person<'a>]) {
    match (contacts, updates) {
        ([], _) => {}
        // One contact and one update are about the same person, unless they say otherwise.
        ([contact], [update]) if update.group.is_none() && !contradicts(contact, &update.names) => {
            adopt(update, contact);
        }
        (contacts, updates) => {
            let mut index: Vec<(&str, usize)> =
                contacts.iter().enumerate().flat_map(|(i, one)| one.names().map(move |name| (&**name, i))).collect();
            index.sort_unstable();
            for update in updates {
                let of = |name: &str| {
                    let at = index.partition_point(|(known, _)| *known < name);
                    index.get(at).filter(|(known, _)| *known == name).map(|(_, contact)| *contact)
                };
                let contact = update.names.iter().chain(update.moved.iter()).find_map(of);
                if let Some(contact) = contact {
                    adopt(update, &contacts[contact]);
                }
            }
        }
    }
}

/// Whether both have an identifier of one kind, none of them shared.
fn contradicts(contact: &Person<'_>, names: &Names<'_>) -> bool {
    !contact.names().any(|name| names.contains(name))
        && contact.names().any(|name| names.iter().any(|other| rank(other) == rank(name)))
}

fn adopt<'a>(update: &mut Update<'a>, contact: &Person<'a>) {
    let (names, moved) = (&mut update.names, &update.moved);
    contact.names().filter(|name| !moved.contains(name)).for_each(|name| names.push(name.clone()));
    names.sort_by_key(|name| rank(name));
}

/// Parent BSUID, BSUID, phone number.
fn rank(name: &str) -> u8 {
    match name.as_bytes() {
        [_, _, b'.', b'E', b'N', b'T', b'.', ..] => 0,
        [_, _, b'.', ..] => 1,
        _ => 2,
    }
}

/// The master in a note of the form `master=NAME`, alone or among others.
fn master(note: Cow<'_, str>) -> Option<Cow<'_, str>> {
    fn find(note: &str) -> Option<&str> {
        note.split([';', '&', ',', ' ']).find_map(|word| word.strip_prefix("master="))
    }
    match note {
        Cow::Borrowed(note) => find(note).map(Cow::Borrowed),
        Cow::Owned(note) => find(&note).map(|name| Cow::Owned(name.to_owned())),
    }
}
