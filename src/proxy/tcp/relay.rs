//! Both directions of a connection, until both sides have ended, one breaks, or the time is over.
//!
//! What the connection says about its master: an answer of one byte, or an end of both sides in order, is a success; breaking
//! off or ending before the first byte, while the client is there, a failure. What comes later says nothing: servers
//! reset connections that they are done with. Silence says nothing either, since nobody knows what the bytes mean.

use std::task::{Context, Poll};

use super::direction::{Broke, Direction};
use crate::clock::{self, Micros};
use crate::exchange::dial::Dialled;
use crate::net::buffer::Buffer;
use crate::net::stream::Stream;
use crate::net::watch::{Fired, Watched};
use crate::telemetry::hot::{MasterSlot, TcpEnd};
use crate::upstream::connection::{Connection, Pool};
use crate::upstream::master::{Failure, Trial};

/// A client and the master it was given.
#[derive(Debug)]
pub struct Relay<'a> {
    pub client: &'a Stream,
    /// What the client has sent so far.
    pub buffer: &'a mut Buffer,
    pub watched: &'a Watched<Pool>,
    pub up: Direction,
    pub down: Direction,
}

/// What the connection's course does to the master's standing.
struct Charge {
    latency: Micros,
    trial: Option<Trial>,
    open: bool,
}

impl Relay<'_> {
    /// Passes bytes on. `others_usable` says whether the upstream has another usable master; `moved` is told the bytes
    /// that have passed up and down whenever there are more. It ends when none came for `idle`, and in any case at the time
    /// `until`.
    pub async fn run(
        &mut self,
        dialled: &mut Dialled,
        (idle, until): (Micros, Micros),
        others_usable: impl Fn() -> bool,
        mut moved: impl FnMut(u64, u64),
    ) -> TcpEnd {
        let Dialled { connection, place, trial, latency, .. } = dialled;
        let pool = place.pool();
        let mut charge = Charge { latency: *latency, trial: trial.take(), open: true };
        if charge.trial.is_some() {
            // A quiet connection would keep the circuit half-open for as long as it lives.
            charge.succeeded(pool);
        }
        let mut passed = (0, 0);
        self.watched.arm(clock::now().saturating_add(idle).min(until));
        let watched = self.watched;
        let outcome = watched
            .guard(std::future::poll_fn(|cx| {
                let state = self.poll(cx, connection);
                let now = (self.up.moved, self.down.moved);
                if now != passed {
                    let (up, down) = (now.0 - passed.0, now.1 - passed.1);
                    pool.counters.add(MasterSlot::BytesToMaster, up);
                    pool.counters.add(MasterSlot::BytesToClient, down);
                    let time = clock::now();
                    if down > 0 {
                        pool.master.touched(time);
                        charge.succeeded(pool);
                    }
                    watched.arm(time.saturating_add(idle).min(until));
                    passed = now;
                    moved(now.0, now.1);
                }
                if self.down.ended && !self.up.ended {
                    charge.failed(pool, &others_usable);
                }
                state
            }))
            .await;
        match outcome {
            Ok(Ok(())) => {
                charge.succeeded(pool);
                TcpEnd::Complete
            }
            Ok(Err(TcpEnd::MasterReset)) => {
                charge.failed(pool, &others_usable);
                TcpEnd::MasterReset
            }
            Ok(Err(end)) => end,
            Err(Fired::Deadline) if clock::now() >= until => TcpEnd::Lifetime,
            Err(Fired::Deadline) => TcpEnd::Idle,
            Err(Fired::Abandoned) => TcpEnd::MasterFailed,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, connection: &mut Connection) -> Poll<Result<(), TcpEnd>> {
        let master = &connection.stream;
        let up = self.up.poll(cx, self.client, self.buffer, master).map_err(|broke| match broke {
            Broke::Source => TcpEnd::ClientReset,
            Broke::Destination => TcpEnd::MasterReset,
        });
        let down = self.down.poll(cx, master, &mut connection.buffer, self.client).map_err(|broke| match broke {
            Broke::Source => TcpEnd::MasterReset,
            Broke::Destination => TcpEnd::ClientReset,
        });
        match (up, down) {
            (Poll::Ready(Err(end)), _) | (_, Poll::Ready(Err(end))) => Poll::Ready(Err(end)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

impl Charge {
    fn succeeded(&mut self, pool: &Pool) {
        if std::mem::replace(&mut self.open, false) {
            pool.master.succeeded(clock::now(), self.latency, self.trial.take());
        }
    }

    fn failed(&mut self, pool: &Pool, others_usable: impl Fn() -> bool) {
        if std::mem::replace(&mut self.open, false) {
            pool.master.failed(clock::now(), Failure::Reset, self.trial.take(), others_usable);
        }
    }
}
