//! Answers that Baton itself gives.

use super::prepare::Scratch;
use crate::http::problem::Problem;
use crate::http::{plain, redirect};

/// What a client is told that gets no master's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saying {
    Problem(Problem),
    /// A redirect with this status; where it leads to is in [`Scratch::target`].
    Redirect(u16),
    /// 200 and the text in [`Scratch::target`]: Meta's handshake.
    Text,
    /// 200: the webhook is in good hands. Twilio reads the body as what to answer, so it says that there is nothing.
    Accepted {
        twiml: bool,
    },
}

impl Saying {
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Problem(problem) => problem.status,
            Self::Redirect(status) => *status,
            Self::Text | Self::Accepted { .. } => 200,
        }
    }

    /// The word for it in logs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Problem(_) => "refused",
            Self::Redirect(_) => "redirected",
            Self::Text => "answered",
            Self::Accepted { .. } => "accepted",
        }
    }

    /// Writes the whole answer into `scratch.out`. For HEAD `with_body` is false.
    pub fn write(&self, scratch: &mut Scratch, keep_alive: bool, with_body: bool) {
        let Scratch { out, target, request_id, .. } = scratch;
        out.clear();
        match self {
            Self::Problem(problem) => problem.write(request_id, keep_alive, with_body, out),
            Self::Redirect(status) => redirect::write(*status, target, keep_alive, out),
            Self::Text => plain::write(200, "text/plain", target.as_bytes(), keep_alive, out),
            Self::Accepted { twiml: false } => plain::write(200, "", b"", keep_alive, out),
            Self::Accepted { twiml: true } => plain::write(200, "text/xml", b"<Response/>", keep_alive, out),
        }
    }
}
