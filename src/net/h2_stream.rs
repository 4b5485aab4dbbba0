//! One HTTP/2 stream as the bytes of its DATA frames, for whoever passes bodies and tunnels on.
//!
//! The peer's window opens again only for what has been taken from here, and no more is handed to the connection than the peer's
//! window takes: whoever does not read is waited for, at the cost of one window.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes handed over at a time; the largest frame that every peer takes (RFC 9113 section 4.2).
const WRITE_BYTES_MAX: usize = 16 * 1024;

/// A stream from the side that opened it. Dropping it before both directions have ended resets it with CANCEL.
#[derive(Debug)]
pub struct H2Stream {
    to: SendStream<Bytes>,
    /// There once the head of the answer has come.
    from: Option<RecvStream>,
    /// Received and not yet taken.
    pending: Bytes,
    finished: bool,
}

impl H2Stream {
    /// `finished` tells that nothing is to be sent any more.
    #[must_use]
    pub fn new(to: SendStream<Bytes>, finished: bool) -> Self {
        Self { to, from: None, pending: Bytes::new(), finished }
    }

    /// Bytes come from here from now on.
    pub fn receive(&mut self, from: RecvStream) {
        self.from = Some(from);
    }

    /// Sends all there is to send, as the peer's window allows; it is held meanwhile.
    ///
    /// # Errors
    /// When the stream has ended.
    pub fn send_all(&mut self, bytes: Bytes) -> io::Result<()> {
        self.finished = true;
        self.to.send_data(bytes, true).map_err(io::Error::other)
    }

    /// Ends what is sent with these trailers.
    ///
    /// # Errors
    /// When the stream has ended.
    pub fn finish(&mut self, trailers: HeaderMap) -> io::Result<()> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        let sent =
            if trailers.is_empty() { self.to.send_data(Bytes::new(), true) } else { self.to.send_trailers(trailers) };
        sent.map_err(io::Error::other)
    }

    /// The trailers, after the last byte was read; empty when there are none.
    ///
    /// # Errors
    /// When the stream broke off.
    pub fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<HeaderMap>> {
        let Some(from) = &mut self.from else { return Poll::Ready(Ok(HeaderMap::new())) };
        from.poll_trailers(cx).map_ok(Option::unwrap_or_default).map_err(io::Error::other)
    }

    /// Waits for bytes, the end or an error.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.pending.is_empty() {
            let Some(from) = &mut self.from else { return Poll::Pending };
            match ready!(from.poll_data(cx)) {
                Some(data) => self.pending = data.map_err(io::Error::other)?,
                None => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for H2Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_readable(cx))?;
        let count = self.pending.len().min(into.remaining());
        into.put_slice(&self.pending[..count]);
        self.pending.advance(count);
        if let Some(from) = self.from.as_mut().filter(|_| count > 0) {
            // It fails for a stream that is gone, which the next read tells.
            let _ = from.flow_control().release_capacity(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.to.reserve_capacity(bytes.len().min(WRITE_BYTES_MAX));
        while self.to.capacity() == 0 {
            match ready!(self.to.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let count = bytes.len().min(self.to.capacity());
        let sent = self.to.send_data(Bytes::copy_from_slice(&bytes[..count]), false);
        Poll::Ready(sent.map(|()| count).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.finish(HeaderMap::new()))
    }
}
