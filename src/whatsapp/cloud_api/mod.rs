//! Payloads of Meta's Cloud API: `entry` x `changes` x lists of messages, statuses and the like.
//!
//! A change is read in whatever order its members come: what belongs to all its updates (account, contacts, the field's
//! name) is added when the change has been read. What yields no update of its own, a change of another field or an entry
//! without changes, is one update as a whole, so that nothing of a body is left out. `split` goes the same way.

use std::borrow::Cow;

use self::contacts::{Person, contact, link};
use self::item::item;
use super::decode::EVENT_LENGTH_MAX;
use super::json::{Reader, Text};
use super::update::NAME_LENGTH_MAX;
use super::{Kind, UPDATES_MAX, Undecodable, Update, split};

pub(super) mod contacts;
mod item;

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
    let (mut object, mut entries) = (false, false);
    reader.object(|key, value| match key.name {
        b"object" => value.once(&mut object),
        b"entry" => {
            value.once(&mut entries)?;
            value.array(|element| entry(element, first, into)).map(drop)
        }
        _ => Ok(()),
    })?;
    reader.end()?;
    if !object && !entries {
        return Err(Undecodable::Unknown);
    }
    match into.len() - first {
        0 => into.push(Update::new(Kind::Event, Cow::Borrowed(""))),
        1 => {}
        _ => split::plan(body, &mut into[first..])?,
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
    if into.len() == first {
        push(into, start, Update::new(Kind::Event, Cow::Borrowed("")))?;
    }
    // What names no number belongs to the business account as a whole.
    let id = short(&mut id, NAME_LENGTH_MAX);
    for update in into[first..].iter_mut().filter(|update| update.account.is_none()) {
        update.account.clone_from(&id);
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
    let (account, field) = (short(&mut shared.account, NAME_LENGTH_MAX), short(&mut field, EVENT_LENGTH_MAX));
    link(&mut into[first..], &shared.contacts);
    for update in &mut into[first..] {
        update.account.clone_from(&account);
        // The field `messages` carries several kinds of lists; any other says more than the name of its list.
        if let Some(field) = &field
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

/// What many updates get a copy of, unless it is too long to mean anything: one with escapes is a copy of its own in each.
fn short<'a>(text: &mut Text<'a>, max: usize) -> Option<Cow<'a, str>> {
    text.take().filter(|text| text.len() <= max)
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
