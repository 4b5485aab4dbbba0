//! How a master can tell that Baton calls its hooks, and what for.
//!
//! The signature covers everything that a call says: what is asked, for which account, in which epoch, when, and the digest of the
//! body. So a call that somebody has recorded cannot be made to say something else, and one that is repeated is older than what the
//! master has obeyed since.

use std::fmt::Write;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};

use crate::clock::UnixMillis;

pub const UPSTREAM: &str = "baton-upstream";
/// The first of the accounts that a call is about; empty where accounts are not told apart.
pub const ACCOUNT: &str = "baton-account";
pub const EPOCH: &str = "baton-epoch";
/// When Baton made the call, in milliseconds since 1970. Each call to a master is later than the one before.
pub const TIME: &str = "baton-time";
/// SHA-256 of the body, of calls and of answers, in 64 lower-case hexadecimal digits.
pub const DIGEST: &str = "baton-sha256";
pub const SIGNATURE: &str = "baton-signature";

/// A master that checks signatures refuses calls that are further from its own clock.
pub const APART_MAX: UnixMillis = 300_000;

/// What is signed first, so that no signature of anything else fits.
const PURPOSE: &str = "baton-hook-1";

/// What a call says.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub upstream: &'a str,
    pub account: &'a str,
    pub epoch: u32,
    pub time: UnixMillis,
    /// Of the body.
    pub digest: &'a str,
}

impl Said<'_> {
    /// None of the parts has a line end in it.
    fn text(&self) -> String {
        let Self { method, path, upstream, account, epoch, time, digest } = self;
        format!("{PURPOSE}\n{method}\n{path}\n{upstream}\n{account}\n{epoch}\n{time}\n{digest}")
    }

    /// The value of the header.
    #[must_use]
    pub fn sign(&self, secret: &[u8]) -> String {
        let tag = hmac::sign(&hmac::Key::new(HMAC_SHA256, secret), self.text().as_bytes());
        format!("sha256={}", hex(tag.as_ref()))
    }

    /// Whether the header's value was made with this secret, and not long before or after `now`.
    #[must_use]
    pub fn is_signed(&self, secret: &[u8], signature: &[u8], now: UnixMillis) -> bool {
        let expected = self.sign(secret);
        verify_slices_are_equal(expected.as_bytes(), signature).is_ok() && self.time.abs_diff(now) <= APART_MAX
    }
}

/// SHA-256 as it stands in headers.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// In lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: Said<'_> = Said {
        method: "POST",
        path: "/activate",
        upstream: "bots",
        account: "1",
        epoch: 3,
        time: 1_000_000,
        digest: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    };

    #[test]
    fn digests_are_those_of_everybody_else() {
        assert_eq!(sha256(b""), SAID.digest);
    }

    #[test]
    fn a_signature_holds_for_what_was_said_and_for_nothing_else() {
        let signature = SAID.sign(b"s3cret");
        let holds = |said: Said<'_>, secret: &[u8]| said.is_signed(secret, signature.as_bytes(), 1_000_000);
        assert!(holds(SAID, b"s3cret"));
        assert!(!holds(SAID, b"another"));
        let others = [
            Said { method: "GET", ..SAID },
            Said { path: "/deactivate", ..SAID },
            Said { upstream: "others", ..SAID },
            Said { account: "2", ..SAID },
            Said { epoch: 4, ..SAID },
            Said { time: 1_000_001, ..SAID },
            Said { digest: "00", ..SAID },
        ];
        for other in others {
            assert!(!holds(other, b"s3cret"), "{other:?}");
        }
    }

    #[test]
    fn a_signature_ages() {
        let signature = SAID.sign(b"s3cret");
        for (now, holds) in [(1_300_000, true), (1_300_001, false), (700_000, true), (699_999, false)] {
            assert_eq!(SAID.is_signed(b"s3cret", signature.as_bytes(), now), holds, "{now}");
        }
    }
}
