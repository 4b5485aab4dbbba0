//! How one update of a batch is written as a body of its own.
//!
//! Bots read `entry[0].changes[0].value.messages[0]`, many of them nothing else. So a part has one entry with one change
//! with one update, in the bytes of the batch: what surrounds the update is copied on both sides of it at each level, and
//! of a change's value everything but the lists. From the contacts it gets those of the person the update is about, for
//! bots take the first one for the sender; where none is known to be, those that belong to no other update of the change.
//!
//! A batch is read once more for this (`plan`), and all its parts share what was found.

use std::ops::Range;
use std::sync::Arc;

use super::Provider;

mod plan;
#[cfg(test)]
mod tests;

pub(super) use plan::plan;

/// What of a body an update is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// All of it: its bytes go on as they are, and so does their signature.
    Whole,
    /// One of several.
    Piece(Piece),
}

/// One update of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    batch: Arc<Batch>,
    item: usize,
}

/// Where everything is in the bytes of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
struct Batch {
    around: Around,
    entries: Vec<Entry>,
    changes: Vec<Change>,
    items: Vec<Item>,
    /// Members of values that are no lists, adjacent ones as one. Changes have ranges of it.
    members: Vec<Span>,
    /// Contacts. Items have ranges of it.
    contacts: Vec<Span>,
}

/// Bytes of the body.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: usize,
    end: usize,
}

/// What stands before and behind the place of the one thing that a part has of several.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Around {
    head: Span,
    tail: Span,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    whole: Span,
    around: Around,
}

#[derive(Debug, PartialEq, Eq)]
struct Change {
    whole: Span,
    around: Around,
    members: Range<usize>,
}

#[derive(Debug, PartialEq, Eq)]
struct Item {
    entry: usize,
    /// Without one the entry goes on whole.
    change: Option<usize>,
    /// Without one the change goes on whole. Otherwise the list's name, and what is to be between its brackets.
    element: Option<(&'static str, Span)>,
    contacts: Range<usize>,
}

impl Span {
    fn of(self, body: &[u8]) -> &[u8] {
        body.get(self.start..self.end).unwrap_or_default()
    }

    fn len(self) -> usize {
        self.end - self.start
    }
}

/// Appends the body that holds one update alone. `body` is the one that the update was decoded from.
pub fn write_part(_provider: Provider, body: &[u8], part: &Part, out: &mut Vec<u8>) {
    let Part::Piece(Piece { batch, item }) = part else { return out.extend_from_slice(body) };
    let Some(item) = batch.items.get(*item) else { return };
    let mut copy = |span: Span| out.extend_from_slice(span.of(body));
    let entry = &batch.entries[item.entry];
    copy(batch.around.head);
    let Some(change) = item.change.map(|change| &batch.changes[change]) else {
        copy(entry.whole);
        return copy(batch.around.tail);
    };
    copy(entry.around.head);
    if let Some((list, element)) = item.element {
        copy(change.around.head);
        out.push(b'{');
        for span in &batch.members[change.members.clone()] {
            out.extend_from_slice(span.of(body));
            out.push(b',');
        }
        let contacts = &batch.contacts[item.contacts.clone()];
        if !contacts.is_empty() {
            out.extend_from_slice(b"\"contacts\":[");
            for (i, span) in contacts.iter().enumerate() {
                out.extend_from_slice(if i == 0 { b"" } else { b"," });
                out.extend_from_slice(span.of(body));
            }
            out.extend_from_slice(b"],");
        }
        out.push(b'"');
        out.extend_from_slice(list.as_bytes());
        out.extend_from_slice(b"\":[");
        out.extend_from_slice(element.of(body));
        out.extend_from_slice(b"]}");
        out.extend_from_slice(change.around.tail.of(body));
    } else {
        copy(change.whole);
    }
    out.extend_from_slice(entry.around.tail.of(body));
    out.extend_from_slice(batch.around.tail.of(body));
}

impl Batch {
    /// About what a part takes in bytes.
    fn size(&self, item: &Item) -> usize {
        let around = |around: &Around| around.head.len() + around.tail.len();
        let entry = &self.entries[item.entry];
        let Some(change) = item.change.map(|change| &self.changes[change]) else {
            return around(&self.around) + entry.whole.len();
        };
        let inner = item.element.map_or(change.whole.len(), |(_, element)| {
            let lists = [&self.members[change.members.clone()], &self.contacts[item.contacts.clone()]];
            let lists = lists.into_iter().flatten().map(|span| span.len() + 1).sum::<usize>();
            around(&change.around) + element.len() + lists
        });
        around(&self.around) + around(&entry.around) + inner
    }
}
