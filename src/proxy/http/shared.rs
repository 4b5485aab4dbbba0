//! What a worker's connections share, and how a request that has ended is counted and logged.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;

use super::entrance::Peer;
use super::prepare::Scratch;
use crate::clock::{self, Micros};
use crate::exchange::local::{Generation, Led, Local};
use crate::telemetry::access_log::{WorkerLog, entry::Entry};

/// Scratch buffers kept, and the size up to which one is worth keeping.
const SCRATCH_MAX: usize = 64;
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

/// What a worker's connections share.
#[derive(Debug)]
pub struct Shared {
    pub local: Rc<Local>,
    pub log: WorkerLog,
    /// Scratch buffers waiting for a request.
    #[expect(
        clippy::vec_box,
        reason = "a request takes its buffers as they lie here; unboxed, they would be copied each time"
    )]
    scratch: RefCell<Vec<Box<Scratch>>>,
}

/// What is counted and logged of a request.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    pub status: u16,
    pub led: Led,
    pub attempts: u32,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Such as `HTTP/1.1`.
    pub protocol: &'static str,
    pub end: &'static str,
}

impl Shared {
    #[must_use]
    pub fn new(local: Rc<Local>, log: WorkerLog) -> Self {
        Self { local, log, scratch: RefCell::default() }
    }

    /// Buffers for one request; whatever is in them is of an earlier one.
    pub fn scratch(&self) -> Box<Scratch> {
        self.scratch.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps the buffers for another request.
    pub fn give_back(&self, scratch: Box<Scratch>) {
        let small = scratch.head.capacity().max(scratch.out.capacity()) <= SCRATCH_BYTES_MAX;
        let mut kept = self.scratch.borrow_mut();
        if small && kept.len() < SCRATCH_MAX {
            kept.push(scratch);
        }
    }

    /// Counts the request and writes its log line.
    pub fn tell(&self, peer: &Peer, generation: &Generation, told: &Told, scratch: &Scratch, started: Micros) {
        let duration_micros = clock::now().saturating_sub(started);
        generation.series(&self.local.metrics, told.led).record(told.status, duration_micros);
        if !self.log.is_on() {
            return;
        }
        let mut line = scratch.head.splitn(3, |byte| *byte == b' ');
        let method = line.next().unwrap_or_default();
        let target = if scratch.asked.is_empty() { line.next().unwrap_or_default() } else { &scratch.asked };
        let route = told.led.route.map(|route| &generation.snapshot.config.routes[route]);
        let upstream = generation.upstream_of(told.led);
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.log.write(&Entry {
            unix_millis: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
            request_id: &scratch.request_id,
            client: peer.address,
            method,
            host: &scratch.host,
            path: target.split(|byte| *byte == b'?').next().unwrap_or_default(),
            protocol: told.protocol,
            status: told.status,
            bytes_in: told.bytes_in,
            bytes_out: told.bytes_out,
            duration_micros,
            route: route.map(|route| &*route.name),
            upstream: upstream.map(|upstream| &*upstream.name),
            master: upstream.zip(told.led.master).map(|(upstream, master)| &*upstream.masters[master].name),
            attempts: told.attempts,
            end: told.end,
        });
    }
}
