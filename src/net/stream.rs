//! A byte stream to a peer, whatever carries it.
//!
//! Every method takes `&self`: an exchange reads from a client while it writes to the same client, within one task on one
//! thread, so the borrow is checked when it happens and lasts for one poll only.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::h2_stream::H2Stream;

/// An open connection. Dropping it closes it.
#[derive(Debug)]
pub struct Stream(RefCell<Carrier>);

#[derive(Debug)]
enum Carrier {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
    /// One stream of a connection that others share.
    H2(Box<H2Stream>),
}

/// Runs `$body` with `$io` bound to the pinned carrier.
macro_rules! with_carrier {
    ($self:ident, $io:ident => $body:expr) => {
        match &mut *$self.0.borrow_mut() {
            Carrier::Tcp(stream) => {
                let $io = Pin::new(stream);
                $body
            }
            Carrier::Unix(stream) => {
                let $io = Pin::new(stream);
                $body
            }
            Carrier::Tls(stream) => {
                let $io = Pin::new(&mut **stream);
                $body
            }
            Carrier::H2(stream) => {
                let $io = Pin::new(&mut **stream);
                $body
            }
        }
    };
}

impl Stream {
    /// A TCP stream with Nagle's algorithm off: every write here is a whole message or a whole buffer.
    pub fn tcp(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self(RefCell::new(Carrier::Tcp(stream)))
    }

    #[must_use]
    pub fn unix(stream: UnixStream) -> Self {
        Self(RefCell::new(Carrier::Unix(stream)))
    }

    #[must_use]
    pub fn tls(stream: impl Into<tokio_rustls::TlsStream<TcpStream>>) -> Self {
        Self(RefCell::new(Carrier::Tls(Box::new(stream.into()))))
    }

    #[must_use]
    pub fn h2(stream: H2Stream) -> Self {
        Self(RefCell::new(Carrier::H2(Box::new(stream))))
    }

    /// What only a stream of HTTP/2 can do; `None` for any other.
    pub fn with_h2<T>(&self, work: impl FnOnce(&mut H2Stream) -> T) -> Option<T> {
        match &mut *self.0.borrow_mut() {
            Carrier::H2(stream) => Some(work(stream)),
            Carrier::Tcp(_) | Carrier::Unix(_) | Carrier::Tls(_) => None,
        }
    }

    /// What only the kernel can do with a bare TCP socket; `None` for any other carrier.
    pub fn with_tcp<T>(&self, work: impl FnOnce(&TcpStream) -> T) -> Option<T> {
        match &*self.0.borrow() {
            Carrier::Tcp(stream) => Some(work(stream)),
            Carrier::Unix(_) | Carrier::Tls(_) | Carrier::H2(_) => None,
        }
    }

    /// Whether it is bare TCP.
    pub fn is_tcp(&self) -> bool {
        self.with_tcp(|_| ()).is_some()
    }

    /// Whether the bytes travel encrypted, which is what `X-Forwarded-Proto` tells the master.
    pub fn is_tls(&self) -> bool {
        matches!(&*self.0.borrow(), Carrier::Tls(_))
    }

