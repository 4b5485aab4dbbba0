//! A WebSocket over a stream (RFC 8441): bytes both ways between its DATA frames and a master that switched protocols.

use std::io::IoSlice;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};

use super::body::poll_data;
use super::respond::poll_room;
use crate::clock::{self, Micros};
use crate::exchange::answer::Answer;
use crate::http::fields;
use crate::http::response::Response;
use crate::http::websocket::accept;
use crate::net::buffer::{BUFFER_BYTES, Buffer};
use crate::net::stream::Stream;
use crate::net::watch::Watched;
use crate::proxy::http::tunnel::Moved;
use crate::upstream::connection::Pool;

/// Whether a master that switches protocols has read the handshake (RFC 6455 section 4.1): its answer proves that with the key of
/// the request, whose head this is. Over HTTP/2 there is neither, so that nobody but Baton can look.
#[must_use]
pub fn is_accepted(asked: &[u8], response: &Response, raw: &[u8]) -> bool {
    let key = fields::lines(asked).find(|(name, _)| name.eq_ignore_ascii_case(b"sec-websocket-key"));
    let mut proofs = response.fields(raw).filter(|(name, _)| name.eq_ignore_ascii_case(b"sec-websocket-accept"));
    match (key, proofs.next(), proofs.next()) {
        (Some((_, key)), Some((_, proof)), None) => proof == accept(key).as_bytes(),
        _ => false,
    }
}

/// From the client to the master.
struct Up {
    from: RecvStream,
    unsent: Bytes,
    ended: bool,
    done: bool,
    moved: u64,
}

/// From the master to the client.
struct Down {
    to: SendStream<Bytes>,
    ended: bool,
    done: bool,
    moved: u64,
}

/// Either side broke.
struct Broken;

/// Passes bytes both ways until both sides have ended, either breaks, or none came for `idle`.
pub async fn run(
    from: RecvStream,
    to: SendStream<Bytes>,
    answer: &mut Answer,
    watched: &Watched<Pool>,
    idle: Micros,
) -> Moved {
    let (master, buffer, place) = answer.tunnel();
    let mut up = Up { from, unsent: Bytes::new(), ended: false, done: false, moved: 0 };
    let mut down = Down { to, ended: false, done: false, moved: 0 };
    let mut moved = u64::MAX;
    let passing = std::future::poll_fn(|cx| {
        let (up_state, down_state) = (up.poll(cx, master), down.poll(cx, master, buffer));
        if moved != up.moved + down.moved {
            moved = up.moved + down.moved;
            let now = clock::now();
            place.pool().master.touched(now);
            watched.arm(now.saturating_add(idle));
        }
        match (up_state, down_state) {
            (Poll::Ready(Err(broken)), _) | (_, Poll::Ready(Err(broken))) => Poll::Ready(Err(broken)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    });
    if !matches!(watched.guard(passing).await, Ok(Ok(()))) {
        down.to.send_reset(Reason::CANCEL);
    }
    Moved { to_master: up.moved, to_client: down.moved }
}

impl Up {
    fn poll(&mut self, cx: &mut Context<'_>, to: &Stream) -> Poll<Result<(), Broken>> {
        while !self.done {
            if !self.unsent.is_empty() {
                let count = ready!(to.poll_write(cx, &[IoSlice::new(&self.unsent)])).map_err(|_| Broken)?;
                self.unsent.advance(count);
                self.moved += count as u64;
            } else if self.ended {
                ready!(to.poll_shutdown(cx)).map_err(|_| Broken)?;
                self.done = true;
            } else {
                ready!(to.poll_flush(cx)).map_err(|_| Broken)?;
                match ready!(poll_data(&mut self.from, cx)).map_err(|_| Broken)? {
                    Some(data) => self.unsent = data,
                    None => self.ended = true,
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Down {
    fn poll(&mut self, cx: &mut Context<'_>, from: &Stream, buffer: &mut Buffer) -> Poll<Result<(), Broken>> {
        while !self.done {
            if !buffer.is_empty() {
                let room = ready!(poll_room(&mut self.to, buffer.filled().len(), cx)).ok_or(Broken)?;
                let part = Bytes::copy_from_slice(&buffer.filled()[..room.min(buffer.filled().len())]);
                buffer.consume(part.len());
                self.moved += part.len() as u64;
                self.to.send_data(part, false).map_err(|_| Broken)?;
            } else if self.ended {
                self.to.send_data(Bytes::new(), true).map_err(|_| Broken)?;
                self.done = true;
            } else {
                // An idle tunnel holds no buffers.
                if from.poll_readable(cx).map_err(|_| Broken)?.is_pending() {
                    buffer.release();
                    return if self.to.poll_reset(cx).is_ready() { Poll::Ready(Err(Broken)) } else { Poll::Pending };
                }
                buffer.reserve(BUFFER_BYTES);
                self.ended = ready!(buffer.poll_fill(cx, from)).map_err(|_| Broken)? == 0;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_proof_that_belongs_to_the_key_is_taken() {
        let asked = b"GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let accepted = |lines: &str| {
            let raw = format!("HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{lines}\r\n");
            let mut response = Response::default();
            response.parse(raw.as_bytes(), false).unwrap();
            is_accepted(asked, &response, raw.as_bytes())
        };
        let proof = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        assert!(accepted(proof));
        assert!(!accepted("") && !accepted("Sec-WebSocket-Accept: x\r\n") && !accepted(&proof.repeat(2)));
    }
}
