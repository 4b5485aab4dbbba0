//! The life of a client's connection.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::challenge;
use super::client::{Asking, Body, Client};
use super::entrance::{Entrance, Peer};
use super::prepare::{Inlet, Prepared, Refused, Scratch};
use super::respond;
use super::shared::{Shared, Told};
use super::tunnel;
use super::upload::{Upload, UploadLimits};
use crate::clock::{self, Micros};
use crate::config::model::ListenerLimits;
use crate::exchange::answer::{Answer, Passed};
use crate::exchange::load::Admitted;
use crate::exchange::local::{Generation, Led};
use crate::exchange::{ClientEnd, End, Failed};
use crate::http::problem::Problem;
use crate::http::request::{Framing, Version};
use crate::http::scan::HeadScan;
use crate::limits::pace::Pace;
use crate::limits::tenure::Tenure;
use crate::net::buffer::{BUFFER_BYTES, Buffer};
use crate::net::stream::Stream;
use crate::net::watch::Watched;
use crate::proxy::compression::Offer;
use crate::proxy::h2;
use crate::proxy::intake::{self, Taken, Work};
use crate::proxy::linger::{LINGER, linger};
use crate::telemetry::hot::{ListenerSlot, Refusal};
use crate::upstream::connection::Pool;

/// What a request head would be of the bytes that HTTP/2 begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    shared: Rc<Shared>,
    entrance: Rc<Entrance>,
    peer: Peer,
    tenure: Tenure,
    client: Client,
    watched: Watched<Pool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Request,
    /// The client began with the preface of HTTP/2.
    Http2,
    /// Close, after letting the client read the answer.
    Linger,
    Close,
}

impl Connection {
    /// A connection whose task has the waker of `cx`.
    pub fn new(cx: &Context<'_>, shared: Rc<Shared>, entrance: Rc<Entrance>, stream: Stream, peer: Peer) -> Self {
        let watched = shared.local.watch.register(cx.waker().clone());
        let buffer = Buffer::new(&shared.local.stock);
        let tenure = Tenure::new(clock::now());
        Self { shared, entrance, peer, tenure, client: Client { stream, buffer, half_closed: false }, watched }
    }

    /// Answers requests until the connection ends.
    pub async fn run(mut self) {
        if self.client.stream.is_h2() {
            return self.into_h2().await;
        }
        let mut fresh = true;
        loop {
            let generation = self.shared.local.generation();
            let Some(position) = self.entrance.position(&generation) else { break };
            let listener = &generation.snapshot.config.listeners[position];
            let prior_knowledge = std::mem::take(&mut fresh) && listener.http2.enabled && !self.client.stream.is_tls();
            let limits = listener.limits.clone();
            drop(generation);
            if !self.idle(clock::micros(limits.idle_timeout)).await {
                break;
            }
            match self.request(&limits, prior_knowledge).await {
                Next::Request => self.client.buffer.release(),
                Next::Linger => {
                    linger(&self.client.stream, &self.watched).await;
                    break;
                }
                Next::Http2 => return self.into_h2().await,
                Next::Close => break,
            }
        }
    }

    /// Goes on in HTTP/2. Boxed, for a connection that does not is not to be as large.
    fn into_h2(self) -> Pin<Box<dyn Future<Output = ()>>> {
        let Self { shared, entrance, peer, tenure, client: Client { stream, buffer, .. }, watched } = self;
        Box::pin(h2::connection::Connection::new(watched, shared, entrance, stream, buffer, peer, tenure).run())
    }