    /// Whether client and server agreed on HTTP/2 in the handshake.
    pub fn is_h2(&self) -> bool {
        matches!(&*self.0.borrow(), Carrier::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2"))
    }

    /// Waits for bytes, the end or an error without needing a buffer, so that an idle connection holds none. A TLS
    /// connection may report readiness for a record that carries no data.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.borrow_mut() {
            Carrier::Tcp(stream) => stream.poll_read_ready(cx),
            Carrier::Unix(stream) => stream.poll_read_ready(cx),
            Carrier::Tls(stream) => {
                let (tcp, session) = stream.get_ref();
                if session.wants_read() { tcp.poll_read_ready(cx) } else { Poll::Ready(Ok(())) }
            }
            Carrier::H2(stream) => stream.poll_readable(cx),
        }
    }

    /// Whether the kernel has reported anything on a connection that should be silent: bytes nobody asked for, the end
    /// or an error. It is not to be used then: a byte may be lost. Costs no system call on a connection that is quiet;
    /// news that the event loop has not fetched yet is missed.
    pub fn is_disturbed(&self) -> bool {
        // Readiness alone may be left over from a read that filled its buffer exactly; a read settles that. Without
        // readiness none is made, and unlike polling it does not depend on what the task has left of its turn.
        let quiet = |read: io::Result<usize>| read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        match &*self.0.borrow() {
            Carrier::Tcp(stream) => return !quiet(stream.try_read(&mut [0])),
            Carrier::Unix(stream) => return !quiet(stream.try_read(&mut [0])),
            Carrier::Tls(_) | Carrier::H2(_) => {}
        }
        // A session's ticket comes when the peer likes and is no news about the connection.
        self.poll_read(&mut Context::from_waker(Waker::noop()), &mut [0]).is_ready()
    }

    /// Reads once; 0 is the peer's end. Cancel-safe.
    pub async fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_read(cx, into)).await
    }

    /// See [`Stream::read`].
    pub fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        ready!(with_carrier!(self, io => io.poll_read(cx, &mut buffer)))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// See [`Stream::read`].
    pub fn poll_read_buf(&self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        with_carrier!(self, io => io.poll_read(cx, into))
    }

    /// Writes what the kernel takes at once of `parts`, in order.
    pub fn poll_write(&self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = match parts {
            [one] => ready!(with_carrier!(self, io => io.poll_write(cx, one)))?,
            several => ready!(with_carrier!(self, io => io.poll_write_vectored(cx, several)))?,
        };
        if written == 0 && parts.iter().any(|part| !part.is_empty()) {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        Poll::Ready(Ok(written))
    }

    /// Passes on what a TLS session still holds. Nothing to do for the others.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_carrier!(self, io => io.poll_flush(cx))
    }

    /// Writes all of `bytes`. Not cancel-safe: how much was written is lost.
    pub async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.write_both(bytes, &[]).await.map_err(|(error, _)| error)
    }

    /// Writes `first`, then `second`, in as few system calls as the kernel allows. An error comes with the number of
    /// bytes that the kernel had taken before it. Not cancel-safe.
    pub async fn write_both(&self, first: &[u8], second: &[u8]) -> Result<(), (io::Error, usize)> {
        let total = first.len() + second.len();
        let mut done = 0;
        while done < total {
            let step = std::future::poll_fn(|cx| {
                if done >= first.len() {
                    self.poll_write(cx, &[IoSlice::new(&second[done - first.len()..])])
                } else if second.is_empty() {
                    self.poll_write(cx, &[IoSlice::new(&first[done..])])
                } else {
                    self.poll_write(cx, &[IoSlice::new(&first[done..]), IoSlice::new(second)])
                }
            })
            .await;
            done += step.map_err(|error| (error, done))?;
        }
        std::future::poll_fn(|cx| self.poll_flush(cx)).await.map_err(|error| (error, done))
    }

    /// The addresses of both ends, the peer's first; `None` where they are no addresses of TCP.
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        let carrier = self.0.borrow();
        let tcp = match &*carrier {
            Carrier::Tcp(stream) => stream,
            Carrier::Tls(stream) => stream.get_ref().0,
            Carrier::Unix(_) | Carrier::H2(_) => return None,
        };
        Some((tcp.peer_addr().ok()?, tcp.local_addr().ok()?))
    }

    /// Has the connection reset when it is dropped, instead of ended: the peer is to see that it broke. A Unix socket knows
    /// no reset and is closed.
    pub fn reset_on_drop(&self) {
        let carrier = self.0.borrow();
        let tcp = match &*carrier {
            Carrier::Tcp(stream) => stream,
            Carrier::Tls(stream) => stream.get_ref().0,
            // Dropped before its end, a stream of HTTP/2 is reset anyway.
            Carrier::Unix(_) | Carrier::H2(_) => return,
        };
        // One that is closed already has nothing left to be reset.
        let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }

    /// Tells the peer that no more bytes will come, and keeps reading possible.
    pub async fn shutdown(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_shutdown(cx)).await
    }

    /// See [`Stream::shutdown`].
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_carrier!(self, io => io.poll_shutdown(cx))
    }
}
