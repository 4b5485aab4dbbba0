//! From a webhook whose body is here to what its sender is told.

use std::rc::Rc;

use super::Parcel;
use super::batch::Batch;
use super::fallback::{Fate, forward_or_keep};
use super::keep::{Unkept, keep};
use super::open::{Opened, Sealed};
use crate::config::model::{Delivery, WhatsApp};
use crate::exchange::answer::Answer;
use crate::exchange::local::{Generation, Local};
use crate::exchange::pick::Aim;
use crate::exchange::{Exchange, Failed, Requester, headers};
use crate::http::problem::Problem;
use crate::http::request::Framing;
use crate::net::watch::Watched;
use crate::proxy::http::mirror;
use crate::proxy::http::prepare::{Prepared, Scratch};
use crate::proxy::http::saying::Saying;
use crate::spool::record::Incoming;
use crate::telemetry::hot::{Refusal, RouteRefusal, RouteSlot};
use crate::upstream::connection::Pool;
use crate::whatsapp::Provider;

/// What came of it.
#[derive(Debug)]
pub enum Taken {
    /// A master's answer, to be passed on.
    Answer(Answer),
    Failed(Failed),
    /// Baton's own answer.
    Said {
        saying: Saying,
        counted: Option<Refusal>,
    },
}

/// A request that has a route.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    pub local: &'a Rc<Local>,
    pub generation: &'a Rc<Generation>,
    pub prepared: &'a Prepared,
    pub watched: &'a Watched<Pool>,
    pub scratch: &'a Scratch,
}

impl<'a> Work<'a> {
    /// Its exchange as an ordinary request.
    #[must_use]
    pub fn exchange(&self) -> Exchange<'a> {
        let Self { local, generation, prepared, watched, scratch } = *self;
        Exchange {
            local,
            generation,
            upstream: prepared.upstream,
            watched,
            head: &scratch.head,
            framing: prepared.framing,
            host_of_master: prepared.host_of_master,
            to_head: prepared.to_head,
            idempotent: prepared.idempotent,
            once: false,
            aim: prepared.aim(),
            timeout: prepared.timeout,
        }
    }
}

/// Takes a webhook whose body `requester` has whole.
pub async fn take<R: Requester>(work: &Work<'_>, requester: &mut R) -> Taken {
    match &work.generation.snapshot.config.routes[work.prepared.route].whatsapp {
        None => forward(work, work.prepared.aim(), requester).await,
        // Boxed, for other requests are not to be as large.
        Some(rules) => Box::pin(take_webhook(work, rules, requester)).await,
    }
}

