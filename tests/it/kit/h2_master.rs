//! Masters that speak HTTP/2: one that answers as the `h2` crate does, and one whose every frame the test decides.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::SOON;
use super::frames::Frames;

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

impl FrameMaster {
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        Self { listener, address }
    }

    /// The next connection, greeted with these settings as identifiers and values.
    pub async fn accept(&self, settings: &[(u16, u32)]) -> Frames {
        let (stream, _) = timeout(SOON, self.listener.accept()).await.expect("a connection in time").expect("a socket");
        Frames::greet(stream, settings).await
    }
}
