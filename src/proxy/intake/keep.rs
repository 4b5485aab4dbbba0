//! Messages are stored, and their sender waits for it.

use std::time::Duration;

use super::take::Work;
use crate::clock;
use crate::net::watch::Watched;
use crate::spool::Spool;
use crate::spool::record::Incoming;
use crate::spool::relay::{self, Outcome};
use crate::spool::store::Refused;
use crate::upstream::connection::Pool;

/// The longest wait for a commit. A disk that takes longer is as good as none to a sender, who will come again.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two looks for where the store is, while it goes from one process to another.
const MOVING: Duration = Duration::from_millis(20);

/// Why messages were not stored, for all that is known.
#[derive(Debug, Clone, Copy)]
pub enum Unkept {
    /// There is no room.
    Full { retry_after: Duration },
    /// The store is closed: another process may have it.
    Closed,
    /// The store has failed, or takes too long.
    Failed,
}

/// Stores all of them, here or where the store has gone. Those that came before count as stored. When this is given up, they
/// may be stored all the same.
///
/// # Errors
/// [`Unkept`], and none of them may be answered for.
pub async fn keep(work: &Work<'_>, spool: &Spool, messages: Vec<Incoming>) -> Result<(), Unkept> {
    work.watched.arm(clock::now().saturating_add(clock::micros(COMMIT_TIMEOUT)));
    match keep_here(spool, &messages, work.watched).await {
        Err(Unkept::Closed) => keep_elsewhere(work, messages).await,
        outcome => outcome,
    }
}

async fn keep_here(spool: &Spool, messages: &[Incoming], watched: &Watched<Pool>) -> Result<(), Unkept> {
    spool.storing(messages);
    let mut answer = match spool.store.accept(messages) {
        Ok(answer) => answer,
        Err(refused) => {
            let why = unkept(&refused);
            spool.unmark(messages, &Err(refused));
            return Err(why);
        }
    };
    match watched.guard(&mut answer).await {
        Ok(Ok(outcome)) => {
            spool.unmark(messages, &outcome);
            outcome.map(drop).map_err(|refused| unkept(&refused))
        }
        // It came too late for a store that was closed.
        Ok(Err(_)) if spool.store.is_closed() => {
            spool.unmark(messages, &Err(Refused::Closed));
            Err(Unkept::Closed)
        }
        // The store has failed: nothing is forwarded or stored any more.
        Ok(Err(_)) => Err(Unkept::Failed),
        Err(_) => {
            // Nobody waits for it any longer, but conversations must not wait for what was never stored.
            let (spool, messages) = (spool.clone(), messages.to_vec());
            tokio::task::spawn_local(async move {
                if let Ok(outcome) = answer.await {
                    spool.unmark(&messages, &outcome);
                }
            });
            Err(Unkept::Failed)
        }
    }
}

/// Has them stored by the process that has the store by now, or here once it has come back: an upgrade may come to nothing.
async fn keep_elsewhere(work: &Work<'_>, mut messages: Vec<Incoming>) -> Result<(), Unkept> {
    loop {
        let present = work.local.generation().snapshot.spool.clone();
        if let Some(spool) = present.filter(|spool| !spool.store.is_closed()) {
            // Numbers are each store's own.
            messages.iter_mut().for_each(|message| message.seq = spool.store.next_seq());
            match keep_here(&spool, &messages, work.watched).await {
                Err(Unkept::Closed) => {}
                outcome => return outcome,
            }
        }
        let state = &work.generation.snapshot.config.state_path;
        match work.watched.guard(relay::store(state, &messages)).await {
            Ok(Ok(Outcome::Stored)) => return Ok(()),
            Ok(Ok(Outcome::Full { retry_after })) => return Err(Unkept::Full { retry_after }),
            Ok(Ok(Outcome::Failed)) | Err(_) => return Err(Unkept::Failed),
            // Nobody is there yet, or any more.
            Ok(Err(_)) => {}
        }
        if work.watched.guard(tokio::time::sleep(MOVING)).await.is_err() {
            return Err(Unkept::Failed);
        }
    }
}

/// Remembers messages that a master has taken, wherever the store is.
pub fn note_seen(work: &Work<'_>, spool: &Spool, ids: Vec<u128>) {
    if !spool.store.is_closed() {
        return spool.store.note_seen(ids);
    }
    let state = work.generation.snapshot.config.state_path.clone();
    tokio::task::spawn_local(async move {
        if let Err(error) = relay::note_seen(&state, &ids).await {
            tracing::warn!("a copy of what was just delivered will be delivered again: {error}");
        }
    });
}

fn unkept(refused: &Refused) -> Unkept {
    match refused {
        Refused::Full { retry_after, .. } => Unkept::Full { retry_after: *retry_after },
        Refused::Closed => Unkept::Closed,
        Refused::Failed(_) => Unkept::Failed,
    }
}
