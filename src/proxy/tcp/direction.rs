//! One direction of a relay: bytes from one stream to the other, and the end after them.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::net::buffer::{BUFFER_BYTES, Buffer};
use crate::net::pipes::{self, Pipe, Pipes};
use crate::net::stream::Stream;

/// So much that comes without a pause is a transfer in bulk, which goes through a pipe; messages in a chat are copied, which is
/// cheaper for them.
const BULK_BYTES: usize = 2 * BUFFER_BYTES;

/// How far one direction has come.
#[derive(Debug, Default)]
pub struct Direction {
    /// The source will send no more.
    pub ended: bool,
    /// Its end has been passed on.
    pub done: bool,
    /// Bytes taken by the destination.
    pub moved: u64,
    /// Where both streams are bare TCP.
    pipes: Option<Rc<Pipes>>,
    pipe: Option<Pipe>,
    /// Bytes that came since the last pause.
    burst: usize,
    /// What comes next is expected to be more of the same.
    bulk: bool,
}

/// Which of the two streams broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broke {
    Source,
    Destination,
}

impl Direction {
    /// Nothing has been passed on yet. `pipes` are for streams that are both bare TCP.
    #[must_use]
    pub fn new(ended: bool, pipes: Option<Rc<Pipes>>) -> Self {
        Self { ended, pipes, ..Self::default() }
    }

    /// Passes on what can be passed on now; ready when the end of the source has been. A direction that waits for its source
    /// holds neither buffer nor pipe.
    ///
    /// # Errors
    /// Which stream broke.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &Stream,
        buffer: &mut Buffer,
        to: &Stream,
    ) -> Poll<Result<(), Broke>> {
        let (source, destination) = (|_: io::Error| Broke::Source, |_: io::Error| Broke::Destination);
        while !self.done {
            if !buffer.is_empty() {
                let count = ready!(to.poll_write(cx, &[IoSlice::new(buffer.filled())])).map_err(destination)?;
                buffer.consume(count);
                self.moved += count as u64;
            } else if let Some(pipe) = self.pipe.as_mut().filter(|pipe| !pipe.is_empty()) {
                self.moved += ready!(pipe.poll_drain(cx, to)).map_err(destination)? as u64;
            } else if self.ended {
                ready!(to.poll_shutdown(cx)).map_err(destination)?;
                self.done = true;
            } else {
                ready!(to.poll_flush(cx)).map_err(destination)?;
                if from.poll_readable(cx).map_err(source)?.is_pending() {
                    self.pause(buffer);
                    return Poll::Pending;
                }
                match self.poll_take(cx, from, buffer).map_err(source)? {
                    Poll::Ready(count) => self.ended = count == 0,
                    Poll::Pending => {
                        self.pause(buffer);
                        return Poll::Pending;
                    }
                }
            }
        }
        self.pause(buffer);
        Poll::Ready(Ok(()))
    }

    /// Takes what has come, into the pipe or the buffer, both of which are empty; 0 is the end.
    fn poll_take(&mut self, cx: &mut Context<'_>, from: &Stream, buffer: &mut Buffer) -> Poll<io::Result<usize>> {
        if self.bulk && self.pipe.is_none() {
            buffer.release();
            self.pipe = self.pipes.as_ref().and_then(Pipes::take);
        }
        let spliced = self.pipe.as_mut().map(|pipe| pipe.poll_fill(cx, from));
        let count = match spliced {
            Some(Poll::Ready(Err(error))) if pipes::is_unsupported(&error) => {
                (self.pipe, self.pipes) = (None, None);
                None
            }
            Some(polled) => Some(ready!(polled)?),
            None => None,
        };
        let count = match count {
            Some(count) => count,
            None => {
                buffer.reserve(BUFFER_BYTES);
                ready!(buffer.poll_fill(cx, from))?
            }
        };
        self.burst = self.burst.saturating_add(count);
        self.bulk |= self.burst >= BULK_BYTES;
        Poll::Ready(Ok(count))
    }

    /// Nothing more for now.
    fn pause(&mut self, buffer: &mut Buffer) {
        buffer.release();
        self.pipe = None;
        self.bulk = self.burst >= BULK_BYTES;
        self.burst = 0;
    }
}
