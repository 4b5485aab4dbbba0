//! One probe's request and answer over HTTP/2, on a connection of its own.

use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use h2::RecvStream;
use http::header::{HOST, HeaderMap};
use http::uri::PathAndQuery;
use http::{Request, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite};

/// What a master answered, as far as anybody wants to know it.
pub(super) struct Answer {
    pub(super) status: u16,
    /// `None` when it is longer than the limit, or broke off.
    pub(super) body: Option<Vec<u8>>,
}

/// Sends the request, whose host is in its headers. Reads no more than `body_max` bytes of the answer's body.
///
/// # Errors
/// Why there is no answer, as part of a sentence.
pub(super) async fn ask<S>(
    stream: S,
    request: Request<()>,
    scheme: &'static str,
    head_max: u32,
    body_max: usize,
) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = spoken(request, scheme).ok_or("health_check.http is no valid request")?;
    let mut builder = h2::client::Builder::new();
    let window = u32::try_from(body_max).unwrap_or(u32::MAX).saturating_add(1);
    builder.enable_push(false).max_header_list_size(head_max).initial_window_size(window);
    let (sender, connection) = builder.handshake::<_, Bytes>(stream).await.map_err(|error| describe(&error))?;
    let answer = async {
        let mut sender = sender.ready().await.map_err(|error| describe(&error))?;
        let (response, _) = sender.send_request(request, true).map_err(|error| describe(&error))?;
        let (head, body) = response.await.map_err(|error| describe(&error))?.into_parts();
        Ok(Answer { status: head.status.as_u16(), body: read(body, body_max).await })
    };
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    let mut open = true;
    // Both in one task: what has arrived is seen in the poll in which the deadline is looked at.
    std::future::poll_fn(|cx| {
        open = open && connection.as_mut().poll(cx).is_pending();
        match answer.as_mut().poll(cx) {
            // Nobody is left to bring an answer.
            Poll::Pending if !open => Poll::Ready(Err("connection closed before an answer".to_owned())),
            polled => polled,
        }
    })
    .await
}

/// The request with its host where HTTP/2 has it.
fn spoken(request: Request<()>, scheme: &'static str) -> Option<Request<()>> {
    let (mut parts, ()) = request.into_parts();
    let host = parts.headers.remove(HOST)?;
    parts.headers.remove(http::header::CONNECTION);
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(path).build().ok()?;
    parts.version = Version::HTTP_2;
    Some(Request::from_parts(parts, ()))
}

async fn read(mut from: RecvStream, max: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(data) = from.data().await {
        let data = data.ok()?;
        if body.len() + data.len() > max {
            return None;
        }
        let _ = from.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    let _: Option<HeaderMap> = from.trailers().await.ok()?;
    Some(body)
}

fn describe(error: &h2::Error) -> String {
    match error.reason() {
        Some(reason) if error.is_remote() => format!("it answered with {reason:?}"),
        Some(_) => "the answer is not HTTP/2".to_owned(),
        None => "connection broke".to_owned(),
    }
}
