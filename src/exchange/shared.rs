//! One attempt over a stream of an HTTP/2 connection that other exchanges share.
//!
//! From the head on the answer is a connection like any other, whose bytes are the stream's. Whatever ends the exchange early
//! drops the stream, which resets it with CANCEL and leaves the others alone.

use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use h2::Reason;

use super::attempt::{Answered, Attempt, Broken, broken};
use super::h2_head::Spoken;
use super::sending::Sending;
use super::waiting::{Cut, Waiting};
use super::{Requester, h2_head};
use crate::clock;
use crate::http::response::Response;
use crate::net::h2_stream::H2Stream;
use crate::net::stream::Stream;
use crate::telemetry::hot::RetryReason;
use crate::upstream::connection::Connection;
use crate::upstream::links::Lease;
use crate::upstream::master::Failure;

enum Event {
    Interim(http::Response<()>),
    Head(Box<http::Response<h2::RecvStream>>),
    Broke(h2::Error),
    Cut(Cut),
}

/// What the end of a stream says about its request.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The master has not looked at it (RFC 9113 sections 6.8 and 8.7).
    Unprocessed,
    /// The connection broke.
    Connection,
    /// The master gave this stream up, or made a mistake.
    Stream,
}

fn verdict(error: &h2::Error) -> Verdict {
    // The crate ends with the master's GOAWAY only those streams that are above its last one.
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && (error.is_go_away() || refused) {
        Verdict::Unprocessed
    } else if error.is_io() || error.is_go_away() {
        Verdict::Connection
    } else {
        Verdict::Stream
    }
}

impl Attempt<'_> {
    /// Sends the request on a stream and waits for the head of the answer.
    pub(super) async fn share<R: Requester>(
        &self,
        lease: Lease,
        requester: &mut R,
        fresh: bool,
    ) -> Result<Answered, Broken> {
        let sent_at = clock::now();
        self.arm(sent_at);
        let scheme = if self.pool.tls.is_some() { "https" } else { "http" };
        let mut sender = lease.sender();
        let Some(Spoken { request, websocket }) = h2_head::request(self.head, scheme)
            .filter(|spoken| spoken.websocket.is_none() || sender.is_extended_connect_protocol_enabled())
        else {
            return Err(Broken::NotInHttp2);
        };
        let whole = requester.whole_body();
        let ended = whole.is_some_and(<[u8]>::is_empty) && websocket.is_none();
        // What is refused here has not been sent.
        let Ok((mut response, to)) = sender.send_request(request, ended) else { return Err(Broken::Refused) };
        drop(sender);
        let mut stream = H2Stream::new(to, ended);
        if let Some(body) = whole.filter(|body| !body.is_empty()) {
            // If the stream has ended, its answer says why.
            let _ = stream.send_all(Bytes::copy_from_slice(body));
        }
        let sending = whole.is_none().then(|| Sending::new(false));
        let mut waiting = Waiting::new(self, sent_at, sending);
        let mut connection = Connection::over(Stream::h2(stream), &self.local.stock);
        loop {
            let event = std::future::poll_fn(|cx| {
                if let Poll::Ready(cut) = waiting.poll(cx, requester, &connection.stream) {
                    return Poll::Ready(Event::Cut(cut));
                }
                if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
                    return Poll::Ready(Event::Interim(interim));
                }
                Pin::new(&mut response).poll(cx).map(|head| match head {
                    Ok(head) => Event::Head(Box::new(head)),
                    Err(error) => Event::Broke(error),
                })
            })
            .await;
            let now = clock::now();
            match event {
                Event::Head(head) => {
                    self.pool.master.touched(now);
                    self.watched.wait_over();
                    let (parts, from) = head.into_parts();
                    let (mut raw, parts) = (Vec::new(), http::Response::from_parts(parts, ()));
                    match &websocket {
                        Some(accept) if parts.status().is_success() => {
                            h2_head::write_switching(&parts, accept, &mut raw);
                        }
                        _ => h2_head::write_response(&parts, from.is_end_stream(), &mut raw),
                    }
                    if connection.response.parse(&raw, self.to_head).is_err() {
                        return Err(broken(Failure::BadResponse, RetryReason::Reset, true));
                    }
                    // It is not one for the pool.
                    connection.response.keep_alive = false;
                    connection.buffer.put(&raw);
                    connection.stream.with_h2(|stream| stream.receive(from));
                    connection.lease = Some(lease);
                    return Ok(waiting.answered(connection, now));
                }
                Event::Interim(head) => {
                    self.pool.master.touched(now);
                    self.watched.wait_over();
                    let (mut raw, mut interim) = (Vec::new(), Response::default());
                    h2_head::write_response(&head, false, &mut raw);
                    if interim.parse(&raw, self.to_head).is_err() {
                        return Err(broken(Failure::BadResponse, RetryReason::Reset, true));
                    }
                    waiting.interim(requester, &interim, &raw).await?;
                }
                Event::Broke(error) => return Err(self.judge_end(&error, &lease, fresh, waiting.heard())),
                Event::Cut(cut) => return Err(waiting.cut(cut)),
            }
        }
    }

    fn judge_end(&self, error: &h2::Error, lease: &Lease, fresh: bool, heard: bool) -> Broken {
        match verdict(error) {
            Verdict::Unprocessed => Broken::Refused,
            Verdict::Connection if lease.reused && !fresh && !heard => Broken::Stale,
            Verdict::Connection if !lease.may_charge() => Broken::BrokeTogether,
            Verdict::Connection => broken(Failure::Reset, RetryReason::Reset, true),
            // The connection is well, so nothing has to be suspected.
            Verdict::Stream => broken(Failure::BadResponse, RetryReason::Reset, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_errors_are_told_apart() {
        // One of the crate's own making, as for a frame that is out of place.
        assert_eq!(verdict(&h2::Error::from(Reason::PROTOCOL_ERROR)), Verdict::Stream);
    }
}
