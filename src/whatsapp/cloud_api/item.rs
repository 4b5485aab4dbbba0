//! One element of a list: who wrote or gets it, and how a repeat of it is known.

use std::borrow::Cow;

use super::super::json::{Reader, Text};
use super::super::{Id, Kind, Undecodable, Update};
use super::contacts::Person;

/// One element of a list. What a member means does not depend on the list, but for who is the other person.
pub fn item<'a>(reader: &mut Reader<'a>, list: &'static str, kind: Kind) -> Result<Update<'a>, Undecodable> {
    let mut update = Update::new(kind, Cow::Borrowed(list));
    let (mut from, mut to, mut participant) = (Person::default(), Person::default(), Person::default());
    let (mut now, mut old) = (Person::default(), Person::default());
    let mut recipient = Person::default();
    let (mut id, mut group, mut note) = (Text::default(), Text::default(), Text::default());
    let (mut status, mut event) = (Text::default(), Text::default());
    let (mut recipient_type, mut class, mut direction) = (Text::default(), Text::default(), Text::default());
    let mut system = false;
    reader.object(|key, value| match key.name {
        b"id" => value.text(&mut id),
        b"group_id" => value.text(&mut group),
        b"from" => value.text(&mut from.phone),
        b"from_user_id" => value.text(&mut from.user),
        b"from_parent_user_id" => value.text(&mut from.parent),
        b"type" => value.text(&mut class),
        b"to" => value.text(&mut to.phone),
        b"to_user_id" => value.text(&mut to.user),
        b"to_parent_user_id" => value.text(&mut to.parent),
        b"recipient_id" => value.text(&mut recipient.phone),
        b"recipient_user_id" => value.text(&mut recipient.user),
        b"recipient_parent_user_id" => value.text(&mut recipient.parent),
        b"recipient_participant_id" => value.text(&mut participant.phone),
        b"recipient_participant_user_id" => value.text(&mut participant.user),
        b"recipient_participant_parent_user_id" => value.text(&mut participant.parent),
        b"recipient_type" => value.text(&mut recipient_type),
        b"status" => value.text(&mut status),
        b"event" => value.text(&mut event),
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
            group = recipient.phone;
            participant
        }
        "statuses" => recipient,
        "message_echoes" => to,
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
                Some(Cow::Owned(format!("{} {who}", status.take().unwrap_or_default())))
            }
            ("statuses", _) => status.take(),
            ("calls", _) => event.take(),
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
