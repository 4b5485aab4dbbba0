//! Whether a webhook was sent by who holds the secret.
//!
//! Everything is computed over the bytes that came, and compared in constant time. A signature has one form: what a
//! gateway would not write is refused, because a master that checks it again would refuse it as well.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256, HMAC_SHA512};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Provider, form, token};

/// What Meta puts before the digits.
const PREFIX: &[u8] = b"sha256=";
/// Parameters in a body that Twilio's signature covers; theirs have some twenty.
const PARAMETERS_MAX: usize = 1024;
/// The longest digest, of SHA-512.
const DIGEST_MAX: usize = 64;

/// A request, as far as signatures cover it.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// As it came.
    pub body: &'a [u8],
    /// The values of all lines of the header that [`header`] names.
    pub values: &'a [&'a [u8]],
    /// The address that the sender was given, with query: what Twilio signs besides the body.
    pub url: &'a str,
}

/// Why a request is answered 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadSignature {
    /// The header is not there, or the gateway has none.
    Missing,
    /// The header is there twice: one reader would take the first, another the last.
    Repeated,
    /// No signature of this kind.
    Malformed,
    /// Not made with one of the secrets, or over something else.
    Wrong,
    /// A token beyond its time, or of a time to come.
    Expired,
}

impl BadSignature {
    /// The word for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Repeated => "repeated",
            Self::Malformed => "malformed",
            Self::Wrong => "wrong",
            Self::Expired => "expired",
        }
    }
}

/// The header in which a gateway proves who it is, in lower case; `None` for the one that proves nothing.
#[must_use]
pub fn header(provider: Provider) -> Option<&'static str> {
    match provider {
        Provider::CloudApi | Provider::Gowa => Some("x-hub-signature-256"),
        Provider::Waha => Some("x-webhook-hmac"),
        Provider::Evolution => Some("authorization"),
        Provider::Wwebjs => Some("x-api-key"),
        Provider::Twilio => Some("x-twilio-signature"),
        Provider::Wppconnect => None,
    }
}

/// Checks that a request comes from who holds one of the secrets; several are for the time in which one replaces
/// another. An empty secret is none.
///
/// `now` is the time in seconds since 1970.
///
/// # Errors
/// [`BadSignature`].
pub fn verify<S: AsRef<[u8]>>(
    provider: Provider,
    secrets: &[S],
    request: &Signed<'_>,
    now: u64,
) -> Result<(), BadSignature> {
    let value = match request.values {
        _ if header(provider).is_none() => return Err(BadSignature::Missing),
        [] => return Err(BadSignature::Missing),
        [value] => *value,
        _ => return Err(BadSignature::Repeated),
    };
    let secrets = || secrets.iter().map(AsRef::as_ref).filter(|secret| !secret.is_empty());
    match provider {
        Provider::CloudApi | Provider::Gowa => {
            let digits = value.strip_prefix(PREFIX).ok_or(BadSignature::Malformed)?;
            over_body(HMAC_SHA256, secrets(), request.body, digits)
        }
        Provider::Waha => over_body(HMAC_SHA512, secrets(), request.body, value),
        Provider::Twilio => twilio(secrets(), request, value),
        Provider::Evolution => token::verify(secrets(), value, now),
        // The secret itself; as digests, because its length is secret too.
        Provider::Wwebjs => {
            let key = hmac::Key::new(HMAC_SHA256, b"x-api-key");
            let sent = hmac::sign(&key, value);
            accepted(secrets(), |secret| hmac::verify(&key, secret, sent.as_ref()).is_ok())
        }
        Provider::Wppconnect => Err(BadSignature::Missing),
    }
}

/// What Meta sends in `X-Hub-Signature-256` for a body: `sha256=` and 64 digits.
#[must_use]
pub fn sign_cloud_api(secret: &[u8], body: &[u8]) -> [u8; 71] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let tag = hmac::sign(&hmac::Key::new(HMAC_SHA256, secret), body);
    let mut value = [0; 71];
    value[..PREFIX.len()].copy_from_slice(PREFIX);
    for (pair, byte) in value[PREFIX.len()..].chunks_exact_mut(2).zip(tag.as_ref()) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
    }
    value
}

/// Tries every secret, also after one that fits, so that the time tells nothing of which one it was.
fn accepted<'s>(
    secrets: impl Iterator<Item = &'s [u8]>,
    mut fits: impl FnMut(&[u8]) -> bool,
) -> Result<(), BadSignature> {
    let found = secrets.fold(false, |found, secret| fits(secret) | found);
    if found { Ok(()) } else { Err(BadSignature::Wrong) }
}

fn over_body<'s>(
    algorithm: hmac::Algorithm,
    secrets: impl Iterator<Item = &'s [u8]>,
    body: &[u8],
    digits: &[u8],
) -> Result<(), BadSignature> {
    let length = algorithm.digest_algorithm().output_len();
    let mut digest = [0; DIGEST_MAX];
    let digest = digest.get_mut(..length).ok_or(BadSignature::Malformed)?;
    read_digits(digits, digest).ok_or(BadSignature::Malformed)?;
    accepted(secrets, |secret| hmac::verify(&hmac::Key::new(algorithm, secret), body, digest).is_ok())
}

/// Reads lower-case hexadecimal digits, exactly as many as fill `into`.
fn read_digits(digits: &[u8], into: &mut [u8]) -> Option<()> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if digits.len() != 2 * into.len() {
        return None;
    }
    for (byte, pair) in into.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

/// Base64 of HMAC-SHA1 over the public URL and the decoded parameters, in order of name and value, each pair once, without
/// anything in between, as Twilio's own libraries compute it.
fn twilio<'s>(secrets: impl Iterator<Item = &'s [u8]>, request: &Signed<'_>, value: &[u8]) -> Result<(), BadSignature> {
    // Room for what 28 characters may be.
    let mut room = [0; 21];
    let digest = match STANDARD.decode_slice(value, &mut room) {
        Ok(20) => &room[..20],
        _ => return Err(BadSignature::Malformed),
    };
    let mut pairs: Vec<_> = form::pairs(request.body).take(PARAMETERS_MAX + 1).collect();
    if pairs.len() > PARAMETERS_MAX {
        return Err(BadSignature::Malformed);
    }
    pairs.sort_unstable();
    pairs.dedup();
    accepted(secrets, |secret| {
        let mut context = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret));
        context.update(request.url.as_bytes());
        for (name, value) in &pairs {
            context.update(name);
            context.update(value);
        }
        verify_slices_are_equal(context.sign().as_ref(), digest).is_ok()
    })
}

#[cfg(test)]
mod tests;
