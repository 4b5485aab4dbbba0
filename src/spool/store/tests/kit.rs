//! A store in a directory of its own, with a clock that the test sets.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::super::open::Ground;
use super::super::*;
use crate::whatsapp::Kind;

/// A directory that goes with the test.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("baton-store-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn settings() -> Spool {
    Spool {
        max_bytes: 1 << 30,
        max_messages: 100_000,
        min_free: 0,
        dedup_window: Duration::from_secs(1000),
        dedup_max_ids: 100_000,
        dead_max_age: Duration::from_secs(5000),
        dead_max_bytes: 1 << 20,
    }
}

/// An opened store.
pub struct Opened {
    pub store: Store,
    pub recovered: Recovered,
    pub events: UnboundedReceiver<Event>,
    /// Milliseconds.
    pub clock: Arc<AtomicU64>,
}

pub fn try_open(path: &Path, settings: &Spool, now: u64) -> Result<Opened, OpenError> {
    let clock = Arc::new(AtomicU64::new(now));
    let ticks = Arc::clone(&clock);
    let ground = Ground { clock: Arc::new(move || ticks.load(Ordering::SeqCst)), ..Ground::default() };
    open_on(path, settings, ground, clock)
}

pub fn open_on(path: &Path, settings: &Spool, ground: Ground, clock: Arc<AtomicU64>) -> Result<Opened, OpenError> {
    let (sender, events) = unbounded_channel();
    let (store, recovered) = Store::open_on(path, settings, sender, ground)?;
    Ok(Opened { store, recovered, events, clock })
}

pub fn open(directory: &Directory) -> Opened {
    try_open(directory.path(), &settings(), 1_000_000).unwrap()
}

pub fn message(store: &Store, id: u128) -> Incoming {
    Incoming {
        seq: store.next_seq(),
        id: Some(id),
        conversation: id as u64 % 3,
        route: "webhooks".into(),
        upstream: "bots".into(),
        account: Some("106540352242922".into()),
        country: Some(*b"AE"),
        message_id: format!("wamid.{id}").into(),
        kind: Kind::Message,
        event: "messages".into(),
        preferred: None,
        head: Bytes::from_static(b"POST /webhook HTTP/1.1\r\n\r\n"),
        body: Bytes::from(format!("{{\"id\":{id}}}").repeat(100)),
        maybe_delivered: false,
        ordered: true,
    }
}

impl Opened {
    /// Stores messages with these ids, each asked for alone, and waits.
    pub fn accept(&self, ids: impl IntoIterator<Item = u128>) -> Vec<Accepted> {
        let answers: Vec<_> =
            ids.into_iter().map(|id| self.store.accept(&[message(&self.store, id)]).unwrap()).collect();
        answers.into_iter().map(|answer| answer.blocking_recv().unwrap().unwrap()[0]).collect()
    }

    pub fn settle(&self, seq: u64, settlement: Settlement) {
        self.store.settle(seq, settlement, None);
        self.flush();
    }

    pub fn flush(&self) {
        self.store.flush().blocking_recv().unwrap();
    }

    pub fn close(&self) {
        let _ = self.store.close().blocking_recv();
    }

    pub fn sequences(&self) -> Vec<u64> {
        self.store.pending(0, 1000).unwrap().rows.iter().map(|row| row.entry.seq).collect()
    }

    /// Pages of dead letters put together.
    pub fn dead(&self) -> Vec<DeadLetter> {
        self.store.dead_letters(&DeadFilter::default(), None, 1000).unwrap().rows
    }
}

pub const fn dead(reason: crate::spool::schedule::Reason) -> Settlement {
    Settlement::Dead { reason, attempts: 6, breaks: 1 }
}
