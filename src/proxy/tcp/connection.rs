//! The life of a client's connection to a `tcp` listener.
//!
//! A connection keeps the master it was given, whatever a reload does to that master, and the limits it began with. When the
//! worker drains it goes on until its two ends close it, or the worker's time is over.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::direction::Direction;
use super::relay::Relay;
use super::told::Told;
use crate::balance::{Key, client_hash};
use crate::clock::{self, Micros};
use crate::config::model::{AffinityKey, Upstream};
use crate::exchange::dial::{Dial, Dialled};
use crate::exchange::local::Generation;
use crate::exchange::pick::Aim;
use crate::exchange::{End, Failed};
use crate::listener::proxy_protocol::{self, Ends};
use crate::net::buffer::{BUFFER_BYTES, Buffer};
use crate::net::stream::Stream;
use crate::net::watch::Watched;
use crate::proxy::http::entrance::{Entrance, Peer};
use crate::proxy::http::shared::Shared;
use crate::routing::server_name;
use crate::telemetry::hot::{ListenerSlot, Refusal, TcpEnd};
use crate::tls::hello::{HelloReader, Name, RECORDS_BYTES_MAX};
use crate::upstream::connection::Pool;

/// A client's connection.
#[derive(Debug)]
struct Connection {
    shared: Rc<Shared>,
    entrance: Rc<Entrance>,
    peer: Peer,
    ends: Option<Ends>,
    client: Stream,
    /// What the client has sent, while there is no master to take it: one buffer at most.
    buffer: Buffer,
    /// The client will send no more.
    ended: bool,
    watched: Watched<Pool>,
}

/// Looks after a client until its connection ends.
///
/// `ends` is what a balancer says the ends of the connection are.
pub async fn serve(shared: Rc<Shared>, entrance: Rc<Entrance>, client: Stream, peer: Peer, ends: Option<Ends>) {
    let waker = std::future::poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let watched = shared.local.watch.register(waker);
    let buffer = Buffer::new(&shared.local.stock);
    Connection { shared, entrance, peer, ends, client, buffer, ended: false, watched }.run().await;
}

impl Connection {
    /// Finds a master and passes bytes on until the connection ends.
    async fn run(mut self) {
        let generation = self.shared.local.generation();
        let Some(position) = self.entrance.position(&generation) else { return };
        let listener = &generation.snapshot.config.listeners[position];
        let Some(tcp) = &listener.tcp else { return };
        let mut told = Told::new(self.shared.clone(), self.peer.address);
        if !tcp.sni.is_empty() {
            match self.hello(clock::micros(listener.limits.header_timeout)).await {
                Ok(name) => told.name = name,
                Err(word) => {
                    told.word = Some(word);
                    return self.client.reset_on_drop();
                }
            }
        }
        let upstream = server_name::upstream(tcp, told.name.as_deref());
        told.upstream = Some(generation.upstreams[upstream].shared.clone());
        let dialled = match self.dial(&generation, upstream).await {
            Ok(dialled) => dialled,
            Err(failed) => return self.give_up(&generation, upstream, failed, &mut told),
        };
        told.master = Some((dialled.master, dialled.place.pool().clone()));
        told.attempts = dialled.attempts;
        let limits = &listener.limits;
        let until = match limits.lifetime {
            Duration::ZERO => Micros::MAX,
            lifetime => told.started.saturating_add(clock::micros(lifetime)),
        };
        let idle = clock::micros(limits.tunnel_timeout);
        drop(generation);
        self.relay(dialled, (idle, until), told).await;
    }

