//! Byte-exact peers for protocol tests: what is sent and expected is written out, with a deadline on every wait.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::SOON;

/// Longest message head that a peer waits for.
const MAX_HEAD_BYTES: usize = 1 << 20;

/// A master whose every byte the test decides.
pub struct RawMaster {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl RawMaster {
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        Self { listener, address }
    }

    /// The next connection.
    pub async fn accept(&self) -> Raw {
        let (stream, _) = timeout(SOON, self.listener.accept()).await.expect("a connection in time").expect("a socket");
        Raw::over_tcp(stream)
    }
}

/// One side of a connection.
pub struct Raw<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
}

impl Raw {
    pub async fn connect(to: SocketAddr) -> Self {
        Self::over_tcp(TcpStream::connect(to).await.expect("a connection"))
    }

    fn over_tcp(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option of every TCP socket");
        Self::over(stream)
    }

    /// Breaks the connection off, as a process that is killed does with bytes unread.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).expect("an option of TCP");
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// The connection and what was read from it too early, for those that go on without a script.
    pub fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.unread)
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        timeout(SOON, self.stream.write_all(bytes.as_ref())).await.expect("room in time").expect("an open connection");
        self
    }

    /// Sends to a side that may have closed, or does not read; gives up then.
    pub async fn send_if_open(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        timeout(SOON, self.stream.write_all(bytes.as_ref())).await.is_ok_and(|written| written.is_ok())
    }

    /// Half-closes: the other side reads the end, and can still write.
    pub async fn finish(&mut self) -> &mut Self {
        self.stream.shutdown().await.expect("an open connection");
        self
    }

    /// [`Self::finish`] for a side that may have closed.
    pub async fn finish_if_open(&mut self) {
        // It fails when the other side has broken off.
        let _ = self.stream.shutdown().await;
    }

    /// The next bytes up to and with the empty line.
    pub async fn head(&mut self) -> String {
        String::from_utf8(self.head_bytes().await).expect("a head in ASCII")
    }

    /// [`Self::head`], or nothing when the connection ends before it.
    pub async fn head_or_end(&mut self) -> Option<String> {
        while !self.unread.windows(4).any(|window| window == b"\r\n\r\n") {
            if self.read().await == 0 {
                return None;
            }
        }
        Some(self.head().await)
    }

    /// [`Self::head`] with whatever bytes are in it.
    pub async fn head_bytes(&mut self) -> Vec<u8> {
        loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                return self.unread.drain(..at + 4).collect();
            }
            assert!(self.unread.len() < MAX_HEAD_BYTES, "no end of the head");
            assert!(self.read().await > 0, "the end after {:?}", String::from_utf8_lossy(&self.unread));
        }
    }

    /// The next so many bytes.
    pub async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(self.read().await > 0, "the end after {:?}", String::from_utf8_lossy(&self.unread));
        }
        self.unread.drain(..count).collect()
    }

    /// The next byte, unless the connection ends first.
    pub async fn first(&mut self) -> Option<u8> {
        if self.unread.is_empty() {
            self.read().await;
        }
        self.unread.first().copied()
    }

    /// Fails unless exactly these bytes come next.
    pub async fn expect(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let expected = bytes.as_ref();
        let got = self.take(expected.len()).await;
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
        self
    }

    /// Everything up to the end of the connection, a reset counting as an end.
    pub async fn rest(&mut self) -> String {
        while self.read().await > 0 {}
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    /// Fails unless the other side closes without another byte.
    pub async fn expect_end(&mut self) {
        assert_eq!(self.rest().await, "");
    }

    async fn read(&mut self) -> usize {
        self.unread.reserve(16_384);
        let read = timeout(SOON, self.stream.read_buf(&mut self.unread)).await;
        read.expect("bytes or an end in time").unwrap_or(0)
    }
}

/// The value of a header in a head as [`Raw::head`] gives it.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}
