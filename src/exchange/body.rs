//! The body of an answer as a client gets it: in the master's own bytes, or encoded on the way.
//!
//! It is taken as [`Answer`]'s is: pieces until there is none, then a wait. An encoded one is flushed before every wait, so the
//! client has whatever its master has sent, and a stream of events is not held back. While more is here it is not flushed, which
//! keeps answers that come fast small. One that its master breaks off is not finished, so that no decoder takes it for complete.

use std::io;
use std::task::{Context, Poll};

use super::Requester;
use super::answer::{Answer, Passed, Piece};
use super::local::Local;
use crate::config::model::{Coding, CompressionLevel};
use crate::http::coding::encoder::Encoder;
use crate::net::buffer::BUFFER_BYTES;
use crate::net::watch::Watched;
use crate::telemetry::hot::{RouteCounters, RouteSlot};
use crate::upstream::connection::Pool;

/// Memory of the encodings that one worker has under way at once. That is enough for 21 of the most expensive ones.
pub const ENCODINGS_BYTES_MAX: usize = 64 << 20;

/// An answer's body on its way.
#[derive(Debug)]
pub struct Body<'a> {
    answer: &'a mut Answer,
    encoding: Option<Encoding<'a>>,
}

/// An encoding under way, one of its worker's until dropped.
#[derive(Debug)]
pub struct Encoding<'a> {
    local: &'a Local,
    /// What it takes.
    memory: usize,
    /// `None` once the end has been written.
    encoder: Option<Encoder>,
    /// What the encoder has made of it.
    out: Vec<u8>,
    /// `out` has been taken.
    taken: bool,
    /// Something went in since the last flush.
    unflushed: bool,
    /// Bytes in and out.
    before: u64,
    after: u64,
    counters: Option<&'a RouteCounters>,
}

impl<'a> Encoding<'a> {
    /// Begins one for an answer of this length, if that is known; `None` when the worker has as many as it takes on.
    /// `counters` are told how much it saved.
    #[must_use]
    pub fn begin(
        local: &'a Local,
        coding: Coding,
        level: CompressionLevel,
        length: Option<u64>,
        counters: Option<&'a RouteCounters>,
    ) -> Option<Self> {
        let memory = Encoder::memory(coding, level);
        let held = local.encodings_bytes.get() + memory;
        if held > ENCODINGS_BYTES_MAX {
            return None;
        }
        let encoder = Encoder::new(coding, level, length).ok()?;
        local.encodings_bytes.set(held);
        let (out, taken, unflushed) = (Vec::new(), true, false);
        Some(Self { local, memory, encoder: Some(encoder), out, taken, unflushed, before: 0, after: 0, counters })
    }

    /// Encodes what is here of the body; true when there is something to be taken.
    fn advance(&mut self, answer: &mut Answer) -> Result<bool, Passed> {
        if self.taken {
            self.out.clear();
        }
        while self.out.len() < BUFFER_BYTES
            && let Some(encoder) = &mut self.encoder
        {
            let done = match answer.piece()? {
                Some(Piece::Data(data)) => {
                    self.before += data.len() as u64;
                    self.unflushed = true;
                    encoder.write(data, &mut self.out)
                }
                Some(Piece::End { .. }) => self.encoder.take().map_or(Ok(()), |encoder| encoder.finish(&mut self.out)),
                None => break,
            };
            done.map_err(failed)?;
        }
        self.after += self.out.len() as u64;
        self.taken = true;
        Ok(!self.out.is_empty())
    }

    /// Makes the encoder give what it holds; true when that is anything.
    fn flush(&mut self) -> Result<bool, Passed> {
        let Some(encoder) = self.encoder.as_mut().filter(|_| std::mem::take(&mut self.unflushed)) else {
            return Ok(false);
        };
        self.out.clear();
        encoder.flush(&mut self.out).map_err(failed)?;
        self.taken = self.out.is_empty();
        Ok(!self.taken)
    }
}

/// An encoder that fails leaves an answer that cannot be completed.
fn failed(_: io::Error) -> Passed {
    Passed::CutShort
}

impl Drop for Encoding<'_> {
    fn drop(&mut self) {
        self.local.encodings_bytes.set(self.local.encodings_bytes.get() - self.memory);
        if let Some(counters) = self.counters {
            counters.add(RouteSlot::CompressionIn, self.before);
            counters.add(RouteSlot::CompressionOut, self.after);
        }
    }
}

impl<'a> Body<'a> {
    #[must_use]
    pub fn new(answer: &'a mut Answer, encoding: Option<Encoding<'a>>) -> Self {
        Self { answer, encoding }
    }

    /// [`Answer::is_complete`].
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.encoding.as_ref().is_none_or(|encoding| encoding.encoder.is_none() && encoding.taken)
            && self.answer.is_complete()
    }

    /// [`Answer::piece`].
    ///
    /// # Errors
    /// [`Passed::CutShort`], when the body is malformed.
    pub fn piece(&mut self) -> Result<Option<Piece<'_>>, Passed> {
        let Some(encoding) = &mut self.encoding else { return self.answer.piece() };
        if encoding.advance(self.answer)? {
            Ok(Some(Piece::Data(&encoding.out)))
        } else if encoding.encoder.is_none() {
            // What was made of its end has been taken: trailers may follow.
            self.answer.piece()
        } else {
            Ok(None)
        }
    }

    /// [`Answer::poll_more`]. Ready also when there is something to be sent before the wait.
    ///
    /// # Errors
    /// How the answer ended instead, also when the watch fired.
    pub fn poll_more<R: Requester>(
        &mut self,
        cx: &mut Context<'_>,
        requester: &mut R,
        watched: &Watched<Pool>,
    ) -> Poll<Result<(), Passed>> {
        let more = self.answer.poll_more(cx, requester, watched);
        match &mut self.encoding {
            Some(encoding) if more.is_pending() => match encoding.flush() {
                Ok(false) => Poll::Pending,
                Ok(true) => Poll::Ready(Ok(())),
                Err(passed) => Poll::Ready(Err(passed)),
            },
            _ => more,
        }
    }
}
