//! A master's answer on its way to the client.

use std::task::Poll;

use super::client::Asking;
use crate::clock::{self, Micros};
use crate::exchange::{Answer, Requester, UploadError};
use crate::http::chunked::{ChunkedReader, Piece, write_chunk};
use crate::http::request::{Framing, Version};
use crate::http::response::Onward;
use crate::net::buffer::{BUFFER_BYTES, Buffer};
use crate::net::watch::Watched;
use crate::upstream::connection::Pool;

/// How an answer that had begun ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// All of it went to the client.
    Whole,
    /// The client left, or stopped reading, or stopped sending while its master waited for more.
    ClientGone,
    /// The master broke off in the middle, or its chunks were malformed.
    CutShort,
    /// The master paused for too long in the middle.
    Stalled,
}

/// The result of passing an answer on.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    pub passed: Passed,
    /// The client's connection can take the next request.
    pub keep_alive: bool,
    /// Bytes written to the client.
    pub written: u64,
}

enum Reader {
    Done,
    Length { left: u64 },
    Chunked(ChunkedReader),
    UntilClose,
}

struct Passing {
    reader: Reader,
    chunked: bool,
}

/// Passes the answer on. `keep_alive` is what the client asked for; `pause` is the longest wait for either side.
/// On return `answer.connection` has been read to the end of the answer only if [`Passed::Whole`].
pub async fn pass_on(
    answer: &mut Answer,
    asking: &mut Asking<'_>,
    watched: &Watched<Pool>,
    keep_alive: bool,
    pause: Micros,
    out: &mut Vec<u8>,
) -> Outcome {
    let connection = &mut *answer.connection;
    let framing = match (connection.response.framing.0, asking.version) {
        (Framing::Chunked | Framing::UntilClose, Version::Http11) => Framing::Chunked,
        (Framing::Chunked | Framing::UntilClose, Version::Http10) => Framing::UntilClose,
        (framing, _) => framing,
    };
    // A client that is still sending would have to be listened to for who knows how long.
    let mut keep_alive = keep_alive && framing != Framing::UntilClose && asking.is_received();
    let said = match (asking.version, keep_alive) {
        (Version::Http11, true) => None,
        (_, said) => Some(said),
    };
    out.clear();
    let raw = &connection.buffer.filled()[..connection.response.length];
    connection.response.write(raw, Onward { framing, keep_alive: said }, out);
    connection.buffer.consume(connection.response.length);
    let reader = match connection.response.framing.0 {
        Framing::None => Reader::Done,
        Framing::Length(0) => Reader::Done,
        Framing::Length(left) => Reader::Length { left },
        Framing::Chunked => Reader::Chunked(ChunkedReader::default()),
        Framing::UntilClose => Reader::UntilClose,
    };
    let mut passing = Passing { reader, chunked: framing == Framing::Chunked };
    let mut written = 0;
    let mut uploading = answer.uploading;
    // The client broke its upload off, so a master that waits for the rest of it is not to blame.
    let mut given_up = false;
    let passed = loop {
        if passing.take_in(&mut connection.buffer, out).is_err() {
            break Passed::CutShort;
        }
        watched.arm(clock::now().saturating_add(pause));
        if !out.is_empty() {
            match watched.guard(asking.client.stream.write_all(out)).await {
                Ok(Ok(())) => written += out.len() as u64,
                _ => break Passed::ClientGone,
            }
            out.clear();
        }
        if matches!(passing.reader, Reader::Done) {
            break Passed::Whole;
        }
        connection.buffer.reserve(BUFFER_BYTES);
        let filling = std::future::poll_fn(|cx| {
            if uploading && let Poll::Ready(end) = asking.poll_upload(cx, &connection.stream, watched) {
                // Whether it ends or fails, the answer is what counts now; after an error nothing more may be sent.
                uploading = false;
                given_up = matches!(end, Err(UploadError::Client(_)));
            }
            match watched.fired() {
                Some(_) => Poll::Ready(Err(())),
                None => connection.buffer.poll_fill(cx, &connection.stream).map(Ok),
            }
        });
        match filling.await {
            Ok(Ok(0)) if matches!(passing.reader, Reader::UntilClose) => passing.end(out),
            Ok(Ok(0) | Err(_)) if given_up => break Passed::ClientGone,
            Ok(Ok(0) | Err(_)) => break Passed::CutShort,
            Ok(Ok(_)) => answer.place.pool().master.touched(clock::now()),
            Err(()) if given_up || (uploading && !asking.blames_master()) => break Passed::ClientGone,
            Err(()) => break Passed::Stalled,
        }
    };
    keep_alive &= passed == Passed::Whole;
    Outcome { passed, keep_alive, written }
}

impl Passing {
    /// Moves what the buffer holds of the body to `out`, framed for the client.
    fn take_in(&mut self, buffer: &mut Buffer, out: &mut Vec<u8>) -> Result<(), ()> {
        while !buffer.is_empty() {
            let input = buffer.filled();
            let used = match &mut self.reader {
                Reader::Done => break,
                Reader::Length { left } => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    out.extend_from_slice(&input[..length]);
                    *left -= length as u64;
                    if *left == 0 {
                        self.reader = Reader::Done;
                    }
                    length
                }
                Reader::UntilClose => {
                    write(self.chunked, input, out);
                    input.len()
                }
                Reader::Chunked(reader) => match reader.next(input).map_err(|_| ())? {
                    Piece::Data { used, length } => {
                        write(self.chunked, &input[used..used + length], out);
                        used + length
                    }
                    Piece::More { used } => used,
                    Piece::End { used } => {
                        if self.chunked {
                            out.extend_from_slice(b"0\r\n");
                            reader.write_trailers(out).map_err(|_| ())?;
                        }
                        self.reader = Reader::Done;
                        used
                    }
                },
            };
            buffer.consume(used);
        }
        Ok(())
    }

    /// The master closed, which ends a body without a length.
    fn end(&mut self, out: &mut Vec<u8>) {
        if self.chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        self.reader = Reader::Done;
    }
}

fn write(chunked: bool, data: &[u8], out: &mut Vec<u8>) {
    if chunked { write_chunk(data, out) } else { out.extend_from_slice(data) }
}
