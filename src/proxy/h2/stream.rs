//! One stream: a request, its exchange, and the answer.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use tokio::sync::Notify;

use super::body::{Asking, Body, Upload, poll_data};
use super::io::Wire;
use super::{head, respond, websocket};
use crate::clock::{self, Micros};
use crate::config::model::ListenerLimits;
use crate::exchange::answer::{Answer, Passed};
use crate::exchange::local::{Generation, Led};
use crate::exchange::{ClientEnd, End, Failed};
use crate::http::problem::Problem;
use crate::http::request::{Framing, Version};
use crate::http::response::Response;
use crate::ids::REQUEST_ID_DIGITS;
use crate::limits::pace::Pace;
use crate::net::watch::Watched;
use crate::proxy::compression::Offer;
use crate::proxy::http::entrance::{Entrance, Peer};
use crate::proxy::http::prepare::{Inlet, Prepared, Refused, Scratch, WHOLE_BODY_MAX};
use crate::proxy::http::saying::Saying;
use crate::proxy::http::shared::{Shared, Told};
use crate::proxy::http::upload::UploadLimits;
use crate::proxy::intake::{self, Taken, Work};
use crate::proxy::linger::LINGER;
use crate::telemetry::hot::{ListenerSlot, Refusal};
use crate::upstream::connection::Pool;

const PROTOCOL: &str = "HTTP/2.0";

const KEY_DIGITS: usize = 21;

/// What a connection and its streams share.
#[derive(Debug)]
pub struct Trunk {
    pub shared: Rc<Shared>,
    pub wire: Rc<Wire>,
    pub entrance: Rc<Entrance>,
    pub peer: Peer,
    pub https: bool,
    pub open: Cell<usize>,
    /// The last open stream has ended.
    pub emptied: Notify,
}

/// A stream that was opened; counted as open until dropped.
#[derive(Debug)]
pub struct Stream {
    trunk: Rc<Trunk>,
    started: Micros,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let open = self.trunk.open.get() - 1;
        self.trunk.open.set(open);
        if open == 0 {
            self.trunk.emptied.notify_one();
        }
    }
}

/// An exchange of this stream.
struct Course<'a> {
    generation: &'a Rc<Generation>,
    limits: &'a ListenerLimits,
    watched: &'a Watched<Pool>,
}

impl Stream {
    #[must_use]
    pub fn new(trunk: &Rc<Trunk>) -> Self {
        trunk.open.set(trunk.open.get() + 1);
        Self { trunk: trunk.clone(), started: clock::now() }
    }

    /// Answers the request.
    pub async fn run(self, request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let shared = &self.trunk.shared;
        let watched =
            std::future::poll_fn(|cx| std::task::Poll::Ready(shared.local.watch.register(cx.waker().clone()))).await;
        let generation = shared.local.generation();
        let Some(position) = self.trunk.entrance.position(&generation) else {
            // A reload has removed the listener; nothing was done with the request (RFC 9113 section 8.7).
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        };
        let limits = &generation.snapshot.config.listeners[position].limits;
        let course = Course { generation: &generation, limits, watched: &watched };
        let mut scratch = shared.scratch();
        match self.prepare(&generation, position, &request, &mut scratch) {
            Ok(prepared) => self.serve(&course, &prepared, request.into_body(), respond, &mut scratch).await,
            Err(refused) => self.refuse(&course, &refused, &mut respond, &mut scratch).await,
        }
        shared.give_back(scratch);
    }

