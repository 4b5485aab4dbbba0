//! One attempt over a connection of its own, which speaks HTTP/1.1.

use std::io;
use std::task::Poll;

use super::Requester;
use super::attempt::{Attempt, Broken, RESPONSE_HEAD_MAX, broken};
use super::sending::Sending;
use super::waiting::{Cut, Waiting};
use crate::clock::{self, Micros};
use crate::http::request::Framing;
use crate::http::scan::HeadScan;
use crate::telemetry::hot::RetryReason;
use crate::tls;
use crate::upstream::connection::Connection;
use crate::upstream::master::Failure;

enum Event {
    Head(usize),
    /// The connection ended, or broke.
    Closed,
    /// The master wants another certificate than Baton's.
    Refused(io::Error),
    Malformed,
    Cut(Cut),
}

impl Attempt<'_> {
    /// Sends the request and reads up to the head of the final answer. Returns what has become of the sending, and when the
    /// head came.
    pub(super) async fn converse<R: Requester>(
        &self,
        connection: &mut Connection,
        requester: &mut R,
        got_byte: &mut bool,
    ) -> Result<(Waiting<'_>, Micros), Broken> {
        let sent_at = clock::now();
        self.arm(sent_at);
        let whole = requester.whole_body();
        let sending = whole.is_none().then(|| Sending::new(self.framing == Framing::Chunked));
        let writing = connection.stream.write_both(self.head, whole.unwrap_or_default());
        match self.watched.guard(writing).await {
            Ok(Ok(())) => {}
            Ok(Err((_, written))) => return Err(broken(Failure::Reset, RetryReason::Reset, written > 0)),
            Err(fired) => return Err(self.fired(fired, false)),
        }
        let mut waiting = Waiting::new(self, sent_at, sending);
        let mut scan = HeadScan::default();
        loop {
            let event = std::future::poll_fn(|cx| {
                if let Poll::Ready(cut) = waiting.poll(cx, requester, &connection.stream) {
                    return Poll::Ready(Event::Cut(cut));
                }
                loop {
                    match scan.find_end(connection.buffer.filled()) {
                        Ok(Some(length)) => return Poll::Ready(Event::Head(length)),
                        Ok(None) if connection.buffer.reserve(RESPONSE_HEAD_MAX) => {}
                        _ => return Poll::Ready(Event::Malformed),
                    }
                    match connection.buffer.poll_fill(cx, &connection.stream) {
                        Poll::Ready(Err(error))
                            if !*got_byte && !connection.reused && tls::client::is_refusal(&error) =>
                        {
                            return Poll::Ready(Event::Refused(error));
                        }
                        Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Event::Closed),
                        Poll::Ready(Ok(_)) => {
                            if !*got_byte {
                                *got_byte = true;
                                self.pool.master.touched(clock::now());
                                self.watched.wait_over();
                            }
                        }
                        Poll::Pending => return Poll::Pending,
                    }
                }
            })
            .await;
            let length = match event {
                Event::Head(length) => length,
                Event::Closed => return Err(broken(Failure::Reset, RetryReason::Reset, true)),
                Event::Refused(error) => {
                    self.complain("TLS", || tls::client::problem(&error));
                    return Err(broken(Failure::ConnectOther, RetryReason::Connect, false));
                }
                Event::Malformed => return Err(broken(Failure::BadResponse, RetryReason::Reset, true)),
                Event::Cut(cut) => return Err(waiting.cut(cut)),
            };
            let now = clock::now();
            self.pool.master.touched(now);
            let raw = &connection.buffer.filled()[..length];
            if connection.response.parse(raw, self.to_head).is_err() {
                return Err(broken(Failure::BadResponse, RetryReason::Reset, true));
            }
            if !connection.response.is_interim() {
                return Ok((waiting, now));
            }
            waiting.interim(requester, &connection.response, raw).await?;
            connection.buffer.consume(length);
            scan = HeadScan::default();
        }
    }
}
