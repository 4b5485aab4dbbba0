//! Messages that Baton has answered for: kept on disk until a master has taken them.
//!
//! ```text
//! worker ─▶ store (commit) ─▶ 200                       store ─▶ dispatch: schedule ─▶ exchange ─▶ master
//!    └───▶ turns, claims (where it is forwarded at once)   ▲─────── settlement ◀──────────┘
//! ```

pub mod claims;
mod codec;
pub mod dispatch;
pub mod record;
pub mod relay;
pub mod schedule;
pub mod store;
pub mod turns;

use std::sync::Arc;

use record::Incoming;
use store::{Accepted, Refused};

/// What workers have of it; cheap to copy.
#[derive(Debug, Clone)]
pub struct Spool {
    pub store: store::Store,
    pub turns: Arc<turns::Turns>,
    pub claims: Arc<claims::Claims>,
}

impl Spool {
    /// Marks that these are going to be stored, so that nothing of their conversations overtakes them.
    pub fn storing(&self, messages: &[Incoming]) {
        messages.iter().filter(|message| message.ordered).for_each(|message| self.turns.storing(message.conversation));
    }

    /// Takes the marks of [`Spool::storing`] back for what was not stored. What was is unmarked by who delivers it.
    pub fn unmark(&self, messages: &[Incoming], outcome: &Result<Vec<Accepted>, Refused>) {
        for (position, message) in messages.iter().enumerate() {
            let stored = outcome.as_ref().is_ok_and(|each| each.get(position) == Some(&Accepted::Stored));
            if message.ordered && !stored {
                self.turns.settled(message.conversation);
            }
        }
    }

    /// Stores messages, and waits for it. Not cancel-safe: what is given up may be stored, and stays marked.
    ///
    /// # Errors
    /// Why none of them is stored.
    pub async fn take_in(&self, messages: &[Incoming]) -> Result<(), Refused> {
        self.storing(messages);
        let outcome = match self.store.accept(messages) {
            // The thread ends without an answer only where it cannot go on.
            Ok(answer) => answer.await.unwrap_or(Err(Refused::Closed)),
            Err(refused) => Err(refused),
        };
        self.unmark(messages, &outcome);
        outcome.map(drop)
    }
}
