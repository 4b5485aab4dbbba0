//! Tokens: JWTs (RFC 7519) signed with HMAC-SHA-256, read as strictly as they are written.
//!
//! The algorithm is pinned, so a token cannot choose how it is checked; the key is named by `kid`; issuer, audience,
//! subject, role and end have to be there. Time is an argument.

use std::collections::HashSet;
use std::fmt;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::role::Role;

/// `iss` of every token.
pub const ISSUER: &str = "baton";
/// How far clocks of two machines may differ, in seconds.
const LEEWAY: u64 = 10;
/// Longest token that is looked at; those made here have about 300 bytes.
const TOKEN_BYTES_MAX: usize = 4096;
/// Longest name of a token's holder, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 128;

/// A key that signs tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    pub id: String,
    pub secret: Vec<u8>,
    /// Made by Baton itself: good for callers on this machine only.
    pub local: bool,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("local", &self.local).finish_non_exhaustive()
    }
}

/// The keys that are accepted, and for whom tokens have to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyring {
    /// The first one signs.
    pub keys: Vec<Key>,
    /// `aud` of every token.
    pub audience: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    role: Role,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    exp: u64,
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    pub subject: String,
    pub role: Role,
    /// Signed with a key that is good on this machine only.
    pub local: bool,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Malformed,
    Algorithm,
    UnknownKey,
    Signature,
    Issuer,
    Audience,
    Claims,
    Early,
    Expired,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the token is no JWT that `baton token` makes",
            Self::Algorithm => "the token is not signed with HS256",
            Self::UnknownKey => "the token names no key that this Baton has (kid)",
            Self::Signature => "the signature of the token is wrong",
            Self::Issuer => "the token is not by the issuer `baton` (iss)",
            Self::Audience => "the token is for another audience (aud)",
            Self::Claims => "the token lacks a claim, or has a wrong one: iss, aud, sub, role, iat and exp are needed",
            Self::Early => "the token is not good yet (nbf)",
            Self::Expired => "the token has expired (exp)",
        })
    }
}

impl Keyring {
    /// A token for `subject`, good from `now` on for `ttl`, both in seconds. `None` without a key.
    #[must_use]
    pub fn issue(&self, subject: &str, role: Role, now: u64, ttl: u64) -> Option<String> {
        let key = self.keys.first()?;
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::HS256) };
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: self.audience.clone(),
            sub: subject.to_owned(),
            role,
            iat: now,
            nbf: None,
            exp: now.saturating_add(ttl),
        };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&key.secret)).ok()
    }

    /// What a token says, if it is good at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn verify(&self, token: &str, now: u64) -> Result<Bearer, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| refusal(error.kind()))?;
        if header.alg != Algorithm::HS256 {
            return Err(Refusal::Algorithm);
        }
        let named = |key: &&Key| Some(&*key.id) == header.kid.as_deref();
        let key = self.keys.iter().find(named).ok_or(Refusal::UnknownKey)?;
        let mut rules = Validation::new(Algorithm::HS256);
        rules.required_spec_claims = HashSet::from(["iss", "aud", "sub", "exp"].map(str::to_owned));
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[&self.audience]);
        // Time is looked at below, by the clock of the caller.
        rules.validate_exp = false;
        let claims: Claims = jsonwebtoken::decode(token, &DecodingKey::from_secret(&key.secret), &rules)
            .map_err(|error| refusal(error.kind()))?
            .claims;
        if claims.exp.saturating_add(LEEWAY) <= now {
            return Err(Refusal::Expired);
        }
        if claims.nbf.is_some_and(|from| from > now.saturating_add(LEEWAY)) {
            return Err(Refusal::Early);
        }
        if !is_subject(&claims.sub) {
            return Err(Refusal::Claims);
        }
        Ok(Bearer { subject: claims.sub, role: claims.role, local: key.local })
    }
}

