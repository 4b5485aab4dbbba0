//! A request body on its way to a master, piece by piece and without its framing.
//!
//! Bytes go from the client's buffer through one outgoing buffer to the master, and no faster than the master takes them:
//! nothing is read from the client while something is unsent. Up to a limit the outgoing bytes are kept, so that another
//! attempt can start from the beginning; a body that outgrows it, or the worker's allowance, is tried once.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::client::Client;
use crate::clock::{self, Micros};
use crate::exchange::load::Load;
use crate::exchange::{ClientEnd, Part};
use crate::http::chunked::{ChunkedReader, Piece};
use crate::limits::pace::Pace;
use crate::net::buffer::BUFFER_BYTES;

/// A body being passed on.
#[derive(Debug)]
pub struct Upload {
    reader: Reader,
    /// Bytes for the master: all since the start while they are kept for another attempt, else those not yet sent.
    outgoing: Vec<u8>,
    sent: usize,
    /// The trailer lines, once all is received.
    trailers: Vec<u8>,
    kept: bool,
    keep_max: usize,
    load: Rc<Load>,
    allowed: usize,
    received: u64,
    body_max: u64,
    pace: Pace,
    /// When the present wait for the client began.
    waiting_since: Option<Micros>,
}

#[derive(Debug)]
enum Reader {
    Length { left: u64 },
    Chunked(ChunkedReader),
    Done,
}

/// Bounds on an upload.
#[derive(Debug, Clone, Copy)]
pub struct UploadLimits {
    pub body_max: u64,
    pub keep_max: usize,
    pub pace: Pace,
}

impl Upload {
    /// A body of `length` bytes, or a chunked one.
    #[must_use]
    pub fn new(length: Option<u64>, limits: UploadLimits, load: Rc<Load>) -> Self {
        Self {
            reader: length.map_or_else(|| Reader::Chunked(ChunkedReader::default()), |left| Reader::Length { left }),
            outgoing: Vec::new(),
            sent: 0,
            trailers: Vec::new(),
            kept: true,
            keep_max: limits.keep_max,
            load,
            allowed: 0,
            received: 0,
            body_max: limits.body_max,
            pace: limits.pace,
            waiting_since: None,
        }
    }

    /// Bytes of body received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// See [`crate::exchange::Requester::pause`].
    #[must_use]
    pub fn pause(&self) -> Micros {
        if self.waiting_since.is_some() { self.pace.patience() } else { self.pace.pause() }
    }

    /// Whether the client has sent all of it.
    #[must_use]
    pub fn is_received(&self) -> bool {
        matches!(self.reader, Reader::Done)
    }

    /// See [`crate::exchange::Requester::rewind`].
    pub fn rewind(&mut self) -> bool {
        if self.kept {
            self.sent = 0;
        }
        self.kept
    }

    /// See [`crate::exchange::Requester::sent`].
    pub fn sent(&mut self, count: usize) {
        self.sent += count;
        if !self.kept && self.sent == self.outgoing.len() {
            self.outgoing.clear();
            self.sent = 0;
        }
    }

    /// See [`crate::exchange::Requester::poll_body`].
    pub fn poll(&mut self, cx: &mut Context<'_>, client: &mut Client) -> Poll<Result<Part<'_>, ClientEnd>> {
        loop {
            if self.sent < self.outgoing.len() {
                return Poll::Ready(Ok(Part::Data(&self.outgoing[self.sent..])));
            }
            if self.is_received() {
                return Poll::Ready(Ok(Part::End { trailers: &self.trailers }));
            }
            if client.buffer.is_empty() {
                client.buffer.reserve(BUFFER_BYTES);
                match client.buffer.poll_fill(cx, &client.stream) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(ClientEnd::Gone)),
                    Poll::Ready(Ok(count)) => {
                        let waited = self.waiting_since.take().map_or(0, |since| clock::now().saturating_sub(since));
                        self.pace.waited(waited, count);
                    }
                    Poll::Pending => {
                        self.waiting_since.get_or_insert_with(clock::now);
                        return Poll::Pending;
                    }
                }
            }
            self.take_in(client)?;
        }
    }

    /// Moves what the client's buffer holds of the body to the outgoing bytes.
    fn take_in(&mut self, client: &mut Client) -> Result<(), ClientEnd> {
        let before = self.outgoing.len();
        while !client.buffer.is_empty() {
            let input = client.buffer.filled();
            let used = match &mut self.reader {
                Reader::Done => break,
                Reader::Length { left } => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    self.outgoing.extend_from_slice(&input[..length]);
                    self.received += length as u64;
                    *left -= length as u64;
                    if *left == 0 {
                        self.reader = Reader::Done;
                    }
                    length
                }
                Reader::Chunked(reader) => match reader.next(input).map_err(|_| ClientEnd::Malformed)? {
                    Piece::Data { used, length } => {
                        self.received += length as u64;
                        self.outgoing.extend_from_slice(&input[used..used + length]);
                        used + length
                    }
                    Piece::More { used } => used,
                    Piece::End { used } => {
                        reader.write_trailers(&mut self.trailers).map_err(|_| ClientEnd::Malformed)?;
                        self.reader = Reader::Done;
                        used
                    }
                },
            };
            client.buffer.consume(used);
            if self.received > self.body_max {
                return Err(ClientEnd::TooLarge);
            }
        }
        if self.kept {
            let grown = self.outgoing.len() - before;
            self.kept = self.outgoing.len() <= self.keep_max && self.load.keep(grown);
            if self.kept {
                self.allowed += grown;
            } else {
                self.forget();
            }
        }
        Ok(())
    }

    /// Keeps only what is still to be sent.
    fn forget(&mut self) {
        // In a vector of its own size: what is no longer allowed must not stay allocated.
        self.outgoing = self.outgoing.split_off(self.sent);
        self.sent = 0;
        self.load.give_back(std::mem::take(&mut self.allowed));
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.load.give_back(self.allowed);
    }
}
