//! A master's state as it is kept on disk: whose it is and from when, a checksum, and encrypted where there is a key.
//!
//! A line with the checksum of all that follows, a line of JSON, and the state. Under AES-256-GCM the line of JSON is authenticated
//! with it, so that nobody gives a master another one's state, or passes an old one off as new, who does not have the key.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::signature::{hex, sha256};
use crate::clock::UnixMillis;

/// How a file begins.
const MAGIC: &str = "baton-state-1 ";
/// Digits of the checksum.
const DIGITS: usize = 64;
/// Of the line of JSON: names are bounded by the configuration.
const LABEL_MAX: usize = 16 << 10;
/// A use of the configured key that is not its only possible one.
const PURPOSE: &[u8] = b"baton: states of masters at rest";

/// What is needed beside a state's own bytes, at most.
pub const OVERHEAD_MAX: usize = LABEL_MAX + 1024;

/// Whose state it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    pub upstream: String,
    /// The first of the accounts; empty where accounts are not told apart.
    pub account: String,
    /// The master that gave it.
    pub master: String,
    /// In which it served then.
    pub epoch: u32,
    /// In milliseconds since 1970.
    pub taken: UnixMillis,
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    label: Label,
    /// In hexadecimal digits; none where the state is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
}

/// The key for what is kept.
pub struct Key(LessSafeKey);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Why a file gives no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Nothing that Baton has written.
    Foreign,
    /// Cut off or changed.
    Torn,
    /// Encrypted, and there is no key.
    NoKey,
    /// Not encrypted, although there is a key.
    Plain,
    /// Encrypted with another key, or changed by somebody.
    WrongKey,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "it is no state that Baton has kept",
            Self::Torn => "it is torn, or was changed",
            Self::NoKey => "it is encrypted, and `hooks.key` is not given",
            Self::Plain => "it is not encrypted, and `hooks.key` is given",
            Self::WrongKey => "it was encrypted with another key, or changed",
        })
    }
}

impl Key {
    /// From what is configured.
    ///
    /// # Errors
    /// The provider takes no such key.
    pub fn of(configured: &[u8]) -> Result<Self, String> {
        let derived = hmac::sign(&hmac::Key::new(HMAC_SHA256, configured), PURPOSE);
        let key = UnboundKey::new(&AES_256_GCM, derived.as_ref());
        Ok(Self(LessSafeKey::new(key.map_err(|_| "hooks.key makes no key of AES-256".to_owned())?)))
    }
}

/// The bytes of the file. A nonce is used once.
///
/// # Errors
/// It is too large to be encrypted, or its names are too long.
pub fn seal(
    label: &Label,
    state: &[u8],
    key: Option<&Key>,
    nonce: impl FnOnce() -> [u8; NONCE_LEN],
) -> Result<Vec<u8>, String> {
    let nonce = key.map(|_| nonce());
    let line = Line { label: label.clone(), nonce: nonce.as_ref().map(|nonce| hex(nonce)) };
    let line = serde_json::to_string(&line).map_err(|error| error.to_string())?;
    if line.len() > LABEL_MAX {
        return Err("the names of upstream, account and master are too long".to_owned());
    }
    let mut state = state.to_vec();
    if let (Some(Key(key)), Some(nonce)) = (key, nonce) {
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(line.as_bytes()), &mut state)
            .map_err(|_| "it cannot be encrypted".to_owned())?;
    }
    let rest = [line.as_bytes(), b"\n", &state].concat();
    Ok([MAGIC.as_bytes(), sha256(&rest).as_bytes(), b"\n", &rest].concat())
}

/// What is in the bytes of a file.
///
/// # Errors
/// [`Damage`].
pub fn open(file: &[u8], key: Option<&Key>) -> Result<(Label, Bytes), Damage> {
    let (checksum, rest) =
        file.strip_prefix(MAGIC.as_bytes()).ok_or(Damage::Foreign)?.split_at_checked(DIGITS).ok_or(Damage::Torn)?;
    let rest = rest.strip_prefix(b"\n").ok_or(Damage::Torn)?;
    if sha256(rest).as_bytes() != checksum {
        return Err(Damage::Torn);
    }
    let end = rest.iter().take(LABEL_MAX + 1).position(|byte| *byte == b'\n').ok_or(Damage::Foreign)?;
    let (line, state) = (&rest[..end], &rest[end + 1..]);
    let Line { label, nonce } = serde_json::from_slice(line).map_err(|_| Damage::Foreign)?;
    match (key, nonce) {
        (None, None) => Ok((label, Bytes::copy_from_slice(state))),
        (None, Some(_)) => Err(Damage::NoKey),
        (Some(_), None) => Err(Damage::Plain),
        (Some(Key(key)), Some(nonce)) => {
            let nonce = Nonce::assume_unique_for_key(unhex(&nonce).ok_or(Damage::Foreign)?);
            let mut state = state.to_vec();
            let opened = key.open_in_place(nonce, Aad::from(line), &mut state).map_err(|_| Damage::WrongKey)?;
            let length = opened.len();
            state.truncate(length);
            Ok((label, state.into()))
        }
    }
}

