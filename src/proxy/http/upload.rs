//! A request body on its way to a master, piece by piece.
//!
//! Bytes go from the client's buffer through one outgoing buffer to the master, and no faster than the master takes them:
//! nothing is read from the client while something is unsent. Up to a limit the outgoing bytes are kept, so that another
//! attempt can start from the beginning; a body that outgrows it, or the worker's allowance, is tried once.

use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::client::Client;
use crate::clock::{self, Micros};
use crate::exchange::local::ReplayAllowance;
use crate::exchange::{ClientEnd, UploadError};
use crate::http::chunked::{ChunkedReader, Piece, write_chunk};
use crate::net::buffer::BUFFER_BYTES;
use crate::net::stream::Stream;
use crate::net::watch::Watched;
use crate::upstream::connection::Pool;

/// A body being passed on.
#[derive(Debug)]
pub struct Upload {
    reader: Reader,
    /// Bytes for the master: all since the start while they are kept for another attempt, else those not yet sent.
    outgoing: Vec<u8>,
    sent: usize,
    kept: bool,
    keep_max: usize,
    allowance: Rc<ReplayAllowance>,
    allowed: usize,
    received: u64,
    body_max: u64,
    /// The longest pause.
    timeout: Micros,
    begun: bool,
    /// The last poll could not write, so a pause is the master's.
    blocked: bool,
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
    pub timeout: Micros,
}

impl Upload {
    /// A body of `length` bytes, or a chunked one.
    #[must_use]
    pub fn new(length: Option<u64>, limits: UploadLimits, allowance: Rc<ReplayAllowance>) -> Self {
        Self {
            reader: length.map_or_else(|| Reader::Chunked(ChunkedReader::default()), |left| Reader::Length { left }),
            outgoing: Vec::new(),
            sent: 0,
            kept: true,
            keep_max: limits.keep_max,
            allowance,
            allowed: 0,
            received: 0,
            body_max: limits.body_max,
            timeout: limits.timeout,
            begun: false,
            blocked: false,
        }
    }

    /// Bytes of body received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether a pause now is the master's and not the client's.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked
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

    /// See [`crate::exchange::Requester::poll_upload`].
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        to: &Stream,
        watched: &Watched<Pool>,
    ) -> Poll<Result<(), UploadError>> {
        if !std::mem::replace(&mut self.begun, true) {
            watched.arm(clock::now().saturating_add(self.timeout));
        }
        loop {
            if self.sent < self.outgoing.len() {
                match to.poll_write(cx, &[IoSlice::new(&self.outgoing[self.sent..])]) {
                    Poll::Ready(Ok(count)) => self.sent += count,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(UploadError::Master)),
                    Poll::Pending => {
                        self.blocked = true;
                        return Poll::Pending;
                    }
                }
                if std::mem::take(&mut self.blocked) {
                    watched.arm(clock::now().saturating_add(self.timeout));
                }
                continue;
            }
            if !self.kept {
                self.outgoing.clear();
                self.sent = 0;
            }
            if self.is_received() {
                return to.poll_flush(cx).map_err(|_| UploadError::Master);
            }
            if client.buffer.is_empty() {
                client.buffer.reserve(BUFFER_BYTES);
                match ready!(client.buffer.poll_fill(cx, &client.stream)) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(UploadError::Client(ClientEnd::Gone))),
                    Ok(_) => watched.arm(clock::now().saturating_add(self.timeout)),
                }
            }
            self.take_in(client).map_err(UploadError::Client)?;
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
                        write_chunk(&input[used..used + length], &mut self.outgoing);
                        used + length
                    }
                    Piece::More { used } => used,
                    Piece::End { used } => {
                        self.outgoing.extend_from_slice(b"0\r\n");
                        reader.write_trailers(&mut self.outgoing).map_err(|_| ClientEnd::Malformed)?;
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
            self.kept = self.outgoing.len() <= self.keep_max && self.allowance.take(grown);
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
        self.allowance.give_back(std::mem::take(&mut self.allowed));
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.allowance.give_back(self.allowed);
    }
}
