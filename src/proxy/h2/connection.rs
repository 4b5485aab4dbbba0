//! The life of a client's HTTP/2 connection: it is fed and flushed here, and its streams are handed to tasks of their own.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::{Builder, Connection as Crate, SendResponse};
use h2::{Reason, RecvStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::io::{Io, Wire};
use super::stream::{Stream, Trunk};
use crate::clock::{self, Micros};
use crate::config::model::{Http2, ListenerLimits};
use crate::limits::tenure::Tenure;
use crate::net::buffer::Buffer;
use crate::net::stream::Stream as Carrier;
use crate::net::watch::Watched;
use crate::proxy::http::entrance::{Entrance, Peer};
use crate::proxy::http::shared::Shared;
use crate::proxy::linger::{LINGER, linger};
use crate::telemetry::hot::{ListenerSlot, Refusal};
use crate::upstream::connection::Pool;

/// What one stream, and all of them together, may send ahead of what is taken from them: the memory that a client can
/// fill before its requests are looked at.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is taken from a master for one stream ahead of what the client's connection takes.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// The least limit of header lists in the crate, on which that of trailers depends; a lower one for heads is held where they are
/// written.
const HEADER_LIST_MIN: u32 = 32 * 1024;

/// Streams reset by the client before they were looked at; whoever goes beyond is not served any more (CVE-2023-44487).
const RESET_BEFORE_ACCEPT_MAX: usize = 20;

/// A connection whose client has shown that it speaks HTTP/2.
#[derive(Debug)]
pub struct Connection {
    trunk: Rc<Trunk>,
    watched: Watched<Pool>,
    tenure: Tenure,
}

type Opened = (http::Request<RecvStream>, SendResponse<Bytes>);

/// What the connection waits for, as points in time.
struct Clocks {
    /// The last stream was opened, or there was one.
    idle_since: Micros,
    /// A header block, or a frame, has begun and is not complete.
    within_since: Option<Micros>,
    /// When the connection is dropped if no stream is open by then.
    leaving: Option<Micros>,
    /// It is dropped then in any case.
    condemned: bool,
}

impl Connection {
    /// `early` is what has been read of the connection.
    #[must_use]
    pub fn new(
        watched: Watched<Pool>,
        shared: Rc<Shared>,
        entrance: Rc<Entrance>,
        carrier: Carrier,
        early: Buffer,
        peer: Peer,
        tenure: Tenure,
    ) -> Self {
        let https = carrier.is_tls();
        let (open, emptied) = (Cell::new(0), Notify::new());
        let wire = Rc::new(Wire::new(carrier, early));
        let trunk = Rc::new(Trunk { shared, wire, entrance, peer, https, open, emptied });
        Self { trunk, watched, tenure }
    }

    /// Answers requests until the connection ends and every stream with it.
    pub async fn run(self) {
        let generation = self.trunk.shared.local.generation();
        let Some(position) = self.trunk.entrance.position(&generation) else { return };
        let listener = &generation.snapshot.config.listeners[position];
        let (limits, settings) = (listener.limits.clone(), listener.http2.clone());
        drop(generation);
        self.watched.arm(clock::now().saturating_add(clock::micros(limits.header_timeout)));
        let handshake = builder(&settings, &limits).handshake(Io(self.trunk.wire.clone()));
        match self.watched.guard(handshake).await {
            Ok(Ok(mut connection)) => self.serve(&mut connection, &limits).await,
            Ok(Err(error)) if error.is_io() => {}
            Ok(Err(_)) => self.refused(Refusal::ProtocolError, 1),
            Err(_) => self.refused(Refusal::HeaderTimeout, 1),
        }
        self.count_told();
        linger(&self.trunk.wire.stream, &self.watched).await;
        while self.trunk.open.get() > 0 {
            self.trunk.emptied.notified().await;
        }
    }

    async fn serve(&self, connection: &mut Crate<Io, Bytes>, limits: &ListenerLimits) {
        let mut clocks = Clocks { idle_since: clock::now(), within_since: None, leaving: None, condemned: false };
        let mut tenure = self.tenure;
        self.arm(&clocks, limits);
        loop {
            let next = std::future::poll_fn(|cx| self.poll(cx, connection, &mut clocks, limits));
            let Some((request, respond)) = next.await else { break };
            clocks.idle_since = clock::now();
            if tenure.ends_with_next(limits, clock::now) && clocks.leaving.is_none() {
                self.leave(connection, &mut clocks);
            }
            // Boxed, for a task is moved several times before it runs, and again when it has ended.
            spawn_local(Box::pin(Stream::new(&self.trunk).run(request, respond)));
        }
    }

    /// The next stream; `None` when the connection has ended or is to be dropped.
    fn poll(
        &self,
        cx: &mut Context<'_>,
        connection: &mut Crate<Io, Bytes>,
        clocks: &mut Clocks,
        limits: &ListenerLimits,
    ) -> Poll<Option<Opened>> {
        if self.watched.draining() && clocks.leaving.is_none() {
            self.leave(connection, clocks);
        }
        if self.watched.fired().is_some() && !self.on_time(connection, clocks, limits) {
            return Poll::Ready(None);
        }
        loop {
            let polled = connection.poll_accept(cx);
            self.count_told();
            match polled {
                Poll::Ready(Some(Ok(opened))) => {
                    self.trunk.wire.meter.borrow_mut().took(opened.1.stream_id().as_u32());
                    return Poll::Ready(Some(opened));
                }
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(None),
                Poll::Pending if self.trunk.wire.meter.borrow().is_flooded() && !clocks.condemned => {
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    clocks.condemned = true;
                    clocks.leaving = Some(clock::now().saturating_add(clock::micros(LINGER)));
                    self.arm(clocks, limits);
                }
                Poll::Pending => break,
            }
        }
        if self.trunk.wire.meter.borrow().is_within() != clocks.within_since.is_some() {
            clocks.within_since = if clocks.within_since.is_some() { None } else { Some(clock::now()) };
            self.arm(clocks, limits);
        }
        Poll::Pending
    }

    /// Tells the client that no further streams are taken, and gives it a moment after the last one.
    fn leave(&self, connection: &mut Crate<Io, Bytes>, clocks: &mut Clocks) {
        connection.graceful_shutdown();
        let until = clock::now().saturating_add(clock::micros(LINGER));
        clocks.leaving = Some(until);
        self.watched.arm(until);
    }

    /// Some time is over. False when the connection is to be dropped.
    fn on_time(&self, connection: &mut Crate<Io, Bytes>, clocks: &mut Clocks, limits: &ListenerLimits) -> bool {
        let (now, busy) = (clock::now(), self.trunk.open.get() > 0);
        if let Some(leaving) = clocks.leaving.filter(|leaving| *leaving <= now) {
            if clocks.condemned || !busy {
                return false;
            }
            clocks.leaving = Some(leaving.max(now).saturating_add(clock::micros(LINGER)));
        }
        let header_timeout = clock::micros(limits.header_timeout);
        if clocks.within_since.is_some_and(|since| now.saturating_sub(since) >= header_timeout) && !clocks.condemned {
            self.refused(Refusal::HeaderTimeout, 1);
            connection.abrupt_shutdown(Reason::NO_ERROR);
            clocks.condemned = true;
            clocks.leaving = Some(now.saturating_add(clock::micros(LINGER)));
        }
        if busy {
            clocks.idle_since = now;
        } else if clocks.leaving.is_none()
            && now.saturating_sub(clocks.idle_since) >= clock::micros(limits.idle_timeout)
        {
            self.leave(connection, clocks);
        }
        self.arm(clocks, limits);
        true
    }

    fn arm(&self, clocks: &Clocks, limits: &ListenerLimits) {
        let idle = clocks.idle_since.saturating_add(clock::micros(limits.idle_timeout));
        let within = clocks.within_since.map(|since| since.saturating_add(clock::micros(limits.header_timeout)));
        let within = within.filter(|_| !clocks.condemned);
        self.watched.arm(clocks.leaving.unwrap_or(idle).min(within.unwrap_or(Micros::MAX)));
    }

    /// Counts what the client was told on the wire about frames that break the protocol.
    fn count_told(&self) {
        let told = self.trunk.wire.meter.borrow_mut().take_told();
        self.refused(Refusal::ProtocolError, told.violations);
        self.refused(Refusal::Flood, told.calmed);
        self.refused(Refusal::HeaderTooLarge, told.oversized);
    }

    fn refused(&self, reason: Refusal, times: u32) {
        if times > 0 {
            self.trunk.entrance.counters.add(ListenerSlot::Refused(reason), times.into());
        }
    }
}

fn builder(settings: &Http2, limits: &ListenerLimits) -> Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(settings.max_concurrent_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX).max(HEADER_LIST_MIN))
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESET_BEFORE_ACCEPT_MAX)
        // Counted over a whole life, by which every connection that lives for days would die; the meter counts them by rate.
        .max_local_error_reset_streams(None)
        .enable_connect_protocol();
    builder
}
