//! One delivery: a stored message as a request of its own, and what its exchange says about it.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::balance::{Key, Place};
use crate::clock;
use crate::config::model::{AffinityKey, HostRewrite};
use crate::exchange::local::{Generation, Local};
use crate::exchange::pick::Aim;
use crate::exchange::whole::Whole;
use crate::exchange::{End, Exchange, Failed};
use crate::http::request::Framing;
use crate::http::response::write_decimal;
use crate::snapshot::Takers;
use crate::spool::record::{Attempt, Ending, Incoming, Record};
use crate::spool::schedule::{Delivery, Outcome};
use crate::whatsapp::Kind;

/// For a message whose route is not configured any more.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What is waited for the rest of an answer whose status is known. Nobody reads it; it is only that the connection can be used
/// again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Header fields that say what is known only here; nobody else's are passed on.
const OWN_FIELDS: [&str; 5] =
    ["content-length", "transfer-encoding", "idempotency-key", "baton-attempt", "baton-redelivery"];

/// A message on its way.
#[derive(Debug)]
pub struct Parcel {
    pub local: Rc<Local>,
    pub generation: Rc<Generation>,
    /// Position in the generation.
    pub upstream: usize,
    pub delivery: Delivery,
    pub record: Record,
}

/// How it ended.
#[derive(Debug)]
pub struct Delivered {
    pub outcome: Outcome,
    /// For the message's history; `None` where there is nothing to remember.
    pub attempt: Option<Attempt>,
    /// Name of the last master tried.
    pub master: Option<Box<str>>,
}

impl Parcel {
    /// Delivers it. Dropped in between, it may have been.
    pub async fn deliver(&self) -> Delivered {
        let message = &self.record.message;
        let mut head = Vec::with_capacity(message.head.len() + 192);
        write_head(&self.record, &self.delivery, &mut head);
        let config = &self.generation.snapshot.config;
        let route = config.routes.iter().find(|route| *route.name == *message.route);
        let rewrite = route.and_then(|route| route.passage.rewrite.as_ref());
        let timeout = route.map_or(TIMEOUT, |route| route.timeout);
        let watch = &self.local.watch;
        let watched = std::future::poll_fn(|cx| Poll::Ready(watch.register(cx.waker().clone()))).await;
        let exchange = Exchange {
            local: &self.local,
            generation: &self.generation,
            upstream: self.upstream,
            watched: &watched,
            head: &head,
            framing: Framing::Length(message.body.len() as u64),
            host_of_master: rewrite.is_some_and(|rewrite| rewrite.host == Some(HostRewrite::Master)),
            to_head: false,
            idempotent: false,
            once: true,
            aim: self.aim(),
            timeout,
        };
        let mut whole = Whole(&message.body);
        match exchange.run(&mut whole).await {
            Ok(mut answer) => {
                let (status, master) = (answer.status(), answer.master);
                let upstream = &self.generation.upstreams[self.upstream];
                if status == 101 {
                    answer.reject(upstream);
                } else {
                    watched.arm(clock::now().saturating_add(clock::micros(ANSWER_TIMEOUT)));
                    let passed = whole.discard(&mut answer, &watched).await;
                    answer.settle(passed, upstream);
                }
                self.answered(status, master)
            }
            Err(failed) => self.failed(failed),
        }
    }

    fn answered(&self, status: u16, master: usize) -> Delivered {
        if (200..300).contains(&status) {
            return Delivered { outcome: Outcome::Delivered, attempt: None, master: self.name(Some(master)) };
        }
        self.ended(Outcome::Failed, Ending::Status(status), Some(master))
    }

    fn failed(&self, Failed { end, master, sent, .. }: Failed) -> Delivered {
        match end {
            // It never will be sayable there.
            End::NotInHttp2 => self.ended(Outcome::Failed, Ending::Reset, master),
            _ if !sent => Delivered { outcome: Outcome::NotSent, attempt: None, master: self.name(master) },
            End::Timeout => self.ended(Outcome::Broken, Ending::TimedOut, master),
            _ => self.ended(Outcome::Broken, Ending::Reset, master),
        }
    }

    fn ended(&self, outcome: Outcome, ending: Ending, master: Option<usize>) -> Delivered {
        let master = self.name(master);
        let attempt = Attempt { at: clock::unix_millis(), master: master.clone().unwrap_or_default(), ending };
        Delivered { outcome, attempt: Some(attempt), master }
    }

