//! Finds where the updates of a batch are, and what stands around them.

use std::sync::Arc;

use super::super::cloud_api::LISTS;
use super::super::cloud_api::contacts::{Index, Person, contact};
use super::super::json::Reader;
use super::super::{Undecodable, Update};
use super::{Around, Batch, Change, Entry, Item, Part, Piece, Span};

/// All parts of a batch together take at most this many times its bytes, and [`SWELL_FREE`] more. Batches as they are
/// sent take three times their size; something large that stands around many small updates would fill the memory.
const SWELL_MAX: usize = 8;
const SWELL_FREE: usize = 1 << 20;

/// Gives each of the updates of a batch its part. They are all there are in `body`, in their order.
///
/// # Errors
/// Broken JSON, or the parts would take too much together.
pub fn plan(body: &[u8], updates: &mut [Update<'_>]) -> Result<(), Undecodable> {
    let mut plan = Plan { batch: Batch::default(), updates };
    let mut reader = Reader::new(body);
    let mut around = Around { head: Span::default(), tail: Span { start: 0, end: body.len() } };
    reader.object(|key, value| match key.name {
        b"entry" => plan.array(value, &mut around, Plan::entry),
        _ => Ok(()),
    })?;
    plan.batch.around = around;
    if plan.batch.items.len() != plan.updates.len() {
        return Err(Undecodable::Unknown);
    }
    let size = plan.batch.items.iter().map(|item| plan.batch.size(item)).fold(0, usize::saturating_add);
    if size > body.len().saturating_mul(SWELL_MAX).saturating_add(SWELL_FREE) {
        return Err(Undecodable::TooMany);
    }
    let batch = Arc::new(plan.batch);
    for (item, update) in updates.iter_mut().enumerate() {
        update.part = Part::Piece(Piece { batch: Arc::clone(&batch), item });
    }
    Ok(())
}

struct Plan<'u, 'a> {
    batch: Batch,
    updates: &'u [Update<'a>],
}

impl Plan<'_, '_> {
    /// Reads an array of which a part has one element, and notes what stands around its place.
    fn array(
        &mut self,
        reader: &mut Reader<'_>,
        around: &mut Around,
        read: impl Fn(&mut Self, &mut Reader<'_>) -> Result<(), Undecodable>,
    ) -> Result<(), Undecodable> {
        reader.peek();
        around.head.end = reader.at() + 1;
        reader.array(|element| {
            element.peek();
            read(self, element)
        })?;
        around.tail.start = reader.at() - 1;
        Ok(())
    }

    fn entry(&mut self, reader: &mut Reader<'_>) -> Result<(), Undecodable> {
        let (start, items, entry) = (reader.at(), self.batch.items.len(), self.batch.entries.len());
        let mut around = Around::default();
        reader.object(|key, value| match key.name {
            b"changes" => self.array(value, &mut around, |plan, element| plan.change(element, entry)),
            _ => Ok(()),
        })?;
        let whole = Span { start, end: reader.at() };
        (around.head.start, around.tail.end) = (whole.start, whole.end);
        self.batch.entries.push(Entry { whole, around });
        if self.batch.items.len() == items {
            self.batch.items.push(Item { entry, change: None, element: None, contacts: 0..0 });
        }
        Ok(())
    }

    fn change(&mut self, reader: &mut Reader<'_>, entry: usize) -> Result<(), Undecodable> {
        let start = reader.at();
        let (mut around, mut value) = (Around::default(), Value::default());
        let members = self.batch.members.len();
        reader.object(|key, reader| {
            if key.name != b"value" {
                return Ok(());
            }
            around.head.end = reader.at();
            value = self.value(reader)?;
            around.tail.start = reader.at();
            Ok(())
        })?;
        let whole = Span { start, end: reader.at() };
        (around.head.start, around.tail.end) = (whole.start, whole.end);
        let change = Some(self.batch.changes.len());
        self.batch.changes.push(Change { whole, around, members: members..self.batch.members.len() });
        let first = self.batch.items.len();
        for element in value.elements {
            self.batch.items.push(Item { entry, change, element: Some(element), contacts: 0..0 });
        }
        if self.batch.items.len() == first {
            self.batch.items.push(Item { entry, change, element: None, contacts: 0..0 });
        } else {
            self.share(first, &value.persons, &value.contacts);
        }
        Ok(())
    }

    /// Reads a change's value: what goes into all its parts becomes members of the batch.
    fn value<'b>(&mut self, reader: &mut Reader<'b>) -> Result<Value<'b>, Undecodable> {
        let mut value = Value::default();
        let mut errors = None;
        // Where the last member that all parts have ended, if the next one adjoins it.
        let mut open = false;
        reader.object(|key, reader| {
            let start = reader.at();
            let list = match key.name {
                b"contacts" => Some("contacts"),
                b"errors" => Some("errors"),
                name => LISTS.iter().map(|(list, _)| *list).find(|list| list.as_bytes() == name),
            };
            let Some(list) = list.filter(|_| reader.peek() == Some(b'[')) else {
                reader.skip()?;
                let end = reader.at();
                match self.batch.members.last_mut() {
                    Some(last) if open => last.end = end,
                    _ => self.batch.members.push(Span { start: key.at, end }),
                }
                open = true;
                return Ok(());
            };
            open = false;
            let mut empty = true;
            reader.array(|element| {
                element.peek();
                let start = element.at();
                empty = false;
                match list {
                    "contacts" => value.persons.push(contact(element)?),
                    _ => element.skip()?,
                }
                let span = Span { start, end: element.at() };
                match list {
                    "contacts" => value.contacts.push(span),
                    "errors" => {}
                    _ => value.elements.push((list, span)),
                }
                Ok(())
            })?;
            // Errors of no message stay together.
            if list == "errors" && !empty {
                errors = Some((list, Span { start: start + 1, end: reader.at() - 1 }));
            }
            Ok(())
        })?;
        value.elements.extend(errors);
        Ok(value)
    }

    /// Gives the items from `first` on their contacts: all items are of one change.
    fn share(&mut self, first: usize, persons: &[Person<'_>], spans: &[Span]) {
        let index = Index::new(persons);
        let mut free = vec![true; persons.len()];
        let (items, updates) = (&mut self.batch.items[first..], self.updates.get(first..).unwrap_or_default());
        let contacts = &mut self.batch.contacts;
        for (item, update) in items.iter_mut().zip(updates) {
            let start = contacts.len();
            let mut own: Vec<usize> =
                update.names.iter().chain(update.moved.iter()).filter_map(|name| index.of(name).next()).collect();
            own.sort_unstable();
            own.dedup();
            own.iter().for_each(|contact| free[*contact] = false);
            contacts.extend(own.iter().map(|contact| spans[*contact]));
            item.contacts = start..contacts.len();
        }
        let start = contacts.len();
        contacts.extend(free.iter().zip(spans).filter(|(free, _)| **free).map(|(_, span)| *span));
        for item in items.iter_mut().filter(|item| item.contacts.is_empty()) {
            item.contacts = start..contacts.len();
        }
    }
}

/// What a change's value holds beside the members that all parts have.
#[derive(Default)]
struct Value<'b> {
    elements: Vec<(&'static str, Span)>,
    persons: Vec<Person<'b>>,
    contacts: Vec<Span>,
}
