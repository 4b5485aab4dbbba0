//! A request that is all here and whose answer nobody reads: a copy, a part of a batch, a stored message.

use std::task::{Context, Poll};

use super::answer::{Answer, Passed, Piece};
use super::{ClientEnd, Part, Requester};
use crate::clock::Micros;
use crate::http::response::Response;
use crate::net::watch::Watched;
use crate::upstream::connection::Pool;

/// What is read of an answer; behind it the connection is closed.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Has this body and wants no answer.
#[derive(Debug)]
pub struct Whole<'b>(pub &'b [u8]);

impl Whole<'_> {
    /// Reads an answer to its end, so that its connection can be used again. The deadline is the caller's to arm.
    pub async fn discard(&mut self, answer: &mut Answer, watched: &Watched<Pool>) -> Passed {
        let mut read = 0;
        loop {
            match answer.piece() {
                Ok(Some(Piece::End { .. })) => return Passed::Whole,
                Ok(Some(Piece::Data(data))) => read += data.len(),
                Ok(None) => {
                    if let Err(passed) = std::future::poll_fn(|cx| answer.poll_more(cx, self, watched)).await {
                        return passed;
                    }
                }
                Err(passed) => return passed,
            }
            if read > ANSWER_BYTES_MAX {
                return Passed::ClientGone;
            }
        }
    }
}

impl Requester for Whole<'_> {
    fn whole_body(&self) -> Option<&[u8]> {
        Some(self.0)
    }

    fn poll_body(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Part<'_>, ClientEnd>> {
        Poll::Ready(Ok(Part::End { trailers: &[] }))
    }

    fn sent(&mut self, _count: usize) {}

    fn pause(&self) -> Micros {
        0
    }

    fn rewind(&mut self) -> bool {
        true
    }

    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    async fn interim(&mut self, _response: &Response, _raw: &[u8]) -> Result<(), ClientEnd> {
        Ok(())
    }
}
