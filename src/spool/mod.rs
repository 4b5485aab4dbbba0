//! Messages that Baton has answered for: kept on disk until a master has taken them.
//!
//! ```text
//! worker ─▶ store (commit) ─▶ 200                       store ─▶ dispatch: schedule ─▶ exchange ─▶ master
//!    └───▶ turns, claims (where it is forwarded at once)   ▲─────── settlement ◀──────────┘
//! ```

pub mod claims;
mod codec;
pub mod dispatch;
pub mod joins;
pub mod record;
pub mod relay;
pub mod schedule;
pub mod store;
pub mod turns;

use std::sync::Arc;

use record::Incoming;
use store::{Accepted, Refused, RowChange, Rows};

use crate::clock;

/// What workers have of it; cheap to copy.
#[derive(Debug, Clone)]
pub struct Spool {
    pub store: store::Store,
    pub turns: Arc<turns::Turns>,
    pub claims: Arc<claims::Claims>,
    pub joins: Arc<joins::Joins>,
}

impl Spool {
    /// Conversations have turned out to be another one. Whether something of them comes before what is said in that one next, which
    /// then has to be stored.
    #[must_use]
    pub fn join(&self, ended: &[u64], into: u64) -> bool {
        let waited_for: Vec<u64> = ended.iter().copied().filter(|ended| self.turns.is_waited_for(*ended)).collect();
        if waited_for.is_empty() {
            return false;
        }
        // On disk before what comes next is: a start in between must not take them for two.
        let row = |key: &u64| RowChange { key: *key, row: Some(joins::row(clock::unix_millis(), into)) };
        let _ = self.store.put_rows(Rows::Aliases, waited_for.iter().map(row).collect());
        waited_for.iter().for_each(|ended| self.joins.push((*ended, into)));
        true
    }

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