/// Whether it can stand in a log and an audit trail as a name.
#[must_use]
pub fn is_subject(text: &str) -> bool {
    (1..=SUBJECT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn refusal(kind: &ErrorKind) -> Refusal {
    match kind {
        ErrorKind::InvalidSignature => Refusal::Signature,
        ErrorKind::InvalidIssuer => Refusal::Issuer,
        ErrorKind::InvalidAudience => Refusal::Audience,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName | ErrorKind::UnsupportedAlgorithm => {
            Refusal::Algorithm
        }
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => Refusal::Claims,
        _ => Refusal::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn key(id: &str, secret: &str) -> Key {
        Key { id: id.to_owned(), secret: secret.repeat(32).into_bytes(), local: false }
    }

    fn ring(keys: &[Key]) -> Keyring {
        Keyring { keys: keys.to_vec(), audience: "baton-admin".to_owned() }
    }

    fn signed(header: &Value, claims: &Value, key: &Key) -> String {
        use aws_lc_rs::hmac;
        let part = |value: &Value| base64url(value.to_string().as_bytes());
        let message = format!("{}.{}", part(header), part(claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key.secret), message.as_bytes());
        format!("{message}.{}", base64url(tag.as_ref()))
    }

    fn base64url(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for place in 0..=chunk.len() {
                text.push(char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize]));
            }
        }
        text
    }

    fn claims() -> Value {
        json!({ "iss": "baton", "aud": "baton-admin", "sub": "ann", "role": "operator", "iat": NOW, "exp": NOW + 60 })
    }

    fn header() -> Value {
        json!({ "alg": "HS256", "typ": "JWT", "kid": "a" })
    }

    #[test]
    fn a_token_says_who_and_what_and_is_good_until_its_end() {
        let ring = ring(&[key("a", "x")]);
        let token = ring.issue("ann", Role::Operator, NOW, 60).unwrap();
        let bearer = Bearer { subject: "ann".to_owned(), role: Role::Operator, local: false };
        assert_eq!(ring.verify(&token, NOW), Ok(bearer.clone()));
        assert_eq!(ring.verify(&token, NOW + 60 + LEEWAY - 1), Ok(bearer));
        assert_eq!(ring.verify(&token, NOW + 60 + LEEWAY), Err(Refusal::Expired));
    }

    #[test]
    fn every_key_is_accepted_and_the_first_one_signs() {
        let old = ring(&[key("old", "x")]);
        let rotated = ring(&[key("new", "y"), key("old", "x")]);
        let token = old.issue("ann", Role::Viewer, NOW, 60).unwrap();
        assert!(rotated.verify(&token, NOW).is_ok());
        let fresh = rotated.issue("ann", Role::Viewer, NOW, 60).unwrap();
        assert_eq!(old.verify(&fresh, NOW), Err(Refusal::UnknownKey));
        assert!(ring(&[key("new", "y")]).verify(&fresh, NOW).is_ok());
        assert_eq!(Keyring::default().issue("ann", Role::Viewer, NOW, 60), None);
    }

    #[test]
    fn a_key_of_the_same_name_and_another_secret_is_not_the_key() {
        let token = ring(&[key("a", "y")]).issue("ann", Role::Admin, NOW, 60).unwrap();
        assert_eq!(ring(&[key("a", "x")]).verify(&token, NOW), Err(Refusal::Signature));
    }

    #[test]
    fn a_token_does_not_choose_how_it_is_checked() {
        let ring = ring(&[key("a", "x")]);
        for algorithm in ["none", "None", "HS384", "HS512", "RS256", "EdDSA", ""] {
            let mut header = header();
            header["alg"] = algorithm.into();
            let token = signed(&header, &claims(), &ring.keys[0]);
            assert!(ring.verify(&token, NOW).is_err(), "{algorithm}");
            let unsigned = token.rsplit_once('.').unwrap().0;
            assert!(ring.verify(&format!("{unsigned}."), NOW).is_err(), "{algorithm}");
        }
        assert!(ring.verify(&signed(&header(), &claims(), &ring.keys[0]), NOW).is_ok());
    }

    #[test]
    fn each_claim_is_needed_and_looked_at() {
        let ring = ring(&[key("a", "x")]);
        let with = |name: &str, value: Option<Value>| {
            let mut claims = claims();
            match value {
                Some(value) => claims[name] = value,
                None => drop(claims.as_object_mut().unwrap().remove(name)),
            }
            ring.verify(&signed(&header(), &claims, &ring.keys[0]), NOW)
        };
        for name in ["iss", "aud", "sub", "role", "iat", "exp"] {
            assert!(with(name, None).is_err(), "{name}");
            assert!(with(name, Some(json!(null))).is_err(), "{name}");
        }
        assert_eq!(with("iss", Some("other".into())), Err(Refusal::Issuer));
        assert_eq!(with("aud", Some("other".into())), Err(Refusal::Audience));
        assert_eq!(with("sub", Some("a\nb".into())), Err(Refusal::Claims));
        assert_eq!(with("sub", Some("".into())), Err(Refusal::Claims));
        assert!(with("role", Some("root".into())).is_err());
        assert!(with("exp", Some((-1).into())).is_err());
        assert_eq!(with("nbf", Some((NOW + 60).into())), Err(Refusal::Early));
        assert!(with("nbf", Some(NOW.into())).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_that_was_not_signed_is_accepted(text in ".{0,300}", at in 0_usize..400, bit in 0_u8..8) {
            let ring = ring(&[key("a", "x")]);
            prop_assert!(ring.verify(&text, NOW).is_err());
            let good = ring.issue("ann", Role::Admin, NOW, 60).unwrap();
            let mut bytes = good.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(bytes) {
                prop_assert!(ring.verify(&changed, NOW).is_err(), "{good} {changed}");
            }
        }
    }
}