    fn prepare(
        &self,
        generation: &Generation,
        position: usize,
        request: &http::Request<RecvStream>,
        scratch: &mut Scratch,
    ) -> Result<Prepared, Box<Refused>> {
        let Trunk { shared, peer, https, .. } = &*self.trunk;
        let mut raw = std::mem::take(&mut scratch.out);
        raw.clear();
        let header_bytes = generation.snapshot.config.listeners[position].limits.header_bytes;
        let written = write_head(request, shared, &mut raw).and(if raw.len() > header_bytes {
            Err(head::Unfit::TooLarge)
        } else {
            Ok(())
        });
        let prepared = match written {
            Ok(()) => {
                let (ids, logged) = (&shared.local.ids, shared.log.is_on());
                Inlet { generation, position, peer, https: *https, ids, logged }.prepare(&raw, 0, scratch)
            }
            Err(unfit) => {
                scratch.clear();
                let (problem, counted) = match unfit {
                    head::Unfit::Malformed(detail) => (Problem::new(400, detail), Refusal::Malformed),
                    head::Unfit::TooLarge => {
                        let detail = "the request head is larger than this listener takes";
                        (Problem::new(431, detail), Refusal::HeaderTooLarge)
                    }
                    head::Unfit::Protocol => {
                        let detail = "the only protocol that a CONNECT request may ask for here is websocket";
                        (Problem::new(501, detail), Refusal::Unsupported)
                    }
                };
                let to_head = *request.method() == http::Method::HEAD;
                Err(Box::new(Refused::new(problem, counted, Version::Http11, to_head)))
            }
        };
        scratch.out = raw;
        prepared
    }

    async fn serve(
        &self,
        course: &Course<'_>,
        prepared: &Prepared,
        body: RecvStream,
        mut respond: SendResponse<Bytes>,
        scratch: &mut Scratch,
    ) {
        let Course { generation, limits, watched } = *course;
        let shared = &self.trunk.shared;
        let mut tunnel = None;
        let overload = &generation.snapshot.config.overload;
        let Some(admitted) = shared.local.load.admit(overload, prepared.body_bytes()) else {
            return self.refuse(course, &prepared.shed(0), &mut respond, scratch).await;
        };
        let body = if prepared.upgrade {
            tunnel = Some(body);
            Body::Whole(Vec::new())
        } else {
            match self.receive(course, prepared, body).await {
                Ok(body) => body,
                Err(end) => {
                    let failed = Failed::before(End::Client(end));
                    return self.fail(course, prepared, failed, 0, &mut respond, scratch).await;
                }
            }
        };
        let mut asking = Asking { respond, expects_continue: prepared.expects_continue, body };
        if prepared.webhook
            && let Err(end) = asking.hold(watched).await
        {
            let (failed, received) = (Failed::before(End::Client(end)), asking.received());
            return self.fail(course, prepared, failed, received, &mut asking.respond, scratch).await;
        }
        let work = Work { local: &shared.local, generation, prepared, watched, scratch };
        let mut answer = match intake::take(&work, &mut asking).await {
            Taken::Answer(answer) => answer,
            Taken::Said { saying, counted } => {
                return self.refuse(course, &prepared.said(saying, counted), &mut asking.respond, scratch).await;
            }
            Taken::Failed(failed) => {
                let received = asking.received();
                return self.fail(course, prepared, failed, received, &mut asking.respond, scratch).await;
            }
        };
        let upstream = &generation.upstreams[prepared.upstream];
        let status = answer.status();
        // To a client that asked for a tunnel, every 2xx says that it is open.
        if status == 101 || (prepared.upgrade && status < 300) {
            let (response, raw) = answer.head();
            let accepted = status == 101 && websocket::is_accepted(&scratch.head, response, raw);
            if let (true, Some(body)) = (accepted, tunnel.take()) {
                // A tunnel stays for hours, and its limit is that of the streams.
                drop(admitted);
                return self.tunnel(course, prepared, answer, body, asking.respond, scratch).await;
            }
            let failed = answer.unfit();
            answer.reject(upstream);
            return self.fail(course, prepared, failed, 0, &mut asking.respond, scratch).await;
        }
        let passage = &generation.snapshot.config.routes[prepared.route].passage;
        let manner = respond::Manner {
            pace: pace(limits),
            rules: passage.response_headers.as_deref(),
            lines: &scratch.response_lines,
            offer: Offer::of(&shared.local, generation, prepared),
        };
        let (passed, written) = respond::pass_on(&mut answer, &mut asking, watched, manner, &mut scratch.out).await;
        let told = Told {
            status,
            led: prepared.led(Some(answer.master)),
            attempts: answer.attempts,
            bytes_in: asking.received(),
            bytes_out: written,
            protocol: PROTOCOL,
            end: passed.word(),
        };
        answer.settle(passed, upstream);
        self.tell(generation, &told, scratch);
    }

