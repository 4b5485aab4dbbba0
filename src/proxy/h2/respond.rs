//! A master's answer on its way into a stream, no faster than the client's window opens.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Reason, SendStream};

use super::body::Asking;
use super::head;
use crate::clock;
use crate::config::model::HeaderRules;
use crate::exchange::answer::{Answer, Passed, Piece};
use crate::exchange::body::Body;
use crate::exchange::rules;
use crate::http::h2_fields;
use crate::http::request::Framing;
use crate::http::response::Onward;
use crate::limits::pace::Pace;
use crate::net::watch::Watched;
use crate::proxy::compression::Offer;
use crate::upstream::connection::Pool;

/// How an answer is to be passed on.
#[derive(Debug)]
pub struct Manner<'a> {
    /// The patience with the client; its pause is also the master's.
    pub pace: Pace,
    /// Changes to its fields, and the lines that they add.
    pub rules: Option<&'a HeaderRules>,
    pub lines: &'a [u8],
    /// The answer may be encoded.
    pub offer: Option<Offer<'a>>,
}

/// Passes the answer on. Returns how it ended and the bytes of body that were written; `scratch` is a buffer to work in.
pub async fn pass_on(
    answer: &mut Answer,
    asking: &mut Asking,
    watched: &Watched<Pool>,
    mut manner: Manner<'_>,
    scratch: &mut Vec<u8>,
) -> (Passed, u64) {
    let (response, raw) = answer.head();
    let mut encoding = None;
    let head = if manner.rules.is_none() && manner.offer.is_none() {
        head::response(response, raw)
    } else {
        scratch.clear();
        response.write(raw, Onward { framing: Framing::None, keep_alive: None }, scratch);
        if let Some(rules) = manner.rules {
            rules::apply(rules, manner.lines, scratch, 0);
        }
        let mut framing = response.framing.0;
        encoding = manner.offer.and_then(|offer| offer.begin(response.status, framing, b"", scratch));
        if encoding.is_some() {
            framing = Framing::UntilClose;
        }
        head::changed_response(response.status, framing, scratch)
    };
    let Some(head) = head else {
        asking.respond.send_reset(Reason::INTERNAL_ERROR);
        return (Passed::CutShort, 0);
    };
    let mut body = Body::new(answer, encoding);
    let Ok(mut stream) = asking.respond.send_response(head, body.is_complete()) else {
        return (Passed::ClientGone, 0);
    };
    let mut written = 0;
    let passed = if body.is_complete() {
        Passed::Whole
    } else {
        pass_body(&mut body, asking, &mut stream, watched, &mut manner.pace, &mut written)
            .await
            .err()
            .unwrap_or(Passed::Whole)
    };
    match passed {
        Passed::Whole => {}
        Passed::ClientGone => stream.send_reset(Reason::CANCEL),
        Passed::CutShort | Passed::Stalled => stream.send_reset(Reason::INTERNAL_ERROR),
    }
    (passed, written)
}

async fn pass_body(
    body: &mut Body<'_>,
    asking: &mut Asking,
    stream: &mut SendStream<Bytes>,
    watched: &Watched<Pool>,
    pace: &mut Pace,
    written: &mut u64,
) -> Result<(), Passed> {
    loop {
        match body.piece()? {
            Some(Piece::Data(data)) => {
                let data = Bytes::copy_from_slice(data);
                *written += data.len() as u64;
                let last = body.is_complete();
                send(stream, data, last, watched, pace).await?;
                if last {
                    return Ok(());
                }
            }
            Some(Piece::End { trailers: [] }) => {
                return stream.send_data(Bytes::new(), true).map_err(|_| Passed::ClientGone);
            }
            Some(Piece::End { trailers }) => {
                let trailers = h2_fields::trailers(trailers).ok_or(Passed::CutShort)?;
                return stream.send_trailers(trailers).map_err(|_| Passed::ClientGone);
            }
            None => {
                watched.arm(clock::now().saturating_add(pace.pause()));
                let more = std::future::poll_fn(|cx| {
                    if stream.poll_reset(cx).is_ready() {
                        return Poll::Ready(Err(Passed::ClientGone));
                    }
                    body.poll_more(cx, asking, watched)
                });
                more.await?;
            }
        }
    }
}

/// Sends all of `data` as the window allows, with `pace` for a client that does not open it; `last` ends the stream with it.
pub async fn send(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    last: bool,
    watched: &Watched<Pool>,
    pace: &mut Pace,
) -> Result<(), Passed> {
    while !data.is_empty() {
        let begun = clock::now();
        watched.arm(begun.saturating_add(pace.patience()));
        let room = std::future::poll_fn(|cx| poll_room(stream, data.len(), cx));
        let Ok(Some(room)) = watched.guard(room).await else { return Err(Passed::ClientGone) };
        let part = data.split_to(room.min(data.len()));
        pace.waited(clock::now().saturating_sub(begun), part.len());
        let ends = last && data.is_empty();
        stream.send_data(part, ends).map_err(|_| Passed::ClientGone)?;
    }
    Ok(())
}

/// How many bytes may be sent now, of `wanted`; `None` when the client has reset the stream.
pub fn poll_room(stream: &mut SendStream<Bytes>, wanted: usize, cx: &mut Context<'_>) -> Poll<Option<usize>> {
    if stream.poll_reset(cx).is_ready() {
        return Poll::Ready(None);
    }
    stream.reserve_capacity(wanted);
    loop {
        let room = stream.capacity();
        if room > 0 {
            return Poll::Ready(Some(room));
        }
        match stream.poll_capacity(cx) {
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(_) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        }
    }
}
