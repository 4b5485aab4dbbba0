//! Takes the PROXY header off a connection that has to begin with one, and not a byte that follows it.
//!
//! What stands behind the header may be a TLS handshake, which others read from the socket. So the bytes are looked at before
//! they are taken: all of them while the header is not complete, for then they are its own.

use std::io;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use super::proxy_protocol::{self, Ends, HEADER_BYTES_MAX};

/// A socket whose bytes can be looked at.
pub trait Peek {
    fn readable(&self) -> impl Future<Output = io::Result<()>>;

    /// What has arrived and stays there.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is nothing.
    fn try_peek(&self, into: &mut [u8]) -> io::Result<usize>;

    /// Takes what has arrived.
    ///
    /// # Errors
    /// As for [`Peek::try_peek`].
    fn try_take(&self, into: &mut [u8]) -> io::Result<usize>;
}

macro_rules! peek {
    ($($socket:ty),+) => {$(
        impl Peek for $socket {
            async fn readable(&self) -> io::Result<()> {
                Self::readable(self).await
            }

            fn try_peek(&self, into: &mut [u8]) -> io::Result<usize> {
                self.try_io(Interest::READABLE, || Ok(recv(self, into, RecvFlags::PEEK)?.0))
            }

            fn try_take(&self, into: &mut [u8]) -> io::Result<usize> {
                self.try_read(into)
            }
        }
    )+};
}
peek!(TcpStream, UnixStream);

/// Receives the header; what it tells of the client, if anything. `None` when it did not come in time, or something else
/// came.
pub async fn header(socket: &impl Peek, within: Duration) -> Option<Option<Ends>> {
    let header = tokio::time::timeout(within, receive(socket)).await;
    header.ok()?.ok()
}

async fn receive(socket: &impl Peek) -> io::Result<Option<Ends>> {
    let mut held = [0; HEADER_BYTES_MAX];
    let mut length = 0;
    loop {
        socket.readable().await?;
        let seen = match socket.try_peek(&mut held[length..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let header = proxy_protocol::read(&held[..length + seen]).map_err(|_| io::ErrorKind::InvalidData)?;
        let own = header.map_or(seen, |header| header.length - length);
        // It has arrived, so it can be taken at once.
        if socket.try_take(&mut held[length..length + own])? != own {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        length += own;
        if let Some(header) = header {
            return Ok(header.ends);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn the_header_is_taken_and_what_follows_is_left_however_it_comes() {
        let whole = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\nrest";
        for piece in [1, 7, 39, 40, 41, 100] {
            let (mut sender, mut socket) = UnixStream::pair().unwrap();
            let sending = async {
                for part in whole.chunks(piece) {
                    sender.write_all(part).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let (told, ()) = tokio::join!(header(&socket, PATIENCE), sending);
            assert_eq!(told.unwrap().unwrap().source, "192.0.2.7:4711".parse().unwrap());
            let mut rest = [0; 4];
            socket.read_exact(&mut rest).await.unwrap();
            assert_eq!(&rest, b"rest");
        }
    }

    #[tokio::test]
    async fn nothing_something_else_and_an_early_end_are_no_header() {
        let (_silent, socket) = UnixStream::pair().unwrap();
        assert_eq!(header(&socket, Duration::from_millis(20)).await, None);
        for other in ["GET / HTTP/1.1\r\n", "PROXY TCP4 192.0.2.7"] {
            let (mut sender, socket) = UnixStream::pair().unwrap();
            sender.write_all(other.as_bytes()).await.unwrap();
            drop(sender);
            assert_eq!(header(&socket, PATIENCE).await, None);
        }
    }
}
