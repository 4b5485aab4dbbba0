//! One direction of a relay: bytes from one stream to the other, and the end after them.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use crate::net::buffer::{BUFFER_BYTES, Buffer};
use crate::net::stream::Stream;

/// How far one direction has come.
#[derive(Debug, Default)]
pub struct Direction {
    /// The source will send no more.
    pub ended: bool,
    /// Its end has been passed on.
    pub done: bool,
    /// Bytes taken by the destination.
    pub moved: u64,
}

/// Which of the two streams broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broke {
    Source,
    Destination,
}

impl Direction {
    /// Passes on what can be passed on now; ready when the end of the source has been. A direction that waits for its source
    /// holds no buffer.
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
            } else if self.ended {
                ready!(to.poll_shutdown(cx)).map_err(destination)?;
                self.done = true;
            } else {
                ready!(to.poll_flush(cx)).map_err(destination)?;
                if from.poll_readable(cx).map_err(source)?.is_pending() {
                    buffer.release();
                    return Poll::Pending;
                }
                buffer.reserve(BUFFER_BYTES);
                match buffer.poll_fill(cx, from).map_err(source)? {
                    Poll::Ready(count) => self.ended = count == 0,
                    Poll::Pending => {
                        buffer.release();
                        return Poll::Pending;
                    }
                }
            }
        }
        buffer.release();
        Poll::Ready(Ok(()))
    }
}
