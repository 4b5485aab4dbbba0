//! An answer as a master gives it: its head, then its body in pieces without any framing.
//!
//! Whoever passes it on need not know what the master speaks, and frames the pieces as its own side asks. While more of the
//! body is waited for, what is left of the request goes on to the master.

use std::task::{Context, Poll, ready};

use super::sending::Sending;
use super::{End, Failed, InFlight, Requester, UploadError, others_usable};
use crate::clock;
use crate::exchange::local::LocalUpstream;
use crate::http::chunked::{self, ChunkedReader};
use crate::http::h2_fields;
use crate::http::request::Framing;
use crate::http::response::Response;
use crate::net::buffer::{BUFFER_BYTES, Buffer};
use crate::net::stream::Stream;
use crate::net::watch::Watched;
use crate::upstream::connection::{Connection, Pool};
use crate::upstream::master::Failure;

/// An answer that has begun.
#[derive(Debug)]
pub struct Answer {
    connection: Box<Connection>,
    reader: Reader,
    /// Bytes at the start of the connection's buffer that have been dealt with: at first those of the head.
    used: usize,
    /// Trailer lines, each with its line end, once the body has ended.
    trailers: Vec<u8>,
    /// What is left of the request.
    sending: Option<Sending>,
    /// The answer came before the request had been sent whole.
    early: bool,
    /// The client broke its upload off, so a master that waits for the rest of it is not to blame.
    given_up: bool,
    place: InFlight,
    /// Position of the master in its upstream.
    pub master: usize,
    pub attempts: u32,
}

/// The next of an answer's body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Never empty.
    Data(&'a [u8]),
    /// The body is complete. The trailers are header lines, each with its line end, and safe to pass on.
    End { trailers: &'a [u8] },
}

/// How an answer that had begun ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// All of it went to the client.
    Whole,
    /// The client left, or stopped reading, or stopped sending while its master waited for more.
    ClientGone,
    /// The master broke off in the middle, or its chunks were malformed.
    CutShort,
    /// The master paused for too long in the middle.
    Stalled,
}

#[derive(Debug)]
enum Reader {
    Done,
    Length { left: u64 },
    Chunked(ChunkedReader),
    UntilClose,
}

impl Passed {
    /// The word for it in logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Whole => "complete",
            Self::ClientGone => "client-gone",
            Self::CutShort => "answer-cut-short",
            Self::Stalled => "answer-stalled",
        }
    }
}

impl Answer {
    /// The answer whose head is in `connection.response` and at the start of its buffer.
    #[must_use]
    pub fn new(
        connection: Box<Connection>,
        sending: Option<Sending>,
        place: InFlight,
        master: usize,
        attempts: u32,
    ) -> Self {
        // A stream of HTTP/2 has an end of its own, with trailers behind it, and its length has been held against it.
        let streamed = connection.lease.is_some();
        let reader = match connection.response.framing.0 {
            Framing::Length(1..) | Framing::Chunked if streamed => Reader::UntilClose,
            Framing::None | Framing::Length(0) => Reader::Done,
            Framing::Length(left) => Reader::Length { left },
            Framing::Chunked => Reader::Chunked(ChunkedReader::default()),
            Framing::UntilClose => Reader::UntilClose,
        };
        let (used, early) = (connection.response.length, sending.is_some());
        let trailers = Vec::new();
        Self { connection, reader, used, trailers, sending, early, given_up: false, place, master, attempts }
    }

    #[must_use]
    pub fn status(&self) -> u16 {
        self.connection.response.status
    }

    /// The head and its bytes. Only before the first call of [`Answer::piece`].
    #[must_use]
    pub fn head(&self) -> (&Response, &[u8]) {
        let response = &self.connection.response;
        (response, &self.connection.buffer.filled()[..response.length])
    }

