//! Masters that speak HTTP/2: one that answers as the `h2` crate does, and one whose every frame the test decides.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::SOON;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// `:status: 200` as HPACK has it.
pub const STATUS_200: &[u8] = &[0x88];
pub const CANCEL: u32 = 8;
pub const REFUSED_STREAM: u32 = 7;

/// A request as an [`H2Master`] got it.
#[derive(Debug, Clone)]
pub struct Got {
    pub head: Arc<Request<()>>,
    pub body: String,
    pub trailers: HeaderMap,
    /// Which connection it came over, from 0.
    pub connection: usize,
}

/// Answers every request: the body it got, and where that came with trailers, the same trailers.
pub struct H2Master {
    pub address: SocketAddr,
    pub got: Arc<Mutex<Vec<Got>>>,
}

impl H2Master {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let noted = got.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(serve(stream, connection, noted.clone()));
            }
        });
        Self { address, got }
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

/// Serves one connection, which may be TLS.
pub async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, connection: usize, got: Arc<Mutex<Vec<Got>>>) {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol().max_concurrent_streams(100);
    let Ok(mut server) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = server.accept().await {
        tokio::spawn(answer(request, respond, connection, got.clone()));
    }
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: usize,
    got: Arc<Mutex<Vec<Got>>>,
) -> Option<()> {
    let (parts, mut from) = request.into_parts();
    let head = Arc::new(Request::from_parts(parts, ()));
    if head.extensions().get::<h2::ext::Protocol>().is_some() {
        got.lock().unwrap().push(Got { head, body: String::new(), trailers: HeaderMap::new(), connection });
        let mut to = respond.send_response(Response::new(()), false).ok()?;
        // Says back what it hears.
        while let Some(Ok(data)) = from.data().await {
            let _ = from.flow_control().release_capacity(data.len());
            to.send_data(data, false).ok()?;
        }
        return to.send_data(Bytes::new(), true).ok();
    }
    let mut body = Vec::new();
    while let Some(data) = from.data().await {
        let data = data.ok()?;
        let _ = from.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    let trailers = from.trailers().await.ok()?.unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    got.lock().unwrap().push(Got { head: head.clone(), body: text, trailers: trailers.clone(), connection });
    let mut response = Response::new(());
    if head.headers().contains_key("te") {
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    }
    let bodiless = body.is_empty() && trailers.is_empty();
    let mut to = respond.send_response(response, bodiless).ok()?;
    if bodiless {
        return Some(());
    }
    to.send_data(body.into(), trailers.is_empty()).ok()?;
    if trailers.is_empty() { Some(()) } else { to.send_trailers(trailers).ok() }
}

/// A master of which the test decides every frame.
pub struct FrameMaster {
    listener: TcpListener,
    pub address: SocketAddr,
}

/// Its side of a connection.
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

impl FrameMaster {
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        Self { listener, address }
    }

    /// The next connection, greeted with these settings as identifiers and values.
    pub async fn accept(&self, settings: &[(u16, u32)]) -> Frames {
        let (stream, _) = timeout(SOON, self.listener.accept()).await.expect("a connection in time").expect("a socket");
        stream.set_nodelay(true).expect("an option of every TCP socket");
        let mut frames = Frames {
            stream,
            unread: Vec::new(),
            bodies: BTreeMap::new(),
            windows: BTreeMap::new(),
            first_window: 65_535,
        };
        let preface = frames.take(PREFACE.len()).await.expect("the preface");
        assert_eq!(preface, PREFACE);
        let mut payload = Vec::new();
        for (identifier, value) in settings {
            payload.extend_from_slice(&identifier.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        frames.send(SETTINGS, 0, 0, &payload).await;
        frames
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

impl Frames {
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
        let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
        let frame = [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        // The other side may be gone, which the next read tells.
        let _ = timeout(SOON, self.stream.write_all(&frame)).await.expect("room in time");
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
