//! A connection to a master for a client that speaks to it byte by byte: the masters' half of a raw TCP connection.
//!
//! The connection is one exchange: its master is picked, queued for and limited like that of a request. Until it is made
//! nothing of the client's has been sent, so whatever fails up to there goes to another master, within the upstream's
//! `retry.attempts` and its budget. What the master does afterwards is not repeated.

use std::cell::Cell;
use std::task::{Context, Poll};
use std::time::Duration;

use super::attempt::Attempt;
use super::local::{Generation, Local};
use super::pick::Aim;
use super::place::Seeker;
use super::{Failed, InFlight, Progress};
use crate::clock::{self, Micros};
use crate::http::request::Framing;
use crate::net::watch::Watched;
use crate::upstream::connection::{Connection, Pool};
use crate::upstream::master::Trial;

/// A connection to be made.
#[derive(Debug)]
pub struct Dial<'a> {
    pub local: &'a Local,
    pub generation: &'a Generation,
    /// Position of the upstream in the generation.
    pub upstream: usize,
    pub watched: &'a Watched<Pool>,
    pub aim: Aim<'a>,
    /// What each connection begins with, before TLS: not the client's, so it may be sent to several masters.
    pub preface: &'a [u8],
}

/// A connection that has been made.
#[derive(Debug)]
pub struct Dialled {
    pub connection: Box<Connection>,
    pub place: InFlight,
    /// Position of the master in its upstream.
    pub master: usize,
    /// It is the trial of a half-open circuit.
    pub trial: Option<Trial>,
    pub attempts: u32,
    /// How long it took to be made.
    pub latency: Micros,
}

impl Dial<'_> {
    /// Makes the connection. `gone` is ready when the client does not wait for it any more.
    ///
    /// # Errors
    /// [`Failed`], when no master could be connected to.
    pub async fn run(&self, mut gone: impl FnMut(&mut Context<'_>) -> Poll<()>) -> Result<Dialled, Failed> {
        let upstream = &self.generation.upstreams[self.upstream];
        upstream.shared.budget.deposit(clock::now());
        let seeker = Seeker { local: self.local, watched: self.watched, aim: self.aim };
        // There is no limit for the whole: each queue and each attempt has its own.
        let deadline = Cell::new(Micros::MAX);
        let mut progress = Progress::default();
        loop {
            let next = seeker.next_place(upstream, &mut gone, &mut progress, deadline.get()).await;
            let (place, picked) = next.map_err(|end| progress.failed(end))?;
            progress.attempts += 1;
            progress.last = Some(picked.position);
            let attempt = Attempt {
                local: self.local,
                pool: place.pool(),
                settings: &upstream.shared.settings,
                watched: self.watched,
                head: &[],
                framing: Framing::None,
                to_head: false,
                in_panic: picked.in_panic,
                deadline: &deadline,
                timeout: clock::micros(Duration::MAX),
            };
            let started = clock::now();
            match attempt.dial(started, self.preface).await {
                Ok(connection) => {
                    return Ok(Dialled {
                        connection,
                        place,
                        master: picked.position,
                        trial: picked.trial,
                        attempts: progress.attempts,
                        latency: clock::now().saturating_sub(started),
                    });
                }
                Err(broken) => {
                    drop(place);
                    progress.charge(upstream, broken, picked);
                }
            }
        }
    }
}
