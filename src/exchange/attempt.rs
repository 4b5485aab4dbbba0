//! One attempt: a connection, the request on it, and the head of the answer.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

use super::local::Local;
use super::sending::Sending;
use super::{ClientEnd, Requester};
use crate::clock::{self, Micros};
use crate::config::model;
use crate::http::request::Framing;
use crate::net::watch::{Fired, Watched};
use crate::telemetry::hot::{ConnectOutcome, MasterSlot, RetryReason};
use crate::tls;
use crate::upstream::connection::{Connection, OpenError, Opened, Pool};
use crate::upstream::master::Failure;

/// The largest response head taken from a master, in bytes.
pub const RESPONSE_HEAD_MAX: usize = 64 * 1024;

/// Interim responses (1xx) that one answer may be preceded by; hyper's limit is the same.
pub(super) const INTERIM_RESPONSES_MAX: usize = 100;

/// What an attempt is made with.
#[derive(Debug)]
pub struct Attempt<'a> {
    pub local: &'a Local,
    pub pool: &'a Rc<Pool>,
    pub settings: &'a model::Upstream,
    pub watched: &'a Watched<Pool>,
    pub head: &'a [u8],
    pub framing: Framing,
    pub to_head: bool,
    /// Waits for the answer although the master has been given up.
    pub in_panic: bool,
    /// When the exchange's time is over; [`Micros::MAX`] until the request has arrived whole.
    pub deadline: &'a Cell<Micros>,
    /// What the exchange may take from then on.
    pub timeout: Micros,
}

/// The head of an answer is in `connection.response`, its bytes still at the start of the connection's buffer.
#[derive(Debug)]
pub struct Answered {
    pub connection: Box<Connection>,
    /// What is left to send, when the answer came before the request had been sent whole.
    pub sending: Option<Sending>,
    /// From the end of the request to the first byte of the answer.
    pub latency: Micros,
}

/// How an attempt ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A pooled connection turned out to be closed: nobody's fault, to be repeated on a new one.
    Stale,
    Failed {
        failure: Failure,
        reason: RetryReason,
        /// The master may have seen the request.
        sent: bool,
    },
    /// The master was given up while this waited for it; it is already charged.
    Abandoned,
    /// The connection broke under several streams, and another one has charged the master with it.
    BrokeTogether,
    /// The master has not looked at the request, and says so: nobody is charged.
    Refused,
    /// It cannot be said in HTTP/2.
    NotInHttp2,
    /// The exchange's time is over.
    OutOfTime {
        /// The master may have seen the request.
        sent: bool,
    },
    Client(ClientEnd),
}

