//! Webhooks of WhatsApp gateways, and messages that are stored before they are delivered.

use std::fmt;
use std::time::Duration;

use crate::whatsapp::Provider;

/// How a request gets to a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// While the requester waits.
    Inline,
    /// The same; what no master takes in this time is stored, answered 200 and delivered later.
    InlineThenSpool { after: Duration },
    /// It is stored, answered 200 and delivered then.
    Spool,
}

/// A value that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl AsRef<[u8]> for Secret {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// What the requests of a route are.
#[derive(Debug, Clone, PartialEq)]
pub struct WhatsApp {
    pub provider: Provider,
    /// The first is signed with, and all are accepted; empty when signatures are not looked at.
    pub secrets: Vec<Secret>,
    /// Whether signatures are looked at.
    pub signature: bool,
    /// `None` leaves handshakes to the masters.
    pub verify_token: Option<Secret>,
    pub public_url: Option<String>,
    pub split_batches: bool,
    pub ignore: Ignore,
}

/// Updates that no master wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignore {
    pub statuses: bool,
    pub own_messages: bool,
    /// In the gateway's own words.
    pub events: Vec<String>,
}

/// Deliveries of stored messages to the masters of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redelivery {
    /// For each usable master. Default 32.
    pub max_in_flight: u32,
    /// Between two deliveries in one conversation. Default zero.
    pub spacing: Duration,
    /// Answers other than 2xx, and none at all, until a message is given up on. Default 6.
    pub attempts: u32,
    /// Deliveries without any answer until a message is given up on. Default 3.
    pub masters: u32,
    /// After the first failure; doubles with each one. Default 1 s.
    pub backoff: Duration,
    /// Default 5 min.
    pub max_backoff: Duration,
    /// Default 7 days.
    pub max_age: Duration,
}

/// The store of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spool {
    /// On disk. Default 4 GiB.
    pub max_bytes: u64,
    /// Waiting at once. Default 1000000.
    pub max_messages: u64,
    /// On the disk, left to others. Default 256 MiB.
    pub min_free: u64,
    /// How long a message is known as one that came before. Default 7 days.
    pub dedup_window: Duration,
    /// Messages that are known so. Default 5000000.
    pub dedup_max_ids: u64,
    /// How long dead letters are kept. Default 30 days.
    pub dead_max_age: Duration,
    /// Room for dead letters. Default 1 GiB.
    pub dead_max_bytes: u64,
}
