//! The token that Evolution sends with each webhook: a JWT of ten minutes, signed with HMAC-SHA256.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

use super::signature::BadSignature;

/// The longest token in bytes; Evolution's have some 170.
const TOKEN_MAX: usize = 4096;
/// How far two clocks may be apart, in seconds.
const LEEWAY: f64 = 60.0;

/// Seconds since 1970, which may have a fraction (RFC 7519, section 2).
#[derive(Deserialize)]
struct Times {
    exp: f64,
    iat: Option<f64>,
    nbf: Option<f64>,
}

/// Checks the value of an `Authorization` header.
///
/// # Errors
/// [`BadSignature`]; a token that never expires is [`BadSignature::Malformed`].
pub fn verify<'s>(secrets: impl Iterator<Item = &'s [u8]>, value: &[u8], now: u64) -> Result<(), BadSignature> {
    let token = bearer(value).ok_or(BadSignature::Malformed)?;
    // The library reads the clock for times; they are judged below.
    let mut rules = Validation::new(Algorithm::HS256);
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_aud = false;
    let (mut times, mut bad) = (None, BadSignature::Wrong);
    for secret in secrets {
        match decode::<Times>(token, &DecodingKey::from_secret(secret), &rules) {
            Ok(token) => times = Some(token.claims),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
            Err(_) => bad = BadSignature::Malformed,
        }
    }
    let times = times.ok_or(bad)?;
    let now = now as f64;
    let begun = |time: Option<f64>| time.is_none_or(|time| time <= now + LEEWAY);
    if now < times.exp + LEEWAY && begun(times.iat) && begun(times.nbf) { Ok(()) } else { Err(BadSignature::Expired) }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && token.len() <= TOKEN_MAX).then_some(token)
}
