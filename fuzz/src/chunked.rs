//! A chunked body: the same data and the same end however it arrives, and as a reader sees it that shares nothing with Baton's.

use baton::http::chunked::{BadChunk, ChunkedReader, Piece, write_chunk};

use crate::lines;

/// A body that has ended.
#[derive(Debug, PartialEq, Eq)]
struct Body {
    data: Vec<u8>,
    trailers: Vec<u8>,
    /// Bytes that it took.
    length: usize,
}

pub fn run(data: &[u8]) {
    let Some((&step, wire)) = data.split_first() else { return };
    let whole = read(wire, wire.len().max(1));
    assert_eq!(read(wire, usize::from(step) + 1), whole, "the body depends on how it arrives");
    let Ok(Some(body)) = whole else { return };
    assert!(body.data.len() <= wire.len() && body.trailers.len() <= wire.len() + 64);
    lines::fields(&body.trailers);
    assert_eq!(plainly(wire), Some((body.data.clone(), body.length)), "two readers see two bodies");

    let mut again = Vec::new();
    if !body.data.is_empty() {
        write_chunk(&body.data, &mut again);
    }
    again.extend_from_slice(&[b"0\r\n", &body.trailers[..], b"\r\n"].concat());
    let length = again.len();
    again.extend_from_slice(&wire[body.length..]);
    assert_eq!(read(&again, again.len()), Ok(Some(Body { length, ..body })));
}

/// Whole, in pieces of `step` bytes; `None` while there has to be more.
fn read(wire: &[u8], step: usize) -> Result<Option<Body>, BadChunk> {
    let (mut reader, mut data, mut at) = (ChunkedReader::default(), Vec::new(), 0);
    let mut end = step.min(wire.len());
    loop {
        match reader.next(&wire[at..end])? {
            Piece::Data { used, length } => {
                data.extend_from_slice(&wire[at + used..at + used + length]);
                at += used + length;
            }
            Piece::End { used } => {
                let mut trailers = Vec::new();
                reader.write_trailers(&mut trailers)?;
                return Ok(Some(Body { data, trailers, length: at + used }));
            }
            Piece::More { used } => {
                assert_eq!(at + used, end, "bytes were left out");
                at = end;
                if end == wire.len() {
                    return Ok(None);
                }
                end = (end + step).min(wire.len());
            }
        }
    }
}

/// By the grammar of RFC 9112, lines first and nothing else in mind.
fn plainly(wire: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut data, mut at) = (Vec::new(), 0);
    let line = |at: usize| wire[at..].windows(2).position(|pair| pair == b"\r\n").map(|length| &wire[at..at + length]);
    loop {
        let size_line = line(at)?;
        at += size_line.len() + 2;
        let digits = size_line.split(|byte| *byte == b';').next()?;
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        data.extend_from_slice(wire.get(at..at + size)?);
        at += size;
        assert_eq!(wire.get(at..at + 2)?, b"\r\n");
        at += 2;
    }
    loop {
        let trailer = line(at)?;
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Some((data, at));
        }
    }
}
