//! Meta's question whether a callback is ours: a GET with a nonce, answered with the nonce by whoever knows the token.
//!
//! The answer needs no master, so that a callback can be set up, and is not lost, while all of them are down.

use std::borrow::Cow;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use super::form;

/// The longest challenge that is echoed, in bytes; Meta's are ten digits.
pub const CHALLENGE_MAX: usize = 4096;

/// Why a handshake is answered 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Another verify token than the configured one, none, or several.
    WrongToken,
    /// Several challenges, or one longer than [`CHALLENGE_MAX`] or of other characters than printable ASCII.
    Challenge,
}

/// The answer to a GET with this query (what follows `?`): `None` when it is no handshake, else the challenge, to be sent
/// alone as the body of a 200.
///
/// The challenge is the client's text, so send it as `text/plain` with `X-Content-Type-Options: nosniff`.
///
/// # Errors
/// [`Refused`]; an empty `verify_token` refuses every handshake.
#[must_use]
pub fn challenge<'q>(query: &'q str, verify_token: &str) -> Option<Result<Cow<'q, str>, Refused>> {
    let (mut subscribe, mut tokens, mut challenges) = (false, Single::None, Single::None);
    for (name, value) in form::pairs(query.as_bytes()) {
        match name.as_ref() {
            b"hub.mode" => subscribe = value.as_ref() == b"subscribe",
            b"hub.verify_token" => tokens.add(value),
            b"hub.challenge" => challenges.add(value),
            _ => {}
        }
    }
    if !subscribe || matches!(challenges, Single::None) {
        return None;
    }
    let known =
        matches!(&tokens, Single::One(token) if !verify_token.is_empty() && same(token, verify_token.as_bytes()));
    if !known {
        return Some(Err(Refused::WrongToken));
    }
    Some(challenges.text().ok_or(Refused::Challenge))
}

/// Whether two secrets are the same, in a time that depends on neither; of hashes, because lengths are secret too.
fn same(left: &[u8], right: &[u8]) -> bool {
    verify_slices_are_equal(digest(&SHA256, left).as_ref(), digest(&SHA256, right).as_ref()).is_ok()
}

/// A parameter that should come once: of two, each reader takes another one.
enum Single<'q> {
    None,
    One(Cow<'q, [u8]>),
    Several,
}

impl<'q> Single<'q> {
    fn add(&mut self, value: Cow<'q, [u8]>) {
        *self = if matches!(self, Self::None) { Self::One(value) } else { Self::Several };
    }

    /// The one value, if it may be echoed.
    fn text(self) -> Option<Cow<'q, str>> {
        let Self::One(value) = self else { return None };
        if value.is_empty() || value.len() > CHALLENGE_MAX || !value.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            return None;
        }
        match value {
            Cow::Borrowed(bytes) => str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(query: &str) -> Option<Result<String, Refused>> {
        challenge(query, "v tok").map(|answer| answer.map(Cow::into_owned))
    }

    #[test]
    fn the_challenge_is_given_back_to_who_knows_the_token() {
        let query = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=v%20tok";
        assert_eq!(answer(query), Some(Ok("1158201444".to_owned())));
        let query = "x=y&hub.verify_token=v+tok&hub.challenge=a%2Bb&hub%2Emode=subscribe";
        assert_eq!(answer(query), Some(Ok("a+b".to_owned())));
    }

    #[test]
    fn a_wrong_a_missing_and_a_second_token_are_refused() {
        for token in ["", "&hub.verify_token=", "&hub.verify_token=v%20to", "&hub.verify_token=V%20TOK"] {
            let query = format!("hub.mode=subscribe&hub.challenge=1{token}");
            assert_eq!(answer(&query), Some(Err(Refused::WrongToken)), "{token}");
        }
        let query = "hub.mode=subscribe&hub.challenge=1&hub.verify_token=v%20tok&hub.verify_token=v%20tok";
        assert_eq!(answer(query), Some(Err(Refused::WrongToken)));
    }

    #[test]
    fn without_a_configured_token_nobody_is_known() {
        let query = "hub.mode=subscribe&hub.challenge=1&hub.verify_token=";
        assert_eq!(challenge(query, ""), Some(Err(Refused::WrongToken)));
    }

    #[test]
    fn other_requests_are_no_handshake() {
        for query in ["", "hub.mode=subscribe", "hub.mode=unsubscribe&hub.challenge=1", "hub.challenge=1", "%"] {
            assert_eq!(answer(query), None, "{query}");
        }
    }

    #[test]
    fn a_challenge_that_is_too_long_or_not_plain_is_refused() {
        let long = "1".repeat(CHALLENGE_MAX + 1);
        for challenge in ["", "%0d%0aSet-Cookie:%20a", "%00", "%ff", "é", "1&hub.challenge=2", &long] {
            let query = format!("hub.mode=subscribe&hub.verify_token=v%20tok&hub.challenge={challenge}");
            assert_eq!(answer(&query), Some(Err(Refused::Challenge)), "{challenge}");
        }
        let query = format!("hub.mode=subscribe&hub.verify_token=v%20tok&hub.challenge={}", &long[1..]);
        assert!(matches!(answer(&query), Some(Ok(_))));
    }

    proptest! {
        #[test]
        fn any_query_is_read_and_only_the_token_opens(query in "(hub\\.(mode|challenge|verify_token)|=|&|subscribe|%|.){0,12}") {
            let opened = matches!(challenge(&query, "never in there \u{1f511}"), Some(Ok(_)));
            prop_assert!(!opened);
        }
    }
}