fn unhex(digits: &str) -> Option<[u8; NONCE_LEN]> {
    let mut bytes = [0; NONCE_LEN];
    if digits.len() != 2 * NONCE_LEN || !digits.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label() -> Label {
        Label { upstream: "bots".into(), account: "1".into(), master: "a".into(), epoch: 3, taken: 5 }
    }

    fn key(text: &str) -> Key {
        Key::of(text.as_bytes()).unwrap()
    }

    fn sealed(state: &[u8], key: Option<&Key>) -> Vec<u8> {
        seal(&label(), state, key, || [7; NONCE_LEN]).unwrap()
    }

    #[test]
    fn with_a_key_nothing_of_a_state_can_be_read() {
        let file = sealed(b"a secret of the bot", Some(&key("one")));
        assert!(memchr::memmem::find(&file, b"secret").is_none());
        assert_eq!(open(&file, Some(&key("one"))).unwrap(), (label(), Bytes::from_static(b"a secret of the bot")));
        assert_eq!(open(&file, Some(&key("two"))), Err(Damage::WrongKey));
        assert_eq!(open(&file, None), Err(Damage::NoKey));
    }

    #[test]
    fn without_a_key_a_state_lies_open_and_with_one_it_is_not_believed() {
        let file = sealed(b"state", None);
        assert_eq!(open(&file, None).unwrap(), (label(), Bytes::from_static(b"state")));
        assert_eq!(open(&file, Some(&key("one"))), Err(Damage::Plain));
    }

    #[test]
    fn who_does_not_have_the_key_cannot_pass_a_state_off_as_another_ones() {
        let file = String::from_utf8_lossy(&sealed(b"state", Some(&key("one")))).into_owned();
        let other = [MAGIC, &"0".repeat(DIGITS), "\n"].concat();
        assert_eq!(open(other.as_bytes(), None), Err(Damage::Torn));
        assert!(file.contains(r#""epoch":3"#));
        let bytes = sealed(b"state", Some(&key("one")));
        let at = memchr::memmem::find(&bytes, br#""epoch":3"#).unwrap();
        let mut forged = bytes[MAGIC.len() + DIGITS + 1..].to_vec();
        forged[at - MAGIC.len() - DIGITS - 1 + 8] = b'4';
        let forged = [MAGIC.as_bytes(), sha256(&forged).as_bytes(), b"\n", &forged].concat();
        assert_eq!(open(&forged, Some(&key("one"))), Err(Damage::WrongKey));
    }

    proptest! {
        #[test]
        fn what_is_kept_is_found_again(state in prop::collection::vec(any::<u8>(), 0..200), encrypted: bool) {
            let key = encrypted.then(|| key("one"));
            let file = sealed(&state, key.as_ref());
            prop_assert!(file.len() <= state.len() + OVERHEAD_MAX);
            prop_assert_eq!(open(&file, key.as_ref()), Ok((label(), Bytes::from(state))));
        }

        #[test]
        fn a_file_that_is_cut_or_changed_is_never_taken_for_a_state(
            state in prop::collection::vec(any::<u8>(), 0..50),
            cut in any::<prop::sample::Index>(),
            flip in any::<prop::sample::Index>(),
        ) {
            let file = sealed(&state, None);
            prop_assert!(open(&file[..cut.index(file.len())], None).is_err());
            let mut changed = file;
            let at = flip.index(changed.len());
            changed[at] ^= 1;
            prop_assert!(open(&changed, None).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(file in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = open(&file, None);
            let _ = open(&[MAGIC.as_bytes(), &file].concat(), Some(&key("one")));
        }
    }
}