    /// Reads the name that a TLS client asks for; what was read stays in the buffer. Else the word for the log.
    async fn hello(&mut self, within: Micros) -> Result<Name, &'static str> {
        let mut reader = HelloReader::default();
        self.watched.arm(clock::now().saturating_add(within));
        let refused = loop {
            match reader.read(self.buffer.filled()) {
                Ok(Some(name)) => return Ok(name),
                Ok(None) if self.buffer.reserve(RECORDS_BYTES_MAX) => {}
                _ => break Refusal::ClientHello,
            }
            match self.watched.guard(self.buffer.fill(&self.client)).await {
                Ok(Ok(1..)) => {}
                // Whoever only looks whether the port is open has done nothing wrong.
                Ok(_) if self.buffer.is_empty() => return Err("client-gone"),
                Ok(_) | Err(_) => break Refusal::ClientHello,
            }
        };
        self.entrance.counters.increment(ListenerSlot::Refused(refused));
        Err(refused.word())
    }

    /// The header that tells a master whose connection it gets, where it is configured to be told.
    fn preface(&self, settings: &Upstream) -> Vec<u8> {
        let mut preface = Vec::new();
        if let Some(version) = settings.proxy_protocol {
            let own = || self.client.ends().map(|(source, destination)| Ends { source, destination });
            proxy_protocol::write(version, self.ends.or_else(own), &mut preface);
        }
        preface
    }

    async fn dial(&mut self, generation: &Generation, upstream: usize) -> Result<Dialled, Failed> {
        let settings = &generation.upstreams[upstream].shared.settings;
        let client = self.peer.address;
        let by_address = settings.affinity.as_ref().is_some_and(|affinity| affinity.key == AffinityKey::ClientIp);
        let pin = client.filter(|_| by_address).map(client_hash);
        let dial = Dial {
            local: &self.shared.local,
            generation,
            upstream,
            watched: &self.watched,
            aim: Aim { key: Key { hash: pin, client, place: None }, pin, ..Aim::default() },
            preface: &self.preface(settings),
        };
        let (client, buffer, ended) = (&self.client, &mut self.buffer, &mut self.ended);
        dial.run(|cx| poll_gone(cx, client, buffer, ended)).await
    }

    /// No master could be had: the client is told in the one way there is.
    fn give_up(&self, generation: &Generation, upstream: usize, failed: Failed, told: &mut Told) {
        if let Some(refusal) = failed.end.refusal() {
            self.entrance.counters.increment(ListenerSlot::Refused(refusal));
        }
        told.attempts = failed.attempts;
        told.end = if matches!(failed.end, End::Client(_)) { TcpEnd::ClientReset } else { TcpEnd::Unreachable };
        told.word = Some(failed.end.word());
        let pools = &generation.upstreams[upstream].pools;
        told.master = failed.master.and_then(|master| Some((master, pools.get(master)?.clone())));
        self.client.reset_on_drop();
    }

    async fn relay(&mut self, mut dialled: Dialled, times: (Micros, Micros), mut told: Told) {
        // The generation at hand may be a newer one by then, with other masters, or without this upstream.
        let upstream = told.upstream.clone();
        if upstream.as_ref().is_some_and(|upstream| upstream.settings.closes_failed) {
            self.watched.follow(dialled.place.pool().clone());
        }
        let position = dialled.master;
        let others = || upstream.as_ref().is_some_and(|upstream| upstream.others_usable(position));
        let bare = self.client.is_tcp() && dialled.connection.stream.is_tcp();
        let pipes = bare.then(|| self.shared.local.pipes.clone());
        let mut relay = Relay {
            client: &self.client,
            buffer: &mut self.buffer,
            watched: &self.watched,
            up: Direction::new(self.ended, pipes.clone()),
            down: Direction::new(false, pipes),
        };
        let counted = |to_master, to_client| (told.to_master, told.to_client) = (to_master, to_client);
        let end = relay.run(&mut dialled, times, others, counted).await;
        told.end = end;
        // Each side sees how the other one ended: a break is not to look like an end in order.
        match end {
            TcpEnd::ClientReset => dialled.connection.stream.reset_on_drop(),
            TcpEnd::MasterReset => self.client.reset_on_drop(),
            TcpEnd::MasterFailed => {
                self.client.reset_on_drop();
                dialled.connection.stream.reset_on_drop();
            }
            TcpEnd::Complete | TcpEnd::Idle | TcpEnd::Lifetime | TcpEnd::Unreachable | TcpEnd::Stopped => {}
        }
    }
}

/// Takes in what the client sends ahead of its master, as far as one buffer goes. Ready when the connection broke.
fn poll_gone(cx: &mut Context<'_>, client: &Stream, buffer: &mut Buffer, ended: &mut bool) -> Poll<()> {
    while !*ended {
        match client.poll_readable(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Ready(Ok(())) => {}
        }
        if !buffer.reserve(BUFFER_BYTES) {
            return Poll::Pending;
        }
        match buffer.poll_fill(cx, client) {
            Poll::Ready(Ok(0)) => *ended = true,
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Pending => {
                buffer.release();
                return Poll::Pending;
            }
        }
    }
    Poll::Pending
}
