//! What happens to an attempt until its answer comes: the rest of the body goes up, time passes, the client may leave, interim
//! answers pass. The same over a connection of its own and over a stream of a shared one.

use std::task::{Context, Poll};

use super::attempt::{Answered, Attempt, Broken, INTERIM_RESPONSES_MAX, broken};
use super::sending::Sending;
use super::{ClientEnd, Requester, UploadError};
use crate::clock::{self, Micros};
use crate::http::response::Response;
use crate::net::stream::Stream;
use crate::net::watch::Fired;
use crate::telemetry::hot::RetryReason;
use crate::upstream::connection::Connection;
use crate::upstream::master::Failure;

/// An attempt whose head has been sent.
pub(super) struct Waiting<'a> {
    attempt: &'a Attempt<'a>,
    /// What is left to send; nothing once the master owes its answer.
    sending: Option<Sending>,
    sent_at: Micros,
    interim_responses: usize,
}

/// What ends the wait for an answer before it comes.
#[derive(Clone, Copy)]
pub(super) enum Cut {
    Fired(Fired),
    Client(ClientEnd),
}

impl<'a> Waiting<'a> {
    /// `sent_at` is when the sending of the head began.
    pub(super) fn new(attempt: &'a Attempt<'a>, sent_at: Micros, sending: Option<Sending>) -> Self {
        if sending.is_none() {
            attempt.owe(sent_at);
        }
        Self { attempt, sending, sent_at, interim_responses: 0 }
    }

    /// Sends on, and says when that is over and everything else with it. What the answer says is for the caller to look at
    /// afterwards, every time.
    pub(super) fn poll<R: Requester>(&mut self, cx: &mut Context<'_>, requester: &mut R, to: &Stream) -> Poll<Cut> {
        let attempt = self.attempt;
        if let Some(fired) = attempt.watched.fired() {
            return Poll::Ready(Cut::Fired(fired));
        }
        let Some(upload) = &mut self.sending else {
            return requester.poll_gone(cx).map(|()| Cut::Client(ClientEnd::Gone));
        };
        match upload.poll(cx, requester, to, attempt.watched) {
            Poll::Ready(Ok(())) => {
                self.sending = None;
                self.sent_at = clock::now();
                attempt.deadline.set(attempt.deadline.get().min(self.sent_at.saturating_add(attempt.timeout)));
                attempt.arm(self.sent_at);
                attempt.owe(self.sent_at);
                Poll::Pending
            }
            Poll::Ready(Err(UploadError::Client(end))) => Poll::Ready(Cut::Client(end)),
            // The master may have answered before it closed its side: what it said is still to be read.
            Poll::Ready(Err(UploadError::Master)) | Poll::Pending => Poll::Pending,
        }
    }

    /// What an end before the answer means.
    pub(super) fn cut(&self, cut: Cut) -> Broken {
        match cut {
            Cut::Fired(fired) => {
                let client_paused = self.sending.as_ref().is_some_and(|upload| !upload.waits_for_master());
                self.attempt.fired(fired, client_paused)
            }
            Cut::Client(end) => Broken::Client(end),
        }
    }

    /// Whether the master has said anything yet.
    pub(super) fn heard(&self) -> bool {
        self.interim_responses > 0
    }

    /// Passes an interim answer on, of which there may be only so many.
    pub(super) async fn interim<R: Requester>(
        &mut self,
        requester: &mut R,
        response: &Response,
        raw: &[u8],
    ) -> Result<(), Broken> {
        self.interim_responses += 1;
        if self.interim_responses > INTERIM_RESPONSES_MAX {
            return Err(broken(Failure::BadResponse, RetryReason::Reset, true));
        }
        match self.attempt.watched.guard(requester.interim(response, raw)).await {
            Ok(passed) => passed.map_err(Broken::Client),
            // It does not read.
            Err(_) => Err(Broken::Client(ClientEnd::Gone)),
        }
    }

    /// The answer has come.
    pub(super) fn answered(self, connection: Box<Connection>, now: Micros) -> Answered {
        Answered { connection, sending: self.sending, latency: now.saturating_sub(self.sent_at) }
    }
}
