//! A client's stream as the `h2` crate reads and writes it, with the meter in between.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::meter::Meter;
use crate::clock;
use crate::net::buffer::Buffer;
use crate::net::stream::Stream;

/// The stream and what is known about its bytes. Outlives the crate's connection, which says its last word through it.
#[derive(Debug)]
pub struct Wire {
    pub stream: Stream,
    pub meter: RefCell<Meter>,
    /// What was read before it was known what the client speaks.
    early: RefCell<Buffer>,
    /// Who reads on when all has been said.
    reader: RefCell<Option<Waker>>,
}

/// The crate's end of it.
#[derive(Debug)]
pub struct Io(pub Rc<Wire>);

impl Wire {
    #[must_use]
    pub fn new(stream: Stream, early: Buffer) -> Self {
        Self { stream, meter: RefCell::default(), early: RefCell::new(early), reader: RefCell::default() }
    }

    fn wrote(&self, parts: &[IoSlice<'_>], mut count: usize) {
        let (mut meter, now) = (self.meter.borrow_mut(), clock::now());
        for part in parts {
            let written = count.min(part.len());
            meter.wrote(&part[..written], now);
            count -= written;
        }
    }
}

impl AsyncRead for Io {
    /// Reads nothing from a client that floods: the connection's task looks at the meter whenever there is nothing to read.
    /// Reads on from one that is far ahead of what it has been told once it knows that.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &*self.0;
        let (mut meter, mut early) = (wire.meter.borrow_mut(), wire.early.borrow_mut());
        if meter.is_flooded() {
            return Poll::Pending;
        }
        if meter.is_ahead() {
            *wire.reader.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = into.filled().len();
        if early.is_empty() {
            ready!(wire.stream.poll_read_buf(cx, into))?;
        } else {
            let count = early.filled().len().min(into.remaining());
            into.put_slice(&early.filled()[..count]);
            early.consume(count);
            early.release();
        }
        meter.read(&into.filled()[before..], clock::now());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.0.stream.poll_write(cx, parts))?;
        self.0.wrote(parts, count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.stream.poll_flush(cx))?;
        self.0.meter.borrow_mut().said_all();
        if let Some(reader) = self.0.reader.borrow_mut().take() {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.stream.poll_shutdown(cx)
    }
}