    /// Waits for the first bytes of a request, without a buffer until they are there. False when the connection is to be
    /// closed.
    async fn idle(&mut self, timeout: Micros) -> bool {
        if !self.client.buffer.is_empty() {
            return true;
        }
        if self.client.half_closed {
            return false;
        }
        self.watched.arm(clock::now().saturating_add(timeout));
        let mut leaving = false;
        let (watched, Client { stream, buffer, .. }) = (&self.watched, &mut self.client);
        std::future::poll_fn(|cx| {
            if let Some(grace) = watched.grace().filter(|_| !std::mem::replace(&mut leaving, true)) {
                watched.arm(clock::now().saturating_add(grace));
            }
            if watched.fired().is_some() {
                return Poll::Ready(false);
            }
            if ready!(stream.poll_readable(cx)).is_err() {
                return Poll::Ready(false);
            }
            // Readiness may be left over from the last read, or announce a TLS record without data.
            buffer.reserve(BUFFER_BYTES);
            let filled = buffer.poll_fill(cx, stream);
            if filled.is_pending() {
                buffer.release();
            }
            filled.map(|count| count.is_ok_and(|count| count > 0))
        })
        .await
    }

    async fn request(&mut self, limits: &ListenerLimits, prior_knowledge: bool) -> Next {
        let mut scratch = self.shared.scratch();
        let next = self.request_with(limits, prior_knowledge, &mut scratch).await;
        self.shared.give_back(scratch);
        next
    }

    async fn request_with(&mut self, limits: &ListenerLimits, prior_knowledge: bool, scratch: &mut Scratch) -> Next {
        let length = match self.read_head(limits).await {
            Ok(Some(length)) if prior_knowledge && self.client.buffer.filled()[..length] == *PREFACE => {
                return Next::Http2;
            }
            Ok(Some(length)) => length,
            Ok(None) => return Next::Close,
            Err((problem, counted)) => {
                scratch.clear();
                let refused = Refused::new(problem, counted, Version::Http11, false);
                return self.refuse(&refused, limits, scratch, clock::now()).await;
            }
        };
        let started = clock::now();
        let shared = self.shared.clone();
        let generation = shared.local.generation();
        let Some(position) = self.entrance.position(&generation) else { return Next::Close };
        let inlet = Inlet {
            generation: &generation,
            position,
            peer: &self.peer,
            https: self.client.stream.is_tls(),
            ids: &shared.local.ids,
            logged: shared.log.is_on(),
        };
        let last = self.tenure.ends_with_next(limits, || started);
        let (head, rest) = self.client.buffer.filled().split_at(length);
        if let Some(proof) = challenge::answer(head) {
            let told = self.write_out(proof.as_bytes()).await;
            return if told.is_ok() { Next::Linger } else { Next::Close };
        }
        let prepared = match inlet.prepare(head, rest.len(), scratch) {
            Ok(mut prepared) => {
                prepared.keep_alive &= !last;
                prepared
            }
            Err(mut refused) => {
                refused.keep_alive &= !last;
                self.client.buffer.consume(length);
                return self.refuse(&refused, limits, scratch, started).await;
            }
        };
        self.client.buffer.consume(length);
        let overload = &generation.snapshot.config.overload;
        let Some(admitted) = shared.local.load.admit(overload, prepared.body_bytes()) else {
            let refused = prepared.shed(self.client.buffer.filled().len());
            return self.refuse(&refused, limits, scratch, started).await;
        };
        self.serve(&generation, &prepared, admitted, limits, scratch, started).await
    }