    /// Receives a small body whole, or prepares to pass a large one on.
    async fn receive(&self, course: &Course<'_>, prepared: &Prepared, mut from: RecvStream) -> Result<Body, ClientEnd> {
        let mut pace = pace(course.limits);
        let length = match prepared.framing {
            Framing::None | Framing::UntilClose if from.is_end_stream() => return Ok(Body::Whole(Vec::new())),
            // A length of nothing, before the end: no master is asked until it is known that nothing comes.
            Framing::None | Framing::UntilClose => 0,
            Framing::Length(length) if length <= prepared.whole_max && !prepared.expects_continue => length,
            Framing::Length(_) | Framing::Chunked => {
                let retry = &course.generation.upstreams[prepared.upstream].shared.settings.retry;
                let keep_max = if prepared.webhook { 0 } else { retry.body_bytes };
                let limits = UploadLimits { body_max: course.limits.body_bytes, keep_max, pace };
                let (wire, load) = (self.trunk.wire.clone(), self.trunk.shared.local.load.clone());
                return Ok(Body::Passing(Upload::new(from, wire, limits, load)));
            }
        };
        // What is only announced takes no memory.
        let mut body = Vec::with_capacity(length.min(WHOLE_BODY_MAX) as usize);
        loop {
            let begun = clock::now();
            course.watched.arm(begun.saturating_add(pace.patience()));
            let data = std::future::poll_fn(|cx| poll_data(&mut from, cx));
            let Some(data) = course.watched.guard(data).await.map_err(|_| ClientEnd::TooSlow)?? else { break };
            pace.waited(clock::now().saturating_sub(begun), data.len());
            body.extend_from_slice(&data);
        }
        // The crate has held the data against the length; a master must not be left waiting for the rest.
        if body.len() as u64 == length { Ok(Body::Whole(body)) } else { Err(ClientEnd::Malformed) }
    }

    async fn tunnel(
        &self,
        course: &Course<'_>,
        prepared: &Prepared,
        mut answer: Answer,
        from: RecvStream,
        mut respond: SendResponse<Bytes>,
        scratch: &Scratch,
    ) {
        let counters = &self.trunk.entrance.counters;
        let (response, raw) = answer.head();
        let opened = head::response(response, raw).and_then(|head| respond.send_response(head, false).ok());
        let mut moved = crate::proxy::http::tunnel::Moved::default();
        if let Some(to) = opened {
            counters.increment(ListenerSlot::TunnelsOpened);
            let idle = clock::micros(course.limits.tunnel_timeout);
            moved = websocket::run(from, to, &mut answer, course.watched, idle).await;
            counters.increment(ListenerSlot::TunnelsClosed);
        }
        let told = Told {
            status: 200,
            led: prepared.led(Some(answer.master)),
            attempts: answer.attempts,
            bytes_in: moved.to_master,
            bytes_out: moved.to_client,
            protocol: PROTOCOL,
            end: "tunnel-closed",
        };
        self.tell(course.generation, &told, scratch);
    }

