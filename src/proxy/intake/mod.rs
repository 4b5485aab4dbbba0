//! What becomes of a webhook: whose it is, whether its sender is who it says, and how it gets to a master.
//!
//! ```text
//! body, whole (hold) ─▶ signature, updates, conversations (open) ─┬─▶ one exchange, as any request        (take)
//!                                                                 └─▶ parcels ─▶ exchanges one by one     (batch)
//! ```
//!
//! Both versions of HTTP come here once a request's body is there, and give the client what they get back.

mod batch;
mod fallback;
pub mod hold;
mod keep;
mod open;
mod record;
mod take;

pub use take::{Taken, Work, take};

use bytes::Bytes;

use crate::exchange::pick::Aim;
use crate::whatsapp::Kind;

/// One update on its way to a master, as a request of its own.
#[derive(Debug)]
struct Parcel<'g> {
    aim: Aim<'g>,
    /// `None`: it belongs to no conversation, and is in nobody's way.
    conversation: Option<u64>,
    /// With the length of the body.
    head: Bytes,
    body: Bytes,
}

/// Whether an update of this kind is one that the route's masters do not want.
fn is_ignored(ignore: &crate::config::model::Ignore, kind: Kind, event: &str) -> bool {
    let by_kind = match kind {
        Kind::Status => ignore.statuses,
        Kind::Own => ignore.own_messages,
        Kind::Message | Kind::Event => false,
    };
    by_kind || ignore.events.iter().any(|unwanted| unwanted == event)
}
