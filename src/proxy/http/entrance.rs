//! Where a connection came in: its listener as one worker sees it, and its peer.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use crate::exchange::local::Generation;
use crate::telemetry::hot::ListenerCounters;
use crate::tls::handshake::Handshakes;

/// A listener, from the first connection a worker gets from it.
#[derive(Debug)]
pub struct Entrance {
    pub name: Box<str>,
    pub counters: Arc<ListenerCounters>,
    pub handshakes: Handshakes,
    /// Its position in the generation with this number.
    position: Cell<(u64, Option<usize>)>,
}

/// Who is connected, in the spellings that headers use.
#[derive(Debug)]
pub struct Peer {
    /// `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// As in `X-Forwarded-For`.
    pub text: Box<str>,
    /// As in `Forwarded`: IPv6 in brackets and quotes (RFC 7239 section 6).
    pub node: Box<str>,
}

impl Entrance {
    #[must_use]
    pub fn new(name: &str, counters: Arc<ListenerCounters>) -> Self {
        Self { name: name.into(), counters, handshakes: Handshakes::default(), position: Cell::new((0, None)) }
    }

    /// The listener's position in this generation; `None` when a reload has removed it.
    pub fn position(&self, generation: &Generation) -> Option<usize> {
        let number = generation.snapshot.generation;
        let (known, position) = self.position.get();
        if known == number {
            return position;
        }
        let listeners = &generation.snapshot.config.listeners;
        let position = listeners.iter().position(|listener| *listener.name == *self.name);
        self.position.set((number, position));
        position
    }

    /// Whether its connections are passed on as they come.
    pub fn is_tcp(&self, generation: &Generation) -> bool {
        let listeners = &generation.snapshot.config.listeners;
        self.position(generation).is_some_and(|position| listeners[position].tcp.is_some())
    }
}

impl Peer {
    #[must_use]
    pub fn new(address: Option<IpAddr>) -> Self {
        let address = address.map(|address| address.to_canonical());
        let (text, node) = match address {
            Some(IpAddr::V4(v4)) => (v4.to_string(), v4.to_string()),
            Some(IpAddr::V6(v6)) => (v6.to_string(), format!("\"[{v6}]\"")),
            None => ("unix".to_owned(), "_unix".to_owned()),
        };
        Self { address, text: text.into(), node: node.into() }
    }
}
