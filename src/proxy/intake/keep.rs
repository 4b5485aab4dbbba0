//! Messages are stored, and their sender waits for it.

use std::time::Duration;

use crate::clock;
use crate::net::watch::Watched;
use crate::spool::Spool;
use crate::spool::record::Incoming;
use crate::spool::store::{Accepted, Refused};
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
    let settled = |conversation: &Option<u64>| {
        if let Some(conversation) = conversation {
            spool.turns.settled(*conversation);
        }
    };
    let answer = match spool.store.accept(messages) {
        Ok(answer) => answer,
        Err(refused) => {
            conversations.iter().for_each(settled);
            return Err(unkept(&refused));
        }
    };
    watched.arm(clock::now().saturating_add(clock::micros(COMMIT_TIMEOUT)));
    match watched.guard(answer).await {
        Ok(Ok(Ok(each))) => {
            // The rest is settled by who delivers it.
            let copies = conversations.iter().zip(each).filter(|(_, what)| *what == Accepted::Duplicate);
            copies.for_each(|(conversation, _)| settled(conversation));
            Ok(())
        }
        Ok(Ok(Err(refused))) => {
            conversations.iter().for_each(settled);
            Err(unkept(&refused))
        }
        // Nobody knows; a conversation that waits in vain is stored until the next start, which loses nothing.
        Ok(Err(_)) | Err(_) => Err(Unkept::Failed),
    }
}

fn unkept(refused: &Refused) -> Unkept {
    match refused {
        Refused::Full { retry_after, .. } => Unkept::Full { retry_after: *retry_after },
        Refused::Failed(_) | Refused::Closed => Unkept::Failed,
    }
}
