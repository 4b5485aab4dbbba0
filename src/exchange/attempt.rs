//! One attempt: a connection, the request on it, and the head of the answer.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use super::local::Local;
use super::sending::Sending;
use super::{ClientEnd, Requester, UploadError};
use crate::clock::{self, Micros};
use crate::config::model;
use crate::http::request::Framing;
use crate::http::scan::HeadScan;
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

enum Event {
    Head(usize),
    /// The connection ended, or broke.
    Closed,
    /// The master wants another certificate than Baton's.
    Refused(io::Error),
    Malformed,
    Fired(Fired),
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
        let opened = match pooled {
            Some(connection) => Opened::Own(connection),
            None => self.connect(now, self.open()).await?,
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
            Ok((sending, latency)) => Ok(Answered { connection, sending, latency }),
            Err(Broken::Failed { failure: Failure::Reset, .. }) if connection.reused && !got_byte => Err(Broken::Stale),
            Err(broken) => Err(broken),
        }
    }

    /// Makes a connection for one exchange alone, whatever is said over it; it begins with `preface`.
    pub(super) async fn dial(&self, now: Micros, preface: &[u8]) -> Result<Box<Connection>, Broken> {
        self.connect(now, self.pool.open_own(&self.local.stock, preface)).await
    }

    /// Waits for a connection, and says what it means when there is none.
    async fn connect<T>(&self, now: Micros, opening: impl Future<Output = Result<T, OpenError>>) -> Result<T, Broken> {
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
    fn complain(&self, what: &str, problem: impl FnOnce() -> String) {
        if self.pool.may_complain(clock::now()) {
            let address = self.pool.master.address();
            let known = self.settings.masters.iter().find(|master| master.address == *address);
            let (name, upstream) = (known.map_or("", |master| &master.name), self.pool.master.upstream());
            tracing::warn!("master {name} of {upstream}: {what} failed with {address}: {}", problem());
        }
    }

    /// Sends the request and reads up to the head of the final answer. Returns what is left to send, and the
    /// latency.
    async fn converse<R: Requester>(
        &self,
        connection: &mut Connection,
        requester: &mut R,
        got_byte: &mut bool,
    ) -> Result<(Option<Sending>, Micros), Broken> {
        let per_try = clock::micros(self.settings.retry.per_try_timeout);
        let mut sent_at = clock::now();
        self.watched.arm(sent_at.saturating_add(per_try).min(self.deadline.get()));
        let whole = requester.whole_body();
        let mut sending = whole.is_none().then(|| Sending::new(self.framing == Framing::Chunked));
        let writing = connection.stream.write_both(self.head, whole.unwrap_or_default());
        match self.watched.guard(writing).await {
            Ok(Ok(())) => {}
            Ok(Err((_, written))) => return Err(broken(Failure::Reset, RetryReason::Reset, written > 0)),
            Err(fired) => return Err(self.fired(fired, false)),
        }
        if sending.is_none() {
            self.owe(sent_at);
        }
        let mut scan = HeadScan::default();
        let mut interim_responses = 0;
        loop {
            let event = std::future::poll_fn(|cx| {
                if let Some(fired) = self.watched.fired() {
                    return Poll::Ready(Event::Fired(fired));
                }
                if let Some(upload) = &mut sending {
                    match upload.poll(cx, requester, &connection.stream, self.watched) {
                        Poll::Ready(Ok(())) => {
                            sending = None;
                            sent_at = clock::now();
                            self.deadline.set(self.deadline.get().min(sent_at.saturating_add(self.timeout)));
                            self.watched.arm(sent_at.saturating_add(per_try).min(self.deadline.get()));
                            self.owe(sent_at);
                        }
                        Poll::Ready(Err(UploadError::Client(end))) => return Poll::Ready(Event::Client(end)),
                        // The master may have answered before it closed its side: what it said is still to be read.
                        Poll::Ready(Err(UploadError::Master)) | Poll::Pending => {}
                    }
                } else if requester.poll_gone(cx).is_ready() {
                    return Poll::Ready(Event::Client(ClientEnd::Gone));
                }
                loop {
                    match scan.find_end(connection.buffer.filled()) {
                        Ok(Some(length)) => return Poll::Ready(Event::Head(length)),
                        Ok(None) if connection.buffer.reserve(RESPONSE_HEAD_MAX) => {}
                        _ => return Poll::Ready(Event::Malformed),
                    }
                    match connection.buffer.poll_fill(cx, &connection.stream) {
                        Poll::Ready(Err(error))
                            if !*got_byte && !connection.reused && tls::client::is_refusal(&error) =>
                        {
                            return Poll::Ready(Event::Refused(error));
                        }
                        Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Event::Closed),
                        Poll::Ready(Ok(_)) => {
                            if !*got_byte {
                                *got_byte = true;
                                self.pool.master.touched(clock::now());
                                self.watched.wait_over();
                            }
                        }
                        Poll::Pending => return Poll::Pending,
                    }
                }
            })
            .await;
            let length = match event {
                Event::Head(length) => length,
                Event::Closed => return Err(broken(Failure::Reset, RetryReason::Reset, true)),
                Event::Refused(error) => {
                    self.complain("TLS", || tls::client::problem(&error));
                    return Err(broken(Failure::ConnectOther, RetryReason::Connect, false));
                }
                Event::Malformed => return Err(broken(Failure::BadResponse, RetryReason::Reset, true)),
                Event::Fired(fired) => {
                    let client_paused = sending.as_ref().is_some_and(|upload| !upload.waits_for_master());
                    return Err(self.fired(fired, client_paused));
                }
                Event::Client(end) => return Err(Broken::Client(end)),
            };
            let now = clock::now();
            self.pool.master.touched(now);
            let raw = &connection.buffer.filled()[..length];
            if connection.response.parse(raw, self.to_head).is_err() {
                return Err(broken(Failure::BadResponse, RetryReason::Reset, true));
            }
            if !connection.response.is_interim() {
                return Ok((sending, now.saturating_sub(sent_at)));
            }
            interim_responses += 1;
            if interim_responses > INTERIM_RESPONSES_MAX {
                return Err(broken(Failure::BadResponse, RetryReason::Reset, true));
            }
            match self.watched.guard(requester.interim(&connection.response, raw)).await {
                Ok(passed) => passed.map_err(Broken::Client)?,
                // It does not read.
                Err(_) => return Err(Broken::Client(ClientEnd::Gone)),
            }
            connection.buffer.consume(length);
            scan = HeadScan::default();
        }
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
