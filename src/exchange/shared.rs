//! One attempt over a stream of an HTTP/2 connection that other exchanges share.
//!
//! From the head on the answer is a connection like any other, whose bytes are the stream's. Whatever ends the exchange early
//! drops the stream, which resets it with CANCEL and leaves the others alone.

use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use h2::Reason;

use super::attempt::{Answered, Attempt, Broken, INTERIM_RESPONSES_MAX, broken};
use super::h2_head::Spoken;
use super::sending::Sending;
use super::{ClientEnd, Requester, UploadError, h2_head};
use crate::clock;
use crate::http::response::Response;
use crate::net::h2_stream::H2Stream;
use crate::net::stream::Stream;
use crate::net::watch::Fired;
use crate::telemetry::hot::RetryReason;
use crate::upstream::connection::Connection;
use crate::upstream::links::Lease;
use crate::upstream::master::Failure;

enum Event {
    Interim(http::Response<()>),
    Head(Box<http::Response<h2::RecvStream>>),
    Broke(h2::Error),
    Fired(Fired),
    Client(ClientEnd),
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
        let per_try = clock::micros(self.settings.retry.per_try_timeout);
        let mut sent_at = clock::now();
        self.watched.arm(sent_at.saturating_add(per_try).min(self.deadline.get()));
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
        let mut sending = whole.is_none().then(|| Sending::new(false));
        if sending.is_none() {
            self.owe(sent_at);
        }
        let mut connection = Connection::over(Stream::h2(stream), &self.local.stock);
        let mut interim_responses = 0;
        loop {
            let event = std::future::poll_fn(|cx| {
                if let Some(fired) = self.watched.fired() {
                    return Poll::Ready(Event::Fired(fired));
                }
                if let Some(upload) = &mut sending {
                    match upload.poll(cx, requester, &connection.stream, self.watched) {
                        Poll::Ready(Ok(())) => {
                            sending = None;
                            sent_at = clock::now();
                            self.deadline.set(self.deadline.get().min(sent_at.saturating_add(self.timeout)));
                            self.watched.arm(sent_at.saturating_add(per_try).min(self.deadline.get()));
                            self.owe(sent_at);
                        }
                        Poll::Ready(Err(UploadError::Client(end))) => return Poll::Ready(Event::Client(end)),
                        // What the master said to that is still to be read.
                        Poll::Ready(Err(UploadError::Master)) | Poll::Pending => {}
                    }
                } else if requester.poll_gone(cx).is_ready() {
                    return Poll::Ready(Event::Client(ClientEnd::Gone));
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
                    return Ok(Answered { connection, sending, latency: now.saturating_sub(sent_at) });
                }
                Event::Interim(head) => {
                    self.pool.master.touched(now);
                    self.watched.wait_over();
                    interim_responses += 1;
                    let (mut raw, mut interim) = (Vec::new(), Response::default());
                    h2_head::write_response(&head, false, &mut raw);
                    if interim_responses > INTERIM_RESPONSES_MAX || interim.parse(&raw, self.to_head).is_err() {
                        return Err(broken(Failure::BadResponse, RetryReason::Reset, true));
                    }
                    match self.watched.guard(requester.interim(&interim, &raw)).await {
                        Ok(passed) => passed.map_err(Broken::Client)?,
                        // It does not read.
                        Err(_) => return Err(Broken::Client(ClientEnd::Gone)),
                    }
                }
                Event::Broke(error) => return Err(self.judge_end(&error, &lease, fresh, interim_responses > 0)),
                Event::Fired(fired) => {
                    let client_paused = sending.as_ref().is_some_and(|upload| !upload.waits_for_master());
                    return Err(self.fired(fired, client_paused));
                }
                Event::Client(end) => return Err(Broken::Client(end)),
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
