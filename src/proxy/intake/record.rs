//! An update as it is stored.

use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::open::Sealed;
use crate::exchange::headers;
use crate::http::request::Framing;
use crate::spool::record::Incoming;
use crate::spool::store::Store;
use crate::whatsapp::{Kind, Part, Update, country};

/// Makes the records of one webhook.
#[derive(Debug)]
pub struct Keeper<'g> {
    pub store: &'g Store,
    pub route: Arc<str>,
    pub upstream: Arc<str>,
}

impl Keeper<'_> {
    /// Of an update.
    pub fn update(&self, sealed: &Sealed<'_>, update: &Update<'_>, conversation: Option<u64>) -> Incoming {
        let (head, body) = match update.part {
            Part::Whole => whole(sealed),
            _ => sealed.part(update, false),
        };
        let account = update.account.as_deref().unwrap_or_default();
        let id = update.id.as_ref().map(|id| id.hash(&[&self.route, account]));
        Incoming { head, body, id, ..self.described(Some(update), conversation) }
    }

    /// Of a body that is not, or cannot be, told apart: a copy of it has the same bytes.
    pub fn body(&self, sealed: &Sealed<'_>, first: Option<&Update<'_>>, conversation: Option<u64>) -> Incoming {
        let mut same = Xxh3::new();
        same.update(self.route.as_bytes());
        same.update(sealed.body);
        let (head, body) = whole(sealed);
        Incoming { head, body, id: Some(same.digest128()), ..self.described(first, conversation) }
    }

    fn described(&self, update: Option<&Update<'_>>, conversation: Option<u64>) -> Incoming {
        let account = update.and_then(|update| update.account.as_deref());
        let message_id = update.and_then(|update| update.id.as_ref()).map_or("", |id| &id.message);
        Incoming {
            seq: self.store.next_seq(),
            id: None,
            conversation: conversation.unwrap_or_default(),
            route: self.route.clone(),
            upstream: self.upstream.clone(),
            account: account.map(Box::from),
            country: update.and_then(country::country_of),
            message_id: message_id.into(),
            kind: update.map_or(Kind::Event, |update| update.kind),
            event: update.map_or("", |update| &update.event).into(),
            preferred: update.and_then(|update| update.master.as_deref()).map(Box::from),
            head: Bytes::new(),
            body: Bytes::new(),
            maybe_delivered: false,
            ordered: conversation.is_some(),
        }
    }
}

/// Head, without framing, and body as they came.
fn whole(sealed: &Sealed<'_>) -> (Bytes, Bytes) {
    let mut head = Vec::with_capacity(sealed.head.len());
    headers::write_framed(sealed.head, None, Framing::None, &mut head);
    (head.into(), Bytes::copy_from_slice(sealed.body))
}