    /// Answers for an exchange that brought no answer.
    async fn fail(
        &self,
        course: &Course<'_>,
        prepared: &Prepared,
        failed: Failed,
        received: u64,
        respond: &mut SendResponse<Bytes>,
        scratch: &mut Scratch,
    ) {
        if let Some(counted) = failed.end.refusal() {
            self.trunk.entrance.counters.increment(ListenerSlot::Refused(counted));
        }
        let (mut status, mut written) = (499, 0);
        match failed.end.problem() {
            Some(problem) => {
                status = problem.status;
                written = self.say(course, &Saying::Problem(problem), prepared.to_head, respond, scratch).await;
            }
            None => respond.send_reset(Reason::CANCEL),
        }
        let told = Told {
            status,
            led: prepared.led(failed.master),
            attempts: failed.attempts,
            bytes_in: received,
            bytes_out: written,
            protocol: PROTOCOL,
            end: failed.end.word(),
        };
        self.tell(course.generation, &told, scratch);
    }

    /// Answers a request that goes no further.
    async fn refuse(
        &self,
        course: &Course<'_>,
        refused: &Refused,
        respond: &mut SendResponse<Bytes>,
        scratch: &mut Scratch,
    ) {
        if let Some(counted) = refused.counted {
            self.trunk.entrance.counters.increment(ListenerSlot::Refused(counted));
        }
        let written = self.say(course, &refused.saying, refused.to_head, respond, scratch).await;
        let told = Told {
            status: refused.saying.status(),
            led: Led { route: refused.route, ..Led::default() },
            attempts: 0,
            bytes_in: 0,
            bytes_out: written,
            protocol: PROTOCOL,
            end: refused.saying.word(),
        };
        self.tell(course.generation, &told, scratch);
    }

    /// Sends an answer of Baton's own, and returns how many bytes of body were sent.
    async fn say(
        &self,
        course: &Course<'_>,
        saying: &Saying,
        to_head: bool,
        respond: &mut SendResponse<Bytes>,
        scratch: &mut Scratch,
    ) -> u64 {
        saying.write(scratch, true, true);
        self.write(course, to_head, respond, &scratch.out).await
    }

    /// Sends an answer that was written for HTTP/1.1, read back: one place makes what Baton says itself. Returns how many
    /// bytes of body were sent.
    async fn write(&self, course: &Course<'_>, to_head: bool, respond: &mut SendResponse<Bytes>, answer: &[u8]) -> u64 {
        let end = memchr::memmem::find(answer, b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        let (raw, body) = answer.split_at(end);
        let to_head = to_head || body.is_empty();
        let mut response = Response::default();
        let head = response.parse(raw, false).ok().and_then(|()| head::response(&response, raw));
        let sent = head.and_then(|head| respond.send_response(head, to_head).ok());
        let Some(mut stream) = sent.filter(|_| !to_head) else { return 0 };
        let (length, pause) = (body.len() as u64, clock::micros(LINGER));
        let body = Bytes::copy_from_slice(body);
        match respond::send(&mut stream, body, true, course.watched, &mut Pace::new(pause, 0)).await {
            Ok(()) => length,
            Err(Passed::Whole | Passed::ClientGone | Passed::CutShort | Passed::Stalled) => {
                stream.send_reset(Reason::CANCEL);
                0
            }
        }
    }

    fn tell(&self, generation: &Generation, told: &Told, scratch: &Scratch) {
        let Trunk { shared, peer, .. } = &*self.trunk;
        shared.tell(peer, generation, told, scratch, self.started);
    }
}

/// The patience with a client that sends a body or takes an answer.
fn pace(limits: &ListenerLimits) -> Pace {
    Pace::new(clock::micros(limits.body_timeout), limits.min_rate)
}

fn write_head(request: &http::Request<RecvStream>, shared: &Shared, raw: &mut Vec<u8>) -> Result<(), head::Unfit> {
    // Any 21 of these digits, an A and the padding are 16 bytes in base64 (RFC 6455 section 4.1). They keep nobody out.
    let mut key = *b"000000000000000000000A==";
    key[..KEY_DIGITS].copy_from_slice(&shared.local.ids.next()[REQUEST_ID_DIGITS - KEY_DIGITS..]);
    head::write_request(request, request.body().is_end_stream(), &key, raw)
}
