//! Proofs that a name is ours, while an ACME server asks for them: a key authorization under a token for HTTP-01 (RFC 8555
//! section 8.3), a certificate for TLS-ALPN-01 (RFC 8737).
//!
//! The control plane opens them, the data path answers. Mostly none is open, and one atomic load says so. They are those of this
//! process: whichever listener the server comes to has the answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use rustls::sign::CertifiedKey;

/// The protocol that a client of TLS-ALPN-01 asks for, and nothing else.
pub const ALPN: &[u8] = b"acme-tls/1";

/// Where HTTP-01 looks, with the token behind it.
pub const PATH: &str = "/.well-known/acme-challenge/";

static OPEN: AtomicUsize = AtomicUsize::new(0);
static ANSWERS: LazyLock<RwLock<HashMap<Question, Answer>>> = LazyLock::new(RwLock::default);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Question {
    /// A token.
    Http(String),
    /// A domain in lower case.
    Tls(String),
}

#[derive(Debug, Clone)]
enum Answer {
    Http(Arc<str>),
    Tls(Arc<CertifiedKey>),
}

/// Closes its challenge when dropped.
#[derive(Debug)]
#[must_use]
pub struct Opened(Question);

/// Answers requests for this token from now on.
pub fn open_http(token: &str, authorization: &str) -> Opened {
    open(Question::Http(token.to_owned()), Answer::Http(authorization.into()))
}

/// Answers validations of this domain from now on.
pub fn open_tls(domain: &str, certificate: CertifiedKey) -> Opened {
    open(Question::Tls(domain.to_ascii_lowercase()), Answer::Tls(Arc::new(certificate)))
}

/// What a request for this token is answered, if it is open.
#[must_use]
pub fn http(token: &str) -> Option<Arc<str>> {
    match answer(&Question::Http(token.to_owned()))? {
        Answer::Http(authorization) => Some(authorization),
        Answer::Tls(_) => None,
    }
}

/// The certificate that proves this domain, if it is open.
#[must_use]
pub fn tls(domain: &str) -> Option<Arc<CertifiedKey>> {
    match answer(&Question::Tls(domain.to_ascii_lowercase()))? {
        Answer::Tls(certificate) => Some(certificate),
        Answer::Http(_) => None,
    }
}

/// Whether any challenge is open. One load.
#[must_use]
pub fn any_open() -> bool {
    OPEN.load(Ordering::Relaxed) > 0
}

fn open(question: Question, answer: Answer) -> Opened {
    let mut answers = ANSWERS.write().unwrap_or_else(PoisonError::into_inner);
    answers.insert(question.clone(), answer);
    OPEN.store(answers.len(), Ordering::Relaxed);
    Opened(question)
}

fn answer(question: &Question) -> Option<Answer> {
    if !any_open() {
        return None;
    }
    ANSWERS.read().unwrap_or_else(PoisonError::into_inner).get(question).cloned()
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut answers = ANSWERS.write().unwrap_or_else(PoisonError::into_inner);
        answers.remove(&self.0);
        OPEN.store(answers.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_answered_as_long_as_it_is_open() {
        assert_eq!(http("a-token"), None);
        let opened = open_http("a-token", "a-token.thumbprint");
        assert_eq!(http("a-token").as_deref(), Some("a-token.thumbprint"));
        assert_eq!(http("another"), None);
        assert!(tls("a-token").is_none());
        drop(opened);
        assert_eq!(http("a-token"), None);
    }
}
