//! A request body on its way to a master, piece by piece and without its framing.
//!
//! Bytes go from the client's buffer through one outgoing buffer to the master, and no faster than the master takes them:
//! nothing is read from the client while something is unsent. What is kept for another attempt is decided by
//! [`crate::proxy::replay`].

use std::rc::Rc;
use std::task::{Context, Poll};

use super::client::Client;
use crate::clock::{self, Micros};
use crate::exchange::load::Load;
use crate::exchange::{ClientEnd, Part};
use crate::http::chunked::{ChunkedReader, Piece};
use crate::limits::pace::Pace;
use crate::net::buffer::BUFFER_BYTES;
use crate::proxy::replay::Replay;

/// A body being passed on.
#[derive(Debug)]
pub struct Upload {
    reader: Reader,
    outgoing: Replay,
    /// The trailer lines, once all is received.
    trailers: Vec<u8>,
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
            outgoing: Replay::new(limits.keep_max, load),
            trailers: Vec::new(),
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
        self.outgoing.rewind()
    }

    /// See [`crate::exchange::Requester::sent`].
    pub fn sent(&mut self, count: usize) {
        self.outgoing.sent(count);
    }

    /// See [`crate::exchange::Requester::poll_body`].
    pub fn poll(&mut self, cx: &mut Context<'_>, client: &mut Client) -> Poll<Result<Part<'_>, ClientEnd>> {
        loop {
            if !self.outgoing.unsent().is_empty() {
                return Poll::Ready(Ok(Part::Data(self.outgoing.unsent())));
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
        while !client.buffer.is_empty() {
            let input = client.buffer.filled();
            let used = match &mut self.reader {
                Reader::Done => break,
                Reader::Length { left } => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    self.outgoing.push(&input[..length]);
                    self.received += length as u64;
                    *left -= length as u64;
                    if *left == 0 {
                        self.reader = Reader::Done;
                    }
                    length
                }
                Reader::Chunked(reader) => {
                    let piece = reader.next(input).map_err(|_| ClientEnd::Malformed)?;
                    let here = if let Piece::Data { length, .. } = piece { length as u64 } else { 0 };
                    // A chunk that cannot fit is refused when its size is told, not when it has come.
                    if self.received.saturating_add(here).saturating_add(reader.announced()) > self.body_max {
                        return Err(ClientEnd::TooLarge);
                    }
                    match piece {
                        Piece::Data { used, length } => {
                            self.received += here;
                            self.outgoing.push(&input[used..used + length]);
                            used + length
                        }
                        Piece::More { used } => used,
                        Piece::End { used } => {
                            reader.write_trailers(&mut self.trailers).map_err(|_| ClientEnd::Malformed)?;
                            self.reader = Reader::Done;
                            used
                        }
                    }
                }
            };
            client.buffer.consume(used);
            if self.received > self.body_max {
                return Err(ClientEnd::TooLarge);
            }
        }
        Ok(())
    }
}