    fn name(&self, master: Option<usize>) -> Option<Box<str>> {
        let masters = &self.generation.upstreams[self.upstream].shared.settings.masters;
        master.and_then(|master| masters.get(master)).map(|master| master.name.as_str().into())
    }

    /// Where it is to go: as its webhook would have, had it been forwarded at once.
    fn aim(&self) -> Aim<'_> {
        let Incoming { account, country, kind, preferred, .. } = &self.record.message;
        let upstream = &*self.generation.upstreams[self.upstream].shared;
        let by_conversation =
            upstream.settings.affinity.as_ref().is_some_and(|affinity| affinity.key == AffinityKey::Conversation);
        let pin = self.delivery.conversation.filter(|_| by_conversation);
        let place = country.and_then(|country| Place::parse(Some(&country), None));
        let Takers { allowed, owner } = upstream.takers(account.as_deref(), *kind == Kind::Event);
        Aim {
            key: Key { hash: pin, client: None, place },
            pin,
            conversation: self.delivery.conversation,
            allowed,
            owner,
            preferred: preferred.as_deref().and_then(|name| upstream.position_of(name)),
        }
    }
}

/// The stored head with what only the delivery knows.
fn write_head(record: &Record, delivery: &Delivery, out: &mut Vec<u8>) {
    let message = &record.message;
    let head = message.head.strip_suffix(b"\r\n").unwrap_or(&message.head);
    let is_own = |line: &&[u8]| {
        OWN_FIELDS.iter().any(|name| {
            line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
                && line.get(name.len()) == Some(&b':')
        })
    };
    head.split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !is_own(line))
        .for_each(|line| out.extend_from_slice(line));
    out.extend_from_slice(b"Content-Length: ");
    write_decimal(message.body.len() as u64, out);
    // Where nothing tells a message from its copy, number and time tell it from every other.
    let id = message.id.unwrap_or(u128::from(record.accepted) << 64 | u128::from(message.seq));
    out.extend_from_slice(b"\r\nIdempotency-Key: ");
    out.extend_from_slice(format!("{id:032x}").as_bytes());
    out.extend_from_slice(b"\r\nBaton-Attempt: ");
    write_decimal(u64::from(delivery.attempt), out);
    out.extend_from_slice(b"\r\n");
    if delivery.ambiguous {
        out.extend_from_slice(b"Baton-Redelivery: possible\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn head(of: &[u8], id: Option<u128>, ambiguous: bool) -> String {
        let message = Incoming {
            seq: 7,
            id,
            conversation: 1,
            route: "r".into(),
            upstream: "u".into(),
            account: None,
            country: None,
            message_id: "".into(),
            kind: Kind::Message,
            event: "".into(),
            preferred: None,
            head: Bytes::copy_from_slice(of),
            body: Bytes::from_static(b"{\"a\":1}"),
            maybe_delivered: false,
            ordered: true,
        };
        let delivery = Delivery { seq: 7, conversation: Some(1), lane: 0, attempt: 2, ambiguous };
        let mut out = Vec::new();
        write_head(&Record { accepted: 5, message }, &delivery, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_delivery_says_its_length_its_key_and_its_attempt() {
        let written = head(b"POST / HTTP/1.1\r\nHost: a\r\nX-Signature: s\r\n\r\n", Some(0xabc), true);
        assert_eq!(
            written,
            "POST / HTTP/1.1\r\nHost: a\r\nX-Signature: s\r\nContent-Length: 7\r\n\
             Idempotency-Key: 00000000000000000000000000000abc\r\nBaton-Attempt: 2\r\nBaton-Redelivery: possible\r\n\r\n"
        );
    }

    #[test]
    fn what_a_gateway_says_in_these_fields_is_left_out() {
        let written = head(
            b"POST / HTTP/1.1\r\nbaton-attempt: 9\r\nBaton-Redelivery: no\r\nIDEMPOTENCY-KEY: x\r\nBaton-Attempts: 1\r\n\r\n",
            Some(1),
            false,
        );
        assert!(written.starts_with("POST / HTTP/1.1\r\nBaton-Attempts: 1\r\nContent-Length: 7\r\n"), "{written}");
        assert!(!written.contains("Redelivery"));
    }

    #[test]
    fn a_message_without_an_id_has_a_key_nevertheless() {
        let written = head(b"POST / HTTP/1.1\r\n\r\n", None, false);
        assert!(written.contains("Idempotency-Key: 00000000000000050000000000000007\r\n"), "{written}");
    }
}
