//! A WebSocket, or whatever else client and master agreed on with a 101: bytes both ways until both sides are done.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::client::Client;
use crate::clock::{self, Micros};
use crate::exchange::answer::Answer;
use crate::net::buffer::{BUFFER_BYTES, Buffer};
use crate::net::stream::Stream;
use crate::net::watch::Watched;
use crate::upstream::connection::Pool;

/// Bytes that went through.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moved {
    pub to_master: u64,
    pub to_client: u64,
}

/// One direction: a buffer between two streams.
#[derive(Debug, Default)]
struct Pump {
    ended: bool,
    done: bool,
    moved: u64,
}

/// Passes bytes both ways, what is buffered first, until both sides have ended, either breaks, or none came for `idle`.
pub async fn run(client: &mut Client, answer: &mut Answer, watched: &Watched<Pool>, idle: Micros) -> Moved {
    let (master, buffer, place) = answer.tunnel();
    let (mut up, mut down) = (Pump { ended: client.half_closed, ..Pump::default() }, Pump::default());
    let mut moved = u64::MAX;
    let _ = watched
        .guard(std::future::poll_fn(|cx| {
            let up_state = up.poll(cx, &client.stream, &mut client.buffer, master);
            let down_state = down.poll(cx, master, buffer, &client.stream);
            if moved != up.moved + down.moved {
                moved = up.moved + down.moved;
                let now = clock::now();
                place.pool().master.touched(now);
                watched.arm(now.saturating_add(idle));
            }
            match (up_state, down_state) {
                (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            }
        }))
        .await;
    Moved { to_master: up.moved, to_client: down.moved }
}

impl Pump {
    fn poll(&mut self, cx: &mut Context<'_>, from: &Stream, buffer: &mut Buffer, to: &Stream) -> Poll<io::Result<()>> {
        while !self.done {
            if !buffer.is_empty() {
                let count = ready!(to.poll_write(cx, &[IoSlice::new(buffer.filled())]))?;
                buffer.consume(count);
                self.moved += count as u64;
            } else if self.ended {
                ready!(to.poll_shutdown(cx))?;
                self.done = true;
            } else {
                ready!(to.poll_flush(cx))?;
                // An idle tunnel holds no buffers.
                if from.poll_readable(cx)?.is_pending() {
                    buffer.release();
                    return Poll::Pending;
                }
                buffer.reserve(BUFFER_BYTES);
                self.ended = ready!(buffer.poll_fill(cx, from))? == 0;
            }
        }
        Poll::Ready(Ok(()))
    }
}
