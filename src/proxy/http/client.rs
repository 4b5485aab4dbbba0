//! The client of one connection, and what an exchange needs of it.

use std::task::{Context, Poll};

use super::upload::Upload;
use crate::clock::{self, Micros};
use crate::exchange::{ClientEnd, Part, Requester};
use crate::http::request::{Framing, Version};
use crate::http::response::{Onward, Response};
use crate::net::buffer::{BUFFER_BYTES, Buffer};
use crate::net::stream::Stream;
use crate::net::watch::Watched;
use crate::proxy::intake::hold::hold;
use crate::upstream::connection::Pool;

/// A connected client, and what it sent that has not been dealt with.
#[derive(Debug)]
pub struct Client {
    pub stream: Stream,
    pub buffer: Buffer,
    /// It will send no more, which is its right once its request is whole; it still gets its answer.
    pub half_closed: bool,
}

/// The request that is being answered.
#[derive(Debug)]
pub struct Asking<'c> {
    pub client: &'c mut Client,
    pub version: Version,
    pub expects_continue: bool,
    pub body: Body,
}

/// Where its body is.
#[derive(Debug)]
pub enum Body {
    /// This many bytes at the start of the client's buffer, all there is.
    Whole(usize),
    /// All there is, which came in chunks or had to be asked for.
    Held(Vec<u8>),
    Passing(Box<Upload>),
}

impl Client {
    /// Takes in what the client sends ahead of its turn, behind the `body` bytes that are held, as far as one buffer goes.
    /// Ready when the connection broke.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, body: usize) -> Poll<()> {
        let limit = body + BUFFER_BYTES;
        while !self.half_closed {
            match self.stream.poll_readable(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
            // Behind a full buffer the client waits for its answer; that it leaves is noticed when that is written.
            if self.buffer.filled().len() >= limit || !self.buffer.reserve(limit) {
                return Poll::Pending;
            }
            match self.buffer.poll_fill(cx, &self.stream) {
                Poll::Ready(Ok(0)) => self.half_closed = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Pending
    }
}

impl Asking<'_> {
    /// Whether the client has sent its whole request.
    #[must_use]
    pub fn is_received(&self) -> bool {
        match &self.body {
            Body::Whole(_) | Body::Held(_) => true,
            Body::Passing(upload) => upload.is_received(),
        }
    }

    /// Receives the rest of a body that has to be here whole.
    ///
    /// # Errors
    /// [`ClientEnd`].
    pub async fn hold(&mut self, watched: &Watched<Pool>) -> Result<(), ClientEnd> {
        if !matches!(self.body, Body::Passing(_)) {
            return Ok(());
        }
        if self.expects_continue {
            let told = self.client.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            watched.arm(clock::now().saturating_add(self.pause()));
            watched.guard(told).await.map_err(|_| ClientEnd::TooSlow)?.map_err(|_| ClientEnd::Gone)?;
        }
        self.body = Body::Held(hold(self, watched).await?);
        Ok(())
    }

    /// Bytes of body received.
    #[must_use]
    pub fn received(&self) -> u64 {
        match &self.body {
            Body::Whole(length) => *length as u64,
            Body::Held(body) => body.len() as u64,
            Body::Passing(upload) => upload.received(),
        }
    }
}

impl Requester for Asking<'_> {
    fn whole_body(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Whole(length) => Some(&self.client.buffer.filled()[..*length]),
            Body::Held(body) => Some(body),
            Body::Passing(_) => None,
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part<'_>, ClientEnd>> {
        match &mut self.body {
            Body::Whole(_) | Body::Held(_) => Poll::Ready(Ok(Part::End { trailers: &[] })),
            Body::Passing(upload) => upload.poll(cx, self.client),
        }
    }

    fn sent(&mut self, count: usize) {
        if let Body::Passing(upload) = &mut self.body {
            upload.sent(count);
        }
    }

    fn pause(&self) -> Micros {
        match &self.body {
            Body::Whole(_) | Body::Held(_) => 0,
            Body::Passing(upload) => upload.pause(),
        }
    }

    fn rewind(&mut self) -> bool {
        match &mut self.body {
            Body::Whole(_) | Body::Held(_) => true,
            Body::Passing(upload) => upload.rewind(),
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let body = if let Body::Whole(length) = self.body { length } else { 0 };
        self.client.poll_gone(cx, body)
    }

    async fn interim(&mut self, response: &Response, raw: &[u8]) -> Result<(), ClientEnd> {
        let unwanted = response.status == 100 && !self.expects_continue;
        if self.version == Version::Http10 || unwanted {
            return Ok(());
        }
        let mut head = Vec::with_capacity(raw.len());
        response.write(raw, Onward { framing: Framing::None, keep_alive: None }, &mut head);
        self.client.stream.write_all(&head).await.map_err(|_| ClientEnd::Gone)
    }
}
