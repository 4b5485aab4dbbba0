//! A request body on its way to a master that speaks HTTP/1.1: what framing it has on that side is decided here.
//!
//! The requester gives plain data and keeps it until it is told that it was sent; the lines around a chunk are made here
//! and written together with the data, so that nothing is copied for them.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::{Part, Requester, UploadError};
use crate::clock;
use crate::http::chunked::write_chunk_size;
use crate::http::h2_fields;
use crate::net::stream::Stream;
use crate::net::watch::Watched;
use crate::upstream::connection::Pool;

const LINE_END: &[u8] = b"\r\n";

/// One attempt's sending of a body.
#[derive(Debug)]
pub struct Sending {
    chunked: bool,
    /// What goes before the data of the chunk at hand; behind the last one, the end of the body.
    lead: Vec<u8>,
    /// Bytes written of the chunk at hand, its lead and line end included.
    done: usize,
    ended: bool,
    waits: Option<Side>,
}

/// Whose pause it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Master,
}

impl Sending {
    /// A body in chunks, or one whose length stands in the head.
    #[must_use]
    pub fn new(chunked: bool) -> Self {
        Self { chunked, lead: Vec::new(), done: 0, ended: false, waits: None }
    }

    /// Whether a pause now is the master's, which takes nothing, rather than the client's, which sends nothing.
    #[must_use]
    pub fn waits_for_master(&self) -> bool {
        self.waits == Some(Side::Master)
    }

    /// Passes on what has come of the body, and sets the watch to the longest pause whenever a wait begins. Ready when all
    /// of it has been passed on. May be called again after an error.
    pub fn poll<R: Requester>(
        &mut self,
        cx: &mut Context<'_>,
        requester: &mut R,
        to: &Stream,
        watched: &Watched<Pool>,
    ) -> Poll<Result<(), UploadError>> {
        while !self.ended {
            let part = match requester.poll_body(cx) {
                Poll::Ready(part) => part.map_err(UploadError::Client)?,
                Poll::Pending => return self.wait(Side::Client, requester, watched),
            };
            if self.waits == Some(Side::Client) {
                self.waits = None;
            }
            let sent = match self.poll_part(cx, &part, to) {
                Poll::Ready(sent) => sent.map_err(|_| UploadError::Master)?,
                Poll::Pending => return self.wait(Side::Master, requester, watched),
            };
            self.waits = None;
            requester.sent(sent);
        }
        to.poll_flush(cx).map_err(|_| UploadError::Master)
    }

    fn wait<R: Requester>(
        &mut self,
        side: Side,
        requester: &R,
        watched: &Watched<Pool>,
    ) -> Poll<Result<(), UploadError>> {
        if self.waits.replace(side) != Some(side) {
            watched.arm(clock::now().saturating_add(requester.pause()));
        }
        Poll::Pending
    }

    /// Writes what the kernel takes, and returns how much of the data is done with: of a chunk only the whole.
    fn poll_part(&mut self, cx: &mut Context<'_>, part: &Part<'_>, to: &Stream) -> Poll<io::Result<usize>> {
        let (data, tail) = match *part {
            Part::Data(data) if !self.chunked => return to.poll_write(cx, &[IoSlice::new(data)]),
            Part::Data(data) => (data, LINE_END),
            Part::End { trailers } if !self.chunked => {
                self.ended = true;
                // They were HTTP/2's when they came, or were checked as those of HTTP/1.1 are; what it cannot say is left out.
                let finished = to.with_h2(|stream| stream.finish(h2_fields::trailers(trailers).unwrap_or_default()));
                return Poll::Ready(finished.transpose().map(|_| 0));
            }
            Part::End { trailers } => (trailers, LINE_END),
        };
        let is_data = matches!(part, Part::Data(_));
        if self.done == 0 {
            self.lead.clear();
            write_chunk_size(if is_data { data.len() } else { 0 }, &mut self.lead);
        }
        let total = self.lead.len() + data.len() + tail.len();
        while self.done < total {
            let mut skip = self.done;
            let rest = [&self.lead[..], data, tail].map(|part| {
                let skipped = skip.min(part.len());
                skip -= skipped;
                IoSlice::new(&part[skipped..])
            });
            self.done += ready!(to.poll_write(cx, &rest))?;
            self.waits = None;
        }
        self.done = 0;
        self.ended = !is_data;
        Poll::Ready(Ok(if is_data { data.len() } else { 0 }))
    }
}