impl Attempt<'_> {
    /// Makes the attempt, on a pooled connection unless `fresh`.
    pub async fn run<R: Requester>(&self, requester: &mut R, fresh: bool) -> Result<Answered, Broken> {
        let now = clock::now();
        let pooled = if fresh || self.pool.shares() {
            None
        } else {
            self.pool.take(now, clock::micros(self.settings.pool.idle_timeout))
        };
        let opened = match pooled.map(Opened::Own).or_else(|| self.shared_place()) {
            Some(opened) => opened,
            None => self.connect(now, Box::pin(self.open())).await?,
        };
        let mut connection = match opened {
            Opened::Own(connection) => connection,
            Opened::Shared(lease) => {
                let outcome = self.share(lease, requester, fresh).await;
                self.watched.wait_over();
                return outcome;
            }
        };
        let mut got_byte = false;
        let outcome = self.converse(&mut connection, requester, &mut got_byte).await;
        self.watched.wait_over();
        match outcome {
            Ok((waiting, now)) => Ok(waiting.answered(connection, now)),
            Err(Broken::Failed { failure: Failure::Reset, .. }) if connection.reused && !got_byte => Err(Broken::Stale),
            Err(broken) => Err(broken),
        }
    }

    /// Makes a connection for one exchange alone, whatever is said over it; it begins with `preface`.
    pub(super) async fn dial(&self, now: Micros, preface: &[u8]) -> Result<Box<Connection>, Broken> {
        self.connect(now, Box::pin(self.pool.open_own(&self.local.stock, preface))).await
    }

    /// Waits for a connection, and says what it means when there is none.
    ///
    /// `opening` is boxed, for its kilobytes of state would otherwise be part of every request, and of every idle connection of a
    /// client.
    async fn connect<T>(
        &self,
        now: Micros,
        opening: Pin<Box<impl Future<Output = Result<T, OpenError>>>>,
    ) -> Result<T, Broken> {
        let limit = now.saturating_add(clock::micros(self.settings.connect_timeout));
        self.watched.arm(limit.min(self.deadline.get()));
        let outcome = self.watched.guard(opening).await;
        let (counted, failure) = match outcome {
            Ok(Ok(opened)) => return Ok(opened),
            // Without an address, or a socket file, nothing listens there either.
            Ok(Err(OpenError::Connect(error)))
                if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) =>
            {
                (ConnectOutcome::Refused, Failure::ConnectRefused)
            }
            Ok(Err(OpenError::Tls(error))) => {
                self.complain("TLS", || tls::client::problem(&error));
                (ConnectOutcome::Tls, Failure::ConnectOther)
            }
            Ok(Err(OpenError::Http2)) => {
                self.complain("HTTP/2", || "it does not speak that; see `protocol`".to_owned());
                (ConnectOutcome::Error, Failure::ConnectOther)
            }
            Ok(Err(OpenError::Connect(_))) => (ConnectOutcome::Error, Failure::ConnectOther),
            Err(Fired::Deadline) if clock::now() >= self.deadline.get() => {
                return Err(Broken::OutOfTime { sent: false });
            }
            Err(_) => (ConnectOutcome::Timeout, Failure::ConnectTimeout),
        };
        self.pool.counters.increment(MasterSlot::Connected(counted));
        Err(Broken::Failed { failure, reason: RetryReason::Connect, sent: false })
    }

    /// A place on a connection that others share, where there is one at once.
    fn shared_place(&self) -> Option<Opened> {
        let lease = self.pool.shares().then(|| self.pool.links.lease(self.settings.http2.max_streams))??;
        Some(Opened::Shared(lease))
    }

    /// A place on a connection that others share, or a new connection.
    async fn open(&self) -> Result<Opened, OpenError> {
        let (http2, links) = (&self.settings.http2, &self.pool.links);
        while self.pool.shares() {
            if let Some(lease) = links.lease(http2.max_streams) {
                return Ok(Opened::Shared(lease));
            }
            if let Some(_turn) = links.begin() {
                return self.pool.open(http2, &self.local.stock).await;
            }
            links.changed().await;
        }
        self.pool.open(http2, &self.local.stock).await
    }

    /// Says why no connection of the kind configured comes about.
    pub(super) fn complain(&self, what: &str, problem: impl FnOnce() -> String) {
        if self.pool.may_complain(clock::now()) {
            let address = self.pool.master.address();
            let known = self.settings.masters.iter().find(|master| master.address == *address);
            let (name, upstream) = (known.map_or("", |master| &master.name), self.pool.master.upstream());
            tracing::warn!("master {name} of {upstream}: {what} failed with {address}: {}", problem());
        }
    }

    /// Sets the watch to the end of this try, or of the exchange.
    pub(super) fn arm(&self, since: Micros) {
        let per_try = clock::micros(self.settings.retry.per_try_timeout);
        self.watched.arm(since.saturating_add(per_try).min(self.deadline.get()));
    }

    /// From here on the master owes its first byte.
    pub(super) fn owe(&self, since: Micros) {
        if !self.in_panic {
            self.watched.wait_for(self.pool.clone(), since);
        }
    }

    pub(super) fn fired(&self, fired: Fired, client_paused: bool) -> Broken {
        match fired {
            Fired::Abandoned => Broken::Abandoned,
            Fired::Deadline if clock::now() >= self.deadline.get() => Broken::OutOfTime { sent: true },
            Fired::Deadline if client_paused => Broken::Client(ClientEnd::TooSlow),
            Fired::Deadline => broken(Failure::Timeout, RetryReason::Timeout, true),
        }
    }
}

pub(super) fn broken(failure: Failure, reason: RetryReason, sent: bool) -> Broken {
    Broken::Failed { failure, reason, sent }
}
