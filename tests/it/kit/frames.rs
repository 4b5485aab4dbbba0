//! One side of an HTTP/2 connection of which the test decides every frame.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::SOON;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// `:status: 200` as HPACK has it.
pub const STATUS_200: &[u8] = &[0x88];
pub const CANCEL: u32 = 8;
pub const REFUSED_STREAM: u32 = 7;

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field as HPACK writes it without touching its table: any bytes.
pub fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        match u8::try_from(text.len()).ok().filter(|length| *length < 127) {
            Some(length) => out.push(length),
            None => {
                out.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    out.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                out.push(rest as u8);
            }
        }
        out.extend_from_slice(text);
    }
    out
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// A side of a connection.
pub struct Frames {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Of requests that have begun, by stream.
    bodies: BTreeMap<u32, Vec<u8>>,
    /// Bytes that may be sent on each stream, beyond or below the first window.
    windows: BTreeMap<u32, i64>,
    first_window: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frames {
    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option of every TCP socket");
        let (bodies, windows) = Default::default();
        Self { stream, unread: Vec::new(), bodies, windows, first_window: 65_535 }
    }

    /// The client's side, its settings sent.
    pub async fn connect(to: SocketAddr) -> Self {
        let mut frames = Self::over(TcpStream::connect(to).await.expect("a connection"));
        frames.write(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        frames
    }

    /// The server's side of a connection that begins well, greeted with these settings as identifiers and values.
    pub async fn greet(stream: TcpStream, settings: &[(u16, u32)]) -> Self {
        let mut frames = Self::over(stream);
        let preface = frames.take(PREFACE.len()).await.expect("the preface");
        assert_eq!(preface, PREFACE);
        let pairs =
            settings.iter().map(|(identifier, value)| [&identifier.to_be_bytes()[..], &value.to_be_bytes()].concat());
        frames.send(SETTINGS, 0, 0, &pairs.collect::<Vec<_>>().concat()).await;
        frames
    }

    /// Sends data as far as the stream's window goes, as it is known by now; returns how much.
    pub async fn fill(&mut self, stream: u32) -> usize {
        let mut sent = 0;
        while self.first_window + self.windows.get(&stream).copied().unwrap_or(0) >= 16 * 1024 {
            self.send(DATA, 0, stream, &[b'x'; 16 * 1024]).await;
            *self.windows.entry(stream).or_default() -= 16 * 1024;
            sent += 16 * 1024;
        }
        sent
    }

    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.unread.len() < count {
            let read = timeout(SOON, self.stream.read_buf(&mut self.unread)).await.expect("a frame or an end in time");
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
        Some(self.unread.drain(..count).collect())
    }

    /// The next frame of any kind; `None` at the end.
    pub async fn any(&mut self) -> Option<Frame> {
        let header = self.take(9).await?;
        let payload = self.take(number(&header[..3]) as usize).await?;
        Some(Frame { kind: header[3], flags: header[4], stream: number(&header[5..]) & 0x7fff_ffff, payload })
    }

    /// The next frame of a stream, or one that ends the connection; settings and windows are dealt with.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.any().await?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => {
                    for setting in frame.payload.chunks(6).filter(|setting| setting[..2] == [0, 4]) {
                        self.first_window = number(&setting[2..]).into();
                    }
                    self.send(SETTINGS, ACK, 0, &[]).await;
                }
                WINDOW_UPDATE => *self.windows.entry(frame.stream).or_default() += i64::from(number(&frame.payload)),
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload).await,
                SETTINGS | PING => {}
                _ => return Some(frame),
            }
        }
    }

    /// The next frame, which must be of this kind.
    pub async fn expect(&mut self, kind: u8) -> Frame {
        let frame = self.next().await.unwrap_or_else(|| panic!("the end instead of a frame of kind {kind}"));
        assert_eq!(frame.kind, kind, "{frame:?}");
        frame
    }

    /// The next request that is whole, whichever began first: its stream and its body. `None` at the end of the connection.
    pub async fn request(&mut self) -> Option<(u32, Vec<u8>)> {
        loop {
            let frame = self.next().await?;
            assert!([HEADERS, DATA].contains(&frame.kind), "{frame:?}");
            let body = self.bodies.entry(frame.stream).or_default();
            if frame.kind == DATA {
                body.extend_from_slice(&frame.payload);
            }
            if frame.flags & END_STREAM != 0 {
                return self.bodies.remove_entry(&frame.stream);
            }
        }
    }

    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write(&frame(kind, flags, stream, payload)).await;
    }

    /// Sends whatever it is.
    pub async fn write(&mut self, bytes: &[u8]) {
        // The other side may be gone, which the next read tells.
        let _ = timeout(SOON, self.stream.write_all(bytes)).await.expect("room in time");
    }

    /// 200 with this body.
    pub async fn answer(&mut self, stream: u32, body: &[u8]) {
        self.send(HEADERS, END_HEADERS, stream, STATUS_200).await;
        self.send(DATA, END_STREAM, stream, body).await;
    }

    pub async fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }

    /// Says that nothing above `last` was looked at, without an error.
    pub async fn go_away(&mut self, last: u32) {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()).await;
    }
}
