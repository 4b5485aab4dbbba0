//! Who is called what: the contacts that come with a change's updates, and which of them belongs to which update.

use std::borrow::Cow;

use super::super::json::{Reader, Text};
use super::super::{Undecodable, Update};

/// One person's identifiers, by kind.
#[derive(Default)]
pub struct Person<'a> {
    pub parent: Text<'a>,
    pub user: Text<'a>,
    pub phone: Text<'a>,
}

impl<'a> Person<'a> {
    pub fn each(self) -> impl Iterator<Item = Cow<'a, str>> {
        [self.parent.value, self.user.value, self.phone.value].into_iter().flatten()
    }

    pub fn names(&self) -> impl Iterator<Item = &Cow<'a, str>> {
        [&self.parent.value, &self.user.value, &self.phone.value].into_iter().flatten()
    }
}

pub fn contact<'a>(reader: &mut Reader<'a>) -> Result<Person<'a>, Undecodable> {
    let mut person = Person::default();
    reader.object(|key, value| match key.name {
        b"parent_user_id" => value.text(&mut person.parent),
        b"user_id" => value.text(&mut person.user),
        b"wa_id" => value.text(&mut person.phone),
        _ => Ok(()),
    })?;
    Ok(person)
}

/// Contacts by what they are called.
pub struct Index<'c>(Vec<(&'c str, usize)>);

impl<'c> Index<'c> {
    pub fn new(contacts: &'c [Person<'_>]) -> Self {
        let names = contacts.iter().enumerate().flat_map(|(i, contact)| contact.names().map(move |name| (&**name, i)));
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        Self(names)
    }

    /// The contacts with this name, in their order.
    pub fn of(&self, name: &str) -> impl Iterator<Item = usize> {
        let from = self.0.partition_point(|(known, _)| *known < name);
        self.0[from..].iter().take_while(move |(known, _)| *known == name).map(|(_, contact)| *contact)
    }
}

/// Adds to each update what the contact of the same person is called besides. Only a shared name shows that it is the
/// same person.
pub fn link<'a>(updates: &mut [Update<'a>], contacts: &[Person<'a>]) {
    if contacts.is_empty() {
        return;
    }
    if let ([update], [contact]) = (&mut *updates, contacts) {
        if contact.names().any(|name| update.names.contains(name) || update.moved.contains(name)) {
            adopt(update, contact);
        }
        return;
    }
    let index = Index::new(contacts);
    for update in updates {
        let contact = update.names.iter().chain(update.moved.iter()).find_map(|name| index.of(name).next());
        if let Some(contact) = contact {
            adopt(update, &contacts[contact]);
        }
    }
}

fn adopt<'a>(update: &mut Update<'a>, contact: &Person<'a>) {
    let (names, moved) = (&mut update.names, &update.moved);
    let known = names.len();
    contact.names().filter(|name| !moved.contains(name)).for_each(|name| names.push(name.clone()));
    if names.len() > known {
        names.sort_by_key(|name| rank(name));
    }
}

/// Parent BSUID, BSUID, phone number.
fn rank(name: &str) -> u8 {
    match name.as_bytes() {
        [_, _, b'.', b'E', b'N', b'T', b'.', ..] => 0,
        [_, _, b'.', ..] => 1,
        _ => 2,
    }
}