    /// Reads up to the end of a head and returns its length; `None` when the client left instead.
    async fn read_head(&mut self, limits: &ListenerLimits) -> Result<Option<usize>, (Problem, Refusal)> {
        const MALFORMED: (Problem, Refusal) = (Problem::new(400, "malformed request"), Refusal::Malformed);
        let mut scan = HeadScan::default();
        let mut armed = false;
        loop {
            match scan.find_end(self.client.buffer.filled()) {
                Ok(Some(length)) if length <= limits.header_bytes => return Ok(Some(length)),
                Err(_) => return Err(MALFORMED),
                Ok(found) => {
                    let full = found.is_some()
                        || self.client.buffer.filled().len() >= limits.header_bytes
                        || !self.client.buffer.reserve(limits.header_bytes.max(BUFFER_BYTES));
                    if full {
                        let problem = Problem::new(431, "the request head is larger than this listener takes");
                        return Err((problem, Refusal::HeaderTooLarge));
                    }
                }
            }
            if self.client.half_closed {
                return if self.client.buffer.is_empty() { Ok(None) } else { Err(MALFORMED) };
            }
            if !std::mem::replace(&mut armed, true) {
                self.watched.arm(clock::now().saturating_add(clock::micros(limits.header_timeout)));
            }
            match self.watched.guard(self.client.buffer.fill(&self.client.stream)).await {
                Ok(Ok(0)) => self.client.half_closed = true,
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Ok(None),
                Err(_) => {
                    let problem = Problem::new(408, "the request head took too long to arrive");
                    return Err((problem, Refusal::HeaderTimeout));
                }
            }
        }
    }

    async fn serve(
        &mut self,
        generation: &Rc<Generation>,
        prepared: &Prepared,
        admitted: Admitted,
        limits: &ListenerLimits,
        scratch: &mut Scratch,
        started: Micros,
    ) -> Next {
        let shared = self.shared.clone();
        let body = match self.receive(generation, prepared, limits).await {
            Ok(body) => body,
            Err(end) => {
                let failed = Failed::before(end);
                return self.fail(generation, prepared, failed, 0, scratch, started).await;
            }
        };
        let mut asking = Asking {
            client: &mut self.client,
            version: prepared.version,
            expects_continue: prepared.expects_continue,
            body,
        };
        if prepared.webhook
            && let Err(end) = asking.hold(&self.watched).await
        {
            let (failed, received) = (Failed::before(End::Client(end)), asking.received());
            return self.fail(generation, prepared, failed, received, scratch, started).await;
        }
        let work = Work { local: &shared.local, generation, prepared, watched: &self.watched, scratch };
        let mut answer = match intake::take(&work, &mut asking).await {
            Taken::Answer(answer) => answer,
            Taken::Said { saying, counted } => {
                if let Body::Whole(length) = asking.body {
                    asking.client.buffer.consume(length);
                }
                let refused = prepared.said(saying, counted);
                return self.refuse(&refused, limits, scratch, started).await;
            }
            Taken::Failed(failed) => {
                let received = asking.received();
                // Behind a body that was received whole the next request begins.
                if let (Body::Whole(length), true) = (&asking.body, failed.end.problem().is_some()) {
                    let length = *length;
                    self.client.buffer.consume(length);
                    return self.fail(generation, prepared, failed, received, scratch, started).await;
                }
                let next = self.fail(generation, prepared, failed, received, scratch, started).await;
                return if next == Next::Request { Next::Linger } else { next };
            }
        };
        let status = answer.status();
        if status == 101 {
            // A tunnel stays for hours, and its limit is that of the connections.
            drop(admitted);
            return self.tunnel(generation, prepared, answer, limits, scratch, started).await;
        }
        if let Body::Whole(length) = asking.body {
            asking.client.buffer.consume(length);
            asking.body = Body::Whole(0);
        }
        let keep_alive = prepared.keep_alive && !self.watched.draining();
        let passage = &generation.snapshot.config.routes[prepared.route].passage;
        let manner = respond::Manner {
            keep_alive,
            pace: pace(limits),
            rules: passage.response_headers.as_deref(),
            lines: &scratch.response_lines,
            offer: Offer::of(&shared.local, generation, prepared),
        };
        let outcome = respond::pass_on(&mut answer, &mut asking, &self.watched, manner, &mut scratch.out).await;
        let received = asking.received();
        let bytes_in = if let Framing::Length(length) = prepared.framing { length.max(received) } else { received };
        let told = Told {
            status,
            led: prepared.led(Some(answer.master)),
            attempts: answer.attempts,
            bytes_in,
            bytes_out: outcome.written,
            protocol: prepared.version.name(),
            end: outcome.passed.word(),
        };
        answer.settle(outcome.passed, &generation.upstreams[prepared.upstream]);
        self.tell(generation, &told, scratch, started);
        match outcome {
            respond::Outcome { keep_alive: true, .. } => Next::Request,
            respond::Outcome { passed: Passed::Whole, .. } => Next::Linger,
            respond::Outcome { .. } => Next::Close,
        }
    }

