//! A master's answer on its way to the client.

use super::client::Asking;
use crate::clock;
use crate::config::model::HeaderRules;
use crate::exchange::answer::{Answer, Passed, Piece};
use crate::exchange::body::Body;
use crate::exchange::rules;
use crate::http::chunked::{write_chunk, write_chunk_size};
use crate::http::request::{Framing, Version};
use crate::http::response::Onward;
use crate::limits::pace::Pace;
use crate::net::watch::Watched;
use crate::proxy::compression::Offer;
use crate::upstream::connection::Pool;

/// The result of passing an answer on.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    pub passed: Passed,
    /// The client's connection can take the next request.
    pub keep_alive: bool,
    /// Bytes written to the client.
    pub written: u64,
}

/// How an answer is to be passed on.
#[derive(Debug)]
pub struct Manner<'a> {
    /// What the client asked for.
    pub keep_alive: bool,
    /// The patience with the client; its pause is also the master's.
    pub pace: Pace,
    /// Changes to its fields, and the lines that they add.
    pub rules: Option<&'a HeaderRules>,
    pub lines: &'a [u8],
    /// The answer may be encoded.
    pub offer: Option<Offer<'a>>,
}

/// What an answer of unknown length is framed by.
const CHUNKED: &[u8] = b"Transfer-Encoding: chunked\r\n";

/// Passes the answer on.
pub async fn pass_on(
    answer: &mut Answer,
    asking: &mut Asking<'_>,
    watched: &Watched<Pool>,
    mut manner: Manner<'_>,
    out: &mut Vec<u8>,
) -> Outcome {
    let (response, raw) = answer.head();
    let mut framing = match (response.framing.0, asking.version) {
        (Framing::Chunked | Framing::UntilClose, Version::Http11) => Framing::Chunked,
        (Framing::Chunked | Framing::UntilClose, Version::Http10) => Framing::UntilClose,
        (framing, _) => framing,
    };
    // A client that is still sending would have to be listened to for who knows how long.
    let mut keep_alive = manner.keep_alive && framing != Framing::UntilClose && asking.is_received();
    let said = match (asking.version, keep_alive) {
        (Version::Http11, true) => None,
        (_, said) => Some(said),
    };
    out.clear();
    response.write(raw, Onward { framing, keep_alive: said }, out);
    if let Some(rules) = manner.rules {
        rules::apply(rules, manner.lines, out, 0);
    }
    let encoding = manner.offer.and_then(|offer| offer.begin(response.status, framing, CHUNKED, out));
    if encoding.is_some() {
        framing = Framing::Chunked;
    }
    let mut body = Body::new(answer, encoding);
    let mut written = 0;
    let passed = loop {
        let ended = match take_in(&mut body, framing == Framing::Chunked, out) {
            Ok(ended) => ended,
            Err(passed) => break passed,
        };
        if !out.is_empty() {
            let begun = clock::now();
            watched.arm(begun.saturating_add(manner.pace.patience()));
            match watched.guard(asking.client.stream.write_all(out)).await {
                Ok(Ok(())) => written += out.len() as u64,
                _ => break Passed::ClientGone,
            }
            if !ended {
                manner.pace.waited(clock::now().saturating_sub(begun), out.len());
            }
            out.clear();
        }
        if ended {
            break Passed::Whole;
        }
        watched.arm(clock::now().saturating_add(manner.pace.pause()));
        if let Err(passed) = std::future::poll_fn(|cx| body.poll_more(cx, asking, watched)).await {
            break passed;
        }
    };
    keep_alive &= passed == Passed::Whole;
    Outcome { passed, keep_alive, written }
}

/// Moves what is here of the body to `out`, framed for the client. True when that was the end of it.
fn take_in(body: &mut Body<'_>, chunked: bool, out: &mut Vec<u8>) -> Result<bool, Passed> {
    while let Some(piece) = body.piece()? {
        match piece {
            Piece::Data(data) if chunked => write_chunk(data, out),
            Piece::Data(data) => out.extend_from_slice(data),
            Piece::End { trailers } => {
                if chunked {
                    write_chunk_size(0, out);
                    out.extend_from_slice(trailers);
                    out.extend_from_slice(b"\r\n");
                }
                return Ok(true);
            }
        }
    }
    Ok(false)
}
