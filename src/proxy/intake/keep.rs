//! Messages are stored, and their sender waits for it.

use std::time::Duration;

use crate::clock;
use crate::net::watch::Watched;
use crate::spool::Spool;
use crate::spool::record::Incoming;
use crate::spool::store::{Accepted, Refused};
use crate::spool::turns::Turns;
use crate::upstream::connection::Pool;

/// The longest wait for a commit. A disk that takes longer is as good as none to a sender, who will come again.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why messages were not stored, for all that is known.
#[derive(Debug, Clone, Copy)]
pub enum Unkept {
    /// There is no room.
    Full { retry_after: Duration },
    /// The store has failed, is closed, or takes too long.
    Failed,
}

/// Marks that these are going to be stored, so that nothing of their conversations overtakes them. To be followed by [`keep`].
pub fn storing(spool: &Spool, messages: &[Incoming]) {
    messages.iter().filter(|message| message.ordered).for_each(|message| spool.turns.storing(message.conversation));
}

/// Stores all of them. Those that came before count as stored. When this is given up, they may be stored all the same.
///
/// # Errors
/// [`Unkept`], and none of them may be answered for.
pub async fn keep(spool: &Spool, messages: Vec<Incoming>, watched: &Watched<Pool>) -> Result<(), Unkept> {
    let conversations: Vec<Option<u64>> =
        messages.iter().map(|message| message.ordered.then_some(message.conversation)).collect();
    let mut answer = match spool.store.accept(messages) {
        Ok(answer) => answer,
        Err(refused) => {
            let why = unkept(&refused);
            unmark(&spool.turns, &conversations, &Err(refused));
            return Err(why);
        }
    };
    watched.arm(clock::now().saturating_add(clock::micros(COMMIT_TIMEOUT)));
    match watched.guard(&mut answer).await {
        Ok(Ok(outcome)) => {
            unmark(&spool.turns, &conversations, &outcome);
            outcome.map(drop).map_err(|refused| unkept(&refused))
        }
        // The store has failed: nothing is forwarded or stored any more.
        Ok(Err(_)) => Err(Unkept::Failed),
        Err(_) => {
            // Nobody waits for it any longer, but conversations must not wait for what was never stored.
            let turns = spool.turns.clone();
            tokio::task::spawn_local(async move {
                if let Ok(outcome) = answer.await {
                    unmark(&turns, &conversations, &outcome);
                }
            });
            Err(Unkept::Failed)
        }
    }
}

/// Takes the marks of [`storing`] back for what was not stored. What was is unmarked by who delivers it.
fn unmark(turns: &Turns, conversations: &[Option<u64>], outcome: &Result<Vec<Accepted>, Refused>) {
    for (position, conversation) in conversations.iter().enumerate() {
        let stored = outcome.as_ref().is_ok_and(|each| each.get(position) == Some(&Accepted::Stored));
        if let (Some(conversation), false) = (conversation, stored) {
            turns.settled(*conversation);
        }
    }
}

fn unkept(refused: &Refused) -> Unkept {
    match refused {
        Refused::Full { retry_after, .. } => Unkept::Full { retry_after: *retry_after },
        Refused::Failed(_) | Refused::Closed => Unkept::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_stored_keeps_its_conversation_waiting() {
        let turns = Turns::new(16, || {});
        let conversations = [Some(1), Some(2), None, Some(3)];
        let mark = || conversations.iter().flatten().for_each(|conversation| turns.storing(*conversation));
        let waiting = || [1, 2, 3].map(|conversation| turns.take(conversation).is_none());
        mark();
        let each = [Accepted::Stored, Accepted::Duplicate, Accepted::Stored, Accepted::Stored];
        unmark(&turns, &conversations, &Ok(each.to_vec()));
        assert_eq!(waiting(), [true, false, true]);
        mark();
        unmark(&turns, &conversations, &Err(Refused::Closed));
        // Those stored before go on waiting.
        assert_eq!(waiting(), [true, false, true]);
    }
}
