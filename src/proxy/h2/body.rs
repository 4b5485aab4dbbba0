//! A stream's request body, and what an exchange needs of its client.
//!
//! The client's window opens again only for what has been taken from it, and nothing is taken while something is unsent: a
//! master that does not read stops its client, at the cost of one window.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::HeaderMap;

use super::head;
use super::io::Wire;
use crate::clock::{self, Micros};
use crate::exchange::load::Load;
use crate::exchange::{ClientEnd, Part, Requester};
use crate::http::h2_fields;
use crate::http::response::Response;
use crate::limits::pace::Pace;
use crate::net::watch::Watched;
use crate::proxy::http::upload::UploadLimits;
use crate::proxy::intake::hold::hold;
use crate::proxy::replay::Replay;
use crate::upstream::connection::Pool;

/// Trailers of a request, counted as header lists are (RFC 9113 section 6.5.2). It is so far below the crate's limit that what it
/// leaves out of them is one field, whose bytes are more than [`TRAILERS_BLOCK_MAX`] even if every one takes five bits and its
/// name comes from the table of header fields: the meter has seen that.
///
/// [`TRAILERS_BLOCK_MAX`]: super::meter::TRAILERS_BLOCK_MAX
pub const TRAILERS_BYTES_MAX: usize = 8 * 1024;

/// The request that is being answered.
#[derive(Debug)]
pub struct Asking {
    pub respond: SendResponse<Bytes>,
    pub expects_continue: bool,
    pub body: Body,
}

/// Where its body is.
#[derive(Debug)]
pub enum Body {
    /// All there is.
    Whole(Vec<u8>),
    Passing(Upload),
}

/// A body being passed on.
#[derive(Debug)]
pub struct Upload {
    from: RecvStream,
    wire: Rc<Wire>,
    outgoing: Replay,
    trailers: Vec<u8>,
    ended: bool,
    received: u64,
    body_max: u64,
    pace: Pace,
    /// When the present wait for the client began.
    waiting_since: Option<Micros>,
}

impl Upload {
    #[must_use]
    pub fn new(from: RecvStream, wire: Rc<Wire>, limits: UploadLimits, load: Rc<Load>) -> Self {
        let UploadLimits { body_max, keep_max, pace } = limits;
        let (outgoing, trailers) = (Replay::new(keep_max, load), Vec::new());
        Self { from, wire, outgoing, trailers, ended: false, received: 0, body_max, pace, waiting_since: None }
    }

    /// Takes the trailers in.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), ClientEnd> {
        let trailers = trailers.unwrap_or_default();
        let size: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        let stream = self.from.stream_id().as_u32();
        if size > TRAILERS_BYTES_MAX || self.wire.meter.borrow().has_large_trailers(stream) {
            return Err(ClientEnd::TrailersTooLarge);
        }
        h2_fields::write_trailers(&trailers, &mut self.trailers);
        self.ended = true;
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part<'_>, ClientEnd>> {
        while self.outgoing.unsent().is_empty() && !self.ended {
            let Poll::Ready(came) = poll_data(&mut self.from, cx) else {
                self.waiting_since.get_or_insert_with(clock::now);
                return Poll::Pending;
            };
            let waited = self.waiting_since.take().map_or(0, |since| clock::now().saturating_sub(since));
            match came? {
                Some(data) => {
                    self.pace.waited(waited, data.len());
                    self.received += data.len() as u64;
                    if self.received > self.body_max {
                        return Poll::Ready(Err(ClientEnd::TooLarge));
                    }
                    self.outgoing.push(&data);
                }
                None => {
                    let trailers = ready!(self.from.poll_trailers(cx)).map_err(|_| ClientEnd::Gone)?;
                    self.end(trailers)?;
                }
            }
        }
        Poll::Ready(Ok(match self.outgoing.unsent() {
            [] => Part::End { trailers: &self.trailers },
            unsent => Part::Data(unsent),
        }))
    }
}

/// The next data, for which the client may send as much again; `None` at the end.
pub fn poll_data(from: &mut RecvStream, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ClientEnd>> {
    let data = ready!(from.poll_data(cx)).transpose().map_err(|_| ClientEnd::Gone)?;
    if let Some(data) = &data {
        // It fails for a stream that is gone, which the next read tells.
        let _ = from.flow_control().release_capacity(data.len());
    }
    Poll::Ready(Ok(data))
}

impl Asking {
    /// Receives the rest of a body that has to be here whole.
    ///
    /// # Errors
    /// [`ClientEnd`].
    pub async fn hold(&mut self, watched: &Watched<Pool>) -> Result<(), ClientEnd> {
        if !matches!(self.body, Body::Passing(_)) {
            return Ok(());
        }
        if self.expects_continue {
            let mut told = http::Response::new(());
            *told.status_mut() = http::StatusCode::CONTINUE;
            self.respond.send_informational(told).map_err(|_| ClientEnd::Gone)?;
        }
        self.body = Body::Whole(hold(self, watched).await?);
        Ok(())
    }

    /// Bytes of body received.
    #[must_use]
    pub fn received(&self) -> u64 {
        match &self.body {
            Body::Whole(body) => body.len() as u64,
            Body::Passing(upload) => upload.received,
        }
    }
}

impl Requester for Asking {
    fn whole_body(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Whole(body) => Some(body),
            Body::Passing(_) => None,
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part<'_>, ClientEnd>> {
        match &mut self.body {
            Body::Whole(_) => Poll::Ready(Ok(Part::End { trailers: &[] })),
            Body::Passing(upload) => upload.poll(cx),
        }
    }

    fn sent(&mut self, count: usize) {
        if let Body::Passing(upload) = &mut self.body {
            upload.outgoing.sent(count);
        }
    }

    fn pause(&self) -> Micros {
        match &self.body {
            Body::Whole(_) => 0,
            Body::Passing(upload) if upload.waiting_since.is_some() => upload.pace.patience(),
            Body::Passing(upload) => upload.pace.pause(),
        }
    }

    fn rewind(&mut self) -> bool {
        match &mut self.body {
            Body::Whole(_) => true,
            Body::Passing(upload) => upload.outgoing.rewind(),
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.poll_reset(cx).map(|_| ())
    }

    async fn interim(&mut self, response: &Response, raw: &[u8]) -> Result<(), ClientEnd> {
        let wanted = response.status != 100 || self.expects_continue;
        match head::response(response, raw).filter(|_| wanted) {
            Some(head) => self.respond.send_informational(head).map_err(|_| ClientEnd::Gone),
            None => Ok(()),
        }
    }
}
