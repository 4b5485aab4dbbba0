//! Copies of requests for a second upstream, whose answers nobody gets.
//!
//! A copy is a task of its own and shares nothing with the request but its bytes: it can neither delay nor fail it, and what
//! its masters do is charged in their own upstream alone. What cannot be copied within bounds is counted and left out: a
//! body that was not received whole before the request went on, and whatever comes while enough copies are under way.

use std::rc::Rc;
use std::task::Poll;

use super::prepare::Prepared;
use crate::clock;
use crate::config::model::Mirror;
use crate::exchange::Exchange;
use crate::exchange::local::{Generation, Local};
use crate::exchange::whole::Whole;
use crate::http::request::Framing;
use crate::telemetry::hot::{MirrorOutcome, UpstreamSlot};

/// Copies of one worker under way. With a head and a body of at most 64 KiB each they take at most 8 MiB.
pub const COPIES_MAX: usize = 64;

/// A copy under way.
struct Copy {
    local: Rc<Local>,
    generation: Rc<Generation>,
    upstream: usize,
    head: Vec<u8>,
    framing: Framing,
    body: Vec<u8>,
    prepared: Prepared,
}

/// Sends a copy if the route wants one of this request. `head` is what its master gets, `body` all of its body, `None` when
/// that is not here. Does not wait.
pub fn offer(
    local: &Rc<Local>,
    generation: &Rc<Generation>,
    prepared: &Prepared,
    head: &[u8],
    framing: Framing,
    body: Option<&[u8]>,
) {
    let route = &generation.snapshot.config.routes[prepared.route];
    let Some(Mirror { upstream, percent }) = route.passage.mirror else { return };
    // The bias of the remainder is far below what anybody could measure.
    if prepared.upgrade || local.random() % 100 >= u64::from(percent) {
        return;
    }
    let count = |outcome| generation.upstreams[upstream].counters.increment(UpstreamSlot::Mirrored(outcome));
    let Some(body) = body else { return count(MirrorOutcome::BodyTooLarge) };
    if local.copies.get() >= COPIES_MAX {
        return count(MirrorOutcome::Busy);
    }
    local.copies.set(local.copies.get() + 1);
    let mut marked = Vec::with_capacity(head.len() + 96);
    marked.extend_from_slice(head.strip_suffix(b"\r\n").unwrap_or(head));
    for part in ["X-Baton-Mirror: ", &route.name, "\r\n\r\n"] {
        marked.extend_from_slice(part.as_bytes());
    }
    let copy = Copy {
        local: local.clone(),
        generation: generation.clone(),
        upstream,
        head: marked,
        framing,
        body: body.to_vec(),
        prepared: prepared.clone(),
    };
    tokio::task::spawn_local(async move {
        let outcome = copy.send().await;
        copy.generation.upstreams[upstream].counters.increment(UpstreamSlot::Mirrored(outcome));
    });
}

impl Copy {
    async fn send(&self) -> MirrorOutcome {
        let watch = &self.local.watch;
        let watched = std::future::poll_fn(|cx| Poll::Ready(watch.register(cx.waker().clone()))).await;
        let exchange = Exchange {
            local: &self.local,
            generation: &self.generation,
            upstream: self.upstream,
            watched: &watched,
            head: &self.head,
            framing: self.framing,
            host_of_master: self.prepared.host_of_master,
            to_head: self.prepared.to_head,
            idempotent: self.prepared.idempotent,
            once: false,
            aim: self.prepared.aim(),
            timeout: self.prepared.timeout,
        };
        let mut copy = Whole(&self.body);
        let Ok(mut answer) = exchange.run(&mut copy).await else { return MirrorOutcome::Failed };
        let upstream = &self.generation.upstreams[self.upstream];
        if answer.status() == 101 {
            answer.reject(upstream);
            return MirrorOutcome::Failed;
        }
        watched.arm(clock::now().saturating_add(clock::micros(self.prepared.timeout)));
        let passed = copy.discard(&mut answer, &watched).await;
        answer.settle(passed, upstream);
        MirrorOutcome::Answered
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.local.copies.set(self.local.copies.get() - 1);
    }
}