async fn take_webhook<R: Requester>(work: &Work<'_>, rules: &WhatsApp, requester: &mut R) -> Taken {
    let Work { generation, prepared, scratch, .. } = *work;
    let delivery = generation.snapshot.config.routes[prepared.route].delivery;
    let body = requester.whole_body().unwrap_or_default();
    let sealed = Sealed { rules, prepared, delivery, proof: &scratch.proof, head: &scratch.head, body };
    match sealed.open(generation) {
        Opened::Forged => {
            if let Some(counters) = generation.guarded(prepared.route) {
                counters.increment(RouteSlot::Refused(RouteRefusal::BadSignature));
            }
            let problem = Problem::new(401, "the signature of this webhook is missing or wrong");
            Taken::Said { saying: Saying::Problem(problem), counted: Some(Refusal::BadSignature) }
        }
        Opened::Limited(turned) => {
            let (counted, reason) = turned.counted();
            if let Some(counters) = generation.guarded(prepared.route) {
                counters.increment(RouteSlot::Refused(reason));
            }
            Taken::Said { saying: Saying::Problem(turned.problem()), counted: Some(counted) }
        }
        Opened::Ignored => accepted(rules.provider),
        // What is not stored is not to be answered for.
        _ if delivery != Delivery::Inline && generation.snapshot.spool.is_none() => unkept(Unkept::Failed),
        Opened::Stored(messages) => {
            messages.iter().for_each(|message| mirror_stored(work, message));
            store(work, rules.provider, messages).await
        }
        Opened::WholeOrStored(aim, message) => {
            let (Delivery::InlineThenSpool { after }, Some(spool)) = (delivery, &generation.snapshot.spool) else {
                return unkept(Unkept::Failed);
            };
            mirror_stored(work, &message);
            match forward_or_keep(work, spool, aim, *message, after, requester).await {
                Fate::Delivered(answer) => Taken::Answer(answer),
                Fate::Accepted => accepted(rules.provider),
                Fate::Unkept(why) => unkept(why),
            }
        }
        Opened::Whole(aim) => forward(work, aim, requester).await,
        Opened::Split(parcels) => {
            for Parcel { head, body, .. } in &parcels {
                let framing = Framing::Length(body.len() as u64);
                mirror::offer(work.local, generation, prepared, head, framing, Some(body));
            }
            let batch = Batch {
                local: work.local.clone(),
                generation: generation.clone(),
                upstream: prepared.upstream,
                host_of_master: prepared.host_of_master,
                idempotent: prepared.idempotent,
                timeout: prepared.timeout,
            };
            if batch.deliver(parcels).await {
                return accepted(rules.provider);
            }
            let detail = "not every update of this webhook could be delivered";
            let saying = Saying::Problem(Problem::new(503, detail).retry_after(1));
            Taken::Said { saying, counted: None }
        }
    }
}

/// Copies a message to the route's mirror, as its master will get it.
fn mirror_stored(work: &Work<'_>, message: &Incoming) {
    if work.generation.snapshot.config.routes[work.prepared.route].passage.mirror.is_none() {
        return;
    }
    let framing = Framing::Length(message.body.len() as u64);
    let mut head = Vec::with_capacity(message.head.len() + 32);
    headers::write_framed(&message.head, None, framing, &mut head);
    mirror::offer(work.local, work.generation, work.prepared, &head, framing, Some(&message.body));
}

async fn store(work: &Work<'_>, provider: Provider, messages: Vec<Incoming>) -> Taken {
    let Some(spool) = &work.generation.snapshot.spool else { return unkept(Unkept::Failed) };
    match keep(work, spool, messages).await {
        Ok(()) => accepted(provider),
        Err(why) => unkept(why),
    }
}

fn unkept(why: Unkept) -> Taken {
    let (problem, counted) = match why {
        Unkept::Full { retry_after } => {
            let problem = Problem::new(503, "there is no room for more messages here");
            (problem.retry_after(retry_after.as_secs().max(1)), Refusal::SpoolFull)
        }
        Unkept::Failed | Unkept::Closed => {
            (Problem::new(503, "messages cannot be stored here now").retry_after(5), Refusal::SpoolFailed)
        }
    };
    Taken::Said { saying: Saying::Problem(problem), counted: Some(counted) }
}

fn accepted(provider: Provider) -> Taken {
    Taken::Said { saying: Saying::Accepted { twiml: provider == Provider::Twilio }, counted: None }
}

/// Makes the exchange that any request makes.
async fn forward<R: Requester>(work: &Work<'_>, aim: Aim<'_>, requester: &mut R) -> Taken {
    let mut exchange = Exchange { aim, ..work.exchange() };
    let body = requester.whole_body();
    let mut framed = Vec::new();
    if exchange.framing == Framing::Chunked
        && let Some(body) = body
    {
        // Some bots refuse chunked bodies, and read those of some servers as empty.
        exchange.framing = Framing::Length(body.len() as u64);
        headers::write_framed(exchange.head, None, exchange.framing, &mut framed);
        exchange.head = &framed;
    }
    mirror::offer(work.local, work.generation, work.prepared, exchange.head, exchange.framing, body);
    match exchange.run(requester).await {
        Ok(answer) => Taken::Answer(answer),
        Err(failed) => Taken::Failed(failed),
    }
}
