//! One HTTP request on a connection of its own, for admin calls and fault knobs. Nothing here is fast.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest answer that is read; status and metrics of a few hundred masters stay below it.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// Connection, request and answer together. A local admin call takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends `body` (empty for none) and reads the whole answer.
///
/// # Errors
/// When there is no complete answer within five seconds; the message names the method, the address and the path.
pub async fn request(method: Method, to: SocketAddr, path: &str, body: &str) -> io::Result<(StatusCode, Bytes)> {
    let named = |reason: &dyn std::fmt::Display| io::Error::other(format!("{method} http://{to}{path}: {reason}"));
    match tokio::time::timeout(TIMEOUT, exchange(method.clone(), to, path, body)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(named(&error)),
        Err(_) => Err(named(&format_args!("no answer within {TIMEOUT:?}"))),
    }
}

/// [`request`] with GET.
///
/// # Errors
/// As [`request`].
pub async fn get(to: SocketAddr, path: &str) -> io::Result<(StatusCode, Bytes)> {
    request(Method::GET, to, path, "").await
}

/// [`request`] with POST and a JSON body.
///
/// # Errors
/// As [`request`].
pub async fn post(to: SocketAddr, path: &str, body: &str) -> io::Result<(StatusCode, Bytes)> {
    request(Method::POST, to, path, body).await
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(method: Method, to: SocketAddr, path: &str, body: &str) -> Result<(StatusCode, Bytes), Failure> {
    let stream = TcpStream::connect(to).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, to.to_string())
        .header(header::CONNECTION, "close")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_owned())))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await?.to_bytes();
        Ok::<_, Failure>((status, body))
    };
    // The connection ends by itself after the answer; its errors reach the request as well.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
