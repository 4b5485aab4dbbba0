//! A batch while its sender waits: in order within a conversation, side by side otherwise.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::Parcel;
use crate::clock;
use crate::exchange::Exchange;
use crate::exchange::local::{Generation, Local};
use crate::exchange::pick::Aim;
use crate::exchange::whole::Whole;
use crate::http::request::Framing;
use crate::upstream::owner::Owner;

/// Conversations of one batch that are delivered side by side.
const SIDE_BY_SIDE_MAX: usize = 16;

/// What is the same for all parts.
#[derive(Debug, Clone)]
pub struct Batch {
    pub local: Rc<Local>,
    pub generation: Rc<Generation>,
    pub upstream: usize,
    pub host_of_master: bool,
    pub idempotent: bool,
    /// For each part.
    pub timeout: Duration,
}

/// A part without what it borrowed.
struct Item {
    account: Allowed,
    owner: Option<Arc<Owner>>,
    aim: Aim<'static>,
    head: Bytes,
    body: Bytes,
}

/// Which set of the upstream's accounts a part is held to.
type Allowed = Option<crate::balance::Set>;

impl Batch {
    /// Delivers all parts. True when a master has answered each of them with 2xx. What failed does not keep other conversations
    /// back; within its own, nothing overtakes it.
    pub async fn deliver(&self, parcels: Vec<Parcel<'_>>) -> bool {
        let mut lines: Vec<Vec<Item>> = Vec::new();
        let mut by_conversation: HashMap<u64, usize> = HashMap::new();
        for parcel in parcels {
            let Parcel { aim, conversation, head, body } = parcel;
            let fixed = Aim { key: aim.key, pin: aim.pin, conversation, preferred: aim.preferred, ..Aim::default() };
            let item = Item { account: aim.allowed.cloned(), owner: aim.owner.cloned(), aim: fixed, head, body };
            let line = conversation.map(|conversation| *by_conversation.entry(conversation).or_insert(lines.len()));
            match line.and_then(|line| lines.get_mut(line)) {
                Some(line) => line.push(item),
                None => lines.push(vec![item]),
            }
        }
        let (mut waiting, mut under_way, mut whole) = (lines.into_iter(), JoinSet::new(), true);
        loop {
            while under_way.len() < SIDE_BY_SIDE_MAX
                && let Some(line) = waiting.next()
            {
                let batch = self.clone();
                under_way.spawn_local(async move { batch.deliver_in_order(line).await });
            }
            match under_way.join_next().await {
                Some(delivered) => whole &= delivered.unwrap_or(false),
                None => return whole,
            }
        }
    }

    async fn deliver_in_order(&self, line: Vec<Item>) -> bool {
        for item in line {
            if !self.deliver_one(&item).await {
                return false;
            }
        }
        true
    }

    async fn deliver_one(&self, item: &Item) -> bool {
        let watch = &self.local.watch;
        let watched = std::future::poll_fn(|cx| Poll::Ready(watch.register(cx.waker().clone()))).await;
        let exchange = Exchange {
            local: &self.local,
            generation: &self.generation,
            upstream: self.upstream,
            watched: &watched,
            head: &item.head,
            framing: Framing::Length(item.body.len() as u64),
            host_of_master: self.host_of_master,
            to_head: false,
            idempotent: self.idempotent,
            once: false,
            aim: Aim { allowed: item.account.as_ref(), owner: item.owner.as_ref(), ..item.aim },
            timeout: self.timeout,
        };
        let mut part = Whole(&item.body);
        let Ok(mut answer) = exchange.run(&mut part).await else { return false };
        let (status, upstream) = (answer.status(), &self.generation.upstreams[self.upstream]);
        if status == 101 {
            answer.reject(upstream);
            return false;
        }
        watched.arm(clock::now().saturating_add(clock::micros(self.timeout)));
        let passed = part.discard(&mut answer, &watched).await;
        answer.settle(passed, upstream);
        (200..300).contains(&status)
    }
}