    /// Whether what was given of the body is all of it, and no trailers follow.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.reader, Reader::Done) && self.trailers.is_empty()
    }

    /// What is here of the body; `None` when more has to be waited for.
    ///
    /// # Errors
    /// [`Passed::CutShort`], when the body is malformed.
    pub fn piece(&mut self) -> Result<Option<Piece<'_>>, Passed> {
        let buffer = &mut self.connection.buffer;
        let (from, to) = loop {
            buffer.consume(std::mem::take(&mut self.used));
            let here = buffer.filled();
            match &mut self.reader {
                Reader::Done => return Ok(Some(Piece::End { trailers: &self.trailers })),
                _ if here.is_empty() => return Ok(None),
                Reader::Length { left } => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(here.len());
                    *left -= length as u64;
                    if *left == 0 {
                        self.reader = Reader::Done;
                    }
                    break (0, length);
                }
                Reader::UntilClose => break (0, here.len()),
                Reader::Chunked(reader) => match reader.next(here).map_err(|_| Passed::CutShort)? {
                    chunked::Piece::Data { used, length } => break (used, used + length),
                    chunked::Piece::More { used } => self.used = used,
                    chunked::Piece::End { used } => {
                        reader.write_trailers(&mut self.trailers).map_err(|_| Passed::CutShort)?;
                        self.used = used;
                        self.reader = Reader::Done;
                    }
                },
            }
        };
        self.used = to;
        Ok(Some(Piece::Data(&self.connection.buffer.filled()[from..to])))
    }

    /// Waits for more of the body, and passes on meanwhile what is left of the request. Only when [`Answer::piece`] has
    /// nothing.
    ///
    /// # Errors
    /// How the answer ended instead, also when the watch fired.
    pub fn poll_more<R: Requester>(
        &mut self,
        cx: &mut Context<'_>,
        requester: &mut R,
        watched: &Watched<Pool>,
    ) -> Poll<Result<(), Passed>> {
        let Connection { stream, buffer, .. } = &mut *self.connection;
        if let Some(sending) = &mut self.sending
            && let Poll::Ready(end) = sending.poll(cx, requester, stream, watched)
        {
            // Whether it ends or fails, the answer is what counts now; after an error nothing more may be sent.
            self.sending = None;
            self.given_up = matches!(end, Err(UploadError::Client(_)));
        }
        if watched.fired().is_some() {
            let clients = self.given_up || self.sending.as_ref().is_some_and(|sending| !sending.waits_for_master());
            return Poll::Ready(Err(if clients { Passed::ClientGone } else { Passed::Stalled }));
        }
        buffer.consume(std::mem::take(&mut self.used));
        buffer.reserve(BUFFER_BYTES);
        let mut filled = ready!(buffer.poll_fill(cx, stream));
        if matches!(filled, Ok(0))
            && let Some(trailers) = stream.with_h2(|stream| stream.poll_trailers(cx))
        {
            filled = ready!(trailers).map(|trailers| {
                h2_fields::write_trailers(&trailers, &mut self.trailers);
                0
            });
        }
        Poll::Ready(match filled {
            Ok(0) if matches!(self.reader, Reader::UntilClose) => {
                self.reader = Reader::Done;
                Ok(())
            }
            Ok(0) | Err(_) if self.given_up => Err(Passed::ClientGone),
            Ok(0) | Err(_) => Err(Passed::CutShort),
            Ok(_) => {
                self.place.pool().master.touched(clock::now());
                Ok(())
            }
        })
    }

    /// The bytes behind a 101, which belong to whatever was agreed on; the head is forgotten.
    pub fn tunnel(&mut self) -> (&Stream, &mut Buffer, &InFlight) {
        let Connection { stream, buffer, .. } = &mut *self.connection;
        buffer.consume(std::mem::take(&mut self.used));
        (stream, buffer, &self.place)
    }

    /// Puts the master's connection back, or charges the master for having broken off.
    pub fn settle(mut self, passed: Passed, upstream: &LocalUpstream) {
        let (now, pool) = (clock::now(), self.place.pool());
        let others = || others_usable(upstream, self.master);
        match passed {
            Passed::Whole => {
                self.connection.buffer.consume(self.used);
                let ended = matches!(self.reader, Reader::Done) && self.connection.buffer.is_empty();
                if self.connection.response.keep_alive && !self.early && ended {
                    pool.put(self.connection, now, upstream.shared.settings.pool.max_idle);
                }
            }
            // Of a connection that broke under several answers the master is charged once.
            Passed::CutShort if self.connection.lease.as_ref().is_some_and(|lease| !lease.may_charge()) => {}
            Passed::CutShort => {
                pool.master.failed(now, Failure::Reset, None, others);
            }
            Passed::Stalled => {
                pool.master.failed(now, Failure::Timeout, None, others);
            }
            Passed::ClientGone => {}
        }
    }

    /// What is made of one that does not belong to the request.
    #[must_use]
    pub fn unfit(&self) -> Failed {
        Failed { end: End::BadGateway, master: Some(self.master), attempts: self.attempts, sent: true }
    }

    /// Charges the master with an answer that does not belong to the request.
    pub fn reject(self, upstream: &LocalUpstream) {
        let others = || others_usable(upstream, self.master);
        self.place.pool().master.failed(clock::now(), Failure::BadResponse, None, others);
    }

    /// Keeps the connection of an answer nobody will read, if all of it is here already; else closes it.
    pub fn recycle(mut self, upstream: &LocalUpstream) {
        let unread = match self.connection.response.framing.0 {
            Framing::None => 0,
            Framing::Length(length) => length,
            Framing::Chunked | Framing::UntilClose => return,
        };
        let here = self.connection.buffer.filled().len().saturating_sub(self.used) as u64;
        if here == unread {
            self.reader = Reader::Done;
            self.used += here as usize;
            self.settle(Passed::Whole, upstream);
        }
    }
}
