//! A message that the masters have for a while before it is stored.
//!
//! Two things keep it in order and single. The conversation's turn ([`crate::spool::turns`]): while another message of it is
//! under way or stored, this one is stored behind it. And the claim on its id ([`crate::spool::claims`]): a copy that comes
//! meanwhile waits for what becomes of the first.

use std::time::Duration;

use super::keep::{Unkept, keep, note_seen};
use super::take::Work;
use crate::exchange::answer::Answer;
use crate::exchange::pick::Aim;
use crate::exchange::{Exchange, Requester};
use crate::spool::Spool;
use crate::spool::claims::{Claim, Claimed};
use crate::spool::record::Incoming;

/// Times that a copy waits for another one; each of these has failed, and was not stored.
const CLAIMS_MAX: usize = 3;

/// What came of it.
#[derive(Debug)]
pub enum Fate {
    /// A master has taken it, and this is its answer.
    Delivered(Answer),
    /// It is stored, or came before.
    Accepted,
    Unkept(Unkept),
}

/// Lets the masters have it for `after`, and stores what none of them takes.
pub async fn forward_or_keep<R: Requester>(
    work: &Work<'_>,
    spool: &Spool,
    aim: Aim<'_>,
    mut message: Incoming,
    after: Duration,
    requester: &mut R,
) -> Fate {
    if spool.store.is_closed() {
        // Who has the store knows whether others of the conversation come first.
        return kept(work, spool, message).await;
    }
    let claimed = match claim(spool, message.id, after).await {
        Ok(claimed) => claimed,
        Err(Copy::Accepted) => return Fate::Accepted,
        // The store tells copies apart as well.
        Err(Copy::Undecided) => return kept(work, spool, message).await,
    };
    let turn = message.ordered.then(|| spool.turns.take(message.conversation));
    if let Some(None) = turn {
        return kept(work, spool, message).await;
    }
    let exchange = work.exchange();
    // One master at most: what ends without an answer may be what ended it, and is counted from then on.
    let exchange = Exchange { aim, once: true, timeout: exchange.timeout.min(after), ..exchange };
    match exchange.run(requester).await {
        Ok(answer) if (200..300).contains(&answer.status()) => {
            note_seen(work, spool, message.id.into_iter().collect());
            drop((claimed, turn));
            Fate::Delivered(answer)
        }
        outcome => {
            match outcome {
                Ok(answer) => answer.recycle(&work.generation.upstreams[work.prepared.upstream]),
                Err(failed) => message.maybe_delivered = failed.sent,
            }
            // The turn is held until this one counts as stored: nothing may be forwarded before it.
            kept(work, spool, message).await
        }
    }
}

async fn kept(work: &Work<'_>, spool: &Spool, message: Incoming) -> Fate {
    match keep(work, spool, vec![message]).await {
        Ok(()) => Fate::Accepted,
        Err(why) => Fate::Unkept(why),
    }
}

/// Why a message is not claimed.
enum Copy {
    /// It came before.
    Accepted,
    /// Too many are claimed, or copies of this one keep failing.
    Undecided,
}

/// Claims an id, behind whoever has it; a message without one cannot be told from a copy.
async fn claim(spool: &Spool, id: Option<u128>, patience: Duration) -> Result<Option<Claimed<'_>>, Copy> {
    let Some(id) = id else { return Ok(None) };
    for _ in 0..CLAIMS_MAX {
        match spool.claims.claim(id) {
            // Looked up under the claim: whoever had it has noted the id by now, or failed.
            Claim::Mine(_) if spool.store.seen(id) => return Err(Copy::Accepted),
            Claim::Mine(claimed) => return Ok(Some(claimed)),
            Claim::Taken(ended) => {
                ended.within(patience).await;
            }
            Claim::Full => break,
        }
    }
    Err(Copy::Undecided)
}