    /// Receives a small body whole, or prepares to pass a large one on.
    async fn receive(
        &mut self,
        generation: &Generation,
        prepared: &Prepared,
        limits: &ListenerLimits,
    ) -> Result<Body, End> {
        let mut pace = pace(limits);
        let length = match prepared.framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
            Framing::None | Framing::UntilClose => return Ok(Body::Whole(0)),
        };
        let here = self.client.buffer.filled().len() as u64;
        match length {
            Some(length) if here >= length || (length <= prepared.whole_max && !prepared.expects_continue) => {
                let length = length as usize;
                while self.client.buffer.filled().len() < length {
                    self.client.buffer.reserve(length.max(BUFFER_BYTES));
                    let begun = clock::now();
                    self.watched.arm(begun.saturating_add(pace.patience()));
                    match self.watched.guard(self.client.buffer.fill(&self.client.stream)).await {
                        Ok(Ok(0) | Err(_)) => return Err(End::Client(ClientEnd::Gone)),
                        Ok(Ok(count)) => pace.waited(clock::now().saturating_sub(begun), count),
                        Err(_) => return Err(End::Client(ClientEnd::TooSlow)),
                    }
                }
                Ok(Body::Whole(length))
            }
            length => {
                let retry = &generation.upstreams[prepared.upstream].shared.settings.retry;
                let keep_max = if prepared.webhook { 0 } else { retry.body_bytes };
                let limits = UploadLimits { body_max: limits.body_bytes, keep_max, pace };
                Ok(Body::Passing(Box::new(Upload::new(length, limits, self.shared.local.load.clone()))))
            }
        }
    }

    async fn tunnel(
        &mut self,
        generation: &Rc<Generation>,
        prepared: &Prepared,
        mut answer: Answer,
        limits: &ListenerLimits,
        scratch: &mut Scratch,
        started: Micros,
    ) -> Next {
        if !prepared.upgrade {
            let failed = answer.unfit();
            answer.reject(&generation.upstreams[prepared.upstream]);
            // Its own body is still in the buffer: the connection ends here.
            self.fail(generation, &Prepared { keep_alive: false, ..*prepared }, failed, 0, scratch, started).await;
            return Next::Linger;
        }
        scratch.out.clear();
        let (response, raw) = answer.head();
        response.write_switching(raw, &mut scratch.out);
        self.watched.arm(clock::now().saturating_add(clock::micros(limits.body_timeout)));
        self.entrance.counters.increment(ListenerSlot::TunnelsOpened);
        let mut moved = tunnel::Moved::default();
        if let Ok(Ok(())) = self.watched.guard(self.client.stream.write_all(&scratch.out)).await {
            let idle = clock::micros(limits.tunnel_timeout);
            moved = tunnel::run(&mut self.client, &mut answer, &self.watched, idle).await;
        }
        self.entrance.counters.increment(ListenerSlot::TunnelsClosed);
        let told = Told {
            status: 101,
            led: prepared.led(Some(answer.master)),
            attempts: answer.attempts,
            bytes_in: moved.to_master,
            bytes_out: moved.to_client,
            protocol: prepared.version.name(),
            end: "tunnel-closed",
        };
        self.tell(generation, &told, scratch, started);
        Next::Close
    }

    /// Answers for an exchange that brought no answer.
    async fn fail(
        &mut self,
        generation: &Generation,
        prepared: &Prepared,
        failed: Failed,
        received: u64,
        scratch: &mut Scratch,
        started: Micros,
    ) -> Next {
        if let Some(counted) = failed.end.refusal() {
            self.entrance.counters.increment(ListenerSlot::Refused(counted));
        }
        let client_fault = matches!(failed.end, End::Client(_));
        let keep_alive = prepared.keep_alive && !client_fault && !self.watched.draining();
        let mut next = if keep_alive { Next::Request } else { Next::Linger };
        let mut status = 499;
        scratch.out.clear();
        match failed.end.problem() {
            Some(problem) => {
                status = problem.status;
                // A body that is passed on may not have arrived whole: the caller closes then, so the answer says so.
                let whole = matches!(prepared.framing, Framing::None)
                    || matches!(prepared.framing, Framing::Length(length) if length <= prepared.whole_max && !prepared.expects_continue);
                problem.write(&scratch.request_id, keep_alive && whole, !prepared.to_head, &mut scratch.out);
                if !whole {
                    next = Next::Linger;
                }
                if self.write_out(&scratch.out).await.is_err() {
                    next = Next::Close;
                }
            }
            None => next = Next::Close,
        }
        let told = Told {
            status,
            led: prepared.led(failed.master),
            attempts: failed.attempts,
            bytes_in: received,
            bytes_out: scratch.out.len() as u64,
            protocol: prepared.version.name(),
            end: failed.end.word(),
        };
        self.tell(generation, &told, scratch, started);
        next
    }

    /// Answers a request that goes no further.
    async fn refuse(
        &mut self,
        refused: &Refused,
        limits: &ListenerLimits,
        scratch: &mut Scratch,
        started: Micros,
    ) -> Next {
        if let Some(counted) = refused.counted {
            self.entrance.counters.increment(ListenerSlot::Refused(counted));
        }
        let keep_alive = refused.keep_alive && !self.watched.draining();
        refused.saying.write(scratch, keep_alive, !refused.to_head);
        let written = self.write_out(&scratch.out).await;
        let told = Told {
            status: refused.saying.status(),
            led: Led { route: refused.route, ..Led::default() },
            attempts: 0,
            bytes_in: 0,
            bytes_out: scratch.out.len() as u64,
            protocol: refused.protocol.name(),
            end: refused.saying.word(),
        };
        let generation = self.shared.local.generation();
        self.tell(&generation, &told, scratch, started);
        match written {
            Err(()) => Next::Close,
            Ok(()) if keep_alive && self.pass_over(refused.body, limits).await => Next::Request,
            Ok(()) if keep_alive => Next::Close,
            Ok(()) => Next::Linger,
        }
    }

    /// Receives the rest of a request that has been answered, for nothing. False when it does not come.
    async fn pass_over(&mut self, body: u64, limits: &ListenerLimits) -> bool {
        let mut left = usize::try_from(body).unwrap_or(usize::MAX);
        let mut pace = pace(limits);
        loop {
            let here = self.client.buffer.filled().len().min(left);
            self.client.buffer.consume(here);
            left -= here;
            if left == 0 {
                return true;
            }
            self.client.buffer.reserve(BUFFER_BYTES);
            let begun = clock::now();
            self.watched.arm(begun.saturating_add(pace.patience()));
            match self.watched.guard(self.client.buffer.fill(&self.client.stream)).await {
                Ok(Ok(count @ 1..)) => pace.waited(clock::now().saturating_sub(begun), count),
                _ => return false,
            }
        }
    }

    async fn write_out(&self, bytes: &[u8]) -> Result<(), ()> {
        self.watched.arm(clock::now().saturating_add(clock::micros(LINGER)));
        match self.watched.guard(self.client.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(()),
        }
    }

    /// Counts the request and writes its log line.
    fn tell(&self, generation: &Generation, told: &Told, scratch: &Scratch, started: Micros) {
        self.shared.tell(&self.peer, generation, told, scratch, started);
    }
}

/// The patience with a client that sends a body or takes an answer.
fn pace(limits: &ListenerLimits) -> Pace {
    Pace::new(clock::micros(limits.body_timeout), limits.min_rate)
}
